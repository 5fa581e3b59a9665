"""What a channel and the core hand each other, and ``Channel``, the class that a channel is.

A channel knows how its messages travel: by mail servers, by a gateway's HTTP, by a socket. Everything else is
the core's: who it was, which conversation it belongs to, that nothing is stored twice, consent, retries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from .channels import CHANNELS
from .entity import encode_id
from .model import Connection

Role = Literal["from", "to", "cc", "bcc"]


class NoAccount(BaseModel):
    """The account of a channel that needs no settings."""

    model_config = ConfigDict(extra="forbid")


A = TypeVar("A", bound=BaseModel, default=Any)


class Forged(Exception):
    """Raised by ``receive`` when a request is not from who it says: answered with 401, and nothing is stored."""


@dataclass(frozen=True)
class Capabilities:
    """What a channel can do. ``sends``, ``receives`` and ``fetches`` go with the methods of the same sense."""

    sends: bool = False
    receives: bool = False
    fetches: bool = False
    media: bool = False
    """Whether files go with its messages."""
    receipts: bool = False
    """Whether it tells when a message was delivered or read."""
    html: bool = False
    subject: bool = False
    templates_only_after: timedelta | None = None
    """Its reply window: so long after the other side last wrote, only templates may be sent."""
    max_length: int | None = None
    """Characters that the text of one message may have."""


@dataclass(frozen=True)
class Party:
    """Somebody who took part in a message, as the message says it."""

    role: Role
    address: str
    name: str | None = None


@dataclass(frozen=True)
class Media:
    """A file of a message: its bytes, or a ``reference`` by which ``Channel.media`` fetches them later."""

    name: str
    media_type: str
    data: bytes | None = None
    reference: str | None = None
    content_id: str | None = None
    """What the message's HTML calls it, without brackets."""
    inline: bool = False
    size: int | None = None
    """Bytes, where it is known before they are here."""


@dataclass(frozen=True)
class ConsentChange:
    """That the other side gave or withdrew consent: by a word like STOP, a link. Purpose ``"*"`` is everything."""

    state: Literal["given", "withdrawn"]
    purpose: str = "*"
    source: str = ""


@dataclass(frozen=True)
class Inbound:
    """A message as it came.

    ``message_id`` is unique in its connection: the same message again is a duplicate, and changes nothing.
    ``address`` is the other side's, in any form; ``name`` what the other side calls itself.
    """

    message_id: str
    address: str
    occurred_at: datetime | None = None
    """With a time zone. None, or absurd (more than a day ahead, before 1990): the time of receipt."""
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    name: str | None = None
    direction: Literal["inbound", "outbound"] = "inbound"
    """``outbound``: a copy of what was sent by other means."""
    replies_to: Sequence[str] = ()
    """Message ids that it answers, nearest first."""
    conversation: str | None = None
    """What the channel calls the thread, where it has threads."""
    parties: Sequence[Party] = ()
    media: Sequence[Media] = ()
    automatic: bool = False
    """Written by a machine: never answered automatically, reopens nothing, isn't counted as unread."""
    consent: Sequence[ConsentChange] = ()
    language: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What has no place of its own; goes to ``custom_fields``."""


@dataclass(frozen=True)
class Receipt:
    """What became of a message that was sent. ``message_id`` is the core's or the provider's."""

    message_id: str
    status: Literal["sent", "delivered", "read", "failed"]
    occurred_at: datetime | None = None
    reason: str | None = None
    permanent: bool = False
    """Of a failure: whether the address will never work."""
    address: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """An item that could not be understood. It is kept and told, and fails nothing else."""

    reference: str
    reason: str
    raw: bytes | None = None


Item = Inbound | Receipt | Unreadable


@dataclass(frozen=True)
class OutboundFile:
    """A file that goes with a message. ``open()`` streams its bytes."""

    name: str
    media_type: str
    size: int | None
    open: Callable[[], AsyncIterator[bytes]]
    content_id: str | None = None
    inline: bool = False


@dataclass(frozen=True)
class Outbound:
    """A message to be sent.

    ``message_id`` was made before the first attempt, and is the same in each: whoever gets a message twice can
    tell.
    """

    id: UUID
    message_id: str
    address: str
    name: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    parties: Sequence[Party] = ()
    media: Sequence[OutboundFile] = ()
    replies_to: Sequence[str] = ()
    """Message ids of the thread so far, oldest first."""
    conversation: str | None = None
    """What the channel calls the thread."""
    unsubscribe: str | None = None
    """A signed link by which consent for the purpose is withdrawn, where the CRM has a public URL."""
    purpose: str = "service"
    attempt: int = 1
    automatic: bool = False


@dataclass(frozen=True)
class Sent:
    """That a message is on its way. ``message_id`` is the provider's own id, which its receipts will name."""

    message_id: str | None = None
    status: Literal["sent", "delivered"] = "sent"


