"""The end of a unit: who listens in the transaction, then the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events.sequence import new_batch
from ..model import Event
from . import storage
from .errors import ChangeError
from .plugins import listen

if TYPE_CHECKING:
    from ..crm import Session

MAX_ROUNDS = 10


async def flush(session: Session) -> None:
    """Hands the unit's events to in-transaction subscribers, then writes them to the log as one batch.

    What subscribers write makes events too, which are handed out in the next round.
    """
    unit = session.unit
    assert unit is not None
    done = 0
    for _ in range(MAX_ROUNDS):
        if len(unit.events) == done:
            break
        fresh, done = unit.events[done:], len(unit.events)
        await listen(session, fresh)
    else:
        if len(unit.events) > done:
            types = ", ".join(sorted({event.type for event in unit.events[done:]}))
            raise ChangeError(
                f"in-transaction subscribers keep causing each other's events ({types}), "
                f"{MAX_ROUNDS} rounds so far; let one of them write only what has changed"
            )
    if not unit.events:
        return
    batch = await new_batch(unit.transaction)
    entity = session.crm.catalog.of(Event)
    make_id = entity.columns["id"].default
    await storage.insert(
        unit.transaction,
        entity,
        [
            {
                "id": make_id(),
                "batch": batch,
                "number": event.number,
                "type": event.type,
                "entity_type": event.entity_type,
                "entity_id": event.entity_id,
                "actor": event.actor,
                "change_id": event.change_id,
                "origin": event.origin,
                "before": event.before,
                "after": event.after,
                "occurred_at": event.occurred_at,
            }
            for event in unit.events
        ],
    )
