"""What people do with conversations, besides answering: reading them, and saying who it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ..change import Update, storage
from ..contracts import Action, Context, IdOf, Permission, UserError
from ..model import ContactPoint, Conversation, Customer, Interaction
from . import lookups
from .acting import core_of, visible

if TYPE_CHECKING:
    from ..crm import Session

READ_CONVERSATION = Permission("core.read_conversation", "Mark conversations as read")
IDENTIFY_CONVERSATION = Permission("core.identify_conversation", "Say which customer a conversation is with")


class ReadConversationInput(BaseModel):
    """Which conversation was read."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(Conversation)] = Field(description="The conversation")


class IdentifyConversationInput(BaseModel):
    """Who the other side of a conversation is."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(Conversation)] = Field(description="The conversation")
    customer_id: Annotated[UUID, IdOf(Customer)] = Field(description="The customer")
    keep_address: bool = Field(
        default=True,
        description="Whether the address becomes one of the customer's, unless somebody has it already",
    )


async def read_conversation(
    context: Context, inputs: Sequence[ReadConversationInput]
) -> Sequence[UUID | UserError]:
    """Says of conversations that everything in them was read."""
    ids = [item.id for item in inputs]
    seen = await visible(context.session, Conversation, ids)
    updates = [Update(id, {"unread": 0}) for id in dict.fromkeys(ids) if id in seen]
    await core_of(context.session).update(Conversation, updates, read_only=True)
    return [id if id in seen else _absent(index) for index, id in enumerate(ids)]


async def identify_conversation(
    context: Context, inputs: Sequence[IdentifyConversationInput]
) -> Sequence[UUID | UserError]:
    """Gives conversations, and all that was said in them by nobody known, to customers."""
    session = context.session
    assert session.unit is not None
    seen = await visible(session, Conversation, [item.id for item in inputs])
    customers = await visible(session, Customer, [item.customer_id for item in inputs])
    results: list[UUID | UserError] = []
    whose: dict[UUID, IdentifyConversationInput] = {}
    for index, item in enumerate(inputs):
        if item.id not in seen:
            results.append(_absent(index))
        elif item.customer_id not in customers:
            results.append(UserError(index, ("customer_id",), "not_found", "there is no such customer"))
        else:
            whose[item.id] = item
            results.append(item.id)
    if whose:
        core = core_of(session)
        entity = session.crm.catalog.of(Conversation)
        rows = await storage.select(session.unit.transaction, entity, sorted(whose), lock="update")
        updates = [Update(id, {"customer_id": whose[id].customer_id}) for id in rows]
        await core.update(Conversation, updates, read_only=True)
        await _give_messages(core, whose)
        await _keep_addresses(
            core, [(rows[id], item.customer_id) for id, item in whose.items() if item.keep_address]
        )
    return results


def _absent(index: int) -> UserError:
    return UserError(index, ("id",), "not_found", "there is no such conversation")


async def _give_messages(session: Session, whose: Mapping[UUID, IdentifyConversationInput]) -> None:
    assert session.unit is not None
    transaction = session.unit.transaction
    of = await lookups.conversations_of(transaction, sorted(whose))
    columns = ("id", "customer_id")
    rows = await storage.select(transaction, session.crm.catalog.of(Interaction), sorted(of), columns=columns)
    updates = [
        Update(id, {"customer_id": whose[of[id]].customer_id, "identity": "matched"})
        for id, row in rows.items()
        if row["customer_id"] is None
    ]
    await session.update(Interaction, updates, read_only=True)


async def _keep_addresses(session: Session, pairs: Sequence[tuple[Mapping[str, Any], UUID]]) -> None:
    asked = [(row["channel"], row["address"]) for row, _ in pairs if row["address"] is not None]
    found = dict(zip(asked, await session.resolve(asked), strict=True)) if asked else {}
    points = {
        key: {"customer_id": customer, "channel": key[0], "address": key[1]}
        for row, customer in pairs
        if (key := (row["channel"], row["address"])) in found
        and found[key].status == "unknown"
        and found[key].address is not None
    }
    if points:
        await session.create(ContactPoint, list(points.values()), on_error="skip_invalid")


CONVERSATION_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "read_conversation",
        ReadConversationInput,
        run=read_conversation,
        permission=READ_CONVERSATION.name,
        entity=Conversation,
        description="Says that everything in a conversation was read",
    ),
    Action(
        "identify_conversation",
        IdentifyConversationInput,
        run=identify_conversation,
        permission=IDENTIFY_CONVERSATION.name,
        entity=Conversation,
        description="Says which customer a conversation is with, and keeps the address",
    ),
)
CONVERSATION_PERMISSIONS = (READ_CONVERSATION, IDENTIFY_CONVERSATION)

__all__ = [
    "CONVERSATION_ACTIONS",
    "CONVERSATION_PERMISSIONS",
    "IDENTIFY_CONVERSATION",
    "READ_CONVERSATION",
    "IdentifyConversationInput",
    "ReadConversationInput",
    "identify_conversation",
    "read_conversation",
]
