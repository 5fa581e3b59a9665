"""Where a type or a field comes from."""

from __future__ import annotations

import strawberry
from strawberry.schema_directive import Location


@strawberry.schema_directive(
    locations=[
        Location.OBJECT,
        Location.INTERFACE,
        Location.FIELD_DEFINITION,
        Location.INPUT_OBJECT,
        Location.INPUT_FIELD_DEFINITION,
        Location.ENUM,
        Location.SCALAR,
    ],
    name="source",
    description=(
        "The plugin that brings a type or a field, and its version. A field without it comes from the plugin "
        "of its type."
    ),
)
class Source:
    plugin: str
    version: str
