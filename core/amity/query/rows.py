"""The table expressions of a page, while their text is being put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..entity import EntityType
from ..tree import Page
from .dialect import identifier
from .orders import Key
from .timeline import Merged


@dataclass
class Rows:
    """The rows of one ``r``, while its statement is being put together.

    Expressions over the row's tables are registered as output columns; whoever builds JSON from the rows
    refers to those.
    """

    slot: int
    entity: EntityType
    base: str
    """Alias of the entity's own table within ``r``."""
    distinct: bool
    """Whether no two rows are the same record."""
    inline: bool
    """Whether it stands where it is used, not in the chain."""
    repeated: bool = False
    """Whether it is evaluated anew for each row of a parent, for few rows each time."""
    used: dict[str, None] = field(default_factory=dict)
    """Columns of the base table that are used outside its page."""
    outputs: dict[str, str] = field(default_factory=dict)
    joins: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    """Aliases of the rows joined so far, by the relation that leads to them."""
    json_joins: list[str] = field(default_factory=list)
    limit: int | None = None
    """Rows that the answer shows; ``r`` may hold one more."""
    counted: bool = False

    @property
    def name(self) -> str:
        return f"r{self.slot}"

    def column(self, alias: str, name: str) -> str:
        """A column inside ``r``."""
        if alias == self.base:
            self.used[name] = None
        return f"{alias}.{identifier(name)}"

    def output(self, expression: str) -> str:
        """The same value, seen from outside of ``r``."""
        name = self.outputs.setdefault(expression, f"c{len(self.outputs)}")
        return f"r.{name}"


@dataclass(frozen=True)
class Parent:
    """The rows that a nested page hangs on."""

    ids: str
    """Their ids, as a table expression with the column id."""
    seen: str
    """The same id, from where the page's JSON is joined."""
    column: str
    constant: str | None
    distinct: bool
    over: str | None = None
    """The relation of the page's rows that leads back to the parent."""

    def predicates(self, alias: str, id: str) -> list[str]:
        """What rows must meet to belong to the parent with this id."""
        found = [f"{alias}.{identifier(self.column)} = {id}"]
        if self.constant:
            found.append(f"{alias}.{self.constant}")
        return found


@dataclass
class PageShape:
    """What a page's selection asks of its ``q`` (a row each) and its ``j`` (a parent each)."""

    rows: Rows
    keys: tuple[Key, ...]
    page: Page
    digest: str
    merged: Merged | None = None
    """Where the rows come from, if not from the table of one entity."""
    items: dict[str, str] = field(default_factory=dict)
    aggregates: dict[str, str] = field(default_factory=dict)

    def item(self, value: str) -> str:
        return self.items.setdefault(value, f"o{len(self.items)}")

    def aggregate(self, value: str) -> str:
        return self.aggregates.setdefault(value, f"g{len(self.aggregates)}")

    def shown(self) -> str | None:
        """Which rows of ``q`` belong to the answer, if it may hold one more."""
        if self.rows.limit is None or not self.rows.counted:
            return None
        return f"q.rn <= {self.rows.limit}"


@dataclass(frozen=True)
class PageSql:
    value: str
    joins: tuple[str, ...]
