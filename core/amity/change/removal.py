"""Deleting and restoring: with what hangs on a row, level by level, each level in one statement a relation.

A deleted row stays in its table with ``deleted_at`` set; to everybody it is gone. What is deleted with it
carries the same time, and comes back with it.

=============  ==============================================================================================
``on_delete``  what a deletion does to the rows that refer to the deleted one
=============  ==============================================================================================
CASCADE        they are deleted too; so are rows that refer to it by a generic reference
RESTRICT       while one of them lives, the deletion is refused
SET NULL       nothing is written: the reference reads as null, and as before once the row is restored
=============  ==============================================================================================

Logs (stage moves, events) stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..contracts import ChangeResult, Proposed
from ..entity import Catalog, EntityType
from . import keys, rights, storage
from .draft import Draft, told
from .input import Item, read_id
from .plugins import validate
from .refusals import Refusals
from .unit import in_unit
from .write import EntityName, check_mode, editable, nothing

if TYPE_CHECKING:
    from ..crm import Session

Row = Mapping[str, Any]
_COLUMNS = ("deleted_at", "version", "updated_at")
_DELETED_AT = ("deleted_at",)


@dataclass(frozen=True)
class _Holder:
    """Rows of ``entity`` whose ``column`` holds the id of a row."""

    entity: EntityType
    column: str
    rule: str
    field: str
    condition: str = ""


@dataclass(frozen=True)
class _Member:
    """A row that a deletion or restoration reaches, and the item of the batch that it is reached from."""

    row: Row
    index: int


Reached = dict[str, dict[UUID, _Member]]
"""Rows by entity and id, in the order in which they were reached."""


async def delete(
    session: Session, entity: EntityName, ids: Sequence[UUID | str], *, on_error: str = "reject_all"
) -> ChangeResult:
    """Deletes rows and what belongs to them. ``deleted`` counts the rows that were asked for.

    Raises :class:`~amity.access.AccessDenied`.
    """
    kind = editable(session, entity)
    check_mode(on_error)
    rights.authorize(session, kind, "delete")
    refusals = Refusals()
    wanted = _ids(session, kind, ids, refusals)

    async def work(joined: Session) -> ChangeResult:
        found = Refusals(refusals.errors)
        rows = await rights.load(joined, kind, sorted(wanted), "delete", "delete")
        roots = _present(kind, wanted, rows, found)
        while True:
            reached = await _belonging(joined, kind, roots)
            await _check_held(joined, reached, found)
            await _validate(joined, reached, found, deleting=True)
            left = {id: member for id, member in roots.items() if member.index not in found}
            if len(left) == len(roots) or on_error == "reject_all":
                break
            roots = left
        if found and on_error == "reject_all":
            return nothing(len(ids), found)
        await _write(joined, reached, deleting=True)
        return ChangeResult(ids=_aligned(len(ids), roots), errors=found.sorted(), deleted=len(roots))

    return await in_unit(session, work) if wanted else nothing(len(ids), refusals)


async def restore(
    session: Session, entity: EntityName, ids: Sequence[UUID | str], *, on_error: str = "reject_all"
) -> ChangeResult:
    """Brings deleted rows back, and what was deleted with them by the same change.

    Refused where a unique key was taken meanwhile, or where what a row belongs to is still deleted. Rows that
    are not deleted count as unchanged. Whoever may delete may restore; raises
    :class:`~amity.access.AccessDenied`.
    """
    kind = editable(session, entity)
    check_mode(on_error)
    rights.authorize(session, kind, "delete")
    refusals = Refusals()
    wanted = _ids(session, kind, ids, refusals)

    async def work(joined: Session) -> ChangeResult:
        found = Refusals(refusals.errors)
        rows = await rights.load(joined, kind, sorted(wanted), "delete", "delete", live=False)
        present = _present(kind, wanted, rows, found)
        alive = {id: member for id, member in present.items() if member.row["deleted_at"] is None}
        roots = {id: member for id, member in present.items() if id not in alive}
        while True:
            reached = await _deleted_with(joined, kind, roots)
            await _check_parents(joined, kind, reached, found)
            for name, members in reached.items():
                await keys.check(joined, joined.crm.catalog[name], _drafts(members), found)
            await _validate(joined, reached, found, deleting=False)
            left = {id: member for id, member in roots.items() if member.index not in found}
            if len(left) == len(roots) or on_error == "reject_all":
                break
            roots = left
        if found and on_error == "reject_all":
            return nothing(len(ids), found)
        await _write(joined, reached, deleting=False)
        return ChangeResult(
            ids=_aligned(len(ids), {**alive, **roots}),
            errors=found.sorted(),
            restored=len(roots),
            unchanged=len(alive),
        )

    return await in_unit(session, work) if wanted else nothing(len(ids), refusals)


# --- what was asked for -----------------------------------------------------------------------------------


def _ids(session: Session, entity: EntityType, ids: Sequence[UUID | str], refusals: Refusals) -> dict[UUID, int]:
    wanted: dict[UUID, int] = {}
    for index, value in enumerate(ids):
        id = read_id(session.crm.catalog, entity, index, value, refusals)
        if id in wanted:
            message = "an earlier item of this batch names the same record"
            refusals.refuse(index, ("id",), "duplicate", message)
        elif id is not None:
            wanted[id] = index
    return wanted


def _present(
    entity: EntityType, wanted: Mapping[UUID, int], rows: Mapping[UUID, Row], refusals: Refusals
) -> dict[UUID, _Member]:
    for id, index in wanted.items():
        if id not in rows:
            refusals.refuse(index, ("id",), "not_found", f"there is no such {keys.named(entity)}")
    return {id: _Member(rows[id], index) for id, index in wanted.items() if id in rows}


def _aligned(count: int, members: Mapping[UUID, _Member]) -> tuple[UUID | None, ...]:
    ids: list[UUID | None] = [None] * count
    for id, member in members.items():
        ids[member.index] = id
    return tuple(ids)


# --- what hangs on a row ----------------------------------------------------------------------------------


def _holders(catalog: Catalog, target: EntityType) -> Iterator[_Holder]:
    """What refers to rows of an entity."""
    for entity in catalog.values():
        for relation in entity.to_one.values():
            if relation.target == target.name:
                field = f"{entity.name}.{relation.name}"
                yield _Holder(entity, relation.column.name, relation.on_delete, field)
        for generic in entity.generic.values():
            if target.name in generic.targets and entity.is_entity:
                condition = f"t.\"{generic.type_column}\" = '{target.code}'"
                field = f"{entity.name}.{generic.name}"
                yield _Holder(entity, generic.id_column, "CASCADE", field, condition)


async def _reach(
    session: Session,
    entity: EntityType,
    roots: Mapping[UUID, _Member],
    live: bool,
    takes: Callable[[Row, Row], bool],
) -> Reached:
    """The roots and everything that hangs on them by CASCADE. ``takes(parent, child)`` decides on each row."""
    assert session.unit is not None
    catalog = session.crm.catalog
    reached: Reached = {entity.name: dict(roots)}
    frontier: dict[str, dict[UUID, _Member]] = {entity.name: dict(roots)}
    while frontier:
        following: dict[str, dict[UUID, _Member]] = defaultdict(dict)
        for name, parents in frontier.items():
            for holder in _holders(catalog, catalog[name]):
                if holder.rule != "CASCADE" or not holder.entity.is_entity:
                    continue
                rows = await storage.select_by(
                    session.unit.transaction,
                    holder.entity,
                    holder.column,
                    list(parents),
                    lock="delete",
                    live=live,
                    condition=holder.condition,
                )
                known = reached.setdefault(holder.entity.name, {})
                for id, row in rows.items():
                    parent = parents[row[holder.column]]
                    if id not in known and takes(parent.row, row):
                        known[id] = following[holder.entity.name][id] = _Member(row, parent.index)
        frontier = following
    return {name: members for name, members in reached.items() if members}


async def _belonging(session: Session, entity: EntityType, roots: Mapping[UUID, _Member]) -> Reached:
    return await _reach(session, entity, roots, True, lambda parent, child: True)


async def _deleted_with(session: Session, entity: EntityType, roots: Mapping[UUID, _Member]) -> Reached:
    def together(parent: Row, child: Row) -> bool:
        return bool(child["deleted_at"] == parent["deleted_at"])

    return await _reach(session, entity, roots, False, together)


async def _check_held(session: Session, reached: Reached, refusals: Refusals) -> None:
    """Refuses what living rows hold by RESTRICT, unless they go too."""
    assert session.unit is not None
    tx = session.unit.transaction
    catalog = session.crm.catalog
    for name, members in reached.items():
        target = catalog[name]
        for holder in _holders(catalog, target):
            if holder.rule != "RESTRICT":
                continue
            rows = await storage.select_by(
                tx,
                holder.entity,
                holder.column,
                list(members),
                columns=("id", holder.column),
                condition=holder.condition,
            )
            going = reached.get(holder.entity.name, {})
            holding = [id for id in rows if id not in going]
            seen = await _seen(session, holder, holding)
            count: dict[UUID, int] = defaultdict(int)
            for id in holding:
                count[rows[id][holder.column]] += id in seen
            for id, number in count.items():
                if not number:
                    # nothing is told of what can't be seen
                    message = (
                        f"other records refer to the {keys.named(target)}; they must be deleted or changed first"
                    )
                    refusals.refuse(members[id].index, ("id",), "held", message)
                    continue
                one = number == 1
                others = keys.named(holder.entity) if one else holder.entity.plural.replace("_", " ")
                message = (
                    f"{number} {others} {'refers' if one else 'refer'} to the {keys.named(target)} "
                    f"({holder.field}); delete or change {'it' if one else 'them'} first"
                )
                refusals.refuse(members[id].index, ("id",), "held", message)


async def _seen(session: Session, holder: _Holder, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the rows that the principal may know to refer to something."""
    fields = session.rights.fields(holder.entity, "read")
    field = holder.entity.field_of.get(holder.column, holder.column)
    if fields is not None and field not in fields:
        return set()
    return await rights.visible(session, holder.entity, ids)


