"""Who a principal is, for people: everybody may know this about themselves, whatever their roles say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from ..access import SYSTEM, Principal
from ..model import Customer, User

if TYPE_CHECKING:
    from ..crm import Crm


@dataclass(frozen=True)
class Who:
    """A principal as it is shown. ``id`` is the user's or customer's, ``team`` that of the user's team."""

    kind: str
    id: str | None = None
    name: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    team: UUID | None = None


async def who(crm: Crm, principal: Principal) -> Who:
    """Name, e-mail address, roles and team of a principal."""
    roles = tuple(sorted(role.name for role in principal.roles))
    row = None
    if principal.kind == "user" and principal.facts.user is not None:
        row = await crm.acting_as(SYSTEM).find(User).select("name", "email").get(principal.facts.user)
    elif principal.kind == "customer" and principal.facts.customer is not None:
        row = await crm.acting_as(SYSTEM).find(Customer).select("name").get(principal.facts.customer)
    if row is None:
        return Who(principal.kind, name=principal.name or None, roles=roles)
    return Who(principal.kind, principal.name, row["name"], row.get("email"), roles, principal.facts.team)


async def anybody(crm: Crm) -> bool:
    """Whether there is any user who can sign in."""
    table = crm.catalog.of(User).table
    sql = (
        f'SELECT 1 FROM "{table}" WHERE "password_hash" IS NOT NULL AND "active" AND "deleted_at" IS NULL LIMIT 1'
    )
    return bool(await crm.database.read(sql))


__all__ = ["Who", "anybody", "who"]
