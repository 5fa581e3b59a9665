"""core.0007_aggregates"""

from tortoise import migrations

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    dependencies = [("core", "0006_customer_team")]

    operations = [
        CreateIndex("core_deal", "values", "(stage_id, currency, value_minor, owner_id) WHERE deleted_at IS NULL"),
    ]
