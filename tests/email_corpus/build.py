"""How messages of the corpus are put together: bytes, as programs of the real world write them."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

MAILBOX = "support@amity-crm.example"
OWN = frozenset({MAILBOX})
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
Text = str | bytes
Fields = Sequence[tuple[str, Text]]


@dataclass(frozen=True)
class Mail:
    """A message of the corpus, and what is known about it. None: nothing is claimed."""

    name: str
    raw: bytes
    kind: str = "message"
    """``message``, ``receipt`` or ``unreadable``."""
    thread: str | None = None
    """Messages with the same one belong to one conversation, and to no other."""
    address: str | None = None
    subject: str | None = None
    says: tuple[str, ...] = ()
    """What its text must hold."""
    never: tuple[str, ...] = ()
    """What its text must not hold."""
    files: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None
    automatic: bool = False
    sent: bool = False
    at: datetime | None = None
    status: tuple[str, ...] = ()
    """Of a receipt, for each recipient."""
    permanent: tuple[bool, ...] = ()
    about: str | None = None
    """The message id that receipts name."""
    reason: str | None = None


def octets(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def message(fields: Fields, body: Text = "", *, eol: str = "\r\n") -> bytes:
    """Fields and a body, with the line ends that are asked for."""
    head = b"".join(octets(name) + b": " + octets(value) + b"\n" for name, value in fields)
    return (head + b"\n" + octets(body)).replace(b"\r\n", b"\n").replace(b"\n", eol.encode())


def when(hours: float) -> str:
    return format_datetime(START + timedelta(hours=hours))


def envelope(
    id: str | None,
    sender: Text = "Anna Keller <anna@kunde.example>",
    subject: Text = "Question",
    *,
    to: Text = f"Support <{MAILBOX}>",
    hours: float = 0,
    more: Fields = (),
) -> list[tuple[str, Text]]:
    """The fields that nearly all messages have."""
    fields: list[tuple[str, Text]] = [
        ("Received", f"from mx.kunde.example by mail.amity-crm.example; {when(hours)}"),
        ("From", sender),
        ("To", to),
        ("Subject", subject),
        ("Date", when(hours)),
    ]
    if id is not None:
        fields.append(("Message-ID", f"<{id}>"))
    return [*fields, ("MIME-Version", "1.0"), *more]


def part(
    kind: str,
    data: Text,
    *,
    encoding: str | None = None,
    disposition: Text | None = None,
    more: Fields = (),
) -> bytes:
    fields: list[tuple[str, Text]] = [("Content-Type", kind)]
    if disposition is not None:
        fields.append(("Content-Disposition", disposition))
    if encoding is not None:
        fields.append(("Content-Transfer-Encoding", encoding))
    return message([*fields, *more], encoded(octets(data), encoding), eol="\n")


def encoded(data: bytes, encoding: str | None) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(data)
    if encoding == "quoted-printable":
        return quopri.encodestring(data)
    return data


def multipart(
    kind: str, *parts: bytes, boundary: str = "=_next-part", close: bool = True, quoted: bool = True
) -> bytes:
    """A part of parts."""
    shown = f'"{boundary}"' if quoted else boundary
    inside = b"".join(f"--{boundary}\n".encode() + one + b"\n" for one in parts)
    end = f"--{boundary}--\n".encode() if close else b""
    return f"Content-Type: multipart/{kind}; boundary={shown}\n\n".encode() + inside + end


def within(fields: Fields, whole: bytes, *, eol: str = "\r\n") -> bytes:
    """A message whose body is a part with fields of its own, like what ``multipart`` makes."""
    head = b"".join(octets(name) + b": " + octets(value) + b"\n" for name, value in fields)
    return (head + whole).replace(b"\r\n", b"\n").replace(b"\n", eol.encode())


def pdf(size: int = 900) -> bytes:
    """Bytes that are no text, the same ones each time."""
    return b"%PDF-1.4\n" + bytes((n * 37 + n // 251) % 256 for n in range(size))


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
