"""What roles grant, and what it comes to: own and team, what belongs to a row, several roles."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    AccessDenied,
    ContactPoint,
    Crm,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Event,
    ExternalId,
    Interaction,
    Need,
    NeedPermission,
    Permission,
    Pipeline,
    Plugin,
    Principal,
    Relationship,
    RoleGrant,
    RolePermission,
    Stage,
    StageMove,
    Team,
    Update,
    User,
    tree,
)
from amity.access import Facts, Role, RowRule, TypeGrant, Verb
from amity.access.rights import Everything
from amity.access.roles import NOBODY, RolePolicy, RoleRights, filled, placeholders
from amity.contracts import ChangeResult
from amity.entity import Record
from amity.principals.rules import parse_grant
from amity.testing import make_crm
from amity.tree import All, AnyOf, Compare, Never, Not, Placeholder, Quantified, Through

from .conftest import MakeCrm

# these tests read one company
pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Care(Plugin):
    """Keeps what customers asked for; a case is of whoever looks after it."""

    name = "care"

    def entities(self) -> Sequence[type[Record]]:
        return [Wish, Remark]

    def permissions(self) -> Sequence[Permission]:
        return [Permission("care.answer", "Answer wishes")]

    def grants(self) -> Sequence[RoleGrant | RolePermission]:
        return [
            RoleGrant("agent", Wish, {"read", "update"}, "own"),
            RoleGrant("portal", Wish, {"read"}, {"customer_id": {"eq": "$customer"}}, ["text", "customer"]),
            RolePermission("agent", "care.answer"),
        ]

    def needs(self) -> Sequence[Need | NeedPermission]:
        return [
            Need(Customer, {"read"}, fields=["name"], where={"kind": {"eq": "person"}}),
            NeedPermission("core.move_deal"),
        ]


class Wish(Entity):
    """Something that a customer asked for."""

    customer: Any = fields.ForeignKeyField("core.Customer", related_name="wishes", on_delete=fields.CASCADE)
    text = fields.CharField(max_length=100)

    options = EntityOptions(prefix="wis", plural="wishes", api=EDITABLE)


class Remark(Entity):
    """Something that was said of a wish."""

    wish: Any = fields.ForeignKeyField("care.Wish", related_name="remarks", on_delete=fields.CASCADE)
    text = fields.CharField(max_length=100)

    options = EntityOptions(prefix="rmk", api=EDITABLE)


class Company:
    """Two teams. Mia and Jo are of the first, Zoe is of the second, Sol of none; each has one customer."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self.users: dict[str, UUID] = {}
        self.teams: dict[str, UUID] = {}
        self.customers: dict[str, UUID] = {}

    async def fill(self) -> None:
        system = self.crm.acting_as(SYSTEM)
        first, second = ids(await system.create(Team, [{"name": "first"}, {"name": "second"}]))
        teams = {"mia": first, "jo": first, "zoe": second, "sol": None}
        made = await system.create(User, [{"name": name, "team_id": team} for name, team in teams.items()])
        self.users = dict(zip(teams, ids(made), strict=True))
        self.teams = {name: team for name, team in teams.items() if team is not None}
        rows = [{"kind": "person", "name": f"of {name}", "owner_id": id} for name, id in self.users.items()]
        rows.append({"kind": "person", "name": "of nobody"})
        self.customers = dict(zip([*teams, "nobody"], ids(await system.create(Customer, rows)), strict=True))
        (pipeline,) = ids(await system.create(Pipeline, [{"name": "Sales"}]))
        (stage,) = ids(await system.create(Stage, [{"pipeline_id": pipeline, "name": "New"}]))
        for name, customer in self.customers.items():
            owner = self.users.get(name)
            address = {"customer_id": customer, "channel": "letter", "address": f"{name} street"}
            ids(await system.create(ContactPoint, [address]))
            ids(await system.create(Deal, [{"name": f"of {name}", "stage_id": stage, "owner_id": owner}]))
            talk = {"channel": "letter", "direction": "inbound", "occurred_at": NOW}
            ids(await system.create(Interaction, [{**talk, "customer_id": customer, "subject": f"of {name}"}]))
            ids(await system.create(Interaction, [{**talk, "user_id": owner, "subject": f"by {name}"}]))
            (wish,) = ids(await system.create(Wish, [{"customer_id": customer, "text": f"of {name}"}]))
            ids(await system.create(Remark, [{"wish_id": wish, "text": f"of {name}"}]))
        pairs = [("mia", "jo"), ("mia", "zoe")]
        rows = [
            {"customer_id": self.customers[one], "related_id": self.customers[other], "type": f"{one}-{other}"}
            for one, other in pairs
        ]
        ids(await system.create(Relationship, rows))

    def principal(self, name: str, *roles: Role) -> Principal:
        facts = Facts(user=self.users[name], team=self.teams.get(name))
        return Principal("user", f"usr_{self.users[name].hex}", roles=roles, facts=facts)

    async def seen(self, principal: Principal, entity: type[Record], field: str = "name") -> set[str]:
        return {row[field] for row in await self.crm.acting_as(principal).find(entity).select(field).all()}


