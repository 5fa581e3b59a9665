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


Field = Scalar | Money | Computed | Constant | Linked | AnyLinked | Connected | Can | Batched
Selection = tuple[Field, ...]

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
class Compare:
    """A column or expression field against a value. Never unknown: null is equal to nothing.

    ``like`` compares folded text (case-insensitive in every script); its value is a pattern with ``%``,
    ``_`` and the escape ``\\``, folded already. Values are Python values of the column's kind.
    """

    field: str
    operator: Operator
    value: Any


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
class Never:
    """False for every row: what a principal without rights sees."""


Condition = All | AnyOf | Not | Compare | Through | Quantified | Reaches | Never

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
    fields: Selection


@dataclass(frozen=True)
class Edges:
    """The rows of the page as edges; ``parts`` are cursor, node and constants."""

    key: str
    parts: tuple[Cursor | Node | Constant, ...]


@dataclass(frozen=True)
class Cursor:
    key: str


@dataclass(frozen=True)
class Node:
    key: str
    fields: Selection


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


Root = One | Many | Connection | Search
