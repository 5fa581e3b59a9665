"""Nobody grants a right that they lack: by a grant, a role, a key, a password, a team."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import (
    SYSTEM,
    AccessDenied,
    ContactPoint,
    Crm,
    Customer,
    Event,
    Permission,
    Plugin,
    Principal,
    Session,
    Team,
    Update,
    User,
)
from amity.access import Facts, Role, TypeGrant, Verb
from amity.access.coverage import covers, covers_permission, lacking
from amity.access.rights import Everything, Nothing
from amity.contracts import ChangeResult
from amity.principals.rules import parse_grant
from amity.testing import make_crm as open_crm

from .conftest import MakeCrm

QUICK: Mapping[str, Any] = {"sign_in": {"argon2_memory": 8, "argon2_passes": 1, "argon2_lanes": 1}}
PASSWORD = "correct horse battery staple"
NAMES = ("mia", "jo", "zoe")


def mail(name: str) -> str:
    return f"{name}@ourcompany.example"


def done(result: ChangeResult) -> ChangeResult:
    assert not result.errors, result.errors
    return result


async def run(session: Session, name: str, /, **given: Any) -> Any:
    result = done(await session.run(name, [given]))
    return result.values[0] if result.values else result.ids[0]


async def people(crm: Crm) -> dict[str, UUID]:
    """Mia and Jo of one team, Zoe of another; each owns a customer, and one is nobody's."""
    system = crm.acting_as(SYSTEM)
    teams = done(await system.create(Team, [{"name": "first"}, {"name": "second"}])).ids
    of = {"mia": teams[0], "jo": teams[0], "zoe": teams[1]}
    rows = [{"name": name, "email": mail(name), "team_id": team} for name, team in of.items()]
    users = dict(zip(NAMES, (id for id in done(await system.create(User, rows)).ids if id), strict=True))
    customers: list[dict[str, Any]] = [
        {"kind": "person", "name": name, "note": f"note of {name}", "owner_id": id} for name, id in users.items()
    ]
    customers.append({"kind": "organization", "name": "nobody", "note": "note of nobody"})
    done(await system.create(Customer, customers))
    return users


async def facts(crm: Crm, name: str) -> Facts:
    return (await crm.access.user(mail(name))).facts


@asynccontextmanager
async def unchanged(crm: Crm) -> AsyncIterator[None]:
    """Nothing is written by what the block tries."""
    before = await crm.acting_as(SYSTEM).find(Event).count()
    with pytest.raises(
        AccessDenied, match=r"nobody grants a right that they lack|lacks the permission|may not write"
    ):
        yield
    assert await crm.acting_as(SYSTEM).find(Event).count() == before


async def manager(crm: Crm, name: str, *grants: tuple[str, str, Any], permissions: Sequence[str] = ()) -> Session:
    """A user with a role of their own: it manages access, and grants what is said."""
    system = crm.acting_as(SYSTEM)
    role = f"manager-{name}"
    await run(system, "create_role", name=role)
    for permission in ("core.manage_access", "core.own_account", *permissions):
        await run(system, "grant_permission", role=role, permission=permission)
    for entity, action, rows in grants:
        await run(system, "grant", role=role, entity=entity, action=action, rows=rows)
    await run(system, "assign_role", user=mail(name), role=role)
    return crm.acting_as(await crm.access.user(mail(name)))


# --- the law ------------------------------------------------------------------------------------------------

RULES: tuple[Any, ...] = (
    "all",
    "own",
    "team",
    "none",
    {"kind": {"eq": "person"}},
    {"owner_id": {"eq": "$user"}},
    {"not": {"owner": {"team_id": {"eq": "$team"}}}},
)
FIELDS = ("name", "note", "kind")
rule = st.sampled_from(RULES)
some_fields = st.none() | st.lists(st.sampled_from(FIELDS), unique=True)
one_grant = st.tuples(st.booleans(), rule, some_fields)
"""Whether on every entity; rows; fields."""


def made(crm: Crm, grants: Sequence[tuple[bool, Any, Any]], name: str) -> Role:
    customer = crm.catalog.of(Customer)
    found: dict[tuple[str, Verb], TypeGrant] = {}
    for every, rows, names in grants:
        if every and isinstance(rows, str):
            found["*", "read"] = parse_grant(crm.catalog, None, rows, None)
        else:
            found[customer.code, "read"] = parse_grant(crm.catalog, customer, rows, names)
    return Role(name, uuid4(), grants=found, permissions=frozenset(("core.manage_access",)))


