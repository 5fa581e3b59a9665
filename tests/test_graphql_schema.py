"""The schema: what it says of where things come from, and what is told of compositions that make none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    build_schema,
    get_named_type,
    validate_schema,
)
from pydantic import BaseModel
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    Action,
    CompositionError,
    Context,
    Count,
    Crm,
    Customer,
    Entity,
    EntityOptions,
    Permission,
    Plugin,
    batch,
    expression,
)
from amity.composition import compose
from amity.settings import from_mapping
from amity_graphql import EntityTypes, GraphQLParts, execute, sdl
from amity_graphql.api import built

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]


class Visit(Entity):
    """Somebody came by."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer", related_name="visits", on_delete=fields.CASCADE, description="Who came by"
    )
    purpose = fields.CharField(max_length=20, default="chat", description="What for")
    rating = fields.FloatField(null=True, description="How it was")

    options = EntityOptions(prefix="vis", api=EDITABLE, choices={"purpose": ("chat", "repair")})


class Badge(Entity):
    """A customer has one at most."""

    customer: Any = fields.OneToOneField(
        "core.Customer", related_name="badge", on_delete=fields.CASCADE, description="Whose it is"
    )
    number = fields.BigIntField(description="The number on it")

    options = EntityOptions(prefix="bad", api={"read", "create"})


class Reception(Plugin):
    """Who comes and goes."""

    name = "reception"
    version = "1.4"

    def entities(self) -> Sequence[type[Entity]]:
        return [Visit, Badge]

    def fields(self) -> Sequence[Any]:
        return [expression(Customer, "visit_count", Count("visits"), description="How often they came")]

    def graphql(self, types: EntityTypes) -> GraphQLParts:
        @strawberry.type(description="Now")
        class Lobby:
            waiting: int = strawberry.field(description="How many wait")

        def look() -> Any:
            return Lobby(waiting=2)

        @strawberry.type
        class Query:
            lobby: Any = strawberry.field(resolver=look, graphql_type=Lobby, description="The lobby")

        return GraphQLParts(query=Query)


def crm_of(*plugins: Any, **settings: Any) -> Crm:
    """A CRM that is composed, and not opened."""
    return Crm({"plugins": ["graphql"], **settings}, plugins)


def problems_of(*plugins: Any, **settings: Any) -> tuple[str, ...]:
    with pytest.raises(CompositionError) as caught:
        compose(from_mapping({"plugins": ["graphql"], **settings}), plugins)
    return caught.value.problems


# --- what is in it ------------------------------------------------------------------------------------------


def test_the_printed_schema_is_one() -> None:
    assert not validate_schema(build_schema(sdl(crm_of(Reception))))


def test_a_name_stands_for_one_type() -> None:
    """What fields and arguments have as their types is what is known by these names, in the printed schema too."""
    schema = built(crm_of(Reception))[0].graphql
    strange = set()
    for type_ in schema.type_map.values():
        for name, field in getattr(type_, "fields", {}).items():
            for used in (field, *getattr(field, "args", {}).values()):
                named = get_named_type(used.type)
                if schema.type_map.get(named.name) is not named:
                    strange.add(f"{type_.name}.{name}: {named.name}")
    assert not strange


def test_every_type_field_and_argument_says_what_it_is() -> None:
    api, _ = built(crm_of(Reception))
    silent = []
    for type_ in api.graphql.type_map.values():
        if type_.name.startswith("__") or isinstance(type_, GraphQLScalarType):
            continue
        if not type_.description:
            silent.append(type_.name)
        if isinstance(type_, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)):
            for name, field in type_.fields.items():
                if not field.description:
                    silent.append(f"{type_.name}.{name}")
                for key, argument in getattr(field, "args", {}).items():
                    if not argument.description:
                        silent.append(f"{type_.name}.{name}({key})")
    assert not silent


def block(text: str, head: str) -> str:
    """A definition of a printed schema, without descriptions."""
    found = re.search(rf"^{re.escape(head)}\b.*?^}}", text, re.DOTALL | re.MULTILINE)
    assert found, f"{head} is not there"
    return re.sub(r'"""(.|\n)*?"""\s*', "", found[0])


