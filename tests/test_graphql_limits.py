"""Limits of an operation, told before anything is run: what it may cost, and what attacks come to."""

from __future__ import annotations

import gc
import os
import re
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio
from graphql import (
    GraphQLList,
    GraphQLObjectType,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    parse,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm
from amity.testing import make_crm, recorded
from amity_graphql import api, execute, execution, limits
from amity_graphql.settings import GraphQLSettings

from . import company
from .company import ANN

# these tests share one company
pytestmark = pytest.mark.asyncio(loop_scope="module")
EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "30"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make_crm(settings={"plugins": ["graphql"]}, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


async def refused(crm: Crm, document: str, **variables: Any) -> dict[str, Any]:
    """The one error of an operation of which nothing is run."""
    with recorded() as statements:
        result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    assert not result.ran
    assert not statements
    (error,) = result.formatted()["errors"]
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED", error
    return dict(error)


def cost(crm: Crm, document: str, **variables: Any) -> int:
    return api.cost(crm, document, variables)["value"]


# --- what an operation costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "variables", "expected"),
    [
        ("{ customer(id: $id) { name organization { name } } }", {}, 1 + 1 + 1 + 1),
        ("{ customers(first: 3) { totalCount nodes { id name } } }", {}, 1 + 1 + 1 + 3 * 2),
        ("{ customers(last: 3) { edges { cursor node { id } } } }", {}, 1 + 1 + 3 * (1 + 1 + 1)),
        ("{ customers { nodes { id } } }", {}, 1 + 1 + 50),
        (
            "{ customers(first: 3) { nodes { deals(first: 4) { nodes { id } } } } }",
            {},
            1 + 1 + 3 * (1 + 1 + 4),
        ),
        ("query($n: Int) { customers(first: $n) { nodes { id } } }", {}, 1 + 1 + 50),
        ("query($n: Int) { customers(first: $n) { nodes { id } } }", {"n": None}, 1 + 1 + 50),
        ("query($n: Int = 7) { customers(first: $n) { nodes { id } } }", {}, 1 + 1 + 7),
        ("query($n: Int = 7) { customers(first: $n) { nodes { id } } }", {"n": 2}, 1 + 1 + 2),
        (
            "query($n: Int, $m: Int) { customers(first: $n, last: $m) { nodes { id } } }",
            {"n": None, "m": 5},
            1 + 1 + 5,
        ),
        (
            "query($all: Boolean!) { customers(first: 9) { totalCount nodes @include(if: $all) { id } } }",
            {"all": False},
            1 + 1,
        ),
        (
            "query($all: Boolean!) { customers(first: 9) { totalCount nodes @skip(if: $all) { id } } }",
            {"all": False},
            1 + 1 + 1 + 9,
        ),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [ANN, ANN, ANN]}, 1 + 3),
        (
            "mutation($n: [TeamInput!]!) { createTeams(input: $n) { teams { id } } }",
            {"n": [{"name": "a"}] * 4},
            1 + 1 + 4,
        ),
        ("{ plugins { name } }", {}, 1 + 50),
        (
            "query($n: Int) { ...Q } fragment Q on Query { users(first: $n) { nodes { id } } me { id } }",
            {"n": 6},
            1 + 1 + 6 + 1 + 1,
        ),
    ],
)
async def test_a_field_costs_one_for_every_record_that_it_could_be_asked_of(
    crm: Crm, document: str, variables: Mapping[str, Any], expected: int
) -> None:
    if "$id)" in document:
        document = f'query($id: ID! = "{ANN}") {document}'
    assert cost(crm, document, **variables) == expected


async def test_what_costs_too_much_is_refused_with_the_place_that_makes_it_so(crm: Crm) -> None:
    document = """query($first: Int) {
      teams { totalCount }
      all: customers(first: 500) {
        ...Page
      }
    }
    fragment Page on CustomerConnection {
      nodes {
        name
        members(first: $first) { nodes { deals(first: 20) { nodes { name } } } }
      }
    }"""
    error = await refused(crm, document, first=500)
    assert error["message"] == (
        "all.nodes.members.nodes.deals.nodes costs 5,250,000, counting each field once for every record that it "
        "could be asked of; at most 1,000,000 is answered; ask for smaller pages (first) or fewer fields "
        "(max_cost in [graphql])"
    )
    assert error["path"] == ["all", "nodes", "members", "nodes", "deals", "nodes"]
    assert error["locations"] == [{"line": 10, "column": 61}]
    assert error["extensions"] == {
        "code": "LIMIT_EXCEEDED",
        "limit": "max_cost",
        "value": 500 * 500 * 21,
        "most": 1_000_000,
    }
    # the same document is answered where the variable is smaller
    assert not (await execute(crm, crm.acting_as(SYSTEM), document, {"first": 5})).errors


