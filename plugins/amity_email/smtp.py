"""Sending by SMTP: one connection for a batch, and for each message what the server said."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import aiosmtplib
from aiosmtplib import SMTP

from amity.messages import Outbound, Refused, Sent
from amity.network import AddressRefused, addresses

from .account import EmailAccount, tls_context
from .compose import LoadedFile, ascii_address, compose, recipients


class NotConnected(Exception):
    """Raised where a server can't be reached or does not let us in. The message says which, and why."""


async def send(account: EmailAccount, messages: Sequence[Outbound]) -> list[Sent | Refused]:
    """Sends messages, in their order. Raises :class:`NotConnected` where none of them left."""
    results: list[Sent | Refused] = []
    client = await connect(account)
    try:
        for message in messages:
            if not client.is_connected:
                try:
                    client = await connect(account)
                except NotConnected as error:
                    left = len(messages) - len(results)
                    return results + [Refused(str(error), permanent=False)] * left
            results.append(await _send(client, account, message))
    finally:
        await leave(client)
    return results


async def connect(account: EmailAccount) -> SMTP:
    """A connection to the account's server, signed in. Raises :class:`NotConnected`."""
    try:
        host, port = account.smtp_at
        sock = await _socket(host, port, account)
    except (AddressRefused, OSError, LookupError, TimeoutError) as error:
        raise NotConnected(f"the SMTP server {account.smtp_host} can't be reached: {_told(error)}") from error
    client = SMTP(
        hostname=host,
        sock=sock,
        local_hostname=account.domain,
        timeout=account.timeout,
        use_tls=account.smtp_security == "tls",
        start_tls=account.smtp_security == "starttls",
        tls_context=None if account.smtp_security == "none" else tls_context(account, host),
    )
    try:
        await client.connect()
        if account.smtp_password is not None:
            password = account.smtp_password.get_secret_value()
            await client.login(account.smtp_username or account.address, password)
    except aiosmtplib.SMTPAuthenticationError as error:
        client.close()
        raise NotConnected(f"the SMTP server {host} does not let us in: {error.code} {error.message}") from error
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        client.close()
        sock.close()
        raise NotConnected(f"the SMTP server {host}: {_told(error)}") from error
    return client


async def _socket(host: str, port: int, account: EmailAccount) -> socket.socket:
    """A socket to one of the host's addresses, which were looked at before."""
    failure: Exception | None = None
    for address in await addresses(host, port, allow_private=account.allow_private):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(account.timeout):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except (OSError, TimeoutError) as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("the name has no address")


async def _send(client: SMTP, account: EmailAccount, message: Outbound) -> Sent | Refused:
    to = recipients(message)
    utf8 = any(ascii_address(address) is None for address in (account.address, *to))
    if utf8 and not client.supports_extension("smtputf8"):
        return Refused("the address has letters beyond ASCII before the @, which the SMTP server does not take")
    limit = _limit(client, account)
    try:
        files = await _loaded(message, limit)
    except _TooLarge:
        return Refused(f"its files have more than the {limit} bytes that the SMTP server takes")
    raw = await asyncio.to_thread(compose, account, message, files, datetime.now(UTC), utf8=utf8)
    if len(raw) > limit:
        return Refused(f"it has {len(raw)} bytes; the SMTP server takes {limit}")
    plain = [address if utf8 else ascii_address(address) or address for address in to]
    sender = account.address if utf8 else ascii_address(account.address) or account.address
    try:
        refused, _ = await client.sendmail(sender, plain, raw, mail_options=["SMTPUTF8"] if utf8 else None)
    except aiosmtplib.SMTPRecipientsRefused as error:
        return _refusal(error.recipients[0])
    except aiosmtplib.SMTPSenderRefused as error:
        # that is about the account, which somebody can mend
        return Refused(f"the sender is refused: {error.code} {error.message}", permanent=False)
    except aiosmtplib.SMTPResponseException as error:
        return _refusal(error)
    except ValueError as error:
        return Refused(f"an address can't be sent to: {error}")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        # whether it left, nobody knows; sent again, it has the same message id
        client.close()
        return Refused(f"the connection to the SMTP server was lost: {_told(error)}", permanent=False)
    if plain[0] in refused:
        code, text = refused[plain[0]].code, refused[plain[0]].message
        return Refused(f"{code} {text}", permanent=code >= 500)
    return Sent()


def _refusal(error: aiosmtplib.SMTPResponseException) -> Refused:
    return Refused(f"{error.code} {error.message}", permanent=error.code >= 500)


def _limit(client: SMTP, account: EmailAccount) -> int:
    """Bytes that a message may have: the server says it (RFC 1870), or the account."""
    greeting = client.last_ehlo_response.message if client.last_ehlo_response is not None else ""
    said = re.search(r"(?im)^size\s+(\d{1,15})\s*$", greeting)
    return min(int(said[1]), account.max_size) if said and int(said[1]) else account.max_size


class _TooLarge(Exception):
    pass


async def _loaded(message: Outbound, limit: int) -> list[LoadedFile]:
    """The files of one message. Raises :class:`_TooLarge` before more is in memory than can be sent."""
    found: list[LoadedFile] = []
    left = limit * 3 // 4  # base64 makes four bytes of three
    if sum(file.size or 0 for file in message.media) > left:
        raise _TooLarge
    for file in message.media:
        data = bytearray()
        stream: AsyncIterator[bytes] = file.open()
        async for chunk in stream:
            data += chunk
            if len(data) > left:
                raise _TooLarge
        left -= len(data)
        found.append(LoadedFile(file, bytes(data)))
    return found


async def leave(client: SMTP) -> None:
    """Ends a connection."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        if client.is_connected:
            await client.quit()
    client.close()


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__


__all__ = ["NotConnected", "connect", "leave", "send"]
