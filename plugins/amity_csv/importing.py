"""Running an import: batches of rows through the same changes that everybody makes.

Every batch is a change of its own, so an import that is interrupted has stored whole batches, and running it
again goes on: rows that are there already change nothing. A dry run does all of it in one unit of work, which
is then rolled back: later imports see what earlier ones would have stored, and what it reports is what would
happen. Until it is through, other writers wait for it on SQLite.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from amity.change import BadRequest, ChangeError
from amity.database import DatabaseError

from .errors import ImportFailed
from .mapping import Mapping
from .planning import plan
from .report import ImportReport, RefusedRows, SectionReport
from .section import Progress, Run, import_section

if TYPE_CHECKING:
    from amity.crm import Session

BATCH = 5_000
"""Rows that are written by one change."""


class _Undo(Exception):
    """Carries the report of a dry run out of its unit of work, which is rolled back by it."""

    def __init__(self, sections: tuple[SectionReport, ...]) -> None:
        self.sections = sections


async def run_import(
    session: Session,
    mapping: Mapping,
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
    for item in plans:
        item.authorize(session)
    started = time.monotonic()
    with ExitStack() as stack:
        refused = RefusedRows((item.path for item in plans), refused_folder)
        stack.callback(refused.close)

        async def work(joined: Session) -> tuple[SectionReport, ...]:
            run = Run(joined, refused, batch, len(plans), progress)
            return tuple([await import_section(run, item) for item in plans])

        async def undone(joined: Session) -> None:
            refused.restart()
            raise _Undo(await work(joined))

        if dry_run:
            try:
                await session.transact(undone)
            except _Undo as undo:
                sections = undo.sections
            except (ChangeError, DatabaseError) as error:
                raise ImportFailed(f"{mapping.file_name}: the dry run failed: {error}") from error
        else:
            sections = await work(session)
    return ImportReport(dry_run=dry_run, sections=sections, seconds=time.monotonic() - started)
