"""Signing in over HTTP: what a person and a program do, and what an attacker tries."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from amity import SYSTEM, Crm, Plugin, Team, Update, User
from amity.model import UserSession
from amity.server import app
from amity.signin import COOKIE, MAX_BODY, authenticate
from amity.testing import make_crm

from . import company
from .company import JONAS, MIA
from .people import JUDITH, PASSWORD, key_of, people, run

# these tests share one company
pytestmark = pytest.mark.asyncio(loop_scope="module")
RESPONSE = "application/graphql-response+json"
MAIL = "mia@ourcompany.example"
LABEL = "Mia </script><script>alert(1)</script>"
SIGN_IN = {"label": LABEL, "email": MAIL, "password": PASSWORD}
QUICK = {"argon2_memory": 8, "argon2_passes": 1, "argon2_lanes": 1}
"""Passwords are hashed in no time; how well is not what is tried here."""
ME = {"query": "{ me { id } }"}
CUSTOMERS = {"query": "{ customers { totalCount } }"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crm(server_url: str | None) -> AsyncIterator[Crm]:
    settings = {"plugins": ["graphql"], "graphql": {"sign_ins": [SIGN_IN]}, "sign_in": QUICK}
    async with make_crm(settings=settings, server_url=server_url) as crm:
        await company.company(crm.acting_as(SYSTEM))
        await people(crm)
        yield crm


def client_of(application: Starlette, base: str = "http://localhost") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=application), base_url=base)


@pytest_asyncio.fixture(loop_scope="module")
async def client(crm: Crm) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app(crm, opens=False)) as client:
        yield client


async def sign_in(client: httpx2.AsyncClient, email: str = MAIL, password: str = PASSWORD) -> str:
    """Signs in; the token that is in the cookie now."""
    answer = await client.post("/session", json={"email": email, "password": password})
    assert answer.status_code == 204, answer.text
    return answer.cookies[COOKIE]


@asynccontextmanager
async def browser(crm: Crm, email: str = MAIL) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who is signed in."""
    async with client_of(app(crm, opens=False)) as client:
        await sign_in(client, email)
        yield client


async def whoever(client: httpx2.AsyncClient, headers: Mapping[str, str] | None = None) -> str | None:
    """The id of whom a request comes from."""
    answer = await client.post("/graphql", json=ME, headers=headers)
    me = answer.json()["data"]["me"]
    return None if me is None else str(me["id"])


# --- people and programs --------------------------------------------------------------------------------------


