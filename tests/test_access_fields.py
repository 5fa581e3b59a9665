"""Rights on fields, types and verbs: what somebody may not read they can use nowhere, and what they may not write
stays as it is."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from amity import (
    SYSTEM,
    AccessDenied,
    ContactPoint,
    Context,
    Count,
    Crm,
    Customer,
    Deal,
    Event,
    ExternalId,
    Field,
    FieldDenied,
    Interaction,
    LogEvent,
    Pipeline,
    Plugin,
    Principal,
    Related,
    ScoreQuery,
    Scorer,
    Session,
    Stage,
    Subscriber,
    Sum,
    Team,
    Update,
    User,
    batch,
    expression,
)
from amity.access import NOTHING_SET, Everything, Rights, Verb
from amity.contracts import ChangeResult, FieldDeclaration
from amity.entity import EntityType, encode_id
from amity.tree import (
    Can,
    Compare,
    Condition,
    Connected,
    Connection,
    Never,
    Nodes,
    OrderKey,
    Page,
    Quantified,
    Reaches,
    Scalar,
    Through,
    TotalCount,
)
from amity_csv import export_rows, load_mapping, run_import
from amity_graphql import Result, execute, sdl

from .conftest import MakeCrm

SOMEBODY = Principal("user", "usr_1")
Key = tuple[str, Verb]


@dataclass(frozen=True)
class Limited(Everything):
    """All rights but for some types, fields and rows, by entity and verb."""

    types: frozenset[Key] = frozenset()
    hidden: Mapping[Key, set[str]] = field(default_factory=dict)
    where: Mapping[Key, Condition] = field(default_factory=dict)
    checks: Mapping[Key, Condition] = field(default_factory=dict)
    preset: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        return (entity.name, verb) not in self.types

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return self.where.get((entity.name, verb))

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        return self.checks.get((entity.name, verb))

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        hidden = self.hidden.get((entity.name, verb))
        return None if hidden is None else entity.right_fields - hidden

    def presets(self, entity: EntityType, verb: Verb) -> Mapping[str, Any]:
        return self.preset.get((entity.name, verb), NOTHING_SET)


@dataclass(frozen=True)
class Limits:
    """Somebody's limits; everybody else may do everything."""

    types: frozenset[Key] = frozenset()
    hidden: Mapping[Key, set[str]] = field(default_factory=dict)
    where: Mapping[Key, Condition] = field(default_factory=dict)
    checks: Mapping[Key, Condition] = field(default_factory=dict)
    preset: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)

    def rights(self, principal: Principal) -> Rights:
        if principal != SOMEBODY:
            return Everything(principal)
        return Limited(principal, self.types, self.hidden, self.where, self.checks, self.preset)


class PluginsLimited(Limits):
    """Limits of what plugins do themselves."""

    def rights(self, principal: Principal) -> Rights:
        if principal.kind != "plugin":
            return Everything(principal)
        return Limited(principal, self.types, self.hidden, self.where)


def hiding(*names: str, verb: Verb = "read") -> Limits:
    """Limits that close fields: ``Customer.note``."""
    hidden: dict[Key, set[str]] = {}
    for name in names:
        entity, _, attribute = name.partition(".")
        hidden.setdefault((entity, verb), set()).add(attribute)
    return Limits(hidden=hidden)


async def seen_by(context: Context, parents: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> list[int]:
    """How many customers the caller of a batch field sees."""
    return [await context.session.find(Customer).count()] * len(parents)


class Figures(Plugin):
    name = "figures"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "echo", Field("note")),
            expression(Customer, "boss_note", Field("organization.note")),
            expression(Customer, "deal_count", Count("deals")),
            expression(Customer, "won", Count("deals", where={"name": {"eq": "won"}})),
            expression(Customer, "worth", Sum("deals.value_minor")),
            expression(Customer, "chances", Sum("deals.stage.probability")),
            expression(Customer, "owned_by", Field("owner_id")),
            expression(User, "customer_count", Count("customers")),
            batch(Customer, "noted", int, needs=["note"], resolve=seen_by),
            batch(Customer, "boss_noted", int, needs=["organization.note"], resolve=seen_by),
            batch(Customer, "seen", int, needs=["id"], resolve=seen_by),
        ]


@dataclass(frozen=True)
class Ids:
    team: str
    mia: str
    acme: str
    ann: str
    bob: str
    offer: str
    deal: str


async def made(session: Session, entity: Any, *rows: Mapping[str, Any]) -> list[str]:
    result = await session.create(entity, rows)
    assert not result.errors, result.errors
    prefix = session.crm.catalog.of(entity).prefix
    return [encode_id(prefix, id) for id in result.ids if id is not None]