def ids(result: ChangeResult) -> list[UUID]:
    assert not result.errors, result.errors
    return [id for id in result.ids if id is not None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(server_url: str | None) -> AsyncIterator[Company]:
    async with make_crm([Care], server_url=server_url) as crm:
        company = Company(crm)
        await company.fill()
        yield company


def role(crm: Crm, grants: Mapping[Any, Any], *verbs: Verb, name: str = "some", **more: Any) -> Role:
    """A role that grants verbs (reading, if none is said) on entities: to rows that are written as in a grant."""
    given = {
        (crm.catalog.of(entity).code, verb): parse_grant(crm.catalog, crm.catalog.of(entity), rows, None, **more)
        for entity, rows in grants.items()
        for verb in verbs or ("read",)
    }
    return Role(name, uuid4(), grants=given)


# --- own, team, and conditions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("mia", "all", {"of mia", "of jo", "of zoe", "of sol", "of nobody"}),
        ("mia", "none", set()),
        ("mia", "own", {"of mia"}),
        ("mia", "team", {"of mia", "of jo"}),
        ("zoe", "team", {"of zoe"}),
        ("sol", "team", {"of sol"}),
        ("jo", {"owner_id": {"eq": "$user"}}, {"of jo"}),
        ("jo", {"owner": {"team_id": {"in": ["$team"]}}}, {"of mia", "of jo"}),
        ("sol", {"or": [{"owner": {"team_id": {"eq": "$team"}}}, {"name": {"eq": "of mia"}}]}, {"of mia"}),
        (
            "jo",
            {"created_at": {"lt": "$now"}, "owner_id": {"ne": "$user"}},
            {"of mia", "of zoe", "of sol", "of nobody"},
        ),
        ("jo", {"created_at": {"gt": "$now"}}, set()),
        ("jo", {"not": {"owner_id": {"eq": "$user"}}}, {"of mia", "of zoe", "of sol", "of nobody"}),
        ("jo", {"not": {"created_at": {"gt": "$now"}}, "owner_id": {"eq": "$user"}}, {"of jo"}),
        ("jo", {"deals": {"none": {"owner_id": {"eq": "$user"}}}, "owner_id": {"eq": "$user"}}, {"of jo"}),
        # what compares with a fact that is not known lets nothing through, negated or not
        ("sol", {"not": {"owner": {"team_id": {"eq": "$team"}}}}, set()),
        ("sol", {"id": {"eq": "$customer"}}, set()),
        ("sol", {"id": {"ne": "$customer"}}, set()),
        ("sol", {"deals": {"none": {"owner_id": {"eq": "$customer"}}}}, set()),
    ],
)
async def test_a_role_sees_the_rows_that_it_says(
    company: Company, name: str, rows: Any, expected: set[str]
) -> None:
    principal = company.principal(name, role(company.crm, {Customer: rows}))
    assert await company.seen(principal, Customer) == expected


