"""The bundled channels keep what all channels promise."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any, Literal
from uuid import uuid4

import pytest

from amity import RawRequest
from amity.testing import Arrived, ChannelCase, Written, assert_channel
from amity_email import Email
from amity_sms import Sms

from .chats import VisitorsCase
from .sms_gateway import Gateway, gateway, posted, posted_by_twilio
from .test_email_smtp import Postman, post_office

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


# --- amity_email -------------------------------------------------------------------------------------------


class EmailCase(ChannelCase):
    """Mail that is posted to the connection, and a mail server that takes what is sent."""

    refused = "gone@customer.example"

    def __init__(self, postman: Postman, account: dict[str, Any]) -> None:
        self.postman = postman
        self.account = {**account, "webhook_secret": "posted by us"}

    def address(self, number: int) -> str:
        return f"Customer{number}@Customer.example"

    def message_id(self, token: str) -> str:
        return f"{token}@customer.example"

    def inbound(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._mail(message))

    def forged(self, message: Written) -> RawRequest:
        return self._posted(message.url, self._mail(message), secret="guessed")

    def garbled(self, url: str) -> RawRequest:
        return self._posted(url, b"\x00\xff nothing that a mail has")

    def receipt(
        self, url: str, message_id: str, status: Literal["delivered", "read", "failed"]
    ) -> RawRequest | None:
        if status == "read":
            return None
        report = f"""\
From: mailer-daemon@customer.example
To: {self.account["address"]}
Subject: Delivery status
Message-ID: <{uuid4().hex}@customer.example>
Content-Type: multipart/report; report-type=delivery-status; boundary=part

--part
Content-Type: message/delivery-status

Reporting-MTA: dns; customer.example

Final-Recipient: rfc822; customer@customer.example
Action: {status}
Status: {"2.0.0" if status == "delivered" else "5.1.1"}

--part
Content-Type: text/rfc822-headers

Message-ID: <{message_id}>

--part--
"""
        return self._posted(url, report.encode())

    async def arrived(self) -> Sequence[Arrived]:
        return [
            Arrived(
                str(mail["message-id"]).strip("<>"),
                recipients[0],
                body.get_content() if (body := mail.get_body(("plain",))) else "",
                [part.get_content() for part in mail.iter_attachments()],
            )
            for (_, recipients, _), mail in zip(self.postman.arrived, self.postman.mails(), strict=True)
        ]

    def _mail(self, message: Written) -> bytes:
        mail = EmailMessage()
        mail["From"] = message.address
        mail["To"] = str(self.account["address"])
        mail["Subject"] = "About my order"
        mail["Message-ID"] = f"<{message.id}>"
        if message.replies_to:
            mail["In-Reply-To"] = mail["References"] = f"<{message.replies_to}>"
        mail.set_content(message.text)
        if message.media:
            kind, _, subtype = message.media.media_type.partition("/")
            mail.add_attachment(message.media.data or b"", kind, subtype, filename=message.media.name)
        return mail.as_bytes()

    def _posted(self, url: str, body: bytes, secret: str = "posted by us") -> RawRequest:
        headers = {"authorization": f"Bearer {secret}", "content-type": "message/rfc822"}
        return RawRequest("POST", "/connections/" + url.rpartition("/")[2], {}, headers, body, url)


async def test_mail_is_a_channel(server_url: str | None) -> None:
    with post_office() as (postman, account):
        await assert_channel(Email, EmailCase(postman, account), server_url=server_url)
