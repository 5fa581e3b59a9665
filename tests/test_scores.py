"""Scores: computed in SQL, in Python and in other processes; read, kept, and safe from what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from amity import (
    SYSTEM,
    AccessDenied,
    Context,
    Customer,
    Need,
    Plugin,
    Principal,
    Score,
    Scored,
    ScoreQuery,
    Scorer,
    Session,
    Update,
)
from amity.access import Everything as EveryRight
from amity.access import Rights, Verb
from amity.change import PluginError
from amity.entity import EntityType, decode_id
from amity.query import QueryError
from amity.testing import assert_scorer
from amity.tree import Compare, Condition

from .blocking_scorer import Length, die, measure
from .conftest import MakeCrm, killed_at_work


class Everything(BaseModel):
    text: str
    size: Literal["small", "large"]
    small: int = Field(ge=0, le=1000)
    large: int
    ratio: float
    good: bool
    day: date
    at: datetime
    maybe: float | None


def everything(name: str, ratio: float = 0.1) -> Everything:
    return Everything(
        text=name,
        size="large" if len(name) > 5 else "small",
        small=len(name),
        large=len(name) * 2**40,
        ratio=ratio,
        good=len(name) % 2 == 0,
        day=date(2026, 1, 1) + timedelta(days=len(name)),
        at=datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC),
        maybe=None if len(name) < 4 else ratio,
    )


class Made(Plugin):
    """Scores customers by their names, in Python."""

    name = "made"
    ratio = 0.1
    ratios: dict[str, float] = {}

    def needs(self) -> Sequence[Need]:
        return [Need(Customer, {"read"})]

    def scorers(self) -> Sequence[Scorer]:
        return [Scorer("made", "1", Customer, Everything, compute=self._compute)]

    async def _compute(self, context: Context, ids: Sequence[UUID] | None) -> AsyncIterator[Sequence[Scored]]:
        query = context.session.find(Customer).select("id", "name")
        if ids is not None:
            query = query.where({"id": {"in": ids}})
        async for rows in query.stream(2):
            yield [
                Scored(
                    decode_id("cus", row["id"]), everything(row["name"], self.ratios.get(row["name"], self.ratio))
                )
                for row in rows
                if not row["name"].startswith("skip")
            ]


async def people(session: Session, *names: str) -> list[UUID]:
    made = await session.create(Customer, [{"kind": "person", "name": name} for name in names])
    return [id for id in made.ids if id]


async def some(session: Session) -> None:
    await people(session, "Ann", "Bob Stone", "Cleo", "skip me", "Dora", "Emil Jannings")


async def compute(session: Session, scorer: str, **given: Any) -> dict[str, Any]:
    result = await session.run("compute_scores", [{"scorer": scorer, **given}])
    assert not result.errors, result.errors
    assert result.ids[0] is not None
    run = await session.find("ScoreRun").select("changed", "withdrawn", "asked").get(result.ids[0])
    assert run is not None
    return run


# --- what it computes ---------------------------------------------------------------------------------------


async def test_a_scorer_in_python_is_one_like_any_other(server_url: str | None) -> None:
    await assert_scorer(Made, some, server_url=server_url)


async def test_every_kind_of_output_reads_as_its_field(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await compute(session, "made")

        names = [f"made.{name}" for name in Everything.model_fields]
        found = await session.find(Customer).select(*names).where({"made": {"size": {"eq": "small"}}}).all()

        assert found[0]["made"] == {
            "text": "Ann",
            "size": "small",
            "small": 3,
            "large": str(3 * 2**40),
            "ratio": 0.1,
            "good": False,
            "day": "2026-01-04",
            "at": "2026-01-01T12:30:15.123456Z",
            "maybe": None,
        }
        assert len(found) == 3


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ratios=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
async def test_floats_are_kept_to_the_last_bit(make_crm: MakeCrm, ratios: list[float]) -> None:
    plugin = Made()
    plugin.ratios = {f"Customer {i}": ratio for i, ratio in enumerate(ratios)}
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        await people(session, *plugin.ratios)
        await compute(session, "made")

        again = await compute(session, "made")
        found = await session.find(Customer).select("name", "made.ratio").all()

        assert again == {"changed": 0, "withdrawn": 0, "asked": None}
        assert {row["name"]: row["made"]["ratio"] for row in found} == plugin.ratios


class Blocking(Plugin):
    """Scores in other processes."""

    name = "blocking"

    def needs(self) -> Sequence[Need]:
        return [Need(Customer, {"read"})]

    def scorers(self) -> Sequence[Scorer]:
        return [Scorer("length", "1", Customer, Length, compute=self._inputs, blocking=measure)]

    async def _inputs(
        self, context: Context, ids: Sequence[UUID] | None
    ) -> AsyncIterator[Sequence[tuple[UUID, str]]]:
        query = context.session.find(Customer).select("id", "name")
        if ids is not None:
            query = query.where({"id": {"in": ids}})
        async for rows in query.stream(2):
            yield [(decode_id("cus", row["id"]), row["name"]) for row in rows]


async def test_a_blocking_scorer_runs_in_other_processes(
    make_crm: MakeCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMITY_TEST_ASKING", str(os.getpid()))
    async with make_crm([Blocking]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)

        done = await compute(session, "length")

        found = await session.find(Customer).select("length.length").order_by("-length.length").all()
        digests = await session.find(Score).select("inputs_digest").all()
        assert done["changed"] == 6
        assert [row["length"]["length"] for row in found] == ["13", "9", "7", "4", "4", "3"]
        assert len({row["inputs_digest"] for row in digests}) == 6


async def test_a_process_that_dies_fails_the_run_and_nothing_else(make_crm: MakeCrm) -> None:
    class Dying(Blocking):
        """Dies."""

        def scorers(self) -> Sequence[Scorer]:
            return [dataclasses.replace(super().scorers()[0], blocking=die)]

    async with make_crm([Dying]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        with pytest.raises(PluginError, match="plugin 'blocking': the scorer 'length' failed: BrokenProcessPool"):
            await compute(session, "length")
        assert await session.find(Score).count() == 0


# --- what it keeps ------------------------------------------------------------------------------------------


async def test_only_what_changed_is_written_and_history_is_read_as_of_a_time(make_crm: MakeCrm) -> None:
    plugin = Made()
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        ann, _ = await people(session, "Ann", "Bob")
        await compute(session, "made")
        between = datetime.now(UTC)
        plugin.ratios = {"Ann": 0.9}

        assert await compute(session, "made") == {"changed": 1, "withdrawn": 0, "asked": None}

        history = session.find(Score).where({"entity_id": {"eq": f"cus_{ann.hex}"}, "scorer": {"eq": "made"}})
        assert [row["value"]["ratio"] for row in await history.order_by("-computed_at").select("value").all()] == [
            0.9,
            0.1,
        ]
        then = (
            await history.where({"computed_at": {"lte": between}}).order_by("-computed_at").select("value").one()
        )
        assert then is not None
        assert then["value"]["ratio"] == 0.1


async def test_a_record_that_has_no_score_any_more_loses_it_and_history_says_since_when(make_crm: MakeCrm) -> None:
    plugin = Made()
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        ann, bob = await people(session, "Ann", "Bob")
        await compute(session, "made")
        await session.update(Customer, [_renamed(ann, "skip Ann"), _renamed(bob, "skip Bob")])

        assert await compute(session, "made", ids=[f"cus_{ann.hex}"]) == {"changed": 0, "withdrawn": 1, "asked": 1}

        found = await session.find(Customer).select("made.text").order_by("name").all()
        last = await session.find(Score).select("value").order_by("-computed_at").one()
        assert found == [{"made": None}, {"made": {"text": "Bob"}}]
        assert last == {"value": None}


def _renamed(id: UUID, name: str) -> Any:
    return Update(id, {"name": name})


async def test_deleted_customers_are_not_scored_and_get_their_score_back_when_restored(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        session = crm.acting_as(SYSTEM)
        ann, _ = await people(session, "Ann", "Bob")
        await compute(session, "made")
        await session.delete(Customer, [ann])
        assert await session.find(Customer).where({"made": {"text": {"isNull": False}}}).count() == 1
        await session.restore(Customer, [ann])
        assert await session.find(Customer).where({"made": {"text": {"isNull": False}}}).count() == 2


async def test_a_run_is_one_event_whatever_it_changed(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        before = len(await crm.events.read())
        await compute(session, "made")
        (event,) = (await crm.events.read())[before:]
        assert (event.type, event.actor) == ("score_run.created", "plugin:made")
        assert event.after is not None
        assert (event.after["changed"], event.after["scorer"]) == (5, "made")


async def test_progress_is_told(make_crm: MakeCrm) -> None:
    told: list[tuple[int, int | None]] = []
    async with make_crm([Made]) as crm:
        await some(crm.acting_as(SYSTEM))
        session = crm.acting_as(SYSTEM, progress=lambda done, total: told.append((done, total)))
        await compute(session, "made")
    assert told[0] == (0, 6)
    assert told[-1] == (5, 6)


# --- what goes wrong ----------------------------------------------------------------------------------------


async def test_unknown_scorers_and_foreign_ids_are_user_errors(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.run(
            "compute_scores", [{"scorer": "rfm"}, {"scorer": "made", "ids": ["dea_" + 32 * "0"]}]
        )
        assert [error.message for error in result.errors] == [
            "there is no scorer 'rfm'; enabled are made",
            f"'dea_{32 * '0'}' is an id of Deal; expected an id of Customer (cus_…)",
        ]


@pytest.mark.parametrize(
    ("yielded", "problem"),
    [
        (
            lambda id: [Scored(id, Length(length=1))],
            r"yielded Scored\(.*expected batches of Scored\(id, Everything",
        ),
        (lambda id: [Scored(id, everything("x", math.inf))], "computed inf for 'ratio'; expected a finite"),
        (lambda id: [Scored(id, everything("x"))] * 2, "found two scores for one record"),
        (lambda id: [Scored(id, everything("a\x00b"))], "computed a text with the character NUL for 'text'"),
    ],
)
async def test_what_is_no_score_fails_the_run_by_name(make_crm: MakeCrm, yielded: Any, problem: str) -> None:
    class Wrong(Plugin):
        """Yields what it should not."""

        name = "wrong"

        def needs(self) -> Sequence[Need]:
            return [Need(Customer, {"read"})]

        def scorers(self) -> Sequence[Scorer]:
            return [Scorer("wrong", "1", Customer, Everything, compute=self._compute)]

        async def _compute(self, context: Context, ids: Any) -> AsyncIterator[Sequence[Scored]]:
            row = await context.session.find(Customer).one()
            assert row is not None
            yield yielded(decode_id("cus", row["id"]))

    async with make_crm([Wrong]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        with pytest.raises(PluginError, match=f"plugin 'wrong': the scorer 'wrong' {problem}"):
            await compute(session, "wrong")
        left = await crm.database.read("SELECT count(*) FROM core_score_draft")
        assert left[0][0] == 0


class Counted(BaseModel):
    number: int


def sql_scorer(select: Any, **more: Any) -> type[Plugin]:
    class Selecting(Plugin):
        """Scores by SQL."""

        name = "selecting"

        def needs(self) -> Sequence[Need]:
            return [Need(Customer, {"read"})]

        def scorers(self) -> Sequence[Scorer]:
            return [Scorer("counted", "1", Customer, Counted, select=select, **more)]

    return Selecting


def twice(context: Context, query: ScoreQuery) -> str:
    rows = query.rows(Customer)
    return f"select c.id, 1 as number from {rows} c union all select c.id, 2 as number from {rows} c"


async def test_two_scores_for_one_record_are_refused(make_crm: MakeCrm) -> None:
    async with make_crm([sql_scorer(twice)]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        with pytest.raises(PluginError, match="found two scores for one record"):
            await compute(session, "counted")


async def test_a_scorer_that_takes_too_long_is_stopped(make_crm: MakeCrm) -> None:
    class Slow(Plugin):
        """Sleeps."""

        name = "slow"

        def needs(self) -> Sequence[Need]:
            return [Need(Customer, {"read"})]

        def scorers(self) -> Sequence[Scorer]:
            limit = timedelta(seconds=0.05)
            return [Scorer("slow", "1", Customer, Counted, compute=self._compute, timeout=limit)]

        async def _compute(self, context: Context, ids: Any) -> AsyncIterator[Sequence[Scored]]:
            await asyncio.sleep(30)
            yield []

    async with make_crm([Slow]) as crm:
        with pytest.raises(PluginError, match=r"the scorer 'slow' took longer than 0\.05 seconds"):
            await compute(crm.acting_as(SYSTEM), "slow")


class AnnOnly(EveryRight):
    """Of customers, those named Ann."""

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return Compare("name", "eq", "Ann") if entity.name == "Customer" else None


class Unprivileged(EveryRight):
    def may(self, permission: str) -> bool:
        return False


class OnlyAnn:
    """Plugins see customers named Ann; only the system has permissions."""

    def rights(self, principal: Principal) -> Rights:
        kinds = {"plugin": AnnOnly, "system": EveryRight}
        return kinds.get(principal.kind, Unprivileged)(principal)


def by_name(context: Context, query: ScoreQuery) -> str:
    return f"select c.id, length(c.name) as number from {query.rows(Customer)} c"


async def test_a_scorer_sees_and_scores_what_its_plugin_may_read(make_crm: MakeCrm) -> None:
    async with make_crm([sql_scorer(by_name)], policy=OnlyAnn()) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        assert (await compute(session, "counted"))["changed"] == 1
        with pytest.raises(AccessDenied, match=r"core\.compute_scores"):
            await crm.acting_as(Principal("user", "mia")).run("compute_scores", [{"scorer": "counted"}])


async def test_scores_obey_access_like_every_table(make_crm: MakeCrm) -> None:
    class High(EveryRight):
        def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
            return Compare("number", "gt", 4) if entity.name == "CountedScore" else None

    class Hidden:
        def rights(self, principal: Principal) -> Rights:
            return High(principal) if principal.kind == "user" else EveryRight(principal)

    async with make_crm([sql_scorer(by_name)], policy=Hidden()) as crm:
        await some(crm.acting_as(SYSTEM))
        await compute(crm.acting_as(SYSTEM), "counted")
        mia = crm.acting_as(Principal("user", "mia"))
        found = await mia.find(Customer).select("counted.number").order_by("-counted.number").all()
        seen = [row["counted"]["number"] for row in found if row["counted"]]
        assert seen == ["13", "9", "7"]
        assert await mia.find(Customer).where({"counted": {"number": {"lt": 5}}}).count() == 0


async def test_an_unknown_field_of_a_score_is_told(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        find = crm.acting_as(SYSTEM).find(Customer)
        with pytest.raises(QueryError, match="did you mean 'ratio'"):
            find.where({"made": {"ratoi": {"gt": 1}}})
        with pytest.raises(QueryError, match="did you mean 'ratio'"):
            find.order_by("made.ratoi")


KILLED = """
import asyncio, os, signal, sys
from amity import SYSTEM, Crm, Customer
from tests.test_scores import Made

class Killed(Made):
    '''Is killed in its midst.'''
    name = "made"
    ratio = 0.7
    async def _compute(self, context, ids):
        async for batch in super()._compute(context, ids):
            yield batch
            print("begun", flush=True)
            await asyncio.sleep(60)

async def main():
    async with Crm({"database_url": sys.argv[1]}, [Killed]) as crm:
        await crm.acting_as(SYSTEM).run("compute_scores", [{"scorer": "made"}])

asyncio.run(main())
"""


async def test_a_run_that_is_killed_leaves_the_scores_and_the_next_one_completes(make_crm: MakeCrm) -> None:
    async with make_crm([Made]) as crm:
        session = crm.acting_as(SYSTEM)
        await some(session)
        await compute(session, "made")
        await killed_at_work(KILLED, crm.settings.database_url)

        found = await session.find(Customer).select("made.ratio").where({"made": {"ratio": {"eq": 0.1}}}).all()
        assert len(found) == 5
        assert (await compute(session, "made"))["changed"] == 0
