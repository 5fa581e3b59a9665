"""Batches of changes: what is checked, what is written, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    AccessDenied,
    Action,
    ChangeResult,
    ContactPoint,
    Context,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Event,
    ExternalId,
    Interaction,
    LogEvent,
    Need,
    Permission,
    Pipeline,
    Plugin,
    Principal,
    Problem,
    Proposed,
    Record,
    Relationship,
    Session,
    Stage,
    StageMove,
    Subscriber,
    Team,
    Update,
    User,
    UserError,
    Validator,
)
from amity.access import Everything as EveryRight
from amity.access import Rights, Verb
from amity.change import BadRequest, ChangeError, PluginError, UnknownAction, in_unit
from amity.database import DatabaseError
from amity.entity import EntityType, Generic, encode_id, new_id
from amity.testing import recorded
from amity.tree import Compare, Condition, Never

from .conftest import MakeCrm

NOBODY = Principal("user", "usr_nobody")


def codes(result: ChangeResult) -> list[tuple[int, tuple[str | int, ...], str]]:
    return [(error.index, error.path, error.code) for error in result.errors]


def the_error(result: ChangeResult) -> UserError:
    assert len(result.errors) == 1, result.errors
    return result.errors[0]


def person(name: str = "Ann Lee", **more: Any) -> dict[str, Any]:
    return {"kind": "person", "name": name, **more}


async def created(session: Session, entity: type[Record], *rows: Mapping[str, Any]) -> list[UUID]:
    result = await session.create(entity, rows)
    assert not result.errors, result.errors
    return [id for id in result.ids if id is not None]


async def version_of(session: Session, entity: type[Record], id: UUID) -> int:
    row = await session.find(entity).select("version").get(id)
    assert row is not None
    return int(row["version"])


class Everything(Entity):
    """One column of every kind."""

    text: Any = fields.CharField(max_length=20, null=True)
    long_text: Any = fields.TextField(null=True)
    small: Any = fields.SmallIntField(null=True)
    number: Any = fields.IntField(null=True)
    big: Any = fields.BigIntField(null=True)
    real: Any = fields.FloatField(null=True)
    flag: Any = fields.BooleanField(null=True)
    instant: Any = fields.DatetimeField(null=True)
    day: Any = fields.DateField(null=True)
    extra: Any = fields.JSONField(null=True)
    facts: Any = fields.JSONField(default=dict)
    price_minor: Any = fields.BigIntField()
    price_currency: Any = fields.CharField(max_length=3)
    counted: Any = fields.IntField(default=0)

    options = EntityOptions(
        prefix="evy",
        api=EDITABLE,
        money={"price": ("price_minor", "price_currency")},
        read_only={"counted"},
        unique=("text",),
    )


class Note(Entity):
    """A note on anything."""

    about_type: Any = fields.CharField(max_length=100)
    about_id: Any = fields.UUIDField()
    text: Any = fields.CharField(max_length=200)

    options = EntityOptions(prefix="note", api=EDITABLE, generic=(Generic("about", related_name="notes"),))


class Visit(Record):
    """An entry of a log."""

    customer: Any = fields.ForeignKeyField("core.Customer", on_delete=fields.CASCADE)
    page: Any = fields.CharField(max_length=200)

    options = EntityOptions(prefix="vis")


class Kinds(Plugin):
    name = "kinds"

    def entities(self) -> Sequence[type[Record]]:
        return [Everything, Note, Visit]


PRICE = {"price": {"amount": 5, "currency": "EUR"}}


# --- creating ----------------------------------------------------------------------------------------------


async def test_a_new_row_has_defaults_and_can_be_found(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        before = datetime.now(UTC)
        result = await session.create(Customer, [person("Anna STRAẞE")])
        assert result.created == 1
        row = (
            await session.find(Customer)
            .where({"name": {"contains": "strasse"}})
            .select("id", "lifecycle", "version", "custom_fields", "created_at", "updated_at")
            .one()
        )
        assert row is not None
        assert (row["lifecycle"].lower(), row["version"], row["custom_fields"]) == ("prospect", 1, {})
        assert row["created_at"] == row["updated_at"]
        assert before <= datetime.fromisoformat(row["created_at"]) <= datetime.now(UTC)
        assert row["id"] == encode_id("cus", result.ids[0] or new_id())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("text", 5, "expected a text, got 5"),
        ("text", "x" * 21, "has 21 characters; at most 20 are allowed"),
        ("text", "a\x00b", "NUL"),
        ("text", "a\ud800", "surrogate"),
        ("long_text", b"bytes", "expected a text"),
        ("small", 2**15, "from -32768 to 32767"),
        ("number", 2**31, "from -2147483648 to 2147483647"),
        ("number", True, "expected an integer"),
        ("number", "5", "expected an integer"),
        ("number", 5.0, "expected an integer"),
        ("big", 2**63, "from -9223372036854775808"),
        ("big", "12x", "expected an integer"),
        ("real", math.nan, "expected a finite number"),
        ("real", -math.inf, "expected a finite number"),
        ("real", 10**400, "expected a finite number"),
        ("real", "1", "expected a number"),
        ("flag", 1, "expected true or false"),
        ("instant", "2026-01-31T12:00:00", "has no time zone; add Z"),
        ("instant", datetime(2026, 1, 31), "has no time zone"),
        ("instant", "yesterday", "expected a time like 2026-01-31T12:00:00Z"),
        ("instant", datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "years 1 to 9999"),
        ("day", "2026-02-30", "is not in the calendar"),
        ("day", "20260201", "expected a date like 2026-01-31"),
        ("day", datetime.now(UTC), "expected a date"),
        ("extra", {"a": [1, {"b": math.inf}]}, "finite numbers"),
        ("extra", {"a\x00": 1}, "NUL"),
        ("extra", {1: 1}, "is no text"),
        ("extra", object(), "is no JSON"),
        ("extra", 2**64, "at most 64 bits"),
        ("facts", [], "expected a JSON object"),
        ("facts", None, "can't be null"),
        ("price", 5, "expected an object of amount and currency"),
        ("price", {"currency": "EUR"}, "minor units"),
        ("price", {"amount": "5,0"}, "expected an integer"),
        ("price", {"amount": 5, "currency": "euro"}, "ISO 4217"),
        ("price", {"amount": 5, "curency": "EUR"}, "there is no field 'curency'"),
        ("price", None, "can't be null"),
        ("price_minor", 5, "Everything has no field 'price_minor'; did you mean 'price'?"),
        ("counted", 5, "is not set from outside"),
        ("version", 5, "is not set from outside"),
        ("numbr", 5, "did you mean 'number'?"),
        ("id", "cus_" + "0" * 32, "is an id of Customer; expected an id of Everything (evy_…)"),
        ("id", "5", "is not an id"),
    ],
)
async def test_a_value_that_can_not_be_kept_is_told(make_crm: MakeCrm, field: str, value: Any, told: str) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.create(Everything, [{**PRICE, field: value}])
        error = the_error(result)
        assert error.path[0] == field
        assert told in error.message
        assert result.ids == (None,)
        assert await session.find(Everything).count() == 0
        assert await crm.events.read() == []


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def test_json_may_be_nested_but_not_endlessly(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.create(
            Everything, [{**PRICE, "extra": nested(32)}, {**PRICE, "extra": nested(33)}], on_error="skip_invalid"
        )
        assert codes(result) == [(1, ("extra", *[0] * 32), "invalid")]
        assert result.created == 1


texts = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
everything = st.fixed_dictionaries(
    {"price": st.fixed_dictionaries({"amount": st.integers(-(2**63), 2**63 - 1), "currency": st.just("CHF")})},
    optional={
        "long_text": texts | st.none(),
        "small": st.integers(-(2**15), 2**15 - 1) | st.none(),
        "number": st.integers(-(2**31), 2**31 - 1),
        "big": st.integers(-(2**63), 2**63 - 1),
        "real": st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "instant": st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
        | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 30), timezones=st.timezones()),
        "day": st.dates() | st.sampled_from([date.min, date.max]),
        "extra": st.dictionaries(texts, trees, max_size=4),
        "facts": st.dictionaries(texts, trees, max_size=4),
    },
)


def as_written(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of input, as a reader of the database sees it."""
    seen = {**row, "price": {"amount": str(row["price"]["amount"]), "currency": row["price"]["currency"]}}
    if "instant" in row:
        seen["instant"] = row["instant"].astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    if "day" in row:
        seen["day"] = row["day"].isoformat()
    if "big" in row:
        seen["big"] = str(row["big"])
    return seen


