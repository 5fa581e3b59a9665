"""What plugins add to the GraphQL schema, and what happens when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
import strawberry
from pydantic import BaseModel, EmailStr, Field
from strawberry.types.base import StrawberryList

from amity import (
    SYSTEM,
    Action,
    Context,
    Count,
    Crm,
    Customer,
    Deal,
    Divide,
    Permission,
    Plugin,
    Refs,
    Sum,
    Update,
    UserError,
    batch,
    expression,
)
from amity.contracts import IdOf
from amity_graphql import EntityTypes, GraphQLParts, execute, page

from . import company
from .company import ACME, ANN, BOB, GLOBEX, MIA, OFFER

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
Given = Mapping[str, Any]


async def ask(crm: Crm, document: str, **variables: Any) -> Any:
    result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    assert not result.errors, result.errors
    return result.data


async def partial(crm: Crm, document: str, **variables: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Data and errors of an operation that gives both."""
    found = (await execute(crm, crm.acting_as(SYSTEM), document, variables)).formatted()
    return found["data"], found["errors"]


# --- fields on other people's entities ----------------------------------------------------------------------


class Tier(Enum):
    """How well a customer is looked after."""

    GOLD = "gold"
    SILVER = "silver"


@dataclass
class Reward:
    """Something to give away."""

    title: str
    points: int
    tier: Tier
    tags: list[str]
    until: date | None = None


class Advice(BaseModel):
    """What to do next."""

    text: str = Field(description="What to do")
    why: list[Reward]
    mood: Literal["sunny", "rainy"] = "sunny"


async def rewards(_: Context, parents: Sequence[Given], arguments: Given) -> Sequence[Any]:
    return [
        ValueError("none left")
        if parent["name"] == "Globex"
        else Reward(f"Cake for {parent['name']}", arguments["minimum"], Tier.GOLD, ["sweet"], date(2026, 1, 31))
        for parent in parents
    ]


async def advice(_: Context, parents: Sequence[Given], __: Given) -> Sequence[Any]:
    return [
        Advice(text=f"Call {(p['organization'] or p)['name']}", why=[Reward("Tea", 1, Tier.SILVER, [])])
        for p in parents
    ]


async def breaking(_: Context, __: Sequence[Given], ___: Given) -> Sequence[Any]:
    raise RuntimeError("out of order")


async def wrong(_: Context, parents: Sequence[Given], __: Given) -> Sequence[Any]:
    return ["no number" if parent["name"] == "Acme" else 7 for parent in parents]


class Loyalty(Plugin):
    """Rewards for customers."""

    name = "loyalty"
    version = "2.1"

    def fields(self) -> Sequence[Any]:
        return [
            expression(Customer, "deal_count", Count("deals"), description="How many deals there are"),
            expression(Customer, "broken_ratio", Divide(Count("deals"), Count("contact_points"))),
            batch(
                Customer,
                "next_reward",
                Reward,
                needs=["name"],
                resolve=rewards,
                description="What comes next",
                arguments={"minimum": (int, 5), "tier": (Tier | None, None)},
                deprecated="use advice",
            ),
            batch(Customer, "advice", Advice, needs=["name", "organization.name"], resolve=advice),
            batch(Customer, "breaking", str, needs=[], resolve=breaking),
            batch(Customer, "lucky_number", int, needs=["name"], resolve=wrong),
        ]


