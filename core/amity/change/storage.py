"""Rows in and out of tables: a whole batch in one statement, on both databases.

Rows are mappings of column names to Python values (see :mod:`amity.entity.values`). Identifiers come from
the catalog alone; every value is bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import orjson

from ..database import Dialect, Transaction
from ..database.grams import sqlite_tokens
from ..entity import EntityType, Kind
from ..entity.values import Codec, decoder, encoder

Values = Mapping[str, Any]
Lock = Literal["none", "reference", "update", "delete"]
"""How rows are held until the end of the unit. ``reference`` keeps a row from being deleted, ``update`` from
being changed, ``delete`` also waits for whoever is about to refer to it. SQLite has one writer at a time and
needs none of them."""

CHUNK = 5_000
_LOCKS = {
    "none": "",
    "reference": " FOR KEY SHARE OF t",
    "update": " FOR NO KEY UPDATE OF t",
    "delete": " FOR UPDATE OF t",
}
_POSTGRESQL_TYPES = {
    Kind.ID: "uuid",
    Kind.TEXT: "text",
    Kind.INT: "int",
    Kind.BIGINT: "bigint",
    Kind.FLOAT: "float8",
    Kind.BOOLEAN: "boolean",
    Kind.DATETIME: "text",
    Kind.DATE: "text",
    Kind.JSON: "text",
}
_CASTS = {Kind.DATETIME: "::timestamptz", Kind.DATE: "::date", Kind.JSON: "::jsonb"}
"""What is bound as text. asyncpg takes the first and the last day of the calendar for infinity."""


def chunks(items: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def quoted(names: Iterable[str], table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def table_of(entity: EntityType) -> str:
    return f'"{entity.table}"'


class Keys:
    """Rows of values, bound as one parameter list and read in SQL as the table ``k``, with their place ``n``.

    ``columns`` gives each value a name and a kind. On PostgreSQL they are arrays, on SQLite one JSON text.
    """

    def __init__(self, dialect: Dialect, columns: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[Any]]):
        names = [name for name, _ in columns]
        if dialect == "postgresql":
            arrays = [[_bind(kind, row[i], dialect) for row in rows] for i, (_, kind) in enumerate(columns)]
            types = [f"${i + 1}::{_POSTGRESQL_TYPES[kind]}[]" for i, (_, kind) in enumerate(columns)]
            self.parameters: tuple[Any, ...] = tuple(arrays)
            unnested = f"unnest({', '.join(types)}) WITH ORDINALITY"
            cast = [f'"{name}"{_CASTS[kind]} AS "{name}"' for name, kind in columns if kind in _CASTS]
            if cast:
                cast += [f'"{name}"' for name, kind in columns if kind not in _CASTS]
                self.sql = f"(SELECT {', '.join(cast)}, n FROM {unnested} AS u({quoted(names)}, n)) k"
            else:
                self.sql = f"{unnested} AS k({quoted(names)}, n)"
        else:
            text = orjson.dumps(
                [[_bind(kind, row[i], dialect) for i, (_, kind) in enumerate(columns)] for row in rows]
            ).decode()
            parts = [f"json_extract(value, '$[{i}]') AS \"{name}\"" for i, name in enumerate(names)]
            self.parameters = (text,)
            self.sql = f"(SELECT {', '.join(parts)}, key + 1 AS n FROM json_each(?1)) k"


def bound(kind: Kind, dialect: Dialect) -> Codec | None:
    """What turns a value that is not None into one that statements of this module bind."""
    if dialect == "postgresql" and kind in (Kind.DATETIME, Kind.DATE):
        return encoder(kind, "sqlite")
    return encoder(kind, dialect)


def _bind(kind: Kind, value: Any, dialect: Dialect) -> Any:
    codec = bound(kind, dialect)
    return value if codec is None or value is None else codec(value)


def join(dialect: Dialect) -> str:
    """``CROSS JOIN`` keeps SQLite's planner at the order of the tables: the few keys first."""
    return "CROSS JOIN" if dialect == "sqlite" else "JOIN"


async def insert(transaction: Transaction, entity: EntityType, rows: Sequence[Values]) -> None:
    """Adds rows. Every one brings every column of the entity."""
    names = list(entity.columns)
    if transaction.dialect == "sqlite":
        places = ", ".join(f"?{i + 1}" for i in range(len(names)))
        sql = f"INSERT INTO {table_of(entity)} ({quoted(names)}) VALUES ({places})"
        for chunk in chunks(rows):
            await transaction.execute_many(sql, _tuples(entity, names, chunk, "sqlite"))
        await _index(transaction, entity, names, rows)
        return
    sql = (
        f"INSERT INTO {table_of(entity)} ({quoted(names)}) "
        f"SELECT {_cast(entity, names)} FROM {_unnested(entity, names)}"
    )
    for chunk in chunks(rows):
        await transaction.execute(sql, _arrays(entity, names, chunk))


async def update(
    transaction: Transaction, entity: EntityType, rows: Sequence[Values], columns: Sequence[str]
) -> None:
    """Writes ``columns`` of rows that are there, found by their ``id``."""
    names = ["id", *columns]
    if transaction.dialect == "sqlite":
        assignments = ", ".join(f'"{name}" = ?{i + 2}' for i, name in enumerate(columns))
        sql = f"UPDATE {table_of(entity)} SET {assignments} WHERE id = ?1"
        for chunk in chunks(rows):
            await transaction.execute_many(sql, _tuples(entity, names, chunk, "sqlite"))
        await _index(transaction, entity, names, rows)
        return
    assignments = ", ".join(f'"{name}" = {_column(entity, name)}' for name in columns)
    sql = f'UPDATE {table_of(entity)} AS t SET {assignments} FROM {_unnested(entity, names)} WHERE t."id" = v."id"'
    for chunk in chunks(rows):
        await transaction.execute(sql, _arrays(entity, names, chunk))


