"""The edges: what is too much is refused alike on both databases, and what is odd means the same."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Sequence
from datetime import date
from typing import Any

import orjson
import pytest
from tortoise import fields

from amity import (
    SYSTEM,
    AccessDenied,
    Add,
    CompositionError,
    Context,
    Count,
    Crm,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Field,
    Interaction,
    Min,
    Multiply,
    Plugin,
    Principal,
    Problem,
    Proposed,
    QueryError,
    Record,
    Related,
    Stage,
    Update,
    Validator,
    expression,
)
from amity.access import Everything, Rights, Verb
from amity.contracts import FieldDeclaration
from amity.entity import EntityType, new_id
from amity.query import parse_order
from amity.server import listening_at
from amity.tree import (
    Compare,
    Computed,
    Condition,
    Connected,
    Connection,
    Linked,
    Nodes,
    OrderKey,
    Page,
    Scalar,
    Through,
)
from amity_graphql import execute

from .conftest import MakeCrm
from .test_role_rules import role


class Reading(Entity):
    """Numbers of every size."""

    small = fields.IntField(default=0, db_default=0)
    big = fields.BigIntField(default=0, db_default=0)
    real = fields.FloatField(null=True)
    day = fields.DateField(null=True)

    options = EntityOptions(prefix="rdg")


class Figures(Plugin):
    name = "figures"

    def entities(self) -> Sequence[type[Record]]:
        return [Reading]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Reading, "squared", Multiply(Field("small"), Field("small"))),
            expression(Reading, "doubled", Add(Field("big"), Field("big"))),
            expression(Customer, "deal_count", Count("deals")),
        ]


async def test_a_cancelled_read_is_cancelled(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)

        async def reading() -> None:
            while True:
                await session.find(Customer).count()

        for number in range(150):
            task = asyncio.create_task(reading())
            await asyncio.sleep(0.0005 * (number % 5))
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=5)
            assert done
            assert task.cancelled()
        assert await session.find(Customer).count() == 0


async def test_filters_are_as_wide_as_one_likes_and_as_deep_as_both_databases_take(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        find = crm.acting_as(SYSTEM).find(Customer)
        await crm.acting_as(SYSTEM).create(Customer, [{"kind": "person", "name": "n4999"}])
        assert await find.where({"or": [{"name": {"eq": f"n{i}"}} for i in range(5000)]}).count() == 1
        assert await find.where({"and": [{"name": {"ne": f"x{i}"}} for i in range(5000)]}).count() == 1

        def deep(levels: int, wrap: str) -> dict[str, Any]:
            where: dict[str, Any] = {"name": {"eq": "x"}}
            for _ in range(levels):
                where = {wrap: {"some": where} if wrap == "members" else where}
            return where

        for wrap in ("not", "organization", "members"):
            await find.where(deep(8, wrap)).count()
            with pytest.raises(QueryError, match="nested deeper than 8 levels; ask in smaller steps"):
                await find.where(deep(9, wrap)).count()
        with pytest.raises(QueryError, match="bytes long; at most 40000 are allowed"):
            await find.where({"name": {"contains": "ΐ" * 9_000}}).count()
        await find.where({"name": {"contains": "ΐ" * 6_000}}).count()


async def test_deep_filters_are_quick_on_tables_without_statistics(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"statement_timeout": 5.0}) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"kind": "organization", "name": f"o{i}"} for i in range(200)]
        ids = (await session.create(Customer, rows)).ids
        members = [{"kind": "person", "name": f"m{i}", "organization_id": ids[i % 200]} for i in range(1500)]
        await session.create(Customer, members)
        for levels in (3, 5, 7):
            where: dict[str, Any] = {"name": {"contains": "o"}}
            for _ in range(levels):
                where = {"organization": where}
            assert await session.find(Customer).where(where).count() == 0


async def test_to_one_relations_are_joined_once_and_as_deep_as_both_databases_take(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Customer, [{"kind": "person", "name": "Ann"}])

        def read(*selection: Any) -> Any:
            return session.read({"r": Connection("Customer", Page((Nodes("nodes", selection),), first=5))})

        wide = [Linked(f"o{i}", "organization", (Scalar("name", "name"),)) for i in range(200)]
        answer = (await read(*wide)).parsed()["r"]["nodes"][0]
        assert answer == {f"o{i}": None for i in range(200)}

        def deep(levels: int) -> Any:
            inner: Any = Scalar("name", "name")
            for _ in range(levels):
                inner = Linked("organization", "organization", (inner,))
            return inner

        await read(deep(7))
        with pytest.raises(QueryError, match="deeper than 7 levels"):
            await read(deep(8))


async def test_behind_rows_that_hang_on_others_a_small_table_is_looked_up(make_crm: MakeCrm) -> None:
    """It would be read and hashed whole for each parent, which was an eighth of what a list in a list costs."""
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        pipeline = (await session.create("Pipeline", [{"name": "Sales"}])).ids[0]
        stages = [
            {"pipeline_id": pipeline, "name": f"s{i}", "category": "open", "probability": i, "position": i}
            for i in range(30)
        ]
        ids = (await session.create(Stage, stages)).ids
        people = [{"kind": "person", "name": f"p{i}"} for i in range(100)]
        parents = (await session.create(Customer, people)).ids
        deals = [{"name": f"d{i}", "stage_id": ids[i % 30], "customer_id": parents[i % 100]} for i in range(300)]
        await session.create(Deal, deals)
        stage = Linked("stage", "stage", (Scalar("name", "name"),))
        nested = Connected("deals", "deals", Page((Nodes("nodes", (Scalar("name", "name"), stage)),), first=20))
        order = (OrderKey("created_at"),)
        roots = {"r": Connection("Customer", Page((Nodes("nodes", (nested,)),), first=50, order=order))}
        first = (await session.read(roots)).parsed()["r"]["nodes"][0]["deals"]["nodes"]
        assert first == [{"name": f"d{i}", "stage": {"name": f"s{i % 30}"}} for i in (0, 100, 200)]
        statement = session.compile(roots)
        if crm.database.dialect == "postgresql":
            await crm.database.transact(lambda transaction: transaction.execute("ANALYZE"))
            plan = await crm.database.explain(statement.sql, statement.parameters)
            assert "core_stage" in plan
            assert "Hash" not in plan, plan
        else:
            plan = await crm.database.explain(statement.sql, statement.parameters)
            assert "USING INDEX sqlite_autoindex_core_stage_1 (id=?)" in plan, plan


async def test_an_answer_that_could_be_huge_is_refused_before_anything_runs(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"], "graphql": {"max_rows": 1000}}) as crm:
        document = "{ customers(first: 50) { nodes { members(first: 50) { nodes { name } } } } }"
        result = (await execute(crm, crm.acting_as(SYSTEM), document)).formatted()
        (error,) = result["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "could answer with 2,550 rows or more, and 1,000 are allowed" in error["message"]
        document = "{ customers(first: 10) { nodes { members(first: 50) { nodes { name } } } } }"
        assert "errors" not in (await execute(crm, crm.acting_as(SYSTEM), document)).formatted()


async def test_whole_numbers_mean_the_same_up_to_64_bits_and_fail_beyond(make_crm: MakeCrm) -> None:
    async with make_crm([Figures]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Reading, [{"small": 100_000, "big": 2**61}])
        assert await session.find(Reading).select("squared", "doubled").one() == {
            "squared": "10000000000",
            "doubled": str(2**62),
        }
        await session.create(Reading, [{"small": 1, "big": 2**62}])
        page = Page((Nodes("nodes", (Scalar("big", "big"), Computed("doubled", "doubled"))),))
        answer = await session.read({"r": Connection("Reading", page)})
        assert [row["doubled"] for row in answer.parsed()["r"]["nodes"]] == [None, None]
        (error,) = answer.errors
        assert (error.plugin, error.message, error.path) == (
            "figures",
            "could not be computed",
            ("r", "nodes", 0, "doubled"),
        )


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 123456789.123456789, -0.0])
async def test_floats_come_back_exactly(make_crm: MakeCrm, value: float) -> None:
    async with make_crm([Figures]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Reading, [{"real": value}])
        row = await session.find(Reading).select("real").where({"real": {"eq": value}}).one()
        assert row == {"real": value}


async def test_the_last_day_is_a_day(make_crm: MakeCrm) -> None:
    async with make_crm([Figures]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Reading, [{"day": date.max}, {"day": date.min}])
        find = session.find(Reading).select("day")
        assert await find.where({"day": {"eq": date.max}}).all() == [{"day": "9999-12-31"}]
        assert await find.where({"day": {"lte": date.min}}).all() == [{"day": "0001-01-01"}]


async def test_numbers_that_are_none_are_refused(make_crm: MakeCrm) -> None:
    async with make_crm([Figures]) as crm:
        find = crm.acting_as(SYSTEM).find(Reading)
        for value in (float("nan"), float("inf"), 10**400, "1.5", True):
            with pytest.raises(QueryError, match="expected a finite number"):
                find.where({"real": {"eq": value}})


def test_least_and_greatest_need_an_order() -> None:
    class Wrong(Plugin):
        name = "wrong"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [expression(Customer, "least_id", Min("deals.id"))]

    with pytest.raises(CompositionError, match=r"min needs something with an order, and 'deals\.id' is a ID"):
        Crm({}, [Wrong])


async def test_altered_cursors_are_refused(make_crm: MakeCrm) -> None:
    async with make_crm([Figures]) as crm:
        session = crm.acting_as(SYSTEM)
        order = parse_order(crm.catalog, crm.catalog["Reading"], [{"big": "ASC"}])

        async def page(after: str | None, order: tuple[OrderKey, ...] = order) -> Any:
            parts = (Nodes("nodes", (Scalar("id", "id"),)),)
            return await session.read({"r": Connection("Reading", Page(parts, order=order, first=1, after=after))})

        await session.create(Reading, [{"big": 1}, {"big": 2}])
        from amity.query import cursor as cursors

        descending = (OrderKey("big"), OrderKey("id"))
        digest = cursors.digest(crm.catalog["Reading"], descending)
        id = "0" * 32

        def made(*values: Any) -> str:
            return base64.b64encode(orjson.dumps([digest, *values])).decode()

        await page(made("1", id))
        for altered in (made("9" * 30, id), made(None, id), made("1", "x"), made("1"), made("1\x00", id), "%%%"):
            with pytest.raises(QueryError, match="cursor"):
                await page(altered)


# --- changes ---------------------------------------------------------------------------------------------------


class Strict(Plugin):
    name = "strict"

    def validators(self) -> Sequence[Validator]:
        async def check(context: Context, rows: Sequence[Proposed]) -> Sequence[Problem]:
            return [Problem(row.index, "name", "no") for row in rows if row.after and row.after["name"] == "bad"]

        return [Validator(Customer, ["name"], check)]


async def test_what_refers_to_a_refused_row_of_its_batch_is_refused_with_it(make_crm: MakeCrm) -> None:
    async with make_crm([Strict]) as crm:
        session = crm.acting_as(SYSTEM)
        bad, child = new_id(), new_id()
        result = await session.create(
            Customer,
            [
                {"id": bad, "kind": "organization", "name": "bad"},
                {"id": child, "kind": "organization", "name": "child", "organization_id": bad},
                {"kind": "person", "name": "grandchild", "organization_id": child},
                {"kind": "person", "name": "other"},
            ],
            on_error="skip_invalid",
        )
        assert [(e.index, e.code) for e in result.errors] == [(0, "refused"), (1, "not_found"), (2, "not_found")]
        assert await session.find(Customer).select("name").all() == [{"name": "other"}]


async def test_an_external_id_that_no_text_can_be_is_refused_by_name(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        call = {"channel": "phone", "direction": "inbound", "external_id": {"system": "pbx\0", "id": "1"}}
        result = await crm.acting_as(SYSTEM).run("log_interaction", [call])
        (error,) = result.errors
        assert (tuple(error.path), error.code) == (("external_id", "system"), "invalid")


class Looking(Plugin):
    """Notes which customers interactions refer to that it is asked about."""

    name = "looking"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.seen: list[Any] = []

    def validators(self) -> Sequence[Validator]:
        async def check(context: Context, rows: Sequence[Proposed]) -> Sequence[Problem]:
            self.seen += [row.after["customer_id"] for row in rows if row.after]
            return []

        return [Validator(Interaction, ["customer_id"], check)]


async def test_validators_are_not_asked_about_what_refers_to_nothing(make_crm: MakeCrm) -> None:
    looking = Looking()
    async with make_crm([looking]) as crm:
        session = crm.acting_as(SYSTEM)
        (there,) = (await session.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
        call = {"channel": "phone", "direction": "inbound", "occurred_at": "2026-01-02T03:04:05Z"}
        calls = [{**call, "customer_id": id} for id in (there, new_id())]
        result = await session.create(Interaction, calls, on_error="skip_invalid")
        assert [(error.index, error.code) for error in result.errors] == [(1, "not_found")]
        assert looking.seen == [there]


class Badge(Entity):
    """What at most one hangs on each customer."""

    customer: Any = fields.OneToOneField("core.Customer", related_name="badge", on_delete=fields.CASCADE)
    level = fields.IntField(default=0, db_default=0)

    options = EntityOptions(prefix="bdg")


class Badges(Plugin):
    name = "badges"

    def entities(self) -> Sequence[type[Record]]:
        return [Badge]


async def test_rows_come_in_the_order_of_the_one_that_hangs_on_each(make_crm: MakeCrm) -> None:
    async with make_crm([Badges]) as crm:
        session = crm.acting_as(SYSTEM)
        people = [{"kind": "person", "name": name} for name in ("Ann", "Bob", "Cem", "Dee")]
        ids = (await session.create(Customer, people)).ids
        badges = [{"customer_id": id, "level": level} for id, level in zip(ids, (2, 7, 5), strict=False)]
        assert not (await session.create(Badge, badges)).errors
        low = role(crm.catalog, "low", Customer="all", Badge={"level": {"lt": 6}})
        limited = crm.acting_as(Principal("user", "usr_x", roles=(low,)))
        for asking, names in ((session, "Dee Bob Cem Ann"), (limited, "Bob Dee Cem Ann")):
            page = asking.find(Customer).select("name").order_by("-badge.level", "name")
            found = [row["name"] for row in await page.all()]
            assert found == names.split()


async def test_a_stage_stays_in_its_pipeline(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        one, two = (await session.create("Pipeline", [{"name": "one"}, {"name": "two"}])).ids
        row = {"pipeline_id": one, "name": "New"}
        (stage,) = (await session.create(Stage, [row])).ids
        assert stage is not None
        (error,) = (await session.update(Stage, [Update(stage, {"pipeline_id": two})])).errors
        assert error.path == ("pipeline_id",)
        assert (await session.upsert(Stage, [row], on=("pipeline_id", "name"))).unchanged == 1


async def test_a_reference_reads_as_null_while_its_target_is_deleted(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (team,) = (await session.create("Team", [{"name": "East"}])).ids
        await session.create("User", [{"name": "Ann", "team_id": team}])
        assert team is not None
        find = session.find("User").select("team_id", "team.name")
        before = await find.one()
        await session.delete("Team", [team])
        assert await find.one() == {"team_id": None, "team": None}
        assert await find.where({"team_id": {"isNull": True}}).count() == 1
        assert await find.where({"team_id": {"eq": team}}).count() == 0
        assert await find.where({"team_id": {"notIn": [team]}}).count() == 1
        await session.restore("Team", [team])
        assert await find.one() == before
        assert await find.where({"team_id": {"in": [team]}}).count() == 1


# --- policies --------------------------------------------------------------------------------------------------

SOMEBODY = Principal("user", "usr_1")


class DealsAndLeads(Everything):
    """Everyone with a deal is read, whatever deals may be read, and leads only are changed."""

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        if entity.name not in ("Customer", "Deal"):
            return None
        if entity.name == "Deal":
            return Through("customer", Compare("deal_count", "gt", 1))
        return Compare("lifecycle", "eq", "lead") if verb == "update" else Compare("deal_count", "gt", 0)


class OwnLeads:
    def rights(self, principal: Principal) -> Rights:
        return Everything(principal) if principal == SYSTEM else DealsAndLeads(principal)


async def test_policies_ask_of_facts_and_of_rows_as_they_become(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=OwnLeads()) as crm:
        system = crm.acting_as(SYSTEM)
        (pipeline,) = (await system.create("Pipeline", [{"name": "p"}])).ids
        (stage,) = (await system.create(Stage, [{"pipeline_id": pipeline, "name": "s"}])).ids
        rows = [{"kind": "person", "name": name, "lifecycle": "lead"} for name in ("none", "one", "two")]
        _, one, two = (await system.create(Customer, rows)).ids
        deals = [{"name": "d", "customer_id": id, "stage_id": stage} for id in (one, two, two)]
        await system.create(Deal, deals)
        session = crm.acting_as(SOMEBODY)
        find = session.find(Customer).select("name", Related("deals", ["name"])).order_by("name")
        assert await find.all() == [
            {"name": "one", "deals": []},
            {"name": "two", "deals": [{"name": "d"}, {"name": "d"}]},
        ]
        assert one is not None
        assert (await session.update(Customer, [Update(one, {"note": "hi"})])).updated == 1
        with pytest.raises(AccessDenied, match="usr_1 may not update such customers"):
            await session.update(Customer, [Update(one, {"lifecycle": "customer"})])
        assert (await system.find(Customer).select("lifecycle").get(one)) == {"lifecycle": "lead"}


async def test_answers_of_the_server_do_not_wait_for_its_client() -> None:
    """Nagle's algorithm would hold the second part of an answer back until the first one is acknowledged."""
    at_once: list[int] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted: socket.socket = writer.get_extra_info("socket")
        at_once.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    server = await asyncio.start_server(answer, sock=listening_at("127.0.0.1", 0))
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
    assert len(at_once) == 1
    assert at_once[0] != 0
