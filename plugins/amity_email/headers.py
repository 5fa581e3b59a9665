"""Header fields of the real world: encoded words, addresses, message ids, dates, parameters.

Nothing here raises: what makes no sense is left out, or kept as it stands.
"""

from __future__ import annotations

import binascii
import email.utils
import hashlib
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message

from .charsets import clean, decode_text

MAX_FIELD = 65_536
"""Characters of a header field that are looked at."""
MAX_FIELDS = 100
"""Fields of one name that are looked at."""
MAX_ADDRESSES = 1_000
MAX_IDS = 100
"""Message ids of a header field that are looked at, the last ones."""
MAX_ID = 300
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,50})(?:\*[A-Za-z0-9-]*)?\?([bBqQ])\?([^?]*)\?=")
_ID = re.compile(r"<([^<>]{1,998})>")
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
_FORGED = timedelta(days=7)
"""How far a message may say to have been written from when the first server of ours got it."""


@dataclass(frozen=True)
class Address:
    """An address, and the name that it was written with."""

    address: str
    name: str | None = None


class Headers:
    """The header fields of a message, undecoded and in their order, by name in any case."""

    def __init__(self, message: Message) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in message.raw_items():
            self._values.setdefault(name.lower().strip(), []).append(str(value))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        return bool(self._values)

    def all(self, name: str) -> list[str]:
        """The fields of that name, as they stand, unfolded."""
        return [_raw(value) for value in self._values.get(name, ())[:MAX_FIELDS]]

    def raw(self, name: str) -> str:
        """The first field of that name; empty if there is none."""
        return _raw(self._values.get(name, [""])[0])

    def text(self, name: str) -> str:
        """The first field of that name, decoded; empty if there is none."""
        return decode_words(self.raw(name))

    def addresses(self, name: str) -> list[Address]:
        """The addresses of all fields of that name."""
        found = [address for value in self.all(name) for address in parse_addresses(value)]
        return found[:MAX_ADDRESSES]

    def ids(self, name: str) -> list[str]:
        """The message ids in all fields of that name, without brackets."""
        values = [_raw(value[-MAX_FIELD:]) for value in self._values.get(name, ())[:MAX_FIELDS]]
        return [known for value in values for known in parse_ids(value)][-MAX_IDS:]


def _raw(value: str) -> str:
    """A field unfolded. The bytes of what was not ASCII, which the parser hides in surrogates, become text."""
    text = value[:MAX_FIELD]
    if not text.isascii():
        text = decode_text(text.encode("utf-8", "surrogateescape"), None)
    return clean(re.sub(r"[\r\n]+[ \t]*", " ", text)).strip()


def decode_words(value: str) -> str:
    """Text of a field with encoded words (RFC 2047)."""
    if "=?" not in value:
        return value
    parts: list[str] = []
    pending: list[bytes] = []
    charset = ""
    end = 0
    for match in _WORD.finditer(value):
        between = value[end : match.start()]
        data = _word_bytes(match[2], match[3])
        # neighbors belong together, and a character may be split between them, against the rules
        if pending and (between.strip() or match[1].lower() != charset):
            parts.append(decode_text(b"".join(pending), charset))
            pending = []
            between = between if between.strip() else ""
        elif pending:
            between = ""
        parts.append(between)
        pending.append(data)
        charset = match[1].lower()
        end = match.end()
    if pending:
        parts.append(decode_text(b"".join(pending), charset))
    parts.append(value[end:])
    return re.sub(r"[\n\t]+", " ", "".join(parts)).strip()


