"""A law of access: what a principal can't read changes none of the answers that the principal gets.

Hypothesis makes up a company, a role that hides rows and fields of it, and queries. Each is asked, then everything
that is hidden is changed, moved, deleted and added to, and each is asked again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, AccessDenied, Crm, Principal, Session, Update
from amity.access.roles import Role, RolePolicy, RowRule, TypeGrant
from amity.entity import Catalog, decode_id
from amity.testing import make_crm
from amity.tree import (
    Compare,
    Connection,
    Cursor,
    Edges,
    Node,
    Nodes,
    Page,
    PageInfo,
    Scalar,
    Timeline,
    TotalCount,
)

from .test_query_law import START, WORDS, Ask, Company, Figures, asks, companies, fill, make_stages, page

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "60"))
HIDING = ("Customer", "Interaction", "Deal")
"""Entities of which some rows are hidden, by their position in the company."""
SOUGHT = ("ann", "secrte", "*")
"""What is searched for: texts that rows have, and that those out of reach get."""
TOLD_ELSEWHERE = frozenset(("stage", "pipeline"))
"""Fields that the moves between stages tell too; who may not know them must not be granted those."""


@dataclass(frozen=True)
class Case:
    company: Company
    seen: Mapping[str, frozenset[int]]
    """For each entity, the positions of the rows that the role lets through."""
    hidden: Mapping[str, frozenset[str]]
    """For each entity, the fields that it does not."""
    queries: Sequence[tuple[str, Ask]]
    seed: int


@st.composite
def cases(draw: st.DrawFn, catalog: Catalog) -> Case:
    company = draw(companies())
    sizes = dict(zip(HIDING, map(len, (company.customers, company.interactions, company.deals)), strict=True))
    seen = {
        name: frozenset(draw(st.sets(st.integers(0, size - 1)))) if size else frozenset[int]()
        for name, size in sizes.items()
    }
    hidden = {}
    for name in (*HIDING, "Stage", "StageMove"):
        names = sorted(set(catalog[name].field_names()) - catalog[name].open_fields - {"created_at", "updated_at"})
        hidden[name] = frozenset(draw(st.sets(st.sampled_from(names), max_size=3)))
    queries = [
        (name, steady(draw(asks(catalog, name, 2))))
        for name in draw(st.lists(st.sampled_from([*HIDING, "Pipeline"]), min_size=2, max_size=4))
    ]
    return Case(company, seen, hidden, queries, draw(st.integers(0, 2**16)))


def steady(ask: Ask) -> Ask:
    """The same without versions, which count changes of hidden fields too."""

    def counts(key: Any) -> bool:
        return isinstance(key, Mapping) and any(name == "version" or counts(inner) for name, inner in key.items())

    return replace(
        ask,
        scalars=[name for name in ask.scalars if name != "version"],
        order=[key for key in ask.order if not counts(key)],
        links={name: steady(inner) for name, inner in ask.links.items()},
        pages={name: steady(inner) for name, inner in ask.pages.items()},
    )


async def ids_of(session: Session) -> dict[str, list[UUID]]:
    """The ids of the company's rows that are alive, in the order in which they were made."""
    catalog, found = session.crm.catalog, {}
    for name in HIDING:
        rows = await session.find(name).order_by("id").all()
        found[name] = [decode_id(catalog[name].prefix, row["id"]) for row in rows]
    return found


def role_of(catalog: Catalog, case: Case, ids: Mapping[str, Sequence[UUID]]) -> Role:
    grants: dict[Any, TypeGrant] = {}
    for entity in catalog.values():
        rows = RowRule()
        if entity.name in case.seen:
            visible = tuple(ids[entity.name][i] for i in case.seen[entity.name] if i < len(ids[entity.name]))
            rows = RowRule("where", Compare("id", "in", visible))
        fields = None
        if entity.name in case.hidden:
            fields = frozenset(entity.field_names()) - case.hidden[entity.name]
        grants[entity.code, "read"] = TypeGrant(rows, fields)
    return Role("r", version=case.seed, grants=grants)


_ENTRY = Edges("edges", (Cursor("c"), Scalar("at", "at"), Node("n", {"StageMove": (Scalar("id", "id"),)})))
_INFO = PageInfo("info", (("next", "hasNextPage"), ("end", "endCursor")))
TIMELINES = tuple(
    Timeline("t", Page((TotalCount("total"), _ENTRY, _INFO), first=3), types, oldest_first)
    for types, oldest_first in ((None, False), (("Interaction",), True))
)


async def answers(crm: Crm, principal: Principal, queries: Sequence[tuple[str, Ask]]) -> list[Any]:
    """What each query gives, or how it is refused."""
    found: list[Any] = []
    for name, ask in queries:
        try:
            root = Connection(name, page(crm.catalog, crm.catalog[name], ask))
            found.append((await crm.acting_as(principal).read({"root": root})).parsed()["root"])
        except AccessDenied as error:
            found.append(str(error))
    for name, fields, order in COLUMNS:
        query = crm.acting_as(principal).find(name).select(*fields).order_by(*order)
        try:
            found.append([[list(column) for column in batch] async for batch in query.columns(3)])
        except AccessDenied as error:
            found.append(str(error))
    for name, figures, by in FIGURES:
        try:
            found.append(await crm.acting_as(principal).find(name).aggregate(*figures, by=by))
        except AccessDenied as error:
            found.append(str(error))
    for timeline in TIMELINES:
        shown = Page((Nodes("nodes", (Scalar("id", "id"), timeline)),))
        try:
            found.append((await crm.acting_as(principal).read({"x": Connection("Customer", shown)})).parsed())
        except AccessDenied as error:
            found.append(str(error))
    for text in SOUGHT:
        try:
            found.append(await crm.acting_as(principal).search(text, first=50))
        except AccessDenied as error:
            found.append(str(error))
    return found


