"""Rows in and out of tables: a whole batch in one statement, on both databases.

Rows are mappings of column names to Python values (see :mod:`amity.entity.values`). Identifiers come from
the catalog alone; every value is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


_KEPT = 200
"""Statements that are remembered of an entity."""
_LARGE = 100
"""Rows from which on a statement is written for what they bring."""
_NOTHING: Mapping[str, str] = {}
_LISTED = frozenset((Kind.ID, Kind.INT, Kind.BIGINT, Kind.BOOLEAN, Kind.DATETIME, Kind.DATE))
"""Kinds whose values have no commas and no quotes."""
_REPEATED = frozenset((Kind.DATETIME, Kind.DATE))
"""Kinds of which a batch often has one value many times."""


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
        arrays = [encoded(kind, [row[i] for row in rows], dialect) for i, (_, kind) in enumerate(columns)]
        if dialect == "postgresql":
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
            text = orjson.dumps(list(zip(*arrays, strict=True))).decode()
            parts = [f"json_extract(value, '$[{i}]') AS \"{name}\"" for i, name in enumerate(names)]
            self.parameters = (text,)
            self.sql = f"(SELECT {', '.join(parts)}, key + 1 AS n FROM json_each(?1)) k"


def bound(kind: Kind, dialect: Dialect) -> Codec | None:
    """What turns a value that is not None into one that statements of this module bind."""
    if dialect == "postgresql" and kind in (Kind.DATETIME, Kind.DATE):
        return encoder(kind, "sqlite")
    return encoder(kind, dialect)


def encoded(kind: Kind, values: Sequence[Any], dialect: Dialect) -> list[Any]:
    """A column of values as statements of this module bind it."""
    if kind is Kind.ID:
        return _id_texts(values)
    codec = bound(kind, dialect)
    if codec is None:
        return list(values)
    if kind in _REPEATED:
        known: dict[Any, Any] = {None: None}
        return [known[value] if value in known else known.setdefault(value, codec(value)) for value in values]
    return [None if value is None else codec(value) for value in values]


def _id_texts(values: Sequence[Any]) -> list[Any]:
    """Ids as text, all at once: by themselves, each takes several times as long."""
    given = [value for value in values if value is not None]
    if len(given) < 2:
        return [None if value is None else str(value) for value in values]
    texts = orjson.dumps(given, default=str).decode()[2:-2].split('","')
    if len(given) == len(values):
        return list(texts)
    rest = iter(texts)
    return [None if value is None else next(rest) for value in values]


def _among(kind: Kind, values: Sequence[Any], place: int, dialect: Dialect) -> tuple[str, Any]:
    """How a column is one of the values, which are bound at a place; and what is bound.

    One by itself is compared with: PostgreSQL takes an array for ten values, and so the plan for any for a bad
    one, and would plan the statement each time.
    """
    given = encoded(kind, values, dialect)
    if dialect == "postgresql":
        if len(given) == 1:
            return f"= ${place}::{_POSTGRESQL_TYPES[kind]}{_CASTS.get(kind, '')}", given[0]
        return f"= ANY(${place}::{_POSTGRESQL_TYPES[kind]}[]{_casted(kind)})", given
    return f"IN (SELECT value FROM json_each(?{place}))", orjson.dumps(given).decode()


def join(dialect: Dialect) -> str:
    """``CROSS JOIN`` keeps SQLite's planner at the order of the tables: the few keys first."""
    return "CROSS JOIN" if dialect == "sqlite" else "JOIN"


async def insert(transaction: Transaction, entity: EntityType, rows: Sequence[Values]) -> None:
    """Adds rows. Every one brings every column of the entity."""
    if not rows:
        return
    columns = {name: [row[name] for row in rows] for name in entity.columns}
    nulls: list[str] = []
    if len(rows) >= _LARGE:  # small ones are better off with few statements that are known
        empty = [None] * len(rows)
        nulls = [name for name, values in columns.items() if values[0] is None and values == empty]
    for name in nulls:
        del columns[name]
    await insert_columns(transaction, entity, columns, dict.fromkeys(nulls, "NULL"))
    if transaction.dialect == "sqlite":
        await _index(transaction, entity, tuple(entity.columns), rows)


