"""Connections (Relay): pages of records, with where each lies."""

from __future__ import annotations

from typing import Any

import strawberry

from .declare import Field, listed, output
from .provenance import Source
from .scalars import BigInt


@strawberry.type(description="Where a page of a connection lies (Relay)", name="PageInfo")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more records follow")
    has_previous_page: bool = strawberry.field(description="Whether there are records before")
    start_cursor: str | None = strawberry.field(description="Cursor of the first record of the page")
    end_cursor: str | None = strawberry.field(description="Cursor of the last record of the page")


def declare_connection(
    connection: type, edge: type, node: Any, description: str, source: Source, having: str = " with their cursors"
) -> None:
    """Gives a bare type the fields of a connection. ``having`` says what edges have beside the records."""
    fields = [
        Field("edges", listed(edge), f"The records of this page{having}"),
        Field("nodes", listed(node), "The records of this page"),
        Field("pageInfo", PageInfo, "Where this page lies"),
        Field("totalCount", BigInt, "How many records there are on all pages together"),
    ]
    output(connection, fields, description, source)
