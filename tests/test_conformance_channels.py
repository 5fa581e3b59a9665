"""The bundled channels keep what all channels promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from uuid import uuid4

import pytest

from amity import RawRequest
from amity.testing import Arrived, ChannelCase, Written, assert_channel
from amity_sms import Sms

from .chats import VisitorsCase
from .sms_gateway import Gateway, gateway, posted, posted_by_twilio

# --- amity_sms ---------------------------------------------------------------------------------------------


class SmsCase(ChannelCase):
    """A gateway of the preset ``json``."""

    threads = False
    stop = "Stop"
    refused = "+41799990000"

    def __init__(self, other: Gateway) -> None:
        self.other = other
        self.account = other.account()

    def address(self, number: int) -> str:
        return f"079 100 00 {number:02}"

    def inbound(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._body(message))

    def forged(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._body(message), secret="guessed")

    def garbled(self, url: str) -> RawRequest:
        return self._posted(url, b"{]")

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        return self._posted(url, {"id": message_id, "status": status})

    async def arrived(self) -> Sequence[Arrived]:
        return [Arrived(key, message["to"], message["text"]) for key, message in self.other.arrived.items()]

    def _body(self, message: Written) -> dict[str, Any]:
        return {"id": message.id, "from": message.address, "text": message.text}

    def _posted(self, url: str, body: Any, **more: Any) -> RawRequest:
        return posted(body, path="/connections/" + url.rpartition("/")[2], **more)


class TwilioCase(SmsCase):
    """A gateway of the preset ``twilio``."""

    def __init__(self, other: Gateway) -> None:
        super().__init__(other)
        self.account = other.twilio()

    def garbled(self, url: str) -> RawRequest:
        return self._posted(url, {"MessageSid": uuid4().hex})

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        return self._posted(url, {"MessageSid": message_id, "MessageStatus": status})

    async def arrived(self) -> Sequence[Arrived]:
        return [Arrived(key, message["To"], message["Body"]) for key, message in self.other.arrived.items()]

    def _body(self, message: Written) -> dict[str, Any]:
        return {"MessageSid": message.id, "From": message.address, "Body": message.text}

    def _posted(self, url: str, body: Any, **more: Any) -> RawRequest:
        return posted_by_twilio(body, url=url, **more)


@pytest.mark.parametrize("case", [SmsCase, TwilioCase])
async def test_text_messages_are_a_channel(case: type[SmsCase], server_url: str | None) -> None:
    async with gateway() as other:
        await assert_channel(Sms, case(other), server_url=server_url)


# --- amity_webchat -----------------------------------------------------------------------------------------


async def test_web_chats_are_a_channel(server_url: str | None) -> None:
    case = VisitorsCase()
    await assert_channel(case.plugin, case, server_url=server_url)