async def test_own_and_team_follow_each_entitys_owner(company: Company) -> None:
    everything = {Customer: "all", Deal: "team", User: "own"}
    principal = company.principal("mia", role(company.crm, everything))
    assert await company.seen(principal, Deal) == {"of mia", "of jo"}
    assert await company.seen(principal, User) == {"mia"}
    team = company.principal("mia", role(company.crm, {User: "team"}))
    assert await company.seen(team, User) == {"mia", "jo"}
    alone = company.principal("sol", role(company.crm, {User: "team"}))
    assert await company.seen(alone, User) == {"sol"}
    talks = company.principal("mia", role(company.crm, {Customer: "team", Interaction: "own"}))
    assert await company.seen(talks, Interaction, "subject") == {"of mia", "by mia"}


async def test_what_belongs_to_a_row_has_its_owner(company: Company) -> None:
    given = {Customer: "all", ContactPoint: "own", Wish: "team", Remark: "team"}
    principal = company.principal("mia", role(company.crm, given))
    assert await company.seen(principal, ContactPoint, "address") == {"mia street"}
    assert await company.seen(principal, Remark, "text") == {"of mia", "of jo"}


# --- what belongs to a row is in reach as far as the row is -------------------------------------------------


async def test_children_are_in_reach_as_far_as_their_parents(company: Company) -> None:
    given = {Customer: "own", ContactPoint: "all", Wish: "all", Remark: {"text": {"contains": "o"}}}
    principal = company.principal("mia", role(company.crm, given))
    assert await company.seen(principal, ContactPoint, "address") == {"mia street"}
    assert await company.seen(principal, Remark, "text") == {"of mia"}
    # a wish in between that nobody granted hides what belongs to it
    without = company.principal("mia", role(company.crm, {Customer: "all", Remark: "all"}))
    assert await company.seen(without, Remark, "text") == set()


async def test_a_relationship_tells_of_both_and_needs_both(company: Company) -> None:
    principal = company.principal("mia", role(company.crm, {Customer: "team", Relationship: "all"}))
    assert await company.seen(principal, Relationship, "type") == {"mia-jo"}


RULES = ("all", "own", "team", "none", {"id": {"isNull": False}})


async def reached(principal: Principal, crm: Crm, relation: str, field: str) -> set[str]:
    """What hangs on the customers that a principal sees."""
    nodes = tree.Nodes("nodes", (tree.Scalar("value", field),))
    hanging = tree.Connected("hanging", relation, tree.Page((nodes, tree.TotalCount("count")), first=100))
    page = tree.Page((tree.Nodes("nodes", (hanging,)),), first=100)
    answer = await crm.acting_as(principal).read({"": tree.Connection("Customer", page)})
    pages = [item["hanging"] for item in answer.parsed()[""]["nodes"]]
    assert all(int(item["count"]) == len(item["nodes"]) for item in pages)
    return {row["value"] for item in pages for row in item["nodes"]}


@pytest.mark.parametrize("name", ["mia", "sol"])
async def test_what_hangs_on_a_visible_row_is_what_is_there_without_it(company: Company, name: str) -> None:
    """Reached from a customer, what follows from its being visible isn't asked; the rows are the same."""
    for entity, relation, field in (
        (Interaction, "interactions", "subject"),
        (Wish, "wishes", "text"),
        (Relationship, "relationships", "type"),
    ):
        for parents, children in itertools.product(RULES, RULES):
            principal = company.principal(name, role(company.crm, {Customer: parents, entity: children}))
            found = company.crm.acting_as(principal).find(entity).where({"customer": {"id": {"isNull": False}}})
            alone = {row[field] for row in await found.select(field).all()}
            assert await reached(principal, company.crm, relation, field) == alone, (entity, parents, children)


