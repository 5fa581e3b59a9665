"""Nobody grants a right that they lack: whether what somebody may do covers what would be granted.

A grant is covered if one of the granter's roles grants the same or more: rows ``all`` are more than any, ``team``
more than ``own``, a condition only as much as the same condition.
"""

from __future__ import annotations

from ..entity import Catalog, EntityType
from .rights import Everything, Rights, Verb
from .roles import EVERY, Role, RoleRights, RowRule, TypeGrant, placeholders

_WIDTH = {"none": 0, "own": 1, "team": 2, "all": 3}


def lacking(rights: Rights, catalog: Catalog, role: Role, *, for_others: bool = False) -> list[str]:
    """What a role grants and the rights do not cover, in words; empty if they cover all of it.

    ``for_others``: whoever gets the role acts as somebody else than they are, so that ``own`` and ``team`` lead to
    rows that the granter need not see.
    """
    found = []
    for (code, verb), grant in sorted(role.grants.items()):
        entity = catalog.by_code(code)
        if entity is None and code != EVERY:
            if not _has_everything(rights, verb):
                found.append(f"{verb} {code}")
            continue
        if not covers(rights, entity, verb, grant, for_others=for_others):
            found.append(f"{verb} {EVERY if entity is None else entity.name}")
    return found + [
        f"the permission {name}" for name in sorted(role.permissions) if not covers_permission(rights, name)
    ]


def covers(
    rights: Rights, entity: EntityType | None, verb: Verb, grant: TypeGrant, *, for_others: bool = False
) -> bool:
    """Whether the rights cover a grant on an entity, or on every one (None)."""
    if isinstance(rights, Everything):
        return type(rights) is Everything
    if not isinstance(rights, RoleRights):
        return False
    if entity is not None and rights.owns(entity):
        return True
    return any(_role_covers(role, entity, verb, grant, for_others) for role in rights.roles)


def covers_permission(rights: Rights, permission: str) -> bool:
    """Whether the rights cover a permission, or every one (``*``)."""
    if permission != EVERY:
        return rights.may(permission)
    if isinstance(rights, RoleRights):
        return any(EVERY in role.permissions for role in rights.roles)
    return type(rights) is Everything


def _has_everything(rights: Rights, verb: Verb) -> bool:
    """For entities whose plugin is not enabled: only who may do everything covers them."""
    return covers(rights, None, verb, TypeGrant())


def _role_covers(role: Role, entity: EntityType | None, verb: Verb, grant: TypeGrant, for_others: bool) -> bool:
    if entity is not None:
        held = role.grant(entity, verb)
        return held is not None and _grant_covers(held, grant, for_others)
    # every entity: those that the role has a grant of their own on are among them
    held = role.grants.get((EVERY, verb))
    own = [item for (code, other), item in role.grants.items() if other == verb and code != EVERY]
    return held is not None and all(_grant_covers(item, grant, for_others) for item in (held, *own))


def _grant_covers(held: TypeGrant, wanted: TypeGrant, for_others: bool) -> bool:
    if held.fields is not None and (wanted.fields is None or not wanted.fields <= held.fields):
        return False
    if not set(held.presets) <= set(wanted.presets) or (for_others and held.presets):
        return False
    before = _rule_covers(held.rows, wanted.rows, for_others)
    return before and _rule_covers(held.check or held.rows, wanted.check or wanted.rows, for_others)


def _rule_covers(held: RowRule, wanted: RowRule, for_others: bool) -> bool:
    if held.scope == "all" or wanted.scope == "none":
        return True
    if held.scope == "where" or wanted.scope == "where":
        same = held.condition is not None and held == wanted
        return same and not (for_others and held.condition is not None and _personal(held))
    return not for_others and _WIDTH[wanted.scope] <= _WIDTH[held.scope]


def _personal(rule: RowRule) -> bool:
    return rule.condition is not None and bool(placeholders(rule.condition) & {"user", "team", "customer"})


__all__ = ["covers", "covers_permission", "lacking"]
