"""Create, update, upsert: a batch of rows from input to events.

A batch is authorized, read, checked and written as a whole; no step looks at the database row by row. With
``on_error="reject_all"`` nothing is written if anything is refused; with ``"skip_invalid"`` what can be
written is, and the rest is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from ..contracts import ChangeResult, Proposed
from ..entity import EntityType, Record, new_id
from ..model import Event, StageMove
from . import external, keys, references, rights, rules, stages, storage
from .draft import UNTOLD, Blank, Draft, Placement, Telling, patched
from .errors import BadRequest, Overtaken
from .input import Item, Reading, Update, required
from .plugins import validate, validated
from .refusals import Refusals
from .unit import in_unit

if TYPE_CHECKING:
    from ..crm import Session

ON_ERROR = ("reject_all", "skip_invalid")
EntityName = type[Record] | str | EntityType
BY_EXTERNAL_ID = ("external_id",)


async def create(
    session: Session,
    entity: EntityName,
    rows: Sequence[Mapping[str, Any]],
    *,
    on_error: str = "reject_all",
    read_only: bool = False,
    implied: Collection[str] = (),
) -> ChangeResult:
    """Adds rows. A row may bring its own ``id``, and an ``external_id``.

    ``read_only`` lets it set columns that the entity's options call read-only; that is for code of the plugin
    that the entity belongs to. ``implied`` are names that the rows bring though nobody has asked for them: no
    right is needed for those. Raises :class:`~amity.access.AccessDenied`.
    """
    kind = session.crm.catalog.of(entity)
    check_mode(on_error)
    if kind.model in (Event, StageMove):
        raise BadRequest(f"{kind.plural} are written by the core itself")
    authorize(session, kind, "create", rows, implied=implied)
    refusals = Refusals()
    items = _reading(session, kind, "create", read_only).rows(rows, refusals)
    items = _preset(items, _presets(session, kind, "create"))

    async def work(joined: Session) -> ChangeResult:
        assert joined.unit is not None
        found = Refusals(refusals.errors)
        needed = required(kind)
        making = _Making(joined, kind, needed, found)
        drafts = [making.fresh(item) for item in items]
        return await _change(joined, kind, len(rows), drafts, found, on_error)

    return await in_unit(session, work, hopeful=True) if items else nothing(len(rows), refusals)


async def update(
    session: Session,
    entity: EntityName,
    updates: Sequence[Update],
    *,
    on_error: str = "reject_all",
    read_only: bool = False,
    placements: Mapping[int, Placement] | None = None,
) -> ChangeResult:
    """Patches rows: only the named fields change, each as a whole, a JSON object too. What changes nothing
    writes nothing.

    ``placements`` says where staged rows go, by the index of their update. Rows that are not there, deleted
    or hidden, are refused with ``not_found``. Raises :class:`~amity.access.AccessDenied`.
    """
    kind = editable(session, entity)
    check_mode(on_error)
    authorize(session, kind, "update", [update.patch for update in updates])
    refusals = Refusals()
    items = _reading(session, kind, "update", read_only).updates(updates, refusals)
    items = _preset(items, _presets(session, kind, "update"))

    async def work(joined: Session) -> ChangeResult:
        found = Refusals(refusals.errors)
        ids = [item.id for item in items if item.id is not None]
        before = await rights.load(joined, kind, ids, "update", "update")
        drafts = []
        for item in items:
            row = before.get(item.id) if item.id is not None else None
            if row is None:
                found.refuse(item.index, ("id",), "not_found", f"there is no such {keys.named(kind)}")
                continue
            draft = _patched(joined, kind, item, row, found)
            draft.placement = (placements or {}).get(item.index)
            drafts.append(draft)
        return await _change(joined, kind, len(updates), drafts, found, on_error)

    return await in_unit(session, work, hopeful=True) if items else nothing(len(updates), refusals)


async def upsert(
    session: Session,
    entity: EntityName,
    rows: Sequence[Mapping[str, Any]],
    *,
    on: Sequence[str],
    on_error: str = "reject_all",
    read_only: bool = False,
) -> ChangeResult:
    """Updates rows that are there, by a unique key or ``("external_id",)``, and adds the others.

    Values that are given are set, others are left as they are. Deleted rows are not found, and neither are those
    that the principal may not read. Of two rows with the same key, the later one is refused. Raises
    :class:`~amity.access.AccessDenied`, and :class:`~amity.change.errors.BadRequest` for a key that is none.
    """
    kind = editable(session, entity)
    check_mode(on_error)
    reading = _reading(session, kind, "upsert", read_only)
    columns = _key(kind, on, "external_id" in reading.allowed and "external_id" not in kind.columns)
    authorize(session, kind, "upsert", rows, key=columns)
    refusals = Refusals()
    items = _keyed(session, kind, columns, reading.rows(rows, refusals), refusals)
    if_new, if_there = _presets(session, kind, "create"), _presets(session, kind, "update")

    async def work(joined: Session) -> ChangeResult:
        found = Refusals(refusals.errors)
        needed = required(kind)
        matched = await _match(joined, kind, columns, items)
        before = await rights.load(joined, kind, sorted(set(matched.values())), "update", "update")
        seen = await rights.visible(joined, kind, list(before))
        making = _Making(joined, kind, needed, found)
        drafts = []
        for item in items:
            id = matched.get(item.index)
            if id is None:
                (new,) = _preset([item], if_new)
                drafts.append(making.fresh(new))
            elif id in seen and item.id is not None and item.id != id:
                found.refuse(item.index, ("id",), "read_only", "another record has this key, and ids never change")
            elif id in seen:
                (there,) = _preset([item], if_there)
                drafts.append(_patched(joined, kind, there, before[id], found))
            else:
                # there, but not for this principal, or deleted a moment ago
                message = f"another {keys.named(kind)} has the same {' and '.join(columns)}"
                found.refuse(item.index, item.path(columns[-1]), "taken", message)
        preset = any(name in if_new for name in columns)
        known = () if preset else columns
        result = await _change(joined, kind, len(rows), drafts, found, on_error, known)
        taken = {error.index for error in result.errors if error.code == "taken"} - matched.keys()
        if taken and await _match(joined, kind, columns, [item for item in items if item.index in taken]):
            # another change added the row after it was looked for
            raise Overtaken(f"a {keys.named(kind)} with the same {' and '.join(columns)} was added meanwhile")
        return result

    return await in_unit(session, work, hopeful=True) if items else nothing(len(rows), refusals)


def authorize(
    session: Session,
    entity: EntityType,
    verb: Literal["create", "update", "upsert"],
    rows: Iterable[Any],
    *,
    key: Sequence[str] = (),
    implied: Collection[str] = (),
) -> None:
    """Asks for the right to write rows like these, by what they name; nothing is read for it.

    ``key`` are the columns that an upsert finds rows by. Raises :class:`~amity.access.AccessDenied`.
    """
    verbs: Sequence[Literal["create", "update"]] = ("create", "update") if verb == "upsert" else (verb,)
    for each in verbs:
        rights.authorize(session, entity, each)
    if key:
        rights.authorize_key(session, entity, key)
    named: list[str] | None = None
    for each in verbs:
        if rights.restricted(session, entity, each):
            named = _names(rows) if named is None else named
            # what a row is found by, it has already
            exempt = {*implied, *(key if each == "update" else ())}
            rights.authorize_fields(session, entity, each, [name for name in named if name not in exempt])


# --- from input to drafts ----------------------------------------------------------------------------------


def check_mode(on_error: str) -> None:
    """Raises :class:`BadRequest` if that is no way to treat errors."""
    if on_error not in ON_ERROR:
        raise BadRequest(f"on_error is {on_error!r}; expected one of {', '.join(ON_ERROR)}")


def editable(session: Session, entity: EntityName) -> EntityType:
    """The entity. Raises :class:`BadRequest` if its rows are those of a log."""
    kind = session.crm.catalog.of(entity)
    if not kind.is_entity:
        raise BadRequest(f"{kind.name} is a log: its rows are written once and never changed or deleted")
    return kind


def _reading(
    session: Session, entity: EntityType, verb: Literal["create", "update", "upsert"], read_only: bool
) -> Reading:
    crm = session.crm
    currency = crm.settings.default_currency
    key = (Reading, verb, read_only, currency)
    found: Reading | None = entity.kept.get(key)
    if found is None:
        found = entity.kept[key] = Reading(crm.catalog, entity, verb, currency, read_only=read_only)
    return found


def _names(rows: Iterable[Any]) -> list[str]:
    """What rows name, in their order."""
    return list(dict.fromkeys(name for row in rows if isinstance(row, Mapping) for name in row))


def _presets(session: Session, entity: EntityType, verb: Literal["create", "update"]) -> Mapping[str, Any]:
    """What the principal's rights set, as columns have it. Raises :class:`BadRequest` where that can't be."""
    given = session.rights.presets(entity, verb)
    if not given:
        return given
    refusals = Refusals()
    items = _reading(session, entity, verb, True).rows([given], refusals)
    if not items:
        problem = refusals.sorted()[0]
        name = ".".join(map(str, problem.path))
        raise BadRequest(f"the preset {name!r} for {session.principal} on {entity.name}: {problem.message}")
    return items[0].values


def _preset(items: Sequence[Item], values: Mapping[str, Any]) -> list[Item]:
    return [replace(item, values={**item.values, **values}) for item in items] if values else list(items)


def _normalized(
    session: Session,
    entity: EntityType,
    item: Item,
    before: Mapping[str, Any] | None,
    new: bool,
    refusals: Refusals,
) -> Item:
    if not rules.concern(entity):
        return item
    crm = session.crm
    region = crm.settings.default_region
    where = rules.Circumstances(item.index, before, new, crm.composition.kinds, region, refusals)
    values = rules.normalized(entity, item.values, where)
    return Item(item.index, item.id, values, item.external, item.expected_version, item.names)


class _Making:
    """Makes drafts of the new rows of a batch."""

    def __init__(self, session: Session, entity: EntityType, needed: Sequence[str], refusals: Refusals) -> None:
        assert session.unit is not None
        self.session = session
        self.entity = entity
        self.refusals = refusals
        self.needed = [(entity.money[name].amount if name in entity.money else name, name) for name in needed]
        self.blank = Blank.of(entity)
        self.now = session.unit.now

    def fresh(self, item: Item) -> Draft:
        item = _normalized(self.session, self.entity, item, None, True, self.refusals)
        for column, name in self.needed:
            if column not in item.values:
                self.refusals.refuse(item.index, (name,), "required", "a value is needed")
        return self.blank.fill(item, item.id or new_id(), self.now)


def _patched(
    session: Session, entity: EntityType, item: Item, before: Mapping[str, Any], refusals: Refusals
) -> Draft:
    if item.expected_version is not None and item.expected_version != before["version"]:
        message = f"expected version {item.expected_version}, but it is version {before['version']} by now"
        refusals.refuse(item.index, ("expected_version",), "conflict", message)
    for name in entity.fixed & item.values.keys():
        if item.values[name] != before[name]:
            refusals.refuse(item.index, item.path(name), "read_only", "is set when a record is created, and stays")
    return patched(_normalized(session, entity, item, before, False, refusals), before)


def _key(entity: EntityType, on: Sequence[str], has_external_ids: bool) -> tuple[str, ...]:
    """The columns of the key that ``on`` names. Raises :class:`BadRequest`."""
    if tuple(on) == BY_EXTERNAL_ID and has_external_ids:
        return BY_EXTERNAL_ID
    named = {entity.to_one[name].column.name if name in entity.to_one else name for name in on}
    possible = [key for key in entity.unique if key.where is None]
    for key in possible:
        if set(key.columns) == named:
            return key.columns
    known = [f"({', '.join(key.columns)})" for key in possible] + (["(external_id)"] if has_external_ids else [])
    raise BadRequest(
        f"{entity.name} can't be upserted on ({', '.join(on)}); its keys are {', '.join(known) or 'none'}"
    )


def _keyed(
    session: Session, entity: EntityType, columns: tuple[str, ...], items: Sequence[Item], refusals: Refusals
) -> list[Item]:
    """The items whose key is there and in its normal form; later ones of the same key are refused."""
    result = []
    first: set[Any] = set()
    for item in items:
        item = _normalized(session, entity, item, None, False, refusals)
        if columns == BY_EXTERNAL_ID:
            missing = ["external_id"] if item.external is None else []
            key: Any = item.external
        else:
            missing = [name for name in columns if item.values.get(name) is None]
            key = tuple(item.values.get(name) for name in columns)
        for name in missing:
            refusals.refuse(item.index, (name,), "required", "a value is needed: it is part of the key")
        if not missing and key in first:
            message = f"an earlier item of this batch has the same {' and '.join(columns)}"
            refusals.refuse(item.index, (columns[-1],), "duplicate", message)
        first.add(key)
        if item.index not in refusals:
            result.append(item)
    return result


async def _match(
    session: Session, entity: EntityType, columns: tuple[str, ...], items: Sequence[Item]
) -> dict[int, UUID]:
    """Rows that are there, by the index of the item with their key."""
    if columns == BY_EXTERNAL_ID:
        pairs = {item.index: item.external for item in items if item.external is not None}
        known = await external.find(session, entity, list(pairs.values()))
        return {index: known[pair] for index, pair in pairs.items() if pair in known}
    tuples = {item.index: tuple(item.values[name] for name in columns) for item in items}
    found = await keys.find(session, entity, columns, list(tuples.values()))
    return {index: found[values] for index, values in tuples.items() if values in found}


# --- from drafts to rows -----------------------------------------------------------------------------------


async def _change(
    session: Session,
    entity: EntityType,
    count: int,
    drafts: list[Draft],
    refusals: Refusals,
    on_error: str,
    known: tuple[str, ...] = (),
) -> ChangeResult:
    """Checks drafts and writes those that hold.

    ``known`` is a key by which rows were looked for already: no new one has a key that is there.
    """
    proposed = list(drafts)
    drafts = _valid(drafts, refusals)
    await references.check(session, entity, drafts, refusals)
    if entity.is_staged:
        drafts += await stages.check(session, entity, drafts, refusals)
    drafts = _valid(drafts, refusals)
    searchable = entity.options.searchable
    for draft in drafts if searchable else ():
        if draft.before is None or any(draft.differs(name) for name in searchable):
            draft.after["search_text"] = rules.search_text(entity, draft.after)
    await keys.check_ids(session, entity, drafts, refusals)
    await keys.check(session, entity, drafts, refusals, known=known)
    unnamed = await external.check(session, entity, drafts, refusals, looked_up=known == BY_EXTERNAL_ID)
    drafts = _valid(drafts, refusals)
    for draft in drafts:
        if draft.before is not None:
            draft.compare(entity)
    if validated(session, entity):
        await validate(session, entity, _proposed(entity, drafts), refusals)
    if refusals and on_error == "reject_all":
        return nothing(count, refusals)
    _refuse_dangling(entity, proposed, refusals)
    return await _write(session, entity, count, _valid(drafts, refusals), _valid(unnamed, refusals), refusals)


def _proposed(entity: EntityType, drafts: Sequence[Draft]) -> list[Proposed]:
    """Drafts as validators see them."""
    result = []
    for draft in drafts:
        changed = draft.changed
        if draft.before is None:
            changed = tuple(name for name in entity.columns if draft.after[name] is not None)
        if changed:
            told_of = frozenset(changed) - UNTOLD - entity.internal
            result.append(Proposed(draft.index, draft.id, draft.before, draft.after, told_of))
    return result


def _refuse_dangling(entity: EntityType, drafts: Sequence[Draft], refusals: Refusals) -> None:
    """Refuses rows that refer to new rows of the same batch that were refused."""
    columns = [link.column.name for link in entity.to_one.values() if link.target == entity.name]
    while columns and refusals:
        gone = {draft.id for draft in drafts if draft.before is None and draft.index in refusals}
        found = [
            (draft, name)
            for draft in _valid(drafts, refusals)
            for name in columns
            if draft.after.get(name) in gone
        ]
        if not found:
            return
        for draft, name in found:
            message = f"the {keys.named(entity)} that it refers to was refused"
            refusals.refuse(draft.index, draft.item.path(name), "not_found", message)


def _valid(drafts: Sequence[Draft], refusals: Refusals) -> list[Draft]:
    refused = refusals.refused
    return [draft for draft in drafts if draft.item.index not in refused] if refused else list(drafts)


def nothing(count: int, refusals: Refusals) -> ChangeResult:
    """The result of a change that wrote nothing."""
    return ChangeResult(ids=(None,) * count, errors=refusals.sorted())


async def _write(
    session: Session,
    entity: EntityType,
    count: int,
    drafts: Sequence[Draft],
    unnamed: Sequence[Draft],
    refusals: Refusals,
) -> ChangeResult:
    unit = session.unit
    assert unit is not None
    created = [draft for draft in drafts if draft.before is None]
    updated = [draft for draft in drafts if draft.before is not None and draft.changed]
    for draft in updated:
        assert draft.before is not None
        draft.after["version"] = draft.before["version"] + 1
        draft.after["updated_at"] = unit.now
    if created:
        await storage.insert(unit.transaction, entity, [draft.after for draft in created])
        await rights.check_written(session, entity, rights.unsure(session, entity, created, "create"), "create")
    if updated:
        changed = {name for draft in updated for name in draft.changed}
        columns = [name for name in entity.columns if name in changed]
        await storage.update(
            unit.transaction, entity, [draft.after for draft in updated], [*columns, "version", "updated_at"]
        )
        # rows that only made room were not asked for
        asked_for = [draft for draft in updated if not draft.displaced]
        await rights.check_written(session, entity, rights.unsure(session, entity, asked_for, "update"), "update")
    if entity.is_staged:
        await stages.add_moves(session, entity, [*created, *updated])
    telling = Telling.of(session.crm.catalog, entity)
    if not updated:
        wholes = telling.all_whole([draft.after for draft in created])
        rows = [(draft.id, None, whole) for draft, whole in zip(created, wholes, strict=True)]
        unit.record_all(session, "created", entity, rows)
    for draft in drafts if updated else ():
        if draft.before is None:
            unit.record(session, "created", entity, draft.id, None, telling.whole(draft.after))
        elif draft.changed:
            before = telling.columns(draft.before, draft.changed)
            after = telling.columns(draft.after, draft.changed)
            verb = "moved" if entity.is_staged and stages.moved(draft) else "updated"
            unit.record(session, verb, entity, draft.id, before, after)
    if unnamed:
        await external.add(session, entity, unnamed)
    ids: list[UUID | None] = [None] * count
    for draft in drafts:
        if not draft.displaced:
            ids[draft.index] = draft.id
    added = {draft.id for draft in unnamed}
    asked = [draft for draft in drafts if draft.before is not None and not draft.displaced]
    changed_count = sum(1 for draft in asked if draft.changed or draft.id in added)
    return ChangeResult(
        ids=tuple(ids),
        errors=refusals.sorted(),
        created=len(created),
        updated=changed_count,
        unchanged=len(asked) - changed_count,
    )
