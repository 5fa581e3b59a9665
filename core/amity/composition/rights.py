"""Rights: what plugins give to roles, and what they need themselves."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ..access import EVERY, VERBS, Role, TypeGrant, Verb
from ..access.roles import owners
from ..contracts import Need, NeedPermission, Owned, RoleGrant, RolePermission
from ..entity import Catalog, EntityType
from ..model import ExternalId, Team, User
from ..principals.defaults import BUILTIN_ROLES, granted_entity
from ..principals.rules import parse_grant
from ..query import QueryError
from .values import Composition
from .work import Work, hook, typed


def grants(
    work: Work, composition: Composition, catalog: Catalog, permissions: Mapping[str, Any]
) -> tuple[Owned[Any], ...]:
    """What roles are given by default, with the plugin that gives it."""
    found = []
    for info, item in hook(work, composition, "grants"):
        if not typed(work, info, "grants", item, RoleGrant, RolePermission):
            continue
        where = f"plugin {info.name!r}: a grant to the role {item.role!r}"
        if item.role not in BUILTIN_ROLES:
            work.problems.append(f"{where}: there is no such role; there are {', '.join(BUILTIN_ROLES)}")
        if isinstance(item, RolePermission):
            own = item.permission == EVERY and info.name == "core"
            if not own and not item.permission.startswith(f"{info.name}."):
                work.problems.append(
                    f"{where}: {item.permission!r} is no permission of this plugin; it gives its own"
                )
            elif not own:
                _known_permission(work, where, item.permission, permissions)
        else:
            _check_grant(work, where, info.name, catalog, item)
        found.append(Owned(info.name, item))
    return tuple(found)


def _check_grant(work: Work, where: str, plugin: str, catalog: Catalog, item: RoleGrant) -> None:
    try:
        entity = granted_entity(catalog, plugin, item)
    except LookupError as error:
        work.problems.append(f"{where}: {error}")
        return
    name = EVERY if entity is None else entity.name
    where = f"{where} on {name}"
    if plugin != "core" and (entity is None or entity.plugin != plugin):
        work.problems.append(f"{where}: a plugin gives rights on its own entities alone")
    _check_actions(work, where, item.actions)
    try:
        parse_grant(catalog, entity, item.rows, item.fields)
    except QueryError as error:
        work.problems.append(f"{where}: {error}")


def needs(
    work: Work, composition: Composition, catalog: Catalog, permissions: Mapping[str, Any]
) -> dict[str, Role]:
    """The role that each plugin's own code acts under."""
    held: dict[str, dict[tuple[str, Verb], TypeGrant]] = {info.name: {} for info in composition.plugins}
    may: dict[str, set[str]] = {info.name: set() for info in composition.plugins}
    for info, item in hook(work, composition, "needs"):
        if not typed(work, info, "needs", item, Need, NeedPermission):
            continue
        if isinstance(item, NeedPermission):
            where = f"plugin {info.name!r}: a need of the permission {item.permission!r}"
            _known_permission(work, where, item.permission, permissions)
            may[info.name].add(item.permission)
            continue
        where = f"plugin {info.name!r}: a need of {getattr(item.entity, '__name__', item.entity)!r}"
        try:
            entity = catalog.of(item.entity)
            grant = parse_grant(catalog, entity, item.where or "all", item.fields)
        except (LookupError, QueryError) as error:
            work.problems.append(f"{where}: {error}")
            continue
        if entity.plugin == info.name:
            work.problems.append(f"{where}: the plugin may do everything with its own entities already")
            continue
        _check_actions(work, where, item.actions)
        for verb in VERBS:
            if verb not in item.actions:
                continue
            if (entity.code, verb) in held[info.name]:
                work.problems.append(f"{where}: {verb} is declared twice; declare it once, with all that it needs")
            held[info.name][entity.code, verb] = grant
    attached = catalog.of(ExternalId).code
    for name, grants_ in held.items():
        # ids in other systems, of whatever it may read
        for verb in ("read", "create"):
            grants_.setdefault((attached, verb), TypeGrant())
        for code, verb in grants_:
            if verb in ("update", "delete") and (code, "read") not in grants_:
                work.problems.append(
                    f"plugin {name!r}: a need to {verb} {code} without reading it reaches nothing; add 'read'"
                )
        _check_parents(work, name, catalog, grants_)
    return {name: Role(f"plugin:{name}", grants=held[name], permissions=frozenset(may[name])) for name in held}


def _check_parents(work: Work, plugin: str, catalog: Catalog, held: Mapping[tuple[str, Verb], TypeGrant]) -> None:
    """What belongs to a row can't be seen where that row can't: told here, as nothing would come back later."""
    for code, verb in held:
        entity = catalog.by_code(code)
        if verb != "read" or entity is None:
            continue
        for relation in entity.to_one.values():
            target = catalog[relation.target]
            if relation.on_delete == "CASCADE" and target.plugin != plugin and (target.code, "read") not in held:
                work.problems.append(
                    f"plugin {plugin!r}: a need of {entity.name} without {target.name}, which it belongs to "
                    f"({entity.name}.{relation.name}), reaches nothing; add Need({target.name}, {{'read'}})"
                )


def check_owners(work: Work, catalog: Catalog, permissions: Mapping[str, Any]) -> None:
    """That ``owner`` leads to users or teams, and that ``guarded`` names permissions."""
    users, teams = catalog.of(User).name, catalog.of(Team).name
    for entity in catalog.values():
        where = f"plugin {entity.plugin!r}: {entity.name}.options"
        for path in owners(entity):
            if (entity.name != users or path != "id") and _target(catalog, entity, path) not in (users, teams):
                work.problems.append(
                    f"{where}.owner: {path!r} does not lead to a user or a team; expected relations to one "
                    "row, like 'owner' or 'customer.owner'"
                )
        for permission in entity.options.guarded.values():
            _known_permission(work, f"{where}.guarded", permission, permissions)


def _target(catalog: Catalog, entity: EntityType, path: str) -> str | None:
    for step in path.split("."):
        relation = entity.to_one.get(step)
        if relation is None:
            return None
        entity = catalog[relation.target]
    return entity.name


def _check_actions(work: Work, where: str, actions: Collection[str]) -> None:
    if isinstance(actions, str) or not actions:
        work.problems.append(f"{where}: actions are {actions!r}; expected some of {{{', '.join(VERBS)}}}")
    elif unknown := sorted(set(actions) - set(VERBS)):
        work.problems.append(f"{where}: unknown actions {', '.join(unknown)}; there are {', '.join(VERBS)}")


def _known_permission(work: Work, where: str, permission: str, permissions: Mapping[str, Any]) -> None:
    if permission not in permissions:
        close = difflib.get_close_matches(permission, permissions, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "declare it in the permissions hook"
        work.problems.append(f"{where}: there is no permission {permission!r}; {hint}")


__all__ = ["check_owners", "grants", "needs"]
