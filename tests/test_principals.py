"""Principals from the database: users, customers, sessions, keys, and signing in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from amity import (
    SYSTEM,
    ApiKey,
    Crm,
    Customer,
    Event,
    Grant,
    Role,
    RoleGrant,
    RoleMember,
    SignInFailed,
    Team,
    TooManyAttempts,
    Update,
    User,
    UserSession,
)
from amity.access import Facts
from amity.change import storage
from amity.composition.core import Core
from amity.contracts import ChangeResult
from amity.database import recorded
from amity.entity import decode_id
from amity.migration import manifest
from amity.principals.tokens import KEY, SESSION, new_token, read_token

from .conftest import MakeCrm

QUICK: Mapping[str, Any] = {
    "sign_in": {"argon2_memory": 8, "argon2_passes": 1, "argon2_lanes": 1, "attempts": 3, "attempt_minutes": 1}
}
MAIL, PASSWORD = "mia@ourcompany.example", "correct horse battery staple"


async def run(crm: Crm, name: str, /, **given: Any) -> Any:
    """Runs an action as the system; the value or id that it results in."""
    result = done(await crm.acting_as(SYSTEM).run(name, [given]))
    return result.values[0] if result.values else result.ids[0]


def done(result: ChangeResult) -> ChangeResult:
    assert not result.errors, result.errors
    return result


async def mia(crm: Crm, *roles: str, password: str | None = PASSWORD) -> UUID:
    """A user, who can sign in."""
    system = crm.acting_as(SYSTEM)
    (team,) = done(await system.create(Team, [{"name": "Zurich"}])).ids
    row = {"name": "Mia Keller", "email": MAIL, "team_id": team}
    (id,) = done(await system.create(User, [row])).ids
    assert id is not None
    for role in roles:
        await run(crm, "assign_role", user=MAIL, role=role)
    if password:
        await run(crm, "set_password", user=MAIL, password=password)
    return id


async def written(crm: Crm, model: Any, id: UUID, **values: Any) -> None:
    """Writes columns past every check: what time, or a backup, may have made of a row."""
    entity = crm.catalog.of(model)
    await crm.database.transact(
        lambda transaction: storage.update(transaction, entity, [{"id": id, **values}], list(values))
    )


# --- users and customers ------------------------------------------------------------------------------------


async def test_a_user_is_loaded_with_facts_and_roles(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm, "agent", "read-only", password=None)
        for which in (id, f"usr_{id.hex}", " MIA@ourcompany.example "):
            found = await crm.access.user(which)
            assert str(found) == f"user:usr_{id.hex}"
            assert [role.name for role in found.roles] == ["agent", "read-only"]
            assert found.facts.user == id
        system = crm.acting_as(SYSTEM)
        assert found.facts.team is not None
        done(await system.delete(Team, [found.facts.team]))
        assert (await crm.access.user(id)).facts == Facts(user=id)
        done(await system.update(User, [Update(id, {"active": False})]))
        for which in (id, MAIL, "usr_019a0000000070008000000000000009", "nobody@ourcompany.example", "cus_1"):
            with pytest.raises(LookupError):
                await crm.access.user(which)


async def test_a_customer_acts_under_the_role_for_customers(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        system = crm.acting_as(SYSTEM)
        (ann,) = done(await system.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
        assert ann is not None
        found = await crm.access.customer(ann)
        assert (str(found), found.facts) == (f"customer:cus_{ann.hex}", Facts(customer=ann))
        assert [role.name for role in found.roles] == ["portal"]
        done(await system.delete(Customer, [ann]))
        with pytest.raises(LookupError):
            await crm.access.customer(ann)


async def test_what_a_role_grants_is_read_once_until_another_process_changes_it(
    make_crm: MakeCrm,
) -> None:
    async with make_crm(settings=QUICK) as crm:
        await mia(crm, "agent")
        await crm.access.user(MAIL)
        with recorded() as statements:
            before = await crm.access.user(MAIL)
        assert len(statements) == 1
        deal = crm.catalog["Deal"]
        assert crm.policy.rights(before).granted(deal, "read")
        async with Crm(crm.settings) as other:
            await run(other, "revoke", role="agent", entity="Deal", action="read")
            for name in ("grant_permission", "revoke_permission"):
                await run(other, name, role="agent", permission="core.manage_users")
        with recorded() as statements:
            after = await crm.access.user(MAIL)
        assert len(statements) == 2
        assert not crm.policy.rights(after).granted(deal, "read")
        assert before != after
        with recorded() as statements:
            assert await crm.access.user(MAIL) == after
        assert len(statements) == 1


async def test_a_grant_that_can_not_be_read_any_more_grants_nothing(
    make_crm: MakeCrm, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_crm() as crm:
        await run(crm, "create_role", name="old")
        for action in ("read", "create"):
            await run(crm, "grant", role="old", entity="Customer", action=action, rows={"name": {"eq": "Ann"}})
        grants = (
            await crm.acting_as(SYSTEM).find(Grant).where({"role": {"name": {"eq": "old"}}}).order_by("id").all()
        )
        read, create = (decode_id("gra", row["id"]) for row in grants)
        await written(crm, Grant, read, rows={"nickname": {"eq": "Ann"}})
        await written(crm, Grant, create, entity="gone.Thing")
        role = await crm.access.role("old")
        assert [(code, grant.rows.scope, grant.fields) for (code, _), grant in role.grants.items()] == [
            ("core.Customer", "none", frozenset())
        ]
        assert "the role old can't read core.Customer" in caplog.text


# --- signing in ---------------------------------------------------------------------------------------------


async def test_somebody_signs_in_and_out(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm, "agent")
        token = await crm.access.sign_in(f" {MAIL.upper()} ", PASSWORD, "a browser \x00" + 400 * "x")
        with recorded() as statements:
            found = await crm.access.by_session(token)
        assert found == await crm.access.user(id)
        assert len(statements) == 1
        system = crm.acting_as(SYSTEM)
        (row,) = await system.find(UserSession).select("user.name", "user_agent").all()
        assert row["user"] == {"name": "Mia Keller"}
        assert len(row["user_agent"]) == 300
        (user,) = await system.find(User).select("last_sign_in_at").all()
        assert user["last_sign_in_at"] is not None
        events = (
            await system.find(Event)
            .select("type", "actor", "after")
            .where({"type": {"like": "user_session%"}})
            .all()
        )
        assert [(event["type"], event["actor"]) for event in events] == [
            ("user_session.created", f"user:usr_{id.hex}")
        ]
        assert "token_hash" not in events[0]["after"]
        await crm.access.sign_out(token)
        assert await crm.access.by_session(token) is None
        await crm.access.sign_out(token)
        await crm.access.sign_out("none")
        assert await system.find(UserSession).count() == 0


async def test_a_session_slides_and_ends(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await mia(crm)
        token = await crm.access.sign_in(MAIL, PASSWORD)
        read = read_token(SESSION, token)
        assert read is not None
        now = datetime.now(UTC)
        await written(
            crm, UserSession, read.id, last_used_at=now - timedelta(minutes=5), expires_at=now + timedelta(1)
        )
        assert await crm.access.by_session(token) is not None
        (row,) = await crm.acting_as(SYSTEM).find(UserSession).select("last_used_at", "expires_at").all()
        assert datetime.fromisoformat(row["last_used_at"]) >= now
        assert datetime.fromisoformat(row["expires_at"]) >= now + timedelta(days=crm.settings.sign_in.session_days)
        assert await crm.acting_as(SYSTEM).find(Event).where({"type": {"eq": "user_session.updated"}}).count() == 0
        await written(crm, UserSession, read.id, expires_at=now - timedelta(seconds=1))
        assert await crm.access.by_session(token) is None


async def test_nobody_is_signed_in_by_what_is_no_token(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm, "agent")
        token = await crm.access.sign_in(MAIL, PASSWORD)
        other = new_token(SESSION, UUID(token.split("_")[1])).text
        for text in (
            "",
            "session_1_2",
            other,
            token[:-1],
            token.upper(),
            token.replace(SESSION, KEY),
            f"{token}\n",
        ):
            assert await crm.access.by_session(text) is None
            assert await crm.access.by_key(text) is None
        system = crm.acting_as(SYSTEM)
        done(await system.update(User, [Update(id, {"active": False})]))
        assert await crm.access.by_session(token) is None
        done(await system.update(User, [Update(id, {"active": True})]))
        assert await crm.access.by_session(token) is not None
        done(await system.delete(User, [id]))
        assert await crm.access.by_session(token) is None


async def test_every_failure_to_sign_in_is_the_same(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"sign_in": {**QUICK["sign_in"], "attempts": 100}}) as crm:
        id = await mia(crm)
        done(await crm.acting_as(SYSTEM).create(User, [{"name": "Jo", "email": "jo@ourcompany.example"}]))
        told = set()
        for email, password in (
            (MAIL, "wrong"),
            ("nobody@ourcompany.example", PASSWORD),
            ("jo@ourcompany.example", ""),
            (MAIL, "\ud800"),
            ("\ud800\x00", PASSWORD),
        ):
            with pytest.raises(SignInFailed) as caught:
                await crm.access.sign_in(email, password)
            told.add((type(caught.value), str(caught.value)))
        done(await crm.acting_as(SYSTEM).update(User, [Update(id, {"active": False})]))
        with pytest.raises(SignInFailed) as caught:
            await crm.access.sign_in(MAIL, PASSWORD)
        told.add((type(caught.value), str(caught.value)))
        assert len(told) == 1


async def test_an_account_that_is_guessed_at_has_to_wait(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await mia(crm)
        for _ in range(2):
            with pytest.raises(SignInFailed, match="is wrong"):
                await crm.access.sign_in(MAIL, "wrong")
        assert await crm.access.sign_in(MAIL, PASSWORD)  # which ends the count
        guesses = (crm.access.sign_in(MAIL, f"guess {n}") for n in range(10))
        caught = await asyncio.gather(*guesses, return_exceptions=True)
        waiting = [error for error in caught if isinstance(error, TooManyAttempts)]
        assert len(waiting) == 7
        assert 0 < waiting[0].seconds <= 60
        with pytest.raises(TooManyAttempts):
            await crm.access.sign_in(MAIL, PASSWORD)
        # nobody else is kept out, and accounts that are not there wait alike
        for _ in range(3):
            with pytest.raises(SignInFailed, match="is wrong"):
                await crm.access.sign_in("nobody@ourcompany.example", "x")
        with pytest.raises(TooManyAttempts):
            await crm.access.sign_in("nobody@ourcompany.example", "x")


async def test_a_hash_is_renewed_when_settings_ask_for_more(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm)
        slower = {**QUICK["sign_in"], "argon2_passes": 2}
        async with Crm({"database_url": crm.settings.database_url, "sign_in": slower}) as other:
            await other.access.sign_in(MAIL, PASSWORD)
            read = await crm.database.read("SELECT password_hash FROM core_user")
        assert len(read) == 1
        assert "t=2" in read[0][0]
        assert await crm.access.has_password(id, PASSWORD)


# --- keys ---------------------------------------------------------------------------------------------------


async def test_a_key_acts_with_its_role_as_whom_it_says(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm, "admin", password=None)
        (ann,) = done(await crm.acting_as(SYSTEM).create(Customer, [{"kind": "person", "name": "Ann"}])).ids
        assert ann is not None
        expected = {
            f"user:usr_{id.hex}": {"user": MAIL},
            f"customer:cus_{ann.hex}": {"customer": f"cus_{ann.hex}"},
            "plugin:core": {"plugin": "core"},
        }
        for told, whom in expected.items():
            made = await run(crm, "create_api_key", name="k", role="read-only", **whom)
            found = await crm.access.by_key(made.text)
            assert found is not None
            assert (str(found), found.key) == (told, made.id)
            assert [role.name for role in found.roles] == ["read-only"]
        made = await run(crm, "create_api_key", name="k", role="read-only")
        found = await crm.access.by_key(made.text)
        assert found is not None
        assert (str(found), found.facts) == (f"key:{made.id}", Facts())
        assert made.text.startswith(f"amity_{made.id.removeprefix('key_')}_")
        assert made.text not in repr(made)
        done(await crm.acting_as(SYSTEM).delete(Customer, [ann]))


async def test_a_key_ends(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        id = await mia(crm, "agent")
        system = crm.acting_as(SYSTEM)
        made = await run(crm, "create_api_key", name="k", role="agent", user=MAIL)
        key = decode_id("key", made.id)
        assert await crm.access.by_key(made.text) is not None
        (row,) = await system.find(ApiKey).select("last_used_at").all()
        assert row["last_used_at"] is not None
        with recorded() as statements:
            await crm.access.by_key(made.text)
        assert len(statements) == 1

        later = datetime.now(UTC) + timedelta(days=1)
        await written(crm, ApiKey, key, expires_at=later)
        assert await crm.access.by_key(made.text) is not None
        await written(crm, ApiKey, key, expires_at=datetime.now(UTC))
        assert await crm.access.by_key(made.text) is None
        await written(crm, ApiKey, key, expires_at=None)
        done(await system.update(User, [Update(id, {"active": False})]))
        assert await crm.access.by_key(made.text) is None
        done(await system.update(User, [Update(id, {"active": True})]))
        assert await crm.access.by_key(made.text) is not None
        await run(crm, "revoke_api_key", key=made.id)
        assert await crm.access.by_key(made.text) is None
        texts = [str(row) for row in await system.find(Event).select("before", "after").all()]
        assert not any(made.text.split("_")[2] in text or "secret_hash" in text for text in texts)


async def test_a_key_ends_with_its_role(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await run(crm, "create_role", name="desk")
        made = await run(crm, "create_api_key", name="k", role="desk")
        assert await crm.access.by_key(made.text) is not None
        await run(crm, "delete_role", role="desk")
        assert await crm.access.by_key(made.text) is None
        assert await crm.acting_as(SYSTEM).find(ApiKey).count() == 0


# --- passwords ----------------------------------------------------------------------------------------------


async def test_a_new_password_signs_out_everywhere(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await mia(crm, "agent")
        token = await crm.access.sign_in(MAIL, PASSWORD)
        session = crm.acting_as(await crm.access.user(MAIL))
        for old in (None, "wrong"):
            refused = await session.run("set_password", [{"password": "another one", "old_password": old}])
            assert [(error.path, error.code) for error in refused.errors] == [(("old_password",), "invalid")]
        for short in ("short", "x" * 1001, "with \x00 inside"):
            refused = await session.run("set_password", [{"password": short, "old_password": PASSWORD}])
            assert [error.path for error in refused.errors] == [("password",)]
        assert await crm.access.by_session(token) is not None
        done(await session.run("set_password", [{"password": "another one", "old_password": PASSWORD}]))
        assert await crm.access.by_session(token) is None
        with pytest.raises(SignInFailed):
            await crm.access.sign_in(MAIL, PASSWORD)
        token = await crm.access.sign_in(MAIL, "another one")
        done(await session.run("sign_out_everywhere", [{}]))
        assert await crm.access.by_session(token) is None
        guess = {"password": "third password", "old_password": "guessed"}
        told = [(await session.run("set_password", [guess])).errors[0].message for _ in range(4)]
        assert told[:3] == ["is not the password until now"] * 3
        assert told[3].startswith("too many attempts")


# --- what roles begin with ----------------------------------------------------------------------------------


async def test_what_was_taken_away_is_not_given_again(make_crm: MakeCrm, monkeypatch: pytest.MonkeyPatch) -> None:
    async with make_crm() as crm:
        await run(crm, "revoke", role="agent", entity="Deal", action="read")
        await run(crm, "revoke_permission", role="agent", permission="core.move_deal")
        kept = len((await crm.access.role("agent")).grants)
        await crm.migrate()
        given = Core.grants
        monkeypatch.setattr(Core, "grants", lambda self: (*given(self), RoleGrant("agent", Role, {"read"})))
        async with Crm(crm.settings) as other:  # a version that gives one thing more
            agent = await other.access.role("agent")
            assert ("core.Role", "read") in agent.grants
            assert ("core.Deal", "read") not in agent.grants
            assert len(agent.grants) == kept + 1
            assert "core.move_deal" not in agent.permissions
        # the first process sees it, too
        assert ("core.Role", "read") in (await crm.access.role("agent")).grants
        (core,) = [item for item in await manifest.manifests(crm.database) if item.plugin == "core"]
        assert "grant agent read core.Deal" in core.given
        assert "grant agent read core.Role" in core.given


async def test_two_processes_give_once(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        system = crm.acting_as(SYSTEM)
        before = await system.find(Grant).count()
        assert await system.find(RoleMember).count() == 0
        reset = "UPDATE core_plugin SET version = 'older'"
        await crm.database.transact(lambda transaction: transaction.execute(reset))

        async def opened() -> None:
            async with Crm(crm.settings):
                pass

        await asyncio.gather(opened(), opened())
        assert await system.find(Grant).count() == before
