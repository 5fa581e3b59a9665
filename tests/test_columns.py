"""Rows as columns: the same values as rows, from one statement and one snapshot."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from typing import Any

import pytest

from amity import SYSTEM, Count, Crm, Customer, Deal, Pipeline, Plugin, Session, Stage, Update, expression
from amity.contracts import FieldDeclaration
from amity.database import DatabaseError, recorded
from amity.database.sqlite import SQLite
from amity.entity import EntityType
from amity.query import QueryError
from amity.query.find import Find, Related
from amity_csv import Csv, export_rows

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
CUSTOM = [
    {"entity": "Customer", "name": "size", "type": "integer"},
    {"entity": "Customer", "name": "rate", "type": "number"},
    {"entity": "Customer", "name": "since", "type": "date"},
    {"entity": "Customer", "name": "vip", "type": "boolean"},
    {"entity": "Customer", "name": "limit", "type": "money"},
]


class Counting(Plugin):
    """A plugin with a field of its own on customers."""

    name = "counting"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [expression(Customer, "deal_count", Count("deals"))]


async def company(session: Session) -> None:
    """Customers and deals whose columns hold something, or nothing."""
    acme, gone = (
        await session.create(
            Customer,
            [{"kind": "organization", "name": "Acme"}, {"kind": "organization", "name": "Gone"}],
        )
    ).ids
    people: list[dict[str, Any]] = [
        {"kind": "person", "name": f"Person {n}", "given_name": "Zoë" if n % 2 else None, "organization_id": org}
        for n, org in enumerate([acme, gone, None, acme])
    ]
    people[0] |= {"custom_fields": {"tags": ["a", None], "size": 2**40}, "size": 7, "rate": 1.5, "vip": True}
    people[1] |= {"since": "2026-01-31", "limit": {"amount": 2**53 + 1, "currency": "USD"}, "rate": 1e300}
    people[2] |= {"rate": 2.0, "vip": False}
    made = await session.create(Customer, people)
    assert not made.errors, made.errors
    assert gone is not None
    await session.delete(Customer, [gone])
    sales = (await session.create(Pipeline, [{"name": "Sales"}])).ids[0]
    stage = (await session.create(Stage, [{"pipeline_id": sales, "name": "Won", "category": "won"}])).ids[0]
    value = {"amount": -(2**60), "currency": "JPY"}
    await session.create(
        Deal,
        [
            {"name": "Lamps", "stage_id": stage, "customer_id": acme, "value": value},
            {"name": "Chairs", "stage_id": stage, "closed_on": datetime.now(UTC).date()},
        ],
    )


def everything(crm: Crm, entity: EntityType) -> list[str]:
    """Every value of a record, and of what it refers to."""
    found = [*(column.name for column in entity.visible_columns), *entity.money]
    parts = {part for money in entity.money.values() for part in (money.amount, money.currency)}
    found = [name for name in found if name not in parts]
    for link in entity.to_one.values():
        target = crm.catalog[link.target]
        found += [f"{link.name}.{column.name}" for column in target.visible_columns][:3]
    return found


def at(row: Any, path: str) -> Any:
    for step in path.split("."):
        row = None if row is None else row[step]
    return row


async def gathered(query: Find, batch: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    async for values in query.columns(batch):
        rows += zip(*values, strict=True)
    return rows


async def test_columns_are_the_values_of_rows(make_crm: MakeCrm) -> None:
    async with make_crm([Csv, Counting], {"custom_fields": CUSTOM}) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)
        seen = 0
        for entity in crm.catalog.values():
            names = everything(crm, entity)
            query = session.find(entity.name).select(*names)
            orders = [(), ("-id",)] + [("-created_at",)] * ("created_at" in entity.columns)
            orders += [(f"{link}.id",) for link in list(entity.to_one)[:1]]
            for order in orders:
                asked = query.order_by(*order)
                rows = await asked.all()

                assert await gathered(asked, 3) == [tuple(at(row, name) for name in names) for row in rows]
                assert await gathered(asked.first(2), 1) == (await gathered(asked, 100))[:2]
                seen += len(rows)
        assert seen > 50


async def test_filters_and_orders_over_relations_are_those_of_rows(make_crm: MakeCrm) -> None:
    async with make_crm([Csv, Counting], {"custom_fields": CUSTOM}) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)
        query = session.find(Customer).select("name", "organization.name", "organization_id")
        query = query.where({"organization": {"name": {"contains": "ac"}}}).order_by("-organization.name", "name")

        found = await gathered(query, 10)

        assert [(name, organization) for name, organization, _ in found] == [
            ("Person 0", "Acme"),
            ("Person 3", "Acme"),
        ]
        by_count = session.find(Customer).select("name").where({"deal_count": {"gt": 0}}).order_by("-deal_count")
        assert await gathered(by_count, 10) == [("Acme",)]


async def test_what_is_computed_of_a_row_that_is_missing_is_null(make_crm: MakeCrm) -> None:
    async with make_crm([Csv, Counting], {"custom_fields": CUSTOM}) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)
        for order in ("organization.deal_count", "-organization.deal_count"):
            query = session.find(Customer).select("name").order_by(order, "name")

            assert await gathered(query, 10) == [(row["name"],) for row in await query.all()]


async def test_numbers_that_are_none_are_those_of_rows(make_crm: MakeCrm) -> None:
    async with make_crm([Csv], {"custom_fields": CUSTOM}) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Customer, [{"kind": "person", "name": "Ann"}])
        infinite = "9e999" if crm.database.dialect == "sqlite" else "'Infinity'"
        table = crm.catalog["Customer"].table
        await crm.database.transact(lambda tx: tx.execute(f"UPDATE {table} SET rate = {infinite}"))
        query = session.find(Customer).select("rate")

        assert await gathered(query, 10) == [(row["rate"],) for row in await query.all()]


async def test_what_plugins_compute_and_lists_are_there_too(make_crm: MakeCrm) -> None:
    async with make_crm([Csv, Counting], {"custom_fields": CUSTOM}) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)
        query = session.find(Customer).select(
            "name", "deal_count", Related("deals", ["name"]), "organization.name"
        )

        found = await gathered(query.order_by("name"), 2)

        assert found[0] == ("Acme", "1", [{"name": "Lamps"}], None)
        assert found[1] == ("Person 0", "0", [], "Acme")


async def test_a_transaction_reads_its_own_rows(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:

        async def work(session: Session) -> list[tuple[Any, ...]]:
            await session.create(Customer, [{"kind": "person", "name": "New"}])
            return await gathered(session.find(Customer).select("name"), 10)

        assert await crm.acting_as(SYSTEM).transact(work) == [("New",)]


async def test_an_export_is_one_statement_and_one_snapshot(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"kind": "person", "name": f"{n:02}"} for n in range(10)]
        ids = [id for id in (await session.create(Customer, rows)).ids if id is not None]
        with recorded() as statements:
            await export_rows(session, "Customer", io.StringIO(), fields=["name", "organization.name"])
        found: list[Any] = []

        async with aclosing(session.find(Customer).select("name").order_by("name").columns(3)) as batches:
            async for (names,) in batches:
                found += names
                await session.update(Customer, [Update(id, {"name": f"9{len(found)}"}) for id in ids])

        assert len(statements) == 1
        assert found == [row["name"] for row in rows]


async def test_columns_that_are_left_halfway_give_back_their_connection(make_crm: MakeCrm) -> None:
    async with make_crm([Csv], {"pool_size": 1}) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Customer, [{"kind": "person", "name": f"{n}"} for n in range(10)])

        async with asyncio.timeout(60):
            for _ in range(6):
                batches = session.find(Customer).select("name").columns(1)
                await anext(batches)
                await batches.aclose()
                waiting = asyncio.ensure_future(anext(session.find(Customer).select("name").columns(1)))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])

            assert await session.find(Customer).count() == 10


async def test_columns_that_are_left_while_they_connect_leave_no_connection(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm, asyncio.timeout(60):
        if not isinstance(crm.database, SQLite):
            return  # its streams take connections of the pool
        connections = [*crm.database._all]
        waiting = asyncio.ensure_future(anext(crm.acting_as(SYSTEM).find(Customer).select("name").columns()))
        while len(crm.database._all) == len(connections):  # noqa: ASYNC110
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert crm.database._all == connections


async def test_a_stream_that_takes_too_long_is_stopped(make_crm: MakeCrm) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    async with make_crm([Csv], {"statement_timeout": 0.2}) as crm, asyncio.timeout(60):
        with pytest.raises(DatabaseError, match=r"stopped|timeout"):
            async for _ in crm.database.stream(endless):
                pass

        assert await crm.acting_as(SYSTEM).find(Customer).count() == 0


async def test_batches_have_rows(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        with pytest.raises(QueryError, match="at least 1"):
            await gathered(crm.acting_as(SYSTEM).find(Customer), 0)
        assert await gathered(crm.acting_as(SYSTEM).find(Customer), 1) == []
