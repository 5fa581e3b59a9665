"""The core itself, as a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..change.verbs import CORE_ACTIONS, CORE_PERMISSIONS
from ..contracts import Action, Permission, Purchases
from ..entity import Record
from ..model import CORE_ENTITIES, Deal
from ..plugin import Plugin
from ..scores.actions import COMPUTE_SCORES, COMPUTE_SCORES_ACTION


class Core(Plugin):
    """The core itself, composed like any plugin."""

    name = "core"
    version = __version__
    migrations = "amity.model.migrations"

    def entities(self) -> Sequence[type[Record]]:
        return CORE_ENTITIES

    def actions(self) -> Sequence[Action[Any]]:
        return (*CORE_ACTIONS, COMPUTE_SCORES_ACTION)

    def permissions(self) -> Sequence[Permission]:
        return (*CORE_PERMISSIONS, COMPUTE_SCORES)

    def purchases(self) -> Sequence[Purchases]:
        won = {"stage": {"category": {"eq": "won"}}}
        return (Purchases(Deal, customer="customer", time="closed_on", amount="value", where=won),)
