"""What the log says of one record: which of its fields an event changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..contracts import Context, FieldDeclaration, batch
from ..entity import EntityType, camel
from ..model import Event


async def _changed(context: Context, events: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> list[list[str]]:
    entities = {entity.singular: entity for entity in context.crm.catalog.values()}
    return [changed_fields(entities, event) for event in events]


def changed_fields(entities: Mapping[str, EntityType], event: Mapping[str, Any]) -> list[str]:
    """The fields that differ between ``before`` and ``after``, as the API calls them, by the alphabet.

    Of money it is the field, not its two columns; of a reference the relation.
    """
    before, after = event["before"] or {}, event["after"] or {}
    changed = [name for name in {**before, **after} if name not in before or before[name] != after.get(name)]
    entity = entities.get(event["type"].partition(".")[0])
    fields = entity.field_of if entity is not None else {}
    # payloads are kept without an order of their fields
    return sorted({camel(fields.get(name, name)) for name in changed if name != "deleted_at"})


EVENT_FIELDS: tuple[FieldDeclaration, ...] = (
    batch(
        Event,
        "changed_fields",
        list[str],
        needs=["type", "before", "after"],
        resolve=_changed,
        description="The fields that it changed, as far as you may read them; of a new record, those that it has",
    ),
)

__all__ = ["EVENT_FIELDS", "changed_fields"]
