"""The parser of ``amity_email`` on a corpus of messages, and on what is left of them after an accident."""

from __future__ import annotations

import base64
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import Inbound, Receipt, Unreadable
from amity_email import parse
from amity_email.headers import parse_addresses, parse_date, parse_ids
from tests.email_corpus import OWN, Mail, corpus, huge
from tests.email_corpus.build import envelope, message, multipart, part, within

SECONDS = 2.0
"""Seconds of the processor that the worst message of a megabyte may take, on a slow machine."""
LEAST = 0.2
"""Seconds that two measurements may differ by without a reason."""
_DIFFERENT = [mail for mail in corpus() if len(mail.raw) < 20_000]


@pytest.mark.parametrize("mail", corpus(), ids=lambda mail: mail.name)
def test_a_message_of_the_corpus(mail: Mail) -> None:
    items = parse(mail.raw, own=OWN, sent=mail.sent)
    match mail.kind:
        case "message":
            assert len(items) == 1
            assert isinstance(items[0], Inbound), items
            check_message(mail, items[0])
        case "receipt":
            receipts = [item for item in items if isinstance(item, Receipt)]
            assert tuple(receipt.status for receipt in receipts) == mail.status
            assert {receipt.message_id for receipt in receipts} == {mail.about}
            assert mail.permanent in ((), tuple(receipt.permanent for receipt in receipts))
            assert (mail.reason or "") in (receipts[0].reason or "")
            assert mail.address in (None, receipts[0].address)
        case _:
            assert isinstance(items[0], Unreadable)
            assert mail.reason
            assert mail.reason in items[0].reason


def check_message(mail: Mail, item: Inbound) -> None:
    for text in mail.says:
        assert text in (item.body or "")
    for text in mail.never:
        assert text not in (item.body or "")
    assert mail.subject in (None, item.subject or "")
    assert mail.address in (None, item.address)
    assert mail.files in (None, tuple(media.name for media in item.media))
    assert mail.sizes in (None, tuple(media.size for media in item.media))
    assert mail.at in (None, item.occurred_at)
    assert item.automatic is mail.automatic
    assert item.direction == ("outbound" if mail.sent else "inbound")


def test_the_corpus_is_large_and_the_same_each_time() -> None:
    mails = corpus()
    assert len(mails) >= 200
    assert [mail.raw for mail in mails] == [mail.raw for mail in corpus()]
    assert Counter(mail.name for mail in mails).most_common(1)[0][1] == 1


def test_message_ids_are_unique_and_the_same_each_time() -> None:
    found = [
        item.message_id for mail in corpus() for item in parse(mail.raw, own=OWN) if isinstance(item, Inbound)
    ]
    assert Counter(found).most_common(1)[0][1] == 1
    again = [
        item.message_id for mail in corpus() for item in parse(mail.raw, own=OWN) if isinstance(item, Inbound)
    ]
    assert found == again


def test_a_message_without_an_id_is_the_same_by_two_ways() -> None:
    fields = envelope(None, subject="No id")
    direct = message([("Received", "by the first"), *fields], "text", eol="\r\n")
    around = message([("X-Forwarded-By", "a list"), *fields, ("Received", "by another")], "text", eol="\n")
    ids = [item.message_id for raw in (direct, around) for item in parse(raw) if isinstance(item, Inbound)]
    assert ids[0] == ids[1]
    assert ids[0].endswith("@no-message-id.invalid")


def test_threads_of_the_corpus_hang_together() -> None:
    """Each answer names the message that it answers, whatever program wrote it."""
    by_thread: dict[str, list[Inbound]] = {}
    for mail in corpus():
        if mail.thread is not None:
            item = parse(mail.raw, own=OWN, sent=mail.sent)[0]
            assert isinstance(item, Inbound)
            by_thread.setdefault(mail.thread, []).append(item)
    assert len(by_thread) >= 19
    for items in by_thread.values():
        for position, item in enumerate(items[1:], 1):
            assert set(item.replies_to) & {earlier.message_id for earlier in items[:position]}


def test_inline_pictures_are_told_from_attachments() -> None:
    mail = next(mail for mail in corpus() if mail.name == "the-usual-tree")
    item = parse(mail.raw)[0]
    assert isinstance(item, Inbound)
    assert [(media.name, media.inline, media.content_id) for media in item.media] == [
        ("attachment-1.png", True, "logo@1"),
        ("a.pdf", False, None),
    ]
    assert item.html is not None
    assert "cid:logo@1" in item.html