async def test_somebody_signs_in_works_and_signs_out(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/session")).json()["kind"] == "anonymous"
    token = await sign_in(client)
    found = (await client.get("/session")).json()
    assert found == {
        "kind": "user",
        "id": MIA,
        "name": "Mia Keller",
        "email": MAIL,
        "roles": ["admin", "agent"],
        "team": company.TEAM,
    }
    query = "{ me { kind id name email roles team { name } } customers { totalCount } }"
    data = (await client.post("/graphql", json={"query": query})).json()["data"]
    assert data["me"] == {**found, "team": {"name": "Zurich"}}
    assert data["customers"] == {"totalCount": "5"}

    answer = await client.delete("/session")
    assert answer.status_code == 204
    assert COOKIE not in client.cookies
    assert await whoever(client) is None
    # the token is worth nothing any more, wherever it was copied to
    assert await whoever(client, {"cookie": f"{COOKIE}={token}"}) is None
    assert (await client.delete("/session")).status_code == 204


async def test_a_program_shows_its_key(crm: Crm, client: httpx2.AsyncClient) -> None:
    key = await key_of(crm, "agent", user=JONAS)
    headers = {"authorization": f"Bearer {key}"}
    assert await whoever(client, headers) == JONAS
    assert (await client.get("/session", headers={"authorization": f"bearer  {key}"})).json()["roles"] == ["agent"]


async def test_an_agent_logs_a_call_of_somebody_unknown(crm: Crm) -> None:
    mutation = """mutation ($user: ID) {
        logInteraction(input: {channel: "phone", direction: INBOUND, address: "+41445550199", userId: $user}) {
            interaction { id user { name } }
        }
    }"""
    async with browser(crm, "jonas@ourcompany.example") as client:
        for user, name in ((None, "Jonas Frei"), (MIA, "Mia Keller")):
            operation = {"query": mutation, "variables": {"user": user}}
            logged = (await client.post("/graphql", json=operation)).json()["data"]["logInteraction"]
            assert logged["interaction"]["user"] == {"name": name}
            await crm.acting_as(SYSTEM).delete("Interaction", [logged["interaction"]["id"]])


async def test_one_role_of_several_can_be_acted_under(crm: Crm) -> None:
    async with browser(crm) as client:
        mutation = {"query": "mutation { deleteTeams(ids: []) { userErrors { code } } }"}
        query = {"query": "{ me { roles } roles { totalCount } }"}
        assert (await client.post("/graphql", json=query)).json()["data"]["me"]["roles"] == ["admin", "agent"]
        answer = await client.post("/graphql", json=query, headers={"amity-role": "agent"})
        assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_ALLOWED"
        answer = await client.post("/graphql", json=mutation, headers={"amity-role": "owner"})
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert error["extensions"]["code"] == "NOT_ALLOWED"
        assert "may not act under the role 'owner'" in error["message"]
        found = (await client.get("/session", headers={"amity-role": "agent"})).json()
        assert found["roles"] == ["agent"]


async def test_what_was_taken_from_somebody_is_gone_with_the_next_request(crm: Crm) -> None:
    system = crm.acting_as(SYSTEM)
    async with browser(crm, "judith@ourcompany.example") as client:
        assert (await client.post("/graphql", json=CUSTOMERS)).json()["data"]["customers"]["totalCount"] == "5"
        assert not (await system.update(User, [Update(JUDITH, {"active": False})])).errors
        assert await whoever(client) is None
        assert not (await system.update(User, [Update(JUDITH, {"active": True})])).errors


async def test_a_sign_in_is_listed_and_ended_by_deleting_it(crm: Crm, client: httpx2.AsyncClient) -> None:
    async with browser(crm) as admin:
        await sign_in(client, "jonas@ourcompany.example")
        query = """query ($user: ID!) {
            userSessions(where: {user: {id: {eq: $user}}}, orderBy: [{createdAt: DESC}], first: 1) {
                nodes { id userAgent }
            }
        }"""
        answer = await admin.post("/graphql", json={"query": query, "variables": {"user": JONAS}})
        (found,) = answer.json()["data"]["userSessions"]["nodes"]
        assert found["userAgent"].startswith("python-httpx")
        assert not (await crm.acting_as(SYSTEM).delete(UserSession, [found["id"]])).errors
        assert await whoever(client) is None


async def test_nobody_who_has_not_signed_in_gets_more_than_the_schema(client: httpx2.AsyncClient) -> None:
    allowed = '{ __typename me { name } __schema { queryType { name } } __type(name: "Customer") { name } }'
    answer = await client.post("/graphql", json={"query": allowed})
    assert answer.json()["data"]["me"] is None
    assert "errors" not in answer.json()


@pytest.mark.parametrize(
    "document",
    [
        "{ customers { totalCount } }",
        "{ me { id } customers { totalCount } }",
        "{ me: customers { totalCount } }",
        "{ ... on Query { ... { customers { totalCount } } } }",
        "query ($no: Boolean = false) { customers @include(if: $no) { totalCount } }",
        "{ ...Deep } fragment Deep on Query { ...Deeper } fragment Deeper on Query { teams { totalCount } }",
        '{ node(id: "cus_019a0000000070008000000000000001") { id } }',
        "{ plugins { name version } }",
        "{ entities { name } }",
        'mutation { createTeam(input: {name: "Mine"}) { team { id } } }',
    ],
)
async def test_the_anonymous_are_refused(client: httpx2.AsyncClient, document: str) -> None:
    answer = await client.post("/graphql", json={"query": document}, headers={"accept": RESPONSE})
    assert answer.status_code == 401
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert "sign in at /session" in error["message"]
    assert "data" not in answer.json()
    assert (await client.post("/graphql", json={"query": document})).status_code == 200


async def test_routes_of_plugins_act_as_who_sends_the_request(server_url: str | None) -> None:
    class Doors(Plugin):
        name = "doors"

        def routes(self, crm: Crm) -> list[Any]:
            async def door(request: Request) -> JSONResponse:
                session = crm.acting_as(await authenticate(crm, request))
                return JSONResponse(await session.find(Team).count())

            async def socket(socket: WebSocket) -> None:
                await crm.acting_as(await authenticate(crm, socket)).find(Team).count()
                await socket.accept()

            return [Route("/", door), WebSocketRoute("/socket", socket)]

    async with make_crm([Doors], {"sign_in": QUICK}, server_url=server_url) as other:
        await run(other, "create_role", {"name": "nothing"})
        application = app(other, opens=False)
        for role, status in (("admin", 200), ("nothing", 403), (None, 401)):
            headers = {"authorization": f"Bearer {await key_of(other, role)}"} if role else {}
            async with client_of(application) as client:
                answer = await client.get("/doors", headers=headers)
                assert answer.status_code == status
                if status != 200:
                    assert "may not read teams" in answer.json()["error"]
            opened = {"type": "websocket.accept"} if role == "admin" else {"type": "websocket.close", "code": 1008}
            first = (await socket_of(application, "/doors/socket", headers))[0]
            assert opened.items() <= first.items()
        # a socket is no request that is safe whoever sends it
        cookie = {"cookie": f"{COOKIE}=amity_none", "origin": "http://evil.example"}
        assert (await socket_of(application, "/doors/socket", cookie))[0]["type"] != "websocket.accept"


async def socket_of(application: Starlette, path: str, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the server sends to somebody who opens a socket."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost", **headers}
    scope = {
        "type": "websocket",
        "scheme": "ws",
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
        "server": ("localhost", 80),
        "subprotocols": [],
    }
    await application(scope, receive, send)
    return sent


# --- guessing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (MAIL, "wrong"),
        (MAIL, ""),
        (MAIL, PASSWORD + " "),
        (MAIL, PASSWORD.upper()),
        ("", ""),
        ("", PASSWORD),
        ("nobody@ourcompany.example", PASSWORD),
        ("former@ourcompany.example", PASSWORD),  # is no longer active
        ("wei@ourcompany.example", PASSWORD),  # has no password
        ("%", PASSWORD),
        ("mia@%", PASSWORD),
        ("' or 1=1 --", "' or 1=1 --"),
        (MAIL, "\x00"),
        (f"{MAIL}\x00", PASSWORD),
        ("😀" * 400, "x" * 5_000),
        (MIA, PASSWORD),
    ],
)
async def test_every_failure_reads_alike(client: httpx2.AsyncClient, email: str, password: str) -> None:
    answer = await client.post("/session", json={"email": email, "password": password})
    assert answer.status_code == 401
    assert answer.json() == {"error": "e-mail address or password is wrong"}
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("email", ["throttled@ourcompany.example", "nobody.there@ourcompany.example"])
async def test_guessing_is_slowed_down_for_accounts_that_exist_and_others(
    client: httpx2.AsyncClient, email: str
) -> None:
    codes = []
    for _ in range(30):
        answer = await client.post("/session", json={"email": email, "password": "guess"})
        codes.append(answer.status_code)
        if answer.status_code == 429:
            break
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "too many attempts" in answer.json()["error"]
    # also who knows the password has to wait, or guessing would go on unnoticed
    assert (await client.post("/session", json={"email": email, "password": PASSWORD})).status_code == 429
    await sign_in(client)


