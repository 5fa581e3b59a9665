"""Connections to the two databases, behind one interface: reads on a pool, writes in units of work."""

from .base import (
    ConnectionFailed,
    Database,
    DatabaseError,
    Dialect,
    EvaluationError,
    ForeignKeyViolation,
    Transaction,
    UniqueViolation,
    recorded,
)
from .connect import connect

__all__ = [
    "ConnectionFailed",
    "Database",
    "DatabaseError",
    "Dialect",
    "EvaluationError",
    "ForeignKeyViolation",
    "Transaction",
    "UniqueViolation",
    "connect",
    "recorded",
]
