"""Rights that a plan can be made under: what it depends on of them, and what of them it leaves open.

A plan is shared by whoever has the same rules, and asks each request for its facts. Policies of plugins may look
at more than that of a principal, so that nothing is planned under theirs.
"""

from __future__ import annotations

from collections.abc import Hashable

from ..given import Track
from .rights import Everything, Rights
from .roles import RoleRights


def plan_key(rights: Rights) -> Hashable | None:
    """What rights have in common under which the same plans hold; None where nothing may be planned."""
    if type(rights) is RoleRights:
        return rights.plan_key()
    return Everything if type(rights) is Everything else None


def given_rights(rights: Rights, track: Track) -> Rights:
    """The same rights with facts about the principal, and the time, left open."""
    return rights.given(track) if isinstance(rights, RoleRights) else rights


__all__ = ["given_rights", "plan_key"]
