"""The timeline of customers: which entities of all plugins take part in it, by which time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..contracts import TimelineEntry
from ..entity import Catalog, EntityType, Kind, TimelineSource, TimelineStep
from ..entity.catalog import TIMELINE
from ..model import Customer
from .values import Composition, PluginInfo
from .work import Work, hook, typed

Path = tuple[TimelineStep, ...]


def with_timeline(work: Work, composition: Composition, catalog: Catalog) -> Catalog:
    """The same catalog, with what takes part in the timeline of customers."""
    found: dict[str, TimelineSource] = {}
    for info, item in hook(work, composition, "timeline"):
        if not typed(work, info, "timeline", item, TimelineEntry):
            continue
        try:
            entity = catalog.of(item.entity)
        except LookupError as error:
            work.problems.append(f"plugin {info.name!r}: the hook timeline names {item.entity!r}: {error}")
            continue
        source = _source(work, info, catalog, entity, item)
        other = found.get(entity.name)
        if other is not None:
            work.problems.append(
                f"plugins {other.plugin!r} and {info.name!r} both put {entity.name} on the timeline, by the hook "
                "timeline; one of them must leave it to the other"
            )
        elif source is not None:
            found[entity.name] = source
    customer = catalog.of(Customer)
    if TIMELINE in customer.field_names():
        work.problems.append(
            f"a relation or field of {customer.name} is named {TIMELINE!r}, which is what happened to the "
            "customer; give another related_name"
        )
    timed = dataclasses.replace(customer, timeline=tuple(found.values()))
    return Catalog(timed if entity is customer else entity for entity in catalog.values())


def _source(
    work: Work, info: PluginInfo, catalog: Catalog, entity: EntityType, declared: TimelineEntry
) -> TimelineSource | None:
    problems: list[str] = []
    times = [column.name for column in entity.visible_columns if column.kind is Kind.DATETIME]
    if declared.at not in times:
        problems.append(f"at is {declared.at!r}; expected a time column: {', '.join(times) or 'there is none'}")
    paths = tuple(_paths(catalog, entity, declared.customer.split(".")))
    if not paths:
        known = [*entity.to_one, *entity.generic]
        problems.append(
            f"customer is {declared.customer!r}, which does not lead to {catalog.of(Customer).name}; expected "
            f"references joined by dots; {entity.name} has {', '.join(known) or 'none'}"
        )
    where = f"plugin {info.name!r}: the hook timeline: the entry of {entity.name}"
    work.problems.extend(f"{where}: {problem}" for problem in problems)
    return None if problems else TimelineSource(entity.name, info.name, declared.at, paths)


def _paths(catalog: Catalog, entity: EntityType, steps: list[str]) -> Iterator[Path]:
    """The ways on which references lead to a customer: one, unless there is a generic reference among them."""
    first, *rest = steps
    if first in entity.to_one:
        targets: tuple[str, ...] = (entity.to_one[first].target,)
    elif first in entity.generic:
        targets = entity.generic[first].targets
    else:
        return
    for name in targets:
        step = TimelineStep(first, name)
        if rest:
            yield from ((step, *path) for path in _paths(catalog, catalog[name], rest))
        elif catalog[name].model is Customer:
            yield (step,)
