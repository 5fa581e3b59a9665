"""Plans: a query is translated once, and answered from then on by its statement with other values."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import pytest
import pytest_asyncio

from amity import SYSTEM, Crm, Principal
from amity.access.principal import Facts
from amity.access.roles import Role, RowRule, TypeGrant
from amity.entity import decode_id
from amity.given import Given, Track, Untracked, late
from amity.testing import make_crm, recorded
from amity.tree import Compare, Not, Placeholder
from amity_graphql import Result
from amity_graphql.api import built, context
from amity_graphql.execution import Documents
from amity_graphql.execution import execute as run

from . import company
from .company import ANN, BOB, JONAS, MIA
from .documents import Writer
from .seeds import drawn
from .test_query_law import Figures

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "40"))
pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = """query Named($where: CustomerWhere, $first: Int) {
  customers(where: $where, first: $first) { nodes { name } }
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make_crm([Figures], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


@pytest.fixture
def documents(crm: Crm) -> Documents:
    """Documents and plans of a test's own."""
    return Documents(built(crm)[0])


def agent(crm: Crm, scope: Any, **facts: Any) -> Principal:
    """Somebody whose role sees customers of this scope, and everything else."""
    grants: dict[Any, TypeGrant] = {("*", "read"): TypeGrant()}
    grants[crm.catalog["Customer"].code, "read"] = TypeGrant(
        scope if isinstance(scope, RowRule) else RowRule(scope)
    )
    role = Role("seer", id=uuid5(NAMESPACE_OID, str(scope)), grants=grants)
    return Principal("user", f"usr_{scope}", roles=(role,), facts=Facts(**facts))


async def ask(
    crm: Crm, documents: Documents, document: str, variables: Mapping[str, Any], who: Principal = SYSTEM
) -> Result:
    running = context(crm.acting_as(who), spliced=True)
    return await run(running, documents, document, variables)


async def names(crm: Crm, documents: Documents, who: Principal = SYSTEM, **variables: Any) -> list[str]:
    found = await execute_with(crm, documents, NAMED, variables, who)
    return [row["name"] for row in found["customers"]["nodes"]]


async def execute_with(
    crm: Crm, documents: Documents, document: str, variables: Mapping[str, Any], who: Principal = SYSTEM
) -> Any:
    result = await run(context(crm.acting_as(who)), documents, document, variables)
    assert not result.errors, result.errors
    return result.data


# --- the law --------------------------------------------------------------------------------------------------


async def test_a_planned_answer_is_the_answer(crm: Crm) -> None:
    """Whatever is asked, by whomever, with whichever values: with plans it is answered to the byte as without."""
    api, _ = built(crm)
    with_plans = Documents(api)
    without = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 0})))
    users = await crm.acting_as(SYSTEM).find("User").select("id", "team").all()
    people = []
    for row in users[:2]:
        user, team = decode_id("usr", row["id"]), (row["team"] or {}).get("id")
        facts = {"user": user, "team": decode_id("tea", team) if team else None}
        own = Compare("owner_id", "eq", Placeholder("user"))
        born = Compare("created_at", "lte", Placeholder("now"))
        rules = ["all", "own", "team", RowRule("where", own), RowRule("where", born)]
        people.append([agent(crm, rule, **facts) for rule in rules])
    hidden = agent(crm, "all")
    fields = frozenset(crm.catalog["Customer"].field_names()) - {"name"}
    grants = {**hidden.roles[0].grants, (crm.catalog["Customer"].code, "read"): TypeGrant(fields=fields)}  # type: ignore[attr-defined]
    hiding = replace(hidden, roles=(Role("hides", grants=grants),))
    # who has the same roles shares plans
    groups = [*zip(*people, strict=True), (SYSTEM,), (hiding,)]
    ids = [
        row["id"] for name in ("Customer", "Deal", "User") for row in await crm.acting_as(SYSTEM).find(name).all()
    ]
    seeds = drawn(EXAMPLES)
    asked = refused = 0
    for seed in seeds:
        writer = Writer(api.graphql, ids, random.Random(seed))
        query = writer.query()
        tries = [query.variables, writer.other(query), writer.other(query), writer.other(query, wrong=0.3)]
        alike = writer.chance.choice(groups)
        for variables in tries:
            who = writer.chance.choice(alike)
            planned = await ask(crm, with_plans, query.document, variables, who)
            plain = await ask(crm, without, query.document, variables, who)
            assert planned.encode() == plain.encode(), (query.document, variables, who)
            asked += 1
            refused += bool(plain.errors)
    assert without.plans.answered == 0
    assert with_plans.plans.answered > asked // 3, (with_plans.plans.answered, asked, refused)
    assert with_plans.plans.made < with_plans.plans.answered
    assert refused