async def insert_columns(
    transaction: Transaction,
    entity: EntityType,
    columns: Mapping[str, Sequence[Any]],
    computed: Mapping[str, str] = _NOTHING,
    source: str = "",
) -> None:
    """Adds rows that are given as columns. ``computed`` ones are SQL, which may read ``source`` (PostgreSQL)."""
    names = tuple(columns)
    if transaction.dialect == "sqlite":
        encodings = [encoded(entity.columns[name].kind, columns[name], "sqlite") for name in names]
        places = ", ".join([*(f"?{i + 1}" for i in range(len(names))), *computed.values()])
        sql = f"INSERT INTO {table_of(entity)} ({quoted([*names, *computed])}) VALUES ({places})"
        await transaction.execute_many(sql, zip(*encodings, strict=True))
        return
    count = len(columns[names[0]])
    once: tuple[str, ...] = names
    each: tuple[str, ...] = ()
    if count > 1:
        once = tuple(name for name in names if _is_one(entity.columns[name].kind, columns[name]))
        each = tuple(name for name in names if name not in once)
    arrays = [encoded(entity.columns[name].kind, columns[name], "postgresql") for name in each]
    listed = [entity.columns[name].kind in _LISTED for name in each]
    scalars = _scalars(entity, once, columns)
    sql = _inserting(entity, each, once, computed, source)
    for start in range(0, count, CHUNK):
        parts = [values[start : start + CHUNK] for values in arrays]
        bound = [_list(part) if is_list else part for part, is_list in zip(parts, listed, strict=True)]
        await transaction.insert(sql, [*bound, *scalars])


def _scalars(entity: EntityType, names: tuple[str, ...], columns: Mapping[str, Sequence[Any]]) -> list[Any]:
    """The first value of each column, as it is bound."""
    key = ("bound", names)
    codecs: Sequence[Codec | None] | None = entity.kept.get(key)
    if codecs is None:
        codecs = [bound(entity.columns[name].kind, "postgresql") for name in names]
        if len(entity.kept) < _KEPT:
            entity.kept[key] = codecs
    values = [columns[name][0] for name in names]
    return [
        value if codec is None or value is None else codec(value)
        for codec, value in zip(codecs, values, strict=True)
    ]


def _list(values: Sequence[Any]) -> str:
    """Values without commas as one text, which is bound much faster than an array."""
    return orjson.dumps(values if isinstance(values, list) else list(values)).decode()[1:-1].replace('"', "")


def _is_one(kind: Kind, values: Sequence[Any]) -> bool:
    """Whether all rows have the same value, which is bound as it is then: arrays take the driver longer."""
    count, first = len(values), values[0]
    if count < _LARGE or first != values[-1]:
        return False
    # in JSON, 1 and true are not the same
    return (kind is not Kind.JSON or first == {}) and values.count(first) == count


def _inserting(
    entity: EntityType, each: tuple[str, ...], once: tuple[str, ...], computed: Mapping[str, str], source: str
) -> str:
    """The insertion of columns that are bound as arrays, and of those of which all rows have one value."""
    key = ("insert", each, once, source)
    if (found := entity.kept.get(key)) is not None:
        return str(found)
    values = [_column(entity, name) for name in each]
    for place, name in enumerate(once, len(each) + 1):
        kind = entity.columns[name].kind
        values.append(f"${place}::{_POSTGRESQL_TYPES[kind]}{_CASTS.get(kind, '')}")
    rows = f"FROM {_unlisted(entity, each)}{source}" if each else source.replace(", ", "FROM ", 1)
    names = quoted([*each, *once, *computed])
    sql = f"INSERT INTO {table_of(entity)} ({names}) SELECT {', '.join([*values, *computed.values()])} {rows}"
    if len(entity.kept) < _KEPT:
        entity.kept[key] = sql
    return sql


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
        among, given = _among(kind, chunk, 1, transaction.dialect)
        order = f' ORDER BY t."id"{_LOCKS[lock]}' if transaction.dialect == "postgresql" else ""
        sql = f'SELECT {quoted(names, "t")} FROM {table_of(entity)} t WHERE t."{column}" {among}{where}{order}'
        decode = _decoding(entity, names, transaction.dialect)
        for row in await transaction.fetch(sql, (given,)):
            decoded = decode(row)
            found[decoded["id"]] = decoded
    return found


