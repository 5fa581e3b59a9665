"""The history of a record: what was changed, by whom, when, as far as its reader may read it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from amity import SYSTEM, Crm, Customer, Deal, Principal, Related, Update, User
from amity.access.roles import Role, RolePolicy, RowRule, TypeGrant
from amity.entity import encode_id
from amity.testing import make_crm, recorded
from amity.tree import Compare
from amity_graphql.api import execute

from .test_query_law import make_stages

VERSIONS = itertools.count(1)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make_crm([], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        crm.policy = RolePolicy(crm.catalog, {})
        await make_stages(crm)
        yield crm


async def ask(crm: Crm, document: str, who: Principal = SYSTEM, **variables: Any) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads((await execute(crm, crm.acting_as(who), document, variables)).encode())
    return answer


async def deal(crm: Crm) -> tuple[str, str]:
    """A deal with three changes behind it; its id, and that of its owner."""
    session = crm.acting_as(SYSTEM)
    number = next(VERSIONS)
    (owner,) = (await session.create(User, [{"name": "Mia", "email": f"mia{number}@example.com"}])).ids
    stages = [row["id"] for row in await session.find("Stage").order_by("position").first(2).all()]
    (id,) = (await session.create(Deal, [{"name": f"D{number}", "stage_id": stages[0]}])).ids
    assert id is not None
    assert owner is not None
    await session.update(Deal, [Update(id, {"value": {"amount": 500, "currency": "EUR"}, "note": "secret"})])
    await session.update(Deal, [Update(id, {"owner_id": owner})])
    await session.run("move_deal", [{"id": id, "stage_id": stages[1]}])
    return encode_id("dea", id), encode_id("usr", owner)


HISTORY = """query($id: ID!, $first: Int, $after: String) {
  deal(id: $id) {
    history(first: $first, after: $after) {
      totalCount
      pageInfo { hasNextPage endCursor }
      nodes { type actor changedFields before after entity { __typename } }
    }
  }
}"""


async def test_a_record_knows_what_was_done_to_it_newest_first(crm: Crm) -> None:
    id, owner = await deal(crm)
    with recorded() as statements:
        answer = await ask(crm, HISTORY, id=id, first=3)
    assert len(statements) == 1
    history = answer["data"]["deal"]["history"]
    assert history["totalCount"] == "4"
    moved, owned, valued = history["nodes"]
    assert moved["type"] == "deal.moved"
    assert {"stage", "stageEnteredAt"} <= set(moved["changedFields"])
    assert (owned["type"], owned["changedFields"]) == ("deal.updated", ["owner"])
    assert owned["before"] == {"owner_id": None}
    assert owned["after"] == {"owner_id": owner}
    assert valued["changedFields"] == ["note", "value"]
    assert valued["actor"] == "system"
    assert valued["entity"] == {"__typename": "Deal"}
    assert history["pageInfo"]["hasNextPage"] is True
    rest = await ask(crm, HISTORY, id=id, after=history["pageInfo"]["endCursor"])
    (created,) = rest["data"]["deal"]["history"]["nodes"]
    assert created["type"] == "deal.created"
    assert created["before"] is None
    assert {"name", "stage", "pipeline"} <= set(created["changedFields"])


async def test_another_order_and_filters_are_those_of_every_relation(crm: Crm) -> None:
    id, _ = await deal(crm)
    answer = await ask(
        crm,
        """query($id: ID!) { deal(id: $id) {
          history(orderBy: [{id: ASC}], where: {type: {ne: "deal.moved"}}, last: 2) { nodes { changedFields } }
        } }""",
        id=id,
    )
    fields = [node["changedFields"] for node in answer["data"]["deal"]["history"]["nodes"]]
    assert fields == [["note", "value"], ["owner"]]
    row = await crm.acting_as(SYSTEM).find(Deal).select(Related("history", ["type"], first=1)).get(id)
    assert row == {"history": [{"type": "deal.moved"}]}


async def test_a_deleted_and_restored_record_says_so(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    (id,) = (await session.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
    assert id is not None
    await session.delete(Customer, [id])
    await session.restore(Customer, [id])
    document = "query($id: ID!) { customer(id: $id) { history { nodes { type changedFields } } } }"
    answer = await ask(crm, document, id=encode_id("cus", id))
    nodes = answer["data"]["customer"]["history"]["nodes"]
    assert [node["type"] for node in nodes] == ["customer.restored", "customer.deleted", "customer.created"]
    assert [node["changedFields"] for node in nodes[:2]] == [[], []]


def reader(crm: Crm, *without: str, **closed: set[str]) -> Principal:
    grants: dict[Any, TypeGrant] = {}
    for entity in crm.catalog.values():
        if entity.name not in without:
            rule = RowRule("where", Compare("id", "in", ())) if entity.name == "User" else RowRule()
            hidden = closed.get(entity.name)
            fields = None if hidden is None else frozenset(entity.field_names()) - hidden
            grants[entity.code, "read"] = TypeGrant(rule, fields)
    return Principal("user", "usr_r", roles=(Role("reader", version=next(VERSIONS), grants=grants),))


async def test_a_history_tells_nobody_what_they_may_not_read(crm: Crm) -> None:
    id, owner = await deal(crm)
    answer = await ask(crm, HISTORY, reader(crm, Deal={"note"}), id=id)
    text = orjson.dumps(answer).decode()
    assert "secret" not in text
    assert owner not in text
    nodes = answer["data"]["deal"]["history"]["nodes"]
    # the owner is somebody out of reach
    assert [node["changedFields"] for node in nodes[1:3]] == [[], ["value"]]


async def test_who_may_not_read_events_is_refused_by_name(crm: Crm) -> None:
    id, _ = await deal(crm)
    for who, message in (
        (reader(crm, "Event"), "may not read events"),
        (reader(crm, Event={"entity"}), "may not read Event.entity"),
    ):
        answer = await ask(crm, HISTORY, who, id=id)
        assert answer["errors"][0]["extensions"]["code"] == "NOT_ALLOWED"
        assert message in answer["errors"][0]["message"]


@pytest.mark.once
async def test_a_history_is_read_in_the_order_of_its_index(crm: Crm) -> None:
    find = crm.acting_as(SYSTEM).find(Deal).select(Related("history", ["type"], first=20)).first(50)
    statement = crm.acting_as(SYSTEM).compile({"x": find.root()})
    rows = await crm.database.read(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
    ((inside, _),) = [(row[1], row[3]) for row in rows if "core_event_entity (entity_id=?)" in str(row[3])]
    assert [row[3] for row in rows if row[1] == inside] == [
        "SEARCH b3 USING INDEX core_event_entity (entity_id=?)"
    ]
