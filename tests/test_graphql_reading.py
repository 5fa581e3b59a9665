"""Reading through GraphQL: what apps do all day."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from graphql import get_introspection_query

from amity import SYSTEM, Crm, Customer
from amity.entity import encode_id
from amity.testing import make_crm
from amity_graphql import Result, Unexplained, execute, explain

from . import company
from .company import ACME, ANN, BOB, MIA, PILOT, RENEWAL, id_of

# these tests only read, so they share one company
pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE_VIEW = """
query WholeView($id: ID!) {
  customer(id: $id) {
    name
    kind
    contactPoints(orderBy: [{channel: ASC}]) { nodes { channel address primary } }
    organization { name lifecycle owner { name team { name } } }
    interactions(first: 20, orderBy: [{occurredAt: DESC}]) {
      totalCount
      nodes { occurredAt channel direction subject user { name } }
    }
    deals(where: {stage: {category: {eq: OPEN}}}) {
      nodes { name value { amount currency } stage { name probability pipeline { name } } }
    }
  }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make_crm(settings={"plugins": ["graphql"]}, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


async def run(crm: Crm, document: str, **variables: Any) -> Result:
    return await execute(crm, crm.acting_as(SYSTEM), document, variables)


async def ask(crm: Crm, document: str, **variables: Any) -> Any:
    """The data of an operation that has no errors."""
    result = await run(crm, document, **variables)
    assert not result.errors, result.errors
    return result.data


async def refused(crm: Crm, document: str, **variables: Any) -> dict[str, Any]:
    """The only error of an operation."""
    found = (await run(crm, document, **variables)).formatted()
    (error,) = found["errors"]
    assert isinstance(error, dict)
    return error


async def test_a_customers_whole_view_is_one_statement(crm: Crm) -> None:
    before = crm.database.statements
    data = await ask(crm, WHOLE_VIEW, id=ANN)
    assert crm.database.statements == before + 1
    assert data["customer"] == {
        "name": "Ann Lee",
        "kind": "PERSON",
        "contactPoints": {
            "nodes": [
                {"channel": "email", "address": "ann.lee@acme.example", "primary": True},
                {"channel": "phone", "address": "+41443331122", "primary": False},
            ]
        },
        "organization": {
            "name": "Acme",
            "lifecycle": "CUSTOMER",
            "owner": {"name": "Mia Keller", "team": {"name": "Zurich"}},
        },
        "interactions": {
            "totalCount": "2",
            "nodes": [
                {
                    "occurredAt": "2025-11-05T13:30:00.000000Z",
                    "channel": "phone",
                    "direction": "OUTBOUND",
                    "subject": "Went through the offer",
                    "user": {"name": "Mia Keller"},
                },
                {
                    "occurredAt": "2025-11-03T08:15:00.000000Z",
                    "channel": "email",
                    "direction": "INBOUND",
                    "subject": "Prices for 2026",
                    "user": None,
                },
            ],
        },
        "deals": {"nodes": []},
    }


async def test_what_is_spliced_into_the_response_is_the_same_as_what_is_parsed(crm: Crm) -> None:
    parsed = await run(crm, WHOLE_VIEW, id=ANN)
    spliced = await execute(crm, crm.acting_as(SYSTEM), WHOLE_VIEW, {"id": ANN}, spliced=True)
    assert json.loads(spliced.encode()) == parsed.formatted() == json.loads(parsed.encode())


async def test_explain_shows_the_one_statement_and_reads_nothing(crm: Crm) -> None:
    before = crm.database.statements
    ((sql, parameters),) = await explain(crm, crm.acting_as(SYSTEM), WHOLE_VIEW, {"id": ANN})
    assert crm.database.statements == before
    assert '"core_interaction"' in sql
    row = (await crm.database.read(sql, parameters))[0]
    assert json.loads(row[0])["name"] == "Ann Lee"


async def test_explain_refuses_mutations_and_documents_that_do_not_fit(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    with pytest.raises(Unexplained, match="only queries can be explained"):
        await explain(crm, session, 'mutation { createTeam(input: {name: "x"}) { team { id } } }')
    with pytest.raises(Unexplained, match=r"Cannot query field 'nam'.* \(line 1, column 23\)"):
        await explain(crm, session, "{ customers { nodes { nam } } }")
    assert await session.find("Team").count() == 1


async def test_several_root_fields_are_one_statement(crm: Crm) -> None:
    before = crm.database.statements
    data = await ask(
        crm,
        """query($id: ID!, $ids: [ID!]!) {
          customer(id: $id) { name }
          again: customer(id: $id) { name deals { totalCount } }
          deals(orderBy: [{name: ASC}], first: 1) { nodes { name } }
          node(id: $id) { id }
          nodes(ids: $ids) { __typename id }
          teams { totalCount }
        }""",
        id=ACME,
        ids=[MIA, ANN, id_of("cus", 99), BOB],
    )
    assert crm.database.statements == before + 1
    assert data == {
        "customer": {"name": "Acme"},
        "again": {"name": "Acme", "deals": {"totalCount": "2"}},
        "deals": {"nodes": [{"name": "Pilot"}]},
        "node": {"id": ACME},
        "nodes": [
            {"__typename": "User", "id": MIA},
            {"__typename": "Customer", "id": ANN},
            None,
            {"__typename": "Customer", "id": BOB},
        ],
        "teams": {"totalCount": "1"},
    }


async def test_fields_are_merged_aliased_and_spread_as_graphql_says(crm: Crm) -> None:
    data = await ask(
        crm,
        """query($id: ID!, $with: Boolean!, $without: Boolean = true) {
          person: customer(id: $id) {
            ...Names
            ...Names
            organization { lifecycle }
            ... on Node { id }
            ... on Customer @include(if: $with) { given: givenName family: familyName }
            ... { locale @skip(if: $without) note @include(if: $with) }
            __typename
            type: __typename
          }
        }
        fragment Names on Customer { name organization { ...Organization } }
        fragment Organization on Customer { name owner { __typename } }""",
        id=ANN,
        **{"with": True},
    )
    assert list(data["person"].items()) == [
        ("name", "Ann Lee"),
        ("organization", {"name": "Acme", "owner": {"__typename": "User"}, "lifecycle": "CUSTOMER"}),
        ("id", ANN),
        ("given", "Ann"),
        ("family", "Lee"),
        ("note", None),
        ("__typename", "Customer"),
        ("type", "Customer"),
    ]


async def test_everything_of_a_connection_has_its_type_name(crm: Crm) -> None:
    data = await ask(
        crm,
        """{ deals(first: 1, orderBy: [{name: ASC}]) {
          __typename
          pageInfo { __typename more: hasNextPage hasPreviousPage }
          edges { __typename node { __typename value { __typename minor: amount currency } } }
        } }""",
    )
    assert data["deals"] == {
        "__typename": "DealConnection",
        "pageInfo": {"__typename": "PageInfo", "more": True, "hasPreviousPage": False},
        "edges": [
            {
                "__typename": "DealEdge",
                "node": {
                    "__typename": "Deal",
                    "value": {"__typename": "Money", "minor": "800000", "currency": "EUR"},
                },
            }
        ],
    }


async def test_pages_follow_each_other_by_cursor(crm: Crm) -> None:
    document = """query($after: String, $before: String, $first: Int, $last: Int) {
      customers(orderBy: [{name: DESC}], after: $after, before: $before, first: $first, last: $last) {
        nodes { name }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }"""
    names, after = [], None
    while True:
        page = (await ask(crm, document, first=2, after=after))["customers"]
        names += [node["name"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert names == ["王伟", "Globex", "Bob Stone", "Ann Lee", "Acme"]
    start = page["pageInfo"]["startCursor"]
    back = (await ask(crm, document, last=2, before=start))["customers"]
    assert [node["name"] for node in back["nodes"]] == ["Bob Stone", "Ann Lee"]
    assert back["pageInfo"]["hasPreviousPage"]


async def test_references_to_any_record_are_read_by_what_they_refer_to(crm: Crm) -> None:
    data = await ask(
        crm,
        """query($id: ID!) {
          events(where: {type: {eq: "deal.created"}, entityId: {eq: $id}}) {
            nodes { type entity { __typename id ... on Deal { name stage { name } } ... on Customer { kind } } }
          }
          externalIds(where: {system: {eq: "legacy"}}) {
            nodes { externalId entity { id ... on Deal { title: name } } }
          }
        }""",
        id=RENEWAL,
    )
    assert data["events"]["nodes"] == [
        {
            "type": "deal.created",
            "entity": {
                "__typename": "Deal",
                "id": RENEWAL,
                "name": "Renewal 2026",
                "stage": {"name": "Offer"},
            },
        }
    ]
    assert data["externalIds"]["nodes"] == [
        {"externalId": "D-1042", "entity": {"id": RENEWAL, "title": "Renewal 2026"}}
    ]


async def test_filters_are_understood_inline_and_as_variables(crm: Crm) -> None:
    where = {
        "or": [{"name": {"startsWith": "glo"}}, {"contactPoints": {"some": {"address": {"contains": "BOB"}}}}],
        "not": {"kind": {"in": ["PERSON"]}, "lifecycle": {"ne": "LEAD"}},
        "organization": {"name": {"eq": "Acme"}},
    }
    data = await ask(
        crm,
        """query($where: CustomerWhere, $acme: ID!) {
          customers(where: $where) { nodes { name } }
          all: customers(where: null, orderBy: null, first: null) { totalCount }
          deals(
            where: {value: {amount: {gt: 100000}, currency: {eq: "USD"}}, openedOn: {lt: "2025-08-01"}}
            orderBy: [{value: DESC}]
          ) { nodes { name } }
          members: customers(where: {organizationId: {eq: $acme}}, orderBy: [{owner: {name: ASC}}, {name: ASC}]) {
            nodes { name }
          }
        }""",
        where=where,
        acme=ACME,
    )
    assert data == {
        "customers": {"nodes": [{"name": "Bob Stone"}]},
        "all": {"totalCount": "5"},
        "deals": {"nodes": [{"name": "Starter kit"}]},
        "members": {"nodes": [{"name": "Ann Lee"}, {"name": "Bob Stone"}]},
    }


# --- mistakes -----------------------------------------------------------------------------------------------


async def test_an_id_of_the_wrong_kind_is_told_by_both_kinds(crm: Crm) -> None:
    result = await run(crm, "query($id: ID!) { customer(id: $id) { name } deals { totalCount } }", id=PILOT)
    assert result.formatted() == {
        "data": {"customer": None, "deals": {"totalCount": "3"}},
        "errors": [
            {
                "message": f"{PILOT!r} is an id of Deal; expected an id of Customer (cus_…)",
                "locations": [{"line": 1, "column": 19}],
                "path": ["customer"],
                "extensions": {"code": "BAD_USER_INPUT"},
            }
        ],
    }
    error = await refused(crm, '{ node(id: "banana") { id } }')
    assert error["message"].startswith("'banana' is not an id")
    error = await refused(
        crm, "query($id: ID!) { customers(where: {ownerId: {eq: $id}}) { totalCount } }", id=ACME
    )
    assert error["message"] == (f"where.ownerId.eq: {ACME!r} is an id of Customer; expected an id of User (usr_…)")


async def test_an_unknown_enum_value_is_told_with_what_was_meant(crm: Crm) -> None:
    error = await refused(crm, "{ customers(where: {kind: {eq: PERSOM}}) { totalCount } }")
    assert (
        "'PERSOM' does not exist in 'CustomerKind' enum. Did you mean the enum value 'PERSON'?" in error["message"]
    )
    assert error["locations"] == [{"line": 1, "column": 32}]
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    error = await refused(
        crm,
        "query($where: CustomerWhere) { customers(where: $where) { totalCount } }",
        where={"kind": {"eq": "ROBOT"}},
    )
    assert "ROBOT" in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_malformed_document_is_told_by_place_and_not_run(crm: Crm) -> None:
    result = (await run(crm, "{\n  customers { nodes {")).formatted()
    assert "data" not in result
    assert result["errors"][0]["locations"] == [{"line": 2, "column": 22}]
    assert result["errors"][0]["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
    result = (await run(crm, "{ customers { nodes { nmae } } }")).formatted()
    assert "data" not in result
    assert "Did you mean 'name'" in result["errors"][0]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: -1", "first is -1; expected a number from 0 to 500"),
        ("last: 501", "last is 501; at most 500 records are given at once"),
        ("first: 1, last: 1", "first and last exclude each other"),
        ('after: "zzz"', "'zzz' is no cursor"),
        ("where: {name: null}", "where.name: is null; leave it out"),
        ('where: {createdAt: {gt: "2026-01-31"}}', "expected a time with an offset"),
        ("where: {name: {in: $many}}", "$many has 1001 items; at most 1000 are taken at once"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(crm: Crm, arguments: str, message: str) -> None:
    many = [str(number) for number in range(1001)]
    declared = "query($many: [String!])" if "$many" in arguments else "query"
    error = await refused(crm, f"{declared} {{ customers({arguments}) {{ nodes {{ id }} }} }}", many=many)
    assert message in error["message"]
    assert error["extensions"]["code"] in ("BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED", "LIMIT_EXCEEDED")


async def test_a_mistake_deep_in_a_query_is_told_where_it_stands(crm: Crm) -> None:
    document = """query($id: ID!) {
      teams { totalCount }
      customer(id: $id) {
        deals(where: {name: null}) { totalCount }
      }
    }"""
    result = (await run(crm, document, id=ACME)).formatted()
    assert result["data"] == {"teams": {"totalCount": "1"}, "customer": None}
    assert result["errors"][0]["locations"] == [{"line": 4, "column": 9}]
    assert result["errors"][0]["path"] == ["customer"]


async def test_a_cursor_of_another_order_fails_its_root_field_alone(crm: Crm) -> None:
    made = await ask(crm, "{ customers(orderBy: [{name: ASC}], first: 1) { pageInfo { endCursor } } }")
    cursor = made["customers"]["pageInfo"]["endCursor"]
    document = """query($after: String, $id: ID!) {
      customer(id: $id) { name members(after: $after) { nodes { name } } }
      acme: customer(id: $id) { name }
    }"""
    before = crm.database.statements
    result = (await run(crm, document, after=cursor, id=ACME)).formatted()
    assert result["data"] == {"customer": None, "acme": {"name": "Acme"}}
    assert result["errors"][0]["message"].endswith("is no cursor; pass one that an answer to the same query gave")
    assert crm.database.statements == before + 1


async def test_an_order_names_exactly_one_field(crm: Crm) -> None:
    error = await refused(crm, "{ customers(orderBy: [{name: ASC, kind: ASC}]) { totalCount } }")
    assert "must specify exactly one key" in error["message"]
    error = await refused(
        crm,
        "query($o: [CustomerOrder!]) { customers(orderBy: $o) { totalCount } }",
        o=[{"name": "ASC", "kind": "ASC"}],
    )
    assert "exactly one" in error["message"]


async def test_nothing_is_read_for_an_operation_that_has_already_failed(crm: Crm) -> None:
    before = crm.database.statements
    result = await run(crm, "{ deals { totalCount } customers(first: 9999) { totalCount } }")
    assert result.data is None
    assert crm.database.statements == before


async def test_operations_are_chosen_by_name(crm: Crm) -> None:
    document = "query One { teams { totalCount } } query Two { users { totalCount } }"
    session = crm.acting_as(SYSTEM)
    two = await execute(crm, session, document, operation_name="Two")
    assert two.data == {"users": {"totalCount": "2"}}
    none = await execute(crm, session, document)
    assert "Must provide operation name" in none.errors[0].message
    assert not none.ran


async def test_deep_and_wide_documents_are_refused_before_they_are_validated(crm: Crm) -> None:
    deep = "{ customer(id: 1) " + "{ organization " * 60 + "{ id }" + "}" * 60 + "}"
    assert "levels deep; at most 50" in (await refused(crm, deep))["message"]
    nested = "query { customer(id: 1) { ...F0 } } " + " ".join(
        f"fragment F{n} on Customer {{ a{n}: name ...F{n + 1} b{n}: name ...F{n + 1} }}" for n in range(60)
    )
    nested += " fragment F60 on Customer { id }"
    assert "selects more than 1,000,000,000 fields" in (await refused(crm, nested))["message"]
    chain = "{ customers { nodes { ...F0 } } }" + "".join(
        f" fragment F{n} on Customer {{ name ...F{n + 1} }}" for n in range(60)
    )
    same = "{ customers { nodes { " + "organization { name } " * 600 + "} } }"
    for document in (chain + " fragment F60 on Customer { name }", same):
        assert "names the same fields in the same places too often" in (await refused(crm, document))["message"]
    many = "".join(f" query Q{n} {{ teams {{ totalCount }} }}" for n in range(501))
    assert "has 501 operations and fragments" in (await refused(crm, many))["message"]
    assert "Syntax Error" in (await refused(crm, "{" * 30_000))["message"]
    error = await refused(crm, "{ a" * 5_000)
    assert error["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"


async def test_fragments_that_lead_in_a_circle_are_refused(crm: Crm) -> None:
    error = await refused(
        crm, "{ customers { nodes { ...F } } } fragment F on Customer { members { nodes { ...F } } }"
    )
    assert error["message"] == "Cannot spread fragment 'F' within itself."


async def test_introspection_answers_what_tools_ask(crm: Crm) -> None:
    query = get_introspection_query(
        input_value_deprecation=True, specified_by_url=True, directive_is_repeatable=True
    )
    data = await ask(crm, query)
    names = {item["name"] for item in data["__schema"]["types"]}
    assert {"Customer", "CustomerConnection", "CustomerWhere", "BigInt", "Node"} <= names


async def test_deleted_targets_read_as_null(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    made = await session.create(Customer, [{"kind": "organization", "name": "Initech"}])
    initech = made.ids[0]
    assert initech is not None
    await session.create(Customer, [{"kind": "person", "name": "Peter", "organization_id": initech}])
    document = """query($id: ID!) {
      gone: customer(id: $id) { id }
      node(id: $id) { id }
      nodes(ids: [$id]) { id }
      customers(where: {name: {eq: "Peter"}}) { nodes { organization { name } } }
    }"""
    there = await ask(crm, document, id=encode_id("cus", initech))
    assert there["customers"]["nodes"] == [{"organization": {"name": "Initech"}}]
    await session.delete(Customer, [initech])
    assert await ask(crm, document, id=encode_id("cus", initech)) == {
        "gone": None,
        "node": None,
        "nodes": [None],
        "customers": {"nodes": [{"organization": None}]},
    }
    peter = await session.find(Customer).where({"name": {"eq": "Peter"}}).one()
    assert peter is not None
    await session.delete(Customer, [peter["id"]])