async def test_expression_and_batch_fields_come_with_the_same_statement(make_crm: MakeCrm) -> None:
    async with make_crm([Loyalty], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        before = crm.database.statements
        data = await ask(
            crm,
            """{
              customers(where: {dealCount: {gte: "2"}}, orderBy: [{dealCount: DESC}]) { nodes {
                name count: dealCount
                reward: nextReward(minimum: 9) { title points again: points tier until __typename }
                nextReward { points tags }
                advice { text mood why { title tier } }
                members(orderBy: [{name: ASC}]) { nodes { advice { text } } }
              } }
            }""",
        )
        assert crm.database.statements == before + 1
        assert data["customers"]["nodes"] == [
            {
                "name": "Acme",
                "count": "2",
                "reward": {
                    "title": "Cake for Acme",
                    "points": 9,
                    "again": 9,
                    "tier": "GOLD",
                    "until": "2026-01-31",
                    "__typename": "Reward",
                },
                "nextReward": {"points": 5, "tags": ["sweet"]},
                "advice": {"text": "Call Acme", "mood": "SUNNY", "why": [{"title": "Tea", "tier": "SILVER"}]},
                "members": {"nodes": [{"advice": {"text": "Call Acme"}}, {"advice": {"text": "Call Acme"}}]},
            }
        ]


async def test_a_batch_field_that_fails_for_some_is_null_for_them_alone(make_crm: MakeCrm) -> None:
    async with make_crm([Loyalty], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        data, errors = await partial(
            crm,
            """{
              companies: customers(where: {kind: {eq: ORGANIZATION}}, orderBy: [{name: ASC}]) {
                edges { node { name gift: nextReward { title } luckyNumber } }
              }
            }""",
        )
        assert data["companies"]["edges"] == [
            {"node": {"name": "Acme", "gift": {"title": "Cake for Acme"}, "luckyNumber": None}},
            {"node": {"name": "Globex", "gift": None, "luckyNumber": 7}},
        ]
        assert errors == [
            {
                "message": "plugin 'loyalty': Customer.nextReward failed",
                "locations": [{"line": 3, "column": 37}],
                "path": ["companies", "edges", 1, "node", "gift"],
                "extensions": {"code": "PLUGIN_FAILED", "plugin": "loyalty"},
            },
            {
                "message": "plugin 'loyalty': Customer.luckyNumber failed",
                "locations": [{"line": 3, "column": 64}],
                "path": ["companies", "edges", 0, "node", "luckyNumber"],
                "extensions": {"code": "PLUGIN_FAILED", "plugin": "loyalty"},
            },
        ]


async def test_a_batch_field_that_fails_for_all_gives_one_error(
    make_crm: MakeCrm, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_crm([Loyalty], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        data, errors = await partial(
            crm,
            """query($ids: [ID!]!) {
              customers(orderBy: [{name: ASC}]) { totalCount nodes { breaking } }
              nodes(ids: $ids) { __typename ... on Customer { name breaking } ... on User { email } }
            }""",
            ids=[MIA, ANN, BOB],
        )
        assert data["customers"] == {"totalCount": "5", "nodes": [{"breaking": None}] * 5}
        assert data["nodes"][1] == {"__typename": "Customer", "name": "Ann Lee", "breaking": None}
        paths = {tuple(error["path"]): error["extensions"].get("count") for error in errors}
        assert paths == {("customers", "nodes", 0, "breaking"): 5, ("nodes", 1, "breaking"): 2}
        assert all("plugin 'loyalty': Customer.breaking failed" in error["message"] for error in errors)


class Wealth(Plugin):
    """Adds up what can't be added up."""

    name = "wealth"

    def fields(self) -> Sequence[Any]:
        return [expression(Customer, "wealth", Sum("deals.value_minor"), description="All of it")]


async def test_an_expression_that_breaks_the_statement_is_null_and_the_rest_is_there(make_crm: MakeCrm) -> None:
    async with make_crm([Wealth, Loyalty], {"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        await company.company(session)
        most = {"amount": 2**63 - 1, "currency": "USD"}
        rows = [{"name": f"Deal {n}", "customer_id": ANN, "stage_id": OFFER, "value": most} for n in (1, 2)]
        assert not (await session.create(Deal, rows)).errors
        data, errors = await partial(
            crm, "query($id: ID!) { ann: customer(id: $id) { name all: wealth } deals { totalCount } }", id=ANN
        )
        assert data == {"ann": {"name": "Ann Lee", "all": None}, "deals": {"totalCount": "5"}}
        (error,) = errors
        assert error["path"] == ["ann", "all"]
        assert error["locations"] == [{"line": 1, "column": 49}]
        assert error["extensions"] == {"code": "PLUGIN_FAILED", "plugin": "wealth"}
        data, errors = await partial(
            crm, "{ customers(orderBy: [{wealth: DESC}]) { nodes { name } } deals { totalCount } }"
        )
        assert data is None
        (error,) = errors
        assert error["path"] == ["customers"]
        assert error["extensions"] == {"code": "PLUGIN_FAILED", "plugin": "wealth"}
        assert "an expression in where or orderBy failed" in error["message"]


# --- root fields --------------------------------------------------------------------------------------------


class Matching(Plugin):
    """Finds customers in ways of its own."""

    name = "matching"

    def graphql(self, types: EntityTypes) -> GraphQLParts:
        @strawberry.type(description="A customer who fits")
        class Match:
            score: float = strawberry.field(description="How well, from 0 to 1")
            customer: Any = strawberry.field(graphql_type=types[Customer], description="Who")

        async def by_name(info: strawberry.Info, name: str) -> Any:
            found = await info.context.session.find(Customer).where({"name": {"eq": name}}).one()
            return found and found["id"]

        async def matches(info: strawberry.Info) -> Any:
            return [Match(score=1.0, customer=ANN), Match(score=0.5, customer=BOB)]

        def find_organizations(info: strawberry.Info, first: int | None = None, after: str | None = None) -> Any:
            find = info.context.session.find(Customer).where({"kind": {"eq": "organization"}}).order_by("-name")
            return page(find, first=first, after=after)

        def newest(info: strawberry.Info, count: int) -> Any:
            return info.context.session.find(Customer).order_by("-name").first(count)

        def find_several() -> Any:
            return Refs(Customer, [UUID(ANN[4:]), None, UUID(BOB[4:])])

        def find_anything() -> Any:
            return MIA

        async def find_slowly() -> int:
            await asyncio.sleep(60)
            return 1

        def find_failing() -> int:
            raise RuntimeError("the password is 1234")

        def find_mistaken() -> Any:
            return {"name": "not an id"}

        @strawberry.type
        class Query:
            customer_by_name: Any = strawberry.field(
                resolver=by_name, graphql_type=types.optional(Customer), description="By name"
            )
            best_matches: Any = strawberry.field(
                resolver=matches, graphql_type=list[Match], description="Who fits"
            )
            organizations: Any = strawberry.field(
                resolver=find_organizations, graphql_type=types.connection(Customer), description="Companies"
            )
            newest_customers: Any = strawberry.field(
                resolver=newest, graphql_type=types.list(Customer), description="Newest"
            )
            several_customers: Any = strawberry.field(
                resolver=find_several, graphql_type=types.list(Customer), description="Some"
            )
            present_customers: Any = strawberry.field(
                resolver=find_several,
                graphql_type=StrawberryList(types[Customer]),
                description="Those who are there",
            )
            anything: Any = strawberry.field(
                resolver=find_anything, graphql_type=types.node, description="Whatever"
            )
            slow: int = strawberry.field(resolver=find_slowly, description="Takes its time")
            failing: int = strawberry.field(resolver=find_failing, description="Fails")
            mistaken: Any = strawberry.field(
                resolver=find_mistaken, graphql_type=types[Customer], description="Returns what is no id"
            )

        async def rename_one(info: strawberry.Info, id: strawberry.ID, name: str) -> Any:
            result = await info.context.session.update(Customer, [Update(id, {"name": name})])
            return result.ids[0]

        @strawberry.type
        class Mutation:
            rename: Any = strawberry.field(
                resolver=rename_one, graphql_type=types[Customer], description="Renames a customer"
            )

        return GraphQLParts(query=Query, mutation=Mutation)


async def test_what_root_fields_of_plugins_select_of_entities_is_compiled(make_crm: MakeCrm) -> None:
    async with make_crm([Matching, Loyalty], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        before = crm.database.statements
        data = await ask(
            crm,
            """{
              organizations(first: 1) { totalCount nodes { name dealCount } pageInfo { hasNextPage } }
              newestCustomers(count: 2) { name }
              severalCustomers { name }
              presentCustomers { name nextReward { title } }
              anything { __typename id ... on User { email } }
              bestMatches { score customer { name organization { name } } }
              deals { totalCount }
            }""",
        )
        assert data == {
            "organizations": {
                "totalCount": "2",
                "nodes": [{"name": "Globex", "dealCount": "1"}],
                "pageInfo": {"hasNextPage": True},
            },
            "newestCustomers": [{"name": "王伟"}, {"name": "Globex"}],
            "severalCustomers": [{"name": "Ann Lee"}, None, {"name": "Bob Stone"}],
            "presentCustomers": [
                {"name": "Ann Lee", "nextReward": {"title": "Cake for Ann Lee"}},
                {"name": "Bob Stone", "nextReward": {"title": "Cake for Bob Stone"}},
            ],
            "anything": {"__typename": "User", "id": MIA, "email": "mia@ourcompany.example"},
            "bestMatches": [
                {"score": 1.0, "customer": {"name": "Ann Lee", "organization": {"name": "Acme"}}},
                {"score": 0.5, "customer": {"name": "Bob Stone", "organization": {"name": "Acme"}}},
            ],
            "deals": {"totalCount": "3"},
        }
        # one for everything that was known at once, one for what an asynchronous resolver came up with later
        assert crm.database.statements - before <= 2
        data = await ask(
            crm,
            """{ customerByName(name: "Acme") { name deals { totalCount } }
                 none: customerByName(name: "?") { name } }""",
        )
        assert data == {"customerByName": {"name": "Acme", "deals": {"totalCount": "2"}}, "none": None}


async def test_mutations_of_plugins_return_entities_too(make_crm: MakeCrm) -> None:
    async with make_crm([Matching], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        data = await ask(
            crm,
            'mutation($id: ID!) { a: rename(id: $id, name: "Ann L.") { name version }'
            ' b: rename(id: $id, name: "Ann") { name version } }',
            id=ANN,
        )
        assert data == {"a": {"name": "Ann L.", "version": 2}, "b": {"name": "Ann", "version": 3}}


async def test_a_root_field_that_fails_takes_nothing_else_with_it(
    make_crm: MakeCrm, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_crm([Matching], {"plugins": ["graphql"]}) as crm:
        data, errors = await partial(crm, "{ failing mistaken { name } teams { totalCount } }")
        assert data == {"failing": None, "mistaken": None, "teams": {"totalCount": "0"}}
        assert [error["path"] for error in errors] == [["failing"], ["mistaken"]]
        assert errors[0]["message"].startswith("plugin 'matching': Query.failing failed; it was logged as")
        assert errors[0]["extensions"]["plugin"] == "matching"
        assert "1234" not in str(errors)
        assert errors[0]["extensions"]["reference"] in caplog.text
        assert "the password is 1234" in caplog.text


async def test_a_root_field_that_takes_too_long_is_given_up(
    make_crm: MakeCrm, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_crm([Matching], {"plugins": ["graphql"], "graphql": {"resolver_timeout": 0.05}}) as crm:
        data, errors = await partial(crm, "{ slow teams { totalCount } }")
        assert data == {"slow": None, "teams": {"totalCount": "0"}}
        assert errors[0]["message"].startswith("plugin 'matching': Query.slow failed; it was logged as")
        assert "took longer than 0.05 seconds" in caplog.text


# --- actions ------------------------------------------------------------------------------------------------


class Line(BaseModel):
    """A line of an order."""

    product: str
    quantity: int = Field(default=1, gt=0, description="How many")


class Order(BaseModel):
    """An order to place."""

    customer_id: Annotated[UUID, IdOf(Customer)]
    lines: list[Line] = Field(description="What is ordered")
    priority: Literal["low", "high"] = "low"
    contact: EmailStr | None = None
    due_on: date | None = None
    extra: dict[str, Any] | None = None


class Receipt(BaseModel):
    """What came of an order."""

    number: str
    total: int
    customer_id: Annotated[UUID, IdOf(Customer)]
    lines: list[Line]


async def place(context: Context, inputs: Sequence[Order]) -> Sequence[Any]:
    return [
        UserError(0, ("lines", 0, "product"), "sold_out", "is sold out")
        if order.lines[0].product == "Cake"
        else Receipt(
            number=f"{order.priority}-{order.due_on}",
            total=sum(line.quantity for line in order.lines),
            customer_id=order.customer_id,
            lines=order.lines,
        )
        for order in inputs
    ]


async def count(context: Context, inputs: Sequence[BaseModel]) -> Sequence[Any]:
    return [{"deals": await context.session.find(Deal).count(), "at": date(2026, 1, 1)} for _ in inputs]


class Nothing(BaseModel):
    """No input at all."""

    dry_run: bool = False


class Shop(Plugin):
    """Orders."""

    name = "shop"

    def permissions(self) -> Sequence[Permission]:
        return [Permission("shop.order", "Place orders")]

    def actions(self) -> Sequence[Action[Any]]:
        return [
            Action("place_order", Order, run=place, permission="shop.order", output=Receipt, description="Orders"),
            Action("count_deals", Nothing, run=count, permission="shop.order"),
        ]


async def test_actions_take_and_return_models(make_crm: MakeCrm) -> None:
    async with make_crm([Shop], {"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        document = """mutation($orders: [PlaceOrderInput!]!, $one: PlaceOrderInput!) {
          placeOrder(input: $one) {
            result { number total customerId lines { product n: quantity } }
            userErrors { path code message }
          }
          placeOrderBatch(input: $orders, onError: SKIP_INVALID) {
            results { total }
            userErrors { index path code message }
          }
          countDeals(input: {dryRun: true}) { result }
        }"""
        order = {
            "customerId": ACME,
            "lines": [{"product": "Tea", "quantity": 2}, {"product": "Milk"}],
            "priority": "HIGH",
            "dueOn": "2026-02-03",
            "contact": "a@b.example",
            "extra": {"gift": True},
        }
        data = await ask(
            crm,
            document,
            one=order,
            orders=[
                order,
                {"customerId": ACME, "lines": [{"product": "Cake"}]},
                {"customerId": MIA, "lines": [{"product": "Tea", "quantity": 0}]},
            ],
        )
        assert data["placeOrder"] == {
            "result": {
                "number": "high-2026-02-03",
                "total": 3,
                "customerId": ACME,
                "lines": [{"product": "Tea", "n": 2}, {"product": "Milk", "n": 1}],
            },
            "userErrors": [],
        }
        batch = data["placeOrderBatch"]
        assert batch["results"] == [{"total": 3}, None, None]
        assert [(e["index"], e["path"], e["code"]) for e in batch["userErrors"]] == [
            (1, ["lines", "0", "product"], "sold_out"),
            (2, ["customerId"], "invalid"),
            (2, ["lines", "0", "quantity"], "invalid"),
        ]
        assert data["countDeals"] == {"result": {"deals": 3, "at": "2026-01-01"}}
        assert GLOBEX
