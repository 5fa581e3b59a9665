"""Finding records by what somebody remembers of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from amity import SYSTEM, Crm, Session
from amity.testing import make_crm

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = [
    ("Ann Lee", "Ann", "Lee", "ann.lee@example.com", None),
    ("Hannah Anderson", "Hannah", "Anderson", "hannah@acme.example", "+491712345678"),
    ("Jürgen Müller", "Jürgen", "Müller", "jm@example.org", None),
    ("Éric Strauß", "Éric", "Strauß", None, "+41443331122"),
    ("王伟", "伟", "王", "wang.wei@example.cn", None),
    ("Li Wei", "Wei", "Li", None, None),
    ("Alexander Johnson", "Alexander", "Johnson", None, None),
    ("John Smith-Jones", "John", "Smith-Jones", None, None),
    ("O'Brien & Sons 100%", None, None, None, None),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    async with make_crm(settings={"plugins": ["graphql"]}, server_url=server_url) as made:
        await fill(made.acting_as(SYSTEM))
        yield made


async def fill(session: Session) -> None:
    rows = [
        {"kind": "person", "name": name, "given_name": given, "family_name": family}
        for name, given, family, _, _ in PEOPLE
    ]
    ids = (await session.create("Customer", rows)).ids
    points: list[dict[str, Any]] = []
    for id, (_, _, _, email, phone) in zip(ids, PEOPLE, strict=True):
        points += [{"customer_id": id, "channel": "email", "address": email}] if email else []
        points += [{"customer_id": id, "channel": "phone", "address": phone}] if phone else []
    result = await session.create("ContactPoint", points)
    assert not result.errors, result.errors
    pipeline = (await session.create("Pipeline", [{"name": "Sales"}])).ids[0]
    stage = {"pipeline_id": pipeline, "name": "New", "category": "open", "position": 1}
    stages = (await session.create("Stage", [stage])).ids
    deals = [{"name": "Annual licence", "stage_id": stages[0], "customer_id": ids[0]}]
    result = await session.create("Deal", deals)
    assert not result.errors, result.errors


async def found(crm: Crm, text: str, *types: str) -> list[str]:
    hits = await crm.acting_as(SYSTEM).search(
        text, types or None, select={"Customer": ["name"], "Deal": ["name"]}, first=50
    )
    return [hit.row["name"] for hit in hits]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann", ["Ann Lee", "Annual licence", "Hannah Anderson"]),
        ("ann lee", ["Ann Lee"]),
        ("lee ann", ["Ann Lee"]),
        ("muller", ["Jürgen Müller"]),
        ("MÜLLER", ["Jürgen Müller"]),
        ("eric", ["Éric Strauß"]),
        ("STRAUSS", ["Éric Strauß"]),
        ("王伟", ["王伟"]),
        ("王", ["王伟"]),
        ("伟", ["王伟"]),
        ("smith", ["John Smith-Jones"]),
        ("jones", ["John Smith-Jones"]),
        ("o'brien", ["O'Brien & Sons 100%"]),
        ("100%", ["O'Brien & Sons 100%"]),
        ("&", ["O'Brien & Sons 100%"]),
        ("acme.example", ["Hannah Anderson"]),
        ("ann.lee@", ["Ann Lee"]),
        ("0171 234-56 78", ["Hannah Anderson"]),
        ("+49 171 2345678", ["Hannah Anderson"]),
        ("(0171) 2345678", ["Hannah Anderson"]),
        ("+49 (0)171 2345678", ["Hannah Anderson"]),
        ("0049171 2345678", ["Hannah Anderson"]),
        ("044 333 11", ["Éric Strauß"]),
        ("nobody at all", []),
        ("___", []),
        ("\\", []),
        ("'' ''", []),
    ],
)
async def test_by_a_part_of_a_name_an_address_or_a_number(crm: Crm, text: str, expected: list[str]) -> None:
    assert await found(crm, text) == expected


async def test_by_one_or_two_letters(crm: Crm) -> None:
    assert (await found(crm, "li"))[:2] == ["Li Wei", "Annual licence"]
    assert "Alexander Johnson" in await found(crm, "x")