async def people(crm: Crm) -> Ids:
    """An organization and two of its people, who have notes, an owner, a deal."""
    session = crm.acting_as(SYSTEM)
    (team,) = await made(session, Team, {"name": "North"})
    (mia,) = await made(session, User, {"name": "Mia", "email": "mia@example.com", "team_id": team})
    (acme,) = await made(
        session, Customer, {"kind": "organization", "name": "Acme", "note": "pays late", "owner_id": mia}
    )
    ann, bob = await made(
        session,
        Customer,
        {"kind": "person", "name": "Ann", "note": "likes tea", "organization_id": acme, "owner_id": mia},
        {"kind": "person", "name": "Bob", "organization_id": acme},
    )
    (pipeline,) = await made(session, Pipeline, {"name": "Sales"})
    (offer,) = await made(session, Stage, {"name": "Offer", "pipeline_id": pipeline})
    value = {"amount": "500", "currency": "EUR"}
    (deal,) = await made(
        session, Deal, {"name": "won", "customer_id": ann, "stage_id": offer, "owner_id": mia, "value": value}
    )
    await made(session, Interaction, {**PHONE, "customer_id": ann, "external_id": {"system": "pbx", "id": "1"}})
    return Ids(team, mia, acme, ann, bob, offer, deal)


PHONE = {"channel": "phone", "direction": "inbound", "occurred_at": "2026-01-01T00:00:00Z"}
Use = Callable[[Session], Awaitable[Any]]


def find(*fields: Any, entity: Any = Customer) -> Use:
    return lambda session: session.find(entity).select(*fields).all()


def where(condition: Mapping[str, Any], entity: Any = Customer) -> Use:
    return lambda session: session.find(entity).where(condition).all()


def counted(condition: Mapping[str, Any], entity: Any = Customer) -> Use:
    return lambda session: session.find(entity).where(condition).count()


def order(name: str, entity: Any = Customer) -> Use:
    return lambda session: session.find(entity).order_by(name).all()


async def in_columns(session: Session) -> None:
    async for _ in session.find(Customer).select("name").order_by("note").columns():
        pass


async def streamed(session: Session) -> None:
    async for _ in session.find(Customer).order_by("note").stream():
        pass


def counted_in_order(name: str, *path: str) -> Use:
    page = Page((TotalCount("n"),), order=(OrderKey(name, path=path),))
    return lambda session: session.read({"page": Connection("Customer", page)})


async def reached(session: Session) -> None:
    page = Page((TotalCount("n"),), where=Reaches("entity", {"Customer": None}))
    await session.read({"page": Connection("ExternalId", page)})


async def nested_in_order(session: Session) -> None:
    page = Page((Nodes("nodes", (Scalar("id", "id"),)),), order=(OrderKey("note"),))
    fields = (Connected("members", "members", page),)
    await session.read({"page": Connection("Customer", Page((Nodes("nodes", fields),)))})


NOTE = {"note": {"eq": "x"}}
USES: dict[str, dict[str, Use]] = {
    "Customer.note": {
        "selected": find("name", "note"),
        "selected behind a relation": find("organization.note"),
        "selected in related rows": find(Related("members", ["note"])),
        "compared": where(NOTE),
        "compared with null": where({"note": {"isNull": True}}),
        "compared case-insensitively": where({"note": {"contains": "tea"}}),
        "in a count": counted(NOTE),
        "in an or": where({"or": [{"name": {"eq": "Ann"}}, NOTE]}),
        "in a not": where({"not": NOTE}),
        "behind a relation in a filter": where({"organization": NOTE}),
        "in some": where({"members": {"some": NOTE}}),
        "in none": where({"members": {"none": NOTE}}),
        "in every": where({"members": {"every": NOTE}}),
        "in a filter of related rows": find(Related("members", ["name"], where=NOTE)),
        "ordered by": order("note"),
        "ordered by, behind a relation": order("organization.note"),
        "ordered by in related rows": find(Related("members", ["name"], order_by=["note"])),
        "ordered by in a nested page": nested_in_order,
        "ordered by where only counted": counted_in_order("note"),
        "in a cursor": streamed,
        "in an order of columns": in_columns,
        "in an expression": find("echo"),
        "in an expression behind a relation": find("boss_note"),
        "in an expression of a filter": where({"echo": {"eq": "x"}}),
        "in an expression of an order": order("echo"),
        "in a batch field": find("noted"),
        "in a batch field behind a relation": find("boss_noted"),
        "from a deal": find("customer.note", entity=Deal),
        "from a deal in a filter": where({"customer": NOTE}, entity=Deal),
    },
    "Customer.owner": {
        "followed": find("owner.name"),
        "by its id": find("owner_id"),
        "compared": where({"owner": {"name": {"eq": "Mia"}}}),
        "compared by its id": where({"owner_id": {"isNull": False}}),
        "ordered by": order("owner.name"),
        "from its other side": find(Related("customers", ["name"]), entity=User),
        "from its other side in a filter": where({"customers": {"some": {}}}, entity=User),
        "in a count from its other side": find("customer_count", entity=User),
        "in an expression": find("owned_by"),
        "ordered by where only counted": counted_in_order("name", "owner"),
    },
    "Customer.echo": {
        "selected": find("echo"),
        "compared": where({"echo": {"eq": "x"}}),
        "ordered by": order("echo"),
        "ordered by where only counted": counted_in_order("echo"),
    },
    "Customer.organization": {"on the way of an expression": find("boss_note")},
    "Deal.stage": {"on the way of an aggregate": find("chances")},
    "Customer.seen": {"selected": find("seen")},
    "Deal.value": {
        "selected": find("value", entity=Deal),
        "a part of it": find("value.amount", entity=Deal),
        "compared": where({"value": {"amount": {"gt": 1}}}, entity=Deal),
        "compared with null": where({"value": {"isNull": True}}, entity=Deal),
        "by its currency": where({"value": {"currency": {"eq": "EUR"}}}, entity=Deal),
        "ordered by": order("value", entity=Deal),
        "summed up": find("worth"),
    },
    "Deal.customer": {"counted from its other side": find("deal_count")},
    "Deal.name": {"in the filter of an aggregate": find("won")},
    "ExternalId.entity": {
        "by its id": where({"entity_id": {"isNull": False}}, entity=ExternalId),
        "followed by a condition": reached,
        "from its other side": find(Related("external_ids", ["system"])),
        "from its other side in a filter": where({"external_ids": {"none": {}}}),
    },
}


