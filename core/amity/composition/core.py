"""The core itself, as a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..access import EVERY
from ..change.verbs import CORE_ACTIONS, CORE_PERMISSIONS
from ..contracts import (
    Action,
    FieldDeclaration,
    Job,
    Permission,
    Purchases,
    RoleGrant,
    RolePermission,
    TimelineEntry,
    Validator,
    expression,
)
from ..entity import Record
from ..entity.expression import Field, Percent
from ..events.history import EVENT_FIELDS
from ..messaging.attachments import FETCH_MEDIA
from ..messaging.connections import CONNECTION_ACTIONS, MANAGE_CONNECTIONS
from ..messaging.consent import CONSENT_ACTIONS, CONSENT_FIELDS, RECORD_CONSENT
from ..messaging.conversations import CONVERSATION_ACTIONS, CONVERSATION_PERMISSIONS
from ..messaging.fetch import FETCH_CONNECTION, TEND_CONNECTIONS
from ..messaging.files import ADD_FILE, FILE_ACTIONS, FILE_FIELDS
from ..messaging.html import HTML_FIELDS
from ..messaging.outbox import SEND_MESSAGES
from ..messaging.receipts import APPLY_RECEIPTS
from ..messaging.send import SEND_MESSAGE, SENDING_ACTIONS
from ..messaging.templates import SAVE_TEMPLATE, TEMPLATE_ACTIONS
from ..model import CORE_ENTITIES, Deal, Interaction, StageMove
from ..plugin import Plugin
from ..principals.actions import ACCESS_ACTIONS, ACCESS_PERMISSIONS, OWN_ACCOUNT
from ..principals.admins import LAST_ADMINISTRATOR
from ..principals.defaults import ADMIN, CORE_GRANTS
from ..scores.actions import COMPUTE_SCORES, COMPUTE_SCORES_ACTION

WEIGHTED_VALUE = expression(
    Deal,
    "weighted_value",
    Percent(Field("value_minor"), Field("stage.probability")),
    currency="value",
    description="The value, weighted by the probability of its stage",
)


class Core(Plugin):
    """The core itself, composed like any plugin."""

    name = "core"
    version = __version__
    migrations = "amity.model.migrations"

    def entities(self) -> Sequence[type[Record]]:
        return CORE_ENTITIES

    def actions(self) -> Sequence[Action[Any]]:
        return (
            *CORE_ACTIONS,
            COMPUTE_SCORES_ACTION,
            *ACCESS_ACTIONS,
            *CONNECTION_ACTIONS,
            *FILE_ACTIONS,
            *CONSENT_ACTIONS,
            *TEMPLATE_ACTIONS,
            *SENDING_ACTIONS,
            *CONVERSATION_ACTIONS,
        )

    def fields(self) -> Sequence[FieldDeclaration]:
        return (*EVENT_FIELDS, *FILE_FIELDS, *HTML_FIELDS, *CONSENT_FIELDS, WEIGHTED_VALUE)

    def jobs(self) -> Sequence[Job[Any]]:
        return (
            FETCH_MEDIA,
            FETCH_CONNECTION,
            TEND_CONNECTIONS,
            SEND_MESSAGES,
            APPLY_RECEIPTS,
        )

    def validators(self) -> Sequence[Validator]:
        return LAST_ADMINISTRATOR

    def permissions(self) -> Sequence[Permission]:
        return (
            *CORE_PERMISSIONS,
            COMPUTE_SCORES,
            *ACCESS_PERMISSIONS,
            MANAGE_CONNECTIONS,
            ADD_FILE,
            RECORD_CONSENT,
            SAVE_TEMPLATE,
            SEND_MESSAGE,
            *CONVERSATION_PERMISSIONS,
        )

    def grants(self) -> Sequence[RoleGrant | RolePermission]:
        front = (*CORE_PERMISSIONS, OWN_ACCOUNT, ADD_FILE, RECORD_CONSENT, SEND_MESSAGE, *CONVERSATION_PERMISSIONS)
        return (
            *CORE_GRANTS,
            RolePermission(ADMIN, EVERY),
            *(RolePermission("agent", item.name) for item in front),
            RolePermission("read-only", OWN_ACCOUNT.name),
        )

    def timeline(self) -> Sequence[TimelineEntry]:
        return (
            TimelineEntry(Interaction, at="occurred_at"),
            TimelineEntry(StageMove, at="moved_at", customer="entity.customer"),
        )

    def purchases(self) -> Sequence[Purchases]:
        won = {"stage": {"category": {"eq": "won"}}}
        return (Purchases(Deal, customer="customer", time="closed_on", amount="value", where=won),)
