"""Receipts: what became of messages that were sent. Their status only ever moves forward.

A receipt may come before the message that it is about is known to be sent: then it is kept as a job, and
looked at again, for a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel

from ..change import Update, storage
from ..change.delivery import moves_forward
from ..channels import AddressError
from ..contracts import Context, Job
from ..messages import Receipt
from ..model import Interaction, Participant, Undelivered
from . import lookups, text
from .reading import rows_by

if TYPE_CHECKING:
    from ..crm import Session

FIRST_PAUSE = timedelta(seconds=1)
"""How long a receipt waits that came too early; then twice as long each time."""
LONGEST_PAUSE = timedelta(hours=1)
KEPT = timedelta(days=1)
"""How long a receipt may be earlier than its message."""


async def apply(session: Session, connection: UUID, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Moves messages forward, within a unit of work; the receipts of messages that are not known (yet)."""
    assert session.unit is not None
    transaction, now = session.unit.transaction, session.unit.now
    ids = {id(receipt): text.message_id(receipt.message_id) for receipt in receipts}
    known = await lookups.known_messages(transaction, connection, [each for each in ids.values() if each])
    late = [receipt for receipt in receipts if ids[id(receipt)] not in known]
    about = [(known[ids[id(r)]].id, r) for r in receipts if ids[id(r)] in known]
    if not about:
        return late
    entity = session.crm.catalog.of(Interaction)
    columns = ("id", "delivery", "delivered_at", "failure", "direction", "channel", "address")
    found = [message for message, _ in about]
    rows = await storage.select(transaction, entity, found, columns=columns, lock="update")
    copies = await _of_copies(session, about, rows)
    patches: dict[UUID, dict[str, Any]] = {}
    for message, receipt in about:
        row = rows.get(message)
        if row is not None and row["direction"] == "outbound" and id(receipt) not in copies:
            patch = patches.setdefault(message, {})
            patch |= _patch({**row, **patch}, receipt, now)
    changes = [Update(message, patch) for message, patch in patches.items() if patch]
    if changes:
        await session.update(Interaction, changes, read_only=True)
    return late


async def _of_copies(
    session: Session, about: Sequence[tuple[UUID, Receipt]], rows: Mapping[UUID, Mapping[str, Any]]
) -> set[int]:
    """Receipts of those who got a copy: what became of that is not what became of the customer's message."""
    elsewhere: list[tuple[UUID, Receipt, str]] = []
    for message, receipt in about:
        if receipt.address and message in rows:
            address = _normal(session, rows[message]["channel"], receipt.address)
            if address != rows[message]["address"]:
                elsewhere.append((message, receipt, address))
    if not elsewhere:
        return set()
    messages = sorted({message for message, _, _ in elsewhere})
    parties = await rows_by(session, Participant, "interaction_id", messages, "interaction_id", "role", "address")
    got = {(row["interaction_id"], row["address"]) for row in parties if row["role"] in ("to", "cc", "bcc")}
    return {id(receipt) for message, receipt, address in elsewhere if (message, address) in got}


def _normal(session: Session, channel: str, address: str) -> str:
    try:
        return session.crm.composition.kinds.normalize(channel, address, session.crm.settings.default_region)
    except (AddressError, LookupError):
        return address.strip()


def _patch(row: Mapping[str, Any], receipt: Receipt, now: datetime) -> dict[str, Any]:
    """What a receipt changes in a message; nothing if the message has come further already."""
    if row["delivery"] is None or not moves_forward(row["delivery"], receipt.status):
        return {}
    at = receipt.occurred_at
    at = now if at is None or at.tzinfo is None or at > now else at.astimezone(UTC)
    patch: dict[str, Any] = {"delivery": receipt.status}
    if receipt.status == "failed":
        patch["failure"] = text.clean(receipt.reason) or "it could not be delivered; the channel does not say why"
    else:
        patch["failure"] = None
        if receipt.status in ("delivered", "read") and row["delivered_at"] is None:
            patch["delivered_at"] = at
    return patch


class KeptReceipt(BaseModel):
    """A receipt, as a job keeps it."""

    message_id: str
    status: str
    occurred_at: datetime | None = None
    reason: str | None = None
    permanent: bool = False
    address: str | None = None


class ReceiptsToApply(BaseModel):
    """Receipts that came before their messages were known."""

    connection_id: UUID
    receipts: list[KeptReceipt]
    since: datetime
    pause: float = FIRST_PAUSE.total_seconds()

    @classmethod
    def of(cls, connection: UUID, receipts: Sequence[Receipt], since: datetime) -> ReceiptsToApply:
        kept = [KeptReceipt.model_validate(text.plain(_told(receipt))) for receipt in receipts]
        return cls(connection_id=connection, receipts=kept, since=since)

    def again(self, receipts: Sequence[Receipt]) -> ReceiptsToApply:
        pause = min(self.pause * 2, LONGEST_PAUSE.total_seconds())
        return ReceiptsToApply.of(self.connection_id, receipts, self.since).model_copy(update={"pause": pause})


def _told(receipt: Receipt) -> dict[str, Any]:
    told = asdict(receipt)
    told["occurred_at"] = receipt.occurred_at.isoformat() if receipt.occurred_at is not None else None
    return told


async def apply_receipts(context: Context, payload: ReceiptsToApply) -> None:
    """Looks again for the messages of receipts; after a day, receipts of none are kept as ``Undelivered``."""
    receipts = [Receipt(**kept.model_dump()) for kept in payload.receipts]
    now = datetime.now(UTC)

    async def work(joined: Session) -> None:
        late = await apply(joined, payload.connection_id, receipts)
        if not late:
            return
        if now - payload.since < KEPT:
            due = now + timedelta(seconds=payload.pause)
            await joined.enqueue("apply_receipts", payload.again(late), due_at=due)
            return
        rows = [
            {
                "connection_id": payload.connection_id,
                "reference": text.clean(receipt.message_id, 1000),
                "reason": f"a receipt ({receipt.status}) of a message that is not known",
                "occurred_at": payload.since,
            }
            for receipt in late
        ]
        await joined.create(Undelivered, rows, on_error="skip_invalid")

    await context.session.transact(work)


APPLY_RECEIPTS: Job[ReceiptsToApply] = Job("apply_receipts", ReceiptsToApply, apply_receipts)

__all__ = ["APPLY_RECEIPTS", "ReceiptsToApply", "apply", "apply_receipts"]
