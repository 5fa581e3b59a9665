"""Reads for the core's own work, which nobody's access narrows: secrets, storage keys, the consent ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..change import storage
from ..database import Database, Dialect
from ..database.base import Row

if TYPE_CHECKING:
    from ..crm import Session


@dataclass(frozen=True)
class _Outside:
    """Reads outside of any transaction, in the form of one."""

    database: Database

    @property
    def dialect(self) -> Dialect:
        return self.database.dialect

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return await self.database.read(sql, parameters)


def reader(session: Session) -> Any:
    """What statements are fetched by: the session's transaction, or the database where it has none."""
    return session.unit.transaction if session.unit is not None else _Outside(session.crm.database)


async def rows_by(
    session: Session, entity: type[Any], column: str, values: Sequence[Any], *columns: str, live: bool = True
) -> list[dict[str, Any]]:
    """Rows whose ``column`` is one of ``values``, by one statement, in the order of their ids."""
    found = await storage.select_by(
        reader(session),
        session.crm.catalog.of(entity),
        column,
        values,
        columns=("id", *(name for name in columns if name != "id")) if columns else None,
        live=live,
    )
    return [found[id] for id in sorted(found)]


__all__ = ["reader", "rows_by"]
