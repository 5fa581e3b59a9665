"""The bundled channels keep what all channels promise."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest

from amity import Crm, RawRequest
from amity.messaging.secrets import vault
from amity.testing import Arrived, ChannelCase, Written, assert_channel
from amity_sms import Sms
from amity_webchat import WebChat
from amity_webchat.socket import USE
from amity_webchat.tokens import Visitor, sign

from .chats import ORIGIN, Widget, serving
from .sms_gateway import Gateway, gateway, posted, posted_by_twilio

# --- amity_sms ---------------------------------------------------------------------------------------------


class SmsCase(ChannelCase):
    """A gateway of the preset ``json``."""

    threads = False
    stop = "Stop"
    refused = "+41799990000"

    def __init__(self, other: Gateway) -> None:
        self.other = other
        self.account = other.account()

    def address(self, number: int) -> str:
        return f"079 100 00 {number:02}"

    def inbound(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._body(message))

    def forged(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._body(message), secret="guessed")

    def garbled(self, url: str) -> RawRequest:
        return self._posted(url, b"{]")

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        return self._posted(url, {"id": message_id, "status": status})

    async def arrived(self) -> Sequence[Arrived]:
        return [Arrived(key, message["to"], message["text"]) for key, message in self.other.arrived.items()]

    def _body(self, message: Written) -> dict[str, Any]:
        return {"id": message.id, "from": message.address, "text": message.text}

    def _posted(self, url: str, body: Any, **more: Any) -> RawRequest:
        return posted(body, path="/connections/" + url.rpartition("/")[2], **more)


class TwilioCase(SmsCase):
    """A gateway of the preset ``twilio``."""

    def __init__(self, other: Gateway) -> None:
        super().__init__(other)
        self.account = other.twilio()

    def garbled(self, url: str) -> RawRequest:
        return self._posted(url, {"MessageSid": uuid4().hex})

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        return self._posted(url, {"MessageSid": message_id, "MessageStatus": status})

    async def arrived(self) -> Sequence[Arrived]:
        return [Arrived(key, message["To"], message["Body"]) for key, message in self.other.arrived.items()]

    def _body(self, message: Written) -> dict[str, Any]:
        return {"MessageSid": message.id, "From": message.address, "Body": message.text}

    def _posted(self, url: str, body: Any, **more: Any) -> RawRequest:
        return posted_by_twilio(body, url=url, **more)


@pytest.mark.parametrize("case", [SmsCase, TwilioCase])
async def test_text_messages_are_a_channel(case: type[SmsCase], server_url: str | None) -> None:
    async with gateway() as other:
        await assert_channel(Sms, case(other), server_url=server_url)


# --- amity_webchat -----------------------------------------------------------------------------------------


class WebChatCase(ChannelCase):
    """Visitors of a web site, each with the widget open."""

    account = {"allowed_origins": [ORIGIN]}
    threads = False  # a visitor has one thread
    begins = False

    def __init__(self) -> None:
        self.widgets: dict[str, Widget] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.got: list[Arrived] = []

    def address(self, number: int) -> str:
        return f"visitor:{number:024}"

    @asynccontextmanager
    async def running(self, crm: Crm, connection: UUID) -> AsyncIterator[None]:
        async with serving(crm) as self.server, AsyncExitStack() as self.open:
            yield
        self.widgets.clear()

    async def bring(self, crm: Crm, connection: UUID, messages: Sequence[Written]) -> None:
        for message in messages:
            async with self.turns[message.address]:
                widget = await self._widget(crm, connection, message.address)
                await widget.say(message.text, message.id)

    async def tell(
        self, crm: Crm, connection: UUID, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> bool:
        if status == "failed":
            return False
        told = {"delivered": "got", "read": "seen"}[status]
        for widget in self.widgets.values():
            await widget.tell(told, ids=[message_id])
            await self._listen(widget)
        return True

    async def arrived(self) -> Sequence[Arrived]:
        for widget in self.widgets.values():
            await self._listen(widget)
        return self.got

    async def _listen(self, widget: Widget) -> None:
        address = next(key for key, other in self.widgets.items() if other is widget)
        for heard in await widget.quiet():
            if heard["t"] == "messages":
                self.got += [Arrived(item["id"], address, item["text"]) for item in heard["messages"]]

    async def _widget(self, crm: Crm, connection: UUID, address: str) -> Widget:
        if address not in self.widgets:
            visitor = Visitor(connection, address.removeprefix("visitor:"), int(time.time()))
            token = sign(visitor, vault(crm.settings, USE))
            opening = Widget.open(self.server, connection, token=token)
            self.widgets[address] = await self.open.enter_async_context(opening)
        return self.widgets[address]


async def test_web_chats_are_a_channel(server_url: str | None) -> None:
    await assert_channel(WebChat, WebChatCase(), server_url=server_url)
