"""The demo company: believable, the same for the same seed, and made once."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from examples.demo.northlight import generate, let_in, state

from amity import (
    SYSTEM,
    ContactPoint,
    Conversation,
    Crm,
    Customer,
    Deal,
    Interaction,
    Pipeline,
    Related,
    Relationship,
    StageMove,
    Update,
)
from amity.settings import load
from amity_rfm import Rfm

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
SCRIPT = Path(__file__).parents[1] / "examples" / "demo" / "company.py"
TODAY = date(2026, 3, 2)


async def test_a_tenth_of_the_company(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        steps: dict[str, tuple[int, int]] = {}

        size = await generate(
            crm, scale=0.1, today=TODAY, progress=lambda what, done, total: steps.update({what: (done, total)})
        )

        session = crm.acting_as(SYSTEM)
        assert await state(crm) == "complete"
        assert size.customers == await session.find(Customer).count() == 200
        assert await session.find(Customer).where({"kind": {"eq": "organization"}}).count() == 50
        assert size.interactions == await session.find(Interaction).count() == 2_000
        assert size.deals == await session.find(Deal).count() == 300
        assert size.addresses == await session.find(ContactPoint).count() > 300
        assert size.deals + size.moves == await session.find(StageMove).count()
        assert await session.find(Relationship).count() > 40
        assert await session.find(Pipeline).count() == 3
        assert all(done == total for done, total in steps.values())


async def test_nothing_happens_in_the_future(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await generate(crm, scale=0.02)
        session = crm.acting_as(SYSTEM)
        now = {"gt": datetime.now(UTC)}
        assert await session.find(Interaction).where({"occurred_at": now}).count() == 0
        assert await session.find(Conversation).where({"last_at": now}).count() == 0
        assert await session.find(StageMove).where({"moved_at": now}).count() == 0


async def test_the_company_is_believable(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await generate(crm, scale=0.1, today=TODAY)
        session = crm.acting_as(SYSTEM)

        interactions = (
            await session.find(Interaction).select("channel", "identity", "occurred_at", "customer_id").all()
        )
        channels = {row["channel"] for row in interactions}
        days = sorted(row["occurred_at"][:10] for row in interactions)
        identities = {row["identity"].lower() for row in interactions}
        locales = {row["locale"] for row in await session.find(Customer).select("locale").all()}
        histories = await (
            session.find(Deal)
            .select(
                "stage.category", "closed_on", Related("stage_moves", ["moved_at"], order_by=["moved_at", "id"])
            )
            .all()
        )

        assert channels == {"email", "phone", "sms", "webchat", "letter"}
        assert days[0] < "2024-10-01"
        assert days[-1] <= "2026-03-02"
        assert identities == {"matched", "ambiguous", "unknown"}
        assert len(locales) > 8
        assert await session.find(Customer).where({"organization": {"kind": {"eq": "organization"}}}).count() > 80
        for deal in histories:
            closed = deal["stage"]["category"].lower() != "open"
            assert closed == (deal["closed_on"] is not None)
            if closed:
                assert deal["closed_on"] == deal["stage_moves"][-1]["moved_at"][:10]
        assert max(len(deal["stage_moves"]) for deal in histories) >= 5


async def test_its_teams_have_something_to_answer(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await generate(crm, scale=0.1, today=TODAY)
        conversations = crm.acting_as(SYSTEM).find(Conversation)
        for status in ("open", "pending", "closed"):
            assert await conversations.where({"status": {"eq": status}}).count() > 3
        waiting = conversations.where({"status": {"eq": "open"}})
        assert await waiting.where({"unread": {"gt": 0}}).count() > 1
        assert await waiting.where({"assignee_id": {"isNull": True}}).count() > 1
        last = Related("interactions", ["occurred_at"], order_by=["-occurred_at"], first=1)
        for row in await conversations.select("last_at", last).all():
            assert row["interactions"] == [{"occurred_at": row["last_at"]}]


async def test_its_customers_are_in_segments(make_crm: MakeCrm) -> None:
    async with make_crm([Rfm]) as crm:
        await generate(crm, scale=0.1, today=TODAY)
        query = crm.acting_as(SYSTEM).find(Customer).where({"rfm": {"r": {"gte": 1}}})
        segments = {row["rfm"]["segment"] for row in await query.select("rfm.segment").all()}
        assert len(segments) >= 5
        assert "champions" in segments


async def test_its_custom_fields_are_filled_and_change_nothing_else(make_crm: MakeCrm) -> None:
    declared = tomllib.loads(SCRIPT.with_name("amity.toml").read_text())["custom_fields"]

    async def made(settings: dict[str, Any]) -> tuple[Any, Any]:
        async with make_crm([], settings) as crm:
            await generate(crm, scale=0.05, today=TODAY)
            customers = crm.acting_as(SYSTEM).find(Customer)
            own = []
            if settings:
                asked = customers.select(*(item["name"] for item in declared))
                own = await asked.where({"industry": {"isNull": False}}).all()
            return own, await customers.select("name", "owner.name", "source").order_by("id").all()

    filled, company = await made({"custom_fields": declared})

    assert len({row["industry"] for row in filled}) >= 4
    contracts = [row for row in filled if row["contract_value"]]
    assert contracts
    assert all("2026-03-02" < row["renewal_on"] <= "2027-03-02" for row in contracts)
    assert (await made({}))[1] == company


async def test_its_three_users_see_what_their_roles_say(make_crm: MakeCrm) -> None:
    settings = load(SCRIPT.with_name("amity.toml"))
    sign_ins = settings.sections["graphql"]["sign_ins"]
    quick = {"argon2_memory": 8, "argon2_passes": 1, "argon2_lanes": 1}
    async with make_crm([Rfm], {"sign_in": quick}) as crm:
        await generate(crm, scale=0.1, today=TODAY)
        await let_in(crm, {item["email"]: item["password"] for item in sign_ins})
        sessions = {}
        for item in sign_ins:
            principal = await crm.access.by_session(await crm.access.sign_in(item["email"], item["password"]))
            assert principal
            sessions[principal.roles[0].name] = crm.acting_as(principal)
        customers = {role: await session.find(Customer).count() for role, session in sessions.items()}
        deals = {role: await session.find(Deal).count() for role, session in sessions.items()}
        agent = sessions["agent"]
        mine = {"owner": {"id": {"eq": agent.principal.name}}}
        own = await agent.find(Customer).where(mine).count()
        colleague = await agent.find(Customer).where({"not": mine}).select("id").one()

        assert customers["admin"] == customers["read-only"] == 200
        assert 0 < own < customers["agent"] < 200
        assert 0 < deals["agent"] < deals["admin"] == deals["read-only"]
        assert await agent.find(Customer).where({"rfm": {"r": {"gte": 1}}}).count() > 0
        assert colleague
        assert not (await agent.update(Customer, [Update(colleague["id"], {"note": "Called"})])).errors
        assert (await agent.delete(Customer, [colleague["id"]])).errors


async def test_the_same_seed_makes_the_same_company(make_crm: MakeCrm) -> None:
    async def made(seed: int) -> Any:
        async with make_crm() as crm:
            await generate(crm, seed=seed, scale=0.02, today=TODAY)
            session = crm.acting_as(SYSTEM)
            deals = session.find(Deal).select("name", "value", "stage.name", "owner.name").order_by("id")
            said = (
                session.find(Interaction)
                .select("subject", "body", "occurred_at")
                .order_by("occurred_at", "subject")
            )
            return await deals.all(), await said.all()

    assert await made(3) == await made(3) != await made(4)


def test_the_command_makes_it_once(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "amity.toml").write_text('plugins = ["csv"]\n')

    def run() -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AMITY_")}
        command = [sys.executable, str(SCRIPT), "--config", "amity.toml", "--scale", "0.01"]
        return subprocess.run(
            command,
            env={**kept, "AMITY_DATABASE_URL": database_url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    first, second = run(), run()

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "20 customers" in first.stderr
    assert "The company is there already" in second.stderr
