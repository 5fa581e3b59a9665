"""Kill -9 at every step of a message: it leaves at least once, with one id, and is never said sent if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from amity import SYSTEM, Crm, Interaction
from amity.entity import encode_id
from amity.jobs import engine

from .conftest import MakeCrm, killed_at_work
from .courier import KEY, Couriers, Post

SCRIPT = """
import asyncio, sys
from pathlib import Path
from amity import SYSTEM, Crm, Receipt
from amity.jobs import engine
from amity.messaging import deliver, outbox
from tests.courier import Couriers, Courier, KEY

engine.LEASE = 0.5
engine.BEAT = 60
FOLDER = Path({folder!r})

async def stuck():
    print("begun", flush=True)
    await asyncio.sleep(60)

class Killed(Courier):
    async def send(self, connection, messages):
        if {step!r} == "before it leaves":
            await stuck()
        results = await super().send(connection, messages)
        if {step!r} == "after it left":
            await stuck()
        return results

class Plugin(Couriers):
    def channels(self):
        return [Killed(), *super().channels()[1:]]

end = outbox._end
async def ending(*arguments):
    result = await end(*arguments)
    if {step!r} == "before it is said":
        await stuck()
    return result
outbox._end = ending

async def main():
    settings = {{"database_url": sys.argv[1], "security": {{"keys": [{key!r}]}}}}
    crm = Crm(settings, [Plugin])
    await crm.open(dispatch={step!r} != "while it is queued")
    session = crm.acting_as(SYSTEM)
    await session.run("send_message", [{{"connection_id": {connection!r}, "address": "ann", "body": "hello"}}])
    if {step!r} == "while it is queued":
        await stuck()
    await asyncio.sleep(60)

asyncio.run(main())
"""

RECEIPT = """
import asyncio, sys
from uuid import UUID
from amity import SYSTEM, Crm, Receipt
from amity.messaging import deliver
from tests.courier import Couriers, KEY

async def also(session):
    print("begun", flush=True)
    await asyncio.sleep(60)

async def main():
    settings = {{"database_url": sys.argv[1], "security": {{"keys": [{key!r}]}}}}
    crm = Crm(settings, [Couriers])
    await crm.open(dispatch=False)
    await deliver(crm, UUID({connection!r}), [Receipt({message!r}, "delivered")], also=also)

asyncio.run(main())
"""


@asynccontextmanager
async def desk(make_crm: MakeCrm, folder: Path) -> AsyncIterator[tuple[Crm, Any]]:
    """A CRM that leaves all work to others, with a connection."""
    settings = {"security": {"keys": [KEY]}, "files": {"folder": str(folder / "files")}}
    async with make_crm([], settings) as crm:
        other = Crm(crm.settings, [Couriers])
        await other.open(dispatch=False)
        row = {"channel": "courier", "name": "desk", "settings": {"outbox": str(folder / "outbox")}}
        made = await other.acting_as(SYSTEM).run("create_connection", [row])
        await other.close()
        yield crm, made.ids[0]


@pytest.mark.parametrize(
    ("step", "times", "delivery"),
    [
        ("while it is queued", 1, "queued"),
        ("before it leaves", 1, "sending"),
        ("after it left", 2, "sending"),
        ("before it is said", 2, "sending"),
    ],
)
async def test_a_message_leaves_whatever_is_killed_when(
    make_crm: MakeCrm, tmp_path: Path, step: str, times: int, delivery: str
) -> None:
    async with desk(make_crm, tmp_path) as (crm, connection):
        named = {"folder": str(tmp_path), "step": step, "key": KEY, "connection": encode_id("con", connection)}
        await killed_at_work(SCRIPT.format(**named), crm.settings.database_url)
        found = crm.acting_as(SYSTEM).find(Interaction).select("delivery", "attempts", "message_id")
        (row,) = await found.all()
        # as long as nobody knows that it was sent, nobody says so
        assert row["delivery"] == delivery
        async with Crm(crm.settings, [Couriers]) as other:
            while (await found.all())[0]["delivery"] != "sent":
                await other.settle(engine.LEASE)
            left = Post(other, other.acting_as(SYSTEM), connection, tmp_path).left()
        assert len(left) == times
        assert {each["message_id"] for each in left} == {row["message_id"]}
        assert left[-1]["attempt"] == (1 if step == "while it is queued" else 2)


async def test_a_receipt_counts_whole_or_not_at_all(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with desk(make_crm, tmp_path) as (crm, connection), Crm(crm.settings, [Couriers]) as other:
        post = Post(other, other.acting_as(SYSTEM), connection, tmp_path)
        (id,) = await post.sends({"address": "ann", "body": "hello"})
        named = {"key": KEY, "connection": str(connection), "message": encode_id("int", id)}
        await killed_at_work(RECEIPT.format(**named), crm.settings.database_url)
        assert (await post.message(id, "delivery"))["delivery"] == "sent"
