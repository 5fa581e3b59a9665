"""The end of a unit: who listens in the transaction, then the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events.sequence import ADD_BATCH, new_batch
from ..model import Event
from . import storage
from .errors import ChangeError
from .plugins import listen, listened

if TYPE_CHECKING:
    from ..crm import Session
    from .unit import Unit

MAX_ROUNDS = 10


async def flush(session: Session) -> None:
    """Hands the unit's events to in-transaction subscribers, then writes them to the log as one batch.

    What subscribers write makes events too, which are handed out in the next round.
    """
    unit = session.unit
    assert unit is not None
    done = 0
    for _ in range(MAX_ROUNDS if listened(session) else 0):
        if len(unit.events) == done:
            break
        fresh, done = unit.log_events(done), len(unit.events)
        await listen(session, fresh)
    else:
        if done and len(unit.events) > done:
            types = ", ".join(sorted({event.type for event in unit.events[done:]}))
            raise ChangeError(
                f"in-transaction subscribers keep causing each other's events ({types}), "
                f"{MAX_ROUNDS} rounds so far; let one of them write only what has changed"
            )
    if unit.events:
        await _log(session, unit)


async def _log(session: Session, unit: Unit) -> None:
    entity = session.crm.catalog.of(Event)
    make_id = entity.columns["id"].default
    count = len(unit.events)
    types, entity_types, entity_ids, actors, origins, before, after = zip(*unit.events, strict=True)
    columns = {
        "id": [make_id() for _ in range(count)],
        "number": range(count),
        "type": types,
        "entity_type": entity_types,
        "entity_id": entity_ids,
        "actor": actors,
        "change_id": (unit.change_id,) * count,
        "origin": origins,
        "before": before,
        "after": after,
        "occurred_at": (unit.now,) * count,
    }
    transaction = unit.transaction
    if transaction.dialect == "postgresql" and count <= storage.CHUNK:
        await transaction.insert(ADD_BATCH, name="batch")
        await storage.insert_columns(transaction, entity, columns, {"batch": "batch.id"}, ", batch")
    else:
        batch = await new_batch(transaction)
        await storage.insert_columns(transaction, entity, {**columns, "batch": (batch,) * count})
