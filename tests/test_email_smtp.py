"""Sending, to a real SMTP server in this process: what arrives there, and what it refuses."""

from __future__ import annotations

import email.policy
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as Talk
from hypothesis import given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm, Inbound, Interaction, Outbound, OutboundFile, Party, Refused, Sent
from amity.entity import encode_id
from amity_email import Email, EmailAccount, parse, smtp
from amity_email.compose import LoadedFile, compose
from tests.certificates import certificates
from tests.conftest import MakeCrm, killed_at_work
from tests.email_corpus import OWN, corpus
from tests.email_corpus.build import MAILBOX, PNG, envelope, message, pdf
from tests.email_office import KEY, Office, office, settings_of

PASSWORD = "open sesame"


class Postman:
    """What the server does with messages: it keeps them, or refuses by what the address begins with."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, list[str], bytes]] = []
        self.connections = 0
        self.lost = 0

    async def handle_EHLO(
        self, server: Server, session: Talk, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, server: Server, session: Talk, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        if address.startswith("busy"):
            return "451 4.3.2 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Talk, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        raw = envelope.content
        if b"spam" in raw:
            return "554 5.7.1 looks like spam"
        if b"storm" in raw and self.lost < 1:
            self.lost += 1
            assert server.transport is not None
            server.transport.close()
            return "421 lost"
        self.arrived.append((envelope.mail_from or "", list(envelope.rcpt_tos), raw))
        return "250 OK"

    def mails(self) -> list[EmailMessage]:
        parser = email.policy.default
        return [email.message_from_bytes(raw, policy=parser) for _, _, raw in self.arrived]


def _authenticated(server: Server, session: Talk, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@contextmanager
def post_office(**options: Any) -> Iterator[tuple[Postman, dict[str, Any]]]:
    """A server, and the account that reaches it."""
    postman = Postman()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(
        postman,
        hostname="127.0.0.1",
        port=port,
        authenticator=_authenticated,
        auth_require_tls=False,
        enable_SMTPUTF8=options.pop("utf8", True),
        **options,
    )
    controller.start()
    try:
        yield (
            postman,
            {
                "address": MAILBOX,
                "display_name": "Amity Support",
                "smtp_host": "127.0.0.1",
                "smtp_port": port,
                "smtp_security": "none",
                "smtp_password": PASSWORD,
                "allow_private": True,
                "timeout": 5,
            },
        )
    finally:
        controller.stop()


def outbound(**more: Any) -> Outbound:
    id = uuid4()
    given: dict[str, Any] = {"address": "anna@kunde.example", "subject": "Offer", "body": "Hello"}
    return Outbound(id=id, message_id=f"{id.hex}@amity-crm.example", **{**given, **more})


def file(name: str, media_type: str, data: bytes, **more: Any) -> OutboundFile:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return OutboundFile(name, media_type, len(data), chunks, **more)


async def test_a_message_arrives_with_all_of_it() -> None:
    with post_office() as (postman, account):
        message = outbound(
            name="Keller, Änna",
            subject="Grüße, und ein Angebot das sehr lange ist, länger als eine Zeile sein darf, viel länger",
            body="Guten Tag\nvon uns",
            html='<p>Guten Tag <img src="cid:logo@1"></p>',
            parties=[Party("cc", "bruno@kunde.example", "Bruno"), Party("bcc", "boss@amity-crm.example")],
            media=[
                file("Größe.pdf", "application/pdf", pdf(5000)),
                file("logo.png", "image/png", PNG, content_id="logo@1", inline=True),
                file("forwarded.eml", "message/rfc822", b"Subject: a\n\nb"),
            ],
            replies_to=["first.1@kunde.example", f"{'x' * 70}.second@eurprd04.prod.outlook.com"],
            unsubscribe="https://crm.amity-crm.example/unsubscribe/token",
        )
        assert await smtp.send(EmailAccount(**account), [message]) == [Sent()]
        (sender, to, raw), (mail,) = postman.arrived[0], postman.mails()
        assert sender == MAILBOX
        assert to == ["anna@kunde.example", "bruno@kunde.example", "boss@amity-crm.example"]
        assert mail["from"] == f"Amity Support <{MAILBOX}>"
        assert mail["to"].addresses[0].display_name == "Keller, Änna"
        assert mail["cc"] == "Bruno <bruno@kunde.example>"
        assert "bcc" not in mail
        assert "boss@" not in raw.decode()
        assert mail["subject"] == message.subject
        assert mail["message-id"] == f"<{message.message_id}>"
        assert mail["list-unsubscribe"] == "<https://crm.amity-crm.example/unsubscribe/token>"
        assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
        assert mail["auto-submitted"] is None
        assert max(len(line) for line in raw.split(b"\r\n")) < 998
        # the ids are whole: mail programs find the thread by them
        (item,) = parse(raw)
        assert isinstance(item, Inbound)
        assert list(item.replies_to) == list(reversed(message.replies_to))
        assert item.body == message.body
        assert item.html is not None
        assert [(media.name, media.inline, media.data) for media in item.media] == [
            ("logo.png", True, PNG),
            ("Größe.pdf", False, pdf(5000)),
            ("forwarded.eml", False, b"Subject: a\n\nb"),
        ]


async def test_a_batch_takes_one_connection_and_each_refusal_is_its_own() -> None:
    with post_office() as (postman, account):
        messages = [
            outbound(body="one", automatic=True),
            outbound(address="gone@kunde.example"),
            outbound(address="busy@kunde.example"),
            outbound(body="spam"),
            outbound(body="last"),
            outbound(parties=[Party("cc", "gone@kunde.example")]),
        ]
        results = await smtp.send(EmailAccount(**account), messages)
        assert results == [
            Sent(),
            Refused("550 5.1.1 no such user", permanent=True),
            Refused("451 4.3.2 try again later", permanent=False),
            Refused("554 5.7.1 looks like spam", permanent=True),
            Sent(),
            Sent(),
        ]
        assert postman.connections == 1
        assert [mail["message-id"] for mail in postman.mails()] == [
            f"<{messages[number].message_id}>" for number in (0, 4, 5)
        ]
        assert postman.mails()[0]["auto-submitted"] == "auto-generated"


async def test_a_lost_connection_refuses_one_message_for_now_and_the_rest_go_on() -> None:
    with post_office() as (postman, account):
        messages = [outbound(body="one"), outbound(body="storm"), outbound(body="three")]
        first, lost, third = await smtp.send(EmailAccount(**account), messages)
        assert (first, third) == (Sent(), Sent())
        assert isinstance(lost, Refused)
        assert not lost.permanent
        assert postman.connections == 2


async def test_servers_that_are_not_there_or_let_nobody_in_are_told() -> None:
    with post_office() as (_, account):
        wrong = EmailAccount(**{**account, "smtp_password": "wrong"})
        with pytest.raises(smtp.NotConnected, match=r"does not let us in: 535"):
            await smtp.send(wrong, [outbound()])
        secure = EmailAccount(**{**account, "smtp_security": "tls"})
        with pytest.raises(smtp.NotConnected, match=r"the SMTP server 127\.0\.0\.1"):
            await smtp.send(secure, [outbound()])
        public = EmailAccount(**{**account, "smtp_security": "starttls", "allow_private": False})
        with pytest.raises(smtp.NotConnected, match="not on the public internet"):
            await smtp.send(public, [outbound()])
    with pytest.raises(smtp.NotConnected, match="can't be reached"):
        await smtp.send(EmailAccount(**account), [outbound()])


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_certificates_are_checked(tmp_path: Path, security: str) -> None:
    certificate, key, authority = certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    options = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
    with post_office(**options) as (postman, account):
        secure = {**account, "smtp_security": security, "smtp_host": "localhost"}
        trusting = EmailAccount(**secure, certificate_authority=authority)
        assert await smtp.send(trusting, [outbound()]) == [Sent()]
        with pytest.raises(smtp.NotConnected, match="certificate verify failed"):
            await smtp.send(EmailAccount(**secure), [outbound()])
        # it is the certificate of another name
        with pytest.raises(smtp.NotConnected, match="certificate verify failed"):
            await smtp.send(trusting.model_copy(update={"smtp_host": "127.0.0.1"}), [outbound()])
        assert len(postman.arrived) == 1


async def test_addresses_beyond_ascii() -> None:
    with post_office() as (postman, account):
        results = await smtp.send(
            EmailAccount(**account),
            [outbound(address="jörg@bücher.example"), outbound(address="anna@faß.example")],
        )
        assert results == [Sent(), Sent()]
        assert [to for _, to, _ in postman.arrived] == [["jörg@bücher.example"], ["anna@xn--fa-hia.example"]]
        assert "To: jörg@bücher.example" in postman.arrived[0][2].decode()
    with post_office(utf8=False) as (postman, account):
        (result,) = await smtp.send(EmailAccount(**account), [outbound(address="jörg@bücher.example")])
        assert isinstance(result, Refused)
        assert result.permanent
        assert not postman.arrived


async def test_what_is_too_large_is_refused_before_it_is_sent() -> None:
    with post_office(data_size_limit=100_000) as (postman, account):
        media = [file("a.bin", "application/octet-stream", b"x" * 90_000)]
        late = [OutboundFile("b.bin", "application/octet-stream", None, media[0].open)]
        results = await smtp.send(
            EmailAccount(**account), [outbound(media=media), outbound(media=late), outbound(body="x\n" * 60_000)]
        )
        assert all(isinstance(result, Refused) and "100000" in result.reason for result in results)
        assert not postman.arrived


_ACCOUNT = EmailAccount(address=MAILBOX, display_name="Amity\r\nBcc: all@evil.example")
_NASTY = st.text(alphabet='ab=?,;:<>"\\@() \r\n\t\0\u2028üß見\U0001f600', max_size=60) | st.text(max_size=40)


@settings(max_examples=200, deadline=1_000)
@given(_NASTY, _NASTY, _NASTY, _NASTY, st.lists(_NASTY, max_size=3))
def test_nothing_can_be_smuggled_into_the_fields(
    subject: str, name: str, filename: str, url: str, ids: Sequence[str]
) -> None:
    message = outbound(
        subject=subject,
        name=name,
        replies_to=ids,
        unsubscribe=url,
        parties=[Party("to", "anna@kunde.example", name), Party("cc", f"{name}@kunde.example", name)],
    )
    raw = compose(_ACCOUNT, message, [LoadedFile(file(filename, "text/x", b"x"), b"x")], datetime.now(UTC))
    head = raw.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    known = {b"From", b"To", b"Cc", b"Subject", b"Date", b"Message-ID", b"In-Reply-To", b"References"}
    known |= {b"List-Unsubscribe", b"List-Unsubscribe-Post", b"MIME-Version", b"Content-Type"}
    assert set(names) <= known
    assert len(names) == len(set(names))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    (item,) = parse(raw)
    assert isinstance(item, Inbound)
    assert item.message_id == message.message_id
    assert [(party.role, party.address) for party in item.parties[:2]] == [
        ("from", MAILBOX),
        ("to", "anna@kunde.example"),
    ]
    assert (item.subject or "") == " ".join(_shown(subject).split())
    assert len(item.media) == 1


def _shown(text: str) -> str:
    """What is left of a text: control characters are no part of a subject."""
    return "".join(c for c in text if c in "\t\n\r" or not (c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff"))


@settings(max_examples=100, deadline=1_000)
@given(st.text(max_size=300), st.none() | st.text(max_size=300))
def test_texts_arrive_as_they_were_written(body: str, html: str | None) -> None:
    raw = compose(_ACCOUNT, outbound(body=body, html=html), [], datetime.now(UTC))
    (item,) = parse(raw)
    assert isinstance(item, Inbound)
    assert raw.isascii()
    if html is None:
        assert (item.body or "").split() == _shown(body).split()


# --- through the CRM ---------------------------------------------------------------------------------------


async def sends(place: Office, **told: Any) -> UUID:
    given = {"connection_id": encode_id("con", place.id), **told}
    made = await place.session.run("send_message", [given])
    assert not made.errors, made.errors
    assert made.ids[0] is not None
    return made.ids[0]


async def test_an_answer_goes_out_in_its_thread(make_crm: MakeCrm, tmp_path: Path) -> None:
    question = next(mail for mail in corpus() if mail.name == "thread-outlook-0-outlook")
    (asked,) = parse(question.raw)
    assert isinstance(asked, Inbound)
    with post_office() as (postman, account):
        async with office(make_crm, tmp_path, **account) as place:
            await place.brings([asked])
            conversation = (await place.messages("conversation.id"))[0]["conversation"]["id"]
            id = await sends(place, conversation_id=conversation, body="Gladly", subject="Re: Offer 2 for pumps")
            await place.crm.settle()
            (mail,) = postman.mails()
            assert mail["in-reply-to"] == f"<{asked.message_id}>"
            assert mail["message-id"] == f"<{id.hex}@amity-crm.example>"
            row = await place.session.find(Interaction).select("delivery", "message_id").get(id)
            assert row == {"delivery": "sent", "message_id": f"{id.hex}@amity-crm.example"}
            # what comes back finds it; its own copy is known, also where a forwarder sends it back to us
            answer = message(
                envelope("the.answer.1@kunde.example", more=[("In-Reply-To", mail["message-id"])]), "Thanks"
            )
            copy = postman.arrived[0][2]
            returned = b"Received: by a forwarder; Mon, 2 Mar 2026 10:00:00 +0000\r\n" + copy
            done = await place.brings(
                [*parse(answer), *parse(copy, own=OWN, sent=True), *parse(returned, own=OWN)]
            )
            assert (done.received, done.duplicates) == (1, 2)
            rows = await place.messages("conversation.id")
            assert [row["conversation"]["id"] for row in rows] == [conversation] * 3


async def test_refusals_and_bounces_become_failures(make_crm: MakeCrm, tmp_path: Path) -> None:
    with post_office() as (postman, account):
        async with office(make_crm, tmp_path, **account) as place:
            gone = await sends(place, address="gone@kunde.example", body="Hello", subject="x")
            fine = await sends(place, address="anna@kunde.example", body="Hello", subject="y")
            copied = await sends(
                place, address="eva@kunde.example", cc=["Anna@kunde.example"], body="Hi", subject="z"
            )
            await place.crm.settle()
            for bounced in (fine, copied):
                await place.brings(parse(_bounce(bounced)))
            rows = {
                row["id"]: (row["delivery"], row["failure"])
                for row in await place.messages("id", "delivery", "failure")
            }
            assert rows[encode_id("int", gone)] == ("failed", "550 5.1.1 no such user")
            delivery, failure = rows[encode_id("int", fine)]
            assert delivery == "failed"
            assert "mailbox is gone" in failure
            # of what went to somebody else, only the copy bounced
            assert rows[encode_id("int", copied)] == ("sent", None)
            assert len(postman.arrived) == 2


def _bounce(id: UUID) -> bytes:
    return (
        "From: MAILER-DAEMON@mx.kunde.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
        "Final-Recipient: rfc822; anna@kunde.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 the mailbox is gone\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <{id.hex}@amity-crm.example>\r\n\r\n--b--\r\n"
    ).encode()


async def test_a_password_is_never_told(make_crm: MakeCrm, tmp_path: Path) -> None:
    with post_office() as (_, account):
        async with office(make_crm, tmp_path, **{**account, "smtp_password": "a wrong secret"}) as place:
            checked = await place.session.run("check_connection", [{"id": encode_id("con", place.id)}])
            told = str(checked.values)
            assert "535" in told
            assert "a wrong secret" not in told


KILLED = """
import asyncio, sys
from amity import SYSTEM, Crm
from amity.jobs import engine
from amity_email import Email, EmailChannel

