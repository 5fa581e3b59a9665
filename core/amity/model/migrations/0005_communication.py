"""core.0005_communication"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    dependencies = [("core", "0004_access")]

    operations = [
        ops.CreateModel(
            name="Connection",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("channel", fields.CharField(max_length=50)),
                ("name", fields.CharField(max_length=200)),
                ("settings", fields.JSONField(db_default="{}")),
                ("secrets", fields.TextField(null=True)),
                ("active", fields.BooleanField(db_default=True)),
                (
                    "team",
                    fields.ForeignKeyField("core.Team", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                ("creates_prospects", fields.BooleanField(db_default=False)),
                ("default_language", fields.CharField(max_length=35, null=True)),
                ("cursor", fields.TextField(null=True)),
                ("fetched_at", fields.DatetimeField(null=True)),
                ("failure", fields.TextField(null=True)),
                ("listener", fields.CharField(max_length=50, null=True)),
                ("listened_until", fields.DatetimeField(null=True)),
            ],
            options={"table": "core_connection"},
        ),
        ops.CreateModel(
            name="Conversation",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                (
                    "customer",
                    fields.ForeignKeyField(
                        "core.Customer", related_name=False, on_delete=fields.CASCADE, null=True
                    ),
                ),
                (
                    "connection",
                    fields.ForeignKeyField(
                        "core.Connection", related_name=False, on_delete=fields.SET_NULL, null=True
                    ),
                ),
                (
                    "assignee",
                    fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                (
                    "team",
                    fields.ForeignKeyField("core.Team", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                (
                    "deal",
                    fields.ForeignKeyField("core.Deal", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                ("channel", fields.CharField(max_length=50)),
                ("subject", fields.CharField(max_length=500, null=True)),
                ("status", fields.CharField(max_length=10, db_default="open")),
                ("address", fields.CharField(max_length=500, null=True)),
                ("key", fields.CharField(max_length=500, null=True)),
                ("unread", fields.IntField(db_default=0)),
                ("started_at", fields.DatetimeField()),
                ("last_at", fields.DatetimeField()),
            ],
            options={"table": "core_conversation"},
        ),
        ops.CreateModel(
            name="MessageReference",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("connection", fields.UUIDField()),
                ("message_id", fields.CharField(max_length=500)),
                ("conversation", fields.UUIDField()),
            ],
            options={"table": "core_message_reference"},
        ),
        ops.CreateModel(
            name="Participant",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                (
                    "interaction",
                    fields.ForeignKeyField("core.Interaction", related_name=False, on_delete=fields.CASCADE),
                ),
                (
                    "contact_point",
                    fields.ForeignKeyField(
                        "core.ContactPoint", related_name=False, on_delete=fields.SET_NULL, null=True
                    ),
                ),
                (
                    "user",
                    fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                ("role", fields.CharField(max_length=10)),
                ("address", fields.CharField(max_length=500, null=True)),
                ("name", fields.CharField(max_length=300, null=True)),
            ],
            options={"table": "core_participant"},
        ),
        ops.CreateModel(
            name="File",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                (
                    "interaction",
                    fields.ForeignKeyField(
                        "core.Interaction", related_name=False, on_delete=fields.CASCADE, null=True
                    ),
                ),
                (
                    "user",
                    fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                ("name", fields.CharField(max_length=300)),
                ("media_type", fields.CharField(max_length=150)),
                ("size", fields.BigIntField(null=True)),
                ("sha256", fields.CharField(max_length=64, null=True)),
                ("content_id", fields.CharField(max_length=300, null=True)),
                ("inline", fields.BooleanField(db_default=False)),
                ("state", fields.CharField(max_length=10)),
                ("failure", fields.TextField(null=True)),
                ("reference", fields.CharField(max_length=1000, null=True)),
                ("storage_key", fields.CharField(max_length=300, null=True)),
            ],
            options={"table": "core_file"},
        ),
        ops.CreateModel(
            name="Undelivered",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                (
                    "connection",
                    fields.ForeignKeyField("core.Connection", related_name=False, on_delete=fields.CASCADE),
                ),
                ("reference", fields.CharField(max_length=1000)),
                ("reason", fields.TextField()),
                (
                    "file",
                    fields.ForeignKeyField("core.File", related_name=False, on_delete=fields.SET_NULL, null=True),
                ),
                ("occurred_at", fields.DatetimeField()),
            ],
            options={"table": "core_undelivered"},
        ),
        ops.CreateModel(
            name="ConsentEntry",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                (
                    "customer",
                    fields.ForeignKeyField(
                        "core.Customer", related_name=False, on_delete=fields.SET_NULL, null=True
                    ),
                ),
                ("channel", fields.CharField(max_length=50)),
                ("address", fields.CharField(max_length=500, null=True)),
                ("purpose", fields.CharField(max_length=50)),
                ("state", fields.CharField(max_length=10)),
                ("basis", fields.CharField(max_length=20, null=True)),
                ("source", fields.TextField(null=True)),
                ("note", fields.TextField(null=True)),
                ("occurred_at", fields.DatetimeField()),
            ],
            options={"table": "core_consent_entry"},
        ),
        ops.CreateModel(
            name="Template",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("name", fields.CharField(max_length=200)),
                ("channel", fields.CharField(max_length=50, null=True)),
                ("purpose", fields.CharField(max_length=50, db_default="service")),
                ("variables", fields.JSONField(db_default="[]")),
            ],
            options={"table": "core_template"},
        ),
        ops.CreateModel(
            name="TemplateText",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                (
                    "template",
                    fields.ForeignKeyField("core.Template", related_name=False, on_delete=fields.CASCADE),
                ),
                ("language", fields.CharField(max_length=35)),
                ("subject", fields.CharField(max_length=500, null=True)),
                ("body", fields.TextField(null=True)),
                ("html", fields.TextField(null=True)),
            ],
            options={"table": "core_template_text"},
        ),
        ops.AddField(
            model_name="Interaction",
            name="conversation",
            field=fields.ForeignKeyField(
                "core.Conversation", related_name=False, on_delete=fields.SET_NULL, null=True
            ),
        ),
        ops.AddField(
            model_name="Interaction",
            name="connection",
            field=fields.ForeignKeyField(
                "core.Connection", related_name=False, on_delete=fields.SET_NULL, null=True
            ),
        ),
        ops.AddField(
            model_name="Interaction",
            name="deal",
            field=fields.ForeignKeyField("core.Deal", related_name=False, on_delete=fields.SET_NULL, null=True),
        ),
        ops.AddField(
            model_name="Interaction",
            name="reply_to",
            field=fields.ForeignKeyField(
                "core.Interaction", related_name=False, on_delete=fields.SET_NULL, null=True
            ),
        ),
        ops.AddField(
            model_name="Interaction",
            name="template",
            field=fields.ForeignKeyField(
                "core.Template", related_name=False, on_delete=fields.SET_NULL, null=True
            ),
        ),
        ops.AddField(model_name="Interaction", name="html_source", field=fields.TextField(null=True)),
        ops.AddField(
            model_name="Interaction",
            name="language",
            field=fields.CharField(max_length=35, null=True),
        ),
        ops.AddField(
            model_name="Interaction",
            name="purpose",
            field=fields.CharField(max_length=50, null=True),
        ),
        ops.AddField(model_name="Interaction", name="automatic", field=fields.BooleanField(db_default=False)),
        ops.AddField(
            model_name="Interaction",
            name="message_id",
            field=fields.CharField(max_length=500, null=True),
        ),
        ops.AddField(
            model_name="Interaction",
            name="remote_id",
            field=fields.CharField(max_length=500, null=True),
        ),
        ops.AddField(
            model_name="Interaction",
            name="in_reply_to",
            field=fields.CharField(max_length=500, null=True),
        ),
        ops.AddField(model_name="Interaction", name="attempts", field=fields.IntField(db_default=0)),
        ops.AddField(
            model_name="Interaction",
            name="delivery",
            field=fields.CharField(max_length=10, null=True),
        ),
        ops.AddField(model_name="Interaction", name="failure", field=fields.TextField(null=True)),
        ops.AddField(model_name="Interaction", name="delivered_at", field=fields.DatetimeField(null=True)),
        CreateIndex("core_connection", "name_key", '("name") WHERE deleted_at IS NULL', unique=True),
        CreateIndex("core_connection", "team_id", '("team_id") WHERE deleted_at IS NULL'),
        CreateIndex(
            "core_conversation",
            "connection_id_key_key",
            '("connection_id", "key") WHERE deleted_at IS NULL',
            unique=True,
        ),
        CreateIndex(
            "core_conversation",
            "team",
            "(team_id, status, last_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex(
            "core_conversation",
            "assignee",
            "(assignee_id, status, last_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex(
            "core_conversation",
            "customer",
            "(customer_id, last_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex(
            "core_conversation",
            "newest",
            "(status, last_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex(
            "core_conversation",
            "address",
            "(connection_id, address, last_at DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex("core_conversation", "deal_id", '("deal_id") WHERE deleted_at IS NULL'),
        CreateIndex(
            "core_interaction",
            "connection_id_message_id_key",
            '("connection_id", "message_id") WHERE deleted_at IS NULL',
            unique=True,
        ),
        CreateIndex(
            "core_interaction",
            "thread",
            "(conversation_id, occurred_at DESC, id DESC) WHERE deleted_at IS NULL",
        ),
        CreateIndex(
            "core_interaction",
            "orphans",
            "(connection_id, in_reply_to) WHERE in_reply_to IS NOT NULL AND reply_to_id IS NULL AND deleted_at IS NULL",
        ),
        CreateIndex(
            "core_interaction",
            "message",
            "(connection_id, message_id) WHERE message_id IS NOT NULL",
        ),
        CreateIndex("core_interaction", "remote", "(connection_id, remote_id) WHERE remote_id IS NOT NULL"),
        CreateIndex(
            "core_interaction",
            "outbox",
            "(delivery, id) WHERE delivery IN ('queued', 'sending') AND deleted_at IS NULL",
        ),
        CreateIndex("core_interaction", "deal_id", '("deal_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_interaction", "reply_to_id", '("reply_to_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_interaction", "template_id", '("template_id") WHERE deleted_at IS NULL'),
        CreateIndex(
            "core_message_reference",
            "connection_message_id_key",
            '("connection", "message_id")',
            unique=True,
        ),
        CreateIndex("core_message_reference", "conversation", "(conversation)"),
        CreateIndex("core_participant", "interaction_id", '("interaction_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_participant", "contact_point_id", '("contact_point_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_participant", "user_id", '("user_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_file", "storage", "(storage_key)"),
        CreateIndex("core_file", "interaction_id", '("interaction_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_file", "user_id", '("user_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_undelivered", "newest", "(connection_id, occurred_at DESC, id DESC)"),
        CreateIndex("core_undelivered", "file_id", '("file_id")'),
        CreateIndex("core_consent_entry", "customer", "(customer_id, occurred_at DESC, id DESC)"),
        CreateIndex("core_consent_entry", "address", "(channel, address, occurred_at DESC, id DESC)"),
        CreateIndex("core_template", "name_key", '("name") WHERE deleted_at IS NULL', unique=True),
        CreateIndex(
            "core_template_text",
            "template_id_language_key",
            '("template_id", "language") WHERE deleted_at IS NULL',
            unique=True,
        ),
    ]
