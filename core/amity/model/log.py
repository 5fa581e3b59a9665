"""The event log."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EntityOptions, Generic, Record, SqlIndex


class Event(Record):
    """Something that happened to a record, as it was committed. The log is only ever added to.

    A change writes its events as one batch, in its own transaction. Batches get their position in the log
    after they were committed; position and ``number`` together order all events without a gap.
    """

    batch = fields.BigIntField(description="The batch that it was committed with")
    number = fields.IntField(description="Place within its batch, from 0")
    type = fields.CharField(max_length=150, description="What happened, like customer.created")
    entity_type = fields.CharField(max_length=100, description="Entity of the record")
    entity_id = fields.UUIDField(description="Id of the record")
    actor = fields.CharField(max_length=200, description="Who did it, like user:usr_… or system")
    change_id = fields.UUIDField(description="The same for everything that one change did")
    origin = fields.CharField(max_length=200, null=True, description="What it came through: an import, a sync")
    before: Any = fields.JSONField(null=True, description="The changed fields as they were")
    after: Any = fields.JSONField(null=True, description="The changed fields as they are now")
    occurred_at = fields.DatetimeField(description="When it happened (UTC)")

    options = EntityOptions(
        prefix="evt",
        generic=(Generic("entity", related_name="history", newest="occurred_at"),),
        indexes=(
            SqlIndex("log", "(batch, number)", unique=True),
            SqlIndex("entity", "(entity_id, occurred_at DESC, id DESC)"),
        ),
    )
