"""Addresses in their normal form, and the customers behind them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from amity import SYSTEM, ContactPoint, Customer, Interaction, Session, Update, User
from amity.channels import CHANNELS, AddressError
from amity.entity import encode_id, new_id

from .conftest import MakeCrm


async def customers(session: Session, *names: str) -> list[UUID]:
    result = await session.create(Customer, [{"kind": "person", "name": name} for name in names])
    return [id for id in result.ids if id is not None]


def point(customer: UUID, channel: str, address: str, **more: Any) -> dict[str, Any]:
    return {"customer_id": customer, "channel": channel, "address": address, **more}


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("email", " Ann.Lee@Example.COM ", "ann.lee@example.com"),
        ("email", "ann@MÜNCHEN.example", "ann@münchen.example"),
        ("phone", "(212) 555-0123", "+12125550123"),
        ("phone", "+41 44 333 11 22", "+41443331122"),
        ("sms", "+41443331122", "+41443331122"),
        ("webchat", "  visitor-7 ", "visitor-7"),
        ("letter", "1 Main Street", "1 Main Street"),
    ],
)
def test_an_address_has_one_form(name: str, address: str, expected: str) -> None:
    assert CHANNELS.normalize(name, address, "US") == expected
    assert CHANNELS.normalize(name, expected, "CH") == expected


@pytest.mark.parametrize(
    ("name", "address"),
    [("email", "ann"), ("email", "a b@example.com"), ("phone", "abc"), ("phone", "12"), ("web", "  ")],
)
def test_what_is_no_address_is_refused(name: str, address: str) -> None:
    with pytest.raises(AddressError):
        CHANNELS.normalize(name, address, "US")


def test_every_channel_says_what_it_is() -> None:
    assert list(CHANNELS) == ["email", "phone", "sms", "webchat", "web", "letter"]
    assert all(kind.description for kind in CHANNELS.values())
    with pytest.raises(LookupError, match="did you mean 'email'"):
        CHANNELS.channel("emial")


async def test_contact_points_are_kept_in_their_normal_form(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"default_region": "CH"}) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await customers(session, "Ann")
        result = await session.create(
            ContactPoint, [point(ann, "phone", "044 333 11 22"), point(ann, "email", "Ann@Example.com")]
        )
        phone, email = result.ids
        assert phone is not None
        assert email is not None
        rows = await session.find(ContactPoint).select("address").order_by("id").all()
        assert [row["address"] for row in rows] == ["+41443331122", "ann@example.com"]
        await session.update(ContactPoint, [Update(phone, {"address": "044 333 11 33"})])
        assert await session.find(ContactPoint).select("address").get(phone) == {"address": "+41443331133"}
        told = await session.update(ContactPoint, [Update(email, {"channel": "phone"})])
        assert [(error.path, error.code) for error in told.errors] == [(("channel",), "invalid")]


async def test_an_unknown_channel_is_told_with_those_that_there_are(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await customers(session, "Ann")
        result = await session.create(ContactPoint, [point(ann, "pigeon", "x"), point(ann, "phone", "call me")])
        assert [(error.index, error.path) for error in result.errors] == [(0, ("channel",)), (1, ("address",))]
        assert result.errors[0].message == (
            "there is no channel 'pigeon'; known are email, phone, sms, webchat, web, letter"
        )
        assert "expected digits with the country's code" in result.errors[1].message
        talk = {"channel": "pigeon", "direction": "inbound", "occurred_at": datetime.now(UTC)}
        assert (await session.create(Interaction, [talk])).errors[0].path == ("channel",)


async def test_users_are_known_by_their_address_in_lower_case(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(User, [{"name": "Ann", "email": "Ann@Example.com"}])
        told = await session.create(
            User, [{"name": "B", "email": "ANN@example.com"}, {"name": "C", "email": "nowhere"}]
        )
        assert [(error.path, error.code) for error in told.errors] == [
            (("email",), "taken"),
            (("email",), "invalid"),
        ]


async def test_an_address_belongs_to_one_customer_unless_it_is_shared(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, bo = await customers(session, "Ann", "Bo")
        await session.create(ContactPoint, [point(ann, "phone", "+12125550100")])
        told = await session.create(ContactPoint, [point(bo, "phone", "(212) 555-0100")])
        assert told.errors[0].message == "another contact point has the same channel and address"
        switchboard = await session.create(
            ContactPoint,
            [point(ann, "phone", "+12125550199", shared=True), point(bo, "phone", "+12125550199", shared=True)],
        )
        assert switchboard.created == 2
        unshared = await session.update(
            ContactPoint, [Update(id, {"shared": False}) for id in switchboard.ids if id is not None]
        )
        assert [(error.index, error.code) for error in unshared.errors] == [(1, "duplicate")]


async def test_who_has_an_address(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, bo, gone = await customers(session, "Ann", "Bo", "Gone")
        await session.create(
            ContactPoint,
            [
                point(ann, "email", "ann@example.com"),
                point(ann, "phone", "+12125550123"),
                point(ann, "phone", "+12125550199", shared=True),
                point(bo, "sms", "+12125550199", shared=True),
                point(gone, "email", "gone@example.com"),
            ],
        )
        await session.delete(Customer, [gone])
        statements = crm.database.statements
        found = await session.resolve(
            [
                ("email", "ANN@example.com"),
                ("sms", "(212) 555-0123"),
                ("phone", "212 555 0199"),
                ("email", "gone@example.com"),
                ("webchat", "+12125550123"),
                ("phone", "not a number"),
            ]
        )
        assert crm.database.statements == statements + 1
        assert [item.status for item in found] == [
            "matched",
            "matched",
            "ambiguous",
            "unknown",
            "unknown",
            "unknown",
        ]
        assert [item.customer_id for item in found[:3]] == [ann, ann, None]
        assert found[2].candidates == (ann, bo)
        assert [item.address for item in found[4:]] == ["+12125550123", None]
        with pytest.raises(LookupError, match="there is no channel 'pigeon'"):
            await session.resolve([("pigeon", "x")])


async def test_an_interaction_finds_its_customer(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, bo = await customers(session, "Ann", "Bo")
        await session.create(
            ContactPoint,
            [
                point(ann, "phone", "+12125550123"),
                point(ann, "phone", "+12125550199", shared=True),
                point(bo, "phone", "+12125550199", shared=True),
            ],
        )
        before = datetime.now(UTC)
        result = await session.run(
            "log_interaction",
            [
                {"channel": "sms", "direction": "inbound", "address": "(212) 555-0123", "body": "hi"},
                {"channel": "phone", "direction": "inbound", "address": "+12125550199"},
                {"channel": "email", "direction": "inbound", "address": "who@example.com"},
                {"channel": "email", "direction": "inbound", "address": "not an address"},
                {
                    "channel": "web",
                    "direction": "outbound",
                    "customer_id": encode_id("cus", bo),
                    "occurred_at": "2024-05-06T07:08:09Z",
                },
            ],
        )
        assert not result.errors
        rows = (
            await session.find(Interaction)
            .select("customer.name", "identity", "address", "occurred_at")
            .order_by("id")
            .all()
        )
        assert [row["customer"] and row["customer"]["name"] for row in rows] == ["Ann", None, None, None, "Bo"]
        assert [row["identity"].lower() for row in rows] == [
            "matched",
            "ambiguous",
            "unknown",
            "unknown",
            "matched",
        ]
        assert [row["address"] for row in rows[:4]] == [
            "+12125550123",
            "+12125550199",
            "who@example.com",
            "not an address",
        ]
        assert datetime.fromisoformat(rows[0]["occurred_at"]) - before < timedelta(minutes=1)
        assert rows[4]["occurred_at"] == "2024-05-06T07:08:09.000000Z"
        # a person decides who it was
        unknown = result.ids[2]
        assert unknown is not None
        await session.update(Interaction, [Update(unknown, {"customer_id": bo})])
        row = await session.find(Interaction).select("identity").get(unknown)
        assert row is not None
        assert row["identity"].lower() == "matched"


async def test_receiving_twice_stores_once(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"pool_size": 8}) as crm:
        session = crm.acting_as(SYSTEM)
        message = {
            "channel": "email",
            "direction": "inbound",
            "address": "a@example.com",
            "external_id": {"system": "mail", "id": "m1"},
        }
        both = await session.run("log_interaction", [message, message])
        assert both.ids[0] == both.ids[1]
        again = await session.run("log_interaction", [message])
        assert again.ids[0] == both.ids[0]
        other = {**message, "external_id": {"system": "mail", "id": "m2"}}
        results = await asyncio.gather(*(session.run("log_interaction", [other]) for _ in range(8)))
        assert len({result.ids[0] for result in results}) == 1
        assert await session.find(Interaction).count() == 2


async def test_what_is_wrong_with_an_interaction_is_told(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        fine = {"channel": "web", "direction": "inbound"}
        result = await session.run(
            "log_interaction",
            [
                fine,
                {**fine, "channel": "pigeon"},
                {**fine, "customer_id": encode_id("cus", new_id())},
                {**fine, "customer_id": encode_id("dea", new_id())},
                {**fine, "occurred_at": "2024-01-01T00:00:00"},
                {**fine, "direction": "sideways"},
                {"channel": "email", "direction": "outbound", "address": "nowhere"},
                {**fine, "custom_fields": {"a": "\x00"}},
            ],
            on_error="skip_invalid",
        )
        assert [(error.index, error.path, error.code) for error in result.errors] == [
            (1, ("channel",), "invalid"),
            (2, ("customer_id",), "not_found"),
            (3, ("customer_id",), "invalid"),
            (4, ("occurred_at",), "invalid"),
            (5, ("direction",), "invalid"),
            (6, ("address",), "invalid"),
            (7, ("custom_fields", "a"), "invalid"),
        ]
        assert [id is None for id in result.ids] == [False] + [True] * 7
