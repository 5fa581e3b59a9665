"""Migration files: where a plugin keeps them, and the order in which they are applied."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tortoise.migrations.graph import MigrationKey
from tortoise.migrations.loader import MigrationLoader
from tortoise.migrations.migration import Migration

from .errors import MigrationError

if TYPE_CHECKING:
    from ..composition import Composition, PluginInfo


def module_name(info: PluginInfo) -> str | None:
    """The module of a plugin's migrations; None where the plugin lives in no package and names none."""
    cls = type(info.plugin)
    if cls.migrations is not None:
        return cls.migrations
    module = sys.modules.get(cls.__module__)
    if module is None:
        return None
    package = cls.__module__ if hasattr(module, "__path__") else cls.__module__.rpartition(".")[0]
    return f"{package}.migrations" if package else None


def has_migrations(info: PluginInfo) -> bool:
    """Whether a plugin's migrations module is there."""
    name = module_name(info)
    if name is None:
        return False
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def modules(composition: Composition) -> dict[str, str]:
    """Plugin → module of its migrations, for those that have one."""
    return {
        info.name: name
        for info in composition.plugins
        if (name := module_name(info)) is not None and has_migrations(info)
    }


def unmigrated(composition: Composition) -> list[str]:
    """Plugins with entities but without migrations."""
    migrated = modules(composition)
    owners = {entity.plugin for entity in composition.catalog.values()}
    return [info.name for info in composition.plugins if info.name in owners - migrated.keys()]


def load(apps: Mapping[str, str]) -> list[Migration]:
    """All migrations of the apps, each after those it depends on. Raises :class:`MigrationError`."""
    loader = _Loader({app: {"migrations": module} for app, module in apps.items()}, _Nothing())  # type: ignore[arg-type]
    try:
        return loader.in_order()
    except MigrationError:
        raise
    except Exception as error:
        raise MigrationError(f"the migrations can't be read: {type(error).__name__}: {error}") from error


def folder(info: PluginInfo) -> Path:
    """The folder of a plugin's migrations, made as a package if it is not there."""
    name = module_name(info)
    if name is None:
        cls = type(info.plugin)
        raise MigrationError(
            f"plugin {info.name!r} has no place for migrations: {cls.__module__}.{cls.__qualname__} is in no "
            "package; put it in one, or name a module in its attribute migrations"
        )
    importlib.invalidate_caches()
    if has_migrations(info):
        return Path(next(iter(importlib.import_module(name).__path__)))
    parent, _, leaf = name.rpartition(".")
    if parent:
        try:
            base = Path(next(iter(importlib.import_module(parent).__path__)))
        except (ImportError, AttributeError) as error:
            raise MigrationError(
                f"plugin {info.name!r} keeps its migrations in {name}, but {parent} is no package: {error}"
            ) from error
    else:
        source = getattr(sys.modules[type(info.plugin).__module__], "__file__", None)
        if source is None:
            raise MigrationError(f"plugin {info.name!r}: there is no folder for {name}; make the package first")
        base = Path(source).parent
    path = base / leaf
    path.mkdir(exist_ok=True)
    (path / "__init__.py").touch()
    importlib.invalidate_caches()
    return path


class _Nothing:
    async def applied_migrations(self) -> Sequence[MigrationKey]:
        return ()


class _Loader(MigrationLoader):
    def in_order(self) -> list[Migration]:
        importlib.invalidate_caches()
        self.load_disk()
        for app in self.unmigrated_apps:
            raise MigrationError(f"{self.migrations_module(app)} is no package; migrations are files in one")
        for key, migration in self.disk_migrations.items():
            self.graph.add_node(key, migration)
        for key, migration in self.disk_migrations.items():
            self._add_internal_dependencies(key, migration)
        for key, migration in self.disk_migrations.items():
            self._add_external_dependencies(key, migration)
        self.graph.validate_consistency()
        found: dict[MigrationKey, Migration] = {}
        for app in self.apps_config:
            leaves = self.graph.leaf_nodes(app)
            if len(leaves) > 1:
                names = ", ".join(leaf.name for leaf in leaves)
                raise MigrationError(
                    f"{app} has migrations that follow none of each other: {names}; "
                    "make the later one depend on the earlier"
                )
            for leaf in leaves:
                for key in self.graph.forwards_plan(leaf):
                    found.setdefault(key, self.disk_migrations[key])
        return list(found.values())
