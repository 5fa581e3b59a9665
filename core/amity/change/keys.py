"""Unique keys: looked up before writing, so that who wrote the input learns what is taken.

The database's own unique indexes have the last word; where another change was faster, the unit is run again
and finds it here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..entity import EntityType, Unique
from . import storage
from .draft import Draft
from .refusals import Path, Refusals

if TYPE_CHECKING:
    from ..crm import Session


async def find(
    session: Session, entity: EntityType, columns: Sequence[str], values: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], UUID]:
    """Live rows by the values of a key, in one statement."""
    assert session.unit is not None
    found: dict[tuple[Any, ...], UUID] = {}
    tx = session.unit.transaction
    kinds = [(name, entity.columns[name].kind) for name in columns]
    matches = " AND ".join(f't."{name}" = k."{name}"' for name in columns)
    live = ' AND t."deleted_at" IS NULL' if entity.is_entity else ""
    for chunk in storage.chunks(list(dict.fromkeys(values))):
        keys = storage.Keys(tx.dialect, kinds, chunk)
        sql = (
            f'SELECT k.n, t."id" FROM {keys.sql} {storage.join(tx.dialect)} {storage.table_of(entity)} t '
            f"{'WHERE' if tx.dialect == 'sqlite' else 'ON'} {matches}{live}"
        )
        for n, id in await tx.fetch(sql, keys.parameters):
            found[chunk[n - 1]] = UUID(id) if isinstance(id, str) else UUID(int=id.int)
    return found


async def check(
    session: Session,
    entity: EntityType,
    drafts: Sequence[Draft],
    refusals: Refusals,
    *,
    known: tuple[str, ...] = (),
) -> None:
    """Refuses drafts whose key another live row has, or an earlier one of the same batch.

    A key counts as taken even if the same batch is about to give it up: databases check row by row. The
    message does not depend on whether the principal may see the other row. Of the key ``known``, new drafts were
    looked for already.
    """
    for key in entity.unique:
        if key.where is None and key.columns == known:
            there = [draft for draft in drafts if draft.before is not None]
            if there:
                await _check(session, entity, key, there, refusals)
            continue
        await _check(session, entity, key, drafts, refusals)


async def check_ids(session: Session, entity: EntityType, drafts: Sequence[Draft], refusals: Refusals) -> None:
    """Refuses ids that were brought along and that another row has or had."""
    assert session.unit is not None
    brought = [draft for draft in drafts if draft.before is None and draft.item.id is not None]
    if not brought:
        return
    taken = await storage.select(
        session.unit.transaction, entity, [draft.id for draft in brought], columns=("id",), live=False
    )
    seen: set[UUID] = set()
    for draft in brought:
        if draft.id in taken:
            refusals.refuse(draft.index, ("id",), "taken", f"another {named(entity)} has this id")
        elif draft.id in seen:
            refusals.refuse(draft.index, ("id",), "duplicate", "an earlier item of this batch has the same id")
        seen.add(draft.id)


def named(entity: EntityType) -> str:
    """``contact point``"""
    return entity.singular.replace("_", " ")


async def _check(
    session: Session, entity: EntityType, key: Unique, drafts: Sequence[Draft], refusals: Refusals
) -> None:
    assert session.unit is not None
    tx = session.unit.transaction
    conditions = set(re.findall(r"\w+", key.where or "")) & set(entity.columns)
    names = list(dict.fromkeys((*key.columns, *sorted(conditions))))
    concerned = [
        draft
        for draft in drafts
        if draft.item.index not in refusals.refused
        and (draft.before is None or any(draft.differs(name) for name in names))
        and all(draft.after[name] is not None for name in key.columns)
    ]
    where = f" WHERE {key.where}" if key.where else ""
    holding = [part for part in ('t."deleted_at" IS NULL' if entity.is_entity else "", key.where or "") if part]
    # only t has columns of these names where the key's own condition is read
    renamed = ", ".join(f'"{name}" AS k_{i}' for i, name in enumerate(key.columns))
    matches = [f't."{name}" = k.k_{i}' for i, name in enumerate(key.columns)]
    on = " AND ".join([*matches, *(f"({part})" for part in holding)])
    first: dict[tuple[Any, ...], int] = {}
    told = " and ".join(key.columns)
    for chunk in storage.chunks(concerned):
        rows_after = [draft.after for draft in chunk]
        keys = storage.Keys(
            tx.dialect,
            [(name, entity.columns[name].kind) for name in names],
            list(zip(*([row[name] for row in rows_after] for name in names), strict=True)),
        )
        sql = (
            f'SELECT k.k_n, t."id" FROM (SELECT n AS k_n, {renamed} FROM {keys.sql}{where}) k '
            f"LEFT JOIN {storage.table_of(entity)} t ON {on}"
        )
        rows = sorted(await tx.fetch(sql, keys.parameters), key=lambda row: int(row[0]))
        for n, holder in rows:
            draft = chunk[n - 1]
            if draft.index in refusals:
                continue
            values = tuple([draft.after[name] for name in key.columns])
            if holder is not None and UUID(str(holder)) != draft.id:
                message = f"another {named(entity)} has the same {told}"
                refusals.refuse(draft.index, _path(draft, key), "taken", message)
            elif first.setdefault(values, draft.index) != draft.index:
                message = f"an earlier item of this batch has the same {told}"
                refusals.refuse(draft.index, _path(draft, key), "duplicate", message)


def _path(draft: Draft, key: Unique) -> Path:
    """The field of the key that was given last."""
    given = (draft.item.path(name) for name in reversed(key.columns) if name in draft.item.values)
    return next(given, (key.columns[-1],))