async def test_guessing_in_parallel_is_no_way_around(client: httpx2.AsyncClient) -> None:
    guesses = [
        client.post("/session", json={"email": "parallel@ourcompany.example", "password": f"guess {number}"})
        for number in range(40)
    ]
    codes = [answer.status_code for answer in await asyncio.gather(*guesses)]
    assert codes.count(401) == 10
    assert codes.count(429) == 30


# --- cookies --------------------------------------------------------------------------------------------------


async def test_the_cookie_is_kept_from_scripts_and_other_sites(crm: Crm) -> None:
    async with client_of(app(crm, opens=False)) as client:
        answer = await client.post("/session", json={"email": MAIL, "password": PASSWORD})
        parts = answer.headers["set-cookie"].split("; ")
        assert parts[0].startswith(f"{COOKIE}=")
        assert {part.lower() for part in parts[1:]} == {"httponly", "path=/", "samesite=lax"}
        assert len(answer.cookies[COOKIE]) >= 43  # 256 bits
        assert answer.headers["cache-control"] == "no-store"
    async with client_of(app(crm, opens=False), "https://localhost") as client:
        answer = await client.post("/session", json={"email": MAIL, "password": PASSWORD})
        assert "; Secure" in answer.headers["set-cookie"]
    async with client_of(Starlette(routes=[Mount("/crm", app(crm, opens=False))])) as client:
        answer = await client.post("/crm/session", json={"email": MAIL, "password": PASSWORD})
        assert "; Path=/crm;" in answer.headers["set-cookie"]
        page = await client.get("/crm/graphql", headers={"accept": "text/html"})
        assert 'const session = "/crm/session";' in page.text


