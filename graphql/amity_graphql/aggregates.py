"""Types of figures: what a group of rows shows, what rows are grouped by, conditions on groups, their order.

They are ten for each entity, and so are graphql-core's own, made when the other types are there: as Strawberry's
they would double the time that a schema takes. The core answers them whole, and no resolver sees their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.schema_directives import OneOf

from amity.entity import EntityType, Kind
from amity.query.grouping import UNITS, figures, groupable

from .names import AGGREGATE, EntityNames, a, pascal
from .provenance import Source

SUFFIXES = (
    "Aggregate",
    "AggregateKey",
    "DistinctCounts",
    "Sums",
    "Averages",
    "Bounds",
    "Group",
    "Having",
    "DistinctCountsHaving",
    "SumsHaving",
    "AveragesHaving",
    "BoundsHaving",
    "AggregateOrder",
)
"""What the names of an entity's types for figures end in."""
SHARED = ("DateUnit", "TimePeriod", "DatePeriod", "MoneyHaving")
_PERIODS = (Kind.DATETIME, Kind.DATE)
_FUNCTIONS = (
    ("countDistinct", "count_distinct", "DistinctCounts", "How many different values there are; null is none"),
    ("sum", "sum", "Sums", "Sums; 0 where there are no values"),
    ("avg", "avg", "Averages", "Means; null where there are no values"),
    ("min", "min", "Bounds", "Least values; null where there are no values"),
    ("max", "max", "Bounds", "Greatest values; null where there are no values"),
)
_BOUNDS = "Least or greatest values; null where there are no values"


@dataclass(frozen=True)
class _Origin:
    """What Strawberry looks for at a type or field when it prints and validates."""

    directives: tuple[Any, ...]
    is_input: bool = False
    is_one_of: bool = False
    extend: bool = False


