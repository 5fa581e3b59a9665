"""Who works with the CRM."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EDITABLE, Entity, EntityOptions


class Team(Entity):
    """People who share customers and deals: a sales region, a service desk."""

    name = fields.CharField(max_length=200, description="Name of the team")

    options = EntityOptions(prefix="tea", api=EDITABLE, unique=("name",))


class User(Entity):
    """A person who works with the CRM: owns customers and deals, takes part in interactions."""

    name = fields.CharField(max_length=200, description="Full name")
    email = fields.CharField(max_length=320, null=True, description="E-mail address, in lower case")
    active = fields.BooleanField(default=True, db_default=True, description="Whether the person works here now")
    team: Any = fields.ForeignKeyField(
        "core.Team",
        null=True,
        related_name="members",
        on_delete=fields.SET_NULL,
        description="The team of this user",
    )
    manager: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="reports",
        on_delete=fields.SET_NULL,
        description="Whom this user reports to",
    )

    options = EntityOptions(prefix="usr", api=EDITABLE, unique=("email",), personal=("name", "email"))
