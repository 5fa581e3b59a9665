"""Access in a change: asked before anything is read, and of every row and field that is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import is_
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..access import Verb, field_denied, type_denied
from ..access.errors import AccessDenied
from ..entity import EntityType
from ..model import ExternalId
from ..query.conditions import compile_meeting
from ..query.implied import is_met, lasts, left_to_ask
from ..tree import Condition, Never
from . import storage

if TYPE_CHECKING:
    from ..crm import Session
    from .draft import Draft

EXTERNAL_ID = "external_id"
"""Not a column: rows bring it, and it is kept as an ``ExternalId``."""


def authorize(session: Session, entity: EntityType, verb: Verb) -> None:
    """Raises :class:`~amity.access.AccessDenied` if the principal may do this to no row at all."""
    if not _any(session, entity, verb):
        raise type_denied(session.principal, verb, entity)


def authorize_fields(session: Session, entity: EntityType, verb: Verb, names: Iterable[str]) -> None:
    """Asks for the right to write what input names: columns, money, an external id. What there is not, is skipped.

    Columns that are preset for the principal can't be named. Raises :class:`~amity.access.FieldDenied`.
    """
    fields, preset = session.rights.fields(entity, verb), _preset_fields(session, entity, verb)
    for name in names:
        field = entity.field_of.get(name, name)
        if name == EXTERNAL_ID and name not in entity.columns:
            authorize(session, session.crm.catalog.of(ExternalId), "create")
        elif field in entity.open_fields or field not in entity.right_fields:
            continue
        elif field in preset or (fields is not None and field not in fields):
            raise field_denied(session.principal, verb, entity, field)


def authorize_key(session: Session, entity: EntityType, columns: Iterable[str]) -> None:
    """Asks for the right to look rows up by a key: it is told whether they are there.

    Raises :class:`~amity.access.AccessDenied`.
    """
    authorize(session, entity, "read")
    fields = session.rights.fields(entity, "read")
    for name in columns:
        field = entity.field_of.get(name, name)
        if name == EXTERNAL_ID and name not in entity.columns:
            authorize(session, session.crm.catalog.of(ExternalId), "read")
        elif fields is not None and field not in fields | entity.open_fields:
            raise field_denied(session.principal, "read", entity, field)


def restricted(session: Session, entity: EntityType, verb: Verb) -> bool:
    """Whether it depends on the names of the input if it may be written."""
    external = session.crm.catalog.of(ExternalId)
    whole = session.rights.fields(entity, verb) is None and not session.rights.presets(entity, verb)
    return not (whole and _any(session, external, "create") and _any(session, external, "read"))


def _preset_fields(session: Session, entity: EntityType, verb: Verb) -> set[str]:
    presets: Mapping[str, Any] = session.rights.presets(entity, verb)
    return {entity.field_of.get(name, name) for name in presets}


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


async def hold(session: Session, wanted: Sequence[tuple[EntityType, Sequence[UUID]]]) -> list[set[UUID]]:
    """Those of the rows that are there and that the principal may read, held so that nobody deletes them."""
    assert session.unit is not None
    alive = await storage.hold(
        session.unit.transaction,
        [(entity, ids if _any(session, entity, "read") else []) for entity, ids in wanted],
    )
    for (entity, _), found in zip(wanted, alive, strict=True):
        found -= await _denied(session, entity, sorted(found), session.rights.rows(entity, "read"))
    return alive


def expect(session: Session, wanted: Sequence[tuple[EntityType, Sequence[UUID]]]) -> bool:
    """Takes all of the rows to be there and readable, for a unit that may: they are held, and looked at, when its
    next statement is run.

    False where they have to be looked at first.
    """
    unit = session.unit
    assert unit is not None
    if not unit.hopeful or unit.transaction.is_behind:
        return False
    if not all(_any(session, entity, "read") for entity, _ in wanted):
        return False
    # in the order in which all units lock them
    for condition, group in groupby(wanted, lambda item: session.rights.rows(item[0], "read")):
        rows = list(group)
        if condition is None:
            sql, parameters = storage.holding(unit.dialect, rows)
            unit.transaction.expect(sql, parameters, sum(len(ids) for _, ids in rows))
            continue
        for entity, ids in rows:
            sql, parameters = _meeting(session, entity, ids, condition)
            # locked, a row that somebody changes meanwhile is asked as it became
            unit.transaction.expect(sql + storage.held(unit.dialect, entity), parameters, len(ids))
    return True


async def visible(session: Session, entity: EntityType, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the rows, which are there, that the principal may read."""
    if not _any(session, entity, "read"):
        return set()
    return set(ids) - await _denied(session, entity, ids, session.rights.rows(entity, "read"))


