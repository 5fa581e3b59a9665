"""The outbox: queued messages leave by their channels, each at least once, with the same message id every time.

A message is marked ``sending`` before the channel is called and ``sent`` after it said so, each in a
transaction of its own. Whatever is killed in between, the job is run again and finds the message ``sending``:
whether it had left nobody knows, so it is sent once more, and whoever gets it twice can tell by its id.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel

from ..change import Update, storage
from ..change.delivery import moves_forward
from ..change.storage import Keys, join
from ..contracts import Context, Job
from ..entity import Kind
from ..entity.values import encode
from ..messages import Outbound, OutboundFile, Party, Refused, Sent
from ..model import Conversation, File, Interaction, MessageReference, Participant
from . import text, threads
from .connections import NotUsable, Opened, open_connections
from .consent import SERVICE, Ask, allowed, withdrawal_token
from .failures import tell
from .reading import reader, rows_by
from .secrets import SecretsError

if TYPE_CHECKING:
    from ..crm import Crm, Session

ATTEMPTS = 10
"""After so many, a message is given up."""
TOGETHER = 500
"""Messages of one job."""
LEFT_BEHIND = timedelta(minutes=15)
"""After this time without a job, a message that is not sent gets another one."""
THREAD = 30
"""Message ids of its conversation that a message names at most."""


class MessagesToSend(BaseModel):
    """Which messages of a connection are to be sent."""

    connection_id: UUID
    ids: list[UUID]


class NotSent(Exception):
    """Raised by the job while some of its messages have to be tried again."""


async def enqueue(session: Session, messages: Mapping[UUID, Sequence[UUID]]) -> None:
    """Asks for messages to be sent, by connection, within the session's transaction."""
    for connection, ids in messages.items():
        for group in storage.chunks(ids, TOGETHER):
            await session.enqueue("send_messages", MessagesToSend(connection_id=connection, ids=list(group)))


async def send_messages(context: Context, payload: MessagesToSend) -> None:
    """Sends what is not sent yet of these messages. Raises :class:`NotSent` if some must be tried again."""
    session = context.session
    opened = (await open_connections(session, [payload.connection_id])).get(payload.connection_id)
    if opened is None:
        await _give_up(session, payload.ids, "the connection that it was to be sent by is gone")
        return
    if isinstance(opened, NotUsable):
        raise NotSent(str(opened))
    if not opened.row["active"]:
        return  # they are asked for again once it is active
    problems: list[str] = []
    for number, group in enumerate(storage.chunks(payload.ids, opened.channel.batch)):
        context.progress(number * opened.channel.batch, len(payload.ids))
        begun = await session.transact(lambda joined, group=group: _begin(joined, opened, group))  # type: ignore[misc]
        if not begun:
            continue
        results, trouble = await _sent(opened, begun)
        if trouble is not None or any(isinstance(result, Sent) for result in results):
            await tell(session, payload.connection_id, "sending", trouble)
        problems += await session.transact(
            lambda joined, begun=begun, results=results: _end(joined, opened, begun, results)  # type: ignore[misc]
        )
    if problems:
        raise NotSent(f"{len(problems)} of {len(payload.ids)} messages are to be tried again: {problems[0]}")


async def _sent(opened: Opened, messages: Sequence[Outbound]) -> tuple[Sequence[Sent | Refused], str | None]:
    """What the channel says; a failure of the channel is one of each message, to be tried again, and told."""
    channel = opened.channel
    try:
        async with asyncio.timeout(channel.timeout) as limit:
            results = await channel.send(opened.connected, messages)
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            reason = f"the channel took longer than {channel.timeout:g} seconds"
        else:
            reason = opened.told(f"{type(error).__name__}: {error}")
        return [Refused(reason, permanent=False)] * len(messages), reason
    if len(results) != len(messages) or not all(isinstance(result, (Sent, Refused)) for result in results):
        reason = f"the channel {channel.name!r} returned {len(results)} results for {len(messages)} messages"
        return [Refused(reason, permanent=False)] * len(messages), reason
    return results, None


# --- before ------------------------------------------------------------------------------------------------


