"""``Jobs``: runs what was enqueued, in this process, as long as the Crm is open.

A run is a row of ``core_job_run``. Whoever holds its lease works on it, and renews the lease meanwhile; when a
process dies, the lease ends, and the run is begun again. It is done when its function has returned: what was
done last may be done again, nothing is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson
from pydantic import BaseModel

from ..access import Principal
from ..change import storage
from ..change.unit import in_unit
from ..contracts import Context, Job, Owned
from ..database import Database, Transaction, UniqueViolation
from ..database.clock import Clock
from ..entity import Kind, new_id
from ..entity.values import decode, encode
from ..events.dispatcher import pause_after
from ..model import JobRun
from .schedule import next_time

if TYPE_CHECKING:
    from ..change.unit import Unit
    from ..crm import Crm, Session

POLL = 1.0
"""Seconds after which due work and work of other processes is looked for."""
AT_ONCE = 4
"""Runs that one process works on at the same time."""
LEASE = 60.0
"""Seconds after which a process that does not renew its lease is taken for dead."""
BEAT = 5.0
"""Seconds between two renewals; progress is written with them."""
GRACE = 10.0
"""Seconds that running work gets to finish when the Crm is closed."""
KEPT = 30 * 86_400.0
"""Seconds that runs that are done are kept for."""
_log = logging.getLogger("amity.jobs")


@dataclass
class _Run:
    """A run that this process has the lease of."""

    id: UUID
    owned: Owned[Any]
    payload: Any
    attempts: int
    max_attempts: int
    done: int | None = None
    total: int | None = None

    @property
    def job(self) -> Job[Any]:
        found: Job[Any] = self.owned.value
        return found

    def progress(self, done: int, total: int | None) -> None:
        self.done, self.total = done, total


class Jobs:
    """The background work of one Crm."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._lease = uuid4().hex
        self._task: asyncio.Task[None] | None = None
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._awake = asyncio.Event()
        self._closing = False

    @property
    def _database(self) -> Database:
        return self._crm.database

    @property
    def _clock(self) -> Clock:
        return Clock(self._database.dialect)

    async def open(self, *, dispatch: bool = True) -> None:
        """Starts working. ``dispatch=False`` leaves that to another process."""
        self._closing = False
        self._awake = asyncio.Event()  # it belongs to the loop that first waits for it
        if dispatch and self._crm.composition.jobs:
            await self._database.transact(self._prepare)
            self._awake.set()
            self._task = asyncio.create_task(self._run(), name="amity-jobs")

    async def close(self) -> None:
        """Stops; work that does not end in time is cancelled, and begun again when somebody is there for it."""
        self._closing = True
        self._awake.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        self._awake.set()

    def committed(self, unit: Unit) -> None:
        """Called right after a unit of this process was committed."""
        if unit.enqueued:
            self.wake()

    async def enqueue(
        self, session: Session, name: str, payload: BaseModel | None = None, *, due_at: datetime | None = None
    ) -> UUID:
        """Asks for work, in the session's transaction if it has one; the id of the ``JobRun``.

        Raises LookupError for an unknown job, and pydantic's ValidationError for another payload.
        """
        owned = self._crm.composition.jobs.get(name)
        if owned is None:
            known = self._crm.composition.jobs
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
            raise LookupError(f"there is no job {name!r}; {hint}")
        job: Job[Any] = owned.value
        given = job.payload.model_validate(payload if payload is not None else {})
        now = datetime.now(UTC)
        row = self._row(job, given, str(session.principal), now, due_at or now)

        async def add(joined: Session) -> UUID:
            assert joined.unit is not None
            await storage.insert(joined.unit.transaction, self._crm.catalog.of(JobRun), [row])
            joined.unit.enqueued = True
            return UUID(str(row["id"]))

        return await in_unit(session, add)

    def _row(
        self, job: Job[Any], payload: BaseModel, actor: str, now: datetime, due_at: datetime
    ) -> dict[str, Any]:
        return {
            "id": new_id(),
            "job": job.name,
            "payload": payload.model_dump(mode="json"),
            "key": job.key(payload) if job.key is not None else None,
            "state": "queued",
            "attempts": 0,
            "max_attempts": job.attempts,
            "done": None,
            "total": None,
            "schedule": None,
            "last_error": None,
            "enqueued_by": actor,
            "enqueued_at": now,
            "due_at": due_at,
            "finished_at": None,
            "lease": None,
            "leased_until": None,
        }

    async def settle(self, timeout: float = 60.0) -> Sequence[str]:
        """Waits until everything that is due was worked on; the names of jobs that failed and will be tried again.

        Raises TimeoutError after ``timeout`` seconds.
        """
        if self._task is None:
            return []
        async with asyncio.timeout(timeout):
            while True:
                rows = await self._database.read(
                    f"SELECT job, state = 'running' OR due_at <= {self._clock.now}, attempts FROM core_job_run "
                    "WHERE state IN ('queued', 'running')",
                    self._clock.bound(),
                )
                mine = [row for row in rows if row[0] in self._crm.composition.jobs]
                if not self._running and not any(row[1] for row in mine):
                    return sorted({row[0] for row in mine if row[2]})
                self._awake.set()
                await asyncio.sleep(0.01)

    # --- the loop ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), POLL)
            self._awake.clear()
            try:
                expired, due = await self._look()
                if expired:
                    await self._database.transact(self._revive)
                while (expired or due) and len(self._running) < AT_ONCE and (run := await self._take()):
                    task = asyncio.create_task(self._work(run), name=f"amity-job-{run.job.name}")
                    self._running[run.id] = task
            except Exception as error:
                # whatever it was, what is enqueued must still be done once it is over
                _log.warning("jobs can't be read, trying again: %s", error)
                await asyncio.sleep(POLL)

    async def _work(self, run: _Run) -> None:
        beat = asyncio.create_task(self._beat(run))
        try:
            await self._call(run)
        except asyncio.CancelledError:
            await self._end(run, "state = 'queued', attempts = attempts - 1, finished_at = NULL")
            raise
        except Exception as error:
            await self._failed(run, error)
        else:
            await self._end(run, "state = 'done', last_error = NULL")
        finally:
            beat.cancel()
            self._running.pop(run.id, None)
            self._awake.set()

    async def _call(self, run: _Run) -> None:
        job = run.job
        principal = Principal("plugin", run.owned.plugin)
        session = self._crm.acting_as(principal, origin=f"job:{job.name}", progress=run.progress)
        seconds = job.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds) as limit:
                await job.run(Context.of(session, run.owned.plugin), job.payload.model_validate(run.payload))
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"took longer than {seconds:g} seconds") from error
            raise

    async def _failed(self, run: _Run, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"[:2000].replace("\x00", "")
        dead = run.attempts >= run.max_attempts
        _log.error(
            "plugin %r: the job %r failed (attempt %d of %d) and %s: %s",
            run.owned.plugin,
            run.job.name,
            run.attempts,
            run.max_attempts,
            "is given up" if dead else "will be tried again",
            told,
            exc_info=error,
        )
        clock = self._clock
        if dead:
            await self._end(run, f"state = 'dead', last_error = {clock.place(5)}", told)
        else:
            pause = pause_after(run.attempts)
            again = (
                f"state = 'queued', due_at = {clock.later(6)}, finished_at = NULL, last_error = {clock.place(5)}"
            )
            await self._end(run, again, told, clock.seconds(pause))
            asyncio.get_running_loop().call_later(pause, self._awake.set)

    # --- rows ----------------------------------------------------------------------------------------------

    async def _prepare(self, transaction: Transaction) -> None:
        """Plans the next run of everything that has a schedule, and forgets what was done long ago."""
        clock = self._clock
        await transaction.execute(
            f"DELETE FROM core_job_run WHERE state = 'done' AND finished_at < {clock.later(1)}",
            clock.bound(clock.seconds(-KEPT)),
        )
        waiting = "SELECT job, schedule FROM core_job_run WHERE state = 'queued' AND schedule IS NOT NULL"
        planned: dict[str, str] = {}
        planned.update((row[0], row[1]) for row in await transaction.fetch(waiting))
        for owned in self._crm.composition.jobs.values():
            job: Job[Any] = owned.value
            before = planned.get(job.name)
            if before is not None and before != job.schedule:
                await transaction.execute(
                    "DELETE FROM core_job_run WHERE state = 'queued' AND schedule IS NOT NULL "
                    f"AND job = {clock.place(1)}",
                    clock.bound(job.name),
                )
            if job.schedule is not None and before != job.schedule:
                await self._plan(transaction, job)

    async def _plan(self, transaction: Transaction, job: Job[Any]) -> None:
        """Enqueues the next run of a schedule. One that was due while nobody worked is run once, late."""
        assert job.schedule is not None
        now = datetime.now(UTC)
        row = self._row(job, job.payload(), "schedule", now, next_time(job.schedule, now))
        entity = self._crm.catalog.of(JobRun)
        await storage.insert(transaction, entity, [row | {"schedule": job.schedule}])

    async def _look(self) -> tuple[bool, bool]:
        """Whether there are runs whose process died, and runs that are due."""
        clock = self._clock
        rows = await self._database.read(
            "SELECT EXISTS (SELECT 1 FROM core_job_run WHERE state = 'running' "
            f"AND leased_until <= {clock.now} AND lease <> {clock.place(1)}), "
            f"EXISTS (SELECT 1 FROM core_job_run WHERE state = 'queued' AND due_at <= {clock.now})",
            clock.bound(self._lease),
        )
        return bool(rows[0][0]), bool(rows[0][1])

    async def _revive(self, transaction: Transaction) -> None:
        clock = self._clock
        await transaction.execute(
            "UPDATE core_job_run SET lease = NULL, leased_until = NULL, "
            "state = CASE WHEN attempts < max_attempts THEN 'queued' ELSE 'dead' END, "
            f"finished_at = CASE WHEN attempts < max_attempts THEN NULL ELSE {self._stamp} END, "
            f"last_error = {clock.place(2)} "
            f"WHERE state = 'running' AND leased_until <= {clock.now} AND lease <> {clock.place(1)}",
            clock.bound(self._lease, "the process that worked on it ended before it was done"),
        )

    @property
    def _stamp(self) -> str:
        return "?1" if self._database.dialect == "sqlite" else "now()"

    async def _take(self) -> _Run | None:
        """Takes the lease of the next run that is due, and plans the one after it if it has a schedule."""

        async def take(transaction: Transaction) -> _Run | None:
            clock, names = self._clock, sorted(self._crm.composition.jobs)
            sqlite = transaction.dialect == "sqlite"
            among = f"IN (SELECT value FROM json_each({clock.place(1)}))" if sqlite else f"= ANY({clock.place(1)})"
            rows = await transaction.fetch(
                "SELECT j.id, j.job, j.payload, j.attempts, j.max_attempts, j.schedule FROM core_job_run j "
                f"WHERE j.state = 'queued' AND j.due_at <= {clock.now} AND j.job {among} AND NOT EXISTS (SELECT 1 "
                'FROM core_job_run r WHERE r.state = \'running\' AND r.job = j.job AND r."key" = j."key") '
                f"ORDER BY j.due_at, j.id LIMIT 1{'' if sqlite else ' FOR UPDATE OF j SKIP LOCKED'}",
                clock.bound(orjson.dumps(names).decode() if sqlite else names),
            )
            if not rows:
                return None
            id, name, payload, attempts, most, schedule = rows[0]
            owned = self._crm.composition.jobs[name]
            await transaction.execute(
                "UPDATE core_job_run SET state = 'running', attempts = attempts + 1, schedule = NULL, "
                f"lease = {clock.place(1)}, leased_until = {clock.later(2)} WHERE id = {clock.place(3)}",
                clock.bound(self._lease, clock.seconds(LEASE), id),
            )
            if schedule is not None and owned.value.schedule is not None:
                await self._plan(transaction, owned.value)
            value = decode(Kind.JSON, payload, transaction.dialect)
            return _Run(UUID(str(id)), owned, value, attempts + 1, most)

        try:
            return await self._database.transact(take)
        except UniqueViolation:
            return None  # another process has just taken a run with the same key

    async def _beat(self, run: _Run) -> None:
        """Keeps the lease while the work goes on, and tells how far it has come."""
        while True:
            await asyncio.sleep(BEAT)
            clock = self._clock

            async def renew(transaction: Transaction, clock: Clock = clock) -> None:
                await transaction.execute(
                    f"UPDATE core_job_run SET leased_until = {clock.later(1)}, done = {clock.place(2)}, "
                    f"total = {clock.place(3)} WHERE id = {clock.place(4)} AND lease = {clock.place(5)}",
                    clock.bound(clock.seconds(LEASE), run.done, run.total, self._id(run), self._lease),
                )

            with contextlib.suppress(Exception):  # the next one may reach the database
                await self._database.transact(renew)

    async def _end(self, run: _Run, how: str, *values: Any) -> None:
        """Gives the lease back. Further values are bound from the fifth place on."""
        clock = self._clock
        finished = "" if "finished_at" in how else f"finished_at = {self._stamp}, "

        async def end(transaction: Transaction) -> None:
            await transaction.execute(
                f"UPDATE core_job_run SET lease = NULL, leased_until = NULL, done = {clock.place(3)}, "
                f"total = {clock.place(4)}, {finished}{how} "
                f"WHERE id = {clock.place(1)} AND lease = {clock.place(2)}",
                clock.bound(self._id(run), self._lease, run.done, run.total, *values),
            )

        await self._database.transact(end)

    def _id(self, run: _Run) -> Any:
        return encode(Kind.ID, run.id, self._database.dialect)