def _any(session: Session, entity: EntityType, verb: Verb) -> bool:
    """Whether there can be a row that the principal may treat so."""
    rights = session.rights
    if not rights.granted(entity, verb):
        return False
    condition = rights.check(entity, verb) if verb == "create" else rights.rows(entity, verb)
    return not isinstance(condition, Never)


def unsure(session: Session, entity: EntityType, drafts: Sequence[Draft], verb: Verb) -> list[UUID]:
    """The rows of drafts that have to be asked, once they are written, whether they may be what they are.

    Most tell it themselves, by what is written: they name their owner, and refer to what was seen to be readable.
    """
    condition = session.rights.check(entity, verb)
    if condition is None:
        return []
    left = {held: _beyond(session, entity, verb, condition, held) for held in {draft.held for draft in drafts}}
    return [draft.id for draft in drafts if not is_met(left[draft.held], draft.written)]


def _beyond(
    session: Session, entity: EntityType, verb: Verb, condition: Condition, held: tuple[str, ...]
) -> Condition | None:
    """What of a condition doesn't follow from referring to rows that the principal may read."""
    rights, catalog = session.rights, session.crm.catalog
    links = [entity.to_one[name] for name in held]
    asked = (condition, *[rights.rows(catalog[link.target], "read") for link in links])
    memo = rights.memo(entity)
    key = (unsure, entity.name, verb, held)
    kept = None if memo is None else memo.get(key)
    if kept is not None and all(map(is_, kept[0], asked)):
        return kept[1]  # type: ignore[no-any-return]
    left: Condition | None = condition
    for link, met in zip(links, asked[1:], strict=True):
        target = catalog[link.target]
        if met is not None and target.name != entity.name and lasts(catalog, target, met, entity):
            left = left_to_ask(left, link.name, link.column.name, met)
    if memo is not None:
        memo[key] = asked, left
    return left


async def check_written(session: Session, entity: EntityType, ids: Sequence[UUID], verb: Verb) -> None:
    """Raises :class:`~amity.access.AccessDenied` if a row may not be what it was made by the principal."""
    if await _denied(session, entity, ids, session.rights.check(entity, verb)):
        raise AccessDenied(f"{session.principal} may not {verb} such {entity.plural.replace('_', ' ')}")


async def _denied(
    session: Session, entity: EntityType, ids: Sequence[UUID], condition: Condition | None
) -> set[UUID]:
    """Those of the rows that do not meet a condition of the principal's rights."""
    if condition is None or not ids:
        return set()
    assert session.unit is not None
    rows = await session.unit.transaction.fetch(*_meeting(session, entity, ids, condition))
    return set(ids) - {UUID(str(id)) for (id,) in rows}


def _meeting(
    session: Session, entity: EntityType, ids: Sequence[UUID], condition: Condition
) -> tuple[str, Sequence[Any]]:
    """A query for those of the rows that meet a condition of the principal's rights, and its parameters."""
    assert session.unit is not None
    return compile_meeting(session.crm.catalog, session.rights, session.unit.dialect, entity, ids, condition)
