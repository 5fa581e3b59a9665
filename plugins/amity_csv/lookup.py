"""Looking records up by what a file calls them, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from amity.model import ExternalId

from .plan import EXTERNAL_ID, Lookup

if TYPE_CHECKING:
    from amity.crm import Session

KEPT = 50_000
"""Answers that are remembered for later batches."""


class Ambiguous(str):
    """Why a value leads to no one record."""


Found = str | UUID | Ambiguous
"""An id, or why there is none."""


class Finder:
    """Answers one look-up: value → id of the record, :class:`Ambiguous`, or nothing."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self._known: dict[Any, str | UUID] = {}

    async def find(self, session: Session, values: Iterable[Any]) -> dict[Any, Found]:
        """Ids by value; what is not found is absent. One statement, or none if all are known."""
        wanted = {value for value in values if storable(value)}
        found: dict[Any, Found] = {value: self._known[value] for value in wanted if value in self._known}
        asked = wanted - found.keys()
        if asked:
            fresh = await self._ask(session, sorted(asked))
            found |= fresh
            if len(self._known) + len(fresh) > KEPT:
                self._known.clear()
            # what is missing now may be added by the next batch, and is asked for again
            self._known |= {value: id for value, id in fresh.items() if not isinstance(id, Ambiguous)}
        return found

    async def _ask(self, session: Session, values: list[Any]) -> dict[Any, Found]:
        lookup = self.lookup
        if lookup.by == EXTERNAL_ID and EXTERNAL_ID not in lookup.entity.columns:
            return dict(await external_ids(session, lookup.entity.code, lookup.system, values))
        query = session.find(lookup.entity.name).select("id", lookup.by).where({lookup.by: {"in": values}})
        if lookup.where:
            query = query.where(lookup.where)
        by_text = {str(value): value for value in values}
        found: dict[Any, Found] = {}
        for row in await query.all():
            value = by_text[str(row[lookup.by])]
            if value in found:
                reason = f"several records of {lookup.entity.name} have this {lookup.by}"
                found[value] = Ambiguous(f"{reason}; look up by something unique, or narrow it by where")
            else:
                found[value] = row["id"]
        return found


async def external_ids(session: Session, entity: str, system: str, ids: list[str]) -> dict[str, UUID]:
    """The records of an entity that another system knows by these ids."""
    ids = [id for id in ids if storable(id)]
    rows = (
        await session.find(ExternalId)
        .select("external_id", "entity_id")
        .where({"system": {"eq": system}, "entity_type": {"eq": entity}, "external_id": {"in": ids}})
        .all()
    )
    # an id without the prefix of its entity, or with it
    return {row["external_id"]: UUID(row["entity_id"].rpartition("_")[2]) for row in rows}


def storable(value: Any) -> bool:
    """Whether a record may have this value at all; others are in no filter either."""
    if isinstance(value, str):
        return "\0" not in value
    return value is not None and (not isinstance(value, int) or -(2**63) <= value < 2**63)
