"""Scorers, purchases and jobs of all plugins, and the entities that scorers become."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ..contracts import Job, Owned, Purchases, Scorer
from ..entity import Catalog, EntityType, Kind, Record
from ..jobs import schedule_problem
from ..model import Customer
from ..query import QueryError
from ..query.where import parse_where
from ..scores import outputs_of, score_model
from ..scores.actions import job_of
from ..scores.table import target_field
from .values import Composition, PluginInfo
from .work import Work, hook, typed


def scorers(work: Work, composition: Composition) -> dict[str, Owned[Any]]:
    """Scorers by name. What is wrong with one is told, and the scorer left out."""
    found: dict[str, Owned[Any]] = {}
    for info, item in hook(work, composition, "scorers"):
        if not typed(work, info, "scorers", item, Scorer):
            continue
        problems = _scorer_problems(item)
        work.problems.extend(f"plugin {info.name!r}: the scorer {item.name!r}: {text}" for text in problems)
        other = found.get(item.name)
        if other is not None:
            work.problems.append(
                f"plugins {other.plugin!r} and {info.name!r} both have a scorer {item.name!r}; "
                "its name keys its history and must be unique"
            )
        elif not problems:
            found[item.name] = Owned(info.name, item)
    return found


def _scorer_problems(scorer: Scorer) -> list[str]:
    problems: list[str] = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", scorer.name):
        problems.append("its name must be a lower-case word of at most 40 characters; it becomes a field")
    if not re.fullmatch(r"[\w.+-]{1,50}", scorer.version):
        problems.append(f"its version is {scorer.version!r}; expected a text like '1' or '2.1'")
    output: Any = scorer.output
    if not (isinstance(output, type) and issubclass(output, BaseModel)):
        problems.append(f"its output is {output!r}; expected a pydantic model")
    else:
        target: Any = scorer.target
        relation = target_field(target) if isinstance(target, type) else ""
        for found in outputs_of(output, problems.append):
            if found.name in (relation, f"{relation}_id"):
                problems.append(f"the output {found.name!r} would hide the scored record; choose another name")
    problems += _compute_problems(scorer)
    if scorer.schedule is not None and (wrong := schedule_problem(scorer.schedule)):
        problems.append(f"its schedule {wrong}")
    if scorer.timeout.total_seconds() <= 0:
        problems.append(f"its timeout is {scorer.timeout}; expected more than nothing")
    return problems


def _compute_problems(scorer: Scorer) -> list[str]:
    given = [name for name in ("select", "compute") if getattr(scorer, name) is not None]
    if len(given) != 1:
        return [f"expected select or compute, and it has {'both' if given else 'neither'}"]
    if inspect.iscoroutinefunction(scorer.select):
        return ["its select is async; it only writes SQL, and is a plain function"]
    if scorer.compute is not None and not inspect.isasyncgenfunction(scorer.compute):
        return ["its compute is no asynchronous generator; define it with async def, and yield batches"]
    if scorer.blocking is None:
        return []
    if scorer.compute is None:
        return ["it is blocking without compute, which brings what is handed to the other process"]
    if inspect.iscoroutinefunction(scorer.blocking):
        return ["its blocking function is async; it runs in a process of its own, and is a plain function"]
    try:
        pickle.dumps(scorer.blocking)
    except Exception:
        return ["its blocking function can't be sent to another process; define it at the top of a module"]
    return []


def score_entities(
    work: Work, scorers: Mapping[str, Owned[Any]], entities: Sequence[EntityType]
) -> list[tuple[PluginInfo, type[Record]]]:
    """The entity classes of the scorers, with the plugin that each belongs to."""
    infos = {info.name: info for info in work.infos}
    found = []
    for owned in scorers.values():
        scorer: Scorer = owned.value
        target = next((entity for entity in entities if entity.model is scorer.target), None)
        if target is None or not target.is_entity:
            named = getattr(scorer.target, "__name__", repr(scorer.target))
            why = "is absent; is the plugin that brings it enabled?" if target is None else "is no Entity"
            work.problems.append(f"plugin {owned.plugin!r}: the scorer {scorer.name!r}: its target {named} {why}")
            continue
        reference = f"{target.plugin}.{scorer.target.__name__}"
        model = score_model(scorer, reference, outputs_of(scorer.output, lambda _: None))
        found.append((infos[owned.plugin], model))
    return found


def purchases(work: Work, composition: Composition, catalog: Catalog) -> tuple[Owned[Any], ...]:
    found: list[Owned[Any]] = []
    for info, item in hook(work, composition, "purchases"):
        if not typed(work, info, "purchases", item, Purchases):
            continue
        try:
            entity = catalog.of(item.entity)
        except LookupError as error:
            work.problems.append(f"plugin {info.name!r}: the purchases of {item.entity!r} are absent: {error}")
            continue
        problems = _purchase_problems(catalog, entity, item)
        work.problems.extend(f"plugin {info.name!r}: the purchases of {entity.name}: {text}" for text in problems)
        found.append(Owned(info.name, item))
    return tuple(found)


def _purchase_problems(catalog: Catalog, entity: EntityType, declared: Purchases) -> list[str]:
    problems = []
    customers = catalog.of(Customer).name
    relations = [name for name, relation in entity.to_one.items() if relation.target == customers]
    if declared.customer not in relations:
        problems.append(
            f"customer is {declared.customer!r}; expected a relation to Customer: {', '.join(relations) or 'none'}"
        )
    times = [column.name for column in entity.columns.values() if column.kind in (Kind.DATE, Kind.DATETIME)]
    if declared.time not in times:
        problems.append(f"time is {declared.time!r}; expected a date or time column: {', '.join(times)}")
    if declared.amount not in entity.money:
        known = ", ".join(entity.money) or "none; declare one in options.money"
        problems.append(f"amount is {declared.amount!r}; expected a money field: {known}")
    if declared.where:
        try:
            parse_where(catalog, entity, declared.where)
        except QueryError as error:
            problems.append(f"where: {error}")
    return problems


def jobs(work: Work, composition: Composition, scorers: dict[str, Owned[Any]]) -> dict[str, Owned[Any]]:
    """The plugins' jobs, and those of the scorers, by name."""
    found: dict[str, Owned[Any]] = {}
    for owned in scorers.values():
        job = job_of(owned)
        found[job.name] = Owned(owned.plugin, job)
    for info, item in hook(work, composition, "jobs"):
        if not typed(work, info, "jobs", item, Job):
            continue
        work.problems.extend(
            f"plugin {info.name!r}: the job {item.name!r}: {text}" for text in _job_problems(item)
        )
        other = found.get(item.name)
        if other is not None:
            work.problems.append(
                f"plugins {other.plugin!r} and {info.name!r} both have a job {item.name!r}; "
                "its name is kept with what was enqueued and must be unique"
            )
        else:
            found[item.name] = Owned(info.name, item)
    return found


def _job_problems(job: Job[Any]) -> list[str]:
    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,149}", job.name):
        problems.append("its name must be a lower-case word with underscores")
    if not (isinstance(job.payload, type) and issubclass(job.payload, BaseModel)):
        problems.append(f"its payload is {job.payload!r}; expected a pydantic model")
    elif job.schedule is not None:
        required = [name for name, field in job.payload.model_fields.items() if field.is_required()]
        if required:
            problems.append(f"it has a schedule, but its payload needs {', '.join(required)}; give defaults")
    if not inspect.iscoroutinefunction(job.run):
        problems.append("its run is not async; define it with async def")
    if job.schedule is not None and (wrong := schedule_problem(job.schedule)):
        problems.append(f"its schedule {wrong}")
    if job.attempts < 1:
        problems.append(f"its attempts are {job.attempts}; expected at least 1")
    if job.timeout.total_seconds() <= 0:
        problems.append(f"its timeout is {job.timeout}; expected more than nothing")
    return problems


__all__ = ["jobs", "purchases", "score_entities", "scorers"]
