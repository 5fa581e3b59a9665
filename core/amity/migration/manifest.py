"""The plugins' manifests: what each of them keeps in the database, written down in the database itself.

Erasing, merging and purging reach the data of a plugin by its manifest, also while it is disabled and after
it was uninstalled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..database import Database, Transaction
from ..principals.defaults import Default, defaults_of, give

if TYPE_CHECKING:
    from ..composition import Composition, PluginInfo
    from ..entity import EntityType

TABLE = "core_plugin"


@dataclass(frozen=True)
class Reference:
    """A column that holds the id of a row of another table."""

    column: str
    table: str
    on_delete: str


@dataclass(frozen=True)
class GenericColumns:
    """Two columns that hold entity and id of a row of any of several entities."""

    type_column: str
    id_column: str


@dataclass(frozen=True)
class TableManifest:
    """A table of a plugin: its personal columns, its keys, and what becomes of its rows in a merge."""

    table: str
    entity: str
    prefix: str
    columns: tuple[str, ...]
    personal: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    on_merge: Mapping[str, str]
    references: tuple[Reference, ...]
    generic: tuple[GenericColumns, ...]


@dataclass(frozen=True)
class Manifest:
    """What a plugin keeps in the database. ``enabled``: whether it is, as far as the database knows."""

    plugin: str
    version: str
    enabled: bool = True
    tables: tuple[TableManifest, ...] = field(default_factory=tuple)
    given: tuple[str, ...] = ()
    """What was given to roles by default, so that it isn't given again to whom it was taken from."""


def manifest_of(composition: Composition, info: PluginInfo) -> Manifest:
    """The manifest of an enabled plugin."""
    entities = [entity for entity in composition.catalog.values() if entity.plugin == info.name]
    defaults = defaults_of(composition.catalog, composition.grants, info.name)
    return Manifest(
        info.name,
        info.version,
        True,
        tuple(_table(entity, composition) for entity in entities),
        tuple(sorted(default.key for default in defaults)),
    )


def _following(manifest: Manifest, before: Manifest | None) -> Manifest:
    """The manifest, with what was given before."""
    given = set(manifest.given) | set(before.given if before else ())
    return replace(manifest, given=tuple(sorted(given)))


def _table(entity: EntityType, composition: Composition) -> TableManifest:
    options = entity.options
    return TableManifest(
        table=entity.table,
        entity=entity.name,
        prefix=entity.prefix,
        columns=tuple(entity.columns),
        personal=tuple(options.personal),
        keys=tuple(key.columns for key in entity.unique),
        on_merge=dict(options.on_merge),
        references=tuple(
            Reference(relation.column.name, composition.catalog[relation.target].table, relation.on_delete)
            for relation in entity.to_one.values()
        ),
        generic=tuple(
            GenericColumns(generic.type_column, generic.id_column) for generic in entity.generic.values()
        ),
    )


async def write_manifest(transaction: Transaction, composition: Composition) -> bool:
    """Brings ``core_plugin`` up to date, and gives to roles what the plugins give by default and did not give yet.

    Plugins that are no longer enabled are marked so, not forgotten. Whether anything was written. Needs the
    core's migrations.
    """
    if transaction.dialect == "postgresql":
        # of two processes, the later one sees what the first has given
        await transaction.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    known = {manifest.plugin: manifest for manifest in _parsed(await transaction.fetch(_SELECT))}
    changed = False
    new: list[Default] = []
    for info in composition.plugins:
        before = known.pop(info.name, None)
        manifest = _following(manifest_of(composition, info), before)
        if before != manifest:
            await _upsert(transaction, manifest)
            changed = True
            given = before.given if before else ()
            defaults = defaults_of(composition.catalog, composition.grants, info.name)
            new += [default for default in defaults if default.key not in given]
    if new:
        await give(transaction, composition.catalog, new)
    for manifest in known.values():
        if manifest.enabled:
            await _disable(transaction, manifest.plugin)
            changed = True
    return changed


async def manifests(database: Database) -> list[Manifest]:
    """The manifests of all plugins that the database has seen, enabled or not, by name."""
    return _parsed(await database.read(_SELECT))


async def refresh_manifest(database: Database, composition: Composition) -> bool:
    """:func:`write_manifest`, if an open database's is not up to date; else only one read."""
    enabled = {manifest.plugin: manifest for manifest in await manifests(database) if manifest.enabled}
    declared = [manifest_of(composition, info) for info in composition.plugins]
    if enabled == {item.plugin: _following(item, enabled.get(item.plugin)) for item in declared}:
        return False
    return await database.transact(lambda transaction: write_manifest(transaction, composition))


_SELECT = f"SELECT name, version, enabled, manifest FROM {TABLE} ORDER BY name"


def _parsed(rows: Any) -> list[Manifest]:
    return [
        Manifest(
            name,
            version,
            bool(enabled),
            tuple(map(_parse_table, kept["tables"])),
            tuple(kept.get("given", ())),
        )
        for name, version, enabled, text in rows
        for kept in (json.loads(text),)
    ]


def _parse_table(value: Mapping[str, Any]) -> TableManifest:
    return TableManifest(
        table=value["table"],
        entity=value["entity"],
        prefix=value["prefix"],
        columns=tuple(value["columns"]),
        personal=tuple(value["personal"]),
        keys=tuple(tuple(key) for key in value["keys"]),
        on_merge=value["on_merge"],
        references=tuple(Reference(**item) for item in value["references"]),
        generic=tuple(GenericColumns(**item) for item in value["generic"]),
    )


async def _upsert(transaction: Transaction, manifest: Manifest) -> None:
    kept = {"tables": [asdict(table) for table in manifest.tables], "given": manifest.given}
    text = json.dumps(kept, ensure_ascii=False)
    update = (
        "ON CONFLICT (name) DO UPDATE SET version = excluded.version, manifest = excluded.manifest,"
        " enabled = excluded.enabled, updated_at = excluded.updated_at"
    )
    marks = "$1, $2, $3::jsonb, true, $4" if transaction.dialect == "postgresql" else "?1, ?2, ?3, 1, ?4"
    await transaction.execute(
        f"INSERT INTO {TABLE} (name, version, manifest, enabled, updated_at) VALUES ({marks}) {update}",
        (manifest.plugin, manifest.version, text, _now(transaction)),
    )


async def _disable(transaction: Transaction, plugin: str) -> None:
    marks = ("$1", "$2") if transaction.dialect == "postgresql" else ("?1", "?2")
    off = "false" if transaction.dialect == "postgresql" else "0"
    await transaction.execute(
        f"UPDATE {TABLE} SET enabled = {off}, updated_at = {marks[0]} WHERE name = {marks[1]}",
        (_now(transaction), plugin),
    )


def _now(transaction: Transaction) -> Any:
    now = datetime.now(UTC)
    return now if transaction.dialect == "postgresql" else now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
