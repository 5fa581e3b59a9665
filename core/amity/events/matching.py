"""Which events a subscriber wants, and what it is shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ..access import Principal, Rights
from ..contracts import LogEvent, Owned, Subscriber
from ..entity import Catalog


def wanted(owned: Owned[Any], event: LogEvent) -> bool:
    """Whether a subscriber asked for this event. What its own plugin caused is left out unless asked for."""
    subscriber: Subscriber = owned.value
    if not subscriber.own_changes and event.actor == str(Principal("plugin", owned.plugin)):
        return False
    return any(fnmatchcase(event.type, pattern) for pattern in subscriber.events)


def shown(catalog: Catalog, rights: Rights, event: LogEvent) -> LogEvent:
    """The event as a plugin may see it: what was changed, without fields that it may not read of the record.

    Where it may read some records only, or none, it is told that something happened, and not what.
    """
    entity = catalog.by_code(event.entity_type)
    if entity is None or not rights.granted(entity, "read") or rights.rows(entity, "read") is not None:
        return replace(event, before=None, after=None)
    fields = rights.fields(entity, "read")
    if fields is None:
        return event
    closed = entity.right_fields - fields

    def opened(payload: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if payload is None:
            return None
        return {name: value for name, value in payload.items() if entity.field_of.get(name, name) not in closed}

    return replace(event, before=opened(event.before), after=opened(event.after))
