"""What machines write: auto-replies, lists, newsletters, bounces, receipts."""

from __future__ import annotations

from typing import Any

from .build import MAILBOX, Fields, Mail, envelope, message, multipart, part, within

SENT = "0190f2c4aaaabbbbccccddddeeee0001@amity-crm.example"
"""The message that reports are about."""
_DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.kunde.example>"
_COPY = f"From: {MAILBOX}\nTo: gone@kunde.example\nSubject: Offer\nMessage-ID: <{SENT}>\n\nHello\n"


def machines() -> list[Mail]:
    return [*_automatic(), *_written_by_people(), *_reports(), *_for_people(), *_receipts()]


def _automatic() -> list[Mail]:
    marks: list[tuple[str, Fields, str]] = [
        ("rfc3834", [("Auto-Submitted", "auto-replied")], "Re: your mail"),
        ("generated", [("Auto-Submitted", "auto-generated (by cron)")], "Backup done"),
        ("notified", [("Auto-Submitted", "Auto-Notified; owner-email=x@y.example")], "Note"),
        ("exchange", [("X-Auto-Response-Suppress", "All")], "Automatic reply: Question"),
        ("exchange-oof", [("X-Auto-Response-Suppress", "DR, OOF, AutoReply")], "Away"),
        ("autoreply", [("X-Autoreply", "yes")], "Away"),
        ("autorespond", [("X-Autorespond", "Your order")], "Away"),
        ("precedence-bulk", [("Precedence", "bulk")], "News"),
        ("precedence-junk", [("Precedence", "JUNK")], "News"),
        ("precedence-auto", [("Precedence", "auto_reply")], "Away"),
        ("list", [("List-Id", "Pumps <pumps.lists.example>"), ("Precedence", "list")], "[pumps] News"),
        ("list-id", [("List-ID", "<pumps.lists.example>")], "[pumps] More"),
        ("loop", [("X-Loop", MAILBOX)], "Loop"),
        ("no-return-path", [("Return-Path", "<>")], "Something"),
        ("subject-en", [], "Out of Office: back on Monday"),
        ("subject-de", [], "Automatische Antwort: Ferien"),
        ("subject-fr", [], "=?utf-8?Q?R=C3=A9ponse_automatique_:_absence?="),
        ("subject-es", [], "=?utf-8?Q?Respuesta_autom=C3=A1tica:_fuera?="),
    ]
    return [
        Mail(
            f"automatic-{name}",
            message(envelope(f"automatic.{name}@kunde.example", subject=subject, hours=800, more=fields), "away"),
            automatic=True,
            says=("away",),
        )
        for name, fields, subject in marks
    ]


def _written_by_people() -> list[Mail]:
    """What looks like a machine's, and is not."""
    marks: list[tuple[str, Fields, str]] = [
        ("auto-submitted-no", [("Auto-Submitted", "no")], "Question"),
        ("suppress-none", [("X-Auto-Response-Suppress", "None")], "Question"),
        ("precedence-normal", [("Precedence", "first-class")], "Question"),
        ("our-group", [("List-ID", "<support.amity-crm.example>"), ("Precedence", "list")], "Question"),
        ("list-unsubscribe", [("List-Unsubscribe", "<https://sales.example/u>")], "Question"),
        ("return-path", [("Return-Path", "<anna@kunde.example>")], "Question"),
        ("asks-for-a-receipt", [("Disposition-Notification-To", "anna@kunde.example")], "Question"),
        ("subject", [], "Why do I get an automatic reply?"),
        ("talks-of-bounces", [], "Undelivered mail returned to me, please help"),
    ]
    return [
        Mail(
            f"person-{name}",
            message(envelope(f"person.{name}@kunde.example", subject=subject, hours=810, more=fields), "hello"),
            says=("hello",),
        )
        for name, fields, subject in marks
    ]


