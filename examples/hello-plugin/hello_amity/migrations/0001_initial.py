"""hello.0001_initial"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    initial = True
    dependencies = [("core", "0002_entities")]

    operations = [
        ops.CreateModel(
            name="Greeting",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                ("created_at", fields.DatetimeField()),
                ("updated_at", fields.DatetimeField()),
                ("version", fields.IntField(db_default=1)),
                ("deleted_at", fields.DatetimeField(null=True)),
                (
                    "customer",
                    fields.ForeignKeyField("core.Customer", related_name=False, on_delete=fields.CASCADE),
                ),
                ("text", fields.CharField(max_length=200)),
            ],
            options={"table": "hello_greeting"},
        ),
        CreateIndex("hello_greeting", "customer_id", '("customer_id") WHERE deleted_at IS NULL'),
    ]
