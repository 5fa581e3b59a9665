"""The roles that every CRM begins with, and what they are given by default.

Defaults are given once, by ``amity migrate`` or when a CRM opens: what an administrator took away stays away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..access import EVERY, VERBS
from ..change import storage
from ..contracts import Owned, RoleGrant, RolePermission, Scorer
from ..database import Transaction
from ..entity import Catalog, EntityType, Record, new_id
from ..model import (
    Connection,
    ConsentEntry,
    ContactPoint,
    Conversation,
    Customer,
    Deal,
    Event,
    ExternalId,
    File,
    Grant,
    Interaction,
    Participant,
    PermissionGrant,
    Pipeline,
    Relationship,
    Role,
    Score,
    ScoreRun,
    Stage,
    StageMove,
    Team,
    Template,
    TemplateText,
    User,
)
from ..scores.table import class_name

ADMIN = "admin"
BUILTIN_ROLES: Mapping[str, str] = {
    ADMIN: "May do everything",
    "agent": "Works with customers: its own, and those of its team",
    "read-only": "Reads customers and what belongs to them, and changes nothing",
    "portal": "For customers themselves: they see their own record, and what was said",
}
"""Name → description."""

_OF_CUSTOMERS: tuple[type[Record], ...] = (Customer, ContactPoint, Relationship, Interaction, Deal)
_OF_THREADS: tuple[type[Record], ...] = (Conversation, Participant, ConsentEntry)
_OF_MESSAGES: tuple[type[Record], ...] = (*_OF_THREADS, File)
_SHARED: tuple[type[Record], ...] = (Team, Pipeline, Stage, Template, TemplateText)
_ATTACHED: tuple[type[Record], ...] = (ExternalId, StageMove, ScoreRun, Score, Event)
"""Seen where the record is that they belong to."""
_COLLEAGUE = ("name", "email", "active", "team", "manager")
_ACCOUNT = ("name", "channel", "active", "team")
_OWN: Mapping[str, Any] = {"customer_id": {"eq": "$customer"}}
_SAID: Sequence[Mapping[str, Any]] = (
    {"direction": {"eq": "inbound"}, "automatic": {"eq": False}, "connection_id": {"isNull": False}},
    {"direction": {"eq": "outbound"}, "delivery": {"in": ["sent", "delivered", "read"]}},
)
"""Messages that came from the customer, or that left; what we write down about calls and meetings is ours."""

CORE_GRANTS: tuple[RoleGrant, ...] = (
    RoleGrant(ADMIN, EVERY, VERBS),
    *(RoleGrant("agent", entity, ("read", "create", "update"), "team") for entity in _OF_CUSTOMERS),
    *(RoleGrant("agent", entity, ("delete",), "own") for entity in _OF_CUSTOMERS),
    *(RoleGrant("agent", entity, ("read",), "team") for entity in _OF_MESSAGES),
    RoleGrant("agent", Conversation, ("update",), "team"),
    RoleGrant("agent", ExternalId, ("create",)),
    *(RoleGrant(role, entity, ("read",)) for role in ("agent", "read-only") for entity in (*_SHARED, *_ATTACHED)),
    *(RoleGrant(role, User, ("read",), fields=_COLLEAGUE) for role in ("agent", "read-only")),
    *(RoleGrant(role, Connection, ("read",), fields=_ACCOUNT) for role in ("agent", "read-only")),
    *(RoleGrant("read-only", entity, ("read",)) for entity in (*_OF_CUSTOMERS, *_OF_THREADS)),
    # not what somebody is about to send, nor what could not be taken in
    RoleGrant("read-only", File, ("read",), {"interaction_id": {"isNull": False}}),
    RoleGrant(
        "portal",
        Customer,
        ("read",),
        {"id": {"eq": "$customer"}},
        ("kind", "name", "given_name", "family_name", "locale"),
    ),
    RoleGrant("portal", ContactPoint, ("read",), _OWN, ("customer", "channel", "address", "label", "primary")),
    RoleGrant(
        "portal",
        Interaction,
        ("read",),
        {**_OWN, "or": _SAID},
        ("customer", "conversation", "channel", "direction", "address", "subject", "body", "occurred_at"),
    ),
    RoleGrant(
        "portal",
        Conversation,
        ("read",),
        _OWN,
        ("customer", "channel", "subject", "status", "started_at", "last_at"),
    ),
)


@dataclass(frozen=True)
class Default:
    """Something that is given once; ``key`` is what is remembered of it. ``row`` is without the role's id."""

    key: str
    role: str
    entity: type[Record]
    row: Mapping[str, Any]


