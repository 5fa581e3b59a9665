"""The event log: complete, in one order, and told to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import (
    SYSTEM,
    ContactPoint,
    Context,
    Crm,
    Customer,
    Deal,
    Event,
    ExternalId,
    LogEvent,
    Need,
    Pipeline,
    Plugin,
    Principal,
    Record,
    Session,
    Stage,
    Subscriber,
    Team,
    Update,
)
from amity.change import in_unit
from amity.entity import new_id
from amity.entity.values import decode, external

from .conftest import MakeCrm

BEGINNING = (0, -1)


async def everything(crm: Crm, limit: int = 1000) -> list[LogEvent]:
    """The whole log, read by cursor in small steps."""
    found: list[LogEvent] = []
    after = BEGINNING
    while events := await crm.events.read(after, limit):
        found += events
        after = place(events[-1])
    return found


def place(event: LogEvent) -> tuple[int, int]:
    assert event.position is not None
    return event.position, event.number


def assert_contiguous(events: Sequence[LogEvent]) -> None:
    """No gap, nothing twice, nothing out of order."""
    assert place(events[0]) == (1, 0)
    for one, following in pairwise(map(place, events)):
        assert following in ((one[0], one[1] + 1), (one[0] + 1, 0)), (one, following)


async def add_team(session: Session, name: str) -> UUID:
    result = await session.create(Team, [{"name": name}])
    assert result.ids[0] is not None, result.errors
    return result.ids[0]


# --- reading -----------------------------------------------------------------------------------------------


async def test_an_event_tells_what_happened(make_crm: MakeCrm) -> None:
    async with make_crm([Listener()]) as crm:
        session = crm.acting_as(Principal("plugin", "listener"), origin="import 7")
        before = datetime.now(UTC)
        id = (await session.create(Customer, [{"kind": "person", "name": "Ann"}])).ids[0]
        assert id is not None
        await session.update(Customer, [Update(id, {"note": "n"})])
        await session.delete(Customer, [id])
        await session.restore(Customer, [id])
        events = await crm.events.read()
        assert [event.type for event in events] == [
            "customer.created",
            "customer.updated",
            "customer.deleted",
            "customer.restored",
        ]
        assert {(e.entity_type, e.entity_id, e.actor, e.origin) for e in events} == {
            ("core.Customer", id, "plugin:listener", "import 7")
        }
        assert before <= events[0].occurred_at <= datetime.now(UTC)
        created, updated, deleted, restored = events
        assert (created.before, created.after) == (
            None,
            {"kind": "person", "name": "Ann", "lifecycle": "prospect", "custom_fields": {}},
        )
        assert updated.changed_fields == {"note"}
        assert deleted.before == {"deleted_at": None} == restored.after
        assert deleted.after == restored.before
        # as readers of the entity see it, it is the same
        row = await session.find(Event).select("type", "actor", "before").order_by("batch", "number").all()
        assert [item["type"] for item in row] == [event.type for event in events]


async def test_reading_resumes_where_it_ended(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        for n in range(4):
            await session.create(Team, [{"name": f"{n}.{i}"} for i in range(3)])
        whole = await crm.events.read()
        assert len(whole) == 12
        assert_contiguous(whole)
        for limit in (1, 2, 5, 12, 13):
            assert await everything(crm, limit) == whole
        assert await crm.events.read(place(whole[-1])) == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 4), st.text(alphabet="abcé", min_size=1, max_size=4)),
        st.tuples(st.just("update"), st.integers(0, 4), st.text(alphabet="abcé", min_size=1, max_size=4)),
        st.tuples(st.just("link"), st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("delete"), st.integers(0, 4), st.none()),
        st.tuples(st.just("restore"), st.integers(0, 4), st.none()),
        st.tuples(st.just("deal"), st.integers(0, 4), st.integers(0, 1)),
        st.tuples(st.just("move"), st.integers(0, 4), st.integers(0, 1)),
    ),
    max_size=15,
)
REPLAYED: tuple[type[Record], ...] = (Customer, ContactPoint, ExternalId, Deal, Pipeline, Stage)


async def test_the_log_rebuilds_every_row(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        loop = asyncio.get_running_loop()
        pipeline = (await session.create(Pipeline, [{"name": "P"}])).ids[0]
        stages = (
            await session.create(
                Stage,
                [
                    {"pipeline_id": pipeline, "name": "open"},
                    {"pipeline_id": pipeline, "name": "won", "category": "won"},
                ],
            )
        ).ids

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(script=steps)
        def law(script: list[tuple[str, int, Any]]) -> None:
            asyncio.run_coroutine_threadsafe(holds(script), loop).result()

        async def holds(script: list[tuple[str, int, Any]]) -> None:
            customers: dict[int, UUID] = {}
            deals: dict[int, UUID] = {}
            for verb, who, value in script:
                id = customers.setdefault(who, new_id())
                deal = deals.setdefault(who, new_id())
                if verb == "create":
                    external_id = {"system": str(id), "id": value}
                    await session.create(
                        Customer, [{"id": id, "kind": "person", "name": value, "external_id": external_id}]
                    )
                    await session.create(
                        ContactPoint, [{"customer_id": id, "channel": "web", "address": f"{id}{value}"}]
                    )
                elif verb == "update":
                    patch = {"note": value, "custom_fields": {value: [1, None, {"x": 1.5}]}}
                    await session.update(Customer, [Update(id, patch)])
                elif verb == "link":
                    other = customers.get(value)
                    await session.update(Customer, [Update(id, {"organization_id": other})])
                elif verb == "delete":
                    await session.delete(Customer, [id])
                elif verb == "restore":
                    await session.restore(Customer, [id])
                elif verb == "deal":
                    await session.create(
                        Deal,
                        [{"id": deal, "name": "D", "stage_id": stages[value], "value": {"amount": 2**40 + value}}],
                    )
                else:
                    await session.run("move_deal", [{"id": deal, "stage_id": stages[value]}])
            assert await replayed(crm) == await stored(crm)

        await asyncio.to_thread(law)


async def replayed(crm: Crm) -> dict[tuple[str, UUID], dict[str, Any]]:
    """Rows made of nothing but events."""
    rows: dict[tuple[str, UUID], dict[str, Any]] = {}
    for event in await everything(crm):
        key = event.entity_type, event.entity_id
        if event.type.endswith(".created"):
            assert key not in rows
            rows[key] = {"version": 0}
        row = rows[key]
        for name, value in (event.before or {}).items():
            assert row.get(name) == value, (event, row)
        row |= event.after or {}
        row["version"] += 1
    return {key: {name: v for name, v in row.items() if v is not None} for key, row in rows.items()}


async def stored(crm: Crm) -> dict[tuple[str, UUID], dict[str, Any]]:
    """The same rows, as the tables hold them."""
    rows: dict[tuple[str, UUID], dict[str, Any]] = {}
    for model in REPLAYED:
        entity = crm.catalog.of(model)
        names = list(entity.columns)
        columns = ", ".join(f'"{name}"' for name in names)
        for values in await crm.database.read(f'SELECT {columns} FROM "{entity.table}"'):
            row = {
                name: decode(entity.columns[name].kind, value, crm.database.dialect)
                for name, value in zip(names, values, strict=True)
            }
            told = {name: external(crm.catalog, entity, entity.columns[name], row) for name in names}
            for name in ("id", "created_at", "updated_at", "search_text"):
                told.pop(name, None)
            rows[entity.code, row["id"]] = {name: v for name, v in told.items() if v is not None}
    return rows


# --- order under concurrency -------------------------------------------------------------------------------


async def test_sixteen_writers_and_a_reader_that_misses_nothing(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 20}) as crm:
        session = crm.acting_as(SYSTEM)
        done = asyncio.Event()
        seen: list[LogEvent] = []

        async def reader() -> None:
            after = BEGINNING
            while True:
                finished = done.is_set()
                events = await crm.events.read(after, 7)
                if events:
                    seen.extend(events)
                    after = place(events[-1])
                elif finished:
                    return
                else:
                    await asyncio.sleep(0.001)

        async def writer(number: int) -> None:
            for n in range(12):
                await session.create(Team, [{"name": f"{number}.{n}.{i}"} for i in range(n % 3 + 1)])

        reading = asyncio.create_task(reader())
        await asyncio.gather(*(writer(number) for number in range(16)))
        done.set()
        await reading
        assert len(seen) == 16 * 24
        assert_contiguous(seen)
        assert len({event.entity_id for event in seen}) == len(seen)
        assert await session.find(Team).count() == len(seen)


WRITER = """
import asyncio, sys
from amity import SYSTEM, Crm, Team

