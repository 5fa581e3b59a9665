"""Sending: a message is an interaction that is queued in the caller's transaction, and leaves with a job.

A batch costs the same number of statements whatever its size: one for each kind of record that it names, one
for consent, one for the last words of the other side, and an insert for each table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ..change import Update, storage
from ..change.storage import Keys, join
from ..channels import AddressError
from ..contracts import Action, Context, IdOf, Permission, UserError
from ..entity import Kind, new_id
from ..entity.values import decode
from ..model import (
    Connection,
    ContactPoint,
    Conversation,
    Customer,
    Deal,
    File,
    Interaction,
    MessageReference,
    Participant,
    Template,
)
from . import lookups, outbox, text, threads
from .acting import core_of, user_of, visible
from .connections import NotUsable, Opened, open_connections
from .consent import PURPOSE, SERVICE, Ask, allowed
from .reading import reader, rows_by
from .templates import Rendered, RenderRequest, Unrendered, render

if TYPE_CHECKING:
    from ..crm import Session

SEND_MESSAGE = Permission("core.send_message", "Send messages to customers")


class SendMessageInput(BaseModel):
    """A message to a customer, or to an address: an answer in a conversation, or the beginning of one."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(Interaction)] | None = Field(
        default=None, description="Its id, made by the sender: sent twice with the same id, it is queued once"
    )
    conversation_id: Annotated[UUID, IdOf(Conversation)] | None = Field(
        default=None, description="The conversation that it belongs to; a new one, or the last one, by default"
    )
    reply_to_id: Annotated[UUID, IdOf(Interaction)] | None = Field(
        default=None,
        description="The message that it answers; its conversation is taken by default",
    )
    connection_id: Annotated[UUID, IdOf(Connection)] | None = Field(
        default=None, description="The connection that it leaves by; the conversation's by default"
    )
    channel: str | None = Field(
        default=None, description="The channel, where no connection is named and the channel has only one"
    )
    customer_id: Annotated[UUID, IdOf(Customer)] | None = Field(
        default=None, description="The customer; found by the address where it is not given"
    )
    address: str | None = Field(
        default=None, description="The address; the conversation's, or the customer's on this channel, by default"
    )
    name: str | None = Field(default=None, max_length=300, description="Name to write with the address")
    cc: list[str] = Field(default_factory=list, max_length=100, description="Addresses that get a copy")
    bcc: list[str] = Field(
        default_factory=list, max_length=100, description="Addresses that get a copy, which nobody else sees"
    )
    subject: str | None = Field(default=None, max_length=500, description="Subject, one line")
    body: str | None = Field(default=None, max_length=1_000_000, description="Plain text")
    html: str | None = Field(default=None, max_length=1_000_000, description="HTML, for channels that take it")
    template_id: Annotated[UUID, IdOf(Template)] | None = Field(
        default=None, description="A template, in the place of subject, body and html"
    )
    variables: dict[str, Any] = Field(default_factory=dict, description="What the template asks for by name")
    language: str | None = Field(
        default=None, max_length=35, description="Language (BCP 47) of the template; the customer's by default"
    )
    purpose: str | None = Field(
        default=None,
        pattern=f"^({PURPOSE})$",
        description="What it is sent for: service by default, marketing or another word; consent is by purpose",
    )
    file_ids: list[Annotated[UUID, IdOf(File)]] = Field(
        default_factory=list, max_length=100, description="Files that go with it"
    )
    deal_id: Annotated[UUID, IdOf(Deal)] | None = Field(default=None, description="The deal that it is about")


