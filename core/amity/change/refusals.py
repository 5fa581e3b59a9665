"""User errors of a batch, gathered while it is checked."""

from __future__ import annotations

from collections.abc import Sequence

from ..contracts import UserError

Path = tuple[str | int, ...]


class Refusals:
    """What is wrong with the items of a batch, by their index."""

    def __init__(self, errors: Sequence[UserError] = ()) -> None:
        self.errors: list[UserError] = list(errors)
        self.refused: set[int] = {error.index for error in errors}

    def __bool__(self) -> bool:
        return bool(self.errors)

    def __contains__(self, index: int) -> bool:
        return index in self.refused

    def refuse(self, index: int, path: Path, code: str, message: str) -> None:
        self.errors.append(UserError(index, path, code, message))
        self.refused.add(index)

    def sorted(self) -> tuple[UserError, ...]:
        """By index, and for one index in the order in which they were found."""
        return tuple(sorted(self.errors, key=lambda error: error.index))
