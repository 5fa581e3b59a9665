"""Values that a plan leaves open: those of variables, facts about the principal, and the time.

A query is planned once for all requests that differ in values only. While it is planned, such a value is a
:class:`Given`: it has the value of the request at hand, so that mistakes show, but keeps it to itself. Whoever
converts it says how (:meth:`Given.then`), and the conversion is done again for each later request. Whoever needs
the value to decide what the statement is must say so (:meth:`Given.known`), and the plan holds for that value
only. Code that knows nothing of this gets :class:`Untracked`, and the query is answered without a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

Convert = Callable[..., Any]
Op = tuple[int | tuple[int, ...], Convert]
"""One value more: what a function makes of values before it, by their positions. At 0 is the request itself."""


class Untracked(TypeError):
    """Raised where code asks a given value what it is."""


class Given:
    """A value that the next request may give otherwise."""

    __slots__ = ("_track", "_value", "index")

    def __init__(self, track: Track, index: int, value: Any) -> None:
        self._track = track
        self._value = value
        self.index = index
        """Where a request has it among its values."""

    def then(self, convert: Convert) -> Given:
        """What a pure function makes of it. Its exceptions are raised here, and for later requests as well."""
        return self._track.add(self.index, convert, convert(self._value))

    def known(self, read: Convert | None = None) -> Any:
        """The value, or what ``read`` makes of it, hashable: the plan is for requests with an equal one."""
        here = self if read is None else self.then(read)
        self._track.guard(here.index, here._value)
        return here._value

    def _refuse(self, *_: object) -> NoReturn:
        raise Untracked("a given value was asked for; say so by Given.known, or convert it by Given.then")

    __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = __contains__ = __getitem__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __str__ = __repr__ = __format__ = _refuse
    __hash__ = _refuse


def late(value: Any, convert: Convert) -> Any:
    """What a pure function makes of a value; if it is a given one, of that of each request."""
    return value.then(convert) if isinstance(value, Given) else convert(value)


def known(value: Any) -> Any:
    """The value itself; if it is a given one, the plan is for requests with an equal one."""
    return value.known() if isinstance(value, Given) else value


def gathered(values: Sequence[Any]) -> Any:
    """The values as one, which is given itself if one of them is."""
    track = _planning.get()
    if track is None or not any(isinstance(item, Given) for item in values):
        return values
    return track.gather(values)


def now() -> datetime:
    """The time in UTC, for whatever becomes part of a statement; a :class:`Given` while a query is planned."""
    track = _planning.get()
    return datetime.now(UTC) if track is None else track.source(lambda _: datetime.now(UTC))  # type: ignore[return-value]


def is_planned() -> bool:
    """Whether a query is being planned: nothing that is raised now is told to anyone."""
    return _planning.get() is not None


def unplanned(why: str) -> None:
    """Told by code whose statement depends on more than schema, rights and arguments: it gets no plan."""
    if _planning.get() is not None:
        raise Untracked(why)


@dataclass
class Track:
    """How the values of a plan come about, in the order in which planning asked for them."""

    request: Any
    values: list[Any] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    """Since the last guard."""
    guards: list[tuple[tuple[Op, ...], int, Hashable]] = field(default_factory=list)
    """What was asked of values: the steps before, which value, and what it was."""

    def __post_init__(self) -> None:
        self.values.append(self.request)

    def source(self, read: Convert) -> Given:
        """What is read from each request."""
        return self.add(0, read, read(self.request))

    def add(self, parent: int | tuple[int, ...], convert: Convert, value: Any) -> Given:
        self.ops.append((parent, convert))
        self.values.append(value)
        return Given(self, len(self.values) - 1, value)

    def gather(self, values: Sequence[Any]) -> Given:
        """A tuple in which some values are given, and the rest is as it is."""
        places = tuple(item.index for item in values if isinstance(item, Given))
        pattern = tuple(None if isinstance(item, Given) else (item,) for item in values)

        def put_together(*given: Any) -> tuple[Any, ...]:
            rest = iter(given)
            return tuple(next(rest) if fixed is None else fixed[0] for fixed in pattern)

        return self.add(places, put_together, put_together(*(self.values[place] for place in places)))

    def guard(self, index: int, value: Hashable) -> None:
        hash(value)
        self.guards.append((tuple(self.ops), index, value))
        self.ops.clear()


@contextmanager
def planning(track: Track) -> Iterator[None]:
    """Within the block, and the tasks that it makes, a query is planned."""
    token = _planning.set(track)
    try:
        yield
    finally:
        _planning.reset(token)


def follow(ops: Sequence[Op], values: list[Any]) -> None:
    """Does the steps of a plan for the values of a request."""
    for parent, convert in ops:
        if type(parent) is int:
            values.append(convert(values[parent]))
        else:
            values.append(convert(*[values[place] for place in parent]))  # type: ignore[union-attr]


_planning: ContextVar[Track | None] = ContextVar("amity_planning", default=None)

__all__ = [
    "Given",
    "Op",
    "Track",
    "Untracked",
    "follow",
    "gathered",
    "is_planned",
    "known",
    "late",
    "now",
    "planning",
    "unplanned",
]
