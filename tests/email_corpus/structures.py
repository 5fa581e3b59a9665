"""Messages of many parts: attachments, pictures, forwarded mail, invitations, and what is broken about them."""

from __future__ import annotations

from typing import Any

from .build import PNG, Mail, Text, envelope, message, multipart, part, pdf, within

_TNEF = bytes.fromhex("789f3e22010001") + bytes(range(64)) * 8
_ICS = (
    "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nSUMMARY:Visit of the plant\n"
    "DTSTART;TZID=Europe/Zurich:20260310T090000\nLOCATION:Hall 4\\, Winterthur\n"
    "DESCRIPTION:Bring \n helmets\nEND:VEVENT\nEND:VCALENDAR\n"
)


def structures() -> list[Mail]:
    return [*_attachments(), *_names(), *_bodies(), *_forwarded(), *_special(), *_broken()]


def _mail(name: str, whole: bytes, **known: Any) -> Mail:
    return Mail(name, within(envelope(f"{name}@kunde.example", subject=name), whole), **known)


def _hello(text: str = "see attached") -> bytes:
    return part("text/plain; charset=utf-8", text)


def _attached(name: Text, data: bytes = pdf(), kind: str = "application/pdf") -> bytes:
    disposition = b'attachment; filename="' + (name if isinstance(name, bytes) else name.encode()) + b'"'
    return part(kind, data, encoding="base64", disposition=disposition)


def _attachments() -> list[Mail]:
    related = multipart(
        "related",
        part("text/html", '<p>Hello <img src="cid:logo@1"></p>'),
        part("image/png", PNG, encoding="base64", disposition="inline", more=[("Content-ID", "<logo@1>")]),
        boundary="rel",
    )
    alternative = multipart("alternative", _hello("plain hello"), related, boundary="alt")
    return [
        _mail(
            "one-attachment",
            multipart("mixed", _hello(), _attached("offer.pdf")),
            files=("offer.pdf",),
            sizes=(909,),
            says=("see attached",),
        ),
        _mail(
            "three-attachments",
            multipart("mixed", _hello(), *(_attached(f"{n}.pdf", pdf(n)) for n in (1, 2, 3))),
            files=("1.pdf", "2.pdf", "3.pdf"),
            sizes=(10, 11, 12),
        ),
        _mail(
            "the-usual-tree",
            multipart("mixed", alternative, _attached("a.pdf"), boundary="mix"),
            says=("plain hello",),
            files=("attachment-1.png", "a.pdf"),
        ),
        _mail("inline-picture", related, says=("Hello",), files=("attachment-1.png",), sizes=(len(PNG),)),
        _mail(
            "text-file-attached",
            multipart("mixed", _hello(), _attached("notes.txt", b"not the body", "text/plain")),
            says=("see attached",),
            never=("not the body",),
            files=("notes.txt",),
        ),
        _mail(
            "html-file-attached",
            multipart("mixed", _hello(), _attached("page.html", b"<p>not the body</p>", "text/html")),
            never=("not the body",),
            files=("page.html",),
        ),
        _mail(
            "inline-text-with-a-name",
            multipart("mixed", _hello(), part("text/plain; name=log.txt", "a log", disposition="inline")),
            never=("a log",),
            files=("log.txt",),
        ),
        _mail(
            "empty-attachment",
            multipart("mixed", _hello(), _attached("empty.dat", b"")),
            files=("empty.dat",),
            sizes=(0,),
        ),
        _mail(
            "same-name-twice",
            multipart("mixed", _hello(), _attached("a.pdf", pdf(1)), _attached("a.pdf", pdf(2))),
            files=("a.pdf", "a.pdf"),
        ),
        _mail(
            "only-an-attachment",
            part("application/pdf", pdf(), encoding="base64", disposition="attachment; filename=fax.pdf"),
            files=("fax.pdf",),
        ),
        _mail(
            "attachments-first",
            multipart("mixed", _attached("a.pdf"), _hello("text behind")),
            says=("text behind",),
            files=("a.pdf",),
        ),
        _mail(
            "text-picture-text",
            multipart(
                "mixed",
                _hello("before"),
                part("image/jpeg; name=x.jpg", b"\xff\xd8\xff\xe0", encoding="base64", disposition="inline"),
                _hello("after"),
            ),
            says=("before", "after"),
            files=("x.jpg",),
        ),
        _mail(
            "two-hundred-and-fifty-files",
            multipart("mixed", _hello(), *(_attached(f"{n}.bin", b"x") for n in range(250))),
            says=("see attached",),
        ),
    ]


