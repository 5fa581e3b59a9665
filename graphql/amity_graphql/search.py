"""The root field ``search``: records of all searchable entities, by a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amity.entity import Catalog
from amity.given import known

from .arguments import Arguments, plain
from .connection import declare_connection
from .declare import Argument, Field, bare, enumeration, listed, optional, output
from .hits import CONNECTION, EDGE, Searched, found
from .names import EntityNames
from .outputs import Node
from .parts import Info
from .provenance import Source
from .roots import RootField


def search(
    catalog: Catalog, names: Mapping[str, EntityNames], arguments: Arguments, source: Source
) -> Iterator[RootField]:
    """The field, where anything is searchable."""
    findable = {entity.singular.upper(): entity.name for entity in found(catalog, names)}
    if not findable:
        return
    types = enumeration("SearchType", findable, "What a search can find", source)
    given = [
        Argument("text", str, "Words, all of which have to occur, in any order; parts of words, and numbers, too"),
        Argument("types", optional(listed(types)), "What to find; everything that you may read if absent", None),
        Argument("first", optional(int), "How many records from the start", None),
        Argument("after", optional(str), "The cursor after which the page begins", None),
    ]
    description = "Records that a text finds, the best first; typing errors are forgiven where few fit"

    def resolve(
        _source: Any,
        _info: Info,
        text: str,
        types: list[Any] | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> Searched:
        size = arguments.bounds(first, None, None, None)[0]
        chosen = None if types is None else tuple(dict.fromkeys(plain(item) for item in known(types)))
        return Searched(text, chosen, size or 0, after)

    yield RootField("graphql", Field("search", _connection(source), description, given), resolve, plannable=True)


def _connection(source: Source) -> type:
    edge, connection = bare(EDGE), bare(CONNECTION)
    output(
        edge,
        [
            Field("score", float, "How well it fits: 1 is what was asked for, 0.3 has typing errors"),
            Field("field", str, "The field by which it was found; an address's is contactPoint.address"),
            Field("snippet", str, "That field's text, as far as it is around what was found: plain text"),
            Field("cursor", str, "The record's place in the order, to be handed in as after"),
            Field("node", Node, "The record"),
        ],
        "A record that a search found, and why",
        source,
    )
    page = "A page of what a search found"
    declare_connection(connection, edge, Node, page, source, ", each with why it was found")
    return connection
