"""The transaction of a unit, as its statements see it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ..database import DatabaseError, Dialect, EvaluationError
from ..database.base import Row, WholeTransaction
from .errors import Hoped

_NOT_THERE = "what was referred to is not there"
_PLACE = re.compile(r"\$([0-9]+)")


class Watched:
    """A transaction that remembers its last failed statement, and puts off what nobody waits for.

    PostgreSQL refuses everything after a failed statement, and would turn the commit into a silent roll-back;
    SQLite goes on. Remembering it makes both fail alike, even where somebody caught the exception.

    Insertions answer nothing. On PostgreSQL they wait for the next statement, and those that wait by then are
    sent as one: each is a round trip less. Whatever reads comes after them. What they need to be there is asked in
    the same statement (:meth:`expect`), which fails where it is not. A unit of one statement needs no ``BEGIN``
    and no ``COMMIT``.
    """

    def __init__(self, transaction: WholeTransaction) -> None:
        self._transaction = transaction
        self.dialect: Dialect = transaction.dialect
        self.failure: DatabaseError | None = None
        self._waiting: list[tuple[str, str, Sequence[Any]]] = []
        self._expected: list[tuple[str, Sequence[Any], int]] = []

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        await self.catch_up()
        try:
            return await self._transaction.fetch(sql, parameters)
        except DatabaseError as error:
            self._failed(error)
            raise

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        await self.catch_up()
        return await self._execute(sql, parameters)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        await self.catch_up()
        try:
            await self._transaction.execute_many(sql, rows)
        except DatabaseError as error:
            self._failed(error)
            raise

    async def insert(self, sql: str, parameters: Sequence[Any] = (), *, name: str = "") -> None:
        """Runs an ``INSERT`` (PostgreSQL) whenever it suits, before anything else is asked.

        By its ``name``, insertions that are put off after it read what it returns, so it has to be followed by
        one.
        """
        self._waiting.append((name or f"w{len(self._waiting)}", sql, parameters))

    @property
    def is_behind(self) -> bool:
        """Whether insertions wait, which a statement of the same time would not see."""
        return bool(self._waiting)

    @property
    def hopes(self) -> bool:
        """Whether rows were taken to be there that are not, or that nobody has looked for yet."""
        return bool(self._expected) or isinstance(self.failure, Hoped)

    def expect(self, sql: str, parameters: Sequence[Any], count: int) -> None:
        """Runs a query before anything else is asked, on PostgreSQL with what is put off; it has to find so many
        rows.

        Where it does not, that raises :class:`~amity.change.errors.Hoped`, whoever is at it.
        """
        self._expected.append((sql, parameters, count))

    async def catch_up(self, *, last: bool = False) -> None:
        """Runs what was put off. If it is the ``last`` of the transaction, nothing may come after it."""
        if not self._waiting and not self._expected:
            return
        if self.dialect == "sqlite":
            await self._look()
            return
        sql, parameters = _together(self._waiting, self._expected)
        hoped = bool(self._expected)
        self.forget()
        try:
            if last:
                await self._transaction.last(sql, parameters)
            else:
                await self._transaction.execute(sql, parameters)
        except DatabaseError as error:
            if hoped and isinstance(error, EvaluationError):
                self.failure = Hoped(_NOT_THERE)
                raise self.failure from error
            self._failed(error)
            raise

    async def _look(self) -> None:
        """Whether what is expected is there, on SQLite, then what was put off, one after the other."""
        expected, waiting = list(self._expected), list(self._waiting)
        self.forget()
        for sql, parameters, count in expected:
            if len(await self.fetch(sql, parameters)) != count:
                self.failure = Hoped(_NOT_THERE)
                raise self.failure
        for _, sql, parameters in waiting:
            await self._execute(sql, parameters)

    def forget(self) -> None:
        """Leaves out what was put off."""
        self._waiting.clear()
        self._expected.clear()

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> int:
        try:
            return await self._transaction.execute(sql, parameters)
        except DatabaseError as error:
            self._failed(error)
            raise

    def _failed(self, error: DatabaseError) -> None:
        # what comes after something that is not there fails for that reason
        if not isinstance(self.failure, Hoped):
            self.failure = error


@lru_cache(maxsize=256)
def _moved(sql: str, by: int) -> str:
    """The statement with placeholders of higher numbers."""
    return _PLACE.sub(lambda match: f"${int(match[1]) + by}", sql)


def _together(
    statements: Sequence[tuple[str, str, Sequence[Any]]], expected: Sequence[tuple[str, Sequence[Any], int]]
) -> tuple[str, list[Any]]:
    """Statements as one: the others become table expressions of the last one.

    Where rows are expected, the last one counts them, and divides by zero if they are not so many.
    """
    parts: list[str] = []
    bound: list[Any] = []
    queries = [(f"e{place}", sql, parameters) for place, (sql, parameters, _) in enumerate(expected)]
    statements = [*queries, *statements]
    if expected:
        counts = " AND ".join(f"(SELECT count(*) FROM e{n}) = ${n + 1}::bigint" for n in range(len(expected)))
        counts_as_number = f"SELECT 1 / (SELECT ({counts})::int)"
        statements = [*statements, ("", counts_as_number, [count for *_, count in expected])]
    for name, sql, parameters in statements:
        before = len(bound)
        if before and parameters:
            sql = _moved(sql, before)
        parts.append(sql if len(parts) == len(statements) - 1 else f"{name} AS ({sql})")
        bound += parameters
    *heads, last = parts
    return (f"WITH {', '.join(heads)} {last}" if heads else last), bound
