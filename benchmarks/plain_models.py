"""Models of the tables that the plain server reads, as an application on Tortoise declares them."""

from __future__ import annotations

from typing import Any

from tortoise import fields
from tortoise.models import Model


class _Row(Model):
    id = fields.UUIDField(primary_key=True)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        abstract = True


class Customer(_Row):
    kind = fields.CharField(max_length=20)
    name = fields.CharField(max_length=300)
    given_name = fields.CharField(max_length=150, null=True)
    family_name = fields.CharField(max_length=150, null=True)
    lifecycle = fields.CharField(max_length=20)
    organization: Any = fields.ForeignKeyField("core.Customer", null=True, related_name="members")
    organization_id: Any
    source = fields.CharField(max_length=100, null=True)
    locale = fields.CharField(max_length=35, null=True)
    note = fields.TextField(null=True)
    search_text = fields.TextField()

    class Meta:
        table = "core_customer"


class ContactPoint(_Row):
    customer: Any = fields.ForeignKeyField("core.Customer", null=True, related_name="contact_points")
    customer_id: Any
    channel = fields.CharField(max_length=50)
    address = fields.CharField(max_length=320)

    class Meta:
        table = "core_contact_point"


class Interaction(_Row):
    customer: Any = fields.ForeignKeyField("core.Customer", null=True, related_name="interactions")
    customer_id: Any
    channel = fields.CharField(max_length=50)
    direction = fields.CharField(max_length=10)
    subject = fields.CharField(max_length=500, null=True)
    body = fields.TextField(null=True)
    occurred_at = fields.DatetimeField()
    duration_seconds = fields.IntField(null=True)

    class Meta:
        table = "core_interaction"


class Pipeline(_Row):
    name = fields.CharField(max_length=200)
    position = fields.IntField()

    class Meta:
        table = "core_pipeline"


class Stage(_Row):
    pipeline: Any = fields.ForeignKeyField("core.Pipeline", related_name="stages")
    pipeline_id: Any
    name = fields.CharField(max_length=200)
    category = fields.CharField(max_length=10)
    probability = fields.IntField()
    position = fields.IntField()

    class Meta:
        table = "core_stage"


class Deal(_Row):
    name = fields.CharField(max_length=300)
    customer: Any = fields.ForeignKeyField("core.Customer", null=True, related_name="deals")
    customer_id: Any
    stage: Any = fields.ForeignKeyField("core.Stage", related_name="deals")
    stage_id: Any
    value_minor = fields.BigIntField(null=True)
    currency = fields.CharField(max_length=3, null=True)

    class Meta:
        table = "core_deal"
