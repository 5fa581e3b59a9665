"""Filters relative to the time at which they are asked: ``{lastDays: 30}``, ``{during: THIS_MONTH}``.

Each becomes a range, from its first moment up to, and without, the moment after its last; null is in none. They
stay relative where they are kept, in the condition of a role, say: the time is looked up for each statement, once.

For times, ``lastDays: 30`` are the 30 × 24 hours before now, ``nextDays`` those from now on, ``lastHours`` and
``nextHours`` likewise. For dates, ``lastDays: 30`` is from 30 days before today up to today, ``nextDays`` from
today on, both with today. ``during`` is a period of the calendar; weeks begin on Monday. Days are those of the
setting ``time_zone``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from ..entity import Kind
from ..given import known
from ..tree import All, Compare, Condition, Moment
from .errors import QueryError

Path = tuple[str | int, ...]
DAYS = ("lastDays", "nextDays", "during")
HOURS = ("lastHours", "nextHours")
MAX_DAYS = 36_525
"""A hundred years."""


class Period(Enum):
    """A period of the calendar: (unit, how many of them from now)."""

    TODAY = "today"
    YESTERDAY = "yesterday"
    TOMORROW = "tomorrow"
    THIS_WEEK = "this_week"
    LAST_WEEK = "last_week"
    NEXT_WEEK = "next_week"
    THIS_MONTH = "this_month"
    LAST_MONTH = "last_month"
    NEXT_MONTH = "next_month"
    THIS_QUARTER = "this_quarter"
    LAST_QUARTER = "last_quarter"
    NEXT_QUARTER = "next_quarter"
    THIS_YEAR = "this_year"
    LAST_YEAR = "last_year"
    NEXT_YEAR = "next_year"


_DAYS = {Period.TODAY: 0, Period.YESTERDAY: -1, Period.TOMORROW: 1}
_SHIFTS = {"last": -1, "this": 0, "next": 1}


def relative_operators(kind: Kind) -> tuple[str, ...]:
    """What a value of this kind can be compared by, relative to now."""
    if kind is Kind.DATETIME:
        return (*DAYS, *HOURS)
    return DAYS if kind is Kind.DATE else ()


def parse_relative(field: str, kind: Kind, zone: str, name: str, operand: Any, path: Path) -> Condition:
    """One of these operators as a condition. Raises :class:`QueryError`."""
    operand = known(operand)
    days = kind is Kind.DATE
    if name == "during":
        unit, shift = _period(operand, path)
        start, end = (Moment(unit, n, zone, days) for n in (shift, shift + 1))
    else:
        most = MAX_DAYS * (24 if name in HOURS else 1)
        if not isinstance(operand, int) or isinstance(operand, bool) or not 0 <= operand <= most:
            raise QueryError(f"expected a whole number from 0 to {most}, got {operand!r}", path)
        count = -operand if name.startswith("last") else operand
        if days:
            first, last = sorted((0, count))
            start, end = Moment("day", first, zone, True), Moment("day", last + 1, zone, True)
        else:
            first, last = sorted((0, count if name in HOURS else count * 24))
            start, end = Moment("hour", first, zone, False), Moment("hour", last, zone, False)
    return All((Compare(field, "gte", start), Compare(field, "lt", end)))


def _period(operand: Any, path: Path) -> tuple[Any, int]:
    try:
        period = operand if isinstance(operand, Period) else Period(str(operand).lower())
    except ValueError:
        known = ", ".join(item.name for item in Period)
        raise QueryError(f"unknown period {operand!r}; expected one of {known}", path) from None
    if period in _DAYS:
        return "day", _DAYS[period]
    shift, _, unit = period.value.partition("_")
    return unit, _SHIFTS[shift]


def resolved(moment: Moment, now: datetime) -> datetime | date:
    """The time, or the date, that a moment is by now. ``now`` is in UTC."""
    if moment.unit == "hour":
        return now + timedelta(hours=moment.count)
    zone: tzinfo = UTC if moment.zone == "UTC" else ZoneInfo(moment.zone)
    day = _STARTS[moment.unit](now.astimezone(zone).date(), moment.count)
    return day if moment.date else datetime.combine(day, time.min, zone).astimezone(UTC)


def _months(first: date, count: int) -> date:
    years, month = divmod(first.year * 12 + first.month - 1 + count, 12)
    return date(years, month + 1, 1)


_STARTS: Mapping[str, Callable[[date, int], date]] = {
    "day": lambda today, count: today + timedelta(days=count),
    "week": lambda today, count: today - timedelta(days=today.weekday()) + timedelta(weeks=count),
    "month": _months,
    "quarter": lambda today, count: _months(today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1), 3 * count),
    "year": lambda today, count: date(today.year + count, 1, 1),
}


__all__ = ["Period", "parse_relative", "relative_operators", "resolved"]
