"""Fetching by IMAP: what is new in a mailbox's folders, page by page, and waiting for more (IDLE, RFC 2177).

The library blocks, so its calls run in threads of their own; while a mailbox is listened to, no thread waits.
Nothing is changed in the mailbox: folders are opened read-only, and messages stay unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from amity.messages import Item, Unreadable
from amity.network import AddressRefused, addresses

from .account import EmailAccount, tls_context
from .parse import parse

T = TypeVar("T")
PAGE = 50
"""Messages of one page at most."""
PAGE_BYTES = 8_000_000
"""Bytes after which a page ends."""
REFRESH = 25 * 60.0
"""Seconds after which waiting is begun anew; servers end it after half an hour."""
_threads = ThreadPoolExecutor(16, thread_name_prefix="amity-imap")


class MailboxError(Exception):
    """Raised where a mailbox can't be opened or read. The message says which, and why."""


@dataclass(frozen=True)
class Place:
    """How far a folder was read: the last UID, which means something as long as the validity is the same."""

    validity: int
    uid: int


Cursor = dict[str, Place]


def read_cursor(text: str | None) -> Cursor:
    """Places by folder. A cursor that makes no sense is the beginning: what is read twice is known."""
    try:
        told = json.loads(text or "{}")
        return {folder: Place(int(validity), int(uid)) for folder, (validity, uid) in told.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def write_cursor(cursor: Cursor) -> str:
    """The text of places by folder."""
    return json.dumps({folder: [place.validity, place.uid] for folder, place in sorted(cursor.items())})


class Mailbox:
    """A connection to an IMAP server. Its calls run in threads, one at a time."""

    def __init__(self, account: EmailAccount, client: IMAPClient) -> None:
        self.account = account
        self._client = client
        self._polite = True
        """Whether the server still waits for commands, so that one can sign out."""

    @classmethod
    async def open(cls, account: EmailAccount) -> Mailbox:
        """Connects and signs in. Raises :class:`MailboxError`."""
        try:
            host, port = account.imap_at
            found = await addresses(host, port, allow_private=account.allow_private)
        except (AddressRefused, OSError, LookupError) as error:
            raise MailboxError(f"the IMAP server {account.imap_host} can't be reached: {error}") from error
        failure: Exception | None = None
        for address in found:
            try:
                return cls(account, await _run(partial(_connected, account, host, address, port), late=_drop))
            except OSError as error:  # nothing was said yet, so the next address may answer
                failure = error
            except IMAPClientError as error:
                raise MailboxError(f"the IMAP server {host} does not let us in: {error}") from error
        raise MailboxError(f"the IMAP server {host} can't be reached: {failure}") from failure

    async def folder(self, name: str) -> Mapping[bytes, Any]:
        """Opens a folder for reading; what the server says of it. Raises :class:`MailboxError`."""
        told: Mapping[bytes, Any] = await self._call(
            f"open the folder {name!r}", partial(self._client.select_folder, name, readonly=True)
        )
        if b"UIDVALIDITY" not in told:
            raise MailboxError(
                f"the IMAP server {self.account.imap_host} does not number the messages of {name!r}"
            )
        return told

    async def can_idle(self) -> bool:
        """Whether the server tells of new messages by itself."""
        found: bool = await self._call("ask what it can do", partial(self._client.has_capability, "IDLE"))
        return found

    async def uids(self, after: int) -> list[int]:
        """UIDs of the open folder's messages behind that one, in their order."""
        criteria: list[Any] = ["UID", f"{after + 1}:*"]
        if after == 0 and self.account.imap_since is not None:
            criteria += ["SINCE", self.account.imap_since]
        found = await self._call("search", partial(self._client.search, criteria))
        # the last message is always in n:*
        return sorted({int(uid) for uid in found if int(uid) > after})

    async def fetch(self, uids: Sequence[int], *what: str) -> Mapping[int, Mapping[bytes, Any]]:
        """Data of messages by UID; those that are gone are missing."""
        found: Mapping[int, Mapping[bytes, Any]] = await self._call(
            "read messages", partial(self._client.fetch, list(uids), list(what))
        )
        return found

    async def ping(self) -> None:
        """Asks for nothing. Raises :class:`MailboxError` where the connection is lost."""
        await self._call("say that it is there", self._client.noop)

    async def wait(self, seconds: float) -> None:
        """Waits until the server tells of something, but no longer than that; it may be shorter."""
        self._polite = False
        await self._call("wait", self._client.idle)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _readable(self._client.socket())
                # nothing to read is the end of the connection, which asking for more shows
                await self._call("wait", partial(self._client.idle_check, timeout=0))
        await self._call("end waiting", self._client.idle_done)
        self._polite = True

    async def close(self) -> None:
        """Signs out, if the server still listens, and ends the connection."""
        if self._polite:
            with contextlib.suppress(MailboxError):
                await self._call("sign out", self._client.logout)
        _drop(self._client)

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        try:
            return await _run(call, late=lambda _: None, end=self._cut)
        except (IMAPClientError, OSError, ssl.SSLError, ValueError) as error:
            self._polite = self._polite and not isinstance(error, (IMAPClientAbortError, OSError))
            host = self.account.imap_host
            told = str(error) or type(error).__name__
            raise MailboxError(f"the IMAP server {host}, asked to {what}: {told}") from error

    def _cut(self) -> None:
        """Has a thread that waits for the server come back."""
        self._polite = False
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._client.socket(), socket.SHUT_RDWR)