def test_types_and_fields_tell_the_plugin_that_brings_them() -> None:
    text = sdl(crm_of(Reception))
    mine = '@source(plugin: "reception", version: "1.4")'
    assert f"type Visit implements Node {mine} {{" in text
    assert f"input VisitWhere {mine} {{" in text
    assert f"enum VisitPurpose {mine} {{" in text
    assert f"type Lobby {mine} {{" in text
    assert f"lobby: Lobby {mine}\n" in text
    customer = block(text, "type Customer")
    assert f"visitCount: BigInt {mine}" in customer
    assert f"): VisitConnection! {mine}" in customer
    assert f"badge: Badge {mine}" in customer
    assert "name: String!\n" in customer
    assert customer.startswith('type Customer implements Node @source(plugin: "core"')
    where = block(text, "input CustomerWhere")
    assert f"visits: VisitListFilter {mine}" in where
    assert f"badge: BadgeWhere {mine}" in where
    assert f"visitCount: BigIntFilter {mine}" in where
    assert f"createVisit(\n    input: VisitInput!\n\n  ): VisitPayload {mine}".replace("\n\n", "\n") in re.sub(
        r"\n\n", "\n", block(text, "type Mutation")
    )
    assert "createBadge(" in text
    assert "deleteBadges(" not in text


def test_only_what_is_enabled_leaves_a_name() -> None:
    with_it, without = sdl(crm_of(Reception)), sdl(crm_of())
    for name in ("Visit", "Badge", "reception", "Lobby", "visits"):
        assert name in with_it
        assert name not in without
    plugins = set(re.findall(r'plugin: "(\w+)"', without))
    assert plugins == {"core", "graphql"}


def test_composing_twice_gives_the_same_schema() -> None:
    first, second = crm_of(Reception), crm_of(Reception)
    assert sdl(first) == sdl(second)


