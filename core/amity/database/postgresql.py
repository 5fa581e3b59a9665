"""PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, cast

import asyncpg

from .base import (
    ConnectionFailed,
    Database,
    DatabaseError,
    Dialect,
    EvaluationError,
    ForeignKeyViolation,
    Row,
    UniqueViolation,
    WholeTransaction,
)

MINIMUM = 150000
_ANALYZE_ROWS = 500
_STATEMENTS = 500
"""Prepared statements that each connection keeps."""
_STATEMENT = 100_000
"""Characters of the longest one that it keeps."""
_IDLE_SECONDS = 30.0
"""How long a connection may have been idle that is used without the pool having looked at it."""
# a generic plan does not know how many rows a batch brings, and reads whole indexes for each
_BEGIN = "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan"
_SIZES = """
SELECT relname, reltuples FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class PostgreSQL(Database):
    """A pool of connections. A schema other than ``public`` is named by ``?options=-csearch_path%3Dname``."""

    dialect = "postgresql"

    def __init__(self, url: str, pool_size: int = 10, statement_timeout: float = 30.0) -> None:
        super().__init__(url)
        self._size = pool_size
        self.timeout = statement_timeout
        self._grown: dict[str, tuple[int, int]] = {}
        """For each table: rows in it when it was last analyzed, and rows that this process wrote since."""
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._idle: list[tuple[Any, float]] = []
        """Connections that were done with, and since when: whoever needs one next takes the last of them."""
        self._waiting = 0
        self._closing = False

    async def open(self) -> None:
        self._closing = False
        try:
            self._pool = await asyncpg.create_pool(
                self.url,
                min_size=1,
                max_size=self._size,
                reset=_clean,
                statement_cache_size=_STATEMENTS,
                max_cacheable_statement_size=_STATEMENT,
                server_settings={
                    "application_name": "amity",
                    "statement_timeout": str(int(self.timeout * 1000)),
                    "timezone": "UTC",
                    # compiling a statement takes longer than to run it
                    "jit": "off",
                    "extra_float_digits": "1",
                },
            )
        except (OSError, asyncpg.PostgresError, ValueError) as error:
            where = self.url.split("@")[-1]
            raise ConnectionFailed(
                f"PostgreSQL at {where} can't be reached: {error}; is it running, and is the URL right?"
            ) from error
        # a table that was never looked at says -1
        self._grown = {table: (max(0, int(rows)), 0) for table, rows in await self.read(_SIZES)}

    async def _disconnect(self) -> None:
        if self._pool is not None:
            self._closing = True  # reads that are under way give their connections back
            idle, self._idle = self._idle, []
            for connection, _ in idle:
                await self._pool.release(connection)
            with suppress(TimeoutError):
                # whoever has a connection for longer than any statement takes is not reading
                await asyncio.wait_for(self._pool.close(), self.timeout)
            self._pool = None

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseError("the database is not open; use `async with crm:`")
        return self._pool

    async def read(self, sql: str, parameters: Sequence[Any] = (), timeout: float | None = None) -> list[Row]:
        try:
            connection = await self._taken()
            try:
                self.ran(sql)
                rows = await connection.fetch(sql, *parameters, timeout=timeout)
            except BaseException:
                await self.pool.release(connection)
                raise
            await self._give_back(connection)
            return cast(list[Row], rows)
        except _FAILURES as error:
            raise translate(error, self.timeout) from error

    async def _taken(self) -> Any:
        """A connection: one that was just done with, or the pool's.

        The pool's own taking and giving back costs as much as a small read. So connections are kept for what comes
        next, unless somebody waits for the pool.
        """
        while self._idle:
            connection, since = self._idle.pop()
            with suppress(asyncpg.InterfaceError):  # the server went away, and the pool has it back already
                if monotonic() - since < _IDLE_SECONDS and not connection.is_closed():
                    return connection
                await self.pool.release(connection)
        self._waiting += 1
        try:
            return await self.pool.acquire()
        finally:
            self._waiting -= 1

    async def _give_back(self, connection: Any) -> None:
        if self._waiting or self._closing:
            await self.pool.release(connection)
        else:
            self._idle.append((connection, monotonic()))

    async def stream(
        self, sql: str, parameters: Sequence[Any] = (), batch: int = 1000
    ) -> AsyncIterator[list[Row]]:
        try:
            connection = await self._taken()
            try:
                async with connection.transaction(readonly=True):
                    self.ran(sql)
                    cursor = await connection.cursor(sql, *parameters)
                    while rows := await cursor.fetch(batch):
                        yield cast(list[Row], rows)
            finally:
                await self.pool.release(connection)
        except _FAILURES as error:
            raise translate(error, self.timeout) from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[WholeTransaction]:
        try:
            connection = await self._taken()
        except _FAILURES as error:
            raise translate(error, self.timeout) from error
        try:
            transaction = PostgreSQLTransaction(self, connection, begun=False)
            try:
                yield transaction
            except BaseException:
                # what the work raises is its own, even an OSError, and says more than a connection that was lost
                if transaction.begun:
                    with suppress(*_FAILURES):
                        await connection.execute("ROLLBACK")
                raise
            if transaction.begun:
                try:
                    await connection.execute("COMMIT")
                except _FAILURES as error:
                    raise translate(error, self.timeout) from error
        except BaseException:
            await self.pool.release(connection)
            raise
        await self._give_back(connection)

    async def grew(self, rows: Mapping[str, int]) -> None:
        """Has tables analyzed that grew by much since.

        The server does so itself, but up to a minute later, and until then it takes them for nearly empty:
        one that a first import has just filled would be read whole for each row of another.
        """
        for table, count in rows.items():
            seen, new = self._grown.get(table, (0, 0))
            new += count
            if new >= max(_ANALYZE_ROWS, seen):
                seen, new = seen + new, 0
                with suppress(DatabaseError):
                    await self.transact(lambda tx, table=table: tx.execute(f'ANALYZE "{table}"'))  # type: ignore[misc]
            self._grown[table] = (seen, new)

    async def explain(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        rows = await self.read(f"EXPLAIN {sql}", parameters)
        return "\n".join(row[0] for row in rows)

    async def checks(self) -> list[tuple[bool, str]]:
        number, version, encoding, may = (
            await self.read(
                "select current_setting('server_version_num')::int, current_setting('server_version'),"
                " current_setting('server_encoding'),"
                " has_schema_privilege(current_schema(), 'CREATE')"
            )
        )[0]
        return [
            (number >= MINIMUM, f"PostgreSQL {version}, 15 or later is needed"),
            (encoding == "UTF8", f"the encoding is {encoding}, UTF8 is needed"),
            (may, "the role may create tables in its schema"),
        ]


class PostgreSQLTransaction:
    """A transaction on one connection of the pool. It begins with its first statement, unless that is the last."""

    dialect: Dialect = "postgresql"

    def __init__(self, database: PostgreSQL, connection: Any, *, begun: bool = True) -> None:
        self._database = database
        self.connection = connection
        self.begun = begun

    async def _begin(self) -> None:
        self.begun = True
        await self.connection.execute(_BEGIN)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self._database.ran(sql)
        try:
            if not self.begun:
                await self._begin()
            return cast(list[Row], await self.connection.fetch(sql, *parameters))
        except _FAILURES as error:
            raise translate(error, self._database.timeout) from error

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self._database.ran(sql)
        try:
            if not self.begun:
                await self._begin()
            status = await self.connection.execute(sql, *parameters)
        except _FAILURES as error:
            raise translate(error, self._database.timeout) from error
        last = status.rsplit(" ", 1)[-1]
        return int(last) if last.isdigit() else 0

    async def insert(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self.execute(sql, parameters)

    async def last(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._database.ran(sql)
        try:
            await self.connection.execute(sql, *parameters)
        except _FAILURES as error:
            raise translate(error, self._database.timeout) from error

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._database.ran(sql)
        try:
            if not self.begun:
                await self._begin()
            await self.connection.executemany(sql, rows)
        except _FAILURES as error:
            raise translate(error, self._database.timeout) from error


async def _clean(connection: Any) -> None:
    """Statements of this module leave nothing behind in a session, and asyncpg has ended the transaction: what it
    would send more, after each of them, is a round trip for nothing."""


def translate(error: BaseException, timeout: float = 0) -> DatabaseError:
    """A driver's error as one of ours."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(f"{error.detail or error}", error.constraint_name)
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return ForeignKeyViolation(f"{error.detail or error}")
    if isinstance(error, asyncpg.QueryCanceledError):
        return DatabaseError(f"the statement was stopped after {timeout:g} seconds")
    if isinstance(error, TimeoutError):
        return DatabaseError("the database did not answer in time")
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
        return DatabaseError(f"{error}; the database is behind: run `amity migrate`")
    if isinstance(error, asyncpg.DataError):
        return EvaluationError(str(error))
    return DatabaseError(str(error))
