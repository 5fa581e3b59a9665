"""What both databases have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Literal, Protocol, TypeVar

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql"]
Row = Sequence[Any]


class DatabaseError(Exception):
    """Raised when the database refuses a statement."""


class ConnectionFailed(DatabaseError):
    """Raised when the database can't be reached, or is not what the URL says."""


class UniqueViolation(DatabaseError):
    """Raised when a row would share a key with another one. ``index`` names the unique index, if known."""

    def __init__(self, message: str, index: str | None = None, columns: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.index = index
        self.columns = tuple(columns)


class ForeignKeyViolation(DatabaseError):
    """Raised when a row would refer to one that is not there."""


class EvaluationError(DatabaseError):
    """Raised when an expression can't be computed: an overflow, a malformed value."""


class Transaction(Protocol):
    """An open transaction. Placeholders are ``$1`` on PostgreSQL and ``?1`` on SQLite."""

    dialect: Dialect

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Runs one statement; the number of rows it touched."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None: ...

    async def insert(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs an ``INSERT`` that answers nothing, at the latest right before the next statement."""
        ...


class WholeTransaction(Transaction, Protocol):
    """One that a unit of work has for itself."""

    async def last(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs the last statement; where it is the only one, it is a transaction by itself."""
        ...


_recording: ContextVar[list[str] | None] = ContextVar("amity_recording", default=None)


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The statements that the block runs, on any database; not what goes on in the background meanwhile."""
    statements: list[str] = []
    token = _recording.set(statements)
    try:
        yield statements
    finally:
        _recording.reset(token)


class Database(ABC):
    """One database, opened by a :class:`~amity.Crm`."""

    dialect: ClassVar[Dialect]

    def __init__(self, url: str) -> None:
        self.url = url
        self._units: set[asyncio.Task[Any]] = set()
        self.statements = 0
        """How many statements were run since it was opened, in the background too."""

    @abstractmethod
    async def open(self) -> None:
        """Connects. Raises :class:`ConnectionFailed`, which says what to do."""

    async def close(self) -> None:
        """Waits for the units of work that are under way, then disconnects."""
        if self._units:
            await asyncio.gather(*self._units, return_exceptions=True)
        await self._disconnect()

    @abstractmethod
    async def _disconnect(self) -> None: ...

    @abstractmethod
    async def read(self, sql: str, parameters: Sequence[Any] = (), timeout: float | None = None) -> list[Row]:
        """Runs one read-only statement on a pooled connection."""

    @abstractmethod
    def stream(self, sql: str, parameters: Sequence[Any] = (), batch: int = 1000) -> Any:
        """Rows of a read-only statement as an asynchronous iterator of batches, in flat memory."""

    @abstractmethod
    def _transaction(self) -> AbstractAsyncContextManager[WholeTransaction]: ...

    def ran(self, sql: str) -> None:
        """Notes a statement that is about to be run."""
        self.statements += 1
        recording = _recording.get()
        if recording is not None:
            recording.append(sql)

    async def transact(self, work: Callable[[WholeTransaction], Awaitable[T]]) -> T:
        """Runs ``work`` in a transaction of its own: committed when it returns, rolled back when it raises.

        The unit of work is a task of its own, shielded from its caller: a client that goes away cancels its
        wait, not the transaction, which ends properly either way.
        """
        task = asyncio.create_task(self._unit(work), name="amity-unit-of-work")
        self._units.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._units.discard(task)
        if not task.cancelled():
            task.exception()  # taken, so that an abandoned unit does not complain when collected

    async def _unit(self, work: Callable[[WholeTransaction], Awaitable[T]]) -> T:
        async with self._transaction() as transaction:
            return await work(transaction)

    @abstractmethod
    async def grew(self, rows: Mapping[str, int]) -> None:
        """Told how many rows were written to which tables, so that the database can look at them anew."""

    @abstractmethod
    async def explain(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        """The database's plan of a statement, as text. The statement is not run."""

    @abstractmethod
    async def checks(self) -> list[tuple[bool, str]]:
        """What ``amity check`` asks of a database: (whether it holds, a sentence)."""
