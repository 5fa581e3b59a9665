"""What an import or export can't go on with."""

from __future__ import annotations

from collections.abc import Sequence


class CsvError(Exception):
    """Base of what stops an import or an export. The message says what, where and what to do."""


class MappingError(CsvError, ValueError):
    """Raised when a mapping file is wrong. ``problems`` lists everything: file, key, what was expected."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ImportFailed(CsvError):
    """Raised when an import can't go on. What was stored before stays, and running it again is safe."""


class ExportFailed(CsvError):
    """Raised when an export can't be made."""
