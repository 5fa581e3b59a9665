"""What a visitor may read: the messages of the visitor's own thread, and nothing else.

A thread is all that was said with one address over one connection: what the visitor writes is one conversation,
and agents may have begun others with the same visitor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from amity import Find, Interaction, Outbound, Session
from amity.entity import encode_id
from amity.tree import Connection as Rows
from amity.tree import Direction, Nodes, OrderKey, Page, PageInfo

PAGE = 30
"""Messages of one page of history."""
MOST = 500
"""Messages that one look for new ones takes at most, the newest first."""
_VISIBLE = ("sent", "delivered", "read")
_FIELDS = (
    "id",
    "direction",
    "body",
    "occurred_at",
    "delivery",
    "message_id",
    "user.name",
    "conversation.address",
)


@dataclass(frozen=True)
class Shown:
    """A message as the widget gets it, and what only the server knows of it: its thread, its message id."""

    id: str
    key: str
    message_id: str | None
    value: Mapping[str, Any]


async def newest(
    session: Session, connection: UUID, key: str, *, names: bool, before: str | None = None
) -> tuple[list[Shown], str | None]:
    """A page of a thread, oldest first, and the cursor of what came before it, if anything did.

    Raises :class:`~amity.QueryError` for a cursor that is not from here.
    """
    query = _thread(session, connection, [key]).where({"or": [*_said()]})
    page = Page(
        (
            Nodes("nodes", query.selection()),
            PageInfo("info", (("more", "hasNextPage"), ("end", "endCursor"))),
        ),
        query.condition,
        (OrderKey("occurred_at", Direction.DESC),),
        first=PAGE,
        after=before,
    )
    answer = (await session.read({"page": Rows("Interaction", page)})).parsed()["page"]
    shown = [_shown(row, names) for row in reversed(answer["nodes"])]
    return shown, answer["info"]["end"] if answer["info"]["more"] else None


async def changed(
    session: Session,
    connection: UUID,
    keys: Sequence[str],
    since: datetime,
    *,
    names: bool,
    announced: Iterable[UUID] = (),
) -> list[Shown]:
    """What threads show since a time, oldest first; by one statement.

    ``announced`` are messages that the channel was handed to send, and that are not marked as sent yet.
    """
    query = _thread(session, connection, keys).where(
        {
            "or": [
                {"and": [{"updated_at": {"gte": since}}, {"or": [*_said()]}]},
                {"direction": {"eq": "outbound"}, "id": {"in": list(announced)}, "delivery": {"eq": "sending"}},
            ]
        }
    )
    rows = await query.order_by("-occurred_at").first(MOST).all()
    return [_shown(row, names) for row in reversed(rows)]


async def one(session: Session, connection: UUID, key: str, id: UUID, *, names: bool) -> Shown | None:
    """A message of a thread."""
    row = await _thread(session, connection, [key]).where({"id": {"eq": id}}).one()
    return None if row is None else _shown(row, names)


async def message_ids(session: Session, connection: UUID, key: str, ids: Sequence[str]) -> dict[str, str]:
    """Of these interactions, those that were sent to this thread: id → message id."""
    query = _thread(session, connection, [key]).where({"direction": {"eq": "outbound"}, "id": {"in": list(ids)}})
    rows = await query.all()
    return {row["id"]: row["message_id"] for row in rows if row["message_id"] is not None}


def handed_over(message: Outbound) -> Shown:
    """A message as the channel was given it, for where the database can't be asked what it looks like."""
    id = encode_id(Interaction.options.prefix, message.id)
    value = {"id": id, "text": message.body or "", "at": datetime.now(UTC).isoformat()}
    return Shown(id, message.address, message.message_id, value)


def by_key(messages: Sequence[Shown]) -> dict[str, list[Shown]]:
    """Messages of several threads, apart."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for message in messages:
        found[message.key].append(message)
    return found


def _thread(session: Session, connection: UUID, keys: Sequence[str]) -> Find:
    return (
        session.find(Interaction)
        .select(*_FIELDS)
        .where({"conversation": {"connection_id": {"eq": connection}, "address": {"in": list(keys)}}})
    )


def _said() -> Sequence[Mapping[str, Any]]:
    """What the visitor wrote, and what has left for the visitor; no notes of ours."""
    return (
        {"direction": {"eq": "inbound"}, "automatic": {"eq": False}},
        {"direction": {"eq": "outbound"}, "delivery": {"in": list(_VISIBLE)}},
    )


def _shown(row: Mapping[str, Any], names: bool) -> Shown:
    value: dict[str, Any] = {"id": row["id"], "text": row["body"] or "", "at": row["occurred_at"]}
    message_id = row["message_id"]
    if row["direction"].lower() == "inbound":
        value["mine"] = True
        if message_id is not None:
            value["client"] = message_id.rpartition("/")[2]
    else:
        if names and row["user"] is not None:
            value["name"] = row["user"]["name"]
        if row["delivery"] is not None and row["delivery"].lower() == "read":
            value["read"] = True
    return Shown(row["id"], row["conversation"]["address"], message_id, value)
