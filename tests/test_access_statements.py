"""Rights deep in statements: behind many relations, in payloads, in expressions, and in rights themselves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from tortoise import fields

from amity import (
    SYSTEM,
    AccessDenied,
    Avg,
    Coalesce,
    Count,
    Crm,
    Customer,
    Deal,
    Divide,
    Event,
    ExternalId,
    Field,
    FieldDenied,
    Max,
    Min,
    Multiply,
    Plugin,
    Principal,
    QueryError,
    Session,
    Subtract,
    Sum,
    Update,
    User,
    expression,
)
from amity.access import Everything, Rights
from amity.contracts import FieldDeclaration
from amity.entity import EDITABLE, Entity, EntityOptions, Generic, Record, decode_id
from amity.testing import make_crm
from amity.tree import (
    All,
    Compare,
    Condition,
    Connection,
    Never,
    Nodes,
    Page,
    Reaches,
    Scalar,
    Through,
    TotalCount,
)

from .test_access_fields import Ids, Limited, made, people

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = itertools.count(1)


class Trip(Entity):
    """A way that a customer went."""

    customer: Any = fields.ForeignKeyField("core.Customer", related_name="trips", on_delete=fields.CASCADE)
    km = fields.FloatField()
    points = fields.IntField(null=True)
    options = EntityOptions(prefix="trp", api=EDITABLE)


class Mark(Entity):
    """Stands on any record."""

    text = fields.CharField(max_length=100)
    entity_type = fields.CharField(max_length=100)
    entity_id = fields.UUIDField()
    options = EntityOptions(prefix="mrk", api=EDITABLE, generic=(Generic("entity", related_name="marks"),))


class Travel(Plugin):
    name = "travel"

    def entities(self) -> Sequence[type[Record]]:
        return [Trip, Mark]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "owned_by", Field("owner_id")),
            expression(Deal, "buyer", Field("customer.name")),
            expression(Customer, "called", Coalesce(Field("given_name"), "nobody")),
            expression(Customer, "served", Coalesce(Field("owner.active"), False)),
            expression(Customer, "colleagues", Count("organization.members")),
            expression(Customer, "distance", Sum("trips.km")),
            expression(Customer, "miles", Multiply(Sum("trips.km"), 0.5)),
            expression(Customer, "left_over", Subtract(Sum("trips.points"), 1)),
            expression(Customer, "points", Sum("trips.points")),
            expression(Customer, "mean_points", Avg("trips.points")),
            expression(Customer, "mean_km", Avg("trips.km")),
            expression(Customer, "least", Min("trips.points")),
            expression(Customer, "farthest", Max("trips.km")),
            expression(Customer, "quarter", Divide(Sum("trips.points"), 4)),
        ]


@dataclass
class Stand:
    """People of two organizations, and principals of any rights."""

    crm: Crm
    ids: Ids
    others: list[str]
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def limited(self, **limits: Any) -> Session:
        """A session of somebody with all rights but for these limits."""
        id = f"usr_{next(NUMBERS)}"
        self.limits[id] = limits
        return self.crm.acting_as(Principal("user", id))

    @property
    def system(self) -> Session:
        return self.crm.acting_as(SYSTEM)

    def rights(self, principal: Principal) -> Rights:
        limits = self.limits.get(principal.name)
        return Everything(principal) if limits is None else Limited(principal, **limits)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(server_url: str | None) -> AsyncIterator[Stand]:
    async with make_crm([Travel], server_url=server_url) as crm:
        ids = await people(crm)
        system = crm.acting_as(SYSTEM)
        (other,) = await made(system, Customer, {"kind": "organization", "name": "Umbrella"})
        (eve,) = await made(system, Customer, {"kind": "person", "name": "Eve", "organization_id": other})
        trips = [(1.5, 3), (2.25, 4), (0.5, None)]
        await made(system, Trip, *({"customer_id": ids.ann, "km": km, "points": points} for km, points in trips))
        await made(system, Trip, {"customer_id": ids.bob, "km": 0.25})
        stand = Stand(crm, ids, [other, eve])
        crm.policy = stand
        yield stand


async def names(session: Session, where: Any = None) -> set[str]:
    found = session.find(Customer).select("name")
    return {row["name"] for row in await (found if where is None else found.where(where)).all()}


# --- behind many relations ----------------------------------------------------------------------------------


def colleague(where: Any) -> Any:
    return {"organization": {"members": {"some": where}}}


async def test_rows_behind_many_relations_are_those_of_the_row(stand: Stand) -> None:
    far = colleague(colleague({"trips": {"some": {"km": {"gt": 2}}}}))
    assert await names(stand.system, far) == {"Ann", "Bob"}
    none = colleague(colleague({"trips": {"none": {}}}))
    assert await names(stand.system, none) == {"Eve"}


async def test_what_may_be_changed_can_depend_on_what_is_far_away(stand: Stand) -> None:
    team = Compare("name", "eq", "North")
    for far, refused in ((team, False), (Never(), True)):
        condition: Condition = far
        for relation in ("team", "owner", "organization", "customer"):
            condition = Through(relation, condition)
        session = stand.limited(where={("Deal", "update"): condition})
        result = await session.update(Deal, [Update(stand.ids.deal, {"name": "won"})])
        assert bool(result.errors) is refused


async def test_history_behind_many_relations_is_of_what_it_reaches(stand: Stand) -> None:
    reaching = Reaches("entity", {"Customer": None}, alive=False)
    session = stand.limited(where={("Event", "read"): reaching})
    told = colleague({"history": {"some": {"type": {"eq": "customer.created"}}}})
    assert await names(session, told) == {"Ann", "Bob", "Eve"}
    told = colleague({"deals": {"some": {"history": {"some": {}}}}})
    assert await names(session, told) == set()


async def test_rights_of_many_levels_leave_filters_as_deep_as_they_are(stand: Stand) -> None:
    """Eight levels may be asked for, whatever the rights on the way ask."""
    owned = Through("owner", Through("team", Compare("name", "eq", "North")))
    session = stand.limited(where={("Customer", "read"): owned})
    where: Any = {"name": {"eq": "Acme"}}
    for _ in range(8):
        where = {"organization": where}
    await names(session, where)
    with pytest.raises(QueryError, match="nested deeper than 8 levels"):
        await names(session, {"organization": where})
    # what stands side by side is no deeper for that
    assert await names(session, {"and": [{"organization": {"name": {"eq": "Acme"}}}] * 9}) == {"Ann"}


# --- payloads -----------------------------------------------------------------------------------------------


async def named_in(session: Session, type_: str, key: str = "entity_id") -> set[str]:
    rows = await session.find(Event).where({"type": {"eq": type_}}).select("after").all()
    return {row["after"][key] for row in rows if key in row["after"]}


async def test_a_payload_refers_to_no_record_out_of_reach(stand: Stand) -> None:
    marked = stand.ids.ann, stand.ids.deal
    rows = [{"text": "x", "entity_type": "core.Customer", "entity_id": marked[0]}]
    rows += [{"text": "y", "entity_type": "core.Deal", "entity_id": marked[1]}]
    await made(stand.system, Mark, *rows)
    told = await named_in(stand.system, "mark.created")
    assert told == set(marked)
    for limits in ({"types": {("Deal", "read")}}, {"where": {("Deal", "read"): Never()}}):
        assert await named_in(stand.limited(**limits), "mark.created") == {stand.ids.ann}
    whole = stand.system.find(Event).select("after").root()
    sql = stand.system.compile({"": whole}).sql
    assert '"core_deal"' not in sql, "who may read everything has nothing looked up"


async def test_a_payload_is_compared_as_it_is_shown(stand: Stand) -> None:
    """Also without a key, as conditions from Python may."""
    closed = stand.limited(types={("Team", "read")})
    for session, empty in ((stand.system, "0"), (closed, "1")):
        for is_null, count in ((True, empty), (False, str(1 - int(empty)))):
            met = All((Compare("type", "eq", "team.created"), Compare("after", "isNull", is_null)))
            page = Page((TotalCount("n"),), where=met)
            assert (await session.read({"": Connection("Event", page)})).parsed()[""] == {"n": count}


async def test_what_was_deleted_since_stays_named(stand: Stand) -> None:
    """A payload is older than a deletion: it names what its reader might have read."""
    (zoe,) = await made(stand.system, Customer, {"kind": "person", "name": "Zoe", "owner_id": stand.ids.mia})
    code = {"entity_type": "core.Customer", "entity_id": zoe}
    (external,) = await made(stand.system, ExternalId, {**code, "system": "erp", "external_id": "z"})
    await made(stand.system, Mark, {"text": "z", "entity_type": "core.ExternalId", "entity_id": external})
    assert not (await stand.system.delete(Customer, [zoe])).errors
    for name, named in (("Zoe", True), ("Ann", False)):
        reaching = Reaches("entity", {"Customer": Compare("name", "eq", name)})
        session = stand.limited(where={("ExternalId", "read"): reaching})
        assert (external in await named_in(session, "mark.created")) is named


# --- rights that ask for what their holder may not read -----------------------------------------------------


async def test_rights_compare_references_as_they_are_stored(stand: Stand) -> None:
    (jo,) = await made(stand.system, User, {"name": "Jo", "email": "jo@example.com"})
    await made(stand.system, Customer, {"kind": "person", "name": "Yan", "owner_id": jo})
    assert not (await stand.system.delete(User, [jo])).errors
    # whose owner is gone is shown without one, and does not become everybody's by that
    assert "Yan" in await names(stand.system, {"owner_id": {"isNull": True}})
    free = stand.limited(where={("Customer", "read"): Compare("owner_id", "isNull", True)})
    assert await names(free) == {"Bob", "Umbrella", "Eve"}
    of_mia = Compare("owned_by", "eq", decode_id("usr", stand.ids.mia))
    closed = stand.limited(types={("User", "read")}, where={("Customer", "read"): of_mia})
    assert await names(closed) == {"Acme", "Ann"}


async def test_who_may_read_every_row_has_no_reference_looked_up(stand: Stand) -> None:
    sql = stand.system.compile({"": stand.system.find(Customer).select("owned_by").root()}).sql
    assert '"core_user"' not in sql


async def test_figures_are_of_what_rights_show_not_of_what_they_ask(stand: Stand) -> None:
    """Both follow the same relation: one to facts, the other as far as its reader may."""
    of_ann = Compare("buyer", "eq", "Ann")
    session = stand.limited(where={("Deal", "read"): of_ann, ("Customer", "read"): Never()})
    for by, key in (("customer.name", {"customer": None}), ("buyer", {"buyer": None})):
        assert await session.find(Deal).aggregate("count", by=[by]) == [{"key": key, "count": "1"}]
    assert await session.find(Deal).where({"buyer": {"isNull": True}}).count() == 1


async def test_what_reaches_a_record_reaches_one_that_may_be_read(stand: Stand) -> None:
    rows = [
        {"system": "crm", "external_id": name, "entity_type": "core.Customer", "entity_id": id}
        for name, id in (("ann", stand.ids.ann), ("bob", stand.ids.bob))
    ]
    await made(stand.system, ExternalId, *rows)
    nodes = Nodes("nodes", (Scalar("name", "external_id"),))
    ann = stand.limited(where={("Customer", "read"): Compare("name", "eq", "Ann")})
    for session, found in ((stand.system, ["ann", "bob"]), (ann, ["ann"])):
        for inner in (None, Compare("kind", "eq", "person")):
            page = Page((nodes, TotalCount("n")), where=Reaches("entity", {"Customer": inner}))
            answer = (await session.read({"page": Connection("ExternalId", page)})).parsed()["page"]
            assert sorted(row["name"] for row in answer["nodes"]) == found
            assert int(answer["n"]) == len(found)


async def test_nobody_asks_whether_there_is_what_they_may_not_read(stand: Stand) -> None:
    session = stand.limited(types={("User", "read")})
    asked: list[dict[str, Any]] = [{"owner": {}}, {"not": {"owner": {}}}, {"organization": {"owner": {}}}]
    for where in asked:
        with pytest.raises(AccessDenied, match="may not read users"):
            await names(session, where)


# --- expressions --------------------------------------------------------------------------------------------


async def test_a_hidden_expression_is_in_no_figure(stand: Stand) -> None:
    session = stand.limited(hidden={("Customer", "read"): {"called", "points"}})
    for figures, by in ((["count"], ["called"]), (["sum.points"], []), (["max.points"], [])):
        with pytest.raises(FieldDenied, match=r"may not read Customer\.(called|points)$"):
            await session.find(Customer).aggregate(*figures, by=by)
        assert await stand.system.find(Customer).aggregate(*figures, by=by)


async def test_expressions_are_what_they_say(stand: Stand) -> None:
    expected = {
        "called": "nobody",
        "served": True,
        "colleagues": "2",
        "distance": 4.25,
        "miles": 2.125,
        "left_over": "6",
        "points": "7",
        "mean_points": 3.5,
        "mean_km": 4.25 / 3,
        "least": 3,
        "farthest": 2.25,
        "quarter": 1.75,
    }
    found = stand.system.find(Customer).select(*expected)
    assert await found.get(stand.ids.ann) == expected
    rows = await found.where({"name": {"eq": "Eve"}}).all()
    assert rows == [
        {
            **expected,
            "served": False,
            "colleagues": "1",
            **dict.fromkeys(("distance", "miles", "quarter"), 0.0),
            "left_over": "-1",
            "points": "0",
            **dict.fromkeys(("mean_points", "mean_km", "least", "farthest")),
        }
    ]
    assert await names(stand.system, {"quarter": {"gt": 1.7, "lt": 1.8}}) == {"Ann"}
    assert await names(stand.system, {"served": {"eq": False}, "called": {"eq": "nobody"}}) >= {"Eve", "Bob"}