async def readable(crm: Crm, principal: Principal) -> set[tuple[str, str]]:
    """(row, field) of all customers that a principal can read under one of its roles."""
    customer, found = crm.catalog.of(Customer), set()
    for role in principal.roles:
        session = crm.acting_as(principal.under(role.name))
        if session.rights.granted(customer, "read"):
            fields = session.rights.fields(customer, "read")
            names = [name for name in FIELDS if fields is None or name in fields]
            rows = await session.find(Customer).select("id").all()
            found |= {(row["id"], name) for row in rows for name in names}
    return found


def test_what_is_granted_was_held(server_url: str | None) -> None:
    with asyncio.Runner() as runner:
        context = open_crm(settings=QUICK, server_url=server_url)
        crm = runner.run(context.__aenter__())
        try:
            system = crm.acting_as(SYSTEM)
            runner.run(people(crm))
            runner.run(run(system, "create_role", name="probe"))
            known = {name: runner.run(facts(crm, name)) for name in NAMES}

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(
                held=st.lists(st.lists(one_grant, max_size=2), min_size=1, max_size=2),
                wanted=one_grant,
                who=st.sampled_from(NAMES),
                other=st.sampled_from(NAMES),
            )
            def law(held: Any, wanted: Any, who: str, other: str) -> None:
                roles = tuple(made(crm, grants, f"role{n}") for n, grants in enumerate(held))
                granter = Principal("user", who, roles=roles, facts=known[who])
                every, rows, names = wanted
                every = every and isinstance(rows, str)
                given = {
                    "role": "probe",
                    "entity": "*" if every else "Customer",
                    "action": "read",
                    "rows": rows,
                    "fields": None if every else names,
                }

                async def attempt() -> None:
                    for entity in ("*", "Customer"):
                        await run(system, "revoke", role="probe", entity=entity, action="read")
                    before = await crm.access.role("probe")
                    try:
                        result = await crm.acting_as(granter).run("grant", [given])
                    except AccessDenied:
                        assert (await crm.access.role("probe")).version == before.version
                        return
                    assert not result.errors
                    probe = await crm.access.role("probe")
                    mine = await readable(crm, granter)
                    # whoever has the role instead of the granter reads no more than the granter
                    instead = Principal("user", who, roles=(probe,), facts=known[who])
                    assert await readable(crm, instead) <= mine
                    # and whoever acts as somebody else with it does not either, where that was judged
                    rights = crm.policy.rights(granter)
                    if not lacking(rights, crm.catalog, probe, for_others=True):
                        another = Principal("user", other, roles=(probe,), facts=known[other])
                        assert await readable(crm, another) <= mine

                runner.run(attempt())

            law()
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("held", "wanted", "relative", "for_others"),
    [
        ("all", "team", True, True),
        ("team", "own", True, False),
        ("team", "team", True, False),
        ("own", "team", False, False),
        ("own", "none", True, True),
        ("none", "own", False, False),
        ("team", "all", False, False),
        ("all", {"kind": {"eq": "person"}}, True, True),
        ({"kind": {"eq": "person"}}, {"kind": {"eq": "person"}}, True, True),
        ({"kind": {"eq": "person"}}, {"kind": {"eq": "organization"}}, False, False),
        ({"owner_id": {"eq": "$user"}}, {"owner_id": {"eq": "$user"}}, True, False),
        ({"kind": {"eq": "person"}}, "own", False, False),
    ],
)
async def test_more_covers_less(
    make_crm: MakeCrm, held: Any, wanted: Any, relative: bool, for_others: bool
) -> None:
    async with make_crm() as crm:
        customer = crm.catalog.of(Customer)
        rights = crm.policy.rights(Principal("user", "u", roles=(made(crm, [(False, held, None)], "r"),)))
        grant = parse_grant(crm.catalog, customer, wanted, None)
        assert covers(rights, customer, "read", grant) is relative
        assert covers(rights, customer, "read", grant, for_others=True) is for_others
        assert not covers(rights, customer, "update", grant)
        assert not covers(rights, None, "read", grant)
        assert covers(Everything(SYSTEM), None, "read", grant)
        assert not covers(Nothing(SYSTEM), customer, "read", grant)


