"""Listening: where a channel can wait for news, its connections are fetched as soon as there are some.

One process listens to a connection at a time, by a lease that it renews; when the process dies, another one
takes over. Whatever was missed meanwhile is fetched by the schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..access import Principal
from ..database import Transaction
from ..database.clock import Clock
from ..entity import Kind
from ..entity.values import encode
from ..events.dispatcher import pause_after
from ..messages import Channel
from ..model import Connection
from .connections import NotUsable, Opened, open_connections
from .failures import tell
from .fetch import ask_to_fetch
from .reading import rows_by

if TYPE_CHECKING:
    from ..crm import Crm

LOOK = 5.0
"""Seconds after which connections that are new or changed are looked for, and leases renewed."""
LEASE = 30.0
"""Seconds after which a process that does not renew its lease is taken for dead."""
SHORTEST = 0.2
"""Seconds between two times that a channel has news."""
_log = logging.getLogger("amity.messaging")


@dataclass
class _Listening:
    account: tuple[Any, Any]
    """Its settings and secrets; when they change, it is listened to anew."""
    task: asyncio.Task[None]


class Listeners:
    """What one process listens to."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._session = crm.acting_as(Principal("plugin", "core"), origin="listening")
        self._lease = uuid4().hex
        self._task: asyncio.Task[None] | None = None
        self._listening: dict[UUID, _Listening] = {}

    async def open(self, *, dispatch: bool = True) -> None:
        """Starts listening, if any channel can be listened to."""
        if dispatch and self._channels():
            self._task = asyncio.create_task(self._run(), name="amity-listening")

    async def close(self) -> None:
        """Stops, and leaves the connections to others."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        for id in list(self._listening):
            await self._stop(id)
        await self._crm.database.transact(self._give_back)

    def _channels(self) -> list[str]:
        channels = self._crm.composition.channels
        return sorted(name for name, owned in channels.items() if type(owned.value).listen is not Channel.listen)

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                # whatever it was, there must be somebody who listens once it is over
                _log.warning("connections can't be looked at, trying again: %s", error)
            await asyncio.sleep(LOOK)

    async def _look(self) -> None:
        """Begins, renews and ends listening, as the connections are now."""
        columns = ("active", "settings", "secrets")
        rows = await rows_by(self._session, Connection, "channel", self._channels(), *columns)
        accounts = {row["id"]: (row["settings"], row["secrets"]) for row in rows if row["active"]}
        mine = await self._take(list(accounts))
        for id, listening in list(self._listening.items()):
            if id not in mine or listening.account != accounts[id] or listening.task.done():
                await self._stop(id)
        new = [id for id in mine if id not in self._listening]
        for id, opened in (await open_connections(self._session, new)).items():
            if isinstance(opened, NotUsable):
                await tell(self._session, id, "listening", str(opened))
                continue
            task = asyncio.create_task(self._listen(opened), name=f"amity-listening-{opened.row['name']}")
            self._listening[id] = _Listening(accounts[id], task)

    async def _stop(self, id: UUID) -> None:
        task = self._listening.pop(id).task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, opened: Opened) -> None:
        """Has a connection fetched now, and whenever it says that something is new."""
        failures = 0
        while True:
            await ask_to_fetch(self._session, [opened.row["id"]])
            try:
                await opened.channel.listen(opened.connected)
                if failures:
                    await tell(self._session, opened.row["id"], "listening", None)
                failures = 0
                # a channel that returns at once must not keep everybody else waiting
                await asyncio.sleep(SHORTEST)
            except Exception as error:
                failures += 1
                told = opened.told(f"{type(error).__name__}: {error}")
                _log.warning("connection %r can't be listened to: %s", opened.row["name"], told)
                await tell(self._session, opened.row["id"], "listening", told)
                await asyncio.sleep(pause_after(failures))

    async def _take(self, ids: list[UUID]) -> set[UUID]:
        """Takes or renews the leases of connections; those that this process has."""
        if not ids:
            return set()

        async def take(transaction: Transaction) -> set[UUID]:
            clock = Clock(transaction.dialect)
            names = [encode(Kind.ID, id, transaction.dialect) for id in sorted(ids)]
            among = ", ".join(clock.place(number) for number in range(3, len(names) + 3))
            rows = await transaction.fetch(
                f"UPDATE core_connection SET listener = {clock.place(1)}, listened_until = {clock.later(2)} "
                f"WHERE id IN ({among}) AND (listener IS NULL OR listener = {clock.place(1)} "
                f"OR listened_until <= {clock.now}) RETURNING id",
                clock.bound(self._lease, clock.seconds(LEASE), *names),
            )
            return {UUID(str(row[0])) for row in rows}

        return await self._crm.database.transact(take)

    async def _give_back(self, transaction: Transaction) -> None:
        clock = Clock(transaction.dialect)
        await transaction.execute(
            f"UPDATE core_connection SET listener = NULL, listened_until = NULL WHERE listener = {clock.place(1)}",
            clock.bound(self._lease),
        )


__all__ = ["LEASE", "LOOK", "Listeners"]
