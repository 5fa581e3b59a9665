"""Expressions: what plugins compute in the database.

They are plain values. The compiler turns them into SQL, with the rules of access in every table they touch,
so that they can be selected, filtered and sorted by like columns::

    Sum("loyalty.entries.points")
    Count("deals", where={"stage": {"category": {"eq": "won"}}})
    Coalesce(Field("nickname"), Field("name"))
    Divide(Count("deals"), 12)
    Percent(Field("value_minor"), Field("stage.probability"))

Paths start at the entity that the expression is declared on: relations separated by dots, a column last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


class Expression:
    """Base of everything that compiles to one SQL value."""


@dataclass(frozen=True)
class Value(Expression):
    """A constant: bool, int, float or str."""

    value: bool | int | float | str


@dataclass(frozen=True)
class Field(Expression):
    """A column of the entity, or of one that it refers to (``"organization.name"``)."""

    path: str


@dataclass(frozen=True)
class Aggregate(Expression):
    function: Literal["sum", "avg", "min", "max", "count"]
    path: str
    where: Mapping[str, Any] | None = None


def Sum(path: str, where: Mapping[str, Any] | None = None) -> Aggregate:
    """Sum of an integer or float column over to-many relations; 0 where there are no rows. BigInt or Float."""
    return Aggregate("sum", path, where)


def Avg(path: str, where: Mapping[str, Any] | None = None) -> Aggregate:
    """Mean of a numeric column; null where there are no rows. Float."""
    return Aggregate("avg", path, where)


def Min(path: str, where: Mapping[str, Any] | None = None) -> Aggregate:
    """Least value of a column; null where there are no rows."""
    return Aggregate("min", path, where)


def Max(path: str, where: Mapping[str, Any] | None = None) -> Aggregate:
    """Greatest value of a column; null where there are no rows."""
    return Aggregate("max", path, where)


def Count(path: str, where: Mapping[str, Any] | None = None) -> Aggregate:
    """How many rows a to-many relation leads to (``"deals"``). BigInt."""
    return Aggregate("count", path, where)


@dataclass(frozen=True)
class Arithmetic(Expression):
    operator: Literal["+", "-", "*", "/", "%"]
    left: Expression
    right: Expression


def _expression(value: Expression | bool | int | float | str) -> Expression:
    return value if isinstance(value, Expression) else Value(value)


def Add(left: Expression | float, right: Expression | float) -> Arithmetic:
    return Arithmetic("+", _expression(left), _expression(right))


def Subtract(left: Expression | float, right: Expression | float) -> Arithmetic:
    return Arithmetic("-", _expression(left), _expression(right))


def Multiply(left: Expression | float, right: Expression | float) -> Arithmetic:
    return Arithmetic("*", _expression(left), _expression(right))


def Divide(left: Expression | float, right: Expression | float) -> Arithmetic:
    """Always a Float; null where the divisor is 0."""
    return Arithmetic("/", _expression(left), _expression(right))


def Percent(of: Expression | int, percent: Expression | int) -> Arithmetic:
    """So many hundredths of a whole number, rounded to a whole one, halves away from zero. BigInt.

    Made for money, which is whole minor units.
    """
    return Arithmetic("%", _expression(of), _expression(percent))


@dataclass(frozen=True)
class Coalesced(Expression):
    items: tuple[Expression, ...]


def Coalesce(*items: Expression | bool | int | float | str) -> Coalesced:
    """The first that is not null. All must be of one kind."""
    return Coalesced(tuple(_expression(item) for item in items))