def _dsn(name: str, blocks: str, *, copy: bool = True, headers_only: bool = False, **known: Any) -> Mail:
    parts = [
        part("text/plain; charset=us-ascii", "This is the mail system. I'm sorry.\n"),
        part("message/delivery-status", f"Reporting-MTA: dns; mx.kunde.example\nArrival-Date: x\n\n{blocks}"),
    ]
    if copy:
        parts.append(part("text/rfc822-headers" if headers_only else "message/rfc822", _COPY))
    whole = multipart('report; report-type="delivery-status"', *parts)
    fields = envelope(f"dsn.{name}@mx.kunde.example", _DAEMON, "Undelivered Mail Returned to Sender", hours=820)
    raw = within([("Return-Path", "<>"), *fields, ("Auto-Submitted", "auto-replied")], whole)
    return Mail(f"dsn-{name}", raw, **known)


def _block(action: str, status: str, diagnostic: str = "", to: str = "gone@kunde.example") -> str:
    said = f"Diagnostic-Code: smtp; {diagnostic}\n" if diagnostic else ""
    return f"Final-Recipient: rfc822; {to}\nAction: {action}\nStatus: {status}\n{said}"


def _reports() -> list[Mail]:
    failed: dict[str, Any] = {"kind": "receipt", "status": ("failed",), "about": SENT}
    unknown = "550 5.1.1 <gone@kunde.example>: Recipient address rejected: User unknown"
    return [
        _dsn("unknown", _block("failed", "5.1.1", unknown), permanent=(True,), reason="User unknown", **failed),
        _dsn(
            "full",
            _block("failed", "4.2.2", "452 4.2.2 mailbox full"),
            permanent=(False,),
            reason="4.2.2",
            **failed,
        ),
        _dsn("expired", _block("failed", "4.4.7"), permanent=(False,), reason="4.4.7", **failed),
        _dsn("policy", _block("failed", "5.7.1", "550 5.7.1 blocked"), permanent=(True,), **failed),
        _dsn("no-status", _block("failed", "", "550 no such user"), permanent=(True,), **failed),
        _dsn("bad-status", _block("failed", "5.0.0 (permanent failure)"), permanent=(True,), **failed),
        _dsn("headers-only", _block("Failed", "5.1.1"), headers_only=True, permanent=(True,), **failed),
        _dsn(
            "two-recipients",
            _block("failed", "5.1.1") + "\n" + _block("failed", "4.2.2", to="full@kunde.example"),
            kind="receipt",
            status=("failed", "failed"),
            permanent=(True, False),
            about=SENT,
        ),
        _dsn(
            "mixed",
            _block("delivered", "2.0.0", to="ok@kunde.example") + "\n" + _block("failed", "5.1.1"),
            kind="receipt",
            status=("delivered", "failed"),
            about=SENT,
        ),
        _dsn("delivered", _block("delivered", "2.1.5"), kind="receipt", status=("delivered",), about=SENT),
        _dsn("relayed", _block("relayed", "2.1.9"), kind="receipt", status=("delivered",), about=SENT),
        _dsn("delayed", _block("delayed", "4.4.1"), automatic=True, says=("mail system",)),
        _dsn("without-the-message", _block("failed", "5.1.1"), copy=False, automatic=True),
        _dsn("without-blocks", "", automatic=True),
        _dsn(
            "original-recipient",
            "Original-Recipient: rfc822;asked@kunde.example\n" + _block("failed", "5.1.1"),
            address="asked@kunde.example",
            permanent=(True,),
            **failed,
        ),
        _dsn("utf8", "Final-Recipient: utf-8; jörg@kunde.example\nAction: failed\nStatus: 5.1.1\n", **failed),
        _feedback(),
    ]


def _feedback() -> Mail:
    whole = multipart(
        "report; report-type=feedback-report",
        part("text/plain", "This is an abuse report"),
        part("message/feedback-report", "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\n"),
        part("message/rfc822", _COPY),
    )
    fields = envelope("arf.0001@feedback.example", "Feedback <feedback@provider.example>", "FW: Offer", hours=830)
    return Mail("complaint", within(fields, whole), automatic=True, says=("abuse report",))


