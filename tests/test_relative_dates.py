"""Filters relative to now: segments that stay what they say as time goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm, Customer, Interaction, Principal, Session
from amity.access import Verb
from amity.access.roles import Role, TypeGrant
from amity.principals.rules import parse_grant
from amity.query import QueryError
from amity.query.relative import Period, resolved
from amity.settings import SettingsError, from_mapping
from amity.tree import Moment
from amity_graphql import execute

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
HOURS = (-24 * 400, -24 * 91, -24 * 31, -24 * 29, -72.5, -25, -23, -1.5, -0.5, 0.5, 1.5, 23, 25, 24 * 6, 24 * 8)
DAYS = (-400, -91, -31, -30, -29, -7, -6, -1, 0, 1, 6, 7, 8, 30, 400)
ZONE = "Pacific/Auckland"
"""Half a day away from UTC, so that its day is another one half of the time."""


async def times(session: Session) -> datetime:
    """Interactions around now, each with its hours in the subject, and one without a time of answer."""
    now = datetime.now(UTC)
    talk = {"channel": "letter", "direction": "inbound"}
    rows = [{**talk, "occurred_at": now + timedelta(hours=hours), "subject": str(hours)} for hours in HOURS]
    result = await session.create(Interaction, rows)
    assert not result.errors, result.errors
    return now


async def days(session: Session, today: date) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "person", "name": str(n), "born": today + timedelta(days=n)} for n in DAYS
    ]
    result = await session.create(Customer, [*rows, {"kind": "person", "name": "never"}])
    assert not result.errors, result.errors


def between(start: float, end: float) -> list[str]:
    return sorted(str(hours) for hours in HOURS if start <= hours < end)


async def test_last_and_next_days_and_hours_of_times(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        await times(session)
        cases: list[tuple[Mapping[str, Any], list[str]]] = [
            ({"lastDays": 30}, between(-720, 0)),
            ({"lastDays": 0}, []),
            ({"nextDays": 7}, between(0, 168)),
            ({"lastHours": 24}, between(-24, 0)),
            ({"nextHours": 1}, between(0, 1)),
            ({"lastDays": 90, "lt": (datetime.now(UTC) - timedelta(days=2)).isoformat()}, between(-2160, -48)),
        ]
        for where, expected in cases:
            find = session.find(Interaction).select("subject").where({"occurred_at": where})
            assert sorted(row["subject"] for row in await find.all()) == expected, where
            left = session.find(Interaction).where({"not": {"occurred_at": where}})
            assert await left.count() == len(HOURS) - len(expected)


async def test_days_of_dates_are_those_of_the_time_zone(make_crm: MakeCrm) -> None:
    field = {"entity": "Customer", "name": "born", "type": "date"}
    given = {"time_zone": ZONE, "custom_fields": [field], "plugins": ["graphql"]}
    async with make_crm(settings=given) as crm:
        session = crm.acting_as(SYSTEM)
        today = datetime.now(ZoneInfo(ZONE)).date()
        await days(session, today)
        cases: list[tuple[Mapping[str, Any], Callable[[date], bool]]] = [
            ({"lastDays": 30}, lambda day: today - timedelta(days=30) <= day <= today),
            ({"nextDays": 7}, lambda day: today <= day <= today + timedelta(days=7)),
            ({"lastDays": 0}, lambda day: day == today),
            ({"during": Period.YESTERDAY}, lambda day: day == today - timedelta(days=1)),
            ({"during": "this_week"}, lambda day: day.isocalendar()[:2] == today.isocalendar()[:2]),
            ({"during": "THIS_MONTH"}, lambda day: (day.year, day.month) == (today.year, today.month)),
            ({"during": "LAST_YEAR"}, lambda day: day.year == today.year - 1),
        ]
        for where, met in cases:
            find = session.find(Customer).select("name").where({"born": where})
            expected = {str(n) for n in DAYS if met(today + timedelta(days=n))}
            assert {row["name"] for row in await find.all()} == expected, where
        none = session.find(Customer).where(
            {"not": {"or": [{"born": {"lastDays": 36_525}}, {"born": {"nextDays": 36_525}}]}}
        )
        assert [row["name"] for row in await none.select("name").all()] == ["never"]
        document = """query($days: Int!, $period: CalendarPeriod!) {
          soon: customers(where: {born: {nextDays: $days}}) { totalCount }
          today: customers(where: {born: {during: $period}}) { nodes { name } }
          new: customers(where: {createdAt: {during: TODAY, lastHours: 1}}) { totalCount }
        }"""
        result = await execute(crm, session, document, {"days": 7, "period": "TODAY"})
        assert not result.errors, result.errors
        assert result.data["soon"]["totalCount"] == str(sum(0 <= n <= 7 for n in DAYS))
        assert result.data["today"]["nodes"] == [{"name": "0"}]
        assert result.data["new"]["totalCount"] in (str(len(DAYS) + 1), "0")  # midnight may just have passed


async def test_a_role_may_be_limited_to_the_last_days(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await times(crm.acting_as(SYSTEM))
        entity = crm.catalog.of(Interaction)
        rows = {"occurred_at": {"lastDays": 30}}
        grants: dict[tuple[str, Verb], TypeGrant] = {
            (entity.code, "read"): parse_grant(crm.catalog, entity, rows, None)
        }
        session = crm.acting_as(Principal("user", "usr_1", roles=(Role("recent", uuid4(), grants=grants),)))
        for _ in range(2):  # the second statement is written from what was kept of the first
            found = await session.find(Interaction).select("subject").all()
            assert sorted(row["subject"] for row in found) == between(-720, 0)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"occurred_at": {"lastDays": -1}}, "expected a whole number from 0 to 36525, got -1"),
        ({"occurred_at": {"lastDays": 36_526}}, "expected a whole number from 0 to 36525, got 36526"),
        ({"occurred_at": {"lastHours": True}}, "expected a whole number from 0 to 876600, got True"),
        ({"occurred_at": {"during": "NEXT_CENTURY"}}, "unknown period 'NEXT_CENTURY'; expected one of TODAY"),
        ({"subject": {"lastDays": 1}}, "unknown operator 'lastDays'"),
    ],
)
@pytest.mark.once
async def test_what_is_refused(make_crm: MakeCrm, where: Mapping[str, Any], message: str) -> None:
    async with make_crm() as crm:
        with pytest.raises(QueryError, match=message):
            crm.acting_as(SYSTEM).find(Interaction).where(where)


def test_a_time_zone_that_is_none() -> None:
    with pytest.raises(SettingsError, match="time_zone: no such time zone is known here"):
        from_mapping({"time_zone": "Mars/Olympus"})


ZONES = st.sampled_from(["UTC", ZONE, "Europe/Zurich", "America/St_Johns", "Asia/Kathmandu"])
NOWS = st.datetimes(datetime(1990, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))


def holds(period: Period, today: date, day: date) -> bool:
    """The periods once more, from what a calendar says of two days."""
    prefix, _, unit = period.value.partition("_")
    if not unit:
        return day == today + timedelta(days={"today": 0, "yesterday": -1, "tomorrow": 1}[prefix])
    count = {"last": -1, "this": 0, "next": 1}[prefix]

    def number(at: date) -> int:
        return {
            "week": (at - date(1969, 12, 29)).days // 7,
            "month": at.year * 12 + at.month,
            "quarter": at.year * 4 + (at.month + 2) // 3,
            "year": at.year,
        }[unit]

    return number(day) == number(today) + count


@settings(max_examples=200)
@given(NOWS, ZONES, st.sampled_from(Period), st.integers(-800, 800))
@example(datetime(2026, 5, 31, 12, tzinfo=UTC), "UTC", Period.THIS_QUARTER, 0)
def test_periods_are_those_of_the_calendar(now: datetime, zone: str, period: Period, offset: int) -> None:
    from amity.query.relative import _period

    unit, count = _period(period, ())
    start, end = (resolved(Moment(unit, n, zone, True), now) for n in (count, count + 1))
    today = now.astimezone(ZoneInfo(zone)).date()
    day = today + timedelta(days=offset)
    assert (start <= day < end) == holds(period, today, day)
    times = [resolved(Moment(unit, n, zone, False), now) for n in (count, count + 1)]
    assert [at.astimezone(ZoneInfo(zone)).date() for at in times if isinstance(at, datetime)] == [start, end]
