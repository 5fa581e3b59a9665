"""What scorers found out, and how they came to it.

The current score of a record is a row of its scorer's own table, with a typed column for each output. What is
kept here is the history: one row for each time that a score changed.
"""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import Entity, EntityOptions, Generic, Record, SqlIndex, Unique


class ScoreRun(Entity):
    """That a scorer was run to its end. A run that fails leaves nothing behind."""

    scorer = fields.CharField(max_length=100, description="Name of the scorer")
    scorer_version = fields.CharField(max_length=50, description="Version of the scorer")
    entity_type = fields.CharField(max_length=100, description="Entity of the records that it scored")
    asked = fields.IntField(null=True, description="How many records it was asked for; null for all there are")
    changed = fields.IntField(default=0, db_default=0, description="How many scores are new or other than before")
    withdrawn = fields.IntField(
        default=0, db_default=0, description="How many records lost their score, as the scorer finds none any more"
    )
    inputs_digest = fields.CharField(
        max_length=64, description="SHA-256 of what the run was made with: the scorer, its output and settings"
    )
    started_at = fields.DatetimeField(description="When it began (UTC)")
    completed_at = fields.DatetimeField(null=True, description="When its scores were stored (UTC)")

    options = EntityOptions(
        prefix="scr", indexes=(SqlIndex("newest", "(scorer, started_at DESC, id DESC) WHERE deleted_at IS NULL"),)
    )


class Score(Record):
    """A score as it was from one time on, until the next one of the same scorer for the same record."""

    run: Any = fields.ForeignKeyField(
        "core.ScoreRun", related_name="results", on_delete=fields.CASCADE, description="The run it comes from"
    )
    scorer = fields.CharField(max_length=100, description="Name of the scorer")
    version = fields.CharField(max_length=50, description="Version of the scorer")
    entity_type = fields.CharField(max_length=100, description="Entity of the record")
    entity_id = fields.UUIDField(description="Id of the record")
    value: Any = fields.JSONField(null=True, description="The outputs; null from when the record has no score")
    inputs_digest = fields.CharField(
        max_length=64, null=True, description="SHA-256 of what it was computed from, where the scorer tells"
    )
    computed_at = fields.DatetimeField(description="Since when the score is this one (UTC)")

    options = EntityOptions(
        prefix="sco",
        generic=(Generic("entity", related_name="scores"),),
        indexes=(
            SqlIndex("of_run", "(run_id, entity_id)", unique=True),
            SqlIndex("history", "(entity_id, scorer, computed_at DESC, id DESC)"),
        ),
    )


class ScoreDraft(Record):
    """A score of a run that has not ended: what a scorer in Python has yielded so far."""

    run = fields.UUIDField(description="The run")
    scorer = fields.CharField(max_length=100, description="Name of the scorer")
    target = fields.UUIDField(description="Id of the record")
    value: Any = fields.JSONField(description="The outputs")
    inputs_digest = fields.CharField(max_length=64, null=True, description="SHA-256 of what it was computed from")

    options = EntityOptions(prefix="scd", api=frozenset(), unique=(Unique(("run", "target")),))