async def test_what_follows_from_a_visible_parent_is_not_asked_once_more(company: Company) -> None:
    nodes = tree.Nodes("nodes", (tree.Scalar("id", "id"),))
    hanging = tree.Connected("hanging", "interactions", tree.Page((nodes,), first=5))
    page = tree.Page((tree.Nodes("nodes", (hanging,)),), first=100)
    for rule, asked in (("all", False), ("team", False), ("own", True)):
        principal = company.principal("mia", role(company.crm, {Customer: "team", Interaction: rule}))
        sql = company.crm.acting_as(principal).compile({"": tree.Connection("Customer", page)}).sql
        assert (sql.count('"core_customer"') > 1) is asked, sql


async def test_an_empty_parent_leaves_the_grant_alone(company: Company) -> None:
    given = {Customer: "own", Interaction: {"subject": {"startsWith": "by"}}}
    principal = company.principal("mia", role(company.crm, given))
    # nobody decided yet whose interactions these are
    assert await company.seen(principal, Interaction, "subject") == {
        "by mia",
        "by jo",
        "by zoe",
        "by sol",
        "by nobody",
    }
    everything = company.principal("mia", role(company.crm, {Customer: "own", Interaction: "all"}))
    assert "of jo" not in await company.seen(everything, Interaction, "subject")


