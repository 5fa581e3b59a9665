"""Logging interactions: who it was, and once only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..contracts import UserError
from ..entity import EntityType
from ..model import Interaction
from . import external, rights
from .errors import Overtaken
from .identity import Resolution, resolve
from .write import create

if TYPE_CHECKING:
    from ..crm import Session
    from .verbs import LogInteractionInput

_PLAIN = ("channel", "direction", "customer_id", "address", "user_id", "subject", "body", "duration_seconds")


async def log_interactions(session: Session, inputs: Sequence[LogInteractionInput]) -> list[UUID | UserError]:
    """Adds an interaction for each input; the id of the one that is there where its external id is known.

    To be called in a unit of work.
    """
    assert session.unit is not None
    results: dict[int, UUID | UserError] = {}
    pairs = {
        index: (item.external_id.system, item.external_id.id)
        for index, item in enumerate(inputs)
        if item.external_id is not None
    }
    entity = session.crm.catalog.of(Interaction)
    known = await external.find(session, entity, list(pairs.values())) if pairs else {}
    seen = await rights.visible(session, entity, list(known.values()))
    first: dict[tuple[str, str], int] = {}
    repeats: dict[int, int] = {}
    new: list[int] = []
    for index in range(len(inputs)):
        pair = pairs.get(index)
        if pair is not None and known.get(pair) in seen:
            results[index] = known[pair]
        elif pair is not None and pair in first:
            repeats[index] = first[pair]
        else:
            new.append(index)
            if pair is not None:
                first[pair] = index
    found = await _identities(session, inputs, new)
    rows = [_row(session, inputs[index], found.get(index)) for index in new]
    implied = _implied(inputs)
    user = _logging(session, entity)
    if user is not None and not any("user_id" in row for row in rows):
        implied.add("user_id")
    if user is not None:
        rows = [{"user_id": user, **row} for row in rows]
    written = await create(session, Interaction, rows, on_error="skip_invalid", implied=implied)
    errors: dict[int, UserError] = {}
    for error in written.errors:
        errors.setdefault(error.index, error)
    # what was there but hidden stays taken
    late = [
        pair
        for error in written.errors
        if error.code == "taken" and (pair := pairs.get(new[error.index])) is not None and pair not in known
    ]
    if late and await external.find(session, entity, late):
        raise Overtaken("an interaction with the same external id was added meanwhile")
    for place, index in enumerate(new):
        id = written.ids[place]
        results[index] = id if id is not None else errors[place]
    for index, earlier in repeats.items():
        results[index] = results[earlier]
    return [results[index] for index in range(len(inputs))]


def _implied(inputs: Sequence[LogInteractionInput]) -> set[str]:
    """What is noted of an interaction without being asked for."""
    return {"identity"} if any(item.occurred_at is not None for item in inputs) else {"identity", "occurred_at"}


def _logging(session: Session, entity: EntityType) -> UUID | None:
    """The user who logs something, and so took part in it unless another is named; None where a role sets that."""
    if session.principal.kind != "user" or "user_id" in session.rights.presets(entity, "create"):
        return None
    return session.principal.facts.user


async def _identities(
    session: Session, inputs: Sequence[LogInteractionInput], indexes: Sequence[int]
) -> dict[int, Resolution]:
    kinds = session.crm.composition.kinds
    asked = {
        index: (item.channel, item.address)
        for index in indexes
        if (item := inputs[index]).customer_id is None and item.address is not None and item.channel in kinds
    }
    return dict(zip(asked, await resolve(session, list(asked.values())), strict=True)) if asked else {}


def _row(session: Session, item: LogInteractionInput, found: Resolution | None) -> dict[str, Any]:
    assert session.unit is not None
    given = vars(item)
    row = {name: value for name in _PLAIN if (value := given[name]) is not None}
    row["occurred_at"] = item.occurred_at or session.unit.now
    if item.custom_fields is not None:
        row["custom_fields"] = item.custom_fields
    if item.external_id is not None:
        row["external_id"] = {"system": item.external_id.system, "id": item.external_id.id}
    if found is not None:
        row["identity"] = found.status
        if found.customer_id is not None:
            row["customer_id"] = found.customer_id
    return row
