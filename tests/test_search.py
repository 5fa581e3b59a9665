"""Finding records by what somebody remembers of them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise import fields

from amity import EDITABLE, SYSTEM, Crm, Entity, EntityOptions, Plugin, Principal, Session, Update
from amity.access.roles import Role, RolePolicy, RowRule, TypeGrant
from amity.database.grams import rank, search_fold
from amity.query import QueryError
from amity.query.hits import SCORES, SNIPPET
from amity.query.search import parse_search
from amity.testing import make_crm, recorded
from amity.tree import HitEdges, HitPart, Search
from amity_graphql.api import execute

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "15"))

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jhon smith", ["John Smith-Jones"]),
        ("jon", ["John Smith-Jones"]),
        ("alexnder", ["Alexander Johnson"]),
        ("alxeander johnsno", ["Alexander Johnson"]),
        ("hanah", ["Hannah Anderson"]),
        ("strauzz", []),
        ("straus", ["Éric Strauß"]),
        ("mullre", ["Jürgen Müller"]),
        ("licnece", ["Annual licence"]),
        ("exmaple.org", ["Jürgen Müller"]),
    ],
)
async def test_with_typing_errors(crm: Crm, text: str, expected: list[str]) -> None:
    names = await found(crm, text)
    assert names[: len(expected)] == expected if expected else names == []


async def test_why_it_was_found(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    hit = (await session.search("hannah@")).items[0]
    assert (hit.entity, hit.field, hit.snippet, hit.score) == (
        "Customer",
        "contact_point.address",
        "hannah@acme.example",
        0.9,
    )
    hit = (await session.search("anderson")).items[0]
    assert (hit.field, hit.snippet, hit.score) == ("family_name", "Anderson", 1.0)


async def test_page_by_page(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    whole = await session.search("n", first=50)
    assert whole.total == len(whole) > 5
    assert whole.after is None
    seen: list[str] = []
    after = None
    while True:
        page = await session.search("n", first=2, after=after)
        seen += [hit.id for hit in page]
        after = page.after
        if after is None:
            break
    assert seen == [hit.id for hit in whole]


async def test_where_very_many_fit_beginnings_come_first(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amity.query.hits.MOST", 1)
    for text, first in (("ann", "Ann Lee"), ("anderson", "Hannah Anderson"), ("jo", "John Smith-Jones")):
        found_first, *rest = await found(crm, text, "Customer")
        assert found_first == first
        assert len(rest) <= 1


async def test_types_narrow_it(crm: Crm) -> None:
    assert await found(crm, "ann", "Deal") == ["Annual licence"]
    assert await found(crm, "ann", "Customer") == ["Ann Lee", "Hannah Anderson"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("a" * 201, "201 characters"),
        ("a " * 11, "11 words"),
        ("a\x00", "NUL"),
    ],
)
async def test_texts_that_are_refused(crm: Crm, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        await crm.acting_as(SYSTEM).search(text)


async def test_very_long_words_are_found_as_written(crm: Crm) -> None:
    (id,) = (await crm.acting_as(SYSTEM).create("Customer", [{"kind": "person", "name": "x" * 198}])).ids
    assert id is not None
    try:
        assert await found(crm, "x" * 198) == ["x" * 198]
        assert await found(crm, "x" * 199) == []
    finally:
        await crm.acting_as(SYSTEM).delete("Customer", [id])


async def test_what_is_changed_deleted_and_restored(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    id = (await session.create("Customer", [{"kind": "person", "name": "Quentin Xaver"}])).ids[0]
    assert id is not None
    assert await found(crm, "xaver") == ["Quentin Xaver"]
    await session.update("Customer", [Update(id, {"name": "Quentin Young"})])
    assert await found(crm, "xaver") == []
    assert await found(crm, "quentin young") == ["Quentin Young"]
    await session.delete("Customer", [id])
    assert await found(crm, "quentin") == []
    await session.restore("Customer", [id])
    assert await found(crm, "quentin") == ["Quentin Young"]
    await session.delete("Customer", [id])


DOCUMENT = """query($text: String!, $types: [SearchType!], $after: String) {
  search(text: $text, types: $types, first: 1, after: $after) {
    __typename totalCount
    edges { __typename score field snippet cursor node {
      __typename id
      ... on Customer { name contactPoints(first: 3) { nodes { address } } deals(first: 2) { nodes { name } } }
      ... on Deal { title: name customer { name } }
    } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""


async def test_over_graphql(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    with recorded() as statements:
        result = await execute(crm, session, DOCUMENT, {"text": "ann"})
    assert len(statements) == 1
    answer: dict[str, Any] = orjson.loads(result.encode())
    assert "errors" not in answer, answer
    page = answer["data"]["search"]
    assert page["totalCount"] == "3"
    edge = page["edges"][0]
    assert edge["node"]["name"] == "Ann Lee"
    assert edge["node"]["contactPoints"]["nodes"] == [{"address": "ann.lee@example.com"}]
    assert edge["node"]["deals"]["nodes"] == [{"name": "Annual licence"}]
    assert (edge["score"], edge["field"], edge["snippet"]) == (1.0, "givenName", "Ann")
    assert page["nodes"] == [{"id": edge["node"]["id"]}]
    assert page["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": edge["cursor"],
        "endCursor": edge["cursor"],
    }
    result = await execute(crm, session, DOCUMENT, {"text": "ann", "types": ["DEAL"], "after": None})
    page = orjson.loads(result.encode())["data"]["search"]
    assert page["edges"][0]["node"]["title"] == "Annual licence"
    assert page["edges"][0]["node"]["customer"] == {"name": "Ann Lee"}
    refused = orjson.loads((await execute(crm, session, DOCUMENT, {"text": " "})).encode())
    assert "is empty" in refused["errors"][0]["message"]


async def test_nothing_is_read_whole(crm: Crm) -> None:
    """Whatever the length of the text, the index is what is asked."""
    session = crm.acting_as(SYSTEM)
    parts = (HitEdges("edges", (HitPart("field", "field"),)),)
    for text in ("伟", "li", "ann", "alexnder johnson", "0171 234"):
        statement = session.compile({"found": Search(text, ("Customer", "Deal"), parts)})
        if crm.database.dialect == "sqlite":
            plan = await crm.database.explain(statement.sql, statement.parameters)
            assert "SCAN core_search_index VIRTUAL TABLE INDEX" in plan
            # b and s are rows of entities and of the index; they are only looked up
            assert not re.search(r"SCAN [bs]$", plan, re.MULTILINE), plan
        else:
            plan = await planned(crm, statement.sql, statement.parameters)
            assert "core_customer_search" in plan
            assert "Seq Scan on core_customer" not in plan, plan


async def planned(crm: Crm, sql: str, parameters: Any) -> str:
    """The plan where there are customers enough that reading them all would take long."""

    async def look(transaction: Any) -> str:
        await transaction.execute(
            "INSERT INTO core_customer (id, kind, name, lifecycle, custom_fields, search_text, version,"
            " created_at, updated_at) SELECT gen_random_uuid(), 'person', n, 'lead', '{}', md5(n::text), 1,"
            " now(), now() FROM generate_series(1, 3000) n"
        )
        await transaction.execute("ANALYZE core_customer")
        rows = await transaction.fetch(f"EXPLAIN {sql}", parameters)
        raise _Seen("\n".join(row[0] for row in rows))

    try:
        await crm.database.transact(look)
    except _Seen as seen:
        return str(seen)
    raise AssertionError("the rows were kept")


class _Seen(Exception):
    """Ends a transaction that must not be kept."""


TEXTS = st.text(st.sampled_from("aAnNeé王 -.@%_ßlo"), max_size=12)


async def test_both_databases_rank_as_python_does(crm: Crm) -> None:
    """A law: what is found as written, and how well it fits, is what :func:`rank` says of the texts."""
    drawn: list[tuple[list[str], list[str]]] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS.filter(str.strip), min_size=2, max_size=6), st.lists(TEXTS, min_size=4, max_size=6))
    def draw(names: list[str], texts: list[str]) -> None:
        drawn.append((names, [*texts, *(name[1:4] for name in names)]))

    draw()
    session = crm.acting_as(SYSTEM)
    matched = 0
    for names, texts in drawn:
        rows = [{"kind": "organization", "name": name} for name in names]
        result = await session.create("Customer", rows)
        ids = dict(zip([f"cus_{id.hex}" for id in result.ids if id is not None], names, strict=True))
        for text in texts:
            if not text.strip():
                continue
            sought = parse_search(text)
            expected = {
                id: SCORES[rank(search_fold(name), sought)]
                for id, name in ids.items()
                if rank(search_fold(name), sought)
            }
            hits = await session.search(text, ["Customer"], first=200)
            as_written = {hit.id: str(hit.score) for hit in hits if hit.id in ids and hit.score > 0.3}
            assert as_written == expected, (names, text)
            matched += len(expected)
        await session.delete("Customer", list(ids))
    assert matched > EXAMPLES


async def test_fields_out_of_reach_find_nothing(crm: Crm) -> None:
    grants: dict[Any, TypeGrant] = {(entity.code, "read"): TypeGrant(RowRule()) for entity in crm.catalog.values()}
    grants["core.ContactPoint", "read"] = TypeGrant(RowRule(), frozenset(("channel", "customer")))
    grants["core.Customer", "read"] = TypeGrant(RowRule(), frozenset(("given_name", "family_name")))
    who = Principal("user", "usr_reader", roles=(Role("reader", grants=grants),))
    policy, crm.policy = crm.policy, RolePolicy(crm.catalog, {})
    try:
        session = crm.acting_as(who)
        assert [hit.field for hit in await session.search("hannah")] == ["given_name"]
        assert len(await session.search("hannah anderson")) == 1, "each word is in a field that may be read"
        assert len(await session.search("acme.example")) == 0
        assert len(await session.search("o'brien")) == 0, "the name alone has it"
        grants["core.Customer", "read"] = TypeGrant(RowRule(), frozenset(("given_name",)))
        narrow = crm.acting_as(Principal("user", "usr_reader", roles=(Role("narrow", grants=grants),)))
        assert len(await narrow.search("hannah anderson")) == 0
        assert len(await narrow.search("andersno")) == 0
    finally:
        crm.policy = policy


class Asset(Entity):
    """Something that was sold."""

    serial = fields.CharField(max_length=50, null=True, description="Serial number")
    note = fields.TextField(null=True, description="Free text")
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(prefix="ast", api=EDITABLE, searchable=("serial", "note"))


class Assets(Plugin):
    name = "assets"

    def entities(self) -> Sequence[type[Entity]]:
        return [Asset]


async def test_entities_of_plugins(server_url: str | None) -> None:
    async with make_crm([Assets], {"plugins": ["graphql"]}, server_url=server_url) as crm:
        session = crm.acting_as(SYSTEM)
        note = f"{'Was repaired. ' * 40}Has a new générateur. {'Was cleaned. ' * 40}"
        await session.create("Asset", [{"serial": "XK-2000/17", "note": note}])
        await session.create("Customer", [{"kind": "person", "name": "Générateur SA"}])
        hit = (await session.search("generateur", ["Asset"])).items[0]
        assert hit.field == "note"
        assert "générateur" in hit.snippet
        assert len(hit.snippet) == SNIPPET
        assert [hit.entity for hit in await session.search("generateur")] == ["Customer", "Asset"]
        assert len(await session.search("2000/17")) == 1
        assert len(await session.search("xk générateur")) == 1
        document = '{ search(text: "xk", types: [ASSET]) { nodes { ... on Asset { serial } } } }'
        answer = orjson.loads((await execute(crm, session, document)).encode())
        assert answer == {"data": {"search": {"nodes": [{"serial": "XK-2000/17"}]}}}


async def test_texts_that_were_folded_otherwise_are_folded_anew(crm: Crm) -> None:
    async def age(transaction: Any) -> None:
        await transaction.execute("UPDATE core_customer SET search_text = ''")
        await transaction.execute("DELETE FROM core_search_folded WHERE entity = 'core.Customer'")

    await crm.database.transact(age)
    assert await found(crm, "muller") == []
    await crm.migrate()
    assert await found(crm, "muller") == ["Jürgen Müller"]
