"""The plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field

from amity import (
    Action,
    Channel,
    Connection,
    ContactPoint,
    Context,
    Conversation,
    Crm,
    Customer,
    Deal,
    FieldDeclaration,
    IdOf,
    Interaction,
    Need,
    NeedPermission,
    Permission,
    Plugin,
    RoleGrant,
    RolePermission,
    User,
    UserError,
    __version__,
    batch,
)
from amity.entity import split_id

from .channel import WebChatChannel
from .hub import Hub
from .identity import CHANNEL

ANSWER = Permission("webchat.answer", "Show visitors of web chats that somebody is there, and typing")


class WebChatSettings(BaseModel):
    """``[webchat]``: limits, for each process of the server."""

    max_length: int = Field(default=4_000, ge=1, le=10_000)
    """Characters of a visitor's message."""
    messages_per_minute: int = Field(default=20, ge=1)
    """Messages of one visitor, in the long run."""
    burst: int = Field(default=10, ge=1)
    """Messages of one visitor at once."""
    connection_messages_per_minute: int = Field(default=600, ge=1)
    """Messages of all visitors of one connection."""
    max_sockets: int = Field(default=2_000, ge=1)
    """Open sockets of one connection."""
    max_sockets_per_visitor: int = Field(default=10, ge=1)
    """Open sockets of one visitor: tabs."""
    heartbeat: float = Field(default=25.0, ge=1)
    """Seconds of silence after which a widget asks whether the server is there."""
    poll: float = Field(default=1.0, ge=0.05)
    """Seconds after which messages of other processes are looked for."""


class WebChatTypingInput(BaseModel):
    """Where somebody is typing an answer."""

    model_config = ConfigDict(extra="forbid")

    conversation_id: Annotated[UUID, IdOf(Conversation)] = Field(description="The conversation, of a web chat")


class WebChatPresenceInput(BaseModel):
    """Whether somebody is there to answer; it holds for 90 seconds, so it is said again and again."""

    model_config = ConfigDict(extra="forbid")

    connection_id: Annotated[UUID, IdOf(Connection)] = Field(description="The connection, a web chat")
    online: bool = Field(default=True, description="Whether the one who says so is there")


class WebChatState(BaseModel):
    """What is known of the moment."""

    online: bool = Field(
        description="Whether the visitor has the chat open; for presence, whether an agent is there"
    )
    typing: bool = Field(description="Whether the visitor is typing")


@dataclass(frozen=True)
class Visitor:
    """What the other side of a web chat is doing at the moment."""

    online: bool
    typing: bool


class WebChat(Plugin[WebChatSettings]):
    """Chats on web sites: a widget by one script tag, answers over a socket."""

    name = "webchat"
    version = __version__
    core = ">=0.1,<1"

    def __init__(self, settings: WebChatSettings | None = None) -> None:
        super().__init__(settings)
        self._channel = WebChatChannel()
        self._hubs: WeakKeyDictionary[Crm, Hub] = WeakKeyDictionary()

    def channels(self) -> Sequence[Channel[Any]]:
        return [self._channel]

    def permissions(self) -> Sequence[Permission]:
        return [ANSWER]

    def grants(self) -> Sequence[RoleGrant | RolePermission]:
        return [RolePermission("agent", ANSWER.name)]

    def needs(self) -> Sequence[Need | NeedPermission]:
        """To find out who visitors are, and to give what they said to the customers that they turn out to be."""
        return [
            Need(Customer, {"read", "update", "delete"}),
            Need(ContactPoint, {"read", "create", "update"}),
            Need(Connection, {"read"}),
            Need(Conversation, {"read", "update"}),
            Need(Interaction, {"read", "update"}),
            Need(Deal, {"read"}),
            Need(User, {"read"}, fields={"name"}),
        ]

    def actions(self) -> Sequence[Action[Any]]:
        return [
            Action(
                "webchat_typing",
                WebChatTypingInput,
                run=self._typing,
                permission=ANSWER.name,
                output=WebChatState,
                description="Shows the visitor of a web chat that somebody is typing; nothing is stored",
                transactional=False,
            ),
            Action(
                "webchat_presence",
                WebChatPresenceInput,
                run=self._presence,
                permission=ANSWER.name,
                output=WebChatState,
                description="Tells visitors of a web chat whether somebody is online; nothing is stored",
                transactional=False,
            ),
        ]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            batch(
                Conversation,
                "visitor",
                Visitor,
                needs=["channel", "connection.id", "address"],
                resolve=self._visitors,
                description="What the visitor of a web chat is doing at the moment; null for other channels",
            )
        ]

    def routes(self, crm: Crm) -> Sequence[Any]:
        from .routes import routes  # Starlette is needed by servers only

        return routes(self._hub(crm))

    def lifespan(self, crm: Crm) -> AbstractAsyncContextManager[None]:
        return self._opened(crm)

    @asynccontextmanager
    async def _opened(self, crm: Crm) -> AsyncIterator[None]:
        hub = self._hub(crm)
        async with hub.open():
            self._channel.serve(hub)
            try:
                yield
            finally:
                self._channel.leave(hub)

    def _hub(self, crm: Crm) -> Hub:
        if crm not in self._hubs:
            self._hubs[crm] = Hub(crm, self.settings)
        return self._hubs[crm]

    async def _typing(
        self, context: Context, inputs: Sequence[WebChatTypingInput]
    ) -> Sequence[WebChatState | UserError]:
        hub = self._hub(context.crm)
        # only who may read a conversation may be seen in it
        ids = [item.conversation_id for item in inputs]
        query = context.session.find(Conversation).select("id", "channel", "connection.id", "address")
        rows = {split_id(row["id"])[1]: row for row in await query.where({"id": {"in": ids}}).all()}
        results: list[WebChatState | UserError] = []
        for index, id in enumerate(ids):
            row = rows.get(id)
            if row is None or _place(row) is None:
                message = "there is no such conversation of a web chat"
                results.append(UserError(index, ("conversation_id",), "not_found", message))
                continue
            connection, key = _place(row) or (id, "")
            hub.agent(connection, str(context.principal), True)
            hub.agent_typing(connection, key)
            online, typing = hub.visitor(connection, key)
            results.append(WebChatState(online=online, typing=typing))
        return results

    async def _presence(
        self, context: Context, inputs: Sequence[WebChatPresenceInput]
    ) -> Sequence[WebChatState | UserError]:
        hub = self._hub(context.crm)
        ids = [item.connection_id for item in inputs]
        query = context.session.find(Connection).where({"id": {"in": ids}, "channel": {"eq": CHANNEL}})
        there = {split_id(row["id"])[1] for row in await query.all()}
        results: list[WebChatState | UserError] = []
        for index, item in enumerate(inputs):
            opened = await hub.account(item.connection_id) if item.connection_id in there else None
            if opened is None:
                message = "there is no such web chat, or it is switched off"
                results.append(UserError(index, ("connection_id",), "not_found", message))
                continue
            hub.agent(item.connection_id, str(context.principal), item.online)
            results.append(WebChatState(online=hub.online(opened), typing=False))
        return results

    async def _visitors(
        self, context: Context, parents: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
    ) -> Sequence[Visitor | None]:
        hub = self._hub(context.crm)
        places = [_place(parent) for parent in parents]
        return [None if place is None else Visitor(*hub.visitor(*place)) for place in places]


def _place(row: Mapping[str, Any]) -> tuple[UUID, str] | None:
    """The connection and the visitor of a web chat's conversation."""
    if row["channel"] != CHANNEL or row["connection"] is None or row["address"] is None:
        return None
    return split_id(row["connection"]["id"])[1], row["address"]
