"""What the widget asks the server for: itself, and a socket."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from amity import Connection
from amity.entity import encode_id

from .hub import Hub
from .socket import connection_id, serve
from .widget import script

KEPT = 300
"""Seconds that browsers keep the widget before they ask whether it has changed."""


def routes(hub: Hub) -> Sequence[BaseRoute]:
    """``/webchat/con_…/widget.js`` and ``/webchat/con_…/socket``."""

    async def widget(request: Request) -> Response:
        id = connection_id(request.path_params["connection"])
        opened = await hub.account(id) if id is not None else None
        if opened is None:
            return PlainTextResponse("There is no such web chat, or it is switched off\n", 404)
        connection = encode_id(Connection.options.prefix, opened.connected.id)
        settings = hub.settings
        made = script(
            connection, opened.connected.settings, heartbeat=settings.heartbeat, longest=settings.max_length
        )
        headers = {
            "cache-control": f"public, max-age={KEPT}",
            "etag": made.tag,
            # any page may load it; who may chat is decided at the socket
            "cross-origin-resource-policy": "cross-origin",
            "access-control-allow-origin": "*",
            "x-content-type-options": "nosniff",
        }
        if request.headers.get("if-none-match") == made.tag:
            return Response(status_code=304, headers=headers)
        return Response(made.text, media_type="text/javascript; charset=utf-8", headers=headers)

    async def socket(websocket: WebSocket) -> None:
        await serve(hub, websocket)

    return [
        Route("/{connection}/widget.js", widget, methods=["GET"]),
        WebSocketRoute("/{connection}/socket", socket),
    ]
