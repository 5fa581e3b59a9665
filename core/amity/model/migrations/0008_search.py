"""core.0008_search"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex, InstallSearch


class Migration(migrations.Migration):
    dependencies = [("core", "0007_aggregates")]

    operations = [
        InstallSearch(),
        ops.AddField(model_name="ContactPoint", name="search_text", field=fields.TextField(db_default="")),
        CreateIndex(
            "core_customer",
            "search",
            'USING gin (amity_grams("search_text")) WHERE deleted_at IS NULL',
            sqlite="",
        ),
        CreateIndex(
            "core_contact_point",
            "search",
            'USING gin (amity_grams("search_text")) WHERE deleted_at IS NULL',
            sqlite="",
        ),
        CreateIndex(
            "core_interaction",
            "search",
            'USING gin (amity_grams("search_text")) WHERE deleted_at IS NULL',
            sqlite="",
        ),
        CreateIndex(
            "core_deal",
            "search",
            'USING gin (amity_grams("search_text")) WHERE deleted_at IS NULL',
            sqlite="",
        ),
    ]
