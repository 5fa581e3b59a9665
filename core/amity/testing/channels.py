"""What every channel must hold, as one call from a plugin's own test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID, uuid4

from pydantic import SecretStr, ValidationError

from ..access import SYSTEM
from ..contracts import UserError
from ..crm import Crm, Session
from ..entity import encode_id
from ..messages import Channel, Connected, Media, Outbound, OutboundFile, RawRequest, Refused, Sent
from ..messaging.connections import NotUsable, open_connections
from ..messaging.receive import deliver
from ..model import Connection, ContactPoint, Conversation, Customer, File, Interaction, Participant, Undelivered
from ..plugin import Plugin
from ..query.find import Related

PUBLIC_URL = "https://crm.example.com"
"""Where the CRM of the trials is reached, as its connections see it."""
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
"""The file that goes with messages."""

Make = Callable[[Sequence[Plugin[Any]], str | None], AbstractAsyncContextManager[Crm]]


@dataclass(frozen=True)
class Written:
    """A message that somebody on the other side writes.

    ``id`` is what :meth:`ChannelCase.message_id` made of it; ``replies_to`` such an id, or that of a message which
    arrived there. ``url`` is where the connection's webhooks go.
    """

    id: str
    address: str
    text: str
    url: str
    replies_to: str | None = None
    media: Media | None = None


@dataclass(frozen=True)
class Arrived:
    """A message as the other side got it. ``message_id`` is what it can tell a repeated one by."""

    message_id: str
    address: str
    text: str
    files: Sequence[bytes] = ()


class ChannelCase:
    """What only the author of a channel knows: the other side. Derive from it, and define what the channel can do.

    A channel that receives by webhook defines ``inbound`` and ``forged``, one with receipts ``receipt``, one that
    sends ``arrived``. Where messages and receipts come in otherwise than by webhook, it overrides ``bring`` and
    ``tell``.
    """

    account: Mapping[str, Any] = {}
    """Settings of a connection, secrets included."""
    channel: str | None = None
    """The channel it is about, where the plugin has several."""
    threads: bool = True
    """Whether a message says which one it answers."""
    stop: str | None = None
    """A text by which the other side ends all messages, like STOP."""
    refused: str | None = None
    """An address that the other side never takes messages for."""

    def address(self, number: int) -> str:
        """The address of the other side's person of that number, in a form in which it might be written."""
        raise NotImplementedError("define address(number): an address of the channel for each number from 1 to 40")

    def message_id(self, token: str) -> str:
        """The id of a message of the other side, in the channel's form, made from a random word."""
        return token

    def inbound(self, message: Written) -> RawRequest:
        """The request by which a message comes in, signed as the real one would be."""
        raise NotImplementedError("define inbound(message): the webhook request by which a message comes in")

    def forged(self, message: Written) -> RawRequest:
        """The same request by somebody who does not know the secret."""
        raise NotImplementedError("define forged(message): the request of inbound, by who knows no secret")

    def garbled(self, url: str) -> RawRequest | None:
        """A request that is signed, but can't be understood; None if there is none."""
        return None

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        """The request that tells of a message's fate, by the id that ``send`` gave or was given.

        None for a status that the channel never tells.
        """
        raise NotImplementedError("define receipt(url, message_id, status): the webhook request of a receipt")

    async def tell(
        self, crm: Crm, connection: UUID, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> bool:
        """Lets a receipt come in; by default, by the request of ``receipt``. False if there is none for it."""
        request = self.receipt(webhook_of(connection), message_id, status)
        if request is None:
            return False
        answer = await post(crm, request)
        assert answer < 300, f"its webhook answered {answer} to a receipt; expected 2xx"
        return True

    async def arrived(self) -> Sequence[Arrived]:
        """Every message that has arrived at the other side, also repeated ones, oldest first."""
        raise NotImplementedError("define arrived(): the messages that reached the other side")

    async def bring(self, crm: Crm, connection: UUID, messages: Sequence[Written]) -> None:
        """Lets messages come in, in their order; by default, each by a request to the connection's webhook."""
        for message in messages:
            status = await post(crm, self.inbound(message))
            assert status < 300, f"its webhook answered {status} to a genuine message; expected 2xx"


async def assert_channels(plugin: Plugin[Any], case: ChannelCase, make: Make, server_url: str | None) -> None:
    """See :func:`amity.testing.assert_channel`."""
    names = [channel.name for channel in plugin.channels()]
    assert names, f"plugin {plugin.name!r} declares no channel"
    name = case.channel or names[0]
    assert name in names, f"plugin {plugin.name!r} has no channel {name!r}; it has {', '.join(names)}"
    assert case.channel or len(names) == 1, f"set channel in the case, to one of {', '.join(names)}"
    for url in (None, server_url) if server_url else (None,):
        async with make([plugin], url) as crm:
            await _conforms(crm, name, case)


def webhook_of(connection: UUID) -> str:
    """Where a connection's webhooks go, as whoever calls them sees it."""
    return f"{PUBLIC_URL}/connections/{encode_id(Connection.options.prefix, connection)}"


async def post(crm: Crm, request: RawRequest) -> int:
    """Hands a request to the CRM's server, as it would come over the network; the status of its answer."""
    from ..server import app  # an optional dependency

    sent: list[Any] = []
    received = iter([{"type": "http.request", "body": request.body, "more_body": False}])

    async def receive() -> Any:
        return next(received, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {**request.headers, "host": "localhost", "content-length": str(len(request.body))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": urlencode(request.query).encode(),
        "root_path": "",
        "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
    }
    await app(crm, opens=False)(scope, receive, send)
    return int(next(message["status"] for message in sent if message["type"] == "http.response.start"))


# --- the trial ---------------------------------------------------------------------------------------------


@dataclass
class _Trial:
    """One channel on one database, with a connection of the case's account."""

    crm: Crm
    channel: Channel[Any]
    case: ChannelCase
    connection: UUID
    where: str
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def session(self) -> Session:
        return self.crm.acting_as(SYSTEM)

    @property
    def url(self) -> str:
        return webhook_of(self.connection)

    def address(self) -> str:
        """An address that was not used yet."""
        return self.case.address(next(self.numbers))

    def normal(self, address: str) -> str:
        return self.channel.normalize(address, self.crm.settings.default_region)

    def written(self, address: str, text: str | None = None, **more: Any) -> Written:
        token = uuid4().hex
        return Written(self.case.message_id(token), address, text or f"Message {token}", self.url, **more)

    async def bring(self, *messages: Written) -> None:
        await self.case.bring(self.crm, self.connection, messages)
        if any(message.media for message in messages):
            await self.crm.settle()  # files may be fetched in the background

    async def found(self, text: str) -> list[dict[str, Any]]:
        """The interactions with a text."""
        return await (
            self.session.find(Interaction)
            .select(*_SHOWN)
            .where({"body": {"contains": text}})
            .order_by("occurred_at", "id")
            .all()
        )

    async def one(self, text: str, when: str) -> dict[str, Any]:
        found = await self.found(text)
        assert found, f"{self.where}: {when} was not stored{await self._why()}"
        assert len(found) == 1, (
            f"{self.where}: {when} was stored {len(found)} times; its message_id must not change"
        )
        return found[0]

    async def _why(self) -> str:
        """What was told of items that could not be taken in."""
        rows = await self.session.find(Undelivered).select("reason").all()
        return f"; kept as undelivered: {rows[-1]['reason']}" if rows else ""

    async def customer(self, *addresses: str, shared: bool = False) -> UUID:
        made = await self.session.create(Customer, [{"kind": "person", "name": f"Customer {uuid4().hex[:8]}"}])
        id = made.ids[0]
        assert id is not None
        points = [
            {"customer_id": id, "channel": self.channel.name, "address": address, "shared": shared}
            for address in addresses
        ]
        result = await self.session.create(ContactPoint, points)
        assert not result.errors, f"{self.where}: an address of the case is none: {result.errors[0].message}"
        return id

    async def send(
        self, address: str, text: str, **more: Any
    ) -> tuple[dict[str, Any] | None, Sequence[UserError]]:
        """Sends by the action, and waits for the job; the interaction, or what was refused at once."""
        input = {
            "connection_id": encode_id(Connection.options.prefix, self.connection),
            "address": address,
            "body": text,
            **({"subject": "About your order"} if self.channel.can.subject else {}),
            **more,
        }
        result = await self.session.run("send_message", [input])
        if result.errors:
            return None, result.errors
        await self.crm.settle()
        assert result.ids[0] is not None
        return await self.session.find(Interaction).select(*_SHOWN).get(result.ids[0]), ()

    async def arrived(self, text: str) -> list[Arrived]:
        return [message for message in await self.case.arrived() if text in message.text]

    async def opened(self) -> Connected[Any]:
        found = (await open_connections(self.session, [self.connection]))[self.connection]
        assert not isinstance(found, NotUsable), f"{self.where}: its connection can't be opened: {found}"
        return found.connected


_SHOWN = (
    "id",
    "body",
    "address",
    "direction",
    "identity",
    "message_id",
    "remote_id",
    "delivery",
    "failure",
    "customer.id",
    "conversation.id",
    "conversation.unread",
    Related("files", ["name", "size", "state", "failure"]),
)


async def _conforms(crm: Crm, name: str, case: ChannelCase) -> None:
    channel: Channel[Any] = crm.composition.channels[name].value
    where = f"the channel {name!r} on {crm.database.dialect}"
    trial = _Trial(crm, channel, case, await _connected(crm, channel, case, where), where)
    _normalizes(trial)
    comes_in = channel.can.receives or channel.can.fetches or type(case).bring is not ChannelCase.bring
    assert comes_in or channel.can.sends, f"{where} neither sends nor receives; set can = Capabilities(…)"
    if comes_in:
        await _receives(trial)
        await _takes_duplicates_once(trial)
        await _finds_who_it_was(trial)
        if case.threads:
            await _keeps_threads(trial)
        if channel.can.media:
            await _takes_files_in(trial)
    if channel.can.receives:
        await _refuses_forged(trial)
        await _keeps_what_is_garbled(trial)
    if channel.can.sends:
        await _sends(trial)
        await _sends_again(trial)
        await _isolates_refusals(trial)
        await _asks_for_consent(trial, comes_in)
        if channel.can.media:
            await _sends_files(trial)
        if channel.can.receipts:
            await _takes_receipts(trial)
        if comes_in and case.threads:
            await _joins_answers(trial)


async def _connected(crm: Crm, channel: Channel[Any], case: ChannelCase, where: str) -> UUID:
    """A connection of the case's account, whose secrets nobody reads."""
    try:
        account = channel.account.model_validate(case.account)
    except ValidationError as error:
        raise AssertionError(f"{where} does not take the account of the case: {error}") from error
    session = crm.acting_as(SYSTEM)
    name = f"{channel.name} {uuid4().hex[:8]}"
    input = {"channel": channel.name, "name": name, "settings": case.account}
    result = await session.run("create_connection", [input])
    assert not result.errors, f"{where}: its connection was refused: {result.errors[0].message}"
    id = result.ids[0]
    assert id is not None
    shown = str(await session.find(Connection).get(id))
    for key, value in account:
        if isinstance(value, SecretStr) and value.get_secret_value():
            assert value.get_secret_value() not in shown, (
                f"{where}: the secret {key!r} can be read in the connection"
            )
    return id


def _normalizes(trial: _Trial) -> None:
    """An address has one form, which is a form of its own."""
    seen: dict[str, str] = {}
    for number in range(1, 41):
        address = trial.case.address(number)
        normal = trial.normal(address)
        again = trial.normal(normal)
        assert again == normal, f"{trial.where} normalizes {address!r} to {normal!r}, and that to {again!r}"
        other = seen.setdefault(normal, address)
        assert other == address, f"{trial.where} normalizes both {other!r} and {address!r} to {normal!r}"


# --- receiving ---------------------------------------------------------------------------------------------


async def _receives(trial: _Trial) -> None:
    """A message becomes one unread interaction of a conversation, with its text and its sender's address."""
    message = trial.written(trial.address())
    await trial.bring(message)
    found = await trial.one(message.text, "a message that came in")
    normal = trial.normal(message.address)
    assert found["address"] == normal, (
        f"{trial.where}: a message of {normal} was taken for one of {found['address']}"
    )
    assert found["direction"] == "inbound", f"{trial.where}: a message that came in is {found['direction']}"
    assert found["conversation"], f"{trial.where}: a message that came in has no conversation"
    unread = found["conversation"]["unread"]
    assert unread == 1, f"{trial.where}: one message came in, {unread} are unread; is it marked as automatic?"


async def _takes_duplicates_once(trial: _Trial) -> None:
    """The same message again, later, at the same time or in the same batch, changes nothing."""
    message = trial.written(trial.address())
    await trial.bring(message)
    await trial.bring(message)
    await trial.bring(message, message)
    await asyncio.gather(*(trial.bring(message) for _ in range(3)))
    found = await trial.one(message.text, "a message that came seven times")
    unread = found["conversation"]["unread"]
    assert unread == 1, f"{trial.where}: a message that came seven times counts as {unread} unread ones"
    if trial.channel.can.receives:
        twice = trial.written(trial.address())
        connection = await trial.opened()
        items = [
            item for _ in range(2) for item in await trial.channel.receive(connection, trial.case.inbound(twice))
        ]
        await deliver(trial.crm, trial.connection, items)
        await trial.one(twice.text, "a message that came twice in one batch")


async def _finds_who_it_was(trial: _Trial) -> None:
    """Known, unknown and ambiguous senders, and prospects."""
    known, unknown, shared, prospect = (trial.address() for _ in range(4))
    customer = await trial.customer(known)
    for _ in range(2):
        await trial.customer(shared, shared=True)
    for address, identity, whose in (
        (known, "matched", encode_id(Customer.options.prefix, customer)),
        (unknown, "unknown", None),
        (shared, "ambiguous", None),
    ):
        message = trial.written(address)
        await trial.bring(message)
        found = await trial.one(message.text, f"a message of somebody who is {identity}")
        assert found["identity"] == identity, (
            f"{trial.where}: a message of {trial.normal(address)} is {found['identity']}; expected {identity}"
        )
        id = found["customer"]["id"] if found["customer"] else None
        assert id == whose, (
            f"{trial.where}: a message of somebody who is {identity} went to {id}; expected {whose}"
        )
    await _changed(trial, creates_prospects=True)
    messages = [trial.written(prospect) for _ in range(2)]
    await trial.bring(*messages)
    await _changed(trial, creates_prospects=False)
    customers = set()
    for message in messages:
        found = await trial.one(message.text, "a message of a prospect")
        assert found["customer"], f"{trial.where}: an unknown sender did not become a prospect"
        customers.add(found["customer"]["id"])
    assert len(customers) == 1, f"{trial.where}: two messages of one address made {len(customers)} prospects"


async def _changed(trial: _Trial, **values: Any) -> None:
    id = encode_id(Connection.options.prefix, trial.connection)
    result = await trial.session.run("update_connection", [{"id": id, **values}])
    assert not result.errors, result.errors


async def _keeps_threads(trial: _Trial) -> None:
    """Answers are in the conversation of what they answer, in whatever order they come."""
    address = trial.address()
    first = trial.written(address)
    second = trial.written(address, replies_to=first.id)
    third = trial.written(address, replies_to=second.id)
    for label, order in (
        ("in their order", (first, second, third)),
        ("the last one first", tuple(reversed(_again(trial, first, second, third)))),
    ):
        await trial.bring(*order)
        found = [await trial.one(message.text, f"an answer, {label},") for message in order]
        conversations = {row["conversation"]["id"] for row in found}
        assert len(conversations) == 1, (
            f"{trial.where}: a message, its answer and the answer to that came {label}, and are in "
            f"{len(conversations)} conversations; are replies_to the message_ids of what they answer?"
        )


def _again(trial: _Trial, *chain: Written) -> list[Written]:
    """Other messages that answer each other in the same way."""
    made: list[Written] = []
    address = trial.address()
    for _ in chain:
        made.append(trial.written(address, replies_to=made[-1].id if made else None))
    return made


async def _takes_files_in(trial: _Trial) -> None:
    """A file comes in with its bytes."""
    media = Media("picture.png", "image/png", PICTURE)
    message = trial.written(trial.address(), media=media)
    await trial.bring(message)
    found = await trial.one(message.text, "a message with a file")
    files = found["files"]
    assert len(files) == 1, f"{trial.where}: a message with one file has {len(files)} files"
    (kept,) = files
    assert kept["state"] == "stored", f"{trial.where}: a file is {kept['state']}: {kept['failure']}"
    assert int(kept["size"] or 0) == len(PICTURE), (
        f"{trial.where}: a file of {len(PICTURE)} bytes came in with {kept['size']}"
    )


async def _refuses_forged(trial: _Trial) -> None:
    """What is not from who it says is answered with 401, and leaves no trace."""
    before = await _counts(trial)
    message = trial.written(trial.address())
    status = await post(trial.crm, trial.case.forged(message))
    assert status == 401, f"{trial.where} answered {status} to a forged request; let receive raise Forged, for 401"
    after = await _counts(trial)
    assert after == before, f"{trial.where}: a forged request left something behind: {after}, before {before}"


async def _counts(trial: _Trial) -> dict[str, int]:
    kept = (Interaction, Conversation, Customer, Participant, File, Undelivered)
    return {entity.__name__: await trial.session.find(entity).count() for entity in kept}


async def _keeps_what_is_garbled(trial: _Trial) -> None:
    """What can't be understood is kept with a reason, and what comes after it comes in."""
    request = trial.case.garbled(trial.url)
    if request is None:
        return
    before = await trial.session.find(Undelivered).count()
    status = await post(trial.crm, request)
    assert status < 500, (
        f"{trial.where} answered {status} to what it can't understand; let receive return Unreadable for it"
    )
    kept = await trial.session.find(Undelivered).count() - before
    assert kept >= 1, f"{trial.where} dropped what it can't understand; let receive return Unreadable for it"
    message = trial.written(trial.address())
    await trial.bring(message)
    await trial.one(message.text, "a message after one that was garbled")


# --- sending -----------------------------------------------------------------------------------------------

_UNDER_WAY = ("sent", "delivered", "read")


async def _sends(trial: _Trial) -> None:
    """A message arrives once, with its text, and is marked as sent."""
    address, text = trial.address(), _text()
    sent, errors = await trial.send(address, text)
    assert sent is not None, f"{trial.where}: sending was refused: {errors[0].message}"
    assert sent["delivery"] in _UNDER_WAY, (
        f"{trial.where}: a message that was to be sent is {sent['delivery']}: {sent['failure']}"
    )
    arrived = await trial.arrived(text)
    assert arrived, f"{trial.where} says that it sent a message, which did not arrive"
    assert len(arrived) == 1, f"{trial.where} sent a message once, and it arrived {len(arrived)} times"
    normal = trial.normal(arrived[0].address)
    assert normal == trial.normal(address), f"{trial.where} sent a message for {address} to {arrived[0].address}"


def _text() -> str:
    return f"Message {uuid4().hex}"


async def _outbound(trial: _Trial, address: str, text: str, **more: Any) -> Outbound:
    id = uuid4()
    return Outbound(
        id=id,
        message_id=trial.channel.message_id(await trial.opened(), id),
        address=trial.normal(address),
        subject="About your order" if trial.channel.can.subject else None,
        body=text,
        **more,
    )


async def _handed_over(trial: _Trial, messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
    results = await trial.channel.send(await trial.opened(), messages)
    assert len(results) == len(messages), (
        f"{trial.where} was given {len(messages)} messages to send, and returned {len(results)} results; "
        "expected one for each, in their order"
    )
    for result in results:
        assert isinstance(result, (Sent, Refused)), f"{trial.where} returned {result!r}; expected Sent or Refused"
    return results


async def _sends_again(trial: _Trial) -> None:
    """A message that is sent again, as after a crash, can be told by its id."""
    text = _text()
    message = await _outbound(trial, trial.address(), text)
    for _ in range(2):
        (result,) = await _handed_over(trial, [message])
        assert isinstance(result, Sent), f"{trial.where} refused a message: {result}"
    ids = {arrived.message_id for arrived in await trial.arrived(text)}
    assert len(ids) == 1, (
        f"{trial.where} sent a message again, and it arrived with {len(ids)} ids; "
        "give the message_id of Outbound to the other side"
    )


async def _isolates_refusals(trial: _Trial) -> None:
    """What the other side refuses is told in its place, and the others are sent."""
    texts = [_text() for _ in range(3)]
    addresses = [trial.address() for _ in range(3)]
    if trial.case.refused is not None:
        addresses[1] = trial.case.refused
    messages = [await _outbound(trial, *pair) for pair in zip(addresses, texts, strict=True)]
    results = await _handed_over(trial, messages)
    for number, (text, result) in enumerate(zip(texts, results, strict=True)):
        arrived = await trial.arrived(text)
        if number == 1 and trial.case.refused is not None:
            assert isinstance(result, Refused), (
                f"{trial.where} says that it sent a message to {trial.case.refused}, which takes none"
            )
            assert result.reason.strip(), f"{trial.where} refused a message without a reason"
            assert not arrived, f"{trial.where} refused a message, which arrived all the same"
        else:
            assert isinstance(result, Sent), f"{trial.where} did not send a message beside a refused one: {result}"
            assert len(arrived) == 1, f"{trial.where}: a message of a batch arrived {len(arrived)} times"


async def _asks_for_consent(trial: _Trial, comes_in: bool) -> None:
    """Whoever withdrew consent gets nothing; also by a word, where the channel knows one."""
    address = trial.address()
    customer = await trial.customer(address)
    entry = {
        "customer_id": encode_id(Customer.options.prefix, customer),
        "channel": trial.channel.name,
        "purpose": "*",
        "state": "withdrawn",
        "source": "told us so",
    }
    result = await trial.session.run("record_consent", [entry])
    assert not result.errors, result.errors
    await _gets_nothing(trial, address, "after consent was withdrawn")
    if trial.case.stop is not None and comes_in:
        other = trial.address()
        await trial.bring(trial.written(other, trial.case.stop))
        await _gets_nothing(trial, other, f"after {trial.case.stop!r} came in; let receive return a ConsentChange")


async def _gets_nothing(trial: _Trial, address: str, when: str) -> None:
    text = _text()
    sent, _ = await trial.send(address, text)
    assert not await trial.arrived(text), f"{trial.where}: a message was sent {when}"
    assert sent is None or sent["delivery"] == "failed", (
        f"{trial.where}: a message is {sent and sent['delivery']} {when}"
    )


async def _sends_files(trial: _Trial) -> None:
    """A file goes out with its bytes."""

    async def content() -> AsyncIterator[bytes]:
        for start in range(0, len(PICTURE), 1000):
            yield PICTURE[start : start + 1000]

    text = _text()
    picture = OutboundFile("picture.png", "image/png", len(PICTURE), content)
    (result,) = await _handed_over(trial, [await _outbound(trial, trial.address(), text, media=[picture])])
    assert isinstance(result, Sent), f"{trial.where} can send files, but refused one: {result}"
    (arrived,) = await trial.arrived(text)
    assert [bytes(data) for data in arrived.files] == [PICTURE], (
        f"{trial.where} sent a file of {len(PICTURE)} bytes; "
        f"what arrived is {[len(data) for data in arrived.files]}"
    )


async def _takes_receipts(trial: _Trial) -> None:
    """Receipts move a message forward only, and those of unknown messages hurt nothing."""
    text = _text()
    sent, errors = await trial.send(trial.address(), text)
    assert sent is not None, f"{trial.where}: sending was refused: {errors[0].message}"
    id = sent["remote_id"] or sent["message_id"]
    expected = sent["delivery"]
    statuses: tuple[Literal["delivered", "read", "failed"], ...]
    statuses = ("delivered", "delivered", "read", "delivered", "failed")
    for status in statuses:
        if not await trial.case.tell(trial.crm, trial.connection, id, status):
            continue
        await trial.crm.settle()
        if status in _UNDER_WAY and _UNDER_WAY.index(expected) < _UNDER_WAY.index(status):
            expected = status
        row = await trial.session.find(Interaction).select("delivery").get(sent["id"])
        assert row is not None
        assert row["delivery"] == expected, (
            f"{trial.where}: after a receipt {status!r} the message is {row['delivery']!r}; expected {expected!r}"
        )
    await trial.case.tell(trial.crm, trial.connection, uuid4().hex, "delivered")


async def _joins_answers(trial: _Trial) -> None:
    """The answer to a message that was sent is in its conversation."""
    address, text = trial.address(), _text()
    sent, errors = await trial.send(address, text)
    assert sent is not None, f"{trial.where}: sending was refused: {errors[0].message}"
    (arrived,) = await trial.arrived(text)
    answer = trial.written(address, replies_to=arrived.message_id)
    await trial.bring(answer)
    found = await trial.one(answer.text, "the answer to a message that was sent")
    assert found["conversation"]["id"] == sent["conversation"]["id"], (
        f"{trial.where}: the answer to a message that was sent is in another conversation"
    )


__all__ = ["Arrived", "ChannelCase", "Written", "assert_channels", "post"]