class Aggregates:
    """Adds the types of all entities to a schema, and the fields that have them."""

    def __init__(
        self, schema: GraphQLSchema, names: Mapping[str, EntityNames], sources: Callable[[str], Source]
    ) -> None:
        self.types: dict[str, Any] = schema.type_map
        self.query: Any = schema.query_type
        self.names = names
        self.sources = sources

    def add(self, resolver: Callable[[EntityType], Callable[..., Any]]) -> None:
        """Adds everything; ``resolver`` makes the function that answers a root field."""
        self._shared()
        for item in self.names.values():
            self._declare(item)
        arguments = {name: self._arguments(name) for name in self.names}
        for item in self.names.values():
            entity = item.entity
            root = self._field(entity.name, arguments, self._foreign("graphql", entity))
            root.resolve = resolver(entity)
            self.query.fields[f"{item.plural}{AGGREGATE}"] = root
            for key, relation in item.aggregates.items():
                target = self.names[entity.to_many[relation].target].entity
                field = self._field(target.name, arguments, self._foreign(entity.plugin, target))
                self.types[entity.name].fields[key] = field

    # --- fields ---------------------------------------------------------------------------------------------

    def _field(self, entity: str, arguments: Mapping[str, Any], source: Source | None) -> GraphQLField:
        return GraphQLField(
            _all(self.types[f"{entity}Aggregate"]),
            arguments[entity],
            description=f"Figures of {entity} records, in groups",
            extensions=_extensions(source),
        )

    def _arguments(self, entity: str) -> dict[str, GraphQLArgument]:
        types = self.types
        found: dict[str, tuple[Any, str]] = {
            "where": (types[f"{entity}Where"], "Only records that meet these conditions"),
            "groupBy": (
                _list(types[f"{entity}Group"]),
                "A group for each combination of these; without it, one group of all records",
            ),
            "having": (types[f"{entity}Having"], "Only groups that meet these conditions"),
            "orderBy": (_list(types[f"{entity}AggregateOrder"]), "In this order; equal ones by their keys"),
            "first": (GraphQLInt, "At most so many groups; as many as a page has where it is absent"),
        }
        return {key: GraphQLArgument(type_, description=about) for key, (type_, about) in found.items()}

    # --- types ----------------------------------------------------------------------------------------------

    def _output(self, name: str, fields: Callable[[], dict[str, GraphQLField]], about: str, plugin: str) -> None:
        extensions = _extensions(self.sources(plugin))
        self.types[name] = GraphQLObjectType(name, fields, description=about, extensions=extensions)

    def _input(
        self,
        name: str,
        fields: Callable[[], dict[str, GraphQLInputField]],
        about: str,
        plugin: str,
        *,
        one_of: bool = False,
    ) -> None:
        source = self.sources(plugin)
        origin = _Origin((source, OneOf()) if one_of else (source,), is_input=True, is_one_of=one_of)
        extensions = {GraphQLCoreConverter.DEFINITION_BACKREF: origin}
        self.types[name] = GraphQLInputObjectType(name, fields, description=about, extensions=extensions)

    def _shared(self) -> None:
        about = "A period by which times and dates are grouped; weeks begin on Mondays (ISO 8601)"
        unit = self.types["DateUnit"] = GraphQLEnumType(
            "DateUnit", {name.upper(): name for name in UNITS}, description=about
        )
        zone = "Whose days count, like Europe/Berlin (IANA); UTC if absent"
        lasting = _given(GraphQLNonNull(unit), "How long a period is")
        times = {"unit": lasting, "timeZone": _given(GraphQLString, zone)}
        self._input("TimePeriod", lambda: times, "Periods in which times lie", "graphql")
        self._input("DatePeriod", lambda: {"unit": lasting}, "Periods in which dates lie", "graphql")
        money = {
            "amount": _given(self.types["BigIntFilter"], "The amount, in minor units like cents"),
            "currency": _given(self.types["StringFilter"], "The currency (ISO 4217)"),
        }
        about = "Conditions on an amount of money; one currency at least must meet all of them"
        self._input("MoneyHaving", lambda: money, about, "graphql")

    def _declare(self, names: EntityNames) -> None:
        entity, types, what = names.entity, self.types, f"{names.entity.name} records"
        name, plugin = entity.name, entity.plugin
        having, order = f"{name}Having", types[f"{name}Order"]
        count = "How many records there are"
        shown: dict[str, tuple[str, str]] = {}
        for key, function, suffix, about in _FUNCTIONS:
            if figures(entity, function):
                shown[key] = (suffix, about)
                if f"{name}{suffix}" not in types:
                    self._figures(names, function, suffix, _BOUNDS if suffix == "Bounds" else about)

        def group() -> dict[str, GraphQLField]:
            about = "What they were grouped by; nothing else can be asked for"
            return {
                "key": _shown(GraphQLNonNull(types[f"{name}AggregateKey"]), about),
                "count": _shown(GraphQLNonNull(types["BigInt"]), count),
                **{
                    key: _shown(GraphQLNonNull(types[f"{name}{suffix}"]), about)
                    for key, (suffix, about) in shown.items()
                },
            }

        def conditions() -> dict[str, GraphQLInputField]:
            return {
                "and": _given(_list(types[having]), "All of these are met"),
                "or": _given(_list(types[having]), "At least one of these is met"),
                "not": _given(types[having], "This is not met"),
                "count": _given(types["BigIntFilter"], count),
                **{key: _given(types[f"{name}{suffix}Having"], about) for key, (suffix, about) in shown.items()},
            }

        def orders() -> dict[str, GraphQLInputField]:
            return {
                "key": _given(order, "A key of the groups, or a field of a record that is one"),
                "count": _given(types["OrderDirection"], count),
                **{key: _given(order, about) for key, (_, about) in shown.items()},
                "currency": _given(GraphQLString, "Of money: by the amount in this currency (ISO 4217)"),
            }

        common = f"What the {what} of a group have in common; null is a group too"
        self._output(f"{name}AggregateKey", lambda: self._key(names), common, plugin)
        self._output(f"{name}Aggregate", group, f"Figures of a group of {what}", plugin)
        about = f"What to group {what} by: exactly one field"
        self._input(f"{name}Group", lambda: self._group(names), about, plugin, one_of=True)
        about = f"Conditions on groups of {what}; all of them must be met"
        self._input(having, conditions, about, plugin)
        about = f"What to order groups of {what} by: exactly one field, besides the currency of money"
        self._input(f"{name}AggregateOrder", orders, about, plugin)

    def _figures(self, names: EntityNames, function: str, suffix: str, about: str) -> None:
        """What a function gives of each field, and conditions on it."""
        entity, types = names.entity, self.types
        known = figures(entity, function)
        keys = {
            key: known[item.name]
            for key, item in names.fields.items()
            if item.name in known and item.group in ("column", "expression", "money", "to_one")
        }
        always = function in ("count_distinct", "sum")

        def shown() -> dict[str, GraphQLField]:
            found = {}
            for key, kind in keys.items():
                description, source = self._about(names, key)
                type_: Any = _all(types["Money"])
                if kind is None:
                    description += ": an amount for each currency"
                else:
                    type_ = GraphQLNonNull(types[kind.value]) if always else types[kind.value]
                found[key] = _shown(type_, description, source)
            return found

        def compared() -> dict[str, GraphQLInputField]:
            found = {}
            for key, kind in keys.items():
                filter = types["MoneyHaving" if kind is None else f"{kind.value}Filter"]
                found[key] = _given(filter, *self._about(names, key))
            return found

        what = f"{entity.name} records"
        self._output(f"{entity.name}{suffix}", shown, f"Of the {what} of a group. {about}", entity.plugin)
        conditions = f"Conditions on figures of {what}. {about}"
        self._input(f"{entity.name}{suffix}Having", compared, conditions, entity.plugin)

    def _key(self, names: EntityNames) -> dict[str, GraphQLField]:
        entity, found = names.entity, {}
        for key, item, kind in self._groupable(names):
            description, source = self._about(names, key)
            if kind is None:
                type_ = self.types[str(entity.leads_to(item))]
            elif kind in _PERIODS:
                type_, description = self.types["Date"], f"First day of the period: {description}"
            else:
                choices = item in entity.columns and entity.columns[item].choices
                type_ = self.types[f"{entity.name}{pascal(item)}" if choices else kind.value]
            found[key] = _shown(type_, description, source)
        return found

    def _group(self, names: EntityNames) -> dict[str, GraphQLInputField]:
        entity = names.entity
        record = f"True: the record itself, where a reference leads to {a(entity.name)}"
        found = {"id": _given(GraphQLBoolean, record)}
        for key, item, kind in self._groupable(names):
            description, source = self._about(names, key)
            type_: Any = GraphQLBoolean
            if kind is None:
                type_ = self.types[f"{entity.leads_to(item)}Group"]
            elif kind in _PERIODS:
                type_ = self.types["TimePeriod" if kind is Kind.DATETIME else "DatePeriod"]
            else:
                description = f"True: {description}"
            found[key] = _given(type_, description, source)
        return found

    def _groupable(self, names: EntityNames) -> list[tuple[str, str, Kind | None]]:
        """GraphQL name, name, and kind of what rows can be grouped by; None for relations."""
        known = groupable(names.entity)
        found: list[tuple[str, str, Kind | None]] = []
        for key, item in names.fields.items():
            if item.group in ("to_one", "single"):
                found.append((key, item.name, None))
            elif item.group in ("column", "expression") and item.name in known:
                found.append((key, item.name, known[item.name]))
        return found

    def _about(self, names: EntityNames, key: str) -> tuple[str, Source | None]:
        entity, item = names.entity, names.fields[key]
        match item.group:
            case "money" if item.name in entity.money:
                return entity.money[item.name].description, None
            case "to_one":
                return entity.to_one[item.name].description, None
            case "single":
                many = entity.to_many[item.name]
                return many.description, self._foreign(entity.plugin, self.names[many.target].entity)
            case "money" | "expression":
                declared = entity.expressions[item.name]
                return declared.description or key, self.sources(declared.plugin)
        return entity.columns[item.name].description or key, None

    def _foreign(self, plugin: str, other: EntityType) -> Source | None:
        return self.sources(other.plugin) if other.plugin != plugin else None


def _list(type_: Any) -> Any:
    return GraphQLList(GraphQLNonNull(type_))


def _all(type_: Any) -> Any:
    return GraphQLNonNull(_list(type_))


def _extensions(source: Source | None) -> dict[str, Any]:
    return {GraphQLCoreConverter.DEFINITION_BACKREF: _Origin((source,))} if source is not None else {}


def _shown(type_: Any, description: str, source: Source | None = None) -> GraphQLField:
    return GraphQLField(type_, description=description, extensions=_extensions(source))


def _given(type_: Any, description: str, source: Source | None = None) -> GraphQLInputField:
    return GraphQLInputField(type_, description=description, extensions=_extensions(source))


__all__ = ["SHARED", "SUFFIXES", "Aggregates"]
