"""Fetching and listening, from real IMAP servers: Dovecot where it is installed, a small one everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from amity import Connection, Inbound, Interaction, Item, Undelivered, Unreadable
from amity.messaging.fetch import ConnectionToFetch
from amity_email import EmailAccount, imap
from tests.certificates import certificates
from tests.conftest import MakeCrm
from tests.email_corpus.build import MAILBOX, envelope, message
from tests.email_office import office
from tests.imap_servers import DOVECOT, Mailboxes, dovecot, small_server

needs_dovecot = pytest.mark.skipif(DOVECOT is None, reason="dovecot-imapd is not installed")


@pytest.fixture(params=["small", pytest.param("dovecot", marks=needs_dovecot)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Mailboxes]:
    async with AsyncExitStack() as stack:
        if request.param == "small":
            yield await stack.enter_async_context(small_server())
        else:
            yield await stack.enter_async_context(dovecot())


def account(server: Mailboxes, **more: Any) -> EmailAccount:
    return EmailAccount(address=MAILBOX, **{**server.account, **more})


def mail(name: str, body: str = "hello", **more: Any) -> bytes:
    return message(envelope(f"{name}.imap@kunde.example", subject=name, **more), body)


async def fetched(of: EmailAccount, cursor: str | None = None) -> tuple[list[Item], str | None, int]:
    """All items, the last cursor, and how many pages they were."""
    items: list[Item] = []
    pages = 0
    async for page, reached in imap.fetch(of, cursor):
        items += page
        pages += 1
        cursor = reached
    return items, cursor, pages


def subjects(items: Sequence[Item]) -> list[str | None]:
    return [item.subject for item in items if isinstance(item, Inbound)]


async def test_what_is_new_is_fetched_once(server: Mailboxes) -> None:
    of = account(server)
    assert await fetched(of) == ([], None, 0)
    await server.put("Support", mail("one"))
    await server.put("Support", mail("two"))
    items, cursor, _ = await fetched(of)
    assert subjects(items) == ["one", "two"]
    assert (await fetched(of, cursor))[0] == []
    await server.put("Support", mail("three"))
    items, cursor, _ = await fetched(of, cursor)
    assert subjects(items) == ["three"]
    # nothing is changed in the mailbox, so it can be read from the beginning by anybody
    assert subjects((await fetched(of))[0]) == ["one", "two", "three"]
    assert subjects((await fetched(of, "no cursor at all"))[0]) == ["one", "two", "three"]


async def test_sent_messages_are_fetched_as_such(server: Mailboxes) -> None:
    of = account(server, imap_sent_folder="Sent")
    await server.put("Support", mail("question"))
    await server.put("Sent", mail("answer", sender=MAILBOX, to="anna@kunde.example"))
    items, cursor, _ = await fetched(of)
    told = [(item.subject, item.direction, item.address) for item in items if isinstance(item, Inbound)]
    assert told == [
        ("question", "inbound", "anna@kunde.example"),
        ("answer", "outbound", "anna@kunde.example"),
    ]
    assert (await fetched(of, cursor))[0] == []


async def test_it_comes_in_pages_that_are_not_large(server: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "PAGE", 3)
    monkeypatch.setattr(imap, "PAGE_BYTES", 30_000)
    bodies = ["x", "x", "x", "x", "x" * 20_000, "x" * 20_000, "x"]
    for number, body in enumerate(bodies):
        await server.put("Support", mail(f"no{number}", body))
    of = account(server)
    sizes, cursors = [], []
    async for page, cursor in imap.fetch(of, None):
        sizes.append(len(page))
        cursors.append(cursor)
    assert sizes == [3, 2, 2]
    # every page's cursor is a place to go on from
    assert subjects((await fetched(of, cursors[0]))[0]) == ["no3", "no4", "no5", "no6"]
    assert subjects((await fetched(of, cursors[1]))[0]) == ["no5", "no6"]


async def test_what_is_too_large_is_told_and_stays_there(server: Mailboxes) -> None:
    await server.put("Support", mail("small"))
    await server.put("Support", mail("large", "x" * 30_000))
    await server.put("Support", mail("next"))
    items, cursor, _ = await fetched(account(server, max_size=20_000))
    assert subjects(items) == ["small", "next"]
    (kept,) = [item for item in items if isinstance(item, Unreadable)]
    assert kept.reference.startswith("Support;UIDVALIDITY=")
    assert kept.reference.endswith("/;UID=2")
    assert "at most 20000 are taken; it is still in the mailbox" in kept.reason
    assert kept.raw is not None
    assert b"Subject: large" in kept.raw
    assert len(kept.raw) < 1_000
    assert (await fetched(account(server, max_size=20_000), cursor))[0] == []


async def test_a_folder_that_was_numbered_anew_is_read_again(server: Mailboxes) -> None:
    of = account(server)
    for name in ("one", "two", "three"):
        await server.put("Support", mail(name))
    before, cursor, _ = await fetched(of)
    await server.renumber("Support")
    await server.put("Support", mail("four"))
    after, _, _ = await fetched(of, cursor)
    assert sorted(map(str, subjects(after))) == ["four", "one", "three", "two"]
    ids = {item.message_id for item in before if isinstance(item, Inbound)}
    assert ids < {item.message_id for item in after if isinstance(item, Inbound)}


async def test_listening_ends_when_a_message_arrives(server: Mailboxes) -> None:
    of = account(server)
    known = await asyncio.wait_for(imap.listen(of, None), 5)
    waiting = asyncio.create_task(imap.listen(of, known))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    start = time.perf_counter()
    await server.put("Support", mail("news"))
    place = await asyncio.wait_for(waiting, 5)
    assert time.perf_counter() - start < 3
    assert place != known
    # what arrived while nobody listened is known at once
    await server.put("Support", mail("more"))
    assert await asyncio.wait_for(imap.listen(of, place), 5) not in (place, known)


async def test_listening_does_not_block_the_loop_and_can_be_ended(server: Mailboxes) -> None:
    of = account(server)
    known = await imap.listen(of, None)
    many = [asyncio.create_task(imap.listen(of, known)) for _ in range(5)]
    start = time.perf_counter()
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert time.perf_counter() - start < 2
    for task in many:
        task.cancel()
    done = await asyncio.wait_for(asyncio.gather(*many, return_exceptions=True), 5)
    assert all(isinstance(each, asyncio.CancelledError) for each in done)


async def test_a_server_that_restarts_is_told_and_found_again(server: Mailboxes) -> None:
    of = account(server)
    await server.put("Support", mail("one"))
    known = await imap.listen(of, None)
    waiting = asyncio.create_task(imap.listen(of, known))
    await asyncio.sleep(0.3)
    await server.restart()
    with pytest.raises(imap.MailboxError, match=r"the IMAP server 127\.0\.0\.1"):
        await asyncio.wait_for(waiting, 5)
    assert subjects((await fetched(of))[0]) == ["one"]


async def test_waiting_is_begun_anew_before_the_server_ends_it(
    server: Mailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "REFRESH", 0.1)
    of = account(server)
    waiting = asyncio.create_task(imap.listen(of, await imap.listen(of, None)))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    await server.put("Support", mail("news"))
    await asyncio.wait_for(waiting, 5)


async def test_problems_are_told_in_words(server: Mailboxes) -> None:
    with pytest.raises(imap.MailboxError, match="does not let us in"):
        await fetched(account(server, imap_password="wrong"))
    with pytest.raises(imap.MailboxError, match="open the folder 'Nowhere'"):
        await fetched(account(server, imap_folder="Nowhere"))
    with pytest.raises(imap.MailboxError, match="not on the public internet"):
        await fetched(account(server, allow_private=False, imap_security="tls"))
    with pytest.raises(imap.MailboxError, match=r"can't be reached"):
        await fetched(account(server, imap_port=1))
    await imap.check(account(server))


async def test_a_message_that_the_server_can_not_read_keeps_no_other() -> None:
    async with small_server() as server:
        for number in range(4):
            await server.put("Support", mail(f"no{number}"))
        server.broken = {3}
        items, cursor, _ = await fetched(account(server))
        assert subjects(items) == ["no0", "no1", "no3"]
        (broken,) = [item for item in items if isinstance(item, Unreadable)]
        assert "internal error" in broken.reason
        assert broken.reference.endswith("UID=3")
        assert (await fetched(account(server), cursor))[0] == []


async def test_a_server_without_idle_is_asked_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "REFRESH", 0.2)
    async with small_server(idles=False) as server:
        known = await imap.listen(account(server), None)
        start = time.perf_counter()
        assert await imap.listen(account(server), known) == known
        assert time.perf_counter() - start >= 0.2
        assert not [command for command in server.commands if command == "IDLE"]


@needs_dovecot
async def test_nothing_before_a_day_is_fetched() -> None:
    async with dovecot() as server:
        await server.put("Support", mail("today"))
        today = datetime.now(UTC).date()
        assert subjects((await fetched(account(server, imap_since=today - timedelta(days=1))))[0]) == ["today"]
        assert (await fetched(account(server, imap_since=today + timedelta(days=2))))[0] == []
        assert (await fetched(account(server, imap_since=date(2020, 1, 1))))[2] == 1


@needs_dovecot
async def test_certificates_are_checked(tmp_path: Path) -> None:
    certificate, key, authority = certificates(tmp_path)
    async with dovecot((certificate, key)) as server:
        await server.put("Support", mail("secret"))
        for more in ({"imap_security": "starttls"}, {"imap_security": "tls", "imap_port": server.tls_port}):
            trusted = account(server, **{**more, "imap_host": "localhost", "certificate_authority": authority})
            assert subjects((await fetched(trusted))[0])[0] == "secret"
            known = await imap.listen(trusted, None)
            waiting = asyncio.create_task(imap.listen(trusted, known))
            await asyncio.sleep(0.3)
            await server.put("Support", mail("secret"))
            await asyncio.wait_for(waiting, 5)
            with pytest.raises(imap.MailboxError, match="certificate verify failed"):
                await fetched(account(server, **{**more, "imap_host": "localhost"}))
            with pytest.raises(imap.MailboxError, match="certificate"):
                await fetched(account(server, **{**more, "certificate_authority": authority}))


# --- through the CRM ---------------------------------------------------------------------------------------


async def test_a_mailbox_is_fetched_into_conversations(
    server: Mailboxes, make_crm: MakeCrm, tmp_path: Path
) -> None:
    await server.put("Support", mail("question"))
    await server.put("Support", b"no mail at all")
    answer = [("In-Reply-To", "<question.imap@kunde.example>")]
    await server.put("Sent", mail("answer", sender=MAILBOX, to="anna@kunde.example", more=answer))
    more = {**server.account, "imap_sent_folder": "Sent"}
    async with office(make_crm, tmp_path, **more) as place:
        for _ in range(2):  # the second time brings nothing
            await place.session.enqueue("fetch_connection", ConnectionToFetch(connection_id=place.id))
            await place.crm.settle()
            rows = await place.messages("subject", "direction", "conversation.id")
            assert sorted((row["subject"], row["direction"]) for row in rows) == [
                ("answer", "outbound"),
                ("question", "inbound"),
            ]
            assert len({row["conversation"]["id"] for row in rows}) == 1
            assert await place.session.find(Undelivered).count() == 1
        row = await place.session.find(Connection).select("cursor", "failure").get(place.id)
        assert row is not None
        assert row["failure"] is None
        assert set(imap.read_cursor(row["cursor"])) == {"Support", "Sent"}


async def test_what_arrives_is_in_the_crm_at_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with small_server() as server, office(make_crm, tmp_path, **server.account) as place:
        await _until(lambda: "IDLE" in server.commands)
        start = time.perf_counter()
        await server.put("Support", mail("news"))
        for _ in range(200):
            if await place.session.find(Interaction).count():
                break
            await asyncio.sleep(0.05)
        assert time.perf_counter() - start < 10


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("it did not come to pass")
