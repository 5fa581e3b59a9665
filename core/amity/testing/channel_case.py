"""The other side of a channel, as its author describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from ..access import SYSTEM
from ..crm import Crm
from ..entity import encode_id
from ..messages import Media, RawRequest
from ..messaging.fetch import ConnectionToFetch
from ..model import Connection

PUBLIC_URL = "https://crm.example.com"
"""Where the CRM of the trials is reached, as its connections see it."""


@dataclass(frozen=True)
class Written:
    """A message that somebody on the other side writes.

    ``id`` is what :meth:`ChannelCase.message_id` made of it; ``replies_to`` such an id, or that of a message which
    arrived there. ``url`` is where the connection's webhooks go.
    """

    id: str
    address: str
    text: str
    url: str
    replies_to: str | None = None
    media: Media | None = None


@dataclass(frozen=True)
class Arrived:
    """A message as the other side got it. ``message_id`` is what it can tell a repeated one by."""

    message_id: str
    address: str
    text: str
    files: Sequence[bytes] = ()


class ChannelCase:
    """What only the author of a channel knows: the other side. Derive from it, and define what the channel can do.

    For a channel that receives by webhook it defines ``inbound`` and ``forged``, for one that fetches ``offer``,
    for one with receipts ``receipt``, for one that sends ``arrived``. Where messages and receipts come in by other
    means, it overrides ``bring`` and ``tell``.
    """

    account: Mapping[str, Any] = {}
    """Settings of a connection, secrets included."""
    channel: str | None = None
    """The channel it is about, where the plugin has several."""
    threads: bool = True
    """Whether a message says which one it answers."""
    begins: bool = True
    """Whether the company may write first; else it only answers."""
    stop: str | None = None
    """A text by which the other side ends all messages, like STOP."""
    refused: str | None = None
    """An address that the other side never takes messages for."""

    def address(self, number: int) -> str:
        """The address of the other side's person of that number, in a form in which it might be written."""
        raise NotImplementedError(
            "define address(number): an address of the channel for each number from 1 to 100"
        )

    def message_id(self, token: str) -> str:
        """The id of a message of the other side, in the channel's form, made from a random word."""
        return token

    def inbound(self, message: Written) -> RawRequest:
        """The request by which a message comes in, signed as the real one would be."""
        raise NotImplementedError("define inbound(message): the webhook request by which a message comes in")

    def forged(self, message: Written) -> RawRequest:
        """The same request by somebody who does not know the secret."""
        raise NotImplementedError("define forged(message): the request of inbound, by who knows no secret")

    async def offer(self, messages: Sequence[Written]) -> None:
        """Puts messages where ``fetch`` finds them, in their order."""
        raise NotImplementedError("define inbound(message), or offer(messages): how messages come in")

    def garbled(self, url: str) -> RawRequest | None:
        """A request that is signed, but can't be understood; None if there is none."""
        return None

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        """The request that tells of a message's fate, by the id that ``send`` gave or was given.

        None for a status that the channel never tells.
        """
        raise NotImplementedError("define receipt(url, message_id, status): the webhook request of a receipt")

    async def tell(
        self, crm: Crm, connection: UUID, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> bool:
        """Lets a receipt come in; by default, by the request of ``receipt``. False if there is none for it."""
        request = self.receipt(webhook_of(connection), message_id, status)
        if request is None:
            return False
        answer = await post(crm, request)
        assert answer < 300, f"its webhook answered {answer} to a receipt; expected 2xx"
        return True

    async def arrived(self) -> Sequence[Arrived]:
        """Every message that has arrived at the other side, also repeated ones, oldest first."""
        raise NotImplementedError("define arrived(): the messages that reached the other side")

    def running(self, crm: Crm, connection: UUID) -> AbstractAsyncContextManager[None]:
        """Entered before anything is checked: runs what the other side needs of the CRM, like a server."""
        return nullcontext()

    async def bring(self, crm: Crm, connection: UUID, messages: Sequence[Written]) -> None:
        """Lets messages come in, in their order.

        By default each by a request to the connection's webhook, or, where only ``offer`` is defined, fetched.
        """
        if not self.defines("inbound"):
            await self.offer(messages)
            await crm.acting_as(SYSTEM).enqueue("fetch_connection", ConnectionToFetch(connection_id=connection))
            failed = await crm.settle()
            assert not failed, f"it could not be fetched: {await _failure(crm, connection)}"
            return
        for message in messages:
            status = await post(crm, self.inbound(message))
            assert status < 300, f"its webhook answered {status} to a genuine message; expected 2xx"

    def defines(self, name: str) -> bool:
        """Whether the case says something about this itself."""
        return getattr(type(self), name) is not getattr(ChannelCase, name)


async def _failure(crm: Crm, connection: UUID) -> str:
    row = await crm.acting_as(SYSTEM).find(Connection).select("failure").get(connection)
    return str(row and row["failure"])


def webhook_of(connection: UUID) -> str:
    """Where a connection's webhooks go, as whoever calls them sees it."""
    return f"{PUBLIC_URL}/connections/{encode_id(Connection.options.prefix, connection)}"


async def post(crm: Crm, request: RawRequest) -> int:
    """Hands a request to the CRM's server, as it would come over the network; the status of its answer."""
    from ..server import app  # an optional dependency

    sent: list[Any] = []
    received = iter([{"type": "http.request", "body": request.body, "more_body": False}])

    async def receive() -> Any:
        return next(received, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {**request.headers, "host": "localhost", "content-length": str(len(request.body))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": urlencode(request.query).encode(),
        "root_path": "",
        "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
    }
    await app(crm, opens=False)(scope, receive, send)
    return int(next(message["status"] for message in sent if message["type"] == "http.response.start"))


__all__ = ["PUBLIC_URL", "Arrived", "ChannelCase", "Written", "post", "webhook_of"]
