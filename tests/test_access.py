"""Access has its place on every table of a statement: what a policy hides can't be reached on any path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from amity import (
    SYSTEM,
    AccessDenied,
    Avg,
    Count,
    Crm,
    Customer,
    Field,
    Max,
    Plugin,
    Principal,
    Related,
    Sum,
    Update,
    expression,
)
from amity.access import Everything, Rights, Verb
from amity.contracts import FieldDeclaration
from amity.entity import EntityType
from amity.tree import Compare, Condition, Many, Never, Scalar, Through

from .conftest import MakeCrm

SOMEBODY = Principal("user", "usr_1")


class Leads(Everything):
    """Leads are seen, and what hangs on leads."""

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        if verb != "read":
            return Never()
        if entity.name == "Customer":
            return Compare("lifecycle", "eq", "lead")
        if entity.name in ("Interaction", "Deal", "ContactPoint"):
            return Through("customer", Compare("lifecycle", "eq", "lead"))
        return None

    def may(self, permission: str) -> bool:
        return False


class OnlyLeads:
    """Somebody sees leads, and what hangs on leads; the system sees everything."""

    def rights(self, principal: Principal) -> Rights:
        return Everything(principal) if principal == SYSTEM else Leads(principal)


class Figures(Plugin):
    name = "figures"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "member_count", Count("members")),
            expression(Customer, "member_calls", Count("members.interactions")),
            expression(Customer, "talk_time", Sum("interactions.duration_seconds")),
            expression(Customer, "mean_member_talk", Avg("members.interactions.duration_seconds")),
            expression(Customer, "last_talk", Max("interactions.occurred_at")),
            expression(Customer, "parent_name", Field("organization.name")),
        ]


async def people(crm: Crm) -> dict[str, Any]:
    """A lead and a customer at each of two organizations, one of them hidden."""
    session = crm.acting_as(SYSTEM)
    names: list[tuple[str, str, str | None]] = [("open org", "lead", None), ("secret org", "customer", None)]
    names += [("ann", "lead", "open org"), ("bob", "customer", "open org"), ("cleo", "lead", "secret org")]
    ids: dict[str, Any] = {}
    for name, lifecycle, organization in names:
        kind = "person" if organization else "organization"
        row = {"kind": kind, "name": name, "lifecycle": lifecycle}
        if organization:
            row["organization_id"] = ids[organization]
        ids[name] = (await session.create("Customer", [row])).ids[0]
    await session.create(
        "Interaction",
        [
            {
                "customer_id": ids[name],
                "channel": "phone",
                "direction": "inbound",
                "duration_seconds": 60,
                "occurred_at": "2026-01-01T00:00:00Z",
            }
            for name in ids
        ],
    )
    return ids


async def test_nobody_but_the_system_sees_anything_by_default(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await people(crm)
        session = crm.acting_as(SOMEBODY)
        for name in crm.catalog:
            for read in (session.find(name).all, session.find(name).count):
                with pytest.raises(AccessDenied, match=r"user:usr_1 may not read [a-z ]+$"):
                    await read()
        with pytest.raises(AccessDenied, match="usr_1"):
            await session.create("Customer", [{"kind": "person", "name": "x"}])


async def test_a_hidden_row_is_reached_on_no_path(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=OnlyLeads()) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        find = session.find("Customer").select("name")

        async def names(query: Any) -> list[str]:
            return [row["name"] for row in await query.order_by("name").all()]

        # pages, counts, single rows, rows by id
        assert await names(find) == ["ann", "cleo", "open org"]
        assert await find.count() == 3
        assert await find.get(ids["bob"]) is None
        many = await session.read({"r": Many("Customer", [ids["bob"], ids["ann"]], (Scalar("name", "name"),))})
        assert many.parsed()["r"] == [None, {"name": "ann"}]
        # to-one relations, and filters over them
        row = await session.find("Customer").select("organization.name").get(ids["cleo"])
        assert row == {"organization": None}
        assert await names(find.where({"organization": {"name": {"eq": "secret org"}}})) == []
        assert await names(find.where({"not": {"organization": {"name": {"contains": "org"}}}})) == [
            "cleo",
            "open org",
        ]
        # to-many relations, and filters over them
        members = session.find("Customer").select(Related("members", ["name"], order_by=["name"]))
        assert await members.get(ids["open org"]) == {"members": [{"name": "ann"}]}
        assert await names(find.where({"members": {"some": {"name": {"eq": "bob"}}}})) == []
        assert await names(find.where({"members": {"every": {"name": {"eq": "ann"}}}})) == [
            "ann",
            "cleo",
            "open org",
        ]
        assert await names(find.where({"members": {"none": {"name": {"eq": "bob"}}}})) == [
            "ann",
            "cleo",
            "open org",
        ]
        # the rows below hidden ones
        assert await session.find("Interaction").count() == 3
        # orders: a hidden organization sorts like none
        ordered = await find.order_by("organization.name", "name").all()
        assert [r["name"] for r in ordered] == ["ann", "cleo", "open org"]
        # expressions of plugins
        row = (
            await session.find("Customer")
            .select("member_count", "member_calls", "mean_member_talk")
            .get(ids["open org"])
        )
        assert row == {"member_count": "1", "member_calls": "1", "mean_member_talk": 60.0}
        row = await session.find("Customer").select("parent_name").get(ids["cleo"])
        assert row == {"parent_name": None}
        assert await names(find.where({"member_count": {"eq": 2}})) == []
        assert await names(find.where({"parent_name": {"eq": "secret org"}})) == []


async def test_changing_what_is_hidden_changes_no_answer(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=OnlyLeads()) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)

        async def everything() -> list[Any]:
            query = session.find("Customer").select(
                "name",
                "organization.name",
                "member_count",
                "member_calls",
                "talk_time",
                "mean_member_talk",
                "last_talk",
                "parent_name",
                Related("members", ["name", "talk_time"], order_by=["-name"]),
                Related("interactions", ["duration_seconds", "customer.name"]),
            )
            answers: list[Any] = []
            for order in ("name", "organization.name", "parent_name", "member_count", "-mean_member_talk"):
                answers.append(await query.order_by(order).all())
            answers.append(await query.where({"organization": {"name": {"gt": "p"}}}).count())
            return answers

        before = await everything()
        system = crm.acting_as(SYSTEM)
        await system.update(
            "Customer", [Update(ids["secret org"], {"name": "a new name"}), Update(ids["bob"], {"name": "zoe"})]
        )
        hidden = await system.find("Interaction").where({"customer": {"name": {"eq": "zoe"}}}).all()
        await system.update("Interaction", [Update(row["id"], {"duration_seconds": 9999}) for row in hidden])
        await system.delete("Customer", [ids["bob"]])
        assert await everything() == before
