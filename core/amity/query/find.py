"""Reading from Python: a query of one entity, built step by step."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..entity import Catalog, EntityType, decode_id
from ..tree import (
    Aggregation,
    All,
    Batched,
    Computed,
    Condition,
    Connected,
    Connection,
    Direction,
    Field,
    Linked,
    Money,
    Nodes,
    One,
    OrderKey,
    Page,
    PageInfo,
    Scalar,
    Selection,
    TotalCount,
)
from .columns import compile_columns, leaves
from .errors import QueryError
from .summary import By, named_groups
from .where import parse_order, parse_where, unknown

if TYPE_CHECKING:
    from ..crm import Session

STREAM_BATCH = 1000


@dataclass(frozen=True)
class Related:
    """Rows of a to-many relation within a selection: ``Related("deals", ["name"], first=5)``.

    They arrive as a list under the name of the relation.
    """

    relation: str
    fields: Sequence[str | Related]
    where: Mapping[str, Any] | None = None
    order_by: Sequence[str] = ()
    first: int | None = None


@dataclass(frozen=True)
class Find:
    """A query of an entity. Every step returns a new one; ``all``, ``one``, ``get`` and ``count`` run it.

    Rows arrive as dictionaries of JSON values, as in GraphQL: ids as ``cus_…``, times as text, 64-bit
    integers as text. Fields over to-one relations are written with dots and arrive nested.
    """

    session: Session
    entity: EntityType
    fields: tuple[str | Related, ...] = ("id",)
    condition: Condition | None = None
    order: tuple[OrderKey, ...] = ()
    limit: int | None = None

    def select(self, *fields: str | Related) -> Find:
        """Which fields to read: columns, ``"organization.name"``, or :class:`Related`."""
        return replace(self, fields=fields)

    def where(self, where: Mapping[str, Any]) -> Find:
        """Only rows that meet this filter too. Its shape is GraphQL's, in snake_case."""
        parsed = parse_where(self._catalog, self.entity, where)
        return replace(self, condition=All((self.condition, parsed)) if self.condition else parsed)

    def order_by(self, *names: str) -> Find:
        """Orders by columns, ``"-created_at"`` for descending, ``"organization.name"`` for a relation's."""
        return replace(self, order=parse_names(self._catalog, self.entity, names))

    def first(self, count: int) -> Find:
        """At most so many rows."""
        return replace(self, limit=count)

    async def all(self) -> list[dict[str, Any]]:
        """All rows, by one statement."""
        page = self._page((Nodes("nodes", self.selection()),), self.limit)
        return self._rows((await self._run(page))["nodes"])

    async def one(self) -> dict[str, Any] | None:
        """The first row, or None."""
        rows = await self.first(1).all()
        return rows[0] if rows else None

    async def get(self, id: UUID | str) -> dict[str, Any] | None:
        """The row with this id, or None."""
        value = decode_id(self.entity.prefix, id, self._catalog.prefixes)
        answer = await self.session.read({"row": One(self.entity.name, value, self.selection())})
        row = answer.parsed()["row"]
        return self._rows([row])[0] if row else None

    async def count(self) -> int:
        """How many rows there are, whatever the limit."""
        return int((await self._run(self._page((TotalCount("count"),), None)))["count"])

    async def aggregate(
        self,
        *figures: str,
        by: Sequence[By] = (),
        having: Mapping[str, Any] | None = None,
        order_by: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Figures of the rows in groups, by one statement: ``"count"``, ``"sum.value"``, ``"avg.points"``.

        ``by`` names columns, ``"stage.category"``, relations (``"owner"``: the record), or periods:
        ``{"closed_on": {"unit": "month"}}``. ``order_by`` names keys, ``"-count"``, or ``"-sum.value.USD"``.
        Without ``by`` there is one group. Figures of money are lists, one amount for each currency.
        """
        groups = named_groups(
            self._catalog, self.entity, figures, by, having, order_by, self.condition, self.limit
        )
        answer = await self.session.read({"groups": Aggregation(self.entity.name, groups)})
        return answer.parsed()["groups"]  # type: ignore[no-any-return]

    async def stream(self, batch: int = STREAM_BATCH) -> AsyncIterator[list[dict[str, Any]]]:
        """Batches of rows, each by one statement that goes on where the last one ended; memory stays flat."""
        if batch < 1:
            raise QueryError(f"batch is {batch}; expected at least 1")
        after: str | None = None
        left = self.limit
        selection = self.selection()
        while left is None or left > 0:
            size = batch if left is None else min(batch, left)
            parts = (
                Nodes("nodes", selection),
                PageInfo("info", (("more", "hasNextPage"), ("end", "endCursor"))),
            )
            answer = await self._run(self._page(parts, size, after))
            if answer["nodes"]:
                yield self._rows(answer["nodes"])
            if not answer["info"]["more"]:
                return
            after = answer["info"]["end"]
            left = None if left is None else left - len(answer["nodes"])

    async def columns(self, batch: int = STREAM_BATCH) -> AsyncGenerator[list[Sequence[Any]], None]:
        """The values of each selected field, a list each, in batches of rows; memory stays flat.

        They are the values of :meth:`stream`, found by one statement in one snapshot, and cost a fraction of it:
        fields that columns hold are read as such. With fields that plugins compute, with :class:`Related`, and
        within a transaction, they are read as by ``stream``.
        """
        if batch < 1:
            raise QueryError(f"batch is {batch}; expected at least 1")
        found = {leaf.path: leaf for leaf in leaves(self._catalog, self.entity, self.selection())}
        chosen = [found.get(name) if isinstance(name, str) else None for name in self.fields]
        stored = [leaf for leaf in chosen if leaf is not None and leaf.stored]
        if len(stored) < len(chosen) or self.session.unit is not None:
            async for rows in self.stream(batch):
                yield [[_value(row, name) for row in rows] for name in self.fields]
            return
        crm = self.session.crm
        table = compile_columns(
            crm.catalog,
            self.session.rights,
            crm.database.dialect,
            self.entity,
            self._page((), self.limit),
            stored,
        )
        async with aclosing(crm.database.stream(table.sql, table.parameters, batch)) as batches:
            async for rows in batches:
                yield table.values(rows)

    def selection(self) -> Selection:
        """The fields as a query tree."""
        return selection_of(self._catalog, self.entity, self.fields)

    def root(self, parts: Sequence[Any] | None = None) -> Connection:
        """This query as a root of a query tree."""
        chosen = tuple(parts) if parts else (Nodes("nodes", self.selection()),)
        return Connection(self.entity.name, self._page(chosen, self.limit))

    def _page(self, parts: tuple[Any, ...], first: int | None, after: str | None = None) -> Page:
        return Page(parts, self.condition, self.order, first=first, after=after)

    async def _run(self, page: Page) -> dict[str, Any]:
        answer = await self.session.read({"page": Connection(self.entity.name, page)})
        return answer.parsed()["page"]  # type: ignore[no-any-return]

    def _rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows with the pages of related rows as plain lists."""
        _flatten(rows, self.fields)
        return rows

    @property
    def _catalog(self) -> Catalog:
        return self.session.crm.catalog


def _flatten(rows: Sequence[dict[str, Any]], fields: Sequence[str | Related]) -> None:
    for item in fields:
        if isinstance(item, Related):
            for row in rows:
                row[item.relation] = row[item.relation]["nodes"]
                _flatten(row[item.relation], item.fields)


def _value(row: Any, name: str | Related) -> Any:
    """What a row has under a name of a selection."""
    name = name.relation if isinstance(name, Related) else name
    if row is None or name in row:
        return row and row[name]
    head, _, rest = name.partition(".")
    return _value(row[head], rest)


def parse_names(catalog: Catalog, entity: EntityType, names: Sequence[str]) -> tuple[OrderKey, ...]:
    """``("-created_at", "organization.name")`` as order keys. Raises :class:`QueryError`."""
    order: list[Mapping[str, Any]] = []
    for name in names:
        direction = Direction.DESC if name.startswith("-") else Direction.ASC
        item: Any = direction
        for part in reversed(name.removeprefix("-").split(".")):
            item = {part: item}
        order.append(item)
    return parse_order(catalog, entity, order)


def selection_of(catalog: Catalog, entity: EntityType, fields: Sequence[str | Related]) -> Selection:
    """Names of fields as a selection; keys are the names. Raises :class:`QueryError`."""
    nested: dict[str, list[str | Related]] = {}
    found: list[Field] = []
    for item in fields:
        if isinstance(item, Related):
            found.append(_related(catalog, entity, item))
            continue
        head, dot, rest = item.partition(".")
        if dot and head in entity.currencies and rest in ("amount", "currency"):
            found.append(Money(item, head, ((rest, rest),)))
        elif dot:
            nested.setdefault(head, []).append(rest)
        else:
            found.append(_named(entity, head))
    for head, inner in nested.items():
        link = entity.to_one.get(head)
        many = entity.to_many.get(head)
        if link is None and (many is None or not many.single):
            raise QueryError(unknown(entity, head, [*entity.to_one]))
        target = catalog[link.target if link else many.target]  # type: ignore[union-attr]
        found.append(Linked(head, head, selection_of(catalog, target, inner)))
    keys = [item.key for item in found]
    for key in keys:
        if keys.count(key) > 1:
            raise QueryError(f"{key!r} is selected twice; name each field once")
    return tuple(found)


def _named(entity: EntityType, name: str) -> Field:
    if name in entity.currencies:
        return Money(name, name, (("amount", "amount"), ("currency", "currency")))
    if name in entity.expressions:
        return Computed(name, name)
    if name in entity.batches:
        defaults = {key: default for key, (_, default) in entity.batches[name].arguments.items()}
        return Batched(name, name, defaults)
    if name in entity.columns and name not in entity.internal:
        return Scalar(name, name)
    if name in entity.to_one:
        return Linked(name, name, (Scalar("id", "id"),))
    raise QueryError(unknown(entity, name, entity.field_names()))


def _related(catalog: Catalog, entity: EntityType, item: Related) -> Field:
    many = entity.to_many.get(item.relation)
    if many is None:
        raise QueryError(unknown(entity, item.relation, [*entity.to_many]))
    target = catalog[many.target]
    page = Page(
        (Nodes("nodes", selection_of(catalog, target, item.fields)),),
        parse_where(catalog, target, item.where) if item.where else None,
        parse_names(catalog, target, item.order_by),
        first=item.first,
    )
    return Connected(item.relation, item.relation, page)


__all__ = ["Find", "Related"]
