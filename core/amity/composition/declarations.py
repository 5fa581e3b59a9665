"""Permissions, actions, validators, subscribers and commands of all plugins."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any

import click

from ..contracts import Action, Owned, Permission, Subscriber, Validator
from ..entity import Catalog, camel
from ..plugin import CORE_COMMANDS
from .values import Composition
from .work import Work, hook, typed


def permissions(work: Work, composition: Composition) -> dict[str, Owned[Any]]:
    found: dict[str, Owned[Any]] = {}
    for info, item in hook(work, composition, "permissions"):
        if not typed(work, info, "permissions", item, Permission):
            continue
        if not re.fullmatch(rf"{info.name}\.[a-z][a-z0-9_]*", item.name):
            work.problems.append(
                f"plugin {info.name!r}: the permission {item.name!r} must be named {info.name}.<word>"
            )
        elif item.name in found:
            work.problems.append(f"plugin {info.name!r}: the permission {item.name!r} is declared twice")
        else:
            found[item.name] = Owned(info.name, item)
    return found


def actions(
    work: Work, composition: Composition, permissions: Mapping[str, Any], catalog: Catalog
) -> dict[str, Owned[Any]]:
    rename = work.settings.schema_.rename
    found: dict[str, Owned[Any]] = {}
    claimed: dict[str, str] = {}
    for entity in catalog.values():
        for verb in entity.options.api:
            if verb != "read":
                claimed[camel(f"{verb}_{entity.singular}")] = entity.plugin
                claimed[camel(f"{verb}_{entity.plural}")] = entity.plugin
    for info, item in hook(work, composition, "actions"):
        if not typed(work, info, "actions", item, Action):
            continue
        name = rename.get(f"{info.name}.{item.name}", item.name)
        where = f"plugin {info.name!r}: the action {item.name!r}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            work.problems.append(f"{where} must be named by lower-case words with underscores")
            continue
        if item.permission not in permissions:
            close = difflib.get_close_matches(item.permission, permissions, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "declare it in the permissions hook"
            work.problems.append(f"{where} asks for the permission {item.permission!r}; {hint}")
        if item.entity is not None and item.entity not in {e.model for e in catalog.values()}:
            work.problems.append(f"{where} returns {item.entity.__name__}, which is absent")
        other = claimed.setdefault(camel(name), info.name)
        if name in found or (other != info.name):
            work.problems.append(
                f"plugins {other!r} and {info.name!r} both claim the action {camel(name)!r}; rename one in "
                f'[schema.rename], like "{info.name}.{item.name}" = "{info.name}_{item.name}"'
            )
            continue
        found[name] = Owned(info.name, dataclasses.replace(item, name=name))
    return found


def validators(work: Work, composition: Composition, catalog: Catalog) -> tuple[Owned[Any], ...]:
    found = []
    for info, item in hook(work, composition, "validators"):
        if not typed(work, info, "validators", item, Validator):
            continue
        try:
            entity = catalog.of(item.entity)
        except LookupError as error:
            work.problems.append(f"plugin {info.name!r}: a validator's target is absent: {error}")
            continue
        for need in item.needs:
            if need not in entity.columns:
                work.problems.append(
                    f"plugin {info.name!r}: a validator of {entity.name} needs {need!r}, which is no column; "
                    f"columns are {', '.join(entity.columns)}"
                )
        found.append(Owned(info.name, item))
    return tuple(found)


def subscribers(work: Work, composition: Composition) -> tuple[Owned[Any], ...]:
    found: list[Owned[Any]] = []
    names: dict[str, str] = {}
    for info, item in hook(work, composition, "subscribers"):
        if not typed(work, info, "subscribers", item, Subscriber):
            continue
        if item.name in names:
            work.problems.append(
                f"plugins {names[item.name]!r} and {info.name!r} both have a subscriber {item.name!r}; "
                "its name keys its place in the log and must be unique"
            )
        if isinstance(item.events, str):
            work.problems.append(
                f"plugin {info.name!r}: events of the subscriber {item.name!r} is a text; expected a sequence"
            )
        names[item.name] = info.name
        found.append(Owned(info.name, item))
    return tuple(found)


def commands(work: Work, composition: Composition) -> tuple[Owned[Any], ...]:
    found: list[Owned[Any]] = []
    claimed = dict.fromkeys(CORE_COMMANDS, "core")
    for info, item in hook(work, composition, "commands"):
        if not typed(work, info, "commands", item, click.Command):
            continue
        other = claimed.get(item.name)
        if other is not None:
            work.problems.append(
                f"plugins {other!r} and {info.name!r} both claim the command {item.name!r}; "
                "one of them must choose another"
            )
        claimed[item.name] = info.name
        found.append(Owned(info.name, item))
    return tuple(found)


def check_renames_used(work: Work, composition: Composition, catalog: Catalog) -> None:
    plugins = {info.name for info in composition.plugins}
    for key in work.settings.schema_.rename:
        plugin = key.split(".")[0]
        if key.count(".") not in (1, 2) or plugin not in plugins:
            work.problems.append(
                f'[schema.rename] has "{key}"; expected "plugin.Entity", "plugin.Entity.field" or '
                f'"plugin.action" of an enabled plugin ({", ".join(sorted(plugins))})'
            )
