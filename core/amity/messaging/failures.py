"""What is wrong with a connection, told in its ``failure`` until it works again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from ..change import Update
from ..model import Connection
from . import text

if TYPE_CHECKING:
    from ..crm import Session

Work = Literal["fetching", "listening", "sending"]


async def tell(session: Session, connection: UUID, work: Work, failure: str | None) -> None:
    """Says that some work of a connection fails, or works again.

    Only a change is written, as each is an event. What other work says stays until that work goes well.
    """
    told = None if failure is None else text.clean(f"{work}: {failure}", 2000)
    row = await session.find(Connection).select("failure").get(connection)
    if row is None or row["failure"] == told:
        return
    if told is None and not str(row["failure"]).startswith(f"{work}: "):
        return
    await session.update(Connection, [Update(connection, {"failure": told})], read_only=True)


__all__ = ["Work", "tell"]
