"""A company of two halves, made from whatever was composed: for each entity, rows that a principal may see, and
rows that it may not, whose every text says so. A new entity, of any plugin, is in it without anybody's doing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from amity import SYSTEM, Crm, Principal, Session
from amity.access import VERBS
from amity.access.roles import Role, RowRule, TypeGrant
from amity.change import storage
from amity.change.input import writable
from amity.entity import Catalog, Column, EntityType, Kind, ToOne, new_id
from amity.tree import Compare

CANARY = "canary"
"""In every text of every row that the principal may not see."""
FITTING: Mapping[str, str] = {"channel": "letter", "currency": "USD", "locale": "en"}
"""Values of text columns that take only some, by their names."""


@dataclass
class World:
    """Ids by entity. ``bridges`` are rows that may be seen themselves, and refer to one that may not."""

    mine: dict[str, list[UUID]] = field(default_factory=dict)
    theirs: dict[str, list[UUID]] = field(default_factory=dict)
    bridges: dict[tuple[str, str], UUID] = field(default_factory=dict)

    def texts(self, catalog: Catalog) -> Iterator[str]:
        """What must not be in any answer."""
        yield CANARY
        for name, ids in self.theirs.items():
            for id in ids:
                yield f"{catalog[name].prefix}_{id.hex}"


def in_order(catalog: Catalog) -> list[EntityType]:
    """Entities after those that they refer to."""
    done: list[EntityType] = []
    waiting = list(catalog.values())
    while waiting:
        known = {entity.name for entity in done}
        ready = [
            entity
            for entity in waiting
            if all(link.target in {*known, entity.name} or link.column.nullable for link in entity.to_one.values())
        ]
        assert ready, f"in a circle: {', '.join(entity.name for entity in waiting)}"
        done += ready
        waiting = [entity for entity in waiting if entity not in ready]
    return done


class Maker:
    """Makes rows of any entity: every column that can be set has a value."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.catalog = session.crm.catalog
        self.count = itertools.count(1)

    def row(self, entity: EntityType, secret: bool, links: Mapping[str, Sequence[UUID]]) -> dict[str, Any]:
        """A row whose references lead to the last of ``links``."""
        found: dict[str, Any] = {}
        references = {link.column.name: link.target for link in entity.to_one.values()}
        generic = {name for item in entity.generic.values() for name in (item.type_column, item.id_column)}
        money = {name for item in entity.money.values() for name in (item.amount, item.currency)}
        for name in writable(self.catalog, entity, "create", read_only=True):
            if name in money or name in generic or name in ("id", "stage_entered_at"):
                continue
            if entity.is_staged and name == "pipeline_id":
                continue  # the stage brings it
            if name == "external_id" and name not in entity.columns:
                continue
            if name in entity.money:
                found[name] = {"amount": 100 + secret, "currency": "USD"}
            elif name in references:
                if links.get(references[name]):
                    found[name] = links[references[name]][-1]
            else:
                found[name] = self.value(entity.columns[name], secret)
        for item in entity.generic.values():
            target = next(name for name in ("Customer", *item.targets) if name in item.targets and links.get(name))
            found[item.type_column], found[item.id_column] = self.catalog[target].code, links[target][-1]
        return found

    def value(self, column: Column, secret: bool) -> Any:
        number = next(self.count)
        match column.kind:
            case Kind.TEXT if column.choices:
                return column.choices[0]
            case Kind.TEXT if column.name in FITTING:
                return FITTING[column.name]
            case Kind.TEXT:
                text = f"{CANARY if secret else 'plain'}{number}"
                return f"{text}@example.com" if column.name in ("email", "address") else text[: column.max_length]
            case Kind.INT | Kind.BIGINT:
                return number
            case Kind.FLOAT:
                return number / 2
            case Kind.BOOLEAN:
                return column.name == "active"
            case Kind.DATETIME:
                return datetime(2026, 1, 1 + number % 28, tzinfo=UTC)
            case Kind.DATE:
                return date(2026, 1, 1 + number % 28)
            case Kind.JSON:
                return {"text": f"{CANARY if secret else 'plain'}{number}"}
            case Kind.ID:
                return new_id()
        raise AssertionError(column)

    async def add(self, entity: EntityType, row: dict[str, Any], secret: bool = False) -> UUID:
        """The row in the database; optional columns that do not take such a value are left out."""
        if not entity.is_entity:
            return await self.note(entity, row, secret)
        while True:
            result = await self.session.create(entity.name, [row], read_only=True)
            if not result.errors:
                id = result.ids[0]
                assert id is not None
                return id
            for error in result.errors:
                name = str(error.path[0]) if error.path else ""
                optional = name in row and (name not in entity.columns or entity.columns[name].has_default)
                assert optional, f"{entity.name}: {error}"
                del row[name]

    async def note(self, entity: EntityType, row: dict[str, Any], secret: bool) -> UUID:
        """A row of a log, straight into its table: the core alone writes those, each in its own way."""
        id = new_id()
        values = {name: self.value(column, secret) for name, column in entity.columns.items()}
        values |= {name: value for name, value in row.items() if name in entity.columns} | {"id": id}

        async def add(joined: Session) -> None:
            assert joined.unit is not None
            await storage.insert(joined.unit.transaction, entity, [values])

        await self.session.transact(add)
        return id


