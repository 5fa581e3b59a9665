"""One ``[[import]]`` of a mapping while it is run, a batch of rows at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from amity import AccessDenied, ChangeResult, Update, UserError
from amity.change import ChangeError
from amity.database import DatabaseError

from .errors import ImportFailed
from .lookup import Ambiguous, Finder
from .merging import rows_of
from .plan import EXTERNAL_ID, SectionPlan
from .reading import Broken, CsvFile, Row
from .record import Note, Record, Refusal, read_record
from .report import RefusedRows, SectionReport, Tally
from .seen import SeenKeys

if TYPE_CHECKING:
    from amity.crm import Session


@dataclass(frozen=True)
class Progress:
    """How far an import is: ``done`` of ``total`` bytes of the file that ``name`` reads."""

    number: int
    sections: int
    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Run:
    """What all sections of an import share."""

    session: Session
    refused: RefusedRows
    batch: int
    sections: int
    progress: Callable[[Progress], object] | None


async def import_section(run: Run, plan: SectionPlan) -> SectionReport:
    """Runs one ``[[import]]``. Raises :class:`~amity_csv.ImportFailed` and :class:`~amity.AccessDenied`."""
    return await _Section(run, plan).run()


@dataclass
class _Read:
    """A batch as the file has it. ``position`` is how far in the file it ends."""

    rows: int
    position: int
    records: list[Record] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    skipped: int = 0


@dataclass
class _Done:
    """What one batch did."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    repeated: int = 0
    differing: list[int] = field(default_factory=list)
    refused: list[list[Refusal]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def refuse(self, records: Iterable[Record]) -> None:
        self.refused += [record.refusals for record in records]


class _Section:
    """One ``[[import]]`` while it is run."""

    def __init__(self, run: Run, plan: SectionPlan) -> None:
        self.shared = run
        self.plan = plan
        session = run.session
        # a dry run's unit is rolled back, so nobody will ask where it came from
        self.session = session if session.unit else session.crm.acting_as(session.principal, origin=plan.origin)
        self.tally = Tally()
        self.finders = {
            number: Finder(field.lookup) for number, field in enumerate(plan.fields) if field.lookup is not None
        }
        self.came_from = {field.column: field.columns for field in reversed(plan.fields) if field.key is None}
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

            def read() -> _Read:
                return self._read(list(islice(rows, self.shared.batch)), file.position if file else 0)

            batch = await asyncio.to_thread(read)
            while batch.rows:
                # the next batch is read while the database writes this one
                following = asyncio.create_task(asyncio.to_thread(read))
                try:
                    await self._batch(batch)
                finally:
                    await asyncio.wait([following])
                    following.exception()  # taken, so that it does not complain where the batch failed before
                    self._list_refusals()
                if file is not None:
                    self._advance(batch.position, file.size)
                batch = following.result()
        return self._report()

    def _advance(self, done: int, total: int) -> None:
        run = self.shared
        if run.progress is not None:
            name = self.plan.section.label
            run.progress(Progress(self.plan.number, run.sections, name, min(done, total), total))

    async def _batch(self, batch: _Read) -> None:
        self.tally.rows += batch.rows
        self.tally.skipped += batch.skipped
        for broken in batch.broken:
            self._refuse([Refusal(broken.line, broken.column, broken.value, broken.reason)])
        records = batch.records
        if not records:
            return
        try:
            # look-ups are part of the change, so that what they find is still there when it is referred to
            done = await self.session.transact(lambda joined: self._attempt(joined, records))
        except AccessDenied:
            raise
        except (ChangeError, DatabaseError) as error:
            if self.session.unit is not None:
                raise  # the unit of a dry run, which may be run again
            first, last = records[0].row.line, records[-1].row.line
            raise ImportFailed(
                f"{self.plan.path}: lines {first} to {last}: {error}\n"
                "What came before is stored. When the cause is mended, run the import again: it goes on there."
            ) from error
        self._count(done)
        if self.session.unit is not None:
            # what is rolled back needs no log; without it, memory stays flat
            self.session.unit.events.clear()

    def _read(self, rows: Sequence[Row | Broken], position: int) -> _Read:
        batch = _Read(len(rows), position)
        for row in rows:
            if isinstance(row, Broken):
                batch.broken.append(row)
            elif (record := read_record(self.plan, row)) is None:
                batch.skipped += 1
            else:
                batch.records.append(record)
        return batch

    # --- a batch, in a unit of work that may be run again --------------------------------------------------

    async def _attempt(self, session: Session, records: Sequence[Record]) -> _Done:
        done = _Done()
        taken = [record.copy() for record in records]
        await self._look_up(session, taken)
        done.refuse(record for record in taken if record.refusals)
        taken = self._once([record for record in taken if not record.refusals], done)
        if not taken:
            return done
        result = await self._write(session, taken)
        errors: dict[int, list[UserError]] = {}
        for error in result.errors:
            errors.setdefault(error.index, []).append(error)
        for index, record in enumerate(taken):
            record.refusals += [self._refusal(record, error) for error in errors.get(index, ())]
            if not record.refusals:
                done.notes += record.notes
        done.refuse(record for record in taken if record.refusals)
        done.created, done.updated, done.unchanged = result.created, result.updated, result.unchanged
        return done

    async def _look_up(self, session: Session, records: Sequence[Record]) -> None:
        for number, finder in self.finders.items():
            field = self.plan.fields[number]
            wanting = [record for record in records if number in record.wanted]
            found = await finder.find(session, (record.wanted[number] for record in wanting))
            for record in wanting:
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

    def _once(self, records: Sequence[Record], done: _Done) -> list[Record]:
        """The records whose key did not stand further up, in this batch or before it."""
        key = self.plan.key
        if not key:
            return list(records)
        fresh = []
        repeated = []
        keyed = []
        for record in records:
            values = record.values
            told = [values.get(name) for name in key]
            if None in told:
                fresh.append(record)  # and refused, for want of a key
            else:
                said = hash(_text([values, record.keys] if record.keys else values))
                keyed.append((record, (_text(told), record.row.line, said)))
        if not fresh and self.seen.all_new([entry for _, entry in keyed]):
            return list(records)
        for record, (text, number, said) in keyed:
            line, before = self.seen.first(text, number, said)
            if line == record.row.line:
                fresh.append(record)
            elif self.plan.section.repeated == "skip":
                done.repeated += 1
                if before != said:
                    done.differing.append(record.row.line)
            else:
                column = next((name for part in key for name in self.came_from.get(part, ())), "")
                record.refuse(column, f"line {line} has the same {' and '.join(key)}")
                repeated.append(record)
        done.refuse(repeated)
        return fresh

    # --- from records to the database ----------------------------------------------------------------------

    async def _write(self, session: Session, records: Sequence[Record]) -> ChangeResult:
        item = self.plan
        name = item.entity.name
        rows = await rows_of(session, item, records)
        if item.section.mode == "create":
            return await session.create(name, rows, on_error="skip_invalid")
        if item.key == ("id",):
            updates = [Update(row["id"], {k: v for k, v in row.items() if k != "id"}) for row in rows]
            return await session.update(name, updates, on_error="skip_invalid")
        return await session.upsert(name, rows, on=item.key, on_error="skip_invalid")

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

    # --- the report ----------------------------------------------------------------------------------------

    def _count(self, done: _Done) -> None:
        tally = self.tally
        for refusals in done.refused:
            self._refuse(refusals)
        tally.note(done.notes)
        tally.created += done.created
        tally.updated += done.updated
        tally.unchanged += done.unchanged
        tally.repeated += done.repeated
        for line in done.differing:
            tally.differs(line)

    def _refuse(self, refusals: Sequence[Refusal]) -> None:
        self.tally.refused += 1
        self.had_refusals = True
        self.refusals += refusals

    def _list_refusals(self) -> None:
        if self.refusals:
            in_order = sorted(self.refusals, key=lambda refusal: refusal.line)
            self.shared.refused.add(self.plan.path, self.plan.section.label, in_order)
            self.refusals.clear()

    def _report(self) -> SectionReport:
        item, tally = self.plan, self.tally
        lookups = {item.fields[number].name: _described(finder) for number, finder in self.finders.items()}
        path = self.shared.refused.path(item.path) if self.had_refusals else None
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


def _text(values: Any) -> str:
    """A text that is the same for the same values, and for no others."""
    try:
        return orjson.dumps(values).decode()
    except TypeError:  # numbers beyond 64 bits, for one
        return repr(values)


def _described(finder: Finder) -> str:
    lookup = finder.lookup
    by = f"{lookup.by} ({lookup.system})" if lookup.by == EXTERNAL_ID else lookup.by
    return f"{lookup.entity.name} with the {by}"