# --- what it means --------------------------------------------------------------------------------------------


async def test_other_values_are_answered_by_the_same_statement(crm: Crm, documents: Documents) -> None:
    with recorded() as first:
        assert await names(crm, documents, where={"name": {"contains": "ann"}}) == ["Ann Lee"]
    with recorded() as second:
        assert await names(crm, documents, where={"name": {"contains": "bob"}}) == ["Bob Stone"]
    assert first == second
    assert len(first) == 1
    assert (documents.plans.made, documents.plans.answered) == (1, 2)


async def test_a_filter_relative_to_now_is_so_at_each_request(crm: Crm, documents: Documents) -> None:
    where = {"createdAt": {"lastHours": 1}, "name": {"startsWith": "Late"}}
    assert await names(crm, documents, where=where) == []
    made = await crm.acting_as(SYSTEM).create("Customer", [{"kind": "person", "name": "Late Comer"}])
    assert await names(crm, documents, where=where) == ["Late Comer"]
    assert (documents.plans.made, documents.plans.answered) == (1, 2)
    await crm.acting_as(SYSTEM).delete("Customer", [id for id in made.ids if id])


async def test_a_page_of_another_size_is_another_plan(crm: Crm, documents: Documents) -> None:
    assert len(await names(crm, documents, first=1)) == 1
    assert len(await names(crm, documents, first=2)) == 2
    assert len(await names(crm, documents, first=1)) == 1
    assert (documents.plans.made, documents.plans.answered) == (2, 3)


async def test_who_has_the_same_roles_shares_plans_and_sees_the_own_rows(crm: Crm, documents: Documents) -> None:
    found = {}
    for user in (MIA, JONAS):
        principal = agent(crm, "own", user=decode_id("usr", user))
        found[user] = await names(crm, documents, principal)
    assert found == {MIA: ["Acme", "Ann Lee"], JONAS: ["Globex"]}
    assert documents.plans.made == 1
    # one who has no team is told apart: nothing belongs to a team that is not there
    nobody = agent(crm, "own")
    assert await names(crm, documents, nobody) == []
    assert documents.plans.made == 2


@pytest.mark.parametrize("fact", ["user", "team", "customer"])
async def test_who_lacks_a_fact_does_not_share_the_plan_of_who_has_it(
    crm: Crm, documents: Documents, fact: str
) -> None:
    """What compares with a fact that is missing lets nothing through, also where it is negated."""
    rule = RowRule("where", Not(Compare("id", "eq", Placeholder(fact))))  # type: ignore[arg-type]
    known, missing = agent(crm, rule, **{fact: uuid4()}), agent(crm, rule)
    found = [len(await names(crm, documents, who)) for who in (known, missing, known, missing)]
    assert found == [5, 0, 5, 0]
    assert documents.plans.made == 2


async def test_a_role_that_asks_for_the_time_asks_each_request(crm: Crm, documents: Documents) -> None:
    who = agent(crm, RowRule("where", Compare("created_at", "lte", Placeholder("now"))))
    before = await names(crm, documents, who)
    made = await crm.acting_as(SYSTEM).create("Customer", [{"kind": "person", "name": "Late Comer"}])
    assert sorted(await names(crm, documents, who)) == sorted([*before, "Late Comer"])
    assert documents.plans.made == 1
    await crm.acting_as(SYSTEM).delete("Customer", [id for id in made.ids if id])


async def test_what_is_wrong_is_told_as_without_plans(crm: Crm, documents: Documents) -> None:
    one = "query One($id: ID!) { customer(id: $id) { name } }"
    await execute_with(crm, documents, one, {"id": ANN})
    result = await ask(crm, documents, one, {"id": "dea_00000000000000000000000000000000"})
    assert "expected an id of Customer" in result.errors[0].message
    assert await execute_with(crm, documents, one, {"id": BOB}) == {"customer": {"name": "Bob Stone"}}
    assert documents.plans.made == 1


