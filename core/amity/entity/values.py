"""Values as Python has them, as each database keeps them, and as the outside sees them.

========  ==========  =======================================  ==================  =======================
kind      Python      SQLite                                   PostgreSQL          outside (JSON)
========  ==========  =======================================  ==================  =======================
ID        UUID        text, 36 characters                      uuid                text, ``cus_0190f2c4…``
DATETIME  datetime    text, ``2026-01-31T12:00:00.000000Z``    timestamptz         the same text
DATE      date        text, ``2026-01-31``                     date                the same text
BIGINT    int         integer                                  bigint              text of digits
BOOLEAN   bool        0 or 1                                   boolean             true or false
JSON      anything    text                                     jsonb               as it is
========  ==========  =======================================  ==================  =======================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import ciso8601
import orjson

from ..database import Dialect
from .catalog import Catalog, Column, EntityType, Kind
from .ids import encode_id

Codec = Callable[[Any], Any]


def timestamp(value: datetime) -> str:
    """A time in UTC as text of one length, so that the order of texts is the order of times."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _json_value(value: Any) -> Any:
    # a column of type JSON has numeric affinity on SQLite: a lone number comes back as one
    return orjson.loads(value) if isinstance(value, (str, bytes)) else value


def _own_uuid(value: Any) -> Any:
    # asyncpg's subclass is not equal to ours in JSON, pickles and messages
    return UUID(int=value.int)


_ENCODE: dict[Dialect, dict[Kind, Codec]] = {
    "sqlite": {
        Kind.ID: str,
        Kind.DATETIME: timestamp,
        Kind.DATE: date.isoformat,
        Kind.BOOLEAN: int,
        Kind.JSON: json_text,
    },
    "postgresql": {Kind.JSON: json_text},
}
_DECODE: dict[Dialect, dict[Kind, Codec]] = {
    "sqlite": {
        Kind.ID: UUID,
        Kind.DATETIME: ciso8601.parse_datetime,
        Kind.DATE: date.fromisoformat,
        Kind.BOOLEAN: bool,
        Kind.JSON: _json_value,
    },
    "postgresql": {Kind.ID: _own_uuid, Kind.JSON: _json_value},
}


def encoder(kind: Kind, dialect: Dialect) -> Codec | None:
    """What turns a Python value that is not None into one for the driver; None where nothing needs to."""
    return _ENCODE[dialect].get(kind)


def encode(kind: Kind, value: Any, dialect: Dialect) -> Any:
    codec = _ENCODE[dialect].get(kind)
    return value if codec is None or value is None else codec(value)


def decoder(kind: Kind, dialect: Dialect) -> Codec | None:
    """What turns a driver's value that is not None into Python's; None where nothing needs to."""
    return _DECODE[dialect].get(kind)


def decode(kind: Kind, value: Any, dialect: Dialect) -> Any:
    codec = _DECODE[dialect].get(kind)
    return value if codec is None or value is None else codec(value)


def same(kind: Kind, one: Any, other: Any) -> bool:
    """Whether two values of a column are the same. Python holds True, 1 and 1.0 equal; JSON does not."""
    if kind is Kind.JSON and one is not None and other is not None:
        return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
    return bool(one == other)


def external(catalog: Catalog, entity: EntityType, column: Column, row: Mapping[str, Any]) -> Any:
    """A column of a row as the outside sees it: ids with their prefix, times as text, big integers as text."""
    value = row[column.name]
    if value is None:
        return None
    if column.kind is Kind.ID:
        target = _target(catalog, entity, column, row)
        return encode_id(target.prefix, value) if target is not None else str(value)
    if column.kind is Kind.DATETIME:
        return timestamp(value)
    if column.kind is Kind.DATE:
        return value.isoformat()
    return str(value) if column.kind is Kind.BIGINT else value


def plain(catalog: Catalog, entity: EntityType, column: Column) -> tuple[Codec | None, bool]:
    """What makes :func:`external` of a value that is not None, or None where it is that already; and whether the
    value alone decides it. Else it takes the row."""
    if column.kind is Kind.ID:
        if column.name == "id" or column.references is not None:
            target = _target(catalog, entity, column, {})
            if target is None:
                return str, True
            prefix = target.prefix
            return lambda value: f"{prefix}_{value.hex}", True
        if any(generic.id_column == column.name for generic in entity.generic.values()):
            return None, False
        return str, True
    if column.kind is Kind.DATETIME:
        return timestamp, True
    if column.kind is Kind.DATE:
        return date.isoformat, True
    return (str, True) if column.kind is Kind.BIGINT else (None, True)


def _target(catalog: Catalog, entity: EntityType, column: Column, row: Mapping[str, Any]) -> EntityType | None:
    if column.name == "id":
        return entity
    if column.references is not None:
        return catalog.get(column.references)
    for generic in entity.generic.values():
        if generic.id_column == column.name:
            return catalog.by_code(row.get(generic.type_column))
    return None
