"""Identifiers: UUIDv7 inside, ``cus_0190f2c4…`` outside.

An external id is the entity's prefix, an underscore and the 32 hexadecimal digits of the UUID. Ids sort by
the time they were made, and no two entities share a prefix, so an id says what it is an id of.
"""

from __future__ import annotations

import re
from uuid import UUID

from uuid_utils.compat import uuid7

_EXTERNAL = re.compile(r"([a-z][a-z0-9]{1,7})_([0-9a-f]{32})")


class InvalidId(ValueError):
    """Raised when a text is no id, or an id of another kind of record."""


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562): the first 48 bits are the Unix time in milliseconds."""
    return uuid7()


def encode_id(prefix: str, value: UUID) -> str:
    """``encode_id("cus", uuid)`` → ``"cus_0190f2c4…"``."""
    return f"{prefix}_{value.hex}"


def split_id(text: str, prefix: str = "cus") -> tuple[str, UUID]:
    """``"cus_0190f2c4…"`` → ``("cus", UUID)``. Raises :class:`InvalidId`, which shows an id with ``prefix``."""
    match = _EXTERNAL.fullmatch(text)
    if match is None:
        raise InvalidId(
            f"{text[:60]!r} is not an id; an id looks like {prefix}_ followed by 32 hexadecimal digits"
        )
    return match[1], UUID(match[2])


def decode_id(prefix: str, text: str | UUID, kinds: dict[str, str] | None = None) -> UUID:
    """The UUID in an external id of the given prefix.

    ``kinds`` maps prefixes to entity names, for the message of :class:`InvalidId`, which names both kinds.
    """
    if isinstance(text, UUID):
        return text
    found, value = split_id(text, prefix)
    if found != prefix:
        kinds = kinds or {}
        wanted = kinds.get(prefix, prefix)
        got = kinds.get(found)
        what = f"an id of {got}" if got else f"of an unknown kind ({found}_)"
        raise InvalidId(f"{text!r} is {what}; expected an id of {wanted} ({prefix}_…)")
    return value
