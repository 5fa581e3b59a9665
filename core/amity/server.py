"""The server: routes of all plugins, health and lifespan in one ASGI application.

It stands alone (``amity serve``), or is mounted in someone else's. The headless core does not import it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import click
import uvicorn
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from . import __version__, signin
from .access import AccessDenied
from .composition import CompositionError
from .crm import Crm
from .database import DatabaseError
from .memory import settle_memory
from .messaging import files, unsubscribe, webhooks
from .principals.who import anybody
from .settings import SettingsError

LONGEST_FRAME = 1 << 20
"""Bytes of one message over a websocket; each open socket may have so much in memory."""
OWN_PATHS = frozenset(("health", "connections", "files", "unsubscribe"))
"""Where no plugin can have routes."""
LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))


def app(crm: Crm, *, opens: bool = True) -> Starlette:
    """The ASGI application of a CRM: plugins' routes under ``/<plugin>``, ``/session``, ``/health``.

    Messages have ``/connections/<id>`` for webhooks, ``/files/<id>`` for downloads, ``/unsubscribe/<token>``.

    It opens the CRM when it starts and closes it when it ends; with ``opens=False`` that is the caller's
    business, as it is wherever the application is mounted in another, whose lifespan is the one that runs.

    Requests are answered under loopback names, the public one, and those in ``[server] allowed_hosts``, only: a
    page elsewhere must not reach a CRM by giving its own name this machine's address. Routes of plugins find out
    who sends a request by :func:`amity.signin.authenticate`. Raises :class:`~amity.CompositionError` where they
    are not ASGI routes.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if not opens:
            yield
            return
        async with crm:
            yield

    plugins = _routes(crm)
    return Starlette(
        routes=[
            Route("/", _index(crm), methods=["GET"]),
            Route("/health", _health(crm), methods=["GET"]),
            signin.session(crm),
            *files.routes(crm),
            *webhooks.routes(crm),
            *unsubscribe.routes(crm),
            *plugins,
        ],
        exception_handlers={AccessDenied: signin.denied},
        middleware=[
            Middleware(_Hosts, allowed=_allowed(crm)),
            Middleware(_Direct, routes=_direct(plugins)),
        ],
        lifespan=lifespan,
    )


def serve(crm: Crm, host: str, port: int, tell: Callable[[str], None] = click.echo) -> None:
    """Runs the server until it is interrupted. Port 0 takes a free one; ``tell`` is told the addresses.

    Raises :class:`~amity.database.ConnectionFailed`, :class:`~amity.MigrationsPending`, and
    :class:`~amity.SettingsError` where the address can't be listened on.
    """
    asyncio.run(_serve(crm, host, port, tell))


async def _serve(crm: Crm, host: str, port: int, tell: Callable[[str], None]) -> None:
    with contextlib.closing(listening_at(host, port)) as listening:
        async with crm:
            address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
            lines = [f"Amity listens on {address}"]
            lines += [f"  {name}: {address}/{name}" for name in _names(crm)]
            lines += await _advice(crm, host)
            config = uvicorn.Config(
                app(crm, opens=False),
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                ws_max_size=LONGEST_FRAME,
            )
            settle_memory()
            await _Server(config, lambda: tell("\n".join(lines))).serve([listening])


async def _advice(crm: Crm, host: str) -> list[str]:
    """What whoever starts the server should know."""
    found = []
    if not await anybody(crm):
        command = "amity access add-user EMAIL --role admin"
        found.append(f"Nobody can sign in yet; make the first administrator with `{command}`")
    if not _is_loopback(host):
        found.append(
            f"{host} can be reached from other machines: put a proxy with https in front, or passwords and "
            "answers can be read on the way. Requests are answered under the names in [server] allowed_hosts"
        )
    return found


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Says when it is ready, and ends by returning, so that the CRM is closed properly."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def listening_at(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one. Raises :class:`~amity.SettingsError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with its protocol named, asyncio sends answers at once (TCP_NODELAY); else each waits 40 ms for the client
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise SettingsError(
            [f"server: {host}:{port} can't be listened on ({reason}); choose another port"]
        ) from error
    return listening


