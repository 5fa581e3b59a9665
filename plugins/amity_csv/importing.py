"""Running an import: batches of rows through the same changes that everybody makes.

Every batch is a change of its own, so an import that is interrupted has stored whole batches, and running it
again goes on: rows that are there already change nothing. A dry run does all of it in one unit of work, which
is then rolled back: later imports see what earlier ones would have stored, and what it reports is what would
happen. Until it is through, other writers wait for it on SQLite.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from amity.access import AccessDenied
from amity.change import BadRequest, ChangeError, Update, in_unit
from amity.contracts import ChangeResult, UserError
from amity.database import DatabaseError

from .errors import ImportFailed
from .lookup import Ambiguous, Finder, external_ids
from .mapping import Mapping as MappingFile
from .plan import EXTERNAL_ID, SectionPlan, plan
from .reading import Broken, CsvFile, Row
from .record import Note, Record, Refusal, read_record
from .report import ImportReport, RefusedRows, SectionReport, Tally
from .seen import SeenKeys

if TYPE_CHECKING:
    from amity.crm import Session

BATCH = 2_000
"""Rows that are written by one change."""


@dataclass(frozen=True)
class Progress:
    """How far an import is: ``done`` of ``total`` bytes of the file that ``name`` reads."""

    number: int
    sections: int
    name: str
    done: int
    total: int


class _Undo(Exception):
    """Carries the report of a dry run out of its unit of work, which is rolled back by it."""

    def __init__(self, sections: tuple[SectionReport, ...]) -> None:
        self.sections = sections


async def run_import(
    session: Session,
    mapping: MappingFile,
    folder: Path,
    *,
    dry_run: bool = False,
    entities: Sequence[str] = (),
    batch: int = BATCH,
    refused_folder: Path | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> ImportReport:
    """Imports the files of ``folder`` as the mapping says; with ``entities`` only those of these entities.

    Rows that can't be taken are listed in ``<file>.refused.csv`` next to their file, or in
    ``refused_folder``, in a dry run too; the others are stored. ``batch`` is how many rows one change writes.

    Raises :class:`~amity_csv.MappingError` if the mapping does not fit the CRM or the files, before anything is
    read or written, :class:`~amity_csv.ImportFailed` if a file or the database fails on the way, and
    :class:`~amity.AccessDenied`.
    """
    crm = session.crm
    plans = await asyncio.to_thread(plan, mapping, folder, crm.catalog, crm.settings.default_currency, entities)
    if session.unit is not None:
        raise BadRequest("an import makes its own units of work; it can't be part of another")
    started = time.monotonic()
    with ExitStack() as stack:
        refused = RefusedRows((item.path for item in plans), refused_folder)
        stack.callback(refused.close)

        async def work(joined: Session) -> tuple[SectionReport, ...]:
            run = _Run(joined, refused, batch, progress, len(plans))
            return tuple([await run.section(item) for item in plans])

        async def undone(joined: Session) -> None:
            refused.restart()
            raise _Undo(await work(joined))

        if dry_run:
            try:
                await in_unit(session, undone)
            except _Undo as undo:
                sections = undo.sections
            except (ChangeError, DatabaseError) as error:
                raise ImportFailed(f"{mapping.file_name}: the dry run failed: {error}") from error
        else:
            sections = await work(session)
    return ImportReport(dry_run=dry_run, sections=sections, seconds=time.monotonic() - started)


@dataclass
class _Run:
    session: Session
    refused: RefusedRows
    size: int
    progress: Callable[[Progress], object] | None
    sections: int

    async def section(self, item: SectionPlan) -> SectionReport:
        return await _Section(self, item).run()


class _Section:
    """One ``[[import]]`` while it is run."""

    def __init__(self, run: _Run, item: SectionPlan) -> None:
        self.run_ = run
        self.plan = item
        session = run.session
        # a dry run's unit is rolled back, so nobody will ask where it came from
        self.session = session if session.unit else session.crm.acting_as(session.principal, origin=item.origin)
        self.tally = Tally()
        self.finders = {
            number: Finder(field.lookup) for number, field in enumerate(item.fields) if field.lookup is not None
        }
        self.came_from = {field.column: field.columns for field in reversed(item.fields) if field.key is None}
        self.had_refusals = False
        self.refusals: list[Refusal] = []
        """Those of this batch."""

    async def run(self) -> SectionReport:
        with ExitStack() as stack:
            self.seen = stack.enter_context(SeenKeys())
            file = None
            if self.plan.section.file is not None:
                file = stack.enter_context(CsvFile(self.plan.path, self.plan.section.form))
            rows: Iterator[Row | Broken] = iter(file) if file else _inline(self.plan)
            while batch := await asyncio.to_thread(lambda: list(islice(rows, self.run_.size))):
                try:
                    await self._batch(batch)
                finally:
                    self._list_refusals()
                if file is not None:
                    self._advance(file.position, file.size)
        return self._report()

    def _advance(self, done: int, total: int) -> None:
        run = self.run_
        if run.progress is not None:
            name = self.plan.section.label
            run.progress(Progress(self.plan.number, run.sections, name, min(done, total), total))

    async def _batch(self, rows: Sequence[Row | Broken]) -> None:
        self.tally.rows += len(rows)
        records = await asyncio.to_thread(self._read, rows)
        await self._look_up(records)
        records = self._once(self._acceptable(records))
        if not records:
            return
        first, last = records[0].row.line, records[-1].row.line
        try:
            result = await in_unit(self.session, lambda joined: self._write(joined, records))
        except AccessDenied:
            raise
        except (ChangeError, DatabaseError) as error:
            if self.session.unit is not None:
                raise  # the unit of a dry run, which may be run again
            raise ImportFailed(
                f"{self.plan.path}: lines {first} to {last}: {error}\n"
                "What came before is stored. When the cause is mended, run the import again: it goes on there."
            ) from error
        self._count(records, result)
        if self.session.unit is not None:
            # what is rolled back needs no log; without it, memory stays flat
            self.session.unit.events.clear()

    # --- from rows to records ------------------------------------------------------------------------------

    def _read(self, rows: Sequence[Row | Broken]) -> list[Record]:
        records = []
        for row in rows:
            if isinstance(row, Broken):
                self._refuse([Refusal(row.line, row.column, row.value, row.reason)])
            elif (record := read_record(self.plan, row)) is None:
                self.tally.skipped += 1
            else:
                records.append(record)
        return records

    async def _look_up(self, records: Sequence[Record]) -> None:
        for number, finder in self.finders.items():
            field = self.plan.fields[number]
            found = await finder.find(
                self.session, (record.wanted[number] for record in records if number in record.wanted)
            )
            for record in records:
                if number not in record.wanted:
                    continue
                value = record.wanted[number]
                id = found.get(value)
                column = field.columns[0] if field.columns else ""
                if isinstance(id, Ambiguous):
                    record.refuse(column, str(id))
                elif id is not None:
                    record.put(field, id)
                elif finder.lookup.nullable:
                    record.put(field, None)
                    record.notes.append(Note("missing", field.name, str(value)))
                else:
                    record.refuse(column, f"there is no {_described(finder)} {str(value)!r}")

    def _acceptable(self, records: Sequence[Record]) -> list[Record]:
        for record in records:
            if record.refusals:
                self._refuse(record.refusals)
        return [record for record in records if not record.refusals]

    def _once(self, records: Sequence[Record]) -> list[Record]:
        """The records whose key did not stand further up, in this batch or before it."""
        key = self.plan.key
        if not key:
            return list(records)
        fresh = []
        for record in records:
            text = _json([record.values.get(name) for name in key]).decode()
            said = blake2b(_json([record.values, record.keys]), digest_size=16).digest()
            before = self.seen.first(text, record.row.line, said)
            if before is None:
                fresh.append(record)
            elif self.plan.section.repeated == "skip":
                self.tally.repeated += 1
                if before[1] != said:
                    self.tally.differs(record.row.line)
            else:
                column = next((name for part in key for name in self.came_from.get(part, ())), "")
                record.refuse(column, f"line {before[0]} has the same {' and '.join(key)}")
                self._refuse(record.refusals)
        return fresh

    def _refuse(self, refusals: Sequence[Refusal]) -> None:
        self.tally.refused += 1
        self.had_refusals = True
        self.refusals += refusals

    def _list_refusals(self) -> None:
        if self.refusals:
            in_order = sorted(self.refusals, key=lambda refusal: refusal.line)
            self.run_.refused.add(self.plan.path, self.plan.section.label, in_order)
            self.refusals.clear()

    # --- from records to the database ----------------------------------------------------------------------

    async def _write(self, session: Session, records: Sequence[Record]) -> ChangeResult:
        item = self.plan
        rows = [dict(record.values) for record in records]
        if item.json_columns:
            there = await _standing(session, item, rows)
            for row, record, before in zip(rows, records, there, strict=True):
                for column, keys in record.keys.items():
                    merged = {**(before.get(column) or {}), **keys}
                    row[column] = {
                        key: value for key, value in merged.items() if value is not None or key not in keys
                    }
        name = item.entity.name
        if item.section.mode == "create":
            return await session.create(name, rows, on_error="skip_invalid")
        if item.key == ("id",):
            updates = [Update(row.pop("id"), row) for row in rows]
            return await session.update(name, updates, on_error="skip_invalid")
        return await session.upsert(name, rows, on=item.key, on_error="skip_invalid")

    def _count(self, records: Sequence[Record], result: ChangeResult) -> None:
        errors: dict[int, list[UserError]] = {}
        for error in result.errors:
            errors.setdefault(error.index, []).append(error)
        for index, record in enumerate(records):
            if index in errors:
                self._refuse([self._refusal(record, error) for error in errors[index]])
            else:
                self.tally.note(record.notes)
        self.tally.created += result.created
        self.tally.updated += result.updated
        self.tally.unchanged += result.unchanged

    def _refusal(self, record: Record, error: UserError) -> Refusal:
        """What the change said of a field, told of the column that it came from."""
        name = str(error.path[0]) if error.path else ""
        columns = self.came_from.get(name, ())
        column = columns[0] if columns else ""
        where = ".".join(str(part) for part in error.path)
        cell = record.row.cells.get(column)
        value = cell if cell is not None else record.values.get(name)
        reason = f"{where}: {error.message}" if where else error.message
        return Refusal(record.row.line, column, "" if value is None else str(value), reason)

    def _report(self) -> SectionReport:
        item, tally = self.plan, self.tally
        lookups = {item.fields[number].name: _described(finder) for number, finder in self.finders.items()}
        path = self.run_.refused.path(item.path) if self.had_refusals else None
        return SectionReport(
            name=item.section.label,
            entity=item.entity.name,
            source=str(item.path),
            rows=tally.rows,
            created=tally.created,
            updated=tally.updated,
            unchanged=tally.unchanged,
            refused=tally.refused,
            skipped=tally.skipped,
            repeated=tally.repeated,
            mapped=tally.mapped(),
            notes=tally.sentences(lookups),
            refused_file=str(path) if path else None,
        )


def _inline(item: SectionPlan) -> Iterator[Row]:
    names = dict.fromkeys(column.name for column in item.columns)
    for number, row in enumerate(item.section.rows, 1):
        yield Row(number, {**names, **row})


def _described(finder: Finder) -> str:
    lookup = finder.lookup
    by = f"{lookup.by} ({lookup.system})" if lookup.by == EXTERNAL_ID else lookup.by
    return f"{lookup.entity.name} with the {by}"


async def _standing(
    session: Session, item: SectionPlan, rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """For each row, the JSON columns of the record that has its key; empty where there is none."""
    query = session.find(item.entity.name)
    if not item.key:
        return [{}] * len(rows)
    keys: list[tuple[str, ...] | None]
    if item.key == (EXTERNAL_ID,):
        theirs = [str(row[EXTERNAL_ID]["id"]) for row in rows]
        known = await external_ids(session, item.entity.name, item.system, theirs)
        keys = [(str(known[name]),) if name in known else None for name in theirs]
        columns: tuple[str, ...] = ("id",)
        conditions: dict[str, Any] = {"id": {"in": list(known.values())}}
    else:
        columns = item.key
        keys = [tuple(_plain(row.get(name)) for name in columns) for row in rows]
        conditions = {name: {"in": [row[name] for row in rows if row.get(name) is not None]} for name in columns}
    chosen = dict.fromkeys((*columns, *item.json_columns))
    found = await query.select(*chosen).where(conditions).all()
    by_key = {tuple(_plain(row[name]) for name in columns): row for row in found}
    return [by_key.get(key, {}) if key is not None else {} for key in keys]


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


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
