"""Cursors: exact positions in an order, and the order they belong to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, date
from typing import Any
from uuid import UUID

import ciso8601
import orjson

from ..entity import EntityType, Kind
from ..tree import OrderKey
from .errors import QueryError
from .where import check_text


def digest(entity: EntityType, keys: Sequence[OrderKey]) -> str:
    """Names an ordering: a cursor of one can't be used with another."""
    text = "|".join([entity.name, *(f"{'.'.join((*k.path, k.field))}:{k.direction.value}" for k in keys)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def decode(cursor: str, expected: str, kinds: Sequence[tuple[Kind, bool]]) -> list[Any]:
    """The values in a cursor, as Python has them; ``kinds`` says of each whether it can be null.

    Raises :class:`QueryError`.
    """
    try:
        values = orjson.loads(base64.b64decode(cursor, validate=True))
    except (binascii.Error, ValueError, orjson.JSONDecodeError):
        values = None
    if not isinstance(values, list) or len(values) != len(kinds) + 1:
        raise QueryError(f"{cursor[:40]!r} is no cursor; pass one that an answer to the same query gave")
    if values[0] != expected:
        raise QueryError("the cursor belongs to another ordering; use the same orderBy as the query that gave it")
    try:
        return [_value(text, *kind) for text, kind in zip(values[1:], kinds, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise QueryError("the cursor was altered; pass it as the answer gave it") from None


def _value(text: str | None, kind: Kind, nullable: bool) -> Any:
    if text is None:
        if not nullable:
            raise ValueError("null")
        return None
    match kind:
        case Kind.ID:
            return UUID(text)
        case Kind.INT | Kind.BIGINT:
            number = int(text)
            if not -(2**63) <= number < 2**63:
                raise ValueError("too large")
            return number
        case Kind.FLOAT:
            real = float(text)
            if not math.isfinite(real):
                raise ValueError("no finite number")
            return real
        case Kind.BOOLEAN:
            return text in ("true", "1")
        case Kind.DATETIME:
            return ciso8601.parse_rfc3339(text).astimezone(UTC)
        case Kind.DATE:
            return date.fromisoformat(text)
    return check_text(text, ())
