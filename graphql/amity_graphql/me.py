"""``me``: who sends the operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import strawberry

from amity.entity import Catalog
from amity.model import Team
from amity.principals.who import Who, who

from .declare import Field, bare, listed, optional, output
from .parts import Info
from .provenance import Source
from .roots import RootField


def me(catalog: Catalog, rows: Mapping[str, type], source: Source) -> RootField:
    """The root field ``me``, null for whoever has not signed in."""
    made = bare("Me")
    fields = [
        Field("kind", str, "What they are: user, customer, key, plugin or system"),
        Field("id", optional(strawberry.ID), "Identifier of the user, customer or key"),
        Field("name", optional(str), "Their name"),
        Field("email", optional(str), "E-mail address of the user"),
        Field("roles", listed(str), "The roles by which they act"),
    ]
    team = catalog.of(Team).name
    if team in rows:
        fields.append(Field("team", optional(rows[team]), "The team of the user"))
    output(made, fields, "Who sends the operation", source)

    async def resolve(_source: Any, info: Info) -> Who | None:
        principal = info.context.session.principal
        return None if principal.kind == "anonymous" else await who(info.context.crm, principal)

    field = Field("me", optional(made), "Who sends this operation; null where nobody has signed in")
    return RootField("graphql", field, resolve)
