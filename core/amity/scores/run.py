"""Running a scorer: all of its scores become current at once, or none does.

What runs in Python, or in other processes, is collected in drafts first, so that memory stays flat and a run
that is killed leaves the scores as they were. What runs as SQL is computed within the transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import multiprocessing
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from ..access import Principal
from ..change import storage
from ..change.draft import told
from ..change.errors import BadRequest, ChangeError, PluginError, repeatable
from ..change.unit import in_unit
from ..contracts import Context, Owned, Scored, Scorer
from ..database import DatabaseError, Transaction, UniqueViolation
from ..entity import new_id
from ..entity.values import timestamp
from ..model import ScoreDraft, ScoreRun
from . import statements
from .sql import ScoreQuery
from .statements import Plan
from .table import outputs_of, score_entity, target_field

if TYPE_CHECKING:
    from ..crm import Session

LOCK = 0x616D
"""First key of the advisory locks that let runs of one scorer take turns; the second is its name's hash."""
WORKERS = 4
"""Processes that a blocking scorer is spread over, at most."""

_TWICE = "found two scores for one record; each id may come once"


class ScoringFailed(PluginError):
    """Raised when a scorer fails; the scores are as they were. Names plugin and scorer, the cause is chained."""

    def __init__(self, owned: Owned[Any], problem: str) -> None:
        super().__init__(owned.plugin, "scorer", owned.value.name, problem)


async def compute_scores(session: Session, name: str, ids: Sequence[UUID] | None = None) -> UUID:
    """Scores all rows of a scorer's target, or those with ``ids``; the id of the ``ScoreRun``.

    Only scores that changed are written. The log gets one event, ``score_run.created``, with the numbers.
    Progress is told to the session's. Raises :class:`ScoringFailed`, and LookupError for an unknown scorer.
    """
    owned = scorer_named(session, name)
    if session.unit is not None:
        raise BadRequest(f"the scorer {name!r} can't run inside a change; enqueue compute_{name}, or run it after")
    session = session.crm.acting_as(
        Principal("plugin", owned.plugin, on_behalf_of=str(session.principal)),
        origin=session.origin,
        progress=session.progress,
    )
    plan = _plan(session, owned, ids)
    scorer: Scorer = owned.value
    try:
        if scorer.compute is None:
            await _finish(session, owned, plan)
        else:
            await _draft(session, owned, plan)
            await _finish(session, owned, plan)
    except ChangeError:
        raise
    except TimeoutError as error:
        problem = f"took longer than {scorer.timeout.total_seconds():g} seconds"
        raise ScoringFailed(owned, problem) from error
    except Exception as error:
        raise ScoringFailed(owned, f"failed: {type(error).__name__}: {error}") from error
    finally:
        if scorer.compute is not None:
            await _forget(session, plan)
    return plan.run


def scorer_named(session: Session, name: str) -> Owned[Any]:
    """A scorer of the composition. Raises LookupError, which lists them."""
    found = session.crm.composition.scorers.get(name)
    if found is None:
        known = ", ".join(sorted(session.crm.composition.scorers)) or "none"
        raise LookupError(f"there is no scorer {name!r}; enabled are {known}")
    return found


def _plan(session: Session, owned: Owned[Any], ids: Sequence[UUID] | None) -> Plan:
    scorer: Scorer = owned.value
    catalog = session.crm.catalog
    table = score_entity(catalog, owned)
    return Plan(
        scorer=scorer.name,
        version=scorer.version,
        run=new_id(),
        now=datetime.now(UTC),
        target=catalog.of(scorer.target),
        table=table,
        relation=table.to_one[target_field(scorer.target)].column.name,
        outputs=outputs_of(scorer.output, lambda _: None),
        ids=None if ids is None else list(dict.fromkeys(ids)),
    )


# --- computing in Python -----------------------------------------------------------------------------------


