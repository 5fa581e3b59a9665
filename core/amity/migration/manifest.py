"""The plugins' manifests: what each of them keeps in the database, written down in the database itself.

Erasing, merging and purging reach the data of a plugin by its manifest, also while it is disabled and after
it was uninstalled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..database import Database, Transaction

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


def manifest_of(composition: Composition, info: PluginInfo) -> Manifest:
    """The manifest of an enabled plugin."""
    entities = [entity for entity in composition.catalog.values() if entity.plugin == info.name]
    return Manifest(info.name, info.version, True, tuple(_table(entity, composition) for entity in entities))


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
    """Brings ``core_plugin`` up to date; plugins that are no longer enabled are marked so, not forgotten.

    Whether anything was written. Needs the core's migrations.
    """
    known = {manifest.plugin: manifest for manifest in _parsed(await transaction.fetch(_SELECT))}
    changed = False
    for info in composition.plugins:
        manifest = manifest_of(composition, info)
        if known.pop(info.name, None) != manifest:
            await _upsert(transaction, manifest)
            changed = True
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
    if enabled == {info.name: manifest_of(composition, info) for info in composition.plugins}:
        return False
    return await database.transact(lambda transaction: write_manifest(transaction, composition))


_SELECT = f"SELECT name, version, enabled, manifest FROM {TABLE} ORDER BY name"


def _parsed(rows: Any) -> list[Manifest]:
    return [
        Manifest(name, version, bool(enabled), tuple(map(_parse_table, json.loads(text)["tables"])))
        for name, version, enabled, text in rows
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
    text = json.dumps({"tables": [asdict(table) for table in manifest.tables]}, ensure_ascii=False)
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