async def make_world(crm: Crm) -> World:
    """Rows of every entity, on both sides, and the bridges between them."""
    maker, world, catalog = Maker(crm.acting_as(SYSTEM)), World(), crm.catalog
    written = [entity for entity in in_order(catalog) if entity.name not in ("Event", "StageMove")]
    for side, secret in ((world.mine, False), (world.theirs, True)):
        for entity in written:
            # what is made for itself along the way, like the stage of a first move, counts as well
            side.setdefault(entity.name, []).append(
                await maker.add(entity, maker.row(entity, secret, side), secret)
            )
    for entity in written:
        for name, link in entity.to_one.items():
            if (entity.is_staged and name == "pipeline") or not _free(entity, link):
                continue
            row = maker.row(entity, False, {**world.mine, link.target: world.theirs[link.target]})
            for other in entity.to_one.values():
                if other.target == link.target and other is not link:
                    row[other.column.name] = world.mine[link.target][0] if not other.column.nullable else None
            id = await maker.add(entity, row)
            world.mine[entity.name].append(id)
            world.bridges[entity.name, name] = id
    await _along(crm, world)
    return world


def _free(entity: EntityType, link: ToOne) -> bool:
    """Whether a second row can refer to the same one."""
    return all(key.columns != (link.column.name,) for key in entity.unique)


async def _along(crm: Crm, world: World) -> None:
    """Sorts what the core wrote by itself, moves and events, to the sides that it tells of."""
    catalog = crm.catalog
    secret = {id.hex for ids in world.theirs.values() for id in ids}
    for name in ("StageMove", "Event"):
        entity = catalog[name]
        table = f'"{entity.table}"'
        rows = await crm.database.read(f"SELECT id, entity_id FROM {table}")
        for id, about in rows:
            side = world.theirs if UUID(str(about)).hex in secret else world.mine
            side.setdefault(name, []).append(UUID(str(id)))


def half(catalog: Catalog, world: World, verbs: Sequence[str] = VERBS) -> Principal:
    """Somebody who may do these things with one half of the company."""
    grants: dict[Any, TypeGrant] = {}
    for entity in catalog.values():
        rows = RowRule("where", Compare("id", "in", tuple(world.mine.get(entity.name, ()))))
        for verb in VERBS:
            if verb in verbs:
                # new rows are anybody's to add; what they refer to is not
                grants[entity.code, verb] = TypeGrant(RowRule() if verb == "create" else rows, check=RowRule())
    role = Role(f"half {' '.join(verbs)}", grants=grants, permissions=frozenset(("*",)))
    return Principal("user", "usr_half", roles=(role,))


def id_of(catalog: Catalog, entity: str, id: UUID) -> str:
    return f"{catalog[entity].prefix}_{id.hex}"


__all__ = ["CANARY", "Maker", "World", "half", "id_of", "in_order", "make_world"]