class _Wrong(Exception):
    """Why a message can't be queued."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code


@dataclass
class _Draft:
    """A message as far as it is known."""

    item: SendMessageInput
    id: UUID
    opened: Opened
    conversation: Mapping[str, Any] | None
    customer: UUID | None
    address: str
    asked: UUID | None
    """Who is asked for consent: the customer, also where the sender may not see that the address is theirs."""
    deal: UUID | None = None
    purpose: str = SERVICE
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    language: str | None = None

    @property
    def channel(self) -> str:
        found: str = self.opened.row["channel"]
        return found


async def send_message(context: Context, inputs: Sequence[SendMessageInput]) -> Sequence[UUID | UserError]:
    """Queues messages; see :class:`SendMessageInput`. They leave once the transaction is committed."""
    return await _Queueing(context.session, inputs).run()


class _Queueing:
    """One batch."""

    def __init__(self, session: Session, inputs: Sequence[SendMessageInput]) -> None:
        assert session.unit is not None
        self.session = session
        self.inputs = inputs
        self.now = session.unit.now
        self.transaction = session.unit.transaction
        self.results: dict[int, UUID | UserError] = {}
        self.drafts: dict[int, _Draft] = {}

    async def run(self) -> Sequence[UUID | UserError]:
        await self._known()
        await self._drafted()
        await self._written()
        await self._may_leave()
        await self._queue()
        return [self.results[index] for index in range(len(self.inputs))]

    def _refuse(self, index: int, problem: _Wrong) -> None:
        self.drafts.pop(index, None)
        self.results[index] = UserError(index, (problem.field,), problem.code, str(problem))

    def _open(self) -> list[int]:
        return [index for index in range(len(self.inputs)) if index not in self.results]

    async def _known(self) -> None:
        """Messages that were queued before, by their id."""
        given = {index: item.id for index, item in enumerate(self.inputs) if item.id is not None}
        if not given:
            return
        rows = await rows_by(
            self.session, Interaction, "id", list(given.values()), "direction", "delivery", live=False
        )
        there = {row["id"]: row for row in rows}
        seen = await visible(self.session, Interaction, list(there))
        first: dict[UUID, int] = {}
        for index, id in given.items():
            row = there.get(id)
            if row is not None and (id not in seen or row["direction"] != "outbound" or row["delivery"] is None):
                self._refuse(index, _Wrong("id", "taken", "another interaction has this id"))
            elif row is not None:
                self.results[index] = id
            elif id in first:
                self._refuse(index, _Wrong("id", "duplicate", "an earlier message of the batch has this id"))
            else:
                first[id] = index

    # --- to whom, by what ------------------------------------------------------------------------------------

    async def _drafted(self) -> None:
        items = {index: self.inputs[index] for index in self._open()}
        session = self.session
        answered = [item.reply_to_id for item in items.values() if item.reply_to_id is not None]
        seen_answered = await visible(session, Interaction, answered)
        of = {
            row["id"]: row["conversation_id"]
            for row in await rows_by(session, Interaction, "id", sorted(seen_answered), "conversation_id")
        }
        place = {index: item.conversation_id or of.get(item.reply_to_id) for index, item in items.items()}
        seen = await visible(session, Conversation, list(place.values()))
        entity = session.crm.catalog.of(Conversation)
        conversations = await storage.select(self.transaction, entity, sorted(seen), lock="update") if seen else {}
        customers = await visible(session, Customer, [item.customer_id for item in items.values()])
        named = [item.deal_id for item in items.values()]
        deals = await visible(session, Deal, [*named, *(row["deal_id"] for row in conversations.values())])
        connections = await self._connections(items.values(), conversations.values())
        wanted = {item.customer_id for item in items.values() if item.customer_id is not None and not item.address}
        points = await rows_by(session, ContactPoint, "customer_id", sorted(wanted)) if wanted else []
        for index, item in items.items():
            try:
                if item.reply_to_id is not None and item.reply_to_id not in seen_answered:
                    raise _Wrong("reply_to_id", "not_found", "there is no such interaction")
                if item.conversation_id is not None and item.conversation_id not in conversations:
                    raise _Wrong("conversation_id", "not_found", "there is no such conversation")
                if item.customer_id is not None and item.customer_id not in customers:
                    raise _Wrong("customer_id", "not_found", "there is no such customer")
                if item.deal_id is not None and item.deal_id not in deals:
                    raise _Wrong("deal_id", "not_found", "there is no such deal")
                conversation = conversations.get(place[index])  # type: ignore[arg-type]
                opened = self._connection(item, conversation, connections)
                address = self._address(item, conversation, opened, points)
            except _Wrong as problem:
                self._refuse(index, problem)
                continue
            customer = item.customer_id or (conversation["customer_id"] if conversation is not None else None)
            deal = item.deal_id or (conversation["deal_id"] if conversation is not None else None)
            self.drafts[index] = _Draft(
                item,
                item.id or new_id(),
                opened,
                conversation,
                customer,
                address,
                customer,
                deal if deal in deals else None,
            )
        await self._whose([draft for draft in self.drafts.values() if draft.customer is None])

    async def _whose(self, drafts: Sequence[_Draft]) -> None:
        """Customers by their addresses. One whom the sender may not see is asked for consent, and not told."""
        if not drafts:
            return
        found = await core_of(self.session).resolve([(draft.channel, draft.address) for draft in drafts])
        seen = await visible(self.session, Customer, [person.customer_id for person in found])
        for draft, person in zip(drafts, found, strict=True):
            draft.asked = person.customer_id
            draft.customer = person.customer_id if person.customer_id in seen else None

    async def _connections(self, items: Any, conversations: Any) -> dict[UUID, Opened | NotUsable]:
        """The connections that are named, and the active ones of channels that are, as far as they are seen.

        Whoever may answer in a conversation needs no right to its connection.
        """
        asked = {item.connection_id for item in items}
        channels = {item.channel for item in items if item.channel is not None}
        if channels:
            rows = await rows_by(self.session, Connection, "channel", sorted(channels), "active")
            asked |= {row["id"] for row in rows if row["active"]}
        seen = await visible(self.session, Connection, list(asked))
        implied = {row["connection_id"] for row in conversations}
        wanted = sorted(id for id in seen | implied if id is not None)
        return await open_connections(self.session, wanted) if wanted else {}

    def _connection(
        self,
        item: SendMessageInput,
        conversation: Mapping[str, Any] | None,
        connections: Mapping[UUID, Opened | NotUsable],
    ) -> Opened:
        field = "connection_id"
        id = item.connection_id or (conversation["connection_id"] if conversation is not None else None)
        if id is None:
            if item.channel is None:
                raise _Wrong(field, "required", "a conversation, a connection or a channel is needed to send by")
            field = "channel"
            if item.channel not in self.session.crm.composition.channels:
                known = ", ".join(sorted(self.session.crm.composition.channels)) or "none"
                raise _Wrong(
                    field, "invalid", f"nothing can be sent by the channel {item.channel!r}; enabled are {known}"
                )
            having = [
                found
                for found in connections.values()
                if isinstance(found, Opened) and found.row["channel"] == item.channel and found.row["active"]
            ]
            if len(having) != 1:
                told = f"{len(having)} connections; name one" if having else "no connection that is active"
                raise _Wrong(field, "invalid", f"the channel {item.channel!r} has {told}")
            opened: Opened | NotUsable | None = having[0]
        else:
            opened = connections.get(id)
        if opened is None:
            raise _Wrong(field, "not_found", "there is no such connection")
        if isinstance(opened, NotUsable):
            raise _Wrong(field, "refused", str(opened))
        if not opened.row["active"]:
            raise _Wrong(field, "refused", f"the connection {opened.row['name']!r} is not active")
        if not opened.channel.can.sends:
            raise _Wrong(field, "refused", f"the channel {opened.channel.name!r} sends nothing")
        if item.channel is not None and item.channel != opened.row["channel"]:
            raise _Wrong("channel", "invalid", f"the connection is one of the channel {opened.row['channel']!r}")
        return opened

    def _address(
        self,
        item: SendMessageInput,
        conversation: Mapping[str, Any] | None,
        opened: Opened,
        points: Sequence[Mapping[str, Any]],
    ) -> str:
        if item.address is not None:
            return _normal(opened, "address", item.address)
        channel = opened.row["channel"]
        if conversation is not None and conversation["address"] and conversation["channel"] == channel:
            return str(conversation["address"])
        kin = self.session.crm.composition.kinds.kin(channel)
        theirs = [p for p in points if p["customer_id"] == item.customer_id and p["channel"] in kin]
        if item.customer_id is None or not theirs:
            whom = "the customer has no address" if item.customer_id is not None else "there is no address"
            raise _Wrong("address", "required", f"{whom} on the channel {channel!r}")
        best = min(theirs, key=lambda p: (not p["primary"], p["channel"] != channel, p["created_at"], p["id"]))
        return str(best["address"])

    # --- what ------------------------------------------------------------------------------------------------

    async def _written(self) -> None:
        """Texts, from templates where they are named."""
        by_template = {i: d for i, d in self.drafts.items() if d.item.template_id is not None}
        requests = [
            RenderRequest(
                template=draft.item.template_id,  # type: ignore[arg-type]
                customer=draft.customer,
                user=user_of(self.session),
                deal=draft.deal,
                conversation=draft.conversation["id"] if draft.conversation else None,
                language=draft.item.language,
                default_language=draft.opened.row["default_language"],
                variables=draft.item.variables,
            )
            for draft in by_template.values()
        ]
        rendered = dict(zip(by_template, await render(self.session, requests), strict=True))
        for index, draft in list(self.drafts.items()):
            try:
                _fill(draft, rendered.get(index))
            except _Wrong as problem:
                self._refuse(index, problem)

    async def _may_leave(self) -> None:
        """Consent, and the channel's reply window."""
        asks = [Ask(d.asked, d.channel, d.address, d.purpose) for d in self.drafts.values()]
        answers = dict(zip(self.drafts, await allowed(self.session, asks) if asks else [], strict=True))
        await self._copies_may_leave()
        windowed = [
            draft
            for draft in self.drafts.values()
            if draft.opened.channel.can.templates_only_after is not None and draft.item.template_id is None
        ]
        heard = await _last_heard(self.session, windowed) if windowed else {}
        for index, draft in list(self.drafts.items()):
            answer = answers[index]
            window = draft.opened.channel.can.templates_only_after
            if not answer.allowed:
                self._refuse(index, _Wrong("purpose", "refused", answer.reason or "there is no consent"))
            elif window is not None and draft.item.template_id is None:
                at = heard.get((draft.opened.row["id"], draft.address))
                if at is None or self.now - at > window:
                    message = (
                        f"the other side did not write within {window}; until it does, the channel "
                        f"{draft.channel!r} takes templates only"
                    )
                    self._refuse(index, _Wrong("template_id", "refused", message))

    async def _copies_may_leave(self) -> None:
        """Consent of those who get copies: a copy is a message, too."""
        copies = [
            (index, role, Ask(None, draft.channel, _normal(draft.opened, role, address), draft.purpose))
            for index, draft in self.drafts.items()
            for role in ("cc", "bcc")
            for address in getattr(draft.item, role)
        ]
        if not copies:
            return
        answers = await allowed(self.session, [ask for _, _, ask in copies])
        for (index, role, ask), answer in zip(copies, answers, strict=True):
            if not answer.allowed and index in self.drafts:
                self._refuse(index, _Wrong(role, "refused", f"{ask.address}: {answer.reason}"))

    # --- into the outbox -------------------------------------------------------------------------------------

    async def _queue(self) -> None:
        if not self.drafts:
            return
        user = user_of(self.session)
        core = core_of(self.session)
        taken = await self._files()
        if not self.drafts:
            return
        place = await self._conversations(core, user)
        rows = {index: self._row(draft, place[index], user) for index, draft in self.drafts.items()}
        made = await self.session.create(Interaction, list(rows.values()), on_error="skip_invalid", read_only=True)
        places = list(rows)
        for error in made.errors:
            index = places[error.index]
            field = str(error.path[0]) if error.path else "id"
            self._refuse(index, _Wrong(field, error.code, error.message))
        references: dict[UUID, dict[str, UUID]] = defaultdict(dict)
        leaving: dict[UUID, list[UUID]] = defaultdict(list)
        people: list[dict[str, Any]] = []
        for index, draft in self.drafts.items():
            connection = draft.opened.row["id"]
            self.results[index] = draft.id
            references[connection][rows[index]["message_id"]] = place[index]
            leaving[connection].append(draft.id)
            people += _people(draft, user)
        if people:
            await core.create(Participant, people, on_error="skip_invalid")
        files = [
            Update(file, {"interaction_id": self.drafts[i].id}) for file, i in taken.items() if i in self.drafts
        ]
        if files:
            await core.update(File, files, read_only=True)
        entity = self.session.crm.catalog.of(MessageReference)
        for connection, of in references.items():
            await threads.remember(self.transaction, entity, connection, of)
        await outbox.enqueue(self.session, leaving)

    def _row(self, draft: _Draft, conversation: UUID, user: UUID | None) -> dict[str, Any]:
        item = draft.item
        return {
            "id": draft.id,
            "customer_id": draft.customer,
            "user_id": user,
            "conversation_id": conversation,
            "connection_id": draft.opened.row["id"],
            "deal_id": draft.deal,
            "reply_to_id": item.reply_to_id,
            "template_id": item.template_id,
            "channel": draft.channel,
            "direction": "outbound",
            "address": draft.address,
            "subject": draft.subject,
            "body": draft.body,
            "html_source": draft.html,
            "language": draft.language,
            "purpose": draft.purpose,
            "message_id": text.message_id(draft.opened.channel.message_id(draft.opened.connected, draft.id)),
            "delivery": "queued",
            "occurred_at": self.now,
        }

    async def _conversations(self, core: Session, user: UUID | None) -> dict[int, UUID]:
        """Where each message goes: the one named, the last one of a channel without threads, a new one.

        The last one is that of those that the sender may see: who writes in a conversation takes care of it from
        then on, and so sees all of it.
        """
        place: dict[int, UUID] = {}
        going_on = {
            index: draft
            for index, draft in self.drafts.items()
            if draft.conversation is None and not draft.opened.channel.can.subject
        }
        by_connection: dict[UUID, list[str]] = defaultdict(list)
        for draft in going_on.values():
            by_connection[draft.opened.row["id"]].append(draft.address)
        latest = {
            (connection, address): id
            for connection, addresses in by_connection.items()
            for address, id in (
                await lookups.recent(self.transaction, connection, addresses, self.now - threads.WINDOW)
            ).items()
        }
        entity = self.session.crm.catalog.of(Conversation)
        seen = await visible(self.session, Conversation, list(latest.values()))
        latest = {where: id for where, id in latest.items() if id in seen}
        locked = await storage.select(self.transaction, entity, sorted(latest.values()), lock="update")
        begun: dict[UUID, dict[str, Any]] = {}
        touched: dict[UUID, Mapping[str, Any]] = {}
        for index, draft in self.drafts.items():
            where = (draft.opened.row["id"], draft.address)
            row = draft.conversation
            if row is None and index in going_on and where in latest:
                row = locked.get(latest[where])
            if row is not None:
                place[index] = row["id"]
                touched[row["id"]] = row
                continue
            id = new_id()
            place[index] = id
            begun[id] = {
                "id": id,
                "customer_id": draft.customer,
                "connection_id": where[0],
                "channel": draft.channel,
                "subject": draft.subject,
                "address": draft.address,
                "team_id": draft.opened.row["team_id"],
                "assignee_id": user,
                "deal_id": draft.deal,
                "started_at": self.now,
                "last_at": self.now,
            }
            if index in going_on:
                latest[where] = id
                locked[id] = begun[id]
        if begun:
            await core.create(Conversation, list(begun.values()), read_only=True)
        changes = []
        for id, row in touched.items():
            if id in begun:
                continue
            patch: dict[str, Any] = {"last_at": max(self.now, row["last_at"])}
            if row["assignee_id"] is None and user is not None:
                patch["assignee_id"] = user
            changes.append(Update(id, patch))
        if changes:
            await core.update(Conversation, changes, read_only=True)
        return place

    async def _files(self) -> dict[UUID, int]:
        """The files that messages take along; each goes with one."""
        wanted = {file for draft in self.drafts.values() for file in draft.item.file_ids}
        if not wanted:
            return {}
        seen = await visible(self.session, File, sorted(wanted))
        rows = await rows_by(self.session, File, "id", sorted(seen), "interaction_id", "state")
        free = {row["id"] for row in rows if row["interaction_id"] is None and row["state"] == "stored"}
        taken: dict[UUID, int] = {}
        for index, draft in list(self.drafts.items()):
            try:
                if draft.item.file_ids and not draft.opened.channel.can.media:
                    raise _Wrong("file_ids", "refused", f"the channel {draft.channel!r} takes no files")
                for file in draft.item.file_ids:
                    if file not in free:
                        raise _Wrong("file_ids", "not_found", "there is no such file, or another message has it")
                    if taken.setdefault(file, index) != index:
                        raise _Wrong("file_ids", "taken", "an earlier message of the batch takes it along")
            except _Wrong as problem:
                self._refuse(index, problem)
        return taken