async def test_fields_presets_and_checks_are_covered_too(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        customer = crm.catalog.of(Customer)

        def rights(**given: Any) -> Any:
            held = parse_grant(crm.catalog, customer, **{"rows": "team", "fields": None, **given})
            grants: Mapping[Any, TypeGrant] = {(customer.code, "update"): held}
            return crm.policy.rights(Principal("user", "u", roles=(Role("r", uuid4(), grants=grants),)))

        def wanted(**given: Any) -> TypeGrant:
            return parse_grant(crm.catalog, customer, **{"rows": "team", "fields": None, **given})

        def held(rights: Any, grant: TypeGrant, for_others: bool = False) -> bool:
            return covers(rights, customer, "update", grant, for_others=for_others)

        assert held(rights(), wanted(fields=["name"]))
        assert held(rights(fields=["name", "note"]), wanted(fields=["name"]))
        assert not held(rights(fields=["name"]), wanted())
        assert not held(rights(fields=["name"]), wanted(fields=["note"]))
        assert held(rights(check="all"), wanted())
        assert not held(rights(), wanted(check="all"))
        assert not held(rights(check="own"), wanted())
        assert held(rights(presets={"source": "web"}), wanted(presets={"source": "web", "locale": "de"}))
        assert not held(rights(presets={"source": "web"}), wanted(presets={"source": "shop"}))
        assert not held(rights(presets={"source": "web"}), wanted())
        free = rights(rows="all", presets={"owner": "$user"})
        assert held(free, wanted(rows="all", presets={"owner": "$user"}))
        assert not held(free, wanted(rows="all", presets={"owner": "$user"}), for_others=True)


async def test_every_entity_is_covered_by_who_has_every_entity(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        customer = crm.catalog.of(Customer)

        def rights(*grants: tuple[bool, Any, Any]) -> Any:
            return crm.policy.rights(Principal("user", "u", roles=(made(crm, grants, "r"),)))

        everything = TypeGrant()
        assert covers(rights((True, "all", None)), None, "read", everything)
        assert covers(rights((True, "all", None)), customer, "read", everything)
        # one entity of all is held less: all of them are not held
        narrowed = rights((True, "all", None), (False, "own", None))
        assert not covers(narrowed, None, "read", everything)
        assert not covers(narrowed, customer, "read", everything)
        assert covers(narrowed, crm.catalog.of(ContactPoint), "read", everything)
        gone = Role("gone", uuid4(), grants={("gone.Thing", "read"): everything})
        assert lacking(narrowed, crm.catalog, gone) == ["read gone.Thing"]
        assert lacking(rights((True, "all", None)), crm.catalog, gone) == []


class Reward(Plugin):
    """Has a permission."""

    name = "reward"

    def permissions(self) -> Sequence[Permission]:
        return [Permission("reward.give", "Give rewards")]


async def test_permissions_are_covered(make_crm: MakeCrm) -> None:
    async with make_crm([Reward]) as crm:
        one = Role("one", uuid4(), permissions=frozenset(("reward.give",)))
        every = Role("every", uuid4(), permissions=frozenset(("*",)))
        for principal, gives, gives_all in (
            (Principal("user", "u", roles=(one,)), True, False),
            (Principal("user", "u", roles=(every,)), True, True),
            (Principal("user", "u"), False, False),
            (Principal("plugin", "reward"), True, False),
            (SYSTEM, True, True),
        ):
            rights = crm.policy.rights(principal)
            assert covers_permission(rights, "reward.give") is gives
            assert covers_permission(rights, "*") is gives_all


# --- what was tried -----------------------------------------------------------------------------------------


async def test_a_manager_grants_what_they_hold_and_nothing_else(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        session = await manager(crm, "mia", ("Customer", "read", "team"), ("User", "read", "all"))
        await run(session, "create_role", name="desk", description="The desk")
        await run(session, "grant", role="desk", entity="Customer", action="read", rows="own", fields=["name"])
        await run(session, "assign_role", user=mail("zoe"), role="desk")
        zoe = crm.acting_as(await crm.access.user(mail("zoe")))
        assert await zoe.find(Customer).select("name").all() == [{"name": "zoe"}]

        for more in (
            {"entity": "Customer", "action": "read"},
            {"entity": "Customer", "action": "update", "rows": "own"},
            {"entity": "Customer", "action": "read", "rows": {"kind": {"eq": "person"}}},
            {"entity": "Deal", "action": "read", "rows": "none"},
            {"entity": "*", "action": "read", "rows": "own"},
        ):
            async with unchanged(crm):
                await run(session, "grant", role="desk", **more)
            async with unchanged(crm):  # no more to a role that they hold themselves
                await run(session, "grant", role="manager-mia", **more)
        for permission in ("core.manage_users", "*"):
            async with unchanged(crm):
                await run(session, "grant_permission", role="manager-mia", permission=permission)
        for role in ("admin", "agent", "read-only"):
            for user in ("mia", "zoe"):
                async with unchanged(crm):
                    await run(session, "assign_role", user=mail(user), role=role)
            async with unchanged(crm):
                await run(session, "create_api_key", name="k", role=role)


async def test_nobody_takes_away_what_they_could_not_give(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        system = crm.acting_as(SYSTEM)
        for name in ("jo", "zoe"):
            await run(system, "assign_role", user=mail(name), role="admin")
        session = await manager(crm, "mia", ("Customer", "read", "team"), ("User", "read", "all"))
        async with unchanged(crm):
            await run(session, "revoke", role="admin", entity="*", action="read")
        async with unchanged(crm):
            await run(session, "revoke_permission", role="admin", permission="*")
        async with unchanged(crm):
            await run(session, "unassign_role", user=mail("jo"), role="admin")
        await run(system, "create_role", name="wide")
        await run(system, "grant", role="wide", entity="Customer", action="read")
        async with unchanged(crm):
            await run(session, "delete_role", role="wide")
        async with unchanged(crm):  # nor narrows it
            await run(session, "grant", role="wide", entity="Customer", action="read", rows="own")
        await run(system, "delete_role", role="wide")
        refused = await system.run("delete_role", [{"role": "agent"}])
        assert [(error.code, error.path) for error in refused.errors] == [("refused", ("role",))]


async def test_a_role_that_one_acts_under_is_all_that_one_grants_from(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        await run(crm.acting_as(SYSTEM), "assign_role", user=mail("mia"), role="admin")
        session = await manager(crm, "mia", ("Customer", "read", "team"), ("User", "read", "all"))
        await run(session, "create_role", name="desk")
        await run(session, "grant", role="desk", entity="Deal", action="read")
        under = crm.acting_as(session.principal.under("manager-mia"))
        async with unchanged(crm):
            await run(under, "grant", role="desk", entity="Deal", action="read")
        keyed = await run(session, "create_api_key", name="k", role="manager-mia", user=mail("mia"))
        by_key = await crm.access.by_key(keyed.text)
        assert by_key is not None
        async with unchanged(crm):
            await run(crm.acting_as(by_key), "create_api_key", name="k", role="admin", user=mail("mia"))


async def test_acting_as_somebody_else_needs_what_they_may(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        system = crm.acting_as(SYSTEM)
        for name in ("jo", "zoe"):
            await run(system, "set_password", user=mail(name), password=PASSWORD)
        await run(system, "create_role", name="desk")
        await run(system, "grant", role="desk", entity="Customer", action="read", rows="own")
        await run(system, "assign_role", user=mail("jo"), role="desk")
        await run(system, "assign_role", user=mail("zoe"), role="admin")

        mia = await manager(
            crm, "mia", ("Customer", "read", "team"), ("User", "read", "all"), permissions=["core.manage_users"]
        )
        # as herself she has what is her own; as Jo she would have what is his
        assert (await run(mia, "create_api_key", name="k", role="desk", user=mail("mia"))).text
        (ann,) = done(await system.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
        assert ann is not None
        for whom in ({"user": mail("jo")}, {"user": mail("zoe")}, {"customer": f"cus_{ann.hex}"}):
            async with unchanged(crm):
                await run(mia, "create_api_key", name="k", role="desk", **whom)
        for name in ("jo", "zoe"):
            async with unchanged(crm):
                await run(mia, "set_password", user=mail(name), password="known to mia")
            assert await crm.access.sign_in(mail(name), PASSWORD)

        await run(system, "grant", role="manager-mia", entity="Customer", action="read")
        mia = crm.acting_as(await crm.access.user(mail("mia")))
        assert (await run(mia, "create_api_key", name="k", role="desk", user=mail("jo"))).text
        await run(mia, "set_password", user=mail("jo"), password="known to mia")
        async with unchanged(crm):
            await run(mia, "set_password", user=mail("zoe"), password="known to mia")
        await run(system, "revoke_permission", role="manager-mia", permission="core.manage_users")
        mia = crm.acting_as(await crm.access.user(mail("mia")))
        async with unchanged(crm):
            await run(mia, "create_api_key", name="k", role="desk", user=mail("jo"))
        for action in ("set_password", "sign_out_everywhere"):
            more = {"password": "known to mia"} if action == "set_password" else {}
            async with unchanged(crm):
                await run(mia, action, user=mail("jo"), **more)


async def test_a_password_can_not_be_set_by_who_never_knew_one(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        system = crm.acting_as(SYSTEM)
        await run(system, "assign_role", user=mail("mia"), role="admin")
        made = await run(system, "create_api_key", name="k", role="agent", user=mail("mia"))
        key = await crm.access.by_key(made.text)
        assert key is not None
        # with it one could sign in, and have all of her roles
        refused = await crm.acting_as(key).run("set_password", [{"password": "known to the program"}])
        assert [error.path for error in refused.errors] == [("old_password",)]


async def test_a_team_is_not_changed_by_who_sees_by_teams(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        users = await people(crm)
        mine, theirs = (await facts(crm, "mia")).team, (await facts(crm, "zoe")).team
        users_of = [("User", verb, "all") for verb in ("read", "create", "update")]
        grants = [*users_of, ("Team", "read", "all"), ("Customer", "read", "team")]
        session = await manager(crm, "mia", *grants, permissions=["core.manage_users"])
        async with unchanged(crm):
            await session.update(User, [Update(users["mia"], {"team_id": theirs})])
        async with unchanged(crm):
            await session.create(User, [{"name": "me again", "team_id": theirs}])
        assert (await facts(crm, "mia")).team == mine
        system = crm.acting_as(SYSTEM)
        await run(system, "grant", role="manager-mia", entity="Customer", action="read")
        session = crm.acting_as(await crm.access.user(mail("mia")))
        done(await session.update(User, [Update(users["mia"], {"team_id": theirs})]))


async def test_the_last_administrator_stays(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        users = await people(crm)
        system = crm.acting_as(SYSTEM)
        await run(system, "assign_role", user=mail("mia"), role="admin")
        await run(system, "assign_role", user=mail("jo"), role="admin")
        done(await system.update(User, [Update(users["jo"], {"active": False})]))
        for refused in (
            await system.run("unassign_role", [{"user": mail("mia"), "role": "admin"}]),
            await system.delete(User, [users["mia"]]),
            await system.delete(User, [users["mia"], users["zoe"]]),
            await system.update(User, [Update(users["mia"], {"active": False})]),
        ):
            assert [(error.code, error.message) for error in refused.errors] == [
                ("refused", "is the last administrator who can sign in; make somebody else one first")
            ]
        assert [role.name for role in (await crm.access.user(mail("mia"))).roles] == ["admin"]
        done(await system.update(User, [Update(users["jo"], {"active": True})]))
        await run(system, "unassign_role", user=mail("mia"), role="admin")
        done(await system.delete(User, [users["mia"]]))


async def test_what_is_wrong_with_an_input_is_told(make_crm: MakeCrm) -> None:
    async with make_crm(settings=QUICK) as crm:
        await people(crm)
        system = crm.acting_as(SYSTEM)
        tried: dict[tuple[str, str], dict[str, Any]] = {
            ("grant", "role"): {"role": "nobody", "entity": "Customer", "action": "read"},
            ("grant", "entity"): {"role": "agent", "entity": "Custmer", "action": "read"},
            ("grant", "action"): {"role": "agent", "entity": "Customer", "action": "paint"},
            ("grant", "rows"): {"role": "agent", "entity": "Team", "action": "read", "rows": "own"},
            ("grant", "fields"): {"role": "agent", "entity": "Team", "action": "read", "fields": ["nam"]},
            ("grant", "presets"): {"role": "agent", "entity": "Team", "action": "create", "presets": {"id": "x"}},
            ("grant_permission", "permission"): {"role": "agent", "permission": "core.fly"},
            ("assign_role", "user"): {"user": mail("nobody"), "role": "agent"},
            ("create_role", "name"): {"name": "admin"},
            ("create_api_key", "plugin"): {"name": "k", "role": "agent", "plugin": "gone"},
            ("set_password", "user"): {"password": PASSWORD},
        }
        for (action, field), given in tried.items():
            refused = await system.run(action, [given])
            assert [error.path[0] for error in refused.errors] == [field], (action, given, refused)
        both = {"name": "k", "role": "agent", "user": mail("mia"), "plugin": "core"}
        refused = await system.run("create_api_key", [both])
        assert [error.message for error in refused.errors] == ["a key acts as one of user and plugin, not as both"]
