"""Webhooks: what others post to ``/connections/<id>``, handed to the connection's channel as raw bytes.

A request is answered once what it brought is stored. If the channel or the CRM fails on it, its bytes are kept
as ``Undelivered``, so that nothing is lost, and it is answered with 500, so that the sender may try again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..change import ChangeError
from ..database import DatabaseError
from ..entity import InvalidId, decode_id
from ..messages import Forged, Item, RawRequest, Reply
from ..model import Connection, File, Undelivered
from . import text
from .attachments import attach_raw, digest
from .connections import NotUsable, Opened
from .receive import connection_of, deliver, session_of
from .storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from ..crm import Crm, Session

MAX_BODY = 64 * 1024 * 1024
"""Bytes that a request may have: a mail with 25 MB of files has a third more in base64."""
_log = logging.getLogger("amity.messaging")
_NOWHERE = Reply(404, b"There is no such connection\n", "text/plain")


async def receive(crm: Crm, name: str, request: RawRequest) -> Reply:
    """Takes in a request to the connection with this id, ``con_…``, and says what to answer."""
    try:
        opened = await connection_of(crm, decode_id(Connection.options.prefix, name))
    except InvalidId:
        return _NOWHERE
    except NotUsable as problem:
        _log.warning("a request to %s can't be taken in: %s", name, problem)
        return _NOWHERE
    if not opened.row["active"] or not opened.channel.can.receives:
        return _NOWHERE
    try:
        async with asyncio.timeout(opened.channel.timeout):
            items = await opened.channel.receive(opened.connected, request)
    except Forged as forged:
        _log.warning("connection %r: a forged request was refused: %s", opened.row["name"], opened.told(forged))
        return Reply(401, b"This request is not from who it says\n", "text/plain")
    except Exception as error:
        return await _failed(crm, opened, request, error)
    try:
        await deliver(crm, opened.row["id"], items)
    except Exception as error:
        return await _failed(crm, opened, request, error)
    return _answer(opened, request, items)


def _answer(opened: Opened, request: RawRequest, items: Sequence[Item]) -> Reply:
    try:
        return opened.channel.reply(opened.connected, request, items)
    except Exception as error:
        # what came is stored, and sending it again would change nothing
        _log.error("connection %r: its channel can't answer: %s", opened.row["name"], opened.told(error))
        return Reply()


async def _failed(crm: Crm, opened: Opened, request: RawRequest, error: Exception) -> Reply:
    problem = opened.told(f"{type(error).__name__}: {error}")
    _log.error("connection %r: a request can't be taken in: %s", opened.row["name"], problem)
    try:
        await _keep(session_of(crm, opened), opened, request, problem)
    except (DatabaseError, ChangeError, StorageError) as worse:
        _log.error("connection %r: nor can it be kept: %s", opened.row["name"], worse)
    return Reply(500, b"This request could not be taken in\n", "text/plain")


async def _keep(session: Session, opened: Opened, request: RawRequest, problem: str) -> None:
    """Keeps a request, once however often it is sent."""
    reference = f"{request.method} {request.path} sha256:{digest(request.body)}"
    raw = await attach_raw(session.crm, request.body, "request.raw")

    async def work(joined: Session) -> None:
        same = {"connection": {"id": {"eq": opened.row["id"]}}, "reference": {"eq": reference}}
        if await joined.find(Undelivered).where(same).count():
            return
        await joined.create(File, [raw.row(None)], read_only=True)
        row = {
            "connection_id": opened.row["id"],
            "reference": text.clean(reference, 1000),
            "reason": text.clean(problem),
            "file_id": raw.id,
            "occurred_at": joined.unit.now if joined.unit is not None else None,
        }
        await joined.create(Undelivered, [row])

    await session.transact(work)


# --- over HTTP ---------------------------------------------------------------------------------------------


def routes(crm: Crm) -> list[BaseRoute]:
    """The route of webhooks, ``/connections/<id>``."""
    # the server is optional
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def webhook(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return PlainTextResponse(f"A request may have {MAX_BODY} bytes\n", 413)
        public = crm.settings.server.public_url
        path = request.url.path
        told = f"{public.rstrip('/')}{path}" if public else str(request.url.replace(query=""))
        raw = RawRequest(
            method=request.method,
            path=path,
            query=dict(request.query_params),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=bytes(body),
            url=f"{told}?{request.url.query}" if request.url.query else told,
        )
        reply = await receive(crm, request.path_params["id"], raw)
        return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)

    return [Route("/connections/{id}", webhook, methods=["GET", "POST"])]


__all__ = ["MAX_BODY", "receive", "routes"]
