"""The order of the log.

Every unit of work that makes events adds one row to ``core_event_batch``. A batch's ``position`` is its place
in the log. SQLite has one writer at a time, so the position is given at once. On PostgreSQL transactions
commit in another order than they take numbers in, so positions are given after the commit, by whoever reads
first: contiguous, and no reader ever passes a batch that is still to come.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ..database import Database, Transaction

LOCK = 0x616D6974790002
"""Advisory lock of the sequencer ("amity", 2)."""
AT_ONCE = 20_000


class Position(NamedTuple):
    """A place in the log: the batch, and the event within it. ``Position(0, -1)`` is before everything."""

    position: int
    number: int


BEGINNING = Position(0, -1)


ADD_BATCH = "INSERT INTO core_event_batch DEFAULT VALUES RETURNING id"
"""Adds a batch (PostgreSQL)."""


async def new_batch(transaction: Transaction) -> int:
    """Adds a batch for the events of the running transaction; its id. To be called last in it."""
    if transaction.dialect == "sqlite":
        rows = await transaction.fetch(
            "INSERT INTO core_event_batch (position) "
            "SELECT coalesce(max(position), 0) + 1 FROM core_event_batch RETURNING id"
        )
    else:
        rows = await transaction.fetch(ADD_BATCH)
    return int(rows[0][0])


async def sequence(database: Database) -> None:
    """Gives a position to every batch that is committed by now."""
    if database.dialect == "sqlite":
        return
    newest = (await database.read("SELECT max(id) FROM core_event_batch WHERE position IS NULL"))[0][0]
    while newest is not None and await database.read(
        "SELECT 1 FROM core_event_batch WHERE position IS NULL AND id <= $1 LIMIT 1", (newest,)
    ):
        if not await database.transact(_number):
            # another process is at it; what it leaves is ours
            await asyncio.sleep(0.002)


async def _number(transaction: Transaction) -> bool:
    # the lock needs a statement of its own: the next one must see what its last holder committed
    locked = (await transaction.fetch("SELECT pg_try_advisory_xact_lock($1)", (LOCK,)))[0][0]
    if locked:
        await transaction.execute(
            "WITH last AS (SELECT coalesce(max(position), 0) AS p FROM core_event_batch), "
            "fresh AS (SELECT id, row_number() OVER (ORDER BY id) AS r FROM core_event_batch "
            f"WHERE position IS NULL ORDER BY id LIMIT {AT_ONCE}) "
            "UPDATE core_event_batch b SET position = last.p + fresh.r FROM last, fresh "
            "WHERE b.id = fresh.id AND b.position IS NULL"
        )
    return bool(locked)


async def head(database: Database) -> Position:
    """The place of the last event that has one; the beginning while the log is empty."""
    rows = await database.read(
        "SELECT b.position, e.number FROM core_event_batch b JOIN core_event e ON e.batch = b.id "
        "WHERE b.position IS NOT NULL ORDER BY b.position DESC, e.number DESC LIMIT 1"
    )
    return Position(*rows[0]) if rows else BEGINNING
