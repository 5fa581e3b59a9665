"""The server: GraphQL over HTTP, the explorer, health, and who is let in."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from amity import SYSTEM, CompositionError, Crm, Plugin
from amity.server import app
from amity.testing import make_crm, recorded
from amity_graphql import api, execute, graphiql

from . import company
from .company import ANN
from .people import key_of

# these tests share one company
pytestmark = pytest.mark.asyncio(loop_scope="module")
RESPONSE = "application/graphql-response+json"


class Doors(Plugin):
    """Routes of its own."""

    name = "doors"

    def routes(self, crm: Crm) -> list[Any]:
        async def door(request: Request) -> PlainTextResponse:
            return PlainTextResponse(f"{request.path_params.get('number', 'all')}")

        inside = [Route("/side", door)]
        return [
            Route("/", door),
            Route("/{number:int}", door, methods=["GET", "PUT"]),
            Mount("/in", routes=inside),
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    settings = {"plugins": ["graphql"], "graphql": {"max_body": 20_000}}
    async with make_crm([Doors], settings, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headers(crm: Crm) -> dict[str, str]:
    """What an administrator's program sends."""
    return {"authorization": f"Bearer {await key_of(crm, 'admin')}"}


def client_of(
    application: Starlette, host: str = "localhost", headers: Mapping[str, str] | None = None
) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=application)
    return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)