COLUMNS: Sequence[tuple[str, Sequence[str], Sequence[str]]] = (
    ("Deal", ("id", "name", "value", "customer_id", "customer.name", "stage.name"), ("-customer.name",)),
    ("Customer", ("name", "organization.name", "organization.note"), ("organization.lifecycle", "name")),
    ("Interaction", ("id", "customer_id", "customer.organization.name"), ("customer.organization.name",)),
)
"""What is read as columns: entity, fields, order."""
FIGURES: Sequence[tuple[str, Sequence[str], Sequence[str]]] = (
    ("Deal", ("count", "count_distinct.customer"), ("customer", "stage.category")),
    ("Deal", ("sum.value", "max.weighted_value"), ("customer.lifecycle",)),
    ("Customer", ("count", "max.name", "sum.deal_count"), ("organization",)),
    ("Interaction", ("count", "sum.duration_seconds"), ("customer.organization.name", "direction")),
)
"""What is asked in groups: entity, figures, keys."""


async def shake(crm: Crm, case: Case, ids: Mapping[str, Sequence[UUID]]) -> int:
    """Changes whatever the role hides, and adds to it; how many rows were changed."""
    chance, session = random.Random(case.seed), crm.acting_as(SYSTEM)
    stages = [row["id"] for row in await session.find("Stage").order_by("position").all()]
    seen = {name: [id for i, id in enumerate(ids[name]) if i in case.seen[name]] for name in HIDING}
    unseen = {name: [id for i, id in enumerate(ids[name]) if i not in case.seen[name]] for name in HIDING}
    # what belongs to a customer is seen with the customer only
    customers = [*ids["Customer"], None]
    find = session.find("Interaction").where({"customer_id": {"in": unseen["Customer"]}})
    away = {decode_id(crm.catalog["Interaction"].prefix, row["id"]) for row in await find.all()}

    def values(name: str, visible: bool) -> dict[str, Any]:
        common: dict[str, dict[str, Any]] = {
            "Customer": {
                "name": chance.choice(WORDS[1:]) + "*",
                "given_name": chance.choice([None, "Zoë"]),
                "lifecycle": chance.choice(["prospect", "lead", "customer", "former"]),
                "organization_id": chance.choice(customers),
                "note": chance.choice([None, "secret"]),
                "custom_fields": {"a": chance.choice(["ann", 1, None]), "b": chance.random()},
            },
            "Interaction": {
                "subject": chance.choice([None, "secret"]),
                "duration_seconds": chance.randrange(1000),
                "occurred_at": START + timedelta(days=chance.randrange(-2, 3)),
                "direction": chance.choice(["inbound", "outbound"]),
                # moved to somebody hidden it would be gone, which its reader may notice
                "customer_id": chance.choice(seen["Customer"] if visible else customers)
                if seen["Customer"] or not visible
                else None,
            },
            "Deal": {
                "name": chance.choice(WORDS[1:]) + "*",
                "value": {"amount": chance.randrange(10**6), "currency": "USD"},
                "customer_id": chance.choice(customers),
                "stage_id": chance.choice(stages),
            },
        }
        return common[name]

    changed = 0
    for name in HIDING:
        entity = crm.catalog[name]
        updates = [Update(id, values(name, False)) for id in unseen[name]]
        hidden = case.hidden[name] - TOLD_ELSEWHERE
        for id in seen[name]:
            patch = {
                key: value
                for key, value in values(name, True).items()
                if entity.field_of.get(key, key) in hidden
                # of somebody hidden it is not seen, and would be if it moved to somebody else
                and not (key == "customer_id" and name == "Interaction" and (not seen["Customer"] or id in away))
            }
            if patch:
                updates.append(Update(id, patch))
        result = await session.update(name, updates)
        assert not result.errors, result.errors
        changed += result.updated
        added = [{"kind": "person", "channel": "email", **values(name, False)} for _ in range(2)]
        for row in added:
            for key in {"Customer": ("channel",), "Interaction": ("kind",), "Deal": ("kind", "channel")}[name]:
                del row[key]
            if name == "Interaction":
                row["occurred_at"] = START
        assert not (await session.create(name, added)).errors
    if unseen["Customer"]:
        await session.delete("Customer", [chance.choice(unseen["Customer"])])
    return changed


async def test_what_is_hidden_changes_no_answer(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        crm.policy = RolePolicy(crm.catalog, {})
        await make_stages(crm)
        drawn: list[Case] = []

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(cases(crm.catalog))
        def collect(case: Case) -> None:
            drawn.append(case)

        collect()
        changed = answered = refused = 0
        for case in drawn:
            await fill(crm, case.company)
            ids = await ids_of(crm.acting_as(SYSTEM))
            reader = Principal("user", "usr_reader", roles=(role_of(crm.catalog, case, ids),))
            before = await answers(crm, reader, case.queries)
            changed += await shake(crm, case, ids)
            for place, (after, then) in enumerate(
                zip(await answers(crm, reader, case.queries), before, strict=True)
            ):
                assert after == then, (place, case)
            refused += sum(isinstance(answer, str) for answer in before)
            answered += sum(not isinstance(answer, str) for answer in before)
        assert changed > EXAMPLES
        assert answered > EXAMPLES
        assert refused > EXAMPLES // 10
