"""The plugin: what it brings to a CRM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from amity.contracts import Action, Context, Permission, UserError
from amity.plugin import Plugin
from amity.query import QueryError

from .errors import CsvError
from .exporting import export_rows
from .files import new_file
from .importing import BATCH, run_import
from .mapping import load_mapping
from .report import ImportReport

if TYPE_CHECKING:
    import click

IMPORT = Permission("csv.import", "Import CSV files from the plugin's folder")
EXPORT = Permission("csv.export", "Export records to CSV files in the plugin's folder")


class CsvSettings(BaseModel, extra="forbid"):
    """``[csv]``: what the CSV plugin may touch."""

    folder: Path | None = None
    """The only folder that the actions ``import_csv`` and ``export_csv`` read and write; without it they
    refuse. The commands take any path, as whoever runs them may read it anyway."""
    batch: int = Field(default=BATCH, ge=1, le=5_000)
    """Rows that one change writes."""


class ImportInput(BaseModel):
    """An import from files in the plugin's folder."""

    model_config = ConfigDict(extra="forbid")

    mapping: str = Field(description="The mapping file, within the plugin's folder")
    data: str = Field(default="", description="The folder of its files; by default that of the mapping")
    entities: list[str] = Field(default_factory=list, description="Import only these entities")
    dry_run: bool = Field(default=False, description="Report what would happen, and write nothing")


class ExportInput(BaseModel):
    """An export to a file in the plugin's folder."""

    model_config = ConfigDict(extra="forbid")

    entity: str = Field(description="The entity, like Customer")
    file: str = Field(description="The file to write, within the plugin's folder")
    fields: list[str] = Field(default_factory=list, description="Fields, in their order; all columns by default")
    where: dict[str, Any] | None = Field(default=None, description="A filter, as in queries")


class ExportResult(BaseModel):
    """An export that was made."""

    file: str = Field(description="The file, within the plugin's folder")
    rows: int = Field(description="How many records are in it")


class Csv(Plugin[CsvSettings]):
    """Imports CSV files as a mapping file says, and exports records to CSV files."""

    name = "csv"
    core = ">=0.1,<1"

    def actions(self) -> Sequence[Action[Any]]:
        return (
            Action(
                "import_csv",
                ImportInput,
                run=import_csv,
                permission=IMPORT.name,
                output=ImportReport,
                description="Imports CSV files as a mapping file says",
                transactional=False,
            ),
            Action(
                "export_csv",
                ExportInput,
                run=export_csv,
                permission=EXPORT.name,
                output=ExportResult,
                description="Exports records of an entity to a CSV file",
                transactional=False,
            ),
        )

    def permissions(self) -> Sequence[Permission]:
        return (IMPORT, EXPORT)

    def commands(self) -> Sequence[click.Command]:
        from .commands import export_command, import_command

        return (import_command, export_command)


async def import_csv(context: Context, inputs: Sequence[ImportInput]) -> Sequence[Any]:
    """One after the other; a report, or a user error, for each."""
    results: list[Any] = []
    for index, item in enumerate(inputs):
        try:
            path = _within(context.settings, item.mapping)
            folder = _within(context.settings, item.data) if item.data else path.parent
            report = await run_import(
                context.session,
                load_mapping(path),
                folder,
                dry_run=item.dry_run,
                entities=item.entities,
                batch=context.settings.batch,
            )
            results.append(report)
        except CsvError as error:
            results.append(UserError(index, ("mapping",), "invalid", str(error)))
    return results


async def export_csv(context: Context, inputs: Sequence[ExportInput]) -> Sequence[Any]:
    """One after the other; what was written, or a user error, for each."""
    results: list[Any] = []
    for index, item in enumerate(inputs):
        try:
            path = _within(context.settings, item.file)
            with new_file(path) as output:
                rows = await export_rows(
                    context.session, item.entity, output, fields=item.fields, where=item.where
                )
            results.append(ExportResult(file=item.file, rows=rows))
        except (CsvError, QueryError) as error:
            results.append(UserError(index, (), "invalid", str(error)))
    return results


def _within(settings: CsvSettings, name: str) -> Path:
    """A path below the plugin's folder, links followed. Raises :class:`~amity_csv.CsvError`."""
    if settings.folder is None:
        raise CsvError('the CSV plugin has no folder; set folder in [csv] of amity.toml, like "/srv/amity/csv"')
    root = settings.folder.resolve()
    path = (root / PurePosixPath(name)).resolve()
    if not path.is_relative_to(root):
        raise CsvError(f"{name!r} is outside the CSV plugin's folder")
    return path


__all__ = ["Csv", "CsvSettings", "ExportInput", "ExportResult", "ImportInput", "export_csv", "import_csv"]
