"""Relay: every connection and every node of the composition, held to the specifications, in schema and behavior.

https://relay.dev/graphql/connections.htm and https://relay.dev/graphql/objectidentification.htm. And GraphQL's own
promise that a document may be written in many ways: a selection is asked plainly, and again with aliases,
fragments, directives and variables wherever they may stand; both answers say the same.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import pytest_asyncio
from graphql import (
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm
from amity.testing import make_crm
from amity_graphql.api import built, execute
from amity_graphql.names import EntityNames, names_of

from .access_world import World, id_of, make_world

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "60"))
OTHERWISE = {"Connection", "CheckedConnection"}
"""Types of the same ending that are about connections to channels."""
LIMITS = {"max_fields": 5000, "max_depth": 30}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Stand:
    crm: Crm
    world: World
    schema: GraphQLSchema
    names: Mapping[str, EntityNames]

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        result = await execute(self.crm, self.crm.acting_as(SYSTEM), document, variables)
        answer: dict[str, Any] = orjson.loads(result.encode())
        return answer

    async def data(self, document: str, **variables: Any) -> dict[str, Any]:
        answer = await self.ask(document, **variables)
        assert "errors" not in answer, (answer["errors"], document)
        data: dict[str, Any] = answer["data"]
        return data


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(server_url: str | None) -> AsyncIterator[Stand]:
    """One for all: nothing here changes anything. There are rows of every entity."""
    composed = {"plugins": ["graphql", "csv", "rfm"], "graphql": LIMITS}
    async with make_crm([], composed, server_url=server_url) as crm:
        world = await make_world(crm)
        yield Stand(crm, world, built(crm)[0].graphql, names_of(crm.composition))


# --- the schema ----------------------------------------------------------------------------------------------


def connections(schema: GraphQLSchema) -> Iterator[tuple[str, str, GraphQLObjectType]]:
    """Every field that leads to a connection: its type, its name, and the connection."""
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, item in type_.fields.items():
                target = get_named_type(item.type)
                if isinstance(target, GraphQLObjectType) and "pageInfo" in target.fields:
                    yield type_.name, name, target


@pytest.mark.once
async def test_every_connection_has_the_types_of_the_specification(stand: Stand) -> None:
    found = list(connections(stand.schema))
    assert {"customers", "timeline", "history", "interactions"} <= {name for _, name, _ in found}
    for owner, name, connection in found:
        where = f"{owner}.{name}"
        assert connection.name.endswith("Connection"), where
        assert str(connection.fields["pageInfo"].type) == "PageInfo!", where
        edges = connection.fields["edges"].type
        assert isinstance(edges, GraphQLNonNull), where
        assert isinstance(edges.of_type, GraphQLList), where
        edge = get_named_type(edges)
        assert isinstance(edge, GraphQLObjectType), where
        assert edge.name == connection.name.removesuffix("Connection") + "Edge", where
        assert str(edge.fields["cursor"].type) == "String!", where
        node = edge.fields["node"].type
        bare = node.of_type if isinstance(node, GraphQLNonNull) else node
        assert not isinstance(bare, GraphQLList), where
        arguments = stand.schema.type_map[owner].fields[name].args  # type: ignore[attr-defined]
        taken = {key: str(item.type) for key, item in arguments.items()}
        assert taken.items() >= {"first": "Int", "after": "String"}.items(), where
        backward = {key: taken.get(key) for key in ("last", "before")}
        assert backward in ({"last": "Int", "before": "String"}, {"last": None, "before": None}), where
    known = {connection.name for _, _, connection in found}
    ending = {name for name in stand.schema.type_map if name.endswith("Connection")}
    assert ending - known == OTHERWISE


@pytest.mark.once
async def test_page_info_and_nodes_are_those_of_the_specification(stand: Stand) -> None:
    info = stand.schema.type_map["PageInfo"]
    assert isinstance(info, GraphQLObjectType)
    assert {name: str(item.type) for name, item in info.fields.items()} == {
        "hasNextPage": "Boolean!",
        "hasPreviousPage": "Boolean!",
        "startCursor": "String",
        "endCursor": "String",
    }
    node = stand.schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    assert {name: str(item.type) for name, item in node.fields.items()} == {"id": "ID!"}
    query = stand.schema.query_type
    assert query is not None
    one, many = query.fields["node"], query.fields["nodes"]
    assert (str(one.type), str(one.args["id"].type)) == ("Node", "ID!")
    assert (str(many.type), str(many.args["ids"].type)) == ("[Node]!", "[ID!]!")
    implementing = {type_.name for type_ in stand.schema.get_possible_types(node)}
    assert implementing == set(stand.names)


# --- behavior ------------------------------------------------------------------------------------------------

PAGE = "{ edges { cursor node { __typename ...id } } nodes { ...id } pageInfo { ...info } totalCount }"
FRAGMENTS = """
fragment id on Node { id }
fragment info on PageInfo { hasNextPage hasPreviousPage startCursor endCursor }
"""


def check(page: Mapping[str, Any], whole: Sequence[Mapping[str, Any]], **given: Any) -> None:
    """A page against the algorithms of the specification."""
    cursors = [edge["cursor"] for edge in whole]
    edges = list(whole)
    if "after" in given:
        edges = edges[cursors.index(given["after"]) + 1 :]
    if "before" in given:
        edges = [edge for edge in edges if cursors.index(edge["cursor"]) < cursors.index(given["before"])]
    kept = edges
    if "first" in given:
        kept = kept[: given["first"]]
    if "last" in given:
        kept = kept[len(kept) - min(given["last"], len(kept)) :]
    assert page["edges"] == kept, given
    assert page["nodes"] == [{"id": edge["node"]["id"]} for edge in kept], given
    assert page["totalCount"] == str(len(whole)), given
    more = len(kept) < len(edges)
    info = {
        "hasNextPage": more if "first" in given else "before" in given,
        "hasPreviousPage": more if "last" in given else "after" in given,
        "startCursor": kept[0]["cursor"] if kept else None,
        "endCursor": kept[-1]["cursor"] if kept else None,
    }
    assert page["pageInfo"] == info, given


def slices(whole: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cursors = [edge["cursor"] for edge in whole]
    middle = cursors[len(cursors) // 2]
    return [
        {"first": 0},
        {"last": 0},
        {"first": 1},
        {"last": 1},
        {"first": len(whole)},
        {"last": len(whole)},
        {"first": 1, "after": cursors[0]},
        {"first": 50, "after": cursors[-1]},
        {"last": 1, "before": cursors[-1]},
        {"last": 50, "before": cursors[0]},
        {"first": 1, "before": middle},
        {"last": 1, "after": middle},
        {"first": 2, "after": cursors[0], "before": cursors[-1]},
        {"last": 2, "after": cursors[0], "before": cursors[-1]},
    ]


def written(field: str, given: Mapping[str, Any], page: str = PAGE) -> str:
    arguments = ", ".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in given.items())
    return f"{field}({arguments}) {page}"


async def test_every_root_connection_pages_by_the_specification(stand: Stand) -> None:
    for names in stand.names.values():
        key = names.plural
        whole = (await stand.data(f"{{ {written(key, {'first': 500})} }} {FRAGMENTS}"))[key]["edges"]
        assert whole, key
        asked = slices(whole)
        parts = (f"p{i}: {written(key, bounds)}" for i, bounds in enumerate(asked))
        pages = await stand.data(f"{{ {' '.join(parts)} }} {FRAGMENTS}")
        for i, bounds in enumerate(asked):
            check(pages[f"p{i}"], whole, **bounds)


async def test_every_nested_connection_pages_by_the_specification(stand: Stand) -> None:
    tried = set()
    for names in stand.names.values():
        fields = [key for key, item in names.fields.items() if item.group in ("to_many", "timeline")]
        if not fields:
            continue
        several = " ".join(written(key, {"first": 50}) for key in fields)
        rows = await stand.data(f"{{ {names.plural}(first: 20) {{ nodes {{ id {several} }} }} }} {FRAGMENTS}")
        for key in fields:
            best = max(rows[names.plural]["nodes"], key=lambda row: len(row[key]["edges"]))
            whole = best[key]["edges"]
            if not whole:
                continue
            asked = slices(whole)[1::2]
            parts = " ".join(f"p{i}: {written(key, bounds)}" for i, bounds in enumerate(asked))
            document = f"query($id: ID!) {{ node(id: $id) {{ ... on {names.type} {{ {parts} }} }} }} {FRAGMENTS}"
            pages = (await stand.data(document, id=best["id"]))["node"]
            for i, bounds in enumerate(asked):
                check(pages[f"p{i}"], whole, **bounds)
            tried.add((names.type, key))
    assert {("Customer", "timeline"), ("Customer", "history"), ("Deal", "stageMoves")} <= tried
    assert len(tried) > 60


async def test_every_record_is_found_by_its_id_alone(stand: Stand) -> None:
    ids = [id_of(stand.crm.catalog, name, stand.world.mine[name][0]) for name in stand.names]
    own = " ".join(
        f'{names.singular}(id: "{id}") {{ id }}' for names, id in zip(stand.names.values(), ids, strict=True)
    )
    data = await stand.data(
        "query($ids: [ID!]!, $one: ID!) { nodes(ids: $ids) { __typename id } node(id: $one) { id } " + own + " }",
        ids=ids,
        one=ids[0],
    )
    assert data["nodes"] == [{"__typename": n, "id": id} for n, id in zip(stand.names, ids, strict=True)]
    assert data["node"] == {"id": ids[0]}
    assert [data[names.singular]["id"] for names in stand.names.values()] == ids


# --- fragments -----------------------------------------------------------------------------------------------


async def test_fragments_aliases_directives_and_variables_stand_where_they_may(stand: Stand) -> None:
    """The same connection under several names, fragments on interfaces and unions, variables in nested places."""
    ids = [id_of(stand.crm.catalog, name, stand.world.mine[name][0]) for name in ("Customer", "Deal", "Event")]
    data = await stand.data(
        """
        query($ids: [ID!]!, $yes: Boolean! = true, $no: Boolean!, $name: String = "nobody", $one: Int = 1,
              $way: OrderDirection!, $not: [CustomerWhere!]!) {
          nodes(ids: $ids) {
            __typename
            ...anything
            ... on Customer @include(if: $yes) { kind ... on Node { again: id } }
            ... on Deal @skip(if: $yes) { stage { name } }
            ... @include(if: $no) { never: __typename }
            ... on Event { entity { ... on Node { __typename } ...ofTeam } type @skip(if: $no) }
          }
          a: customers(first: $one, orderBy: [{id: $way}]) { ...page }
          b: customers(last: $one, orderBy: [{id: $way}], where: {name: {ne: $name}, and: $not}) { ...page }
        }
        fragment anything on Node { id ... on Customer { name } ... on Deal { title: name } }
        fragment ofTeam on Team { name }
        fragment page on CustomerConnection {
          __typename
          edges { __typename node { ...whose } }
          pageInfo @include(if: $yes) { __typename hasNextPage }
          totalCount @skip(if: $yes)
        }
        fragment whose on Customer { ... { id } timeline(first: $one) { ...kinds } }
        fragment kinds on TimelineConnection { nodes { __typename ... on Interaction { customer { id } } } }
        """,
        ids=ids,
        no=False,
        way="DESC",
        **{"not": [{"not": {"id": {"in": ids[:1]}}}]},
    )
    customer, deal, event = data["nodes"]
    assert (customer["id"], customer["again"], customer["__typename"]) == (ids[0], ids[0], "Customer")
    assert set(customer) == {"__typename", "id", "name", "kind", "again"}
    assert set(deal) == {"__typename", "id", "title"}
    assert event["entity"]["__typename"] in stand.names
    assert "type" in event
    for page, size in ((data["a"], 1), (data["b"], 1)):
        assert set(page) == {"__typename", "edges", "pageInfo"}
        assert page["pageInfo"]["__typename"] == "PageInfo"
        assert len(page["edges"]) == size
        assert set(page["edges"][0]["node"]) == {"id", "timeline"}
    assert data["b"]["edges"][0]["node"]["id"] != ids[0]


UNSTEADY = frozenset(("url",))
"""Fields whose values change from moment to moment."""
Options = tuple[str, list[tuple[str, str, Any]]]
INT, WAY, FLAG = ("Int", "1", 1), ("OrderDirection!", "DESC", "DESC"), ("Boolean", "false", False)
PAGED: list[Options] = [
    ("first: {0}", [("Int", "2", 2)]),
    ("last: {0}", [INT]),
    ("first: {0}, orderBy: [{{id: {1}}}]", [("Int", "3", 3), WAY]),
    ("first: {0}, where: {{not: {{id: {{isNull: {1}}}}}}}", [INT, ("Boolean!", "true", True)]),
    ("where: {{and: [{{id: {{isNull: {0}}}}}, {{or: [{{id: {{isNull: {0}}}}}]}}]}}, last: {1}", [FLAG, INT]),
]
TIMED: list[Options] = [
    ("first: {0}, order: {1}", [INT, ("TimelineOrder!", "OLDEST_FIRST", "OLDEST_FIRST")]),
    ("types: {0}", [("[TimelineType!]", "[INTERACTION]", ["INTERACTION"])]),
    ("types: [{0}, STAGE_MOVE], last: {1}", [("TimelineType!", "INTERACTION", "INTERACTION"), INT]),
]
FIGURES: list[Options] = [("where: {{not: {{id: {{isNull: {0}}}}}}}, first: {1}", [FLAG, ("Int", "3", 3)])]


@dataclass(frozen=True)
class Item:
    """A field that is selected. ``on`` is the type whose it is; ``key`` its name in the plain answer."""

    on: str
    name: str
    key: str
    options: Options | None = None
    below: tuple[Item, ...] = ()


@st.composite
def selections(draw: st.DrawFn, schema: GraphQLSchema, type_: Any, depth: int) -> tuple[Item, ...]:
    """Fields of a type; of an interface or union, fields of some of its types, named apart from each other."""
    if isinstance(type_, (GraphQLInterfaceType, GraphQLUnionType)):
        kinds = sorted(item.name for item in schema.get_possible_types(type_))
        items: list[Item] = [Item(type_.name, "__typename", "kind")]
        for name in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2, unique=True)):
            items += draw(selections(schema, schema.type_map[name], depth - 1))
        return tuple(items)
    names = sorted(name for name in type_.fields if name not in UNSTEADY)
    leaves = ["__typename", *(name for name in names if is_leaf_type(get_named_type(type_.fields[name].type)))]
    # keys of groups are there as far as they are grouped by
    keys = {"key"} if "countDistinct" in type_.fields else set()
    links = sorted(set(names) - set(leaves) - keys) if depth > 0 else []
    found = []
    choices = st.lists(st.sampled_from(leaves), min_size=1, max_size=2, unique=True)
    deeper = st.lists(st.sampled_from(links), min_size=1, max_size=2, unique=True) if links else st.just([])
    for name in [*draw(choices), *draw(deeper)]:
        target = type_.fields.get(name)
        named = get_named_type(target.type) if target is not None else None
        options = None
        if target is not None and "first" in target.args:
            offered = TIMED if "types" in target.args else FIGURES if "groupBy" in target.args else PAGED
            options = draw(st.sampled_from(offered))
        below: tuple[Item, ...] = ()
        if named is not None and not is_leaf_type(named):
            below = draw(selections(schema, named, depth - 1)) or (Item(str(named), "__typename", "none"),)
        found.append(Item(type_.name, name, f"{type_.name}_{name}", options, below))
    return tuple(found)


def plain(items: Sequence[Item]) -> str:
    return " ".join(
        f"... on {item.on} {{ {_field(item, item.key, _filled(item), plain(item.below))} }}" for item in items
    )


def _field(item: Item, key: str, arguments: str, below: str) -> str:
    return f"{key}: {item.name}{f'({arguments})' if arguments else ''}{f' {{ {below} }}' if item.below else ''}"


def _filled(item: Item) -> str:
    if item.options is None:
        return ""
    template, values = item.options
    return template.format(*(literal for _, literal, _ in values))


@dataclass
class Rewritten:
    """The same selection, written in another way."""

    draw: Any
    fragments: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=lambda: {"yes": True, "no": False})
    declared: list[str] = field(default_factory=lambda: ["$yes: Boolean!", "$no: Boolean! = false"])
    keys: int = 0

    def selection(self, items: Sequence[Item]) -> tuple[str, dict[str, tuple[str, Any]]]:
        """The text, and for each of its keys the plain key, with the same of what is below."""
        keys: dict[str, tuple[str, Any]] = {}
        parts = []
        for item in items:
            self.keys += 1
            key = f"x{self.keys}"
            below, inner = self.selection(item.below)
            text = _field(item, key, self.arguments(item), below)
            keys[key] = (item.key, inner)
            parts.append(self.wrapped(item.on, text))
            if self.draw(st.integers(0, 3)) == 0:
                parts.append(self.wrapped(item.on, text))  # what is selected twice is answered once
            if self.draw(st.integers(0, 3)) == 0:
                parts.append(f"... on {item.on} {{ gone: __typename @{self.draw(OUT)} }}")
        return " ".join(parts), keys

    def arguments(self, item: Item) -> str:
        if item.options is None:
            return ""
        template, values = item.options
        given = []
        for type_, literal, value in values:
            name = f"v{len(self.declared)}"
            match self.draw(st.sampled_from(["literal", "given", "default"])):
                case "literal":
                    given.append(literal)
                    continue
                case "given":
                    self.declared.append(f"${name}: {type_}")
                    self.variables[name] = value
                case "default":
                    self.declared.append(f"${name}: {type_} = {literal}")
            given.append(f"${name}")
        return template.format(*given)

    def wrapped(self, on: str, text: str) -> str:
        condition = f"... on {on}"
        text = f"{condition} {{ {text} }}"
        for way in self.draw(
            st.lists(st.sampled_from(["inline", "bare", "named", "include", "skip"]), max_size=2)
        ):
            match way:
                case "inline":
                    text = f"{condition} {{ {text} }}"
                case "bare":
                    text = f"... {{ {text} }}"
                case "named":
                    self.fragments.append(f"fragment F{len(self.fragments)} on {on} {{ {text} }}")
                    text = f"...F{len(self.fragments) - 1}"
                case "include":
                    text = f"... @include(if: $yes) {{ {text} }}"
                case "skip":
                    text = f"{condition} @skip(if: $no) {{ {text} }}"
        return text


OUT = st.sampled_from(["skip(if: $yes)", "include(if: $no)", "skip(if: true)", "include(if: false)"])


def renamed(value: Any, keys: Mapping[str, tuple[str, Any]]) -> Any:
    """An answer under its plain names. Nothing but what was asked may be in it."""
    if isinstance(value, list):
        return [renamed(item, keys) for item in value]
    if not isinstance(value, dict):
        return value
    if not keys:
        return value  # a scalar that is an object
    return {keys[key][0]: renamed(inner, keys[key][1]) for key, inner in value.items()}


def unordered(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


async def test_a_selection_says_the_same_however_it_is_written(stand: Stand) -> None:
    schema = stand.schema
    ids = [id_of(stand.crm.catalog, name, stand.world.mine[name][0]) for name in stand.names]
    roots = {names.plural: names for names in stand.names.values()}
    cases: list[tuple[str, str, dict[str, Any], Any]] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        draw = data.draw
        key = draw(st.sampled_from(["nodes", *sorted(roots)]))
        if key == "nodes":
            chosen = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3))
            options: Options = ("ids: {0}", [("[ID!]!", orjson.dumps(chosen).decode(), chosen)])
            below = draw(selections(schema, schema.type_map["Node"], 4))
        else:
            options = draw(st.sampled_from(PAGED))
            connection = schema.type_map[f"{roots[key].type}Connection"]
            below = draw(selections(schema, connection, 4)) or (Item(connection.name, "__typename", "none"),)
        root = (Item("Query", key, "root", options, below),)
        other = Rewritten(draw)
        text, keys = other.selection(root)
        document = (
            f"query Q({', '.join(other.declared)}) {{ {text} used: __typename @skip(if: $yes) @include(if: $no) }}"
        )
        cases.append((f"{{ {plain(root)} }}", " ".join([document, *other.fragments]), other.variables, keys))

    collect()
    deep = 0
    for document, rewritten, variables, keys in cases:
        wanted, found = await stand.ask(document), await stand.ask(rewritten, **variables)
        assert "errors" not in wanted, (wanted["errors"], document)
        assert "errors" not in found, (found["errors"], rewritten)
        assert unordered(renamed(found["data"], keys)) == unordered(wanted["data"]), (document, rewritten)
        deep += orjson.dumps(wanted["data"]).count(b"{") > 4
    assert deep > len(cases) // 4, "hardly an answer had anything in it"
