"""core.0003_scores"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    dependencies = [("core", "0002_entities")]

    operations = [
        ops.CreateModel(
            name="ScoreRun",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("scorer", fields.CharField(max_length=100)),
                ("scorer_version", fields.CharField(max_length=50)),
                ("entity_type", fields.CharField(max_length=100)),
                ("asked", fields.IntField(null=True)),
                ("changed", fields.IntField(db_default=0)),
                ("withdrawn", fields.IntField(db_default=0)),
                ("inputs_digest", fields.CharField(max_length=64)),
                ("started_at", fields.DatetimeField()),
                ("completed_at", fields.DatetimeField(null=True)),
            ],
            options={"table": "core_score_run"},
        ),
        ops.CreateModel(
            name="Score",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                (
                    "run",
                    fields.ForeignKeyField("core.ScoreRun", related_name=False, on_delete=fields.CASCADE),
                ),
                ("scorer", fields.CharField(max_length=100)),
                ("version", fields.CharField(max_length=50)),
                ("entity_type", fields.CharField(max_length=100)),
                ("entity_id", fields.UUIDField()),
                ("value", fields.JSONField(null=True)),
                ("inputs_digest", fields.CharField(max_length=64, null=True)),
                ("computed_at", fields.DatetimeField()),
            ],
            options={"table": "core_score"},
        ),
        ops.CreateModel(
            name="ScoreDraft",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("run", fields.UUIDField()),
                ("scorer", fields.CharField(max_length=100)),
                ("target", fields.UUIDField()),
                ("value", fields.JSONField()),
                ("inputs_digest", fields.CharField(max_length=64, null=True)),
            ],
            options={"table": "core_score_draft"},
        ),
        ops.CreateModel(
            name="JobRun",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("job", fields.CharField(max_length=150)),
                ("payload", fields.JSONField()),
                ("key", fields.CharField(max_length=300, null=True)),
                ("state", fields.CharField(max_length=10)),
                ("attempts", fields.IntField(db_default=0)),
                ("max_attempts", fields.IntField()),
                ("done", fields.BigIntField(null=True)),
                ("total", fields.BigIntField(null=True)),
                ("schedule", fields.CharField(max_length=100, null=True)),
                ("last_error", fields.TextField(null=True)),
                ("enqueued_by", fields.CharField(max_length=200)),
                ("enqueued_at", fields.DatetimeField()),
                ("due_at", fields.DatetimeField()),
                ("finished_at", fields.DatetimeField(null=True)),
                ("lease", fields.CharField(max_length=50, null=True)),
                ("leased_until", fields.DatetimeField(null=True)),
            ],
            options={"table": "core_job_run"},
        ),
        CreateIndex(
            "core_score_run",
            "newest",
            "(scorer, started_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex("core_score", "of_run", "(run_id, entity_id)", unique=True),
        CreateIndex("core_score", "history", "(entity_id, scorer, computed_at DESC, id DESC)"),
        CreateIndex("core_score_draft", "run_target_key", '("run", "target")', unique=True),
        CreateIndex("core_job_run", "due", "(due_at, id) WHERE state = 'queued'"),
        CreateIndex(
            "core_job_run",
            "turn",
            '(job, "key") WHERE state = \'running\' AND "key" IS NOT NULL',
            unique=True,
        ),
        CreateIndex(
            "core_job_run",
            "schedule",
            "(job) WHERE state = 'queued' AND schedule IS NOT NULL",
            unique=True,
        ),
        CreateIndex("core_job_run", "newest", "(enqueued_at DESC, id DESC)"),
    ]