def _word_bytes(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    return decode_base64(data)


def decode_base64(data: bytes) -> bytes:
    """Bytes of base64 that may lack its padding, or hold what does not belong there."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        kept = kept[:-1] if len(kept) % 4 == 1 else kept
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


# --- addresses ---------------------------------------------------------------------------------------------


def parse_addresses(value: str) -> list[Address]:
    """The addresses of a field; those of groups too, comments and routes left out."""
    found = [_address(part) for part in _split(value)]
    whole = [address for address in found if address is not None]
    if not whole and "=?" in value and "@" in decode_words(value):
        # the whole field was encoded, brackets included
        return parse_addresses(decode_words(value).replace("=?", ""))
    return whole[:MAX_ADDRESSES]


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|=\?[^?\s]*\?[bBqQ]\?[^?]*\?=|<[^<>]*>|\\.|[(),;:]|[^"\\<(),;:=]+|.', re.S)


def _split(value: str) -> Iterator[list[str]]:
    """The tokens of each address; commas in quotes, comments and brackets do not part them."""
    tokens: list[str] = []
    depth = 0
    for match in _TOKEN.finditer(value):
        token = match[0]
        if token == "(" or token == ")":
            depth = max(0, depth + (1 if token == "(" else -1))
            tokens.append(token)
        elif depth:
            tokens.append(token)
        elif token in (",", ";"):
            yield tokens
            tokens = []
        elif token == ":":
            if not any("@" in other for other in tokens):  # the name of a group
                tokens = []
        else:
            tokens.append(token)
    yield tokens


def _address(tokens: list[str]) -> Address | None:
    outside: list[str] = []
    comments: list[str] = []
    angle: str | None = None
    depth = 0
    for token in tokens:
        if token == "(" or token == ")":
            depth += 1 if token == "(" else -1
        elif depth:
            comments.append(token)
        elif token.startswith("<") and token.endswith(">") and len(token) > 1:
            angle = token[1:-1]
        else:
            outside.append(token)
    words = "".join(outside).strip()
    if angle is not None and "@" in angle:
        address = angle.rpartition(":")[2] if angle.startswith("@") else angle
        name = words
    else:
        address = next((word.strip("<>'") for word in words.split() if "@" in word), "")
        name = "".join(comments)
    address = re.sub(r"\s+", "", address).removeprefix("mailto:")
    local, at, domain = address.rpartition("@")
    if not (at and local and domain) or len(address) > 320:
        return None
    return Address(address, _name(name))


def _name(text: str) -> str | None:
    # quotes around encoded words are against the rules, and everywhere
    name = decode_words(re.sub(r"\\(.)", r"\1", text.strip().strip('"')))
    name = re.sub(r"\s+", " ", name).strip().strip("\"'").strip()
    return name[:200] or None


# --- ids and dates -----------------------------------------------------------------------------------------


def parse_ids(value: str) -> list[str]:
    """The message ids of a field, without brackets. Blanks that a mail program put within are left out."""
    return [usable for known in _ID.findall(value) if (usable := usable_id("".join(known.split())))]


def usable_id(text: str) -> str | None:
    """A message id without brackets; None for what other messages are likely to be called too.

    One that is longer than a database takes is replaced by its digest, wherever it is named.
    """
    known = text.strip().strip("<>").strip()
    local, at, domain = known.rpartition("@")
    if not (at and len(local) > 3 and domain):
        return None
    return known if len(known) <= MAX_ID else f"{hashlib.sha256(known.encode()).hexdigest()}@long.invalid"


def written_at(headers: Headers, received_at: datetime | None) -> datetime | None:
    """When a message was written: its Date, or when the last server got it, if the Date can't be true."""
    received = received_at or next(
        (found for value in headers.all("received")[:1] if (found := parse_date(value.rpartition(";")[2]))), None
    )
    said = next((found for value in headers.all("date") if (found := parse_date(value))), None)
    if said is None or received is None:
        return said or received
    return received if abs(said - received) > _FORGED else said


def parse_date(value: str) -> datetime | None:
    """A date with its zone; UTC if it has none that is known."""
    text = value.strip()[:200]
    try:
        parsed = email.utils.parsedate_tz(text)
        if parsed is None:
            found = datetime.fromisoformat(text)
        else:
            zone = timedelta(seconds=parsed[9] or 0)
            found = datetime(*parsed[:6], tzinfo=UTC) - zone
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return found if found >= _OLDEST else None


# --- parameters --------------------------------------------------------------------------------------------

_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$&+.^_`|~*-]{1,80})\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


def parameter(value: str, name: str) -> str | None:
    """A parameter of a field like Content-Type: plain, encoded by RFC 2231, or by RFC 2047 as many do."""
    plain: str | None = None
    pieces: dict[int, tuple[bool, str]] = {}
    for match in list(_PARAMETER.finditer(value))[:200]:
        key, text = match[1].lower(), match[2].strip()
        quoted = text.startswith('"')
        if quoted:
            text = re.sub(r"\\(.)", r"\1", text[1:].removesuffix('"'))
        if key == name:
            plain = plain if plain is not None else text
        elif key.startswith(f"{name}*"):
            rest = key[len(name) + 1 :]
            encoded = rest.endswith("*") or rest == ""
            number = rest.rstrip("*")
            if number == "" or (number.isdecimal() and len(number) < 4):
                pieces.setdefault(int(number or 0), (encoded, text))
    if pieces:
        return _extended(pieces)
    return None if plain is None else decode_words(plain)


def _extended(pieces: dict[int, tuple[bool, str]]) -> str:
    charset: str | None = None
    data = b""
    for number, (encoded, text) in sorted(pieces.items()):
        if number == 0 and encoded and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data += urllib.parse.unquote_to_bytes(text) if encoded else text.encode()
    return clean(decode_text(data, charset)).replace("\n", " ")


__all__ = [
    "Address",
    "Headers",
    "decode_base64",
    "decode_words",
    "parameter",
    "parse_addresses",
    "parse_date",
    "parse_ids",
    "usable_id",
    "written_at",
]
