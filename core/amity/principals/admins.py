"""The last administrator stays: somebody must be able to give rights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from ..change import storage
from ..contracts import Context, Problem, Proposed, Validator
from ..model import Role, RoleMember, User
from .defaults import ADMIN

_REFUSAL = "is the last administrator who can sign in; make somebody else one first"


async def _check_users(context: Context, proposals: Sequence[Proposed]) -> list[Problem]:
    going = {item.id: item.index for item in proposals if item.after is None or not item.after["active"]}
    if not going:
        return []
    held = await _administrators(context)
    if not held or set(held.values()) - going.keys():
        return []
    return [Problem(going[user], "", _REFUSAL) for user in held.values() if user in going][:1]


async def _check_members(context: Context, proposals: Sequence[Proposed]) -> list[Problem]:
    going = {item.id: item.index for item in proposals if item.after is None}
    if not going:
        return []
    held = await _administrators(context)
    if not held or held.keys() - going.keys():
        return []
    return [Problem(going[member], "", _REFUSAL) for member in held if member in going][:1]


async def _administrators(context: Context) -> dict[UUID, UUID]:
    """Active users with the role: member → user. The role is held, so that two don't leave at the same time."""
    unit, catalog = context.session.unit, context.crm.catalog
    assert unit is not None
    transaction = unit.transaction
    roles = await storage.select_by(transaction, catalog.of(Role), "name", [ADMIN], lock="update")
    members = await storage.select_by(transaction, catalog.of(RoleMember), "role_id", list(roles))
    ids: Collection[UUID] = {row["user_id"] for row in members.values()}
    users = await storage.select(transaction, catalog.of(User), sorted(ids), condition='t."active"')
    return {id: row["user_id"] for id, row in members.items() if row["user_id"] in users}


LAST_ADMINISTRATOR: tuple[Validator, ...] = (
    Validator(User, ("active",), _check_users, "last administrator", deletions=True),
    Validator(RoleMember, (), _check_members, "last administrator", deletions=True),
)

__all__ = ["LAST_ADMINISTRATOR"]
