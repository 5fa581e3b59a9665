"""Telling after-commit subscribers, each from its own cursor in the log.

A cursor is a row of ``core_subscriber``. Whoever holds its lease may run the subscriber, so several processes
share the work, and one that died is replaced when its lease ends. The cursor moves after the subscriber has
returned: what it was told last may be told again, nothing is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..access import Principal
from ..contracts import Context, LogEvent, Owned, Subscriber
from ..database import Database, Transaction
from ..database.clock import Clock
from .matching import shown, wanted
from .sequence import BEGINNING, Position, head, sequence

if TYPE_CHECKING:
    from ..crm import Crm

POLL = 1.0
"""Seconds after which commits of other processes are looked for."""
BATCH = 500
MARGIN = 30.0
"""Seconds that a lease outlasts the subscriber's own time limit."""
FIRST_RETRY = 0.5
LONGEST_RETRY = 300.0
GRACE = 10.0
"""Seconds that a running subscriber gets to finish when the log is closed."""
_log = logging.getLogger("amity.events")

Read = Callable[[tuple[int, int], int], Awaitable[list[LogEvent]]]


@dataclass
class _Worker:
    """One subscriber in this process."""

    owned: Owned[Any]
    task: asyncio.Task[None] | None = None

    @property
    def subscriber(self) -> Subscriber:
        found: Subscriber = self.owned.value
        return found


