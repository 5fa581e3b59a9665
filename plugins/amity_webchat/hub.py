"""``Hub``: the open sockets of this process, and what reaches them.

An answer is in the database before anybody is told of it. The process that sends it wakes its own sockets, and
tells the other processes over the bus; each of them also looks for what is new every so often, so that whatever
the bus lost arrives a little later. A socket gets every message once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from amity import Session
from amity.access import Principal
from amity.messaging.connections import Opened, open_connections

from . import thread
from .account import WebChatAccount
from .bus import Told, bus_of
from .limits import Bucket
from .protocol import FORBIDDEN, MANY, dump
from .state import Expiring
from .thread import Shown

if TYPE_CHECKING:
    from amity import Crm

    from .plugin import WebChatSettings

OVERLAP = timedelta(seconds=30)
"""How far a look goes back beyond the last one: commits and clocks of processes are not in step."""
TYPING = 6.0
"""Seconds that somebody counts as typing after the last sign of it."""
AGENT = 90.0
"""Seconds that an agent counts as online after the last sign."""
VISITOR = 50.0
"""Seconds that a visitor of another process counts as online after its last sign."""
TELL = 20.0
"""Seconds after which other processes are told again who is online here."""
ACCOUNT = 2.0
"""Seconds that the settings of a connection may be old."""
WAITING = 256
"""Messages that may wait for a slow socket, before it is closed."""
REMEMBERED = 2_000
"""Messages that a socket is remembered to have got."""
CHUNK = 100
"""Threads that one look asks for."""
_log = logging.getLogger("amity.plugin.webchat")

Place = tuple[UUID, str]
"""A connection, and the key of a visitor's conversation in it."""