async def test_a_token_that_was_planted_is_not_the_one_of_the_sign_in(crm: Crm) -> None:
    async with client_of(app(crm, opens=False)) as attacker, client_of(app(crm, opens=False)) as victim:
        planted = await sign_in(attacker, "jonas@ourcompany.example")
        for token in (planted, "ses_planted", "x"):
            victim.cookies.set(COOKIE, token, domain="localhost.local")
            fresh = await sign_in(victim)
            assert fresh != token
            assert await whoever(victim) == MIA
        # what stood in the browser before is ended
        assert await whoever(attacker) is None
    tokens = set()
    async with client_of(app(crm, opens=False)) as client:
        for _ in range(3):
            tokens.add(await sign_in(client))
    assert len(tokens) == 3


async def test_a_session_ends_when_its_time_is_over(crm: Crm) -> None:
    async with browser(crm) as client:
        query = crm.acting_as(SYSTEM).find(UserSession).select("id").order_by("-created_at")
        newest = await query.one()
        assert newest
        assert await whoever(client) == MIA
        over = datetime.now(UTC) - timedelta(seconds=1)
        update = [Update(newest["id"], {"expires_at": over})]
        assert not (await crm.acting_as(SYSTEM).update(UserSession, update, read_only=True)).errors
        assert await whoever(client) is None


