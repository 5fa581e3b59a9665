"""The schema of a composition, and everything that execution looks up in it."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import strawberry
from graphql import (
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from amity.composition import Composition, CompositionError
from amity.entity import Catalog

from .aggregates import SHARED, SUFFIXES, Aggregates
from .arguments import Arguments
from .connection import PageInfo
from .declare import bare, output
from .executor import Executor, Hole
from .filters import Filters
from .groups import Groupings
from .hits import CONNECTION, EDGE
from .hits import TYPES as SEARCH_TYPES
from .info import infos
from .me import me
from .names import AGGREGATE, EntityNames, names_of
from .optional import OPTIONAL
from .outputs import VIEWER_CAN, Money, Node, Outputs, enums_of
from .parts import EntityTypes, GraphQLParts
from .provenance import Source
from .roots import RootField, aggregate, reads
from .scalars import SCALARS
from .search import search
from .settings import GraphQLSettings
from .timeline import TYPES as TIMELINE_TYPES
from .values import Listed, Nullable, Object, Shape, Values
from .writes import MoneyInput, OnError, UserError, Writes

_OWN_TYPES = (
    "Query",
    "Mutation",
    "Subscription",
    "Node",
    "Me",
    "Money",
    "MoneyInput",
    "PageInfo",
    "ViewerCan",
    "UserError",
    "OnError",
    "OrderDirection",
    "CalendarPeriod",
    *SHARED,
    *TIMELINE_TYPES,
    *SEARCH_TYPES,
)


@dataclass(frozen=True)
class Api:
    """A composed schema."""

    composition: Composition
    settings: GraphQLSettings
    schema: strawberry.Schema
    names: Mapping[str, EntityNames]
    arguments: Arguments
    groupings: Groupings
    values: Values
    holes: Mapping[GraphQLOutputType, Hole]
    """The types of fields that the core answers; wrapped types are one object a field."""
    owners: Mapping[str, str]
    """Root fields of plugins' own, like ``Query.matches`` → the plugin."""
    plannable: frozenset[str] = frozenset()
    """Root fields of queries whose resolvers only name rows."""
    writable: frozenset[str] = frozenset()
    """Root fields of mutations that are our own."""

    @property
    def graphql(self) -> GraphQLSchema:
        return self.schema._schema

    @property
    def catalog(self) -> Catalog:
        return self.composition.catalog

    @property
    def types(self) -> Mapping[str, Any]:
        return self.graphql.type_map

    @cached_property
    def objects(self) -> Mapping[str, GraphQLObjectType]:
        """The types of entities, by the entities' names."""
        return self._types("")

    @cached_property
    def edges(self) -> Mapping[str, GraphQLObjectType]:
        return self._types("Edge")

    @cached_property
    def connections(self) -> Mapping[str, GraphQLObjectType]:
        return self._types("Connection")

    @cached_property
    def groups(self) -> Mapping[str, GraphQLObjectType]:
        return self._types("Aggregate")

    def _types(self, suffix: str) -> Mapping[str, GraphQLObjectType]:
        return {name: self.graphql.type_map[f"{name}{suffix}"] for name in self.names}  # type: ignore[misc]


def build(composition: Composition, settings: GraphQLSettings) -> Api:
    """The schema of everything that was composed. Raises CompositionError, which lists all problems."""
    return _Builder(composition, settings).build()


class _Schema(strawberry.Schema):
    """Adds plugins' own root fields to the root types, without touching the plugins' classes."""

    def __init__(self, added: Mapping[str, Sequence[StrawberryField]], **options: Any) -> None:
        self._added = added
        super().__init__(**options)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        return [*type_definition.fields, *self._added.get(type_definition.name, ())]


