"""Who acts: principals, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol
from uuid import UUID

from .errors import AccessDenied


class HeldRole(Protocol):
    """What a principal has to know of a role: its name. Roles are plain values, equal if they grant the same."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Facts:
    """What is known about who acts: what ``own``, ``team`` and the placeholders of predicates stand for."""

    user: UUID | None = None
    team: UUID | None = None
    customer: UUID | None = None


@dataclass(frozen=True)
class Principal:
    """Who acts; ``name`` says which one: the text id of a user, customer or key, the name of a plugin."""

    kind: Literal["system", "plugin", "user", "customer", "key", "anonymous"]
    name: str = ""
    on_behalf_of: str | None = None
    """For plugins: the actor whose change they react to."""
    roles: tuple[HeldRole, ...] = ()
    facts: Facts = Facts()
    key: str | None = None
    """The API key that it came by, for the audit."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def under(self, role: str) -> Principal:
        """The same principal, acting under one of its roles only. Raises :class:`AccessDenied` if it lacks it."""
        held = tuple(item for item in self.roles if item.name == role)
        if not held:
            names = ", ".join(item.name for item in self.roles) or "none"
            raise AccessDenied(f"{self} may not act under the role {role!r}: the roles that it holds are {names}")
        return replace(self, roles=held)


SYSTEM = Principal("system")
"""The CRM itself. It may do everything, and whatever it does is logged under its name."""

__all__ = ["SYSTEM", "Facts", "HeldRole", "Principal"]
