"""Composing: step by step, each with all its problems told together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..channels import CHANNELS
from ..contracts import Owned
from ..entity import Catalog
from ..messaging.fetch import TEND_CONNECTIONS
from ..plugin import Plugin
from ..settings import Settings
from .channels import channels, kinds
from .declarations import actions, check_renames_used, commands, permissions, subscribers, validators
from .discovery import check_sections, collect
from .entities import catalog
from .hooks import register
from .order import check_requirements, sort
from .rights import check_owners, grants, needs
from .scoring import jobs, purchases, scorers
from .values import Composition, CompositionError
from .work import Work


def compose(
    settings: Settings,
    plugins: Sequence[Plugin[Any] | type[Plugin[Any]]] = (),
    *,
    layered: bool = True,
) -> Composition:
    """The composition of the core, the plugins enabled in the settings, and those handed in.

    ``layered=False`` leaves out what layers build on it, like the GraphQL schema, until somebody asks for that.
    Raises :class:`CompositionError`, which lists all problems.
    """
    work = Work(settings, plugins)
    collect(work)
    check_sections(work)
    work.done()
    check_requirements(work)
    work.done()
    sort(work)
    work.done()
    manager = register(work)
    work.done()
    bare = Composition(
        (*work.infos,), Catalog(()), {}, (), (), {}, (), {}, (), {}, (), {}, {}, CHANNELS, manager.hook
    )
    scoring = scorers(work, bare)
    entities = catalog(work, bare, scoring)
    work.done()
    rights = permissions(work, bare)
    reached = channels(work, bare)
    composed = dataclasses.replace(
        bare,
        catalog=entities,
        actions=MappingProxyType(actions(work, bare, rights, entities)),
        validators=validators(work, bare, entities),
        subscribers=subscribers(work, bare),
        permissions=MappingProxyType(rights),
        grants=grants(work, bare, entities, rights),
        plugin_roles=MappingProxyType(needs(work, bare, entities, rights)),
        commands=commands(work, bare),
        scorers=MappingProxyType(scoring),
        purchases=purchases(work, bare, entities),
        jobs=MappingProxyType(_needed(jobs(work, bare, scoring), reached)),
        channels=MappingProxyType(reached),
        kinds=kinds(reached),
    )
    check_renames_used(work, bare, entities)
    check_owners(work, entities, rights)
    work.done()
    if layered:
        check_layers(composed)
    return composed


def _needed(jobs: dict[str, Owned[Any]], channels: Mapping[str, Owned[Any]]) -> dict[str, Owned[Any]]:
    """Without a channel, there are no connections that have to be looked after every minute."""
    if not any(owned.value.can.fetches or owned.value.can.sends for owned in channels.values()):
        jobs.pop(TEND_CONNECTIONS.name, None)
    return jobs


def check_layers(composition: Composition) -> None:
    """Builds what layers put on the composition. Raises :class:`CompositionError`, which lists all problems."""
    problems: list[str] = []
    for info in composition.plugins:
        if type(info.plugin).hookspecs is not None:
            try:
                info.plugin.layer(composition)
            except CompositionError as error:
                problems.extend(error.problems)
    if problems:
        raise CompositionError(problems)
