"""Databases for tests: each fresh, migrated and its own, made by copying a template, or emptied, in milliseconds.

A SQLite file by default; databases on a PostgreSQL server when its URL is given. Plugins that are defined in
a test, and so have no migrations, get their tables directly from their entities.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from ..database.schema_connection import SchemaConnection, schema_connection
from ..database.sqlite import path_of
from ..migration import files
from ..migration.compare import operations_between
from ..migration.manifest import manifest_of
from ..migration.migrate import create_unmigrated
from ..migration.render import render_operation
from ..migration.schema import Schema, declared
from ..principals.defaults import defaults_of
from .reuse import Reuse

if TYPE_CHECKING:
    from ..composition import Composition

TEMPLATES = "AMITY_TEST_TEMPLATES"
"""Names, in the environment, a folder in which the processes of one run share their templates."""

_folder: Path | None = None
_files: dict[str, Path] = {}
_templates: dict[tuple[str, str], str] = {}
_reuse = Reuse()


@asynccontextmanager
async def fresh_database(composition: Composition, server_url: str | None = None) -> AsyncIterator[str]:
    """The URL of a database that holds the tables of a composition and nothing in them.

    ``server_url`` names any database on a PostgreSQL server where databases may be made; without it the
    database is a SQLite file. It is gone afterwards.
    """
    if server_url is None:
        template = await _sqlite_template(composition)
        async with empty_database() as url:
            shutil.copyfile(template, path_of(url))
            yield url
    else:
        async with _copied(server_url, await _postgresql_template(composition, server_url)) as url:
            yield url


@asynccontextmanager
async def empty_database(server_url: str | None = None) -> AsyncIterator[str]:
    """The URL of a database without tables."""
    if server_url is None:
        folder = Path(tempfile.mkdtemp(prefix="amity-", dir=_scratch()))
        try:
            yield f"sqlite:///{folder / 'test.sqlite3'}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    name = f"amity_test_{uuid4().hex}"
    async with schema_connection(server_url) as server:
        await _create(server, name, None)
    try:
        yield _named(server_url, name)
    finally:
        async with schema_connection(server_url) as server:
            await _drop(server, name)


@asynccontextmanager
async def _copied(server_url: str, template: str) -> AsyncIterator[str]:
    """A copy of a template on a PostgreSQL server, or one that was used and is as it was."""
    name = _reuse.take(server_url, template)
    if name is None:
        name = f"amity_test_{uuid4().hex}"
        async with schema_connection(server_url) as server:
            await _create(server, name, template)
    url = _named(server_url, name)
    try:
        yield url
    finally:
        clean = await _reuse.cleaned(server_url, template, url)
        async with schema_connection(server_url) as server:
            if clean:
                # under its former name it is gone
                other = f"amity_test_{uuid4().hex}"
                await server.execute(f'ALTER DATABASE "{name}" RENAME TO "{other}"')
                _reuse.give(server_url, template, other)
            else:
                await _drop(server, name)


async def drop_templates(server_url: str) -> None:
    """Drops what this process keeps on a PostgreSQL server: templates, and databases to be used again."""
    names = [name for (url, _), name in _templates.items() if url == server_url]
    names += _reuse.forget(server_url)
    async with schema_connection(server_url) as server:
        for name in names:
            await _drop(server, name)
    for key in [key for key in _templates if key[0] == server_url]:
        del _templates[key]


async def _sqlite_template(composition: Composition) -> Path:
    digest = _digest(composition)
    if digest not in _files:
        path = Path(os.environ.get(TEMPLATES) or _scratch()) / f"{digest}.sqlite3"
        if not path.exists():
            made = path.with_name(f"{uuid4().hex}.sqlite3")
            await create_unmigrated(composition, f"sqlite:///{made}")
            made.replace(path)
        _files[digest] = path
    return _files[digest]


async def _postgresql_template(composition: Composition, server_url: str) -> str:
    key = server_url, _digest(composition)
    if key not in _templates:
        name = f"amity_template_{uuid4().hex}"
        async with schema_connection(server_url) as server:
            await _create(server, name, None)
        url = _named(server_url, name)
        await create_unmigrated(composition, url)
        await _reuse.learn(server_url, name, url)
        _templates[key] = name
    return _templates[key]


def _digest(composition: Composition) -> str:
    """The same for compositions whose databases are the same."""
    schema, parts = declared(composition), []
    for info in composition.plugins:
        operations = operations_between(Schema(), schema, info.name)
        parts += [repr(manifest_of(composition, info)), *map(render_operation, operations)]
        parts += map(repr, defaults_of(composition.catalog, composition.grants, info.name))
    parts += [repr((entity.custom, entity.columns)) for entity in composition.catalog.values() if entity.custom]
    parts += [f"{migration.app_label}.{migration.name}" for migration in files.load(files.modules(composition))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _scratch() -> Path:
    global _folder
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="amity-databases-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    return _folder


async def _create(server: SchemaConnection, name: str, template: str | None) -> None:
    # template0 has no collation of its own that another server might lack
    await server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"')


async def _drop(server: SchemaConnection, name: str) -> None:
    await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


__all__ = ["drop_templates", "empty_database", "fresh_database"]