engine.LEASE = 0.5
engine.BEAT = 60

class Killed(EmailChannel):
    async def send(self, connection, messages):
        results = await super().send(connection, messages)
        print("begun", flush=True)
        await asyncio.sleep(60)
        return results

class Plugin(Email):
    def channels(self):
        return [Killed()]

async def main():
    settings = {{"database_url": sys.argv[1], "security": {{"keys": [{key!r}]}}}}
    async with Crm(settings, [Plugin]) as crm:
        given = {{"connection_id": {connection!r}, "address": "anna@kunde.example", "body": "hello"}}
        await crm.acting_as(SYSTEM).run("send_message", [given])
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_killed_after_the_server_took_it_it_is_sent_again_with_the_same_id(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    with post_office() as (postman, account):
        async with make_crm([], settings_of(tmp_path)) as crm:
            idle = Crm(crm.settings, [Email])
            await idle.open(dispatch=False)
            row = {"channel": "email", "name": "support", "settings": account}
            made = await idle.acting_as(SYSTEM).run("create_connection", [row])
            await idle.close()
            assert made.ids[0] is not None
            script = KILLED.format(key=KEY, connection=encode_id("con", made.ids[0]))
            await killed_at_work(script, crm.settings.database_url)
            assert len(postman.arrived) == 1
            found = crm.acting_as(SYSTEM).find(Interaction).select("delivery", "message_id")
            (row,) = await found.all()
            assert row["delivery"] == "sending"  # nobody knows, so nobody says that it was sent
            async with Crm(crm.settings, [Email]) as other:
                while (await found.all())[0]["delivery"] != "sent":
                    await other.settle()
            assert [mail["message-id"] for mail in postman.mails()] == [f"<{row['message_id']}>"] * 2
