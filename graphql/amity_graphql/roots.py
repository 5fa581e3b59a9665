"""Root fields: what ``Query`` and ``Mutation`` have, each with the function that answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import strawberry

from amity.entity import Catalog, EntityType, decode_id
from amity.given import late

from .arguments import Arguments
from .declare import Argument, Field, listed, optional
from .executor import Grouped, Rows
from .filters import Filters
from .names import EntityNames
from .outputs import Node, Outputs
from .parts import Info

Resolve = Callable[..., Any]


@dataclass(frozen=True)
class RootField:
    """A root field, whose it is, and its resolver: called with graphql-core's own coerced arguments."""

    plugin: str
    field: Field
    resolve: Resolve
    plannable: bool = False
    """Whether the resolver does nothing but name rows, by its arguments: its result can be kept as a plan."""


def reads(
    catalog: Catalog, names: Mapping[str, EntityNames], outputs: Outputs, filters: Filters, arguments: Arguments
) -> Iterator[RootField]:
    """``node``, ``nodes``, and for each entity one of it and a connection."""
    yield _node()
    yield _nodes(arguments)
    for item in names.values():
        yield _one(catalog, item, outputs)
        yield _page(item, outputs, filters, arguments)


def _node() -> RootField:
    id = Argument("id", strawberry.ID, "Identifier of a record of any kind")
    field = Field("node", optional(Node), "The record with this id; null where there is none", [id])
    return RootField("graphql", field, lambda _source, _info, id: id, plannable=True)


def _nodes(arguments: Arguments) -> RootField:
    ids = Argument("ids", list[strawberry.ID], "Identifiers of records of any kind")
    description = "The records with these ids, in their order; null where there is none"
    field = Field("nodes", listed(optional(Node)), description, [ids])
    return RootField("graphql", field, lambda _source, _info, ids: arguments.limited("ids", ids))


def _one(catalog: Catalog, names: EntityNames, outputs: Outputs) -> RootField:
    entity = names.entity
    id = Argument("id", strawberry.ID, f"Identifier, {entity.prefix}_…")
    description = f"The {entity.name} with this id; null where there is none"
    field = Field(names.singular, optional(outputs.rows[entity.name]), description, [id])

    def resolve(_source: Any, _info: Info, id: str) -> Any:
        return late(id, lambda text: decode_id(entity.prefix, text, catalog.prefixes))

    return RootField(entity.plugin, field, resolve, plannable=True)


def _page(names: EntityNames, outputs: Outputs, filters: Filters, arguments: Arguments) -> RootField:
    entity: EntityType = names.entity
    description = f"{entity.name} records, page by page"
    given = filters.arguments(entity.name)
    field = Field(names.plural, outputs.connections[entity.name], description, given)

    def resolve(_source: Any, _info: Info, **given: Any) -> Rows:
        return Rows(entity, arguments.slice(entity, given))

    return RootField(entity.plugin, field, resolve, plannable=True)


def aggregate(entity: EntityType) -> Resolve:
    """Answers the root field with figures of an entity."""
    return lambda _source, _info, **given: Grouped(entity, given)
