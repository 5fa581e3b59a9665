"""What every channel must hold, as one call from a plugin's own test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import SecretStr, ValidationError

from ..access import SYSTEM
from ..crm import Crm
from ..entity import encode_id
from ..messages import Channel, Connected, Inbound, Item, Media, Outbound, Refused, Sent
from ..messaging import deliver
from ..messaging.attachments import attach
from ..model import Connection, Conversation, Customer, File, Interaction, Participant, Undelivered
from ..plugin import Plugin
from .channel_case import ChannelCase, Written, post
from .channel_trial import Trial

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
"""The file that goes with messages."""

Make = Callable[[Sequence[Plugin[Any]], str | None], AbstractAsyncContextManager[Crm]]


async def assert_channels(plugin: Plugin[Any], case: ChannelCase, make: Make, server_url: str | None) -> None:
    """See :func:`amity.testing.assert_channel`."""
    names = [channel.name for channel in plugin.channels()]
    assert names, f"plugin {plugin.name!r} declares no channel"
    name = case.channel or names[0]
    assert name in names, f"plugin {plugin.name!r} has no channel {name!r}; it has {', '.join(names)}"
    assert case.channel or len(names) == 1, f"set channel in the case, to one of {', '.join(names)}"
    numbers = itertools.count(1)
    for url in (None, server_url) if server_url else (None,):
        async with make([plugin], url) as crm:
            await _conforms(crm, name, case, numbers)


async def _conforms(crm: Crm, name: str, case: ChannelCase, numbers: Iterator[int]) -> None:
    channel: Channel[Any] = crm.composition.channels[name].value
    where = f"the channel {name!r} on {crm.database.dialect}"
    trial = Trial(crm, channel, case, await _connected(crm, channel, case, where), where, numbers)
    async with case.running(crm, trial.connection):
        await _holds(trial)


async def _holds(trial: Trial) -> None:
    channel, case, where = trial.channel, trial.case, trial.where
    _normalizes(trial)
    comes_in = channel.can.receives or channel.can.fetches or case.defines("bring")
    assert comes_in or channel.can.sends, f"{where} neither sends nor receives; set can = Capabilities(…)"
    if comes_in:
        if channel.can.fetches and case.defines("offer"):
            await _fetches(trial)
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


def _normalizes(trial: Trial) -> None:
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


async def _receives(trial: Trial) -> None:
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


async def _takes_duplicates_once(trial: Trial) -> None:
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


async def _finds_who_it_was(trial: Trial) -> None:
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


async def _changed(trial: Trial, **values: Any) -> None:
    id = encode_id(Connection.options.prefix, trial.connection)
    result = await trial.session.run("update_connection", [{"id": id, **values}])
    assert not result.errors, result.errors


async def _keeps_threads(trial: Trial) -> None:
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


def _again(trial: Trial, *chain: Written) -> list[Written]:
    """Other messages that answer each other in the same way."""
    made: list[Written] = []
    address = trial.address()
    for _ in chain:
        made.append(trial.written(address, replies_to=made[-1].id if made else None))
    return made


async def _takes_files_in(trial: Trial) -> None:
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


async def _refuses_forged(trial: Trial) -> None:
    """What is not from who it says is answered with 401, and leaves no trace."""
    before = await _counts(trial)
    message = trial.written(trial.address())
    status = await post(trial.crm, trial.case.forged(message))
    assert status == 401, f"{trial.where} answered {status} to a forged request; let receive raise Forged, for 401"
    after = await _counts(trial)
    assert after == before, f"{trial.where}: a forged request left something behind: {after}, before {before}"


async def _counts(trial: Trial) -> dict[str, int]:
    kept = (Interaction, Conversation, Customer, Participant, File, Undelivered)
    return {entity.__name__: await trial.session.find(entity).count() for entity in kept}


async def _keeps_what_is_garbled(trial: Trial) -> None:
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


# --- fetching ----------------------------------------------------------------------------------------------


async def _fetches(trial: Trial) -> None:
    """Every message is fetched once, wherever fetching was broken off."""
    messages = [trial.written(trial.address()) for _ in range(5)]
    await trial.case.offer(messages[:4])
    pages = await _pages(trial, None)
    ids = _named(messages, [item for items, _ in pages for item in items])
    assert len(ids) == 4, f"{trial.where} fetched {len(ids)} of four messages that were there"
    again = _named(messages, [item for items, _ in await _pages(trial, None) for item in items])
    assert again == ids, f"{trial.where} gave messages another message_id when it fetched them again"
    for number, (_, cursor) in enumerate(pages, 1):
        rest = _named(messages, [item for items, _ in await _pages(trial, cursor) for item in items])
        expected = _named(messages, [item for items, _ in pages[number:] for item in items])
        assert rest == expected, (
            f"{trial.where}, going on after page {number} of {len(pages)}, fetched {len(rest)} of the messages "
            f"that were there; expected {len(expected)}, those after the cursor {cursor!r}"
        )
    await trial.case.offer(messages[4:])
    new = _named(messages, [item for items, _ in await _pages(trial, pages[-1][1]) for item in items])
    assert set(new) == {4}, f"{trial.where} did not fetch just the message that came after its cursor"


async def _pages(trial: Trial, cursor: str | None) -> list[tuple[Sequence[Item], str]]:
    pages = [page async for page in trial.channel.fetch(await trial.opened(), cursor)]
    for _, reached in pages:
        assert isinstance(reached, str), f"{trial.where} fetched to the cursor {reached!r}; expected a text"
    return pages


def _named(messages: Sequence[Written], items: Sequence[Item]) -> dict[int, str]:
    """The message ids of messages, by their place."""
    return {
        place: item.message_id
        for place, message in enumerate(messages)
        for item in items
        if isinstance(item, Inbound) and message.text in (item.body or "")
    }


# --- sending -----------------------------------------------------------------------------------------------

_UNDER_WAY = ("sent", "delivered", "read")


async def _sends(trial: Trial) -> None:
    """A message arrives once, with its text, and is marked as sent."""
    address, text = trial.address(), _text()
    (sent,) = await trial.send((address, text))
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


async def _sends_again(trial: Trial) -> None:
    """A message that is sent again, as after a crash, can be told by its id."""
    text = _text()
    calls: list[tuple[Connected[Any], Sequence[Outbound]]] = []
    send = trial.channel.send

    async def noting(connection: Connected[Any], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        calls.append((connection, messages))
        return await send(connection, messages)

    trial.channel.send = noting  # type: ignore[method-assign]
    try:
        await trial.send((trial.address(), text))
    finally:
        del trial.channel.send
    results = await send(*calls[-1])
    assert all(isinstance(result, Sent) for result in results), (
        f"{trial.where} took a message, and refused it when it was sent again: {results}"
    )
    ids = {arrived.message_id for arrived in await trial.arrived(text)}
    assert len(ids) == 1, (
        f"{trial.where} sent a message again, and it arrived with {len(ids)} ids; "
        "give the message_id of Outbound to the other side"
    )


async def _isolates_refusals(trial: Trial) -> None:
    """What the other side refuses is told in its place, and the others are sent."""
    texts = [_text() for _ in range(3)]
    addresses = [trial.address() for _ in range(3)]
    refused = trial.case.refused
    if refused is not None:
        addresses[1] = refused
    sent = await trial.send(*zip(addresses, texts, strict=True))
    for number, (text, row) in enumerate(zip(texts, sent, strict=True)):
        arrived = await trial.arrived(text)
        if number == 1 and refused is not None:
            assert row["delivery"] not in _UNDER_WAY, (
                f"{trial.where} says that it sent a message to {refused}, which takes none"
            )
            assert row["failure"], f"{trial.where} refused a message without a reason"
            assert not arrived, f"{trial.where} refused a message, which arrived all the same"
        else:
            beside = " beside a refused one" if refused else ""
            assert row["delivery"] in _UNDER_WAY, (
                f"{trial.where} did not send a message of a batch{beside}: {row['failure']}"
            )
            assert len(arrived) == 1, f"{trial.where}: a message of a batch arrived {len(arrived)} times"


async def _asks_for_consent(trial: Trial, comes_in: bool) -> None:
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


async def _gets_nothing(trial: Trial, address: str, when: str) -> None:
    text = _text()
    sent, _ = await trial.try_to_send((address, text))
    assert not await trial.arrived(text), f"{trial.where}: a message was sent {when}"
    assert all(row["delivery"] == "failed" for row in sent), (
        f"{trial.where}: a message is {sent[0]['delivery']} {when}"
    )


async def _sends_files(trial: Trial) -> None:
    """A file goes out with its bytes."""
    picture = await attach(trial.crm, Media("picture.png", "image/png", PICTURE))
    made = await trial.session.create(File, [picture.row(None)], read_only=True)
    assert not made.errors, made.errors
    text = _text()
    (sent,) = await trial.send((trial.address(), text), file_ids=[picture.id])
    assert sent["delivery"] in _UNDER_WAY, (
        f"{trial.where} can send files, but one is {sent['delivery']}: {sent['failure']}"
    )
    (arrived,) = await trial.arrived(text)
    assert [bytes(data) for data in arrived.files] == [PICTURE], (
        f"{trial.where} sent a file of {len(PICTURE)} bytes; "
        f"what arrived is {[len(data) for data in arrived.files]}"
    )


async def _takes_receipts(trial: Trial) -> None:
    """Receipts move a message forward only, and those of unknown messages hurt nothing."""
    text = _text()
    (sent,) = await trial.send((trial.address(), text))
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


async def _joins_answers(trial: Trial) -> None:
    """The answer to a message that was sent is in its conversation."""
    address, text = trial.address(), _text()
    (sent,) = await trial.send((address, text))
    (arrived,) = await trial.arrived(text)
    answer = trial.written(address, replies_to=arrived.message_id)
    await trial.bring(answer)
    found = await trial.one(answer.text, "the answer to a message that was sent")
    assert found["conversation"]["id"] == sent["conversation"]["id"], (
        f"{trial.where}: the answer to a message that was sent is in another conversation"
    )


__all__ = ["assert_channels"]
