"""The query tree: what a read asks for, before it becomes SQL.

GraphQL operations, Python callers, exports and plugins all build this tree; the compiler turns it into one
statement. Nothing in it is SQL, and nothing in it bypasses access.

Every node that appears in an answer has a ``key``, the name it gets there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal
from uuid import UUID

# --- selections: fields of one row -------------------------------------------------------------------------


@dataclass(frozen=True)
class Scalar:
    """A visible column of the row. ``enum`` writes one of a fixed set of values as GraphQL does, in capitals."""

    key: str
    name: str
    enum: bool = False


@dataclass(frozen=True)
class Money:
    """A money field: ``parts`` are (key, "amount" | "currency" | "__typename")."""

    key: str
    name: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Computed:
    """A plugin's expression field."""

    key: str
    name: str


@dataclass(frozen=True)
class Constant:
    """A text that is the same in every row, such as ``__typename``."""

    key: str
    value: str


@dataclass(frozen=True)
class Linked:
    """The row that a to-one relation leads to; null where it is empty, deleted or hidden.

    ``name`` may also be a one-to-one relation seen from its other side.
    """

    key: str
    name: str
    fields: Selection


@dataclass(frozen=True)
class AnyLinked:
    """The row that a generic reference leads to: the fields for each entity that it may be."""

    key: str
    name: str
    fields: Mapping[str, Selection]


@dataclass(frozen=True)
class Connected:
    """Rows that a to-many relation leads to, as a page."""

    key: str
    name: str
    page: Page


@dataclass(frozen=True)
class Timeline:
    """What happened to a customer: rows of several entities as one page, by their time.

    ``types`` names the entities, which must be readable; None stands for all that are. The rows of the page are
    entries: its condition is on their ``at``, its order is the timeline's own, and what it selects of its nodes is
    told by entity, as in :class:`AnyLinked`.
    """

    key: str
    page: Page
    types: tuple[str, ...] | None = None
    oldest_first: bool = False


@dataclass(frozen=True)
class Can:
    """What the reader may do with the row: ``parts`` are (key, "update" | "delete" | "__typename")."""

    key: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Batched:
    """A plugin's batch field. ``fields`` are the hidden columns it needs; Python fills in the rest.

    ``shape`` is handed to whoever formats the result: for GraphQL, the selection below the field.
    """

    key: str
    name: str
    arguments: Mapping[str, Any]
    shape: Any = None


@dataclass(frozen=True)
class Aggregated:
    """Figures of the rows that a to-many relation leads to: a list of groups."""

    key: str
    name: str
    groups: Groups


Field = (
    Scalar | Money | Computed | Constant | Linked | AnyLinked | Connected | Timeline | Can | Batched | Aggregated
)
Selection = tuple[Field, ...]
Choices = Mapping[str, Selection]
"""What is selected of a row that may be of several entities, by the entity."""

