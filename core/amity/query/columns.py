"""Rows as columns: the values of many rows, read from one statement by a cursor of the database.

What is read are values of rows and of what they refer to. Access, filters and orders are those of every other
read; only no JSON is built, so that neither the database nor Python has to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson

from ..access import Rights
from ..database import Dialect as DialectName
from ..entity import Catalog, EntityType, Kind
from ..tree import Field, Linked, Money, Page, Scalar, Selection
from .dialect import DIALECTS, Dialect, identifier
from .errors import QueryError
from .joins import Joins
from .orders import Orders

Read = Callable[[Sequence[Sequence[Any]]], Sequence[Any]]
"""The values of a field, from the columns that the database answered with."""


@dataclass(frozen=True)
class Table:
    """A statement, and how the values of each field are read from its columns."""

    sql: str
    parameters: tuple[Any, ...]
    fields: tuple[Read, ...]

    def values(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """The values of each field, for rows as the driver brings them."""
        columns = list(zip(*rows, strict=True))
        return [read(columns) for read in self.fields]


@dataclass(frozen=True)
class Leaf:
    """What is selected of a row, or of one behind relations to one row."""

    steps: tuple[str, ...]
    entity: EntityType
    field: Field

    @property
    def path(self) -> str:
        return ".".join([*self.steps, self.field.key])

    @property
    def stored(self) -> bool:
        """Whether columns hold it; plugins compute what else there is, or it is more than a value."""
        if isinstance(self.field, Money):
            return self.field.name in self.entity.money
        return isinstance(self.field, Scalar)


def leaves(
    catalog: Catalog, entity: EntityType, selection: Selection, steps: tuple[str, ...] = ()
) -> Iterator[Leaf]:
    """What a selection is made of, however deep."""
    for item in selection:
        target = entity.leads_to(item.name) if isinstance(item, Linked) else None
        if isinstance(item, Linked) and target is not None:
            yield from leaves(catalog, catalog[target], item.fields, (*steps, item.name))
        else:
            yield Leaf(steps, entity, item)


def compile_columns(
    catalog: Catalog,
    rights: Rights,
    dialect: DialectName,
    entity: EntityType,
    page: Page,
    fields: Sequence[Leaf],
) -> Table:
    """The rows of a page, as columns. Raises :class:`QueryError` and :class:`~amity.access.AccessDenied`."""
    return _Compiler(catalog, rights, DIALECTS[dialect], entity).compile(page, fields)


class _Compiler(Orders):
    """One flat ``select``, with a left join for each relation that is followed."""

    def __init__(self, catalog: Catalog, rights: Rights, dialect: Dialect, entity: EntityType) -> None:
        super().__init__(catalog, rights, dialect)
        self.entity = entity
        self.base = self.alias("b")
        self.outputs: dict[str, int] = {}
        self.joins = Joins(self, entity, self.base)

    def compile(self, page: Page, fields: Sequence[Leaf]) -> Table:
        reads = tuple(self._leaf(leaf) for leaf in fields)
        self.joins.begin()
        order = self.order_by(self.entity, self.base, self.keys(self.entity, page.order), backward=False)
        self.joins.end()
        predicates = self.visible(self.entity, self.base)
        if page.where is not None:
            predicates.append(self.condition(self.entity, self.base, page.where))
        where = f" where {' and '.join(predicates)}" if predicates else ""
        limit = f" limit {page.first}" if page.first is not None else ""
        source = f"from {identifier(self.entity.table)} {self.base}{self.joins.sql}"
        sql = f"select {', '.join(self.outputs)} {source}{where} order by {order}{limit}"
        return Table(self.headed(sql), tuple(self.parameters), reads)

    def _leaf(self, leaf: Leaf) -> Read:
        entity, alias = self.entity, self.base
        for step in leaf.steps:
            entity, alias = self.joins.follow(entity, alias, step)
        if isinstance(leaf.field, Money):
            return self._money(entity, alias, leaf.field)
        assert isinstance(leaf.field, Scalar)
        return self._scalar(entity, alias, leaf.field.name)

    def _scalar(self, entity: EntityType, alias: str, name: str) -> Read:
        column = entity.columns.get(name)
        if column is None or name in entity.internal:
            raise QueryError(f"{entity.name} has no column {name!r}")
        self.use(entity, name)
        if column.references is not None:
            # a reference reads as null where its target is deleted or hidden
            target, other = self.joins.follow(entity, alias, entity.link_of[name].name)
            return self._plain(self.dialect.id(target.prefix, f'{other}."id"'))
        value = self.value(entity, alias, name)
        match column.kind:
            case Kind.ID:
                return self._plain(
                    self.dialect.id(entity.prefix, value) if name == "id" else self.dialect.out(Kind.ID, value)
                )
            case Kind.JSON:
                return self._changed(value, orjson.loads)
            case Kind.FLOAT if self.dialect.name == "postgresql":
                # whole ones are written without a point, and what is no number as a text
                return self._changed(f"to_json({value})::text", orjson.loads)
            case Kind.FLOAT:
                return self._changed(value, lambda number: number if isfinite(number) else None)
            case Kind.BOOLEAN:
                return self._changed(value, bool)
            case Kind.DATETIME | Kind.DATE | Kind.BIGINT:
                return self._plain(self.dialect.out(column.kind, value))
        return self._plain(value)

    def _money(self, entity: EntityType, alias: str, field: Money) -> Read:
        self.use(entity, field.name)
        code = entity.currencies[field.name]
        self.use(entity, code)
        minor = f"{alias}.{identifier(entity.money[field.name].amount)}"
        amount = self._output(self.dialect.out(Kind.BIGINT, minor))
        currency = self._output(f"{alias}.{identifier(code)}")
        parts = [(key, part == "amount") for key, part in field.parts]

        def read(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
            return [
                None if left is None or right is None else {key: left if first else right for key, first in parts}
                for left, right in zip(columns[amount], columns[currency], strict=True)
            ]

        return read

    def _output(self, expression: str) -> int:
        """The place of a value among the columns."""
        return self.outputs.setdefault(expression, len(self.outputs))

    def _plain(self, expression: str) -> Read:
        place = self._output(expression)
        return lambda columns: columns[place]

    def _changed(self, expression: str, change: Callable[[Any], Any]) -> Read:
        place = self._output(expression)
        return lambda columns: [None if value is None else change(value) for value in columns[place]]


__all__ = ["Leaf", "Table", "compile_columns", "leaves"]
