"""SQLite: one writer, four readers, WAL."""

from __future__ import annotations

import asyncio
import base64
import math
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiosqlite

from . import totals
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
from .folding import FUNCTION, fold
from .grams import sqlite_line, sqlite_rank

READERS = 4
MINIMUM = (3, 38, 0)
_BUSY_SECONDS = 30.0


class SQLite(Database):
    """An embedded database in a file. Several processes on one host may share it.

    Transactions begin with ``BEGIN IMMEDIATE``: a unit of work takes the write lock before it reads, so that
    none fails half-way because another process wrote. Reads run on connections of their own, which WAL lets
    go on meanwhile.
    """

    dialect = "sqlite"

    def __init__(self, url: str, statement_timeout: float = 30.0) -> None:
        super().__init__(url)
        self.path = path_of(url)
        self._timeout = statement_timeout
        self._writer: aiosqlite.Connection | None = None
        self._write_lock = asyncio.Lock()
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._all: list[aiosqlite.Connection] = []

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < MINIMUM:
            raise ConnectionFailed(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 or later is needed")
        if not self.path.parent.is_dir():
            raise ConnectionFailed(f"{self.path}: the folder {self.path.parent} does not exist; create it")
        try:
            self._writer = await self._connect(read_only=False)
            for _ in range(READERS):
                self._readers.put_nowait(await self._connect(read_only=True))
        except sqlite3.Error as error:
            await self._disconnect()
            raise ConnectionFailed(f"{self.path}: {error}; is it a SQLite database that you may write?") from error

    async def _connect(self, *, read_only: bool) -> aiosqlite.Connection:
        mode = "ro" if read_only else "rwc"
        connection = await aiosqlite.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=_BUSY_SECONDS,
            cached_statements=512,
        )
        self._all.append(connection)
        try:
            await self._prepare(connection, read_only)
        except BaseException:  # nobody else would close it before the database is closed
            self._all.remove(connection)
            await connection.close()
            raise
        return connection

    @staticmethod
    async def _prepare(connection: aiosqlite.Connection, read_only: bool) -> None:
        await connection.create_function(FUNCTION, 1, _fold, deterministic=True)
        await connection.create_function("amity_float", 1, _float, deterministic=True)
        await connection.create_function("amity_integer", 1, _integer, deterministic=True)
        await connection.create_function("amity_base64", 1, _base64, deterministic=True)
        for name, (arguments, function) in totals.FUNCTIONS.items():
            await connection.create_function(name, arguments, function, deterministic=True)
        await connection.create_function("amity_line", 2, sqlite_line, deterministic=True)
        await connection.create_function("amity_search_rank", 2, sqlite_rank, deterministic=True)
        if not read_only:
            await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = NORMAL")
        await connection.execute("PRAGMA foreign_keys = ON")
        await connection.execute("PRAGMA cache_size = -65536")
        await connection.execute("PRAGMA temp_store = MEMORY")

    async def _disconnect(self) -> None:
        connections, self._all = self._all, []
        for connection in reversed(connections):
            await connection.close()
        self._writer = None
        self._readers = asyncio.Queue()

    async def read(self, sql: str, parameters: Sequence[Any] = (), timeout: float | None = None) -> list[Row]:
        async with self._reader() as connection:
            self.ran(sql)
            work = connection.execute_fetchall(sql, parameters)
            return list(await self._limited(connection, work, timeout or self._timeout))

    async def _limited(self, connection: aiosqlite.Connection, call: Awaitable[Any], limit: float) -> Any:
        """What a call of the driver answers, unless it takes longer than so many seconds."""
        work = asyncio.ensure_future(call)
        try:
            # wait_for would lose a cancellation that comes together with the result
            done, _ = await asyncio.wait({work}, timeout=limit)
        except asyncio.CancelledError:
            await self._stop(connection, work)
            raise
        if not done:
            await self._stop(connection, work)
            raise DatabaseError(f"the statement was stopped after {limit:g} seconds")
        try:
            return work.result()
        except sqlite3.Error as error:
            raise translate(error) from error
        except ValueError as error:
            if connection in self._all:
                raise
            raise DatabaseError("the database was closed meanwhile") from error

    @staticmethod
    async def _stop(connection: aiosqlite.Connection, work: asyncio.Future[Any]) -> None:
        """Ends a statement: ending the wait for it does not."""
        await connection.interrupt()
        await asyncio.gather(work, return_exceptions=True)

    async def stream(
        self, sql: str, parameters: Sequence[Any] = (), batch: int = 1000
    ) -> AsyncIterator[list[Row]]:
        if not self._all:
            raise DatabaseError("the database is not open; use `async with crm:`")
        # for long: the readers are for reads that end soon
        connection = await self._connect(read_only=True)
        try:
            # what is sorted can be larger than memory
            await connection.execute("PRAGMA temp_store = FILE")
            self.ran(sql)
            cursor = await self._limited(connection, connection.execute(sql, parameters), self._timeout)
            while rows := await self._limited(connection, cursor.fetchmany(batch), self._timeout):
                yield list(rows)
        finally:
            if connection in self._all:
                self._all.remove(connection)
            await connection.close()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        if not self._all:
            raise DatabaseError("the database is not open; use `async with crm:`")
        connection = await self._readers.get()
        try:
            yield connection
        finally:
            self._readers.put_nowait(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[WholeTransaction]:
        if self._writer is None:
            raise DatabaseError("the database is not open; use `async with crm:`")
        async with self._write_lock:
            transaction = SQLiteTransaction(self, self._writer)
            await transaction.execute("BEGIN IMMEDIATE")
            try:
                yield transaction
            except BaseException:
                await self._writer.rollback()
                raise
            try:
                await self._writer.commit()
            except sqlite3.Error as error:
                await self._writer.rollback()
                raise translate(error) from error

    async def grew(self, rows: Mapping[str, int]) -> None:
        """SQLite chooses its plans by the indexes alone."""

    async def explain(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        rows = await self.read(f"EXPLAIN QUERY PLAN {sql}", parameters)
        depth: dict[int, int] = {0: -1}
        lines = []
        for node, parent, _, text in rows:
            depth[node] = depth.get(parent, -1) + 1
            lines.append("  " * depth[node] + text)
        return "\n".join(lines)

    async def checks(self) -> list[tuple[bool, str]]:
        mode = (await self.read("PRAGMA journal_mode"))[0][0]
        integrity = (await self.read("PRAGMA quick_check(1)"))[0][0]
        orphans = await self.read("PRAGMA foreign_key_check")
        return [
            (
                sqlite3.sqlite_version_info >= MINIMUM,
                f"SQLite {sqlite3.sqlite_version}, 3.38 or later is needed",
            ),
            (mode == "wal", f"journal mode is {mode}, wal is needed"),
            (integrity == "ok", f"the file {self.path.name} is intact ({integrity})"),
            (not orphans, f"{len(orphans)} references lead nowhere"),
        ]


class SQLiteTransaction:
    """A transaction on the one writing connection."""

    dialect: Dialect = "sqlite"

    def __init__(self, database: SQLite, connection: aiosqlite.Connection) -> None:
        self._database = database
        self.connection = connection

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self._database.ran(sql)
        try:
            return list(await self.connection.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise translate(error) from error

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self._database.ran(sql)
        try:
            async with self.connection.execute(sql, parameters) as cursor:
                return cursor.rowcount
        except sqlite3.Error as error:
            raise translate(error) from error

    async def insert(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self.execute(sql, parameters)

    async def last(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self.execute(sql, parameters)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._database.ran(sql)
        try:
            async with self.connection.executemany(sql, rows):
                pass
        except sqlite3.Error as error:
            raise translate(error) from error


def path_of(url: str) -> Path:
    """``sqlite:///relative`` and ``sqlite:////absolute``."""
    if not url.startswith("sqlite:///"):
        raise ConnectionFailed(f"{url!r} is not understood; expected sqlite:///path, with three slashes")
    path = unquote(url.removeprefix("sqlite:///").split("?", 1)[0])
    if path in ("", ":memory:"):
        raise ConnectionFailed("an in-memory database can't be shared by readers; name a file: sqlite:///path")
    return Path(path)


def translate(error: sqlite3.Error) -> DatabaseError:
    """A driver's error as one of ours."""
    text = str(error)
    if text.startswith("UNIQUE constraint failed"):
        names = re.findall(r"(\w+)\.(\w+)", text)
        named = re.search(r"index '(\w+)'", text)
        return UniqueViolation(text, named[1] if named else None, [column for _, column in names])
    if text.startswith("FOREIGN KEY constraint failed"):
        return ForeignKeyViolation(text)
    if "integer overflow" in text or "malformed JSON" in text or "user-defined function raised" in text:
        return EvaluationError(text)
    if "no such table" in text or "no such column" in text:
        return DatabaseError(f"{text}; the database is behind: run `amity migrate`")
    return DatabaseError(text)


def _fold(value: Any) -> Any:
    return fold(value) if isinstance(value, str) else value


def _float(value: Any) -> Any:
    """The shortest text that is this very number; SQLite's own is off in the last digit for some."""
    return repr(float(value)) if value is not None and math.isfinite(value) else None


def _integer(value: Any) -> Any:
    """A whole number as it is. SQLite goes on with a rounded one where 64 bits are too few: that fails."""
    if isinstance(value, float):
        raise ValueError("integer overflow")  # an OverflowError is taken for a text that is too long
    return value


def _base64(value: Any) -> Any:
    return None if value is None else base64.b64encode(str(value).encode()).decode()
