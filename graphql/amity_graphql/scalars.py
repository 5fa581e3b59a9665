"""Scalars that GraphQL itself does not have."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any, NewType

import orjson
import strawberry
from pydantic import TypeAdapter
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from amity.query import QueryError
from amity.query.where import parse_date, parse_datetime

BigInt = NewType("BigInt", int)
"""A 64-bit integer; a text in JSON, as many clients round large numbers."""

_INT64 = 2**63


def _parse_bigint(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError('expected a whole number, as a text like "105400"')
    if not -_INT64 <= value < _INT64:
        raise ValueError("does not fit into 64 bits")
    return value


def _parse_datetime(value: Any) -> datetime:
    try:
        return parse_datetime(value, ())
    except QueryError as error:
        raise ValueError(error.message) from None


def _parse_date(value: Any) -> date:
    try:
        return parse_date(value, ())
    except QueryError as error:
        raise ValueError(error.message) from None


def format_datetime(value: datetime) -> str:
    """UTC with six digits and ``Z``; a time without offset is refused. Raises ValueError."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"expected a time with an offset, got {value!r}")
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_date(value: date) -> str:
    """``2026-01-31``. Raises ValueError."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError(f"expected a date, got {value!r}")
    return value.isoformat()


def json_value(value: Any) -> Any:
    """Models, dataclasses and the like as JSON values. Raises ValueError for what JSON can't have."""
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    try:
        orjson.dumps(plain)
    except TypeError as error:
        raise ValueError(f"is no JSON: {error}") from None
    return plain


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number of up to 64 bits, as a text; numbers are understood as input",
        serialize=str,
        parse_value=_parse_bigint,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A point in time in UTC with six digits, like 2026-01-31T09:30:00.000000Z (RFC 3339)",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=format_datetime,
        parse_value=_parse_datetime,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A day, like 2026-01-31 (ISO 8601)",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=format_date,
        parse_value=_parse_date,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=json_value,
        parse_value=lambda value: value,
    ),
}