async def refusal(attempt: Use, session: Session) -> str | None:
    """What a field was refused with; None if it was not."""
    try:
        await attempt(session)
    except FieldDenied as denied:
        return str(denied)
    return None


@pytest.mark.parametrize("name", USES)
async def test_a_hidden_field_can_be_used_nowhere(make_crm: MakeCrm, name: str) -> None:
    async with make_crm([Figures], policy=hiding(name)) as crm:
        await people(crm)
        statements = crm.database.statements
        for use, attempt in USES[name].items():
            assert await refusal(attempt, crm.acting_as(SOMEBODY)) == f"user:usr_1 may not read {name}", use
        assert crm.database.statements == statements
        for attempt in USES[name].values():
            await attempt(crm.acting_as(SYSTEM))


async def test_the_rest_of_a_row_stays_open(make_crm: MakeCrm) -> None:
    every = {"id", "created_at", "updated_at", "version", "deleted_at", "name"}
    closed = Limits(hidden={("Customer", "read"): {*USES, "kind", "note", "owner", "organization", "lifecycle"}})
    async with make_crm([Figures], policy=closed) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        row = await session.find(Customer).select(*every).get(ids.ann)
        assert row is not None
        assert (row["name"], row["version"]) == ("Ann", 1)
        assert set(row) == every
        assert await session.find(Customer).order_by("-created_at").count() == 3
        # a right on customers says nothing of whom they belong to
        assert await session.find(User).select("name").all() == [{"name": "Mia"}]


async def test_a_type_that_nobody_granted_is_refused_by_name(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=Limits(types=frozenset({("Deal", "read")}))) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        for attempt in (
            session.find(Deal).all,
            session.find(Deal).count,
            lambda: session.find(Deal).get(ids.deal),
            lambda: find(Related("deals", ["id"]))(session),
            lambda: where({"deals": {"none": {}}})(session),
            lambda: find("deal_count")(session),
            lambda: find("worth")(session),
            lambda: where({"deals": {"some": {}}}, entity=User)(session),
        ):
            with pytest.raises(AccessDenied, match=r"^user:usr_1 may not read deals$"):
                await attempt()
        assert await session.find(Customer).count() == 3


async def test_rows_out_of_reach_are_just_not_there(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=Limits(where={("Deal", "read"): Never()})) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        assert await session.find(Deal).all() == []
        assert await session.find(Customer).select("deal_count").get(ids.ann) == {"deal_count": "0"}


async def test_an_id_of_a_hidden_row_is_null_in_an_expression_too(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], policy=Limits(where={("User", "read"): Never()})) as crm:
        ids = await people(crm)
        for principal, hidden in ((SOMEBODY, True), (SYSTEM, False)):
            row = await crm.acting_as(principal).find(Customer).select("owned_by").get(ids.ann)
            assert row is not None
            assert (row["owned_by"] is None) is hidden


async def test_who_may_read_everything_gets_the_same_statement(make_crm: MakeCrm) -> None:
    named: dict[Key, set[str]] = {}
    async with make_crm([Figures], policy=Limits(hidden=named)) as crm:
        await people(crm)
        named |= {(name, "read"): set() for name in crm.catalog}
        won = Related("deals", ["value"], where={"name": {"eq": "won"}})
        query: list[Any] = ["name", "note", "owner.name", "echo", "seen", "worth", won]
        statements = []
        for principal in (SYSTEM, SOMEBODY):
            session = crm.acting_as(principal)
            found = session.find(Customer).select(*query).order_by("echo")
            found = found.where({"owner": {"name": {"eq": "Mia"}}})
            events = session.find(Event).select("before", "after")
            statements.append(session.compile({"customers": found.root(), "events": events.root()}))
        assert statements[0].sql == statements[1].sql
        assert statements[0].parameters == statements[1].parameters


# --- events -------------------------------------------------------------------------------------------------


async def told(session: Session, entity: str) -> list[tuple[str, Any, Any]]:
    code = session.crm.catalog[entity].code
    query = session.find(Event).select("type", "before", "after").where({"entity_type": {"eq": code}})
    rows = await query.order_by("occurred_at", "number").all()
    return [(row["type"], row["before"], row["after"]) for row in rows]


