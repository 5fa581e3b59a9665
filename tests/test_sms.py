"""Text messages: their segments, the words in them, and a gateway that they come from and go to."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

import amity_sms
from amity import (
    SYSTEM,
    Connected,
    ConsentChange,
    Conversation,
    Forged,
    Inbound,
    Item,
    Outbound,
    RawRequest,
    Receipt,
    Refused,
    Related,
    Sent,
    Unreadable,
)
from amity.channels import AddressError
from amity.entity import encode_id
from amity.network import AddressRefused, is_public
from amity.server import app
from amity_sms import Sms, SmsAccount, SmsChannel, keyword, segments, twilio_signature
from amity_sms.keywords import WORDS
from amity_sms.segments import BASIC, EXTENSION, JOINED, SINGLE, units_of

from .conftest import MakeCrm
from .sms_gateway import PICTURE, SECRET, TOKEN, gateway, posted, posted_by_twilio, served

# --- segments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "gsm", 0, 1),
        ("a" * 160, "gsm", 160, 1),
        ("a" * 161, "gsm", 161, 2),
        ("a" * 306, "gsm", 306, 2),
        ("a" * 307, "gsm", 307, 3),
        ("€" * 80, "gsm", 160, 1),
        ("€" * 81, "gsm", 162, 2),
        ("a" * 152 + "€" + "a" * 7, "gsm", 161, 2),
        ("Grüße aus Zürich, 5 £", "gsm", 21, 1),
        ("ç" * 71, "ucs2", 71, 2),  # only the capital one is in the alphabet
        ("ж" * 70, "ucs2", 70, 1),
        ("ж" * 71, "ucs2", 71, 2),
        ("ж" * 134, "ucs2", 134, 2),
        ("ж" * 135, "ucs2", 135, 3),
        ("😀" * 35, "ucs2", 70, 1),
        ("😀" * 36, "ucs2", 72, 2),
        ("`", "ucs2", 1, 1),
    ],
)
def test_segments_are_counted_as_networks_do(text: str, encoding: str, units: int, parts: int) -> None:
    found = segments(text)

    assert (found.encoding, found.units, len(found.parts)) == (encoding, units, parts)


def test_no_part_ends_within_an_escape_or_a_pair_of_surrogates() -> None:
    assert segments("a" * 152 + "€" + "a" * 7).parts == ("a" * 152, "€" + "a" * 7)
    assert segments("ж" * 66 + "😀" + "ж" * 7).parts == ("ж" * 66, "😀" + "ж" * 7)


def test_the_alphabet_has_the_size_of_the_standard() -> None:
    assert len(BASIC) == 127  # of 128 septets, one is the escape
    assert len(EXTENSION) == 10
    assert not BASIC & EXTENSION


some_text = st.text(
    st.sampled_from(sorted(BASIC | EXTENSION)) | st.characters(codec="utf-8"), max_size=700
) | st.text(st.sampled_from("ab€{😀ж"), max_size=700)


@given(some_text)
def test_parts_are_the_text_and_each_fits(text: str) -> None:
    found = segments(text)

    assert "".join(found.parts) == text
    assert (found.encoding == "gsm") == (set(text) <= BASIC | EXTENSION)
    limit = (SINGLE if len(found.parts) == 1 else JOINED)[found.encoding]
    sizes = [sum(units_of(char, found.encoding) for char in part) for part in found.parts]
    assert sum(sizes) == found.units
    assert max(sizes) <= limit
    if found.encoding == "ucs2":
        assert found.units == len(text.encode("utf-16-le")) // 2
        assert all(part.encode("utf-16-le").decode("utf-16-le") == part for part in found.parts)
    # no part could have taken the first character of the next one
    for size, following in zip(sizes, found.parts[1:], strict=False):
        assert size + units_of(following[0], found.encoding) > limit


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STOP", "stop"),
        (" stop! ", "stop"),
        ("«Stop»", "stop"),
        ("Ｓｔｏｐ", "stop"),
        ("ARRÊT", "stop"),
        ("arre\u0302t", "stop"),
        ("İPTAL", "stop"),
        ("ΔΙΑΚΟΠΉ", "stop"),
        ("退订", "stop"),
        ("Opt-out", "stop"),
        ("START", "start"),
        ("Başla", "start"),
        ("Hilfe?", "help"),
        ("please stop by tomorrow", None),
        ("stop stop", None),
        ("stopping", None),
        ("", None),
        ("👍", None),
    ],
)
def test_a_word_counts_as_a_whole_message_only(text: str, expected: str | None) -> None:
    assert keyword(text) == expected


def test_no_word_means_two_things() -> None:
    for column, kind in enumerate(("stop", "start", "help")):
        for words in WORDS.values():
            for word in words[column].split(", "):
                assert keyword(word) == keyword(word.upper()) == kind


# --- accounts ----------------------------------------------------------------------------------------------

GIVEN: dict[str, Any] = {
    "sender": "+41790000000",
    "send_url": "https://gateway.example.com/messages",
    "password": TOKEN,
    "webhook_secret": SECRET,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"send_url": "ftp://gateway.example.com"}, "is no address of a gateway"),
        ({"send_url": "https://gateway.example.com:99999/"}, "Port out of range"),
        ({"send_url": "https://me:you@gateway.example.com"}, "must not hold a password"),
        ({"webhook_secret": None}, "webhook_secret is missing"),
        ({"password": None}, "auth bearer needs a password"),
        ({"auth": "basic"}, "auth basic needs username and password"),
        ({"fields": {"to": "{too}"}}, "holds {too}; known are {message_id}"),
        ({"send_url": "https://x.example/{username}"}, "username must be given"),
        ({"statuses": {"sent": "gone"}}, "'sent', 'delivered', 'read', 'failed' or 'ignored'"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_an_account_that_can_not_work_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SmsAccount.model_validate({**GIVEN, **changes})
    assert message in str(caught.value)


def test_an_account_is_the_same_after_it_was_kept() -> None:
    account = SmsAccount.model_validate({**GIVEN, "preset": "twilio", "username": "AC1"})

    kept = account.model_dump(mode="json", exclude={"password", "webhook_secret"})

    assert SmsAccount.model_validate({**kept, "password": TOKEN, "webhook_secret": SECRET}) == account


# --- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("079 123 45 67", "+41791234567"),
        ("+41 79 123 45 67", "+41791234567"),
        ("0041791234567", "+41791234567"),
        ("80800", "80800"),
        (" Bank ", "Bank"),
        ("DHL-Express", "DHL-Express"),
    ],
)
def test_numbers_have_one_form_and_senders_keep_theirs(address: str, expected: str) -> None:
    channel = SmsChannel()

    assert channel.normalize(address, "CH") == expected
    assert channel.normalize(expected, "CH") == expected


@pytest.mark.parametrize("address", ["", "12", "a much too long name", "+1", "ann@example.com"])
def test_what_is_no_number_and_no_sender_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="short code"):
        SmsChannel().normalize(address, "CH")


# --- what comes in -----------------------------------------------------------------------------------------


def connected(account: dict[str, Any]) -> Connected[SmsAccount]:
    return Connected(uuid4(), "Texts", SmsAccount.model_validate(account), "CH", "https://crm.example.com")


async def received(account: dict[str, Any], request: RawRequest) -> list[Item]:
    return list(await SmsChannel().receive(connected(account), request))


async def test_a_message_comes_in() -> None:
    body = {
        "id": "m1",
        "from": "+41791234567",
        "to": "+41790000000",
        "text": "Grüezi",
        "time": "2026-01-31T12:00:00Z",
    }

    (item,) = await received(GIVEN, posted(body))

    assert isinstance(item, Inbound)
    assert (item.message_id, item.address, item.body) == ("m1", "+41791234567", "Grüezi")
    assert item.occurred_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert [(party.role, party.address) for party in item.parties] == [("to", "+41790000000")]


@pytest.mark.parametrize(
    ("text", "changes", "automatic"),
    [
        ("Stop", (ConsentChange("withdrawn", "*", "text message 'Stop'"),), True),
        ("start", (ConsentChange("given", "service", "text message 'start'"),), True),
        ("HELP", (), False),
        ("stop it", (), False),
    ],
)
async def test_words_change_consent(text: str, changes: tuple[ConsentChange, ...], automatic: bool) -> None:
    (item,) = await received(GIVEN, posted({"id": "m1", "from": "+41791234567", "text": text}))

    assert isinstance(item, Inbound)
    assert (tuple(item.consent), item.automatic) == (changes, automatic)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"id": "g1", "status": "DELIVERED"}, [Receipt("g1", "delivered")]),
        ({"id": "g1", "status": "queued"}, []),
        (
            {"id": "g1", "status": "failed", "reason": "no such subscriber"},
            [Receipt("g1", "failed", None, "failed: no such subscriber", permanent=True)],
        ),
    ],
)
async def test_statuses_are_receipts(item: dict[str, Any], expected: list[Receipt]) -> None:
    assert await received(GIVEN, posted(item)) == expected


async def test_one_item_that_is_broken_leaves_the_others_alone() -> None:
    body = {
        "results": [
            {"id": "m1", "from": "+41791234567", "text": "one"},
            {"id": "m2", "text": "from nobody"},
            "nonsense",
            {"id": "g1", "status": "teleported"},
            {"id": "m3", "from": "+41791234567", "text": "three"},
        ]
    }

    items = await received({**GIVEN, "items": "results"}, posted(body))

    assert [item.body for item in items if isinstance(item, Inbound)] == ["one", "three"]
    reasons = [item.reason for item in items if isinstance(item, Unreadable)]
    assert reasons == [
        "'from' is missing or empty",
        "'text' is missing",
        "nothing is known of the status 'teleported'; add it to the account's statuses",
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"3", b'"text"', b"[" * 100_000, b"\xff\xfe"])
async def test_a_body_that_is_nothing_is_kept_with_its_reason(body: bytes) -> None:
    (item,) = await received(GIVEN, posted(body))

    assert isinstance(item, Unreadable)
    assert item.raw == body


LONG = {
    "inbound": {
        "id": "id",
        "from": "from",
        "text": "text",
        "reference": "concat.ref",
        "part": "concat.part",
        "parts": "concat.total",
    }
}


def part(number: int, text: str) -> dict[str, Any]:
    concat = {"ref": "77", "part": number, "total": 3}
    return {"id": f"m{number}", "from": "+41791234567", "text": text, "concat": concat}


async def test_parts_of_a_long_message_are_joined_in_their_order() -> None:
    body = [part(3, "!"), part(1, "Hello "), part(2, "world"), part(1, "Hello ")]

    (item,) = await received({**GIVEN, **LONG}, posted(body))

    assert isinstance(item, Inbound)
    assert (item.message_id, item.body) == ("m1", "Hello world!")


async def test_parts_that_come_alone_say_which_they_are() -> None:
    (item,) = await received({**GIVEN, **LONG}, posted(part(2, "world")))

    assert isinstance(item, Inbound)
    assert (item.message_id, item.body, item.fields) == ("m2", "world", {"sms_part": "2/3"})


# --- signatures --------------------------------------------------------------------------------------------


def changed(request: RawRequest, **headers: str | None) -> RawRequest:
    merged = {**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    kept = {name: value for name, value in merged.items() if value is not None}
    return RawRequest(request.method, request.path, request.query, kept, request.body, request.url)


MESSAGE = {"id": "m1", "from": "+41791234567", "text": "Hello"}
GENUINE = posted(MESSAGE)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (posted(MESSAGE, secret="guessed"), "not the gateway's"),
        (changed(GENUINE, x_signature=None), "not the gateway's"),
        (changed(GENUINE, x_signature="ünsigned"), "not the gateway's"),
        (changed(GENUINE, x_timestamp=None), "X-Timestamp is missing"),
        (changed(GENUINE, x_timestamp="٣"), "X-Timestamp is missing"),
        (changed(GENUINE, x_timestamp="1" * 5000), "X-Timestamp is missing"),
        (changed(GENUINE, x_timestamp=str(int(time.time()) + 1)), "not the gateway's"),
        (posted(MESSAGE, at=1_000_000_000), "300 are allowed"),
        (posted(MESSAGE, at=9_999_999_999), "300 are allowed"),
        (RawRequest("POST", "/", {}, GENUINE.headers, GENUINE.body + b" ", GENUINE.url), "not the gateway's"),
    ],
)
async def test_what_the_gateway_did_not_sign_just_now_is_forged(request_: RawRequest, message: str) -> None:
    with pytest.raises(Forged, match=message):
        await received(GIVEN, request_)


def test_the_signature_of_twilio_is_that_of_its_documentation() -> None:
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    assert twilio_signature("12345", url, form) == "0/KCTR6DLpKmkAf8muzZqo1nDgQ="


TWILIO = {**GIVEN, "preset": "twilio", "username": "AC1", "webhook_secret": None}
FORM = {
    "MessageSid": "SM1",
    "From": "+41791234567",
    "To": "+41790000000",
    "Body": "Hallo & tschüss",
    "NumMedia": "0",
}


async def test_twilio_posts_forms() -> None:
    (item,) = await received(TWILIO, posted_by_twilio(FORM))

    assert isinstance(item, Inbound)
    assert (item.message_id, item.address, item.body) == ("SM1", "+41791234567", "Hallo & tschüss")


async def test_twilio_posts_receipts() -> None:
    form = {"MessageSid": "SM2", "MessageStatus": "undelivered", "ErrorCode": "30003"}

    (item,) = await received(TWILIO, posted_by_twilio(form))

    assert item == Receipt("SM2", "failed", None, "undelivered: 30003", permanent=True)


async def test_twilio_may_sign_the_address_with_its_port() -> None:
    request = posted_by_twilio(FORM, url="https://crm.example.com:443/connections/con_1")
    without = RawRequest("POST", request.path, {}, request.headers, request.body, request.url.replace(":443", ""))

    assert len(await received(TWILIO, without)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        posted_by_twilio(FORM, secret="guessed"),
        changed(posted_by_twilio(FORM), x_twilio_signature=None),
        RawRequest("POST", "/", {}, posted_by_twilio(FORM).headers, b"Body=Other", posted_by_twilio(FORM).url),
        RawRequest(
            "POST", "/", {}, posted_by_twilio(FORM).headers, posted_by_twilio(FORM).body, "https://x.example/"
        ),
    ],
)
async def test_what_twilio_did_not_sign_is_forged(request_: RawRequest) -> None:
    with pytest.raises(Forged, match="X-Twilio-Signature"):
        await received(TWILIO, request_)


# --- what goes out -----------------------------------------------------------------------------------------


def message(text: str | None, address: str = "+41791234567", **more: Any) -> Outbound:
    id = uuid4()
    return Outbound(id=id, message_id=f"<{id}@crm.example.com>", address=address, body=text, **more)


async def test_messages_go_to_the_gateway_and_get_its_ids() -> None:
    async with gateway() as other:
        messages = [message(f"Hello {number}") for number in range(20)]

        results = await SmsChannel().send(connected(other.account()), messages)

        assert {type(result) for result in results} == {Sent}
        for sent, result in zip(messages, results, strict=True):
            assert isinstance(result, Sent)
            kept = other.arrived[sent.message_id]
            assert kept == {
                "from": "+41790000000",
                "to": "+41791234567",
                "text": sent.body,
                "reference": sent.message_id,
            }
            assert result.message_id == other.keep(sent.message_id, {})


async def test_a_message_sent_again_arrives_once() -> None:
    async with gateway() as other:
        account, again = connected(other.account()), message("Hello")

        first = await SmsChannel().send(account, [again])
        second = await SmsChannel().send(account, [again])

        assert first == second
        assert len(other.arrived) == 1
        assert len(other.requests) == 2


async def test_twilio_gets_forms_and_where_to_post_receipts() -> None:
    async with gateway() as other:
        account = connected(other.twilio())

        (result,) = await SmsChannel().send(account, [message("Hallo 😀")])

        assert result == Sent("gw-1")
        (arrived,) = other.arrived.values()
        assert arrived["Body"] == "Hallo 😀"
        assert arrived["StatusCallback"] == account.url


@pytest.mark.parametrize(
    ("answer", "permanent", "reason"),
    [
        (JSONResponse({"error": {"message": "text too rude"}}, 400), True, "400: text too rude"),
        (JSONResponse({"error": {"message": "slow down"}}, 429), False, "429: slow down"),
        (PlainTextResponse("<h1>oops</h1>", 500), False, "answered 500"),
        (JSONResponse({"error": {"message": "unknown token"}}, 401), False, "401: unknown token"),
        (RedirectResponse("http://169.254.169.254/latest"), False, "answered 307"),
    ],
)
async def test_a_refusal_says_why_and_whether_to_try_again(answer: Any, permanent: bool, reason: str) -> None:
    async with gateway() as other:
        other.answers.append(answer)

        (result,) = await SmsChannel().send(connected(other.account()), [message("Hello")])

        assert isinstance(result, Refused)
        assert reason in result.reason
        assert result.permanent == permanent
        assert not other.arrived


async def test_one_refusal_leaves_the_others_alone() -> None:
    async with gateway() as other:
        batch = [
            message("one"),
            message("two", "+41799990000"),
            message("ж" * 2000),
            message(" "),
            message("five", "Bank"),
            message("six"),
        ]

        results = await SmsChannel().send(connected(other.account()), batch)

        assert [type(result) for result in results] == [Sent, Refused, Refused, Refused, Refused, Sent]
        assert [result.reason for result in results if isinstance(result, Refused)] == [
            "the gateway answered 422: no such subscriber",
            "the text takes 30 segments; the account allows 10",
            "a text message needs a text",
            "'Bank' is the name of a sender, which nobody can answer",
        ]


async def test_an_answer_without_an_id_is_still_sent() -> None:
    async with gateway() as other:
        other.answers += [PlainTextResponse("OK"), JSONResponse(["?"]), JSONResponse({"id": 17})]

        results = [
            result
            for text in ("one", "two", "three")
            for result in await SmsChannel().send(connected(other.account()), [message(text)])
        ]

        assert results == [Sent(), Sent(), Sent("17")]


# --- addresses that are nobody's business ------------------------------------------------------------------


async def test_a_gateway_behind_the_firewall_is_refused_unless_the_account_allows_it() -> None:
    async with gateway() as other:
        for url in (
            other.url,
            other.url.replace("127.0.0.1", "localhost"),
            other.url.replace("127.0.0.1", "0x7f.1"),
        ):
            account = connected(other.account(send_url=f"{url}/messages", allow_private=False))

            (result,) = await SmsChannel().send(account, [message("Hello")])

            assert isinstance(result, Refused)
            assert "not on the public internet" in result.reason
            assert not result.permanent
        assert not other.requests


async def test_a_gateway_that_is_not_there_is_tried_again() -> None:
    account = connected({**GIVEN, "send_url": "http://127.0.0.1:1/", "allow_private": True})

    (result,) = await SmsChannel().send(account, [message("Hello")])

    assert isinstance(result, Refused)
    assert not result.permanent
    assert "127.0.0.1 can't be reached" in result.reason


@pytest.mark.parametrize("host", ["gateway.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_host_that_nobody_knows_is_named(host: str) -> None:
    account = connected({**GIVEN, "send_url": f"https://{host}/"})

    with pytest.raises(OSError, match=host[:60]):
        await SmsChannel().check(account)
    (result,) = await SmsChannel().send(account, [message("Hello")])

    assert isinstance(result, Refused)
    assert not result.permanent


async def test_a_password_that_no_header_holds_is_told_for_each_message() -> None:
    async with gateway() as other:
        account = connected(other.account(password="пароль\n"))

        results = await SmsChannel().send(account, [message("one"), message("two")])

        assert [type(result) for result in results] == [Refused, Refused]
        assert not other.arrived


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "fe80::1%1",
        "fd00::1",
        "ff02::1",
        "no address",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


# --- pictures ----------------------------------------------------------------------------------------------


async def test_pictures_are_fetched_and_the_password_stays_with_the_gateway() -> None:
    async with gateway() as other:
        account = connected(other.twilio())
        form = {
            **FORM,
            "Body": "",
            "NumMedia": "1",
            "MediaUrl0": f"{other.url}/media/1",
            "MediaContentType0": "image/png",
        }
        (item,) = await SmsChannel().receive(account, posted_by_twilio(form))
        assert isinstance(item, Inbound)
        (picture,) = item.media
        assert (picture.name, picture.media_type) == ("1.png", "image/png")

        chunks = [chunk async for chunk in SmsChannel().media(account, picture.reference or "")]

        assert b"".join(chunks) == PICTURE
        asked, redirected = other.media_headers
        assert "authorization" in asked
        assert "authorization" not in redirected


async def test_pictures_behind_the_firewall_are_refused() -> None:
    account = connected({**TWILIO, "allow_private": False})

    with pytest.raises(AddressRefused):
        _ = [chunk async for chunk in SmsChannel().media(account, "http://169.254.169.254/latest/meta-data")]


# --- a whole conversation ----------------------------------------------------------------------------------


async def called(url: str, request: RawRequest) -> int:
    """A webhook, over the network."""
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, content=request.body, headers=dict(request.headers))
    return answer.status_code


async def test_a_customer_and_the_company_write_each_other_by_twilio(make_crm: MakeCrm) -> None:
    async with gateway() as other, make_crm([Sms], {"server": {"public_url": "https://crm.example.com"}}) as crm:
        session = crm.acting_as(SYSTEM)
        texts = {"channel": "sms", "name": "Texts", "settings": other.twilio(), "creates_prospects": True}
        made = await session.run("create_connection", [texts])
        assert made.ids[0] is not None
        url = f"https://crm.example.com/connections/{encode_id('con', made.ids[0])}"

        async with served(app(crm, opens=False)) as address:
            here = url.replace("https://crm.example.com", address)

            async def posts(**form: str) -> None:
                assert await called(here, posted_by_twilio(form, url=url)) == 204
                await crm.settle()

            await posts(MessageSid="SM1", From="+41791234567", Body="Do you have a picture?", MediaUrl0="")
            (conversation,) = await session.find(Conversation).select("id", "customer.name").all()
            await session.run("send_message", [{"conversation_id": conversation["id"], "body": "Do you?"}])
            await crm.settle()
            (arrived,) = other.arrived.values()
            assert arrived["StatusCallback"] == url
            await posts(MessageSid="gw-1", MessageStatus="sent")
            await posts(MessageSid="gw-1", MessageStatus="delivered")
            await posts(MessageSid="gw-1", MessageStatus="sent")
            picture = {"MediaUrl0": f"{other.url}/media/1", "MediaContentType0": "image/png"}
            await posts(MessageSid="SM2", From="+41791234567", Body="", **picture)
            await posts(MessageSid="SM3", From="+41791234567", Body="STOP")
            refused = await session.run(
                "send_message", [{"conversation_id": conversation["id"], "body": "Sorry!"}]
            )

        files = Related("files", ["name", "state", "size"])
        messages = Related(
            "interactions", ["direction", "body", "delivery", files], order_by=["occurred_at", "id"]
        )
        (whole,) = await session.find(Conversation).select("customer.name", "unread", messages).all()
        assert whole["customer"] == {"name": "+41791234567"}
        assert whole["unread"] == 2
        assert whole["interactions"] == [
            {"direction": "inbound", "body": "Do you have a picture?", "delivery": None, "files": []},
            {"direction": "outbound", "body": "Do you?", "delivery": "delivered", "files": []},
            {
                "direction": "inbound",
                "body": None,
                "delivery": None,
                "files": [{"name": "1.png", "state": "stored", "size": str(len(PICTURE))}],
            },
            {"direction": "inbound", "body": "STOP", "delivery": None, "files": []},
        ]
        assert [error.code for error in refused.errors] == ["refused"]
        assert len(other.arrived) == 1


# --- the page about it -------------------------------------------------------------------------------------

README = Path(amity_sms.__file__).parent / "README.md"


@pytest.mark.parametrize("name", list(SmsAccount.model_fields))
def test_every_setting_of_an_account_stands_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in README.read_text(encoding="utf-8")


def test_an_emoji_more_than_doubles_what_a_long_text_costs() -> None:
    assert len(segments("a" * 306).parts) == 2
    assert len(segments("a" * 306 + "😀").parts) == 5
