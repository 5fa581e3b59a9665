"""Keeping what was used last, within a number of entries and of characters."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")
MAX_TEXT = 50_000
"""Characters of a document that is kept; one longer was hardly written to be sent again."""


class Bounded(Generic[V]):
    """Values by a text, the least recently used of which give way.

    ``most`` is the number of entries, ``characters`` how long the texts that they were made from may be together.
    """

    def __init__(self, most: int, characters: int) -> None:
        self.most = most
        self.most_characters = characters
        self.characters = 0
        self._kept: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> V | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: str, value: V, length: int) -> None:
        """Keeps a value that was made from a text of this length, unless that is too long."""
        if length > MAX_TEXT:
            return
        self.characters += length - self._kept.pop(key, (None, 0))[1]
        self._kept[key] = (value, length)
        while self._kept and (len(self._kept) > self.most or self.characters > self.most_characters):
            _, (_, gone) = self._kept.popitem(last=False)
            self.characters -= gone
