"""Messages go to the gateway, each in a request of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from amity import Outbound, Refused, Sent
from amity.network import AddressRefused
from amity.outbound import client

from .account import PLACEHOLDER, SmsAccount
from .receiving import at
from .segments import segments

AT_ONCE = 8
"""Requests to one gateway at the same time."""
MAX_ANSWER = 100_000
"""Bytes of an answer that are read."""
MAX_REDIRECTS = 3
RETRIED = frozenset((401, 402, 403, 407, 408, 409, 423, 425, 429))
"""Refusals that end when somebody mends the account, or by themselves; like all from 500 on."""


async def send(account: SmsAccount, webhook: str | None, messages: Sequence[Outbound]) -> list[Sent | Refused]:
    """What became of each message, in their order. ``webhook`` is where receipts are to be posted."""
    turn = asyncio.Semaphore(AT_ONCE)
    async with client(allow_private=account.allow_private, timeout=account.timeout) as http:

        async def one(message: Outbound) -> Sent | Refused:
            async with turn:
                return await _send(account, webhook, http, message)

        return list(await asyncio.gather(*map(one, messages)))


async def _send(
    account: SmsAccount, webhook: str | None, http: httpx2.AsyncClient, message: Outbound
) -> Sent | Refused:
    text = message.body or ""
    refusal = _unfit(account, message, text)
    if refusal is not None:
        return refusal
    given = {
        "sender": account.sender,
        "to": message.address,
        "text": text,
        "message_id": message.message_id,
        "webhook": webhook or "",
    }
    filled = {name: _filled(template, given) for name, template in account.fields.items()}
    body = {name: value for name, value in filled.items() if value}
    form = account.body == "form"
    try:
        async with http.stream(
            "POST",
            account.url,
            headers={account.idempotency_header: message.message_id, **_signed_in(account)},
            auth=_auth(account),
            data=body if form else None,
            json=None if form else body,
        ) as response:
            answer = await _read(response)
    except AddressRefused as error:
        return Refused(str(error), permanent=False)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        # ValueError: a header can't hold the password or the id, say
        reason = str(error) or type(error).__name__
        return Refused(f"the gateway {_host(account.url)} can't be reached: {reason}", permanent=False)
    if response.is_success:
        id = at(answer, account.id_path)
        return Sent(message_id=str(id) if id is not None and id != "" else None)
    reason = at(answer, account.error_path)
    told = f"the gateway answered {response.status_code}" + (f": {str(reason)[:500]}" if reason else "")
    temporary = response.status_code >= 500 or response.status_code in RETRIED or response.is_redirect
    return Refused(told, permanent=not temporary)


def _unfit(account: SmsAccount, message: Outbound, text: str) -> Refused | None:
    if not message.address.removeprefix("+").isdecimal():
        return Refused(f"{message.address!r} is the name of a sender, which nobody can answer")
    if message.media:
        return Refused("text messages carry no files; send a link instead")
    if not text.strip():
        return Refused("a text message needs a text")
    parts = len(segments(text).parts)
    if parts > account.max_segments:
        return Refused(f"the text takes {parts} segments; the account allows {account.max_segments}")
    return None


def _filled(template: str, given: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: given[found[1]], template)


def _signed_in(account: SmsAccount) -> dict[str, str]:
    if account.auth == "bearer" and account.password is not None:
        return {"Authorization": f"Bearer {account.password.get_secret_value()}"}
    return {}


def _auth(account: SmsAccount) -> httpx2.Auth | None:
    if account.auth == "basic" and account.password is not None:
        return httpx2.BasicAuth(account.username or "", account.password.get_secret_value())
    return None


async def _read(response: httpx2.Response) -> Any:
    """The JSON of an answer; None if it is none, or too long."""
    read = bytearray()
    async for chunk in response.aiter_bytes():
        read += chunk
        if len(read) > MAX_ANSWER:
            return None
    try:
        return json.loads(bytes(read))
    except (ValueError, RecursionError):
        return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


async def media(account: SmsAccount, reference: str) -> AsyncIterator[bytes]:
    """The bytes of a file that came with a message. Raises httpx2's errors, and AddressRefused.

    The account's password goes to the gateway's own host alone, not to where it may redirect.
    """
    url = reference
    async with client(allow_private=account.allow_private, timeout=account.timeout) as http:
        for _ in range(MAX_REDIRECTS + 1):
            own = urlsplit(url)[:2] == urlsplit(account.url)[:2]
            headers, auth = (_signed_in(account), _auth(account)) if own else ({}, None)
            async with http.stream("GET", url, headers=headers, auth=auth) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers.get("location", ""))
                    continue
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    yield chunk
                return
    raise httpx2.TooManyRedirects(f"{reference} redirects more than {MAX_REDIRECTS} times")
