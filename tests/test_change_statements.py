"""How changes reach the database: few statements, and nothing half done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from amity import SYSTEM, Crm, Customer, Event, Interaction, Session, User
from amity.change import storage
from amity.database import UniqueViolation, recorded
from amity.entity import encode_id
from amity_graphql.api import execute

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
LOG = """mutation ($input: [LogInteractionInput!]!) {
  logInteractionBatch(input: $input) { interactions { id subject } userErrors { message } }
}"""


async def names(session: Session) -> list[str]:
    return [row["name"] for row in await session.find(Customer).select("name").order_by("name").all()]


async def test_logging_interactions_is_two_statements_however_many(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = (await session.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
        (joe,) = (await session.create(User, [{"name": "Joe", "email": "joe@example.com"}])).ids
        assert ann is not None
        assert joe is not None
        item = {
            "channel": "phone",
            "direction": "INBOUND",
            "customerId": encode_id("cus", ann),
            "userId": encode_id("usr", joe),
        }

        counts = []
        for count in (1, 1, 50):
            with recorded() as statements:
                given = [{**item, "subject": f"Call {n}"} for n in range(count)]
                answer = await execute(crm, session, LOG, {"input": given})
            assert not answer.errors
            assert answer.data is not None
            assert [row["subject"] for row in answer.data["logInteractionBatch"]["interactions"]] == [
                f"Call {n}" for n in range(count)
            ]
            counts.append(len(statements))

        # the rows with what they refer to and their events, the answer; SQLite begins, looks first, writes each
        # table by itself, and three statements are for its index for searching
        assert set(counts) == {2 if crm.database.dialect == "postgresql" else 9}
        assert await session.find(Interaction).count() == 52
        assert await session.find(Event).where({"type": {"eq": "interaction.created"}}).count() == 52


async def test_what_waits_is_there_for_whoever_reads(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:

        async def work(joined: Session) -> list[str]:
            await joined.create(Customer, [{"kind": "person", "name": "Ann"}])
            await joined.create(Customer, [{"kind": "person", "name": "Bob"}])
            return await names(joined)

        assert await crm.acting_as(SYSTEM).transact(work) == ["Ann", "Bob"]


async def test_what_waits_is_undone_with_its_savepoint(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)

        async def work(joined: Session) -> None:
            assert joined.unit is not None
            await joined.create(Customer, [{"kind": "person", "name": "Ann"}])
            with suppress(ValueError):
                async with joined.unit.savepoint():
                    await joined.create(Customer, [{"kind": "person", "name": "Bob"}])
                    raise ValueError("on second thoughts")
            await joined.create(Customer, [{"kind": "person", "name": "Cid"}])

        await session.transact(work)

        assert await names(session) == ["Ann", "Cid"]
        assert [event.after and event.after["name"] for event in await crm.events.read()] == ["Ann", "Cid"]


async def test_what_fails_while_it_waits_undoes_the_unit(make_crm: MakeCrm) -> None:
    """The rows go straight into the table, past every check, as if another change had been faster."""
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        catalog = crm.catalog

        async def work(joined: Session) -> None:
            assert joined.unit is not None
            (ann,) = (await joined.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
            rows = await storage.select(joined.unit.transaction, catalog.of(Customer), [ann])  # type: ignore[list-item]
            await storage.insert(joined.unit.transaction, catalog.of(Customer), list(rows.values()))

        with pytest.raises(Exception) as raised:
            await session.transact(work)

        assert isinstance(raised.value.__cause__ or raised.value, UniqueViolation)
        assert await names(session) == []
        assert await crm.events.read() == []


async def test_columns_that_no_row_fills_are_null(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"kind": "person", "name": f"P{n}", **({"source": "web"} if n == 150 else {})} for n in range(200)]
        await session.create(Customer, rows)

        found = await session.find(Customer).select("name", "source", "given_name").order_by("id").all()

        assert [row["source"] for row in found] == [row.get("source") for row in rows]
        assert {row["given_name"] for row in found} == {None}


async def test_what_is_put_off_is_done(make_crm: MakeCrm) -> None:
    """A plugin's own insertion, too, which no statement may follow."""
    async with make_crm() as crm:

        async def work(joined: Session) -> None:
            assert joined.unit is not None
            for _ in range(2):
                await joined.unit.transaction.insert("INSERT INTO core_event_batch DEFAULT VALUES")

        count = "SELECT count(*) FROM core_event_batch"
        (before,) = (await crm.database.read(count))[0]
        await crm.acting_as(SYSTEM).transact(work)
        assert [tuple(row) for row in await crm.database.read(count)] == [(before + 2,)]
