"""Ids that other systems have for records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from ..entity import EntityType, Kind, new_id
from ..model import ExternalId
from . import rights, storage
from .draft import Blank, Draft, Telling
from .input import Item
from .keys import named
from .refusals import Refusals

if TYPE_CHECKING:
    from ..crm import Session

Pair = tuple[str, str]
"""(system, id in that system)"""


async def find(session: Session, entity: EntityType, pairs: Sequence[Pair]) -> dict[Pair, UUID]:
    """The records of an entity by what other systems call them, in one statement."""
    assert session.unit is not None
    tx = session.unit.transaction
    ids = session.crm.catalog.of(ExternalId)
    found: dict[Pair, UUID] = {}
    columns = [("system", Kind.TEXT), ("external_id", Kind.TEXT), ("entity_type", Kind.TEXT)]
    on = "WHERE" if tx.dialect == "sqlite" else "ON"
    # what no text may have, none has; PostgreSQL takes it for a mistake
    wanted = [pair for pair in dict.fromkeys(pairs) if not any("\0" in part for part in pair)]
    for chunk in storage.chunks(wanted):
        keys = storage.Keys(tx.dialect, columns, [(*pair, entity.code) for pair in chunk])
        rows = await tx.fetch(
            f'SELECT k.n, t."entity_id" FROM {keys.sql} {storage.join(tx.dialect)} {storage.table_of(ids)} t '
            f'{on} t."system" = k."system" AND t."entity_type" = k."entity_type" '
            f'AND t."external_id" = k."external_id" AND t."deleted_at" IS NULL',
            keys.parameters,
        )
        for n, id in rows:
            found[chunk[n - 1]] = UUID(id) if isinstance(id, str) else UUID(int=id.int)
    return found


async def check(
    session: Session,
    entity: EntityType,
    drafts: Sequence[Draft],
    refusals: Refusals,
    *,
    looked_up: bool = False,
) -> list[Draft]:
    """Refuses external ids that lead to another record; the drafts whose external id is still to be added.

    Where drafts were ``looked_up`` by it, the external ids of those that are there are, and no others.
    """
    if looked_up:
        return [draft for draft in drafts if draft.before is None and draft.index not in refusals]
    bringing = [draft for draft in drafts if draft.item.external is not None and draft.index not in refusals]
    if not bringing:
        return []
    known = await find(session, entity, [draft.item.external for draft in bringing if draft.item.external])
    missing = []
    seen: set[Pair] = set()
    for draft in bringing:
        pair = draft.item.external
        assert pair is not None
        holder = known.get(pair)
        if holder is not None and holder != draft.id:
            message = f"another {named(entity)} has the same external id"
            refusals.refuse(draft.index, ("external_id", "id"), "taken", message)
        elif pair in seen:
            message = "an earlier item of this batch has the same external id"
            refusals.refuse(draft.index, ("external_id", "id"), "duplicate", message)
        elif holder is None:
            missing.append(draft)
        seen.add(pair)
    return missing


async def add(session: Session, entity: EntityType, drafts: Sequence[Draft]) -> None:
    """Writes the external ids of drafts that were found to lack them."""
    unit = session.unit
    assert unit is not None
    ids = session.crm.catalog.of(ExternalId)
    blank, telling = Blank.of(ids), Telling.of(session.crm.catalog, ids)
    rows = []
    for draft in drafts:
        assert draft.item.external is not None
        system, id = draft.item.external
        values = {"entity_type": entity.code, "entity_id": draft.id, "system": system, "external_id": id}
        rows.append(blank.fill(Item(draft.index, None, values), new_id(), unit.now))
    await storage.insert(unit.transaction, ids, [row.after for row in rows])
    await rights.check_written(session, ids, [row.id for row in rows], "create")
    unit.record_all(session, "created", ids, [(row.id, None, telling.whole(row.after)) for row in rows])
