"""The command line and the explorer's files: GraphQL where there is no server, or one is to be started."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from graphql import build_schema

from amity.cli.main import main
from amity_graphql import assets, graphiql


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "amity.toml").write_text(
        f'database_url = "sqlite:///{tmp_path}/crm.sqlite3"\nplugins = ["graphql"]\n', encoding="utf-8"
    )
    amity(tmp_path, "migrate")
    return tmp_path


def amity(folder: Path, *arguments: str, stdin: str | None = None, status: int = 0) -> str:
    """What a command prints; errors too, where it is expected to fail."""
    done = CliRunner().invoke(main, ["--config", str(folder / "amity.toml"), *arguments], input=stdin)
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.output


def key(folder: Path) -> str:
    """A new API key of an administrator."""
    return amity(folder, "access", "key", "create", "tests", "--role", "admin").strip().splitlines()[-1]


def test_the_command_line_queries_explains_and_prints_the_schema(folder: Path) -> None:
    made = amity(folder, "query", "-", stdin='mutation { createTeam(input: {name: "Ost"}) { team { name } } }')
    assert json.loads(made) == {"data": {"createTeam": {"team": {"name": "Ost"}}}}
    (folder / "q.graphql").write_text("query($name: String!) { teams(where: {name: {eq: $name}}) { totalCount } }")
    found = amity(folder, "query", str(folder / "q.graphql"), "--variables", '{"name": "Ost"}')
    assert found == '{"data":{"teams":{"totalCount":"1"}}}\n'
    shown = amity(folder, "explain", str(folder / "q.graphql"), "--variables", '{"name": "Ost"}')
    assert shown.startswith("-- statement 1 of 1\nwith ")
    assert "-- 1: 'Ost'" in shown
    assert "core_team" in shown.split("-- 1: 'Ost'")[1]
    assert "type Team implements Node" in amity(folder, "schema")
    amity(folder, "schema", "--output", str(folder / "schema.graphql"))
    assert (folder / "schema.graphql").read_text() == amity(folder, "schema")


def test_the_command_line_fails_where_the_operation_does(folder: Path) -> None:
    failed = amity(folder, "query", "-", stdin="{ teams { nodes { nmae } } }", status=1)
    assert "Did you mean 'name'" in json.loads(failed)["errors"][0]["message"]
    failed = amity(folder, "explain", "-", stdin="{ teams { nodes { nmae } } }", status=1)
    assert failed.startswith("Error: Cannot query field 'nmae'")
    assert "(line 1, column 19)" in failed
    failed = amity(folder, "query", "-", "--variables", "{x", stdin="{ a }", status=2)
    assert "is no JSON" in failed


def test_the_server_starts_tells_where_it_is_and_ends_when_asked(folder: Path) -> None:
    command = shutil.which("amity", path=os.path.dirname(sys.executable))
    assert command
    server = subprocess.Popen(
        [command, "serve", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        first, second = server.stdout.readline(), server.stdout.readline()
        found = re.fullmatch(r"Amity listens on (http://127\.0\.0\.1:(\d+))\n", first)
        assert found, first
        assert second == f"  graphql: {found[1]}/graphql\n"
        third = server.stdout.readline()
        assert third == (
            "Nobody can sign in yet; make the first administrator with "
            "`amity access add-user EMAIL --role admin`\n"
        )
        request = urllib.request.Request(
            f"{found[1]}/graphql",
            json.dumps({"query": "{ teams { totalCount } }"}).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {key(folder)}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {"data": {"teams": {"totalCount": "0"}}}
        taken = amity(folder, "serve", "--port", found[2], status=1)
        assert "can't be listened on (Address already in use); choose another port" in taken
        assert "Traceback" not in taken
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""
    finally:
        server.kill()
        server.communicate()
    # closed properly: there is nothing to be recovered
    assert not (folder / "crm.sqlite3-wal").exists()


def test_a_server_that_others_can_reach_says_so(folder: Path) -> None:
    typed, email = "correct horse battery staple\n", "mia@ourcompany.example"
    amity(folder, "access", "add-user", email, "--role", "admin", "--password-stdin", stdin=typed)
    command = shutil.which("amity", path=os.path.dirname(sys.executable))
    assert command
    server = subprocess.Popen(
        [command, "serve", "--host", "0.0.0.0", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(3)]
        assert "put a proxy with https in front" in lines[2]
        assert "allowed_hosts" in lines[2]
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stdout.read() == ""
    finally:
        server.kill()
        server.communicate()


# --- GraphiQL's files ---------------------------------------------------------------------------------------


def test_the_explorers_files_are_ours_when_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = build_schema("type Query { here: Boolean }")
    monkeypatch.setattr(assets, "complete", lambda: False)
    found = graphiql.explorer("/graphql", "/session", schema)
    assert "https://unpkg.com/graphiql@" in found.page
    assert "style-src 'self' 'unsafe-inline' https://unpkg.com;" in found.policy
    assert found.page.count('integrity="sha384-') == len(assets.ASSETS)
    monkeypatch.setattr(assets, "complete", lambda: True)
    found = graphiql.explorer("/graphql", "/session", schema)
    assert "unpkg" not in found.page + found.policy
    assert '"/graphql/static/graphiql-graphiql.min.js"' in found.page


def test_files_that_npm_gives_are_taken_only_if_they_are_the_expected_ones(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        f"""#!{sys.executable}
import io, pathlib, sys, tarfile
folder = pathlib.Path(sys.argv[-1])
with tarfile.open(folder / "it.tgz", "w:gz") as archive:
    for name in ({", ".join(repr(asset.path) for asset in assets.ASSETS)}):
        info = tarfile.TarInfo("package/" + name)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"alert"))
""",
        encoding="utf-8",
    )
    npm.chmod(0o755)
    with pytest.raises(assets.FetchFailed, match="is not the file that was expected; it was not taken"):
        assets.fetch(tmp_path / "static", str(npm))
    assert not assets.complete(tmp_path / "static")
    with pytest.raises(assets.FetchFailed, match="npm could not get react@18"):
        assets.fetch(tmp_path / "static", str(tmp_path / "missing"))
