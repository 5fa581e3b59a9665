"""Who acts in an action, what they may see, and the core that does the rest on their behalf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..access import Principal
from ..entity import InvalidId, decode_id
from ..model import User

if TYPE_CHECKING:
    from ..crm import Session


async def visible(session: Session, entity: type[Any], ids: Sequence[UUID | None]) -> set[UUID]:
    """Those of the rows that the principal may see."""
    wanted = [id for id in dict.fromkeys(ids) if id is not None]
    if not wanted:
        return set()
    rows = await session.find(entity).where({"id": {"in": wanted}}).all()
    prefix = session.crm.catalog.of(entity).prefix
    return {decode_id(prefix, row["id"]) for row in rows}


def core_of(session: Session) -> Session:
    """The core itself, on behalf of the principal: for what a message brings along."""
    assert session.unit is not None
    return session.unit.join(session, Principal("plugin", "core", on_behalf_of=str(session.principal)))


def user_of(session: Session) -> UUID | None:
    """The user who acts, if it is one."""
    if session.principal.kind != "user":
        return None
    try:
        return decode_id(User.options.prefix, session.principal.name)
    except InvalidId:
        return None


__all__ = ["core_of", "user_of", "visible"]
