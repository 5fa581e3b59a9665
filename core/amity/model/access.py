"""Who may do what, and how they come in: roles, what they grant, API keys, sign-ins.

All of it is written by actions alone, which let nobody grant a right that they lack themselves.
"""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import Entity, EntityOptions, Unique


class Role(Entity):
    """A set of rights that users and API keys can be given."""

    name = fields.CharField(max_length=100, description="Name of the role, like agent")
    description = fields.CharField(max_length=500, default="", db_default="", description="What it is for")
    builtin = fields.BooleanField(
        default=False, db_default=False, description="Whether it came with Amity, and can't be deleted"
    )

    options = EntityOptions(prefix="rol", unique=("name",), read_only={"builtin"})


class Grant(Entity):
    """That a role may do something to the records of an entity: to which of them, and with which fields."""

    role: Any = fields.ForeignKeyField(
        "core.Role", related_name="grants", on_delete=fields.CASCADE, description="The role"
    )
    entity = fields.CharField(max_length=100, description="The entity, like core.Customer; * for every one")
    action = fields.CharField(max_length=10, description="What it may do")
    rows: Any = fields.JSONField(
        default="all", db_default='"all"', description="To which records: all, own, team, none, or a filter"
    )
    field_names: Any = fields.JSONField(null=True, description="With which fields, as a list; null for all")
    check_rows: Any = fields.JSONField(
        null=True, description="What records must meet once they are written; null for the same as rows"
    )
    presets: Any = fields.JSONField(
        null=True, description="Fields that are set to these values, whatever the input says"
    )

    options = EntityOptions(
        prefix="gra",
        choices={"action": ("read", "create", "update", "delete")},
        unique=(Unique(("role", "entity", "action")),),
    )


class PermissionGrant(Entity):
    """That a role has a permission, which actions ask for."""

    role: Any = fields.ForeignKeyField(
        "core.Role", related_name="permissions", on_delete=fields.CASCADE, description="The role"
    )
    permission = fields.CharField(
        max_length=100, description="The permission, like core.move_deal; * for every one"
    )

    options = EntityOptions(prefix="prm", unique=(Unique(("role", "permission")),))


class RoleMember(Entity):
    """That a user has a role."""

    user: Any = fields.ForeignKeyField(
        "core.User", related_name="roles", on_delete=fields.CASCADE, description="The user"
    )
    role: Any = fields.ForeignKeyField(
        "core.Role", related_name="members", on_delete=fields.CASCADE, description="The role"
    )

    options = EntityOptions(prefix="rom", unique=(Unique(("user", "role")),))


class ApiKey(Entity):
    """What a program signs in with: it acts with one role, as itself, a user, a customer or a plugin."""

    name = fields.CharField(max_length=200, description="What it is for")
    secret_hash = fields.CharField(max_length=64, null=True, description="SHA-256 of its secret")
    role: Any = fields.ForeignKeyField(
        "core.Role", related_name="api_keys", on_delete=fields.CASCADE, description="The role that it acts with"
    )
    user: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="api_keys",
        on_delete=fields.CASCADE,
        description="The user that it acts as",
    )
    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="api_keys",
        on_delete=fields.CASCADE,
        description="The customer that it acts as",
    )
    plugin = fields.CharField(max_length=50, null=True, description="The plugin that it acts as")
    expires_at = fields.DatetimeField(null=True, description="It ends at this time (UTC); null for never")
    last_used_at = fields.DatetimeField(null=True, description="When it was last used (UTC), to the minute")
    revoked_at = fields.DatetimeField(null=True, description="When it was revoked (UTC)")

    options = EntityOptions(prefix="key", secret={"secret_hash"})


class UserSession(Entity):
    """That a user is signed in. Deleting it signs out."""

    user: Any = fields.ForeignKeyField(
        "core.User", related_name="sessions", on_delete=fields.CASCADE, description="Who is signed in"
    )
    token_hash = fields.CharField(max_length=64, null=True, description="SHA-256 of the secret in the cookie")
    user_agent = fields.CharField(max_length=300, default="", db_default="", description="The program they use")
    expires_at = fields.DatetimeField(description="It ends at this time (UTC), unless it is used before")
    last_used_at = fields.DatetimeField(description="When it was last used (UTC), to the minute")

    options = EntityOptions(prefix="ses", plural="user_sessions", secret={"token_hash"})
