"""Keys that stood in a file already, with their line. Kept on disk, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class SeenKeys:
    """A set of texts that may be larger than memory."""

    def __init__(self) -> None:
        # without a name, SQLite keeps it in memory while it is small, else in a file that goes by itself
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, line INT, said INT) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def all_new(self, keys: Sequence[tuple[str, int, int]]) -> bool:
        """Whether no key, with its line and a hash of what was said, stood anywhere before. Then all are added."""
        self._database.execute("SAVEPOINT several")
        added = self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", keys)
        if added.rowcount == len(keys):
            self._database.execute("RELEASE several")
            return True
        self._database.execute("ROLLBACK TO several")
        self._database.execute("RELEASE several")
        return False

    def first(self, key: str, line: int, said: int) -> tuple[int, int]:
        """The line where the key stood first, and what was said there: this one, if it is new."""
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (key, line, said))
        if added.rowcount:
            return line, said
        found: tuple[int, int] = self._database.execute(
            "SELECT line, said FROM seen WHERE key = ?", (key,)
        ).fetchone()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()
