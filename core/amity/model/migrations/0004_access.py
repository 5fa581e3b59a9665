"""core.0004_access"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    dependencies = [("core", "0003_scores")]

    operations = [
        ops.CreateModel(
            name="Role",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("name", fields.CharField(max_length=100)),
                ("description", fields.CharField(max_length=500, db_default="")),
                ("builtin", fields.BooleanField(db_default=False)),
            ],
            options={"table": "core_role"},
        ),
        ops.CreateModel(
            name="Grant",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("role", fields.ForeignKeyField("core.Role", related_name=False, on_delete=fields.CASCADE)),
                ("entity", fields.CharField(max_length=100)),
                ("action", fields.CharField(max_length=10)),
                ("rows", fields.JSONField(db_default='"all"')),
                ("field_names", fields.JSONField(null=True)),
                ("check_rows", fields.JSONField(null=True)),
                ("presets", fields.JSONField(null=True)),
            ],
            options={"table": "core_grant"},
        ),
        ops.CreateModel(
            name="PermissionGrant",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("role", fields.ForeignKeyField("core.Role", related_name=False, on_delete=fields.CASCADE)),
                ("permission", fields.CharField(max_length=100)),
            ],
            options={"table": "core_permission_grant"},
        ),
        ops.CreateModel(
            name="RoleMember",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("user", fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.CASCADE)),
                ("role", fields.ForeignKeyField("core.Role", related_name=False, on_delete=fields.CASCADE)),
            ],
            options={"table": "core_role_member"},
        ),
        ops.CreateModel(
            name="ApiKey",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("name", fields.CharField(max_length=200)),
                ("secret_hash", fields.CharField(max_length=64, null=True)),
                ("role", fields.ForeignKeyField("core.Role", related_name=False, on_delete=fields.CASCADE)),
                (
                    "user",
                    fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.CASCADE, null=True),
                ),
                (
                    "customer",
                    fields.ForeignKeyField(
                        "core.Customer", related_name=False, on_delete=fields.CASCADE, null=True
                    ),
                ),
                ("plugin", fields.CharField(max_length=50, null=True)),
                ("expires_at", fields.DatetimeField(null=True)),
                ("last_used_at", fields.DatetimeField(null=True)),
                ("revoked_at", fields.DatetimeField(null=True)),
            ],
            options={"table": "core_api_key"},
        ),
        ops.CreateModel(
            name="UserSession",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                ("user", fields.ForeignKeyField("core.User", related_name=False, on_delete=fields.CASCADE)),
                ("token_hash", fields.CharField(max_length=64, null=True)),
                ("user_agent", fields.CharField(max_length=300, db_default="")),
                ("expires_at", fields.DatetimeField()),
                ("last_used_at", fields.DatetimeField()),
            ],
            options={"table": "core_user_session"},
        ),
        ops.AddField(
            model_name="User",
            name="password_hash",
            field=fields.CharField(max_length=300, null=True),
        ),
        ops.AddField(model_name="User", name="last_sign_in_at", field=fields.DatetimeField(null=True)),
        CreateIndex("core_role", "name_key", '("name") WHERE deleted_at IS NULL', unique=True),
        CreateIndex(
            "core_grant",
            "role_id_entity_action_key",
            '("role_id", "entity", "action") WHERE deleted_at IS NULL',
            unique=True,
        ),
        CreateIndex(
            "core_permission_grant",
            "role_id_permission_key",
            '("role_id", "permission") WHERE deleted_at IS NULL',
            unique=True,
        ),
        CreateIndex(
            "core_role_member",
            "user_id_role_id_key",
            '("user_id", "role_id") WHERE deleted_at IS NULL',
            unique=True,
        ),
        CreateIndex("core_role_member", "role_id", '("role_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_api_key", "role_id", '("role_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_api_key", "user_id", '("user_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_api_key", "customer_id", '("customer_id") WHERE deleted_at IS NULL'),
        CreateIndex("core_user_session", "user_id", '("user_id") WHERE deleted_at IS NULL'),
    ]
