"""The conformance suite of channels tells what is wrong with one that keeps no promise."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel, SecretStr

from amity import (
    Capabilities,
    Channel,
    Connected,
    ConsentChange,
    Forged,
    Inbound,
    Item,
    Media,
    Outbound,
    Plugin,
    RawRequest,
    Receipt,
    Refused,
    Sent,
    Unreadable,
)
from amity.channels import AddressError
from amity.testing import Arrived, ChannelCase, Written, assert_channel

# --- a channel made for this: postcards, handed over at a counter -------------------------------------------


class Counter(BaseModel):
    """Where postcards are handed over."""

    password: SecretStr


class Postcards(Channel[Counter]):
    """Postcards: everything that a channel can do, in little code."""

    name = "postcard"
    description = "Postcards"
    account = Counter
    can = Capabilities(sends=True, receives=True, media=True, receipts=True)

    def __init__(self) -> None:
        self.box: list[Arrived] = []

    def normalize(self, address: str, region: str) -> str:
        if not address.strip():
            raise AddressError("the address is empty")
        return " ".join(address.split()).casefold()

    async def receive(self, connection: Connected[Counter], request: RawRequest) -> Sequence[Item]:
        self.check_password(connection, request)
        try:
            card = json.loads(request.body)
        except ValueError as error:
            return [self.garbled(request, error)]
        if "status" in card:
            return [self.receipt(card)]
        return [self.card(card)]

    def check_password(self, connection: Connected[Counter], request: RawRequest) -> None:
        expected = connection.settings.password.get_secret_value()
        if not hmac.compare_digest(request.headers.get("x-password", ""), expected):
            raise Forged("the password is wrong")

    def garbled(self, request: RawRequest, error: ValueError) -> Item:
        return Unreadable(uuid4().hex, f"it is no JSON: {error}", request.body)

    def receipt(self, card: dict[str, Any]) -> Item:
        return Receipt(card["id"], card["status"], reason="returned" if card["status"] == "failed" else None)

    def card(self, card: dict[str, Any]) -> Inbound:
        stopped = card["text"] == "No more cards"
        return Inbound(
            message_id=card["id"],
            address=card["from"],
            body=card["text"],
            replies_to=card["replies_to"],
            media=[Media("picture.png", "image/png", base64.b64decode(data)) for data in card["pictures"]],
            consent=[ConsentChange("withdrawn", "*", "a card")] if stopped else (),
        )

    async def send(self, connection: Connected[Counter], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        return [await self.post(message) for message in messages]

    async def post(self, message: Outbound) -> Sent | Refused:
        if message.address == "nobody":
            return Refused("there is no such street")
        pictures = [b"".join([chunk async for chunk in file.open()]) for file in message.media]
        self.box.append(Arrived(message.message_id, message.address, message.body or "", pictures))
        return Sent()


def postcards(channel: Channel[Any]) -> Plugin[Any]:
    class PostcardPlugin(Plugin):
        """Postcards."""

        name = "postcards"

        def channels(self) -> Sequence[Channel[Any]]:
            return [channel]

    return PostcardPlugin()


class PostcardCase(ChannelCase):
    """The post office."""

    account = {"password": "stamp-collection"}
    stop = "No more cards"
    refused: str | None = "Nobody"

    def __init__(self, channel: Postcards) -> None:
        self.channel_ = channel

    def address(self, number: int) -> str:
        return f" Customer {number},  Main Street {number} "

    def inbound(self, message: Written) -> RawRequest:
        return self._request(message.url, self._card(message))

    def forged(self, message: Written) -> RawRequest:
        return self._request(message.url, self._card(message), password="guessed")

    def garbled(self, url: str) -> RawRequest:
        return self._request(url, b"\xff")

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        return self._request(url, json.dumps({"id": message_id, "status": status}).encode())

    async def arrived(self) -> Sequence[Arrived]:
        return self.channel_.box

    def _card(self, message: Written) -> bytes:
        pictures = [base64.b64encode(message.media.data or b"").decode()] if message.media else []
        card = {
            "id": message.id,
            "from": message.address,
            "text": message.text,
            "replies_to": [message.replies_to] if message.replies_to else [],
            "pictures": pictures,
        }
        return json.dumps(card).encode()

    def _request(self, url: str, body: bytes, password: str = "stamp-collection") -> RawRequest:
        path = "/connections/" + url.rpartition("/")[2]
        return RawRequest("POST", path, {}, {"x-password": password}, body, url)


async def test_a_channel_that_does_everything_passes(server_url: str | None) -> None:
    channel = Postcards()
    await assert_channel(postcards(channel), PostcardCase(channel), server_url=server_url)


class Polite(Postcards):
    """Writes to nobody who has not written before, as some services demand."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()

    def card(self, card: dict[str, Any]) -> Inbound:
        self.known.add(self.normalize(card["from"], ""))
        return super().card(card)

    async def post(self, message: Outbound) -> Sent | Refused:
        if message.address not in self.known:
            return Refused("they have not written yet")
        return await super().post(message)


