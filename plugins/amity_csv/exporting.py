"""Exports: rows of an entity as CSV, a batch at a time."""

from __future__ import annotations

import asyncio
import csv
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from amity.entity import Catalog, EntityType, Kind
from amity.query.readable import refusal

from .errors import ExportFailed
from .formulas import RISKY, neutralized
from .values import major_units

if TYPE_CHECKING:
    from amity.crm import Session

Read = Callable[[Sequence[Any]], Sequence[str | None]]
BATCH = 2_000
"""Rows that are read at once."""


@dataclass(frozen=True)
class Column:
    """One column of an export: its heading, the field that it needs, and the texts of its values."""

    heading: str
    needs: str
    read: Read


async def export_rows(
    session: Session,
    entity: str,
    output: TextIO,
    *,
    fields: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] = (),
    progress: Callable[[int], object] | None = None,
) -> int:
    """Writes rows of an entity to ``output`` as CSV, and says how many. Memory stays flat.

    ``fields`` are columns, money fields (which become two columns, ``value`` in major units and
    ``value.currency``), fields of plugins, keys of JSON columns (``custom_fields.sector``), and any of these
    over to-one relations (``organization.name``); without them every column and money field that the session's
    principal may read. ``where`` is a filter as in queries. Texts that spreadsheets would run as formulas get an
    apostrophe in front, which an import takes away. Raises :class:`~amity_csv.CsvError`,
    :class:`~amity.query.QueryError` and :class:`~amity.AccessDenied`.
    """
    catalog = session.crm.catalog
    kind = catalog.get(entity)
    if kind is None:
        raise ExportFailed(f"there is no entity {entity!r}; {_hint(entity, list(catalog))}")
    columns = columns_of(catalog, kind, fields or _readable(session, kind))
    needs = list(dict.fromkeys(column.needs for column in columns))
    query = session.find(entity).select(*needs)
    if where:
        query = query.where(where)
    if order_by:
        query = query.order_by(*order_by)
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow([neutralized(column.heading) for column in columns])
    places = [needs.index(column.needs) for column in columns]
    count = 0

    def write(values: Sequence[Sequence[Any]]) -> None:
        texts = [column.read(values[place]) for column, place in zip(columns, places, strict=True)]
        writer.writerows(zip(*texts, strict=True))

    batches = query.columns(BATCH)
    following = asyncio.ensure_future(anext(batches, None))
    try:
        while values := await following:
            # the database looks for the next rows while these are written
            following = asyncio.ensure_future(anext(batches, None))
            await asyncio.to_thread(write, values)
            count += len(values[0])
            if progress is not None:
                progress(count)
    finally:
        following.cancel()
        await asyncio.wait([following])
        await batches.aclose()
    return count


def _readable(session: Session, entity: EntityType) -> list[str]:
    """Every column and money field that the principal may read."""
    catalog, rights = session.crm.catalog, session.rights
    parts = {name for money in entity.money.values() for name in (money.amount, money.currency)}
    left_out = {*parts, *entity.internal, "deleted_at"}
    names = [*(name for name in entity.columns if name not in left_out), *entity.money]
    return [name for name in names if refusal(catalog, rights, entity, name) is None] or ["id"]


def columns_of(catalog: Catalog, entity: EntityType, fields: Sequence[str]) -> list[Column]:
    """The columns that fields become. Raises :class:`~amity_csv.CsvError` for what can't be in a cell."""
    return [column for name in fields for column in _columns(catalog, entity, name)]


def _columns(catalog: Catalog, entity: EntityType, path: str) -> list[Column]:
    steps: list[str] = []
    name = path
    while "." in name and (target := entity.leads_to(head := name.partition(".")[0])) is not None:
        steps.append(head)
        entity = catalog[target]
        name = name.partition(".")[2]
    head, dot, key = name.partition(".")
    needs = ".".join([*steps, head])
    if head in entity.currencies and not key:
        return [
            Column(path, needs, _each(_amount)),
            Column(f"{path}.currency", needs, _each(lambda money: neutralized(money["currency"]))),
        ]
    column = entity.columns.get(head)
    if column is not None and column.kind is Kind.JSON and dot:
        return [Column(path, needs, _each(lambda value: _json_key(value, key)))]
    if dot or (column is None and head not in entity.expressions and head not in entity.batches):
        known = [*entity.columns, *entity.money, *entity.expressions, *entity.batches]
        what = f"{entity.name} has no field {name!r} that fits into a cell"
        if head in entity.links:
            raise ExportFailed(f"{what}; {head} is another record: name one of its fields, like {path}.id")
        raise ExportFailed(f"{what}; {_hint(name, [k for k in known if k not in entity.internal])}")
    if column is not None:
        # choices are words that no spreadsheet runs
        return [Column(path, needs, _as_they_are if column.choices else _plain(column.kind))]
    numeric = head in entity.expressions and entity.expressions[head].kind in (Kind.INT, Kind.BIGINT, Kind.FLOAT)
    return [Column(path, needs, _each(str if numeric else _cell))]


def _plain(kind: Kind) -> Read:
    """What makes texts of the values of a column."""
    match kind:
        case Kind.ID | Kind.DATE | Kind.DATETIME | Kind.INT | Kind.BIGINT | Kind.FLOAT:
            return _as_they_are
        case Kind.TEXT:
            return _neutralized
    return _each(_cell)


def _as_they_are(values: Sequence[Any]) -> Sequence[Any]:
    """Texts that no spreadsheet runs, and numbers; the writer makes empty cells of nulls."""
    return values


def _neutralized(values: Sequence[str | None]) -> list[str | None]:
    return [neutralized(value) if value and value[0] in RISKY else value for value in values]


def _each(text: Callable[[Any], str]) -> Read:
    return lambda values: [None if value is None else text(value) for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return neutralized(value)
    # PostgreSQL and SQLite keep the keys of an object in orders of their own
    return neutralized(orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode())


def _amount(money: Mapping[str, Any]) -> str:
    return major_units(int(money["amount"]), money["currency"])


def _json_key(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    return "" if found is None else _cell(found)


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
