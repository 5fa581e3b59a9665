"""``amity access``, and queries as a user: what whoever looks after a CRM does at a terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amity.cli import App, main
from amity.composition import compose
from amity.settings import from_mapping
from amity.testing import fresh_database

Run = Callable[..., str]
Invoke = Callable[..., Result]
MAIL = "mia@ourcompany.example"
SETTINGS = """
plugins = ["graphql"]
[sign_in]
argon2_memory = 8
argon2_passes = 1
argon2_lanes = 1
"""


@pytest.fixture
def invoke(
    tmp_path: Path, server_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    """Runs a command on a database of its own."""
    file = tmp_path / "amity.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "200")
    with asyncio.Runner() as runner:
        database = fresh_database(compose(from_mapping({"plugins": ["graphql"]})), server_url)
        monkeypatch.setenv("AMITY_DATABASE_URL", runner.run(database.__aenter__()))
        try:
            app = App(file)  # composed once for all commands of a test

            def run(*arguments: str, input: str | None = None) -> Result:
                return CliRunner().invoke(main, ["--config", str(file), *arguments], input=input, obj=app)

            yield run
        finally:
            runner.run(database.__aexit__(None, None, None))


@pytest.fixture
def amity(invoke: Invoke) -> Run:
    """Runs a command that works; what it prints."""

    def run(*arguments: str, input: str | None = None) -> str:
        result = invoke(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_a_user_is_made_and_asked_about(amity: Run) -> None:
    options = ("--name", "Mia Keller", "--role", "agent", "--password-stdin")
    made = amity("access", "add-user", MAIL, *options, input="s3cret s3cret\n")
    assert made == f"{MAIL} can sign in, with the role agent.\n"
    listed = amity("access", "roles")
    assert "agent" in listed
    assert MAIL in listed
    told = amity("access", "explain", MAIL, "Customer")
    assert "(agent)" in told.splitlines()[0]
    assert [line.split(":")[0] for line in told.splitlines()[1:]] == ["read", "create", "update", "delete"]
    assert "owner_id eq" in told
    assert "read: nothing" in amity("access", "explain", MAIL, "Role")
    changed = amity("access", "passwd", MAIL, "--password-stdin", input="other s3cret\n")
    assert changed == f"{MAIL} has another password.\n"
    amity("access", "assign", MAIL, "admin")
    assert "read: all rows; all fields" in amity("access", "explain", MAIL, "Customer", "--role", "admin")
    amity("access", "add-user", MAIL, "--password-stdin", input="third s3cret\n")
    query = "{ me { name roles } customers { totalCount } }"
    answer = json.loads(amity("query", "--as", MAIL, "-", input=query))
    assert answer["data"]["me"] == {"name": "Mia Keller", "roles": ["admin", "agent"]}


def test_rights_are_given_and_taken(amity: Run, invoke: Invoke) -> None:
    amity("access", "add-user", MAIL, "--password-stdin", input="s3cret s3cret\n")
    amity("access", "add-role", "desk", "--description", "The desk")
    amity("access", "assign", MAIL, "desk")
    refused = invoke("query", "--as", MAIL, "-", input="{ customers { totalCount } }")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["errors"][0]["extensions"]["code"] == "NOT_ALLOWED"
    amity("access", "grant", "desk", "Customer", "read", "--rows", "own", "--fields", "name, kind")
    options = ("--rows", '{"name": {"eq": "x"}}', "--check", "own", "--presets", "{}")
    amity("access", "grant", "desk", "Deal", "update", *options)
    amity("access", "grant-permission", "desk", "core.move_deal")
    shown = amity("access", "show", "desk")
    assert "kind, name" in shown
    assert '{"name": {"eq": "x"}}' in shown
    assert "permission: core.move_deal" in shown
    answer = json.loads(amity("query", "--as", MAIL, "-", input="{ customers { totalCount } }"))
    assert answer == {"data": {"customers": {"totalCount": "0"}}}
    assert "select" in amity("explain", "--as", MAIL, "-", input="{ customers { nodes { name } } }").lower()
    amity("access", "revoke", "desk", "Customer", "read")
    amity("access", "revoke-permission", "desk", "core.move_deal")
    assert "core.Customer" not in amity("access", "show", "desk")
    amity("access", "unassign", MAIL, "desk")
    assert MAIL not in amity("access", "roles")


def test_keys_are_made_listed_and_revoked(amity: Run) -> None:
    text = amity("access", "key", "create", "sync", "--role", "read-only", "--expires", "2100-01-31T00:00:00Z")
    assert text.startswith("amity_")
    listed = amity("access", "key", "list")
    assert text.strip() not in listed
    id = next(word for word in listed.split() if word.startswith("key_"))
    assert "2100-01-31" in listed
    amity("access", "key", "revoke", id)
    assert "revoked" in amity("access", "key", "list")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("grant", "agent", "Custmer", "read"), "entity: Custmer is no entity"),
        (("grant", "nobody", "Customer", "read"), "role: there is no role 'nobody'"),
        (("assign", MAIL, "admn"), "role: there is no role 'admn'; did you mean 'admin'?"),
        (("grant", "agent", "Customer", "read", "--rows", "{"), "--rows is no JSON"),
        (("grant", "agent", "Team", "read", "--rows", "own"), "rows: Team has no owner"),
        (("key", "revoke", "nonsense"), "an id looks like key_ followed by"),
        (("show", "nobody"), "there is no role 'nobody'"),
        (("assign", MAIL, "agent"), f"user: there is no user {MAIL}"),
        (("explain", MAIL, "Customer"), f"there is no active user {MAIL}"),
        (("add-user", MAIL, "--password-stdin"), "password: has 0 characters; expected 8 to 1000"),
    ],
)
def test_what_is_wrong_is_told(invoke: Invoke, arguments: tuple[str, ...], told: str) -> None:
    result = invoke("access", *arguments, input="\n")
    assert result.exit_code == 1
    assert told in result.output
