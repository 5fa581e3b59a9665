"""The core itself, as a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..access import EVERY
from ..change.verbs import CORE_ACTIONS, CORE_PERMISSIONS
from ..contracts import Action, Permission, Purchases, RoleGrant, RolePermission, Validator
from ..entity import Record
from ..model import CORE_ENTITIES, Deal
from ..plugin import Plugin
from ..principals.actions import ACCESS_ACTIONS, ACCESS_PERMISSIONS, OWN_ACCOUNT
from ..principals.admins import LAST_ADMINISTRATOR
from ..principals.defaults import ADMIN, CORE_GRANTS
from ..scores.actions import COMPUTE_SCORES, COMPUTE_SCORES_ACTION


class Core(Plugin):
    """The core itself, composed like any plugin."""

    name = "core"
    version = __version__
    migrations = "amity.model.migrations"

    def entities(self) -> Sequence[type[Record]]:
        return CORE_ENTITIES

    def actions(self) -> Sequence[Action[Any]]:
        return (*CORE_ACTIONS, COMPUTE_SCORES_ACTION, *ACCESS_ACTIONS)

    def validators(self) -> Sequence[Validator]:
        return LAST_ADMINISTRATOR

    def permissions(self) -> Sequence[Permission]:
        return (*CORE_PERMISSIONS, COMPUTE_SCORES, *ACCESS_PERMISSIONS)

    def grants(self) -> Sequence[RoleGrant | RolePermission]:
        return (
            *CORE_GRANTS,
            RolePermission(ADMIN, EVERY),
            *(RolePermission("agent", item.name) for item in (*CORE_PERMISSIONS, OWN_ACCOUNT)),
            RolePermission("read-only", OWN_ACCOUNT.name),
        )

    def purchases(self) -> Sequence[Purchases]:
        won = {"stage": {"category": {"eq": "won"}}}
        return (Purchases(Deal, customer="customer", time="closed_on", amount="value", where=won),)
