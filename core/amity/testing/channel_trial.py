"""One channel on one database, and what is done with it while it is checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from ..access import SYSTEM
from ..contracts import UserError
from ..crm import Crm, Session
from ..entity import encode_id
from ..messages import Channel, Connected
from ..messaging.connections import NotUsable, open_connections
from ..model import ContactPoint, Customer, Interaction, Undelivered
from ..query.find import Related
from .channel_case import Arrived, ChannelCase, Written, webhook_of

SHOWN = (
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


@dataclass
class Trial:
    """One channel on one database, with a connection of the case's account."""

    crm: Crm
    channel: Channel[Any]
    case: ChannelCase
    connection: UUID
    where: str
    numbers: Iterator[int]
    """Of addresses; they go on from one database to the next, as the other side may remember."""

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
            .select(*SHOWN)
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

    async def send(self, *messages: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
        """Sends texts to addresses by the action, and waits for the job; the interactions."""
        found, errors = await self.try_to_send(*messages, **more)
        assert not errors, f"{self.where}: sending was refused: {errors[0].message}"
        return found

    async def try_to_send(
        self, *messages: tuple[str, str], **more: Any
    ) -> tuple[list[dict[str, Any]], Sequence[UserError]]:
        """The same, where it may be refused at once; then there are no interactions, but errors."""
        subject = {"subject": "About your order"} if self.channel.can.subject else {}
        inputs = [{**(await self._to(address)), "body": text, **subject, **more} for address, text in messages]
        result = await self.session.run("send_message", inputs)
        if result.errors:
            return [], result.errors
        await self.crm.settle()
        rows = await self.session.find(Interaction).select(*SHOWN).where({"id": {"in": list(result.ids)}}).all()
        by_id = {row["id"]: row for row in rows}
        return [by_id[encode_id(Interaction.options.prefix, id)] for id in result.ids if id is not None], ()

    async def _to(self, address: str) -> dict[str, Any]:
        """Whom a message is for: an address, or a conversation that the other side began."""
        if self.case.begins:
            return {"connection_id": self.connection, "address": address}
        first = self.written(address)
        await self.bring(first)
        row = await self.one(first.text, "a message that came in")
        return {"conversation_id": row["conversation"]["id"]}

    async def arrived(self, text: str) -> list[Arrived]:
        return [message for message in await self.case.arrived() if text in message.text]

    async def opened(self) -> Connected[Any]:
        found = (await open_connections(self.session, [self.connection]))[self.connection]
        assert not isinstance(found, NotUsable), f"{self.where}: its connection can't be opened: {found}"
        return found.connected


__all__ = ["Trial"]
