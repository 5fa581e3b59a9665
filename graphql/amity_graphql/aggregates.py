"""Types of figures of groups: what a group shows, what rows are grouped by, conditions on groups, and their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import strawberry

from amity.entity import EntityType, Kind
from amity.query.grouping import UNITS, figures, groupable

from .declare import Argument, Field, bare, input_type, listed, optional, output
from .filters import PYTHON, Filters, OrderDirection
from .names import EntityNames, a
from .provenance import Source
from .scalars import BigInt

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
DateUnit = strawberry.enum(
    Enum("DateUnit", {unit.upper(): unit for unit in UNITS}),  # type: ignore[misc]
    name="DateUnit",
    description="A period by which times and dates are grouped; weeks begin on Mondays (ISO 8601)",
)


class Aggregates:
    """The types of all entities, and the arguments of the fields that have them."""

    def __init__(
        self,
        names: Mapping[str, EntityNames],
        sources: Callable[[str], Source],
        enums: Mapping[tuple[str, str], Any],
        filters: Filters,
        rows: Mapping[str, type],
        money: type,
    ) -> None:
        self.names = names
        self.sources = sources
        self.enums = enums
        self.filters = filters
        self.rows = rows
        self.money = money
        self.groups = {name: bare(f"{name}Aggregate") for name in names}
        self.keys = {name: bare(f"{name}Group") for name in names}
        self.havings = {name: bare(f"{name}Having") for name in names}
        self.orders = {name: bare(f"{name}AggregateOrder") for name in names}
        self._shared(sources("graphql"))
        for item in names.values():
            self._declare(item)

    def arguments(self, entity: str) -> list[Argument]:
        """The arguments of a field with groups of an entity."""
        return [
            Argument("where", optional(self.filters.wheres[entity]), "Only records that meet these conditions"),
            Argument(
                "groupBy",
                optional(listed(self.keys[entity])),
                "A group for each combination of these; without it, one group of all records",
            ),
            Argument("having", optional(self.havings[entity]), "Only groups that meet these conditions"),
            Argument("orderBy", optional(listed(self.orders[entity])), "In this order; equal ones by their keys"),
            Argument("first", optional(int), "At most so many groups; as many as a page has where it is absent"),
        ]

    def field(self, key: str, entity: str, source: Source | None = None) -> Field:
        description = f"Figures of {entity} records, in groups"
        return Field(key, listed(self.groups[entity]), description, self.arguments(entity), source=source)

    def _shared(self, source: Source) -> None:
        self.time, self.date, self.money_having = (bare(name) for name in SHARED[1:])
        unit = Field("unit", DateUnit, "How long a period is")
        zone = Field(
            "timeZone", optional(str), "Whose days count, like Europe/Berlin (IANA); UTC where it is absent"
        )
        input_type(self.time, [unit, zone], "Periods in which times lie", source)
        input_type(self.date, [unit], "Periods in which dates lie", source)
        parts = [
            Field("amount", optional(self.filters.kinds[Kind.BIGINT]), "The amount, in minor units like cents"),
            Field("currency", optional(self.filters.kinds[Kind.TEXT]), "The currency (ISO 4217)"),
        ]
        about = "Conditions on an amount of money; one currency at least must meet all of them"
        input_type(self.money_having, parts, about, source)

    def _declare(self, names: EntityNames) -> None:
        entity, source = names.entity, self.sources(names.entity.plugin)
        what = f"{entity.name} records"
        key = bare(f"{entity.name}AggregateKey")
        output(key, self._key(names), f"What the {what} of a group have in common; null is a group too", source)
        shown = [
            Field("key", key, "What they were grouped by; nothing else can be asked for"),
            Field("count", BigInt, "How many records there are"),
        ]
        having = self.havings[entity.name]
        conditions = [
            Field("and", optional(listed(having)), "All of these are met"),
            Field("or", optional(listed(having)), "At least one of these is met"),
            Field("not", optional(having), "This is not met"),
            Field("count", optional(self.filters.kinds[Kind.BIGINT]), "How many records there are"),
        ]
        order = self.filters.orders[entity.name]
        orders = [
            Field("key", optional(order), "A key of the groups, or a field of a record that is one"),
            Field("count", optional(OrderDirection), "How many records there are"),
        ]
        made: dict[str, tuple[type, type]] = {}
        for name, function, suffix, about in _FUNCTIONS:
            known = figures(entity, function)
            if not known:
                continue
            if suffix not in made:
                made[suffix] = self._figures(names, function, suffix, known, about)
            shown.append(Field(name, made[suffix][0], about))
            conditions.append(Field(name, optional(made[suffix][1]), about))
            orders.append(Field(name, optional(order), f"{about}. A reference is written {{owner: {{id: ASC}}}}"))
        output(self.groups[entity.name], shown, f"Figures of a group of {what}", source)
        input_type(having, conditions, f"Conditions on groups of {what}; all of them must be met", source)
        currency = Field("currency", optional(str), "Of money: by the amount in this currency (ISO 4217)")
        about = f"What to order groups of {what} by: exactly one field, besides the currency of money"
        input_type(self.orders[entity.name], [*orders, currency], about, source)
        about = f"What to group {what} by: exactly one field"
        input_type(self.keys[entity.name], self._group(names), about, source, one_of=True)

    def _figures(
        self, names: EntityNames, function: str, suffix: str, known: Mapping[str, Kind | None], about: str
    ) -> tuple[type, type]:
        """What a function gives of each field, and conditions on it."""
        entity = names.entity
        shown, compared = bare(f"{entity.name}{suffix}"), bare(f"{entity.name}{suffix}Having")
        about = about if suffix != "Bounds" else "Least or greatest values; null where there are no values"
        fields, conditions = [], []
        for key, item in names.fields.items():
            if item.name not in known or item.group in ("single", "to_many", "batch", "generic"):
                continue
            kind = known[item.name]
            description, source = self._about(names, key)
            if kind is None:
                type_: Any = listed(self.money)
                description += ": an amount for each currency"
                filter: Any = self.money_having
            else:
                always = function in ("count_distinct", "sum")
                type_ = PYTHON[kind] if always else optional(PYTHON[kind])
                filter = self.filters.kinds[kind]
            fields.append(Field(key, type_, description, source=source))
            conditions.append(Field(key, optional(filter), description, source=source))
        owner = self.sources(entity.plugin)
        output(shown, fields, f"Of the {entity.name} records of a group. {about}", owner)
        input_type(compared, conditions, f"Conditions on figures of {entity.name} records. {about}", owner)
        return shown, compared

    def _key(self, names: EntityNames) -> list[Field]:
        entity = names.entity
        found = []
        for key, item, kind in self._groupable(names):
            description, source = self._about(names, key)
            if kind is None:
                type_: Any = self.rows[str(entity.leads_to(item))]
            elif kind in _PERIODS:
                type_, description = PYTHON[Kind.DATE], f"First day of the period: {description}"
            else:
                type_ = self.enums.get((entity.name, item), PYTHON[kind])
            found.append(Field(key, optional(type_), description, source=source))
        return found

    def _group(self, names: EntityNames) -> list[Field]:
        entity = names.entity
        id = Field("id", optional(bool), f"The record itself: true, where {a(entity.name)} is referred to")
        found = [id]
        for key, item, kind in self._groupable(names):
            description, source = self._about(names, key)
            if kind is None:
                type_: Any = self.keys[str(entity.leads_to(item))]
            elif kind in _PERIODS:
                type_ = self.time if kind is Kind.DATETIME else self.date
            else:
                type_, description = bool, f"True: {description}"
            found.append(Field(key, optional(type_), description, source=source))
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
            case "money":
                return entity.money[item.name].description, None
            case "to_one":
                return entity.to_one[item.name].description, None
            case "single":
                many = entity.to_many[item.name]
                return many.description, self._foreign(entity, self.names[many.target].entity)
            case "expression":
                declared = entity.expressions[item.name]
                return declared.description or key, self.sources(declared.plugin)
        return entity.columns[item.name].description, None

    def _foreign(self, entity: EntityType, other: EntityType) -> Source | None:
        return self.sources(other.plugin) if other.plugin != entity.plugin else None


__all__ = ["SHARED", "SUFFIXES", "Aggregates"]
