"""The channel: what the core asks of e-mail."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from functools import partial
from uuid import UUID

from amity.messages import (
    Capabilities,
    Channel,
    Connected,
    Forged,
    Item,
    Outbound,
    RawRequest,
    Refused,
    Sent,
    Unreadable,
)

from . import imap, smtp
from .account import EmailAccount
from .parse import parse

_AT_ONCE = 50_000
"""Bytes of a message that is parsed without a thread of its own."""


class EmailChannel(Channel[EmailAccount]):
    """E-mail: a connection is a mailbox."""

    name = "email"
    description = "E-mail"
    account = EmailAccount
    can = Capabilities(sends=True, receives=True, fetches=True, media=True, receipts=True, html=True, subject=True)
    timeout = 300.0
    batch = 25

    def __init__(self) -> None:
        self._ends: dict[UUID, imap.Place] = {}
        """Where the folders of connections ended when they were last looked at."""

    def message_id(self, connection: Connected[EmailAccount], id: UUID) -> str:
        """Without brackets, as everywhere but in the message itself."""
        return f"{id.hex}@{connection.settings.domain}"

    async def check(self, connection: Connected[EmailAccount]) -> None:
        account = connection.settings
        if account.smtp_host is not None:
            client = await smtp.connect(account)
            await smtp.leave(client)
        if account.imap_host is not None:
            await imap.check(account)

    async def receive(self, connection: Connected[EmailAccount], request: RawRequest) -> Sequence[Item]:
        """A raw message as the body of a POST; ``?folder=sent`` for one that was sent by other means."""
        account = connection.settings
        _check_sender(account, request)
        raw = request.body
        if len(raw) > account.max_size:
            reason = f"it has {len(raw)} bytes, and at most {account.max_size} are taken"
            return [Unreadable(hashlib.sha256(raw).hexdigest(), reason, raw)]
        work = partial(parse, raw, own=account.own, sent=request.query.get("folder") == "sent")
        return work() if len(raw) < _AT_ONCE else await asyncio.to_thread(work)

    async def fetch(
        self, connection: Connected[EmailAccount], cursor: str | None
    ) -> AsyncIterator[tuple[Sequence[Item], str]]:
        if connection.settings.imap_host is None:
            return
        async for page in imap.fetch(connection.settings, cursor):
            yield page

    async def listen(self, connection: Connected[EmailAccount]) -> None:
        if connection.settings.imap_host is None:
            await asyncio.sleep(imap.REFRESH)
            return
        known = self._ends.get(connection.id)
        self._ends[connection.id] = await imap.listen(connection.settings, known)

    async def send(
        self, connection: Connected[EmailAccount], messages: Sequence[Outbound]
    ) -> Sequence[Sent | Refused]:
        if connection.settings.smtp_host is None:
            nothing = Refused("the account has no smtp_host, so nothing can be sent", permanent=False)
            return [nothing] * len(messages)
        return await smtp.send(connection.settings, messages)


def _check_sender(account: EmailAccount, request: RawRequest) -> None:
    """``Authorization: Bearer <webhook_secret>``, or ``X-Signature: sha256=<hexadecimal HMAC of the body>``."""
    if account.webhook_secret is None:
        raise Forged("the account has no webhook_secret, so nothing can be posted to it")
    secret = account.webhook_secret.get_secret_value().encode()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    signature = request.headers.get("x-signature", "")
    if token and scheme.lower() == "bearer":
        right = hmac.compare_digest(token.strip().encode(), secret)
    else:
        expected = "sha256=" + hmac.new(secret, request.body, hashlib.sha256).hexdigest()
        right = hmac.compare_digest(signature.strip().encode(), expected.encode())
    if not right:
        raise Forged("neither its bearer token nor its signature is that of the account's webhook_secret")


__all__ = ["EmailChannel"]