async def test_events_lack_what_may_not_be_read_of_their_records(make_crm: MakeCrm) -> None:
    closed = hiding("Customer.note", "Customer.owner", "Deal.value")
    limits = Limits(types=frozenset({("Team", "read")}), hidden=closed.hidden)
    async with make_crm(policy=limits) as crm:
        ids = await people(crm)
        system, session = crm.acting_as(SYSTEM), crm.acting_as(SOMEBODY)
        await system.update(Customer, [Update(ids.ann, {"note": "moved", "name": "Anna"})])
        await system.update(Customer, [Update(ids.ann, {"note": "back again", "owner_id": None})])
        customers = await told(session, "Customer")
        whole = await told(system, "Customer")
        assert [type_ for type_, _, _ in customers] == [type_ for type_, _, _ in whole]
        assert whole[-1][1:] == ({"note": "moved", "owner_id": ids.mia}, {"note": "back again", "owner_id": None})
        assert customers[-2:] == [
            ("customer.updated", {"name": "Ann"}, {"name": "Anna"}),
            ("customer.updated", {}, {}),
        ]
        assert customers[0][1] is None
        assert "name" in customers[0][2]
        for _, before, after in customers:
            assert not {"note", "owner_id"} & {*(before or {}), *(after or {})}
        ((_, _, deal),) = await told(session, "Deal")
        assert "name" in deal
        assert not {"value_minor", "currency"} & set(deal)
        # nothing at all of a type that nobody granted
        assert await told(session, "Team") == [("team.created", None, None)]
        # a reference to a record that may not be read would read as null
        ((_, _, mine),), ((_, _, user),) = await told(session, "User"), await told(system, "User")
        assert mine == {name: value for name, value in user.items() if name != "team_id"}


class Listener(Plugin):
    """Subscribes to everything, in both ways."""

    name = "listener"

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[LogEvent] = []

    def subscribers(self) -> Sequence[Subscriber]:
        async def hear(_: Context, events: Sequence[LogEvent]) -> None:
            self.heard += events

        return [Subscriber("inside", ["*"], hear, when="in_transaction"), Subscriber("after", ["*"], hear)]


async def test_a_subscriber_is_shown_what_its_plugin_may_read(make_crm: MakeCrm) -> None:
    name = {"name": "Mia"}
    whole = {**name, "email": "m@example.com", "active": True}
    some: dict[Key, Condition] = {("User", "read"): Compare("name", "eq", "Mia")}
    for limits, expected in (
        (PluginsLimited(), whole),
        (PluginsLimited(hidden={("User", "read"): {"email", "active"}}), name),
        (PluginsLimited(types=frozenset({("User", "read")})), None),
        (PluginsLimited(where=some), None),
    ):
        listener = Listener()
        async with make_crm([listener], policy=limits) as crm:
            await made(crm.acting_as(SYSTEM), User, whole)
            await crm.settle()
            assert [(event.type, event.before, event.after) for event in listener.heard] == [
                ("user.created", None, expected)
            ] * 2


async def test_a_condition_can_follow_a_reference_to_any_record(make_crm: MakeCrm) -> None:
    ann = {"Customer": Compare("name", "eq", "Ann"), "Deal": None}
    reaching: dict[Key, Condition] = {
        ("Event", "read"): Reaches("entity", ann, alive=False),
        ("ExternalId", "read"): Reaches("entity", {"Interaction": Through("customer", ann["Customer"])}),  # type: ignore[arg-type]
    }
    async with make_crm(policy=Limits(where=reaching)) as crm:
        ids = await people(crm)
        system, session = crm.acting_as(SYSTEM), crm.acting_as(SOMEBODY)
        types = [row["type"] for row in await session.find(Event).select("type").order_by("occurred_at").all()]
        assert sorted(types) == ["customer.created", "deal.created"]
        assert await session.find(ExternalId).count() == 1
        await system.delete(Customer, [ids.ann])
        # the record is gone, and its history stays; what hung on it went along
        types = [row["type"] for row in await session.find(Event).select("type").all()]
        assert sorted(types) == ["customer.created", "customer.deleted", "deal.created"]
        assert await session.find(ExternalId).count() == 0


async def test_rows_say_what_their_reader_may_do(make_crm: MakeCrm) -> None:
    limits = Limits(
        types=frozenset({("Deal", "delete")}),
        where={
            ("Customer", "update"): Quantified("deals", "some", Compare("name", "eq", "won")),
            ("Customer", "delete"): Through("organization", Compare("name", "eq", "Acme")),
            ("Deal", "update"): Compare("value_minor", "gt", 1),
        },
    )
    async with make_crm([Figures], policy=limits) as crm:
        await people(crm)
        can = Can("can", (("u", "update"), ("d", "delete"), ("t", "__typename")))
        page = Page((Nodes("nodes", (Scalar("name", "name"), can)),), order=(OrderKey("name"),), first=5)
        deals = Page((Nodes("nodes", (can,)),))
        roots = {"customers": Connection("Customer", page), "deals": Connection("Deal", deals)}
        found = (await crm.acting_as(SOMEBODY).read(roots)).parsed()
        rights = {row["name"]: (row["can"]["u"], row["can"]["d"]) for row in found["customers"]["nodes"]}
        assert rights == {"Acme": (False, False), "Ann": (True, True), "Bob": (False, True)}
        assert found["deals"]["nodes"] == [{"can": {"u": True, "d": False, "t": "ViewerCan"}}]