def defaults_of(catalog: Catalog, grants: Iterable[Owned[Any]], plugin: str) -> list[Default]:
    """What a plugin gives to roles; the core also brings the roles."""
    found: list[Default] = []
    if plugin == "core":
        for name, description in BUILTIN_ROLES.items():
            row = {"name": name, "description": description, "builtin": True}
            found.append(Default(f"role {name}", name, Role, row))
    for owned in grants:
        item = owned.value
        if owned.plugin != plugin:
            continue
        if isinstance(item, RolePermission):
            key = f"permission {item.role} {item.permission}"
            found.append(Default(key, item.role, PermissionGrant, {"permission": item.permission}))
            continue
        entity = granted_entity(catalog, plugin, item)
        code = EVERY if entity is None else entity.code
        for verb in VERBS:
            if verb in item.actions:
                row = {
                    "entity": code,
                    "action": verb,
                    "rows": item.rows,
                    "field_names": None if item.fields is None else sorted(item.fields),
                    "check_rows": None,
                    "presets": None,
                }
                found.append(Default(f"grant {item.role} {verb} {code}", item.role, Grant, row))
    return found


def granted_entity(catalog: Catalog, plugin: str, item: RoleGrant) -> EntityType | None:
    """The entity of a default grant; None for every one. Raises LookupError."""
    if isinstance(item.entity, Scorer):
        wanted = class_name(item.entity)
        for entity in catalog.values():
            if entity.plugin == plugin and entity.model.__name__ == wanted:
                return entity
        raise LookupError(f"the scorer {item.entity.name!r} is not declared")
    return None if item.entity == EVERY else catalog.of(item.entity)


async def give(transaction: Transaction, catalog: Catalog, defaults: Sequence[Default]) -> None:
    """Writes defaults into the tables of roles, without events; what is there already stays as it is."""
    roles = catalog.of(Role)
    names = list(dict.fromkeys(default.role for default in defaults))
    known = await storage.select_by(transaction, roles, "name", names)
    ids: dict[str, UUID] = {row["name"]: id for id, row in known.items()}
    now = datetime.now(UTC)
    for default in defaults:
        if default.entity is Role and default.role not in ids:
            ids[default.role] = new_id()
            await storage.insert(transaction, roles, [_row(roles, ids[default.role], default.row, now)])
    for entity, keys in (
        (catalog.of(Grant), ("entity", "action")),
        (catalog.of(PermissionGrant), ("permission",)),
    ):
        held = await storage.select_by(transaction, entity, "role_id", list(ids.values()))
        taken = {(row["role_id"], *(row[key] for key in keys)) for row in held.values()}
        rows = []
        for default in defaults:
            # a role that an administrator has deleted is not given anything
            if default.entity is not entity.model or default.role not in ids:
                continue
            key = (ids[default.role], *(default.row[key] for key in keys))
            if key not in taken:
                taken.add(key)
                rows.append(_row(entity, new_id(), {**default.row, "role_id": ids[default.role]}, now))
        if rows:
            await storage.insert(transaction, entity, rows)
    changed = [row for id, row in known.items()]
    for row in changed:
        row["version"] += 1
    await storage.update(transaction, roles, changed, ("version",))


def _row(entity: EntityType, id: UUID, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    life = {"id": id, "created_at": now, "updated_at": now, "version": 1, "deleted_at": None}
    return {name: values.get(name, life.get(name)) for name in entity.columns}


__all__ = ["ADMIN", "BUILTIN_ROLES", "CORE_GRANTS", "Default", "defaults_of", "give", "granted_entity"]
