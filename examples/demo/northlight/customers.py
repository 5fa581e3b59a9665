"""Northlight's customers: organizations, the persons who work there, and private persons."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from amity import Customer, Relationship, Update

from .contracts import add_contracts
from .cultures import CULTURES, STEMS, TRADES, Culture
from .people import owner
from .world import Party, World, batches, check, slug

SOURCES = ("web site", "trade fair", "referral", "cold call", "partner", "catalog", "architect")
NOTES = (
    "Prefers to be called in the morning.",
    "Decides together with the architect.",
    "Reads e-mail once a week; call instead.",
    "Met at the trade fair in Frankfurt.",
    "Wants everything in writing.",
    "Speaks German and Italian.",
)
_LIFECYCLES = ("customer", "lead", "prospect", "former")


async def make_customers(world: World, organizations: int, persons: int, fields: Collection[str]) -> None:
    """Makes them; ``fields`` are the custom fields that the CRM has of customers."""
    names: set[str] = set()
    domains: set[str] = set()
    heads = [_organization(world, number, names, domains) for number in range(organizations)]
    add_contracts(world, heads, fields)
    world.parties = [*heads, *(_person(world, number, heads, names) for number in range(persons))]
    await _store(world, heads, 0)
    groups = [
        # a group stands further up than its members
        Update(_id(party), {"organization_id": _id(heads[world.chance.randrange(min(i, 40))])})
        for i, party in enumerate(heads)
        if i > 3 and world.chance.random() < 0.08
    ]
    check((await world.session.update(Customer, groups)).errors)
    for party in world.persons:
        if party.employer is not None:
            party.row["organization_id"] = party.employer.id
    await _store(world, world.persons, len(heads))


async def make_relationships(world: World) -> None:
    chance = world.chance
    organizations, persons = world.organizations, world.persons
    rows: dict[tuple[Any, Any, str], dict[str, Any]] = {}
    for _ in range(len(world.parties) // 4):
        kind = chance.choices(("supplier_of", "partner_of", "referred_by", "employee_of"), (3, 3, 4, 3))[0]
        one = chance.choice({"referred_by": world.parties, "employee_of": persons}.get(kind, organizations))
        other = chance.choice(world.parties if kind == "referred_by" else organizations)
        if one is other or one.employer is other:
            continue
        row: dict[str, Any] = {"customer_id": one.id, "related_id": other.id, "type": kind}
        row["since"] = (world.now - timedelta(days=chance.randrange(400, 4000))).date()
        if kind == "employee_of":
            row["until"] = (world.now - timedelta(days=chance.randrange(30, 390))).date()
            row["note"] = "Worked there before"
        rows[one.id, other.id, kind] = row
    await world.create(Relationship, "Relationships", list(rows.values()))


async def _store(world: World, parties: Sequence[Party], done: int) -> None:
    for batch in batches(parties):
        result = await world.session.create(Customer, [party.row for party in batch])
        check(result.errors)
        for party, id in zip(batch, result.ids, strict=True):
            party.id = id
        done += len(batch)
        world.advance("Customers", done, len(world.parties))


def _id(party: Party) -> Any:
    return party.id


def _organization(world: World, number: int, names: set[str], domains: set[str]) -> Party:
    chance = world.chance
    culture = _culture(world)
    while True:
        family = chance.choice(culture.family).partition("|")
        stem = (family[2] or family[0]).replace("_", " ") if chance.random() < 0.35 else chance.choice(STEMS)
        trade = f" {chance.choice(TRADES)}" if chance.random() < 0.8 else ""
        name = chance.choice(culture.company_forms).format(name=f"{stem}{trade}")
        domain = slug(f"{stem}{trade}")
        if name not in names and domain not in domains:
            break
    names.add(name)
    domains.add(domain)
    row = _row(world, culture, "organization", name, chance.choices(_LIFECYCLES, (55, 20, 18, 7))[0])
    row["external_id"] = {"system": "erp", "id": f"D{10_000 + number * 7}"}
    row["custom_fields"] = {
        "employees": round(math.exp(chance.gauss(3.4, 1.3))) + 1,
        "sites": 1 + min(40, int(chance.expovariate(0.5))),
    }
    busy = min(25.0, chance.paretovariate(1.4))
    return _party(world, row, domain, culture, _since(world), busy, owner(world, culture))


def _person(world: World, number: int, organizations: Sequence[Party], names: set[str]) -> Party:
    chance = world.chance
    employer = chance.choice(organizations) if chance.random() < 0.78 else None
    culture = employer.culture if employer and chance.random() < 0.85 else _culture(world)
    name, latin, given, family = _name(world, culture, names)
    if employer is not None and chance.random() < 0.8:
        lifecycle = employer.row["lifecycle"]
    else:
        lifecycle = chance.choices(_LIFECYCLES, (50, 22, 20, 8))[0]
    row = _row(world, culture, "person", name, lifecycle) | {"given_name": given, "family_name": family}
    if employer is None:
        row["external_id"] = {"system": "web_shop", "id": f"shop-{50_000 + number}"}
    if chance.random() < 0.06:
        row["note"] = chance.choice(NOTES)
    since = max(employer.since, _since(world)) if employer else _since(world)
    busy = min(40.0, chance.paretovariate(1.6) * (math.sqrt(employer.activity) if employer else 0.7))
    who = employer.owner if employer else owner(world, culture)
    return _party(world, row, slug(latin), culture, since, busy, who, employer)


def _row(world: World, culture: Culture, kind: str, name: str, lifecycle: str) -> dict[str, Any]:
    row = {"kind": kind, "name": name, "lifecycle": lifecycle, "locale": culture.locale}
    return {**row, "source": world.chance.choice(SOURCES)}


def _party(
    world: World,
    row: dict[str, Any],
    latin: str,
    culture: Culture,
    since: datetime,
    activity: float,
    who: int,
    employer: Party | None = None,
) -> Party:
    row["owner_id"] = world.users[who]
    return Party(row["name"], latin, culture, since, activity, who, row, employer)


def _culture(world: World) -> Culture:
    return world.chance.choices(CULTURES, weights=[culture.weight for culture in CULTURES])[0]


def _since(world: World) -> datetime:
    """Most were customers before the history begins; the others came one after the other."""
    ago = timedelta(days=world.chance.uniform(0, 1_700))
    return world.office_hours(max(world.begin, world.now - ago))


def _name(world: World, culture: Culture, names: set[str]) -> tuple[str, str, str, str]:
    """As they write it, in Latin letters, and its two parts as they write them."""
    chance = world.chance
    for _ in range(20):
        given, _, given_latin = chance.choice(culture.given).partition("|")
        family, _, family_latin = chance.choice(culture.family).replace("_", " ").partition("|")
        latin = f"{given_latin or given} {family_latin or family}"
        native = bool(given_latin and family_latin) and given != given_latin and family != family_latin
        if not native or chance.random() < 0.5:
            # many sign abroad in Latin letters
            given, family, native = given_latin or given, family_latin or family, False
        if native:
            name = f"{family}{given}" if culture.family_first else f"{given} {family}"
        else:
            name = f"{family} {given}" if culture.locale == "vi-VN" else f"{given} {family}"
        if name not in names:
            break
    names.add(name)
    return name, latin, given, family
