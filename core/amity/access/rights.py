"""What a principal may do with which rows and fields."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

from ..entity import EntityType
from ..tree import Condition, Never
from .errors import AccessDenied, FieldDenied
from .principal import Principal

Verb = Literal["read", "create", "update", "delete"]
VERBS: tuple[Verb, ...] = ("read", "create", "update", "delete")


class Rights(Protocol):
    """What one principal may do. Pure: the same answer for the same arguments; reads and changes ask it often.

    Conditions are about facts: the rights of the principal are not asked once more inside of them.
    """

    @property
    def principal(self) -> Principal: ...

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        """Whether any of it is granted. If not, it is refused by name; rows out of reach are just not there."""
        ...

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        """What rows must meet, as they are before the verb; None where all do, :class:`Never` where none does."""
        ...

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        """What rows must meet once they were created or updated; None where all do."""
        ...

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        """The fields that may be read or written, by their names in the catalog; None for all.

        A relation to one row stands for the column of its id too, money for its two columns. A relation to many
        is read where its target and the target's reference are.
        """
        ...

    def presets(self, entity: EntityType, verb: Verb) -> Mapping[str, Any]:
        """Columns that are set to these values by creating and updating; the input may not name them."""
        ...

    def may(self, permission: str) -> bool:
        """Whether the principal has a permission, like ``"loyalty.award"``."""
        ...

    def memo(self, entity: EntityType) -> MutableMapping[Any, Any] | None:
        """Where what ``rows`` with ``read`` was written as is kept for the next statement.

        It holds for as long as that condition stays the same; None where it does not.
        """
        ...


class Policy(Protocol):
    """Decides what a principal may do."""

    def rights(self, principal: Principal) -> Rights:
        """The principal's rights; made once for a session."""
        ...


NOTHING_SET: Mapping[str, Any] = MappingProxyType({})


def type_denied(principal: Principal, verb: Verb, entity: EntityType) -> AccessDenied:
    """``user:usr_… may not read deals (role agent)``"""
    return AccessDenied(
        f"{principal} may not {verb} {entity.plural.replace('_', ' ')}{_because(principal, entity)}"
    )


def field_denied(principal: Principal, verb: Verb, entity: EntityType, field: str) -> FieldDenied:
    """``user:usr_… may not write Customer.note (role agent)``"""
    deed = "read" if verb == "read" else "write"
    return FieldDenied(f"{principal} may not {deed} {entity.name}.{field}{_because(principal, entity)}")


def permission_denied(principal: Principal, deed: str, permission: str) -> AccessDenied:
    """``user:usr_… may not log_interaction: it lacks the permission core.log_interaction (role read-only)``"""
    return AccessDenied(f"{principal} may not {deed}: it lacks the permission {permission}{_under(principal)}")


def _because(principal: Principal, entity: EntityType) -> str:
    if principal.kind == "plugin":
        return f"; its plugin can declare that it needs {entity.name}, by the hook needs"
    return _under(principal)


def _under(principal: Principal) -> str:
    names = ", ".join(role.name for role in principal.roles)
    return f" (role{'s' if len(principal.roles) > 1 else ''} {names})" if names else ""


@dataclass(frozen=True)
class Everything:
    """All rights. A base for policies that take away a few: what is not overridden is allowed."""

    principal: Principal

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        return True

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return None

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        """What the row had to meet before, it must meet afterwards too."""
        return self.rows(entity, verb)

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        return None

    def presets(self, entity: EntityType, verb: Verb) -> Mapping[str, Any]:
        return NOTHING_SET

    def may(self, permission: str) -> bool:
        return True

    def memo(self, entity: EntityType) -> MutableMapping[Any, Any] | None:
        return None


@dataclass(frozen=True)
class Nothing:
    """No rights at all."""

    principal: Principal

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        return False

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return Never()

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        return Never()

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        return frozenset()

    def presets(self, entity: EntityType, verb: Verb) -> Mapping[str, Any]:
        return NOTHING_SET

    def may(self, permission: str) -> bool:
        return False

    def memo(self, entity: EntityType) -> MutableMapping[Any, Any] | None:
        return None


__all__ = [
    "NOTHING_SET",
    "VERBS",
    "Everything",
    "Nothing",
    "Policy",
    "Rights",
    "Verb",
    "field_denied",
    "type_denied",
]
