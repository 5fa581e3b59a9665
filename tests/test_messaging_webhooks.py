"""Over HTTP: webhooks of connections, and links by which consent is withdrawn."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from amity import SYSTEM, Connection, ConsentEntry, Crm, Interaction, RawRequest, Undelivered, Update
from amity.entity import encode_id
from amity.messaging import webhooks
from amity.messaging.consent import Ask, withdrawal_token
from amity.server import app

from .conftest import MakeCrm
from .courier import KEY, Couriers

Desk = tuple[Crm, UUID, httpx2.AsyncClient]


@asynccontextmanager
async def desk(
    make_crm: MakeCrm, folder: Path, **account: Any
) -> AsyncIterator[tuple[Crm, UUID, httpx2.AsyncClient]]:
    settings = {
        "security": {"keys": [KEY]},
        "files": {"folder": str(folder / "files")},
        "server": {"public_url": "https://crm.example"},
    }
    async with make_crm([Couriers], settings) as crm:
        made = await crm.acting_as(SYSTEM).run(
            "create_connection", [{"channel": "courier", "name": "desk", "settings": account}]
        )
        (id,) = made.ids
        assert id is not None
        transport = httpx2.ASGITransport(app=app(crm, opens=False))
        async with httpx2.AsyncClient(transport=transport, base_url="https://crm.example") as client:
            yield crm, id, client


def told(*ids: str) -> bytes:
    return json.dumps([{"message_id": id, "address": "ann", "body": id} for id in ids]).encode()


async def test_what_is_posted_to_a_connection_is_taken_in(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with desk(make_crm, tmp_path, password="sesame") as (crm, id, client):
        path = f"/connections/{encode_id('con', id)}"
        answer = await client.post(path, content=told("m1", "m2"), headers={"Password": "sesame"})
        assert (answer.status_code, answer.text) == (200, "2 taken")
        again = await client.post(path, content=told("m1", "m2"), headers={"Password": "sesame"})
        assert again.status_code == 200
        assert await crm.acting_as(SYSTEM).find(Interaction).count() == 2


async def test_a_forged_request_is_refused_and_leaves_nothing(
    make_crm: MakeCrm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(make_crm, tmp_path, password="sesame") as (crm, id, client):
        answer = await client.post(f"/connections/{encode_id('con', id)}", content=told("m1"))
        assert answer.status_code == 401
        session = crm.acting_as(SYSTEM)
        assert await session.find(Interaction).count() == 0
        assert await session.find(Undelivered).count() == 0
        assert "a forged request was refused: the password is wrong" in caplog.text


async def test_a_request_that_the_channel_fails_on_is_kept_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with desk(make_crm, tmp_path, password="sesame") as (crm, id, client):
        for _ in range(2):
            path = f"/connections/{encode_id('con', id)}"
            answer = await client.post(path, content=b"{no json sesame", headers={"Password": "sesame"})
            assert answer.status_code == 500
            assert "sesame" not in answer.text
        rows = await crm.acting_as(SYSTEM).find(Undelivered).select("reason", "reference", "file.size").all()
        assert len(rows) == 1
        assert rows[0]["reason"].startswith("JSONDecodeError")
        assert rows[0]["reference"].startswith(f"POST /connections/{encode_id('con', id)} sha256:")
        assert rows[0]["file"] == {"size": str(len(b"{no json sesame"))}


async def test_only_active_connections_that_receive_are_answered(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with desk(make_crm, tmp_path) as (crm, id, client):
        session = crm.acting_as(SYSTEM)
        whistle = await session.run("create_connection", [{"channel": "whistle", "name": "roof"}])
        assert whistle.ids[0] is not None
        for name in ("con_1", "x", encode_id("con", whistle.ids[0]), encode_id("con", UUID(int=7))):
            assert (await client.post(f"/connections/{name}", content=told("m1"))).status_code == 404
        await session.update(Connection, [Update(id, {"active": False})])
        assert (await client.post(f"/connections/{encode_id('con', id)}", content=told("m1"))).status_code == 404


async def test_a_request_may_not_be_endless(
    make_crm: MakeCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_BODY", 1000)
    async with desk(make_crm, tmp_path) as (_, id, client):
        path = f"/connections/{encode_id('con', id)}"
        assert (await client.post(path, content=b"[" * 1001)).status_code == 413


async def test_a_channel_is_handed_the_request_as_it_came(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with desk(make_crm, tmp_path, password="sesame") as (crm, id, _):
        seen: list[RawRequest] = []
        channel = crm.composition.channels["courier"].value
        receive = channel.receive

        async def watching(connection: Any, request: RawRequest) -> Any:
            seen.append(request)
            return await receive(connection, request)

        channel.receive = watching
        transport = httpx2.ASGITransport(app=app(crm, opens=False))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            path = f"/connections/{encode_id('con', id)}"
            await client.post(f"{path}?a=1&b=%20", content=told("m1"), headers={"PassWord": "sesame"})
        (request,) = seen
        assert (request.method, request.path, request.body) == ("POST", path, told("m1"))
        assert request.query == {"a": "1", "b": " "}
        assert request.headers["password"] == "sesame"
        assert request.url == f"https://crm.example{path}?a=1&b=%20"


async def test_a_link_withdraws_consent_by_its_button_and_not_by_being_opened(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with desk(make_crm, tmp_path) as (crm, _, client):
        token = withdrawal_token(crm.settings, Ask(None, "courier", "ann<b>", "spring_news"))
        page = await client.get(f"/unsubscribe/{token}")
        assert page.status_code == 200
        assert "spring news messages at ann&lt;b&gt;" in page.text
        ledger = crm.acting_as(SYSTEM).find(ConsentEntry).select("address", "purpose", "state", "source")
        assert await ledger.all() == []
        for _ in range(2):
            done = await client.post(f"/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"})
            assert done.status_code == 200
        assert await ledger.all() == [
            {
                "address": "ann<b>",
                "purpose": "spring_news",
                "state": "withdrawn",
                "source": "the link in a message",
            }
        ]
        assert (await client.post(f"/unsubscribe/{token[:-8]}")).status_code == 404
