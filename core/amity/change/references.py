"""What a row refers to must be there, alive, and something that the principal may read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from ..entity import EntityType
from . import rights
from .draft import Draft
from .plugins import validated
from .refusals import Refusals

if TYPE_CHECKING:
    from ..crm import Session

STAGE_COLUMNS = frozenset(("stage_id", "pipeline_id"))


async def check(session: Session, entity: EntityType, drafts: Sequence[Draft], refusals: Refusals) -> None:
    """Looks up every reference that the drafts set, in one statement.

    The rows are held until the unit ends, so that nobody deletes them in between. Whether a row is missing,
    deleted or hidden, the answer is the same.
    """
    catalog = session.crm.catalog
    wanted: dict[str, set[UUID]] = defaultdict(set)
    used: list[tuple[Draft, str, str]] = []
    # rows of the same batch may refer to each other
    batch = {draft.id for draft in drafts if draft.before is None}

    def note(draft: Draft, column: str, target: str | None) -> bool:
        value, before = draft.after[column], draft.before
        if target is None or value is None or (before is not None and before[column] == value):
            return False
        if target == entity.name and value in batch:
            return False
        wanted[target].add(value)
        used.append((draft, column, target))
        return True

    links = [
        (column, link)
        for column, link in entity.link_of.items()
        if not (entity.is_staged and column in STAGE_COLUMNS)
    ]
    generics = list(entity.generic.values())
    # what validators are about to do, nobody knows
    lasting = not validated(session, entity)
    for draft in drafts:
        after = draft.after
        for column, link in links:
            if after[column] is not None and note(draft, column, link.target) and lasting:
                draft.held += (link.name,)
        for generic in generics:
            referred = catalog.by_code(after[generic.type_column])
            note(draft, generic.id_column, referred.name if referred else None)
    if not used:
        return
    names = sorted(wanted)
    held = [(catalog[name], sorted(wanted[name])) for name in names]
    if lasting and rights.expect(session, held):
        return
    found = await rights.hold(session, held)
    alive = dict(zip(names, found, strict=True))
    for draft, column, target_name in used:
        if draft.after[column] not in alive[target_name]:
            message = f"there is no such {catalog[target_name].singular.replace('_', ' ')}"
            refusals.refuse(draft.index, draft.item.path(column), "not_found", message)
