"""The parts of a message: its text, its HTML, its files, and reports of mail servers."""

from __future__ import annotations

import binascii
import mimetypes
import re
from dataclasses import dataclass, field
from email.feedparser import BytesFeedParser
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from typing import Any
from urllib.parse import unquote

from amity.messages import Media

from .charsets import clean, decode_text
from .headers import Headers, decode_base64, parameter
from .text import html_of_text, is_overnested, text_of_calendar, text_of_html, unflowed

MAX_DEPTH = 30
"""Multiparts within each other; what is deeper is kept as a file."""
MAX_PARTS = 2_000
MAX_FILES = 200
MAX_TEXT = 1_000_000
"""Characters of text, and of HTML; a longer one is kept as a file."""
REPORTS = frozenset(
    {
        "message/delivery-status",
        "message/disposition-notification",
        "message/global-delivery-status",
        "message/global-disposition-notification",
        "message/feedback-report",
    }
)
_BODIES = frozenset({"text/plain", "text/html", "text/enriched", "text/richtext"})
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,70}/[a-z0-9][a-z0-9!#$&^_.+-]{0,70}")


_SHOWN = re.compile(r"(?i)cid:([^\s\"'<>)]{1,300})")


class TooManyParts(Exception):
    """Raised for a message with more parts than anybody sends."""


class Part(Message):
    """A part, whose parser neither opens what is forwarded, nor goes deeper than MAX_DEPTH."""

    def __init__(self, policy: Any = compat32) -> None:
        super().__init__(policy)
        self.depth = 0
        self.count = [0]
        self.parts: list[Part] = []
        self.body: Any = ""

    def attach(self, payload: Any) -> None:
        payload.depth = self.depth + 1
        payload.count = self.count
        payload.count[0] += 1
        if payload.count[0] > MAX_PARTS:
            raise TooManyParts
        self.parts.append(payload)
        super().attach(payload)

    def set_payload(self, payload: Any, charset: Any = None) -> None:
        self.body = payload
        super().set_payload(payload, charset)

    @property
    def octets(self) -> bytes:
        """Its body as it came. ``get_payload`` would decode it by any codec that it names."""
        if not isinstance(self.body, str):
            return b""
        data = self.body.encode("utf-8", "surrogateescape")
        if self.depth == 0:
            return data
        # the last line end belongs to the boundary
        return data.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def kind(self) -> str:
        """The media type as it is said, or the default."""
        return super().get_content_type()

    def get_content_type(self) -> str:
        """What the parser goes by."""
        kind = self.kind
        closed = kind.startswith("message/") or self.depth >= MAX_DEPTH
        return "application/octet-stream" if closed else kind

    def get_boundary(self, failobj: Any = None) -> Any:
        found = parameter(Headers(self).raw("content-type"), "boundary")
        return failobj if found is None else found.rstrip()


@dataclass
class Content:
    """What a message holds."""

    text: str | None = None
    html: str | None = None
    media: list[Media] = field(default_factory=list)
    reports: list[tuple[str, bytes]] = field(default_factory=list)
    """Machine-readable reports of mail servers."""
    returned: list[bytes] = field(default_factory=list)
    """Messages, or their header fields, that are enclosed."""
    cut: bool = False
    """Whether something of it is in none of the above."""
    calendar: str | None = None


@dataclass(frozen=True)
class _Piece:
    """A part of the body: text, HTML, or the same in both."""

    text: str | None
    html: str | None


def parse_parts(raw: bytes) -> Part:
    """The tree of a message. Raises :class:`TooManyParts`, RecursionError."""
    parser = BytesFeedParser(Part)
    parser.feed(raw)
    return parser.close()


def parse_head(raw: bytes) -> Headers:
    """The header fields of a message, whatever follows."""
    return Headers(BytesHeaderParser().parsebytes(raw[: 4 * MAX_TEXT]))


def content_of(message: Part) -> Content:
    """The text, HTML and files of a parsed message."""
    content = Content()
    pieces = _pieces(message, content, root=True)
    htmls = [piece for piece in pieces if piece.html is not None]
    if htmls:
        content.html = "\n".join(
            piece.html if piece.html is not None else html_of_text(piece.text or "") for piece in pieces
        )
    texts = [_text_of(piece) for piece in pieces]
    content.text = "\n\n".join(text.strip("\n") for text in texts if text.strip()) or None
    if content.text is None and content.calendar is not None:
        content.text = text_of_calendar(content.calendar)
    _limit(content)
    shown = {unquote(name).lower() for name in _SHOWN.findall(content.html or "")}
    content.media = [
        Media(
            name=item.name,
            media_type=item.media_type,
            data=item.data,
            content_id=item.content_id,
            inline=item.content_id is not None and item.content_id.lower() in shown,
            size=item.size,
        )
        for item in content.media
    ]
    return content


def _text_of(piece: _Piece) -> str:
    if piece.text is not None and piece.text.strip():
        return piece.text
    return text_of_html((piece.html or "")[: 2 * MAX_TEXT])


def _limit(content: Content) -> None:
    """What is too long, or dangerous to sanitize, goes to a file instead."""
    if content.html is not None and (len(content.html) > MAX_TEXT or is_overnested(content.html)):
        _add_file(content, "message.html", "text/html", content.html.encode())
        content.html = None
    if content.text is not None and len(content.text) > MAX_TEXT:
        _add_file(content, "message.txt", "text/plain", content.text.encode())
        content.text = content.text[:MAX_TEXT]


def _pieces(part: Part, content: Content, *, root: bool = False, related: bool = False) -> list[_Piece]:
    if not part.parts:
        return _leaf(part, content, root=root, related=related)
    if part.kind == "multipart/alternative":
        return _alternative([_pieces(child, content) for child in part.parts])
    if part.kind == "multipart/related":
        found: list[_Piece] = []
        for child in part.parts:
            # programs that put their text behind the pictures exist
            found += _pieces(child, content, related=bool(found))
        return found
    return [piece for child in part.parts for piece in _pieces(child, content)]


def _alternative(choices: list[list[_Piece]]) -> list[_Piece]:
    """The best HTML and the best text of the same body."""
    filled = [pieces for pieces in choices if pieces]
    html = next((p for p in reversed(filled) if any(piece.html is not None for piece in p)), None)
    text = next((p for p in filled if all(piece.html is None for piece in p) and _said(p)), None)
    if html is None or text is None:
        return html or text or []
    if all(piece.html is None or not piece.html.strip() for piece in html):
        return text
    joined = "\n".join(piece.html if piece.html is not None else html_of_text(piece.text or "") for piece in html)
    return [_Piece(_said(text), joined)]


def _said(pieces: list[_Piece]) -> str:
    return "\n\n".join(piece.text for piece in pieces if piece.text and piece.text.strip())


def _leaf(part: Part, content: Content, *, root: bool, related: bool) -> list[_Piece]:
    headers = Headers(part)
    kind = part.kind
    disposition = headers.raw("content-disposition")
    said = headers.raw("content-type")
    data = _data(part, headers)
    if kind in REPORTS:
        content.reports.append((kind, data))
        return []
    if kind in ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers"):
        content.returned.append(data)
    name = parameter(disposition, "filename") or parameter(said, "name") or ""
    attached = disposition.lower().startswith("attachment") or (bool(name) and not root) or related
    if kind in _BODIES and not attached:
        return _body(kind, data, said)
    if kind.startswith("multipart/") and part.depth < MAX_DEPTH:
        # its boundary is not said, or found nowhere
        return [_Piece(decode_text(data, None), None)]
    if kind == "text/calendar" and content.calendar is None:
        content.calendar = decode_text(data, parameter(said, "charset"))
    if not data and not name:
        return []
    if not _TYPE.fullmatch(kind):
        kind = "application/octet-stream"
    file = _file_name(name, kind, data, len(content.media) + 1)
    content_id = clean(headers.raw("content-id")).strip().strip("<>").strip()[:300] or None
    _add_file(content, file, kind, data, content_id)
    return []


def _body(kind: str, data: bytes, said: str) -> list[_Piece]:
    charset = parameter(said, "charset")
    if kind == "text/html":
        if charset is None:
            meta = re.search(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,50})", data[:2048], re.I)
            charset = meta[1].decode("ascii") if meta else None
        return [_Piece(None, decode_text(data, charset))]
    text = decode_text(data, charset)
    if kind in ("text/enriched", "text/richtext"):
        text = re.sub(r"<[^<>\n]{0,60}>", "", text).replace("<<", "<")
    elif (parameter(said, "format") or "").lower() == "flowed":
        text = unflowed(text, delsp=(parameter(said, "delsp") or "").lower() == "yes")
    return [_Piece(text, None)]