async def test_many_roots_that_are_too_much_together_are_told_of_the_operation(crm: Crm) -> None:
    page = "customers(first: 500) { nodes { deals(first: 20) { nodes { id name } } } }"
    error = await refused(crm, "{ " + " ".join(f"a{n}: {page}" for n in range(48)) + " }")
    assert error["message"].startswith(f"the operation costs {48 * (2 + 500 * (2 + 20 * 2)):,}, counting")
    assert "path" not in error


async def test_introspection_is_measured_and_explorers_may_read_the_whole_schema(crm: Crm) -> None:
    for options in (
        {},
        {"specified_by_url": True, "directive_is_repeatable": True, "input_value_deprecation": True},
    ):
        document = get_introspection_query(**options)
        result = await execute(crm, crm.acting_as(SYSTEM), document)
        assert not result.errors
        assert counted(result.data) <= cost(crm, document) < 1_000_000
    async with make_crm(settings={"plugins": ["graphql"], "graphql": {"max_cost": 1000}}) as small:
        assert not (await execute(small, small.acting_as(SYSTEM), document)).errors


# --- laws -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """A field of a generated selection; ``size`` is its ``first``, as a literal or through a variable."""

    name: str
    size: int | None = None
    bound: bool = False
    inner: tuple[Chosen, ...] = ()
    alias: str = field(default="", compare=False)


@st.composite
def selections(draw: st.DrawFn, type_: GraphQLObjectType, depth: int) -> tuple[Chosen, ...]:
    """Fields of a type: values, records, and pages down to a depth."""
    plain = [n for n, f in type_.fields.items() if is_leaf_type(get_named_type(f.type)) and not f.args]
    found = [
        Chosen(name) for name in draw(st.lists(st.sampled_from(plain or ["__typename"]), min_size=1, max_size=3))
    ]
    if depth > 0:
        further = [
            (name, inner)
            for name, field in type_.fields.items()
            if isinstance(inner := get_named_type(field.type), GraphQLObjectType)
            and (inner.name.endswith(("Connection", "Edge", "PageInfo")) or "Node" in map(str, inner.interfaces))
            and not ({"id", "ids"} & set(field.args))
        ]
        for name, inner in draw(st.lists(st.sampled_from(further), max_size=2)) if further else ():
            paged = "first" in type_.fields[name].args
            listed = isinstance(get_nullable_type(type_.fields[name].type), GraphQLList)
            size = draw(st.none() | st.integers(0, 4)) if paged else None
            below = draw(selections(inner, depth - (not paged and not listed)))
            found.append(Chosen(name, size, draw(st.booleans()), below))
    return tuple(found)


def written(chosen: Sequence[Chosen]) -> tuple[str, dict[str, int]]:
    """The document and variables of a selection; every field has an alias of its own."""
    variables: dict[str, int] = {}
    numbers = iter(range(10_000))

    def write(items: Sequence[Chosen]) -> str:
        return " ".join(one(item) for item in items)

    def one(item: Chosen) -> str:
        number, given = next(numbers), ""
        if item.size is not None and item.bound:
            variables[f"v{number}"] = item.size
            given = f"(first: $v{number})"
        elif item.size is not None:
            given = f"(first: {item.size})"
        inner = f" {{ {write(item.inner)} }}" if item.inner else ""
        return f"a{number}: {item.name}{given}{inner}"

    body = write(chosen)
    declared = ", ".join(f"${name}: Int" for name in variables)
    return f"query{f'({declared})' if declared else ''} {{ {body} }}", variables


def counted(value: Any, keys: str = ".*") -> int:
    """The fields of an answer. ``keys`` are what they may be called; what else there is, is within JSON."""
    if isinstance(value, dict):
        fields = [item for key, item in value.items() if re.fullmatch(keys, key)]
        return len(fields) + sum(counted(item, keys) for item in fields)
    return sum(counted(item, keys) for item in value) if isinstance(value, list) else 0


