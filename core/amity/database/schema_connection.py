"""A connection of its own for changing the schema, as the schema editors and operations use it.

It runs as long as it takes (no statement timeout), one change of the schema at a time, each in a transaction:
both databases undo DDL with the rest of a transaction.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from tortoise.backends.base.client import Capabilities

from .base import ConnectionFailed, Dialect, ForeignKeyViolation, Row, Transaction

if TYPE_CHECKING:
    import aiosqlite

_WAIT_SECONDS = 600
"""How long to wait for another process that is changing the schema of a SQLite file."""


class SchemaConnection(ABC):
    """A :class:`~amity.database.Transaction` that is also what Tortoise's schema editors call a client."""

    dialect: Dialect
    capabilities: ClassVar[Capabilities]
    connection_name = "default"

    def __init__(self, statements: Transaction) -> None:
        self._statements = statements

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return await self._statements.fetch(sql, parameters)

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return await self._statements.execute(sql, parameters)

    async def insert(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._statements.execute(sql, parameters)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        await self._statements.execute_many(sql, rows)

    @abstractmethod
    async def execute_script(self, sql: str) -> None:
        """Runs statements separated by semicolons, in the current transaction."""

    @abstractmethod
    async def execute_query(
        self, sql: str, parameters: Sequence[Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many rows, and the rows by column name."""

    @abstractmethod
    def transaction(self, *, check_references: bool = False) -> AbstractAsyncContextManager[None]:
        """What happens within is kept whole or not at all.

        With ``check_references`` it raises :class:`~amity.database.ForeignKeyViolation` where rows would be
        left that refer to nothing. SQLite reads all tables for that, PostgreSQL checks in any case.
        """

    @abstractmethod
    async def lock(self) -> None:
        """Waits until no other process applies migrations, and keeps it so until the connection is closed."""


@asynccontextmanager
async def schema_connection(url: str) -> AsyncIterator[SchemaConnection]:
    """Connects to the database behind a URL, as :func:`amity.database.connect` understands it.

    A SQLite file is made if it is not there. Raises :class:`~amity.database.ConnectionFailed`.
    """
    if url.startswith("sqlite:"):
        async with _sqlite(url) as connection:
            yield connection
    elif url.startswith(("postgresql:", "postgres:")):
        async with _postgresql(url) as connection:
            yield connection
    else:
        raise ConnectionFailed(
            f"the database URL {url.split('@')[-1]!r} is not understood; "
            "expected sqlite:///path or postgresql://user@host/name"
        )


@asynccontextmanager
async def _sqlite(url: str) -> AsyncIterator[SchemaConnection]:
    from .sqlite import SQLite, SQLiteTransaction  # each driver is loaded only where it is used

    database = SQLite(url)
    if not database.path.parent.is_dir():
        raise ConnectionFailed(f"{database.path}: the folder {database.path.parent} does not exist; create it")
    try:
        connection = await database._connect(read_only=False)
        # tables are rebuilt; with foreign keys on, dropping the old one would delete what refers to it
        await connection.execute("PRAGMA foreign_keys = OFF")
        await connection.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}")
    except sqlite3.Error as error:
        await database.close()
        raise ConnectionFailed(f"{database.path}: {error}; is it a SQLite database that you may write?") from error
    try:
        yield SQLiteSchemaConnection(SQLiteTransaction(database, connection), connection)
    finally:
        await database.close()


@asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator[SchemaConnection]:
    try:
        import asyncpg

        from .postgresql import PostgreSQL, PostgreSQLTransaction
    except ImportError as error:
        raise ConnectionFailed(
            "PostgreSQL needs the extra amity[postgres]; install it with `pip install 'amity[postgres]'`"
        ) from error
    try:
        connection = await asyncpg.connect(
            url,
            server_settings={
                "application_name": "amity migrate",
                "timezone": "UTC",
                "statement_timeout": "0",
            },
        )
    except (OSError, asyncpg.PostgresError, ValueError) as error:
        where = url.split("@")[-1]
        raise ConnectionFailed(
            f"PostgreSQL at {where} can't be reached: {error}; is it running, and is the URL right?"
        ) from error
    try:
        yield PostgreSQLSchemaConnection(PostgreSQLTransaction(PostgreSQL(url), connection), connection)
    finally:
        await connection.close()


class SQLiteSchemaConnection(SchemaConnection):
    dialect = "sqlite"
    capabilities = Capabilities(
        "sqlite", daemon=False, requires_limit=True, inline_comment=True, can_rollback_ddl=True
    )

    def __init__(self, statements: Transaction, connection: aiosqlite.Connection) -> None:
        super().__init__(statements)
        self.connection = connection

    async def execute_script(self, sql: str) -> None:
        # sqlite3's own executescript commits first
        for statement in split_statements(sql):
            await self.execute(statement)

    async def execute_query(
        self, sql: str, parameters: Sequence[Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        async with self.connection.execute(sql, parameters or ()) as cursor:
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
        return len(rows), rows

    @asynccontextmanager
    async def transaction(self, *, check_references: bool = False) -> AsyncIterator[None]:
        await self.execute("BEGIN IMMEDIATE")
        try:
            before = await self._dangling() if check_references else Counter()
            yield
            new = await self._dangling() - before if check_references else Counter()
            if new:
                raise ForeignKeyViolation(
                    f"{new.total()} rows would refer to rows that are not there: {', '.join(sorted(new))}"
                )
            await self.execute("COMMIT")
        except BaseException:
            await self.connection.rollback()
            raise

    async def _dangling(self) -> Counter[str]:
        """How many rows refer to nothing, by reference. Row ids change when a table is rebuilt."""
        rows = await self.fetch("PRAGMA foreign_key_check")
        return Counter(f"{table} → {target}" for table, _, target, _ in rows)

    async def lock(self) -> None:
        """Nothing: BEGIN IMMEDIATE is the lock, and each migration looks again whether it is applied."""


class PostgreSQLSchemaConnection(SchemaConnection):
    dialect = "postgresql"
    capabilities = Capabilities("postgres", can_rollback_ddl=True)

    def __init__(self, statements: Transaction, connection: Any) -> None:
        super().__init__(statements)
        self.connection = connection

    async def execute_script(self, sql: str) -> None:
        await self.execute(sql)

    async def execute_query(
        self, sql: str, parameters: Sequence[Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        rows = [dict(row) for row in await self.fetch(sql, parameters or ())]
        return len(rows), rows

    @asynccontextmanager
    async def transaction(self, *, check_references: bool = False) -> AsyncIterator[None]:
        async with self.connection.transaction():
            # checks that wait for the commit would keep ALTER TABLE from touching a table just written to
            await self.execute("SET CONSTRAINTS ALL IMMEDIATE")
            yield

    async def lock(self) -> None:
        key = "hashtextextended('amity migrate ' || coalesce(current_schema(), ''), 0)"
        await self.execute(f"SELECT pg_advisory_lock({key})")


def split_statements(sql: str) -> Iterator[str]:
    """The statements of a SQLite script; semicolons in texts and triggers don't end one."""
    buffer = ""
    for part in sql.split(";"):
        buffer += part + ";"
        if sqlite3.complete_statement(buffer):
            if statement := buffer.strip().rstrip(";").strip():
                yield statement
            buffer = ""
    if statement := buffer.strip().rstrip(";").strip():
        yield statement