def _for_people() -> list[Mail]:
    """Bounces that no standard describes."""
    failed: dict[str, Any] = {"kind": "receipt", "status": ("failed",), "about": SENT}
    qmail = (
        "Hi. This is the qmail-send program at mx.kunde.example.\nI'm afraid I wasn't able to deliver it.\n\n"
        "<gone@kunde.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        f"--- Below this line is a copy of the message.\n\n{_COPY}"
    )
    exim = (
        "This message was created automatically by mail delivery software.\n\n  gone@kunde.example\n"
        "    host mx.kunde.example [192.0.2.1]\n    SMTP error from remote mail server after RCPT TO:\n"
        "    550 No such user here\n\n------ This is a copy of the message, including all the headers. ------\n\n"
    )
    appliance = (
        "Your message could not be delivered to <gone@kunde.example>.\n\n"
        "Error: 552 5.2.2 Mailbox is over quota, 450 items\n\n"
        "---- Original message ----\n" + "".join(f"> {line}\n" for line in _COPY.split("\n"))
    )
    soft = f"<gone@kunde.example>: 451 4.3.0 try again later\n\nHeaders of the message:\nMessage-ID: <{SENT}>\n"
    daemon = [("Return-Path", "<>")]
    bounces: list[tuple[str, str, str, Fields, str, bool]] = [
        ("qmail", "failure notice", "MAILER-DAEMON@mx.kunde.example", daemon, qmail, True),
        (
            "exim",
            "Mail delivery failed: returning message to sender",
            "Mailer-Daemon@mx.kunde.example",
            [("X-Failed-Recipients", "gone@kunde.example"), ("Auto-Submitted", "auto-replied")],
            exim + _COPY,
            True,
        ),
        ("appliance", "Undeliverable: Offer", "postmaster@kunde.example", [], appliance, True),
        ("soft", "Returned mail: see transcript", "MAILER-DAEMON@x.example", daemon, soft, False),
        (
            "german",
            "Unzustellbar: Offer",
            "postmaster@kunde.example",
            [("In-Reply-To", f"<{SENT}>")],
            "Der Empfänger gone@kunde.example wurde nicht gefunden: 550 5.1.10",
            True,
        ),
        (
            "no-code",
            "Undelivered Mail",
            "MAILER-DAEMON@x.example",
            [("References", f"<{SENT}>")],
            "it did not work",
            False,
        ),
    ]
    mails = [
        Mail(
            f"bounce-{name}",
            message(
                [
                    *fields,
                    *envelope(f"bounce.{name}@x.example", sender, subject, hours=840),
                    ("Content-Type", "text/plain; charset=utf-8"),
                ],
                text,
            ),
            permanent=(permanent,),
            **failed,
        )
        for name, subject, sender, fields, text, permanent in bounces
    ]
    return [
        *mails,
        Mail(
            "bounce-of-nothing",
            message(
                [
                    *daemon,
                    *envelope(
                        "bounce.nothing@x.example", "MAILER-DAEMON@x.example", "Undelivered Mail", hours=841
                    ),
                ],
                "no idea which",
            ),
            automatic=True,
        ),
        Mail(
            "bounce-delay",
            message(
                [
                    *daemon,
                    *envelope(
                        "bounce.delay@x.example",
                        "MAILER-DAEMON@x.example",
                        "Delivery Status Notification (Delay)",
                        hours=842,
                    ),
                ],
                f"will be retried, 421 4.4.1\n\nMessage-ID: <{SENT}>",
            ),
            automatic=True,
        ),
    ]


def _receipts() -> list[Mail]:
    def mdn(name: str, disposition: str, status: str, *, original: bool = True) -> Mail:
        block = f"Reporting-UA: x; y\nFinal-Recipient: rfc822;anna@kunde.example\nDisposition: {disposition}\n"
        block += f"Original-Message-ID: <{SENT}>\n" if original else ""
        whole = multipart(
            "report; report-type=disposition-notification",
            part("text/plain", "Your message was read."),
            part("message/disposition-notification", block),
        )
        raw = within(envelope(f"mdn.{name}@kunde.example", subject="Read: Offer", hours=850), whole)
        if not status:
            return Mail(f"mdn-{name}", raw, automatic=False, says=("was read",))
        return Mail(f"mdn-{name}", raw, kind="receipt", status=(status,), about=SENT, address="anna@kunde.example")

    return [
        mdn("read", "manual-action/MDN-sent-manually; displayed", "read"),
        mdn("read-by-machine", "automatic-action/MDN-sent-automatically; displayed", "read"),
        mdn("deleted", "manual-action/MDN-sent-manually; deleted", "delivered"),
        mdn("no-original", "manual-action/MDN-sent-manually; displayed", "", original=False),
    ]
