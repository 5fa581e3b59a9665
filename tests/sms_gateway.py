"""An SMS gateway on this machine: takes messages over HTTP, keeps what arrived, signs what it posts."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from amity import RawRequest
from amity_sms import hmac_signature, twilio_signature

TOKEN = "token-of-the-account"
SECRET = "secret-of-the-webhook"
PICTURE = b"\x89PNG" + bytes(range(256)) * 40


@dataclass
class Gateway:
    """What arrived at the gateway, and how it answers."""

    url: str
    arrived: dict[str, dict[str, str]] = field(default_factory=dict)
    """Idempotency key → the message; the same key again is the same message."""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    """Answers that come before it works again."""
    media_headers: list[dict[str, str]] = field(default_factory=list)

    def account(self, **changes: Any) -> dict[str, Any]:
        """An account at it, of the preset ``json``."""
        return {
            "preset": "json",
            "sender": "+41790000000",
            "send_url": f"{self.url}/messages",
            "password": TOKEN,
            "webhook_secret": SECRET,
            "allow_private": True,
            **changes,
        }

    def twilio(self, **changes: Any) -> dict[str, Any]:
        """An account at it, of the preset ``twilio``."""
        return {
            "preset": "twilio",
            "sender": "+41790000000",
            "send_url": f"{self.url}/twilio/{{username}}/Messages.json",
            "username": "AC1",
            "password": TOKEN,
            "allow_private": True,
            **changes,
        }

    async def take(self, request: Request) -> Response:
        """A message is handed in, as JSON with a token."""
        body = await request.body()
        self.requests.append((dict(request.headers), body))
        if self.answers:
            return self.answers.pop(0)
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {TOKEN}"):
            return JSONResponse({"error": {"message": "unknown token"}}, 401)
        message = json.loads(body)
        if message["to"].startswith("+4179999"):
            return JSONResponse({"error": {"message": "no such subscriber"}}, 422)
        id = self.keep(request.headers["idempotency-key"], message)
        return JSONResponse({"id": id, "status": "queued"}, 201)

    async def take_twilio(self, request: Request) -> Response:
        """A message is handed in, as Twilio takes it: a form with user name and password."""
        body = await request.body()
        self.requests.append((dict(request.headers), body))
        expected = base64.b64encode(f"AC1:{TOKEN}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Basic {expected}"):
            return JSONResponse({"code": 20003, "message": "Authenticate"}, 401)
        form = dict(parse_qsl(body.decode()))
        if form["To"].startswith("+4179999"):
            return JSONResponse({"code": 21610, "message": "Attempt to send to unsubscribed recipient"}, 400)
        return JSONResponse({"sid": self.keep(request.headers["idempotency-key"], form), "status": "queued"}, 201)

    def keep(self, key: str, message: dict[str, str]) -> str:
        self.arrived.setdefault(key, message)
        return f"gw-{list(self.arrived).index(key) + 1}"

    async def moved(self, request: Request) -> Response:
        self.media_headers.append(dict(request.headers))
        return RedirectResponse(f"{self.url.replace('127.0.0.1', 'localhost')}/pictures/1")

    async def picture(self, request: Request) -> Response:
        self.media_headers.append(dict(request.headers))

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(PICTURE), 4096):
                yield PICTURE[start : start + 4096]

        return StreamingResponse(chunks(), media_type="image/png")


class Listening(uvicorn.Server):
    """Says when it is ready, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """An application that listens on loopback; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = Listening(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        running = asyncio.create_task(server.serve([listening]))
        await server.ready.wait()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that listens on loopback."""
    found = Gateway("")
    app = Starlette(
        routes=[
            Route("/messages", found.take, methods=["POST"]),
            Route("/twilio/AC1/Messages.json", found.take_twilio, methods=["POST"]),
            Route("/media/1", found.moved),
            Route("/pictures/1", found.picture),
        ]
    )
    async with served(app) as found.url:
        yield found


def posted(body: Any, *, secret: str = SECRET, at: float | None = None, path: str = "/") -> RawRequest:
    """What the gateway posts: JSON, signed over time and bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    timestamp = str(int(time.time() if at is None else at))
    headers = {
        "content-type": "application/json",
        "x-timestamp": timestamp,
        "x-signature": f"sha256={hmac_signature(secret, timestamp, raw)}",
    }
    return RawRequest("POST", path, {}, headers, raw, f"https://crm.example.com{path}")


def posted_by_twilio(
    form: Mapping[str, str], *, secret: str = TOKEN, url: str = "https://crm.example.com/connections/con_1"
) -> RawRequest:
    """What Twilio posts: a form, signed over the address and its fields."""
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-twilio-signature": twilio_signature(secret, url, form),
    }
    path = "/connections/" + url.rpartition("/")[2]
    return RawRequest("POST", path, {}, headers, urlencode(form).encode(), url)