def enlarged(items: tuple[Chosen, ...], extra: Chosen, size: int) -> Iterator[tuple[Chosen, ...]]:
    """The same selection with a field more, or a larger page, at each of its places."""
    yield (*items, extra)
    for place, item in enumerate(items):
        before, after = items[:place], items[place + 1 :]
        if item.size is not None:
            yield (*before, replace(item, size=item.size + size), *after)
        for inner in enlarged(item.inner, Chosen("__typename"), size) if item.inner else ():
            yield (*before, replace(item, inner=inner), *after)


async def test_an_answer_never_has_more_fields_than_its_operation_costs(crm: Crm) -> None:
    query = api.built(crm)[0].graphql.query_type
    assert query is not None
    costs = api.built(crm)[1].costs
    drawn: list[tuple[Chosen, ...]] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(selections(query, 4))
    def collect(chosen: tuple[Chosen, ...]) -> None:
        drawn.append(chosen)

    collect()
    full = 0
    for chosen in drawn:
        document, variables = written(chosen)
        result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
        if result.errors:  # more fields, rows or joins than are answered
            continue
        size = counted(result.data, "a[0-9]+")
        full += size > 10
        assert size <= cost(crm, document, **variables), document
        # neither another field nor a larger page ever makes it cheaper
        for more in enlarged(chosen, Chosen("me", inner=(Chosen("id"),)), 3):
            larger, given_ = written(more)
            dearer = costs.document(parse(larger)).estimate(None, given_) or 0
            assert dearer >= cost(crm, document, **variables), (document, larger)
    assert full, "no answer came near to what it may cost"


# --- attacks ----------------------------------------------------------------------------------------------------


async def test_sixty_fragments_that_each_spread_the_next_twice_are_looked_at_once_each(crm: Crm) -> None:
    text = "query($n: Int) { customers(first: $n) { nodes { ...F0 } } } "
    text += " ".join(
        f"fragment F{n} on Customer {{ a{n}: members(first: $n) {{ nodes {{ ...F{n + 1} }} }} "
        f"b{n}: members(first: $n) {{ nodes {{ ...F{n + 1} }} }} }}"
        for n in range(60)
    )
    text += " fragment F60 on Customer { id }"
    document = parse(text)
    places = text.count("...") + text.count("(first: $n)") + text.count("nodes") + 1
    measure = limits.Measure(document, GraphQLSettings())
    operation = document.definitions[0]
    assert measure.definition(operation).fields > 2**60  # type: ignore[arg-type]
    assert measure.steps <= places
    costs = api.built(crm)[1].costs.document(document)
    assert (costs.estimate(None, {"n": 2}) or 0) > 4**60
    assert costs.steps(None) <= places
    # the number is worked out by as many additions as there are places, whatever it comes to
    error = await refused(crm, text, n=2)
    assert error["extensions"]["limit"] == "max_depth"


