"""What moves through the stages of a pipeline: order, history, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    ChangeResult,
    Deal,
    EntityOptions,
    Pipeline,
    Plugin,
    Record,
    Session,
    Stage,
    Staged,
    StageMove,
    Update,
)
from amity.entity import encode_id, new_id

from .conftest import MakeCrm


@dataclass
class Board:
    """A pipeline with an open, a won and a lost stage, and another with one stage."""

    session: Session
    pipeline: UUID
    open: UUID
    won: UUID
    lost: UUID
    elsewhere: UUID

    async def add(self, *names: str, stage: UUID | None = None, **more: Any) -> list[UUID]:
        rows = [{"name": name, "stage_id": stage or self.open, **more} for name in names]
        result = await self.session.create(Deal, rows)
        assert not result.errors, result.errors
        return [id for id in result.ids if id is not None]

    async def order(self, stage: UUID | None = None) -> list[str]:
        where = {"stage": {"id": {"eq": stage or self.open}}}
        rows = await self.session.find(Deal).where(where).select("name").order_by("position", "id").all()
        return [row["name"] for row in rows]

    async def move(self, *moves: Mapping[str, Any], on_error: str = "reject_all") -> ChangeResult:
        inputs = [{"stage_id": self.open, **move} for move in moves]
        return await self.session.run("move_deal", inputs, on_error=on_error)

    async def positions(self, stage: UUID | None = None) -> list[str]:
        where = {"stage": {"id": {"eq": stage or self.open}}}
        rows = await self.session.find(Deal).where(where).select("position").order_by("position", "id").all()
        return [row["position"] for row in rows]


async def board(session: Session) -> Board:
    pipelines = (await session.create(Pipeline, [{"name": "Sales"}, {"name": "Renewals"}])).ids
    stages = await session.create(
        Stage,
        [
            {"pipeline_id": pipelines[0], "name": "New", "category": "open", "position": 1},
            {"pipeline_id": pipelines[0], "name": "Won", "category": "won", "position": 2},
            {"pipeline_id": pipelines[0], "name": "Lost", "category": "lost", "position": 3},
            {"pipeline_id": pipelines[1], "name": "New", "category": "open"},
        ],
    )
    ids = [id for id in (pipelines[0], *stages.ids) if id is not None]
    assert len(ids) == 5, stages.errors
    return Board(session, *ids)


def told(result: ChangeResult) -> list[tuple[tuple[str | int, ...], str]]:
    return [(error.path, error.code) for error in result.errors]


async def test_a_stage_brings_its_pipeline(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        (deal,) = await b.add("D")
        row = await b.session.find(Deal).select("pipeline.name", "stage.name", "version").get(deal)
        assert row == {"pipeline": {"name": "Sales"}, "stage": {"name": "New"}, "version": 1}
        result = await b.session.create(
            Deal,
            [
                {"name": "fits", "stage_id": b.open, "pipeline_id": b.pipeline},
                {"name": "does not", "stage_id": b.elsewhere, "pipeline_id": b.pipeline},
                {"name": "no such", "stage_id": new_id()},
                {"name": "own position", "stage_id": b.open, "position": "a0"},
            ],
            on_error="skip_invalid",
        )
        assert told(result) == [
            (("pipeline_id",), "invalid"),
            (("stage_id",), "not_found"),
            (("position",), "read_only"),
        ]
        assert result.created == 1
        alone = await b.session.update(Deal, [Update(deal, {"pipeline_id": new_id()})])
        assert told(alone) == [(("pipeline_id",), "invalid")]


async def test_new_rows_come_last_in_the_order_of_the_batch(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        await b.add("A", "B")
        rows = [
            {"name": name, "stage_id": stage}
            for name, stage in (("C", b.open), ("X", b.won), ("D", b.open), ("Y", b.won), ("E", b.open))
        ]
        await b.session.create(Deal, rows)
        assert await b.order() == ["A", "B", "C", "D", "E"]
        assert await b.order(b.won) == ["X", "Y"]


async def test_moves_within_a_stage(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, second, _, d = await b.add("A", "B", "C", "D")
        assert not (await b.move({"id": encode_id("dea", d), "before": encode_id("dea", a)})).errors
        assert await b.order() == ["D", "A", "B", "C"]
        await b.move({"id": d, "after": second})
        assert await b.order() == ["A", "B", "D", "C"]
        await b.move({"id": a, "after": second, "before": d})
        assert await b.order() == ["B", "A", "D", "C"]
        await b.move({"id": second})
        assert await b.order() == ["A", "D", "C", "B"]
        moves = await b.session.find(StageMove).count()
        assert moves == 4  # moving within a stage is no move between stages
        types = [event.type for event in await crm.events.read()]
        assert types.count("deal.updated") == 4
        assert types.count("deal.moved") == 0


async def test_a_move_to_where_it_is_changes_nothing(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, second, c = await b.add("A", "B", "C")
        events = len(await crm.events.read())
        for move in ({"id": c}, {"id": second, "after": a, "before": c}, {"id": a, "before": second}):
            assert not (await b.move(move)).errors
        assert len(await crm.events.read()) == events
        assert await b.order() == ["A", "B", "C"]


async def test_moves_between_stages_are_kept(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, _ = await b.add("A", "B")
        (w,) = await b.add("W", stage=b.won)
        await b.move({"id": a, "stage_id": b.won, "before": w})
        assert await b.order(b.won) == ["A", "W"]
        assert await b.order() == ["B"]
        # naming another stage in an update moves it to the end there
        await b.session.update(Deal, [Update(a, {"stage_id": b.lost, "name": "A2"})])
        rows = await crm.database.read(
            "SELECT f.name, t.name, m.actor, m.moved_at = d.stage_entered_at FROM core_stage_move m "
            "LEFT JOIN core_stage f ON f.id = m.from_stage_id JOIN core_stage t ON t.id = m.to_stage_id "
            "JOIN core_deal d ON d.id = m.entity_id WHERE d.name = 'A2' ORDER BY m.moved_at"
        )
        assert [tuple(row[:3]) for row in rows] == [
            (None, "New", "system"),
            ("New", "Won", "system"),
            ("Won", "Lost", "system"),
        ]
        assert rows[-1][3]
        event = (await crm.events.read())[-1]
        assert event.type == "deal.moved"
        assert event.after is not None
        assert event.after["stage_id"] == encode_id("stg", b.lost)
        assert event.after["name"] == "A2"


async def test_deals_are_closed_by_their_stage(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        today = datetime.now(UTC).date().isoformat()
        won = await b.session.create(
            Deal,
            [
                {"name": "now", "stage_id": b.won},
                {"name": "then", "stage_id": b.won, "stage_entered_at": "2024-05-31T23:30:00-02:00"},
                {"name": "said", "stage_id": b.won, "closed_on": "2023-01-01"},
                {"name": "open", "stage_id": b.open},
            ],
        )

        async def closed() -> list[str | None]:
            rows = await b.session.find(Deal).select("closed_on").order_by("id").all()
            return [row["closed_on"] for row in rows]

        assert await closed() == [today, "2024-06-01", "2023-01-01", None]
        now, then, said, opened = (id for id in won.ids if id is not None)
        await b.move(
            {"id": now, "stage_id": b.lost},
            {"id": then, "stage_id": b.open},
            {"id": opened, "stage_id": b.won, "moved_at": "2025-03-04T05:06:07Z"},
        )
        await b.session.update(Deal, [Update(said, {"stage_id": b.lost, "closed_on": "2020-02-02"})])
        assert await closed() == [today, None, "2020-02-02", "2025-03-04"]
        row = await b.session.find(Deal).select("stage_entered_at").get(opened)
        assert row == {"stage_entered_at": "2025-03-04T05:06:07.000000Z"}


async def test_a_bad_move_is_told(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, second, c = await b.add("A", "B", "C")
        (w,) = await b.add("W", stage=b.won)
        cases: list[tuple[dict[str, Any], tuple[tuple[str | int, ...], str]]] = [
            ({"id": a, "before": a}, (("before",), "invalid")),
            ({"id": a, "after": w}, (("after",), "not_found")),
            ({"id": a, "after": new_id()}, (("after",), "not_found")),
            ({"id": a, "after": c, "before": second}, (("after",), "invalid")),
            ({"id": a, "expected_version": 7}, (("expected_version",), "conflict")),
            ({"id": new_id()}, (("id",), "not_found")),
            ({"id": a, "stage_id": new_id()}, (("stage_id",), "not_found")),
            ({"id": encode_id("stg", b.open)}, (("id",), "invalid")),
        ]
        for move, expected in cases:
            assert told(await b.move(move)) == [expected], move
        assert await b.order() == ["A", "B", "C"]
        both = await b.move({"id": a, "after": c}, {"id": second, "before": new_id()})
        assert told(both) == [(("before",), "not_found")]
        assert await b.order() == ["A", "B", "C"]
        await b.move({"id": a, "after": c}, {"id": second, "before": new_id()}, on_error="skip_invalid")
        assert await b.order() == ["B", "C", "A"]


async def test_moves_of_one_batch_happen_one_after_the_other(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, second, c, d, e = await b.add("A", "B", "C", "D", "E")
        result = await b.move({"id": e, "before": second}, {"id": d, "after": e}, {"id": a})
        assert not result.errors
        assert await b.order() == ["E", "D", "B", "C", "A"]
        later = await b.move({"id": e, "after": c}, {"id": c})
        assert told(later) == [(("after",), "invalid")]


async def test_concurrent_moves_to_one_place_both_succeed(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 10}) as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, z, *movers = await b.add("A", "Z", *(f"M{i}" for i in range(8)))
        results = await asyncio.gather(*(b.move({"id": id, "after": a, "before": z}) for id in movers))
        assert all(not result.errors for result in results)
        order = await b.order()
        assert (order[0], order[-1], len(set(order))) == ("A", "Z", 10)
        # and whatever positions they chose, something still fits between any two of them
        (late,) = await b.add("L")
        names = dict(zip(["A", "Z", *(f"M{i}" for i in range(8))], [a, z, *movers], strict=True))
        for left, right in pairwise(order):
            result = await b.move({"id": late, "after": names[left], "before": names[right]})
            assert not result.errors
            seen = await b.order()
            assert seen.index("L") == seen.index(left) + 1


async def test_rows_of_one_position_are_numbered_afresh(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        ids = await b.add("A", "B", "C", "D")
        # what two imports that ran at the same time may leave behind
        await crm.database.transact(lambda tx: tx.execute("UPDATE core_deal SET position = 'a1'"))
        (late,) = await b.add("L")
        result = await b.move({"id": late, "after": ids[1], "before": ids[2]})
        assert not result.errors
        assert await b.order() == ["A", "B", "L", "C", "D"]
        positions = await b.positions()
        assert len(set(positions)) == 5
        # who made room has changed too, and the log says so
        types = [event.type for event in await crm.events.read()]
        assert types.count("deal.updated") >= 3


async def test_a_place_never_gets_too_narrow(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        a, one, two = await b.add("A", "1", "2")
        position = "a0" + "0" * 197 + "1"
        sign = "?" if crm.database.dialect == "sqlite" else "$"

        async def narrow(tx: Any) -> None:
            await tx.execute(
                f"UPDATE core_deal SET position = {sign}1 WHERE id = {sign}2", (position, _bound(tx, one))
            )

        await crm.database.transact(narrow)
        for _ in range(4):
            assert not (await b.move({"id": two, "after": a, "before": one})).errors
            assert not (await b.move({"id": two})).errors
        await b.move({"id": two, "after": a})
        assert await b.order() == ["A", "2", "1"]
        assert max(map(len, await b.positions())) < 10


def _bound(tx: Any, id: UUID) -> Any:
    return str(id) if tx.dialect == "sqlite" else id


async def test_the_order_is_total_whatever_is_moved(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        b = await board(crm.acting_as(SYSTEM))
        loop = asyncio.get_running_loop()
        move = st.tuples(st.integers(0, 5), st.sampled_from(["before", "after", "end"]), st.integers(0, 5))

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            batches=st.lists(st.lists(move, min_size=1, max_size=4), min_size=1, max_size=6), tied=st.booleans()
        )
        def law(batches: list[list[tuple[int, str, int]]], tied: bool) -> None:
            asyncio.run_coroutine_threadsafe(holds(batches, tied), loop).result()

        async def holds(batches: list[list[tuple[int, str, int]]], tied: bool) -> None:
            stages = await b.session.create(Stage, [{"pipeline_id": b.pipeline, "name": str(new_id())}])
            stage = stages.ids[0]
            assert stage is not None
            ids = await b.add(*"ABCDEF", stage=stage)
            if tied:
                await crm.database.transact(lambda tx: tx.execute("UPDATE core_deal SET position = 'a1'"))
            expected = list("ABCDEF")
            for batch in batches:
                inputs: list[dict[str, Any]] = []
                moved: set[int] = set()
                for who, how, anchor in batch:
                    # each is moved once, and next to one that the batch does not move later
                    later = {other for other, _, _ in batch} - moved
                    if who in moved or anchor == who or (how != "end" and anchor in later):
                        continue
                    moved.add(who)
                    name = expected.pop(expected.index("ABCDEF"[who]))
                    if how == "end":
                        inputs.append({"id": ids[who], "stage_id": stage})
                        expected.append(name)
                    else:
                        inputs.append({"id": ids[who], "stage_id": stage, how: ids[anchor]})
                        expected.insert(expected.index("ABCDEF"[anchor]) + (how == "after"), name)
                result = await b.session.run("move_deal", inputs)
                assert not result.errors
                assert await b.order(stage) == expected

        await asyncio.to_thread(law)


class Case(Staged):
    """A request for help."""

    title: Any = fields.CharField(max_length=100)

    options = EntityOptions(prefix="cas", api=EDITABLE)


class Service(Plugin):
    name = "service"

    def entities(self) -> Sequence[type[Record]]:
        return [Case]


async def test_whatever_is_staged_moves_like_a_deal(make_crm: MakeCrm) -> None:
    async with make_crm([Service]) as crm:
        b = await board(crm.acting_as(SYSTEM))
        result = await b.session.create(Case, [{"title": "help", "stage_id": b.open}])
        case = result.ids[0]
        assert case is not None
        await b.session.update(Case, [Update(case, {"stage_id": b.won})])
        assert [event.type for event in await crm.events.read()][-2:] == ["case.created", "case.moved"]
        assert await b.session.find(StageMove).count() == 2
        held = await b.session.delete(Stage, [b.won])
        assert held.errors[0].message == "1 case refers to the stage (Case.stage); delete or change it first"