async def _draft(session: Session, owned: Owned[Any], plan: Plan) -> None:
    """Collects what the scorer yields, each batch in a transaction of its own."""
    scorer: Scorer = owned.value
    total = len(plan.ids) if plan.ids is not None else await session.find(plan.target.name).count()
    wanted = None if plan.ids is None else set(plan.ids)
    drafts = session.crm.catalog.of(ScoreDraft)
    done = 0
    session.progress(0, total)
    batches = _batches(Context.of(session, owned.plugin), scorer, plan.ids)
    async with asyncio.timeout(scorer.timeout.total_seconds()), aclosing(batches):
        async for batch in batches:
            rows = [_row(owned, plan, item, wanted) for item in batch]

            async def add(transaction: Transaction, rows: list[dict[str, Any]] = rows) -> None:
                await storage.insert(transaction, drafts, rows)

            try:
                await session.crm.database.transact(add)
            except UniqueViolation as error:
                raise ScoringFailed(owned, _TWICE) from error
            done += len(rows)
            session.progress(done, total)


async def _batches(
    context: Context, scorer: Scorer, ids: Sequence[UUID] | None
) -> AsyncGenerator[Sequence[Scored], None]:
    assert scorer.compute is not None
    if scorer.blocking is None:
        async for batch in scorer.compute(context, ids):
            yield batch
        return
    loop = asyncio.get_running_loop()
    workers = min(WORKERS, os.cpu_count() or 1)
    with _processes(workers) as pool:
        pending: deque[asyncio.Future[Sequence[Scored]]] = deque()
        try:
            async for inputs in scorer.compute(context, ids):
                pending.append(loop.run_in_executor(pool, scorer.blocking, inputs))
                if len(pending) > workers:
                    yield await pending.popleft()
            while pending:
                yield await pending.popleft()
        finally:
            # nobody wants what is still under way, nor how it fails
            pool.shutdown(wait=False, cancel_futures=True)
            for future in pending:
                future.add_done_callback(lambda done: done.cancelled() or done.exception())


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    # forking a process that has threads and database connections would share both
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _row(owned: Owned[Any], plan: Plan, scored: Any, wanted: set[UUID] | None) -> dict[str, Any]:
    output: type[BaseModel] = owned.value.output
    if not isinstance(scored, Scored) or not isinstance(scored.value, output):
        raise ScoringFailed(owned, f"yielded {scored!r}; expected batches of Scored(id, {output.__name__}(…))")
    if wanted is not None and scored.id not in wanted:
        raise ScoringFailed(owned, f"yielded a score for {scored.id}, which it was not asked for")
    return {
        "id": new_id(),
        "run": plan.run,
        "scorer": plan.scorer,
        "target": scored.id,
        "value": {item.name: _told(owned, item.name, getattr(scored.value, item.name)) for item in plan.outputs},
        "inputs_digest": None if scored.inputs is None else _digest(scored.inputs),
    }


def _told(owned: Owned[Any], name: str, value: Any) -> Any:
    """An output as scores keep it: times and days as text, like 64-bit integers."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ScoringFailed(owned, f"computed {value} for {name!r}; expected a finite number or None")
    if isinstance(value, str) and "\x00" in value:
        raise ScoringFailed(owned, f"computed a text with the character NUL for {name!r}")
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


async def _forget(session: Session, plan: Plan) -> None:
    """Removes the run's drafts, and those of runs of this scorer that were killed."""
    dialect = session.crm.database.dialect
    p = ("?1", "?2", "?3") if dialect == "sqlite" else ("$1", "$2", "$3")
    scorer = session.crm.composition.scorers[plan.scorer].value
    longest = 2 * int(scorer.timeout.total_seconds() * 1000)
    # the first 48 bits of an id are the time it was made at
    killed = UUID(int=max(0, (plan.run.int >> 80) - longest) << 80)
    values = (plan.scorer, plan.run, killed)

    async def remove(transaction: Transaction) -> None:
        await transaction.execute(
            f"DELETE FROM core_score_draft WHERE scorer = {p[0]} AND (run = {p[1]} OR run < {p[2]})",
            tuple(map(str, values)) if dialect == "sqlite" else values,
        )

    await session.crm.database.transact(remove)