def _names() -> list[Mail]:
    """Names of files, in all the ways they are written."""
    long = "x" * 400
    dispositions: list[tuple[str, Text, str]] = [
        ("rfc2231", "attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
        ("rfc2231-latin1", "attachment; filename*=iso-8859-1'de'Gr%FC%DFe.pdf", "Grüße.pdf"),
        (
            "rfc2231-continued",
            "attachment; filename*0*=utf-8''%E8%A6%8B%E7%A9; filename*1*=%8D%E6%9B%B8; filename*2=.pdf",
            "見積書.pdf",
        ),
        ("rfc2231-unordered", "attachment; filename*1=b.pdf; filename*0=a", "ab.pdf"),
        ("rfc2047", 'attachment; filename="=?utf-8?B?R3LDvMOfZS5wZGY=?="', "Grüße.pdf"),
        ("rfc2047-bare", "attachment; filename==?iso-8859-1?Q?Gr=FC=DFe.pdf?=", "Grüße.pdf"),
        ("raw-utf8", 'attachment; filename="Grüße.pdf"'.encode(), "Grüße.pdf"),
        ("raw-latin1", 'attachment; filename="Grüße für Zürich.pdf"'.encode("latin-1"), "Grüße für Zürich.pdf"),
        ("unquoted", "attachment; filename=my offer.pdf", "my offer.pdf"),
        ("semicolon", 'attachment; filename="a;b.pdf"', "a;b.pdf"),
        ("quotes", r'attachment; filename="the \"best\".pdf"', "the _best_.pdf"),
        ("windows-path", r'attachment; filename="C:\\Users\\anna\\offer.pdf"', "offer.pdf"),
        ("climbing", "attachment; filename=../../etc/passwd", "passwd"),
        ("dots", "attachment; filename=..", "attachment-1.pdf"),
        ("nothing", "attachment", "attachment-1.pdf"),
        ("long", f"attachment; filename={long}.pdf", "x" * 180 + ".pdf"),
        ("nul", b'attachment; filename="a\0b.pdf"', "ab.pdf"),
        ("newline", "attachment; filename*=utf-8''a%0D%0AX-Evil%3A%201.pdf", "a X-Evil_ 1.pdf"),
        ("huge-number", f"attachment; filename*{'9' * 5000}=a; filename=b.pdf", "b.pdf"),
    ]
    return [
        _mail(
            f"name-{name}",
            multipart("mixed", _hello(), part("application/pdf", pdf(), encoding="base64", disposition=value)),
            files=(expected,),
            says=("see attached",),
        )
        for name, value, expected in dispositions
    ]


def _bodies() -> list[Mail]:
    html = (
        "<html><head><title>no title</title><style>p {color: red}</style><script>alert(1)</script></head><body>"
        "<p>Dear&nbsp;all,</p><ul><li>first</li><li>second</li></ul><table><tr><td>a</td><td>b</td></tr></table>"
        '<p>See <a href="https://kunde.example/x?a=1&amp;b=2">our page</a></p></body></html>'
    )
    return [
        _mail(
            "html-only",
            part("text/html; charset=utf-8", html),
            says=("Dear all,", "- first\n- second", "a b", "our page <https://kunde.example/x?a=1&b=2>"),
            never=("no title", "color: red", "alert"),
            files=(),
        ),
        _mail(
            "empty-text-and-html",
            multipart("alternative", _hello("  \n"), part("text/html", "<p>only in HTML</p>")),
            says=("only in HTML",),
        ),
        _mail(
            "html-before-text",
            multipart("alternative", part("text/html", "<p>the HTML</p>"), _hello("the text")),
            says=("the text",),
            never=("the HTML",),
        ),
        _mail(
            "alternative-in-alternative",
            multipart(
                "alternative",
                multipart("alternative", _hello("inner text"), part("text/html", "<p>inner</p>"), boundary="in"),
            ),
            says=("inner text",),
        ),
        _mail(
            "html-with-a-text-footer",
            multipart("mixed", part("text/html", "<p>the body</p>"), _hello("footer of a list")),
            says=("the body", "footer of a list"),
        ),
        _mail("enriched", part("text/enriched", "<bold>Hello</bold> you"), says=("Hello you",)),
        _mail("no-body", b"", says=(), files=()),
        _mail("unknown-text", part("text/x-weird", "some text"), files=("attachment-1",)),
        _mail("html-nested-too-deep", part("text/html", "<div>" * 60_000 + "deep"), files=("message.html",)),
        _mail("html-never-closed", part("text/html", "<p>open <b>ended <i>tags <a href='x"), says=("open ended",)),
        _mail(
            "script-in-html",
            part("text/html", "<p>Hi</p><img src=x onerror=alert(1)><script>evil()</script>"),
            says=("Hi",),
            never=("evil", "alert"),
        ),
        _mail("long-text", part("text/plain", "0123456789\n" * 120_000), files=("message.txt",)),
        _mail("one-long-line", part("text/plain", "x" * 200_000), says=("x" * 1000,), files=()),
    ]


def _forwarded() -> list[Mail]:
    inner = within(
        envelope("inner.original@other.example", "Karl <karl@other.example>", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
        multipart("mixed", _hello("inside"), _attached("inner.pdf"), boundary="inner"),
        eol="\n",
    )
    forward = part("message/rfc822", inner, disposition="attachment")
    twice = part(
        "message/rfc822",
        within(
            envelope("forward.of.forward@x.example", subject="Fwd"),
            multipart("mixed", forward, boundary="o"),
            eol="\n",
        ),
    )
    return [
        _mail(
            "forwarded-as-attachment",
            multipart("mixed", _hello("please look"), forward, boundary="outer"),
            says=("please look",),
            never=("inside",),
            files=("Grüße.eml",),
            sizes=(len(inner.replace(b"\n", b"\r\n")),),
        ),
        _mail("forwarded-alone", forward, files=("Grüße.eml",)),
        _mail("forwarded-twice", multipart("mixed", _hello("fyi"), twice, boundary="oo"), files=("Fwd.eml",)),
        _mail(
            "forwarded-in-the-text",
            _hello(
                "see below\n\n---------- Forwarded message ---------\nFrom: Karl <karl@other.example>\n\nhello"
            ),
            says=("see below", "karl@other.example"),
            address="anna@kunde.example",
        ),
        _mail(
            "digest",
            multipart(
                "digest", message([("Subject", "one")], "1"), message([("Subject", "two")], "2"), boundary="d"
            ),
        ),
        _mail(
            "partial",
            part("message/partial; id=x; number=1; total=2", "Subject: half\n\nof a message"),
        ),
        _mail(
            "external-body",
            multipart(
                "mixed", _hello(), part("message/external-body; access-type=URL", "Content-Type: image/gif\n\n")
            ),
            says=("see attached",),
        ),
    ]


def _special() -> list[Mail]:
    invitation = part("text/calendar; method=REQUEST; charset=utf-8", _ICS)
    return [
        _mail(
            "invitation",
            multipart("alternative", _hello("You are invited"), part("text/html", "<p>invited</p>"), invitation),
            says=("You are invited",),
            files=("attachment-1.ics",),
        ),
        _mail(
            "invitation-alone",
            invitation,
            says=("Visit of the plant", "Location: Hall 4, Winterthur", "Bring helmets"),
            files=("attachment-1.ics",),
        ),
        _mail(
            "winmail.dat",
            multipart("mixed", _hello("from Outlook"), _attached("winmail.dat", _TNEF, "application/ms-tnef")),
            says=("from Outlook",),
            files=("winmail.dat",),
            sizes=(len(_TNEF),),
        ),
        _mail(
            "signed",
            multipart(
                "signed", _hello("signed text"), _attached("smime.p7s", pdf(), "application/pkcs7-signature")
            ),
            says=("signed text",),
            files=("smime.p7s",),
        ),
        _mail(
            "encrypted-smime",
            part("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", pdf(), encoding="base64"),
            files=("smime.p7m",),
        ),
        _mail(
            "encrypted-pgp",
            multipart(
                "encrypted",
                part("application/pgp-encrypted", "Version: 1"),
                part("application/octet-stream; name=encrypted.asc", "-----BEGIN PGP MESSAGE-----"),
            ),
            files=("attachment-1.pgp", "encrypted.asc"),
        ),
        _mail("business-card", multipart("mixed", _hello(), _attached("anna.vcf", b"BEGIN:VCARD", "text/vcard"))),
        _mail(
            "uuencoded",
            part(
                "application/octet-stream; name=cat.txt",
                "begin 644 cat.txt\n#0V%T\n \nend\n",
                encoding="x-uuencode",
            ),
            files=("cat.txt",),
            sizes=(3,),
        ),
        _mail(
            "appledouble",
            multipart(
                "mixed",
                _hello(),
                multipart(
                    "appledouble",
                    part("application/applefile; name=a.pdf", b"\0\5\x16\7", encoding="base64"),
                    _attached("a.pdf"),
                    boundary="ad",
                ),
                boundary="out",
            ),
            files=("a.pdf", "a.pdf"),
        ),
    ]


def _broken() -> list[Mail]:
    deep = _hello("at the bottom")
    for level in range(60):
        deep = multipart("mixed", deep, boundary=f"level-{level}")
    nearly = _hello("at the bottom")
    for level in range(25):
        nearly = multipart("mixed", nearly, boundary=f"level-{level}")
    truncated = multipart("mixed", _hello(), _attached("a.pdf", pdf(3000)))[:-900]
    return [
        _mail("never-closed", multipart("mixed", _hello(), _attached("a.pdf"), close=False), files=("a.pdf",)),
        _mail("cut-off", truncated, says=("see attached",), files=("a.pdf",)),
        _mail(
            "no-boundary", b"Content-Type: multipart/mixed\n\n--x\n\ntext anyway\n--x--\n", says=("text anyway",)
        ),
        _mail(
            "wrong-boundary",
            b'Content-Type: multipart/mixed; boundary="a"\n\n--b\n\ntext anyway\n--b--\n',
            says=("text anyway",),
        ),
        _mail(
            "boundary-with-blanks",
            multipart("mixed", _hello("text"), _attached("a.pdf"), boundary="a b c"),
            files=("a.pdf",),
            says=("text",),
        ),
        _mail(
            "boundary-of-a-boundary",
            multipart(
                "mixed",
                multipart("alternative", _hello("inner"), boundary="x-1"),
                _attached("a.pdf"),
                boundary="x",
            ),
            files=("a.pdf",),
            says=("inner",),
        ),
        _mail("no-parts", b"Content-Type: multipart/mixed; boundary=x\n\n--x--\n"),
        _mail("sixty-levels", deep),
        _mail("twenty-five-levels", nearly, says=("at the bottom",), files=()),
        _mail("three-thousand-parts", multipart("mixed", *[_hello("p")] * 3000), files=("message.eml",)),
        _mail(
            "bad-base64",
            part("text/plain", "SGVsbG8gd29ybGQ*=!\nfooter of a list", encoding=None, more=[]).replace(
                b"text/plain\n", b"text/plain\nContent-Transfer-Encoding: base64\n"
            ),
            says=("Hello world",),
        ),
        _mail(
            "bad-quoted-printable",
            b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n100=% sure =C3=BC=ZZ=",
            says=("sure ü",),
        ),
        _mail(
            "unknown-encoding",
            b"Content-Type: text/plain\nContent-Transfer-Encoding: x-rot26\n\nplain anyway",
            says=("plain anyway",),
        ),
        _mail("bad-type", b"Content-Type: text\n\nstill text", says=("still text",)),
        _mail("type-is-junk", b"Content-Type: ;;;===\n\nstill text", says=("still text",)),
        _mail("no-mime-fields", b"\njust text", says=("just text",), files=()),
    ]