async def _begin(session: Session, opened: Opened, ids: Sequence[UUID]) -> list[Outbound]:
    """The messages that are to be sent now, marked as being sent; those that must not be sent have failed."""
    assert session.unit is not None
    entity = session.crm.catalog.of(Interaction)
    rows = await storage.select(session.unit.transaction, entity, ids, lock="update")
    waiting = [row for id in ids if (row := rows.get(id)) and row["delivery"] in ("queued", "sending")]
    if not waiting:
        return []
    answers = await allowed(
        session,
        [Ask(row["customer_id"], row["channel"], row["address"], row["purpose"] or SERVICE) for row in waiting],
    )
    now, changes = [], []
    for row, answer in zip(waiting, answers, strict=True):
        failure = None
        if not answer.allowed:
            failure = answer.reason
        elif row["attempts"] >= ATTEMPTS:
            failure = f"given up after {ATTEMPTS} attempts; {row['failure'] or 'the last one was interrupted'}"
        if failure is not None:
            changes.append(Update(row["id"], {"delivery": "failed", "failure": failure}))
        else:
            now.append(row)
            changes.append(Update(row["id"], {"delivery": "sending", "attempts": row["attempts"] + 1}))
    await session.update(Interaction, changes, read_only=True)
    return await _outbound(session, opened, now)


async def _outbound(session: Session, opened: Opened, rows: Sequence[Mapping[str, Any]]) -> list[Outbound]:
    """Rows as the channel gets them: five statements, however many they are."""
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    files: dict[UUID, list[OutboundFile]] = defaultdict(list)
    for file in await rows_by(session, File, "interaction_id", ids):
        if file["state"] == "stored":
            files[file["interaction_id"]].append(_file(session.crm, file))
    parties: dict[UUID, list[Party]] = defaultdict(list)
    for party in await rows_by(session, Participant, "interaction_id", ids):
        if party["role"] != "agent" and party["address"] is not None:
            parties[party["interaction_id"]].append(Party(party["role"], party["address"], party["name"]))
    conversations = [row["conversation_id"] for row in rows if row["conversation_id"] is not None]
    keys = {row["id"]: row["key"] for row in await rows_by(session, Conversation, "id", conversations, "key")}
    so_far = await _threads(session, conversations)
    can = opened.channel.can
    return [
        Outbound(
            id=row["id"],
            message_id=row["message_id"],
            address=row["address"],
            name=next(
                (p.name for p in parties[row["id"]] if p.role == "to" and p.address == row["address"]), None
            ),
            subject=row["subject"] if can.subject else None,
            body=row["body"],
            html=row["html_source"] if can.html else None,
            parties=parties[row["id"]],
            media=files[row["id"]],
            replies_to=_before(row, so_far.get(row["conversation_id"], ())),
            conversation=keys.get(row["conversation_id"]),
            unsubscribe=_unsubscribe(session.crm, opened, row),
            purpose=row["purpose"] or SERVICE,
            attempt=row["attempts"] + 1,
            automatic=row["automatic"],
        )
        for row in rows
    ]


def _name(parties: Sequence[Party], address: str) -> str | None:
    return next((party.name for party in parties if party.role == "to" and party.address == address), None)


def _file(crm: Crm, row: Mapping[str, Any]) -> OutboundFile:
    key: str = row["storage_key"]
    opening: Callable[[], AsyncIterator[bytes]] = lambda: crm.storage.open(key)  # noqa: E731
    return OutboundFile(
        row["name"], row["media_type"], row["size"], opening, content_id=row["content_id"], inline=row["inline"]
    )


@dataclass(frozen=True)
class _Said:
    id: UUID
    message_id: str
    at: str


async def _threads(session: Session, conversations: Sequence[UUID]) -> dict[UUID, list[_Said]]:
    """The newest messages of conversations that have an id, oldest first."""
    reads = reader(session)
    keys = Keys(reads.dialect, (("given", Kind.ID),), [(id,) for id in dict.fromkeys(conversations)])
    rows = await reads.fetch(
        "SELECT conversation_id, id, name, occurred_at FROM (SELECT t.conversation_id, t.id, "
        "coalesce(t.remote_id, t.message_id) AS name, t.occurred_at, row_number() OVER "
        "(PARTITION BY t.conversation_id ORDER BY t.occurred_at DESC, t.id DESC) AS place "
        f"FROM {keys.sql} {join(reads.dialect)} core_interaction t ON t.conversation_id = k.given "
        "AND t.message_id IS NOT NULL AND t.deleted_at IS NULL) s "
        f"WHERE place <= {2 * THREAD} ORDER BY occurred_at, id",
        keys.parameters,
    )
    found: dict[UUID, list[_Said]] = defaultdict(list)
    for conversation, id, name, at in rows:
        found[UUID(str(conversation))].append(_Said(UUID(str(id)), name, at))
    return found


def _before(row: Mapping[str, Any], said: Sequence[_Said]) -> list[str]:
    """What was said before a message, what it answers last."""
    ids = [each.id for each in said]
    earlier = said[: ids.index(row["id"])] if row["id"] in ids else said
    answers = [each.message_id for each in earlier if each.id == row["reply_to_id"]]
    return [each.message_id for each in earlier if each.message_id not in answers][-THREAD:] + answers


