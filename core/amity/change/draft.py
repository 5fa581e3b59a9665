"""A row on its way into the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ..entity import Catalog, EntityType, Kind
from ..entity.values import external, same
from .input import Item

UNTOLD = frozenset(("id", "created_at", "updated_at", "version", "search_text"))
"""Columns that events leave out: they follow from the others, or from the event itself."""


@dataclass(frozen=True)
class Placement:
    """Where in its stage something goes: next to others, or to the end; and when it went there."""

    before: UUID | None = None
    after: UUID | None = None
    moved_at: datetime | None = None


@dataclass
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

    @property
    def index(self) -> int:
        return self.item.index

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


def told(catalog: Catalog, entity: EntityType, row: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Columns of a row as events hold them."""
    untold = UNTOLD | entity.internal
    return {name: external(catalog, entity, entity.columns[name], row) for name in columns if name not in untold}


def fresh(entity: EntityType, item: Item, id: UUID, now: datetime) -> Draft:
    """The draft of a new row: what was given, defaults, null."""
    after: dict[str, Any] = {}
    for name, column in entity.columns.items():
        if name in item.values:
            after[name] = item.values[name]
        elif name == "id":
            after[name] = id
        else:
            default = column.default
            after[name] = default() if callable(default) else default
    if entity.is_entity:
        after.update(created_at=now, updated_at=now, version=1, deleted_at=None)
    return Draft(item, id, None, after)


def patched(item: Item, before: Mapping[str, Any]) -> Draft:
    """The draft of a row that is there: what was given in place of what was."""
    return Draft(item, before["id"], before, {**before, **item.values})
