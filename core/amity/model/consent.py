"""What customers agreed to be written to about."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EntityOptions, Record, SqlIndex


class ConsentEntry(Record):
    """That consent was given or withdrawn, as it was told. The ledger is only ever added to."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="consent_entries",
        on_delete=fields.SET_NULL,
        description="The customer; null where only the address is known",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or sms")
    address = fields.CharField(max_length=500, null=True, description="The address, in its normal form")
    purpose = fields.CharField(max_length=50, description="What for, like service or marketing; * is everything")
    state = fields.CharField(max_length=10, description="Whether it was given or withdrawn")
    basis = fields.CharField(max_length=20, null=True, description="The lawful basis")
    source = fields.TextField(null=True, description="How it was told: a form, a word, a link")
    note = fields.TextField(null=True, description="Free text")
    occurred_at = fields.DatetimeField(description="When it was told (UTC)")

    options = EntityOptions(
        prefix="cse",
        plural="consent_entries",
        choices={
            "state": ("given", "withdrawn"),
            "basis": ("consent", "contract", "legitimate_interest", "legal_obligation"),
        },
        personal=("address",),
        owner=("customer.owner", "customer.team"),
        indexes=(
            SqlIndex("customer", "(customer_id, occurred_at DESC, id DESC)"),
            SqlIndex("address", "(channel, address, occurred_at DESC, id DESC)"),
        ),
    )