def _normal(opened: Opened, field: str, address: str) -> str:
    try:
        return opened.channel.normalize(address, opened.connected.region)
    except AddressError as problem:
        raise _Wrong(field, "invalid", str(problem)) from None


def _fill(draft: _Draft, rendered: Rendered | Unrendered | None) -> None:
    item, can = draft.item, draft.opened.channel.can
    if item.template_id is not None:
        if item.subject or item.body or item.html:
            raise _Wrong("template_id", "invalid", "there is a text as well; give one of them")
        if isinstance(rendered, Unrendered):
            raise _Wrong("template_id", "refused", rendered.reason)
        assert rendered is not None
        if rendered.channel is not None and rendered.channel != draft.channel:
            message = f"the template is for the channel {rendered.channel!r}, not {draft.channel!r}"
            raise _Wrong("template_id", "invalid", message)
        draft.subject, draft.body, draft.html = rendered.subject, rendered.body, rendered.html
        draft.language = rendered.language
        draft.purpose = item.purpose or rendered.purpose
    else:
        draft.subject, draft.body, draft.html = item.subject, item.body, item.html
        draft.language, draft.purpose = item.language, item.purpose or SERVICE
    draft.subject = text.line(draft.subject, 500) if can.subject else None
    draft.body, draft.html = text.clean(draft.body), text.clean(draft.html) if can.html else None
    if not (draft.body or draft.html or item.file_ids):
        needed = "a text" if can.html else f"a plain text, as the channel {draft.channel!r} takes no HTML,"
        raise _Wrong("body", "required", f"{needed} is needed")
    if can.max_length is not None and len(draft.body or "") > can.max_length:
        message = f"has {len(draft.body or '')} characters; the channel {draft.channel!r} takes {can.max_length}"
        raise _Wrong("body", "invalid", message)
    for name in ("cc", "bcc"):
        for address in getattr(item, name):
            _normal(draft.opened, name, address)


