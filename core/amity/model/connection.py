"""The accounts by which messages come and go, and what came but could not be understood."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import Entity, EntityOptions, Record, SqlIndex


class Connection(Entity):
    """An account of a channel: a mailbox, a phone number, a chat widget."""

    channel = fields.CharField(max_length=50, description="The channel, like email or sms")
    name = fields.CharField(max_length=200, description="Name to know it by, like support@example.com")
    settings: Any = fields.JSONField(default=dict, db_default="{}", description="Settings that are no secrets")
    secrets = fields.TextField(null=True, description="Passwords and tokens, encrypted")
    active = fields.BooleanField(
        default=True, db_default=True, description="Whether messages come in and go out by it"
    )
    team: Any = fields.ForeignKeyField(
        "core.Team",
        null=True,
        related_name="connections",
        on_delete=fields.SET_NULL,
        description="The team that gets its conversations",
    )
    creates_prospects = fields.BooleanField(
        default=False, db_default=False, description="Whether an unknown sender becomes a prospect"
    )
    default_language = fields.CharField(
        max_length=35, null=True, description="Language (BCP 47) of messages to customers without one"
    )
    cursor = fields.TextField(null=True, description="How far it was fetched, in the channel's words")
    fetched_at = fields.DatetimeField(null=True, description="When it was last fetched (UTC)")
    failure = fields.TextField(null=True, description="What is wrong with it; null while it works")

    listener = fields.CharField(max_length=50, null=True, description="The process that listens to it")
    listened_until = fields.DatetimeField(null=True, description="By when that process is taken for dead (UTC)")

    options = EntityOptions(
        prefix="con",
        api={"read", "update", "delete", "restore"},
        read_only={"channel", "settings", "cursor", "fetched_at", "failure"},
        secret={"secrets", "listener", "listened_until"},
        fixed={"channel"},
        unique=("name",),
    )


class Undelivered(Record):
    """Something that came by a connection and could not be taken in. It is kept, so that nothing is lost."""

    connection: Any = fields.ForeignKeyField(
        "core.Connection",
        related_name="undelivered",
        on_delete=fields.CASCADE,
        description="The connection that it came by",
    )
    reference = fields.CharField(max_length=1000, description="What the channel calls it")
    reason = fields.TextField(description="Why it could not be taken in")
    file: Any = fields.ForeignKeyField(
        "core.File", null=True, related_name=False, on_delete=fields.SET_NULL, description="Its raw bytes"
    )
    occurred_at = fields.DatetimeField(description="When it came (UTC)")

    options = EntityOptions(
        prefix="und",
        plural="undelivered_items",
        indexes=(SqlIndex("newest", "(connection_id, occurred_at DESC, id DESC)"),),
    )
