"""Customers, what links them, and the ids that other systems know them by."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EDITABLE, Entity, EntityOptions, Generic, SqlIndex, Unique


class Customer(Entity):
    """A person or an organization that the company deals with."""

    kind = fields.CharField(max_length=20, description="A person or an organization")
    name = fields.CharField(max_length=300, description="Name to show: the full name, or the organization's")
    given_name = fields.CharField(max_length=150, null=True, description="Given name of a person")
    family_name = fields.CharField(max_length=150, null=True, description="Family name of a person")
    lifecycle = fields.CharField(
        max_length=20, default="prospect", description="How far the relation with the customer has come"
    )
    organization: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="members",
        on_delete=fields.SET_NULL,
        description="Where a person works; the parent of an organization",
    )
    owner: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="customers",
        on_delete=fields.SET_NULL,
        description="The user who looks after this customer",
    )
    team: Any = fields.ForeignKeyField(
        "core.Team",
        null=True,
        related_name="customers",
        on_delete=fields.SET_NULL,
        description="The team that looks after this customer, beside the owner's",
    )
    source = fields.CharField(max_length=100, null=True, description="Where the customer came from")
    locale = fields.CharField(max_length=35, null=True, description="Language and region (BCP 47), like de-CH")
    note = fields.TextField(null=True, description="Free text")
    custom_fields: Any = fields.JSONField(default=dict, db_default="{}", description="What has no column")
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(
        prefix="cus",
        api=EDITABLE,
        choices={
            "kind": ("person", "organization"),
            "lifecycle": ("prospect", "lead", "customer", "former"),
        },
        searchable=("name", "given_name", "family_name"),
        personal=("name", "given_name", "family_name", "note"),
        indexes=(
            SqlIndex("newest", "(created_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("name", "(name, id) WHERE deleted_at IS NULL"),
            SqlIndex("lifecycle", "(lifecycle, created_at DESC, id DESC) WHERE deleted_at IS NULL"),
        ),
        owner=("owner", "team"),
        on_merge={"note": "concat"},
    )


class Relationship(Entity):
    """How one customer is linked to another: employee of, supplier of, partner of, referred by."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        related_name="relationships",
        on_delete=fields.CASCADE,
        description="The customer it is told of",
    )
    related: Any = fields.ForeignKeyField(
        "core.Customer",
        related_name="related_from",
        on_delete=fields.CASCADE,
        description="The customer it leads to",
    )
    type = fields.CharField(max_length=50, description="employee_of, supplier_of, partner_of, referred_by, …")
    since = fields.DateField(null=True, description="First day")
    until = fields.DateField(null=True, description="Last day")
    note = fields.TextField(null=True, description="Free text")

    options = EntityOptions(prefix="rel", api=EDITABLE, unique=(Unique(("customer", "related", "type")),))


class ExternalId(Entity):
    """The id that another system has for a record; unique within that system, and a key to upsert by."""

    entity_type = fields.CharField(max_length=100, description="Entity of the record")
    entity_id = fields.UUIDField(description="Id of the record")
    system = fields.CharField(max_length=100, description="Name of the other system")
    external_id = fields.CharField(max_length=300, description="The id in that system")

    options = EntityOptions(
        prefix="ext",
        generic=(Generic("entity", related_name="external_ids"),),
        unique=(Unique(("system", "entity_type", "external_id")),),
    )
