"""What the database knows already of the messages of a batch: one statement for each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from ..change.storage import Keys, join
from ..database import Dialect, Transaction
from ..database.base import Row
from ..entity import Kind
from ..entity.values import encode


class Reads(Protocol):
    """A transaction, or what reads outside of one."""

    @property
    def dialect(self) -> Dialect: ...

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...


@dataclass(frozen=True)
class Known:
    """A message of a connection that is there."""

    id: UUID
    conversation_id: UUID | None
    customer_id: UUID | None
    delivery: str | None
    live: bool


_TEXT = Kind.TEXT


async def known_messages(reads: Reads, connection: UUID, ids: Sequence[str]) -> dict[str, Known]:
    """Messages by their message id, the core's own or the provider's; deleted ones too."""
    if not ids:
        return {}
    dialect = reads.dialect
    keys = Keys(dialect, (("given", _TEXT),), [(id,) for id in dict.fromkeys(ids)])
    place = _place(dialect, len(keys.parameters) + 1)
    columns = "t.id, t.conversation_id, t.customer_id, t.delivery, t.deleted_at IS NULL"
    rows = await reads.fetch(
        " UNION ALL ".join(
            f"SELECT k.given, {columns} FROM {keys.sql} {join(dialect)} core_interaction t "
            f"ON t.connection_id = {place} AND t.{column} = k.given"
            for column in ("message_id", "remote_id")
        ),
        (*keys.parameters, encode(Kind.ID, connection, dialect)),
    )
    found: dict[str, Known] = {}
    for given, id, conversation, customer, delivery, live in rows:
        known = Known(_id(id), _maybe(conversation), _maybe(customer), delivery, bool(live))
        if given not in found or (known.live and not found[given].live):
            found[given] = known
    return found


async def orphans(reads: Reads, connection: UUID, ids: Sequence[str]) -> dict[str, list[UUID]]:
    """Messages that answer one of these message ids, and do not know yet that it is here."""
    if not ids:
        return {}
    dialect = reads.dialect
    keys = Keys(dialect, (("given", _TEXT),), [(id,) for id in dict.fromkeys(ids)])
    rows = await reads.fetch(
        f"SELECT k.given, t.id FROM {keys.sql} {join(dialect)} core_interaction t "
        f"ON t.connection_id = {_place(dialect, len(keys.parameters) + 1)} AND t.in_reply_to = k.given "
        "AND t.in_reply_to IS NOT NULL AND t.reply_to_id IS NULL AND t.deleted_at IS NULL",
        (*keys.parameters, encode(Kind.ID, connection, dialect)),
    )
    found: dict[str, list[UUID]] = {}
    for given, id in rows:
        found.setdefault(given, []).append(_id(id))
    return found


async def references(reads: Reads, connection: UUID, ids: Sequence[str]) -> dict[str, UUID]:
    """The conversations that message ids belong to."""
    if not ids:
        return {}
    dialect = reads.dialect
    keys = Keys(dialect, (("given", _TEXT),), [(id,) for id in dict.fromkeys(ids)])
    rows = await reads.fetch(
        f"SELECT t.message_id, t.conversation FROM {keys.sql} {join(dialect)} core_message_reference t "
        f"ON t.connection = {_place(dialect, len(keys.parameters) + 1)} AND t.message_id = k.given",
        (*keys.parameters, encode(Kind.ID, connection, dialect)),
    )
    return {message: _id(conversation) for message, conversation in rows}


async def keyed(reads: Reads, connection: UUID, names: Sequence[str]) -> dict[str, UUID]:
    """Conversations by what the channel calls them."""
    if not names:
        return {}
    dialect = reads.dialect
    keys = Keys(dialect, (("given", _TEXT),), [(name,) for name in dict.fromkeys(names)])
    rows = await reads.fetch(
        f'SELECT t."key", t.id FROM {keys.sql} {join(dialect)} core_conversation t '
        f'ON t.connection_id = {_place(dialect, len(keys.parameters) + 1)} AND t."key" = k.given '
        "AND t.deleted_at IS NULL",
        (*keys.parameters, encode(Kind.ID, connection, dialect)),
    )
    return {name: _id(id) for name, id in rows}


async def recent(reads: Reads, connection: UUID, addresses: Sequence[str], since: datetime) -> dict[str, UUID]:
    """The newest conversation with each address, of those in which something was said since then."""
    if not addresses:
        return {}
    dialect = reads.dialect
    keys = Keys(dialect, (("given", _TEXT),), [(address,) for address in dict.fromkeys(addresses)])
    first = len(keys.parameters) + 1
    rows = await reads.fetch(
        f"SELECT t.address, t.id FROM {keys.sql} {join(dialect)} core_conversation t "
        f"ON t.connection_id = {_place(dialect, first)} AND t.address = k.given "
        f"AND t.last_at >= {_place(dialect, first + 1)} AND t.deleted_at IS NULL "
        "ORDER BY t.last_at DESC, t.id DESC",
        (*keys.parameters, encode(Kind.ID, connection, dialect), encode(Kind.DATETIME, since, dialect)),
    )
    found: dict[str, UUID] = {}
    for address, id in rows:
        found.setdefault(address, _id(id))
    return found


async def conversations_of(reads: Reads, conversations: Sequence[UUID]) -> dict[UUID, UUID]:
    """All interactions of conversations, each with its conversation."""
    dialect = reads.dialect
    keys = Keys(dialect, (("given", Kind.ID),), [(id,) for id in conversations])
    rows = await reads.fetch(
        f"SELECT t.id, t.conversation_id FROM {keys.sql} {join(dialect)} core_interaction t "
        "ON t.conversation_id = k.given AND t.deleted_at IS NULL",
        keys.parameters,
    )
    return {_id(id): _id(conversation) for id, conversation in rows}


async def move_references(transaction: Transaction, connection: UUID, moved: Sequence[tuple[str, UUID]]) -> None:
    """Says which conversations message ids belong to from now on."""
    dialect = transaction.dialect
    keys = Keys(dialect, (("given", _TEXT), ("target", Kind.ID)), moved)
    place = _place(dialect, len(keys.parameters) + 1)
    await transaction.execute(
        f"UPDATE core_message_reference SET conversation = k.target FROM {keys.sql} "
        f"WHERE connection = {place} AND message_id = k.given",
        (*keys.parameters, encode(Kind.ID, connection, dialect)),
    )


async def absorb_references(transaction: Transaction, absorbed: Mapping[UUID, UUID]) -> None:
    """Moves all message ids of conversations to those that they became part of."""
    dialect = transaction.dialect
    keys = Keys(dialect, (("given", Kind.ID), ("target", Kind.ID)), list(absorbed.items()))
    await transaction.execute(
        f"UPDATE core_message_reference SET conversation = k.target FROM {keys.sql} WHERE conversation = k.given",
        keys.parameters,
    )


def _place(dialect: Dialect, number: int) -> str:
    return f"?{number}" if dialect == "sqlite" else f"${number}"


def _id(value: Any) -> UUID:
    return UUID(str(value))


def _maybe(value: Any) -> UUID | None:
    return None if value is None else _id(value)


__all__ = [
    "Known",
    "Reads",
    "absorb_references",
    "conversations_of",
    "keyed",
    "known_messages",
    "move_references",
    "orphans",
    "recent",
    "references",
]