async def _check_parents(session: Session, entity: EntityType, reached: Reached, refusals: Refusals) -> None:
    """Nothing comes back without what it belongs to.

    Rows that were asked for are refused. Others stay deleted until all that they belong to is back.
    """
    assert session.unit is not None
    tx = session.unit.transaction
    catalog = session.crm.catalog
    wanted: dict[str, set[UUID]] = defaultdict(set)
    for name, members in reached.items():
        for member in members.values():
            for _, target, id in _parents(catalog, catalog[name], member.row):
                if id not in reached.get(target, {}):
                    wanted[target].add(id)
    alive = {
        name: await storage.select(tx, catalog[name], sorted(ids), columns=("id",), lock="reference")
        for name, ids in sorted(wanted.items())
    }
    removed = True
    while removed:
        removed = False
        for name, members in reached.items():
            for id, member in list(members.items()):
                missing = [
                    (column, target)
                    for column, target, parent in _parents(catalog, catalog[name], member.row)
                    if parent not in reached.get(target, {}) and parent not in alive.get(target, {})
                ]
                if not missing:
                    continue
                removed = True
                del members[id]
                if name == entity.name and member.index not in refusals:
                    for column, target in missing:
                        message = (
                            f"the {keys.named(catalog[target])} that it belongs to is deleted; restore that first"
                        )
                        refusals.refuse(member.index, (column,), "not_found", message)