def test_everybody_who_took_part_is_known() -> None:
    raw = message(
        envelope(
            "parties.1@kunde.example",
            to='"Support, Amity" <support@amity-crm.example>, Team: a@kunde.example, b@kunde.example;',
            more=[("Cc", "=?utf-8?Q?J=C3=BCrg?= <c@kunde.example>, a@kunde.example"), ("Bcc", "d@kunde.example")],
        ),
        "x",
    )
    item = parse(raw)[0]
    assert isinstance(item, Inbound)
    assert [(party.role, party.address, party.name) for party in item.parties] == [
        ("from", "anna@kunde.example", "Anna Keller"),
        ("to", "support@amity-crm.example", "Support, Amity"),
        ("to", "a@kunde.example", None),
        ("to", "b@kunde.example", None),
        ("cc", "c@kunde.example", "Jürg"),
        ("cc", "a@kunde.example", None),
        ("bcc", "d@kunde.example", None),
    ]


def test_25_megabytes_are_parsed_at_once() -> None:
    mail = huge()
    start = time.thread_time()
    item = parse(mail.raw)[0]
    assert time.thread_time() - start < 5 * SECONDS
    assert isinstance(item, Inbound)
    assert (item.media[0].name, item.media[0].size) == ("plans.zip", mail.sizes[0] if mail.sizes else None)
    assert item.media[0].data == bytes(range(256)) * (25 * 2**20 // 256)


_HEAD = b"From: a@example.com\nMessage-ID: <hostile.1@example.com>\nMIME-Version: 1.0\n"


@pytest.mark.parametrize(
    "raw",
    [
        _HEAD + b"Content-Type: text/html\n\n" + b"<div>" * 200_000,
        _HEAD
        + b"Content-Type: text/html\n\n"
        + b"".join(b"<b a=%d>" % n for n in range(2000))
        + b"<p>x" * 100_000,
        _HEAD + b"Content-Type: text/html\n\n" + b"<" * 1_000_000,
        _HEAD + b"Content-Type: text/html\n\n" + b"<!--" * 250_000,
        _HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 200_000,
        _HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x" * 300_000,
        _HEAD + b"Content-Type: text/plain;" + b" " * 1_000_000 + b"\n\n",
        _HEAD + b"Content-Type: text/plain;" + b' a="' * 250_000 + b"\n\n",
        _HEAD + b"To: " + b'"' * 1_000_001 + b"\n\n",
        _HEAD + b"To: " + b'(<"' * 300_000 + b"\n\n",
        _HEAD + b"To: " + b"a@b.ch," * 150_000 + b"\n\n",
        _HEAD + b"Subject: " + b"=?utf-8?q?a?= " * 70_000 + b"\n\n",
        _HEAD + b"Subject: " + b"=?" * 500_000 + b"\n\n",
        _HEAD + b"References: " + b"<" * 1_000_000 + b"\n\n",
        _HEAD + b"References: <" + b" " * 1_000_000 + b"\n\n",
        _HEAD + b"X-A: b\n" * 140_000 + b"\n",
        _HEAD + b"\n" + b"\0" * 1_000_000,
        _HEAD + b"\n" + b"\xff\x81" * 500_000,
        _HEAD + b"Content-Type: text/plain; format=flowed\n\n" + b"> " * 500_000,
        _HEAD + b"Content-Type: text/plain; format=flowed\n\n" + b"a \n" * 300_000,
        _HEAD + b"Content-Type: text/calendar\n\n" + b"\n " * 500_000,
        _HEAD + b"Content-Type: text/enriched\n\n" + b"<" * 1_000_000,
        _HEAD + b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=" * 1_000_000,
        _HEAD + b"Return-Path: <>\nSubject: Undeliverable\n\n" + b"<a@" * 300_000,
        _HEAD + b"Return-Path: <>\nSubject: Undeliverable\n\n" + b">" * 1_000_000,
        _HEAD + b"Content-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 60_000,
    ],
    ids=range(26),
)
def test_no_message_of_a_megabyte_takes_long(raw: bytes) -> None:
    """Twice as much takes about twice as long: nothing in it is looked at again and again."""
    half = len(_HEAD) + (len(raw) - len(_HEAD)) // 2
    spent = []
    for text in (raw[:half], raw):
        start = time.thread_time()
        assert parse(text)
        spent.append(time.thread_time() - start)
    assert spent[1] < 3 * spent[0] + LEAST, spent


@pytest.mark.parametrize("levels", [31, 500, 5_000])
def test_nesting_has_no_end_but_parsing_does(levels: int) -> None:
    inner = part("application/zip", base64.b64encode(b"x" * 200_000), disposition="attachment; filename=a.zip")
    for level in range(levels):
        inner = b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n%s\n--b%d--\n" % (
            level,
            level,
            inner,
            level,
        )
    start = time.thread_time()
    item = parse(_HEAD + inner)[0]
    assert time.thread_time() - start < SECONDS
    assert isinstance(item, Inbound)
    kept = item.media[0].data or b""
    assert b"eHh4" in kept or b"xxx" in kept


