"""Which events a subscriber wants."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from ..access import Principal
from ..contracts import LogEvent, Owned, Subscriber


def wanted(owned: Owned[Any], event: LogEvent) -> bool:
    """Whether a subscriber asked for this event. What its own plugin caused is left out unless asked for."""
    subscriber: Subscriber = owned.value
    if not subscriber.own_changes and event.actor == str(Principal("plugin", owned.plugin)):
        return False
    return any(fnmatchcase(event.type, pattern) for pattern in subscriber.events)
