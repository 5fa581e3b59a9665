"""What is known of the moment, and kept nowhere: who is online, who is typing."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from time import monotonic


@dataclass
class Expiring:
    """Keys that are there until their time has come. Times are seconds of the monotonic clock."""

    _until: dict[Hashable, float] = field(default_factory=dict)

    def put(self, key: Hashable, seconds: float) -> bool:
        """Notes a key for so long; whether it was not there before."""
        new = key not in self
        self._until[key] = max(monotonic() + seconds, self._until.get(key, 0.0))
        return new

    def drop(self, key: Hashable) -> bool:
        """Forgets a key; whether it was there."""
        there = key in self
        self._until.pop(key, None)
        return there

    def __contains__(self, key: Hashable) -> bool:
        return self._until.get(key, 0.0) > monotonic()

    def __bool__(self) -> bool:
        return any(key in self for key in self._until)

    def sweep(self) -> list[Hashable]:
        """Forgets what has expired, and returns it."""
        now = monotonic()
        gone = [key for key, until in self._until.items() if until <= now]
        for key in gone:
            del self._until[key]
        return gone
