"""``Customer.timeline``: what happened to a customer, of several types in one connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Union

import strawberry

from amity import tree
from amity.entity import EntityType, Kind, snake
from amity.given import known, late
from amity.query import parse_where
from amity.query.timeline import ENTRY

from .connection import declare_connection
from .declare import Argument, Field, bare, enumeration, input_type, listed, optional, output
from .errors import told
from .filters import PYTHON, Filters
from .provenance import Source

if TYPE_CHECKING:
    from .selection import Details, Selections

TYPES = ("TimelineConnection", "TimelineEdge", "TimelineNode", "TimelineOrder", "TimelineType", "TimelineWhere")
"""Names of types that are made here."""
_NEWEST, _OLDEST = "NEWEST_FIRST", "OLDEST_FIRST"


def timeline_field(
    key: str,
    entity: EntityType,
    rows: Mapping[str, type],
    filters: Filters,
    source: Callable[[str], Source],
) -> Field:
    """The field of what has a timeline, with the types that it needs; ``rows`` are those of entities."""
    own = source("graphql")
    entries = [item for item in entity.timeline if item.entity in rows]
    values = {snake(item.entity).upper(): item.entity for item in entries}
    kinds = enumeration("TimelineType", values, "What stands on a timeline", own)
    orders = {_NEWEST: _NEWEST, _OLDEST: _OLDEST}
    order = enumeration("TimelineOrder", orders, "Which end of a timeline comes first", own)
    where = bare("TimelineWhere")
    at = Field("at", optional(filters.kinds[Kind.DATETIME]), "When it happened")
    input_type(where, [at], "Conditions on what stands on a timeline; all of them must be met", own)
    node = strawberry.union("TimelineNode", description="What stands on a timeline")
    union: Any = Annotated[Union[tuple(rows[item.entity] for item in entries)], node]  # noqa: UP007
    return Field(
        key,
        _connection(union, own),
        "What happened to the customer, by time: of every type that you may read, unless types are named",
        [
            Argument("types", optional(listed(kinds)), "Only these types"),
            Argument("where", optional(where), "Only what meets these conditions"),
            Argument("order", order, "Which end comes first", order[_NEWEST]),
            Argument("first", optional(int), "At most so many, from the start"),
            Argument("after", optional(str), "Only what follows this cursor"),
            Argument("last", optional(int), "At most so many, from the end"),
            Argument("before", optional(str), "Only what precedes this cursor"),
        ],
    )


def _connection(union: Any, source: Source) -> type:
    edge = bare("TimelineEdge")
    fields = [
        Field("cursor", str, "The place in the timeline, to be handed in as after or before"),
        Field("at", PYTHON[Kind.DATETIME], "When it happened"),
        Field("node", union, "The record"),
    ]
    output(edge, fields, "A record and its place on a timeline", source)
    connection = bare("TimelineConnection")
    declare_connection(connection, edge, union, "A page of a timeline", source, " with their times and cursors")
    return connection


def timeline(
    selections: Selections, key: str, entity: EntityType, given: Mapping[str, Any], details: Details
) -> tree.Timeline:
    """What is selected of a timeline, with the records that it shows."""
    api = selections.api
    try:
        bounds = api.arguments.bounds(
            known(given.get("first")), given.get("after"), known(given.get("last")), given.get("before")
        )
        types, where = known(late(given.get("types"), _hashable)), given.get("where")
        names = (
            None if types is None else tuple(_value(known(item)) for item in api.arguments.limited("types", types))
        )
        condition = None
        if where is not None:
            condition = parse_where(api.catalog, ENTRY, api.arguments.conditions(where), ("where",))
    except Exception as error:
        found = told(error)
        found.nodes = [item.node for item in details]
        raise found from error
    if names is None:
        # records that the API does not know have no type to be shown as
        names = _all(api.names, entity)
    page = tree.Page(_parts(selections, entity, details), condition, (), *bounds)
    return tree.Timeline(key, page, names, oldest_first=_value(known(given["order"])) == _OLDEST)


def _all(names: Mapping[str, Any], entity: EntityType) -> tuple[str, ...] | None:
    known = tuple(item.entity for item in entity.timeline if item.entity in names)
    return None if len(known) == len(entity.timeline) else known


def _hashable(items: Any) -> Any:
    return tuple(items) if isinstance(items, list) else items


def _value(item: Any) -> str:
    return str(getattr(item, "value", item))


def _parts(selections: Selections, entity: EntityType, details: Details) -> tuple[tree.Part, ...]:
    types = selections.api.types
    parts: list[tree.Part] = []
    for key, nodes in selections.collected(types["TimelineConnection"], details):
        match nodes[0].node.name.value:
            case "__typename":
                parts.append(tree.Constant(key, "TimelineConnection"))
            case "nodes":
                parts.append(tree.Nodes(key, _choices(selections, entity, nodes)))
            case "edges":
                parts.append(tree.Edges(key, tuple(_edge(selections, entity, nodes))))
            case "pageInfo":
                parts.append(tree.PageInfo(key, selections.names(types["PageInfo"], nodes)))
            case "totalCount":
                parts.append(tree.TotalCount(key))
    return tuple(parts)


def _edge(selections: Selections, entity: EntityType, details: Details) -> Sequence[Any]:
    parts: list[Any] = []
    for key, nodes in selections.collected(selections.api.types["TimelineEdge"], details):
        match nodes[0].node.name.value:
            case "__typename":
                parts.append(tree.Constant(key, "TimelineEdge"))
            case "cursor":
                parts.append(tree.Cursor(key))
            case "at":
                parts.append(tree.Scalar(key, "at"))
            case "node":
                parts.append(tree.Node(key, _choices(selections, entity, nodes)))
    return parts


def _choices(selections: Selections, entity: EntityType, details: Details) -> tree.Choices:
    catalog, names = selections.api.catalog, selections.api.names
    known = (item.entity for item in entity.timeline if item.entity in names)
    return {name: selections.row(catalog[name], details) for name in known}
