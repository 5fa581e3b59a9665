"""Pipelines, their stages, and what moves through them."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EDITABLE, Entity, EntityOptions, Generic, Record, SqlIndex, Staged, Unique


class Pipeline(Entity):
    """A path of stages that deals, or other staged entities, move along."""

    name = fields.CharField(max_length=200, description="Name of the pipeline")
    position = fields.IntField(default=0, db_default=0, description="Orders the pipelines")

    options = EntityOptions(prefix="pip", api=EDITABLE, unique=("name",))


class Stage(Entity):
    """A step of a pipeline."""

    pipeline: Any = fields.ForeignKeyField(
        "core.Pipeline",
        related_name="stages",
        on_delete=fields.CASCADE,
        description="The pipeline it is a step of",
    )
    name = fields.CharField(max_length=200, description="Name of the stage")
    category = fields.CharField(max_length=10, default="open", description="Open, won or lost")
    probability = fields.IntField(default=0, db_default=0, description="Chance of winning, in percent")
    position = fields.IntField(default=0, db_default=0, description="Orders the stages of a pipeline")

    options = EntityOptions(
        prefix="stg",
        api=EDITABLE,
        fixed={"pipeline"},  # what is in a stage is in its pipeline
        choices={"category": ("open", "won", "lost")},
        unique=(Unique(("pipeline", "name")),),
    )


class Deal(Staged):
    """A chance to sell something to a customer."""

    name = fields.CharField(max_length=300, description="What the deal is about")
    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="deals",
        on_delete=fields.SET_NULL,
        description="The customer; null while unknown",
    )
    owner: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="deals",
        on_delete=fields.SET_NULL,
        description="The user who works on it",
    )
    value_minor = fields.BigIntField(null=True, description="Value in minor units of its currency, like cents")
    currency = fields.CharField(max_length=3, null=True, description="Currency of the value (ISO 4217)")
    opened_on = fields.DateField(null=True, description="When work on it began")
    expected_close_on = fields.DateField(null=True, description="When it is expected to close")
    closed_on = fields.DateField(null=True, description="When it was won or lost")
    source = fields.CharField(max_length=100, null=True, description="Where the deal came from")
    note = fields.TextField(null=True, description="Free text")
    custom_fields: Any = fields.JSONField(default=dict, db_default="{}", description="What has no column")
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(
        prefix="dea",
        api=EDITABLE,
        searchable=("name",),
        money={"value": ("value_minor", "currency")},
        owner="owner",
        indexes=(
            SqlIndex("board", "(stage_id, position, id) WHERE deleted_at IS NULL"),
            SqlIndex("values", "(stage_id, currency, value_minor, owner_id) WHERE deleted_at IS NULL"),
            SqlIndex("newest", "(created_at DESC, id DESC) WHERE deleted_at IS NULL"),
        ),
    )


class StageMove(Record):
    """That something entered a stage: when, from where, and by whom."""

    entity_type = fields.CharField(max_length=100, description="Entity of what moved")
    entity_id = fields.UUIDField(description="Id of what moved")
    pipeline: Any = fields.ForeignKeyField(
        "core.Pipeline",
        related_name="stage_moves",
        on_delete=fields.CASCADE,
        description="The pipeline it moved in",
    )
    from_stage: Any = fields.ForeignKeyField(
        "core.Stage",
        null=True,
        related_name=False,
        on_delete=fields.CASCADE,
        description="The stage it left; null at the start",
    )
    to_stage: Any = fields.ForeignKeyField(
        "core.Stage", related_name=False, on_delete=fields.CASCADE, description="The stage it entered"
    )
    moved_at = fields.DatetimeField(description="When it moved (UTC)")
    actor = fields.CharField(max_length=200, description="Who moved it, like user:usr_… or system")

    options = EntityOptions(prefix="mov", generic=(Generic("entity", related_name="stage_moves", to="Staged"),))
