"""Whether a database has the indexes that the entities declare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..database import Database, Transaction
from .custom import custom_indexes
from .schema import declared

if TYPE_CHECKING:
    from ..composition import Composition
    from ..database.operations import CreateIndex

_SCRATCH = "amity_index_check"


@dataclass(frozen=True)
class IndexDifference:
    """An index that is declared and missing, there and not declared, or defined differently."""

    table: str
    index: str
    what: Literal["missing", "undeclared", "different"]
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        match self.what:
            case "missing":
                return f"{self.table} lacks the index {self.index}: {self.expected}"
            case "undeclared":
                return f"{self.table} has the index {self.index}, which no entity declares: {self.found}"
            case "different":
                return f"the index {self.index} is {self.found}; declared is {self.expected}"


async def index_differences(composition: Composition, database: Database) -> list[IndexDifference]:
    """Declared indexes compared with those in an open database, in the tables of the composition."""

    async def compare(transaction: Transaction) -> list[IndexDifference]:
        by_table: dict[str, list[CreateIndex]] = {e.table: [] for e in composition.catalog.values()}
        for _, index in declared(composition).indexes.values():
            by_table[index.table].append(index)
        for index in custom_indexes(composition):
            by_table[index.table].append(index)
        found: list[IndexDifference] = []
        for table, indexes in by_table.items():
            wanted = await _wanted(transaction, table, indexes)
            found += _compare(table, wanted, await _existing(transaction, table))
        return found

    return await database.transact(compare)


def _compare(table: str, wanted: dict[str, str], existing: dict[str, str]) -> list[IndexDifference]:
    found = [
        IndexDifference(table, name, "missing", expected=sql)
        for name, sql in wanted.items()
        if name not in existing
    ]
    for name, sql in existing.items():
        if name not in wanted:
            found.append(IndexDifference(table, name, "undeclared", found=sql))
        elif _normal(wanted[name]) != _normal(sql):
            found.append(IndexDifference(table, name, "different", expected=wanted[name], found=sql))
    return found


async def _wanted(transaction: Transaction, table: str, indexes: Sequence[CreateIndex]) -> dict[str, str]:
    """Index name → definition, worded as the database words it."""
    if transaction.dialect == "sqlite":
        return {
            f"{table}_{index.name}": sql
            for index in indexes
            if (sql := index.create_statement("sqlite")) is not None
        }
    # PostgreSQL rewords definitions, so it is asked for its words for an empty copy of the table
    if not indexes or not await transaction.fetch("SELECT 1 WHERE to_regclass($1) IS NOT NULL", (f'"{table}"',)):
        return {
            f"{table}_{index.name}": sql
            for index in indexes
            if (sql := index.create_statement("postgres")) is not None
        }
    await transaction.execute(f'CREATE TEMPORARY TABLE {_SCRATCH} (LIKE "{table}") ON COMMIT DROP')
    for number, index in enumerate(indexes):
        sql = index.create_statement("postgres")
        if sql is not None:
            name = f'"{table}_{index.name}" ON "{table}" '
            await transaction.execute(sql.replace(name, f'"{_SCRATCH}_{number}" ON {_SCRATCH} ', 1))
    rows = await transaction.fetch(
        "SELECT i.relname::text, pg_get_indexdef(x.indexrelid) FROM pg_index x"
        " JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = $1::regclass",
        (f"pg_temp.{_SCRATCH}",),
    )
    worded: dict[str, str] = {str(name): str(sql) for name, sql in rows}
    await transaction.execute(f"DROP TABLE pg_temp.{_SCRATCH}")
    return {
        f"{table}_{index.name}": worded[f"{_SCRATCH}_{number}"]
        for number, index in enumerate(indexes)
        if f"{_SCRATCH}_{number}" in worded
    }


async def _existing(transaction: Transaction, table: str) -> dict[str, str]:
    """Index name → definition, without those behind primary keys and constraints."""
    if transaction.dialect == "sqlite":
        sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?1"
        return {str(name): str(text) for name, text in await transaction.fetch(sql, (table,))}
    rows = await transaction.fetch(
        "SELECT i.relname::text, pg_get_indexdef(x.indexrelid) FROM pg_index x"
        " JOIN pg_class i ON i.oid = x.indexrelid"
        " WHERE x.indrelid = to_regclass($1)"
        " AND NOT EXISTS (SELECT 1 FROM pg_constraint k"
        " WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u'))",
        (f'"{table}"',),
    )
    return {str(name): str(sql) for name, sql in rows}


def _normal(sql: str) -> str:
    """A definition without names, quotes, case and spaces."""
    body = re.sub(r"^CREATE (UNIQUE )?INDEX .*? ON (ONLY )?\S+ ", r"\1", sql, flags=re.IGNORECASE)
    return re.sub(r'["\s]', "", body).lower()