class AnswersOnly(PostcardCase):
    begins = False
    refused = None


async def test_a_channel_that_only_answers_passes() -> None:
    channel = Polite()
    await assert_channel(postcards(channel), AnswersOnly(channel))


class Pigeonhole(BaseModel):
    """Where postcards wait."""


class Waiting(Channel[Pigeonhole]):
    """Postcards that wait to be fetched, two on each page."""

    name = "waiting"
    account = Pigeonhole
    can = Capabilities(fetches=True)

    def __init__(self) -> None:
        self.cards: list[Written] = []

    async def fetch(
        self, connection: Connected[Pigeonhole], cursor: str | None
    ) -> AsyncIterator[tuple[Sequence[Item], str]]:
        for start in range(self.start(cursor), len(self.cards), 2):
            cards = self.cards[start : start + 2]
            yield [self.card(card) for card in cards], str(start + len(cards))

    def start(self, cursor: str | None) -> int:
        return int(cursor or 0)

    def card(self, card: Written) -> Inbound:
        answered = (card.replies_to,) if card.replies_to else ()
        return Inbound(card.id, card.address, body=card.text, replies_to=answered)


class WaitingCase(ChannelCase):
    def __init__(self, channel: Waiting) -> None:
        self.channel_ = channel

    def address(self, number: int) -> str:
        return f"Customer {number}"

    async def offer(self, messages: Sequence[Written]) -> None:
        self.channel_.cards += messages


class Stuck(Waiting):
    def start(self, cursor: str | None) -> int:
        return 0


class Hasty(Waiting):
    def start(self, cursor: str | None) -> int:
        return int(cursor) + 1 if cursor else 0


class Renaming(Waiting):
    def card(self, card: Written) -> Inbound:
        return dataclasses.replace(super().card(card), message_id=uuid4().hex)


async def test_a_channel_that_fetches_passes(server_url: str | None) -> None:
    channel = Waiting()
    await assert_channel(postcards(channel), WaitingCase(channel), server_url=server_url)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Stuck, "after page 1 of 2, fetched 4 of the messages that were there; expected 2"),
        (Hasty, "after page 1 of 2, fetched 1 of the messages that were there; expected 2"),
        (Renaming, "gave messages another message_id when it fetched them again"),
    ],
)
async def test_a_channel_that_fetches_in_the_wrong_way_is_told(kind: type[Waiting], message: str) -> None:
    channel = kind()

    with pytest.raises(AssertionError) as caught:
        await assert_channel(postcards(channel), WaitingCase(channel))

    assert message in str(caught.value)


# --- channels that are broken, each in its own way ----------------------------------------------------------


class Forgetful(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), message_id=uuid4().hex)


class Trusting(Postcards):
    def check_password(self, connection: Connected[Counter], request: RawRequest) -> None:
        return


class Suspicious(Postcards):
    def check_password(self, connection: Connected[Counter], request: RawRequest) -> None:
        raise Forged("everything is")


class Mute(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), body="a card")


class Robotic(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), automatic=True)


class Inverted(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), direction="outbound")


