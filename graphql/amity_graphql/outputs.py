"""Output types: a type, an edge and a connection for each entity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import strawberry

from amity.entity import EntityType

from .connection import declare_connection
from .declare import Field, bare, enumeration, optional, output
from .filters import PYTHON, Filters
from .names import EntityNames, label, pascal
from .provenance import Source
from .scalars import BigInt
from .timeline import timeline_field
from .values import Values


@strawberry.interface(description="A record of any kind, by its id", name="Node")
class Node:
    id: strawberry.ID = strawberry.field(description="Identifier, unique among records of all kinds")


@strawberry.type(description="An amount of money", name="Money")
class Money:
    amount: BigInt = strawberry.field(description="The amount, in minor units like cents")
    currency: str = strawberry.field(description="The currency (ISO 4217), like USD")


@strawberry.type(description="What the reader may do with a record", name="ViewerCan")
class ViewerCan:
    update: bool = strawberry.field(description="Whether they may update it, as far as it is now")
    delete: bool = strawberry.field(description="Whether they may delete it")


VIEWER_CAN = "viewerCan"
"""The field of every entity that the API may update or delete."""


def enums_of(names: Mapping[str, EntityNames], sources: Callable[[str], Source]) -> dict[tuple[str, str], Any]:
    """An enum for each column with choices, by entity and column."""
    found = {}
    for item in names.values():
        for column in item.entity.columns.values():
            if column.choices:
                name = f"{item.entity.name}{pascal(column.name)}"
                values = {choice.upper(): choice for choice in column.choices}
                description = column.description or label(column.name)
                found[item.entity.name, column.name] = enumeration(
                    name, values, description, sources(item.entity.plugin)
                )
    return found


class Outputs:
    """The Strawberry classes of all entities, their edges and connections."""

    def __init__(
        self,
        names: Mapping[str, EntityNames],
        sources: Callable[[str], Source],
        enums: Mapping[tuple[str, str], Any],
        filters: Filters,
        values: Values,
    ) -> None:
        self.names = names
        self.sources = sources
        self.enums = enums
        self.filters = filters
        self.values = values
        self.rows = {name: bare(name, Node) for name in names}
        self.edges = {name: bare(f"{name}Edge") for name in names}
        self.connections = {name: bare(f"{name}Connection") for name in names}
        for item in names.values():
            self._declare(item)

    def _declare(self, names: EntityNames) -> None:
        entity = names.entity
        source = self.sources(entity.plugin)
        row = self.rows[entity.name]
        fields = [self._field(names, key) for key in names.fields]
        if {"update", "delete"} & set(entity.options.api):
            fields.append(Field(VIEWER_CAN, ViewerCan, "What you may do with it"))
        output(row, fields, entity.description, source)
        edge_fields = [
            Field("cursor", str, "The record's place in the order, to be handed in as after or before"),
            Field("node", row, "The record"),
        ]
        edge = self.edges[entity.name]
        output(edge, edge_fields, f"A record of {entity.name} and its place in a connection", source)
        connection = self.connections[entity.name]
        declare_connection(connection, edge, row, f"A page of {entity.name} records", source)

    def _field(self, names: EntityNames, key: str) -> Field:
        entity = names.entity
        item = names.fields[key]
        if item.group == "column":
            column = entity.columns[item.name]
            type_: Any = self.enums.get((entity.name, item.name), PYTHON[column.kind])
            return Field(key, optional(type_) if column.nullable else type_, column.description)
        if item.group == "money":
            if item.name in entity.money:
                return Field(key, optional(Money), entity.money[item.name].description)
            return self._computed(entity, key, item.name, Money)
        if item.group == "to_one":
            relation = entity.to_one[item.name]
            return Field(key, optional(self.rows[relation.target]), relation.description)
        if item.group == "generic":
            return Field(key, optional(Node), entity.generic[item.name].description)
        if item.group == "expression":
            return self._computed(entity, key, item.name, PYTHON[entity.expressions[item.name].kind])
        if item.group == "batch":
            return self._batch(entity, key, item.name)
        if item.group == "timeline":
            return timeline_field(key, entity, self.rows, self.filters, self.sources)
        many = entity.to_many[item.name]
        other = self.names[many.target].entity
        source = self.sources(other.plugin) if other.plugin != entity.plugin else None
        if many.single:
            return Field(key, optional(self.rows[many.target]), many.description, source=source)
        return Field(
            key,
            self.connections[many.target],
            many.description,
            self.filters.arguments(many.target),
            source=source,
        )

    def _computed(self, entity: EntityType, key: str, name: str, type_: Any) -> Field:
        expression = entity.expressions[name]
        return Field(
            key,
            optional(type_),
            expression.description or label(name),
            deprecated=expression.deprecated,
            source=self.sources(expression.plugin),
        )

    def _batch(self, entity: EntityType, key: str, name: str) -> Field:
        declared = entity.batches[name]
        shape = self.values.batch(entity, declared)
        return Field(
            key,
            optional(shape.annotation),
            declared.description or label(name),
            self.values.arguments(entity, declared),
            deprecated=declared.deprecated,
            source=self.sources(declared.plugin),
        )
