"""Taking in what a connection brings: messages, receipts, and what nobody understands.

A batch is one transaction, and costs the same number of statements whatever its size: one look-up for who it
was, one for what is there already, one for the threads, one insert for each table. A message that the CRM
refuses does not fail the others: it is kept, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from ..access import Principal
from ..change import ChangeError, Resolution, Update
from ..change.errors import Overtaken
from ..channels import AddressError
from ..contracts import ChangeResult
from ..entity import encode_id, new_id
from ..messages import Channel, Inbound, Item, Receipt, Unreadable
from ..model import (
    Connection,
    ContactPoint,
    Conversation,
    Customer,
    File,
    Interaction,
    MessageReference,
    Participant,
    Undelivered,
    User,
)
from . import lookups, text, threads
from .attachments import Attached, MediaToFetch, attach, attach_raw
from .connections import NotUsable, Opened, open_connections
from .consent import Entry, add_entries
from .reading import reader, rows_by
from .receipts import FIRST_PAUSE, ReceiptsToApply, apply
from .threads import Link, Thread

if TYPE_CHECKING:
    from ..crm import Crm, Session

TAKEN_AT_ONCE = 500
"""Items that one transaction takes in."""
PARTIES = 200
"""Participants that are kept of one message."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
"""How far a clock elsewhere may be ahead."""
_log = logging.getLogger("amity.messaging")


@dataclass(frozen=True)
class Delivered:
    """What became of items.

    ``ids`` has for each item, in their order, the interaction that it became, or was before; None for receipts
    and for what could not be taken in.
    """

    ids: Sequence[UUID | None]
    received: int = 0
    """Messages that are new."""
    duplicates: int = 0
    receipts: int = 0
    undelivered: int = 0
    """Items that are kept as ``Undelivered``."""


Also = Callable[["Session"], Awaitable[object]]


async def deliver(crm: Crm, connection_id: UUID, items: Sequence[Item], *, also: Also | None = None) -> Delivered:
    """Takes in what a connection brought, each message once.

    ``also`` is run in the transaction of the last items, where what it brought and how far it was fetched must
    be known together. Raises :class:`~amity.messaging.connections.NotUsable` where there is no such connection
    or its channel is not enabled.
    """
    opened = await connection_of(crm, connection_id)
    done: list[Delivered] = []
    groups = [items[start : start + TAKEN_AT_ONCE] for start in range(0, len(items), TAKEN_AT_ONCE)] or [[]]
    for group in groups:
        last = group is groups[-1]
        done.append(await _deliver(crm, opened, group, also if last else None))
    return Delivered(
        ids=[id for each in done for id in each.ids],
        received=sum(each.received for each in done),
        duplicates=sum(each.duplicates for each in done),
        receipts=sum(each.receipts for each in done),
        undelivered=sum(each.undelivered for each in done),
    )


async def connection_of(crm: Crm, id: UUID) -> Opened:
    """A connection, ready to work with. Raises :class:`~amity.messaging.connections.NotUsable`."""
    found = (await open_connections(crm.acting_as(Principal("plugin", "core")), [id])).get(id)
    if found is None:
        raise NotUsable("there is no such connection")
    if isinstance(found, NotUsable):
        raise found
    return found


def session_of(crm: Crm, opened: Opened) -> Session:
    """The session in which a channel's messages are taken in: the core acts, on behalf of the channel's plugin.

    So a channel needs no rights of its own, and what it brings is told by the origin.
    """
    plugin = crm.composition.channels[opened.row["channel"]].plugin
    origin = f"connection:{encode_id(Connection.options.prefix, opened.row['id'])}"
    return crm.acting_as(Principal("plugin", "core", on_behalf_of=f"plugin:{plugin}"), origin=origin)