class _Builder:
    def __init__(self, composition: Composition, settings: GraphQLSettings) -> None:
        self.composition = composition
        self.settings = settings
        self.problems: list[str] = []
        self.claimed: dict[str, tuple[str, object]] = {name: ("graphql", name) for name in _OWN_TYPES}
        self.fields: dict[str, dict[str, str]] = {"Query": {}, "Mutation": {}}

    def build(self) -> Api:
        names = names_of(self.composition)
        for item in names.values():
            self._claim_entity(item)
        enums = enums_of(names, self.source)
        for (entity, _), made in enums.items():
            name = made.__strawberry_definition__.name
            self.claim(name, names[entity].entity.plugin, None)
            self.claim(f"{name}Filter", names[entity].entity.plugin, None)
        values = Values(self.source, enums, self.claim, self.problems)
        filters = Filters(names, self.source, enums)
        outputs = Outputs(names, self.source, enums, filters, values)
        arguments = Arguments(self.composition.catalog, names, self.settings)
        writes = Writes(
            self.composition, names, self.source, outputs, values, arguments, self.claim, self.problems
        )
        queries = [
            *infos(self.composition, names),
            me(self.composition.catalog, outputs.rows, self.source("graphql")),
            *reads(self.composition.catalog, names, outputs, filters, arguments),
            *search(self.composition.catalog, names, arguments, self.source("graphql")),
        ]
        mutations = list(writes.fields())
        for kind, fields in (("Query", queries), ("Mutation", mutations)):
            for field in fields:
                self._claim_field(kind, field.field.name, field.plugin)
        for item in names.values():
            self._claim_field("Query", f"{item.plural}{AGGREGATE}", item.entity.plugin)
        types = EntityTypes(self.composition.catalog, outputs.rows, outputs.connections, Node)
        parts = self._parts(types)
        added = {kind: self._added(kind, parts) for kind in ("Query", "Mutation")}
        self._raise()
        schema = self._schema(queries, mutations, added, outputs, filters, parts)
        Aggregates(schema._schema, names, self.source).add(aggregate)
        self._resolve(schema, queries, mutations)
        owners = self._loosen(schema, added)
        self._mark(schema)
        schema._schema.directives = (*schema._schema.directives, OPTIONAL)
        return Api(
            self.composition,
            self.settings,
            schema,
            names,
            arguments,
            Groupings(arguments),
            values,
            _holes(schema._schema, self.composition.catalog, names, values),
            owners,
            frozenset(item.field.name for item in queries if item.plannable)
            | {f"{item.plural}{AGGREGATE}" for item in names.values()},
            frozenset(item.field.name for item in mutations),
        )

    def source(self, plugin: str) -> Source:
        version = next((info.version for info in self.composition.plugins if info.name == plugin), "0")
        return Source(plugin=plugin, version=version)

    def _raise(self) -> None:
        if self.problems:
            raise CompositionError(self.problems)

    # --- names ----------------------------------------------------------------------------------------------

    def claim(self, name: str, plugin: str, origin: object) -> bool:
        """Takes a type's name for a plugin; a problem if another type has it."""
        other, present = self.claimed.setdefault(name, (plugin, origin))
        if other == plugin and present is origin and origin is not None:
            return True
        if (other, present) != (plugin, origin):
            self.problems.append(
                f"plugins {other!r} and {plugin!r} both claim the GraphQL type {name!r}"
                if other != plugin
                else f"plugin {plugin!r}: two types would have the GraphQL name {name!r}; rename one class"
            )
            return False
        return True

    def _claim_entity(self, names: EntityNames) -> None:
        entity = names.entity
        if names.singular == names.plural:
            self.problems.append(
                f"plugin {entity.plugin!r}: {entity.name} and its list would both be the root field "
                f"{names.plural!r}; give options.plural"
            )
        for suffix in ("", "Edge", "Connection", "Where", "Order", "ListFilter", *SUFFIXES):
            self.claim(f"{entity.name}{suffix}", entity.plugin, suffix or entity.model)
        if VIEWER_CAN in names.fields:
            self.problems.append(
                f"plugin {entity.plugin!r}: {names.fields[VIEWER_CAN].name!r} of {entity.name} would be "
                f"{VIEWER_CAN!r}, which says what the reader may do; give it another name"
            )
        for key, relation in names.aggregates.items():
            if key in names.fields:
                self.problems.append(
                    f"plugin {entity.plugin!r}: {names.fields[key].name!r} of {entity.name} would be {key!r}, "
                    f"which has the figures of its {relation}; give it another name"
                )
        for group in (names.fields, names.filters, names.orders):
            seen: dict[str, str] = {}
            for key, item in group.items():
                other = seen.setdefault(key, item.name)
                if other != item.name:
                    self.problems.append(
                        f"plugin {entity.plugin!r}: {other!r} and {item.name!r} of {entity.name} "
                        f"would both be {key!r}"
                    )

    def _claim_field(self, kind: str, name: str, plugin: str) -> None:
        other = self.fields[kind].setdefault(name, plugin)
        if other != plugin:
            self.problems.append(
                f"plugins {other!r} and {plugin!r} both claim the field {kind}.{name}; one of them must rename it"
            )

    # --- plugins' own parts -----------------------------------------------------------------------------------

    def _parts(self, types: EntityTypes) -> list[tuple[str, GraphQLParts]]:
        found = []
        hooks = {hook.plugin_name: hook for hook in self.composition.hooks.graphql.get_hookimpls()}
        for info in self.composition.plugins:
            hook = hooks.get(info.name)
            if hook is None:
                continue
            try:
                parts = hook.function(*(types for _ in hook.argnames))
            except Exception as error:
                self.problems.append(
                    f"plugin {info.name!r}: the hook graphql fails: {type(error).__name__}: {error}"
                )
                continue
            if not isinstance(parts, GraphQLParts):
                self.problems.append(
                    f"plugin {info.name!r}: the hook graphql returned {parts!r}; expected GraphQLParts(query=…)"
                )
                continue
            found.append((info.name, parts))
        return found

    def _added(self, kind: str, parts: Sequence[tuple[str, GraphQLParts]]) -> list[StrawberryField]:
        converter = NameConverter()
        found = []
        for plugin, item in parts:
            cls = item.query if kind == "Query" else item.mutation
            if cls is None:
                continue
            definition = getattr(cls, "__strawberry_definition__", None)
            if definition is None:
                self.problems.append(
                    f"plugin {plugin!r}: {cls.__name__} is no Strawberry type; decorate it with @strawberry.type"
                )
                continue
            for field in definition.fields:
                # a field keeps what it learns of the schema that it is in, so every schema has its own
                own = copy.copy(field)
                own.directives = [*own.directives, self.source(plugin)]
                self._claim_field(kind, converter.get_graphql_name(own), plugin)
                found.append(own)
        return found

    # --- putting it together ----------------------------------------------------------------------------------

    def _schema(
        self,
        queries: Sequence[RootField],
        mutations: Sequence[RootField],
        added: Mapping[str, Sequence[StrawberryField]],
        outputs: Outputs,
        filters: Filters,
        parts: Sequence[tuple[str, GraphQLParts]],
    ) -> strawberry.Schema:
        query, mutation = bare("Query"), bare("Mutation")
        output(query, self._sourced(queries), "Everything that can be read", self.source("graphql"))
        output(mutation, self._sourced(mutations), "Everything that can be done", self.source("graphql"))
        config = StrawberryConfig(scalar_map=SCALARS)
        own = [Money, MoneyInput, PageInfo, UserError, OnError]
        further = [type_ for _, item in parts for type_ in item.types]
        try:
            return _Schema(
                added,
                query=query,
                mutation=mutation if mutations or added["Mutation"] else None,
                types=[*outputs.rows.values(), *filters.kinds.values(), *own, *further],
                config=config,
                execution_context_class=Executor,
            )
        except Exception as error:
            brought = ", ".join(repr(plugin) for plugin, _ in parts)
            hint = f"; look at the hook graphql of {brought}" if brought else ""
            raise CompositionError([f"the GraphQL schema can't be built: {error}{hint}"]) from error

    def _sourced(self, fields: Sequence[RootField]) -> list[Any]:
        return [
            dataclasses.replace(item.field, source=self.source(item.plugin) if item.plugin != "graphql" else None)
            for item in fields
        ]

    def _resolve(
        self, schema: strawberry.Schema, queries: Sequence[RootField], mutations: Sequence[RootField]
    ) -> None:
        """Resolvers of our own get arguments as graphql-core has them: Strawberry's conversion is recursive."""
        for type_, fields in (
            (schema._schema.query_type, queries),
            (schema._schema.mutation_type, mutations),
        ):
            for item in fields:
                assert type_ is not None
                type_.fields[item.field.name].resolve = item.resolve

    def _loosen(self, schema: strawberry.Schema, added: Mapping[str, Sequence[StrawberryField]]) -> dict[str, str]:
        """Root fields of plugins are nullable, so that one that fails takes nothing else with it."""
        owners = {}
        for type_ in (schema._schema.query_type, schema._schema.mutation_type):
            for field in added[type_.name] if type_ is not None else ():
                assert type_ is not None
                name = NameConverter().get_graphql_name(field)
                made = type_.fields[name]
                if isinstance(made.type, GraphQLNonNull):
                    made.type = made.type.of_type
                if made.resolve is not None:
                    made.resolve = _limited(made.resolve, self.settings.resolver_timeout)
                owners[f"{type_.name}.{name}"] = self.fields[type_.name][name]
        return owners

    def _mark(self, schema: strawberry.Schema) -> None:
        """Notes on plugins' own types where they come from; the definitions are copied, as they are shared."""
        packages = {type(info.plugin).__module__.split(".")[0]: info.name for info in self.composition.plugins}
        key = GraphQLCoreConverter.DEFINITION_BACKREF
        for type_ in schema._schema.type_map.values():
            definition = type_.extensions.get(key)
            if not isinstance(definition, StrawberryObjectDefinition):
                continue
            if any(isinstance(item, Source) for item in definition.directives or ()):
                continue
            plugin = packages.get(definition.origin.__module__.split(".")[0])
            if plugin is not None:
                directives = [*(definition.directives or ()), self.source(plugin)]
                type_.extensions = {
                    **type_.extensions,
                    key: dataclasses.replace(definition, directives=directives),
                }