@pytest.mark.parametrize(
    ("document", "variables", "message"),
    [
        (
            "{ " + " ".join(f"a{n}: teams {{ totalCount }}" for n in range(51)) + " }",
            {},
            "the operation has 51 fields at its root; at most 50 are answered (max_root_fields in [graphql])",
        ),
        (
            "mutation { ...M ...M } fragment M on Mutation { "
            + " ".join(f'a{n}: createTeam(input: {{name: "{n}"}}) {{ team {{ id }} }}' for n in range(26))
            + " }",
            {},
            "the operation has 52 fields at its root",
        ),
        (
            "{ me " + "{ customer { organization " * 60 + "{ id } }" + "}" * 119 + " }",
            {},
            "levels deep; at most 50 are answered (max_depth in [graphql])",
        ),
        ("{ customers { nodes { " + "name " * 2001 + "} } }", {}, "(max_fields in [graphql])"),
        ("{ __typename " + "@skip(if: false) " * 1400 + "}", {}, "1400 directives stand in one place"),
        ("query Q($a: Int " + "@x " * 6 + ") { me { id } }", {}, "6 directives stand in one place"),
        (
            "{ ...F0 } "
            + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(497))
            + " fragment F497 on Query { __typename }",
            {},
            "the document is nested too deeply to be read",
        ),
        (
            "query($ids: [ID!]!) { nodes(ids: $ids) { id } }",
            {"ids": ["x"] * 100_000},
            "$ids has 100000 items; at most 1000 are taken at once (max_list in [graphql])",
        ),
        (
            "query($w: CustomerWhere) { customers(where: $w) { totalCount } }",
            {"w": {"not": {"or": [{"name": {"in": ["x"] * 1001}}]}}},
            "$w.not.or.name.in has 1001 items",
        ),
        (
            "query($o: [CustomerOrder!]) { customers(orderBy: $o) { totalCount } }",
            {"o": [{"name": "ASC"}] * 1001},
            "$o has 1001 items",
        ),
        (
            "mutation($i: [LogInteractionInput!]!) { logInteractionBatch(input: $i) { userErrors { code } } }",
            {"i": [{}] * 1001},
            "$i has 1001 items",
        ),
        (
            "{ customers(where: {or: [" + "{} " * 1001 + "]}) { totalCount } }",
            {},
            "or has 1001 items; at most 1000 are taken at once (max_list in [graphql])",
        ),
        (
            "query($n: Int) { customers(first: $n) { totalCount } }",
            {"n": 2**31 - 1},
            "first is more than 1,000,000,000; at most 500 records are given at once (max_page_size in [graphql])",
        ),
        (
            'mutation { createTeam(input: {name: "x"}) { team { members(first: 501) { totalCount } } } }',
            {},
            "first is 501; at most 500 records are given at once",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_attacks_are_refused_before_anything_runs(
    crm: Crm, document: str, variables: Mapping[str, Any], message: str
) -> None:
    error = await refused(crm, document, **variables)
    assert message in error["message"]
    assert error["locations"] if "nested" not in message else True
    if "[graphql]" in message:
        assert error["extensions"]["value"] > error["extensions"]["most"]
        assert f"({error['extensions']['limit']} in [graphql])" in message


async def test_a_limit_is_a_setting(server_url: str | None) -> None:
    limited = {"max_cost": 10, "max_root_fields": 2, "max_list": 3}
    async with make_crm(settings={"plugins": ["graphql"], "graphql": limited}, server_url=server_url) as crm:
        assert "at most 10 is answered" in (await refused(crm, "{ teams(first: 9) { nodes { id } } }"))["message"]
        assert not (await execute(crm, crm.acting_as(SYSTEM), "{ teams(first: 8) { nodes { id } } }")).errors
        assert "has 3 fields" in (await refused(crm, "{ a: __typename b: __typename c: __typename }"))["message"]
        message = (await refused(crm, '{ nodes(ids: ["a", "b", "c", "d"]) { id } }'))["message"]
        assert message == "ids has 4 items; at most 3 are taken at once (max_list in [graphql])"


async def test_different_documents_take_a_bounded_place(server_url: str | None) -> None:
    bounded = {"cached_documents": 15, "cached_characters": 500}
    async with make_crm(settings={"plugins": ["graphql"], "graphql": bounded}, server_url=server_url) as crm:
        documents = api.built(crm)[1]
        for number in range(60):
            document = f"query N{number} {{ teams(first: {number}) {{ totalCount }} }}"
            assert not (await execute(crm, crm.acting_as(SYSTEM), document)).errors
        assert 250 < documents.kept.characters <= 500
        assert len(documents.kept) <= 15
        # the one used last is there, and so the same object
        assert documents.prepare(document) is documents.prepare(document)


async def test_a_document_that_is_not_kept_any_more_is_gone_without_the_garbage_collector() -> None:
    async with make_crm(settings={"plugins": ["graphql"], "graphql": {"cached_documents": 1}}) as small:
        documents = api.built(small)[1]
        for text in (
            "query($n: Int) { teams(first: $n) { nodes { id } } }",
            "{ teams { nodes { nmae } } }",
            "{ teams {",
        ):
            prepared = documents.prepare(text)
            prepared.refusal(None, {"n": 3})
            gc.collect()  # what validation leaves behind is young, and soon found
            gone = [weakref.ref(item) for item in (prepared, prepared.document) if item is not None]
            gc.disable()
            try:
                del prepared
                documents.prepare("{ __typename }")
                assert [item() for item in gone] == [None] * len(gone)
            finally:
                gc.enable()


async def test_what_validation_leaves_behind_is_found_after_so_many_documents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "COLLECTED", 20)
    async with make_crm(settings={"plugins": ["graphql"], "graphql": {"cached_documents": 0}}) as small:
        documents = api.built(small)[1]
        text = "{ teams { nodes { nmae } } }"
        gone = weakref.ref(documents.prepare(text).document or documents)
        gc.collect()
        assert gone() is None
        gc.disable()
        try:
            found = [
                weakref.ref(documents.prepare(text).document or documents) for _ in range(execution.COLLECTED)
            ]
        finally:
            gc.enable()
        # the last one counted twenty before it was handed out
        assert sum(item() is not None for item in found) <= 1