async def test_batch_fields_read_as_their_caller(make_crm: MakeCrm) -> None:
    async with make_crm(
        [Figures], policy=Limits(where={("Customer", "read"): Compare("name", "eq", "Ann")})
    ) as crm:
        await people(crm)
        assert await crm.acting_as(SOMEBODY).find(Customer).select("seen").all() == [{"seen": 1}]
        assert await crm.acting_as(SYSTEM).find(Customer).select("seen").first(1).all() == [{"seen": 3}]


class Number(BaseModel):
    number: int


def shown(context: Context, query: ScoreQuery) -> str:
    return f"select c.id, length(coalesce(c.note, '')) as number from {query.rows(Customer)} c"


class Scoring(Plugin):
    name = "scoring"

    def scorers(self) -> Sequence[Scorer]:
        return [Scorer("noted", version="1", target=Customer, output=Number, select=shown)]


async def test_a_scorer_has_the_columns_that_its_plugin_may_read(make_crm: MakeCrm) -> None:
    for hidden, number in (("name", 1), ("note", 0)):
        async with make_crm([Scoring], policy=PluginsLimited(hidden={("Customer", "read"): {hidden}})) as crm:
            await people(crm)
            session = crm.acting_as(SYSTEM)
            if number:
                result = await session.run("compute_scores", [{"scorer": "noted"}])
                assert not result.errors
                assert await session.find(Customer).where({"noted": {"number": {"gt": 0}}}).count() == 2
            else:
                with pytest.raises(Exception, match="note"):
                    await session.run("compute_scores", [{"scorer": "noted"}])


# --- writing ------------------------------------------------------------------------------------------------


async def test_a_field_that_may_not_be_written_refuses_the_change_by_name(make_crm: MakeCrm) -> None:
    hidden: dict[Key, set[str]] = {
        ("Customer", "create"): {"owner"},
        ("Customer", "update"): {"note", "owner"},
        ("Deal", "update"): {"value", "stage"},
    }
    async with make_crm(policy=Limits(hidden=hidden)) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        events = len(await crm.events.read())
        ann = {"kind": "person", "name": "New"}
        refused: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
            ("Customer.owner", lambda: session.create(Customer, [ann, {**ann, "owner_id": ids.mia}])),
            ("Customer.note", lambda: session.update(Customer, [Update(ids.ann, {"note": None})])),
            ("Deal.value", lambda: session.update(Deal, [Update(ids.deal, {"value": None})])),
            ("Deal.stage", lambda: session.run("move_deal", [{"id": ids.deal, "stage_id": ids.offer}])),
        ]
        for name, attempt in refused:
            with pytest.raises(FieldDenied, match=f"^user:usr_1 may not write {name}$"):
                await attempt()
        assert len(await crm.events.read()) == events
        # what is no field is still told as such, and an id may be brought along
        result = await session.update(Customer, [Update(ids.ann, {"nmae": "x"})])
        assert [error.code for error in result.errors] == ["unknown_field"]
        (id,) = await made(session, Customer, {**ann, "note": "x", "id": ids.ann[:-4] + "ffff"})
        assert id.endswith("ffff")


async def test_what_is_preset_is_set_and_can_not_be_named(make_crm: MakeCrm) -> None:
    preset: dict[Key, dict[str, Any]] = {}
    async with make_crm(policy=Limits(preset=preset)) as crm:
        ids = await people(crm)
        preset[("Customer", "create")] = {"owner_id": ids.mia, "source": "desk"}
        preset[("Customer", "update")] = {"source": "changed"}
        preset[("Deal", "create")] = {"value": {"amount": "1", "currency": "CHF"}}
        session = crm.acting_as(SOMEBODY)
        (new,) = await made(session, Customer, {"kind": "person", "name": "New"})
        query = session.find(Customer).select("owner_id", "source")
        assert await query.get(new) == {"owner_id": ids.mia, "source": "desk"}
        for field_name, value in (("owner_id", None), ("source", "me")):
            with pytest.raises(FieldDenied, match=f"may not write Customer.{field_name.removesuffix('_id')}"):
                await session.create(Customer, [{"kind": "person", "name": "N", field_name: value}])
        await session.update(Customer, [Update(ids.ann, {"name": "Anna", "owner_id": None})])
        assert await query.get(ids.ann) == {"owner_id": None, "source": "changed"}
        # an upsert sets what creating or updating sets
        key: dict[str, Any] = {"external_id": {"system": "shop", "id": "1"}, "kind": "person", "name": "K"}
        for told_of in ("desk", "changed"):
            await session.upsert(Customer, [key], on=("external_id",))
            found = session.find(Customer).where({"name": {"eq": "K"}}).select("source")
            assert await found.one() == {"source": told_of}
        (deal,) = await made(session, Deal, {"name": "d", "stage_id": ids.offer})
        assert await session.find(Deal).select("value").get(deal) == {"value": {"amount": "1", "currency": "CHF"}}