async def test_what_is_written_is_read_back_the_same(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        loop = asyncio.get_running_loop()

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(rows=st.lists(everything, min_size=1, max_size=5))
        def law(rows: list[dict[str, Any]]) -> None:
            asyncio.run_coroutine_threadsafe(holds(rows), loop).result()

        async def holds(rows: list[dict[str, Any]]) -> None:
            ids = await created(session, Everything, *rows)
            for id, row in zip(ids, rows, strict=True):
                names = sorted(row)
                seen, expected = await session.find(Everything).select(*names).get(id), as_written(row)
                assert seen is not None
                if "real" in row:
                    # SQLite writes the last of 17 digits as it likes; what it keeps is exact, as is shown below
                    assert seen.pop("real") == pytest.approx(expected.pop("real"), rel=1e-15)
                assert seen == expected
            # the same once more is no change, whatever form the database keeps it in
            again = await session.update(Everything, [Update(id, row) for id, row in zip(ids, rows, strict=True)])
            assert (again.unchanged, again.updated, again.errors) == (len(rows), 0, ())

        await asyncio.to_thread(law)


async def test_required_fields_are_told_by_name(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        assert codes(await session.create(Customer, [{}])) == [
            (0, ("kind",), "required"),
            (0, ("name",), "required"),
        ]
        assert codes(await session.create(Everything, [{}])) == [(0, ("price",), "required")]
        assert codes(await session.create(Deal, [{"name": "x"}])) == [(0, ("stage_id",), "required")]
        assert codes(await session.create(Customer, ["x"])) == [(0, (), "invalid")]  # type: ignore[list-item]


async def test_a_currency_that_is_left_out_is_the_settings(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds], {"default_currency": "CHF"}) as crm:
        session = crm.acting_as(SYSTEM)
        (id,) = await created(session, Everything, {"price": {"amount": "12"}})
        row = await session.find(Everything).select("price").get(id)
        assert row == {"price": {"amount": "12", "currency": "CHF"}}


async def test_choices_are_told(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        error = the_error(await crm.acting_as(SYSTEM).create(Customer, [person(kind="persn")]))
        assert error.message == "is 'persn'; did you mean 'person'? expected one of person, organization"


async def test_a_client_may_bring_its_own_id_once(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        mine = new_id()
        result = await session.create(Customer, [person(id=encode_id("cus", mine))])
        assert result.ids == (mine,)
        error = the_error(await session.create(Customer, [person(id=mine)]))
        assert (error.path, error.code) == (("id",), "taken")
        await session.delete(Customer, [mine])
        assert the_error(await session.create(Customer, [person(id=mine)])).code == "taken"
        other = new_id()
        twice = await session.create(Customer, [person(id=other), person(id=other)])
        assert codes(twice) == [(1, ("id",), "duplicate")]


async def test_all_or_nothing_unless_the_invalid_are_skipped(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        rows = [person("A"), {"kind": "person"}, person("C")]
        refused = await session.create(Customer, rows)
        assert (refused.ids, refused.created) == ((None, None, None), 0)
        assert await session.find(Customer).count() == 0
        skipped = await session.create(Customer, rows, on_error="skip_invalid")
        assert [id is None for id in skipped.ids] == [False, True, False]
        assert skipped.created == 2
        assert codes(skipped) == [(1, ("name",), "required")]
        with pytest.raises(BadRequest, match="on_error is 'ignore'; expected one of reject_all, skip_invalid"):
            await session.create(Customer, rows, on_error="ignore")


async def test_what_a_row_refers_to_must_be_there_and_alive(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        gone, there = await created(session, Customer, person("Gone"), person("There"))
        await session.delete(Customer, [gone])
        rows = [person(organization_id=id) for id in (there, gone, new_id())]
        result = await session.create(Customer, rows)
        assert codes(result) == [(1, ("organization_id",), "not_found"), (2, ("organization_id",), "not_found")]
        assert len({error.message for error in result.errors}) == 1


async def test_rows_of_one_batch_may_refer_to_each_other(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, acme = new_id(), new_id()
        await created(
            session,
            Customer,
            person(id=ann, organization_id=acme),
            {"id": acme, "kind": "organization", "name": "Acme"},
        )
        row = await session.find(Customer).select("organization.name").get(ann)
        assert row == {"organization": {"name": "Acme"}}


async def test_a_generic_reference_takes_an_id_of_any_kind(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        await created(session, Note, {"about_id": encode_id("cus", ann), "text": "hi"})
        assert await session.find(Customer).where({"notes": {"some": {"text": {"eq": "hi"}}}}).count() == 1
        result = await session.create(
            Note,
            [
                {"about_id": ann, "text": "no type"},
                {"about_id": ann, "about_type": "core.Customer", "text": "fine"},
                {"about_id": encode_id("cus", ann), "about_type": "core.Deal", "text": "contradiction"},
                {"about_id": encode_id("dea", ann), "text": "no such deal"},
                {"text": "about nothing"},
            ],
            on_error="skip_invalid",
        )
        assert codes(result) == [
            (0, ("about_id",), "invalid"),
            (2, ("about_type",), "invalid"),
            (3, ("about_id",), "not_found"),
            (4, ("about_id",), "required"),
        ]
        assert result.created == 1


async def test_logs_are_added_to_and_never_changed(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        (visit,) = await created(session, Visit, {"customer_id": ann, "page": "/"})
        with pytest.raises(BadRequest, match="Visit is a log"):
            await session.update(Visit, [Update(visit, {"page": "/x"})])
        with pytest.raises(BadRequest, match="Visit is a log"):
            await session.delete(Visit, [visit])
        for entity in (Event, StageMove):
            with pytest.raises(BadRequest, match="are written by the core itself"):
                await session.create(entity, [{}])
        assert [event.type for event in await crm.events.read()] == ["customer.created", "visit.created"]


async def test_a_large_batch_is_a_handful_of_statements(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        with recorded() as many:
            await created(session, Customer, *(person(f"P{i}") for i in range(4000)))
        with recorded() as one:
            await created(session, Customer, person())
        # after the commit, PostgreSQL is told to look at tables that grew so much
        assert len([sql for sql in many if not sql.startswith("ANALYZE")]) <= len(one) + 1


# --- updating ----------------------------------------------------------------------------------------------


async def test_only_named_fields_change(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person(source="fair", note="n"))
        result = await session.update(Customer, [Update(encode_id("cus", ann), {"source": None, "locale": "de"})])
        assert (result.updated, result.ids) == (1, (ann,))
        row = await session.find(Customer).select("name", "source", "note", "locale", "version").get(ann)
        assert row == {"name": "Ann Lee", "source": None, "note": "n", "locale": "de", "version": 2}
        event = (await crm.events.read())[-1]
        assert event.type == "customer.updated"
        assert event.before == {"source": "fair", "locale": None}
        assert event.after == {"source": None, "locale": "de"}


async def test_null_where_a_value_is_needed_is_refused(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        result = await session.update(Customer, [Update(ann, {"name": None, "custom_fields": None, "id": ann})])
        assert codes(result) == [
            (0, ("name",), "required"),
            (0, ("custom_fields",), "required"),
            (0, ("id",), "read_only"),
        ]


async def test_an_update_that_changes_nothing_writes_nothing(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person(custom_fields={"a": 1}))
        events = len(await crm.events.read())
        result = await session.update(Customer, [Update(ann, {"name": "Ann Lee", "custom_fields": {"a": 1}})])
        assert (result.unchanged, result.updated) == (1, 0)
        assert await version_of(session, Customer, ann) == 1
        assert len(await crm.events.read()) == events
        # true, 1 and 1.0 are the same to Python, not in JSON
        changed = await session.update(Customer, [Update(ann, {"custom_fields": {"a": True}})])
        assert changed.updated == 1


async def test_somebody_elses_change_is_not_overwritten(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        await session.update(Customer, [Update(ann, {"note": "first"}, expected_version=1)])
        error = the_error(await session.update(Customer, [Update(ann, {"note": "second"}, expected_version=1)]))
        assert error.code == "conflict"
        assert error.message == "expected version 1, but it is version 2 by now"


async def test_rows_that_are_not_there_answer_like_deleted_ones(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        await session.delete(Customer, [ann])
        patches = [Update(ann, {"name": "x"}), Update(new_id(), {"name": "x"}), Update("dea_" + "0" * 32, {})]
        result = await session.update(Customer, patches)
        assert [error.code for error in result.errors] == ["not_found", "not_found", "invalid"]
        assert result.errors[0].message == result.errors[1].message


async def test_one_record_is_changed_once_a_batch(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        result = await session.update(Customer, [Update(ann, {"name": "1"}), Update(ann, {"name": "2"})])
        assert codes(result) == [(1, ("id",), "duplicate")]


async def test_different_patches_share_a_batch(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ids = await created(session, Customer, *(person(f"P{i}", note="n") for i in range(3)))
        patches: list[dict[str, Any]] = [{"name": "Q"}, {"note": None}, {"custom_fields": {"x": [1]}}]
        await session.update(Customer, [Update(id, patch) for id, patch in zip(ids, patches, strict=True)])
        rows = await session.find(Customer).select("name", "note", "custom_fields").order_by("id").all()
        assert rows == [
            {"name": "Q", "note": "n", "custom_fields": {}},
            {"name": "P1", "note": None, "custom_fields": {}},
            {"name": "P2", "note": "n", "custom_fields": {"x": [1]}},
        ]


async def test_search_follows_a_change_of_name(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person("Ann Lee", family_name="Lee"))
        await session.update(Customer, [Update(ann, {"family_name": "MÜLLER"})])
        row = await crm.database.read("SELECT search_text FROM core_customer")
        assert row[0][0] == "ann lee\n\nmuller"


async def test_read_only_columns_are_for_the_plugin_that_owns_them(make_crm: MakeCrm) -> None:
    from amity import change

    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        (id,) = await created(session, Everything, PRICE)
        assert the_error(await session.update(Everything, [Update(id, {"counted": 3})])).code == "read_only"
        result = await change.update(session, Everything, [Update(id, {"counted": 3})], read_only=True)
        assert result.updated == 1
        kept = await change.update(session, Everything, [Update(id, {"version": 9})], read_only=True)
        assert the_error(kept).code == "read_only"


# --- unique keys and upserts -------------------------------------------------------------------------------


async def test_a_taken_key_is_told_by_field(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        north, south = await created(session, Team, {"name": "North"}, {"name": "South"})
        error = the_error(await session.create(Team, [{"name": "North"}]))
        assert (error.path, error.code) == (("name",), "taken")
        assert error.message == "another team has the same name"
        assert the_error(await session.update(Team, [Update(south, {"name": "North"})])).code == "taken"
        twice = await session.create(Team, [{"name": "West"}, {"name": "West"}], on_error="skip_invalid")
        assert (codes(twice), twice.created) == ([(1, ("name",), "duplicate")], 1)
        # its own key is nobody else's, and a deleted row holds none
        assert (await session.update(Team, [Update(north, {"name": "North"})])).unchanged == 1
        await session.delete(Team, [north])
        assert (await session.create(Team, [{"name": "North"}])).created == 1


async def test_null_is_no_key(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        result = await crm.acting_as(SYSTEM).create(User, [{"name": "A"}, {"name": "B"}])
        assert result.created == 2


async def test_an_upsert_adds_what_is_new_and_changes_what_is_there(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"email": "Ann@Example.com", "name": "Ann"}, {"email": "bo@example.com", "name": "Bo"}]
        first = await session.upsert(User, rows, on=["email"])
        assert (first.created, first.updated) == (2, 0)
        again = await session.upsert(User, rows, on=["email"])
        assert (again.created, again.updated, again.unchanged, again.ids) == (0, 0, 2, first.ids)
        rows[0]["name"] = "Anna"
        rows.append({"email": "cy@example.com", "name": "Cy"})
        third = await session.upsert(User, rows, on=["email"])
        assert (third.created, third.updated, third.unchanged) == (1, 1, 1)
        assert list(third.ids)[:2] == list(first.ids)
        assert await session.find(User).select("name", "email").order_by("name").all() == [
            {"name": "Anna", "email": "ann@example.com"},
            {"name": "Bo", "email": "bo@example.com"},
            {"name": "Cy", "email": "cy@example.com"},
        ]


async def test_an_upsert_leaves_alone_what_it_does_not_name(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        key: dict[str, Any] = {"external_id": {"system": "shop", "id": "7"}}
        (ann,) = await created(session, Customer, person(note="kept", **key))
        # what is there needs no required fields
        result = await session.upsert(Customer, [{"source": "web", **key}], on=("external_id",))
        assert (result.updated, result.ids) == (1, (ann,))
        row = await session.find(Customer).select("name", "note", "source").get(ann)
        assert row == {"name": "Ann Lee", "note": "kept", "source": "web"}
        other = {"external_id": {"system": "shop", "id": "8"}}
        missing = await session.upsert(Customer, [{"source": "web", **other}], on=("external_id",))
        assert codes(missing) == [(0, ("kind",), "required"), (0, ("name",), "required")]


async def test_one_key_comes_once_in_an_upsert(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        users = [{"email": "a@example.com", "name": "A"}, {"email": "A@Example.com", "name": "B"}, {"name": "C"}]
        result = await session.upsert(User, users, on=["email"], on_error="skip_invalid")
        assert codes(result) == [(1, ("email",), "duplicate"), (2, ("email",), "required")]
        assert result.created == 1


async def test_an_upsert_does_not_find_deleted_rows(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        first = await session.upsert(Team, [{"name": "North"}], on=["name"])
        await session.delete(Team, [id for id in first.ids if id])
        second = await session.upsert(Team, [{"name": "North"}], on=["name"])
        assert (second.created, first.ids == second.ids) == (1, False)


async def test_only_keys_can_be_upserted_on(make_crm: MakeCrm) -> None:
    async with make_crm([Kinds]) as crm:
        session = crm.acting_as(SYSTEM)
        with pytest.raises(BadRequest, match=r"its keys are \(email\), \(external_id\)"):
            await session.upsert(User, [], on=["name"])
        # unique only among those that are not shared, so it finds none for sure
        with pytest.raises(BadRequest, match=r"its keys are \(customer_id, channel, address\)"):
            await session.upsert(ContactPoint, [], on=["channel", "address"])
        (ann,) = await created(session, Customer, person())
        points = [{"customer_id": ann, "channel": "email", "address": "A@example.com", "label": "x"}]
        for on in (["customer", "channel", "address"], ["address", "customer_id", "channel"]):
            result = await session.upsert(ContactPoint, points, on=on)
            assert not result.errors
        assert await session.find(ContactPoint).count() == 1


async def test_an_external_id_leads_to_one_record(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        one: dict[str, Any] = {"external_id": {"system": "shop", "id": "1"}}
        ann, bo = await created(session, Customer, person("Ann", **one), person("Bo"))
        error = the_error(await session.create(Customer, [person("Cy", **one)]))
        assert (error.path, error.code) == (("external_id", "id"), "taken")
        assert the_error(await session.update(Customer, [Update(bo, one)])).code == "taken"
        assert (await session.update(Customer, [Update(ann, one)])).unchanged == 1
        added = await session.update(Customer, [Update(ann, {"external_id": {"system": "erp", "id": "K1"}})])
        assert added.updated == 1
        # the same id may mean something else for another kind of record
        assert not (await session.create(Team, [{"name": "T", **one}])).errors
        both = await session.create(
            Customer,
            [
                person("X", external_id={"system": "s", "id": "x"}),
                person("Y", external_id={"system": "s", "id": "x"}),
            ],
        )
        assert codes(both) == [(1, ("external_id", "id"), "duplicate")]
        bad = await session.create(Customer, [person(external_id={"system": "", "id": 5, "x": 1})])
        assert the_error(bad).path == ("external_id", "x")


async def test_concurrent_upserts_of_one_key_end_as_one_row(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 16}) as crm:
        session = crm.acting_as(SYSTEM)
        key: dict[str, Any] = {"external_id": {"system": "shop", "id": "7"}}
        results = await asyncio.gather(
            *(session.upsert(Customer, [person(f"N{i}", **key)], on=("external_id",)) for i in range(16))
        )
        assert all(not result.errors for result in results)
        assert len({result.ids[0] for result in results}) == 1
        assert sum(result.created for result in results) == 1
        assert await session.find(Customer).count() == 1
        teams = await asyncio.gather(*(session.create(Team, [{"name": "North"}]) for _ in range(16)))
        assert sorted(len(result.errors) for result in teams) == [0] + [1] * 15


# --- deleting and restoring --------------------------------------------------------------------------------


async def company(session: Session) -> dict[str, UUID]:
    """A customer with everything that can hang on one."""
    ann, acme = await created(session, Customer, person(), {"kind": "organization", "name": "Acme"})
    (owner,) = await created(session, User, {"name": "Olga"})
    await session.update(Customer, [Update(ann, {"organization_id": acme, "owner_id": owner})])
    (point,) = await created(
        session, ContactPoint, {"customer_id": ann, "channel": "email", "address": "ann@example.com"}
    )
    (talk,) = await created(
        session,
        Interaction,
        {
            "customer_id": ann,
            "channel": "email",
            "direction": "inbound",
            "occurred_at": datetime.now(UTC),
            "external_id": {"system": "mail", "id": "m1"},
        },
    )
    (link,) = await created(session, Relationship, {"customer_id": ann, "related_id": acme, "type": "employee_of"})
    (pipeline,) = await created(session, Pipeline, {"name": "Sales"})
    (stage,) = await created(session, Stage, {"name": "New", "pipeline_id": pipeline})
    (deal,) = await created(session, Deal, {"name": "D", "stage_id": stage, "customer_id": ann})
    return {
        "ann": ann,
        "acme": acme,
        "owner": owner,
        "point": point,
        "talk": talk,
        "link": link,
        "pipeline": pipeline,
        "stage": stage,
        "deal": deal,
    }


async def test_a_deletion_takes_along_what_belongs_to_the_row(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        result = await session.delete(Customer, [encode_id("cus", at["ann"])])
        assert (result.deleted, result.ids) == (1, (at["ann"],))
        for entity, id in (
            (Customer, "ann"),
            (ContactPoint, "point"),
            (Interaction, "talk"),
            (Relationship, "link"),
        ):
            assert await session.find(entity).get(at[id]) is None
        assert await session.find(ExternalId).count() == 0
        deal = await session.find(Deal).select("name", "customer.name").get(at["deal"])
        assert deal == {"name": "D", "customer": None}
        times = await crm.database.read(
            "SELECT deleted_at FROM core_customer WHERE deleted_at IS NOT NULL UNION "
            "SELECT deleted_at FROM core_interaction UNION SELECT deleted_at FROM core_contact_point"
        )
        assert len(times) == 1
        assert await version_of(session, Deal, at["deal"]) == 1


async def test_what_was_deleted_comes_back_whole(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        await session.delete(Interaction, [at["talk"]])
        await session.delete(Customer, [at["ann"]])
        result = await session.restore(Customer, [at["ann"]])
        assert (result.restored, result.ids) == (1, (at["ann"],))
        assert await session.find(ContactPoint).get(at["point"]) is not None
        assert await session.find(Relationship).get(at["link"]) is not None
        # it was deleted earlier, by itself
        assert await session.find(Interaction).get(at["talk"]) is None
        deal = await session.find(Deal).select("customer.name").get(at["deal"])
        assert deal == {"customer": {"name": "Ann Lee"}}
        assert await version_of(session, Customer, at["ann"]) == 4
        assert (await session.restore(Customer, [at["ann"]])).unchanged == 1
        await session.restore(Interaction, [at["talk"]])
        assert await session.find(ExternalId).count() == 1


async def test_what_is_held_is_not_deleted(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        error = the_error(await session.delete(Stage, [at["stage"]]))
        assert error.code == "held"
        assert error.message == "1 deal refers to the stage (Deal.stage); delete or change it first"
        # a pipeline would take its stages along, and those are held
        held = await session.delete(Pipeline, [at["pipeline"]])
        assert {error.code for error in held.errors} == {"held"}
        assert await session.find(Stage).get(at["stage"]) is not None
        await session.delete(Deal, [at["deal"]])
        assert (await session.delete(Pipeline, [at["pipeline"]])).deleted == 1
        assert await session.find(Stage).get(at["stage"]) is None


async def test_nothing_comes_back_to_what_is_deleted(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        await session.delete(Deal, [at["deal"]])
        await session.delete(Pipeline, [at["pipeline"]])
        result = await session.restore(Deal, [at["deal"]])
        assert codes(result) == [(0, ("pipeline_id",), "not_found"), (0, ("stage_id",), "not_found")]
        assert "restore that first" in result.errors[0].message
        await session.restore(Pipeline, [at["pipeline"]])
        assert (await session.restore(Deal, [at["deal"]])).restored == 1


async def test_a_link_comes_back_when_both_its_ends_are_back(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        await session.delete(Customer, [at["ann"], at["acme"]])
        await session.restore(Customer, [at["acme"]])
        assert await session.find(Relationship).get(at["link"]) is None
        await session.restore(Customer, [at["ann"]])
        assert await session.find(Relationship).get(at["link"]) is not None


async def test_a_key_that_was_taken_meanwhile_stops_a_restoration(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        await session.delete(Customer, [at["ann"]])
        (bo,) = await created(session, Customer, person("Bo"))
        await created(session, ContactPoint, {"customer_id": bo, "channel": "email", "address": "ann@example.com"})
        error = the_error(await session.restore(Customer, [at["ann"]]))
        assert error.code == "taken"
        assert error.message == "another contact point has the same channel and address"
        assert await session.find(Customer).get(at["ann"]) is None
        both = await session.restore(Customer, [at["ann"], at["acme"]], on_error="skip_invalid")
        assert (both.restored, both.unchanged, len(both.errors)) == (0, 1, 1)


async def test_deleting_what_is_gone_is_told(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        await session.delete(Customer, [ann])
        result = await session.delete(Customer, [ann, new_id(), "x", ann])
        assert [error.code for error in result.errors] == ["not_found", "not_found", "invalid", "duplicate"]
        assert the_error(await session.restore(Customer, [new_id()])).code == "not_found"


async def test_the_free_are_deleted_when_the_held_are_skipped(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        at = await company(session)
        (empty,) = await created(session, Stage, {"name": "Empty", "pipeline_id": at["pipeline"]})
        result = await session.delete(Stage, [at["stage"], empty], on_error="skip_invalid")
        assert (result.ids, result.deleted, len(result.errors)) == ((None, empty), 1, 1)


async def test_nobody_is_added_to_a_customer_who_is_being_deleted(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 12}) as crm:
        session = crm.acting_as(SYSTEM)
        for round in range(5):
            (ann,) = await created(session, Customer, person(f"R{round}"))
            talk = {"customer_id": ann, "channel": "web", "direction": "inbound", "occurred_at": datetime.now(UTC)}
            await asyncio.gather(
                *(session.create(Interaction, [talk]) for _ in range(5)),
                session.delete(Customer, [ann]),
                *(session.create(Interaction, [talk]) for _ in range(5)),
            )
        orphans = await crm.database.read(
            "SELECT 1 FROM core_interaction i JOIN core_customer c ON c.id = i.customer_id "
            "WHERE i.deleted_at IS NULL AND c.deleted_at IS NOT NULL"
        )
        assert orphans == []


# --- access ------------------------------------------------------------------------------------------------


class PeopleOnly(EveryRight):
    """Everything with persons, and nothing with organizations; teams are taboo."""

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        if entity.name == "Customer":
            return Compare("kind", "eq", "person")
        return Never() if entity.name == "Team" else None

    def may(self, permission: str) -> bool:
        return False


class OwnPeople:
    def rights(self, principal: Principal) -> Rights:
        return EveryRight(principal) if principal == SYSTEM else PeopleOnly(principal)


async def test_who_may_not_is_told_before_anything_is_read(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        system, nobody = crm.acting_as(SYSTEM), crm.acting_as(NOBODY)
        (ann,) = await created(system, Customer, person())
        statements = crm.database.statements
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: nobody.create(Customer, [person()]),
            lambda: nobody.update(Customer, [Update(ann, {"name": "x"})]),
            lambda: nobody.upsert(User, [{"email": "a@example.com", "name": "A"}], on=["email"]),
            lambda: nobody.delete(Customer, [ann]),
            lambda: nobody.restore(Customer, [ann]),
            lambda: nobody.run("log_interaction", [{"channel": "web", "direction": "inbound"}]),
            lambda: nobody.resolve([("email", "a@example.com")]),
        ]
        for attempt in attempts:
            with pytest.raises(AccessDenied, match="user:usr_nobody may not"):
                await attempt()
        assert crm.database.statements == statements


async def test_rows_out_of_reach_answer_like_missing_ones(make_crm: MakeCrm) -> None:
    async with make_crm(policy=OwnPeople()) as crm:
        system, somebody = crm.acting_as(SYSTEM), crm.acting_as(NOBODY)
        ann, acme, gone = await created(
            system,
            Customer,
            person(),
            {"kind": "organization", "name": "Acme"},
            {"kind": "organization", "name": "G"},
        )
        await system.delete(Customer, [gone])
        missing = new_id()
        told = await somebody.update(Customer, [Update(id, {"note": "x"}) for id in (ann, acme, missing)])
        assert codes(told) == [(1, ("id",), "not_found"), (2, ("id",), "not_found")]
        assert told.errors[0].message == told.errors[1].message
        told = await somebody.delete(Customer, [acme, missing])
        assert [error.code for error in told.errors] == ["not_found"] * 2
        told = await somebody.restore(Customer, [gone, missing])
        assert [error.code for error in told.errors] == ["not_found"] * 2
        # what one can't see, one can't link to
        told = await somebody.create(Customer, [person(organization_id=acme), person(organization_id=missing)])
        assert [error.code for error in told.errors] == ["not_found"] * 2
        assert (await somebody.update(Customer, [Update(ann, {"note": "mine"})])).updated == 1
        await somebody.delete(Customer, [ann])
        assert (await somebody.restore(Customer, [ann])).restored == 1


async def test_nothing_is_left_of_a_row_that_may_not_be_created(make_crm: MakeCrm) -> None:
    async with make_crm(policy=OwnPeople()) as crm:
        somebody = crm.acting_as(NOBODY)
        with pytest.raises(AccessDenied, match="may not create such customers"):
            await somebody.create(Customer, [person(), {"kind": "organization", "name": "Acme"}])
        assert await crm.acting_as(SYSTEM).find(Customer).count() == 0
        assert await crm.events.read() == []


async def test_the_message_about_a_key_does_not_tell_whether_its_holder_is_visible(make_crm: MakeCrm) -> None:
    async with make_crm(policy=OwnPeople()) as crm:
        system, somebody = crm.acting_as(SYSTEM), crm.acting_as(NOBODY)
        key: dict[str, Any] = {"external_id": {"system": "shop", "id": "1"}}
        await created(system, Customer, {"kind": "organization", "name": "Acme", **key})
        hidden = the_error(await somebody.upsert(Customer, [person(**key)], on=("external_id",)))
        assert hidden.code == "taken"
        assert the_error(await somebody.create(Customer, [person(**key)])).code == "taken"


# --- validators and subscribers ----------------------------------------------------------------------------


class Strict(Plugin):
    """Validators whose behavior a test decides."""

    name = "strict"
    deletions = False
    seen: list[Proposed]
    check: Callable[[Context, Sequence[Proposed]], Awaitable[Sequence[Problem]]]

    def validators(self) -> Sequence[Validator]:
        async def check(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
            return await self.check(context, proposed)

        return [Validator(Customer, ["name", "lifecycle"], check, "no_robots", 0.2, self.deletions)]


def strict(
    check: Callable[[Context, Sequence[Proposed]], Awaitable[Sequence[Problem]]],
) -> Strict:
    plugin = Strict()
    plugin.check = check
    return plugin


async def test_a_validator_refuses_rows_by_field(make_crm: MakeCrm) -> None:
    seen: list[Proposed] = []

    async def check(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        seen.extend(proposed)
        assert context.principal == Principal("plugin", "strict", on_behalf_of="system")
        return [
            Problem(item.index, "name", "robots are no customers")
            for item in proposed
            if item.after is not None and "robot" in item.after["name"]
        ]

    async with make_crm([strict(check)]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.create(Customer, [person("Ann"), person("robot 1")], on_error="skip_invalid")
        assert codes(result) == [(1, ("name",), "refused")]
        assert result.errors[0].message == "robots are no customers"
        assert result.created == 1
        assert [set(item.after or ()) for item in seen] == [{"name", "lifecycle"}] * 2
        ann = result.ids[0]
        assert ann is not None
        seen.clear()
        await session.update(Customer, [Update(ann, {"name": "Anna", "note": "n"})])
        assert (seen[0].id, seen[0].before) == (ann, {"name": "Ann", "lifecycle": "prospect"})
        assert seen[0].changed == {"name", "note"}
        seen.clear()
        await session.update(Customer, [Update(ann, {"name": "Anna"})])
        assert seen == []
        await session.delete(Customer, [ann])
        await session.restore(Customer, [ann])
        assert [(item.before is None, item.after is None) for item in seen] == [(True, False)]


async def test_a_validator_is_shown_deletions_if_it_asks_for_them(make_crm: MakeCrm) -> None:
    async def check(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        return [Problem(item.index, "", "customers stay") for item in proposed if item.after is None]

    plugin = strict(check)
    plugin.deletions = True
    async with make_crm([plugin]) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person("Ann"))
        assert the_error(await session.delete(Customer, [ann])).message == "customers stay"
        assert await session.find(Customer).count() == 1


async def test_a_validator_is_called_once_for_a_batch(make_crm: MakeCrm) -> None:
    calls: list[int] = []

    async def check(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        calls.append(len(proposed))
        return []

    async with make_crm([strict(check)]) as crm:
        await created(crm.acting_as(SYSTEM), Customer, *(person(str(i)) for i in range(500)))
        assert calls == [500]


async def test_a_validator_that_fails_stops_the_change_by_name(make_crm: MakeCrm) -> None:
    async def raising(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        raise ValueError("no idea")

    async def slow(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        await asyncio.sleep(60)
        return []

    async def lost(context: Context, proposed: Sequence[Proposed]) -> Sequence[Problem]:
        return [Problem(17, "name", "which row is that?")]

    for check, told in (
        (raising, "plugin 'strict': the validator 'no_robots' failed: ValueError: no idea"),
        (slow, "plugin 'strict': the validator 'no_robots' took longer than 0.2 seconds"),
        (lost, "expected a Problem with the index of a row that it was handed"),
    ):
        async with make_crm([strict(check)]) as crm:
            session = crm.acting_as(SYSTEM)
            with pytest.raises(PluginError, match="strict") as caught:
                await session.create(Customer, [person()])
            assert told in str(caught.value)
            assert await session.find(Customer).count() == 0
            # and the database is free for the next one
            assert (await session.create(Team, [{"name": "T"}])).created == 1


class Welcome(Plugin):
    """Takes part in the transaction in which customers are created."""

    name = "welcome"
    subscriber: Callable[[Context, Sequence[LogEvent]], Awaitable[None]]
    own = False
    patterns: Sequence[str] = ("customer.created",)

    def needs(self) -> Sequence[Need]:
        return [Need(entity, {"read", "create", "update"}) for entity in (Customer, Interaction)]

    def subscribers(self) -> Sequence[Subscriber]:
        return [
            Subscriber(
                "welcome_new",
                self.patterns,
                self.subscriber,
                when="in_transaction",
                own_changes=self.own,
                timeout=0.5,
            )
        ]


def welcoming(
    subscriber: Callable[[Context, Sequence[LogEvent]], Awaitable[None]],
    own: bool = False,
    patterns: Sequence[str] = ("customer.created",),
) -> Welcome:
    plugin = Welcome()
    plugin.subscriber, plugin.own, plugin.patterns = subscriber, own, patterns
    return plugin


async def test_a_subscriber_in_the_transaction_writes_with_the_change(make_crm: MakeCrm) -> None:
    async def greet(context: Context, events: Sequence[LogEvent]) -> None:
        rows = [
            {
                "customer_id": event.entity_id,
                "channel": "email",
                "direction": "outbound",
                "subject": "Welcome",
                "occurred_at": event.occurred_at,
            }
            for event in events
        ]
        # what is not committed yet is there for whoever takes part
        assert await context.session.find(Customer).count() == len(events)
        await context.session.create(Interaction, rows)

    async with make_crm([welcoming(greet)]) as crm:
        session = crm.acting_as(SYSTEM, origin="import")
        await created(session, Customer, person("A"), person("B"))
        events = await crm.events.read()
        assert [(event.type, event.actor, event.origin) for event in events] == [
            ("customer.created", "system", "import"),
            ("customer.created", "system", "import"),
            ("interaction.created", "plugin:welcome", "import"),
            ("interaction.created", "plugin:welcome", "import"),
        ]
        assert len({event.change_id for event in events}) == 1
        assert {event.position for event in events} == {1}


async def test_a_subscriber_that_fails_takes_the_change_along(make_crm: MakeCrm) -> None:
    async def fail(context: Context, events: Sequence[LogEvent]) -> None:
        raise RuntimeError("the mail server is down")

    async with make_crm([welcoming(fail)]) as crm:
        session = crm.acting_as(SYSTEM)
        with pytest.raises(
            PluginError, match="plugin 'welcome': the subscriber 'welcome_new' failed: RuntimeError"
        ):
            await session.create(Customer, [person()])
        assert await session.find(Customer).count() == 0
        assert await crm.events.read() == []


async def test_a_plugin_is_not_told_of_its_own_changes(make_crm: MakeCrm) -> None:
    told: list[str] = []

    async def copy(context: Context, events: Sequence[LogEvent]) -> None:
        told.extend(event.type for event in events)
        await context.session.create(Customer, [person("Copy")])

    async with make_crm([welcoming(copy)]) as crm:
        await created(crm.acting_as(SYSTEM), Customer, person())
        assert told == ["customer.created"]
    async with make_crm([welcoming(copy, own=True)]) as crm:
        with pytest.raises(ChangeError, match=r"keep causing each other's events \(customer.created\)"):
            await crm.acting_as(SYSTEM).create(Customer, [person()])
        assert await crm.acting_as(SYSTEM).find(Customer).count() == 0


# --- actions -----------------------------------------------------------------------------------------------


class Award(BaseModel):
    customer: str
    points: int


class Awards(Plugin):
    name = "awards"

    def permissions(self) -> Sequence[Permission]:
        return [Permission("awards.give", "Give awards")]

    def actions(self) -> Sequence[Action[Any]]:
        common: dict[str, Any] = {"input": Award, "permission": "awards.give"}
        return [
            Action("give", run=self._give, entity=Customer, **common),
            Action("count", run=self._count, output=Award, **common),
            Action("forget", run=self._forget, **common),
            Action("fail", run=self._fail, **common),
            Action("import_all", run=self._import, transactional=False, **common),
        ]

    async def _give(self, context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
        results: list[Any] = []
        for item in inputs:
            if item.points < 0:
                results.append(UserError(0, ("points",), "invalid", "can't be negative"))
                continue
            result = await context.session.create(Customer, [person(item.customer)])
            results.append(result.ids[0])
        return results

    async def _count(self, context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
        return [Award(customer=item.customer, points=len(inputs)) for item in inputs]

    async def _forget(self, context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
        return []

    async def _fail(self, context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
        await context.session.create(Team, [{"name": "T"}])
        raise KeyError("points")

    async def _import(self, context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
        assert context.session.unit is None
        for item in inputs:
            await context.session.create(Customer, [person(item.customer)])
        return [None] * len(inputs)


async def test_an_action_runs_on_a_batch(make_crm: MakeCrm) -> None:
    async with make_crm([Awards]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.run("give", [{"customer": "A", "points": 1}, {"customer": "B", "points": 2}])
        assert await session.find(Customer).count() == 2
        assert all(isinstance(id, UUID) for id in result.ids)
        assert len({event.change_id for event in await crm.events.read()}) == 1
        values = await session.run("count", [{"customer": "A", "points": 1}])
        assert values.values == (Award(customer="A", points=1),)


async def test_a_user_error_of_an_action_undoes_the_batch(make_crm: MakeCrm) -> None:
    async with make_crm([Awards]) as crm:
        session = crm.acting_as(SYSTEM)
        inputs = [{"customer": "A", "points": 1}, {"customer": "B", "points": -1}]
        result = await session.run("give", inputs)
        assert (result.ids, codes(result)) == ((None, None), [(1, ("points",), "invalid")])
        assert await session.find(Customer).count() == 0
        skipped = await session.run("give", inputs, on_error="skip_invalid")
        assert (skipped.ids[0] is None, skipped.ids[1]) == (False, None)
        assert await session.find(Customer).count() == 1

        async def work(joined: Session) -> None:
            # within a larger change, only the action is undone
            await joined.create(Team, [{"name": "T"}])
            assert (await joined.run("give", inputs)).errors

        await in_unit(session, work)
        assert (await session.find(Team).count(), await session.find(Customer).count()) == (1, 1)
        assert [event.type for event in await crm.events.read()] == ["customer.created", "team.created"]


async def test_the_input_of_an_action_is_checked(make_crm: MakeCrm) -> None:
    async with make_crm([Awards]) as crm:
        session = crm.acting_as(SYSTEM)
        result = await session.run("give", [{"customer": "A", "pints": 5}, {"customer": 5, "points": "x"}])
        assert codes(result) == [
            (0, ("pints",), "unknown_field"),
            (0, ("points",), "required"),
            (1, ("customer",), "invalid"),
            (1, ("points",), "invalid"),
        ]
        assert "did you mean 'points'?" in result.errors[0].message


async def test_an_action_that_fails_is_told_by_plugin_and_name(make_crm: MakeCrm) -> None:
    async with make_crm([Awards]) as crm:
        session = crm.acting_as(SYSTEM)
        award = {"customer": "A", "points": 1}
        with pytest.raises(PluginError, match="plugin 'awards': the action 'fail' failed: KeyError: 'points'"):
            await session.run("fail", [award])
        assert await session.find(Team).count() == 0
        with pytest.raises(PluginError, match="returned 0 results for 1 inputs; expected one for each"):
            await session.run("forget", [award])
        with pytest.raises(UnknownAction, match=r"there is no action 'giv'; did you mean 'give'\?"):
            await session.run("giv", [award])
        with pytest.raises(AccessDenied, match=r"lacks the permission awards\.give"):
            await crm.acting_as(NOBODY).run("give", [award])


async def test_a_long_action_manages_its_own_transactions(make_crm: MakeCrm) -> None:
    async with make_crm([Awards]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.run("import_all", [{"customer": str(i), "points": 0} for i in range(3)])
        assert len({event.change_id for event in await crm.events.read()}) == 3


# --- units of work -----------------------------------------------------------------------------------------


async def test_what_belongs_together_is_committed_together(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)

        async def work(joined: Session) -> int:
            await joined.create(Team, [{"name": "T"}])
            await joined.create(Customer, [person()])
            return await joined.find(Customer).count()

        assert await in_unit(session, work) == 1
        events = await crm.events.read()
        assert [(event.position, event.number, event.type) for event in events] == [
            (1, 0, "team.created"),
            (1, 1, "customer.created"),
        ]

        async def failing(joined: Session) -> None:
            await joined.create(Team, [{"name": "U"}])
            raise RuntimeError("on second thought")

        with pytest.raises(RuntimeError, match="on second thought"):
            await in_unit(session, failing)
        assert await session.find(Team).count() == 1
        assert len(await crm.events.read()) == 2


async def test_a_change_within_a_change_is_told_to_join_it(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        left: list[Session] = []

        async def work(joined: Session) -> None:
            left.append(joined)
            await session.create(Team, [{"name": "T"}])

        with pytest.raises(BadRequest, match="use the session that was handed in"):
            await in_unit(session, work)
        with pytest.raises(BadRequest, match="belongs to a unit of work that has ended"):
            await left[0].create(Team, [{"name": "T"}])
        assert (await session.create(Team, [{"name": "T"}])).created == 1


async def test_a_failed_statement_is_not_swept_under_the_carpet(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)

        async def work(joined: Session) -> None:
            await joined.create(Team, [{"name": "T"}])
            assert joined.unit is not None
            with contextlib.suppress(DatabaseError):
                await joined.unit.transaction.execute("SELECT nothing FROM nowhere")

        with pytest.raises(DatabaseError):
            await in_unit(session, work)
        assert await session.find(Team).count() == 0


async def test_changes_that_are_cancelled_leave_no_wedged_connection(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 5}) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await created(session, Customer, person())
        chance = random.Random(7)
        cancelled = 0
        for _ in range(25):
            tasks = [
                asyncio.create_task(
                    session.update(Customer, [Update(ann, {"note": str(n)})])
                    if n % 2
                    else session.create(Interaction, [_talk(ann)])
                )
                for n in range(20)
            ]
            for task in tasks:
                await asyncio.sleep(chance.uniform(0, 0.0005))
                cancelled += task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert cancelled > 250
        async with asyncio.timeout(60):
            for n in range(20):
                result = await session.update(Customer, [Update(ann, {"note": f"after {n}"})])
                assert result.updated == 1
        # whatever was written was written whole
        version = await version_of(session, Customer, ann)
        events = [event for event in await _all_events(crm.events.read) if event.type == "customer.updated"]
        assert len(events) == version - 1
        talks = await session.find(Interaction).count()
        assert talks == sum(event.type == "interaction.created" for event in await _all_events(crm.events.read))


def _talk(customer: UUID) -> dict[str, Any]:
    return {"customer_id": customer, "channel": "web", "direction": "inbound", "occurred_at": datetime.now(UTC)}


async def _all_events(read: Callable[..., Awaitable[list[LogEvent]]]) -> list[LogEvent]:
    found: list[LogEvent] = []
    while True:
        after = (found[-1].position, found[-1].number) if found else (0, -1)
        fresh = await read(after, 1000)
        if not fresh:
            return found
        found += fresh
