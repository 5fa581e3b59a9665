"""A law: a compiled statement answers what a plain Python evaluation over the same rows answers.

Hypothesis makes up the rows and the queries: filters, orders, pages, relations up to six levels deep,
counts, and plugins' expressions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import (
    SYSTEM,
    Avg,
    Coalesce,
    Count,
    Crm,
    Customer,
    Deal,
    Divide,
    Field,
    Max,
    Multiply,
    Plugin,
    Sum,
    Update,
    expression,
)
from amity.contracts import FieldDeclaration
from amity.entity import Catalog, Column, EntityType, Kind
from amity.query import parse_order, parse_where
from amity.query.where import sortable
from amity.testing import make_crm, recorded
from amity.tree import (
    Computed,
    Connected,
    Connection,
    Direction,
    Edges,
    Linked,
    Money,
    Node,
    Nodes,
    Page,
    PageInfo,
    Scalar,
    Selection,
    TotalCount,
)
from amity.tree import Field as TreeField

from .reference import Reference, Row, dump, shown

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "60"))
WORDS = [
    "",
    "ann",
    "Ann",
    "ANN",
    "Émile",
    "émile",
    "straße",
    "STRASSE",
    "王伟",
    "50%",
    "a_b",
    "back\\slash",
    "İx",
    "σς",
]


class Figures(Plugin):
    """Expression fields of every sort."""

    name = "figures"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "deal_count", Count("deals")),
            expression(Customer, "won_value", Sum("deals.value_minor", {"stage": {"category": {"eq": "won"}}})),
            expression(Customer, "mean_duration", Avg("interactions.duration_seconds")),
            expression(Customer, "last_contact", Max("interactions.occurred_at")),
            expression(Customer, "parent_name", Coalesce(Field("organization.name"), Field("name"))),
            expression(Customer, "value_per_contact", Divide(Sum("deals.value_minor"), Count("interactions"))),
            expression(Deal, "expected", Multiply(Field("value_minor"), Field("stage.probability"))),
        ]


# --- rows ----------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Company:
    """Rows to be made, referring to each other by position."""

    customers: list[dict[str, Any]]
    interactions: list[dict[str, Any]]
    deals: list[dict[str, Any]]
    deleted: list[int]


def _some(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def companies(draw: st.DrawFn) -> Company:
    size = draw(st.integers(0, 7))
    customers = [
        {
            "kind": draw(_some(["person", "organization"])),
            "name": draw(_some(WORDS[1:])),
            "given_name": draw(_some([None, *WORDS])),
            "lifecycle": draw(_some(["prospect", "lead", "customer"])),
            "custom_fields": draw(_some([{}, {"a": "ann"}, {"a": 1}, {"a": {"b": "Ann"}}, {"a": None, "b": 0.5}])),
            "organization": draw(st.none() | st.integers(0, max(size - 1, 0))),
        }
        for _ in range(size)
    ]
    position = st.none() | st.integers(0, size - 1) if size else st.none()
    interactions = [
        {
            "customer": draw(position),
            "channel": draw(_some(["email", "phone"])),
            "direction": draw(_some(["inbound", "outbound"])),
            "subject": draw(_some([None, *WORDS])),
            "duration_seconds": draw(st.none() | st.integers(-(2**31), 2**31 - 1)),
            "occurred_at": START + timedelta(microseconds=draw(st.integers(0, 3))),
        }
        for _ in range(draw(st.integers(0, 8)))
    ]
    deals = [
        {
            "name": draw(_some(WORDS[1:])),
            "customer": draw(position),
            "stage": draw(st.integers(0, 3)),
            "amount": draw(st.none() | st.integers(-(10**9), 10**12)),
            "currency": draw(_some(["EUR", "USD"])),
            "expected_close_on": draw(_some([None, date(2026, 1, 31), date(2026, 2, 1), date(1999, 12, 31)])),
        }
        for _ in range(draw(st.integers(0, 6)))
    ]
    deleted = draw(st.lists(st.integers(0, size - 1), max_size=2, unique=True)) if size else []
    return Company(customers, interactions, deals, deleted)


async def fill(crm: Crm, company: Company) -> None:
    """Empties the database, then makes the company's rows."""

    async def clear(transaction: Any) -> None:
        tables = [crm.catalog[name].table for name in ("StageMove", "Deal", "Interaction", "Customer")]
        for table in tables:
            await transaction.execute(f'DELETE FROM "{table}"')

    await crm.database.transact(clear)
    session = crm.acting_as(SYSTEM)
    stages = [row["id"] for row in await session.find("Stage").order_by("position").all()]
    rows = [{k: v for k, v in row.items() if k != "organization"} for row in company.customers]
    ids: list[Any] = list((await session.create("Customer", rows)).ids)
    parents = [
        Update(ids[i], {"organization_id": ids[row["organization"]]})
        for i, row in enumerate(company.customers)
        if row["organization"] is not None
    ]
    await session.update("Customer", parents)

    def of(position: int | None) -> Any:
        return None if position is None else ids[position]

    await session.create(
        "Interaction",
        [
            {**{k: v for k, v in row.items() if k != "customer"}, "customer_id": of(row["customer"])}
            for row in company.interactions
        ],
    )
    await session.create(
        "Deal",
        [
            {
                "name": row["name"],
                "customer_id": of(row["customer"]),
                "stage_id": stages[row["stage"]],
                "value": None if row["amount"] is None else _value(row),
                "expected_close_on": row["expected_close_on"],
            }
            for row in company.deals
        ],
    )
    if company.deleted:
        await session.delete("Customer", [ids[i] for i in company.deleted])