async def test_rows_must_be_allowed_before_and_after(make_crm: MakeCrm) -> None:
    limits = Limits(
        where={("Customer", "update"): Compare("kind", "eq", "person")},
        checks={("Customer", "update"): Compare("lifecycle", "ne", "former")},
    )
    async with make_crm(policy=limits) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        result = await session.update(Customer, [Update(ids.acme, {"note": None})])
        assert [error.code for error in result.errors] == ["not_found"]
        with pytest.raises(AccessDenied, match="may not update such customers"):
            await session.update(Customer, [Update(ids.ann, {"lifecycle": "former"})])
        assert (await session.update(Customer, [Update(ids.ann, {"lifecycle": "lead"})])).updated == 1


def messages(result: ChangeResult) -> list[tuple[str, str]]:
    return [(error.code, error.message) for error in result.errors]


async def test_an_upsert_finds_only_what_may_be_read(make_crm: MakeCrm) -> None:
    limits = Limits(where={("User", "read"): Compare("name", "eq", "Mia")}, hidden={("User", "update"): {"email"}})
    async with make_crm(policy=limits) as crm:
        await people(crm)
        system, session = crm.acting_as(SYSTEM), crm.acting_as(SOMEBODY)
        await made(system, User, {"name": "Hidden", "email": "hidden@example.com"})
        row = {"name": "Mia", "email": "mia@example.com"}
        # what a row is found by needs no right to be changed
        assert (await session.upsert(User, [row], on=("email",))).unchanged == 1
        refused = messages(await session.upsert(User, [{**row, "email": "hidden@example.com"}], on=("email",)))
        assert refused == [("taken", "another user has the same email")]
        assert refused == messages(await session.create(User, [{**row, "email": "hidden@example.com"}]))
        assert refused == messages(await session.create(User, [row]))


async def test_a_key_that_may_not_be_read_finds_nothing(make_crm: MakeCrm) -> None:
    async with make_crm(policy=hiding("User.email", "ExternalId.entity")) as crm:
        session = crm.acting_as(SOMEBODY)
        with pytest.raises(FieldDenied, match=r"may not read User\.email"):
            await session.upsert(User, [{"name": "Mia", "email": "mia@example.com"}], on=("email",))
    closed = frozenset({("ExternalId", "read"), ("ExternalId", "create")})
    async with make_crm(policy=Limits(types=closed)) as crm:  # type: ignore[arg-type]
        session = crm.acting_as(SOMEBODY)
        row: dict[str, Any] = {"kind": "person", "name": "A", "external_id": {"system": "s", "id": "1"}}
        with pytest.raises(AccessDenied, match="may not read external ids"):
            await session.upsert(Customer, [row], on=("external_id",))
        with pytest.raises(AccessDenied, match="may not create external ids"):
            await session.create(Customer, [row])
        assert await crm.events.read() == []


async def test_an_interaction_that_is_hidden_is_not_found_by_its_external_id(make_crm: MakeCrm) -> None:
    hidden: dict[Key, Condition] = {("Interaction", "read"): Compare("channel", "eq", "email")}
    async with make_crm(policy=Limits(where=hidden, hidden={("Interaction", "create"): {"identity"}})) as crm:
        await people(crm)
        session = crm.acting_as(SOMEBODY)
        given = {"channel": "email", "direction": "inbound", "external_id": {"system": "pbx", "id": "1"}}
        result = await session.run("log_interaction", [given])
        assert messages(result) == [("taken", "another interaction has the same external id")]
        given["external_id"] = {"system": "pbx", "id": "2"}
        first = await session.run("log_interaction", [given])
        assert (await session.run("log_interaction", [given])).ids == first.ids


async def test_nothing_is_told_of_hidden_rows_that_hold_another(make_crm: MakeCrm) -> None:
    for limits in (
        Limits(where={("Deal", "read"): Compare("name", "eq", "seen")}),
        Limits(types=frozenset({("Deal", "read")})),
        hiding("Deal.stage"),
    ):
        async with make_crm(policy=limits) as crm:
            ids = await people(crm)
            session = crm.acting_as(SOMEBODY)
            refused = messages(await session.delete(Stage, [ids.offer]))
            told_of = "other records refer to the stage; they must be deleted or changed first"
            assert refused == [("held", told_of)]
            if limits.where:
                await made(session, Deal, {"name": "seen", "stage_id": ids.offer})
                ((_, message),) = messages(await session.delete(Stage, [ids.offer]))
                assert message.startswith("1 deal refers to the stage")


async def test_a_deal_is_put_next_to_deals_that_may_be_read(make_crm: MakeCrm) -> None:
    async with make_crm(policy=Limits(where={("Deal", "read"): Compare("name", "eq", "seen")})) as crm:
        ids = await people(crm)
        session = crm.acting_as(SOMEBODY)
        one, two = await made(session, Deal, *({"name": "seen", "stage_id": ids.offer} for _ in range(2)))
        hidden = await session.run("move_deal", [{"id": two, "stage_id": ids.offer, "before": ids.deal}])
        missing = await session.run(
            "move_deal", [{"id": two, "stage_id": ids.offer, "before": ids.deal[:-4] + "ffff"}]
        )
        assert messages(hidden) == messages(missing)
        assert not (await session.run("move_deal", [{"id": two, "stage_id": ids.offer, "before": one}])).errors


