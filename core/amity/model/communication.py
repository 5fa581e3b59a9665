"""Addresses, and what was said over them."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EDITABLE, Entity, EntityOptions, SqlIndex, Unique


class ContactPoint(Entity):
    """An address of a customer on a channel: an e-mail address, a phone number, a chat handle.

    Stored in its normal form. Unique within its channel, unless it is marked as shared: a switchboard, the
    phone of a family.
    """

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        related_name="contact_points",
        on_delete=fields.CASCADE,
        description="Whose address it is",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or phone")
    address = fields.CharField(max_length=500, description="Address in its normal form, like +41443331122")
    label = fields.CharField(max_length=100, null=True, description="What it is for: work, home, billing")
    primary = fields.BooleanField(default=False, db_default=False, description="Whether to prefer it")
    shared = fields.BooleanField(
        default=False, db_default=False, description="Whether several customers may have it"
    )

    options = EntityOptions(
        prefix="cpt",
        api=EDITABLE,
        personal=("address",),
        unique=(
            Unique(("channel", "address"), where="NOT shared"),
            Unique(("customer", "channel", "address")),
        ),
        indexes=(SqlIndex("lookup", "(channel, address) WHERE deleted_at IS NULL"),),
    )


class Interaction(Entity):
    """One contact with a customer on any channel, in or out."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="interactions",
        on_delete=fields.CASCADE,
        description="The customer; null while nobody has decided who it was",
    )
    user: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The user who took part",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or phone")
    direction = fields.CharField(max_length=10, description="Who began: the customer or the company")
    address = fields.CharField(max_length=500, null=True, description="The customer's address, in its normal form")
    identity = fields.CharField(
        max_length=10, default="matched", description="Whether the address led to one customer"
    )
    subject = fields.CharField(max_length=500, null=True, description="Subject or summary, one line")
    body = fields.TextField(null=True, description="What was said")
    occurred_at = fields.DatetimeField(description="When it happened (UTC)")
    duration_seconds = fields.IntField(null=True, description="How long it took")
    custom_fields: Any = fields.JSONField(default=dict, db_default="{}", description="What has no column")
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(
        prefix="int",
        api=EDITABLE,
        choices={"direction": ("inbound", "outbound"), "identity": ("matched", "ambiguous", "unknown")},
        searchable=("subject",),
        personal=("address", "subject", "body"),
        owner=("user", "customer.owner"),
        indexes=(
            SqlIndex("timeline", "(customer_id, occurred_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("newest", "(occurred_at DESC, id DESC) WHERE deleted_at IS NULL"),
        ),
    )
