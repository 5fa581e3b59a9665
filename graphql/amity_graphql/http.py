"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http): POST of JSON; GET serves the explorer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from graphql import GraphQLError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from amity.access import Principal
from amity.signin import authenticate

from . import api, assets, execution, graphiql, persisted
from .errors import BAD_USER_INPUT, NOT_ALLOWED, UNAUTHENTICATED, coded, told
from .execution import Result
from .parts import GraphQLContext
from .persisted import Asked
from .settings import GraphQLSettings

if TYPE_CHECKING:
    from amity.crm import Crm

log = logging.getLogger("amity.graphql")
JSON = "application/json"
RESPONSE = "application/graphql-response+json"
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_RAW = {
    media: [
        *((name.encode(), value.encode()) for name, value in _HEADERS.items()),
        (b"content-type", f"{media}; charset=utf-8".encode()),
    ]
    for media in (JSON, RESPONSE)
}


class BadRequest(Exception):
    """Raised for a request that is no GraphQL request; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Operation:
    """The parameters of a GraphQL request."""

    asked: Asked
    variables: Mapping[str, Any] | None
    name: str | None
    tells_cost: bool = False
    """Whether the answer is to tell what it costs: ``{"extensions": {"cost": true}}``."""


def routes(crm: Crm, settings: GraphQLSettings) -> list[BaseRoute]:
    """``/`` for operations and the explorer, ``/static`` for the explorer's files."""
    found: list[BaseRoute] = [Route("/", Endpoint(crm, settings), methods=["GET", "POST"], name="graphql")]
    if settings.graphiql and assets.complete():
        found.append(Mount("/static", StaticFiles(directory=assets.FOLDER), name="graphql-static"))
    return found


class Endpoint:
    """Operations and the explorer, as an ASGI application: what is answered by a plan is written as it comes."""

    def __init__(self, crm: Crm, settings: GraphQLSettings) -> None:
        self._crm = crm
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["method"] != "POST":
            await _explorer(self._crm, request, self._settings)(scope, receive, send)
            return
        media = JSON
        try:
            media = accepted(request.headers.get("accept"))
            principal = await authenticate(self._crm, request)
            operation = read(await _body(request, receive, self._settings), self._settings)
        except ClientDisconnect:
            return  # there is nobody to answer
        except BadRequest as error:
            problem = coded(GraphQLError(str(error)), BAD_USER_INPUT)
            await _send(send, *_encoded(Result(errors=(problem,), ran=False), error.status), media)
            return
        except HTTPException as error:
            problem = coded(GraphQLError(error.detail), NOT_ALLOWED)
            await _send(send, *_encoded(Result(errors=(problem,), ran=False), error.status_code), media)
            return
        result = await _run(self._crm, principal, request, operation)
        await _send(send, *_encoded(result, _status(result) if media == RESPONSE else 200), media)


def _encoded(result: Result, status: int) -> tuple[bytes, int]:
    try:
        return result.encode(), status
    except TypeError as error:
        return Result(errors=(told(error),), ran=False).encode(), 500


async def _send(send: Send, body: bytes, status: int, media: str) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_RAW[media], length]})
    await send({"type": "http.response.body", "body": body})


def _status(result: Result) -> int:
    if result.ran:
        return 200
    codes = {(error.extensions or {}).get("code") for error in result.errors}
    return 401 if UNAUTHENTICATED in codes else 400


async def _run(crm: Crm, principal: Principal, request: Request, operation: Operation) -> Result:
    schema, documents = api.built(crm)
    session = crm.acting_as(principal, origin="graphql")
    text = documents.text(operation.asked)
    if isinstance(text, GraphQLError):
        return Result(errors=(text,), ran=False)
    context = GraphQLContext(crm, session, schema, request, spliced=True)
    result = await execution.execute(context, documents, text, operation.variables, operation.name)
    if operation.tells_cost:
        cost = documents.cost(text, operation.name, operation.variables)
        result = replace(result, extensions={"cost": cost or None}, body=None)
    return result