def damaged(raw: bytes, draw: st.DataObject, other: bytes) -> bytes:
    """A message as it is after something went wrong on its way."""
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(0, len(raw) - 1)))
        length = draw.draw(st.integers(0, 80))
        match draw.draw(st.sampled_from(["cut", "flip", "drop", "splice", "insert", "double"])):
            case "cut":
                raw = raw[:at]
            case "flip":
                raw = raw[:at] + bytes(255 - byte for byte in raw[at : at + length]) + raw[at + length :]
            case "drop":
                raw = raw[:at] + raw[at + length :]
            case "splice":
                there = draw.draw(st.integers(0, max(0, len(other) - 1)))
                raw = raw[:at] + other[there:]
            case "insert":
                raw = raw[:at] + draw.draw(st.binary(max_size=40)) + raw[at:]
            case _:
                raw = raw[:at] + raw[at : at + 2000] + raw[at:]
    return raw


@settings(max_examples=400, deadline=2_000, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_messages_are_parsed_or_refused_with_a_reason(data: st.DataObject) -> None:
    mail, other = data.draw(st.sampled_from(_DIFFERENT)), data.draw(st.sampled_from(_DIFFERENT))
    raw = damaged(mail.raw, data, other.raw)
    sent = data.draw(st.booleans())
    items = parse(raw, own=OWN, sent=sent)
    assert items == parse(raw, own=OWN, sent=sent)
    assert items
    for item in items:
        texts: list[str | None] = []
        match item:
            case Inbound():
                assert item.message_id
                assert len(item.message_id) <= 500
                assert "@" in item.address
                texts = [item.message_id, item.address, item.subject, item.body, item.html, item.name]
                texts += [media.name for media in item.media] + [party.name for party in item.parties]
            case Receipt():
                texts = [item.message_id, item.reason, item.address]
            case Unreadable():
                assert "could not be parsed" not in item.reason  # nothing unforeseen happened
                texts = [item.reference, item.reason]
        for text in texts:
            if text is not None:
                assert "\0" not in text
                text.encode()  # no half of a surrogate pair is in it


@settings(max_examples=300, deadline=500)
@given(st.text(alphabet='ab@.,;:<>()"\\ =?utf-8q\n\t\u00fc'))
def test_any_field_is_read(text: str) -> None:
    for address in parse_addresses(text):
        assert address.address.count("@") >= 1
    parse_ids(text)
    parse_date(text)


@settings(max_examples=200, deadline=500)
@given(st.binary(max_size=2_000))
def test_any_bytes_are_parsed(raw: bytes) -> None:
    for item in parse(raw):
        assert not isinstance(item, Unreadable) or "could not be parsed" not in item.reason


def test_what_was_sent_is_to_whom_it_was_written() -> None:
    fields = envelope(
        "sent.copy.1@kunde.example", "support@amity-crm.example", to="support@amity-crm.example, anna@k.example"
    )
    item = parse(message(fields, "x"), own=OWN, sent=True)[0]
    assert isinstance(item, Inbound)
    assert (item.direction, item.address) == ("outbound", "anna@k.example")


def test_nobody_can_write_in_our_name() -> None:
    """A sender is what anybody writes: only what was found among the sent messages counts as sent."""
    fields = envelope("spoofed.1@kunde.example", "support@amity-crm.example", to="anna@k.example")
    item = parse(message(fields, "x"), own=OWN)[0]
    assert isinstance(item, Inbound)
    assert (item.direction, item.address) == ("inbound", "support@amity-crm.example")


def test_the_server_s_clock_counts_where_the_date_can_not_be_true() -> None:
    at = datetime(2026, 3, 3, 10, tzinfo=UTC)
    fields = [field for field in envelope("clock.1@k.example", hours=9_000) if field[0] != "Received"]
    item = parse(message(fields, "x"), received_at=at)[0]
    assert isinstance(item, Inbound)
    assert item.occurred_at == at


def test_nothing_of_many_parts_is_lost() -> None:
    whole = multipart("mixed", *[part("text/plain", "p", disposition="attachment")] * 300)
    raw = within(envelope("many.parts.1@k.example"), whole)
    item = parse(raw)[0]
    assert isinstance(item, Inbound)
    assert len(item.media) == 201
    assert item.media[-1].name == "message.eml"
    assert item.media[-1].data == raw
