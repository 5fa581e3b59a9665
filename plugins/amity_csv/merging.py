"""Keys within JSON columns: an import sets those that it names, and leaves the others as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from amity.entity import Column, InvalidId, Kind, decode_id

from .lookup import external_ids, storable
from .plan import EXTERNAL_ID, SectionPlan
from .record import Record

if TYPE_CHECKING:
    from amity.crm import Session


async def rows_of(session: Session, plan: SectionPlan, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
    """Rows to write, with their JSON columns whole: as they stand, and what the records say on top."""
    if not plan.json_columns:
        return [record.values for record in records]
    rows = [record.values.copy() for record in records]
    standing = await _standing(session, plan, rows)
    for row, record, before in zip(rows, records, standing, strict=True):
        for column, keys in record.keys.items():
            merged = {**(before.get(column) or {}), **keys}
            row[column] = {key: value for key, value in merged.items() if value is not None or key not in keys}
    return rows


async def _standing(
    session: Session, plan: SectionPlan, rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """For each row, the JSON columns of the record that has its key; empty where there is none."""
    if not plan.key:
        return [{}] * len(rows)
    keys: list[tuple[str, ...] | None]
    if plan.key == (EXTERNAL_ID,):
        theirs = [str(row[EXTERNAL_ID]["id"]) for row in rows]
        known = await external_ids(session, plan.entity.code, plan.system, theirs)
        keys = [(str(known[name]),) if name in known else None for name in theirs]
        columns: tuple[str, ...] = ("id",)
        conditions: dict[str, Any] = {"id": {"in": list(known.values())}}
    else:
        columns = plan.key
        keys = [tuple(_plain(row.get(name)) for name in columns) for row in rows]
        conditions = {
            name: {"in": [row[name] for row in rows if _askable(session, plan, name, row.get(name))]}
            for name in columns
        }
    chosen = dict.fromkeys((*columns, *plan.json_columns))
    found = await session.find(plan.entity.name).select(*chosen).where(conditions).all()
    by_key = {tuple(_plain(row[name]) for name in columns): row for row in found}
    return [by_key.get(key, {}) if key is not None else {} for key in keys]


def _askable(session: Session, plan: SectionPlan, name: str, value: Any) -> bool:
    """Whether a value may be part of a filter; what is none is refused when it is written."""
    column: Column = plan.entity.columns[name]
    if column.kind is not Kind.ID or value is None:
        return storable(value)
    target = session.crm.catalog[column.references] if column.references else plan.entity
    try:
        decode_id(target.prefix, value)
    except InvalidId:
        return False
    return True


def _plain(value: Any) -> str:
    """A value in one form, as a row brings it or as an answer does."""
    if isinstance(value, str) and "_" in value:
        digits = value.rpartition("_")[2]
        if len(digits) == 32:
            try:
                return str(UUID(digits))
            except ValueError:
                return value
    return str(value)
