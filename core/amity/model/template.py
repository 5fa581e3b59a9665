"""Texts that are written once and sent often."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import Entity, EntityOptions, Unique


class Template(Entity):
    """A message with variables, in several languages."""

    name = fields.CharField(max_length=200, description="Name to know it by")
    channel = fields.CharField(max_length=50, null=True, description="The channel it is for; null for any")
    purpose = fields.CharField(
        max_length=50,
        default="service",
        db_default="service",
        description="What it is sent for, like service or marketing; consent is by purpose",
    )
    variables: Any = fields.JSONField(
        default=list, db_default="[]", description="Names of variables that whoever sends it brings"
    )

    options = EntityOptions(
        prefix="tpl",
        api={"read", "delete", "restore"},
        unique=("name",),
    )


class TemplateText(Entity):
    """A template in one language."""

    template: Any = fields.ForeignKeyField(
        "core.Template", related_name="texts", on_delete=fields.CASCADE, description="The template"
    )
    language = fields.CharField(max_length=35, description="Language (BCP 47), like de or de-CH")
    subject = fields.CharField(max_length=500, null=True, description="Subject, one line")
    body = fields.TextField(null=True, description="Plain text")
    html = fields.TextField(null=True, description="HTML")

    options = EntityOptions(prefix="tpt", unique=(Unique(("template", "language")),))