async def test_what_refers_to_any_record_is_seen_with_the_record(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        system = crm.acting_as(SYSTEM)
        (mia,) = ids(await system.create(User, [{"name": "mia"}]))
        rows: list[dict[str, Any]] = [
            {"kind": "person", "name": "a", "owner_id": mia, "external_id": {"system": "erp", "id": "1"}},
            {"kind": "person", "name": "b", "external_id": {"system": "erp", "id": "2"}},
        ]
        own, _other = ids(await system.create(Customer, rows))
        (pipeline,) = ids(await system.create(Pipeline, [{"name": "Sales"}]))
        (stage,) = ids(await system.create(Stage, [{"pipeline_id": pipeline, "name": "New"}]))
        ids(
            await system.create(
                Deal, [{"name": n, "stage_id": stage, "owner_id": o} for n, o in (("d", mia), ("e", None))]
            )
        )
        given = {Customer: "own", Deal: "own", Event: "all", ExternalId: "all", StageMove: "all"}
        given |= {Pipeline: "all", Stage: "all"}
        principal = Principal("user", "usr_1", roles=(role(crm, given),), facts=Facts(user=mia))
        session = crm.acting_as(principal)
        assert await session.find(ExternalId).select("external_id").all() == [{"external_id": "1"}]
        assert await session.find(StageMove).count() == 1
        types = [row["type"] for row in await session.find(Event).select("type").order_by("type").all()]
        assert types == [
            "customer.created",
            "deal.created",
            "external_id.created",
            "pipeline.created",
            "stage.created",
        ]
        # what happened to a record is still told once it is deleted
        await system.delete(Customer, [own])
        assert await session.find(Event).where({"type": {"eq": "customer.deleted"}}).count() == 1
        assert await session.find(ExternalId).count() == 0


# --- writing ------------------------------------------------------------------------------------------------


async def test_nobody_changes_what_they_can_not_see(company: Company) -> None:
    catalog = company.crm.catalog
    given = role(company.crm, {Customer: "own"}), role(company.crm, {Customer: "all"}, "update", "delete")
    rights = company.crm.policy.rights(company.principal("mia", *given))
    customer = catalog.of(Customer)
    assert rights.rows(customer, "update") == rights.rows(customer, "read") == rights.rows(customer, "delete")
    blind = company.crm.policy.rights(company.principal("mia", given[1]))
    assert blind.granted(customer, "update")
    assert blind.rows(customer, "update") == NOBODY


async def test_a_row_must_be_in_reach_after_it_was_written(company: Company) -> None:
    crm = company.crm
    roles = [role(crm, {Customer: "own", User: "all"}), role(crm, {Customer: "own"}, "create", "update")]
    session = crm.acting_as(company.principal("mia", *roles))
    with pytest.raises(AccessDenied, match="may not create such customers"):
        await session.create(Customer, [{"kind": "person", "name": "new", "owner_id": company.users["jo"]}])
    with pytest.raises(AccessDenied, match="may not update such customers"):
        await session.update(Customer, [Update(company.customers["mia"], {"owner_id": company.users["jo"]})])
    loose = role(crm, {Customer: "own"}, "update", check="team")
    giving = crm.acting_as(company.principal("mia", roles[0], loose))
    customer = company.customers["mia"]
    assert not (await giving.update(Customer, [Update(customer, {"owner_id": company.users["jo"]})])).errors
    back = await crm.acting_as(SYSTEM).update(Customer, [Update(customer, {"owner_id": company.users["mia"]})])
    assert not back.errors


async def test_presets_are_set_and_what_is_missing_is_told(company: Company) -> None:
    crm = company.crm
    presets = {"owner": "$user", "source": "desk"}
    desk = role(crm, {Customer: "all"}, "read", "create", presets=presets, name="desk")
    people = role(crm, {User: "all"}, name="people")
    session = crm.acting_as(company.principal("mia", desk, people))
    (id,) = ids(await session.create(Customer, [{"kind": "person", "name": "preset"}]))
    found = await crm.acting_as(SYSTEM).find(Customer).select("owner.name", "source").get(id)
    assert found == {"owner": {"name": "mia"}, "source": "desk"}
    await crm.acting_as(SYSTEM).delete(Customer, [id])
    nobody = crm.acting_as(Principal("key", "key_1", roles=(desk,)))
    with pytest.raises(AccessDenied, match=r"sets owner_id to \$user, which is not known"):
        await nobody.create(Customer, [{"kind": "person", "name": "preset"}])
    other = role(crm, {Customer: "all"}, "create", name="plain")
    both = crm.acting_as(company.principal("mia", desk, other, people))
    with pytest.raises(AccessDenied, match="act under one of them: desk or plain"):
        await both.create(Customer, [{"kind": "person", "name": "preset"}])
    one = crm.acting_as(both.principal.under("plain"))
    (id,) = ids(await one.create(Customer, [{"kind": "person", "name": "preset"}]))
    await crm.acting_as(SYSTEM).delete(Customer, [id])


# --- several roles ------------------------------------------------------------------------------------------


async def test_with_several_roles_a_row_is_seen_if_one_sees_it(company: Company) -> None:
    one, other = role(company.crm, {Customer: "own"}), role(company.crm, {Customer: {"name": {"eq": "of zoe"}}})
    principal = company.principal("mia", one, other)
    assert await company.seen(principal, Customer) == {"of mia", "of zoe"}
    assert await company.seen(company.principal("mia", one, role(company.crm, {Customer: "all"})), Customer) == {
        "of mia",
        "of jo",
        "of zoe",
        "of sol",
        "of nobody",
    }


async def test_with_several_roles_a_field_is_used_if_each_grants_it(company: Company) -> None:
    crm, customer = company.crm, company.crm.catalog.of(Customer)

    def limited(name: str, *names: str) -> Role:
        grant = parse_grant(crm.catalog, customer, "all", names)
        return Role(name, uuid4(), grants={(customer.code, "read"): grant})

    whole = role(crm, {Customer: "all"}, name="whole")
    elsewhere = role(crm, {Deal: "all"}, name="elsewhere")
    held = (limited("one", "name", "kind"), limited("two", "name", "note"), whole, elsewhere)
    rights = crm.policy.rights(company.principal("mia", *held))
    assert rights.fields(customer, "read") == frozenset(("name",)) | customer.open_fields
    alone = crm.policy.rights(company.principal("mia", *held).under("whole"))
    assert alone.fields(customer, "read") is None
    with pytest.raises(AccessDenied, match=r"may not act under the role 'chief': .* holds are one, two"):
        company.principal("mia", *held[:2]).under("chief")


async def test_a_grant_on_an_entity_goes_before_that_on_every_one(company: Company) -> None:
    crm = company.crm
    grants = {("*", "read"): TypeGrant(), ("core.Customer", "read"): TypeGrant(RowRule("own"))}
    principal = company.principal("mia", Role("broad", uuid4(), grants=grants))  # type: ignore[arg-type]
    assert await company.seen(principal, Customer) == {"of mia"}
    assert await company.seen(principal, ContactPoint, "address") == {"mia street"}
    rights = crm.policy.rights(principal)
    assert rights.rows(crm.catalog.of(Deal), "read") is None
    assert not rights.granted(crm.catalog.of(Deal), "create")


async def test_roles_that_are_the_same_share_their_rules(company: Company) -> None:
    policy = RolePolicy(company.crm.catalog, {})
    id = uuid4()
    first, second = Role("a", id, 1, {("*", "read"): TypeGrant()}), Role("a", id, 2)
    customer = company.crm.catalog.of(Customer)
    assert policy.rights(company.principal("mia", first)).granted(customer, "read")
    assert policy.rights(company.principal("jo", Role("a", id, 1))).granted(customer, "read")
    assert not policy.rights(company.principal("mia", second)).granted(customer, "read")
    for number in range(3, policy.CACHED + 10):
        policy.rights(company.principal("mia", Role("a", id, number)))
    assert len(policy._rules) == policy.CACHED


async def test_what_is_kept_of_changes_is_bounded(company: Company) -> None:
    """A check that asks for the time is another one each time; what is kept of it gives way."""
    reads = role(company.crm, {Customer: "all"}).grants
    past = role(company.crm, {Customer: {"created_at": {"lte": "$now"}}}, "create").grants
    principal = company.principal("mia", Role("some", uuid4(), grants={**reads, **past}))
    session = company.crm.acting_as(principal)
    for number in range(30):
        rows = [{"kind": "person", "name": f"new {number}"}]
        (id,) = ids(await company.crm.acting_as(principal).create(Customer, rows))
        await company.crm.acting_as(SYSTEM).delete(Customer, [id])
    kept = session.rights.memo(company.crm.catalog.of(Customer))
    assert kept is not None
    (written,) = [value for value in kept.values() if isinstance(value, dict)]
    assert 0 < len(written) <= 20


async def test_roles_that_only_share_a_name_share_no_permissions(company: Company) -> None:
    for permissions in (frozenset({"core.import"}), frozenset[str]()):
        principal = Principal("user", "usr_x", roles=(Role("passing", permissions=permissions),))
        assert company.crm.policy.rights(principal).may("core.import") is bool(permissions)


# --- kinds of principals ------------------------------------------------------------------------------------


async def test_who_has_no_role_has_no_rights(company: Company) -> None:
    customer = company.crm.catalog.of(Customer)
    all_roles = (role(company.crm, {Customer: "all"}),)
    for principal in (
        Principal("user", "usr_1"),
        Principal("customer", "cus_1"),
        Principal("anonymous"),
        Principal("anonymous", roles=all_roles),
        Principal("plugin", "unheard_of"),
    ):
        rights = company.crm.policy.rights(principal)
        assert not rights.granted(customer, "read")
        assert rights.rows(customer, "read") == Never() == rights.check(customer, "create")
        assert rights.fields(customer, "read") == frozenset()
        assert not rights.may("core.move_deal")
    for principal in (SYSTEM, Principal("plugin", "core")):
        assert type(company.crm.policy.rights(principal)) is Everything


async def test_a_plugin_may_do_everything_with_its_own_and_what_it_declared(company: Company) -> None:
    crm = company.crm
    care = crm.acting_as(Principal("plugin", "care", on_behalf_of="system"))
    assert await care.find(Wish).count() == 5
    assert not (await care.update(Wish, [Update((await first(crm, Wish)), {"text": "of mia"})])).errors
    assert await care.find(Customer).select("name").order_by("name").first(1).all() == [{"name": "of jo"}]
    with pytest.raises(AccessDenied, match=r"may not read Customer\.note; its plugin can declare that it needs"):
        await care.find(Customer).select("note").all()
    with pytest.raises(AccessDenied, match=r"plugin:care may not update customers; its plugin can declare"):
        await care.update(Customer, [Update(company.customers["mia"], {"name": "x"})])
    with pytest.raises(AccessDenied, match="plugin:care may not read deals"):
        await care.find(Deal).count()
    assert care.rights.may("care.answer")
    assert care.rights.may("core.move_deal")
    assert not care.rights.may("core.log_interaction")


async def test_a_key_of_a_plugin_has_the_rights_of_its_role(company: Company) -> None:
    crm = company.crm
    keyed = Principal("plugin", "care", roles=(role(crm, {Customer: "all"}),), key="key_1")
    rights = crm.policy.rights(keyed)
    assert isinstance(rights, RoleRights)
    assert rights.granted(crm.catalog.of(Customer), "read")
    assert not rights.granted(crm.catalog.of(Wish), "read")
    assert not rights.may("care.answer")
    # not even one that acts as the core, or whose role has gone
    for core in (Principal("plugin", "core", roles=keyed.roles, key="k"), Principal("plugin", "core", key="k")):
        assert not crm.policy.rights(core).granted(crm.catalog.of(Wish), "read")
        assert not crm.policy.rights(core).may("core.manage_access")


async def first(crm: Crm, entity: type[Record]) -> str:
    (row,) = await crm.acting_as(SYSTEM).find(entity).order_by("id").first(1).all()
    return str(row["id"])


# --- what came with Amity -----------------------------------------------------------------------------------


async def test_the_roles_that_are_there_from_the_start(company: Company) -> None:
    crm = company.crm
    agent = company.principal("mia", await crm.access.role("agent"))
    assert await company.seen(agent, Customer) == {"of mia", "of jo"}
    assert await company.seen(agent, Wish, "text") == {"of mia"}
    assert await company.seen(agent, Interaction, "subject") == {"of mia", "of jo", "by mia", "by jo"}
    assert await company.seen(agent, Team) == {"first", "second"}
    rights = crm.policy.rights(agent)
    for name in ("Role", "Grant", "ApiKey", "UserSession", "JobRun", "RoleMember", "PermissionGrant"):
        assert not rights.granted(crm.catalog[name], "read"), name
    with pytest.raises(AccessDenied, match=r"User\.last_sign_in_at"):
        await crm.acting_as(agent).find(User).select("last_sign_in_at").all()
    (id,) = ids(
        await crm.acting_as(agent).create(
            Customer, [{"kind": "person", "name": "new", "owner_id": company.users["jo"]}]
        )
    )
    refused = await crm.acting_as(agent).delete(Customer, [id])
    assert [error.code for error in refused.errors] == ["not_found"]
    assert (await crm.acting_as(SYSTEM).delete(Customer, [id])).deleted == 1

    reader = company.principal("mia", await crm.access.role("read-only"))
    assert len(await company.seen(reader, Customer)) == 5
    reads = crm.policy.rights(reader)
    assert not any(
        reads.granted(entity, verb) for entity in crm.catalog.values() for verb in ("create", "update", "delete")
    )
    assert not reads.granted(crm.catalog["Role"], "read")
    assert not reads.granted(crm.catalog["Wish"], "read")

    admin = crm.policy.rights(company.principal("mia", await crm.access.role("admin")))
    for entity in crm.catalog.values():
        for verb in ("read", "create", "update", "delete"):
            assert admin.rows(entity, verb) is None
            assert admin.fields(entity, verb) is None
            assert admin.check(entity, verb) is None
    assert admin.may("care.answer")


async def test_a_customer_sees_the_own_record_and_what_hangs_on_it(company: Company) -> None:
    crm = company.crm
    customer = await crm.access.customer(company.customers["jo"])
    assert await company.seen(customer, Customer) == {"of jo"}
    assert await company.seen(customer, ContactPoint, "address") == {"jo street"}
    # what somebody wrote down about a meeting was not said to the customer
    assert await company.seen(customer, Interaction, "subject") == set()
    assert await company.seen(customer, Wish, "text") == {"of jo"}
    session = crm.acting_as(customer)
    for name in ("note", "custom_fields", "owner.name", "source"):
        with pytest.raises(AccessDenied, match=r"Customer\.(note|custom_fields|owner|source)"):
            await session.find(Customer).select(name).all()
    with pytest.raises(AccessDenied, match="may not update customers"):
        await session.update(Customer, [Update(company.customers["jo"], {"name": "x"})])
    assert await session.find(Customer).where({"id": {"eq": company.customers["mia"]}}).count() == 0


async def test_writing_what_guards_rights_needs_a_permission(company: Company) -> None:
    crm, user = company.crm, company.crm.catalog.of(User)
    writing = role(crm, {User: "all"}, "read", "create", "update", name="writing")
    rights = crm.policy.rights(company.principal("mia", writing))
    assert rights.fields(user, "update") == user.right_fields - {"team", "email", "active"}
    me = company.users["mia"]
    session = crm.acting_as(company.principal("mia", writing))
    with pytest.raises(AccessDenied, match=r"may not write User\.team"):
        await session.update(User, [Update(me, {"team_id": company.teams["zoe"]})])

    managing = Role("m", uuid4(), permissions=frozenset(("core.manage_access", "core.manage_users")))
    allowed = crm.policy.rights(company.principal("mia", writing, managing))
    assert allowed.fields(user, "update") is None or "team" in (allowed.fields(user, "update") or ())
    # who sees by team could move to where there is more to see
    by_team = role(crm, {Customer: "team"}, name="t")
    moving = crm.acting_as(company.principal("mia", writing, managing, by_team))
    with pytest.raises(AccessDenied, match=r"may not write User\.team"):
        await moving.update(User, [Update(me, {"team_id": company.teams["zoe"]})])
    where = role(crm, {Customer: {"owner": {"team_id": {"eq": "$team"}}}}, name="w")
    placed = crm.policy.rights(company.principal("mia", writing, managing, where)).fields(user, "update")
    assert placed is not None
    assert "team" not in placed
    # unless they see everything anyway
    every = Role("every", uuid4(), grants={("*", "read"): TypeGrant()})
    above = crm.policy.rights(company.principal("mia", writing, managing, by_team, every)).fields(user, "update")
    assert above is None or "team" in above


# --- placeholders -------------------------------------------------------------------------------------------


async def test_placeholders_are_filled_and_never_left() -> None:
    user, now = uuid4(), datetime.now(UTC)
    mine, ours = Compare("owner_id", "eq", Placeholder("user")), Compare("team_id", "eq", Placeholder("team"))
    facts = Facts(user=user)
    assert filled(mine, facts, now) == Compare("owner_id", "eq", user)
    assert filled(ours, facts, now) == NOBODY
    assert filled(AnyOf((mine, ours)), facts, now) == Compare("owner_id", "eq", user)
    assert filled(All((mine, ours)), facts, now) == NOBODY
    assert filled(Through("owner", ours), facts, now) == NOBODY
    assert filled(Not(ours), facts, now) == NOBODY
    assert filled(Not(Not(ours)), facts, now) == NOBODY
    assert filled(Quantified("deals", "every", ours), facts, now) == NOBODY
    assert filled(Quantified("deals", "some", ours), facts, now) == Quantified("deals", "some", NOBODY)
    both = Compare("owner_id", "in", (Placeholder("user"), Placeholder("customer")))
    assert filled(both, facts, now) == NOBODY
    assert placeholders(All((both, Not(ours)))) == {"user", "customer", "team"}
    day = Compare("closed_on", "lt", Placeholder("today"))
    assert filled(day, facts, now) == Compare("closed_on", "lt", now.date())
    assert filled(Compare("created_at", "lt", Placeholder("now")), facts, now) == Compare("created_at", "lt", now)
