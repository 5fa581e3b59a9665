"""Header fields that are missing, doubled, forged or huge; senders in all their forms; what is no mail at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .build import MAILBOX, START, Fields, Mail, Text, envelope, message, when

_AT = START + timedelta(hours=900)


def oddities() -> list[Mail]:
    return [*_senders(), *_dates(), *_ids(), *_fields(), *_line_ends(), *_unreadable()]


def _senders() -> list[Mail]:
    forms: list[tuple[str, Text, str]] = [
        ("bare", "anna@kunde.example", "anna@kunde.example"),
        ("angle", "<anna@kunde.example>", "anna@kunde.example"),
        ("comment", "anna@kunde.example (Anna Keller)", "anna@kunde.example"),
        ("comma-in-quotes", '"Keller, Anna" <anna@kunde.example>', "anna@kunde.example"),
        ("comma-without-quotes", "Keller, Anna <anna@kunde.example>", "anna@kunde.example"),
        ("at-in-name", '"anna@home" <anna@kunde.example>', "anna@kunde.example"),
        ("address-as-name", "anna@kunde.example <anna@kunde.example>", "anna@kunde.example"),
        ("encoded", "=?utf-8?B?SsO8cmc=?= <juerg@kunde.example>", "juerg@kunde.example"),
        ("encoded-in-quotes", '"=?utf-8?B?SsO8cmc=?=" <juerg@kunde.example>', "juerg@kunde.example"),
        ("encoded-comma", "=?utf-8?Q?Keller=2C_Anna?= <anna@kunde.example>", "anna@kunde.example"),
        ("encoded-whole", "=?utf-8?Q?J=C3=BCrg_=3Cjuerg=40kunde.example=3E?=", "juerg@kunde.example"),
        ("raw-utf8", "Jürg <juerg@kunde.example>", "juerg@kunde.example"),
        ("upper", "ANNA@KUNDE.EXAMPLE", "ANNA@KUNDE.EXAMPLE"),
        ("plus", "Anna <anna+pumps@kunde.example>", "anna+pumps@kunde.example"),
        ("international", "Jörg <jörg@bücher.example>", "jörg@bücher.example"),
        ("group", "Sales: anna@kunde.example, b@kunde.example;", "anna@kunde.example"),
        ("two", "anna@kunde.example, bruno@kunde.example", "anna@kunde.example"),
        ("blank-in-address", "Anna < anna@kunde.example >", "anna@kunde.example"),
        ("unclosed", "Anna <anna@kunde.example", "anna@kunde.example"),
        ("unclosed-quote", '"Anna <anna@kunde.example>', "anna@kunde.example"),
        ("folded", "Anna\n Keller\n <anna@kunde.example>", "anna@kunde.example"),
        ("route", "<@relay.example,@other.example:anna@kunde.example>", "anna@kunde.example"),
        ("long-name", "x" * 5000 + " <anna@kunde.example>", "anna@kunde.example"),
    ]
    mails = [
        Mail(
            f"sender-{name}",
            message(envelope(f"sender.{name}@kunde.example", value, hours=900), "hello"),
            address=address,
            says=("hello",),
        )
        for name, value, address in forms
    ]
    form = [("Reply-To", "Eva Meier <eva@kunde.example>")]
    others: list[tuple[str, list[tuple[str, Text]], str]] = [
        ("only-sender", [("Sender", "anna@kunde.example")], "anna@kunde.example"),
        ("only-reply-to", [("Reply-To", "anna@kunde.example")], "anna@kunde.example"),
        ("only-return-path", [("Return-Path", "<anna@kunde.example>")], "anna@kunde.example"),
        ("empty-from", [("From", ""), ("Sender", "anna@kunde.example")], "anna@kunde.example"),
        ("web-form", [("From", f"Web site <{MAILBOX}>"), *form], "eva@kunde.example"),
        ("web-form-of-a-service", [("From", "noreply@forms.example"), *form], "eva@kunde.example"),
        ("reply-to-of-a-person", [("From", "anna@kunde.example"), *form], "anna@kunde.example"),
        ("two-froms", [("From", "anna@kunde.example"), ("From", "eve@evil.example")], "anna@kunde.example"),
    ]
    return mails + [
        Mail(
            f"sender-{name}",
            message(
                [*fields, ("To", MAILBOX), ("Subject", name), ("Message-ID", f"<sender.{name}@x.example>")], "hi"
            ),
            address=address,
        )
        for name, fields, address in others
    ]


def _dates() -> list[Mail]:
    received = f"from a by b; {when(900)}"
    forms: list[tuple[str, str | None, datetime]] = [
        ("zone", "Wed, 08 Apr 2026 22:00:00 +0200", _AT),
        ("zone-name", "Wed, 08 Apr 2026 16:00:00 EDT", _AT),
        ("comment", "Wed, 8 Apr 2026 20:00:00 +0000 (UTC)", _AT),
        ("no-zone", "Wed, 08 Apr 2026 20:00:00", _AT),
        ("no-weekday", "8 Apr 2026 20:00:00 GMT", _AT),
        ("iso", "2026-04-08T20:00:00+00:00", _AT),
        ("wrong-weekday", "Mon, 08 Apr 2026 20:00:00 +0000", _AT),
        ("missing", None, _AT),
        ("junk", "yesterday, about noon", _AT),
        ("empty", "", _AT),
        ("1970", "Thu, 01 Jan 1970 00:00:00 +0000", _AT),
        ("1904", "Fri, 01 Jan 1904 00:00:00 +0000", _AT),
        ("future", "Sat, 01 Jan 2050 00:00:00 +0000", _AT),
        ("year-99999", "Wed, 08 Apr 99999 20:00:00 +0000", _AT),
        ("hour-25", "Wed, 08 Apr 2026 25:61:00 +0000", _AT),
        ("zone-9999", "Wed, 08 Apr 2026 20:00:00 +9999", _AT),
        ("last-year", "Tue, 08 Apr 2025 20:00:00 +0000", _AT),
    ]
    mails = []
    for name, value, expected in forms:
        fields = [
            (key, text)
            for key, text in envelope(f"date.{name}@kunde.example", hours=900)
            if key not in ("Date", "Received")
        ]
        dated: Fields = [] if value is None else [("Date", value)]
        known = None if name == "zone-9999" else expected
        mails.append(Mail(f"date-{name}", message([("Received", received), *fields, *dated], "x"), at=known))
    return mails


def _ids() -> list[Mail]:
    forms: list[tuple[str, Fields]] = [
        ("missing", []),
        ("empty", [("Message-ID", "")]),
        ("empty-brackets", [("Message-ID", "<>")]),
        ("no-brackets", [("Message-ID", "nobrackets.1@kunde.example")]),
        ("too-short", [("Message-ID", "<1@localhost>")]),
        ("no-domain", [("Message-ID", "<something>")]),
        ("two", [("Message-ID", "<two.first@kunde.example>"), ("Message-ID", "<two.second@kunde.example>")]),
        ("blank-within", [("Message-ID", "<blank. within@kunde.example>")]),
        ("long", [("Message-ID", f"<{'x' * 900}@kunde.example>")]),
        ("odd-characters", [("Message-ID", '<"a b"$%&=?@[192.0.2.1]>')]),
        ("not-ascii", [("Message-ID", "<grüße.aus@zürich.example>")]),
        ("answers-itself", [("Message-ID", "<itself.1@k.example>"), ("In-Reply-To", "<itself.1@k.example>")]),
    ]
    return [
        Mail(
            f"id-{name}",
            message([*envelope(None, subject=f"Id {name}", hours=910), *fields], f"text {name}"),
            says=(f"text {name}",),
        )
        for name, fields in forms
    ]


def _fields() -> list[Mail]:
    huge = ", ".join(f"Person {n} <person{n}@kunde.example>" for n in range(5000))
    references = " ".join(f"<reference.{n:06d}@kunde.example>" for n in range(20_000))
    forms: list[tuple[str, Fields, Text]] = [
        ("five-thousand-recipients", [("Cc", huge)], "x"),
        ("twenty-thousand-references", [("References", references)], "x"),
        ("one-field-of-2-mb", [("X-Spam-Report", "word " * 400_000)], "x"),
        ("ten-thousand-fields", [(f"X-{n}", "v") for n in range(10_000)], "x"),
        ("a-hundred-received", [("Received", f"by hop{n}; {when(899)}") for n in range(100)], "x"),
        ("nul-in-fields", [("X-Nul", b"a\0b"), ("Cc", b"b\0c@kunde.example")], b"te\0xt"),
        ("bare-carriage-return", [("X-Cr", "a\rSubject: injected")], "x"),
        ("undisclosed", [("Bcc", "undisclosed-recipients:;")], "x"),
        ("junk-line", [("this line has no colon\nX-A", "b")], "x"),
        ("language", [("Content-Language", "de-CH")], "x"),
    ]
    return [
        Mail(f"fields-{name}", message(envelope(f"fields.{name}@kunde.example", hours=920, more=fields), body))
        for name, fields, body in forms
    ]


def _line_ends() -> list[Mail]:
    def plain(id: str) -> list[tuple[str, Text]]:
        return envelope(id, subject="Line ends", hours=930)

    lf = message(plain("ends.lf.1@kunde.example"), "one\ntwo\n", eol="\n")
    cr = message(plain("ends.cr.1@kunde.example"), "one\ntwo\n", eol="\r")
    return [
        Mail("ends-lf", lf, subject="Line ends", says=("one\ntwo",)),
        Mail("ends-cr", cr, subject="Line ends", says=("one\ntwo",)),
        Mail(
            "mbox",
            b"From anna@kunde.example Mon Mar  2 08:00:00 2026\n" + lf.replace(b"lf.1", b"mbox"),
            says=("one",),
        ),
        Mail("byte-order-mark", b"\xef\xbb\xbf" + lf.replace(b"lf.1", b"bom.1"), subject="Line ends"),
        Mail("empty-lines-first", b"\r\n\r\n" + lf.replace(b"lf.1", b"empty"), subject="Line ends"),
        Mail("no-empty-line", lf.replace(b"lf.1", b"none.").replace(b"\n\n", b"\n"), subject="Line ends"),
        Mail("only-fields", lf.replace(b"lf.1", b"only.").partition(b"\n\n")[0], subject="Line ends"),
    ]


def _unreadable() -> list[Mail]:
    forms: list[tuple[str, bytes, str]] = [
        ("empty", b"", "empty"),
        ("blank", b"\r\n \r\n", "empty"),
        ("json", b'{"event": "bounce"}', "no header fields"),
        ("binary", bytes(range(256)) * 20, "no header fields"),
        ("html", b"<html><body>Sign in</body></html>", "no header fields"),
        ("no-sender", message([("To", MAILBOX), ("Subject", "Who?")], "text"), "no address in From"),
        ("sender-without-address", message([("From", "Anna"), ("Subject", "Who?")], "text"), "no address in From"),
        ("sender-is-hidden", message([("From", "undisclosed:;"), ("To", MAILBOX)], "text"), "no address in From"),
    ]
    return [Mail(f"unreadable-{name}", raw, kind="unreadable", reason=reason) for name, raw, reason in forms]


AT = datetime(2026, 4, 8, 20, 0, tzinfo=UTC)
"""Of messages whose date is tested."""
assert AT == _AT
