"""Between processes: a line to all others, for what is of the moment.

On PostgreSQL by LISTEN and NOTIFY, which store nothing and lose what nobody hears. On SQLite there is no such
line: what has to arrive is in the database, where every process looks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import orjson

from amity.database import Database, DatabaseError

if TYPE_CHECKING:
    import asyncpg

LONGEST = 7_900
"""Bytes of one notification; PostgreSQL takes less than 8,000."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between attempts to listen again."""
_log = logging.getLogger("amity.plugin.webchat")

Told = dict[str, Any]


class Bus(Protocol):
    """A line to the other processes that serve the same CRM."""

    async def run(self, hear: Callable[[Told], None]) -> None:
        """Listens until it is cancelled; ``hear`` gets what other processes tell."""
        ...

    async def tell(self, message: Told) -> None:
        """Tells all others, if it can."""
        ...


def bus_of(database: Database) -> Bus:
    """The line that this database has."""
    return Notifications(database) if database.dialect == "postgresql" else Silence()


class Silence:
    """No line at all."""

    async def run(self, hear: Callable[[Told], None]) -> None:
        await asyncio.Event().wait()

    async def tell(self, message: Told) -> None:
        return None


class Notifications:
    """LISTEN and NOTIFY, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own = uuid4().hex
        self._channel: str | None = None

    async def run(self, hear: Callable[[Told], None]) -> None:
        import asyncpg

        pause = FIRST_PAUSE
        while True:
            try:
                connection = await asyncpg.connect(
                    self._database.url, server_settings={"application_name": "amity webchat"}
                )
                try:
                    await self._listen(connection, hear)
                finally:
                    connection.terminate()
                pause = FIRST_PAUSE
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseError) as error:
                _log.warning("other processes can't be heard, trying again: %s", error)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _listen(self, connection: asyncpg.Connection[Any], hear: Callable[[Told], None]) -> None:
        ended = asyncio.Event()

        def heard(_: object, pid: int, channel: str, payload: object) -> None:
            with contextlib.suppress(orjson.JSONDecodeError, TypeError, KeyError):
                message = orjson.loads(str(payload))
                if message.pop("by") != self._own:
                    hear(message)

        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(await self._name(), heard)
        await ended.wait()

    async def tell(self, message: Told) -> None:
        text = orjson.dumps({**message, "by": self._own}).decode()
        if len(text.encode()) > LONGEST:
            _log.warning("a message to other processes has %d bytes, and is left out", len(text.encode()))
            return
        try:
            await self._database.read("SELECT pg_notify($1, $2)", (await self._name(), text))
        except DatabaseError as error:
            _log.warning("other processes can't be told: %s", error)

    async def _name(self) -> str:
        """One channel for each schema, as several CRMs may share a database."""
        if self._channel is None:
            rows = await self._database.read("SELECT 'amity_webchat_' || md5(current_schema())")
            self._channel = str(rows[0][0])
        return self._channel
