"""The core's own writes in the name of somebody: they are told under that name, and not narrowed by its roles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..access import EVERY, VERBS, Principal, Role, TypeGrant

if TYPE_CHECKING:
    from ..crm import Session

_CORE = Role(
    "core",
    grants={(EVERY, verb): TypeGrant() for verb in VERBS},
    permissions=frozenset((EVERY,)),
)


def trusted(session: Session) -> Session:
    """The session, in the same unit, for what was authorized in another way already: by an action's permission."""
    assert session.unit is not None
    return session.unit.join(session, in_name_of(session.principal))


def in_name_of(principal: Principal) -> Principal:
    """The same principal, whose rights are the core's."""
    return replace(principal, roles=(_CORE,))


__all__ = ["in_name_of", "trusted"]
