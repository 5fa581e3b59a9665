"""Text messages by way of an HTTP gateway."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from amity import Capabilities, Channel, Connected, Item, Outbound, RawRequest, Refused, Sent
from amity.channels import CHANNELS, AddressError
from amity.network import addresses

from .account import SmsAccount
from .receiving import items_of
from .sending import media, send
from .signatures import verify

SHORT_CODE = re.compile(r"\d{3,6}")
"""Too short for anybody's number, and written without a country."""
SENDER_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 &_.+-]{1,11}")
"""Up to eleven characters of which one is a letter, as networks show them in the place of a number."""


class SmsChannel(Channel[SmsAccount]):
    """Text messages, sent and received by the HTTP gateway of the connection's account."""

    name = "sms"
    description = "Text messages to a phone"
    account = SmsAccount
    can = Capabilities(sends=True, receives=True, receipts=True, media=False)

    def normalize(self, address: str, region: str) -> str:
        """A number in E.164; short codes and names of senders stay as they are."""
        text = address.strip()
        if SHORT_CODE.fullmatch(text) or SENDER_NAME.fullmatch(text):
            return text
        try:
            return CHANNELS["sms"].normalize(text, region)
        except AddressError as error:
            raise AddressError(f"{error}; a short code of 3 to 6 digits, or a name of up to 11 letters") from None

    async def check(self, connection: Connected[SmsAccount]) -> None:
        """Whether the gateway's host is known, and may be connected to."""
        account = connection.settings
        parts = urlsplit(account.url)
        await addresses(parts.hostname or "", parts.port or 443, allow_private=account.allow_private)

    async def receive(self, connection: Connected[SmsAccount], request: RawRequest) -> Sequence[Item]:
        verify(connection.settings, request)
        return items_of(connection.settings, request)

    async def send(
        self, connection: Connected[SmsAccount], messages: Sequence[Outbound]
    ) -> Sequence[Sent | Refused]:
        return await send(connection.settings, connection.url, messages)

    def media(self, connection: Connected[SmsAccount], reference: str) -> AsyncIterator[bytes]:
        return media(connection.settings, reference)