class Anonymous(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), address="somebody")


class Restless(Postcards):
    def normalize(self, address: str, region: str) -> str:
        return f"to {address.strip()}"


class Blurred(Postcards):
    def normalize(self, address: str, region: str) -> str:
        return "main street"


class Unthreaded(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), replies_to=(), conversation=card["id"])


class Cropping(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        found = super().card(card)
        media = [dataclasses.replace(item, data=(item.data or b"")[:100]) for item in found.media]
        return dataclasses.replace(found, media=media)


class Crashing(Postcards):
    def garbled(self, request: RawRequest, error: ValueError) -> Item:
        raise error


class Lying(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        return Sent()


class Zealous(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        await super().post(message)
        return await super().post(message)


class Astray(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        return await super().post(dataclasses.replace(message, address="elsewhere"))


class Nameless(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        return await super().post(dataclasses.replace(message, message_id=uuid4().hex))


class Short(Postcards):
    async def send(self, connection: Connected[Counter], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        return (await super().send(connection, messages))[:1]


class Brittle(Postcards):
    async def send(self, connection: Connected[Counter], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        results = await super().send(connection, messages)
        refused = next((result for result in results if isinstance(result, Refused)), None)
        return [refused] * len(results) if refused else results


class Careless(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        result = await super().post(message)
        return Sent() if isinstance(result, Refused) else result


class Heedless(Postcards):
    def card(self, card: dict[str, Any]) -> Inbound:
        return dataclasses.replace(super().card(card), consent=())


class Bare(Postcards):
    async def post(self, message: Outbound) -> Sent | Refused:
        return await super().post(dataclasses.replace(message, media=()))


class Deaf(Postcards):
    def receipt(self, card: dict[str, Any]) -> Item:
        return Receipt(f"card {card['id']}", card["status"])


BROKEN: list[tuple[type[Postcards], str]] = [
    (Restless, "and that to 'to to "),
    (Blurred, "to 'main street'"),
    (Suspicious, "its webhook answered 401 to a genuine message"),
    (Mute, "a message that came in was not stored"),
    (Robotic, "0 are unread; is it marked as automatic?"),
    (Inverted, "a message that came in is outbound"),
    (Anonymous, "was taken for one of somebody"),
    (Forgetful, "its message_id must not change"),
    (Unthreaded, "are replies_to the message_ids of what they answer?"),
    (Cropping, "a file of 2056 bytes came in with 100"),
    (Trusting, "to a forged request; let receive raise Forged, for 401"),
    (Crashing, "let receive return Unreadable"),
    (Lying, "says that it sent a message, which did not arrive"),
    (Zealous, "sent a message once, and it arrived 2 times"),
    (Astray, "to elsewhere"),
    (Nameless, "give the message_id of Outbound to the other side"),
    (Short, "returned 1 results for 3 messages"),
    (Brittle, "did not send a message of a batch beside a refused one: there is no such street"),
    (Careless, "says that it sent a message to Nobody, which takes none"),
    (Heedless, "after 'No more cards' came in; let receive return a ConsentChange"),
    (Bare, "sent a file of 2056 bytes; what arrived is []"),
    (Deaf, "after a receipt 'delivered' the message is 'sent'; expected 'delivered'"),
]


@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=lambda item: getattr(item, "__name__", ""))
async def test_a_broken_channel_is_told_what_is_wrong(kind: type[Postcards], message: str) -> None:
    channel = kind()

    with pytest.raises(AssertionError) as caught:
        await assert_channel(postcards(channel), PostcardCase(channel))

    assert message in str(caught.value)


class Silent(Plugin):
    """Has no channel."""

    name = "silent"


async def test_a_plugin_without_a_channel_is_told() -> None:
    with pytest.raises(AssertionError, match="plugin 'silent' declares no channel"):
        await assert_channel(Silent, ChannelCase())


async def test_a_case_that_lacks_something_says_what_to_define() -> None:
    with pytest.raises(AssertionError, match="does not take the account of the case"):
        await assert_channel(postcards(Postcards()), ChannelCase())
