"""Threading: which conversation each message of a batch belongs to.

Every message id that a message has or names is kept with its conversation. So it does not matter in which
order messages arrive: an answer that comes first keeps the ids that it names, and the message that they belong
to finds them. Where a message shows that two conversations are one, they become one, unless they are with
different customers: an id alone, which anybody can write into a message, does not let one customer's words
into the conversation of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ..change import storage
from ..entity import EntityType, new_id
from . import lookups

NAMED = 50
"""Message ids that one message may name; of more, the nearest and the first ones count."""
WINDOW = timedelta(days=30)
"""How long a channel without threads goes on with the same conversation."""


@dataclass(frozen=True)
class Link:
    """What a message says of its thread."""

    message_id: str
    names: tuple[str, ...]
    """Message ids that it answers, nearest first."""
    key: str | None
    address: str | None
    occurred_at: datetime
    continues: bool
    """Whether it belongs to what was last said with the same address, as its channel has no threads."""


@dataclass
class Thread:
    """A conversation that messages of a batch belong to. ``row`` is None for a new one."""

    id: UUID
    row: Mapping[str, Any] | None
    messages: list[int] = field(default_factory=list)
    absorbed: list[Mapping[str, Any]] = field(default_factory=list)
    """Conversations that turned out to be this one."""


def named(ids: Sequence[str]) -> tuple[str, ...]:
    """At most :data:`NAMED` of the ids that a message names: its nearest ones, and the beginning of the thread."""
    unique = tuple(dict.fromkeys(ids))
    if len(unique) <= NAMED:
        return unique
    return (*unique[: NAMED - 5], *unique[-5:])


async def arrange(
    transaction: Any, conversations: EntityType, connection: UUID, links: Mapping[int, Link]
) -> list[Thread]:
    """The conversations of a batch's messages, those that are there locked. Four statements, whatever its size."""
    ids = [id for link in links.values() for id in (link.message_id, *link.names)]
    known = await lookups.references(transaction, connection, ids)
    keys = await lookups.keyed(transaction, connection, [link.key for link in links.values() if link.key])
    going_on = {link.address: link for link in links.values() if link.continues and link.address}
    latest: Mapping[str, UUID] = {}
    if going_on:
        since = min(link.occurred_at for link in going_on.values()) - WINDOW
        latest = await lookups.recent(transaction, connection, list(going_on), since)
    found = sorted({*known.values(), *keys.values(), *latest.values()})
    rows = await storage.select(transaction, conversations, found, lock="update") if found else {}
    known = {id: conversation for id, conversation in known.items() if conversation in rows}
    return _joined(links, known, keys, latest, rows)


def _joined(
    links: Mapping[int, Link],
    known: Mapping[str, UUID],
    keys: Mapping[str, UUID],
    latest: Mapping[str, UUID],
    rows: Mapping[UUID, Mapping[str, Any]],
) -> list[Thread]:
    sets = _Sets()
    for link in links.values():
        message = ("message", link.message_id)
        sets.find(message)
        if link.key is not None:
            sets.join(message, ("key", link.key))
            if link.key in keys:
                sets.join(message, ("conversation", keys[link.key]))
            continue
        for id in link.names:
            sets.join(message, ("message", id))
        for id in (link.message_id, *link.names):
            if id in known:
                sets.join(message, ("conversation", known[id]))
        if link.continues and link.address and not any(id in known for id in (link.message_id, *link.names)):
            sets.join(message, ("address", link.address))
            if link.address in latest:
                sets.join(message, ("conversation", latest[link.address]))
    members: dict[Any, list[int]] = defaultdict(list)
    for index, link in links.items():
        members[sets.find(("message", link.message_id))].append(index)
    there: dict[Any, list[UUID]] = defaultdict(list)
    for node in list(sets.parents):
        if node[0] == "conversation":
            there[sets.find(node)].append(node[1])
    threads: dict[UUID, Thread] = {}
    for root, indexes in members.items():
        for thread in _of_one(indexes, links, known, [rows[id] for id in there[root]]):
            threads.setdefault(thread.id, Thread(thread.id, thread.row)).messages.extend(thread.messages)
            threads[thread.id].absorbed.extend(thread.absorbed)
    return list(threads.values())


def _of_one(
    indexes: list[int], links: Mapping[int, Link], known: Mapping[str, UUID], rows: list[Mapping[str, Any]]
) -> list[Thread]:
    """The conversation of messages that belong together; several only where customers differ."""
    if not rows:
        return [Thread(new_id(), None, indexes)]
    rows = sorted(rows, key=lambda row: (row["started_at"], row["id"]))
    if len({row["customer_id"] for row in rows} - {None}) <= 1:
        return [Thread(rows[0]["id"], rows[0], indexes, rows[1:])]
    by_id = {row["id"]: Thread(row["id"], row) for row in rows}
    for index in indexes:
        link = links[index]
        nearest = next((known[id] for id in (link.message_id, *link.names) if id in known), rows[0]["id"])
        by_id[nearest].messages.append(index)
    return [thread for thread in by_id.values() if thread.messages]


class _Sets:
    """Things that belong together (union-find)."""

    def __init__(self) -> None:
        self.parents: dict[tuple[str, Any], tuple[str, Any]] = {}

    def find(self, node: tuple[str, Any]) -> tuple[str, Any]:
        self.parents.setdefault(node, node)
        while self.parents[node] != node:
            self.parents[node] = self.parents[self.parents[node]]
            node = self.parents[node]
        return node

    def join(self, one: tuple[str, Any], other: tuple[str, Any]) -> None:
        self.parents[self.find(one)] = self.find(other)


async def remember(transaction: Any, entity: EntityType, connection: UUID, of: Mapping[str, UUID]) -> None:
    """Keeps which conversation message ids belong to; an id that is kept already moves to this one."""
    known = await lookups.references(transaction, connection, list(of))
    moved = [(id, conversation) for id, conversation in of.items() if known.get(id, conversation) != conversation]
    if moved:
        await lookups.move_references(transaction, connection, moved)
    rows = [
        {"id": new_id(), "connection": connection, "message_id": id, "conversation": conversation}
        for id, conversation in sorted(of.items())
        if id not in known
    ]
    if rows:
        await storage.insert(transaction, entity, rows)


__all__ = ["NAMED", "WINDOW", "Link", "Thread", "arrange", "named", "remember"]
