"""Operations by their hash: those that clients make known, and those that are read from files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from click.testing import CliRunner

from amity import SYSTEM, CompositionError, Crm
from amity.cli.main import main
from amity.server import app
from amity.testing import make_crm, recorded
from amity_graphql import execute
from amity_graphql.bounded import Bounded

from .people import key_of

# these tests share one server
pytestmark = pytest.mark.asyncio(loop_scope="module")
TEAMS = "query Teams($first: Int) { teams(first: $first) { totalCount } }"
NEW = 'mutation New { createTeam(input: {name: "Night"}) { team { name } } }'


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def by_hash(hash: str, **further: Any) -> dict[str, Any]:
    """A request of Apollo's protocol."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash}}, **further}


async def served(crm: Crm) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {await key_of(crm, 'admin')}"}
    transport = httpx2.ASGITransport(app=app(crm, opens=False))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server_url: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        make_crm(settings={"plugins": ["graphql"]}, server_url=server_url) as crm,
        await served(crm) as client,
    ):
        yield client


async def posted(client: httpx2.AsyncClient, request: Mapping[str, Any]) -> dict[str, Any]:
    return dict((await client.post("/graphql", json=request)).json())


def error(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of an answer's only error."""
    assert "data" not in answer
    (found,) = answer["errors"]
    return found["extensions"]["code"], found["message"]


# --- what clients make known -------------------------------------------------------------------------------------


async def test_a_client_sends_the_text_once_and_the_hash_from_then_on(client: httpx2.AsyncClient) -> None:
    hashed = by_hash(sha(TEAMS), variables={"first": 3})
    assert error(await posted(client, hashed)) == ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
    expected = {"data": {"teams": {"totalCount": "0"}}}
    assert await posted(client, {**hashed, "query": TEAMS}) == expected
    assert await posted(client, hashed) == expected
    assert await posted(client, {"documentId": f"sha256:{sha(TEAMS)}"}) == expected
    answer = await client.post(
        "/graphql", json=by_hash("0" * 64), headers={"accept": "application/graphql-response+json"}
    )
    assert answer.status_code == 400


async def test_a_hash_of_another_text_makes_nothing_known(client: httpx2.AsyncClient) -> None:
    text = "{ me { id } }"
    code, message = error(await posted(client, by_hash(sha(TEAMS), query=text)))
    assert (code, message[:34]) == ("BAD_USER_INPUT", "provided sha does not match query;")
    assert error(await posted(client, by_hash(sha(text))))[0] == "PERSISTED_QUERY_NOT_FOUND"
    # nor does a text that can't be run
    wrong = "{ nobody { id } }"
    assert error(await posted(client, by_hash(sha(wrong), query=wrong)))[0] == "GRAPHQL_VALIDATION_FAILED"
    assert error(await posted(client, by_hash(sha(wrong))))[0] == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"extensions": {"persistedQuery": "x"}}, "BAD_USER_INPUT", 'expected {"version": 1, "sha256Hash": "…"}'),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "BAD_USER_INPUT", "expected {"),
        ({"documentId": 7}, "BAD_USER_INPUT", "documentId is int; expected a text"),
        ({"query": " "}, "BAD_USER_INPUT", "query is missing"),
        (
            {"extensions": {"persistedQuery": {"version": 2, "sha256Hash": sha(TEAMS)}}},
            "PERSISTED_QUERY_NOT_SUPPORTED",
            "PersistedQueryNotSupported",
        ),
    ],
)
async def test_requests_that_name_no_document_are_told(
    client: httpx2.AsyncClient, request_: Mapping[str, Any], code: str, message: str
) -> None:
    found = error(await posted(client, request_))
    assert found[0] == code
    assert message in found[1]


async def test_nothing_is_run_by_get(client: httpx2.AsyncClient) -> None:
    await posted(client, by_hash(sha(NEW), query=NEW))
    extensions = json.dumps(by_hash(sha(NEW))["extensions"])
    with recorded() as statements:
        answer = await client.get("/graphql", params={"extensions": extensions})
    assert answer.status_code == 405
    assert not statements


