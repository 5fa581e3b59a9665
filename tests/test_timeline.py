"""The timeline of a customer: interactions, moves between stages, and what plugins put on it."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    AccessDenied,
    CompositionError,
    Count,
    Crm,
    Customer,
    Entity,
    EntityOptions,
    Generic,
    Interaction,
    Plugin,
    Principal,
    QueryError,
    Stage,
    StageMove,
    TimelineEntry,
    batch,
    expression,
)
from amity.access.roles import Role, RolePolicy, RowRule, TypeGrant
from amity.composition import compose
from amity.contracts import Context, FieldDeclaration
from amity.entity import encode_id
from amity.query import parse_where
from amity.settings import from_mapping
from amity.testing import make_crm, recorded
from amity.tree import (
    Compare,
    Connected,
    Connection,
    Cursor,
    Edges,
    Linked,
    Node,
    Nodes,
    Page,
    PageInfo,
    Scalar,
    Timeline,
    TotalCount,
)
from amity_graphql.api import execute

from .test_query_law import make_stages

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "40"))
VERSIONS = itertools.count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Order(Entity):
    """Something that a customer ordered."""

    customer: Any = fields.ForeignKeyField("core.Customer", related_name="orders", description="Who ordered")
    number = fields.CharField(max_length=20, description="Its number")
    placed_at = fields.DatetimeField(null=True, description="When it was placed (UTC); null while it is a draft")

    options = EntityOptions(prefix="ord", api=EDITABLE)


class Refund(Entity):
    """Money that went back for an order."""

    order: Any = fields.ForeignKeyField("shop.Order", related_name="refunds", description="What was refunded")
    paid_at = fields.DatetimeField(description="When it was paid (UTC)")

    options = EntityOptions(prefix="ref", api=EDITABLE)


class Remark(Entity):
    """Something that was said of any record."""

    about_type = fields.CharField(max_length=100, description="Entity that it is about")
    about_id = fields.UUIDField(description="Id of the record that it is about")
    said_at = fields.DatetimeField(description="When (UTC)")

    options = EntityOptions(prefix="rem", api=EDITABLE, generic=(Generic("about", related_name="remarks"),))


async def shout(context: Context, parents: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> list[str]:
    return [f"{parent['number']}!" for parent in parents]


async def whisper(context: Context, parents: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> list[str]:
    return [f"({parent['channel']})" for parent in parents]


class Shop(Plugin):
    """Orders and refunds, on the timeline by one and by two references."""

    name = "shop"

    def entities(self) -> Sequence[type[Entity]]:
        return (Order, Refund)

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Order, "refund_count", Count("refunds")),
            batch(Order, "loud", str, needs=["number"], resolve=shout),
            batch(Interaction, "loud", str, needs=["channel"], resolve=whisper),
        ]

    def timeline(self) -> Sequence[TimelineEntry]:
        return (
            TimelineEntry(Order, at="placed_at"),
            TimelineEntry(Refund, at="paid_at", customer="order.customer"),
        )


# --- a company with a timeline -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Happened:
    """One thing that happens to the customer of this number, so many microseconds after the start."""

    kind: str
    customer: int
    at: int | None
    deleted: bool = False


@dataclass
class Stand:
    crm: Crm
    customers: list[UUID]
    stages: list[str]

    async def fill(self, happened: Sequence[Happened]) -> dict[str, list[tuple[datetime, str, UUID]]]:
        """Makes it happen; what must be on each customer's timeline."""
        await self.clear()
        session = self.crm.acting_as(SYSTEM)
        found: dict[str, list[tuple[datetime, str, UUID]]] = {encode_id("cus", id): [] for id in self.customers}
        for item in happened:
            customer = self.customers[item.customer]
            at = None if item.at is None else START + timedelta(microseconds=item.at)
            code, id, shown = await self.happen(item.kind, customer, at)
            if item.deleted and code != "core.StageMove":
                await session.delete(code.split(".")[1], [id])
            elif shown is not None:
                found[encode_id("cus", customer)].append((shown, code, id))
        return found

    async def happen(self, kind: str, customer: UUID, at: datetime | None) -> tuple[str, UUID, datetime | None]:
        session = self.crm.acting_as(SYSTEM)
        match kind:
            case "Interaction":
                row: dict[str, Any] = {"channel": "phone", "direction": "inbound", "occurred_at": at or START}
                made = await session.create(Interaction, [row | {"customer_id": customer}])
                return "core.Interaction", _id(made), at or START
            case "StageMove":
                await session.create("Deal", [{"name": "D", "customer_id": customer, "stage_id": self.stages[0]}])
                (move,) = await session.find(StageMove).select("id", "moved_at").order_by("-id").first(1).all()
                return "core.StageMove", UUID(move["id"][4:]), datetime.fromisoformat(move["moved_at"])
            case "Order":
                made = await session.create(Order, [{"number": "7", "customer_id": customer, "placed_at": at}])
                return "shop.Order", _id(made), at
        order = _id(await session.create(Order, [{"number": "8", "customer_id": customer}]))
        made = await session.create(Refund, [{"order_id": order, "paid_at": at or START}])
        return "shop.Refund", _id(made), at or START

    async def clear(self) -> None:
        async def clear(transaction: Any) -> None:
            for name in ("Refund", "Order", "StageMove", "Deal", "Interaction"):
                await transaction.execute(f'DELETE FROM "{self.crm.catalog[name].table}"')

        await self.crm.database.transact(clear)

    async def ask(self, document: str, who: Principal = SYSTEM, **variables: Any) -> dict[str, Any]:
        result = await execute(self.crm, self.crm.acting_as(who), document, variables)
        answer: dict[str, Any] = orjson.loads(result.encode())
        return answer

    async def data(self, document: str, who: Principal = SYSTEM, **variables: Any) -> dict[str, Any]:
        answer = await self.ask(document, who, **variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


def _id(made: Any) -> UUID:
    assert not made.errors, made.errors
    id: UUID = made.ids[0]
    return id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(server_url: str | None) -> AsyncIterator[Stand]:
    async with make_crm([Shop], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        crm.policy = RolePolicy(crm.catalog, {})
        session = crm.acting_as(SYSTEM)
        await make_stages(crm)
        stages = [row["id"] for row in await session.find(Stage).order_by("position").all()]
        made = await session.create(Customer, [{"kind": "person", "name": name} for name in ("Ann", "Bob", "Eve")])
        yield Stand(crm, [id for id in made.ids if id is not None], stages)


# --- what a user sees ----------------------------------------------------------------------------------------

EVERYTHING = """query($id: ID!, $first: Int, $after: String) {
  customer(id: $id) {
    timeline(first: $first, after: $after) {
      totalCount
      pageInfo { hasNextPage hasPreviousPage endCursor }
      edges {
        at
        node {
          __typename
          ... on Node { id }
          ... on Interaction { channel }
          ... on StageMove { toStage { name } }
          ... on Order { number refunds { totalCount } refundCount loud }
        }
      }
    }
  }
}"""


async def test_what_happened_to_a_customer_is_one_list_by_time(stand: Stand) -> None:
    story = [Happened("Order", 0, 3), Happened("Interaction", 0, 1), Happened("Refund", 0, 2)]
    await stand.fill([*story, Happened("StageMove", 0, None), Happened("Interaction", 1, 9)])
    ann = encode_id("cus", stand.customers[0])
    with recorded() as statements:
        data = await stand.data(EVERYTHING, id=ann, first=3)
    assert len(statements) == 1
    timeline = data["customer"]["timeline"]
    assert timeline["totalCount"] == "4"
    nodes = [{k: v for k, v in edge["node"].items() if k != "id"} for edge in timeline["edges"]]
    assert nodes == [
        {"__typename": "StageMove", "toStage": {"name": "New"}},
        {
            "__typename": "Order",
            "number": "7",
            "refunds": {"totalCount": "0"},
            "refundCount": "0",
            "loud": "7!",
        },
        {"__typename": "Refund"},
    ]
    assert timeline["edges"][1]["at"] == "2026-01-01T00:00:00.000003Z"
    assert timeline["pageInfo"]["hasNextPage"] is True
    rest = await stand.data(EVERYTHING, id=ann, after=timeline["pageInfo"]["endCursor"])
    assert [edge["node"]["__typename"] for edge in rest["customer"]["timeline"]["edges"]] == ["Interaction"]
    assert rest["customer"]["timeline"]["pageInfo"]["hasPreviousPage"] is True


async def test_types_times_and_order_narrow_a_timeline(stand: Stand) -> None:
    await stand.fill(
        [Happened(kind, 0, at) for at, kind in enumerate(("Order", "Interaction", "Refund", "Order"))]
    )
    data = await stand.data(
        """query($id: ID!, $types: [TimelineType!], $at: DateTimeFilter) {
          customer(id: $id) {
            orders: timeline(types: $types, order: OLDEST_FIRST) { totalCount nodes { ...kind } }
            early: timeline(where: {at: $at}, last: 1) { totalCount nodes { ...kind } edges { cursor } }
            none: timeline(first: 0) { totalCount nodes { ...kind } }
          }
        }
        fragment kind on TimelineNode { __typename ... on Order { placedAt } }""",
        id=encode_id("cus", stand.customers[0]),
        types=["ORDER"],
        at={"lt": "2026-01-01T00:00:00.000002Z"},
    )
    times = [node["placedAt"] for node in data["customer"]["orders"]["nodes"]]
    assert times == ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000003Z"]
    assert data["customer"]["orders"]["totalCount"] == "2"
    assert data["customer"]["early"]["totalCount"] == "2"
    assert [node["__typename"] for node in data["customer"]["early"]["nodes"]] == ["Order"]
    assert data["customer"]["none"] == {"totalCount": "4", "nodes": []}


async def test_batch_fields_of_one_name_on_two_types(stand: Stand) -> None:
    await stand.fill([Happened("Order", 0, 1), Happened("Interaction", 0, 2), Happened("Refund", 0, 3)])
    document = """{ customers(orderBy: [{name: ASC}]) { nodes { timeline { nodes {
      ... on Order { loud } ... on Interaction { loud }
    } } } } }"""
    ann, *_ = (await stand.data(document))["customers"]["nodes"]
    assert ann["timeline"]["nodes"] == [{}, {"loud": "(phone)"}, {"loud": "7!"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("types: []", "names no type; leave it out for all of them"),
        ("first: 1, last: 1", "first and last exclude each other"),
        ('after: "x"', "'x' is no cursor"),
        ("where: {at: null}", "is null; leave it out"),
        ('where: {at: {gt: "soon"}}', "soon"),
        ("types: [CUSTOMER]", "CUSTOMER"),
    ],
)
async def test_a_mistake_in_a_timelines_arguments_is_told(stand: Stand, arguments: str, message: str) -> None:
    answer = await stand.ask(
        f"{{ customers {{ nodes {{ timeline({arguments}) {{ nodes {{ __typename }} }} }} }} }}"
    )
    assert message in answer["errors"][0]["message"], answer


async def test_a_cursor_of_the_other_order_is_refused(stand: Stand) -> None:
    await stand.fill([Happened("Order", 0, 1)])
    ann = encode_id("cus", stand.customers[0])
    data = await stand.data(EVERYTHING, id=ann, first=1)
    cursor = data["customer"]["timeline"]["pageInfo"]["endCursor"]
    document = """query($c: String) { customers { nodes {
      timeline(after: $c, order: OLDEST_FIRST) { nodes { __typename } }
    } } }"""
    answer = await stand.ask(document, c=cursor)
    assert "the cursor belongs to another ordering" in answer["errors"][0]["message"], answer


async def test_from_python_a_timeline_is_a_node_of_the_query_tree(stand: Stand) -> None:
    await stand.fill([Happened("Order", 0, 1), Happened("Interaction", 0, 2)])
    nodes = Nodes(
        "nodes", {"Order": (Scalar("number", "number"),), "Interaction": (Scalar("channel", "channel"),)}
    )
    timeline = Timeline("timeline", Page((nodes,), first=5), types=("Order", "Interaction"))
    session = stand.crm.acting_as(SYSTEM)
    page = Page(
        (Nodes("nodes", (timeline,)),), parse_where(session.crm.catalog, _customer(stand), {"name": {"eq": "Ann"}})
    )
    answer = (await session.read({"x": Connection("Customer", page)})).parsed()
    assert answer["x"]["nodes"] == [{"timeline": {"nodes": [{"channel": "phone"}, {"number": "7"}]}}]
    with pytest.raises(QueryError, match="'Deal' takes no part in the timeline; known are Interaction, StageMove"):
        session.compile({"x": Connection("Customer", Page((Nodes("n", (Timeline("t", Page(()), ("Deal",)),)),)))})
    with pytest.raises(QueryError, match="Deal has no timeline"):
        session.compile({"x": Connection("Deal", Page((Nodes("n", (Timeline("t", Page(())),)),)))})


def _customer(stand: Stand) -> Any:
    return stand.crm.catalog["Customer"]


# --- laws ----------------------------------------------------------------------------------------------------

KINDS = ("Interaction", "StageMove", "Order", "Refund")


@st.composite
def pasts(draw: st.DrawFn) -> list[Happened]:
    return [
        Happened(
            draw(st.sampled_from(KINDS)),
            draw(st.integers(0, 1)),
            draw(st.none() | st.integers(0, 3)),
            draw(st.integers(0, 5)) == 0,
        )
        for _ in range(draw(st.integers(0, 9)))
    ]


@dataclass(frozen=True)
class Asked:
    size: int
    backward: bool
    oldest_first: bool
    types: tuple[str, ...] | None
    since: int | None
    deep: bool
    """Whether there is a page below a node, for which the statement is laid out in another way."""

    def timeline(self, cursor: str | None) -> Timeline:
        below = {"Order": (Scalar("id", "id"), Linked("customer", "customer", (Scalar("id", "id"),)))}
        choices: dict[str, Any] = {name: (Scalar("id", "id"),) for name in KINDS}
        if self.deep:
            inner = Page((TotalCount("count"), Nodes("nodes", (Scalar("id", "id"),))))
            below["Order"] = (*below["Order"], Connected("refunds", "refunds", inner))  # type: ignore[assignment]
        page = Page(
            (
                TotalCount("total"),
                Edges("edges", (Cursor("cursor"), Scalar("at", "at"), Node("node", choices | below))),
                PageInfo(
                    "info",
                    (
                        ("next", "hasNextPage"),
                        ("previous", "hasPreviousPage"),
                        ("start", "startCursor"),
                        ("end", "endCursor"),
                    ),
                ),
            ),
            None if self.since is None else Compare("at", "gte", START + timedelta(microseconds=self.since)),
            **({"last": self.size, "before": cursor} if self.backward else {"first": self.size, "after": cursor}),  # type: ignore[arg-type]
        )
        return Timeline("timeline", page, self.types, self.oldest_first)

    def expected(self, entries: Sequence[tuple[datetime, str, UUID]]) -> list[tuple[datetime, str, UUID]]:
        kept = [
            entry
            for entry in entries
            if (self.types is None or entry[1].split(".")[1] in self.types)
            and (self.since is None or entry[0] >= START + timedelta(microseconds=self.since))
        ]
        return sorted(kept, key=lambda entry: (entry[0], entry[1], entry[2].int), reverse=not self.oldest_first)


ASKED = st.builds(
    Asked,
    st.integers(0, 4),
    st.booleans(),
    st.booleans(),
    st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
    st.none() | st.integers(0, 3),
    st.booleans(),
)


async def test_pages_of_timelines_are_what_plain_python_says(stand: Stand) -> None:
    """For many customers at once, walked by cursor: every entry once, in order, in one statement a page."""
    cases: list[tuple[list[Happened], list[Asked]]] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(pasts(), st.lists(ASKED, min_size=4, max_size=4))
    def collect(past: list[Happened], asked: list[Asked]) -> None:
        cases.append((past, asked))

    collect()
    session = stand.crm.acting_as(SYSTEM)
    for past, several in cases:
        found = await stand.fill(past)
        for asked in several:
            root = Connection("Customer", Page((Nodes("nodes", (Scalar("id", "id"), asked.timeline(None))),)))
            with recorded() as statements:
                answer = (await session.read({"x": root})).parsed()
            assert len(statements) == 1
            for row in answer["x"]["nodes"]:
                wanted = asked.expected(found[row["id"]])
                cut = (
                    wanted[len(wanted) - min(asked.size, len(wanted)) :]
                    if asked.backward
                    else wanted[: asked.size]
                )
                page = row["timeline"]
                assert page["total"] == str(len(wanted))
                assert [edge["node"]["id"][4:] for edge in page["edges"]] == [id.hex for _, _, id in cut], asked
                assert page["info"]["previous" if asked.backward else "next"] is (len(cut) < len(wanted))
                if asked.size and wanted:
                    await walk(stand, row["id"], asked, [id.hex for _, _, id in wanted])


async def walk(stand: Stand, customer: str, asked: Asked, wanted: list[str]) -> None:
    session, cursor, walked = stand.crm.acting_as(SYSTEM), None, list[str]()
    where = parse_where(session.crm.catalog, _customer(stand), {"id": {"eq": customer}})
    for _ in range(len(wanted) + 1):
        root = Connection("Customer", Page((Nodes("nodes", (asked.timeline(cursor),)),), where))
        page = (await session.read({"x": root})).parsed()["x"]["nodes"][0]["timeline"]
        ids = [edge["node"]["id"][4:] for edge in page["edges"]]
        walked = [*ids, *walked] if asked.backward else [*walked, *ids]
        assert page["info"]["start"] == page["edges"][0]["cursor"]
        assert page["info"]["end"] == page["edges"][-1]["cursor"]
        if not page["info"]["previous" if asked.backward else "next"]:
            break
        cursor = page["info"]["start" if asked.backward else "end"]
    assert walked == wanted, asked


# --- rights --------------------------------------------------------------------------------------------------


def reader(
    crm: Crm, without: Sequence[str] = (), rows: Mapping[str, Any] | None = None, **fields: set[str]
) -> Principal:
    """Somebody who may read everything but these entities, rows and fields."""
    grants: dict[Any, TypeGrant] = {}
    for entity in crm.catalog.values():
        if entity.name in without:
            continue
        rule = RowRule("where", rows[entity.name]) if rows and entity.name in rows else RowRule()
        closed = fields.get(entity.name)
        grants[entity.code, "read"] = TypeGrant(
            rule, None if closed is None else frozenset(entity.field_names()) - closed
        )
    return Principal("user", "usr_reader", roles=(Role("reader", version=next(VERSIONS), grants=grants),))


TYPES = """{ customers(where: {name: {eq: "Ann"}}) { nodes { timeline { totalCount nodes { __typename } } } } }"""


async def seen(stand: Stand, who: Principal) -> list[str]:
    data = await stand.data(TYPES, who)
    timeline = data["customers"]["nodes"][0]["timeline"]
    assert timeline["totalCount"] == str(len(timeline["nodes"]))
    return [node["__typename"] for node in timeline["nodes"]]


async def test_a_timeline_shows_what_its_reader_may_read(stand: Stand) -> None:
    await stand.fill([Happened(kind, 0, 1) for kind in KINDS])
    crm = stand.crm
    assert await seen(stand, reader(crm)) == ["StageMove", "Refund", "Order", "Interaction"]
    assert await seen(stand, reader(crm, ["Order"])) == ["StageMove", "Interaction"]
    assert await seen(stand, reader(crm, ["Interaction", "Deal"])) == ["Refund", "Order"]
    # the time of an order, and whose it is, are said by its place on the timeline
    assert await seen(stand, reader(crm, Order={"placed_at"})) == ["StageMove", "Refund", "Interaction"]
    assert await seen(stand, reader(crm, Order={"customer"})) == ["StageMove", "Interaction"]
    assert await seen(stand, reader(crm, StageMove={"entity"})) == ["Refund", "Order", "Interaction"]
    nobody = Compare("id", "in", ())
    assert await seen(stand, reader(crm, rows={"Deal": nobody, "Order": nobody})) == ["Interaction"]


async def test_a_type_that_is_named_must_be_readable(stand: Stand) -> None:
    named = "{ customers { nodes { timeline(types: [ORDER, INTERACTION]) { totalCount } } } }"
    answer = await stand.ask(named, reader(stand.crm, ["Order"]))
    assert answer["errors"][0]["extensions"]["code"] == "NOT_ALLOWED"
    assert "may not read orders" in answer["errors"][0]["message"]
    blind = reader(stand.crm, KINDS)
    answer = await stand.ask(TYPES, blind)
    assert "may not read interactions" in answer["errors"][0]["message"]
    optional = "{ customers(first: 1) { nodes { name timeline @optional { totalCount } } } }"
    assert (await stand.data(optional, blind))["customers"]["nodes"] == [{"name": "Ann"}]
    with pytest.raises(AccessDenied):
        stand.crm.acting_as(blind).compile(
            {"x": Connection("Customer", Page((Nodes("n", (Timeline("t", Page(())),)),)))}
        )


async def test_the_timeline_is_among_the_fields_that_a_reader_has(stand: Stand) -> None:
    document = "{ entities { name fields { name kind type plugin } } }"
    for who, known in ((reader(stand.crm), True), (reader(stand.crm, KINDS), False)):
        entities = {item["name"]: item for item in (await stand.data(document, who))["entities"]}
        found = [item for item in entities["Customer"]["fields"] if item["name"] == "timeline"]
        told = {"name": "timeline", "kind": "TIMELINE", "type": "TimelineNode", "plugin": "core"}
        assert found == ([told] if known else [])


# --- the hook ------------------------------------------------------------------------------------------------


def problems_of(*entries: Any, also: type[Plugin] | None = None) -> str:
    class Wrong(Plugin):
        name = "wrong"

        def timeline(self) -> Sequence[TimelineEntry]:
            return entries

    with pytest.raises(CompositionError) as caught:
        compose(from_mapping({}), [Shop, Wrong, *([also] if also else [])])
    return "\n".join(caught.value.problems)


@pytest.mark.once
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (TimelineEntry(Remark, at="said_at"), "plugin 'wrong': the hook timeline names"),
        (
            TimelineEntry(Stage, at="probability"),
            "the entry of Stage: at is 'probability'; expected a time column: created_at",
        ),
        (
            TimelineEntry(Stage, at="created_at"),
            "the entry of Stage: customer is 'customer', which does not lead to Customer",
        ),
        (
            TimelineEntry(Stage, at="created_at", customer="pipeline.name"),
            "customer is 'pipeline.name', which does not lead",
        ),
        (TimelineEntry(Order, at="placed_at"), "plugins 'shop' and 'wrong' both put Order on the timeline"),
        (Order, "plugin 'wrong': the hook timeline returned"),
    ],
)
async def test_an_entry_that_does_not_fit_is_told(entry: Any, message: str) -> None:
    assert message in problems_of(entry)


