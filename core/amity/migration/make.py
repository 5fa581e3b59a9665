"""Making migration files: ``amity makemigrations``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tortoise.migrations import operations as ops
from tortoise.migrations.migration import Migration
from tortoise.migrations.operations import Operation

from ..database.operations import CreateIndex
from . import files
from .compare import Renames, check_renames, operations_between
from .errors import MigrationError
from .render import render_migration
from .schema import Schema, declared, replayed

if TYPE_CHECKING:
    from ..composition import Composition, PluginInfo


def make(
    composition: Composition,
    plugin: str | None = None,
    *,
    name: str | None = None,
    renames: Renames | None = None,
) -> list[Path]:
    """Writes a migration file for each plugin whose entities have changed, or for one of them.

    ``name`` replaces the name that would be made from the changes. ``renames`` says what became of a field
    or entity that is gone, ``{"loyalty.Account.points": "balance"}``, or None for dropped; where it could be
    either, that is asked. Read what was written before applying it.

    Raises :class:`MigrationError`, and writes nothing then; LookupError for a plugin that is not enabled.
    """
    if plugin is not None:
        composition.plugin(plugin)
    migrations = files.load(files.modules(composition))
    before, after = replayed(migrations), declared(composition)
    check_renames(before, after, renames or {})
    made: list[tuple[PluginInfo, Migration]] = []
    for info in composition.plugins:
        if plugin not in (None, info.name):
            continue
        operations = operations_between(before, after, info.name, renames)
        if operations:
            # what is made for one plugin is what the next depends on
            known = [*migrations, *(migration for _, migration in made)]
            made.append((info, _migration(info.name, operations, after, known, name)))
    result = replayed([*migrations, *(migration for _, migration in made)])
    for info, _ in made:
        if left := operations_between(result, after, info.name):
            raise MigrationError(
                f"no migration of {info.name!r} leads to what its entities declare; "
                f"left to do would be: {left[0].describe()}"
            )
    return [_write(info, migration) for info, migration in made]


def _migration(
    app: str, operations: list[Operation], schema: Schema, known: Sequence[Migration], name: str | None
) -> Migration:
    leaves = {migration.app_label: migration.name for migration in known}
    targets = _referred(operations, schema, app)
    if missing := targets - leaves.keys():
        raise MigrationError(
            f"entities of {app!r} refer to entities of {', '.join(sorted(missing))}, which have no "
            "migrations yet; make those first"
        )
    names = [migration.name for migration in known if migration.app_label == app]
    migration = Migration(_title(names, operations, name), app)
    migration.operations = operations
    migration.dependencies = [(other, leaves[other]) for other in sorted({app, *targets}) if other in leaves]
    return migration


def _write(info: PluginInfo, migration: Migration) -> Path:
    path = files.folder(info) / f"{migration.name}.py"
    text = render_migration(info.name, migration.name, migration.operations, migration.dependencies)
    path.write_text(text, encoding="utf-8")
    return path


def drift(composition: Composition) -> list[str]:
    """What entities declare and migration files do not make, one sentence each; empty if nothing."""
    before = replayed(files.load(files.modules(composition)))
    after = declared(composition)
    skipped = set(files.unmigrated(composition))
    found = [f"{app} has entities but no migrations" for app in sorted(skipped)]
    for info in composition.plugins:
        if info.name in skipped:
            continue
        try:
            operations = operations_between(before, after, info.name)
        except MigrationError as error:
            found.append(str(error))
            continue
        found += [f"{info.name}: {operation.describe()}" for operation in operations]
    return found


def _referred(operations: Sequence[Operation], schema: Schema, app: str) -> set[str]:
    """Other plugins whose entities the operations refer to."""
    names: set[str] = set()
    for operation in operations:
        if isinstance(operation, ops.CreateModel):
            names.add(operation.name)
        elif isinstance(operation, (ops.AddField, ops.AlterField)):
            names.add(operation.model_name)
    return {
        target for name in names for target, _ in schema.models[app, name].references().values() if target != app
    }


def _title(existing: Sequence[str], operations: Sequence[Operation], given: str | None) -> str:
    numbers = [int(match[1]) for name in existing if (match := re.match(r"(\d{4})_", name))]
    number = max(numbers, default=0) + 1
    if given is None:
        if number == 1:
            given = "initial"
        else:
            telling = [o for o in operations if not isinstance(o, CreateIndex)] or list(operations)
            more = " and more" if len(telling) > 1 else ""
            given = telling[0].describe()[:40] + more
    slug = re.sub(r"[^a-z0-9]+", "_", given.lower()).strip("_")
    if not slug:
        raise MigrationError(f"{given!r} is no name for a migration; use letters and digits")
    return f"{number:04d}_{slug}"
