"""The plugin, and its scorer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pydantic import BaseModel, Field

from amity import Context, Customer, Need, Plugin, RoleGrant, ScoreQuery, Scorer, __version__

from .segments import Segment, segment_sql


class RfmSettings(BaseModel):
    """``[rfm]``: how purchases are counted, and when."""

    currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    """ISO 4217 code of the monetary value; the default currency if it is not given."""
    schedule: str = "0 3 * * *"
    """When all customers are scored anew: five fields of cron, in UTC."""


class RfmOutput(BaseModel):
    """How recently, how often and for how much a customer bought."""

    segment: Segment = Field(description="The segment that recency, frequency and monetary value lead to")
    r: int = Field(ge=1, le=5, description="Quintile of recency: 5 for those who bought last")
    f: int = Field(ge=1, le=5, description="Quintile of frequency: 5 for those who buy most often")
    m: int | None = Field(ge=1, le=5, description="Quintile of monetary value: 5 for those who spend most")
    last_purchase_on: date = Field(description="Day of the last purchase")
    purchase_days: int = Field(ge=0, le=2**31 - 1, description="Days with a purchase; those of one day count once")
    monetary: int | None = Field(
        description="All purchases in the currency, in its minor units; null if there are none"
    )
    currency: str = Field(description="Currency of the monetary value (ISO 4217)")
    other_currencies: int = Field(
        ge=0, le=2**31 - 1, description="Purchases in other currencies, which the monetary value leaves out"
    )


class Rfm(Plugin[RfmSettings]):
    """Recency, frequency and monetary value of customers, as quintiles and named segments."""

    name = "rfm"
    version = __version__
    core = ">=0.1,<1"

    def scorers(self) -> Sequence[Scorer]:
        return (self._scorer(),)

    def needs(self) -> Sequence[Need]:
        return (Need(Customer, {"read"}, fields=()),)

    def grants(self) -> Sequence[RoleGrant]:
        return (
            RoleGrant("agent", self._scorer(), {"read"}, "team"),
            RoleGrant("read-only", self._scorer(), {"read"}),
        )

    def _scorer(self) -> Scorer:
        return Scorer(
            "rfm",
            version="1",
            target=Customer,
            output=RfmOutput,
            select=self._select,
            schedule=self.settings.schedule,
            description="Recency, frequency and monetary value of a customer's purchases.",
        )

    def _select(self, context: Context, query: ScoreQuery) -> str:
        currency = query.bind(self.settings.currency or context.crm.settings.default_currency)
        return f"""
            with bought as (
              select p.customer_id as id, max(p.made_on) as last_purchase_on,
                count(distinct p.made_on) as purchase_days,
                sum(case when p.currency = {currency} then p.amount end) as monetary,
                sum(case when p.currency = {currency} then 0 else 1 end) as other_currencies
              from {query.purchases()} p group by p.customer_id),
            ranked as (
              select b.*, {_quintile("b.last_purchase_on")} as r, {_quintile("b.purchase_days")} as f,
                case when b.monetary is not null
                  then {_quintile("b.monetary", "b.monetary is null")} end as m
              from bought b)
            select q.*, {currency} as currency,
              {segment_sql("q.r", "case when q.m is null then q.f else (q.f + q.m + 1) / 2 end")} as segment
            from ranked q"""


def _quintile(value: str, group: str = "") -> str:
    """1 to 5 by the share of customers with less. Equal values get the same, so that no order decides it."""
    partition = f"partition by {group} " if group else ""
    return f"1 + (5 * (rank() over ({partition}order by {value}) - 1)) / count(*) over ({partition.strip()})"
