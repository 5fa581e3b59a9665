"""``Entity``: the class that every table of every plugin derives from."""

from __future__ import annotations

from typing import Any, ClassVar

from tortoise import fields
from tortoise.models import Model

from .ids import new_id
from .options import EntityOptions


class Record(Model):
    """A row that is written once and never changed, such as an entry of a log. Has an ``id`` only."""

    id = fields.UUIDField(primary_key=True, default=new_id, description="Unique identifier")

    options: ClassVar[EntityOptions] = EntityOptions()

    class Meta:
        abstract = True


class Entity(Record):
    """A row with an identity and a life: created, changed, deleted, restored.

    Deriving from it gives a table, its migration, a GraphQL type with filter, order and connection, events,
    import and export; mutations as far as ``options.api`` asks for them.
    """

    created_at = fields.DatetimeField(description="When the record was created (UTC)")
    updated_at = fields.DatetimeField(description="When the record was last changed (UTC)")
    version = fields.IntField(default=1, db_default=1, description="Grows by one with every change")
    deleted_at = fields.DatetimeField(null=True, description="When the record was deleted; null while it lives")

    class Meta:
        abstract = True


class Staged(Entity):
    """An entity that moves through the stages of a pipeline: deals, cases, onboardings.

    Every move is kept as a ``StageMove``. ``position`` orders the rows within a stage; it is a text whose
    alphabetical order is the order of the rows, so that moving one row writes one row.
    """

    pipeline: Any = fields.ForeignKeyField(
        "core.Pipeline", on_delete=fields.RESTRICT, description="The pipeline it is in"
    )
    stage: Any = fields.ForeignKeyField("core.Stage", on_delete=fields.RESTRICT, description="The stage it is in")
    position = fields.CharField(max_length=200, default="", description="Orders the rows within a stage")
    stage_entered_at = fields.DatetimeField(description="When it entered its stage (UTC)")

    class Meta:
        abstract = True