@dataclass(frozen=True)
class Refused:
    """That a message was not taken, and why. What is not ``permanent`` is tried again later."""

    reason: str
    permanent: bool = True


@dataclass(frozen=True)
class RawRequest:
    """An HTTP request as it came: names of ``headers`` are in lower case, ``url`` is the one that was called."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True)
class Reply:
    """What a webhook answers."""

    status: int = 204
    body: bytes = b""
    media_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Connected(Generic[A]):
    """A connection as its channel sees it. ``settings`` is a ``Channel.account``, secrets included."""

    id: UUID
    name: str
    settings: A
    region: str
    """Country (ISO 3166-1) of phone numbers that are written without one."""
    public_url: str | None = None
    """Where the CRM is reached from outside, without a slash at the end."""

    @property
    def path(self) -> str:
        """Where its webhooks arrive: ``/connections/con_…``."""
        return f"/connections/{encode_id(Connection.options.prefix, self.id)}"

    @property
    def url(self) -> str | None:
        """The whole URL of its webhooks, where the CRM has a public one."""
        return None if self.public_url is None else f"{self.public_url}{self.path}"


class Channel(Generic[A]):
    """A way of reaching customers. A plugin derives from it, and returns an instance from its ``channels`` hook.

    A channel that is named like one of the core's (email, phone, sms, webchat, web, letter) is that channel, and
    adds sending and receiving to it. All methods may be called for several connections at once; none of them
    opens a session: what came is returned, and the core stores it.
    """

    name: str
    description: str = ""
    account: type[BaseModel] = NoAccount
    """Settings of a connection, as a pydantic model. Its ``SecretStr`` fields are kept encrypted."""
    can: Capabilities = Capabilities()
    space: str = ""
    """Channels of one space share their addresses; by default the core's of the same name, or one of its own."""
    timeout: float = 60.0
    """Seconds that one call of ``receive``, ``send``, or one page of ``fetch`` may take."""
    batch: int = 50
    """Messages that are handed to one call of ``send`` at most."""

    def normalize(self, address: str, region: str) -> str:
        """The one form of an address in which it is kept. Raises :class:`~amity.channels.AddressError`."""
        if self.name in CHANNELS:
            return CHANNELS[self.name].normalize(address, region)
        return CHANNELS["web"].normalize(address, region)

    def message_id(self, connection: Connected[A], id: UUID) -> str:
        """The message id of a new message, made from its own id before it is sent for the first time."""
        return encode_id("int", id)

    async def check(self, connection: Connected[A]) -> None:
        """Tries the account, without sending anything. Raises an exception whose message says what is wrong."""

    async def receive(self, connection: Connected[A], request: RawRequest) -> Sequence[Item]:
        """What a webhook brought. Raises :class:`Forged` where its signature is wrong."""
        raise NotImplementedError(f"the channel {self.name!r} receives nothing over HTTP")

    def reply(self, connection: Connected[A], request: RawRequest, items: Sequence[Item]) -> Reply:
        """What the webhook answers once ``items`` are stored."""
        return Reply()

    def fetch(self, connection: Connected[A], cursor: str | None) -> AsyncIterator[tuple[Sequence[Item], str]]:
        """Pages of what is new since ``cursor``, each with the cursor after it; ``None`` is the beginning."""
        raise NotImplementedError(f"the channel {self.name!r} has nothing to fetch")

    async def listen(self, connection: Connected[A]) -> None:
        """Returns as soon as ``fetch`` may find something new. Only called if it is overridden."""
        raise NotImplementedError(f"the channel {self.name!r} can't be listened to")

    async def send(self, connection: Connected[A], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        """Sends messages; one result for each, in their order.

        An exception leaves all of them to be tried again, so it must be raised only where none may have left.
        """
        raise NotImplementedError(f"the channel {self.name!r} sends nothing")

    def media(self, connection: Connected[A], reference: str) -> AsyncIterator[bytes]:
        """The bytes of a file that came as a reference."""
        raise NotImplementedError(f"the channel {self.name!r} fetches no files")


__all__ = [
    "Capabilities",
    "Channel",
    "Connected",
    "ConsentChange",
    "Forged",
    "Inbound",
    "Item",
    "Media",
    "NoAccount",
    "Outbound",
    "OutboundFile",
    "Party",
    "RawRequest",
    "Receipt",
    "Refused",
    "Reply",
    "Role",
    "Sent",
    "Unreadable",
]
