"""Access in a change: asked before anything is read, and of every row that is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..access import AccessDenied, Verb
from ..entity import EntityType
from ..query.conditions import compile_meeting
from ..tree import Never
from . import storage

if TYPE_CHECKING:
    from ..crm import Session


def authorize(session: Session, entity: EntityType, verb: Verb) -> None:
    """Raises :class:`AccessDenied` if the principal may do this to no row at all."""
    condition = session.crm.policy.rows(session.principal, entity, verb)
    if isinstance(condition, Never):
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
    if isinstance(session.crm.policy.rows(session.principal, entity, verb), Never):
        return {}
    found = await storage.select(session.unit.transaction, entity, ids, lock=lock, live=live, columns=columns)
    denied = await _denied(session, entity, list(found), verb)
    return {id: row for id, row in found.items() if id not in denied} if denied else found


async def check_written(session: Session, entity: EntityType, ids: Sequence[UUID], verb: Verb) -> None:
    """Raises :class:`AccessDenied` if a row, as it was written, is not one that the principal may write so."""
    if await _denied(session, entity, ids, verb):
        raise AccessDenied(f"{session.principal} may not {verb} such {entity.plural}")


async def _denied(session: Session, entity: EntityType, ids: Sequence[UUID], verb: Verb) -> set[UUID]:
    """Those of the rows that do not meet the policy's condition."""
    crm = session.crm
    condition = crm.policy.rows(session.principal, entity, verb)
    if condition is None or not ids:
        return set()
    assert session.unit is not None
    sql, parameters = compile_meeting(
        crm.catalog, crm.policy, session.principal, session.unit.dialect, entity, ids, condition
    )
    rows = await session.unit.transaction.fetch(sql, parameters)
    return set(ids) - {UUID(str(id)) for (id,) in rows}
