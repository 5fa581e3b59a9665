"""The unit of work: one transaction, one instant, one batch of events."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from ..access import Principal
from ..contracts import LogEvent
from ..database import DatabaseError, Dialect
from ..database.base import WholeTransaction
from ..entity import EntityType, new_id
from ..model import Event
from .errors import BadRequest, Contention, Hoped, repeatable
from .flush import flush
from .plugins import listened
from .watched import Watched

if TYPE_CHECKING:
    from ..crm import Crm, Session

T = TypeVar("T")
ATTEMPTS = 8
_active: ContextVar[Unit | None] = ContextVar("amity_unit", default=None)


class Happening(NamedTuple):
    """What happened to a row; with what the unit knows, an event."""

    type: str
    entity_type: str
    entity_id: UUID
    actor: str
    origin: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass
class Unit:
    """What writes that belong together share. Everything in it is stamped with ``now`` and ``change_id``."""

    crm: Crm
    change_id: UUID
    now: datetime
    principal: Principal
    origin: str | None
    transaction: Watched
    events: list[Happening] = field(default_factory=list)
    """What happened so far, in order; written to the log at the end."""
    open: bool = True
    hopeful: bool = False
    """Whether what is referred to may be taken to be there, until what is written says otherwise: the work is the
    core's own, and nobody minds if it is run again."""
    enqueued: bool = False
    """Whether background work was asked for in it."""
    _savepoints: int = 0

    @property
    def dialect(self) -> Dialect:
        return self.transaction.dialect

    def record(
        self,
        session: Session,
        verb: str,
        entity: EntityType,
        id: UUID,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> None:
        """Notes that something happened to a row."""
        self.record_all(session, verb, entity, [(id, before, after)])

    def record_all(
        self,
        session: Session,
        verb: str,
        entity: EntityType,
        rows: Iterable[tuple[UUID, Mapping[str, Any] | None, Mapping[str, Any] | None]],
    ) -> None:
        """Notes that the same happened to rows: their id, and how they were before and are after."""
        type_, code, actor, origin = (
            f"{entity.singular}.{verb}",
            entity.code,
            str(session.principal),
            session.origin,
        )
        self.events += [Happening(type_, code, id, actor, origin, before, after) for id, before, after in rows]

    def log_events(self, start: int = 0) -> list[LogEvent]:
        """What happened since the event of that number, as subscribers are told."""
        return [
            LogEvent(
                position=None,
                number=number,
                type=event.type,
                entity_type=event.entity_type,
                entity_id=event.entity_id,
                actor=event.actor,
                change_id=self.change_id,
                origin=event.origin,
                before=event.before,
                after=event.after,
                occurred_at=self.now,
            )
            for number, event in enumerate(self.events[start:], start)
        ]

    def join(self, session: Session, principal: Principal | None = None) -> Session:
        """The session, or one like it of another principal, taking part in this unit."""
        return type(session)(
            crm=session.crm,
            principal=principal or session.principal,
            origin=session.origin,
            unit=self,
            progress=session.progress,
        )

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone, events included, if it raises; the unit goes on."""
        self._savepoints += 1
        self.hopeful = False  # what is undone in part has to be known by then
        name = f"amity_{self._savepoints}"
        count = len(self.events)
        await self.transaction.execute(f"SAVEPOINT {name}")
        try:
            yield
            await self.transaction.catch_up()
        except BaseException:
            self.transaction.forget()
            del self.events[count:]
            await self.transaction.execute(f"ROLLBACK TO SAVEPOINT {name}")
            await self.transaction.execute(f"RELEASE SAVEPOINT {name}")
            self.transaction.failure = None
            raise
        await self.transaction.execute(f"RELEASE SAVEPOINT {name}")


async def in_unit(session: Session, work: Callable[[Session], Awaitable[T]], *, hopeful: bool = False) -> T:
    """Runs ``work`` with a session in which reads and writes share one transaction.

    Joins the session's unit if it has one: what ``work`` does is committed or rolled back with it. Else a
    unit is opened, and committed when ``work`` returns. Where another change got in between (two inserts of
    one key, a deadlock), the whole work is run again, so it must do nothing that can't be repeated. So is
    ``hopeful`` work if something that it refers to is not there, which is found out when it is written.

    Raises :class:`Contention` if that keeps happening, and whatever ``work`` raises.
    """
    if session.unit is not None:
        if not session.unit.open:
            raise BadRequest("this session belongs to a unit of work that has ended; take a new one from the Crm")
        return await work(session)
    active = _active.get()
    if active is not None and active.open and active.crm is session.crm:
        # on SQLite it would wait for itself, on PostgreSQL it might
        raise BadRequest(
            "a change was begun inside another one; use the session that was handed in (context.session)"
        )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            hoping = hopeful and attempt == 1
            result, unit = await session.crm.database.transact(lambda tx, h=hoping: _run(session, tx, work, h))  # type: ignore[misc]
        except Hoped:
            continue
        except DatabaseError as error:
            if not repeatable(error):
                raise
            if attempt == ATTEMPTS:
                raise Contention(
                    f"the change lost against others {ATTEMPTS} times ({error}); nothing was written; try again"
                ) from error
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
        else:
            await session.crm.database.grew(_written(unit))
            return result
    raise AssertionError("unreachable")


async def _run(
    session: Session, transaction: WholeTransaction, work: Callable[[Session], Awaitable[T]], hopeful: bool
) -> tuple[T, Unit]:
    unit = Unit(
        crm=session.crm,
        change_id=new_id(),
        now=datetime.now(UTC),
        principal=session.principal,
        origin=session.origin,
        transaction=Watched(transaction),
        hopeful=hopeful and not listened(session),
    )
    _active.set(unit)  # the unit of work is a task of its own, and so is its context
    try:
        joined = unit.join(session)
        result = await work(joined)
        await flush(joined)
        if unit.transaction.failure is None:
            await unit.transaction.catch_up(last=True)
        if unit.transaction.failure is not None:
            raise unit.transaction.failure
    except Exception as error:
        if unit.transaction.hopes and not isinstance(error, Hoped):
            # it may say less, or something else, than it would have if it had looked
            raise Hoped("nobody has looked yet whether what is referred to is there") from error
        raise
    finally:
        unit.open = False
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda done: _committed(unit, done))
    return result, unit


def _written(unit: Unit) -> Counter[str]:
    """Rows that a unit wrote, by table."""
    catalog = unit.crm.catalog
    written = Counter(event.entity_type for event in unit.events)
    rows = Counter({catalog.of(Event).table: written.total()})
    for code, count in written.items():
        entity = catalog.by_code(code)
        if entity is not None:
            rows[entity.table] += count
    return rows


def _committed(unit: Unit, task: asyncio.Task[Any]) -> None:
    # runs right after the commit, whether or not anybody still waits for the unit
    if not task.cancelled() and task.exception() is None:
        unit.crm.events.committed(unit)
        unit.crm.jobs.committed(unit)
