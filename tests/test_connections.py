"""Connections: made, changed and tried; their secrets seen by nobody but their channel."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from amity import SYSTEM, AccessDenied, Crm, Event, Plugin, Principal, Session, Update
from amity.cli import main
from amity.messages import Channel, Connected
from amity.messaging.connections import NotUsable, Opened, open_connections, rotate
from amity.messaging.secrets import SecretsError, Vault, masked, new_key
from amity.model import Connection
from amity.settings import SettingsError, from_mapping
from amity_graphql import execute

from .conftest import MakeCrm

PASSWORD = "hunter2-tr0ub4dor"
TOKEN = "tok-4711-0815"


class Server(BaseModel):
    host: str
    token: SecretStr


class Account(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=2)
    port: int = 993
    password: SecretStr
    tokens: dict[str, SecretStr] = {}
    relay: Server | None = None

    @field_validator("password", mode="before")
    @classmethod
    def _long(cls, value: Any) -> Any:
        if isinstance(value, str) and len(value) < 8:
            raise ValueError(f"the password {value!r} is too short")
        return value


class Mailbox(Channel[Account]):
    name = "mailbox"
    account = Account

    async def check(self, connection: Connected[Account]) -> None:
        account = connection.settings
        if account.host == "down.example":
            raise ConnectionRefusedError(f"535 {account.password.get_secret_value()!r} was not accepted")
        if account.host == "slow.example":
            raise TimeoutError


class Boxes(Plugin):
    name = "boxes"

    def channels(self) -> Sequence[Channel[Any]]:
        return [Mailbox()]


SETTINGS = {"host": "mail.example", "password": PASSWORD}


async def connect(session: Session, **given: Any) -> UUID:
    row = {"channel": "mailbox", "name": "support", "settings": SETTINGS, **given}
    result = await session.run("create_connection", [row])
    assert not result.errors, result.errors
    assert result.ids[0] is not None
    return result.ids[0]


async def opened(session: Session, id: UUID) -> Opened:
    found = (await open_connections(session, [id]))[id]
    assert isinstance(found, Opened), found
    return found


async def stored(crm: Crm) -> str:
    """Everything that the database has of connections and of what happened to them."""
    rows = [
        *await crm.database.read('SELECT * FROM "core_connection"'),
        *await crm.database.read('SELECT * FROM "core_event"'),
    ]
    return repr([list(row) for row in rows])


async def test_a_channel_gets_what_it_asked_for_and_nobody_else_sees_the_secrets(
    make_crm: MakeCrm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        tokens = {"tokens": {"a": TOKEN}, "relay": {"host": "relay.example", "token": TOKEN}}
        id = await connect(session, settings={**SETTINGS, **tokens})

        found = await opened(session, id)
        account = found.connected.settings
        assert isinstance(account, Account)
        assert (account.host, account.port) == ("mail.example", 993)
        assert account.password.get_secret_value() == PASSWORD
        assert account.relay is not None
        assert account.relay.token.get_secret_value() == TOKEN
        assert found.row["settings"] == {"host": "mail.example"}

        every = [
            name for name in crm.catalog.of(Connection).columns if name not in crm.catalog.of(Connection).internal
        ]
        seen = await session.find(Connection).select(*every).all()
        events = await session.find(Event).select("type", "before", "after").all()
        everything = [seen, events, repr(found), found.row, await stored(crm), caplog.text]
        assert events[0]["after"]["settings"] == {"host": "mail.example"}
        for secret in (PASSWORD, TOKEN):
            assert all(secret not in str(text) for text in everything)


async def test_settings_that_are_not_named_stay_and_null_takes_one_away(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        id = await connect(session, settings={**SETTINGS, "port": 143, "tokens": {"a": TOKEN}})

        for patch in ({"host": "new.example", "port": None}, {"password": "another-one"}, {"tokens": None}):
            result = await session.run("update_connection", [{"id": id, "settings": patch}])
            assert not result.errors, result.errors

        account = (await opened(session, id)).connected.settings
        assert (account.host, account.port) == ("new.example", 993)
        assert account.password.get_secret_value() == "another-one"
        assert account.tokens == {}


async def test_what_is_no_setting_is_changed_by_the_action_and_by_plain_updates(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        id = await connect(session)
        await session.run("update_connection", [{"id": id, "name": "sales", "active": False}])
        plain = await session.update(Connection, [Update(id, {"creates_prospects": True})])
        assert not plain.errors
        row = await session.find(Connection).select("name", "active", "creates_prospects").get(id)
        assert row == {"name": "sales", "active": False, "creates_prospects": True}

        for name in ("settings", "secrets", "channel", "cursor"):
            refused = await session.update(Connection, [Update(id, {name: "{}"})])
            assert refused.errors[0].code in ("read_only", "unknown_field")


async def test_two_changes_of_different_settings_at_once_are_both_kept(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        id = await connect(session)
        patches = ({"host": "new.example"}, {"port": 143}, {"password": "another-one"}, {"tokens": {"a": TOKEN}})
        await asyncio.gather(*(session.run("update_connection", [{"id": id, "settings": p}]) for p in patches))

        account = (await opened(session, id)).connected.settings
        assert (account.host, account.port) == ("new.example", 143)
        assert account.password.get_secret_value() == "another-one"
        assert account.tokens["a"].get_secret_value() == TOKEN


WRONG: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"settings": {"host": "mail.example"}}, ("settings", "password"), "Field required"),
    ({"settings": {"host": "m", "password": PASSWORD}}, ("settings", "host"), "at least 2 characters"),
    ({"settings": {**SETTINGS, "pasword": TOKEN}}, ("settings", "pasword"), "did you mean 'password'?"),
    ({"settings": {"host": "mail.example", "password": "short-1"}}, ("settings", "password"), "is too short"),
    ({"settings": {"host": "mail.example", "password": [PASSWORD]}}, ("settings", "password"), "valid string"),
    ({"channel": "mailbx"}, ("channel",), "did you mean 'mailbox'?"),
    ({"channel": "letter"}, ("channel",), "no plugin brings sending or receiving"),
    ({"name": ""}, ("name",), "at least 1 character"),
]


@pytest.mark.parametrize(("given", "path", "told"), WRONG)
async def test_what_is_wrong_with_a_connection_is_told_without_its_secrets(
    make_crm: MakeCrm, given: dict[str, Any], path: tuple[str | int, ...], told: str
) -> None:
    async with make_crm([Boxes]) as crm:
        row = {"channel": "mailbox", "name": "support", "settings": SETTINGS, **given}
        result = await crm.acting_as(SYSTEM).run("create_connection", [row])
        assert result.errors[0].path == path
        assert told in result.errors[0].message
        for secret in (PASSWORD, TOKEN, "short-1"):
            assert secret not in repr(result)
        assert await crm.acting_as(SYSTEM).find(Connection).count() == 0


async def test_a_name_is_given_once_and_the_others_of_the_batch_may_stay(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"channel": "mailbox", "name": name, "settings": SETTINGS} for name in ("a", "b", "a")]
        rows[1]["channel"] = "none"
        refused = await session.run("create_connection", rows)
        assert [error.index for error in refused.errors] == [1, 2]
        assert await session.find(Connection).count() == 0

        result = await session.run("create_connection", rows, on_error="skip_invalid")
        assert [id is None for id in result.ids] == [False, True, True]


async def test_secrets_need_a_key_and_say_how_to_get_one(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes], {"security": {"keys": []}}) as crm:
        result = await crm.acting_as(SYSTEM).run(
            "create_connection", [{"channel": "mailbox", "name": "support", "settings": SETTINGS}]
        )
        assert "amity connections new-key" in result.errors[0].message


async def test_whoever_lacks_the_permission_makes_none(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        with pytest.raises(AccessDenied, match=r"core\.manage_connections"):
            await crm.acting_as(Principal("user", "mia")).run("create_connection", [])


async def test_a_connection_is_tried_and_a_secret_that_the_other_side_repeats_is_masked(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        hosts = ("mail.example", "down.example", "slow.example")
        ids = [await connect(session, name=host, settings={**SETTINGS, "host": host}) for host in hosts]

        result = await session.run("check_connection", [{"id": id} for id in ids])
        assert [value.works for value in result.values] == [True, False, False]
        assert result.values[1].problem == "535 '•••' was not accepted"
        assert "60 seconds" in result.values[2].problem

        missing = await session.run("check_connection", [{"id": UUID(int=1)}])
        assert missing.errors[0].code == "not_found"


async def test_a_connection_that_can_not_be_used_says_why(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes]) as crm:
        session = crm.acting_as(SYSTEM)
        id = await connect(session)
        with_other_keys = crm.settings.model_copy(
            update={"security": from_mapping({"security": {"keys": [new_key()]}}).security}
        )
        for settings, plugins, told in (
            (with_other_keys, [Boxes], "add the key that it was encrypted with"),
            (crm.settings, [], "enable the plugin that brings it"),
        ):
            other = Crm(settings, plugins)
            async with other:
                found = (await open_connections(other.acting_as(SYSTEM), [id]))[id]
                assert isinstance(found, NotUsable)
                assert told in str(found)
                assert PASSWORD not in repr(found)


async def test_keys_are_replaced_without_anybody_noticing(make_crm: MakeCrm) -> None:
    old, new = new_key(), new_key()
    async with make_crm([Boxes], {"security": {"keys": [old]}}) as crm:
        session = crm.acting_as(SYSTEM)
        ids = [await connect(session, name=name) for name in ("a", "b")]
        await session.delete(Connection, ids[1:])
        events = await session.find(Event).count()

        def keyed(*keys: str) -> Crm:
            security = from_mapping({"security": {"keys": list(keys)}}).security
            return Crm(crm.settings.model_copy(update={"security": security}), [Boxes])

        async with keyed(new, old) as between:
            assert await rotate(between.acting_as(SYSTEM)) == 2
        async with keyed(new) as after:
            session = after.acting_as(SYSTEM)
            await session.restore(Connection, ids[1:])
            for id in ids:
                assert (await opened(session, id)).connected.settings.password.get_secret_value() == PASSWORD
            assert await session.find(Event).count() == events + 1
        async with keyed(old) as lost:
            with pytest.raises(SecretsError, match="connection 'a'"):
                await rotate(lost.acting_as(SYSTEM))


async def test_graphql_makes_connections_and_answers_without_secrets(make_crm: MakeCrm) -> None:
    async with make_crm([Boxes], {"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        document = """mutation($settings: JSON!) {
          createConnection(input: {channel: "mailbox", name: "support", settings: $settings}) {
            connection { name settings } userErrors { message } } }"""
        made = await execute(crm, session, document, {"settings": SETTINGS})
        assert not made.errors, made.errors
        assert made.data == {
            "createConnection": {
                "connection": {"name": "support", "settings": {"host": "mail.example"}},
                "userErrors": [],
            }
        }
        for hidden in (
            "connections { nodes { secrets } }",
            'connections(where: {secrets: {eq: "x"}}) { totalCount }',
        ):
            refused = await execute(crm, session, f"{{ {hidden} }}")
            assert refused.errors
            assert "secrets" in str(refused.errors[0])


# --- secrets -----------------------------------------------------------------------------------------------


@given(values=st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=5))
def test_what_is_sealed_opens_with_any_of_the_keys_and_for_its_use_alone(values: dict[str, str]) -> None:
    old, new = new_key(), new_key()
    sealed = Vault("one", (old,)).seal(values)
    assert Vault("one", (new, old)).open(sealed) == values
    assert Vault("one", (new,)).open(Vault("one", (new, old)).sealed_anew(sealed)) == values
    for other in (Vault("one", (new,)), Vault("two", (old,))):
        with pytest.raises(SecretsError):
            other.open(sealed)


@given(text=st.text(max_size=50), other=st.text(max_size=50))
def test_a_signature_is_for_one_text_and_one_use(text: str, other: str) -> None:
    key = new_key()
    signature = Vault("one", (key,)).sign(text)
    assert Vault("one", (new_key(), key)).verify(text, signature)
    assert not Vault("two", (key,)).verify(text, signature)
    assert Vault("one", (key,)).verify(other, signature) is (other == text)
    assert not Vault("one", (key,)).verify(text, other)


def test_a_vault_does_not_show_its_keys() -> None:
    key = new_key()
    assert key not in repr(Vault("one", (key,)))


def test_secrets_are_masked_in_the_forms_that_protocols_repeat() -> None:
    told = masked("AUTH PLAIN aHVudGVyMi10cjB1YjRkb3I= failed for hunter2-tr0ub4dor", {"p": SecretStr(PASSWORD)})
    assert told == "AUTH PLAIN •••= failed for •••"


@pytest.mark.parametrize(
    "settings",
    [
        {"security": {"keys": [PASSWORD]}},
        {"security": {"keys": PASSWORD}},
        {"security": PASSWORD},
        {"files": {"secret_access_key": [PASSWORD]}},
        {"files": {"storage": "s3", "secret_access_key": PASSWORD}},
    ],
)
def test_a_setting_that_is_wrong_is_told_without_its_secret(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        from_mapping(settings)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in str(caught.value.__cause__)


# --- the command line --------------------------------------------------------------------------------------


def test_the_command_line_makes_keys_tries_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def amity(*arguments: str, status: int = 0, given: str | None = None) -> str:
        result = runner.invoke(main, arguments, input=given)
        assert result.exit_code == status, result.output
        return result.output

    key = amity("connections", "new-key").strip()
    assert len(key) == 44
    (tmp_path / "amity.toml").write_text(f'plugins = ["sms"]\n[security]\nkeys = ["{key}"]\n', encoding="utf-8")
    amity("migrate")
    assert amity("connections", "list").strip() == ""
    settings = {
        "preset": "json",
        "send_url": "http://127.0.0.1:1/",
        "sender": "Box",
        "auth": "none",
        "webhook_secret": "s",
    }
    amity("run", "create-connection", "--channel", "sms", "--name", "[desk] x", "--settings", json.dumps(settings))
    assert "[desk] x" in amity("connections", "list")
    assert "there is no connection 'support'" in amity("connections", "check", "support", status=1)
    assert "Encrypted the secrets of 1 connection " in amity("connections", "rotate")
    assert "Removed 0 files" in amity("files", "sweep")
    told = amity("run", "create-connection", "--channel", "mailbox", "--name", "x", status=1)
    assert "channel" in told
    assert json.loads(amity("run", "check-connection", "--json", "[]")) == []