async def _index(
    transaction: Transaction, entity: EntityType, names: Sequence[str], rows: Sequence[Values]
) -> None:
    """Adds the texts of rows to SQLite's index for searching; PostgreSQL keeps its own."""
    if not entity.options.searchable or "search_text" not in names or not rows:
        return
    last = (await transaction.fetch("SELECT coalesce(max(n), 0) FROM core_search"))[0][0]
    numbered = list(enumerate((row for row in rows if row["search_text"]), last + 1))
    await transaction.execute_many(
        "INSERT INTO core_search (n, entity, record) VALUES (?1, ?2, ?3)",
        [(number, entity.code, str(row["id"])) for number, row in numbered],
    )
    await transaction.execute_many(
        "INSERT INTO core_search_index (rowid, grams) VALUES (?1, ?2)",
        [(number, sqlite_tokens(row["search_text"])) for number, row in numbered],
    )


async def select(
    transaction: Transaction,
    entity: EntityType,
    ids: Sequence[UUID],
    *,
    columns: Sequence[str] | None = None,
    lock: Lock = "none",
    live: bool = True,
    condition: str = "",
) -> dict[UUID, dict[str, Any]]:
    """Rows by id. ``condition`` is further SQL on the table ``t``."""
    return await select_by(
        transaction,
        entity,
        "id",
        ids,
        columns=columns,
        lock=lock,
        live=live,
        condition=condition,
    )


async def select_by(
    transaction: Transaction,
    entity: EntityType,
    column: str,
    values: Sequence[Any],
    *,
    columns: Sequence[str] | None = None,
    lock: Lock = "none",
    live: bool = True,
    condition: str = "",
) -> dict[UUID, dict[str, Any]]:
    """Rows whose ``column`` is one of ``values``, by id, in the order of their ids.

    Locks are taken in that order, so that two batches that share rows wait for each other once.
    """
    found: dict[UUID, dict[str, Any]] = {}
    names = list(columns or entity.columns)
    kind = entity.columns[column].kind
    parts = ['t."deleted_at" IS NULL'] if live and entity.is_entity else []
    parts += [f"({condition})"] if condition else []
    where = "".join(f" AND {part}" for part in parts)
    for chunk in chunks(list(dict.fromkeys(values))):
        encoded = [_bind(kind, value, transaction.dialect) for value in chunk]
        if transaction.dialect == "postgresql":
            sql = (
                f"SELECT {quoted(names, 't')} FROM {table_of(entity)} t "
                f'WHERE t."{column}" = ANY($1::{_POSTGRESQL_TYPES[kind]}[]{_casted(kind)}){where} '
                f'ORDER BY t."id"{_LOCKS[lock]}'
            )
            parameters: tuple[Any, ...] = (encoded,)
        else:
            sql = (
                f"SELECT {quoted(names, 't')} FROM {table_of(entity)} t "
                f'WHERE t."{column}" IN (SELECT value FROM json_each(?1)){where}'
            )
            parameters = (orjson.dumps(encoded).decode(),)
        for row in await transaction.fetch(sql, parameters):
            decoded = decode_row(entity, names, row, transaction.dialect)
            found[decoded["id"]] = decoded
    return found


def decode_row(entity: EntityType, names: Sequence[str], row: Sequence[Any], dialect: Dialect) -> dict[str, Any]:
    result = dict(zip(names, row, strict=True))
    for name in names:
        codec = decoder(entity.columns[name].kind, dialect)
        if codec is not None and result[name] is not None:
            result[name] = codec(result[name])
    return result


def _tuples(
    entity: EntityType, names: Sequence[str], rows: Sequence[Values], dialect: Dialect
) -> list[tuple[Any, ...]]:
    return list(zip(*_columns(entity, names, rows, dialect), strict=True))


def _arrays(entity: EntityType, names: Sequence[str], rows: Sequence[Values]) -> list[list[Any]]:
    return _columns(entity, names, rows, "postgresql")


def _columns(
    entity: EntityType, names: Sequence[str], rows: Sequence[Values], dialect: Dialect
) -> list[list[Any]]:
    columns = []
    for name in names:
        codec = bound(entity.columns[name].kind, dialect)
        if codec is None:
            columns.append([row[name] for row in rows])
        else:
            columns.append([None if (value := row[name]) is None else codec(value) for row in rows])
    return columns


def _unnested(entity: EntityType, names: Sequence[str]) -> str:
    types = ", ".join(
        f"${i + 1}::{_POSTGRESQL_TYPES[entity.columns[name].kind]}[]" for i, name in enumerate(names)
    )
    return f"unnest({types}) AS v({quoted(names)})"


def _column(entity: EntityType, name: str) -> str:
    return f'v."{name}"{_CASTS.get(entity.columns[name].kind, "")}'


def _casted(kind: Kind) -> str:
    return f"{_CASTS[kind]}[]" if kind in _CASTS else ""


def _cast(entity: EntityType, names: Sequence[str]) -> str:
    return ", ".join(_column(entity, name) for name in names)
