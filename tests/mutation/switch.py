"""The switches that instrumented code asks: which one predicate is gone, and which ones would have mattered.

A predicate matters where the code would have gone another way without it; only tests in which it did can miss it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

active = -1
"""The number of the mutant that the process is; none by default."""
mattered: set[int] = set()
"""Mutants that the code would have behaved differently as, since this was cleared."""


def on(number: int) -> bool:
    """Whether this is gone: a statement, an item, a part of a statement in SQL."""
    mattered.add(number)
    return number == active


def operand(number: int, value: Any, neutral: bool) -> Any:
    """An operand of ``and`` or ``or``, or what changes nothing there."""
    if bool(value) != neutral:
        mattered.add(number)
    return neutral if number == active else value


def decision(never: int, always: int, value: Any) -> Any:
    """What a branch is taken for."""
    mattered.add(never if value else always)
    return False if active == never else True if active == always else value


def flag(number: int, value: bool) -> bool:
    mattered.add(number)
    return value != (number == active)


def item(number: int, value: Any) -> Sequence[Any]:
    """An item of a list, to be unpacked there."""
    return () if on(number) else (value,)


def items(number: int, values: Iterable[Any]) -> Sequence[Any]:
    """What is unpacked into a list."""
    found = list(values)
    if found:
        mattered.add(number)
    return () if number == active else found


def sides(left_gone: int, right_gone: int, operator: str, left: Any, right: Any) -> Any:
    """``left & right``, ``left | right``, ``left - right``, or one of them alone."""
    whole = left & right if operator == "&" else left | right if operator == "|" else left - right
    if right != whole:
        mattered.add(left_gone)
    if left != whole:
        mattered.add(right_gone)
    return right if active == left_gone else left if active == right_gone else whole
