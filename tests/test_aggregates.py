"""Figures of groups: what somebody sees who looks at the business as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio

from amity import SYSTEM, Crm, Customer, Deal, Interaction, Percent, Plugin, QueryError, expression
from amity.access import FieldDenied, Principal
from amity.access.roles import Role, RolePolicy, RowRule, TypeGrant
from amity.composition import CompositionError, compose
from amity.entity import decode_id
from amity.entity.expression import Field
from amity.settings import from_mapping
from amity.testing import make_crm as make
from amity.testing import recorded
from amity.tree import Compare
from amity_graphql import Result, execute

from . import company
from .company import JONAS, MIA, PILOT, SALES

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
pytestmark = pytest.mark.asyncio(loop_scope="module")

BOARD = """
query Board($id: ID!) {
  pipeline(id: $id) {
    name
    stages(orderBy: [{position: ASC}]) {
      nodes {
        name
        dealsAggregate(where: {stage: {category: {eq: OPEN}}}) {
          count
          sum { value { amount currency } weightedValue { amount currency } }
        }
      }
    }
  }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make(settings={"plugins": ["graphql", "rfm"]}, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


async def ask(crm: Crm, document: str, **variables: Any) -> Any:
    """The data of an operation that is one statement without errors."""
    with recorded() as statements:
        result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    assert not result.errors, result.errors
    assert len(statements) == 1
    return result.data


async def refused(crm: Crm, document: str, **variables: Any) -> str:
    result: Result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    (error,) = result.formatted()["errors"]
    assert error["extensions"]["code"] in ("BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"), error
    return str(error["message"])


def stage(name: str, count: int, **weighted: tuple[int, int]) -> dict[str, Any]:
    """A stage of the board, with the value and the weighted value in each currency."""
    sums = {
        key: [{"amount": str(pair[i]), "currency": currency} for currency, pair in weighted.items()]
        for i, key in enumerate(("value", "weightedValue"))
    }
    return {"name": name, "dealsAggregate": [{"count": str(count), "sum": sums}]}


async def test_the_pipeline_board_is_one_statement(crm: Crm) -> None:
    data = await ask(crm, BOARD, id=SALES)
    assert data["pipeline"]["stages"]["nodes"] == [
        stage("Qualified", 1, EUR=(800_000, 160_000)),
        stage("Offer", 1, USD=(5_400_000, 3_240_000)),
        stage("Won", 0),
        stage("Lost", 0),
    ]


def person(id: str, name: str, deals: str) -> dict[str, Any]:
    return {"id": id, "name": name, "team": {"name": "Zurich"}, "deals": {"totalCount": deals}}


async def test_deals_by_owner_are_in_the_order_that_is_asked_for(crm: Crm) -> None:
    document = """{ dealsAggregate(
      groupBy: [{owner: {id: true}}], orderBy: [{sum: {value: DESC}, currency: "USD"}, {key: {owner: {name: ASC}}}]
    ) {
      key { owner { id name team { name } deals(first: 1) { totalCount } } }
      count countDistinct { customer } avg { value { amount currency } }
    } }"""
    # null counts as the greatest value: Jonas has nothing in dollars
    assert (await ask(crm, document))["dealsAggregate"] == [
        {
            "key": {
                "owner": {
                    "id": JONAS,
                    "name": "Jonas Frei",
                    "team": {"name": "Zurich"},
                    "deals": {"totalCount": "1"},
                }
            },
            "count": "1",
            "countDistinct": {"customer": "1"},
            "avg": {"value": [{"amount": "800000", "currency": "EUR"}]},
        },
        {
            "key": {
                "owner": {
                    "id": MIA,
                    "name": "Mia Keller",
                    "team": {"name": "Zurich"},
                    "deals": {"totalCount": "2"},
                }
            },
            "count": "2",
            "countDistinct": {"customer": "1"},
            "avg": {"value": [{"amount": "2760000", "currency": "USD"}]},
        },
    ]


async def test_keys_behind_relations_scores_and_periods(crm: Crm) -> None:
    document = """{
      byCategory: dealsAggregate(groupBy: [{stage: {category: true}}, {openedOn: {unit: YEAR}}]) {
        key { openedOn stage { category } } count
      }
      bySegment: customersAggregate(groupBy: [{rfm: {segment: true}}]) { key { rfm { segment } } count }
      byMonth: interactionsAggregate(groupBy: [{occurredAt: {unit: MONTH, timeZone: "Europe/Berlin"}}]) {
        key { occurredAt } count sum { durationSeconds } avg { durationSeconds } max { occurredAt }
      }
    }"""
    assert await ask(crm, document) == {
        "byCategory": [
            {"key": {"openedOn": "2025-01-01", "stage": {"category": "OPEN"}}, "count": "2"},
            {"key": {"openedOn": "2025-01-01", "stage": {"category": "WON"}}, "count": "1"},
        ],
        "bySegment": [{"key": {"rfm": None}, "count": "5"}],
        "byMonth": [
            {
                "key": {"occurredAt": "2025-11-01"},
                "count": "4",
                "sum": {"durationSeconds": "1260"},
                "avg": {"durationSeconds": 1260.0},
                "max": {"occurredAt": "2025-11-10T02:41:07.000000Z"},
            }
        ],
    }


async def test_related_records_of_each_record_in_groups(crm: Crm) -> None:
    document = """{ customers(where: {kind: {eq: ORGANIZATION}}, orderBy: [{name: ASC}]) { nodes {
      name
      dealsAggregate(groupBy: [{stage: {id: true}}], having: {count: {gte: "1"}}, first: 1,
        orderBy: [{key: {stage: {position: DESC}}}]) { key { stage { name } } count }
      all: interactionsAggregate { count max { subject } }
    } } }"""
    nothing = [{"count": "0", "max": {"subject": None}}]
    assert (await ask(crm, document))["customers"]["nodes"] == [
        {"name": "Acme", "dealsAggregate": [{"key": {"stage": {"name": "Won"}}, "count": "1"}], "all": nothing},
        {
            "name": "Globex",
            "dealsAggregate": [{"key": {"stage": {"name": "Qualified"}}, "count": "1"}],
            "all": nothing,
        },
    ]


async def test_conditions_on_groups(crm: Crm) -> None:
    document = """query($having: DealHaving) {
      dealsAggregate(groupBy: [{owner: {id: true}}], having: $having) { key { owner { name } } }
    }"""

    async def owners(having: Any) -> list[str]:
        found = (await ask(crm, document, having=having))["dealsAggregate"]
        return [item["key"]["owner"]["name"] for item in found]

    assert await owners({"sum": {"value": {"amount": {"gt": "700000"}, "currency": {"eq": "EUR"}}}}) == [
        "Jonas Frei"
    ]
    assert await owners({"not": {"countDistinct": {"stage": {"lt": "2"}}}}) == ["Mia Keller"]
    assert await owners({"or": [{"count": {"eq": "1"}}, {"min": {"openedOn": {"lt": "2025-03-01"}}}]}) == [
        "Mia Keller",
        "Jonas Frei",
    ]
    assert await owners({"avg": {"value": {"amount": {"lt": "0"}}}}) == []


async def test_mistakes_say_where_they_are_and_what_to_do(crm: Crm) -> None:
    assert "owner of Deal is no key of the groups; add it to groupBy" in await refused(
        crm, "{ dealsAggregate(groupBy: [{stage: {id: true}}]) { key { owner { name } } } }"
    )
    zone = "{ dealsAggregate(groupBy: [{createdAt: {unit: DAY, timeZone: %s}}]) { count } }"
    assert "did you mean 'Europe/Berlin'?" in await refused(crm, zone % '"europe/berlin"')
    assert "no time zone of the IANA database, like" in await refused(crm, zone % '"Mars"')
    many = (
        "{ customersAggregate(groupBy: [{name: true}, {kind: true}, {source: true}, {locale: true}, {note: true}])"
    )
    assert "groupBy: has 5 keys; rows can be grouped by at most 4" in await refused(crm, many + " { count } }")
    assert "is there twice" in await refused(
        crm, "{ dealsAggregate(groupBy: [{openedOn: {unit: DAY}}, {openedOn: {unit: YEAR}}]) { count } }"
    )
    assert "say in which currency to order" in await refused(
        crm, "{ dealsAggregate(groupBy: [{name: true}], orderBy: [{sum: {value: ASC}}]) { count } }"
    )
    assert "orderBy.0.key: 'name' is nothing that rows are grouped by; add it to groupBy" in await refused(
        crm, "{ dealsAggregate(orderBy: [{key: {name: ASC}}]) { count } }"
    )
    assert "orderBy.0.currency: expected a currency (ISO 4217), three capital letters like USD" in await refused(
        crm, '{ dealsAggregate(orderBy: [{sum: {value: ASC}, currency: "usd"}]) { count } }'
    )
    assert "exactly one key" in await refused(
        crm, "{ dealsAggregate(groupBy: [{name: true, note: true}]) { count } }"
    )
    document = "query($by: [DealGroup!], $order: [DealAggregateOrder!]) {"
    document += " dealsAggregate(groupBy: $by, orderBy: $order) { count } }"
    assert "exactly one field" in await refused(crm, document, by=[{"name": True, "note": True}])
    assert "exactly one" in await refused(crm, document, order=[{"sum": {"value": "ASC", "name": "ASC"}}])
    assert "expected a number from 0 to 500" in await refused(crm, "{ dealsAggregate(first: -1) { count } }")


async def test_from_python(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    open_deals = session.find(Deal).where({"stage": {"category": {"eq": "open"}}})
    assert await open_deals.aggregate("count", "sum.value", by=["stage.name"], order_by=["-stage.name"]) == [
        {
            "key": {"stage": {"name": "Qualified"}},
            "count": "1",
            "sum": {"value": [{"amount": "800000", "currency": "EUR"}]},
        },
        {
            "key": {"stage": {"name": "Offer"}},
            "count": "1",
            "sum": {"value": [{"amount": "5400000", "currency": "USD"}]},
        },
    ]
    assert await session.find(Deal).first(1).aggregate("count", by=["owner"], order_by=["-count"]) == [
        {"key": {"owner": {"id": MIA}}, "count": "2"}
    ]
    for figures, by, message in (
        ((), (), "expected figures"),
        (("sum.name",), (), "sum does not take 'name' of Deal"),
        (("median.value",), (), "unknown function 'median'"),
        (("count",), ("custom_fields",), "Deal has no 'custom_fields'"),
        (("count",), ({"created_at": True},), "a DateTime is grouped by its periods"),
        (("count",), ({"opened_on": {"unit": "era"}},), "unknown unit 'era'"),
    ):
        with pytest.raises(QueryError, match=message):
            await session.find(Deal).aggregate(*figures, by=by)


async def test_money_that_is_computed_is_money_everywhere(crm: Crm) -> None:
    document = """{ deals(where: {weightedValue: {amount: {gt: "200000"}, currency: {eq: "USD"}}},
      orderBy: [{weightedValue: ASC}]) { nodes { name weightedValue { amount currency } } } }"""
    data = await ask(crm, document)
    assert data["deals"]["nodes"] == [
        {"name": "Renewal 2026", "weightedValue": {"amount": "3240000", "currency": "USD"}}
    ]
    row = await crm.acting_as(SYSTEM).find(Deal).select("weighted_value").get(PILOT)
    assert row == {"weighted_value": {"amount": "160000", "currency": "EUR"}}


async def test_days_are_those_of_the_time_zone(make_crm: MakeCrm) -> None:
    """Clocks go forward in Berlin on March 29, 2026."""
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        times = ["2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"]
        rows = [{"channel": "phone", "direction": "inbound", "occurred_at": time} for time in times]
        assert not (await session.create(Interaction, rows)).errors

        async def counts(unit: str, zone: str) -> dict[str, str]:
            by = {"occurred_at": {"unit": unit, "time_zone": zone}}
            found = await session.find(Interaction).aggregate("count", by=[by])
            return {item["key"]["occurred_at"]: item["count"] for item in found}

        assert await counts("day", "UTC") == {"2026-03-28": "2", "2026-03-29": "2"}
        assert await counts("day", "Europe/Berlin") == {"2026-03-28": "1", "2026-03-29": "2", "2026-03-30": "1"}
        assert await counts("week", "Europe/Berlin") == {"2026-03-23": "3", "2026-03-30": "1"}
        assert await counts("quarter", "Asia/Kolkata") == {"2026-01-01": "4"}


async def test_sums_beyond_64_bits_are_refused_and_those_within_are_exact(make_crm: MakeCrm) -> None:
    most = 2**63 - 1
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        pipeline = (await session.create("Pipeline", [{"name": "Sales"}])).ids[0]
        stage = (await session.create("Stage", [{"pipeline_id": pipeline, "name": "New"}])).ids[0]

        async def sell(*amounts: int) -> None:
            rows: list[dict[str, Any]] = [
                {"name": "d", "stage_id": stage, "value": {"amount": amount, "currency": "USD"}}
                for amount in amounts
            ]
            assert not (await session.create(Deal, rows)).errors

        # in between it is beyond 64 bits, whatever the order
        await sell(most, most, -most, -5, 4)
        (found,) = await session.find(Deal).aggregate("sum.value", "avg.value", "count")
        assert found["sum"]["value"] == [{"amount": str(most - 1), "currency": "USD"}]
        assert found["avg"]["value"] == [{"amount": str((2 * (most - 1) + 5) // 10), "currency": "USD"}]
        await sell(most)
        with pytest.raises(QueryError, match="beyond 64 bits"):
            await session.find(Deal).aggregate("sum.value")


async def test_what_may_not_be_read_is_in_no_figure(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        crm.policy = RolePolicy(crm.catalog, {})
        await company.company(crm.acting_as(SYSTEM))
        catalog = crm.catalog
        mine = Compare("id", "ne", decode_id("dea", PILOT))
        fields = frozenset(catalog["Deal"].field_names()) - {"value"}
        grants: dict[Any, TypeGrant] = {
            (catalog["Deal"].code, "read"): TypeGrant(RowRule("where", mine), fields),
            (catalog["Stage"].code, "read"): TypeGrant(RowRule()),
            (catalog["Pipeline"].code, "read"): TypeGrant(RowRule()),
            (catalog["User"].code, "read"): TypeGrant(RowRule("where", Compare("name", "eq", "nobody"))),
        }
        reader = crm.acting_as(Principal("user", "usr_reader", roles=(Role("r", grants=grants),)))
        find = reader.find(Deal)
        assert await find.aggregate("count", by=["stage.name"]) == [
            {"key": {"stage": {"name": "Offer"}}, "count": "1"},
            {"key": {"stage": {"name": "Won"}}, "count": "1"},
        ]
        # owners out of reach are no key, and are not counted
        assert await find.aggregate("count", "count_distinct.owner", by=["owner"]) == [
            {"key": {"owner": None}, "count": "2", "count_distinct": {"owner": "0"}}
        ]
        for figures, more in (
            (("sum.value",), {}),
            (("sum.weighted_value",), {}),
            (("count",), {"having": {"sum": {"value": {"amount": {"gt": 1}}}}}),
            (("count",), {"by": ["stage"], "order_by": ["-sum.value.USD"]}),
        ):
            with pytest.raises(FieldDenied, match="value"):
                await find.aggregate(*figures, **more)


@pytest.mark.once
async def test_money_needs_a_currency_and_whole_units() -> None:
    class Wrong(Plugin):
        name = "wrong"

        def fields(self) -> Any:
            return [
                expression(Deal, "a", Percent(Field("value_minor"), 10), currency="price"),
                expression(Customer, "b", Percent(10, 10), currency="value"),
                expression(Deal, "c", Percent(Field("value_minor"), Field("name")), currency="value"),
            ]

    with pytest.raises(CompositionError) as caught:
        compose(from_mapping({}), [Wrong])
    text = "\n".join(caught.value.problems)
    assert "the field 'a' on Deal has the currency of 'price'; expected a money field of Deal (value)" in text
    assert "expected a money field of Customer (it has none)" in text
    assert "% needs numbers, and one side is a String" in text
