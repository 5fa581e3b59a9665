"""Mistakes in what a caller asks for."""

from __future__ import annotations

from ..database import EvaluationError


class QueryError(ValueError):
    """Raised when a query asks for what is not there, or in a way that can't be. ``path`` leads to it."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        self.message = message
        self.path = path
        where = ".".join(str(part) for part in path)
        super().__init__(f"{where}: {message}" if where else message)


class OutOfRange(QueryError, EvaluationError):
    """Raised when figures of what a query asks for go beyond 64 bits; told by the database."""
