"""Writing through GraphQL: mutations of entities, and actions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from amity import SYSTEM, Crm, Customer
from amity.access import Principal
from amity.testing import recorded
from amity_graphql import execute

from . import company
from .company import ACME, ANN, GLOBEX, LOST, MIA, OFFER, PILOT, QUALIFIED, RENEWAL, STARTER, id_of

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]


@pytest.fixture
async def crm(make_crm: MakeCrm) -> AsyncIterator[Crm]:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


async def ask(crm: Crm, document: str, **variables: Any) -> Any:
    result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    assert not result.errors, result.errors
    return result.data


async def test_what_was_created_is_selected_in_the_same_operation(crm: Crm) -> None:
    data = await ask(
        crm,
        """mutation($input: CustomerInput!) {
          createCustomer(input: $input) {
            customer {
              name kind lifecycle customFields version
              organization { name members { totalCount } }
              externalIds { nodes { system externalId } }
              history { nodes { type actor origin } }
            }
            userErrors { code }
          }
        }""",
        input={
            "kind": "PERSON",
            "name": "Eve Ito",
            "organizationId": ACME,
            "customFields": {"shoe": {"size": 38.5}},
            "externalId": {"system": "shop", "id": "17"},
        },
    )
    assert data["createCustomer"] == {
        "customer": {
            "name": "Eve Ito",
            "kind": "PERSON",
            "lifecycle": "PROSPECT",
            "customFields": {"shoe": {"size": 38.5}},
            "version": 1,
            "organization": {"name": "Acme", "members": {"totalCount": "3"}},
            "externalIds": {"nodes": [{"system": "shop", "externalId": "17"}]},
            "history": {"nodes": [{"type": "customer.created", "actor": "system", "origin": None}]},
        },
        "userErrors": [],
    }


async def test_a_payload_is_read_by_one_statement(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    with recorded() as written:
        await session.create("Team", [{"name": "Basel"}, {"name": "Bern"}])
    with recorded() as statements:
        data = await ask(
            crm,
            """mutation { createTeams(input: [{name: "Chur"}, {name: "Genf"}]) {
              teams { name members { nodes { name } } } again: teams { id } userErrors { code }
            } }""",
        )
    assert len(statements) == len(written) + 1
    assert [team["name"] for team in data["createTeams"]["teams"]] == ["Chur", "Genf"]


async def test_mutations_run_one_after_the_other(crm: Crm) -> None:
    data = await ask(
        crm,
        """mutation($id: ID!) {
          a: updateCustomer(input: {id: $id, patch: {note: "one"}}) { customer { note version } }
          b: updateCustomer(input: {id: $id, patch: {note: "two"}}) { customer { note version } }
          c: updateCustomer(input: {id: $id, expectedVersion: 2, patch: {note: "three"}}) {
            customer { note }
            userErrors { path code message }
          }
        }""",
        id=ANN,
    )
    assert data == {
        "a": {"customer": {"note": "one", "version": 2}},
        "b": {"customer": {"note": "two", "version": 3}},
        "c": {
            "customer": None,
            "userErrors": [
                {
                    "path": ["expectedVersion"],
                    "code": "conflict",
                    "message": "expected version 2, but it is version 3 by now",
                }
            ],
        },
    }


async def test_a_patch_tells_what_is_absent_from_what_is_null(crm: Crm) -> None:
    document = """mutation($patch: CustomerPatch!, $id: ID!) {
      updateCustomer(input: {id: $id, patch: $patch}) {
        customer { source locale owner { name } organization { name } }
        userErrors { path code message }
      }
    }"""
    await ask(crm, document, id=ANN, patch={"source": "fair", "locale": "de-CH"})
    data = await ask(crm, document, id=ANN, patch={"source": None, "ownerId": None})
    assert data["updateCustomer"]["customer"] == {
        "source": None,
        "locale": "de-CH",
        "owner": None,
        "organization": {"name": "Acme"},
    }
    data = await ask(crm, document, id=ANN, patch={"name": None, "ownerId": GLOBEX})
    assert data["updateCustomer"] == {
        "customer": None,
        "userErrors": [
            {"path": ["patch", "name"], "code": "required", "message": "can't be null"},
            {
                "path": ["patch", "ownerId"],
                "code": "invalid",
                "message": f"{GLOBEX!r} is an id of Customer; expected an id of User (usr_…)",
            },
        ],
    }


async def test_mistakes_reject_all_unless_they_are_to_be_skipped(crm: Crm) -> None:
    document = """mutation($onError: OnError) {
      createPipelines(
        input: [{name: "Onboarding"}, {name: "Sales"}, {name: "Cases", position: 3}]
        onError: $onError
      ) { pipelines { name position } userErrors { index path code message } }
    }"""
    taken = {"index": 1, "path": ["name"], "code": "taken", "message": "another pipeline has the same name"}
    data = await ask(crm, document)
    assert data["createPipelines"] == {"pipelines": [None, None, None], "userErrors": [taken]}
    data = await ask(crm, document, onError="SKIP_INVALID")
    assert data["createPipelines"] == {
        "pipelines": [{"name": "Onboarding", "position": 0}, None, {"name": "Cases", "position": 3}],
        "userErrors": [taken],
    }


async def test_upserts_find_records_by_one_key(crm: Crm) -> None:
    document = """mutation($on: [DealKey!]!, $input: [DealInput!]!) {
      upsertDeals(on: $on, input: $input) {
        deals { id name value { amount currency } stageEnteredAt }
        userErrors { index path code message }
      }
    }"""
    rows = [
        {"externalId": {"system": "legacy", "id": "D-1042"}, "name": "Renewal", "stageId": OFFER},
        {
            "externalId": {"system": "legacy", "id": "D-7"},
            "name": "Training",
            "stageId": QUALIFIED,
            "value": {"amount": 9_007_199_254_740_993},
            "stageEnteredAt": "2025-01-02T03:04:05+01:00",
        },
    ]
    data = await ask(crm, document, on="EXTERNAL_ID", input=rows)
    first, second = data["upsertDeals"]["deals"]
    assert first["id"] == RENEWAL
    assert first["name"] == "Renewal"
    assert second["value"] == {"amount": "9007199254740993", "currency": "USD"}
    assert second["stageEnteredAt"] == "2025-01-02T02:04:05.000000Z"
    result = await execute(
        crm, crm.acting_as(SYSTEM), document, {"on": ["EXTERNAL_ID", "EXTERNAL_ID"], "input": rows}
    )
    assert result.errors[0].message.startswith("on has 2 keys; expected exactly one")
    await ask(
        crm,
        """mutation { upsertUsers(on: EMAIL, input: [{email: "mia@ourcompany.example", name: "Mia K."}]) {
          users { id } userErrors { message } } }""",
    )
    assert (await ask(crm, "query($id: ID!) { user(id: $id) { name } }", id=MIA))["user"]["name"] == "Mia K."


async def test_deleted_records_are_gone_until_they_are_restored(crm: Crm) -> None:
    data = await ask(
        crm,
        """mutation($ann: ID!, $nobody: ID!) {
          deleteCustomers(ids: [$ann]) { deletedIds userErrors { code } }
          again: deleteCustomers(ids: [$ann, $nobody]) { deletedIds userErrors { index path code } }
          updateCustomer(input: {id: $ann, patch: {note: "?"}}) { customer { id } userErrors { path code } }
          restoreCustomers(ids: [$ann]) { customers { name contactPoints { totalCount } } userErrors { code } }
        }""",
        ann=ANN,
        nobody=id_of("cus", 77),
    )
    assert data == {
        "deleteCustomers": {"deletedIds": [ANN], "userErrors": []},
        "again": {
            "deletedIds": [],
            "userErrors": [
                {"index": 0, "path": [], "code": "not_found"},
                {"index": 1, "path": [], "code": "not_found"},
            ],
        },
        "updateCustomer": {"customer": None, "userErrors": [{"path": ["id"], "code": "not_found"}]},
        "restoreCustomers": {
            "customers": [{"name": "Ann Lee", "contactPoints": {"totalCount": "2"}}],
            "userErrors": [],
        },
    }


async def test_actions_are_mutations_for_one_and_for_many(crm: Crm) -> None:
    data = await ask(
        crm,
        """mutation($one: LogInteractionInput!, $many: [LogInteractionInput!]!) {
          logInteraction(input: $one) {
            interaction { identity direction customer { name } }
            userErrors { path code message }
          }
          logInteractionBatch(input: $many, onError: SKIP_INVALID) {
            interactions { identity customer { name } }
            userErrors { index path code message }
          }
        }""",
        one={"channel": "email", "direction": "INBOUND", "address": "ANN.LEE@acme.example"},
        many=[
            {"channel": "phone", "direction": "OUTBOUND", "customerId": GLOBEX, "durationSeconds": 60},
            {"channel": "phone", "direction": "OUTBOUND", "customerId": MIA},
            {"channel": "pigeon", "direction": "OUTBOUND", "customerId": GLOBEX},
        ],
    )
    assert data["logInteraction"] == {
        "interaction": {"identity": "MATCHED", "direction": "INBOUND", "customer": {"name": "Ann Lee"}},
        "userErrors": [],
    }
    batch = data["logInteractionBatch"]
    assert batch["interactions"] == [{"identity": "MATCHED", "customer": {"name": "Globex"}}, None, None]
    assert [(e["index"], e["path"], e["code"]) for e in batch["userErrors"]] == [
        (1, ["customerId"], "invalid"),
        (2, ["channel"], "invalid"),
    ]
    assert batch["userErrors"][0]["message"] == (f"{MIA!r} is an id of User; expected an id of Customer (cus_…)")


async def test_deals_move_between_stages_and_keep_their_moves(crm: Crm) -> None:
    data = await ask(
        crm,
        """mutation($id: ID!, $stage: ID!, $other: ID!, $before: ID!) {
          moveDeal(input: {id: $id, stageId: $stage, movedAt: "2025-12-01T00:00:00Z"}) {
            deal {
              stage { name } closedOn
              stageMoves(where: {toStageId: {eq: $stage}}) { nodes { fromStage { name } toStage { name } } }
            }
            userErrors { message }
          }
          back: moveDeal(input: {id: $id, stageId: $other, before: $before}) {
            deal { stage { name deals: __typename } closedOn }
            userErrors { path message }
          }
        }""",
        id=PILOT,
        stage=LOST,
        other=OFFER,
        before=RENEWAL,
    )
    assert data["moveDeal"]["deal"] == {
        "stage": {"name": "Lost"},
        "closedOn": "2025-12-01",
        "stageMoves": {"nodes": [{"fromStage": {"name": "Qualified"}, "toStage": {"name": "Lost"}}]},
    }
    assert data["back"] == {
        "deal": {"stage": {"name": "Offer", "deals": "Stage"}, "closedOn": None},
        "userErrors": [],
    }
    order = await ask(
        crm,
        "query($s: ID!) { deals(where: {stageId: {eq: $s}}, orderBy: [{position: ASC}]) { nodes { id } } }",
        s=OFFER,
    )
    assert [deal["id"] for deal in order["deals"]["nodes"]] == [PILOT, RENEWAL]


async def test_who_may_not_is_told_so_and_nothing_is_written(crm: Crm) -> None:
    nobody = crm.acting_as(Principal("user", "usr_1"))
    for document in (
        'mutation { createTeam(input: {name: "Night"}) { userErrors { code } } }',
        "mutation($id: ID!) { deleteCustomers(ids: [$id]) { deletedIds } }",
        """mutation { logInteraction(input: {channel: "email", direction: INBOUND, address: "x@y.example"}) {
          userErrors { code } } }""",
    ):
        result = await execute(crm, nobody, document, {"id": ANN})
        assert list(result.data.values()) == [None]
        assert result.errors[0].extensions == {"code": "NOT_ALLOWED"}
        assert "user:usr_1" in result.errors[0].message
    session = crm.acting_as(SYSTEM)
    assert await session.find("Team").count() == 1
    assert await session.find(Customer).count() == 5


async def test_a_mutation_that_fails_leaves_the_answers_of_the_others(crm: Crm) -> None:
    result = await execute(
        crm,
        crm.acting_as(SYSTEM),
        """mutation {
          createTeam(input: {name: "Night"}) { team { name } }
          upsertTeams(on: [NAME, EXTERNAL_ID], input: [{name: "Day"}]) { teams { name } }
          last: createTeam(input: {name: "Late"}) { team { name } }
        }""",
    )
    assert result.data == {
        "createTeam": {"team": {"name": "Night"}},
        "upsertTeams": None,
        "last": {"team": {"name": "Late"}},
    }
    assert [error.path for error in result.errors] == [["upsertTeams"]]


async def test_a_list_that_is_too_long_is_refused(make_crm: MakeCrm) -> None:
    settings = {"plugins": ["graphql"], "graphql": {"max_list": 2}}
    async with make_crm(settings=settings) as crm:
        session = crm.acting_as(SYSTEM)
        document = 'mutation { createTeams(input: [{name: "a"}, {name: "b"}, {name: "c"}]) { teams { name } } }'
        result = await execute(crm, session, document)
        assert result.errors[0].message == "input has 3 items; at most 2 are taken at once (max_list in [graphql])"
        assert await session.find("Team").count() == 0


async def test_what_an_entity_does_not_ask_for_is_not_there(crm: Crm) -> None:
    for field in ("createEvent", "createExternalId", "deleteStageMoves", "updateEvents"):
        result = await execute(crm, crm.acting_as(SYSTEM), f"mutation {{ {field} {{ userErrors {{ code }} }} }}")
        assert f"Cannot query field '{field}' on type 'Mutation'" in result.errors[0].message


async def test_numbers_times_and_ids_that_are_none_are_told_before_anything_runs(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    document = "mutation($input: DealInput!) { createDeal(input: $input) { deal { id } } }"
    for field, value, message in (
        ("value", {"amount": "1.5"}, "expected a whole number"),
        ("value", {"amount": 2**64}, "does not fit into 64 bits"),
        ("openedOn", "yesterday", "expected a date"),
        ("stageEnteredAt", "2025-01-01T00:00:00", "expected a time with an offset"),
    ):
        given = {"name": "x", "stageId": QUALIFIED, field: value}
        result = await execute(crm, session, document, {"input": given})
        assert not result.ran
        assert message in result.errors[0].message
        assert result.errors[0].extensions["code"] == "BAD_USER_INPUT"  # type: ignore[index]
    assert STARTER