# --- storing -----------------------------------------------------------------------------------------------


async def _finish(session: Session, owned: Owned[Any], plan: Plan) -> None:
    """Makes the scores current, in one transaction."""
    scorer: Scorer = owned.value

    async def work(joined: Session) -> None:
        unit = joined.unit
        assert unit is not None
        transaction = unit.transaction
        if transaction.dialect == "postgresql":
            limit = int(scorer.timeout.total_seconds() * 1000)
            await transaction.execute(f"SET LOCAL statement_timeout = {limit}")
            await transaction.fetch("SELECT pg_advisory_xact_lock($1, hashtext($2))", (LOCK, scorer.name))
        at = replace(plan, now=unit.now)
        entity = joined.crm.catalog.of(ScoreRun)
        row = _run_row(joined, owned, at)
        await storage.insert(transaction, entity, [row])
        query = _query(joined, at)
        source = statements.drafted(at, query) if scorer.compute is not None else _selected(joined, owned, query)
        found = await _execute(owned, transaction, statements.compute(at, query, source))
        if scorer.compute is None:
            joined.progress(1, 2)
        current = await _execute(owned, transaction, statements.store(at, _query(joined, at)))
        if found > current:
            await _execute(owned, transaction, statements.withdraw(at, _query(joined, at)))
        row |= {"changed": current, "withdrawn": found - current, "completed_at": datetime.now(UTC)}
        await storage.update(transaction, entity, [row], ["changed", "withdrawn", "completed_at"])
        shown = tuple(name for name in entity.columns if row[name] is not None)
        unit.record(joined, "created", entity, at.run, None, told(joined.crm.catalog, entity, row, shown))

    await in_unit(session, work)
    if scorer.compute is None:
        session.progress(2, 2)


def _query(session: Session, plan: Plan) -> ScoreQuery:
    return ScoreQuery(session.crm, session.rights, plan.now)


def _selected(session: Session, owned: Owned[Any], query: ScoreQuery) -> str:
    selected = owned.value.select(Context.of(session, owned.plugin), query)
    digest = "null" if query.dialect == "sqlite" else "null::text"
    return f"select selected.*, {digest} as inputs_digest from ({selected}) selected"


async def _execute(owned: Owned[Any], transaction: Any, statement: tuple[str, tuple[Any, ...]]) -> int:
    try:
        changed: int = await transaction.execute(*statement)
    except UniqueViolation as error:
        # runs of one scorer take turns, so nobody else has written this
        raise ScoringFailed(owned, _TWICE) from error
    except DatabaseError as error:
        if repeatable(error):
            raise
        raise ScoringFailed(owned, f"failed: {error}") from error
    return changed


def _run_row(session: Session, owned: Owned[Any], plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.run,
        "created_at": plan.now,
        "updated_at": plan.now,
        "version": 1,
        "deleted_at": None,
        "scorer": plan.scorer,
        "scorer_version": plan.version,
        "entity_type": plan.target.code,
        "asked": None if plan.ids is None else len(plan.ids),
        "changed": 0,
        "withdrawn": 0,
        "inputs_digest": _made_with(session, owned),
        "started_at": plan.now,
        "completed_at": None,
    }


def _made_with(session: Session, owned: Owned[Any]) -> str:
    scorer: Scorer = owned.value
    settings: BaseModel = session.crm.composition.plugin(owned.plugin).plugin.settings
    return _digest(
        {
            "plugin": owned.plugin,
            "scorer": scorer.name,
            "version": scorer.version,
            "output": scorer.output.model_json_schema(),
            "settings": settings.model_dump(mode="json"),
        }
    )


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


__all__ = ["ScoringFailed", "compute_scores", "scorer_named"]
