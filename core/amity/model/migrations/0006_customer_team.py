"""core.0006_customer_team"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    dependencies = [("core", "0005_communication")]

    operations = [
        ops.AddField(
            model_name="Customer",
            name="team",
            field=fields.ForeignKeyField("core.Team", related_name=False, on_delete=fields.SET_NULL, null=True),
        ),
        CreateIndex("core_customer", "team_id", '("team_id") WHERE deleted_at IS NULL'),
    ]
