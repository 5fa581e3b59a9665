"""Background work."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EntityOptions, Record, SqlIndex


class JobRun(Record):
    """One piece of background work: waiting, under way, done, or given up (dead)."""

    job = fields.CharField(max_length=150, description="Name of the job")
    payload: Any = fields.JSONField(description="What it was asked to do")
    key = fields.CharField(max_length=300, null=True, description="Runs of one job with the same key take turns")
    state = fields.CharField(max_length=10, default="queued", description="How far it has come")
    attempts = fields.IntField(default=0, db_default=0, description="How often it was begun")
    max_attempts = fields.IntField(description="After so many it is given up")
    done = fields.BigIntField(null=True, description="How much of it is done, where the job tells")
    total = fields.BigIntField(null=True, description="How much there is to do, where the job tells")
    schedule = fields.CharField(
        max_length=100, null=True, description="The schedule that it waits for; null once it has begun"
    )
    last_error = fields.TextField(null=True, description="Why the last attempt failed")
    enqueued_by = fields.CharField(max_length=200, description="Who asked for it")
    enqueued_at = fields.DatetimeField(description="When it was asked for (UTC)")
    due_at = fields.DatetimeField(description="Not before this time (UTC)")
    finished_at = fields.DatetimeField(null=True, description="When it was done or given up (UTC)")
    lease = fields.CharField(max_length=50, null=True, description="The process that runs it")
    leased_until = fields.DatetimeField(null=True, description="By when that process is taken for dead (UTC)")

    options = EntityOptions(
        prefix="job",
        choices={"state": ("queued", "running", "done", "dead")},
        indexes=(
            SqlIndex("due", "(due_at, id) WHERE state = 'queued'"),
            SqlIndex("turn", '(job, "key") WHERE state = \'running\' AND "key" IS NOT NULL', unique=True),
            SqlIndex("schedule", "(job) WHERE state = 'queued' AND schedule IS NOT NULL", unique=True),
            SqlIndex("newest", "(enqueued_at DESC, id DESC)"),
        ),
    )
