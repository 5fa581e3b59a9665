"""Sign-in over HTTP: who sends a request, and the route ``/session``.

People sign in with e-mail address and password, and are known by a cookie from then on; programs send an API
key. Whoever shows neither is anonymous, and has no rights.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket

from .access import AccessDenied, Principal
from .crm import Crm
from .principals.errors import SignInFailed, TooManyAttempts
from .principals.who import who

log = logging.getLogger("amity.server")
ANONYMOUS = Principal("anonymous")
"""Whoever has not signed in."""
COOKIE = "amity_session"
ROLE = "amity-role"
"""The header that names the one role, of several, to act under."""
MAX_BODY = 10_000
"""Bytes of the body of a sign-in."""
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


async def authenticate(crm: Crm, request: HTTPConnection) -> Principal:
    """Who sends a request: by ``Authorization: Bearer amity_…``, or by the cookie of a sign-in; else anonymous.

    The header ``Amity-Role`` narrows the rights to those of one role. Routes of plugins call this before they do
    anything, and act as whom it returns; where that is denied, the server answers 403, and 401 to the anonymous.
    Raises Starlette's HTTPException, 403, for a role that is not held, and for what another site sends in the
    name of somebody signed in here.
    """
    principal = await _identified(crm, request)
    role = request.headers.get(ROLE)
    if role is not None and principal.kind != "anonymous":
        try:
            principal = principal.under(role)
        except AccessDenied as error:
            raise HTTPException(403, str(error)) from error
    request.state.amity_principal = principal
    return principal


async def denied(request: Any, error: Exception) -> Any:
    """The answer where a route was denied what it did for whoever :func:`authenticate` found.

    A socket is closed (1008).
    """
    if isinstance(request, WebSocket):
        log.warning("a socket of %s was closed: %s", request.url.path, error)
        await request.close(1008)
        return None
    principal = getattr(request.state, "amity_principal", ANONYMOUS)
    return _json({"error": str(error)}, 401 if principal.kind == "anonymous" else 403)


async def _identified(crm: Crm, request: HTTPConnection) -> Principal:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        # a key that is none is not made up for by a cookie: the sender means to act as the key
        return await crm.access.by_key(key.strip()) or ANONYMOUS
    token = request.cookies.get(COOKIE)
    if not token:
        return ANONYMOUS
    _expect_own_page(request)
    return await crm.access.by_session(token) or ANONYMOUS


def _expect_own_page(request: HTTPConnection) -> None:
    """Refuses what pages of others send: browsers add the cookie to it, and say where it comes from.

    Programs that send neither ``Origin`` nor ``Sec-Fetch-Site`` are no browsers, and have no cookies of others.
    """
    if request.scope["type"] == "http" and request.scope["method"] in _SAFE:
        return
    origin = request.headers.get("origin")
    if origin is None:
        foreign = request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    else:
        scheme, _, host = origin.lower().partition("://")
        plain = request.url.scheme in ("https", "wss") and scheme != "https"
        foreign = plain or not host or host != request.headers.get("host", "").lower()
    if foreign:
        raise HTTPException(
            403,
            "this was sent by a page of another site; only pages of this host may use the cookie of a sign-in. "
            "Programs send an API key; a proxy must pass on the header Host",
        )


# --- the route ------------------------------------------------------------------------------------------------


def session(crm: Crm) -> Route:
    """``/session``: POST signs in, GET says who is signed in, DELETE signs out."""
    answers: dict[str, Callable[[Crm, Request], Awaitable[Response]]] = {
        "POST": _sign_in,
        "GET": _who,
        "HEAD": _who,
        "DELETE": _sign_out,
    }

    async def endpoint(request: Request) -> Response:
        try:
            return await answers[request.method](crm, request)
        except HTTPException as error:
            return _json({"error": error.detail}, error.status_code, error.headers)

    return Route("/session", endpoint, methods=["POST", "GET", "DELETE"], name="session")


async def _sign_in(crm: Crm, request: Request) -> Response:
    """A new token each time: one that somebody else had planted in the browser is of no use to them."""
    _expect_own_page(request)
    email, password = await _credentials(request)
    try:
        token = await crm.access.sign_in(email, password, request.headers.get("user-agent", ""))
    except TooManyAttempts as error:
        raise HTTPException(429, str(error), {"retry-after": str(error.seconds)}) from error
    except SignInFailed as error:
        raise HTTPException(401, str(error)) from error
    former = request.cookies.get(COOKIE)
    if former:
        await crm.access.sign_out(former)
    response = Response(status_code=204, headers=_HEADERS)
    _set_cookie(request, response, token)
    return response


async def _who(crm: Crm, request: Request) -> Response:
    found = await who(crm, await authenticate(crm, request))
    return _json(asdict(found))


async def _sign_out(crm: Crm, request: Request) -> Response:
    token = request.cookies.get(COOKIE)
    if token:
        _expect_own_page(request)
        await crm.access.sign_out(token)
    response = Response(status_code=204, headers=_HEADERS)
    _set_cookie(request, response, None)
    return response


def _set_cookie(request: Request, response: Response, token: str | None) -> None:
    """Keeps a token in the browser, or none: out of reach for scripts, and not sent by pages of other sites."""
    response.set_cookie(
        COOKIE,
        token or "",
        max_age=None if token else 0,  # it ends with the browser; the session itself ends earlier, unless used
        path=request.scope.get("root_path") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


async def _credentials(request: Request) -> tuple[str, str]:
    # a form can be sent from any page without asking; JSON can't
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send e-mail address and password as application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes, which is the most that is taken")
    expected = 'expected {"email": "…", "password": "…"}'
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HTTPException(400, f"the body is no JSON; {expected}") from None
    email, password = (value.get("email"), value.get("password")) if isinstance(value, dict) else (None, None)
    if not isinstance(email, str) or not isinstance(password, str):
        raise HTTPException(400, f"the body is no sign-in; {expected}")
    return email, password


def _json(value: object, status: int = 200, headers: object = None) -> Response:
    given = headers if isinstance(headers, dict) else {}
    return Response(orjson.dumps(value), status, {**_HEADERS, **given}, "application/json")


__all__ = ["ANONYMOUS", "COOKIE", "ROLE", "authenticate", "denied", "session"]