def _connected(account: EmailAccount, host: str, address: str, port: int) -> IMAPClient:
    context = tls_context(account, host)
    client = IMAPClient(
        address,
        port,
        ssl=account.imap_security == "tls",
        ssl_context=context if account.imap_security == "tls" else None,
        timeout=account.timeout,
    )
    client.normalise_times = False  # times keep their zone
    try:
        if account.imap_security == "starttls":
            client.starttls(context)
        password = account.imap_password.get_secret_value() if account.imap_password else ""
        client.login(account.imap_username or account.address, password)
    except BaseException:
        _drop(client)
        raise
    return client


def _drop(client: IMAPClient) -> None:
    with contextlib.suppress(Exception):
        client.shutdown()


async def _run(call: Callable[[], T], *, late: Callable[[T], None], end: Callable[[], None] | None = None) -> T:
    """Calls in a thread. When the caller is cancelled, ``end`` is to end the call, or ``late`` gets its result."""
    work = asyncio.get_running_loop().run_in_executor(_threads, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if end is not None:
            end()
            await asyncio.wait([work])
        work.add_done_callback(partial(_handed, late))
        raise


def _handed(late: Callable[[T], None], work: asyncio.Future[T]) -> None:
    if not work.cancelled() and work.exception() is None:
        late(work.result())


async def _readable(sock: Any) -> None:
    """Waits until bytes arrive."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(sock.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(sock.fileno())


# --- fetching ----------------------------------------------------------------------------------------------


async def fetch(account: EmailAccount, cursor: str | None) -> AsyncIterator[tuple[Sequence[Item], str]]:
    """Pages of what is new since ``cursor``, each with the cursor after it. Raises :class:`MailboxError`."""
    places = read_cursor(cursor)
    mailbox = await Mailbox.open(account)
    try:
        for number, folder in enumerate(_folders(account)):
            told = await mailbox.folder(folder)
            validity = int(told[b"UIDVALIDITY"])
            place = places.get(folder)
            if place is None or place.validity != validity:
                # the server numbered its messages anew; those that are known will be found to be
                place = Place(validity, 0)
            uids = await mailbox.uids(place.uid)
            while uids:
                items, read = await _page(mailbox, f"{folder};UIDVALIDITY={validity}", uids, sent=number > 0)
                places[folder] = Place(validity, uids[read - 1])
                uids = uids[read:]
                yield items, write_cursor(places)
    finally:
        await mailbox.close()


async def _page(mailbox: Mailbox, folder: str, uids: Sequence[int], *, sent: bool) -> tuple[list[Item], int]:
    """Items of the first messages, and how many messages they were."""
    account = mailbox.account
    heads = await mailbox.fetch(uids[:PAGE], "RFC822.SIZE", "INTERNALDATE")
    sizes = {uid: int(head.get(b"RFC822.SIZE", 0)) for uid, head in heads.items()}
    read = _fitting(uids[:PAGE], sizes, account.max_size)
    fine = [uid for uid in uids[:read] if uid in sizes and sizes[uid] <= account.max_size]
    raws = await _raws(mailbox, fine)
    items: list[Item] = []
    for uid in uids[:read]:
        reference = f"{folder}/;UID={uid}"
        if uid not in sizes:
            continue  # gone since it was found
        if uid not in fine:
            reason = (
                f"it has {sizes[uid]} bytes, and at most {account.max_size} are taken; it is still in the mailbox"
            )
            head = await mailbox.fetch([uid], "BODY.PEEK[HEADER]")
            items.append(Unreadable(reference, reason, head.get(uid, {}).get(b"BODY[HEADER]")))
            continue
        raw = raws.get(uid)
        if isinstance(raw, MailboxError):
            items.append(Unreadable(reference, f"{raw}; it is still in the mailbox"))
        elif raw is not None:
            at = heads[uid].get(b"INTERNALDATE")
            at = at.astimezone(UTC) if isinstance(at, datetime) else None
            work = partial(parse, raw, reference=reference, own=account.own, sent=sent, received_at=at)
            items += await asyncio.to_thread(work)
    return items, read


def _fitting(uids: Sequence[int], sizes: Mapping[int, int], largest: int) -> int:
    """How many of the messages one page takes: at least one."""
    total = 0
    for count, uid in enumerate(uids):
        size = sizes.get(uid, 0)
        total += size if size <= largest else 0
        if total > PAGE_BYTES and count:
            return count
    return len(uids)


async def _raws(mailbox: Mailbox, uids: Sequence[int]) -> dict[int, bytes | MailboxError]:
    """The bytes of messages, or what the server says of one that it can't read itself."""
    if not uids:
        return {}
    try:
        found = await mailbox.fetch(uids, "BODY.PEEK[]")
    except MailboxError as error:
        await mailbox.ping()
        if len(uids) == 1:
            return {uids[0]: error}
        # one broken message must not keep the others
        return {uid: raw for one in uids for uid, raw in (await _raws(mailbox, [one])).items()}
    return {uid: bytes(data[b"BODY[]"]) for uid, data in found.items() if data.get(b"BODY[]") is not None}


async def listen(account: EmailAccount, known: Place | None) -> Place:
    """Where the mailbox ends, as soon as that is elsewhere than was known. Raises :class:`MailboxError`."""
    mailbox = await Mailbox.open(account)
    try:
        while True:
            now = await _end(mailbox)
            if now != known:
                return now
            if not await mailbox.can_idle():
                break
            # what came between two waits is not told by every server, so it is looked for after each
            await mailbox.wait(REFRESH)
    finally:
        await mailbox.close()
    # what cannot be waited for is fetched by the clock
    await asyncio.sleep(REFRESH)
    return now


async def _end(mailbox: Mailbox) -> Place:
    told = await mailbox.folder(mailbox.account.imap_folder)
    return Place(int(told[b"UIDVALIDITY"]), int(told.get(b"UIDNEXT", told.get(b"EXISTS", 0))))


async def check(account: EmailAccount) -> None:
    """Opens the account's folders. Raises :class:`MailboxError`."""
    mailbox = await Mailbox.open(account)
    try:
        for folder in _folders(account):
            await mailbox.folder(folder)
    finally:
        await mailbox.close()


def _folders(account: EmailAccount) -> list[str]:
    found = (account.imap_folder, account.imap_sent_folder)
    return list(dict.fromkeys(folder for folder in found if folder is not None))


__all__ = ["Mailbox", "MailboxError", "Place", "check", "fetch", "listen", "read_cursor", "write_cursor"]