@pytest_asyncio.fixture(loop_scope="module")
async def client(crm: Crm, headers: Mapping[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app(crm, opens=False), headers=headers) as client:
        yield client


async def test_operations_are_posted_as_json(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/graphql",
        json={
            "query": "query One { teams { totalCount } } query Two($id: ID!) { customer(id: $id) { name } }",
            "variables": {"id": ANN},
            "operationName": "Two",
            "extensions": None,
        },
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"data": {"customer": {"name": "Ann Lee"}}}


@pytest.mark.parametrize(
    ("accept", "expected", "status"),
    [
        (None, "application/json", 200),
        ("*/*", "application/json", 200),
        ("application/json", "application/json", 200),
        (RESPONSE, RESPONSE, 400),
        (f"{RESPONSE}, application/json;q=0.9", RESPONSE, 400),
        (f"{RESPONSE};q=0.1, application/json", "application/json", 200),
        ("text/html", "application/json", 406),
    ],
)
async def test_a_document_that_can_not_run_has_the_status_that_its_media_type_asks_for(
    client: httpx2.AsyncClient, accept: str | None, expected: str, status: int
) -> None:
    headers = {"accept": accept or ""}
    answer = await client.post("/graphql", json={"query": "{ customers { "}, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == f"{expected}; charset=utf-8"
    if status != 406:
        (error,) = answer.json()["errors"]
        assert error["locations"] == [{"line": 1, "column": 15}]
        assert "data" not in answer.json()


async def test_partial_answers_are_answers(client: httpx2.AsyncClient) -> None:
    query = '{ customer(id: "nobody") { name } teams { totalCount } }'
    answer = await client.post("/graphql", json={"query": query}, headers={"accept": RESPONSE})
    assert answer.status_code == 200
    assert answer.json()["data"] == {"customer": None, "teams": {"totalCount": "1"}}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b'{"query": "{ teams { totalCount } }"}', "text/plain", 415, "send the operation as application/json"),
        (b"query={teams{totalCount}}", "application/x-www-form-urlencoded", 415, "application/json"),
        (b"{}", "application/json; charset=latin-1", 415, "UTF-8"),
        (b'{"query": ', "application/json", 400, "the body is no JSON"),
        (b'{"query": "\xff"}', "application/json", 400, "the body is no JSON"),
        (b"[1, 2]", "application/json", 400, "expected a JSON object"),
        (b"{}", "application/json", 400, "query is missing"),
        (b'{"query": 1}', "application/json", 400, "query is missing"),
        (b'{"query": "{a}", "variables": []}', "application/json", 400, "variables is list; expected an object"),
        (b'{"query": "{a}", "operationName": 1}', "application/json", 400, "operationName is int"),
        (b'{"query": "{a}", "extensions": "x"}', "application/json", 400, "extensions is str"),
        (b" " * 20_001, "application/json", 413, "larger than 20000 bytes"),
        (
            b'{"query":"{a}","variables":' + b'{"a":' * 70 + b"1" + b"}" * 71,
            "application/json",
            400,
            "deeper than 64",
        ),
        (
            b'{"query":"{a}","variables":' + b"[" * 9000 + b"]" * 9000 + b"}",
            "application/json",
            400,
            "deeper than 64",
        ),
    ],
)
async def test_requests_that_are_none_are_told_what_is_wrong(
    client: httpx2.AsyncClient, body: bytes, content_type: str, status: int, message: str
) -> None:
    answer = await client.post("/graphql", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    assert message in answer.json()["errors"][0]["message"]


async def test_only_posts_are_answered_but_for_the_explorer(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/graphql?query={teams{totalCount}}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert (await client.delete("/graphql")).status_code == 405


async def test_the_explorer_offers_examples_the_whole_view_first(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/graphql", headers={"accept": "text/html,application/xhtml+xml"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-frame-options"] == "DENY"
    found = re.search(r"const tabs = (.*);", answer.text)
    assert found
    tabs = [tab["query"] for tab in json.loads(found[1])]
    assert tabs[0].startswith("query CustomersWholeView {")
    assert 'url: "/graphql"' in answer.text


async def test_examples_are_offered_where_the_schema_has_what_they_need(crm: Crm) -> None:
    offered = graphiql.examples(api.built(crm)[0].graphql)
    assert len(offered) == 11
    assert not any("rfm" in text for text in offered)


async def test_every_example_of_the_explorer_runs(server_url: str | None) -> None:
    async with make_crm(settings={"plugins": ["graphql", "rfm"]}, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        await _every_example_runs(crm)


async def _every_example_runs(crm: Crm) -> None:
    examples = graphiql.examples(api.built(crm)[0].graphql)
    assert any("rfm" in text for text in examples)
    for example in examples:
        with recorded() as statements:
            result = await execute(crm, crm.acting_as(SYSTEM), example)
        assert not result.errors
        if any(name in example for name in ("WholeView", "Board", "Timeline", "FiguresByMonth", "Inbox")):
            assert len(statements) == 1


async def test_other_names_than_this_machines_are_not_answered(crm: Crm) -> None:
    application = app(crm, opens=False)
    for host, status in (("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:99", 200), ("evil.example", 421)):
        async with client_of(application, host) as client:
            assert (await client.get("/health")).status_code == status
            answer = await client.post("/graphql", json={"query": "{ teams { totalCount } }"})
            assert answer.status_code == status
    async with client_of(application) as client:
        assert (await client.get("/health", headers={"host": ""})).status_code == 421


async def test_hosts_can_be_allowed(server_url: str | None) -> None:
    settings = {"plugins": ["graphql"], "server": {"allowed_hosts": ["crm.example"]}}
    async with (
        make_crm(settings=settings, server_url=server_url) as crm,
        client_of(app(crm, opens=False), "CRM.example") as client,
    ):
        assert (await client.get("/health")).status_code == 200


async def test_routes_of_plugins_are_under_their_names(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/doors")).text == "all"
    assert (await client.put("/doors/7")).text == "7"
    assert (await client.get("/doors/in/side")).text == "all"
    assert (await client.get("/windows")).status_code == 404


async def test_health_tells_of_the_database(crm: Crm) -> None:
    async with client_of(app(crm, opens=False)) as client:
        assert (await client.get("/health")).json()["status"] == "ok"
        await crm.database.close()
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["status"] == "database unreachable"
        await crm.database.open()


async def test_the_application_mounts_in_another(crm: Crm, headers: Mapping[str, str]) -> None:
    outer = Starlette(routes=[Mount("/crm", app(crm, opens=False))])
    async with client_of(outer, headers=headers) as client:
        answer = await client.post("/crm/graphql", json={"query": "{ teams { totalCount } }"})
        assert answer.json() == {"data": {"teams": {"totalCount": "1"}}}
        page = (await client.get("/crm/graphql", headers={"accept": "text/html"})).text
        assert 'url: "/crm/graphql"' in page


async def test_routes_that_are_none_are_told(server_url: str | None) -> None:
    class Ajar(Plugin):
        name = "ajar"

        def routes(self, crm: Crm) -> list[Any]:
            return ["/door"]

    async with make_crm([Ajar], server_url=server_url) as crm:
        with pytest.raises(CompositionError, match="plugin 'ajar': the hook routes returned '/door'"):
            app(crm)


async def test_the_address_itself_tells_what_is_there(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.text.splitlines()[1:] == ["/graphql", "/doors", "/session", "/health"]