def _value(deal: dict[str, Any]) -> dict[str, Any]:
    return {"amount": deal["amount"], "currency": deal.get("currency", "USD")}


async def make_stages(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    pipeline = (await session.create("Pipeline", [{"name": "Sales"}])).ids[0]
    await session.create(
        "Stage",
        [
            {
                "pipeline_id": pipeline,
                "name": name,
                "category": category,
                "probability": chance,
                "position": i,
            }
            for i, (name, category, chance) in enumerate(
                [("New", "open", 10), ("Talks", "open", 50), ("Won", "won", 100), ("Lost", "lost", 0)]
            )
        ],
    )


# --- queries -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """A page of rows and what is selected of each: for the compiler and for the reference alike."""

    where: Mapping[str, Any]
    order: list[dict[str, Any]]
    first: int | None
    last: int | None
    scalars: list[str]
    links: dict[str, Ask] = field(default_factory=dict)
    pages: dict[str, Ask] = field(default_factory=dict)


RELATIONS = {
    "Customer": (["organization"], ["members", "interactions", "deals"]),
    "Interaction": (["customer"], []),
    "Deal": (["customer", "stage", "pipeline"], ["stage_moves"]),
    "Stage": (["pipeline"], ["deals"]),
    "Pipeline": ([], ["stages", "deals"]),
    "StageMove": (["to_stage", "from_stage", "pipeline"], []),
}
FILTERED = {
    "Customer": [
        *("name", "given_name", "lifecycle", "custom_fields"),
        *("deal_count", "won_value", "parent_name", "last_contact"),
    ],
    "Interaction": ["subject", "channel", "duration_seconds", "occurred_at", "direction"],
    "Deal": ["name", "expected_close_on", "expected", "value"],
    "Stage": ["name", "category", "probability"],
    "Pipeline": ["name"],
    "StageMove": [],
}
VOLATILE = {"created_at", "updated_at", "stage_entered_at", "moved_at", "custom_fields", "position"}


def _operand(kind: Kind, choices: tuple[str, ...]) -> st.SearchStrategy[Any]:
    if choices:
        return _some(choices)
    return {
        Kind.TEXT: _some(WORDS),
        Kind.INT: _some([-1, 0, 1, 10, 50, 2**31 - 1]),
        Kind.BIGINT: _some([-1, 0, 1, 2, 10**12]),
        Kind.FLOAT: _some([0.0, 0.5, 1e9]),
        Kind.DATETIME: _some([START, START + timedelta(microseconds=1), START - timedelta(days=1)]),
        Kind.DATE: _some([date(2026, 1, 31), date(2000, 1, 1)]),
    }[kind]


@st.composite
def _operators(draw: st.DrawFn, kind: Kind, choices: tuple[str, ...]) -> dict[str, Any]:
    if kind is Kind.JSON:
        name, value = draw(_some(["eq", "ne", "lt", "gte"])), _some(["ann", "Ann", 1, 0.5, 1.0])
        return {"path": draw(_some(["a", "b", "a.b"])), name: draw(value)}
    if kind in (Kind.DATE, Kind.DATETIME) and draw(st.booleans()):
        days = {name: _some([0, 1, 400, 36_525]) for name in ("lastDays", "nextDays")}
        name = draw(_some([*days, "during"]))
        return {name: draw(days.get(name, _some(["this_year", "last_year", "next_year"])))}
    value = _operand(kind, choices)
    names = ["eq", "ne", "in", "notIn", "isNull", "lt", "lte", "gt", "gte"]
    if kind is Kind.TEXT and not choices:
        names += ["contains", "startsWith", "endsWith"]
    name = draw(_some(names))
    if name == "isNull":
        return {name: draw(st.booleans())}
    if name in ("in", "notIn"):
        return {name: draw(st.lists(value, max_size=3))}
    return {name: draw(value)}


@st.composite
def wheres(draw: st.DrawFn, catalog: Catalog, name: str, depth: int = 2) -> dict[str, Any]:
    entity = catalog[name]
    to_one, to_many = RELATIONS[name]
    options = ["column"] if FILTERED[name] else []
    if depth:
        options += ["and", "or", "not", *(["one"] if to_one else []), *(["many"] if to_many else [])]
    if not options or draw(st.integers(0, 3)) == 0:
        return {}
    match draw(_some(options)):
        case "and" | "or" as logic:
            return {logic: draw(st.lists(wheres(catalog, name, depth - 1), max_size=3))}
        case "not":
            return {"not": draw(wheres(catalog, name, depth - 1))}
        case "one":
            relation = draw(_some(to_one))
            return {relation: draw(wheres(catalog, entity.to_one[relation].target, depth - 1))}
        case "many":
            relation = draw(_some(to_many))
            inner = draw(wheres(catalog, entity.to_many[relation].target, depth - 1))
            return {relation: {draw(_some(["some", "none", "every"])): inner}}
    column = draw(_some(FILTERED[name]))
    if column in entity.money:
        return {column: {"amount": draw(_operators(Kind.BIGINT, ()))}}
    declared = entity.columns.get(column)
    kind = declared.kind if declared else entity.expressions[column].kind
    return {column: draw(_operators(kind, declared.choices if declared else ()))}


@st.composite
def orders(draw: st.DrawFn, catalog: Catalog, name: str) -> list[dict[str, Any]]:
    def key(entity: EntityType, depth: int) -> dict[str, Any]:
        links = RELATIONS[entity.name][0]
        if depth and links and draw(st.integers(0, 3)) == 0:
            link = draw(_some(links))
            return {link: key(catalog[entity.to_one[link].target], depth - 1)}
        names = [n for n in sortable(entity) if n not in VOLATILE]
        return {draw(_some(names)): draw(_some([d.value for d in Direction]))}

    return [key(catalog[name], 2) for _ in range(draw(st.integers(0, 2)))]


@st.composite
def asks(draw: st.DrawFn, catalog: Catalog, name: str, depth: int) -> Ask:
    entity = catalog[name]
    to_one, to_many = RELATIONS[name]
    names = [c.name for c in entity.visible_columns if c.name not in VOLATILE]
    names += [*entity.money, *entity.expressions]
    forward = draw(st.booleans())
    size = draw(st.integers(0, 4) | st.just(50))
    links, pages = {}, {}
    if depth:
        for relation in draw(st.lists(_some(to_one), max_size=1)) if to_one else ():
            links[relation] = draw(asks(catalog, entity.to_one[relation].target, depth - 1))
        for relation in draw(st.lists(_some(to_many), max_size=2, unique=True)) if to_many else ():
            pages[relation] = draw(asks(catalog, entity.to_many[relation].target, depth - 1))
    return Ask(
        where=draw(wheres(catalog, name)),
        order=draw(orders(catalog, name)),
        first=size if forward else None,
        last=None if forward else size,
        scalars=draw(st.lists(_some(names), max_size=4, unique=True)),
        links=links,
        pages=pages,
    )


# --- the compiler's side ---------------------------------------------------------------------------------------


def selection(catalog: Catalog, entity: EntityType, ask: Ask) -> Selection:
    found: list[TreeField] = [Scalar("id", "id")]
    for name in ask.scalars:
        if name in entity.money:
            found.append(Money(name, name, (("currency", "currency"), ("amount", "amount"))))
        elif name in entity.expressions:
            found.append(Computed(name, name))
        elif name != "id":
            found.append(Scalar(name, name))
    for relation, inner in ask.links.items():
        target = catalog[entity.to_one[relation].target]
        found.append(Linked(relation, relation, selection(catalog, target, inner)))
    for relation, inner in ask.pages.items():
        target = catalog[entity.to_many[relation].target]
        found.append(Connected(relation, relation, page(catalog, target, inner)))
    return tuple(found)


def page(catalog: Catalog, entity: EntityType, ask: Ask) -> Page:
    fields = selection(catalog, entity, ask)
    return Page(
        parts=(
            TotalCount("total"),
            Edges("edges", (Node("node", fields),)),
            PageInfo("info", (("next", "hasNextPage"), ("previous", "hasPreviousPage"))),
            Nodes("ids", (Scalar("id", "id"),)),
        ),
        where=parse_where(catalog, entity, ask.where),
        order=parse_order(catalog, entity, ask.order),
        first=ask.first,
        last=ask.last,
    )


# --- the reference's side --------------------------------------------------------------------------------------


def expected_page(reference: Reference, entity: EntityType, ask: Ask, rows: list[Row] | None = None) -> Any:
    found = reference.find(entity, ask.where, ask.order, rows)
    if ask.last is None:
        cut = found[: ask.first]
        more = {"next": len(found) > len(cut), "previous": False}
    else:
        cut = found[len(found) - min(ask.last, len(found)) :]
        more = {"next": False, "previous": len(found) > len(cut)}
    nodes = [expected_row(reference, entity, row, ask) for row in cut]
    return {
        "total": str(len(found)),
        "edges": [{"node": node} for node in nodes],
        "info": more,
        "ids": [{"id": node["id"]} for node in nodes],
    }


def expected_row(reference: Reference, entity: EntityType, row: Row, ask: Ask) -> dict[str, Any]:
    catalog = reference.catalog
    out: dict[str, Any] = {"id": shown(row["id"], entity.columns["id"], entity, catalog)}
    for name in ask.scalars:
        if name in entity.money:
            money = entity.money[name]
            amount, currency = row[money.amount], row[money.currency]
            out[name] = None if amount is None else {"currency": currency, "amount": str(amount)}
        elif name in entity.expressions:
            declared = entity.expressions[name]
            value = reference.expression(declared.expression, entity, row)
            out[name] = shown(value, declared.kind, entity, catalog)
        else:
            column: Column = entity.columns[name]
            out[name] = shown(row[name], column, entity, catalog)
    for relation, inner in ask.links.items():
        target, other = reference.target(entity, row, relation)
        out[relation] = None if other is None else expected_row(reference, target, other, inner)
    for relation, inner in ask.pages.items():
        target, others = reference.related(entity, row, relation)
        out[relation] = expected_page(reference, target, inner, others)
    return out


# --- the laws --------------------------------------------------------------------------------------------------


async def test_statements_answer_what_plain_python_answers(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        await make_stages(crm)
        catalog = crm.catalog
        cases: list[tuple[Company, str, Ask]] = []

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(companies(), st.data())
        def collect(company: Company, data: st.DataObject) -> None:
            name = data.draw(_some(["Customer", "Deal", "Interaction", "Pipeline"]))
            cases.append((company, name, data.draw(asks(catalog, name, 3))))

        collect()
        for company, name, ask in cases:
            await fill(crm, company)
            reference = Reference(catalog, await dump(crm))
            root = Connection(name, page(catalog, catalog[name], ask))
            with recorded() as statements:
                answer = (await crm.acting_as(SYSTEM).read({"root": root})).parsed()["root"]
            assert len(statements) == 1
            assert answer == expected_page(reference, catalog[name], ask), (company, ask)


async def test_six_levels_of_nesting_are_one_statement(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        await make_stages(crm)
        everyone = [
            {
                "kind": "person",
                "name": f"c{i}",
                "given_name": None,
                "lifecycle": "lead",
                "organization": i // 2,
            }
            for i in range(7)
        ]
        deals = [
            {"name": f"d{i}", "customer": i % 7, "stage": i % 4, "amount": i, "expected_close_on": None}
            for i in range(9)
        ]
        await fill(crm, Company(everyone, [], deals, []))
        catalog = crm.catalog

        def asked(relation: str, inner: Ask) -> Ask:
            return Ask({}, [], 2, None, ["name"], pages={relation: inner})

        ask = Ask({}, [], 2, None, [])
        for relation in ("stage_moves", "deals", "members", "members", "members", "members"):
            ask = asked(relation, ask)
        reference = Reference(catalog, await dump(crm))
        root = Connection("Customer", page(catalog, catalog["Customer"], ask))
        with recorded() as statements:
            answer = (await crm.acting_as(SYSTEM).read({"root": root})).parsed()["root"]
        assert len(statements) == 1
        assert answer == expected_page(reference, catalog["Customer"], ask)


async def test_pages_walked_by_cursor_give_every_row_once(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        await make_stages(crm)
        catalog = crm.catalog
        cases: list[tuple[Company, list[dict[str, Any]], int, bool]] = []

        @settings(
            max_examples=EXAMPLES // 2, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(companies(), st.data())
        def collect(company: Company, data: st.DataObject) -> None:
            order = data.draw(orders(catalog, "Customer"))
            cases.append((company, order, data.draw(st.integers(1, 3)), data.draw(st.booleans())))

        collect()
        session = crm.acting_as(SYSTEM)
        entity = catalog["Customer"]
        for company, order, size, backward in cases:
            await fill(crm, company)
            reference = Reference(catalog, await dump(crm))
            wanted = [row["id"].hex for row in reference.find(entity, {}, order)]
            walked: list[str] = []
            cursor: str | None = None
            while True:
                parts = (
                    Nodes("nodes", (Scalar("id", "id"),)),
                    PageInfo(
                        "i",
                        tuple((n, n) for n in ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")),
                    ),
                )
                keys = parse_order(catalog, entity, order)
                asked = (
                    Page(parts, order=keys, last=size, before=cursor)
                    if backward
                    else Page(parts, order=keys, first=size, after=cursor)
                )
                answer = (await session.read({"p": Connection("Customer", asked)})).parsed()["p"]
                ids = [row["id"].removeprefix("cus_") for row in answer["nodes"]]
                walked = [*ids, *walked] if backward else [*walked, *ids]
                if not answer["i"]["hasPreviousPage" if backward else "hasNextPage"]:
                    break
                cursor = answer["i"]["startCursor" if backward else "endCursor"]
            assert walked == wanted, (company, order, size, backward)
