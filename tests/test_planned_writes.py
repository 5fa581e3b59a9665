"""Plans of mutations: done and answered as without them."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
from graphql.pyutils import Undefined
from graphql.utilities import coerce_input_value
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from amity import SYSTEM, Crm, Customer, Plugin, Principal, Session
from amity.access.principal import Facts
from amity.access.roles import Role, RowRule, TypeGrant
from amity.change import Update
from amity.contracts import Action, Context, Permission, UserError
from amity.entity import decode_id, encode_id, new_id
from amity.testing import make_crm, recorded
from amity_graphql import Result
from amity_graphql.api import built, context
from amity_graphql.coerce import Unusual, coercer
from amity_graphql.execution import Documents
from amity_graphql.execution import execute as run

from . import company
from .company import ANN, BOB, JONAS, MIA, OFFER
from .documents import MutationWriter
from .seeds import drawn

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "40"))
pytestmark = pytest.mark.asyncio(loop_scope="module")

LOG = """mutation Log($input: LogInteractionInput!) {
  done: logInteraction(input: $input) {
    __typename
    interaction { id subject direction customer { name interactions(first: 2) { totalCount } } }
    userErrors { index path code message __typename }
  }
}"""
LOG_MANY = """mutation Log($input: [LogInteractionInput!]!, $onError: OnError) {
  logInteractionBatch(input: $input, onError: $onError) {
    interactions { subject occurredAt customer { name } } userErrors { path code }
  }
}"""
CREATE = """mutation Create($input: CustomerInput!) {
  createCustomer(input: $input) { customer { id name kind lifecycle } userErrors { ...told } }
}
fragment told on UserError { path message }"""
UPDATE = """mutation Update($input: CustomerUpdate!) {
  updateCustomer(input: $input) { customer { name version } userErrors { path code message } }
}"""
UPSERT = """mutation Upsert($input: [CustomerInput!]!) {
  upsertCustomers(input: $input, on: [external_id]) { customers { name note } userErrors { code } }
}"""
DELETE = "mutation Delete($ids: [ID!]!) { deleteCustomers(ids: $ids) { deletedIds userErrors { code path } } }"
NONE = f"cus_{'0' * 32}"
CALL = {"channel": "phone", "direction": "INBOUND", "customerId": ANN, "subject": "Hello"}
TRIES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (LOG, {"input": CALL}),
    (
        LOG,
        {
            "input": {
                **CALL,
                "occurredAt": "2026-01-31T12:00:00Z",
                "durationSeconds": 3,
                "customFields": {"a": [1]},
            }
        },
    ),
    (LOG, {"input": {**CALL, "customerId": NONE}}),
    (LOG, {"input": {**CALL, "customerId": "dea_1"}}),
    (LOG, {"input": {**CALL, "customerId": None, "address": "+49 30 123456"}}),
    (LOG, {"input": {**CALL, "channel": "pigeon"}}),
    (LOG, {"input": {**CALL, "direction": "SIDEWAYS"}}),
    (LOG, {"input": {**CALL, "externalId": {"system": "pbx", "id": "1"}}}),
    (LOG, {"input": {**CALL, "externalId": {"system": "pbx"}}}),
    (LOG, {"input": {"direction": "INBOUND"}}),
    (LOG, {"input": None}),
    (LOG, {}),
    (LOG_MANY, {"input": [CALL, {**CALL, "subject": "Bye"}]}),
    (LOG_MANY, {"input": [CALL, {**CALL, "subject": "Bye"}], "onError": "REJECT_ALL"}),
    (LOG_MANY, {"input": [CALL, {**CALL, "customerId": NONE}], "onError": "SKIP_INVALID"}),
    (LOG_MANY, {"input": [CALL, {**CALL, "customerId": NONE}], "onError": None}),
    (LOG_MANY, {"input": CALL}),
    (LOG_MANY, {"input": [], "onError": "REJECT_ALL"}),
    (LOG_MANY, {"input": [{**CALL, "customerId": ident} for ident in (ANN, BOB, ANN)], "onError": "REJECT_ALL"}),
    (CREATE, {"input": {"kind": "PERSON", "name": "Cid"}}),
    (CREATE, {"input": {"kind": "PERSON", "name": "Cid", "organizationId": ANN}}),
    (CREATE, {"input": {"kind": "PERSON", "name": "\0"}}),
    (CREATE, {"input": {"kind": "PERSON", "name": None}}),
    (CREATE, {"input": {"kind": "PERSON", "name": 3}}),
    (CREATE, {"input": {"kind": "PERSON", "name": "Cid", "colour": "red"}}),
    (UPDATE, {"input": {"id": ANN, "patch": {"note": "Likes tea"}}}),
    (UPDATE, {"input": {"id": ANN, "patch": {"name": None}}}),
    (UPDATE, {"input": {"id": ANN, "patch": {"note": "x"}, "expectedVersion": 77}}),
    (UPDATE, {"input": {"id": NONE, "patch": {"note": "x"}}}),
    (UPSERT, {"input": [{"kind": "PERSON", "name": "Eve", "externalId": {"system": "erp", "id": "7"}}]}),
    (UPSERT, {"input": [{"kind": "PERSON", "name": "Eva", "externalId": {"system": "erp", "id": "7"}}] * 2}),
    (DELETE, {"ids": [BOB]}),
    (DELETE, {"ids": [BOB, NONE]}),
    (DELETE, {"ids": []}),
)
_PASSING = re.compile(rb"int_[0-9a-f]{32}|cus_[0-9a-f]{32}|20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")


@asynccontextmanager
async def alike(server_url: str | None) -> AsyncIterator[tuple[Crm, Crm]]:
    config = {"plugins": ["graphql"]}
    async with (
        make_crm([], config, server_url=server_url) as one,
        make_crm([], config, server_url=server_url) as two,
    ):
        for crm in (one, two):
            await company.company(crm.acting_as(SYSTEM))
        yield one, two


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crms(server_url: str | None) -> AsyncIterator[tuple[Crm, Crm]]:
    """Two that are alike."""
    async with alike(server_url) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def spent(server_url: str | None) -> AsyncIterator[tuple[Crm, Crm]]:
    """Two more, for whatever may be deleted."""
    async with alike(server_url) as found:
        yield found


def limited(crm: Crm) -> Principal:
    """Somebody who may do everything, but see Bob, and read the notes of customers."""
    customer = crm.catalog["Customer"]
    grants: dict[Any, TypeGrant] = {("*", verb): TypeGrant() for verb in ("read", "create", "update", "delete")}
    grants[customer.code, "read"] = TypeGrant(fields=frozenset(customer.field_names()) - {"note"})
    return Principal(
        "user",
        "usr_limited",
        roles=(Role("limited", grants=grants, permissions=frozenset(["core.log_interaction"])),),
    )


def owner(crm: Crm) -> Principal:
    """Somebody who sees and changes their own customers, and everything else."""
    grants: dict[Any, TypeGrant] = {("*", verb): TypeGrant() for verb in ("read", "create", "update", "delete")}
    for verb in ("read", "update"):
        grants[crm.catalog["Customer"].code, verb] = TypeGrant(RowRule("own"))
    role = Role("owner", grants=grants, permissions=frozenset(["core.log_interaction"]))
    return Principal("user", "usr_owner", roles=(role,), facts=Facts(user=decode_id("usr", MIA)))


async def stored(crm: Crm) -> list[Any]:
    """What is there, but for ids and times."""
    session, found = crm.acting_as(SYSTEM), []
    for name, fields in (
        ("Interaction", ("subject", "direction", "identity", "duration_seconds", "version", "custom_fields")),
        ("Customer", ("name", "kind", "note", "version")),
        ("Deal", ("name", "value", "position", "version")),
        ("ContactPoint", ("channel", "address", "version")),
        ("Event", ("type", "number", "origin", "actor")),
    ):
        found.append(await session.find(name).select(*fields).first(500).all())
    return [[{key: row[key] for key in row if key != "id"} for row in rows] for rows in found]


async def ask(
    crm: Crm, documents: Documents, document: str, variables: Mapping[str, Any], who: Principal
) -> Result:
    running = context(crm.acting_as(who), spliced=True)
    return await run(running, documents, document, variables)


async def test_a_planned_mutation_does_and_answers_the_same(crms: tuple[Crm, Crm]) -> None:
    """Whatever is sent, by whomever: the same answer and the same rows and events, but for new ids and times."""
    with_plans, without = (Documents(built(crm)[0]) for crm in crms)
    api = built(crms[1])[0]
    without = Documents(replace(api, settings=api.settings.model_copy(update={"cached_plans": 0})))
    errors = 0
    for who, (document, variables) in itertools.product((SYSTEM, limited(crms[0])), TRIES * 2):
        planned = await ask(crms[0], with_plans, document, variables, who)
        plain = await ask(crms[1], without, document, variables, who)
        assert _PASSING.sub(b"*", planned.encode()) == _PASSING.sub(b"*", plain.encode()), (document, variables)
        errors += bool(plain.errors)
    assert errors
    assert without.plans.answered == 0
    assert with_plans.plans.answered > len(TRIES)
    assert await stored(crms[0]) == await stored(crms[1])


async def test_any_mutation_does_and_answers_the_same(spent: tuple[Crm, Crm]) -> None:
    """The law: made-up mutations with made-up variables, right and wrong, by whomever."""
    api, other = built(spent[0])[0], built(spent[1])[0]
    with_plans = Documents(api)
    without = Documents(replace(other, settings=other.settings.model_copy(update={"cached_plans": 0})))
    ids = [
        row["id"]
        for name in ("Customer", "Deal", "User", "Team", "Pipeline", "Stage")
        for row in await spent[0].acting_as(SYSTEM).find(name).all()
        if "_019a0000" in row["id"]  # others are not the same in both
    ]
    start = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    people = (SYSTEM, SYSTEM, limited(spent[0]), owner(spent[0]))
    seeds = drawn(EXAMPLES)

    def known(answer: bytes) -> bytes:
        def passing(match: re.Match[bytes]) -> bytes:
            text = match[0].decode()
            return match[0] if text in ids or text.startswith(("0", "1")) or "2000" < text < start else b"*"

        answer = re.sub(rb'logged as [0-9a-f]+|"[0-9a-f]{32}"', b'"*"', answer)
        return re.sub(rb"[a-z]{3}_[0-9a-f]{32}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", passing, answer)

    async def happened(crm: Crm) -> list[bytes]:
        rows = await crm.acting_as(SYSTEM).find("Event").select("type", "number", "actor", "before", "after").all()
        return [known(orjson.dumps({key: row[key] for key in row if key != "id"})) for row in rows]

    refused = told = 0
    for seed in seeds:
        writer = MutationWriter(api.graphql, ids, random.Random(seed))
        query = writer.mutation()
        tries = [query.variables, writer.other(query), writer.other(query, wrong=0.3)]
        spoiled = writer.spoiled(query.variables)
        tries.append(spoiled if isinstance(spoiled, dict) else {})
        who = writer.chance.choice(people)
        for variables in tries:
            planned = await ask(spent[0], with_plans, query.document, variables, who)
            plain = await ask(spent[1], without, query.document, variables, who)
            found, expected = known(planned.encode()), known(plain.encode())
            assert found == expected, (query.document, variables, found, expected)
            refused += bool(plain.errors)
            told += b'"userErrors":[{' in plain.encode()
    assert refused
    assert told
    assert with_plans.plans.answered > len(seeds) // 3
    assert await happened(spent[0]) == await happened(spent[1])
    assert await stored(spent[0]) == await stored(spent[1])


async def test_a_mutation_is_planned_once(crms: tuple[Crm, Crm]) -> None:
    crm = crms[0]
    documents = Documents(built(crm)[0])
    seen = []
    for subject in ("One", "Two"):
        with recorded() as statements:
            result = await run(
                context(crm.acting_as(SYSTEM)), documents, LOG, {"input": {**CALL, "subject": subject}}
            )
        assert result.data["done"]["interaction"]["subject"] == subject
        assert result.data["done"]["userErrors"] == []
        seen.append(statements)
    assert seen[0] == seen[1]
    assert (documents.plans.made, documents.plans.answered) == (1, 2)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("mutation ($input: LogInteractionInput!) { a: logInteraction(input: $input) { userErrors { code } } "
         "b: logInteraction(input: $input) { userErrors { code } } }", "two of them"),
        ("mutation ($input: LogInteractionInput!, $no: Boolean = false) { logInteraction(input: $input) "
         "{ userErrors { code } interaction @include(if: $no) { id } } }", "a directive"),
        ("mutation ($input: LogInteractionInput!, $n: Int = 1) { logInteraction(input: $input) { interaction "
         "{ customer { interactions(first: $n) { totalCount } } } userErrors { code } } }", "a variable below"),
    ],
)  # fmt: skip
async def test_what_is_out_of_the_ordinary_is_not_planned(crms: tuple[Crm, Crm], document: str, why: str) -> None:
    documents = Documents(built(crms[0])[0])
    for _ in range(5):
        result = await run(context(crms[0].acting_as(SYSTEM)), documents, document, {"input": CALL})
        assert not result.errors, why
    assert documents.plans.made == 0


async def test_what_a_payload_shows_is_refused_before_anything_is_done(crms: tuple[Crm, Crm]) -> None:
    crm = crms[0]
    documents, who = Documents(built(crm)[0]), limited(crm)
    document = LOG.replace("customer { name ", "customer { note ")
    before = await crm.acting_as(SYSTEM).find("Interaction").count()
    for principal, refused in ((SYSTEM, False), (who, True), (SYSTEM, False), (who, True)):
        result = await ask(crm, documents, document, {"input": CALL}, principal)
        assert bool(result.errors) is refused
    assert await crm.acting_as(SYSTEM).find("Interaction").count() == before + 2


async def test_what_is_referred_to_and_was_deleted_is_told(crms: tuple[Crm, Crm]) -> None:
    """It is taken to be there, written for, and undone."""
    crm = crms[0]
    session = crm.acting_as(SYSTEM)
    (gone,) = (await session.create("Customer", [{"kind": "person", "name": "Gone"}])).ids
    assert gone is not None
    await session.delete("Customer", [gone])
    count, events = await session.find("Interaction").count(), len(await crm.events.read())
    for customer in (gone, new_id()):
        row = {"channel": "phone", "direction": "inbound", "customer_id": encode_id("cus", customer)}
        refused = await session.run("log_interaction", [row])
        assert [(error.code, error.path) for error in refused.errors] == [("not_found", ("customer_id",))]
    assert await session.find("Interaction").count() == count
    assert len(await crm.events.read()) == events


async def test_what_is_referred_to_and_was_given_away_meanwhile_is_told(crms: tuple[Crm, Crm]) -> None:
    """Whoever waits for a row is asked whether they may read it as it became."""
    crm = crms[0]
    mine = {"kind": "person", "name": "Passing", "owner_id": MIA}
    (customer,) = (await crm.acting_as(SYSTEM).create("Customer", [mine])).ids
    assert customer is not None
    locked, asked = asyncio.Event(), asyncio.Event()

    async def give_away(session: Session) -> None:
        await session.restore("Customer", [customer])  # it is there, and locked as if it were not
        locked.set()
        await asked.wait()
        await asyncio.sleep(0.2)
        await session.update("Customer", [Update(customer, {"owner_id": JONAS})])

    given = asyncio.create_task(crm.acting_as(SYSTEM).transact(give_away))
    await locked.wait()
    asked.set()
    row = {"name": "Late", "stage_id": OFFER, "customer_id": encode_id("cus", customer)}
    refused = await crm.acting_as(owner(crm)).create("Deal", [row])
    await given
    assert [(error.code, error.path) for error in refused.errors] == [("not_found", ("customer_id",))]


@pytest.mark.parametrize("on_error", ["REJECT_ALL", "SKIP_INVALID"])
async def test_a_batch_tells_all_that_is_wrong_with_it(crms: tuple[Crm, Crm], on_error: str) -> None:
    """Also what is taken to be there, when something else is refused before it was looked for."""
    crm = crms[0]
    calls = [{**CALL, "customerId": NONE}, {**CALL, "channel": "pigeon"}, CALL]
    result = await ask(crm, Documents(built(crm)[0]), LOG_MANY, {"input": calls, "onError": on_error}, SYSTEM)
    answer = orjson.loads(result.encode())["data"]["logInteractionBatch"]
    assert [error["path"] for error in answer["userErrors"]] == [["customerId"], ["channel"]]
    written = [row is not None for row in answer["interactions"]]
    assert written == ([False] * 3 if on_error == "REJECT_ALL" else [False, False, True])


class _MarkInput(BaseModel):
    data: dict[str, Any]


class _Marking(Plugin):
    """An action that changes what it was given."""

    name = "marking"

    def permissions(self) -> list[Permission]:
        return [Permission("marking.mark", "Mark")]

    def actions(self) -> list[Action[Any]]:
        async def mark(_: Context, inputs: Sequence[_MarkInput]) -> list[UserError]:
            for item in inputs:
                item.data["seen"].append(1)
            return [UserError(0, (), "invalid", f"seen {len(item.data['seen'])} times") for item in inputs]

        return [Action("mark", _MarkInput, mark, "marking.mark", Customer)]


@pytest.mark.once
async def test_what_an_action_does_to_its_input_is_not_kept(server_url: str | None) -> None:
    """What the document says is one object for all requests by the plan, whoever sends them."""
    document = "mutation { mark(input: {data: {seen: []}}) { userErrors { message } } }"
    async with make_crm([_Marking], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        documents = Documents(built(crm)[0])
        for _ in range(3):
            result = await ask(crm, documents, document, {}, SYSTEM)
            assert result.data == {"mark": {"userErrors": [{"message": "seen 1 times"}]}}
        assert documents.plans.answered == 3


# --- variables ------------------------------------------------------------------------------------------------

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**33), 2**33), st.floats(), st.text(max_size=3),
    st.sampled_from(["PERSON", "INBOUND", "person", ANN, "2026-01-31", "2026-01-31T12:00:00Z", "105400"]),
)  # fmt: skip


@settings(max_examples=EXAMPLES * 5, deadline=None)
@given(st.data())
def _coerced_alike(types: Mapping[str, Any], data: st.DataObject) -> None:
    type_ = types[data.draw(st.sampled_from(sorted(types)))]
    value = data.draw(_values(type_))
    coerce = coercer(type_)
    assert coerce is not None
    expected = coerce_input_value(value, type_)
    try:
        found = coerce(value)
    except Unusual:
        return
    assert expected is not Undefined
    assert repr(found) == repr(expected)  # with the order of keys


def _values(type_: Any) -> st.SearchStrategy[Any]:
    """JSON that mostly fits a type."""
    inner = getattr(type_, "of_type", None)
    if type(type_).__name__ == "GraphQLNonNull":
        return st.one_of(_values(inner), _values(inner), _SCALARS)
    if inner is not None:
        return st.one_of(st.lists(_values(inner), max_size=2), _SCALARS)
    fields = getattr(type_, "fields", None)
    if fields is None:
        names = list(getattr(type_, "values", ())) or ["x", "12", "2026-01-31T12:00:00Z"]
        return st.one_of(st.sampled_from(names), _SCALARS)
    needed = {name: _values(field.type) for name, field in fields.items() if "!" in str(field.type)}
    others = {name: _values(field.type) for name, field in fields.items() if name not in needed}
    whole = st.fixed_dictionaries(needed, optional=others)
    return st.one_of(
        whole, whole, whole, st.dictionaries(st.sampled_from([*fields, "strange"]), _SCALARS, max_size=3)
    )


@pytest.mark.once
async def test_variables_are_coerced_as_graphql_core_does(crms: tuple[Crm, Crm]) -> None:
    api = built(crms[0])[0]
    mutation = api.graphql.mutation_type
    assert mutation is not None
    types = {
        f"{name}.{key}": argument.type
        for name, field in mutation.fields.items()
        for key, argument in field.args.items()
        if coercer(argument.type) is not None
    }
    assert {"logInteraction.input", "updateCustomers.input", "deleteDeals.ids", "createDeal.input"} <= types.keys()
    _coerced_alike(types)
