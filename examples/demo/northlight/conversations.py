"""What belongs together of what was said, and who takes care of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from amity import Conversation

from .people import USERS
from .world import World

FRESH = timedelta(days=12)
"""For so long, something that was asked may still wait for an answer."""


async def make_conversations(world: World, rows: Sequence[dict[str, Any]]) -> None:
    """Makes the conversations that interactions, in their order, belong to."""
    said: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if "conversation_id" in row:
            said[row["conversation_id"]].append(row)
    teams = {world.users[place]: world.teams[team] for place, (_, team) in enumerate(USERS)}
    conversations = [_conversation(world, id, messages, teams) for id, messages in said.items()]
    await world.create(Conversation, "Conversations", conversations, read_only=True)


def _conversation(
    world: World, id: UUID, messages: Sequence[dict[str, Any]], teams: dict[UUID, UUID]
) -> dict[str, Any]:
    chance = world.chance
    first, last = messages[0], messages[-1]
    theirs = last["direction"] == "inbound"
    status, unread = "closed", 0
    if world.now - last["occurred_at"] < FRESH:
        if theirs and chance.random() < 0.85:
            status = "open"
            if chance.random() < 0.6:
                unread = len(list(takewhile(lambda row: row["direction"] == "inbound", reversed(messages))))
        elif not theirs and chance.random() < 0.5:
            status = "pending"
    taken = status != "open" or chance.random() < 0.6
    return {
        "id": id,
        "customer_id": first["customer_id"],
        "channel": first["channel"],
        "subject": first["subject"],
        "address": first["address"],
        "status": status,
        "unread": unread,
        "assignee_id": last["user_id"] if taken else None,
        "team_id": teams[last["user_id"]],
        "started_at": first["occurred_at"],
        "last_at": last["occurred_at"],
    }
