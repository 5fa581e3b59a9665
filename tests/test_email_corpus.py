"""The corpus of messages through the CRM: all of it comes in, once, and in the right conversations."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from amity import Conversation, Customer, File, Inbound, Interaction, Item, Related, Undelivered
from amity_email import parse
from tests.conftest import MakeCrm
from tests.email_corpus import OWN, Mail, corpus, huge
from tests.email_office import Office, office


def items_of(mails: Sequence[Mail]) -> list[Item]:
    return [item for mail in mails for item in parse(mail.raw, reference=mail.name, own=OWN, sent=mail.sent)]


async def threads_of(place: Office, mails: Sequence[Mail]) -> dict[str, set[str]]:
    """The conversations in which the messages of each thread of the corpus are."""
    ids = {
        item.message_id: mail.thread
        for mail in mails
        if mail.thread is not None
        for item in parse(mail.raw, own=OWN, sent=mail.sent)
        if isinstance(item, Inbound)
    }
    found: dict[str, set[str]] = defaultdict(set)
    for row in await place.messages("message_id", "conversation.id"):
        if row["message_id"] in ids:
            found[str(ids[row["message_id"]])].add(row["conversation"]["id"])
    return found


async def test_all_of_it_comes_in_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    mails = corpus()
    kinds = [mail.kind for mail in mails]
    async with office(make_crm, tmp_path) as place:
        items = items_of(mails)
        done = await place.brings(items)
        undelivered = await place.session.find(Undelivered).select("reference", "reason", "file.size").all()
        assert [row["reason"] for row in undelivered if not row["reference"].startswith("unreadable-")] == []
        assert done.received == kinds.count("message")
        assert done.duplicates == 0
        assert done.undelivered == kinds.count("unreadable") == len(undelivered)
        for row in undelivered:
            expected = next(mail for mail in mails if mail.name == row["reference"])
            assert expected.reason
            assert expected.reason in row["reason"]
            assert int(row["file"]["size"]) == len(expected.raw)

        threads = await threads_of(place, mails)
        assert len(threads) >= 19
        assert all(len(conversations) == 1 for conversations in threads.values())
        assert len({next(iter(conversations)) for conversations in threads.values()}) == len(threads)

        before = await _state(place)
        messages = [item for item in items if isinstance(item, Inbound)]
        again = await place.brings(items)
        assert (again.received, again.duplicates) == (0, len(messages))
        assert await _state(place) == before


async def _state(place: Office) -> list[int]:
    entities = (Customer, Conversation, Interaction, File, Undelivered)
    counts = [await place.session.find(entity).count() for entity in entities]
    events = await place.crm.database.read("SELECT count(*) FROM core_event")
    return [*counts, int(events[0][0])]


@pytest.mark.parametrize("seed", [1, 2])
async def test_threads_are_right_in_any_order_of_arrival(make_crm: MakeCrm, tmp_path: Path, seed: int) -> None:
    mails = [mail for mail in corpus() if mail.thread is not None]
    random.Random(seed).shuffle(mails)
    async with office(make_crm, tmp_path) as place:
        for start in range(0, len(mails), 7):
            await place.brings(items_of(mails[start : start + 7]))
        threads = await threads_of(place, mails)
        assert all(len(conversations) == 1 for conversations in threads.values())
        assert await place.session.find(Conversation).count() == len(threads)


async def test_facts_are_in_the_database(make_crm: MakeCrm, tmp_path: Path) -> None:
    mails = {mail.name: mail for mail in corpus()}
    names = ("the-usual-tree", "automatic-rfc3834", "thread-gmail-0-gmail", "thread-gmail-1-thunderbird")
    async with office(make_crm, tmp_path) as place:
        done = await place.brings(items_of([mails[name] for name in names]))
        tree, away, question, answer = [str(row) for row in done.ids]
        rows = {
            row["message_id"]: row
            for row in await place.messages(
                "message_id",
                "direction",
                "automatic",
                "customer.name",
                "html",
                Related("files", ["name", "inline"]),
                Related("participants", ["role", "address"]),
            )
        }
        assert len({tree, away, question, answer}) == len(rows) == 4
        picture = next(row for row in rows.values() if row["files"])
        assert [(file["name"], file["inline"]) for file in picture["files"]] == [
            ("attachment-1.png", True),
            ("a.pdf", False),
        ]
        assert "/files/fil_" in picture["html"]
        assert {row["direction"] for row in rows.values()} == {"inbound", "outbound"}
        assert sum(row["automatic"] for row in rows.values()) == 1
        assert {row["customer"]["name"] for row in rows.values()} == {"Anna Keller"}
        assert picture["participants"] == [
            {"role": "from", "address": "anna@kunde.example"},
            {"role": "to", "address": "support@amity-crm.example"},
        ]
        conversations = await place.session.find(Conversation).select("unread", "status", "subject").all()
        assert sorted((row["subject"], row["unread"]) for row in conversations) == [
            ("Offer 1 for pumps", 1),
            ("Re: your mail", 0),
            ("the-usual-tree", 1),
        ]


async def test_25_megabytes_come_in_with_the_rest(make_crm: MakeCrm, tmp_path: Path) -> None:
    mail = huge()
    async with office(make_crm, tmp_path) as place:
        done = await place.brings(items_of([mail, corpus()[0]]))
        assert done.received == 2
        files = await place.session.find(File).select("name", "size", "state").all()
        assert [(row["name"], int(row["size"]), row["state"]) for row in files] == [
            ("plans.zip", 25 * 2**20, "stored")
        ]