@pytest.mark.once
async def test_nothing_else_of_a_customer_is_called_timeline() -> None:
    class Line(Entity):
        """A line."""

        customer: Any = fields.ForeignKeyField("core.Customer", related_name="timeline")
        options = EntityOptions(prefix="lin")

    class Lines(Plugin):
        name = "lines"

        def entities(self) -> Sequence[type[Entity]]:
            return (Line,)

    class Fields(Plugin):
        name = "moments"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [expression(Customer, "timeline", Count("deals"))]

    for plugin, message in (
        (Lines, "is named 'timeline', which is what happened"),
        (Fields, "both claim Customer.timeline"),
    ):
        with pytest.raises(CompositionError, match=message):
            compose(from_mapping({}), [plugin])


async def test_a_generic_reference_leads_on_from_every_entity_that_has_the_rest(server_url: str | None) -> None:
    class Notes(Plugin):
        name = "notes"

        def entities(self) -> Sequence[type[Entity]]:
            return (Remark,)

        def timeline(self) -> Sequence[TimelineEntry]:
            return (TimelineEntry(Remark, at="said_at", customer="about.customer"),)

    async with make_crm([Notes], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        session = crm.acting_as(SYSTEM)
        ann = _id(await session.create(Customer, [{"kind": "person", "name": "Ann"}]))
        call = {"customer_id": ann, "channel": "phone", "direction": "inbound", "occurred_at": START}
        talk = _id(await session.create(Interaction, [call]))
        about = {"about_type": "core.Interaction", "about_id": talk, "said_at": START + timedelta(days=1)}
        remarks = [about, {"about_type": "core.Customer", "about_id": ann, "said_at": START}]
        assert not (await session.create(Remark, remarks)).errors
        document = (
            "{ customers { nodes { timeline { nodes { __typename ... on Remark { about { __typename } } } } } } }"
        )
        answer = orjson.loads((await execute(crm, session, document, {})).encode())
        assert answer["data"]["customers"]["nodes"][0]["timeline"]["nodes"] == [
            {"__typename": "Remark", "about": {"__typename": "Interaction"}},
            {"__typename": "Interaction"},
        ]


# --- speed ---------------------------------------------------------------------------------------------------


@pytest.mark.once
async def test_each_source_is_read_in_the_order_of_an_index(stand: Stand) -> None:
    """No table but that of the customers is read whole, however many there are on the page."""
    choices = {"Interaction": (Scalar("subject", "subject"),)}
    page = Page((Edges("edges", (Cursor("c"), Node("node", choices))),), first=10)
    root = Connection("Customer", Page((Nodes("nodes", (Timeline("t", page),)),), first=50))
    statement = stand.crm.acting_as(SYSTEM).compile({"x": root})
    rows = await stand.crm.database.read(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
    plan = [str(row[3]) for row in rows]
    assert any("core_interaction_timeline (customer_id=?)" in line for line in plan), plan
    scanned = [line for line in plan if re.match(r"SCAN [bt]\d", line)]
    assert len(scanned) == 1, plan
