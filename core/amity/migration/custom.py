"""The columns of custom fields: from what the settings declare to what the database has.

What was added is written down in ``core_custom_field``. A field that is no longer declared keeps its column and
its values; only its index goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from ..change import storage
from ..change.input import Reading
from ..change.refusals import Refusals
from ..database import Database
from ..database.operations import CreateIndex
from ..database.schema_connection import SchemaConnection
from ..database.schema_editor import literal
from ..entity import Catalog, Column, CustomField, EntityType, Kind
from ..entity.custom import columns_of, index_name
from ..entity.values import decode, encode
from .errors import MigrationError

if TYPE_CHECKING:
    from ..composition import Composition

TABLE = "core_custom_field"
JSON = "custom_fields"
"""Where records keep what has no column."""
_TYPES: Mapping[str, Mapping[Kind, str]] = {
    "sqlite": {
        Kind.TEXT: "TEXT",
        Kind.INT: "INTEGER",
        Kind.BIGINT: "INTEGER",
        Kind.FLOAT: "REAL",
        Kind.BOOLEAN: "INTEGER",
        Kind.DATE: "TEXT",
        Kind.DATETIME: "TEXT",
        Kind.ID: "CHAR(36)",
    },
    "postgresql": {
        Kind.TEXT: 'TEXT COLLATE "C"',
        Kind.INT: "INTEGER",
        Kind.BIGINT: "BIGINT",
        Kind.FLOAT: "DOUBLE PRECISION",
        Kind.BOOLEAN: "BOOLEAN",
        Kind.DATE: "DATE",
        Kind.DATETIME: "TIMESTAMPTZ",
        Kind.ID: "UUID",
    },
}


@dataclass(frozen=True)
class Kept:
    """A custom field as the database has it."""

    table: str
    name: str
    type: str
    target: str | None
    indexed: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return columns_of(self.name, self.type)


@dataclass(frozen=True)
class Step:
    """One thing to do: add the columns of a field, or add or drop its index."""

    what: Literal["add", "index", "unindex"]
    table: str
    field: str
    entity: EntityType | None

    @property
    def name(self) -> str:
        """``custom field Customer.contract_value``: how it is told."""
        of = "" if self.what == "add" else "index of " if self.what == "index" else "no index of "
        return f"{of}custom field {self.entity.name if self.entity else self.table}.{self.field}"


async def pending_fields(composition: Composition, database: Database) -> list[str]:
    """What an open database still lacks of the custom fields; those of another type there, too."""
    kept = await _kept(database.read, database.dialect)
    return [step.name for step in _steps(composition, kept)] + _changed(composition, kept)


async def apply_fields(
    composition: Composition, connection: SchemaConnection, progress: Callable[[str, int, int], object]
) -> list[str]:
    """Brings columns and indexes to what the settings declare, each in a transaction of its own; what was done.

    Values that records keep under the field's name in ``custom_fields`` are moved into a new column, as far as
    they are values of its type. Raises :class:`MigrationError` where a field has changed its type.
    """
    kept = await _kept(connection.fetch, connection.dialect)
    if changed := _changed(composition, kept):
        raise MigrationError(
            f"another type was declared for {', '.join(changed)}: values can't follow by themselves. "
            "Declare it as it was, or under another name"
        )
    names: list[str] = []
    steps = _steps(composition, kept)
    for number, step in enumerate(steps, 1):
        try:
            async with connection.transaction():
                told = await _take(composition, connection, step)
        except Exception as error:
            raise MigrationError(f"{step.name} failed: {error}") from error
        if told:
            names.append(told)
            progress(told, number, len(steps))
    return names


async def make_way(composition: Composition, connection: SchemaConnection) -> None:
    """Puts aside custom fields that an entity has got fields of its own for: the column ``tier`` as ``cf_tier``.

    It comes before the migrations, which add that field's column; no entity declares columns that begin so.
    """
    kept = await _kept(connection.fetch, connection.dialect)
    own = {
        entity.table: entity.columns.keys() - _custom_columns(entity) for entity in composition.catalog.values()
    }
    for field in kept.values():
        if not own.get(field.table, set()).isdisjoint(field.columns):
            async with connection.transaction():
                await _put_aside(connection, field)


def custom_indexes(composition: Composition) -> list[CreateIndex]:
    """The indexes that custom fields ask for."""
    return [
        CreateIndex(entity.table, field.index.name, field.index.postgresql)
        for entity in composition.catalog.values()
        for field in entity.custom.values()
        if field.indexed
    ]


# --- what is to be done ------------------------------------------------------------------------------------


async def _kept(fetch: Callable[..., Awaitable[Sequence[Any]]], dialect: str) -> dict[tuple[str, str], Kept]:
    there = (
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1"
        if dialect == "sqlite"
        else "SELECT 1 WHERE to_regclass(quote_ident($1)) IS NOT NULL"
    )
    if not await fetch(there, (TABLE,)):
        return {}
    rows = await fetch(f"SELECT table_name, name, type, target, indexed FROM {TABLE} ORDER BY table_name, name")
    return {(row[0], row[1]): Kept(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows}


def _declared(composition: Composition) -> dict[tuple[str, str], tuple[EntityType, CustomField]]:
    return {
        (entity.table, name): (entity, field)
        for entity in composition.catalog.values()
        for name, field in entity.custom.items()
    }


def _steps(composition: Composition, kept: Mapping[tuple[str, str], Kept]) -> list[Step]:
    found: list[Step] = []
    declared = _declared(composition)
    for (table, name), (entity, field) in declared.items():
        before = kept.get((table, name))
        if before is None:
            found.append(Step("add", table, name, entity))
        elif before.indexed != field.indexed:
            found.append(Step("index" if field.indexed else "unindex", table, name, entity))
    found += [
        Step("unindex", table, name, None)
        for (table, name), before in kept.items()
        if before.indexed and (table, name) not in declared
    ]
    return found


def _changed(composition: Composition, kept: Mapping[tuple[str, str], Kept]) -> list[str]:
    """Fields that the database has with another type."""
    found = []
    for key, (entity, field) in _declared(composition).items():
        before = kept.get(key)
        if before is not None and _kind(before.type, before.target) != _kind(field.type, field.target):
            was, now = (f"{type} to {to}" if to else type for type, to in _sides(before, field))
            found.append(f"custom field {entity.name}.{field.name} (in the database {was}, declared as {now})")
    return found


def _kind(type: str, target: str | None) -> tuple[str, str | None]:
    """A choice is a text with fewer values, and may become one, or be one no more."""
    return "text" if type == "choice" else type, target


def _sides(before: Kept, field: CustomField) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    return (before.type, before.target), (field.type, field.target)


# --- doing it ----------------------------------------------------------------------------------------------


async def _take(composition: Composition, connection: SchemaConnection, step: Step) -> str | None:
    """Takes one step; what is told of it, None if another process was faster."""
    await connection.execute(_ledger(connection.dialect))
    kept = (await _kept(connection.fetch, connection.dialect)).get((step.table, step.field))
    if step.what == "unindex":
        if kept is None or not kept.indexed:
            return None
        await connection.execute(f'DROP INDEX IF EXISTS "{step.table}_{index_name(step.field)}"')
        await _note_index(connection, step, False)
        return step.name
    assert step.entity is not None
    field = step.entity.custom[step.field]
    if step.what == "index":
        if kept is not None and kept.indexed:
            return None
        await connection.execute(_index(connection, step.entity, field))
        await _note_index(connection, step, True)
        return step.name
    if kept is not None:
        return None
    for name in field.columns:
        await connection.execute(_column(connection.dialect, step.entity, field, step.entity.columns[name]))
    told = await _moved(composition.catalog, connection, step.entity, field)
    if field.indexed:
        await connection.execute(_index(connection, step.entity, field))
    await connection.execute(
        f"INSERT INTO {TABLE} (table_name, name, type, target, indexed) VALUES ({_marks(connection, 5)})",
        (step.table, step.field, field.type, field.target, int(field.indexed)),
    )
    return step.name + told


def _custom_columns(entity: EntityType) -> set[str]:
    return {column for field in entity.custom.values() for column in field.columns}


async def _put_aside(connection: SchemaConnection, field: Kept) -> None:
    if field.name not in {name for _, name in await _kept(connection.fetch, connection.dialect)}:
        return  # another process was faster
    await connection.execute(f'DROP INDEX IF EXISTS "{field.table}_{index_name(field.name)}"')
    for column in field.columns:
        await connection.execute(f'ALTER TABLE "{field.table}" RENAME COLUMN "{column}" TO "cf_{column}"')
    one, two, three = _marks(connection, 3).split(", ")
    await connection.execute(
        f"UPDATE {TABLE} SET name = {one}, indexed = 0 WHERE table_name = {two} AND name = {three}",
        (f"cf_{field.name}", field.table, field.name),
    )


def _ledger(dialect: str) -> str:
    text = _TYPES[dialect][Kind.TEXT]
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (table_name {text} NOT NULL, name {text} NOT NULL,"
        f" type {text} NOT NULL, target {text}, indexed INTEGER NOT NULL, PRIMARY KEY (table_name, name))"
    )


def _marks(connection: SchemaConnection, count: int) -> str:
    return ", ".join(f"{'?' if connection.dialect == 'sqlite' else '$'}{n + 1}" for n in range(count))


async def _note_index(connection: SchemaConnection, step: Step, indexed: bool) -> None:
    one, two = _marks(connection, 2).split(", ")
    await connection.execute(
        f"UPDATE {TABLE} SET indexed = {int(indexed)} WHERE table_name = {one} AND name = {two}",
        (step.table, step.field),
    )


def _index(connection: SchemaConnection, entity: EntityType, field: CustomField) -> str:
    sql = field.index.sql(connection.dialect, entity.table)
    assert sql is not None
    return sql


def _column(dialect: str, entity: EntityType, field: CustomField, column: Column) -> str:
    """Both databases add a column without touching a row, with its default, too."""
    sql = f'ALTER TABLE "{entity.table}" ADD COLUMN "{column.name}" {_TYPES[dialect][column.kind]}'
    if column.default is not None:
        sql += f" DEFAULT {_default(dialect, column)}"
    if field.target is not None:
        sql += f' REFERENCES "{field.target}" ("id") ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED'
    return sql


def _default(dialect: str, column: Column) -> str:
    value = encode(column.kind, column.default, "sqlite")
    return literal(bool(value) if column.kind is Kind.BOOLEAN else value, dialect)


# --- what records kept before ------------------------------------------------------------------------------


async def _moved(catalog: Catalog, connection: SchemaConnection, entity: EntityType, field: CustomField) -> str:
    """Moves values out of the JSON of records into the new column; how many could be and could not be moved.

    Records that are deleted are not left out, as they may be restored.
    """
    if JSON not in entity.columns or entity.columns[JSON].kind is not Kind.JSON:
        return ""
    moved = left = 0
    after: str | None = None
    while rows := await connection.fetch(_with_key(connection.dialect, entity, field, after), _after(after)):
        after = str(rows[-1][0])
        found = {UUID(str(id)): decode(Kind.JSON, text, connection.dialect) for id, text in rows}
        values = await _fitting(catalog, connection, entity, field, found)
        changed = []
        for id, columns in values.items():
            rest = {key: value for key, value in found[id].items() if key != field.name}
            changed.append({"id": id, **columns, JSON: rest})
        await storage.update(connection, entity, changed, [*field.columns, JSON])
        moved, left = moved + len(changed), left + len(found) - len(changed)
    if not moved and not left:
        return ""
    stay = f", left there as they do not fit: {left}" if left else ""
    return f" (moved out of {JSON}: {moved}{stay})"


def _with_key(dialect: str, entity: EntityType, field: CustomField, after: str | None) -> str:
    """Records with the key, a batch of them. Names of fields are words, which need no escaping."""
    if dialect == "sqlite":
        has, later = f"json_type({JSON}, '$.\"{field.name}\"') IS NOT NULL", "id > ?1"
    else:
        has, later = f"jsonb_exists({JSON}, '{field.name}')", "id > $1::text::uuid"
    where = f"{has} AND {later}" if after else has
    return f'SELECT id, {JSON} FROM "{entity.table}" WHERE {where} ORDER BY id LIMIT {storage.CHUNK}'


def _after(id: str | None) -> tuple[str, ...]:
    return (id,) if id else ()


async def _fitting(
    catalog: Catalog,
    connection: SchemaConnection,
    entity: EntityType,
    field: CustomField,
    found: Mapping[UUID, Mapping[str, Any]],
) -> dict[UUID, dict[str, Any]]:
    """Values of the columns for those records whose value input could bring, too."""
    ids = list(found)
    name = field.columns[0] if field.target is not None else field.name
    reading = Reading(catalog, entity, "update", "")
    items = reading.rows([{name: found[id][field.name]} for id in ids], Refusals())
    values = {ids[item.index]: {key: item.values[key] for key in field.columns} for item in items}
    if field.target is None:
        return values
    target = catalog[entity.to_one[field.name].target]
    wanted = [row[name] for row in values.values() if row[name] is not None]
    there = await storage.select_by(connection, target, "id", wanted, columns=["id"])
    return {id: row for id, row in values.items() if row[name] is None or row[name] in there}


__all__ = ["apply_fields", "custom_indexes", "make_way", "pending_fields"]
