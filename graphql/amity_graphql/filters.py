"""Input types of reading: filters, orders, and the arguments of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import strawberry

from amity.entity import EntityType, Kind
from amity.query.relative import Period
from amity.query.where import operators
from amity.tree import Direction

from .declare import Argument, Field, bare, input_type, listed, optional
from .names import EntityNames
from .provenance import Source
from .scalars import SCALARS, BigInt

PYTHON: Mapping[Kind, Any] = {
    Kind.ID: strawberry.ID,
    Kind.TEXT: str,
    Kind.INT: int,
    Kind.BIGINT: BigInt,
    Kind.FLOAT: float,
    Kind.BOOLEAN: bool,
    Kind.DATETIME: next(key for key, scalar in SCALARS.items() if scalar.name == "DateTime"),
    Kind.DATE: next(key for key, scalar in SCALARS.items() if scalar.name == "Date"),
    Kind.JSON: next(key for key, scalar in SCALARS.items() if scalar.name == "JSON"),
}
"""What stands for each kind in a Strawberry annotation."""

_MEANINGS = {
    "eq": "Equal to; null means that there is no value",
    "ne": "Not equal to, or without a value",
    "in": "One of these",
    "notIn": "None of these, or without a value",
    "lt": "Less than",
    "lte": "Less than or equal to",
    "gt": "Greater than",
    "gte": "Greater than or equal to",
    "isNull": "Whether there is no value",
    "contains": "Contains the text, in upper or lower case",
    "startsWith": "Starts with the text, in upper or lower case",
    "endsWith": "Ends with the text, in upper or lower case",
    "like": "Matches a pattern: % stands for any characters, _ for one; \\ escapes them",
    "path": "The key that is compared; keys of objects within objects are separated by dots",
    "lastDays": "Within so many days before now",
    "nextDays": "Within so many days from now on",
    "lastHours": "Within so many hours before now",
    "nextHours": "Within so many hours from now on",
    "during": "Within a period of the calendar",
}
_ENUM_OPERATORS = ("eq", "ne", "in", "notIn", "isNull")
OrderDirection = strawberry.enum(
    Direction,
    name="OrderDirection",
    description="Which way to order. Null counts as the greatest value unless it is said otherwise.",
)


RelativePeriod = strawberry.enum(
    Period,
    name="RelativePeriod",
    description="A period of the calendar, seen from today. Weeks begin on Monday.",
)
_TYPES: Mapping[str, Any] = {
    "isNull": bool,
    "path": str,
    "during": RelativePeriod,
    **dict.fromkeys(("contains", "startsWith", "endsWith", "like"), str),
    **dict.fromkeys(("lastDays", "nextDays", "lastHours", "nextHours"), int),
}
"""Types of operands that are not of the compared kind."""


class Filters:
    """The filter and order inputs of all entities."""

    def __init__(
        self,
        names: Mapping[str, EntityNames],
        sources: Callable[[str], Source],
        enums: Mapping[tuple[str, str], Any],
    ) -> None:
        self.names = names
        self.sources = sources
        self.enums = enums
        self.wheres = {name: bare(f"{name}Where") for name in names}
        self.orders = {name: bare(f"{name}Order") for name in names}
        self.lists = {name: bare(f"{name}ListFilter") for name in names}
        own = sources("graphql")
        self.kinds: dict[Kind, type] = {}
        for kind, python in PYTHON.items():
            cls = self.kinds[kind] = bare(f"{kind.value}Filter")
            input_type(cls, _operators(python, operators(kind)), _about(f"a {kind.value}"), own)
        self.money = bare("MoneyFilter")
        input_type(self.money, self._money(), _about("an amount of money"), own)
        self.choices: dict[tuple[str, str], type] = {}
        for key, choices in enums.items():
            name = choices.__strawberry_definition__.name
            cls = self.choices[key] = bare(f"{name}Filter")
            input_type(
                cls,
                _operators(choices, _ENUM_OPERATORS),
                _about(f"a {name}"),
                sources(names[key[0]].entity.plugin),
            )
        for entity in names.values():
            self._declare(entity)

    def arguments(self, entity: str) -> list[Argument]:
        """The arguments of a connection to an entity."""
        return [
            Argument("where", optional(self.wheres[entity]), "Only records that meet these conditions"),
            Argument("orderBy", optional(listed(self.orders[entity])), "In this order; equal ones by id"),
            Argument("first", optional(int), "At most so many, from the start"),
            Argument("after", optional(str), "Only what follows this cursor"),
            Argument("last", optional(int), "At most so many, from the end"),
            Argument("before", optional(str), "Only what precedes this cursor"),
        ]

    def _declare(self, names: EntityNames) -> None:
        entity = names.entity
        source = self.sources(entity.plugin)
        where = self.wheres[entity.name]
        about = f"Conditions on {entity.name} records; all of them must be met"
        input_type(where, self._where(names), about, source)
        quantifiers = [
            Field("some", optional(where), "At least one meets the conditions"),
            Field("none", optional(where), "Not one meets the conditions"),
            Field("every", optional(where), "There is none that does not meet the conditions"),
        ]
        input_type(self.lists[entity.name], quantifiers, f"Conditions on related {entity.name} records", source)
        about = f"What to order {entity.name} records by: exactly one field"
        input_type(self.orders[entity.name], self._order(names), about, source, one_of=True)

    def _where(self, names: EntityNames) -> list[Field]:
        entity = names.entity
        where = self.wheres[entity.name]
        found = [
            Field("and", optional(listed(where)), "All of these are met"),
            Field("or", optional(listed(where)), "At least one of these is met"),
            Field("not", optional(where), "This is not met"),
        ]
        for key, item in names.filters.items():
            source = None
            if item.group == "column":
                column = entity.columns[item.name]
                description = column.description
                type_: Any = self.choices.get((entity.name, item.name), self.kinds[column.kind])
            elif item.group == "money":
                description, source = self._money_field(entity, key, item.name)
                type_ = self.money
            elif item.group == "to_one":
                relation = entity.to_one[item.name]
                description, type_ = relation.description, self.wheres[relation.target]
            elif item.group == "expression":
                expression = entity.expressions[item.name]
                description = expression.description or key
                type_ = self.kinds[expression.kind]
                source = self.sources(expression.plugin)
            else:
                many = entity.to_many[item.name]
                description = many.description
                type_ = (self.wheres if many.single else self.lists)[many.target]
                source = self._foreign(entity, self.names[many.target].entity)
            found.append(Field(key, optional(type_), description, source=source))
        return found

    def _order(self, names: EntityNames) -> list[Field]:
        entity = names.entity
        found = []
        for key, item in names.orders.items():
            type_: Any = OrderDirection
            source = None
            if item.group == "to_one":
                type_ = self.orders[entity.to_one[item.name].target]
                description = f"By a field of: {entity.to_one[item.name].description}"
            elif item.group == "single":
                many = entity.to_many[item.name]
                type_, description = self.orders[many.target], f"By a field of: {many.description}"
                source = self._foreign(entity, self.names[many.target].entity)
            elif item.group == "money":
                about, source = self._money_field(entity, key, item.name)
                description = f"By amount: {about}"
            elif item.group == "expression":
                description = entity.expressions[item.name].description or key
                source = self.sources(entity.expressions[item.name].plugin)
            else:
                description = entity.columns[item.name].description
            found.append(Field(key, optional(type_), description, source=source))
        return found

    def _money_field(self, entity: EntityType, key: str, name: str) -> tuple[str, Source | None]:
        """What a money field is, and whose it is if it is computed."""
        if name in entity.money:
            return entity.money[name].description, None
        expression = entity.expressions[name]
        return expression.description or key, self.sources(expression.plugin)

    def _foreign(self, entity: EntityType, other: EntityType) -> Source | None:
        return self.sources(other.plugin) if other.plugin != entity.plugin else None

    def _money(self) -> list[Field]:
        return [
            Field("amount", optional(self.kinds[Kind.BIGINT]), "The amount, in minor units like cents"),
            Field("currency", optional(self.kinds[Kind.TEXT]), "The currency (ISO 4217)"),
            Field("isNull", optional(bool), _MEANINGS["isNull"]),
        ]


def _operators(python: Any, names: tuple[str, ...]) -> list[Field]:
    found = []
    for name in names:
        type_: Any = optional(listed(python) if name in ("in", "notIn") else _TYPES.get(name, python))
        found.append(Field(name, type_, _MEANINGS[name]))
    return found


def _about(what: str) -> str:
    return f"Conditions on {what}; all of them must be met"