def _unsubscribe(crm: Crm, opened: Opened, row: Mapping[str, Any]) -> str | None:
    purpose = row["purpose"] or SERVICE
    if purpose == SERVICE or opened.connected.public_url is None:
        return None
    try:
        token = withdrawal_token(crm.settings, Ask(row["customer_id"], row["channel"], row["address"], purpose))
    except SecretsError:
        return None
    return f"{opened.connected.public_url}/unsubscribe/{token}"


# --- after -------------------------------------------------------------------------------------------------


async def _end(
    session: Session, opened: Opened, messages: Sequence[Outbound], results: Sequence[Sent | Refused]
) -> list[str]:
    """Notes what the channel said; the reasons of those that are to be tried again."""
    assert session.unit is not None
    transaction, now = session.unit.transaction, session.unit.now
    entity = session.crm.catalog.of(Interaction)
    columns = ("id", "delivery", "conversation_id", "message_id", "attempts", "delivered_at")
    rows = await storage.select(
        transaction, entity, [message.id for message in messages], columns=columns, lock="update"
    )
    changes: list[Update] = []
    again: list[str] = []
    named: dict[str, UUID] = {}
    for message, result in zip(messages, results, strict=True):
        row = rows.get(message.id)
        if row is None:
            continue
        patch: dict[str, Any] = {}
        if isinstance(result, Sent):
            if moves_forward(row["delivery"], result.status):
                patch = {"delivery": result.status, "failure": None}
                if result.status == "delivered":
                    patch["delivered_at"] = now
            if result.message_id and (remote := text.message_id(result.message_id)) != row["message_id"]:
                patch["remote_id"] = remote
                if row["conversation_id"] is not None:
                    named[remote] = row["conversation_id"]
        elif moves_forward(row["delivery"], "failed") and row["delivery"] != "sent":
            reason = text.clean(result.reason) or "the channel refused it, and does not say why"
            patch = {"failure": reason}
            if result.permanent or row["attempts"] >= ATTEMPTS:
                patch["delivery"] = "failed"
            else:
                again.append(reason)
        if patch:
            changes.append(Update(message.id, patch))
    if changes:
        await session.update(Interaction, changes, read_only=True)
    if named:
        references = session.crm.catalog.of(MessageReference)
        await threads.remember(transaction, references, opened.row["id"], named)
    return again


async def _give_up(session: Session, ids: Sequence[UUID], reason: str) -> None:
    async def work(joined: Session) -> None:
        assert joined.unit is not None
        entity = joined.crm.catalog.of(Interaction)
        rows = await storage.select(joined.unit.transaction, entity, ids, lock="update")
        changes = [
            Update(id, {"delivery": "failed", "failure": reason})
            for id, row in rows.items()
            if row["delivery"] in ("queued", "sending")
        ]
        if changes:
            await joined.update(Interaction, changes, read_only=True)

    await session.transact(work)


async def ask_again(session: Session) -> None:
    """Has messages sent that were left behind: their connection was paused, or their job died with its process."""
    reads = reader(session)
    before = encode(Kind.DATETIME, datetime.now(UTC) - LEFT_BEHIND, reads.dialect)
    place = "?1" if reads.dialect == "sqlite" else "$1"
    rows = await reads.fetch(
        "SELECT t.id, t.connection_id FROM core_interaction t JOIN core_connection c ON c.id = t.connection_id "
        "AND c.active AND c.deleted_at IS NULL WHERE t.delivery IN ('queued', 'sending') "
        f"AND t.deleted_at IS NULL AND t.updated_at < {place} AND NOT EXISTS (SELECT 1 FROM core_job_run j "
        "WHERE j.job = 'send_messages' AND j.state IN ('queued', 'running') "
        f'AND j."key" = CAST(t.connection_id AS text)) ORDER BY t.id LIMIT {10 * TOGETHER}',
        (before,),
    )
    left: dict[UUID, list[UUID]] = defaultdict(list)
    for id, connection in rows:
        left[UUID(str(connection))].append(UUID(str(id)))
    await enqueue(session, left)


SEND_MESSAGES: Job[MessagesToSend] = Job(
    "send_messages",
    MessagesToSend,
    send_messages,
    key=lambda payload: str(payload.connection_id),
    attempts=ATTEMPTS + 1,
    timeout=timedelta(minutes=30),
)

__all__ = ["ATTEMPTS", "SEND_MESSAGES", "MessagesToSend", "NotSent", "ask_again", "enqueue", "send_messages"]
