"""What can go wrong with migrations."""

from __future__ import annotations


class MigrationError(Exception):
    """Raised when migrations can't be made or applied; the message says where, what and what to do."""


class MigrationsPending(Exception):
    """Raised when a database is opened that still lacks migrations; ``names`` lists them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        super().__init__(f"the database is behind: {shown} not applied; run `amity migrate`")