async def test_where_no_document_is_kept_clients_are_told_not_to_ask_again(server_url: str | None) -> None:
    settings = {"plugins": ["graphql"], "graphql": {"cached_documents": 0}}
    async with make_crm(settings=settings, server_url=server_url) as crm, await served(crm) as client:
        assert error(await posted(client, by_hash(sha(TEAMS))))[0] == "PERSISTED_QUERY_NOT_SUPPORTED"
        assert "data" in await posted(client, by_hash(sha(TEAMS), query=TEAMS))


async def test_what_was_used_least_recently_gives_way() -> None:
    kept: Bounded[int] = Bounded(most=3, characters=10)
    for number, key in enumerate("abc"):
        kept.put(key, number, 2)
    assert kept.get("a") == 0
    kept.put("d", 3, 2)
    assert [key for key in "abcd" if kept.get(key) is not None] == ["a", "c", "d"]
    kept.put("e", 4, 7)
    assert [key for key in "acde" if kept.get(key) is not None] == ["d", "e"]
    assert (len(kept), kept.characters) == (2, 9)
    kept.put("e", 5, 3)
    assert (len(kept), kept.characters) == (2, 5)
    kept.put("f", 6, 60_000)
    assert kept.get("f") is None


async def test_an_answer_tells_what_it_cost_where_the_request_asks(client: httpx2.AsyncClient) -> None:
    request = {"query": TEAMS, "variables": {"first": 3}, "extensions": {"cost": True}}
    answer = await posted(client, request)
    assert answer["extensions"] == {"cost": {"value": 2, "most": 1_000_000}}
    assert "extensions" not in await posted(client, {**request, "extensions": {"cost": 1}})
    dear = "{ customers(first: 500) { nodes { deals(first: 500) { nodes { id name kind: id vat: id } } } } }"
    answer = await posted(client, {**request, "query": dear})
    assert answer["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert answer["extensions"]["cost"]["value"] == 1_001_002


# --- what is registered ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A client's operations: a file each, with a fragment in another."""
    found = tmp_path / "operations"
    (found / "teams").mkdir(parents=True)
    (found / "teams" / "list.graphql").write_text("query List { teams { nodes { ...Row } } }\n", encoding="utf-8")
    (found / "teams" / "new.gql").write_text(NEW, encoding="utf-8")
    (found / "rows.graphql").write_text(
        "fragment Row on Team { ...Name id }\nfragment Name on Team { name }\nfragment Unused on Team { id }\n",
        encoding="utf-8",
    )
    relay = {"teams-1": TEAMS}
    (found / "relay.json").write_text(json.dumps(relay), encoding="utf-8")
    return found


async def test_only_registered_operations_are_answered(server_url: str | None, folder: Path) -> None:
    graphql = {"persisted_operations": str(folder), "only_persisted": True}
    settings = {"plugins": ["graphql"], "graphql": graphql}
    async with make_crm(settings=settings, server_url=server_url) as crm, await served(crm) as client:
        # by the id of a manifest, by the hash of a file, or by the very text
        assert (await posted(client, {"documentId": "teams-1"}))["data"] == {"teams": {"totalCount": "0"}}
        assert (await posted(client, by_hash(sha(NEW))))["data"] == {"createTeam": {"team": {"name": "Night"}}}
        assert (await posted(client, {"query": TEAMS}))["data"] == {"teams": {"totalCount": "1"}}
        for request in (
            {"query": "{ me { id } }"},
            {"query": TEAMS + " "},
            {"query": "{ __schema { queryType { name } } }"},
            by_hash(sha(NEW), query="{ me { id } }"),
            by_hash(sha("{ me { id } }"), query="{ me { id } }"),
            by_hash("0" * 64),
            {"documentId": "teams-2"},
        ):
            with recorded() as statements:
                code, message = error(await posted(client, request))
            assert code == "OPERATION_NOT_ALLOWED"
            assert "only operations that were registered are answered here" in message
            assert len(statements) <= 1  # who it is
        # Python's callers are inside
        assert (await execute(crm, crm.acting_as(SYSTEM), "{ teams { totalCount } }")).data


async def test_what_is_registered_needs_not_be_all_that_is_answered(server_url: str | None, folder: Path) -> None:
    settings = {"plugins": ["graphql"], "graphql": {"persisted_operations": str(folder)}}
    async with make_crm(settings=settings, server_url=server_url) as crm, await served(crm) as client:
        assert "data" in await posted(client, {"documentId": "teams-1", "variables": {"first": 1}})
        assert "data" in await posted(client, {"query": "{ me { id } }"})
        assert error(await posted(client, by_hash("0" * 64)))[0] == "PERSISTED_QUERY_NOT_FOUND"


def composed(path: Path | None, only: bool = False) -> list[str]:
    """What is wrong with a composition that registers a path."""
    graphql = {"only_persisted": only, **({} if path is None else {"persisted_operations": str(path)})}
    with pytest.raises(CompositionError) as caught:
        Crm({"plugins": ["graphql"], "graphql": graphql})
    return list(caught.value.problems)


async def test_a_server_that_would_answer_nothing_does_not_start(tmp_path: Path) -> None:
    told = "only_persisted in [graphql] would answer nothing: there are no operations in "
    assert composed(None, only=True) == [f"{told}persisted_operations, which names no folder"]
    assert composed(tmp_path, only=True) == [f"{told}{tmp_path}"]


async def test_operations_that_do_not_fit_the_schema_are_told_by_name_at_the_start(folder: Path) -> None:
    (folder / "old.graphql").write_text("{ teams { nodes { nickname } } }", encoding="utf-8")
    (folder / "apollo.json").write_text(
        json.dumps({"format": "apollo-persisted-query-manifest", "operations": [{"id": "a", "body": "{ gone }"}]}),
        encoding="utf-8",
    )
    apollo, old = composed(folder)
    assert apollo.startswith("the registered operation apollo.json: a does not fit the schema: Cannot query field")
    assert old == (
        f"the registered operation {folder / 'old.graphql'} does not fit the schema: "
        "Cannot query field 'nickname' on type 'Team'. Did you mean 'name'? (line 1, column 19)"
    )


async def test_files_that_are_no_operations_are_told_all_at_once(folder: Path) -> None:
    (folder / "list.json").write_text("[]", encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "broken.graphql").write_text("{ teams {", encoding="utf-8")
    (folder / "again.graphql").write_text("fragment Row on Team { id }", encoding="utf-8")
    (folder / "other.json").write_text(json.dumps({"teams-1": "{ me { id } }"}), encoding="utf-8")
    (folder / "latin.graphql").write_bytes(b'{ teams(where: {name: {eq: "\xe4"}}) { totalCount } }')
    problems = "\n".join(composed(folder))
    for expected in (
        "list.json is no manifest; expected a manifest: {",
        "broken.json is no JSON",
        "broken.graphql: Syntax Error",
        "the fragment Row is in ",
        "relay.json: teams-1 have the same id 'teams-1', and differ",
        "latin.graphql: 'utf-8' codec",
    ):
        assert expected in problems
    assert "is not there; expected a folder of .graphql files, or a manifest" in composed(folder / "nowhere")[0]
    (folder / "notes.txt").write_text("nothing", encoding="utf-8")
    assert "expected .graphql, .gql or .json" in composed(folder / "notes.txt")[0]


async def test_a_command_writes_the_manifest_that_a_server_takes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "amity.toml").write_text(
        f'database_url = "sqlite:///{tmp_path}/crm.sqlite3"\nplugins = ["graphql"]\n', encoding="utf-8"
    )

    def amity(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["--config", str(tmp_path / "amity.toml"), *arguments])

    printed = json.loads(amity("operations", str(folder)).stdout)
    listed = "query List { teams { nodes { ...Row } } }\n\n\nfragment Name on Team { name }\n\n"
    listed += "fragment Row on Team { ...Name id }"
    assert printed == {sha(NEW): NEW, "teams-1": TEAMS, sha(listed): listed}
    written = tmp_path / "manifest.json"
    assert amity("operations", str(folder), "--output", str(written)).exit_code == 0
    Crm({"plugins": ["graphql"], "graphql": {"persisted_operations": str(written)}})
    settings = tmp_path / "amity.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(f'{text}[graphql]\npersisted_operations = "{written}"\n', encoding="utf-8")
    (tmp_path / "manifest.json").write_text(json.dumps({"old": "{ teams { gone } }"}), encoding="utf-8")
    for command in (["check"], ["operations", str(written)]):
        failed = amity(*command)
        assert failed.exit_code == 1
        assert "manifest.json: old does not fit the schema: Cannot query field 'gone'" in failed.output
    # a manifest that is out of date is made anew all the same
    assert json.loads(amity("operations", str(folder)).stdout) == printed
