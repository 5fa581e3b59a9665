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

    password_hash = fields.CharField(max_length=300, null=True, description="Argon2 hash of the password")
    last_sign_in_at = fields.DatetimeField(null=True, description="When the person last signed in (UTC)")

    options = EntityOptions(
        prefix="usr",
        api=EDITABLE,
        unique=("email",),
        personal=("name", "email"),
        secret={"password_hash"},
        read_only={"last_sign_in_at"},
        owner="id",
        # whoever could write them could sign in as somebody else, or see what another team sees
        guarded={"team": "core.manage_access", "email": "core.manage_users", "active": "core.manage_users"},
    )