class Dispatcher:
    def __init__(self, crm: Crm, read: Read) -> None:
        self._crm = crm
        self._read = read
        self._lease = uuid4().hex
        self._workers: dict[str, _Worker] = {}
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._closing = False

    @property
    def _database(self) -> Database:
        return self._crm.database

    async def open(self) -> None:
        self._workers = {
            owned.value.name: _Worker(owned)
            for owned in self._crm.composition.subscribers
            if owned.value.when == "after_commit"
        }
        self._closing = False
        self._awake = asyncio.Event()  # it belongs to the loop that first waits for it
        if self._workers:
            await self._register()
            self._awake.set()
            self._task = asyncio.create_task(self._run(), name="amity-events")

    async def close(self) -> None:
        self._closing = True
        self._awake.set()
        tasks = [worker.task for worker in self._workers.values() if worker.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._database.transact(self._give_back)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def wake(self) -> None:
        self._awake.set()

    async def settle(self, timeout: float) -> Sequence[str]:
        async with asyncio.timeout(timeout):
            await sequence(self._database)
            target = await head(self._database)
            while True:
                behind = [state for state in await self._states() if state.place < target]
                if all(state.waiting for state in behind):
                    return [state.name for state in behind]
                self._awake.set()
                await asyncio.sleep(0.01)

    # --- the loop ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), POLL)
            self._awake.clear()
            try:
                await sequence(self._database)
                last = await head(self._database)
                for state in await self._states():
                    if state.place < last and state.due:
                        self._start(state.name)
            except Exception as error:
                # whatever it was, what is in the log must still be told once it is over
                _log.warning("the event log can't be read, trying again: %s", error)
                await asyncio.sleep(POLL)

    def _start(self, name: str) -> None:
        worker = self._workers[name]
        if not self._closing and (worker.task is None or worker.task.done()):
            worker.task = asyncio.create_task(self._work(worker), name=f"amity-subscriber-{name}")

    async def _work(self, worker: _Worker) -> None:
        try:
            while not self._closing:
                leased = await self._take(worker)
                if leased is None:
                    return
                place, failures = leased
                if not await self._step(worker, place, failures):
                    return
        except Exception as error:
            _log.warning("subscriber %r can't go on, trying again: %s", worker.subscriber.name, error)

    async def _step(self, worker: _Worker, place: Position, failures: int) -> bool:
        """Hands over one batch; whether there may be more."""
        events = await self._read(place, BATCH)
        matching = [event for event in events if wanted(worker.owned, event)]
        if matching:
            try:
                await self._tell(worker, matching)
            except asyncio.CancelledError:
                await self._release(worker, None)
                raise
            except Exception as error:
                await self._failed(worker, failures + 1, error)
                return False
        last = events[-1] if events else None
        reached = None if last is None else Position(last.position or 0, last.number)
        more = len(events) == BATCH
        await self._release(worker, reached)
        return more

    async def _tell(self, worker: _Worker, events: Sequence[LogEvent]) -> None:
        plugin = worker.owned.plugin
        actors = {event.actor for event in events}
        principal = Principal("plugin", plugin, on_behalf_of=actors.pop() if len(actors) == 1 else None)
        context = Context.of(self._crm.acting_as(principal), plugin)
        events = [shown(self._crm.catalog, context.session.rights, event) for event in events]
        limit = worker.subscriber.timeout
        try:
            async with asyncio.timeout(limit) as running:
                await worker.subscriber.run(context, events)
        except TimeoutError as error:
            if running.expired():
                raise TimeoutError(f"took longer than {limit:g} seconds") from error
            raise

    # --- cursors -------------------------------------------------------------------------------------------

    @property
    def _clock(self) -> Clock:
        return Clock(self._database.dialect)

    async def _register(self) -> None:
        await sequence(self._database)
        last = await head(self._database)
        rows = [
            (name, *(BEGINNING if worker.subscriber.since == "beginning" else last))
            for name, worker in self._workers.items()
        ]
        p = ("?1", "?2", "?3") if self._database.dialect == "sqlite" else ("$1", "$2", "$3")

        async def add(transaction: Transaction) -> None:
            await transaction.execute_many(
                f"INSERT INTO core_subscriber (name, position, number) VALUES ({', '.join(p)}) "
                "ON CONFLICT (name) DO NOTHING",
                rows,
            )

        await self._database.transact(add)

    async def _states(self) -> list[_State]:
        """Where the subscribers of this process stand."""
        if not self._workers:
            return []
        rows = await self._database.read(
            "SELECT s.name, s.position, s.number, s.failures, s.lease IS NULL, "
            f"s.leased_until IS NULL OR s.leased_until <= {self._clock.now} FROM core_subscriber s",
            self._clock.bound(),
        )
        return [
            _State(
                name,
                Position(position, number),
                due=bool(due),
                waiting=bool(failures and free and not due),
            )
            for name, position, number, failures, free, due in rows
            if name in self._workers
        ]

    async def _take(self, worker: _Worker) -> tuple[Position, int] | None:
        """Takes the lease; the cursor and the failures so far, or None while somebody else has it."""
        limit = worker.subscriber.timeout + MARGIN

        clock = self._clock

        async def take(transaction: Transaction) -> list[Any]:
            return await transaction.fetch(
                f"UPDATE core_subscriber SET lease = {clock.place(1)}, leased_until = {clock.later(2)} "
                f"WHERE name = {clock.place(3)} AND (leased_until IS NULL OR leased_until <= {clock.now}) "
                "RETURNING position, number, failures",
                clock.bound(self._lease, clock.seconds(limit), worker.subscriber.name),
            )

        rows = await self._database.transact(take)
        return (Position(rows[0][0], rows[0][1]), rows[0][2]) if rows else None

    async def _give_back(self, transaction: Transaction) -> None:
        place = "?1" if self._database.dialect == "sqlite" else "$1"
        await transaction.execute(
            f"UPDATE core_subscriber SET lease = NULL, leased_until = NULL WHERE lease = {place}", (self._lease,)
        )

    async def _release(self, worker: _Worker, reached: Position | None) -> None:
        """Gives the lease back; with a place, everything up to there has been told."""
        name = worker.subscriber.name
        p = ("?1", "?2", "?3", "?4") if self._database.dialect == "sqlite" else ("$1", "$2", "$3", "$4")
        moved = "" if reached is None else f", position = {p[2]}, number = {p[3]}, failures = 0, last_error = NULL"
        values = (name, self._lease) if reached is None else (name, self._lease, *reached)

        async def release(transaction: Transaction) -> None:
            await transaction.execute(
                f"UPDATE core_subscriber SET lease = NULL, leased_until = NULL{moved} "
                f"WHERE name = {p[0]} AND lease = {p[1]}",
                values,
            )

        await self._database.transact(release)

    async def _failed(self, worker: _Worker, failures: int, error: Exception) -> None:
        subscriber = worker.subscriber
        told = f"{type(error).__name__}: {error}"[:2000].replace("\x00", "")
        _log.error(
            "plugin %r: the subscriber %r failed (%d in a row) and will be told again: %s",
            worker.owned.plugin,
            subscriber.name,
            failures,
            told,
            exc_info=error,
        )
        pause, clock = pause_after(failures), self._clock

        async def note(transaction: Transaction) -> None:
            await transaction.execute(
                f"UPDATE core_subscriber SET lease = NULL, leased_until = {clock.later(1)}, "
                f"failures = {clock.place(2)}, last_error = {clock.place(3)} "
                f"WHERE name = {clock.place(4)} AND lease = {clock.place(5)}",
                clock.bound(clock.seconds(pause), failures, told, subscriber.name, self._lease),
            )

        await self._database.transact(note)
        asyncio.get_running_loop().call_later(pause, self._awake.set)


def pause_after(failures: int) -> float:
    """Seconds until the next attempt: twice as long after each failure, and never the same for everybody."""
    longest: float = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 20))
    return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class _State:
    name: str
    place: Position
    due: bool
    """Nobody has the lease."""
    waiting: bool
    """It failed, and its next attempt is not due yet."""
