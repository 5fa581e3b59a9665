"""The command line, as somebody at a terminal uses it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from amity.cli import main

Run = Callable[..., subprocess.CompletedProcess[str]]

PLUGIN = '''
from collections.abc import Sequence
from typing import Any

from tortoise import fields

from amity import Entity, EntityOptions, Plugin, Record


class Visit(Entity):
    """A visit to our shop."""

    customer: Any = fields.ForeignKeyField("core.Customer", related_name="visits", on_delete=fields.CASCADE)
    minutes = fields.IntField(default=0, db_default=0, description="How long it took")

    options = EntityOptions(prefix="vis")


class Shop(Plugin):
    """Visits to our shop."""

    name = "shop"

    def entities(self) -> Sequence[type[Record]]:
        return [Visit]
'''


@pytest.fixture
def amity(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``amity`` in an empty folder, on a database of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"AMITY_DATABASE_URL": database_url, "COLUMNS": "200", **environment}
        result = CliRunner().invoke(main, arguments, input=input, env=given, prog_name="amity")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(tmp_path: Path, database_url: str) -> Run:
    """The same in a process of its own, which finds what is installed since this one was started."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "amity", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "AMITY_DATABASE_URL": database_url, "COLUMNS": "200", **environment},
            check=False,
        )

    return run


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0, result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr


def test_init_writes_settings_and_makes_the_database(amity: Run, tmp_path: Path) -> None:
    out = done(amity("init"))
    assert "Wrote amity.toml" in out
    assert "core.0001_foundation" in out
    assert 'plugins = ["graphql", "csv"]' in (tmp_path / "amity.toml").read_text()
    assert re.search(r'^keys = \["[\w=-]{44}"\]$', (tmp_path / "amity.toml").read_text(), re.MULTILINE)
    assert (tmp_path / "amity.toml").stat().st_mode & 0o077 == 0
    assert "is there already" in refused(amity("init"))
    assert "The database is up to date." in done(amity("migrate"))


def test_init_can_be_run_again_after_it_failed(amity: Run, tmp_path: Path) -> None:
    wrong = "sqlite:////nowhere/at/all.sqlite3"
    told = amity("init", AMITY_DATABASE_URL=wrong)
    assert told.returncode == 1
    assert "Removed amity.toml again" in told.stderr
    assert not (tmp_path / "amity.toml").exists()
    done(amity("init"))


def test_init_makes_a_sqlite_file_where_it_says(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "AMITY_DATABASE_URL"}
    result = subprocess.run(
        [sys.executable, "-m", "amity", "init", "company"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    with sqlite3.connect(tmp_path / "company" / "amity.sqlite3") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert "core_customer" in tables


def test_a_database_that_is_behind_is_told(amity: Run) -> None:
    assert "pending: core.0001_foundation" in amity("migrate", "--check").stdout
    text = refused(amity("run", "log-interaction", "--json", "{}"))
    assert "the database is behind" in text
    assert "run `amity migrate`" in text


def test_an_action_is_a_command(amity: Run) -> None:
    done(amity("migrate"))
    help_text = done(amity("run", "log-interaction", "--help"))
    assert "--channel" in help_text
    assert "--direction [inbound|outbound]" in help_text
    out = done(
        amity(
            "run",
            "log-interaction",
            "--channel",
            "email",
            "--direction",
            "inbound",
            "--address",
            "Ann@Example.com",
        )
    )
    (id,) = json.loads(out)
    assert id.startswith("int_")
    several = [{"channel": "phone", "direction": "outbound", "address": "+41443331122"}] * 2
    assert len(json.loads(done(amity("run", "log-interaction", "--json", "-", input=json.dumps(several))))) == 2


def test_bad_input_of_an_action_says_where_and_what(amity: Run) -> None:
    done(amity("migrate"))
    text = refused(amity("run", "log-interaction", "--channel", "pigeon", "--direction", "inbound"))
    assert "channel" in text
    assert "pigeon" in text
    assert "email" in text
    assert "is no JSON" in refused(amity("run", "log-interaction", "--json", "{"))


def test_check_finds_nothing_wrong_in_a_fresh_database(amity: Run) -> None:
    done(amity("migrate"))
    out = done(amity("check"))
    assert "WRONG" not in out
    assert "all migrations are applied" in out
    assert "all declared indexes exist" in out


def test_check_tells_what_is_pending(amity: Run) -> None:
    result = amity("check")
    assert result.returncode == 1
    assert "WRONG" in result.stdout
    assert "run `amity migrate`" in result.stdout


def test_plugins_lists_enabled_and_installed(amity: Run) -> None:
    out = done(amity("plugins", AMITY_PLUGINS="csv"))
    rows = {line.split()[0]: line.split()[2] for line in out.splitlines()[1:] if line.strip()}
    assert rows["core"] == "enabled"
    assert rows["csv"] == "enabled"
    assert rows["graphql"] == "installed"


def test_a_plugin_gets_its_migration_written_and_applied(process: Run, tmp_path: Path) -> None:
    package = tmp_path / "amity_shop"
    package.mkdir()
    (package / "__init__.py").write_text(PLUGIN)
    info = tmp_path / "amity_shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: amity-shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[amity.plugins]\nshop = amity_shop:Shop\n")
    environment = {"AMITY_PLUGINS": "shop", "PYTHONPATH": str(tmp_path)}
    assert "write them with `amity makemigrations`" in refused(process("migrate", **environment))
    assert "0001" in done(process("makemigrations", **environment))
    assert "Nothing changed." in done(process("makemigrations", **environment))
    assert "shop.0001" in done(process("migrate", **environment))
    assert "WRONG" not in done(process("check", **environment))


def test_a_typo_in_the_settings_is_told_and_init_still_works(amity: Run, tmp_path: Path) -> None:
    (tmp_path / "amity.toml").write_text('plugns = ["csv"]\n')
    text = refused(amity("migrate"))
    assert "amity.toml: unknown key 'plugns'; did you mean 'plugins'?" in text
    assert "unknown key 'plugns'" in refused(amity("check"))
    done(amity("init", "elsewhere"))


def test_a_plugin_that_is_not_there_is_told(amity: Run) -> None:
    text = refused(amity("migrate", AMITY_PLUGINS="cvs"))
    assert "plugin 'cvs' is enabled but not installed; did you mean 'csv'?" in text
    assert "Commands of plugins are left out" in amity("--help", AMITY_PLUGINS="cvs").stderr


def test_a_database_that_can_not_be_reached_is_told(amity: Run) -> None:
    text = refused(amity("check", AMITY_DATABASE_URL="sqlite:////no/such/folder/x.sqlite3"))
    assert "the folder /no/such/folder does not exist; create it" in text
    text = refused(amity("check", AMITY_DATABASE_URL="oracle://x"))
    assert "expected sqlite:///path or postgresql://" in text


def test_scores_are_computed_from_the_command_line(amity: Run, tmp_path: Path) -> None:
    done(amity("init"))
    (tmp_path / "amity.toml").write_text('plugins = ["rfm"]\n', encoding="utf-8")
    done(amity("migrate"))
    (run,) = json.loads(done(amity("run", "compute-scores", "--scorer", "rfm")))
    assert run.startswith("scr_")
    assert "there is no scorer 'rmf'; enabled are rfm" in refused(
        amity("run", "compute-scores", "--scorer", "rmf")
    )