async def test_an_address_is_looked_up_with_the_rights_of_who_asks(make_crm: MakeCrm) -> None:
    mail = [("email", "ann@example.com")]
    async with make_crm(policy=Limits(where={("Customer", "read"): Compare("name", "eq", "Bob")})) as crm:
        ids = await people(crm)
        system, session = crm.acting_as(SYSTEM), crm.acting_as(SOMEBODY)
        await made(
            system, ContactPoint, {"customer_id": ids.ann, "channel": "email", "address": "ann@example.com"}
        )
        assert [found.status for found in await session.resolve(mail)] == ["unknown"]
        assert [found.status for found in await system.resolve(mail)] == ["matched"]
    async with make_crm(policy=hiding("ContactPoint.address")) as crm:
        with pytest.raises(FieldDenied, match=r"may not read ContactPoint\.address"):
            await crm.acting_as(SOMEBODY).resolve(mail)


# --- CSV ----------------------------------------------------------------------------------------------------


async def test_an_export_has_the_columns_that_may_be_read(make_crm: MakeCrm) -> None:
    limits = Limits(
        types=frozenset({("User", "read")}), hidden=hiding("Customer.note", "Deal.value", "Deal.customer").hidden
    )
    async with make_crm(policy=limits) as crm:
        await people(crm)
        headings = {}
        for principal in (SYSTEM, SOMEBODY):
            for entity in ("Customer", "Deal"):
                output = io.StringIO()
                await export_rows(crm.acting_as(principal), entity, output)
                headings[principal, entity] = set(output.getvalue().splitlines()[0].split(","))
        assert headings[SYSTEM, "Customer"] - headings[SOMEBODY, "Customer"] == {"note", "owner_id"}
        closed = {"value", "value.currency", "customer_id", "owner_id"}
        assert headings[SYSTEM, "Deal"] - headings[SOMEBODY, "Deal"] == closed
        with pytest.raises(FieldDenied, match=r"may not read Customer\.note"):
            await export_rows(crm.acting_as(SOMEBODY), "Customer", io.StringIO(), fields=["name", "note"])


async def test_an_import_is_refused_before_any_of_it_is_stored(make_crm: MakeCrm, tmp_path: Path) -> None:
    (tmp_path / "teams.csv").write_text("name\nSouth\n")
    (tmp_path / "users.csv").write_text("name,email\nAnn,ann@example.com\n")
    (tmp_path / "import.toml").write_text(
        """
        [[import]]
        entity = "Team"
        file = "teams.csv"
        key = ["name"]
        [import.fields]
        name = "name"
        [[import]]
        entity = "User"
        file = "users.csv"
        key = ["email"]
        [import.fields]
        name = "name"
        email = "email"
        """
    )
    for verb, deed in (("create", "write"), ("update", "write"), ("read", "read")):
        name = "User.email" if verb == "read" else "User.name"
        async with make_crm(policy=hiding(name, verb=verb)) as crm:  # type: ignore[arg-type]
            mapping = load_mapping(tmp_path / "import.toml")
            with pytest.raises(FieldDenied, match=f"may not {deed} {name}"):
                await run_import(crm.acting_as(SOMEBODY), mapping, tmp_path)
            assert await crm.events.read() == []
            await run_import(crm.acting_as(SYSTEM), mapping, tmp_path)


# --- GraphQL ------------------------------------------------------------------------------------------------

GRAPHQL = {"plugins": ["graphql"]}


async def run(crm: Crm, document: str, **variables: Any) -> Result:
    return await execute(crm, crm.acting_as(SOMEBODY), document, variables)


def refusals(result: Result) -> list[tuple[str, str]]:
    return [(error.message, (error.extensions or {})["code"]) for error in result.errors]


async def test_an_operation_is_refused_once_and_before_anything_runs(make_crm: MakeCrm) -> None:
    async with make_crm([Figures], GRAPHQL, policy=hiding("Customer.note")) as crm:
        ids = await people(crm)
        events = len(await crm.events.read())
        statements = crm.database.statements
        denied = [("user:usr_1 may not read Customer.note", "NOT_ALLOWED")]
        for document in (
            "{ teams { totalCount } customers { nodes { name note } } users { nodes { name } } }",
            "query($id: ID!) { customer(id: $id) { organization { note } } }",
            "query($id: ID!) { node(id: $id) { id ... on Customer { note } } }",
            '{ customers(where: {note: {eq: "x"}}) { totalCount } teams { totalCount } }',
            "{ customers(orderBy: [{note: ASC}]) { edges { cursor } } }",
            "{ users { nodes { customers(where: {note: {isNull: true}}) { nodes { name } } } } }",
            "{ customers { nodes { noted } } }",
            "{ me { name } customers { nodes { note } } }",
            """mutation($id: ID!) { updateCustomer(input: {id: $id, patch: {name: "Changed"}}) {
              customer { name note } } }""",
            """mutation { createCustomer(input: {kind: PERSON, name: "New"}) {
              customer { members(where: {note: {isNull: true}}) { totalCount } } } }""",
        ):
            result = await run(crm, document, id=ids.ann) if "$id" in document else await run(crm, document)
            assert refusals(result) == denied, document
            assert result.formatted()["data"] is None, document
        assert crm.database.statements == statements
        assert len(await crm.events.read()) == events