def _limited(resolve: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """The resolver of a plugin, given up when it takes too long."""

    async def wait(result: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await result
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"took longer than {seconds:g} seconds") from error
            raise

    def resolve_in_time(source: Any, info: Any, **arguments: Any) -> Any:
        result = resolve(source, info, **arguments)
        return wait(result) if isinstance(result, Awaitable) else result

    return resolve_in_time


def _holes(
    schema: GraphQLSchema, catalog: Catalog, names: Mapping[str, EntityNames], values: Values
) -> dict[GraphQLOutputType, Hole]:
    """What of the fields' types the core answers."""
    rows = {name: catalog[name] for name in names}
    pages = {f"{name}Connection": catalog[name] for name in names}
    groups = {f"{name}Aggregate": catalog[name] for name in names}
    known = {*rows, *pages, *groups, *(f"{name}AggregateKey" for name in names)}
    shapes = {item.annotation.__name__: item for item in values.outputs()}
    found: dict[GraphQLOutputType, Hole] = {}
    for type_ in schema.type_map.values():
        if not isinstance(type_, (GraphQLObjectType, GraphQLInterfaceType)) or type_.name in known:
            continue
        if type_.name.startswith("__") or type_.name in (EDGE, CONNECTION):
            continue
        for field in type_.fields.values():
            hole = _hole(field.type, rows, pages, groups, shapes)
            if hole is not None:
                found[field.type] = hole
    return found


def _hole(
    type_: Any,
    rows: Mapping[str, Any],
    pages: Mapping[str, Any],
    groups: Mapping[str, Any],
    shapes: Mapping[str, Object],
) -> Hole | None:
    required = isinstance(type_, GraphQLNonNull)
    inner = type_.of_type if required else type_
    if isinstance(inner, GraphQLList):
        items_required = isinstance(inner.of_type, GraphQLNonNull)
        item = inner.of_type.of_type if items_required else inner.of_type
        name = getattr(item, "name", "")
        if name in rows or name == "Node":
            return Hole("rows", rows.get(name), required, items_required)
        if name in groups:
            return Hole("groups", groups[name], required, items_required)
        if name in shapes:
            shape: Shape = shapes[name] if items_required else Nullable(shapes[name])
            return Hole("value", required=required, shape=Listed(shape))
        return None
    name = getattr(inner, "name", "")
    if name in rows or name == "Node":
        return Hole("row", rows.get(name), required)
    if name in pages:
        return Hole("page", pages[name], required)
    if name == CONNECTION:
        return Hole("search", required=required)
    if name in shapes:
        return Hole("value", required=required, shape=shapes[name])
    return None
