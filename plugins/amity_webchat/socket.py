"""One visitor's socket, from the first word to the last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from amity import Connection, Inbound, Interaction, QueryError, Receipt
from amity.channels import AddressError
from amity.database import DatabaseError
from amity.entity import InvalidId, decode_id
from amity.messaging.connections import Opened
from amity.messaging.receive import deliver
from amity.messaging.secrets import SecretsError, vault

from . import thread, tokens
from .account import WebChatAccount
from .hub import Hub, Peer, parsed_since, since
from .identity import Who, anonymous, claim, join, note_claim, signed
from .protocol import (
    MALFORMED,
    MANY,
    SILENT,
    UNREADY,
    Email,
    Got,
    Hello,
    History,
    Malformed,
    Message,
    Ping,
    Said,
    Seen,
    Typing,
    dump,
    parse,
)
from .thread import Shown
from .tokens import Identity, TokenError

HELLO = 10.0
"""Seconds in which a socket must say hello."""
SLEEPY = 90.0
"""Seconds that browsers may delay what a page in the background wanted to say."""
AGAIN = 3.0
"""Seconds after which a widget tries again what failed on our side."""
USE = "webchat"
"""What the vault of the tokens is for."""
_log = logging.getLogger("amity.plugin.webchat")


async def serve(hub: Hub, websocket: WebSocket) -> None:
    """Answers a socket. Sites that may not chat don't get one."""
    connection = connection_id(websocket.path_params["connection"])
    opened = await hub.account(connection) if connection is not None else None
    if opened is None:
        await _denied(websocket, 404, "There is no such web chat, or it is switched off\n")
        return
    account: WebChatAccount = opened.connected.settings
    origin = websocket.headers.get("origin", "")
    if origin not in account.allowed_origins:
        _log.info("the web chat %r refused the origin %r", opened.row["name"], origin[:200])
        await _denied(websocket, 403, f"The origin {origin[:200]!r} is not among allowed_origins of this chat\n")
        return
    await websocket.accept()
    try:
        if not hub.room(opened.connected.id):
            await websocket.close(MANY)
            return
        await _Conversation(hub, websocket, opened).run()
    except WebSocketDisconnect:
        pass
    except (DatabaseError, TimeoutError) as error:
        _log.warning("a web chat can't be opened, the widget will try again: %s", error)
        await _close(websocket, 1011)
    except SecretsError as error:
        _log.error("web chats need a key in [security]: %s", error)
        await _close(websocket, UNREADY)


def connection_id(text: str) -> UUID | None:
    """The id in a path: ``con_…``."""
    try:
        prefix = Connection.options.prefix
        return decode_id(prefix, text, {prefix: "Connection"})
    except InvalidId:
        return None