async def test_one_to_one_relations_are_a_record_or_null(make_crm: MakeCrm) -> None:
    async with make_crm([Reception], {"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        made = await session.create(Customer, [{"kind": "person", "name": name} for name in ("Ann", "Bob")])
        await session.create(Badge, [{"customer_id": made.ids[0], "number": 2**40}])
        result = await execute(
            crm,
            session,
            """{
              customers(orderBy: [{name: ASC}]) { nodes { badge { number customer { name } } } }
              with: customers(where: {badge: {number: {gt: 5}}}) { nodes { name } }
              badges(orderBy: [{customer: {name: ASC}}]) { nodes { customer { visitCount } } }
            }""",
        )
        assert result.formatted() == {
            "data": {
                "customers": {
                    "nodes": [
                        {"badge": {"number": "1099511627776", "customer": {"name": "Ann"}}},
                        {"badge": None},
                    ]
                },
                "with": {"nodes": [{"name": "Ann"}]},
                "badges": {"nodes": [{"customer": {"visitCount": "0"}}]},
            }
        }


async def test_plugins_and_entities_describe_themselves(make_crm: MakeCrm) -> None:
    async with make_crm([Reception], {"plugins": ["graphql"]}) as crm:
        before = crm.database.statements
        result = await execute(
            crm,
            crm.acting_as(SYSTEM),
            """{
              plugins { name version description }
              entities {
                name plugin label singular plural prefix description verbs
                fields {
                  name label kind type choices writable input nullable required target plugin description
                }
              }
            }""",
        )
        assert crm.database.statements == before
        data = result.data
        assert [plugin["name"] for plugin in data["plugins"]] == ["core", "graphql", "reception"]
        assert data["plugins"][2] == {
            "name": "reception",
            "version": "1.4",
            "description": "Who comes and goes.",
        }
        entities = {entity["name"]: entity for entity in data["entities"]}
        visit = entities["Visit"]
        assert {key: value for key, value in visit.items() if key != "fields"} == {
            "name": "Visit",
            "plugin": "reception",
            "label": "Visit",
            "singular": "visit",
            "plural": "visits",
            "prefix": "vis",
            "description": "Somebody came by.",
            "verbs": ["create", "delete", "read", "restore", "update", "upsert"],
        }
        found = {field["name"]: field for field in visit["fields"]}
        assert found["purpose"] == {
            "name": "purpose",
            "label": "Purpose",
            "kind": "COLUMN",
            "type": "String",
            "choices": ["CHAT", "REPAIR"],
            "writable": True,
            "input": "purpose",
            "nullable": False,
            "required": False,
            "target": None,
            "plugin": "reception",
            "description": "What for",
        }
        assert (found["customer"]["input"], found["customer"]["required"], found["customer"]["target"]) == (
            "customerId",
            True,
            "Customer",
        )
        assert not found["createdAt"]["writable"]
        customer = {field["name"]: field for field in entities["Customer"]["fields"]}
        assert customer["visitCount"]["plugin"] == "reception"
        assert customer["visitCount"]["kind"] == "EXPRESSION"
        assert customer["contactPoints"]["label"] == "Contact points"
        assert entities["ContactPoint"]["label"] == "Contact point"
        deal = {field["name"]: field for field in entities["Deal"]["fields"]}
        assert (deal["value"]["type"], deal["value"]["writable"]) == ("Money", True)
        assert entities["Event"]["verbs"] == ["read"]


# --- renaming -----------------------------------------------------------------------------------------------


class Case(Entity):
    """A request for help."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer", null=True, related_name="cases", on_delete=fields.SET_NULL, description="Whose it is"
    )
    title = fields.CharField(max_length=100, description="What it is about")
    options = EntityOptions(prefix="cas", api=EDITABLE)


class Desk(Plugin):
    """A help desk."""

    name = "desk"

    def entities(self) -> Sequence[type[Entity]]:
        return [Case]

    def fields(self) -> Sequence[Any]:
        return [expression(Customer, "case_count", Count("cases"))]


async def test_what_is_renamed_has_its_new_name_everywhere(make_crm: MakeCrm) -> None:
    settings = {
        "plugins": ["graphql"],
        "schema": {"rename": {"desk.Case": "Ticket", "desk.Customer.case_count": "tickets_open"}},
    }
    async with make_crm([Desk], settings) as crm:
        text = sdl(crm)
        assert "Case" not in text.replace("in upper or lower case", "")
        result = await execute(
            crm,
            crm.acting_as(SYSTEM),
            """mutation {
              createTicket(input: {title: "Broken"}) { ticket { __typename id title } userErrors { code } }
            }""",
        )
        made = result.data["createTicket"]["ticket"]
        assert made["__typename"] == "Ticket"
        assert made["id"].startswith("cas_")
        again = await execute(
            crm, crm.acting_as(SYSTEM), "{ tickets { nodes { title } } customers { nodes { ticketsOpen } } }"
        )
        assert again.data["tickets"] == {"nodes": [{"title": "Broken"}]}


# --- what can't be composed ---------------------------------------------------------------------------------


def adding(name: str, **query: Any) -> type[Plugin]:
    """A plugin that adds root fields by that name."""

    def graphql(self: Any, types: EntityTypes) -> GraphQLParts:
        fields = {
            key: strawberry.field(resolver=lambda: 1, graphql_type=type_, description=key)
            for key, type_ in query.items()
        }
        cls = type("Query", (), {"__annotations__": dict.fromkeys(fields, Any), **fields})
        return GraphQLParts(query=strawberry.type(cls))

    return type(name.capitalize(), (Plugin,), {"name": name, "graphql": graphql, "__module__": __name__})


def test_two_plugins_can_not_claim_one_root_field() -> None:
    assert problems_of(adding("one", my_field=int), adding("two", myField=int)) == (
        "plugins 'one' and 'two' both claim the field Query.myField; one of them must rename it",
    )
    (problem,) = problems_of(adding("one", customers=int))
    assert problem == "plugins 'core' and 'one' both claim the field Query.customers; one of them must rename it"


def test_a_hook_that_fails_is_told_with_its_plugin() -> None:
    class Clumsy(Plugin):
        name = "clumsy"

        def graphql(self, types: EntityTypes) -> GraphQLParts:
            return GraphQLParts(query=types["Customr"])

    (problem,) = problems_of(Clumsy)
    assert problem.startswith(
        "plugin 'clumsy': the hook graphql fails: LookupError: Customr is no entity of this CRM"
    )

    class Wrong(Plugin):
        name = "wrong"

        def graphql(self, types: EntityTypes) -> Any:
            return [Customer]

    (problem,) = problems_of(Wrong)
    assert "plugin 'wrong': the hook graphql returned [" in problem
    assert "expected GraphQLParts(query=…)" in problem

    class Bare(Plugin):
        name = "bare"

        def graphql(self, types: EntityTypes) -> GraphQLParts:
            class Query:
                pass

            return GraphQLParts(query=Query)

    (problem,) = problems_of(Bare)
    assert problem == "plugin 'bare': Query is no Strawberry type; decorate it with @strawberry.type"


def test_two_types_can_not_have_one_name() -> None:
    class Output(BaseModel):
        text: str

    Output.__name__ = "CustomerEdge"

    async def nothing(*_: Any) -> Sequence[Any]:
        return []

    class Shadow(Plugin):
        name = "shadow"

        def fields(self) -> Sequence[Any]:
            return [batch(Customer, "shadow", Output, needs=[], resolve=nothing)]

    assert problems_of(Shadow) == ("plugins 'core' and 'shadow' both claim the GraphQL type 'CustomerEdge'",)


def test_a_result_that_graphql_can_not_have_is_told() -> None:
    class Opaque:
        pass

    async def nothing(*_: Any) -> Sequence[Any]:
        return []

    class Odd(Plugin):
        name = "odd"

        def fields(self) -> Sequence[Any]:
            return [batch(Customer, "odd", Opaque, needs=[], resolve=nothing)]

    (problem,) = problems_of(Odd)
    assert problem.startswith("plugin 'odd': the field 'odd' has the type ")
    assert "use a scalar, a list, an enum, a dataclass or a pydantic model" in problem


def test_a_mutation_of_an_action_can_not_have_the_name_of_another() -> None:
    class Input(BaseModel):
        pass

    async def run(_: Context, inputs: Sequence[Any]) -> Sequence[Any]:
        return [None for _ in inputs]

    class Twice(Plugin):
        name = "twice"

        def permissions(self) -> Sequence[Permission]:
            return [Permission("twice.do", "Do")]

        def actions(self) -> Sequence[Action[Any]]:
            return [Action(name, Input, run=run, permission="twice.do") for name in ("log_interaction_batch",)]

    found = problems_of(Twice)
    assert any("Mutation.logInteractionBatch" in problem for problem in found)


def test_an_action_can_not_return_what_can_not_be_read() -> None:
    class Secret(Entity):
        """Nobody reads it."""

        options = EntityOptions(prefix="sec", api=set())

    class Input(BaseModel):
        pass

    async def run(_: Context, inputs: Sequence[Any]) -> Sequence[Any]:
        return [None for _ in inputs]

    class Keeper(Plugin):
        name = "keeper"

        def entities(self) -> Sequence[type[Entity]]:
            return [Secret]

        def permissions(self) -> Sequence[Permission]:
            return [Permission("keeper.do", "Do")]

        def actions(self) -> Sequence[Action[Any]]:
            return [Action("whisper", Input, run=run, permission="keeper.do", entity=Secret)]

    assert problems_of(Keeper) == (
        "plugin 'keeper': the action 'whisper' returns Secret records, which can't be read through the API; "
        "add 'read' to options.api of the entity",
    )


def test_fields_and_enums_have_the_names_of_graphql() -> None:
    api, _ = built(crm_of())
    kind = api.graphql.type_map["CustomerKind"]
    assert isinstance(kind, GraphQLEnumType)
    assert set(kind.values) == {"PERSON", "ORGANIZATION"}
    for type_ in api.graphql.type_map.values():
        for name in getattr(type_, "fields", {}):
            assert re.fullmatch(r"_{0,2}[a-z][a-zA-Z0-9]*", name), f"{type_.name}.{name}"


def test_settings_with_a_typo_are_told() -> None:
    (problem,) = problems_of(graphql={"max_page_siz": 3})
    assert "plugin 'graphql'" in problem
    assert "did you mean 'max_page_size'" in problem


def test_a_page_of_the_usual_size_may_be_asked_for() -> None:
    for section in ({"page_size": 1_000}, {"max_page_size": 10}):
        (problem,) = problems_of(graphql=section)
        assert "max_page_size: expected at least page_size, which is" in problem
    assert built(crm_of(graphql={"max_page_size": 10, "page_size": 10}))
