"""Text from outside, made fit to be kept: what no database takes is left out, what is too long is cut."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, overload

MESSAGE_ID = 500
"""Characters that a message id may have; a longer one is kept as its digest."""
_LINE = re.compile(r"[\s\x00-\x1f\x7f]+")


@overload
def clean(text: str, limit: int | None = None) -> str: ...
@overload
def clean(text: None, limit: int | None = None) -> None: ...
def clean(text: str | None, limit: int | None = None) -> str | None:
    """A text without NUL characters and half characters, and not longer than ``limit`` characters."""
    if text is None:
        return None
    if "\x00" in text:
        text = text.replace("\x00", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def line(text: str | None, limit: int) -> str | None:
    """A text as one line; None if nothing is left."""
    if text is None:
        return None
    return clean(_LINE.sub(" ", clean(text)).strip(), limit) or None


def message_id(text: str) -> str:
    """A message id as it is kept."""
    cleaned = clean(text.strip())
    if len(cleaned) <= MESSAGE_ID:
        return cleaned
    return f"sha256:{hashlib.sha256(cleaned.encode()).hexdigest()}"


def plain(value: Any) -> Any:
    """A JSON value with all its texts clean; what JSON does not know becomes text."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    return clean(str(value))


__all__ = ["MESSAGE_ID", "clean", "line", "message_id", "plain"]
