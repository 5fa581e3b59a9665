"""Jobs: what is enqueued is done, whatever fails and whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from amity import SYSTEM, Context, Crm, Customer, Job, JobRun, Need, Plugin, Session
from amity.change import in_unit
from amity.database import Transaction
from amity.events import dispatcher
from amity.jobs import engine, next_time

from .conftest import MakeCrm, killed_at_work

OWN = {"job": {"in": ["greet", "hurry"]}}
"""The jobs of this module; the core has some, too."""


class Greet(BaseModel):
    name: str = "everybody"


class Other(BaseModel):
    age: int = 3


class Greeter(Plugin):
    """Greets in the background."""

    name = "greeter"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.seen: list[str] = []
        self.fails = 0
        self.running = 0
        self.most = 0
        self.pause = 0.0
        self.schedule: str | None = None

    def needs(self) -> Sequence[Need]:
        return [Need(Customer, {"read", "create"})]

    def jobs(self) -> Sequence[Job[Any]]:
        return [
            Job("greet", Greet, self._greet, key=lambda p: p.name, attempts=3, schedule=self.schedule),
            Job("hurry", Greet, self._hurry, attempts=1, timeout=timedelta(seconds=0.05)),
        ]

    async def _greet(self, context: Context, payload: Greet) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.pause)
            if self.fails:
                self.fails -= 1
                raise RuntimeError("no voice")
            context.progress(1, 1)
            self.seen.append(payload.name)
            await context.session.create(Customer, [{"kind": "person", "name": payload.name}])
        finally:
            self.running -= 1

    async def _hurry(self, context: Context, payload: Greet) -> None:
        await asyncio.sleep(10)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(engine, "POLL", 0.05)


async def settled(crm: Crm) -> None:
    """Waits for retries, too."""
    async with asyncio.timeout(20):
        while await crm.settle():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def states(session: Session) -> list[tuple[str, int, str | None]]:
    rows = await session.find(JobRun).where(OWN).select("state", "attempts", "last_error").order_by("id").all()
    return [(row["state"], row["attempts"], row["last_error"]) for row in rows]


async def test_what_is_enqueued_is_done_once_and_kept(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.enqueue("greet", Greet(name="Ann"))
        assert await crm.settle() == []
        assert plugin.seen == ["Ann"]
        assert await states(session) == [("done", 1, None)]
        row = await session.find(JobRun).where(OWN).select("job", "payload", "done", "total", "enqueued_by").one()
        assert row == {
            "job": "greet",
            "payload": {"name": "Ann"},
            "done": "1",
            "total": "1",
            "enqueued_by": "system",
        }
        customer = await crm.events.read()
        assert (customer[-1].actor, customer[-1].origin) == ("plugin:greeter", "job:greet")


async def test_it_is_enqueued_with_the_transaction_or_not_at_all(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)

        async def broken(joined: Session) -> None:
            await joined.enqueue("greet", Greet(name="Ann"))
            raise RuntimeError("never mind")

        with pytest.raises(RuntimeError, match="never mind"):
            await in_unit(session, broken)
        await crm.settle()
        assert (plugin.seen, await states(session)) == ([], [])


async def test_unknown_jobs_and_other_payloads_are_refused(make_crm: MakeCrm) -> None:
    async with make_crm([Greeter]) as crm:
        session = crm.acting_as(SYSTEM)
        with pytest.raises(LookupError, match="there is no job 'great'; did you mean 'greet'"):
            await session.enqueue("great")
        with pytest.raises(ValidationError):
            await session.enqueue("greet", Other())


async def test_a_failure_is_tried_again(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    plugin.fails = 2
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.enqueue("greet")
        await settled(crm)
        assert plugin.seen == ["everybody"]
        assert await states(session) == [("done", 3, None)]


async def test_what_keeps_failing_is_given_up_where_everybody_sees_it(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    plugin.fails = 99
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.enqueue("greet")
        await settled(crm)
        assert await states(session) == [("dead", 3, "RuntimeError: no voice")]
        assert await session.find(JobRun).where({"state": {"eq": "dead"}}).count() == 1


async def test_what_takes_too_long_is_stopped(make_crm: MakeCrm) -> None:
    async with make_crm([Greeter]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.enqueue("hurry")
        await crm.settle()
        assert await states(session) == [("dead", 1, "TimeoutError: took longer than 0.05 seconds")]


async def test_runs_with_one_key_take_turns_and_others_do_not_wait(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    plugin.pause = 0.1
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        for _ in range(3):
            await session.enqueue("greet", Greet(name="Ann"))
        await crm.settle()
        assert (len(plugin.seen), plugin.most) == (3, 1)
        for name in ("Ann", "Bob", "Cleo"):
            await session.enqueue("greet", Greet(name=name))
        await crm.settle()
        assert (len(plugin.seen), plugin.most) == (6, 3)


async def test_it_waits_until_it_is_due(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.enqueue("greet", due_at=datetime.now(UTC) + timedelta(hours=1))
        assert await crm.settle() == []
        assert (plugin.seen, await states(session)) == ([], [("queued", 0, None)])


async def test_a_schedule_plans_one_run_ahead_and_catches_up_once(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    plugin.schedule = "0 3 * * *"
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        assert await crm.settle() == []
        planned = session.find(JobRun).where({**OWN, "state": {"eq": "queued"}})
        (row,) = await planned.select("schedule", "due_at").all()
        assert row["schedule"] == "0 3 * * *"
        assert row["due_at"].endswith("T03:00:00.000000Z")

        await _pass_days(crm, 3)
        await crm.settle()

        assert plugin.seen == ["everybody"]
        (row,) = await planned.select("schedule", "due_at").all()
        assert row["due_at"] > datetime.now(UTC).isoformat()


async def _pass_days(crm: Crm, days: int) -> None:
    async def earlier(transaction: Transaction) -> None:
        due = datetime.now(UTC) - timedelta(days=days)
        text = due.isoformat(timespec="microseconds").replace("+00:00", "Z")
        p, value = ("?1", text) if transaction.dialect == "sqlite" else ("$1", due)
        await transaction.execute(f"UPDATE core_job_run SET due_at = {p}", (value,))

    await crm.database.transact(earlier)


async def test_another_schedule_replaces_the_run_that_was_planned(make_crm: MakeCrm) -> None:
    plugin = Greeter()
    plugin.schedule = "0 3 * * *"
    async with make_crm([plugin]) as crm:
        other = Greeter()
        other.schedule = "30 4 * * 1"
        async with Crm(crm.settings, [other]) as second:
            planned = second.acting_as(SYSTEM).find(JobRun).where(OWN)
            (row,) = await planned.select("schedule", "due_at").all()
        assert row["schedule"] == "30 4 * * 1"
        assert row["due_at"].endswith("T04:30:00.000000Z")


def test_schedules_are_in_utc() -> None:
    assert next_time("0 3 * * *", datetime(2026, 3, 29, 2, 59, tzinfo=UTC)) == datetime(2026, 3, 29, 3, tzinfo=UTC)


async def test_two_processes_share_the_work_and_do_nothing_twice(make_crm: MakeCrm) -> None:
    plugin, other = Greeter(), Greeter()
    async with make_crm([plugin]) as crm, Crm(crm.settings, [other]) as second:
        session = crm.acting_as(SYSTEM)
        for number in range(20):
            await session.enqueue("greet", Greet(name=f"Guest {number % 7}"))
        await asyncio.gather(crm.settle(), second.settle())
        await crm.settle()
        assert sorted(plugin.seen + other.seen) == sorted(f"Guest {number % 7}" for number in range(20))
        assert await states(session) == [("done", 1, None)] * 20


async def test_closing_hands_unfinished_work_back(make_crm: MakeCrm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "GRACE", 0.05)
    slow = Greeter()
    slow.pause = 30
    async with make_crm([]) as crm:
        database = crm.settings.database_url
        async with Crm({"database_url": database}, [slow]) as first:
            await first.acting_as(SYSTEM).enqueue("greet")
            await until(lambda: slow.running > 0)
        assert await states(crm.acting_as(SYSTEM)) == [("queued", 0, None)]
        quick = Greeter()
        async with Crm({"database_url": database}, [quick]) as second:
            await second.settle()
        assert quick.seen == ["everybody"]


KILLED = """
import asyncio, sys
from amity import SYSTEM, Crm
from amity.jobs import engine
from tests.test_jobs import Greeter

engine.LEASE = 0.5
engine.BEAT = 60

class Stuck(Greeter):
    '''Never ends.'''
    async def _greet(self, context, payload):
        print("begun", flush=True)
        await asyncio.sleep(60)

async def main():
    async with Crm({"database_url": sys.argv[1]}, [Stuck()]) as crm:
        await crm.acting_as(SYSTEM).enqueue("greet")
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_work_of_a_process_that_was_killed_is_done_by_another(make_crm: MakeCrm) -> None:
    async with make_crm([]) as crm:
        await killed_at_work(KILLED, crm.settings.database_url)
        plugin = Greeter()
        async with Crm({"database_url": crm.settings.database_url}, [plugin]) as second:
            await until(lambda: bool(plugin.seen))
            await second.settle()
        assert await states(crm.acting_as(SYSTEM)) == [("done", 2, None)]
