"""A small real channel: notes that couriers carry, as lines of JSON in files, and over a webhook."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr

from amity import (
    SYSTEM,
    Capabilities,
    Channel,
    Connected,
    ContactPoint,
    Conversation,
    Crm,
    Customer,
    Forged,
    Inbound,
    Interaction,
    Item,
    Media,
    Outbound,
    Plugin,
    RawRequest,
    Receipt,
    Refused,
    Related,
    Reply,
    Sent,
    Session,
    Unreadable,
)
from amity.messaging import Delivered, deliver

from .conftest import MakeCrm

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = "cMIrMIJSVWfROLMqVGvBfBHdEfU5G0PzC2YzNU7jWzU="


class Desk(BaseModel):
    """The account: where notes are handed out and picked up."""

    model_config = ConfigDict(extra="forbid")

    outbox: Path | None = None
    inbox: Path | None = None
    password: SecretStr | None = None


class Courier(Channel[Desk]):
    """Notes with a subject, so they have threads. What is sent is appended to the outbox, one line each."""

    name = "courier"
    description = "Notes carried by hand"
    account = Desk
    can = Capabilities(
        sends=True, receives=True, fetches=True, media=True, receipts=True, html=True, subject=True, max_length=500
    )
    timeout = 5.0

    def normalize(self, address: str, region: str) -> str:
        return super().normalize(address, region).lower()

    async def receive(self, connection: Connected[Desk], request: RawRequest) -> Sequence[Item]:
        password = connection.settings.password
        if password is not None:
            given = request.headers.get("password", "")
            if not hmac.compare_digest(given.encode(), password.get_secret_value().encode()):
                raise Forged("the password is wrong")
        return [item_of(told) for told in json.loads(request.body)]

    def reply(self, connection: Connected[Desk], request: RawRequest, items: Sequence[Item]) -> Reply:
        return Reply(200, f"{len(items)} taken".encode(), "text/plain")

    async def fetch(
        self, connection: Connected[Desk], cursor: str | None
    ) -> AsyncIterator[tuple[Sequence[Item], str]]:
        assert connection.settings.inbox is not None
        place = int(cursor or 0)
        lines = connection.settings.inbox.read_text(encoding="utf-8").splitlines()
        while place < len(lines):
            page = [json.loads(line) for line in lines[place : place + 2]]
            place += len(page)
            yield [item_of(told) for told in page], str(place)

    async def send(self, connection: Connected[Desk], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        results: list[Sent | Refused] = []
        for message in messages:
            if message.body == "nobody there":
                results.append(Refused("nobody lives there"))
                continue
            if message.body == "rain":
                results.append(Refused("it rains", permanent=False))
                continue
            if message.body == "storm":
                password = connection.settings.password
                raise ConnectionError(f"the storm took {password.get_secret_value() if password else None}")
            files = {
                file.name: b"".join([chunk async for chunk in file.open()]).decode() for file in message.media
            }
            told = {
                "message_id": message.message_id,
                "address": message.address,
                "subject": message.subject,
                "body": message.body,
                "attempt": message.attempt,
                "replies_to": list(message.replies_to),
                "parties": [[party.role, party.address] for party in message.parties],
                "files": files,
                "unsubscribe": message.unsubscribe,
            }
            assert connection.settings.outbox is not None
            with connection.settings.outbox.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
            results.append(Sent(f"receipt-{message.message_id}"))
        return results

    async def media(self, connection: Connected[Desk], reference: str) -> AsyncIterator[bytes]:
        if reference == "lost":
            raise FileNotFoundError("the parcel is lost")
        yield b"parcel "
        yield reference.encode()


class Whistle(Channel[Desk]):
    """Short calls without subject or threads, as those of phones, and a reply window of a day."""

    name = "whistle"
    description = "Whistled calls"
    account = Desk
    can = Capabilities(sends=True, templates_only_after=timedelta(days=1))

    async def send(self, connection: Connected[Desk], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        return [Sent() for _ in messages]


def item_of(told: dict[str, Any]) -> Item:
    """A line of JSON as what it stands for."""
    kind = told.pop("kind", "note")
    if kind == "receipt":
        return Receipt(**told)
    if kind == "noise":
        return Unreadable(told["reference"], "is noise", told["raw"].encode())
    if "media" in told:
        told["media"] = [
            Media(**{**media, "data": media["data"].encode() if "data" in media else None})
            for media in told["media"]
        ]
    return Inbound(**told)


class Couriers(Plugin):
    """The two of them."""

    name = "couriers"

    def channels(self) -> Sequence[Channel[Any]]:
        return [Courier(), Whistle()]


def note(message_id: str, address: str = "ann", **more: Any) -> Inbound:
    return Inbound(message_id, address, **{"occurred_at": NOON, "subject": "Hello", "body": message_id, **more})


@asynccontextmanager
async def couriers(
    make_crm: MakeCrm, folder: Path, *plugins: Any, settings: dict[str, Any] | None = None, **connection: Any
) -> AsyncIterator[Post]:
    """A CRM with one connection of the courier."""
    given = {"security": {"keys": [KEY]}, "files": {"folder": str(folder / "files")}, **(settings or {})}
    async with make_crm([Couriers, *plugins], given) as crm:
        session = crm.acting_as(SYSTEM)
        account = {"outbox": str(folder / "outbox"), "inbox": str(folder / "inbox"), "password": "sesame"}
        row = {"channel": "courier", "name": "front desk", "settings": account, **connection}
        made = await session.run("create_connection", [row])
        assert not made.errors, made.errors
        assert made.ids[0] is not None
        yield Post(crm, session, made.ids[0], folder)


class Post:
    """A connection, and what its tests ask of it."""

    def __init__(self, crm: Crm, session: Session, id: UUID, folder: Path) -> None:
        self.crm = crm
        self.session = session
        self.id = id
        self.folder = folder

    async def brings(self, *items: Item) -> Delivered:
        return await deliver(self.crm, self.id, items)

    async def sends(self, *inputs: dict[str, Any]) -> list[UUID]:
        """Queues messages, by this connection unless they say otherwise, and waits until they have left."""
        done = await self.session.run("send_message", [self.by_it(given) for given in inputs])
        assert not done.errors, done.errors
        await self.crm.settle()
        return [id for id in done.ids if id is not None]

    async def refused(self, given: dict[str, Any]) -> tuple[tuple[Any, ...], str]:
        """Where and why a message is refused."""
        done = await self.session.run("send_message", [self.by_it(given)])
        assert len(done.errors) == 1, done.errors
        return done.errors[0].path, done.errors[0].message

    def by_it(self, given: dict[str, Any]) -> dict[str, Any]:
        named = given.keys() & {"connection_id", "conversation_id", "channel", "reply_to_id"}
        return given if named else {"connection_id": self.id, **given}

    def left(self) -> list[dict[str, Any]]:
        """What left so far."""
        file = self.folder / "outbox"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []

    async def message(self, id: UUID, *fields: str) -> dict[str, Any]:
        found = await self.session.find(Interaction).select(*fields).get(id)
        assert found is not None
        return found

    async def threads(self) -> list[set[str]]:
        """The message ids of each conversation, the oldest conversation first."""
        rows = (
            await self.session.find(Conversation)
            .select("id", Related("interactions", ["message_id"]))
            .order_by("started_at", "id")
            .all()
        )
        return [{message["message_id"] for message in row["interactions"]} for row in rows]

    async def messages(self, *fields: str) -> list[dict[str, Any]]:
        return await self.session.find(Interaction).select(*fields).order_by("message_id").all()

    async def conversation(self) -> dict[str, Any]:
        fields = ("id", "status", "unread", "subject", "last_at", "started_at", "customer.name", "team.name")
        (row,) = await self.session.find(Conversation).select(*fields).all()
        return row

    async def customer(self, name: str, *addresses: str, **more: Any) -> UUID:
        made = await self.session.create(Customer, [{"kind": "person", "name": name}])
        (id,) = made.ids
        assert id is not None
        points = [{"customer_id": id, "channel": "courier", "address": each, **more} for each in addresses]
        assert not (await self.session.create(ContactPoint, points)).errors
        return id
