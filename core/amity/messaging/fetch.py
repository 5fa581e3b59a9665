"""Fetching: connections whose messages are asked for, page by page, from where the last page ended.

How far a connection was fetched is written in the transaction that stored what came, so that a page is never
left out. One that is fetched twice changes nothing, as its messages are known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel

from ..change import storage
from ..contracts import Context, Job
from ..database import Transaction
from ..database.clock import Clock
from ..entity import decode_id
from ..messages import Channel, Item
from ..model import Connection
from . import outbox
from .connections import NotUsable, Opened
from .failures import tell
from .reading import reader
from .receive import connection_of, deliver

if TYPE_CHECKING:
    from ..crm import Session


REMEMBERED = 3_600.0
"""Seconds that runs which are done are kept for."""


class ConnectionToFetch(BaseModel):
    """Which connection is to be fetched."""

    connection_id: UUID


class TendConnections(BaseModel):
    """What the job that looks after connections is asked: nothing."""


async def fetch_connection(context: Context, payload: ConnectionToFetch) -> None:
    """Fetches what is new in a connection. What is wrong with it is told in its ``failure``."""
    crm = context.crm
    try:
        opened = await connection_of(crm, payload.connection_id)
    except NotUsable as problem:
        await tell(context.session, payload.connection_id, "fetching", str(problem))
        return
    if not opened.row["active"]:
        return
    pages = opened.channel.fetch(opened.connected, opened.row["cursor"])
    try:
        while (page := await _next(opened.channel, pages)) is not None:
            items, cursor = page
            await deliver(crm, opened.row["id"], items, also=_reached(opened, cursor))
    except Exception as error:
        told = opened.told(f"{type(error).__name__}: {error}")
        await tell(context.session, opened.row["id"], "fetching", told)
        # the exception's own text may repeat a secret
        raise RuntimeError(f"connection {opened.row['name']!r} could not be fetched: {told}") from None
    finally:
        closing = getattr(pages, "aclose", None)
        if closing is not None:
            await closing()
    await context.session.transact(_reached(opened, None))
    await tell(context.session, opened.row["id"], "fetching", None)


async def _next(
    channel: Channel[Any], pages: AsyncIterator[tuple[Sequence[Item], str]]
) -> tuple[Sequence[Item], str] | None:
    try:
        async with asyncio.timeout(channel.timeout) as limit:
            return await anext(pages, None)
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"no answer within {channel.timeout:g} seconds") from error
        raise


def _reached(opened: Opened, cursor: str | None) -> Any:
    """Notes how far a connection was fetched: nothing that anybody has to be told, so there is no event."""

    async def note(session: Session) -> None:
        assert session.unit is not None
        row = {"id": opened.row["id"], "cursor": cursor, "fetched_at": session.unit.now}
        columns = ["fetched_at"] if cursor is None else ["cursor", "fetched_at"]
        await storage.update(session.unit.transaction, session.crm.catalog.of(Connection), [row], columns)

    return note


async def tend(context: Context, payload: TendConnections) -> None:
    """Has every connection fetched that can be, and messages sent that were left behind."""
    fetched = [name for name, owned in context.crm.composition.channels.items() if owned.value.can.fetches]
    if fetched:
        rows = (
            await context.session.find(Connection)
            .where({"active": {"eq": True}, "channel": {"in": sorted(fetched)}})
            .all()
        )
        prefix = context.crm.catalog.of(Connection).prefix
        await ask_to_fetch(context.session, [decode_id(prefix, row["id"]) for row in rows])
    await outbox.ask_again(context.session)
    await context.crm.database.transact(_forget)


async def _forget(transaction: Transaction) -> None:
    """Forgets runs that were done long ago: with one a minute for each connection, nobody looks at them."""
    clock = Clock(transaction.dialect)
    await transaction.execute(
        "DELETE FROM core_job_run WHERE job IN ('fetch_connection', 'tend_connections') AND state = 'done' "
        f"AND enqueued_at BETWEEN {clock.later(1)} AND {clock.later(2)}",
        clock.bound(clock.seconds(-2 * REMEMBERED), clock.seconds(-REMEMBERED)),
    )


async def ask_to_fetch(session: Session, connections: Sequence[UUID]) -> None:
    """Has connections fetched, unless somebody asked already and nobody has begun."""
    rows = await reader(session).fetch(
        "SELECT \"key\" FROM core_job_run WHERE job = 'fetch_connection' AND state = 'queued'"
    )
    asked = {UUID(row[0]) for row in rows}
    for id in connections:
        if id not in asked:
            await session.enqueue("fetch_connection", ConnectionToFetch(connection_id=id))


FETCH_CONNECTION: Job[ConnectionToFetch] = Job(
    "fetch_connection",
    ConnectionToFetch,
    fetch_connection,
    key=lambda payload: str(payload.connection_id),
    timeout=timedelta(hours=1),
)
TEND_CONNECTIONS: Job[TendConnections] = Job(
    "tend_connections", TendConnections, tend, key=lambda _: "connections", schedule="* * * * *"
)

__all__ = ["FETCH_CONNECTION", "TEND_CONNECTIONS", "ConnectionToFetch", "ask_to_fetch"]
