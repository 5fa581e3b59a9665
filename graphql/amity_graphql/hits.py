"""What is selected of a search, turned into the core's query tree."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, cast

from amity import tree
from amity.entity import Catalog, EntityType
from amity.query.search import searchable

from .selection import Details, Selections

CONNECTION = "SearchConnection"
EDGE = "SearchEdge"
TYPES = ("SearchType", EDGE, CONNECTION)


@dataclass(frozen=True)
class Searched:
    """A page of what a text finds, as the root field asked for it."""

    text: str
    types: tuple[str, ...] | None
    first: int
    after: str | None


def found(catalog: Catalog, names: Container[str]) -> list[EntityType]:
    """What a search can find of what the schema knows."""
    return [entity for entity in searchable(catalog) if entity.name in names]


def root_of(selections: Selections, details: Details, asked: Searched) -> tree.Search:
    """The search that a field asks for, with what is selected of it."""
    api = selections.api
    connection, edge = api.types[CONNECTION], api.types[EDGE]
    entities = found(api.catalog, api.names)

    def node(key: str, nodes: Details) -> tree.HitNode:
        return tree.HitNode(key, {entity.name: selections.row(entity, nodes) for entity in entities})

    def edges(nodes: Details) -> Iterator[tree.HitPart | tree.HitNode | tree.Constant]:
        for key, inner in selections.collected(edge, nodes):
            match inner[0].node.name.value:
                case "__typename":
                    yield tree.Constant(key, EDGE)
                case "node":
                    yield node(key, inner)
                case name:
                    yield tree.HitPart(key, cast(Any, name), camel=True)

    parts: list[Any] = []
    for key, nodes in selections.collected(connection, details):
        match nodes[0].node.name.value:
            case "__typename":
                parts.append(tree.Constant(key, CONNECTION))
            case "nodes":
                parts.append(node(key, nodes))
            case "edges":
                parts.append(tree.HitEdges(key, tuple(edges(nodes))))
            case "pageInfo":
                parts.append(tree.PageInfo(key, selections.names(api.types["PageInfo"], nodes)))
            case "totalCount":
                parts.append(tree.TotalCount(key))
    chosen = asked.types if asked.types is not None else tuple(entity.name for entity in entities)
    return tree.Search(asked.text, chosen, tuple(parts), asked.types is not None, asked.first, asked.after)


__all__ = ["CONNECTION", "EDGE", "TYPES", "Searched", "found", "root_of"]
