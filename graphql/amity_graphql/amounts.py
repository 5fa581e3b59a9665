"""Numbers that depend on the variables of an operation: sums of products, each part of which is worked out once.

A sum is shared by all that add it, as a fragment is by all that spread it. So it stays as small as the document,
whatever it comes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Variables = Mapping[str, Any]


class Factor(Protocol):
    """A number that variables say; never negative."""

    def of(self, variables: Variables) -> int: ...


@dataclass(frozen=True)
class Number:
    """A variable that is a number; ``absent`` stands for one that is not handed in."""

    name: str
    absent: int | None = None

    def value(self, variables: Variables) -> int | None:
        value = variables.get(self.name, self.absent)
        try:
            return None if value is None else max(0, int(value))
        except (TypeError, ValueError, OverflowError):
            return None  # no number: told when variables are read


@dataclass(frozen=True)
class Page:
    """How many records a page may have: as many as is asked for, or the usual number."""

    asked: tuple[Number | int, ...]
    usual: int

    def of(self, variables: Variables) -> int:
        values = [item if isinstance(item, int) else item.value(variables) for item in self.asked]
        return max((value for value in values if value is not None), default=self.usual)


@dataclass(frozen=True)
class Length:
    """How many items a variable has that is a list; what is no list is one of one item."""

    name: str
    absent: int

    def of(self, variables: Variables) -> int:
        if self.name not in variables:
            return self.absent
        value = variables[self.name]
        return len(value) if isinstance(value, (list, tuple)) else int(value is not None)


@dataclass(frozen=True)
class Flag:
    """One if a variable is as it is wanted, else zero."""

    name: str
    wanted: bool
    absent: bool | None

    def of(self, variables: Variables) -> int:
        return int(variables.get(self.name, self.absent) is not (not self.wanted))


@dataclass(frozen=True)
class Largest:
    """The largest of several."""

    factors: tuple[Factor | int, ...]

    def of(self, variables: Variables) -> int:
        return max(number(item, variables) for item in self.factors)


@dataclass(eq=False)
class Sum:
    """A number, and products added to it."""

    fixed: int = 0
    parts: list[tuple[Factor | int, Sum]] = field(default_factory=list)

    def add(self, other: Sum, factor: Factor | int = 1) -> None:
        """Adds so many times another sum, which must not change any more."""
        if isinstance(factor, int) and not other.parts:
            self.fixed += factor * other.fixed
        elif factor != 0 and (other.fixed or other.parts):
            self.parts.append((factor, other))

    def of(self, variables: Variables) -> int:
        """What it comes to."""
        return self._of(variables, {}) if self.parts else self.fixed

    def _of(self, variables: Variables, known: dict[int, int]) -> int:
        found = known.get(id(self))
        if found is None:
            found = self.fixed
            for factor, other in self.parts:
                found += number(factor, variables) * other._of(variables, known)
            known[id(self)] = found
        return found


def number(factor: Factor | int, variables: Variables) -> int:
    return factor if isinstance(factor, int) else factor.of(variables)
