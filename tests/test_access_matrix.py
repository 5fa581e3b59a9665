"""Every entity, by every path, for whom half of the company is out of reach.

The matrix is generated from the composition (``access_world.py``): for each entity there are rows that the
principal may see and rows that it may not, and everything that the API can do with it is tried on both. A new
entity is covered as soon as a plugin declares it.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, get_args
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from pydantic import BaseModel

from amity import (
    SYSTEM,
    AccessDenied,
    Count,
    Crm,
    Customer,
    Field,
    Max,
    Plugin,
    Principal,
    Sum,
    Update,
    expression,
)
from amity.access.roles import RolePolicy
from amity.contracts import FieldDeclaration, IdOf
from amity.entity import EntityType, Kind, new_id
from amity.query.grouping import FUNCTIONS, groupable
from amity.query.grouping import figures as figures_of
from amity.query.search import searchable
from amity.testing import make_crm
from amity_csv import export_rows
from amity_graphql.api import execute
from amity_graphql.names import EntityNames, names_of

from .access_world import CANARY, Maker, World, half, id_of, make_world

LIMITS = {"max_fields": 2000, "max_depth": 20}
PERIODS = (Kind.DATETIME, Kind.DATE)
PLUGINS = ["graphql", "csv", "rfm"]
CUSTOM = [
    {"entity": "Customer", "name": "nickname", "type": "text"},
    {"entity": "Customer", "name": "fee", "type": "money"},
    {"entity": "Customer", "name": "tier", "type": "choice", "choices": ["gold", "silver"]},
    {"entity": "Customer", "name": "partner", "type": "link", "to": "Customer"},
    {"entity": "Deal", "name": "competitor", "type": "link", "to": "Customer"},
]
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Figures(Plugin):
    """Fields that look through relations."""

    name = "figures"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "member_count", Count("members")),
            expression(Customer, "parent_name", Field("organization.name")),
            expression(Customer, "deal_value", Sum("deals.value_minor")),
            expression(Customer, "last_subject", Max("interactions.occurred_at")),
        ]


class Stand:
    """A CRM with a world in it, and somebody who may do everything with one half of that."""

    def __init__(self, crm: Crm, world: World) -> None:
        self.crm, self.world = crm, world
        self.catalog = crm.catalog
        self.names = names_of(crm.composition)
        self.who = half(self.catalog, world)
        self.forbidden = list(world.texts(self.catalog))

    def entities(self) -> Iterator[tuple[EntityNames, UUID, UUID]]:
        """Readable entities, each with a row in reach and one out of reach."""
        for names in self.names.values():
            name = names.entity.name
            yield names, self.world.mine[name][0], self.world.theirs[name][0]

    async def ask(self, document: str, who: Principal | None = None, **variables: Any) -> dict[str, Any]:
        session = self.crm.acting_as(who or self.who)
        result = await execute(self.crm, session, document, variables)
        found: dict[str, Any] = orjson.loads(result.encode())
        return found

    def leaks(self, answer: Any) -> list[str]:
        """What an answer says of the other half."""
        text = orjson.dumps(answer).decode().lower()
        return [secret for secret in self.forbidden if secret.lower() in text]

    async def rows(self) -> dict[str, list[Any]]:
        """Everything in the tables of the entities, but for when somebody was seen last."""
        found = {}
        for entity in self.catalog.values():
            columns = ", ".join(f'"{name}"' for name in entity.columns if not name.startswith("last_"))
            rows = await self.crm.database.read(f'SELECT {columns} FROM "{entity.table}" ORDER BY id')
            found[entity.name] = [tuple(map(str, row)) for row in rows]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(server_url: str | None) -> AsyncIterator[Stand]:
    """One for all: nothing that is tried here may change anything."""
    settings = {"plugins": PLUGINS, "graphql": LIMITS, "custom_fields": CUSTOM}
    async with make_crm([Figures], settings, server_url=server_url) as crm:
        crm.policy = RolePolicy(crm.catalog, {})
        yield Stand(crm, await make_world(crm))


def columns(names: EntityNames) -> str:
    """A selection of everything that a row has by itself."""
    plain = [key for key, item in names.fields.items() if item.group in ("column", "expression")]
    money = [f"{key} {{ amount currency }}" for key, item in names.fields.items() if item.group == "money"]
    return " ".join([*plain, *money])


async def test_by_its_id_a_foreign_record_is_answered_like_one_that_never_was(stand: Stand) -> None:
    for names, mine, theirs in stand.entities():
        document = f"query($id: ID!) {{ {names.singular}(id: $id) {{ {columns(names)} }} }}"
        name = names.entity.name
        found = await stand.ask(document, id=id_of(stand.catalog, name, mine))
        assert found["data"][names.singular]["id"] == id_of(stand.catalog, name, mine), found
        answers = [await stand.ask(document, id=id_of(stand.catalog, name, id)) for id in (theirs, new_id())]
        assert answers[0] == answers[1] == {"data": {names.singular: None}}, name
        everything = await stand.ask(document, SYSTEM, id=id_of(stand.catalog, name, theirs))
        assert stand.leaks(everything), f"{name}: the canary is not in its own row"


async def test_as_a_node(stand: Stand) -> None:
    document = "query($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { id } node(id: $id) { id __typename } }"
    for names, mine, theirs in stand.entities():
        own, other, missing = (id_of(stand.catalog, names.entity.name, id) for id in (mine, theirs, new_id()))
        found = await stand.ask(document, ids=[own, other, missing], id=other)
        assert found == {"data": {"nodes": [{"id": own}, None, None], "node": None}}, names.entity.name


async def test_in_lists_and_counts(stand: Stand) -> None:
    for names, _, _ in stand.entities():
        document = f"""{{ {names.plural}(first: 200) {{
            totalCount nodes {{ {columns(names)} }} edges {{ cursor }} pageInfo {{ hasNextPage endCursor }}
        }} }}"""
        found = await stand.ask(document)
        assert "errors" not in found, found
        assert not stand.leaks(found), names.entity.name
        page = found["data"][names.plural]
        assert int(page["totalCount"]) == len(page["nodes"]) <= len(stand.world.mine[names.entity.name])
        assert page["nodes"], f"{names.entity.name}: nothing in reach, so nothing was tried"


async def test_in_figures_of_groups(stand: Stand) -> None:
    """By every key, whole and behind each record: hidden rows are not counted, and hidden records are no key."""
    tried = 0
    for names, _, _ in stand.entities():
        entity = names.entity
        session = stand.crm.acting_as(stand.who)
        count = await session.find(entity.name).count()
        keys = [*(name for name, kind in groupable(entity).items() if kind not in PERIODS), *entity.links]
        figures = [f"{function}.{name}" for function in FUNCTIONS[1:] for name in figures_of(entity, function)]
        whole = await session.find(entity.name).aggregate("count", *figures)
        assert whole[0]["count"] == str(count), entity.name
        assert not stand.leaks(whole), entity.name
        for key in keys:
            groups = await session.find(entity.name).aggregate("count", by=[key])
            assert not stand.leaks(groups), f"{entity.name} by {key}: {stand.leaks(groups)}"
            assert sum(int(group["count"]) for group in groups) == count, (entity.name, key)
            everything = await stand.crm.acting_as(SYSTEM).find(entity.name).aggregate("count", by=[key])
            tried += bool(stand.leaks(everything))
        for field, relation in names.aggregates.items():
            target = stand.names[entity.to_many[relation].target]
            many = next(key for key, item in names.fields.items() if item.name == relation)
            document = f"""{{ {names.plural}(first: 200) {{ nodes {{
                {many}(first: 50) {{ totalCount }} {field} {{ count min {{ id: __typename }} }}
            }} }} }}"""
            if not figures_of(target.entity, "min"):
                document = document.replace("min { id: __typename }", "")
            found = await stand.ask(document)
            for node in found["data"][names.plural]["nodes"]:
                assert node[field][0]["count"] == node[many]["totalCount"], (entity.name, field)
    assert tried > 50, "hardly a key led to the other half"


async def test_over_every_edge(stand: Stand) -> None:
    tried = 0
    for names, _, _ in stand.entities():
        for key, item in names.fields.items():
            inner = edge(stand, names, key, item.group, item.name)
            if not inner:
                continue
            found = await stand.ask(f"{{ {names.plural}(first: 200) {{ nodes {{ id {inner} }} }} }}")
            assert "errors" not in found, found
            assert not stand.leaks(found), f"{names.entity.name}.{key}: {stand.leaks(found)}"
            everything = await stand.ask(f"{{ {names.plural}(first: 200) {{ nodes {{ id {inner} }} }} }}", SYSTEM)
            tried += bool(stand.leaks(everything))
    assert tried > 50, "hardly an edge led to the other half"


def edge(stand: Stand, names: EntityNames, key: str, group: str, name: str) -> str:
    """A selection that follows a relation, if it is one."""
    entity = names.entity
    match group:
        case "to_one":
            return f"{key} {{ {columns(stand.names[entity.to_one[name].target])} }}"
        case "single":
            return f"{key} {{ {columns(stand.names[entity.to_many[name].target])} }}"
        case "to_many":
            inner = columns(stand.names[entity.to_many[name].target])
            return f"{key}(first: 50) {{ totalCount nodes {{ {inner} }} }}"
        case "generic":
            known = [target for target in entity.generic[name].targets if target in stand.names]
            kinds = " ".join(f"... on {target} {{ id }}" for target in known)
            return f"{key} {{ __typename {kinds} }}"
        case "timeline":
            kinds = " ".join(f"... on {source.entity} {{ id }}" for source in entity.timeline)
            return f"{key}(first: 100) {{ totalCount nodes {{ {kinds} }} edges {{ at cursor }} }}"
    return ""


async def test_in_filters_and_orders(stand: Stand) -> None:
    session = stand.crm.acting_as(stand.who)
    tried = 0
    for entity in stand.catalog.values():
        foreign: dict[str, Any] = {"id": {"in": stand.world.theirs[entity.name]}}
        assert await session.find(entity.name).where(foreign).count() == 0
        for name, link in entity.to_one.items():
            hidden = {"id": {"in": stand.world.theirs[link.target]}}
            assert await session.find(entity.name).where({name: hidden}).count() == 0, (entity.name, name)
            column = {"in": stand.world.theirs[link.target]}
            assert await session.find(entity.name).where({link.column.name: column}).count() == 0
            ordered = await session.find(entity.name).order_by(f"{name}.id").all()
            assert not stand.leaks(ordered)
            tried += 1
        for name, many in entity.to_many.items():
            hidden = {"id": {"in": stand.world.theirs[many.target]}}
            if many.single:
                assert await session.find(entity.name).where({name: hidden}).count() == 0
                continue
            for quantifier, expected in (("some", 0), ("none", await session.find(entity.name).count())):
                found = await session.find(entity.name).where({name: {quantifier: hidden}}).count()
                assert found == expected, (entity.name, name, quantifier)
            tried += 1
        for item in entity.visible_columns:
            where: dict[Kind, dict[str, Any]] = {
                Kind.TEXT: {"contains": CANARY},
                Kind.JSON: {"path": "text", "contains": CANARY},
            }
            if item.kind in where and not item.choices:
                texts = session.find(entity.name).where({item.name: where[item.kind]})
                assert await texts.count() == 0, (entity.name, item.name)
    assert tried > 60


async def test_in_searches(stand: Stand) -> None:
    """By parts of texts, with typing errors, and through records that stand for others."""
    types = searchable(stand.catalog)
    rows = " ".join(f"... on {entity.name} {{ {columns(stand.names[entity.name])} }}" for entity in types)
    document = f"""query($text: String!, $types: [SearchType!], $first: Int) {{
        search(text: $text, types: $types, first: $first) {{
            totalCount pageInfo {{ endCursor }}
            edges {{ score field snippet cursor node {{ __typename id {rows} }} }}
        }} }}"""
    for text in (CANARY, "canray", "anary", "ca", "y"):
        hidden = await stand.ask(document, text=text)
        assert "errors" not in hidden, hidden
        assert not stand.leaks(hidden), text
        assert hidden["data"]["search"]["totalCount"] == str(len(hidden["data"]["search"]["edges"]))
        assert stand.leaks(await stand.ask(document, SYSTEM, text=text, first=100)), (
            f"{text} was not there to find"
        )
    for entity in types:
        chosen = [entity.singular.upper()]
        found = await stand.ask(document, text="plain", types=chosen, first=100)
        assert not stand.leaks(found)
        ids = {edge["node"]["id"] for edge in found["data"]["search"]["edges"]}
        mine = {id_of(stand.catalog, entity.name, id) for id in stand.world.mine[entity.name]}
        assert ids, f"{entity.name}: nothing in reach, so nothing was tried"
        assert ids <= mine
        nobody = await stand.ask(document, Principal("user", "usr_nobody"), text="plain", types=chosen)
        assert [error["extensions"]["code"] for error in nobody["errors"]] == ["NOT_ALLOWED"]
    nobody = await stand.ask(document, Principal("user", "usr_nobody"), text="plain")
    assert [error["extensions"]["code"] for error in nobody["errors"]] == ["NOT_ALLOWED"]


async def test_computed_from(stand: Stand) -> None:
    """Expressions count and sum what is in reach; behind a hidden parent they find nothing."""
    fields = [name for name, item in stand.catalog["Customer"].expressions.items() if item.plugin == "figures"]
    mine = await stand.crm.acting_as(stand.who).find(Customer).select("id", *fields).all()
    assert not stand.leaks(mine)
    customers = tuple(stand.world.mine["Customer"])
    theirs = stand.crm.acting_as(SYSTEM).find(Customer).where({"id": {"in": customers}})
    everything = await theirs.select("id", *fields).all()
    assert mine != everything, "the other half never made a difference"
    assert stand.leaks(everything)


async def test_foreign_records_are_changed_like_ones_that_never_were(stand: Stand) -> None:
    session = stand.crm.acting_as(stand.who)
    before = await stand.rows()
    tried = 0
    for entity in stand.catalog.values():
        if not entity.is_entity:
            continue
        theirs = stand.world.theirs[entity.name][0]
        for change in (
            lambda id, e=entity: session.update(e.name, [Update(id, {})]),
            lambda id, e=entity: session.delete(e.name, [id]),
            lambda id, e=entity: session.restore(e.name, [id]),
        ):
            told = [await refused(change, id) for id in (theirs, new_id())]
            assert told[0] == told[1] == ["not_found: " + said(entity)], entity.name
            tried += 1
    assert await stand.rows() == before
    assert tried > 30


def said(entity: EntityType) -> str:
    return f"there is no such {entity.singular.replace('_', ' ')}"


async def refused(change: Any, id: UUID) -> list[str]:
    result = await change(id)
    return [f"{error.code}: {error.message}" for error in result.errors]


async def test_linking_to_a_foreign_record_is_like_linking_to_nothing(stand: Stand) -> None:
    maker = Maker(stand.crm.acting_as(SYSTEM))
    session = stand.crm.acting_as(stand.who)
    before = await stand.rows()
    tried = 0
    for entity in stand.catalog.values():
        if not entity.is_entity:
            continue
        for link in entity.to_one.values():
            column = link.column.name
            if (
                not link.column.writable
                or column in entity.fixed
                or (entity.is_staged and link.name == "pipeline")
            ):
                continue
            told = []
            for id in (stand.world.theirs[link.target][0], new_id()):
                row = maker.row(entity, False, stand.world.mine)
                row = {key: value for key, value in row.items() if key in taken(entity)} | {column: id}
                created = await session.create(entity.name, [row])
                patched = await session.update(
                    entity.name, [Update(stand.world.mine[entity.name][0], {column: id})]
                )
                told.append(
                    [
                        (error.path, error.code, error.message)
                        for result in (created, patched)
                        for error in result.errors
                        if error.path[:1] == (column,)
                    ]
                )
            assert told[0] == told[1], f"{entity.name}.{column}: {told}"
            assert told[0], f"{entity.name}.{column} could be linked"
            tried += 1
    assert await stand.rows() == before
    assert tried > 8


def taken(entity: EntityType) -> set[str]:
    """What input may set."""
    found = {column.name for column in entity.columns.values() if column.writable}
    return found | set(entity.money) | {item.id_column for item in entity.generic.values()}


async def test_keys_of_foreign_records_are_taken_and_nothing_else(stand: Stand) -> None:
    everything, session = stand.crm.acting_as(SYSTEM), stand.crm.acting_as(stand.who)
    before = await stand.rows()
    tried = 0
    for entity in stand.catalog.values():
        keys = [key for key in entity.unique if key.where is None and entity.is_entity]
        for key in keys:
            visible = {column.name for column in entity.visible_columns}
            if not set(key.columns) <= taken(entity) & visible:
                continue
            theirs = await row_of(everything, entity, stand.world.theirs[entity.name][0])
            mine = await row_of(everything, entity, stand.world.mine[entity.name][0])
            maker = Maker(everything)
            row = {
                name: value
                for name, value in maker.row(entity, False, stand.world.mine).items()
                if name in taken(entity)
            }
            # what refers to somebody out of reach can't be named at all
            links = {link.column.name for link in entity.to_one.values()}
            if links & set(key.columns):
                continue
            told = []
            for known in (theirs, mine):
                result = await session.create(entity.name, [row | {name: known[name] for name in key.columns}])
                told.append([(e.path, e.code, e.message) for e in result.errors])
            assert told[0] == told[1] != [], entity.name
            codes = {code for _, code, _ in told[0]}
            if "required" in codes:
                continue  # nobody makes such rows from outside
            assert codes == {"taken"}, entity.name
            upserted = await session.upsert(
                entity.name, [row | {name: theirs[name] for name in key.columns}], on=key.columns
            )
            assert [(e.path, e.code, e.message) for e in upserted.errors] == told[0], entity.name
            tried += 1
    assert await stand.rows() == before
    assert tried > 2


async def row_of(session: Any, entity: EntityType, id: UUID) -> dict[str, Any]:
    found = await session.find(entity.name).select(*(c.name for c in entity.visible_columns)).get(id)
    assert found is not None
    return dict(found)


async def test_exported(stand: Stand) -> None:
    for entity in stand.catalog.values():
        output = io.StringIO()
        count = await export_rows(stand.crm.acting_as(stand.who), entity.name, output)
        assert not stand.leaks(output.getvalue()), entity.name
        assert count <= len(stand.world.mine[entity.name])


async def test_exported_with_what_it_refers_to(stand: Stand) -> None:
    session, everything = stand.crm.acting_as(stand.who), stand.crm.acting_as(SYSTEM)
    followed = 0
    for entity in stand.catalog.values():
        fields = [
            f"{relation}.{column.name}"
            for relation in entity.links
            for column in stand.catalog[entity.leads_to(relation) or ""].visible_columns
        ]
        order = [f"-{name}.created_at" for name in entity.to_one if not name.startswith("last_")]
        for some in (["id", *fields[:40]], ["id", *fields[40:80]]):
            output = io.StringIO()
            await export_rows(session, entity.name, output, fields=some, order_by=order[:2])
            assert not stand.leaks(output.getvalue()), entity.name
            await export_rows(everything, entity.name, output, fields=some)
            followed += bool(stand.leaks(output.getvalue()))
    assert followed > 3


async def test_in_the_log_of_events(stand: Stand) -> None:
    document = "{ events(first: 500) { totalCount nodes { type before after actor entity { id } } } }"
    found = await stand.ask(document)
    assert "errors" not in found, found
    assert found["data"]["events"]["nodes"]
    assert not stand.leaks(found)
    assert stand.leaks(await stand.ask(document, SYSTEM))


async def test_who_holds_no_role_is_refused_by_name_on_every_path(stand: Stand) -> None:
    nobody = Principal("user", "usr_nobody")
    session = stand.crm.acting_as(nobody)
    before = await stand.rows()
    for names, mine, _ in stand.entities():
        entity = names.entity
        for document in (
            f'{{ {names.singular}(id: "{id_of(stand.catalog, entity.name, mine)}") {{ id }} }}',
            f"{{ {names.plural}(first: 1) {{ totalCount }} }}",
            f'{{ node(id: "{id_of(stand.catalog, entity.name, mine)}") {{ id }} }}',
        ):
            found = await stand.ask(document, nobody)
            assert not any((found.get("data") or {}).values()), found
            assert [error["extensions"]["code"] for error in found["errors"]] == ["NOT_ALLOWED"], found
            assert entity.plural.replace("_", " ") in found["errors"][0]["message"], found
        with pytest.raises(AccessDenied):
            await export_rows(session, entity.name, io.StringIO())
    for entity in stand.catalog.values():
        if entity.is_entity:
            for change in (
                session.create(entity.name, [{}]),
                session.update(entity.name, [Update(stand.world.mine[entity.name][0], {})]),
                session.delete(entity.name, [stand.world.mine[entity.name][0]]),
                session.restore(entity.name, [stand.world.mine[entity.name][0]]),
            ):
                with pytest.raises(AccessDenied):
                    await change
    for name in stand.crm.composition.actions:
        with pytest.raises(AccessDenied):
            await session.run(name, [{}])
    assert await stand.rows() == before


async def test_who_may_only_read_changes_nothing(stand: Stand) -> None:
    reader = half(stand.catalog, stand.world, ["read"])
    session = stand.crm.acting_as(reader)
    before = await stand.rows()
    for entity in stand.catalog.values():
        if not entity.is_entity:
            continue
        mine = stand.world.mine[entity.name][0]
        for change in (
            session.create(entity.name, [{}]),
            session.update(entity.name, [Update(mine, {})]),
            session.delete(entity.name, [mine]),
            session.restore(entity.name, [mine]),
        ):
            with pytest.raises(AccessDenied, match=entity.plural.replace("_", " ")):
                await change
    assert await stand.rows() == before


async def test_what_may_be_done_with_a_row_is_what_is_told_of_it(stand: Stand) -> None:
    """``viewerCan`` agrees with what happens."""
    reader = half(stand.catalog, stand.world, ["read"])
    for names, mine, _ in stand.entities():
        verbs = [verb for verb in ("update", "delete") if verb in names.entity.options.api]
        if not verbs:
            continue
        id = id_of(stand.catalog, names.entity.name, mine)
        document = f"query($id: ID!) {{ {names.singular}(id: $id) {{ viewerCan {{ {' '.join(verbs)} }} }} }}"
        for who, may in ((stand.who, True), (reader, False), (SYSTEM, True)):
            found = await stand.ask(document, who, id=id)
            assert found["data"][names.singular]["viewerCan"] == dict.fromkeys(verbs, may), found


ACTIONS: dict[str, dict[str, Any]] = {
    "log_interaction": {"channel": "letter", "direction": "inbound"},
    "move_deal": {},
    "create_api_key": {"name": "key", "role": "admin"},
    "revoke_api_key": {},
    "create_connection": {"channel": "letter", "name": "desk"},
    "update_connection": {},
    "check_connection": {},
    "record_consent": {"channel": "letter", "purpose": "news", "state": "given"},
    "save_template": {"name": "hello", "texts": [{"language": "en", "body": "hello"}]},
    "preview_template": {},
    "send_message": {"body": "hello", "channel": "letter", "address": "somewhere"},
    "read_conversation": {},
    "identify_conversation": {},
}
"""For each action that takes ids, what else its input needs."""


def ids_in(model: type[BaseModel]) -> Iterator[tuple[str, str, bool]]:
    """Fields that take the id of a record: name, entity, whether they are required."""
    for name, field in model.model_fields.items():
        found = [item for item in field.metadata if isinstance(item, IdOf)]
        found += [
            item
            for part in get_args(field.annotation)
            for item in getattr(part, "__metadata__", ())
            if isinstance(item, IdOf)
        ]
        if found:
            yield name, found[0].entity.__name__, field.is_required()


async def test_actions_take_foreign_ids_for_missing_ones(stand: Stand) -> None:
    session = stand.crm.acting_as(stand.who)
    before = await stand.rows()
    named = 0
    for owned in stand.crm.composition.actions.values():
        action = owned.value
        fields = list(ids_in(action.input))
        if not fields:
            continue
        assert action.name in ACTIONS, f"say what else {action.name} needs, so that its ids are tried"
        needed = {name: stand.world.mine[entity][0] for name, entity, required in fields if required}
        for name, entity, _ in fields:
            if action.name == "send_message" and name == "id":
                continue  # the id of the new message
            many = name.endswith("ids")
            told: list[list[tuple[tuple[str | int, ...], str, str]]] = []
            for id in (stand.world.theirs[entity][0], new_id()):
                given = ACTIONS[action.name] | needed | {name: [id] if many else id}
                try:
                    result = await session.run(action.name, [given])
                except AccessDenied as error:
                    told.append([((), "denied", str(error))])
                else:
                    problems = [(error.path, error.code, error.message) for error in result.errors]
                    told.append(problems or [((), "done", str(result.values))])
            assert told[0] == told[1], f"{action.name}({name}): {told}"
            assert action.entity is None or told[0][0][1] != "done", f"{action.name}({name}) took it"
            named += told[0][0][0][:1] == (name,)
    assert await stand.rows() == before
    assert named > 12, "hardly an id was what was wrong"
