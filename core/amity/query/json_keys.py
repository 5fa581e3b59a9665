"""Filters into JSON columns: ``{customFields: {path: "sector", eq: "it"}}``.

``path`` names a key, or keys of objects within objects, separated by dots. What is there is compared with values
of its own type only: a text with texts, by code point, a number with numbers, as doubles, true and false with
each other. Whatever else is there is equal to none of them, and a key that is missing is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..entity import Kind
from ..tree import Operator
from .errors import QueryError

if TYPE_CHECKING:
    from .conditions import Conditions

Path = tuple[str | int, ...]
MAX_KEYS = 8
MAX_KEY = 200
_ORDERED = ("lt", "lte", "gt", "gte")
_TEXT = ("contains", "startsWith", "endsWith", "like")
KEY_OPERATORS = ("path", "eq", "ne", "in", "notIn", "isNull", *_ORDERED, *_TEXT)


def parse_key(path: Any, at: Path) -> tuple[str, ...]:
    """``"chat.language"`` as the keys that lead there. Raises :class:`QueryError`."""
    keys = tuple(path.split(".")) if isinstance(path, str) else ()
    if not 0 < len(keys) <= MAX_KEYS:
        raise QueryError(f"expected keys, like sector or chat.language, at most {MAX_KEYS}; got {path!r}", at)
    for key in keys:
        if not key or len(key) > MAX_KEY or any(char in '"\\' or not _printable(char) for char in key):
            message = f"expected keys of 1 to {MAX_KEY} characters, without quotes and backslashes"
            raise QueryError(f"{message}; got {key!r}", at)
    return keys


def _printable(char: str) -> bool:
    return ord(char) >= 32 and not 0xD800 <= ord(char) <= 0xDFFF


def parse_operand(name: str, operand: Any, at: Path) -> tuple[Operator, Any]:
    """Operator and value of a comparison other than by pattern. Raises :class:`QueryError`."""
    if name in ("eq", "ne") and operand is None:
        return "isNull", name == "eq"
    if name == "isNull":
        if not isinstance(operand, bool):
            raise QueryError(f"expected true or false, got {operand!r}", at)
        return "isNull", operand
    if name in ("in", "notIn"):
        return cast(Operator, name), tuple(_value(item, (*at, i)) for i, item in enumerate(operand))
    value = _value(operand, at)
    if name in _ORDERED and isinstance(value, bool):
        raise QueryError(f"true and false have no order; {name} takes a text or a number", at)
    return cast(Operator, name), value


def _value(operand: Any, at: Path) -> str | float | bool:
    if isinstance(operand, (str, bool)):
        return operand
    try:
        number = float(operand) if isinstance(operand, (int, float)) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"expected a text, a finite number, true or false, got {str(operand)[:60]}", at)
    return number + 0.0


# --- as SQL ------------------------------------------------------------------------------------------------


def compared(conditions: Conditions, column: str, keys: Sequence[str], operator: str, value: Any) -> str:
    """SQL that is true or false: a comparison of what is under the keys of a JSON column."""
    place = conditions.dialect.place(column, [conditions.bind(key, Kind.TEXT) for key in _steps(conditions, keys)])
    if operator == "isNull":
        there = f"({conditions.dialect.type_at(place)} <> 'null') is true"
        return f"not ({there})" if value else there
    if operator in ("in", "notIn"):
        met = _among(conditions, place, value)
        return met if operator == "in" else f"not {met}"
    if operator == "like":
        return (
            f"({conditions.dialect.like(_read(conditions, place, Kind.TEXT), _bound(conditions, value))}) is true"
        )
    left = _read(conditions, place, _kind(value))
    met = f"({left} {_SIGNS['eq' if operator == 'ne' else operator]} {_bound(conditions, value)}) is true"
    return f"not ({met})" if operator == "ne" else f"({met})"


_SIGNS: Mapping[str, str] = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _steps(conditions: Conditions, keys: Sequence[str]) -> list[str]:
    """SQLite takes a path as one text."""
    if conditions.dialect.name == "sqlite":
        return ["$" + "".join(f'."{key}"' for key in keys)]
    return list(keys)


def _among(conditions: Conditions, place: str, values: Iterable[Any]) -> str:
    kinds: dict[Kind, list[Any]] = {Kind.TEXT: []}
    for value in values:
        kinds.setdefault(_kind(value), []).append(value)
    parts = []
    for kind, same in kinds.items():
        left, bound = _read(conditions, place, kind), conditions.bind(tuple(same), kind, many=True)
        parts.append(f"({conditions.dialect.among(left, bound)})")
    return f"(({' or '.join(parts)}) is true)"


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.TEXT if isinstance(value, str) else Kind.FLOAT


def _read(conditions: Conditions, place: str, kind: Kind) -> str:
    """What is at a place, null where it is of another type."""
    return conditions.dialect.value_at(place, kind)


def _bound(conditions: Conditions, value: Any) -> str:
    return conditions.bind(value, _kind(value))


__all__ = ["KEY_OPERATORS", "compared", "parse_key", "parse_operand"]
