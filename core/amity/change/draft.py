"""A row on its way into the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from ..entity import Catalog, EntityType, Kind
from ..entity.values import Codec, external, plain, same
from .input import Item

UNTOLD = frozenset(("id", "created_at", "updated_at", "version", "search_text"))
"""Columns that events leave out: they follow from the others, or from the event itself."""


@dataclass(frozen=True)
class Placement:
    """Where in its stage something goes: next to others, or to the end; and when it went there."""

    before: UUID | None = None
    after: UUID | None = None
    moved_at: datetime | None = None


@dataclass(slots=True)
class Draft:
    """One row as it was and as it shall be. Rules fill in ``after`` while the batch is checked."""

    item: Item
    id: UUID
    before: Mapping[str, Any] | None
    after: dict[str, Any]
    placement: Placement | None = None
    displaced: bool = False
    """Changed only to make room for another one."""
    changed: tuple[str, ...] = field(default=())
    """Columns that differ, in the order of the entity."""
    held: tuple[str, ...] = ()
    """Relations that the change sets, to rows that the principal may read, as far as nobody else has a say."""

    @property
    def index(self) -> int:
        return self.item.index

    @property
    def written(self) -> Mapping[str, Any]:
        """The columns that are written."""
        return self.after if self.before is None else {name: self.after[name] for name in self.changed}

    def differs(self, column: str) -> bool:
        """Whether the change sets this column to something else than it was."""
        return self.before is None or self.before[column] != self.after[column]

    def compare(self, entity: EntityType) -> None:
        """Notes what differs."""
        before, after = self.before, self.after
        if before is None:
            self.changed = tuple(name for name in entity.columns if after[name] is not None)
            return
        self.changed = tuple(
            name
            for name, column in entity.columns.items()
            if before[name] is not after[name]
            and (
                not same(Kind.JSON, before[name], after[name])
                if column.kind is Kind.JSON
                else before[name] != after[name]
            )
        )


class Telling:
    """Rows of an entity as events hold them."""

    def __init__(self, catalog: Catalog, entity: EntityType) -> None:
        untold = UNTOLD | entity.internal
        self._catalog = catalog
        self._entity = entity
        self._codecs: dict[str, Codec | None] = {}
        """What turns a value into what events hold; None where it is that already."""
        self._by_row: set[str] = set()
        """Columns that other columns of the row decide the form of."""
        for name, column in entity.columns.items():
            if name in untold:
                continue
            self._codecs[name], whole = plain(catalog, entity, column)
            if not whole:
                self._by_row.add(name)

    @classmethod
    def of(cls, catalog: Catalog, entity: EntityType) -> Self:
        """The one of an entity."""
        found: Self | None = entity.kept.get(cls)
        if found is None:
            found = entity.kept[cls] = cls(catalog, entity)
        return found

    def columns(self, row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Columns of a row, those of ``names`` that events hold."""
        result = {}
        for name in names:
            if name in self._codecs:
                result[name] = self._told(name, row)
        return result

    def whole(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Every column of a new row that is not null."""
        return self.all_whole([row])[0]

    def all_whole(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The same for many rows, column by column: most are null in all of them."""
        result: list[dict[str, Any]] = [{} for _ in rows]
        nothing = [None] * len(rows)
        if not rows:
            return result
        for name, codec in self._codecs.items():
            values = [row[name] for row in rows]
            if values[0] is None and values == nothing:
                continue
            by_row = name in self._by_row
            for told, row, value in zip(result, rows, values, strict=True):
                if value is None:
                    continue
                if by_row:
                    told[name] = self._told(name, row)
                else:
                    told[name] = value if codec is None else codec(value)
        return result

    def _told(self, name: str, row: Mapping[str, Any]) -> Any:
        return external(self._catalog, self._entity, self._entity.columns[name], row)


def told(catalog: Catalog, entity: EntityType, row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Columns of a row as events hold them."""
    return Telling.of(catalog, entity).columns(row, columns)


class Blank:
    """New rows of an entity before anything is filled in."""

    def __init__(self, entity: EntityType) -> None:
        columns = entity.columns.items()
        self._made: list[tuple[str, Callable[[], Any]]] = [
            (name, column.default) for name, column in columns if name != "id" and callable(column.default)
        ]
        self._values = {name: None if callable(column.default) else column.default for name, column in columns}
        self._is_entity = entity.is_entity

    @classmethod
    def of(cls, entity: EntityType) -> Self:
        """The one of an entity."""
        found: Self | None = entity.kept.get(cls)
        if found is None:
            found = entity.kept[cls] = cls(entity)
        return found

    def fill(self, item: Item, id: UUID, now: datetime) -> Draft:
        """The draft of a new row: what was given, defaults, null."""
        after = self._values.copy()
        after["id"] = id
        given = item.values
        for name, make in self._made:
            if name not in given:
                after[name] = make()
        after.update(given)
        if self._is_entity:
            after["created_at"] = after["updated_at"] = now
            after["version"] = 1
            after["deleted_at"] = None
        return Draft(item, id, None, after)


def patched(item: Item, before: Mapping[str, Any]) -> Draft:
    """The draft of a row that is there: what was given in place of what was."""
    return Draft(item, before["id"], before, {**before, **item.values})