async def _denied(websocket: WebSocket, status: int, text: str) -> None:
    """Refuses the handshake with a text for whoever looks at it."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(PlainTextResponse(text, status))
    else:
        await websocket.close()


async def _close(websocket: WebSocket, code: int) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        if websocket.application_state is not WebSocketState.DISCONNECTED:
            await websocket.close(code)


class _Conversation:
    """What is said over one socket."""

    def __init__(self, hub: Hub, websocket: WebSocket, opened: Opened) -> None:
        self.hub = hub
        self.websocket = websocket
        self.opened = opened
        self.who = Who("")
        self.peer = Peer(opened.connected.id, "", self.account.agent_names)
        self.language: str | None = None
        self.page: str | None = None
        self.joined = True
        """Whether nothing is left to do about who it is."""

    @property
    def account(self) -> WebChatAccount:
        found: WebChatAccount = self.opened.connected.settings
        return found

    @property
    def connection(self) -> UUID:
        return self.opened.connected.id

    async def run(self) -> None:
        hello = await self._first()
        if hello is None:
            return
        token = await self._recognize(hello)
        self.peer = Peer(self.connection, self.who.key, self.account.agent_names)
        if not self.hub.join(self.peer):
            await _close(self.websocket, MANY)
            return
        writer = asyncio.create_task(self._write(), name="amity-webchat-socket")
        reader = asyncio.create_task(self._listen(hello, token), name="amity-webchat-listen")
        try:
            # whoever ends first ends the other
            done, _ = await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.hub.leave(self.peer)
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)

    async def _listen(self, hello: Hello, token: str | None) -> None:
        await self._welcome(hello, token)
        bucket = self.hub.bucket(("frames", self.peer.connection, self.peer.key), 600, 120)
        while True:
            try:
                async with asyncio.timeout(self.hub.settings.heartbeat * 2 + SLEEPY):
                    said = parse(await self._text())
            except TimeoutError:
                return await self._end(SILENT)
            except Malformed as error:
                return await self._end(MALFORMED, error)
            if bucket.take():
                return await self._end(MANY)
            try:
                await self._heard(said)
            except Malformed as error:
                return await self._end(MALFORMED, error)
            except (DatabaseError, TimeoutError) as error:
                _log.warning("a web chat can't be answered, the widget will try again: %s", error)
                self._refused("failed", "it could not be stored", id=getattr(said, "id", None), after=AGAIN)

    async def _end(self, code: int, problem: Exception | None = None) -> None:
        """Leaves it to the writer to end the socket, after what it still has to send."""
        if problem is not None:
            _log.info("a widget of %r said what is no message: %s", self.opened.row["name"], problem)
        self.peer.put(code)
        await asyncio.Event().wait()

    async def _write(self) -> None:
        while True:
            item = await self.peer.outgoing.get()
            if isinstance(item, int):
                await _close(self.websocket, item)
                return
            await self.websocket.send_text(item)

    async def _text(self) -> str:
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        if not isinstance(text, str):
            raise Malformed("it is binary")
        return text

    # --- hello ----------------------------------------------------------------------------------------------

    async def _first(self) -> Hello | None:
        """The hello, or None once the socket was closed for the lack of it."""
        try:
            async with asyncio.timeout(HELLO):
                said = parse(await self._text())
            if isinstance(said, Hello):
                return said
        except TimeoutError:
            await _close(self.websocket, SILENT)
            return None
        except Malformed:
            pass
        await _close(self.websocket, MALFORMED)
        return None

    async def _recognize(self, hello: Hello) -> str | None:
        """Finds out who it is; the token that the browser keeps, None if it needs none."""
        signer = vault(self.hub.crm.settings, USE)
        now = time.time()
        self.language = hello.language
        self.page = _page(hello.page)
        visitor = None
        if hello.token:
            with contextlib.suppress(TokenError):
                visitor = tokens.read(hello.token, self.connection, signer, now)
        identity = self._identity(hello, now)
        if identity is not None:
            self.who = signed(self.connection, identity)
            before = anonymous(visitor) if visitor else None
            await join(self.hub.session, self.connection, self.who, before)
            self.joined = False
            return None
        if hello.resume:
            with contextlib.suppress(TokenError):
                self.who = Who(tokens.read_resumption(hello.resume, self.connection, signer, now))
                self._early = None
                return None
        if visitor is None:
            visitor = tokens.new_visitor(self.connection, now)
        self.who = anonymous(visitor)
        return tokens.sign(tokens.renewed(visitor, now), signer)

    def _identity(self, hello: Hello, now: float) -> Identity | None:
        """Who the company's own back end says it is. What can't be believed makes nobody anybody."""
        if not hello.identity:
            return None
        secret = self.account.identity_secret
        try:
            if secret is None:
                raise TokenError("this web chat has no identity_secret, so identities can't be checked")
            return tokens.read_identity(hello.identity, secret.get_secret_value(), now)
        except TokenError as error:
            _log.warning("the web chat %r got an identity that is not valid: %s", self.opened.row["name"], error)
            self._early = str(error)
            return None

    _early: str | None = None
    """Why the identity was not believed."""

    async def _welcome(self, hello: Hello, token: str | None) -> None:
        """What was said before: the newest page, or all that is new to a widget that was here a moment ago."""
        session, key, names = self.hub.session, self.who.key, self.account.agent_names
        here, after, cursor = since(), parsed_since(hello.since), None
        resume = None
        if self.who.signed_in:
            signer = vault(self.hub.crm.settings, USE)
            resume = tokens.sign_resumption(self.connection, key, signer, time.time())
        if after is None:
            messages, cursor = await thread.newest(session, self.connection, key, names=names)
        else:
            messages = await thread.changed(session, self.connection, [key], after, names=names)
        welcome = dump(
            "welcome",
            token=token,
            visitor=key,
            resume=resume,
            identified=self.who.signed_in,
            online=self.hub.online(self.opened),
            messages=[message.value for message in messages],
            cursor=cursor,
            since=here,
        )
        self.peer.start(messages, welcome, more=cursor is not None)
        if self._early:
            self._refused("identity", self._early)

    # --- what the widget says -------------------------------------------------------------------------------

    async def _heard(self, said: Said) -> None:
        match said:
            case Ping():
                self.peer.put(dump("pong"))
            case Typing():
                self.hub.visitor_typing(self.connection, self.who.key)
            case Message():
                await self._message(said)
            case Got():
                await self._receipts(said.ids, "delivered")
            case Seen():
                await self._receipts(said.ids, "read")
            case History():
                await self._history(said)
            case Email():
                await self._email(said)
            case Hello():
                self.peer.put(MALFORMED)

    async def _message(self, said: Message) -> None:
        text = said.text.replace("\x00", "").strip()
        longest = self.hub.settings.max_length
        if not 0 < len(text) <= longest:
            self._refused("size", f"expected 1 to {longest} characters", id=said.id)
            return
        if wait := self._wait():
            self._refused("rate", "too many messages", id=said.id, after=round(wait + 0.5, 1))
            return
        item = Inbound(
            message_id=f"{self.who.key}/{said.id}",
            address=self.who.key,
            name=self.who.name,
            body=text,
            conversation=self.who.key,
            language=self.language,
            fields={"webchat": {"page": self.page}} if self.page else {},
        )
        self.peer.own.add(item.message_id)
        try:
            stored = await self._stored(item)
            if stored is None:
                # trying again would change nothing: a plugin refused it, or somebody deleted it
                self._refused("failed", "it was not taken in", id=said.id)
                return
            id, shown = stored
            self.peer.remember([shown.id])
            self.peer.put(dump("ack", message=shown.value))
        finally:
            self.peer.own.discard(item.message_id)
        self.hub.announce(self.connection, self.who.key, {id: None})

    async def _stored(self, item: Inbound) -> tuple[UUID, Shown] | None:
        """The message once it is in the database; None if the CRM refused it."""
        (id,) = (await deliver(self.hub.crm, self.connection, [item])).ids
        if not self.joined:
            # the customer may be there only now
            await join(self.hub.session, self.connection, self.who, None)
            self.joined = True
        names = self.account.agent_names
        if id is None:
            return None
        shown = await thread.one(self.hub.session, self.connection, self.who.key, id, names=names)
        return None if shown is None else (id, shown)

    def _wait(self) -> float:
        """Seconds that the visitor has to wait with the next message."""
        settings = self.hub.settings
        visitor = self.hub.bucket((self.connection, self.who.key), settings.messages_per_minute, settings.burst)
        if wait := visitor.take():
            return wait
        all_minute = settings.connection_messages_per_minute
        return self.hub.bucket(self.connection, all_minute, max(1, all_minute // 6)).take()

    async def _receipts(self, ids: list[str], status: Any) -> None:
        known = set()
        for id in ids:
            with contextlib.suppress(InvalidId):
                decode_id(Interaction.options.prefix, id, self.hub.crm.catalog.prefixes)
                known.add(id)
        if not known:
            return
        found = await thread.message_ids(self.hub.session, self.connection, self.who.key, sorted(known))
        now = datetime.now(UTC)
        receipts = [Receipt(message_id, status, now) for message_id in found.values()]
        if receipts:
            await deliver(self.hub.crm, self.connection, receipts)

    async def _history(self, said: History) -> None:
        names = self.account.agent_names
        try:
            messages, cursor = await thread.newest(
                self.hub.session, self.connection, self.who.key, names=names, before=said.before
            )
        except QueryError as error:
            raise Malformed(str(error)) from None
        self.peer.remember(message.id for message in messages)
        self.peer.put(dump("history", messages=[message.value for message in messages], cursor=cursor))

    async def _email(self, said: Email) -> None:
        if self._wait():
            self._refused("email", "too many messages")
            return
        try:
            note = claim(self.who, said.email.replace("\x00", ""))
        except AddressError as error:
            self._refused("email", str(error))
            return
        await deliver(self.hub.crm, self.connection, [note])
        await note_claim(self.hub.session, self.connection, note)
        self.peer.put(dump("email"))

    def _refused(self, code: str, reason: str, **more: Any) -> None:
        self.peer.put(dump("refused", code=code, reason=reason, **more))


def _page(url: str | None) -> str | None:
    """The page that a visitor is on, without what may be personal in its address."""
    if not url:
        return None
    with contextlib.suppress(ValueError):
        parts = urlsplit(url.replace("\x00", ""))
        if parts.scheme in ("http", "https") and parts.hostname:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:500]
    return None