async def test_plans_can_be_turned_off(crm: Crm) -> None:
    api, _ = built(crm)
    documents = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 0})))
    assert len(await names(crm, documents, first=1)) == 1
    assert (documents.plans.made, documents.plans.count, documents.plans.size) == (0, 0, 0)


async def test_plans_stay_within_their_bounds(crm: Crm) -> None:
    api, _ = built(crm)
    documents = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 20})))
    for number in range(60):
        await execute_with(crm, documents, f"{{ c{number}: customers(first: 1) {{ nodes {{ id }} }} }}", {})
        await names(crm, documents, first=number % 30)
    plans = documents.plans
    assert plans.made >= 60
    assert plans.count <= 2 * plans.most
    assert plans.size == sum(family.size for family in plans._families.values())
    assert plans.count == sum(family.count for family in plans._families.values())


async def test_pages_of_every_size_do_not_drive_out_the_rest(crm: Crm) -> None:
    """What a family of plans lets go of is not counted any longer."""
    api, _ = built(crm)
    documents = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 20})))
    for number in range(40):
        await names(crm, documents, first=number)
    plans = documents.plans
    kept = [family.root for family in plans._families.values()]
    written = 0
    while kept:
        branch = kept.pop()
        if branch is not None:
            written += len(branch.plan.statement.sql) if branch.plan is not None else 0
            kept += branch.children.values()
    assert plans.size == written + len(NAMED)


async def test_a_plan_whose_family_gave_way_meanwhile_is_not_counted(crm: Crm) -> None:
    api, _ = built(crm)
    documents = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 1})))
    many = [f"{{ c{number}: customers(first: 1) {{ nodes {{ id }} }} }}" for number in range(8)]
    await asyncio.gather(*(execute_with(crm, documents, document, {}) for document in many))
    plans = documents.plans
    assert plans.count == sum(family.count for family in plans._families.values()) <= 2
    assert plans.size == sum(family.size for family in plans._families.values())


async def test_long_names_are_not_kept(crm: Crm, documents: Documents) -> None:
    """Names of variables that nobody declared, and of operations that are not there, can be as long as a body."""
    document = "query A { customers(first: 1) { nodes { id } } }"
    assert not (await ask(crm, documents, document, {"x" * 6_000: 1})).errors
    assert not (await ask(crm, documents, document, {"x": {"y" * 6_000: 1}})).errors
    result = await run(context(crm.acting_as(SYSTEM)), documents, document, {}, "B" * 6_000)
    assert result.errors
    assert documents.plans.count == 0


async def test_timelines_and_figures_are_planned(crm: Crm, documents: Documents) -> None:
    timeline = """query T($id: ID!, $types: [TimelineType!], $type: TimelineType!, $first: Int, $after: String) {
      customer(id: $id) {
        timeline(types: $types, first: $first, after: $after) {
          totalCount edges { cursor node { __typename } } pageInfo { endCursor }
        }
        one: timeline(types: [$type]) { totalCount }
      }
    }"""
    figures = """query F($first: Int, $unit: DateUnit!, $least: BigInt) {
      customersAggregate(
        groupBy: [{lifecycle: true}, {createdAt: {unit: $unit}}], first: $first, having: {count: {gte: $least}}
      ) { count key { lifecycle createdAt } }
    }"""
    api, _ = built(crm)
    plain = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 0})))
    walk = {"id": ANN, "types": ["INTERACTION", "STAGE_MOVE"], "type": "INTERACTION", "first": 1}
    page = (await execute_with(crm, plain, timeline, walk))["customer"]["timeline"]
    tries = [
        (timeline, walk),
        (timeline, walk | {"after": page["pageInfo"]["endCursor"]}),
        (timeline, walk | {"types": ["STAGE_MOVE"], "type": "STAGE_MOVE"}),
        (timeline, walk | {"types": "INTERACTION", "first": 0}),
        (timeline, walk | {"types": None, "first": 5}),
        (figures, {"first": 2, "unit": "DAY", "least": 1}),
        (figures, {"first": 1, "unit": "MONTH", "least": "2"}),
    ]
    for document, variables in (*tries, *tries):
        planned = await ask(crm, documents, document, variables)
        assert planned.encode() == (await ask(crm, plain, document, variables)).encode(), variables
    assert documents.plans.answered == 2 * len(tries)
    for document, variables in ((timeline, walk | {"first": -1}), (figures, {"first": -1, "unit": "DAY"})):
        result = await ask(crm, documents, document, variables)
        assert "first is -1; expected a number from 0" in result.errors[0].message