def _parents(catalog: Catalog, entity: EntityType, row: Row) -> Iterator[tuple[str, str, UUID]]:
    """(column, entity, id) of everything that a row can't be without."""
    for relation in entity.to_one.values():
        if relation.on_delete != "SET NULL" and row[relation.column.name] is not None:
            yield relation.column.name, relation.target, row[relation.column.name]
    for generic in entity.generic.values():
        referred = catalog.by_code(row[generic.type_column])
        if referred is not None and row[generic.id_column] is not None:
            yield generic.id_column, referred.name, row[generic.id_column]


# --- writing ----------------------------------------------------------------------------------------------


def _drafts(members: Mapping[UUID, _Member]) -> list[Draft]:
    return [
        Draft(Item(member.index, None, {}), id, None, {**member.row, "deleted_at": None})
        for id, member in members.items()
    ]


async def _validate(session: Session, reached: Reached, refusals: Refusals, *, deleting: bool) -> None:
    changed = frozenset(_DELETED_AT)
    for name, members in reached.items():
        proposals = [
            Proposed(
                member.index,
                id,
                member.row if deleting else None,
                None if deleting else {**member.row, "deleted_at": None},
                changed,
            )
            for id, member in members.items()
            if member.index not in refusals
        ]
        await validate(session, session.crm.catalog[name], proposals, refusals)


async def _write(session: Session, reached: Reached, *, deleting: bool) -> None:
    unit = session.unit
    assert unit is not None
    catalog = session.crm.catalog
    for name, members in reached.items():
        entity = catalog[name]
        after = {
            id: {
                **member.row,
                "deleted_at": unit.now if deleting else None,
                "version": member.row["version"] + 1,
                "updated_at": unit.now,
            }
            for id, member in members.items()
        }
        await storage.update(unit.transaction, entity, list(after.values()), _COLUMNS)
        for id, member in members.items():
            unit.record(
                session,
                "deleted" if deleting else "restored",
                entity,
                id,
                told(catalog, entity, member.row, _DELETED_AT),
                told(catalog, entity, after[id], _DELETED_AT),
            )
