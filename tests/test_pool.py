"""Connections are handed from read to read: nobody waits for ever, and what was given up comes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from amity import SYSTEM, Customer, Session
from amity.database import DatabaseError
from amity.testing import make_crm


async def test_reads_streams_and_units_share_few_connections(server_url: str | None) -> None:
    async with make_crm(settings={"pool_size": 2}, server_url=server_url) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"kind": "person", "name": f"Customer {number}"} for number in range(20)]
        assert not (await session.create(Customer, rows)).errors

        async def read() -> int:
            return await session.find(Customer).count()

        async def stream() -> int:
            return sum([1 async for _ in crm.database.stream("select id from core_customer", batch=5)])

        async def write() -> int:
            async def work(within: Session) -> int:
                return await within.find(Customer).count()

            return await session.transact(work)

        async with asyncio.timeout(60):
            for _ in range(3):
                found = await asyncio.gather(*(work() for work in (read, stream, write, read) for _ in range(6)))
                assert set(found) == {20, 4}
                given_up = [asyncio.create_task(read()) for _ in range(6)]
                await asyncio.sleep(0)
                for task in given_up:
                    task.cancel()
                for task in given_up:
                    with suppress(asyncio.CancelledError):
                        await task
            assert await read() == 20


async def test_closing_waits_for_reads_that_are_under_way(server_url: str | None) -> None:
    slow = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select count(*) from n"
    )
    async with asyncio.timeout(60):
        async with make_crm(settings={"pool_size": 2}, server_url=server_url) as crm:
            reading = asyncio.create_task(crm.database.read(slow))
            await asyncio.sleep(0.01)
        with suppress(DatabaseError):
            assert (await reading)[0][0] == 300_000


async def test_closing_does_not_wait_for_what_is_not_read_on(server_url: str | None) -> None:
    async with make_crm(settings={"statement_timeout": 2.0}, server_url=server_url) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Customer, [{"kind": "person", "name": name} for name in ("Ann", "Bob")])
        halfway = session.find(Customer).select("name").columns(batch=1)
        await anext(halfway)
    with pytest.raises(DatabaseError):
        await anext(halfway)


async def test_a_connection_that_the_server_ended_is_not_taken_again(server_url: str | None) -> None:
    if server_url is None:
        pytest.skip("SQLite has no server")
    async with make_crm(settings={"pool_size": 2}, server_url=server_url) as crm:
        database = crm.database
        mine = (await database.read("select pg_backend_pid()"))[0][0]
        other = await asyncpg.connect(database.url)
        await other.execute("select pg_terminate_backend($1)", mine)
        await other.fetchval("select pg_sleep(0.2)")  # the end of the connection is heard of meanwhile
        await other.close()
        assert (await database.read("select 1"))[0][0] == 1
