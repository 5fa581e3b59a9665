"""``amity import`` and ``amity export``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from amity.access import SYSTEM

from .errors import CsvError
from .exporting import export_rows
from .files import new_file
from .importing import run_import
from .mapping import load_mapping
from .report import ImportReport, SectionReport
from .section import Progress as Step

if TYPE_CHECKING:
    from amity.cli import App
    from amity.crm import Crm


@click.command("import")
@click.argument("mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the files; by default that of the mapping.",
)
@click.option("--dry-run", is_flag=True, help="Report what would happen, and write nothing to the database.")
@click.option("--entity", "entities", multiple=True, help="Import only this entity; may be repeated.")
@click.option(
    "--refused",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder where refused rows are listed; by default that of each file.",
)
@click.pass_obj
def import_command(
    app: App,
    mapping: Path,
    data: Path | None,
    dry_run: bool,
    entities: tuple[str, ...],
    refused: Path | None,
) -> None:
    """Import CSV files as the file MAPPING says.

    Running it again adds nothing twice. Rows that can't be taken are listed next to their file, in
    FILE.refused.csv, and make the command end with 1.
    """
    with _told():
        loaded = load_mapping(mapping)
        with _import_bar(app.console) as progress:

            async def work(crm: Crm) -> ImportReport:
                return await run_import(
                    crm.acting_as(SYSTEM),
                    loaded,
                    data or mapping.parent,
                    dry_run=dry_run,
                    entities=entities,
                    batch=crm.composition.plugin("csv").plugin.settings.batch,
                    refused_folder=refused,
                    progress=progress,
                )

            report = app.run(work)
    show(report)
    if report.refused:
        raise SystemExit(1)


@click.command("export")
@click.argument("entity")
@click.option("--fields", help="Fields separated by commas, like name,organization.name,custom_fields.sector.")
@click.option("--where", help='A filter as in queries, as JSON: \'{"kind": {"eq": "person"}}\'.')
@click.option("--order-by", help="Fields separated by commas; -name for descending.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; standard output by default."
)
@click.pass_obj
def export_command(
    app: App, entity: str, fields: str | None, where: str | None, order_by: str | None, output: Path | None
) -> None:
    """Export the records of ENTITY, like Customer, as CSV."""
    condition = _json_object(where) if where else None

    def written_to(file: Any) -> int:
        async def work(crm: Crm) -> int:
            return await export_rows(
                crm.acting_as(SYSTEM),
                entity,
                file,
                fields=_listed(fields),
                where=condition,
                order_by=_listed(order_by),
            )

        return app.run(work, dispatch=False)

    with _told():
        if output is None:
            written_to(sys.stdout)
            return
        with new_file(output) as file:
            count = written_to(file)
    click.echo(f"Wrote {count:,} rows to {output}", err=True)


def show(report: ImportReport) -> None:
    """Prints a report for people."""
    always = ("rows", "created", "updated", "unchanged", "refused")
    counts = [
        name
        for name in (*always, "skipped", "repeated")
        if name in always or any(getattr(section, name) for section in report.sections)
    ]
    width = max(len(section.name) for section in report.sections)
    click.echo(" ".join([" " * width, *(f"{name:>9}" for name in counts)]))
    for section in report.sections:
        numbers = (f"{getattr(section, name):>9,}" for name in counts)
        click.echo(" ".join([f"{section.name:<{width}}", *numbers]))
    for section in report.sections:
        sentences = list(_sentences(section))
        if sentences:
            click.echo(f"\n{section.name}")
        for sentence in sentences:
            click.echo(f"  {sentence}")
    click.echo(f"\n{report.summary()}")


def _sentences(section: SectionReport) -> Iterator[str]:
    yield from (str(value) for value in section.mapped)
    yield from section.notes
    if section.refused_file:
        yield f"{section.refused:,} refused; each is listed in {section.refused_file}"


@contextmanager
def _told() -> Iterator[None]:
    """Errors of this plugin as messages, without a trace."""
    try:
        yield
    except CsvError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _import_bar(console: Console) -> Iterator[Callable[[Step], object]]:
    """A progress bar on a terminal; nothing elsewhere."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("Importing", total=None)

        def advance(step: Step) -> None:
            description = f"{step.number}/{step.sections} {escape(step.name)}"
            bar.update(task, description=description, completed=step.done, total=step.total)

        yield advance


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--where") from error
    if not isinstance(found, dict):
        raise click.BadParameter("expected an object of conditions", param_hint="--where")
    return found
