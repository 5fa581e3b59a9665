"""What SQLite lacks for figures of groups: exact sums, and the periods of time zones.

Sums of integers are handed over in two parts, of the upper and the lower 32 bits, neither of which can overflow:
SQLite itself gives up where a sum is beyond 64 bits in between, which depends on the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

_INT64 = 2**63


def period(text: str | None, unit: str, zone: str) -> str | None:
    """The first day of the period in which a stored time, or date, lies. Times count in the zone."""
    if text is None:
        return None
    if len(text) == 10:
        return first_day(date.fromisoformat(text), unit).isoformat()
    return _in_zone(text, unit, zone)


@lru_cache(maxsize=4096)
def _in_zone(text: str, unit: str, zone: str) -> str:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    try:
        day = time.astimezone(_zone(zone)).date()
    except OverflowError:
        day = date.min if time.year == 1 else date.max
    return first_day(day, unit).isoformat()


@lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def first_day(day: date, unit: str) -> date:
    """The first day of the day's week (a Monday), month, quarter or year; for ``"day"``, the day."""
    match unit:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def total(upper: int | None, lower: int | None) -> int:
    """A sum of integers; 0 of none. One beyond 64 bits fails."""
    found = _whole(upper, lower)
    if not -_INT64 <= found < _INT64:
        raise ValueError("integer overflow")
    return found


def mean(upper: int | None, lower: int | None, count: int) -> float | None:
    """The mean of integers."""
    return float(_whole(upper, lower)) / count if count else None


def rounded_mean(upper: int | None, lower: int | None, count: int) -> int | None:
    """The mean of integers as one, halves away from zero."""
    if not count:
        return None
    sum = _whole(upper, lower)
    found = (2 * abs(sum) + count) // (2 * count)
    return -found if sum < 0 else found


def _whole(upper: int | None, lower: int | None) -> int:
    return ((upper or 0) << 32) + (lower or 0)


def finite(sum: float | None, count: int) -> float:
    """A sum of ``count`` floats; 0 of none. One beyond the range of floats fails."""
    if not count:
        return 0.0
    if sum is None or not math.isfinite(sum):
        raise ValueError("float overflow")
    return float(sum)


def in_order(pairs: str | None) -> str | None:
    """A JSON array of pairs (key, value) → the values, in the order of the keys."""
    if pairs is None:
        return None
    return orjson.dumps([value for _, value in sorted(orjson.loads(pairs), key=lambda pair: pair[0])]).decode()


FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "amity_period": (3, period),
    "amity_total": (2, total),
    "amity_mean": (3, mean),
    "amity_rounded_mean": (3, rounded_mean),
    "amity_finite": (2, finite),
    "amity_in_order": (1, in_order),
}
"""Name in SQL → how many arguments it takes, and the function."""