async def hold(transaction: Transaction, wanted: Sequence[tuple[EntityType, Sequence[UUID]]]) -> list[set[UUID]]:
    """Those of the rows, by their ids, that are there, locked as what is referred to. One statement for all."""
    alive: list[set[UUID]] = [set() for _ in wanted]
    if any(ids for _, ids in wanted):
        for n, id in await transaction.fetch(*holding(transaction.dialect, wanted)):
            alive[n].add(UUID(id) if isinstance(id, str) else UUID(int=id.int))
    return alive


def holding(dialect: Dialect, wanted: Sequence[tuple[EntityType, Sequence[UUID]]]) -> tuple[str, Sequence[Any]]:
    """The statement of :func:`hold`, and its parameters; at least one row is wanted."""
    asked = [(place, entity, chunk) for place, (entity, ids) in enumerate(wanted) for chunk in chunks(ids)]
    parts: list[str] = []
    parameters: list[Any] = []
    for i, (place, entity, chunk) in enumerate(asked):
        among, given = _among(Kind.ID, chunk, i + 1, dialect)
        parameters.append(given)
        wanted_rows = f'SELECT {place} AS n, t."id" FROM {table_of(entity)} t WHERE t."id" {among}'
        parts.append(wanted_rows + held(dialect, entity))
    sql = parts[0]
    if len(parts) > 1:
        # a lock and UNION are at odds, but for what is read apart
        named = ", ".join(f"r{i} AS ({part})" for i, part in enumerate(parts))
        sql = f"WITH {named} {' UNION ALL '.join(f'SELECT n, id FROM r{i}' for i in range(len(parts)))}"
    return sql, parameters


def held(dialect: Dialect, entity: EntityType) -> str:
    """What a query for rows ``t`` of an entity ends with that locks those that live as what is referred to."""
    live = ' AND t."deleted_at" IS NULL' if entity.is_entity else ""
    return f'{live} ORDER BY t."id"{_LOCKS["reference"]}' if dialect == "postgresql" else live


def decode_row(entity: EntityType, names: Sequence[str], row: Sequence[Any], dialect: Dialect) -> dict[str, Any]:
    return _decoding(entity, names, dialect)(row)


def _decoding(
    entity: EntityType, names: Sequence[str], dialect: Dialect
) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """What makes Python values of many rows."""
    codecs = [
        (name, codec) for name in names if (codec := decoder(entity.columns[name].kind, dialect)) is not None
    ]

    def decode(row: Sequence[Any]) -> dict[str, Any]:
        result = dict(zip(names, row, strict=True))
        for name, codec in codecs:
            value = result[name]
            if value is not None:
                result[name] = codec(value)
        return result

    return decode


def _tuples(
    entity: EntityType, names: Sequence[str], rows: Sequence[Values], dialect: Dialect
) -> list[tuple[Any, ...]]:
    return list(zip(*_columns(entity, names, rows, dialect), strict=True))


def _arrays(entity: EntityType, names: Sequence[str], rows: Sequence[Values]) -> list[list[Any]]:
    return _columns(entity, names, rows, "postgresql")


def _columns(
    entity: EntityType, names: Sequence[str], rows: Sequence[Values], dialect: Dialect
) -> list[list[Any]]:
    return [encoded(entity.columns[name].kind, [row[name] for row in rows], dialect) for name in names]


def _unnested(entity: EntityType, names: Sequence[str]) -> str:
    types = ", ".join(
        f"${i + 1}::{_POSTGRESQL_TYPES[entity.columns[name].kind]}[]" for i, name in enumerate(names)
    )
    return f"unnest({types}) AS v({quoted(names)})"


def _unlisted(entity: EntityType, names: Sequence[str]) -> str:
    """The same where columns of short values are bound as one text each."""
    arrays = []
    for place, name in enumerate(names, 1):
        kind = entity.columns[name].kind
        array = f"string_to_array(${place}::text, ',', 'null')" if kind in _LISTED else f"${place}"
        arrays.append(f"{array}::{_POSTGRESQL_TYPES[kind]}[]")
    return f"unnest({', '.join(arrays)}) AS v({quoted(names)})"


def _column(entity: EntityType, name: str) -> str:
    return f'v."{name}"{_CASTS.get(entity.columns[name].kind, "")}'


def _casted(kind: Kind) -> str:
    return f"{_CASTS[kind]}[]" if kind in _CASTS else ""
