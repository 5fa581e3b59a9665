"""Applying migrations to a database: ``amity migrate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tortoise.migrations import operations as ops
from tortoise.migrations.migration import Migration
from tortoise.migrations.schema_generator.state import State

from ..database import Database, DatabaseError, Transaction
from ..database.operations import CreateIndex, InstallFold, RunSql
from ..database.schema_connection import SchemaConnection, schema_connection
from ..database.schema_editor import schema_editor
from . import files, search
from .compare import operations_between
from .custom import apply_fields, make_way, pending_fields
from .errors import MigrationError
from .manifest import write_manifest
from .schema import advance, declared, replayed
from .state import empty_state

if TYPE_CHECKING:
    from ..composition import Composition

TABLE = "core_migration"
"""Which migrations were applied; made by the first migrate, before the migrations themselves."""

_STATELESS = (ops.CreateModel, ops.AddField, CreateIndex, RunSql, InstallFold)
"""Operations that look at the models after them only; keeping those before is what costs most."""


@dataclass(frozen=True)
class Progress:
    """A migration was applied: its name like ``core.0001_initial``, and how many of how many are done."""

    name: str
    done: int
    total: int


async def migrate(
    composition: Composition,
    database_url: str,
    progress: Callable[[Progress], object] | None = None,
) -> list[str]:
    """Applies what is pending, each migration in a transaction of its own, and writes the manifest.

    The columns of custom fields come last. The names of what was applied, in order. Several processes may do it at
    once: one of them does the work, the others wait and apply nothing. Raises :class:`MigrationError`; what was
    applied before stays, of the migration that failed nothing does.
    """
    without = files.unmigrated(composition)
    if without:
        raise MigrationError(
            f"{_list(without)} bring entities but no migrations; write them with `amity makemigrations`"
        )
    async with schema_connection(database_url) as connection:
        names = await _migrate(composition, connection, progress)
        return names + await _add_fields(composition, connection, progress)


async def pending(composition: Composition, database: Database) -> list[str]:
    """The migrations and custom fields that an open database still lacks, in order."""
    done = await applied(database)
    names = [name for migration in _migrations(composition) if (name := _name(migration)) not in done]
    return names + await pending_fields(composition, database)


async def applied(database: Database | SchemaConnection) -> list[str]:
    """The migrations that a database has had, of plugins enabled or not, in the order they came."""
    fetch = database.read if isinstance(database, Database) else database.fetch
    dialect = database.dialect
    there = (
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1"
        if dialect == "sqlite"
        else "SELECT 1 WHERE to_regclass(quote_ident($1)) IS NOT NULL"
    )
    if not await fetch(there, (TABLE,)):
        return []
    rows = await fetch(f"SELECT app, name FROM {TABLE} ORDER BY applied_at, app, name")
    return [f"{app}.{name}" for app, name in rows]


async def create_unmigrated(composition: Composition, database_url: str) -> None:
    """Migrates, and creates the tables of plugins without migrations directly. For tests."""
    async with schema_connection(database_url) as connection:
        await _migrate(composition, connection, None)
        migrations = files.load(files.modules(composition))
        before, after = replayed(migrations), declared(composition)
        state = _state(migrations)
        for app in files.unmigrated(composition):
            migration = Migration("unmigrated", app)
            migration.operations = operations_between(before, after, app)
            async with connection.transaction():
                await _run(migration, state, connection)
        await _add_fields(composition, connection, None)


async def _add_fields(
    composition: Composition, connection: SchemaConnection, progress: Callable[[Progress], object] | None
) -> list[str]:
    def tell(name: str, done: int, total: int) -> None:
        if progress:
            progress(Progress(name, done, total))

    return await apply_fields(composition, connection, tell)


async def _migrate(
    composition: Composition,
    connection: SchemaConnection,
    progress: Callable[[Progress], object] | None,
) -> list[str]:
    migrations = _migrations(composition)
    names: list[str] = []
    await connection.lock()
    async with connection.transaction():
        await connection.execute(_table(connection.dialect))
    done = set(await applied(connection))
    _check_known(done, migrations, composition)
    waiting = [migration for migration in migrations if _name(migration) not in done]
    state = empty_state()
    if waiting:
        await make_way(composition, connection)
        for migration in migrations:
            if migration not in waiting:
                _replay(migration, state)
                continue
            if await _apply(migration, state, connection):
                names.append(_name(migration))
                if progress:
                    progress(Progress(names[-1], len(names), len(waiting)))
    await search.refresh(connection, composition)
    async with connection.transaction():
        await write_manifest(connection, composition)
    return names


async def _apply(migration: Migration, state: State, connection: SchemaConnection) -> bool:
    """Runs one migration; False if another process was faster."""
    if not migration.atomic and connection.dialect == "postgresql":
        await _run(migration, state, connection)
        await _record(connection, migration)
        return True
    try:
        async with connection.transaction(check_references=True):
            if _name(migration) in await applied(connection):
                _replay(migration, state)
                return False
            await _run(migration, state, connection)
            await _record(connection, migration)
    except DatabaseError as error:
        raise _failed(migration, "its end", error) from error
    return True


async def _run(migration: Migration, state: State, connection: SchemaConnection) -> None:
    editor = schema_editor(connection)
    for operation in migration.operations:
        before = state if isinstance(operation, _STATELESS) else state.clone()
        advance(migration, operation, state)
        try:
            await operation.database_forward(migration.app_label, before, state, editor)
        except Exception as error:
            raise _failed(migration, f"“{operation.describe()}”", error) from error


def _failed(migration: Migration, where: str, error: Exception) -> MigrationError:
    what = str(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
    kept = "" if migration.atomic else "; it is not atomic, so look at what it left"
    return MigrationError(f"the migration {_name(migration)} failed at {where}: {what}{kept}")


def _replay(migration: Migration, state: State) -> None:
    for operation in migration.operations:
        advance(migration, operation, state)


def _state(migrations: Sequence[Migration]) -> State:
    state = empty_state()
    for migration in migrations:
        _replay(migration, state)
    return state


def _migrations(composition: Composition) -> list[Migration]:
    return files.load(files.modules(composition))


def _check_known(done: set[str], migrations: Sequence[Migration], composition: Composition) -> None:
    known = {_name(migration) for migration in migrations}
    enabled = {migration.app_label for migration in migrations}
    unknown = sorted(name for name in done - known if name.split(".")[0] in enabled)
    if unknown:
        plugin = composition.plugin(unknown[0].split(".")[0])
        raise MigrationError(
            f"the database has had {_list(unknown)}, which {plugin.name} {plugin.version} does not bring; "
            "it is newer than what is installed: install the newer version"
        )


def _table(dialect: str) -> str:
    text, time = ("text", "text") if dialect == "sqlite" else ('text COLLATE "C"', "timestamptz")
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (app {text} NOT NULL, name {text} NOT NULL,"
        f" applied_at {time} NOT NULL, PRIMARY KEY (app, name))"
    )


async def _record(transaction: Transaction, migration: Migration) -> None:
    now = datetime.now(UTC)
    time: Any = now if transaction.dialect == "postgresql" else now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    marks = "$1, $2, $3" if transaction.dialect == "postgresql" else "?1, ?2, ?3"
    await transaction.execute(
        f"INSERT INTO {TABLE} (app, name, applied_at) VALUES ({marks})",
        (migration.app_label, migration.name, time),
    )


def _name(migration: Migration) -> str:
    return f"{migration.app_label}.{migration.name}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
