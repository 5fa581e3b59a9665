"""A message as it goes out (RFC 5322): header fields that nothing can be smuggled into, text, HTML, files."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import idna

from amity.messages import Outbound, OutboundFile

from .account import EmailAccount
from .charsets import clean
from .text import text_of_html

_BODY = SMTP.clone(cte_type="7bit")
_ATOMS = re.compile(r"[A-Za-z0-9 !#$%&'*+/?^_`{|}~-]+")
_ID = re.compile(r"[!-;=?-~]{3,900}")
"""A message id without brackets: visible ASCII, neither < nor >."""
_LINE = 76
_WORD = 42
"""Bytes of one encoded word."""


@dataclass(frozen=True)
class LoadedFile:
    """A file whose bytes are in memory."""

    file: OutboundFile
    data: bytes


def compose(
    account: EmailAccount, message: Outbound, files: Sequence[LoadedFile], now: datetime, *, utf8: bool = False
) -> bytes:
    """The bytes of a message. ``utf8`` writes addresses as they are, for servers with SMTPUTF8 (RFC 6531)."""
    head = [
        _field("From", [_mailbox(account.display_name, account.address, utf8)]),
        _field("To", _receivers(message, "to", utf8), ","),
        _field("Cc", _receivers(message, "cc", utf8), ","),
        _field("Subject", _words(message.subject or "")),
        _field("Date", [format_datetime(now)]),
        _field("Message-ID", _ids([message.message_id])),
        _field("In-Reply-To", _ids(message.replies_to[-1:])),
        _field("References", _ids(message.replies_to)),
        *_unsubscribe(message.unsubscribe),
        _field("Auto-Submitted", ["auto-generated"] if message.automatic else []),
    ]
    return "".join(head).encode("utf-8") + _body(message, files).as_bytes()


def recipients(message: Outbound) -> list[str]:
    """All addresses that get a message, the customer's first."""
    copies = [party.address for party in message.parties if party.role in ("to", "cc", "bcc")]
    return list(dict.fromkeys([message.address, *copies]))


def ascii_address(address: str) -> str | None:
    """An address whose domain is in ASCII; None if what is before the @ is not."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.encode(domain).decode('ascii')}" if local.isascii() else None
    except idna.IDNAError:
        return None


def _receivers(message: Outbound, role: str, utf8: bool) -> list[str]:
    named = [(party.name, party.address) for party in message.parties if party.role == role]
    if role == "to" and message.address not in [party.address for party in message.parties]:
        named.insert(0, (message.name, message.address))
    return [_mailbox(name, address, utf8) for name, address in named]


def _mailbox(name: str | None, address: str, utf8: bool) -> str:
    written = address if utf8 else ascii_address(address) or address
    local, _, domain = _single(written).rpartition("@")
    if not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+", local):
        local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    domain = re.sub(r"[<>,;:\s]", "", domain)
    bare = f"{local}@{domain}"
    shown = _single(name or "")
    if not shown:
        return bare
    if _ATOMS.fullmatch(shown) and len(shown) < _LINE - 10:
        return f"{shown} <{bare}>"
    return f"{' '.join(_encoded(shown))} <{bare}>"


def _single(text: str) -> str:
    """Text in one line: no line break, no control character."""
    return " ".join(clean(text).split())


def _words(text: str) -> list[str]:
    """The words of a text that a field may be folded between."""
    line = _single(text)
    if not line:
        return []
    plain = line.isascii() and line.isprintable() and "=?" not in line
    if plain and all(len(word) < _LINE for word in line.split(" ")):
        return line.split(" ")
    return _encoded(line)


def _encoded(text: str) -> list[str]:
    """Encoded words (RFC 2047), parted between characters."""
    words: list[bytes] = [b""]
    for character in text:
        data = character.encode("utf-8")
        if len(words[-1]) + len(data) > _WORD:
            words.append(b"")
        words[-1] += data
    return [f"=?utf-8?B?{base64.b64encode(word).decode('ascii')}?=" for word in words]


def _ids(ids: Iterable[str]) -> list[str]:
    return [f"<{id}>" for id in ids if _ID.fullmatch(id)]


def _unsubscribe(url: str | None) -> list[str]:
    """One click takes a recipient off the list (RFC 8058)."""
    if url is None or not re.fullmatch(r"https?://[!-;=?-~]+", url):
        return []
    one_click = ["List-Unsubscribe=One-Click"] if url.startswith("https:") else []
    return [_field("List-Unsubscribe", [f"<{url}>"]), _field("List-Unsubscribe-Post", one_click)]


def _field(name: str, parts: Sequence[str], separator: str = "") -> str:
    """A field, folded between its parts; nothing where there are none."""
    if not parts:
        return ""
    lines = [f"{name}:"]
    for number, part in enumerate(parts, 1):
        piece = part + (separator if number < len(parts) else "")
        if len(lines[-1]) + len(piece) + 1 > _LINE and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {piece}"
    return "\r\n".join(lines) + "\r\n"


def _body(message: Outbound, files: Sequence[LoadedFile]) -> EmailMessage:
    made = EmailMessage(policy=_BODY)
    html = message.html
    text = message.body if message.body is not None or html is None else text_of_html(html)
    made.set_content(clean(text or ""))
    inside = [file for file in files if html is not None and file.file.inline and file.file.content_id]
    if html is not None:
        made.add_alternative(clean(html), subtype="html")
        parts = list(made.iter_parts())
        for file in inside:
            kind, sub = _kind(file)
            parts[-1].add_related(
                file.data,
                maintype=kind,
                subtype=sub,
                cid=f"<{_token(file.file.content_id or '')}>",
                filename=_name(file),
            )
    for file in files:
        if file not in inside:
            kind, sub = _kind(file)
            made.add_attachment(file.data, maintype=kind, subtype=sub, filename=_name(file))
    return made


def _kind(file: LoadedFile) -> tuple[str, str]:
    main, _, sub = file.file.media_type.partition("/")
    # what has lines of its own would be changed on its way, unless it goes as bytes
    fine = re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", file.file.media_type) and main not in (
        "multipart",
        "message",
    )
    return (main, sub) if fine else ("application", "octet-stream")


def _name(file: LoadedFile) -> str:
    return _single(file.file.name)[:200] or "file"


def _token(text: str) -> str:
    return re.sub(r"[^!-;=?-~]", "", text)


__all__ = ["LoadedFile", "ascii_address", "compose", "recipients"]
