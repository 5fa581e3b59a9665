"""Bytes to text, for mail that lies about its charset."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

_SUPERSETS = {
    # what mail programs write when they mean the superset
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "tis-620": "cp874",
}
_ALIASES = {
    "unicode": "utf-8",
    "utf8mb4": "utf-8",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "ks_c_5601-1987": "cp949",
    "x-sjis": "cp932",
    "x-gbk": "gb18030",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "cp-850": "cp850",
    "ansi": "cp1252",
    "windows-874": "cp874",
    "windows-31j": "cp932",
}
_REFUSED = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}
"""Codecs that no mail is written in, or that are slow."""
_STATEFUL = ("iso2022", "hz", "utf-7", "utf-16", "utf-32")
"""Codecs whose bytes are ASCII, and would pass for UTF-8."""
_FEW = 8
"""Bytes beyond ASCII that may be UTF-8 by chance."""
_SAMPLE = 20_000
"""Bytes that are looked at when a charset has to be guessed."""
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def decode_text(data: bytes, charset: str | None) -> str:
    """Text of bytes that say to be in ``charset``; never raises.

    What is not in that charset is taken for UTF-8, or for what it most looks like. Characters that no database
    takes, like NUL, are left out; lines end with a line feed.
    """
    text = _strictly(data, charset)
    if text is None:
        text = _guessed(data)
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def clean(text: str) -> str:
    """Text without control characters and halves of surrogate pairs."""
    return _UNWANTED.sub("", text)


def _strictly(data: bytes, charset: str | None) -> str | None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(data, "utf-16")
    codec = _codec(charset)
    if codec is not None and codec.startswith(_STATEFUL):
        return _decoded(data, codec)
    as_utf8 = _decoded(data, "utf-8-sig")
    if codec is not None and as_utf8 is not None and codec not in ("utf-8", "cp1252"):
        beyond = sum(len(run) for run in re.findall(rb"[\x80-\xff]+", data[:_SAMPLE]))
        if 0 < beyond < _FEW:
            return _decoded(data, codec) or as_utf8
    # UTF-8 that calls itself something else is common; more than a few words that are UTF-8 by chance are not
    if as_utf8 is not None:
        return as_utf8
    return _decoded(data, codec) if codec is not None else None


def _codec(charset: str | None) -> str | None:
    name = (charset or "").strip().strip("\"'").lower()
    if not name or len(name) > 50:
        return None
    try:
        found = codecs.lookup(_ALIASES.get(name, name))
    except (LookupError, ValueError):
        return None
    if found.name in _REFUSED or not getattr(found, "_is_text_encoding", True):
        return None
    return _SUPERSETS.get(found.name, found.name)


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        return None


def _guessed(data: bytes) -> str:
    best = from_bytes(data[:_SAMPLE], steps=3, chunk_size=512).best()
    if best is not None:
        text = _decoded(data, best.encoding)
        if text is not None:
            return text
    # mostly UTF-8, with a broken byte; else every byte is a character of Western Europe
    text = data.decode("utf-8", "replace")
    if text.count("\N{REPLACEMENT CHARACTER}") * 20 < len(text):
        return text
    return data.decode("cp1252", "replace")


__all__ = ["clean", "decode_text"]
