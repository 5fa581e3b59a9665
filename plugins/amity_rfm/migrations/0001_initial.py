"""rfm.0001_initial"""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from amity.database.operations import CreateIndex


class Migration(migrations.Migration):
    initial = True
    dependencies = [("core", "0003_scores")]

    operations = [
        ops.CreateModel(
            name="RfmScore",
            fields=[
                ("id", fields.UUIDField(primary_key=True)),
                (
                    "customer",
                    fields.ForeignKeyField("core.Customer", related_name=False, on_delete=fields.CASCADE),
                ),
                ("version", fields.CharField(max_length=50)),
                ("computed_at", fields.DatetimeField()),
                ("segment", fields.TextField()),
                ("r", fields.IntField()),
                ("f", fields.IntField()),
                ("m", fields.IntField(null=True)),
                ("last_purchase_on", fields.DateField()),
                ("purchase_days", fields.IntField()),
                ("monetary", fields.BigIntField(null=True)),
                ("currency", fields.TextField()),
                ("other_currencies", fields.IntField()),
            ],
            options={"table": "rfm_rfm_score"},
        ),
        CreateIndex("rfm_rfm_score", "customer_id_key", '("customer_id")', unique=True),
        CreateIndex("rfm_rfm_score", "segment", '("segment", "customer_id")'),
    ]