FOREIGN: list[dict[str, str]] = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "localhost"},
    {"origin": "http://"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://evil.example/localhost"},
    {"origin": "http://localhost@evil.example"},
    {"origin": "http://localhost:8001"},
    {"origin": "http://sub.localhost"},
    {"origin": "http://[::1"},
    {"origin": "http://localhost, http://evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda item: json.dumps(item))
async def test_pages_of_other_sites_do_nothing_in_the_name_of_who_is_signed_in(
    crm: Crm, headers: dict[str, str]
) -> None:
    async with browser(crm) as client:
        mutation = {"query": 'mutation { createTeam(input: {name: "Forged"}) { team { id } } }'}
        for method, path, body in (
            ("POST", "/graphql", mutation),
            ("DELETE", "/session", None),
            ("POST", "/session", {"email": "jonas@ourcompany.example", "password": PASSWORD}),
        ):
            answer = await client.request(method, path, json=body, headers=headers)
            assert answer.status_code == 403
            assert "a page of another site" in answer.text
            assert "set-cookie" not in answer.headers
            assert "access-control-allow-origin" not in answer.headers
        assert await whoever(client) == MIA
    assert not await crm.acting_as(SYSTEM).find("Team").where({"name": {"eq": "Forged"}}).count()


async def test_our_own_page_and_programs_may(crm: Crm) -> None:
    async with browser(crm) as client:
        for headers in (
            {"origin": "http://localhost", "sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "none"},
        ):
            assert await whoever(client, headers) == MIA
        key = await key_of(crm, "agent", user=JONAS)
        # a key is in no browser that another site could use
        headers = {"authorization": f"Bearer {key}", "origin": "http://evil.example"}
        assert await whoever(client, headers) == JONAS
    async with client_of(app(crm, opens=False), "https://localhost") as client:
        await sign_in(client)
        assert await whoever(client, {"origin": "https://localhost"}) == MIA
        answer = await client.post("/graphql", json=ME, headers={"origin": "http://localhost"})
        assert answer.status_code == 403


async def test_a_link_on_another_site_leads_to_who_is_signed_in(crm: Crm) -> None:
    async with browser(crm) as client:
        answer = await client.get("/session", headers={"sec-fetch-site": "cross-site", "origin": "null"})
        assert answer.json()["id"] == MIA


async def test_a_request_that_names_no_host_is_of_no_page_of_ours(crm: Crm) -> None:
    async with browser(crm) as client:
        cookie = f"{COOKIE}={client.cookies[COOKIE]}".encode()
    for origin in (b"null", b"http://", b""):
        headers = [(b"cookie", cookie), (b"origin", origin)]
        scope = {"type": "http", "method": "POST", "path": "/", "scheme": "http", "headers": headers}
        with pytest.raises(HTTPException, match="a page of another site"):
            await authenticate(crm, Request({**scope, "query_string": b"", "server": ("localhost", 80)}))


async def test_nobody_acts_under_a_role_without_having_signed_in(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/session", headers={"amity-role": "admin"})
    assert (answer.status_code, answer.json()["kind"]) == (200, "anonymous")


async def test_signing_out_empties_the_cookie(crm: Crm) -> None:
    async with browser(crm) as client:
        answer = await client.delete("/session")
        assert answer.headers["set-cookie"].startswith(f'{COOKIE}=""; ')


# --- what is no sign-in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"email=mia&password=x", "application/x-www-form-urlencoded", 415),
        (b'{"email": "m", "password": "x"}', "text/plain", 415),
        (b"x", "multipart/form-data; boundary=x", 415),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"email": "m"}', "application/json", 400),
        (b'{"email": {"like": "%"}, "password": "x"}', "application/json", 400),
        (b'{"email": ["m"], "password": null}', "application/json", 400),
        (b"[" * 5_000, "application/json", 400),
        (b" " * (MAX_BODY + 1), "application/json", 413),
    ],
)
async def test_what_is_no_sign_in_is_told(
    client: httpx2.AsyncClient, body: bytes, content_type: str, status: int
) -> None:
    answer = await client.post("/session", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert (await client.put("/session", content=body)).status_code == 405


async def test_tokens_and_keys_that_are_none_are_nobodys(crm: Crm, client: httpx2.AsyncClient) -> None:
    key, other = await key_of(crm, "admin"), await key_of(crm, "agent", user=JONAS)
    async with client_of(app(crm, opens=False)) as elsewhere:
        token, second = await sign_in(elsewhere), await sign_in(elsewhere, "jonas@ourcompany.example")
    head, _, secret = key.rpartition("_")
    bad_keys = [
        "",
        "x",
        "amity_",
        "amity__",
        head,
        f"{head}_",
        key[:-1],
        f"{key}x",
        key.upper(),
        key.replace("amity_", "AMITY_", 1),
        f"{head}_{'0' * len(secret)}",
        f"{other.rpartition('_')[0]}_{secret}",
        f"amity_' or 1=1 --_{secret}",
        f"amity_%_{secret}",
        "amity_" + "a" * 3_000,
        token,
        f"{key} {key}",
    ]
    for bad in bad_keys:
        assert await whoever(client, {"authorization": f"Bearer {bad}"}) is None, bad
    for scheme in ("Basic", "Token", "", "Bearer:"):
        assert await whoever(client, {"authorization": f"{scheme} {key}"}) is None, scheme
    half = len(token) // 2
    bad_tokens = ["x", token[:-1], f"{token}x", token.swapcase(), key, "' or 1=1 --", "%", "a" * 3_000, "\xe9"]
    for bad in [*bad_tokens, token[:half] + second[half:]]:
        cookie = f"{COOKIE}={bad}".encode("latin-1")
        answer = await client.post("/graphql", json=ME, headers=[(b"cookie", cookie)])
        assert answer.json() == {"data": {"me": None}}, bad


async def test_a_bad_key_is_not_made_up_for_by_a_cookie(crm: Crm) -> None:
    async with browser(crm) as client:
        assert await whoever(client, {"authorization": "Bearer amity_x_y"}) is None
        # while a proxy's own password is nobody's business
        assert await whoever(client, {"authorization": "Basic cHJveHk6cHJveHk="}) == MIA


async def test_expired_and_revoked_keys_are_nobodys(crm: Crm, client: httpx2.AsyncClient) -> None:
    over = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    system = crm.acting_as(SYSTEM)
    revoked, kept = await key_of(crm, "agent", user=JONAS), await key_of(crm, "agent", user=JONAS)
    short = await key_of(crm, "agent", user=JONAS, expires_at=over)
    assert not (await system.run("revoke_api_key", [{"key": key_id(revoked)}])).errors
    assert await whoever(client, {"authorization": f"Bearer {revoked}"}) is None
    assert await whoever(client, {"authorization": f"Bearer {kept}"}) == JONAS
    await asyncio.sleep(1.1)
    assert await whoever(client, {"authorization": f"Bearer {short}"}) is None


def key_id(key: str) -> str:
    return "key_" + key.split("_")[1]


# --- what stays inside ----------------------------------------------------------------------------------------


async def test_secrets_are_neither_logged_nor_kept(crm: Crm, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client_of(app(crm, opens=False)) as client:
            wrong = "a-wrong-password-that-is-one-of-another-site"
            await client.post("/session", json={"email": MAIL, "password": wrong})
            token = await sign_in(client)
            key = await key_of(crm, "agent", user=JONAS)
            assert await whoever(client) == MIA
            assert await whoever(client, {"authorization": f"Bearer {key}"}) == JONAS
            await client.delete("/session")
    secrets = (token, key, key.rpartition("_")[2], PASSWORD, wrong)
    kept = json.dumps([await stored(crm), await logged(crm)], default=str)
    for secret in secrets:
        assert secret not in caplog.text
        assert secret not in kept
    hashes = json.dumps(await logged(crm), default=str)
    assert "$argon2" in kept
    assert "$argon2" not in hashes
    assert "secret_hash" not in hashes
    assert "token_hash" not in hashes


async def stored(crm: Crm) -> list[Any]:
    tables = ("core_user", "core_api_key", "core_user_session")
    return [tuple(row) for table in tables for row in await crm.database.read(f'SELECT * FROM "{table}"')]


async def logged(crm: Crm) -> list[Any]:
    return [tuple(row) for row in await crm.database.read('SELECT * FROM "core_event"')]


async def test_the_explorer_is_ours_alone(crm: Crm, client: httpx2.AsyncClient) -> None:
    answer = await client.get("/graphql", headers={"accept": "text/html"})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert answer.text.count(f'<script nonce="{nonce}"') == answer.text.count("<script") == 4
    assert LABEL not in answer.text
    assert json.dumps(LABEL).replace("<", "\\u003c") in answer.text
    again = await client.get("/graphql", headers={"accept": "text/html"})
    assert nonce not in again.headers["content-security-policy"]
