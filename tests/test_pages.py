"""A law of pages: what keeps its place comes exactly once, whatever happens to the rest between two pages.

And the law of folded text: what finds what is said by Python's ``str.casefold``, on both databases.
"""

from __future__ import annotations

import os
import random
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm, Customer, Session, Update
from amity.query import parse_order
from amity.testing import make_crm
from amity.tree import Connection, Nodes, Page, PageInfo, Scalar

from .conftest import MakeCrm
from .reference import Reference, dump
from .test_query_law import START, WORDS, Company, Figures, companies, fill, make_stages, orders

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "40"))
PAGED = ("Customer", "Deal", "Interaction")
_INFO = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
PARTS = (Nodes("nodes", (Scalar("id", "id"),)), PageInfo("info", tuple((name, name) for name in _INFO)))


async def meddle(session: Session, chance: random.Random) -> None:
    """Adds, changes and deletes a few rows of everything."""
    stages = [row["id"] for row in await session.find("Stage").order_by("position").all()]
    customers = [row["id"] for row in await session.find("Customer").all()]

    def values(name: str) -> dict[str, Any]:
        somebody = chance.choice([*customers, None])
        if name == "Customer":
            return {
                "name": chance.choice(WORDS[1:]),
                "given_name": chance.choice([None, *WORDS]),
                "organization_id": somebody,
            }
        if name == "Interaction":
            return {
                "subject": chance.choice([None, *WORDS]),
                "occurred_at": START + timedelta(microseconds=chance.randrange(4)),
                "duration_seconds": chance.choice([None, 0, 7]),
                "customer_id": somebody,
            }
        return {
            "name": chance.choice(WORDS[1:]),
            "stage_id": chance.choice(stages),
            "value": chance.choice([None, {"amount": chance.randrange(4), "currency": "USD"}]),
            "expected_close_on": chance.choice([None, date(2026, 1, 31)]),
            "customer_id": somebody,
        }

    required = {"Customer": {"kind": "person"}, "Interaction": {"channel": "phone", "direction": "inbound"}}
    for name in PAGED:
        ids = [row["id"] for row in await session.find(name).all()]
        for id in chance.sample(ids, min(len(ids), chance.randrange(3))):
            assert not (await session.update(name, [Update(id, values(name))])).errors
        if chance.randrange(3) == 0:
            made = await session.create(name, [values(name) | required.get(name, {})])
            assert not made.errors, made.errors
        if ids and chance.randrange(4) == 0:
            gone = chance.choice(ids)
            await session.delete(name, [gone])
            customers = [id for id in customers if id != gone]


async def test_what_keeps_its_place_comes_exactly_once(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        await make_stages(crm)
        cases: list[tuple[Company, str, list[dict[str, Any]], int, bool, int]] = []

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(companies(), st.data())
        def collect(company: Company, data: st.DataObject) -> None:
            name = data.draw(st.sampled_from(PAGED))
            order = data.draw(orders(crm.catalog, name)) + data.draw(orders(crm.catalog, name))
            size, backward = data.draw(st.integers(1, 3)), data.draw(st.booleans())
            cases.append((company, name, order, size, backward, data.draw(st.integers(0, 2**16))))

        collect()
        kept = moved = 0
        for company, name, order, size, backward, seed in cases:
            await fill(crm, company)
            steady, walked, total = await walk(crm, name, order, size, backward, random.Random(seed))
            found = [id for id in walked if id in set(steady)]
            assert found == steady, (company, name, order, size, backward, seed)
            kept += len(steady)
            moved += total - len(steady)
        assert kept > EXAMPLES // 2
        assert moved


async def walk(
    crm: Crm, name: str, order: list[dict[str, Any]], size: int, backward: bool, chance: random.Random
) -> tuple[list[str], list[str], int]:
    """The rows whose keys never changed, in order; what came on all pages; how many rows there were."""
    session, entity = crm.acting_as(SYSTEM), crm.catalog[name]
    keys = parse_order(crm.catalog, entity, order)
    places: list[dict[str, Any]] = []
    walked: list[str] = []
    cursor: str | None = None
    for _ in range(30):
        reference = Reference(crm.catalog, await dump(crm))
        places.append({row["id"].hex: reference.place(entity, row, order) for row in reference.rows[name]})
        page = (
            Page(PARTS, order=keys, last=size, before=cursor)
            if backward
            else Page(PARTS, order=keys, first=size, after=cursor)
        )
        answer = (await session.read({"p": Connection(name, page)})).parsed()["p"]
        ids = [row["id"].partition("_")[2] for row in answer["nodes"]]
        walked = [*ids, *walked] if backward else [*walked, *ids]
        if not answer["info"]["hasPreviousPage" if backward else "hasNextPage"]:
            break
        cursor = answer["info"]["startCursor" if backward else "endCursor"]
        await meddle(session, chance)
    first, *later = places
    in_order = [row["id"].hex for row in reference.find(entity, {}, order)]
    steady = [id for id in in_order if id in first and all(page.get(id) == first[id] for page in later)]
    return steady, walked, len({id for page in places for id in page})


FOLDED = [
    "É",
    "é",
    "ß",
    "ss",
    "SS",
    "ẞ",
    "И",
    "и",
    "Й",
    "İ",
    "i̇",
    "I",
    "ı",
    "i",
    "Σ",
    "ς",
    "σ",
    "ﬁ",
    "FI",
    "K",
    "k",
    "王",
]
"""Where cases are not one letter each: in French, German, Russian, Turkish and Greek; ligatures, signs."""


@pytest.mark.parametrize("operator", ["contains", "startsWith", "endsWith", "like"])
async def test_text_is_found_as_python_folds_it(operator: str, folded: tuple[Session, list[str]]) -> None:
    session, names = folded
    for text in FOLDED:
        found = await session.find(Customer).where({"name": {operator: text}}).select("name").all()
        wanted = [name for name in names if _meets(name.casefold(), operator, text.casefold())]
        assert sorted(row["name"] for row in found) == sorted(wanted), (operator, text)


def _meets(name: str, operator: str, text: str) -> bool:
    match operator:
        case "contains":
            return text in name
        case "startsWith":
            return name.startswith(text)
        case "endsWith":
            return name.endswith(text)
    return name == text


@pytest.fixture
async def folded(make_crm: MakeCrm) -> Any:
    names = [*FOLDED, *(f"a{text}" for text in FOLDED), *(f"{text}z" for text in FOLDED)]
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        made = await session.create(Customer, [{"kind": "person", "name": name} for name in names])
        assert not made.errors
        yield session, names