async def test_an_optional_field_is_left_out(make_crm: MakeCrm) -> None:
    closed = hiding("Customer.note", "Deal.value")
    limits = Limits(types=frozenset({("Interaction", "read")}), hidden=closed.hidden)
    async with make_crm([Figures], GRAPHQL, policy=limits) as crm:
        ids = await people(crm)
        document = """query($id: ID!, $call: ID!) {
          interactions @optional { totalCount }
          call: node(id: $call) @optional { id }
          node(id: $id) @optional { id ... on Customer { note @optional } }
          customer(id: $id) { ...Card note @optional
            interactions @optional { totalCount }
            organization @optional { name note @optional }
            deals { nodes { name value @optional { amount } } } }
        }
        fragment Card on Customer { name again: note @optional echo @optional noted @optional lifecycle @optional }
        """
        call = (await crm.acting_as(SYSTEM).find(Interaction).all())[0]["id"]
        result = await run(crm, document, id=ids.ann, call=call)
        assert not result.errors
        assert result.data == {
            "node": {"id": ids.ann},
            "customer": {
                "name": "Ann",
                "lifecycle": "PROSPECT",
                "organization": {"name": "Acme"},
                "deals": {"nodes": [{"name": "won"}]},
            },
        }
        whole = await execute(crm, crm.acting_as(SYSTEM), document, {"id": ids.ann, "call": call})
        assert whole.data["customer"]["again"] == "likes tea"
        assert whole.data["interactions"] == {"totalCount": "1"}
        # it is about the field itself, and every place that names it has to say so
        for selection in ("note note @optional", "organization @optional { note }"):
            refused = await run(crm, f"query($id: ID!) {{ customer(id: $id) {{ {selection} }} }}", id=ids.ann)
            assert refusals(refused) == [("user:usr_1 may not read Customer.note", "NOT_ALLOWED")]
        update = """mutation($id: ID!) { updateCustomer(input: {id: $id, patch: {name: "Anna"}}) {
          customer { name note @optional } } }"""
        updated = await run(crm, update, id=ids.ann)
        assert updated.data == {"updateCustomer": {"customer": {"name": "Anna"}}}
        assert "directive @optional on FIELD" in sdl(crm)


async def test_a_reference_to_what_nobody_granted_reads_as_null(make_crm: MakeCrm) -> None:
    async with make_crm([], GRAPHQL, policy=Limits(types=frozenset({("Interaction", "read")}))) as crm:
        await people(crm)
        document = "{ externalIds { nodes { system entity { id ... on Interaction { subject } } } } }"
        result = await run(crm, document)
        assert result.data == {"externalIds": {"nodes": [{"system": "pbx", "entity": None}]}}


async def test_viewer_can_in_graphql(make_crm: MakeCrm) -> None:
    limits = Limits(
        types=frozenset({("Customer", "delete")}), where={("Customer", "update"): Compare("kind", "eq", "person")}
    )
    async with make_crm([], GRAPHQL, policy=limits) as crm:
        ids = await people(crm)
        document = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer {
          viewerCan { __typename may: update delete } organization { viewerCan { update } } } } }"""
        result = await run(crm, document, ids=[ids.ann, ids.acme])
        person = {"__typename": "ViewerCan", "may": True, "delete": False}
        assert result.data == {
            "nodes": [
                {"viewerCan": person, "organization": {"viewerCan": {"update": False}}},
                {"viewerCan": {**person, "may": False}, "organization": None},
            ]
        }


async def test_the_entities_are_told_as_far_as_they_are_open(make_crm: MakeCrm) -> None:
    limits = Limits(
        types=frozenset({("Deal", "read"), ("Customer", "delete")}),
        hidden={
            ("Customer", "read"): {"note"},
            ("Customer", "create"): {"owner", "locale"},
            ("Customer", "update"): {"owner"},
        },
        preset={("Customer", "create"): {"source": "desk"}, ("Customer", "update"): {"source": "desk"}},
    )
    document = "{ entities { name verbs fields { name writable } } }"
    async with make_crm([Figures], GRAPHQL, policy=limits) as crm:
        entities = {item["name"]: item for item in (await run(crm, document)).data["entities"]}
        assert "Deal" not in entities
        customer = entities["Customer"]
        assert sorted(customer["verbs"]) == ["create", "read", "update", "upsert"]
        fields = {item["name"]: item["writable"] for item in customer["fields"]}
        assert not {"note", "echo", "noted", "deals", "dealCount"} & set(fields)
        assert all(fields[name] for name in ("name", "locale", "organization"))
        assert not any(fields[name] for name in ("owner", "source", "createdAt"))