class _NotTaken(Exception):
    """Carries why messages were refused, by their place; the transaction is undone and made without them."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = reasons


async def _deliver(crm: Crm, opened: Opened, items: Sequence[Item], also: Also | None) -> Delivered:
    session = session_of(crm, opened)
    now = datetime.now(UTC)
    batch = await _prepared(crm, session, opened, items, now)
    while True:
        try:
            return await session.transact(lambda joined: _Taking(joined, opened, batch).run(also))
        except _NotTaken as refused:
            for index, reason in refused.reasons.items():
                message = batch.messages.pop(index)
                _log.warning("connection %r: a message was not taken in: %s", opened.row["name"], reason)
                raw = await attach_raw(crm, _as_json(message.item))
                batch.unreadable[index] = _Kept(message.item.message_id, reason, raw)


def _as_json(item: Inbound) -> bytes:
    told = {name: value for name, value in asdict(item).items() if name != "media"}
    return orjson.dumps(text.plain(told), default=str)


# --- before the transaction --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Message:
    """A message with everything about it that needs no database."""

    item: Inbound
    id: UUID
    link: Link
    address: str | None
    """In its normal form, or as it came."""
    normal: bool
    at: datetime
    files: Sequence[Attached] = ()

    @property
    def counts(self) -> bool:
        """Whether somebody has to read it."""
        return self.item.direction == "inbound" and not self.item.automatic


@dataclass(frozen=True)
class _Kept:
    reference: str
    reason: str
    raw: Attached | None


@dataclass
class _Batch:
    count: int
    now: datetime
    messages: dict[int, _Message] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    unreadable: dict[int, _Kept] = field(default_factory=dict)


async def _prepared(crm: Crm, session: Session, opened: Opened, items: Sequence[Item], now: datetime) -> _Batch:
    """Reads the items, and stores their bytes, so that the transaction is short."""
    batch = _Batch(len(items), now)
    ids = [text.message_id(item.message_id) for item in items if isinstance(item, Inbound)]
    there = await lookups.known_messages(reader(session), opened.row["id"], ids)
    for index, item in enumerate(items):
        match item:
            case Inbound():
                if not item.message_id.strip():
                    raw = await attach_raw(crm, _as_json(item))
                    batch.unreadable[index] = _Kept("", "the message has no message id", raw)
                    continue
                message = _read(opened, item, now)
                if item.media and message.link.message_id not in there:
                    message = _with_files(message, [await attach(crm, media) for media in item.media])
                batch.messages[index] = message
            case Receipt():
                batch.receipts[index] = item
            case Unreadable():
                kept = await attach_raw(crm, item.raw) if item.raw is not None else None
                batch.unreadable[index] = _Kept(item.reference, item.reason, kept)
    return batch


def _with_files(message: _Message, files: Sequence[Attached]) -> _Message:
    return _Message(
        message.item, message.id, message.link, message.address, message.normal, message.at, tuple(files)
    )


def _read(opened: Opened, item: Inbound, now: datetime) -> _Message:
    address, normal = _normalized(opened.channel, item.address, opened.connected.region)
    at = item.occurred_at
    if at is None or at.tzinfo is None or at < EARLIEST or at > now + AHEAD:
        at = now
    names = threads.named([text.message_id(id) for id in item.replies_to if id.strip()])
    link = Link(
        text.message_id(item.message_id),
        names,
        text.message_id(item.conversation) if item.conversation else None,
        address,
        at.astimezone(UTC),
        # where there is no subject, nothing starts a new matter either
        continues=not opened.channel.can.subject and item.conversation is None,
    )
    return _Message(item, new_id(), link, address, normal, at.astimezone(UTC))


def _normalized(channel: Channel[Any], address: str, region: str) -> tuple[str | None, bool]:
    cleaned = text.line(address, 500)
    if cleaned is None:
        return None, False
    try:
        return channel.normalize(cleaned, region), True
    except AddressError:
        return cleaned, False


# --- within the transaction --------------------------------------------------------------------------------


class _Taking:
    """One batch in its transaction."""

    def __init__(self, session: Session, opened: Opened, batch: _Batch) -> None:
        assert session.unit is not None
        self.session = session
        self.transaction = session.unit.transaction
        self.opened = opened
        self.batch = batch
        self.connection: UUID = opened.row["id"]
        self.channel: str = opened.row["channel"]

    async def run(self, also: Also | None) -> Delivered:
        batch = self.batch
        asked = [message.link.message_id for message in batch.messages.values()]
        answered = [message.link.names[0] for message in batch.messages.values() if message.link.names]
        known = await lookups.known_messages(self.transaction, self.connection, [*asked, *answered])
        new, ids, duplicates = self._new(known)
        if new:
            await self._take(new, known)
        await self._keep_unreadable()
        if batch.receipts:
            late = await apply(self.session, self.connection, list(batch.receipts.values()))
            if late:
                due = batch.now + FIRST_PAUSE
                kept = ReceiptsToApply.of(self.connection, late, batch.now)
                await self.session.enqueue("apply_receipts", kept, due_at=due)
        if also is not None:
            await also(self.session)
        return Delivered(
            ids=[ids.get(index) for index in range(batch.count)],
            received=len(new),
            duplicates=duplicates,
            receipts=len(batch.receipts),
            undelivered=len(batch.unreadable),
        )

    def _new(self, known: Mapping[str, lookups.Known]) -> tuple[dict[int, _Message], dict[int, UUID], int]:
        """The messages that are not here yet, and the interaction that each one is."""
        new: dict[int, _Message] = {}
        ids: dict[int, UUID] = {}
        first: dict[str, UUID] = {}
        for index, message in self.batch.messages.items():
            own = message.link.message_id
            if own in known:
                ids[index] = known[own].id
            elif own in first:
                ids[index] = first[own]
            else:
                new[index] = message
                ids[index] = first[own] = message.id
        return new, ids, len(self.batch.messages) - len(new)

    async def _take(self, new: Mapping[int, _Message], known: Mapping[str, lookups.Known]) -> None:
        people = await self._people(new)
        conversations = self.session.crm.catalog.of(Conversation)
        links = {index: message.link for index, message in new.items()}
        arranged = await threads.arrange(self.transaction, conversations, self.connection, links)
        in_thread = {index: thread for thread in arranged for index in thread.messages}
        customers = {index: _customer(people[index], in_thread[index]) for index in new}
        await self._absorb(arranged)
        await self._open(arranged, new, customers)
        await self._write(new, known, in_thread, people, customers)
        await self._participants(new)
        await self._files(new)
        await self._consent(new, customers)
        own = {id: in_thread[index].id for index, m in new.items() for id in (m.link.message_id, *m.link.names)}
        references = self.session.crm.catalog.of(MessageReference)
        await threads.remember(self.transaction, references, self.connection, own)
        await self._adopt(new)

    # --- who it was ------------------------------------------------------------------------------------------

    async def _people(self, new: Mapping[int, _Message]) -> dict[int, Resolution]:
        """Who wrote each message; whoever is unknown becomes a prospect if the connection says so."""
        asked = {index: message.address for index, message in new.items() if message.normal}
        found = await self.session.resolve([(self.channel, str(address)) for address in asked.values()])
        people = dict(zip(asked, found, strict=True))
        if self.opened.row["creates_prospects"]:
            people |= await self._prospects(new, people)
        return {index: people.get(index, Resolution("unknown")) for index in new}

    async def _prospects(
        self, new: Mapping[int, _Message], people: Mapping[int, Resolution]
    ) -> dict[int, Resolution]:
        unknown = [index for index, person in people.items() if person.status == "unknown" and new[index].counts]
        names: dict[str, str | None] = {}
        for index in unknown:
            address = str(new[index].address)
            names[address] = names.get(address) or text.line(new[index].item.name, 300)
        ids = {address: new_id() for address in names}
        rows = [
            {
                "id": ids[address],
                "kind": "person",
                "name": name or address[:300],
                "source": self.opened.row["name"][:100],
                "team_id": self.opened.row["team_id"],
            }
            for address, name in names.items()
        ]
        if not rows:
            return {}
        made = await self.session.create(Customer, rows, on_error="skip_invalid")
        there = {id for id in made.ids if id is not None}
        points = [
            {"customer_id": id, "channel": self.channel, "address": address, "primary": True}
            for address, id in ids.items()
            if id in there
        ]
        _overtaken(await self.session.create(ContactPoint, points, on_error="skip_invalid"))
        # also of copies and auto-replies in the same batch, which make nobody a prospect by themselves
        return {
            index: Resolution("matched", id, (id,), address)
            for index, person in people.items()
            if person.status == "unknown" and (id := ids.get(address := str(new[index].address))) in there
        }

    # --- conversations ---------------------------------------------------------------------------------------

    async def _absorb(self, arranged: Sequence[Thread]) -> None:
        """Moves everything of conversations that turned out to be one into the oldest of them."""
        into = {row["id"]: thread.id for thread in arranged for row in thread.absorbed}
        if not into:
            return
        moved = await lookups.conversations_of(self.transaction, list(into))
        changes = [Update(id, {"conversation_id": into[conversation]}) for id, conversation in moved.items()]
        await self.session.update(Interaction, changes, read_only=True)
        await lookups.absorb_references(self.transaction, into)
        await self.session.delete(Conversation, list(into))

    async def _open(
        self, arranged: Sequence[Thread], new: Mapping[int, _Message], customers: Mapping[int, UUID | None]
    ) -> None:
        """Begins the new conversations, and says of the others what is new in them."""
        begun: list[dict[str, Any]] = []
        changed: list[Update] = []
        for thread in arranged:
            messages = [new[index] for index in thread.messages]
            first = min(messages, key=lambda message: message.at)
            customer = next((customers[index] for index in thread.messages if customers[index] is not None), None)
            unread = sum(message.counts for message in messages)
            last = max(message.at for message in messages)
            key = next((message.link.key for message in messages if message.link.key), None)
            if thread.row is None:
                begun.append(
                    {
                        "id": thread.id,
                        "customer_id": customer,
                        "connection_id": self.connection,
                        "channel": self.channel,
                        "team_id": self.opened.row["team_id"],
                        "subject": text.line(first.item.subject, 500),
                        "address": first.address,
                        "key": key,
                        "unread": unread,
                        "started_at": first.at,
                        "last_at": last,
                        # what nobody has to answer needs nobody's attention
                        "status": "open" if unread or thread.absorbed else "closed",
                    }
                )
                continue
            rows = [thread.row, *thread.absorbed]
            patch: dict[str, Any] = {
                "unread": sum(row["unread"] for row in rows) + unread,
                "started_at": min(first.at, *(row["started_at"] for row in rows), first.at),
                "last_at": max(last, *(row["last_at"] for row in rows), last),
            }
            if thread.row["customer_id"] is None:
                known = [row["customer_id"] for row in thread.absorbed if row["customer_id"] is not None]
                patch["customer_id"] = known[0] if known else customer
            if unread and thread.row["status"] != "open":
                patch["status"] = "open"
            changed.append(Update(thread.id, patch))
        if begun:
            _must(await self.session.create(Conversation, begun, on_error="skip_invalid", read_only=True))
        if changed:
            _must(await self.session.update(Conversation, changed, on_error="skip_invalid", read_only=True))

    # --- messages --------------------------------------------------------------------------------------------

    async def _write(
        self,
        new: Mapping[int, _Message],
        known: Mapping[str, lookups.Known],
        in_thread: Mapping[int, Thread],
        people: Mapping[int, Resolution],
        customers: Mapping[int, UUID | None],
    ) -> None:
        own = {message.link.message_id: message.id for message in new.values()}
        here = {**{id: message.id for id, message in known.items() if message.live}, **own}
        rows = []
        for index, message in new.items():
            item, thread = message.item, in_thread[index]
            answers = message.link.names[0] if message.link.names else None
            reply_to = here.get(answers) if answers is not None else None
            customer = customers[index]
            rows.append(
                {
                    "id": message.id,
                    "customer_id": customer,
                    "conversation_id": thread.id,
                    "connection_id": self.connection,
                    "deal_id": thread.row["deal_id"] if thread.row is not None else None,
                    "reply_to_id": reply_to if reply_to != message.id else None,
                    "channel": self.channel,
                    "direction": item.direction,
                    "address": message.address if message.normal or item.direction == "inbound" else None,
                    "identity": "matched" if customer is not None else people[index].status,
                    "subject": text.line(item.subject, 500),
                    "body": text.clean(item.body),
                    "html_source": text.clean(item.html),
                    "language": text.line(item.language, 35),
                    "automatic": item.automatic,
                    "message_id": message.link.message_id,
                    "in_reply_to": answers,
                    "delivery": "sent" if item.direction == "outbound" else None,
                    "occurred_at": message.at,
                    "custom_fields": text.plain(item.fields),
                }
            )
        result = await self.session.create(Interaction, rows, on_error="skip_invalid", read_only=True)
        _overtaken(result)
        if result.errors:
            places = list(new)
            told: dict[int, str] = {}
            # an answer to a message that is refused is not to blame
            own_faults = [error for error in result.errors if error.path != ("reply_to_id",)]
            for error in own_faults or result.errors:
                where = ".".join(str(part) for part in error.path)
                told.setdefault(places[error.index], f"{where}: {error.message}" if where else error.message)
            raise _NotTaken(told)

    async def _adopt(self, new: Mapping[int, _Message]) -> None:
        """Links answers that came before what they answer."""
        own = {message.link.message_id: message.id for message in new.values()}
        waiting = await lookups.orphans(self.transaction, self.connection, list(own))
        changes = [
            Update(answer, {"reply_to_id": own[id]})
            for id, answers in waiting.items()
            for answer in answers
            if answer != own[id]
        ]
        if changes:
            await self.session.update(Interaction, changes, read_only=True)

    async def _participants(self, new: Mapping[int, _Message]) -> None:
        """Who wrote it and who got it; customers by their addresses, ours by theirs."""
        found: list[tuple[UUID, str, str, str | None]] = []
        for message in new.values():
            for role, address, name in _parties(message):
                normal, _ = _normalized(self.opened.channel, address, self.opened.connected.region)
                if normal is not None:
                    found.append((message.id, role, normal, name))
        if not found:
            return
        addresses = sorted({address for _, _, address, _ in found})
        kin = self.session.crm.composition.kinds.kin(self.channel)
        points = (
            await self.session.find(ContactPoint)
            .select("id", "address", "channel")
            .where({"channel": {"in": list(kin)}, "address": {"in": addresses}, "shared": {"eq": False}})
            .all()
        )
        users = await self.session.find(User).select("id", "email").where({"email": {"in": addresses}}).all()
        # the same channel's own contact point comes last, and wins
        points.sort(key=lambda point: point["channel"] == self.channel)
        by_address = {point["address"]: point["id"] for point in points}
        by_email = {user["email"]: user["id"] for user in users}
        await self.session.create(
            Participant,
            [
                {
                    "interaction_id": interaction,
                    "role": role,
                    "address": address,
                    "name": text.line(name, 300),
                    "contact_point_id": by_address.get(address),
                    "user_id": by_email.get(address),
                }
                for interaction, role, address, name in found
            ],
            on_error="skip_invalid",
        )

    async def _files(self, new: Mapping[int, _Message]) -> None:
        rows = [file.row(message.id) for message in new.values() for file in message.files]
        if not rows:
            return
        result = await self.session.create(File, rows, read_only=True, on_error="skip_invalid")
        _must(result)
        pending = [row["id"] for row in rows if row["state"] == "pending"]
        if pending:
            await self.session.enqueue("fetch_media", MediaToFetch(ids=pending))

    async def _consent(self, new: Mapping[int, _Message], customers: Mapping[int, UUID | None]) -> None:
        entries = [
            Entry(
                self.channel,
                change.purpose,
                change.state,
                customer=customers[index],
                address=message.address,
                source=text.clean(change.source) or None,
                # what was said a moment ago must not lose against what a wrong clock says is still to come
                occurred_at=min(message.at, self.batch.now),
            )
            for index, message in new.items()
            for change in message.item.consent
        ]
        if entries:
            await add_entries(self.session, entries)

    async def _keep_unreadable(self) -> None:
        kept = await self._not_kept_yet()
        files = [item.raw.row(None) for item in kept if item.raw is not None]
        if files:
            _must(await self.session.create(File, files, read_only=True, on_error="skip_invalid"))
        rows = [
            {
                "connection_id": self.connection,
                "reference": text.clean(item.reference, 1000),
                "reason": text.clean(item.reason),
                "file_id": item.raw.id if item.raw is not None else None,
                "occurred_at": self.batch.now,
            }
            for item in kept
        ]
        if rows:
            _must(await self.session.create(Undelivered, rows, on_error="skip_invalid"))

    async def _not_kept_yet(self) -> list[_Kept]:
        """What could not be understood: the same again, for the same reason, changes nothing."""
        told = [
            (text.clean(item.reference, 1000), text.clean(item.reason)) for item in self.batch.unreadable.values()
        ]
        asked = sorted({reference for reference, _ in told if reference})
        columns = ("connection_id", "reference", "reason")
        rows = await rows_by(self.session, Undelivered, "reference", asked, *columns) if asked else []
        there = {(row["reference"], row["reason"]) for row in rows if row["connection_id"] == self.connection}
        new: list[_Kept] = []
        for item, key in zip(self.batch.unreadable.values(), told, strict=True):
            if key not in there or not key[0]:
                there.add(key)
                new.append(item)
        return new


def _customer(person: Resolution, thread: Thread) -> UUID | None:
    """Whose message it is: of several with one address, the one that the conversation is with."""
    if person.status == "ambiguous" and thread.row is not None:
        theirs: UUID | None = thread.row["customer_id"]
        return theirs if theirs in person.candidates else None
    return person.customer_id


def _parties(message: _Message) -> list[tuple[str, str, str | None]]:
    item = message.item
    parties: list[tuple[str, str, str | None]] = [(p.role, p.address, p.name) for p in item.parties]
    other = "from" if item.direction == "inbound" else "to"
    if not any(role == other for role, _, _ in parties) and message.address is not None:
        parties.insert(0, (other, message.address, item.name))
    return list(dict.fromkeys(parties))[:PARTIES]


def _overtaken(result: ChangeResult) -> None:
    """Has the transaction made again where somebody else was faster; then what they wrote is found."""
    if any(error.code == "taken" for error in result.errors):
        raise Overtaken("the same message or address was stored meanwhile")


def _must(result: ChangeResult) -> None:
    _overtaken(result)
    if result.errors:
        error = result.errors[0]
        raise ChangeError(f"{'.'.join(map(str, error.path))}: {error.message}")


__all__ = ["Delivered", "connection_of", "deliver", "session_of"]
