"""Who a principal is, for people: everybody may know this about themselves, whatever their roles say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..access import SYSTEM, Principal
from ..entity import Record, encode_id
from ..model import ApiKey, Customer, Team, User

if TYPE_CHECKING:
    from ..crm import Crm


@dataclass(frozen=True)
class Who:
    """A principal as it is shown. ``id`` is the user's, customer's or key's, ``team`` that of the user's team."""

    kind: str
    id: str | None = None
    name: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    team: str | None = None


async def who(crm: Crm, principal: Principal) -> Who:
    """Name, e-mail address, roles and team of a principal."""
    roles = tuple(sorted(role.name for role in principal.roles))
    shown = _SHOWN.get(principal.kind)
    if shown is None:
        return Who(principal.kind, name=principal.name or None, roles=roles)
    entity, fields = shown
    row = await crm.acting_as(SYSTEM).find(entity).select(*fields).get(principal.name) or {}
    team = None if principal.facts.team is None else encode_id(Team.options.prefix, principal.facts.team)
    return Who(principal.kind, principal.name, row.get("name"), row.get("email"), roles, team)


_SHOWN: Mapping[str, tuple[type[Record], tuple[str, ...]]] = {
    "user": (User, ("name", "email")),
    "customer": (Customer, ("name",)),
    "key": (ApiKey, ("name",)),
}
"""Where what is shown of a principal stands, and in which fields."""


async def anybody(crm: Crm) -> bool:
    """Whether there is any user who can sign in."""
    table = crm.catalog.of(User).table
    sql = (
        f'SELECT 1 FROM "{table}" WHERE "password_hash" IS NOT NULL AND "active" AND "deleted_at" IS NULL LIMIT 1'
    )
    return bool(await crm.database.read(sql))


__all__ = ["Who", "anybody", "who"]
