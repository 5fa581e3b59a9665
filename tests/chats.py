"""A server with web chats on it, and a widget that speaks the protocol without a browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, Self
from uuid import UUID, uuid4

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from amity import SYSTEM, Conversation, Crm, Interaction, Session
from amity.access import Everything, Principal, Rights
from amity.entity import encode_id
from amity.messaging.secrets import new_key, vault
from amity.server import app
from amity.testing import Arrived, ChannelCase, Written
from amity_webchat import WebChat, WebChatSettings
from amity_webchat.tokens import Visitor, sign

ORIGIN = "https://www.shop.example"
SECRET = "a secret that only the shop and the CRM know"
PATIENCE = 10.0
"""Seconds that a test waits for a message."""
_names = itertools.count(1)


class Staff:
    """Users may do what the system may: rights are tested elsewhere."""

    def rights(self, principal: Principal) -> Rights:
        return Everything(principal)


def settings(**webchat: Any) -> dict[str, Any]:
    """Settings with a key, and a short pause between looks for messages of other processes."""
    return {"security": {"keys": [new_key()]}, "webchat": {"poll": 0.1, **webchat}}


async def new_chat(session: Session, *, creates_prospects: bool = False, **account: Any) -> UUID:
    """A connection of web chats."""
    row = {
        "channel": "webchat",
        "name": f"Chat {next(_names)}",
        "settings": {"allowed_origins": [ORIGIN], **account},
        "creates_prospects": creates_prospects,
    }
    made = await session.run("create_connection", [row])
    assert not made.errors, made.errors
    (id,) = made.ids
    assert id is not None
    return id


class Server:
    """A real server on a real port, in this process; it can be stopped and started again."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self.port = 0
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            app(self.crm, opens=False),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = _nothing  # type: ignore[method-assign, assignment]
        self._task = asyncio.create_task(self._server.serve([listening]))
        while not self._server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        assert self._server is not None
        assert self._task is not None
        self._server.should_exit = True
        await self._task

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket(self, chat: UUID) -> str:
        return f"ws://127.0.0.1:{self.port}/webchat/{encode_id('con', chat)}/socket"

    def widget(self, chat: UUID) -> str:
        return f"{self.url}/webchat/{encode_id('con', chat)}/widget.js"


class _nothing:
    """Signals are pytest's."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


@asynccontextmanager
async def serving(crm: Crm) -> AsyncIterator[Server]:
    server = Server(crm)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Widget:
    """What the widget says and hears, without a browser."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.heard: list[dict[str, Any]] = []
        self.welcome: Mapping[str, Any] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Server, chat: UUID, *, origin: str = ORIGIN, **hello: Any) -> AsyncIterator[Self]:
        """A widget that has been welcomed."""
        async with connect(server.socket(chat), origin=origin) as link:  # type: ignore[arg-type]
            widget = cls(link)
            await widget.tell("hello", v=1, **hello)
            widget.welcome = await widget.hear("welcome")
            yield widget

    async def tell(self, kind: str, **values: Any) -> None:
        await self.link.send(json.dumps({"t": kind, **values}))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of a kind; others are kept for later."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for message in self.heard:
                    if message["t"] == kind:
                        self.heard.remove(message)
                        return message
                self.heard.append(json.loads(await self.link.recv()))

    async def say(self, text: str, id: str | None = None) -> dict[str, Any]:
        """Says something, and waits until it is stored; the stored message."""
        await self.tell("message", id=id or uuid4().hex, text=text)
        found: dict[str, Any] = (await self.hear("ack"))["message"]
        return found

    async def quiet(self) -> list[dict[str, Any]]:
        """What it hears until the server answers a ping: everything that was on its way."""
        await self.tell("ping")
        await self.hear("pong")
        heard, self.heard = self.heard, []
        return heard


async def thread_of(session: Session, widget: Widget) -> dict[str, Any]:
    """The conversation of a widget's visitor."""
    query = session.find(Conversation).where({"key": {"eq": widget.welcome["visitor"]}})
    found = await query.select("id", "status", "unread", "customer.id", "customer.name", "visitor").one()
    assert found is not None
    return found


async def answer(crm: Crm, conversation: Mapping[str, Any], text: str, session: Session | None = None) -> str:
    """An agent's answer, sent; the id of its interaction."""
    asked = {"conversation_id": conversation["id"], "body": text}
    result = await (session or crm.acting_as(SYSTEM)).run("send_message", [asked])
    assert not result.errors, result.errors
    (id,) = result.ids
    assert id is not None
    assert not await crm.settle()
    return encode_id("int", id)


class VisitorsCase(ChannelCase):
    """Visitors of a site, each with the chat open: the other side of the conformance suite."""

    account = {"allowed_origins": [ORIGIN], "identity_secret": SECRET}
    threads = False
    refused = "somebody@shop.example"

    def __init__(self) -> None:
        self.plugin = WebChat(WebChatSettings(burst=1_000, messages_per_minute=1_000))
        self._at: tuple[Crm, UUID] | None = None
        self._server: Server | None = None
        self._tabs: list[tuple[str, Widget]] = []
        self._arrived: list[Arrived] = []

    def address(self, number: int) -> str:
        return f" visitor:{number}"

    async def bring(self, crm: Crm, connection: UUID, messages: Sequence[Written]) -> None:
        for message in messages:
            async with self._tab(message.address) as tab:
                await tab.say(message.text, message.id)

    async def tell(
        self, crm: Crm, connection: UUID, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> bool:
        if status == "failed":
            return False
        query = crm.acting_as(SYSTEM).find(Interaction).select("id", "address")
        row = await query.where({"message_id": {"eq": message_id}}).one()
        async with self._tab(row["address"] if row else self.address(1)) as tab:
            await tab.tell("got" if status == "delivered" else "seen", ids=[row["id"] if row else message_id])
            await tab.quiet()
        return True

    async def arrived(self) -> Sequence[Arrived]:
        assert self._at is not None
        await self.plugin._hub(self._at[0]).settle()
        for address, tab in self._tabs:
            for heard in await tab.quiet():
                for message in heard.get("messages", ()):
                    if not message.get("mine"):
                        self._arrived.append(Arrived(message["id"], address, message["text"]))
        return self._arrived

    @asynccontextmanager
    async def running(self, crm: Crm, connection: UUID) -> AsyncIterator[None]:
        """Opens the chat of everybody."""
        self._at = (crm, connection)
        async with AsyncExitStack() as stack:
            self._server = await stack.enter_async_context(serving(crm))
            for number in range(1, 41):
                address = self.address(number)
                self._tabs.append((address, await stack.enter_async_context(self._tab(address))))
            yield
        self._tabs.clear()

    def _tab(self, address: str) -> AbstractAsyncContextManager[Widget]:
        assert self._at is not None
        assert self._server is not None
        crm, connection = self._at
        visitor = Visitor(connection, address.strip().removeprefix("visitor:"), int(time.time()))
        token = sign(visitor, vault(crm.settings, "webchat"))
        return Widget.open(self._server, connection, token=token)