async def test_a_mutation_and_what_reads_more_than_rows_are_not_planned(crm: Crm, documents: Documents) -> None:
    for _ in range(5):
        await execute_with(crm, documents, "{ me { kind } customers(first: 1) { nodes { id } } }", {})
        await execute_with(crm, documents, "{ __schema { queryType { name } } }", {})
    assert documents.plans.made == 0


async def test_a_given_value_keeps_to_itself() -> None:
    track = Track({"name": "Ann"})
    name = track.source(lambda request: request["name"])
    shout = late(name, str.upper)
    assert isinstance(shout, Given)
    for look in (bool, str, len, hash, repr, list, lambda value: value == "ANN", lambda value: f"{value}"):
        with pytest.raises(Untracked):
            look(shout)
    assert shout.known(len) == 3
    assert [value for *_, value in track.guards] == [3]


async def test_a_walk_by_cursors_is_planned_with_nulls_on_the_way(crm: Crm, documents: Documents) -> None:
    document = """query Walk($after: String) {
      customers(orderBy: [{source: ASC}], first: 1, after: $after) {
        nodes { name source } pageInfo { hasNextPage endCursor }
      }
    }"""
    seen, after, more = [], None, True
    while more:
        variables: dict[str, Any] = {} if after is None else {"after": after}
        page = (await execute_with(crm, documents, document, variables))["customers"]
        seen += [row["name"] for row in page["nodes"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert sorted(seen) == sorted(await names(crm, documents))
    # one without a cursor, one with a source in it, one with none; and one for the names
    assert documents.plans.made == 4


async def test_a_changed_role_is_in_effect_at_the_next_request(crm: Crm, documents: Documents) -> None:
    before = agent(crm, "all")
    assert len(await names(crm, documents, before)) == 5
    code = crm.catalog["Customer"].code
    without_name = frozenset(crm.catalog["Customer"].field_names()) - {"name"}
    for version, grant, refused in (
        (1, TypeGrant(RowRule("none")), ""),
        (2, TypeGrant(fields=without_name), "may not read Customer.name"),
        (3, None, "may not read customers"),
    ):
        grants = {} if grant is None else {(code, "read"): grant}
        changed = replace(before, roles=(replace(before.roles[0], version=version, grants=grants),))  # type: ignore[type-var]
        result = await ask(crm, documents, NAMED, {}, changed)
        if refused:
            assert refused in result.errors[0].message
        else:
            assert json.loads(result.encode()) == {"data": {"customers": {"nodes": []}}}


async def test_a_search_is_planned_for_every_text(crm: Crm, documents: Documents) -> None:
    document = """query Found($text: String!, $after: String, $types: [SearchType!]) {
      search(text: $text, first: 1, after: $after, types: $types) {
        totalCount pageInfo { endCursor hasNextPage } edges { score field snippet node { id } }
      }
    }"""
    schema = built(crm)[0]
    without = Documents(replace(schema, settings=schema.settings.model_copy(update={"cached_plans": 0})))
    session = crm.acting_as(SYSTEM)

    async def asked(**variables: Any) -> Any:
        found = [
            await run(replace(context(session), spliced=True), kept, document, variables)
            for kept in (documents, without)
        ]
        assert found[0].encode() == found[1].encode(), variables
        return json.loads(found[0].encode())

    for text in ("ann", "ann lee", "An lee", "王", "acme", "+49 (171) 23", "%_", "", "lee ann stone bob"):
        answer = await asked(text=text)
        if "errors" not in answer and answer["data"]["search"]["pageInfo"]["hasNextPage"]:
            await asked(text=text, after=answer["data"]["search"]["pageInfo"]["endCursor"])
            await asked(text=text, types=["DEAL"])
    assert documents.plans.answered > 6


async def test_roles_that_share_a_name_share_no_rights(crm: Crm, documents: Documents) -> None:
    """Roles that code makes have no id, and their names say nothing of what they grant."""
    code = crm.catalog["Customer"].code
    for rule, found in (("all", 5), ("none", 0), ("all", 5)):
        role = Role("passing", grants={(code, "read"): TypeGrant(RowRule(rule))})  # type: ignore[arg-type]
        assert len(await names(crm, documents, Principal("user", "usr_x", roles=(role,)))) == found