# --- conditions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class All:
    """True if every item is."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """True if at least one item is."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """True if the item is false or unknown."""

    item: Condition


Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "notIn", "isNull", "like"]


@dataclass(frozen=True)
class Placeholder:
    """A value in a role's condition that is known once somebody acts: a fact about the principal, or the time.

    In conditions that are kept, it is written ``"$user"``, ``"$team"``, ``"$customer"``, ``"$now"``. Nothing that
    is compiled has any of them left.
    """

    name: Literal["user", "team", "customer", "now", "today"]


@dataclass(frozen=True)
class Moment:
    """A value that is known once a statement is run: the start of a unit of time, counted from the current one.

    ``Moment("month", -1, "UTC", False)`` is the time at which the last month began; hours are counted from now,
    to the microsecond. ``date`` makes it a date, in the time zone ``zone`` (IANA), where days begin.
    """

    unit: Literal["hour", "day", "week", "month", "quarter", "year"]
    count: int
    zone: str
    date: bool


@dataclass(frozen=True)
class Compare:
    """A column or expression field against a value. Never unknown: null is equal to nothing.

    ``like`` compares folded text (case-insensitive in every script); its value is a pattern with ``%``,
    ``_`` and the escape ``\\``, folded already. Values are Python values of the column's kind.
    """

    field: str
    operator: Operator
    value: Any
    keys: tuple[str, ...] = ()
    """In a JSON column: the keys that lead to what is compared, a text, a number, true or false."""

    def __eq__(self, other: object) -> bool:
        """In JSON, 1 and true are not the same."""
        if not isinstance(other, Compare):
            return NotImplemented
        asked = (self.field, self.operator, self.keys) == (other.field, other.operator, other.keys)
        return asked and _alike(self.value, other.value)


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


@dataclass(frozen=True)
class Through:
    """The row behind a to-one relation exists and meets the condition."""

    relation: str
    condition: Condition


@dataclass(frozen=True)
class Quantified:
    """Rows behind a to-many relation: some meet it, none does, every one does."""

    relation: str
    quantifier: Literal["some", "none", "every"]
    condition: Condition


@dataclass(frozen=True)
class Reaches:
    """The row that a generic reference leads to is of one of these entities and meets its condition, if any.

    ``targets`` are the conditions by the names of entities. ``alive=False`` counts deleted rows too, for logs.
    """

    reference: str
    targets: Mapping[str, Condition | None]
    alive: bool = True


@dataclass(frozen=True)
class Ancestors:
    """All rows that an entity's relations to itself lead to, one after the other, exist and meet the condition.

    So does the row ``itself``, where that is said.
    It is for the conditions of rights; there is no filter for it.
    """

    relations: tuple[str, ...]
    condition: Condition
    itself: bool = False


@dataclass(frozen=True)
class Never:
    """False for every row: what a principal without rights sees."""


Condition = All | AnyOf | Not | Compare | Through | Quantified | Reaches | Ancestors | Never

# --- pages ---------------------------------------------------------------------------------------------------


class Direction(Enum):
    ASC = "ASC"
    DESC = "DESC"
    ASC_NULLS_FIRST = "ASC_NULLS_FIRST"
    ASC_NULLS_LAST = "ASC_NULLS_LAST"
    DESC_NULLS_FIRST = "DESC_NULLS_FIRST"
    DESC_NULLS_LAST = "DESC_NULLS_LAST"

    @property
    def descending(self) -> bool:
        return self.value.startswith("DESC")

    @property
    def nulls_first(self) -> bool:
        """Null counts as the greatest value unless it is said otherwise."""
        if self.value.endswith("NULLS_FIRST"):
            return True
        return self is Direction.DESC


@dataclass(frozen=True)
class OrderKey:
    """A column, money or expression field; ``path`` are the to-one relations that lead to its row."""

    field: str
    direction: Direction = Direction.ASC
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nodes:
    """The rows of the page, as a list."""

    key: str
    fields: Selection | Choices


@dataclass(frozen=True)
class Edges:
    """The rows of the page as edges; ``parts`` are cursor, node, constants and columns of the row."""

    key: str
    parts: tuple[Cursor | Node | Constant | Scalar, ...]


@dataclass(frozen=True)
class Cursor:
    key: str


@dataclass(frozen=True)
class Node:
    key: str
    fields: Selection | Choices


@dataclass(frozen=True)
class PageInfo:
    """``parts`` are (key, name): hasNextPage, hasPreviousPage, startCursor, endCursor, __typename."""

    key: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TotalCount:
    """How many rows there are with ``where``, whatever the page. An integer as text."""

    key: str


Part = Nodes | Edges | PageInfo | TotalCount | Constant


@dataclass(frozen=True)
class Page:
    """Rows of one entity in an order, cut at a place. ``after`` and ``before`` are cursors of that order.

    Rows are always ordered by their id in the end, so that the order is total. At most one of ``first`` and
    ``last`` is given; neither means every row (only for callers that stream or know the size).
    """

    parts: tuple[Part, ...]
    where: Condition | None = None
    order: tuple[OrderKey, ...] = ()
    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        for name, size in (("first", self.first), ("last", self.last)):
            if size is not None and (not isinstance(size, int) or not 0 <= size < 2**31):
                raise ValueError(f"{name} is {size!r}; expected a whole number from 0")
        if self.first is not None and self.last is not None:
            raise ValueError("first and last are both given; a page begins at one end")


# --- groups --------------------------------------------------------------------------------------------------

Unit = Literal["day", "week", "month", "quarter", "year"]
Function = Literal["count", "count_distinct", "sum", "avg", "min", "max"]


@dataclass(frozen=True)
class GroupKey:
    """What rows are grouped by: a column or expression field, behind the to-one relations of ``path``.

    ``id`` behind a relation stands for the record itself. With ``unit`` it is the first day of the period that a
    time or date lies in; for times, periods are those of the IANA time zone ``zone``. Weeks begin on Mondays.
    """

    field: str
    path: tuple[str, ...] = ()
    unit: Unit | None = None
    zone: str = "UTC"


@dataclass(frozen=True)
class Figure:
    """What is computed of the rows of a group: their count, or a function of a column, money or expression field.

    ``count_distinct`` takes relations to one row too. Money is computed for each currency.
    """

    function: Function
    field: str = ""


@dataclass(frozen=True)
class FigureIs:
    """A figure of the group meets a condition on the pseudo-field ``value``.

    For money, ``amount`` and ``currency``: of at least one currency they meet it.
    """

    figure: Figure
    condition: Condition


@dataclass(frozen=True)
class HavingAll:
    """True if every item is."""

    items: tuple[Having, ...]


@dataclass(frozen=True)
class HavingAny:
    """True if at least one item is."""

    items: tuple[Having, ...]


@dataclass(frozen=True)
class HavingNot:
    """True if the item is false or unknown."""

    item: Having


Having = FigureIs | HavingAll | HavingAny | HavingNot


@dataclass(frozen=True)
class FigureOrder:
    """Groups by a figure; money by its amount in one currency, null where a group has none in it."""

    figure: Figure
    direction: Direction = Direction.ASC
    currency: str | None = None


@dataclass(frozen=True)
class KeyValue:
    """The value of a key. ``enum`` writes it in capitals."""

    key: str
    by: GroupKey
    enum: bool = False


@dataclass(frozen=True)
class KeyRecord:
    """The record that rows are grouped by; null for those that refer to none in reach."""

    key: str
    path: tuple[str, ...]
    fields: Selection


@dataclass(frozen=True)
class KeyObject:
    """Keys behind a relation; null where all of them are."""

    key: str
    fields: tuple[KeyField, ...]


KeyField = KeyValue | KeyRecord | KeyObject | Constant


@dataclass(frozen=True)
class Keys:
    """The keys of the group, as an object."""

    key: str
    fields: tuple[KeyField, ...]


@dataclass(frozen=True)
class Counted:
    """How many rows the group has. An integer as text."""

    key: str


@dataclass(frozen=True)
class FigureField:
    """A figure of a field; of money, with ``parts`` as in :class:`Money`, a list in the order of currencies."""

    key: str
    name: str
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Figures:
    """Figures of several fields by one function, as an object."""

    key: str
    function: Function
    fields: tuple[FigureField | Constant, ...]


GroupPart = Keys | Counted | Figures | Constant


@dataclass(frozen=True)
class Groups:
    """Rows of one entity in groups, and figures of each; without ``by`` there is exactly one group.

    Null is a group of its own. An :class:`OrderKey` names a key, or a field of a record that is a key. Groups
    are always ordered by their keys in the end. ``first`` None means every group.
    """

    parts: tuple[GroupPart, ...]
    by: tuple[GroupKey, ...] = ()
    where: Condition | None = None
    having: Having | None = None
    order: tuple[OrderKey | FigureOrder, ...] = ()
    first: int | None = None


# --- roots ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class One:
    """The row with this id, or null."""

    entity: str
    id: UUID
    fields: Selection


@dataclass(frozen=True)
class Many:
    """The rows with these ids, in their order, null where there is none: a list."""

    entity: str
    ids: Sequence[UUID]
    fields: Selection


@dataclass(frozen=True)
class Connection:
    """A page of an entity's rows."""

    entity: str
    page: Page


@dataclass(frozen=True)
class Aggregation:
    """Groups of an entity's rows: a list."""

    entity: str
    groups: Groups


# --- searches -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HitPart:
    """What a search says of a record that it found: score, field, snippet or cursor. ``camel`` writes the field's
    name as GraphQL does."""

    key: str
    name: Literal["score", "field", "snippet", "cursor"]
    camel: bool = False


@dataclass(frozen=True)
class HitNode:
    """The record itself: the fields for each entity that it may be."""

    key: str
    fields: Mapping[str, Selection]


@dataclass(frozen=True)
class HitEdges:
    """The records that were found, each with why it was."""

    key: str
    parts: tuple[HitPart | HitNode | Constant, ...]


@dataclass(frozen=True)
class Search:
    """Records of several entities that a text finds, the best first, the newest of those that fit alike.

    ``entities`` are the names of those that are looked for. What may not be read is left out, unless it was
    ``named`` by whoever asks: then that is refused. A page follows the cursor ``after``.
    """

    text: str
    entities: tuple[str, ...]
    parts: tuple[HitEdges | HitNode | PageInfo | TotalCount | Constant, ...]
    named: bool = False
    first: int = 20
    after: str | None = None


Root = One | Many | Connection | Aggregation | Search
