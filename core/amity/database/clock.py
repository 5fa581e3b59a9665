"""The time that leases go by: the database's on PostgreSQL, whose clients may disagree; ours on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from .base import Dialect


class Clock:
    """Writes times into statements. On SQLite the first parameter is the present, bound by :meth:`bound`."""

    def __init__(self, dialect: Dialect) -> None:
        self._sqlite = dialect == "sqlite"

    @property
    def now(self) -> str:
        return "?1" if self._sqlite else "now()"

    def bound(self, *values: Any) -> tuple[Any, ...]:
        """The parameters of a statement whose places are written by :meth:`place`."""
        return (_text(datetime.now(UTC)), *values) if self._sqlite else values

    def place(self, number: int) -> str:
        return f"?{number + 1}" if self._sqlite else f"${number}"

    def later(self, number: int) -> str:
        """A time so many seconds from now; the parameter is bound by :meth:`seconds`."""
        return f"?{number + 1}" if self._sqlite else f"now() + make_interval(secs => ${number}::float8)"

    def seconds(self, seconds: float) -> Any:
        return _text(datetime.now(UTC) + timedelta(seconds=seconds)) if self._sqlite else seconds


def _text(value: datetime) -> str:
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