def _data(part: Part, headers: Headers) -> bytes:
    data = part.octets
    encoding = headers.raw("content-transfer-encoding").lower().split(";")[0].strip().strip("\"'")
    if encoding == "base64":
        return decode_base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        return _uudecoded(data)
    return data


def _uudecoded(data: bytes) -> bytes:
    lines = data.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.startswith(b"begin ")), None)
    found = bytearray()
    for line in lines[begin + 1 :] if begin is not None else ():
        if line.strip() == b"end":
            break
        try:
            found += binascii.a2b_uu(line)
        except binascii.Error:
            # encoders that count the padding
            length = (((line[0] - 32) & 63) * 4 + 5) // 3 if line else 0
            try:
                found += binascii.a2b_uu(line[:length])
            except binascii.Error:
                return data
    return bytes(found) if begin is not None else data


def _file_name(name: str, kind: str, data: bytes, number: int) -> str:
    """A name without folders, for a part that may have none."""
    base = re.split(r"[/\\]", clean(name))[-1].strip().strip(".").strip()
    base = re.sub(r'[\n\t:*?"<>|]+', "_", base)
    if base:
        stem, dot, extension = base.rpartition(".")
        return base if len(base) <= 200 else f"{stem[:180]}.{extension[:15]}" if dot else base[:200]
    if kind.startswith("message/") and kind != "message/external-body":
        subject = re.sub(r'[\n\t/\\:*?"<>|]+', " ", parse_head(data).text("subject")).strip()
        return f"{subject[:150] or 'message'}.eml"
    extension = {"text/calendar": ".ics", "text/plain": ".txt"}.get(kind) or mimetypes.guess_extension(kind) or ""
    return f"attachment-{number}{extension}"


def _add_file(content: Content, name: str, kind: str, data: bytes, content_id: str | None = None) -> None:
    if len(content.media) >= MAX_FILES:
        content.cut = True
        return
    content.media.append(Media(name=name, media_type=kind, data=data, content_id=content_id, size=len(data)))


__all__ = ["Content", "Part", "TooManyParts", "content_of", "parse_head", "parse_parts"]
