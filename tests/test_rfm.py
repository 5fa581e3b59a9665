"""RFM: its numbers against a plain Python reference, its segments, and what a seller does with them."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Pipeline,
    Plugin,
    Purchases,
    Session,
    Stage,
)
from amity.database import recorded
from amity.entity import encode_id
from amity.testing import assert_scorer
from amity_csv.exporting import export_rows
from amity_graphql import execute
from amity_rfm import SEGMENTS, Rfm, RfmSettings, segment_of

from .conftest import MakeCrm

Deals = Sequence[tuple[int, date | None, int | None, str, str]]
"""Customer, day, amount, currency, category of the stage."""
DAY = date(2025, 6, 1)


async def customers(session: Session, count: int) -> list[str]:
    rows = [{"kind": "organization", "name": f"Customer {i:03}"} for i in range(count)]
    made = await session.create(Customer, rows)
    return [encode_id("cus", id) for id in made.ids if id]


async def sell(session: Session, ids: Sequence[str], deals: Deals) -> None:
    pipelines = await session.upsert(Pipeline, [{"name": "Sales"}], on=("name",))
    stages = await session.upsert(
        Stage,
        [{"pipeline_id": pipelines.ids[0], "name": c, "category": c} for c in ("open", "won", "lost")],
        on=("pipeline_id", "name"),
    )
    by_category = dict(zip(("open", "won", "lost"), stages.ids, strict=True))
    made = await session.create(
        Deal,
        [
            {
                "name": f"Deal {number}",
                "customer_id": ids[customer],
                "stage_id": by_category[category],
                "closed_on": day,
                "value": None if amount is None else {"amount": amount, "currency": currency},
            }
            for number, (customer, day, amount, currency, category) in enumerate(deals)
        ],
    )
    assert not made.errors, made.errors


def reference(deals: Deals, currency: str = "USD") -> dict[int, dict[str, Any]]:
    """The same by hand: customer → the score."""
    bought: dict[int, list[tuple[date, int, str]]] = defaultdict(list)
    for customer, day, amount, code, category in deals:
        if category == "won" and day is not None and amount is not None:
            bought[customer].append((day, amount, code))
    last = {c: max(day for day, _, _ in rows) for c, rows in bought.items()}
    days = {c: len({day for day, _, _ in rows}) for c, rows in bought.items()}
    spent = {
        c: sum(amount for _, amount, code in rows if code == currency)
        for c, rows in bought.items()
        if any(code == currency for _, _, code in rows)
    }
    found = {}
    for c, rows in bought.items():
        r, f = quintile(last, c), quintile(days, c)
        m = quintile(spent, c) if c in spent else None
        found[c] = {
            "segment": segment_of(r, f, m),
            "r": r,
            "f": f,
            "m": m,
            "last_purchase_on": last[c].isoformat(),
            "purchase_days": days[c],
            "monetary": str(spent[c]) if c in spent else None,
            "currency": currency,
            "other_currencies": sum(1 for _, _, code in rows if code != currency),
        }
    return found


def quintile(values: dict[int, Any], key: int) -> int:
    less = sum(1 for value in values.values() if value < values[key])
    return 1 + 5 * less // len(values)


FIELDS = (
    "segment",
    "r",
    "f",
    "m",
    "last_purchase_on",
    "purchase_days",
    "monetary",
    "currency",
    "other_currencies",
)


async def scores(session: Session) -> dict[str, Any]:
    found = await session.find(Customer).select("id", *(f"rfm.{name}" for name in FIELDS)).all()
    return {
        row["id"]: {**row["rfm"], "segment": row["rfm"]["segment"].lower()}
        for row in found
        if row["rfm"] is not None
    }


a_deal = st.tuples(
    st.integers(0, 11),
    st.none() | st.integers(0, 40).map(lambda days: DAY + timedelta(days=days)),
    st.none() | st.integers(-50, 2**40),
    st.sampled_from(["USD", "USD", "EUR"]),
    st.sampled_from(["won", "won", "won", "open", "lost"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deals=st.lists(a_deal, max_size=60))
async def test_scores_are_those_of_the_reference(
    make_crm: MakeCrm, deals: list[tuple[int, date | None, int | None, str, str]]
) -> None:
    async with make_crm([Rfm]) as crm:
        session = crm.acting_as(SYSTEM)
        ids = await customers(session, 12)
        await sell(session, ids, deals)

        await session.run("compute_scores", [{"scorer": "rfm"}])

        assert await scores(session) == {ids[c]: score for c, score in reference(deals).items()}


SOME: Deals = [
    (0, DAY + timedelta(days=90), 900_00, "USD", "won"),
    (0, DAY + timedelta(days=95), 800_00, "USD", "won"),
    (0, DAY + timedelta(days=95), 100_00, "USD", "won"),
    (1, DAY, 700_00, "USD", "won"),
    (1, DAY + timedelta(days=1), 700_00, "USD", "won"),
    (2, DAY + timedelta(days=50), 50_00, "USD", "won"),
    (3, DAY + timedelta(days=99), 10_00, "USD", "won"),
    (4, DAY - timedelta(days=200), 5_00, "EUR", "won"),
    (5, DAY, 999_00, "USD", "open"),
]


async def some(session: Session) -> None:
    await sell(session, await customers(session, 7), SOME)


async def test_it_is_a_scorer_like_any_other(server_url: str | None) -> None:
    await assert_scorer(Rfm, some, server_url=server_url)


async def test_a_segment_is_read_filtered_and_sorted_by_in_one_statement(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await session.run("compute_scores", [{"scorer": "rfm"}])

        query = session.find(Customer).where({"rfm": {"r": {"gte": 3}, "purchase_days": {"gte": 1}}})
        with recorded() as statements:
            found = await query.select("name", "rfm.segment", "rfm.monetary").order_by("-rfm.monetary").all()

        assert len(statements) == 1
        assert [(row["name"], row["rfm"]["monetary"]) for row in found] == [
            ("Customer 000", "180000"),
            ("Customer 002", "5000"),
            ("Customer 003", "1000"),
        ]


async def test_segments_are_exported_as_csv(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await session.run("compute_scores", [{"scorer": "rfm"}])
        out = io.StringIO()

        best = {"rfm": {"monetary": {"gte": 1000_00}}}
        columns = ["name", "rfm.segment"]
        await export_rows(session, "Customer", out, fields=columns, where=best, order_by=["-rfm.monetary"])

        assert out.getvalue() == "name,rfm.segment\nCustomer 000,loyal\nCustomer 001,at_risk\n"


async def test_customers_without_a_purchase_have_no_score_and_sort_like_null(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await session.run("compute_scores", [{"scorer": "rfm"}])

        found = await session.find(Customer).select("name", "rfm.r").order_by("rfm.monetary").all()
        pages = [row async for batch in _stream(session) for row in batch]

        assert [row["name"][-1] for row in found] == ["3", "2", "1", "0", "4", "5", "6"]
        assert found[-1]["rfm"] is None
        assert [row["name"] for row in pages] == [row["name"] for row in found]


def _stream(session: Session) -> Any:
    return session.find(Customer).select("name").order_by("rfm.monetary").stream(2)


async def test_the_currency_is_a_setting_and_others_are_counted_not_converted(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm(RfmSettings(currency="EUR"))]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await session.run("compute_scores", [{"scorer": "rfm"}])

        found = await session.find(Customer).select("rfm.m", "rfm.monetary", "rfm.other_currencies").all()

        assert found[4]["rfm"] == {"m": 1, "monetary": "500", "other_currencies": 0}
        assert found[0]["rfm"] == {"m": None, "monetary": None, "other_currencies": 3}


class Order(Entity):
    """An order."""

    buyer: Any = fields.ForeignKeyField("core.Customer", related_name="orders", on_delete=fields.CASCADE)
    placed_at = fields.DatetimeField()
    total_minor = fields.BigIntField()
    total_currency = fields.CharField(max_length=3)
    paid = fields.BooleanField(default=False)

    options = EntityOptions(prefix="ord", api=EDITABLE, money={"total": ("total_minor", "total_currency")})


class Shop(Plugin):
    """A shop, whose paid orders are purchases."""

    name = "shop"

    def entities(self) -> Sequence[type[Entity]]:
        return [Order]

    def purchases(self) -> Sequence[Purchases]:
        return [Purchases(Order, "buyer", "placed_at", "total", where={"paid": {"eq": True}})]


async def test_orders_of_a_plugin_are_purchases_once_it_declares_them(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm, Shop]) as crm:
        session = crm.acting_as(SYSTEM)
        ids = await customers(session, 2)
        await sell(session, ids, [(0, DAY, 10_00, "USD", "won")])
        total = {"amount": 5_00, "currency": "USD"}
        await session.create(
            Order,
            [
                {"buyer_id": ids[0], "placed_at": "2025-06-01T23:59:59Z", "total": total, "paid": True},
                {"buyer_id": ids[0], "placed_at": "2025-06-02T00:00:00Z", "total": total, "paid": True},
                {"buyer_id": ids[1], "placed_at": "2025-06-02T00:00:00Z", "total": total, "paid": False},
            ],
        )

        await session.run("compute_scores", [{"scorer": "rfm"}])

        found = await scores(session)
        assert list(found) == [ids[0]]
        assert (found[ids[0]]["purchase_days"], found[ids[0]]["monetary"]) == (2, "2000")


async def test_million_rows_or_ten_take_the_same_two_statements(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)

        with recorded() as statements:
            await session.run("compute_scores", [{"scorer": "rfm"}])

        scoring = [text for text in statements if "rfm_rfm_score" in text]
        assert [text.split("(")[0].strip() for text in scoring] == [
            'insert into "core_score"',
            'insert into "rfm_rfm_score"',
        ]


@pytest.mark.parametrize(
    ("r", "f", "m", "segment"),
    [
        (5, 5, 5, "champions"),
        (5, 4, 3, "champions"),
        (3, 4, 5, "loyal"),
        (4, 2, 2, "potential_loyalist"),
        (5, 1, 1, "new"),
        (4, 1, 1, "promising"),
        (3, 3, 3, "need_attention"),
        (3, 1, 2, "about_to_sleep"),
        (2, 3, 4, "at_risk"),
        (1, 5, 5, "cant_lose"),
        (1, 2, 2, "hibernating"),
        (1, 1, 1, "lost"),
        (1, 1, None, "lost"),
        (5, 5, None, "champions"),
    ],
)
def test_quintiles_lead_to_the_segment_of_the_map(r: int, f: int, m: int | None, segment: str) -> None:
    assert segment_of(r, f, m) == segment


def test_every_segment_has_a_place_on_the_map() -> None:
    assert {segment_of(r, fm, fm) for r in range(1, 6) for fm in range(1, 6)} == set(SEGMENTS)


async def test_segments_are_an_enum_in_graphql(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm], {"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)

        async def ask(document: str) -> Any:
            result = await execute(crm, session, document, {})
            assert not result.errors, result.errors
            return result.data

        done = await ask(
            """mutation { computeScores(input: {scorer: "rfm"}) {
                scoreRun { scorer changed withdrawn asked } userErrors { message } } }"""
        )
        with recorded() as statements:
            found = await ask(
                """{ customers(where: {rfm: {segment: {in: [CHAMPIONS, LOYAL]}}},
                      orderBy: [{rfm: {monetary: DESC}}]) {
                    nodes { name rfm { segment r f m monetary lastPurchaseOn version computedAt }
                      scores(where: {scorer: {eq: "rfm"}}, orderBy: [{computedAt: DESC}], first: 1) {
                        nodes { value version run { changed } } } } } }"""
            )

        run = done["computeScores"]["scoreRun"]
        assert run == {"scorer": "rfm", "changed": 5, "withdrawn": 0, "asked": None}
        assert len(statements) == 1
        best = found["customers"]["nodes"][0]
        assert best["name"] == "Customer 000"
        assert best["rfm"]["monetary"] == "180000"
        assert best["rfm"]["version"] == "1"
        assert best["scores"]["nodes"][0]["value"]["monetary"] == "180000"
        assert best["scores"]["nodes"][0]["run"] == {"changed": 5}
