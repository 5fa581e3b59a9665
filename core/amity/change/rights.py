"""Access in a change: asked before anything is read, and of every row that is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..access import AccessDenied, Verb
from ..entity import EntityType
from ..query.conditions import compile_meeting
from ..tree import Condition, Never
from . import storage

if TYPE_CHECKING:
    from ..crm import Session


def authorize(session: Session, entity: EntityType, verb: Verb) -> None:
    """Raises :class:`AccessDenied` if the principal may do this to no row at all."""
    if not _any(session, entity, verb):
        raise AccessDenied(f"{session.principal} may not {verb} {entity.plural}")


async def load(
    session: Session,
    entity: EntityType,
    ids: Sequence[UUID],
    verb: Verb,
    lock: storage.Lock,
    *,
    live: bool = True,
    columns: Sequence[str] | None = None,
) -> dict[UUID, dict[str, Any]]:
    """Rows that are there and that the principal may treat so, locked. Every change gets its rows here."""
    assert session.unit is not None
    if not _any(session, entity, verb):
        return {}
    found = await storage.select(session.unit.transaction, entity, ids, lock=lock, live=live, columns=columns)
    denied = await _denied(session, entity, list(found), session.rights.rows(entity, verb))
    return {id: row for id, row in found.items() if id not in denied} if denied else found


def _any(session: Session, entity: EntityType, verb: Verb) -> bool:
    """Whether there can be a row that the principal may treat so."""
    rights = session.rights
    return rights.granted(entity, verb) and not isinstance(rights.rows(entity, verb), Never)


async def check_written(session: Session, entity: EntityType, ids: Sequence[UUID], verb: Verb) -> None:
    """Raises :class:`AccessDenied` if a row, as it was written, is not one that the principal may write so."""
    if await _denied(session, entity, ids, session.rights.check(entity, verb)):
        raise AccessDenied(f"{session.principal} may not {verb} such {entity.plural}")


async def _denied(
    session: Session, entity: EntityType, ids: Sequence[UUID], condition: Condition | None
) -> set[UUID]:
    """Those of the rows that do not meet a condition of the principal's rights."""
    if condition is None or not ids:
        return set()
    assert session.unit is not None
    sql, parameters = compile_meeting(
        session.crm.catalog, session.rights, session.unit.dialect, entity, ids, condition
    )
    rows = await session.unit.transaction.fetch(sql, parameters)
    return set(ids) - {UUID(str(id)) for (id,) in rows}