def _explorer(crm: Crm, request: Request, settings: GraphQLSettings) -> Response:
    wants = request.headers.get("accept", "")
    if settings.graphiql and "text/html" in wants:
        session = f"{request.scope.get('root_path', '')}/session"
        schema = api.built(crm)[0].graphql
        found = graphiql.explorer(request.url.path.rstrip("/"), session, schema, settings.sign_ins)
        headers = {**_HEADERS, "x-frame-options": "DENY", "content-security-policy": found.policy}
        return HTMLResponse(found.page, headers=headers)
    problem = coded(GraphQLError("send operations by POST, as JSON"), BAD_USER_INPUT)
    body = Result(errors=(problem,), ran=False).encode()
    return Response(body, 405, {**_HEADERS, "content-type": f"{JSON}; charset=utf-8", "allow": "POST"})


# --- reading a request ----------------------------------------------------------------------------------------


def accepted(accept: str | None) -> str:
    """The media type to answer in. Raises BadRequest where none of ours is accepted."""
    if accept is None or accept in ("*/*", JSON) or not accept.strip():
        return JSON
    best, quality = "", 0.0
    for part in accept.split(","):
        name, *parameters = (item.strip().lower() for item in part.split(";"))
        weight = next((_quality(item[2:]) for item in parameters if item.startswith("q=")), 1.0)
        ours = {RESPONSE: RESPONSE, JSON: JSON, "application/*": JSON, "*/*": JSON}.get(name)
        if ours is not None and weight > quality:
            best, quality = ours, weight
    if not best:
        raise BadRequest(406, f"answers are {RESPONSE} or {JSON}; accept one of them")
    return best


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


async def _body(request: Request, receive: Receive, settings: GraphQLSettings) -> bytes:
    """The body, if it is JSON and not too large. Raises BadRequest, and ClientDisconnect."""
    # a form or a plain text can be sent from any page without asking; JSON can't
    given = request.headers.get("content-type", "")
    if given != JSON:
        name, *parameters = (item.strip().lower() for item in given.split(";"))
        charsets = [item.removeprefix("charset=").strip('"') for item in parameters if item.startswith("charset=")]
        if name != JSON or any(charset not in ("utf-8", "utf8") for charset in charsets):
            raise BadRequest(415, f"send the operation as {JSON} in UTF-8")
    most = settings.max_body
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > most:
            raise BadRequest(413, f"the body is larger than {most} bytes, which is the most that is taken")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read(body: bytes, settings: GraphQLSettings) -> Operation:
    """The GraphQL request in a body. Raises BadRequest."""
    too_deep = f"the JSON is nested deeper than {settings.max_json_depth} levels, which is the most that is taken"
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "recursion" in str(error) or "depth" in str(error):
            raise BadRequest(400, too_deep) from None
        raise BadRequest(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest(400, 'the body is no GraphQL request; expected a JSON object like {"query": "{ … }"}')
    if _deeper(value, settings.max_json_depth):
        raise BadRequest(400, too_deep)
    for key, kind, expected in (
        ("variables", dict, "an object"),
        ("operationName", str, "a text"),
        ("extensions", dict, "an object"),
    ):
        if value.get(key) is not None and not isinstance(value[key], kind):
            raise BadRequest(400, f"{key} is {type(value[key]).__name__}; expected {expected}")
    try:
        asked = persisted.asked(value)
    except ValueError as error:
        raise BadRequest(400, str(error)) from None
    tells_cost = (value.get("extensions") or {}).get("cost") is True
    return Operation(asked, value.get("variables"), value.get("operationName") or None, tells_cost)


def _deeper(value: Any, most: int) -> bool:
    """Whether objects and lists are nested deeper than ``most``; without recursion, as depth is the danger."""
    level = [value]
    for _ in range(most):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(item.values())
            elif isinstance(item, list):
                following.extend(item)
        if not following:
            return False
        level = following
    return any(isinstance(item, (dict, list)) for item in level)