async def main(url, number, count):
    async with Crm({"database_url": url}) as crm:
        session = crm.acting_as(SYSTEM)
        print("ready", flush=True)
        for n in range(count):
            result = await session.create(Team, [{"name": f"{number}.{n}.{i}"} for i in range(2)])
            assert not result.errors
            print(n, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def start_writer(crm: Crm, number: int, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        crm.settings.database_url,
        str(number),
        str(count),
        stdout=asyncio.subprocess.PIPE,
    )


async def test_three_processes_write_one_log(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        writers = [await start_writer(crm, number, 30) for number in range(3)]
        seen: list[LogEvent] = []
        finished = asyncio.gather(*(writer.communicate() for writer in writers))
        while True:
            over = finished.done()
            events = await crm.events.read(place(seen[-1]) if seen else BEGINNING, 5)
            seen += events
            if over and not events:
                break
            await asyncio.sleep(0 if events else 0.005)
        await finished
        assert [writer.returncode for writer in writers] == [0, 0, 0]
        assert len(seen) == 3 * 30 * 2
        assert_contiguous(seen)


async def test_what_a_killed_writer_committed_is_not_missed(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        for number in range(3):
            writer = await start_writer(crm, number, 10_000)
            assert writer.stdout is not None
            for _ in range(5 + number):
                await writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            await writer.communicate()
            await add_team(session, f"after {number}")
        await _quiet(crm)
        events = await everything(crm)
        assert_contiguous(events)
        assert len(events) == await session.find(Team).count()


async def _quiet(crm: Crm) -> None:
    """A killed client's transaction is ended by PostgreSQL a moment later."""
    for _ in range(100):
        before = await crm.acting_as(SYSTEM).find(Team).count()
        await asyncio.sleep(0.05)
        if before == await crm.acting_as(SYSTEM).find(Team).count():
            return


# --- subscribers -------------------------------------------------------------------------------------------

Run = Callable[[Context, Sequence[LogEvent]], Awaitable[None]]


class Listener(Plugin):
    """A plugin with subscribers that a test decides on."""

    name = "listener"

    def __init__(self, *declared: Subscriber) -> None:
        super().__init__()
        self._declared = declared

    def needs(self) -> Sequence[Need]:
        needs = [Need(entity, {"read"}) for entity in (Event, Team)]
        return [Need(Customer, {"read", "create", "update", "delete"}), *needs]

    def subscribers(self) -> Sequence[Subscriber]:
        return self._declared


class Heard:
    """A subscriber that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        self.batches = 0
        self.something = asyncio.Event()

    async def __call__(self, context: Context, events: Sequence[LogEvent]) -> None:
        self.events.extend(events)
        self.batches += 1
        self.something.set()

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]


async def test_subscribers_hear_what_they_asked_for_in_order(make_crm: MakeCrm) -> None:
    heard, some = Heard(), Heard()
    plugin = Listener(Subscriber("all", ["*"], heard), Subscriber("some", ["customer.*", "team.deleted"], some))
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        team = await add_team(session, "T")
        await session.create(Customer, [{"kind": "person", "name": "A"}])
        await session.delete(Team, [team])
        assert await crm.events.settle() == []
        assert heard.types == ["team.created", "customer.created", "team.deleted"]
        assert some.types == ["customer.created", "team.deleted"]
        assert heard.events == await crm.events.read()


async def test_a_subscriber_hears_within_moments(make_crm: MakeCrm) -> None:
    heard = Heard()
    async with make_crm([Listener(Subscriber("all", ["*"], heard))]) as crm:
        await add_team(crm.acting_as(SYSTEM), "T")
        async with asyncio.timeout(0.9):  # less than the time between two polls
            await heard.something.wait()


async def test_a_batch_is_told_as_a_batch(make_crm: MakeCrm) -> None:
    heard = Heard()
    async with make_crm([Listener(Subscriber("all", ["*"], heard))]) as crm:
        await crm.acting_as(SYSTEM).create(Team, [{"name": str(i)} for i in range(1200)])
        await crm.events.settle()
        assert len(heard.events) == 1200
        assert_contiguous(heard.events)
        assert heard.batches <= 4


async def test_since_when_a_new_subscriber_hears(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await add_team(crm.acting_as(SYSTEM), "before")
        late, early = Heard(), Heard()
        plugin = Listener(Subscriber("late", ["*"], late), Subscriber("early", ["*"], early, since="beginning"))
        async with Crm(crm.settings, [plugin]) as second:
            await add_team(second.acting_as(SYSTEM), "after")
            await second.events.settle()
            assert [event.after and event.after["name"] for event in late.events] == ["after"]
            assert [event.after and event.after["name"] for event in early.events] == ["before", "after"]


async def test_a_subscriber_goes_on_where_it_was(make_crm: MakeCrm) -> None:
    heard = Heard()
    plugin = Listener(Subscriber("all", ["*"], heard))
    async with make_crm([plugin]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        await crm.events.settle()
        await crm.events.close()
        await add_team(crm.acting_as(SYSTEM), "2")
        await asyncio.sleep(0.05)
        assert len(heard.events) == 1
        await crm.events.open()
        await crm.events.settle()
        assert [event.after and event.after["name"] for event in heard.events] == ["1", "2"]


async def test_a_subscriber_that_fails_is_told_again(make_crm: MakeCrm, caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[int] = []
    fine = Heard()

    async def flaky(context: Context, events: Sequence[LogEvent]) -> None:
        attempts.append(len(events))
        if len(attempts) < 3:
            raise RuntimeError("no connection")

    plugin = Listener(Subscriber("flaky", ["*"], flaky), Subscriber("fine", ["*"], fine))
    async with make_crm([plugin]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        assert await crm.events.settle() == ["flaky"]
        # the others do not wait for it, and the reason is kept
        assert len(fine.events) == 1
        state = await crm.database.read("SELECT failures, last_error FROM core_subscriber WHERE name = 'flaky'")
        assert tuple(state[0]) == (1, "RuntimeError: no connection")
        assert "plugin 'listener': the subscriber 'flaky' failed" in caplog.text
        for _ in range(400):
            if not await crm.events.settle():
                break
            await asyncio.sleep(0.05)
        assert attempts == [1, 1, 1]
        state = await crm.database.read("SELECT failures, last_error FROM core_subscriber WHERE name = 'flaky'")
        assert tuple(state[0]) == (0, None)


async def test_a_subscriber_that_hangs_is_stopped(make_crm: MakeCrm) -> None:
    async def hang(context: Context, events: Sequence[LogEvent]) -> None:
        await asyncio.sleep(600)

    async with make_crm([Listener(Subscriber("hang", ["*"], hang, timeout=0.1))]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        assert await crm.events.settle() == ["hang"]
        state = await crm.database.read("SELECT last_error FROM core_subscriber")
        assert state[0][0] == "TimeoutError: took longer than 0.1 seconds"


async def test_a_subscriber_acts_as_its_plugin_and_does_not_hear_itself(make_crm: MakeCrm) -> None:
    principals: list[Principal] = []

    async def answer(context: Context, events: Sequence[LogEvent]) -> None:
        principals.append(context.principal)
        await context.session.create(Customer, [{"kind": "person", "name": "answer"}] * len(events))

    heard = Heard()
    plugin = Listener(Subscriber("answer", ["*"], answer), Subscriber("all", ["*"], heard, own_changes=True))
    async with make_crm([plugin]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        for _ in range(3):
            await crm.events.settle()
        assert principals == [Principal("plugin", "listener", on_behalf_of="system")]
        assert [event.actor for event in heard.events] == ["system", "plugin:listener"]


async def test_two_processes_share_a_subscriber(make_crm: MakeCrm) -> None:
    one, two = Heard(), Heard()

    async def slowly(heard: Heard, context: Context, events: Sequence[LogEvent]) -> None:
        await asyncio.sleep(0.01)
        await heard(context, events)

    def listener(heard: Heard) -> Listener:
        return Listener(Subscriber("all", ["*"], lambda context, events: slowly(heard, context, events)))

    async with make_crm([listener(one)]) as crm, Crm(crm.settings, [listener(two)]) as second:
        for n in range(20):
            await add_team((crm, second)[n % 2].acting_as(SYSTEM), str(n))
        await crm.events.settle()
        await second.events.settle()
        told = sorted([*one.events, *two.events], key=place)
        assert told == await crm.events.read()


async def test_closing_lets_a_subscriber_finish(make_crm: MakeCrm) -> None:
    started, finished = asyncio.Event(), asyncio.Event()

    async def thorough(context: Context, events: Sequence[LogEvent]) -> None:
        started.set()
        await asyncio.sleep(0.2)
        await context.session.create(Customer, [{"kind": "person", "name": "done"}])
        finished.set()

    async with make_crm([Listener(Subscriber("thorough", ["team.*"], thorough))]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        await started.wait()
        await crm.events.close()
        assert finished.is_set()
        rows = await crm.database.read("SELECT lease, failures FROM core_subscriber")
        assert tuple(rows[0]) == (None, 0)


async def test_an_interrupted_subscriber_is_told_again(make_crm: MakeCrm) -> None:
    heard = Heard()
    first = asyncio.Event()

    async def interrupted(context: Context, events: Sequence[LogEvent]) -> None:
        if not first.is_set():
            first.set()
            raise asyncio.CancelledError
        await heard(context, events)

    async with make_crm([Listener(Subscriber("all", ["*"], interrupted))]) as crm:
        await add_team(crm.acting_as(SYSTEM), "1")
        await first.wait()
        with contextlib.suppress(TimeoutError):
            await crm.events.settle(10)
        assert heard.types == ["team.created"]


async def test_a_unit_that_does_nothing_leaves_no_gap(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)

        async def nothing(joined: Session) -> None:
            await joined.find(Team).count()

        async def failing(joined: Session) -> None:
            await add_team(joined, "X")
            raise RuntimeError("no")

        for n in range(3):
            await add_team(session, str(n))
            await in_unit(session, nothing)
            with pytest.raises(RuntimeError):
                await in_unit(session, failing)
        assert_contiguous(await everything(crm))
