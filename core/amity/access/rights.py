"""Access: who may see and change which rows.

Every read and every change names its principal, and asks here for the condition that rows must meet. The
condition is compiled into the statement on every table that it touches: pages, relations, filters, orders,
counts, expressions. There is no path around it.

Today there is one principal with rights, the system; everyone else is denied everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from .entity import EntityType
from .tree import Condition, Never

Verb = Literal["read", "create", "update", "delete"]


@dataclass(frozen=True)
class Principal:
    """Who acts. ``kind`` is ``system``, ``plugin`` or ``user``; ``name`` says which one."""

    kind: Literal["system", "plugin", "user"]
    name: str = ""
    on_behalf_of: str | None = None
    """For plugins: the actor whose change they react to."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


SYSTEM = Principal("system")
"""The CRM itself. It may do everything, and whatever it does is logged under its name."""


class AccessDenied(PermissionError):
    """Raised when a principal lacks a right; nothing was written. The message names both."""


class Policy(Protocol):
    """Decides what a principal may do. A policy must be pure: the same answer for the same arguments."""

    def rows(self, principal: Principal, entity: EntityType, verb: Verb) -> Condition | None:
        """The condition that rows must meet; None where all do, :class:`Never` where none does."""
        ...

    def may(self, principal: Principal, permission: str) -> bool:
        """Whether the principal has a permission, like ``"loyalty.award"``."""
        ...


class SystemPolicy:
    """The system, and plugins that the system runs, may do everything; nobody else anything."""

    def rows(self, principal: Principal, entity: EntityType, verb: Verb) -> Condition | None:
        return None if self._trusted(principal) else Never()

    def may(self, principal: Principal, permission: str) -> bool:
        return self._trusted(principal)

    @staticmethod
    def _trusted(principal: Principal) -> bool:
        return principal.kind in ("system", "plugin")
