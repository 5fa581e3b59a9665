"""Links by which whoever got a message withdraws consent: a page with a button, or one click (RFC 8058).

Opening the link changes nothing, as mail servers open links to look at them; the button, and the mail program's
own, post to it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..access import Principal
from .consent import EVERYTHING, Ask, read_withdrawal_token, withdraw

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from ..crm import Crm

SOURCE = "the link in a message"
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }}
button {{ font: inherit; padding: .4rem 1.2rem }}</style></head>
<body><h1>{title}</h1><p>{told}</p>{form}</body></html>
"""
_FORM = '<form method="post"><button type="submit">Stop these messages</button></form>'


def routes(crm: Crm) -> list[BaseRoute]:
    """The route of links, ``/unsubscribe/<token>``."""
    # the server is optional
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    def page(title: str, told: str, form: str = "", status: int = 200) -> Response:
        written = _PAGE.format(title=escape(title), told=escape(told), form=form)
        return HTMLResponse(written, status, headers=_HEADERS)

    async def unsubscribe(request: Request) -> Response:
        ask = read_withdrawal_token(crm.settings, request.path_params["token"])
        if ask is None:
            return page("This link does not work", "Part of it may be missing; copy it whole.", status=404)
        if request.method == "POST":
            session = crm.acting_as(Principal("plugin", "core"), origin="unsubscribe")
            await withdraw(session, ask, SOURCE)
            return page("Done", f"You will get no more {_what(ask)} from us.")
        return page("Unsubscribe", f"You can stop {_what(ask)} from us.", _FORM)

    return [Route("/unsubscribe/{token}", unsubscribe, methods=["GET", "POST"])]


def _what(ask: Ask) -> str:
    kind = "messages" if ask.purpose == EVERYTHING else f"{ask.purpose.replace('_', ' ')} messages"
    return f"{kind} at {ask.address}" if ask.address else kind


__all__ = ["routes"]