@dataclass(eq=False)
class Peer:
    """An open socket."""

    connection: UUID
    key: str
    names: bool
    outgoing: asyncio.Queue[str | int] = field(default_factory=lambda: asyncio.Queue(WAITING))
    """Texts to send; a number is the code that the socket is to be closed with."""
    own: set[str] = field(default_factory=set)
    """Message ids of what it is saying right now, and will be told of when it is stored."""
    _got: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _early: list[Shown] | None = field(default_factory=list)
    _floor: str = ""

    def start(self, messages: Sequence[Shown], welcome: str, *, more: bool = False) -> None:
        """Sends the welcome, which holds ``messages``, and after it what came meanwhile.

        With ``more`` there are earlier ones, which the widget will ask for.
        """
        self._floor = messages[0].value["at"] if more and messages else ""
        self.put(welcome)
        self.remember(message.id for message in messages)
        early, self._early = self._early, None
        self.push(early or ())

    def push(self, messages: Sequence[Shown]) -> None:
        """Sends messages that it has not got yet."""
        if self._early is not None:
            self._early.extend(messages)
            return
        new = [
            message
            for message in messages
            if message.id not in self._got
            and message.message_id not in self.own
            and message.value["at"] >= self._floor
        ]
        if new:
            self.remember(message.id for message in new)
            self.put(dump("messages", messages=[message.value for message in new], since=since()))

    def remember(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._got[id] = None
        while len(self._got) > REMEMBERED:
            self._got.popitem(last=False)

    def put(self, item: str | int) -> None:
        """Queues something to be sent; who does not read loses the connection, and comes back for the rest."""
        try:
            self.outgoing.put_nowait(item)
        except asyncio.QueueFull:
            while not self.outgoing.empty():
                self.outgoing.get_nowait()
            self.outgoing.put_nowait(MANY)


class Hub:
    """The sockets of one Crm in this process."""

    def __init__(self, crm: Crm, settings: WebChatSettings) -> None:
        self.crm = crm
        self.settings = settings
        self._bus = bus_of(crm.database)
        self._peers: dict[Place, set[Peer]] = defaultdict(set)
        self._accounts: dict[UUID, tuple[float, Opened | None]] = {}
        self._elsewhere = Expiring()
        self._typing = Expiring()
        self._agents: dict[UUID, Expiring] = defaultdict(Expiring)
        self._buckets: dict[object, Bucket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keeps sockets up with the database, until it is left; then they are closed."""
        tasks = [
            asyncio.create_task(self._bus.run(self._hear), name="amity-webchat-bus"),
            asyncio.create_task(self._run(), name="amity-webchat"),
        ]
        try:
            yield
        finally:
            for peer in self._all():
                peer.put(1012)
            for task in (*tasks, *self._tasks):
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Waits until the sockets here were told of everything that was announced by now."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def session(self) -> Session:
        """What the chat reads and writes as."""
        return self.crm.acting_as(Principal("plugin", "webchat"))

    async def account(self, connection: UUID) -> Opened | None:
        """A connection of web chats that is active, as it was a few seconds ago; else None."""
        known = self._accounts.get(connection)
        if known is not None and known[0] > monotonic():
            return known[1]
        found = (await open_connections(self.session, [connection])).get(connection)
        if found is not None and not isinstance(found, Opened):
            _log.warning("the web chat %s can't be used: %s", connection, found)
        usable = found if isinstance(found, Opened) and found.row["active"] else None
        if usable is not None and not isinstance(usable.connected.settings, WebChatAccount):
            usable = None
        if len(self._accounts) > 1_000:
            self._accounts.clear()  # ids come from outside
        self._accounts[connection] = (monotonic() + ACCOUNT, usable)
        return usable

    # --- sockets --------------------------------------------------------------------------------------------

    def room(self, connection: UUID) -> bool:
        """Whether one more socket of a connection may be opened here."""
        return sum(len(peers) for place, peers in self._peers.items() if place[0] == connection) < (
            self.settings.max_sockets
        )

    def join(self, peer: Peer) -> bool:
        """Lets a socket take part; False if the visitor has too many."""
        place = (peer.connection, peer.key)
        if len(self._peers[place]) >= self.settings.max_sockets_per_visitor:
            return False
        self._peers[place].add(peer)
        if len(self._peers[place]) == 1:
            self._tell({"t": "online", "at": [self._told(place)]})
        return True

    def leave(self, peer: Peer) -> None:
        """Forgets a socket that was closed."""
        place = (peer.connection, peer.key)
        self._peers[place].discard(peer)
        if not self._peers[place]:
            del self._peers[place]
            self._typing.drop(place)
            self._tell({"t": "offline", "at": [self._told(place)]})

    def bucket(self, key: object, per_minute: int, burst: int) -> Bucket:
        """What is left for a visitor or a connection."""
        found = self._buckets.get(key)
        if found is None:
            found = self._buckets[key] = Bucket(per_minute / 60, burst)
        return found

    # --- messages -------------------------------------------------------------------------------------------

    def announce(self, connection: UUID, key: str, messages: Mapping[UUID, Shown | None]) -> None:
        """Says that there are messages in a thread, to the sockets of every process.

        They are shown as the database has them; where it does not have them, as they are given.
        """
        self._wake(connection, key, messages)
        self._tell({"t": "new", "at": self._told((connection, key)), "ids": [id.hex for id in messages]})

    def _wake(self, connection: UUID, key: str, messages: Mapping[UUID, Shown | None]) -> None:
        if (connection, key) in self._peers:
            # announced before it is marked as sent, so that marking it costs the visitor no time
            self._start(self._look(connection, [key], datetime.now(UTC) - OVERLAP, messages))

    async def _look(
        self,
        connection: UUID,
        keys: Sequence[str],
        at: datetime,
        announced: Mapping[UUID, Shown | None] = MappingProxyType({}),
    ) -> None:
        """Pushes what is new in threads of a connection."""
        opened = await self.account(connection)
        if opened is None:
            return
        names: bool = opened.connected.settings.agent_names
        for start in range(0, len(keys), CHUNK):
            found = await thread.changed(
                self.session, connection, keys[start : start + CHUNK], at, names=names, announced=announced
            )
            known = {message.id for message in found}
            found += [message for message in announced.values() if message and message.id not in known]
            for key, messages in thread.by_key(found).items():
                for peer in list(self._peers.get((connection, key), ())):
                    peer.push(messages)

    # --- typing and presence --------------------------------------------------------------------------------

    def visitor_typing(self, connection: UUID, key: str) -> None:
        """Notes that a visitor is typing."""
        self._typing.put((connection, key), TYPING)
        self._tell({"t": "visitor", "at": self._told((connection, key))})

    def agent_typing(self, connection: UUID, key: str) -> None:
        """Shows a visitor that somebody is typing an answer."""
        self._show_typing((connection, key))
        self._tell({"t": "agent", "at": self._told((connection, key))})

    def agent(self, connection: UUID, who: str, online: bool) -> None:
        """Notes that an agent is there to answer, or is not any more."""
        self._note_agent(connection, who, online)
        self._tell({"t": "presence", "con": connection.hex, "who": who, "online": online})

    def online(self, opened: Opened) -> bool:
        """Whether visitors are told that somebody is there to answer."""
        account: WebChatAccount = opened.connected.settings
        if account.presence != "agents":
            return account.presence == "always"
        return bool(self._agents[opened.connected.id])

    def visitor(self, connection: UUID, key: str) -> tuple[bool, bool]:
        """Whether a visitor has the chat connected, and is typing, as far as this process knows."""
        place = (connection, key)
        return place in self._peers or place in self._elsewhere, place in self._typing

    def _show_typing(self, place: Place) -> None:
        for peer in self._peers.get(place, ()):
            peer.put(dump("typing"))

    def _note_agent(self, connection: UUID, who: str, online: bool) -> None:
        agents = self._agents[connection]
        before = bool(agents)
        if online:
            agents.put(who, AGENT)
        else:
            agents.drop(who)
        if bool(agents) != before:
            self._start(self._show_presence(connection))

    async def _show_presence(self, connection: UUID) -> None:
        opened = await self.account(connection)
        if opened is not None:
            for place, peers in list(self._peers.items()):
                if place[0] == connection:
                    for peer in peers:
                        peer.put(dump("presence", online=self.online(opened)))

    # --- in the background ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Looks for what is new, sees who is gone, and tells the others who is here."""
        last, told = datetime.now(UTC), 0.0
        while True:
            await asyncio.sleep(self.settings.poll)
            try:
                now = datetime.now(UTC)
                await self._check_accounts()
                for connection, keys in self._threads().items():
                    await self._look(connection, keys, last - OVERLAP)
                last = now
            except Exception as error:
                # whatever it was, visitors must get their answers once it is over
                _log.warning("new messages can't be looked for, trying again: %s", error)
            for connection, agents in list(self._agents.items()):
                if agents.sweep() and not agents:
                    self._start(self._show_presence(connection))
            for state in (self._elsewhere, self._typing):
                state.sweep()
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.full}
            if monotonic() - told > TELL:
                told = monotonic()
                await self._tell_who_is_here()

    async def _check_accounts(self) -> None:
        """Closes the sockets of connections that were switched off."""
        for connection, keys in self._threads().items():
            if await self.account(connection) is None:
                for key in keys:
                    for peer in self._peers.get((connection, key), ()):
                        peer.put(FORBIDDEN)

    async def _tell_who_is_here(self) -> None:
        here = [self._told(place) for place in self._peers]
        size = 8  # a key has 300 characters at most, a notification less than 8,000 bytes
        for start in range(0, len(here), size):
            await self._bus.tell({"t": "online", "at": here[start : start + size]})

    def _threads(self) -> Mapping[UUID, list[str]]:
        found: dict[UUID, list[str]] = defaultdict(list)
        for connection, key in self._peers:
            found[connection].append(key)
        return found

    def _all(self) -> list[Peer]:
        return [peer for peers in self._peers.values() for peer in peers]

    # --- other processes ------------------------------------------------------------------------------------

    def _tell(self, message: Told) -> None:
        self._start(self._bus.tell(message))

    def _hear(self, message: Told) -> None:
        kind = message["t"]
        if kind == "presence":
            self._note_agent(UUID(message["con"]), message["who"], bool(message["online"]))
        elif kind in ("online", "offline"):
            for connection, key in message["at"]:
                place = (UUID(connection), key)
                if kind == "online":
                    self._elsewhere.put(place, VISITOR)
                else:
                    self._elsewhere.drop(place)
        else:
            place = (UUID(message["at"][0]), message["at"][1])
            if kind == "new":
                self._wake(*place, dict.fromkeys(UUID(id) for id in message["ids"]))
            elif kind == "agent":
                self._show_typing(place)
            elif kind == "visitor":
                self._typing.put(place, TYPING)

    @staticmethod
    def _told(place: Place) -> list[str]:
        return [place[0].hex, place[1]]

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(_contained(work), name="amity-webchat-push")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _contained(work: Any) -> None:
    try:
        await work
    except Exception as error:
        # it is found again by the next look
        _log.warning("sockets can't be told: %s", error)


def since() -> str:
    """The time from which on a widget that comes back asks."""
    return datetime.now(UTC).isoformat()


def parsed_since(text: str | None) -> datetime | None:
    """The time that a widget was told, with the overlap; None if it is not one of ours."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None and 2000 <= at.year < 9000:  # far enough from where times end
            return at - OVERLAP
    return None
