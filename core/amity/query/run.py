"""Running a read: compile, one statement, then what plugins add in Python."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter

from ..contracts import Context
from ..database import EvaluationError
from ..entity import BatchField
from ..tree import Root
from .compile import compile_roots
from .errors import OutOfRange
from .statement import BatchPlan, ComputedUse, Statement, Step

if TYPE_CHECKING:
    from ..crm import Session

log = logging.getLogger("amity.query")
BATCH_TIMEOUT = 30.0
"""Seconds that a plugin's batch field may take."""

Formatter = Callable[[Any, BatchField, Any], Any]
"""``format(value, field, shape)``: a batch field's result as JSON values."""


class ReadFailed(Exception):
    """Raised when the database could not answer; the cause says why."""


@dataclass(frozen=True)
class FieldError:
    """A plugin's field that failed, and was answered with null: where, and whose it is."""

    path: tuple[str | int, ...]
    message: str
    """What may be told to anyone; ``cause`` is for the log."""
    plugin: str
    count: int = 1
    """How many rows it failed for; ``path`` leads to the first."""
    cause: Exception | None = None


@dataclass(frozen=True)
class Answer:
    """What a read found: a JSON text for each root, and what failed within."""

    text: Mapping[str, str | None]
    errors: tuple[FieldError, ...] = ()

    def parsed(self) -> dict[str, Any]:
        """The answers as Python values."""
        return {key: None if text is None else orjson.loads(text) for key, text in self.text.items()}


def plain(value: Any, field: BatchField, shape: Any) -> Any:
    """A batch field's result as JSON values, whole."""
    return TypeAdapter(Any).dump_python(value, mode="json")


async def read(
    session: Session,
    roots: Mapping[str, Root],
    format_batch: Formatter = plain,
    max_rows: int | None = None,
) -> Answer:
    """Answers all roots by one statement, from one snapshot.

    If a plugin's expression breaks the statement, it is run once more without any; such fields are null then,
    with an error each. Raises :class:`~amity.query.QueryError`,
    :class:`~amity.access.AccessDenied` and :class:`~amity.database.DatabaseError`.
    """
    if not roots:
        return Answer({})
    statement = compile_for(session, roots, max_rows=max_rows)
    errors: list[FieldError] = []
    try:
        row = await _fetch(session, statement)
    except EvaluationError as error:
        if not statement.computed or session.unit is not None:
            raise _told(statement, error) from error
        failed = statement.computed
        statement = compile_for(session, roots, without_expressions=True)
        try:
            row = await _fetch(session, statement)
        except EvaluationError as again:
            raise _told(statement, again) from again
        log.warning("expressions of plugins were left out, as one of them failed: %s", error)
        errors += _computed_errors(failed, dict(zip(statement.keys, row, strict=True)), error)
    texts = dict(zip(statement.keys, row, strict=True))
    if statement.batches:
        texts, failures = await fill_batches(session, statement.batches, texts, format_batch)
        errors += failures
    return Answer(texts, tuple(errors))


def compile_for(
    session: Session,
    roots: Mapping[str, Root],
    *,
    without_expressions: bool = False,
    max_rows: int | None = None,
) -> Statement:
    """The statement that a session's read of these roots becomes."""
    crm = session.crm
    return compile_roots(
        crm.catalog,
        session.rights,
        crm.database.dialect,
        roots,
        without_expressions=without_expressions,
        max_rows=max_rows,
    )


def _told(statement: Statement, error: EvaluationError) -> Exception:
    """What a statement failed for, as far as whoever asked can do something about it."""
    if not statement.sums:
        return error
    return OutOfRange("a number goes beyond 64 bits, most likely a sum; narrow where, or group by more")


async def _fetch(session: Session, statement: Statement) -> Sequence[Any]:
    if session.unit is not None:
        rows = await session.unit.transaction.fetch(statement.sql, statement.parameters)
    else:
        rows = await session.crm.database.read(statement.sql, statement.parameters)
    return list(rows[0])


def _computed_errors(
    uses: Sequence[ComputedUse], texts: Mapping[str, str | None], error: Exception
) -> Iterator[FieldError]:
    """One error for each expression field: the database does not say which of them it was."""
    for use in uses:
        text = texts[use.root]
        places = list(_walk(orjson.loads(text), use.path)) if text else []
        if places:
            path, _ = places[0]
            where = (use.root, *path, use.key)
            yield FieldError(where, "could not be computed", use.plugin, len(places), error)


def _walk(value: Any, path: Sequence[Step]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The objects that a path leads to, each with its own path of keys and positions."""
    if value is None:
        return
    if not path:
        yield (), value
        return
    step, rest = path[0], path[1:]
    if step == "[]":
        for index, item in enumerate(value):
            for found, target in _walk(item, rest):
                yield (index, *found), target
    else:
        for found, target in _walk(value.get(step), rest):
            yield (step, *found), target


async def fill_batches(
    session: Session,
    batches: Sequence[BatchPlan],
    texts: dict[str, str | None],
    format_batch: Formatter,
) -> tuple[dict[str, str | None], list[FieldError]]:
    """Fills in batch fields: each is called once, with all its parents. The texts, and what failed."""
    roots = {plan.root for plan in batches}
    parsed = {key: orjson.loads(text) for key in roots if (text := texts[key]) is not None}
    found = await asyncio.gather(
        *(_resolve_one(session, plan, parsed.get(plan.root), format_batch) for plan in batches)
    )
    errors = [error for error in found if error is not None]
    texts.update({key: orjson.dumps(value).decode() for key, value in parsed.items()})
    return texts, errors


async def _resolve_one(
    session: Session, plan: BatchPlan, value: Any, format_batch: Formatter
) -> FieldError | None:
    field = plan.entity.batches[plan.node.name]
    # in a list of several entities' rows, some have no such field
    places = [place for place in _walk(value, plan.path) if plan.hidden in place[1]]
    if not places:
        return None
    parents = [target.pop(plan.hidden) for _, target in places]
    try:
        async with asyncio.timeout(BATCH_TIMEOUT):
            results = await field.resolve(_context(session, field), parents, plan.node.arguments)
        if len(results) != len(parents):
            raise ValueError(f"returned {len(results)} results for {len(parents)} parents")
    except Exception as error:
        results = [error] * len(parents)
    failures: list[tuple[tuple[str | int, ...], Exception]] = []
    for (path, target), result in zip(places, results, strict=True):
        if not isinstance(result, Exception):
            try:
                target[plan.node.key] = format_batch(result, field, plan.node.shape)
                continue
            except Exception as error:
                result = error
        failures.append((path, result))
    if not failures:
        return None
    path, first = failures[0]
    log.warning(
        "plugin %r: %s.%s failed for %d rows",
        field.plugin,
        plan.entity.name,
        field.name,
        len(failures),
        exc_info=first,
    )
    message = "took too long" if isinstance(first, TimeoutError) else "failed"
    return FieldError((plan.root, *path, plan.node.key), message, field.plugin, len(failures), first)


def _context(session: Session, field: BatchField) -> Context:
    # the answer is the reader's, so what the field reads besides is what the reader may see
    return Context.of(session.crm.acting_as(session.principal), field.plugin)