def _index(crm: Crm) -> Callable[[Request], object]:
    """What can be found here, for whoever opens the address itself."""

    async def index(_: Request) -> PlainTextResponse:
        paths = [*(f"/{name}" for name in _names(crm)), "/session", "/health"]
        return PlainTextResponse("\n".join([f"Amity {__version__}", *paths, ""]))

    return index


def _health(crm: Crm) -> Callable[[Request], object]:
    async def health(_: Request) -> JSONResponse:
        try:
            await crm.database.read("select 1")
        except DatabaseError:
            return JSONResponse({"status": "database unreachable", "version": __version__}, 503)
        return JSONResponse({"status": "ok", "version": __version__})

    return health


def _names(crm: Crm) -> list[str]:
    """Plugins with routes."""
    return [info.name for info, routes in crm.composition.declarations("routes", crm=crm) if routes]


def _routes(crm: Crm) -> list[BaseRoute]:
    found: list[BaseRoute] = []
    problems: list[str] = []
    for info, routes in crm.composition.declarations("routes", crm=crm):
        if routes and info.name in OWN_PATHS:
            problems.append(f"plugin {info.name!r}: /{info.name} is a path of the CRM itself; rename the plugin")
        for route in routes:
            if isinstance(route, BaseRoute):
                found.append(_under(f"/{info.name}", route))
            else:
                problems.append(
                    f"plugin {info.name!r}: the hook routes returned {route!r}; expected Starlette routes"
                )
    if problems:
        raise CompositionError(problems)
    return found


def _under(prefix: str, route: BaseRoute) -> BaseRoute:
    """The same route below a prefix. ``/`` becomes the prefix itself, which a Mount would redirect to."""
    if isinstance(route, Route):
        methods = None if route.methods is None else sorted(route.methods)
        path = prefix + route.path.rstrip("/")
        return Route(path, route.endpoint, methods=methods, name=route.name)
    if isinstance(route, WebSocketRoute):
        return WebSocketRoute(prefix + route.path.rstrip("/"), route.endpoint, name=route.name)
    if isinstance(route, Mount):
        return Mount(prefix + route.path, app=route.app, name=route.name)
    return Mount(prefix, routes=[route])


def _direct(routes: Sequence[BaseRoute]) -> dict[str, ASGIApp]:
    """By their paths, plugins' routes that are ASGI applications for POST: they answer for themselves."""
    return {
        route.path: route.endpoint
        for route in routes
        if isinstance(route, Route) and route.app is route.endpoint and "POST" in (route.methods or ())
    }


class _Direct:
    """Hands POST requests for some paths to their applications, without looking through all routes for them."""

    def __init__(self, app: ASGIApp, routes: dict[str, ASGIApp]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "POST":
            found = self.routes.get(get_route_path(scope))
        await (found or self.app)(scope, receive, send)


def _allowed(crm: Crm) -> frozenset[str]:
    """The host names that requests are answered under."""
    public = urlsplit(crm.settings.server.public_url or "").netloc.rpartition("@")[2]
    names = {public if public.endswith("]") else public.rsplit(":", 1)[0]} if public else set()
    return LOOPBACK | names | set(crm.settings.server.allowed_hosts)


class _Hosts:
    """Refuses requests for host names that are not ours (DNS rebinding)."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str] | frozenset[str]) -> None:
        self.app = app
        self.allowed = {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _host(scope) not in self.allowed:
            message = "This host name is not answered here; add it to allowed_hosts in [server]\n"
            await PlainTextResponse(message, 421)(scope, receive, send)
        elif scope["type"] == "websocket" and _host(scope) not in self.allowed:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)


def _host(scope: Scope) -> str:
    """The host name that a request is for, without the port."""
    value = next((value for name, value in scope["headers"] if name == b"host"), b"")
    text: str = value.decode("latin-1").lower()
    if text.startswith("["):
        return text[: text.find("]") + 1]
    return text.rsplit(":", 1)[0] if ":" in text else text