def _people(draft: _Draft, user: UUID | None) -> list[dict[str, Any]]:
    item = draft.item
    people: list[dict[str, Any]] = [
        {"interaction_id": draft.id, "role": "to", "address": draft.address, "name": text.line(item.name, 300)}
    ]
    for role, addresses in (("cc", item.cc), ("bcc", item.bcc)):
        for address in dict.fromkeys(_normal(draft.opened, role, each) for each in addresses):
            people.append({"interaction_id": draft.id, "role": role, "address": address})
    if user is not None:
        people.append({"interaction_id": draft.id, "role": "agent", "user_id": user})
    return people


async def _last_heard(session: Session, drafts: Sequence[_Draft]) -> dict[tuple[UUID, str], datetime]:
    """When each address last wrote to its connection, by one statement."""
    reads = reader(session)
    columns = (("connection", Kind.ID), ("address", Kind.TEXT))
    pairs = list(dict.fromkeys((draft.opened.row["id"], draft.address) for draft in drafts))
    keys = Keys(reads.dialect, columns, pairs)
    rows = await reads.fetch(
        f"SELECT c.connection_id, c.address, max(t.occurred_at) FROM {keys.sql} {join(reads.dialect)} "
        "core_conversation c ON c.connection_id = k.connection AND c.address = k.address "
        "JOIN core_interaction t ON t.conversation_id = c.id AND t.direction = 'inbound' AND NOT t.automatic "
        "AND t.deleted_at IS NULL GROUP BY c.connection_id, c.address",
        keys.parameters,
    )
    return {
        (UUID(str(connection)), address): decode(Kind.DATETIME, at, reads.dialect)
        for connection, address, at in rows
    }


SENDING_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "send_message",
        SendMessageInput,
        run=send_message,
        permission=SEND_MESSAGE.name,
        entity=Interaction,
        description="Queues messages to customers; they leave by their channel, if consent allows it",
    ),
)

__all__ = [
    "SENDING_ACTIONS",
    "SEND_MESSAGE",
    "SendMessageInput",
    "send_message",
]
