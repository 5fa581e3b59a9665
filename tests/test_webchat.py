"""Web chats over a real server and real sockets: what visitors and agents see, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import ValidationError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from amity import (
    SYSTEM,
    Connection,
    ContactPoint,
    Context,
    Conversation,
    Crm,
    Customer,
    Interaction,
    Plugin,
    Problem,
    Proposed,
    Session,
    Undelivered,
    Update,
    User,
    Validator,
)
from amity.access import Principal
from amity.database import recorded
from amity.entity import encode_id
from amity.messaging.secrets import new_key, vault
from amity_graphql import execute
from amity_webchat import TokenError, WebChat, WebChatAccount, read_identity, sign_identity
from amity_webchat.limits import Bucket
from amity_webchat.texts import KEYS, TEXTS
from amity_webchat.tokens import VALID, new_visitor, read, sign
from amity_webchat.widget import script

from .chats import ORIGIN, SECRET, Server, Staff, Widget, answer, new_chat, serving, settings, thread_of
from .conftest import MakeCrm


@asynccontextmanager
async def open_chat(
    make_crm: MakeCrm, limits: Mapping[str, Any] | None = None, **account: Any
) -> AsyncIterator[tuple[Crm, Server, UUID]]:
    async with make_crm([WebChat], settings(**(limits or {})), policy=Staff()) as crm, serving(crm) as server:
        yield crm, server, await new_chat(crm.acting_as(SYSTEM), **account)


async def messages_of(session: Session, conversation: Mapping[str, Any]) -> list[dict[str, Any]]:
    query = session.find(Interaction).where({"conversation_id": {"eq": conversation["id"]}})
    return await (
        query.select("id", "direction", "body", "delivery", "identity", "language", "automatic", "custom_fields")
        .order_by("occurred_at")
        .all()
    )


# --- to and fro --------------------------------------------------------------------------------------------


async def test_what_a_visitor_writes_is_an_open_conversation_for_the_agents(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        page = f"{ORIGIN}/bicycles?session=secret#top"
        async with Widget.open(server, chat, language="de", page=page) as widget:
            said = await widget.say("Haben Sie <b>Helme</b>?\n\nGrüße")
            thread = await thread_of(crm.acting_as(SYSTEM), widget)

        assert said["text"] == "Haben Sie <b>Helme</b>?\n\nGrüße"
        assert (thread["status"].lower(), thread["unread"], thread["customer"]) == ("open", 1, None)
        (message,) = await messages_of(crm.acting_as(SYSTEM), thread)
        assert message["id"] == said["id"]
        assert (message["direction"].lower(), message["language"]) == ("inbound", "de")
        assert message["custom_fields"] == {"webchat": {"page": f"{ORIGIN}/bicycles"}}


async def test_an_answer_arrives_while_the_visitor_waits_and_is_delivered_then_read(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        (mia,) = (await session.create(User, [{"name": "Mia Keller", "email": "mia@shop.example"}])).ids
        async with Widget.open(server, chat) as widget:
            await widget.say("Is it in stock?")
            thread = await thread_of(session, widget)
            assert mia is not None
            agent = crm.acting_as(Principal("user", encode_id("usr", mia)))
            id = await answer(crm, thread, "Yes, <i>three</i> of them.", agent)
            (shown,) = (await widget.hear("messages"))["messages"]
            await widget.tell("got", ids=[id])
            await widget.quiet()
            arrived = (await messages_of(session, thread))[1]["delivery"].lower()
            await widget.tell("seen", ids=[id])
            await widget.tell("got", ids=[id])  # a receipt that comes late takes nothing back
            again = await widget.quiet()

        assert (shown["id"], shown["text"]) == (id, "Yes, <i>three</i> of them.")
        assert arrived == "delivered"
        assert (await messages_of(session, thread))[1]["delivery"].lower() == "read"
        assert not again, "a message comes once"


async def test_the_names_of_agents_are_shown_unless_the_connection_says_no(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        (mia,) = (await session.create(User, [{"name": "Mia Keller", "email": "mia@shop.example"}])).ids
        hidden = await new_chat(session, agent_names=False)
        names = []
        for connection in (chat, hidden):
            async with Widget.open(server, connection) as widget:
                await widget.say("Hello")
                thread = await thread_of(session, widget)
                id = await answer(crm, thread, "Hello!")
                await session.update(Interaction, [Update(id, {"user_id": mia})])
                token = widget.welcome["token"]
            async with Widget.open(server, connection, token=token) as widget:
                names.append(widget.welcome["messages"][1].get("name"))
        assert names == ["Mia Keller", None]


async def test_an_answer_to_somebody_who_left_is_there_on_return(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as widget:
            await widget.say("Anybody there?")
            thread, token = await thread_of(session, widget), widget.welcome["token"]
        await answer(crm, thread, "Now we are")

        async with Widget.open(server, chat, token=token) as back:
            texts = [message["text"] for message in back.welcome["messages"]]
        assert back.welcome["visitor"] == widget.welcome["visitor"]
        assert texts == ["Anybody there?", "Now we are"]


async def test_two_tabs_are_one_visitor(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as one:
            token = one.welcome["token"]
            async with Widget.open(server, chat, token=token) as other:
                said = await one.say("From the first tab")
                (seen,) = (await other.hear("messages"))["messages"]
                await answer(crm, await thread_of(session, one), "To both")
                shown = [(await tab.hear("messages"))["messages"] for tab in (one, other)]
        assert (seen["id"], seen["mine"], seen["client"]) == (said["id"], True, said["client"])
        assert [[message["text"] for message in messages] for messages in shown] == [["To both"], ["To both"]]


async def test_sending_again_stores_nothing_twice(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        id = uuid4().hex
        async with Widget.open(server, chat) as widget:
            token = widget.welcome["token"]
            first = await widget.say("Once", id)
            second = await widget.say("Once", id)
        async with Widget.open(server, chat, token=token) as one, Widget.open(server, chat, token=token) as two:
            both = await asyncio.gather(one.say("Twice", id := uuid4().hex), two.say("Twice", id))
            thread = await thread_of(crm.acting_as(SYSTEM), one)
        assert first == second
        assert both[0]["id"] == both[1]["id"]
        stored = await messages_of(crm.acting_as(SYSTEM), thread)
        assert [message["body"] for message in stored] == ["Once", "Twice"]


class NoShouting(Plugin):
    """Takes in no message in capitals."""

    name = "calm"

    def validators(self) -> Sequence[Validator]:
        return [Validator(Interaction, ["body"], self._check)]

    async def _check(self, context: Context, rows: Sequence[Proposed]) -> Sequence[Problem]:
        return [
            Problem(row.index, "body", "is shouted")
            for row in rows
            if row.after is not None and str(row.after["body"]).isupper()
        ]


async def test_what_a_plugin_refuses_is_told_and_kept_for_the_agents(make_crm: MakeCrm) -> None:
    async with make_crm([WebChat, NoShouting], settings()) as crm, serving(crm) as server:
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, await new_chat(session)) as widget:
            id = uuid4().hex
            await widget.tell("message", id=id, text="WHERE IS IT?")
            refused = await widget.hear("refused")
            await widget.say("Where is it?")
        assert (refused["code"], refused["id"], "after" in refused) == ("failed", id, False)
        (kept,) = await session.find(Undelivered).select("reason").all()
        assert "is shouted" in kept["reason"]


async def test_history_comes_in_pages_and_a_return_brings_only_what_is_new(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, {"burst": 100}) as (_, server, chat):
        async with Widget.open(server, chat) as widget:
            for number in range(65):
                await widget.say(str(number))
            token = widget.welcome["token"]
        async with Widget.open(server, chat, token=token) as widget:
            pages = [widget.welcome]
            while cursor := pages[-1]["cursor"]:
                await widget.tell("history", before=cursor)
                pages.append(await widget.hear("history"))
        ahead = "2999-01-01T00:00:00+00:00"
        async with Widget.open(server, chat, token=token, since=ahead) as back:
            assert back.welcome["messages"] == []
        async with Widget.open(server, chat, token=token, since=widget.welcome["since"]) as back:
            known = {message["id"] for page in pages for message in page["messages"]}
            assert {message["id"] for message in back.welcome["messages"]} <= known
        assert [len(page["messages"]) for page in pages] == [30, 30, 5]
        texts = [message["text"] for page in reversed(pages) for message in page["messages"]]
        assert texts == [str(number) for number in range(65)]


async def test_a_server_that_restarts_loses_nothing(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        async with Widget.open(server, chat) as widget:
            await widget.say("Before")
            thread = await thread_of(crm.acting_as(SYSTEM), widget)
            token, since = widget.welcome["token"], widget.welcome["since"]
            await server.stop()
            with pytest.raises(ConnectionClosed) as closed:
                await widget.link.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        await answer(crm, thread, "Meanwhile")
        await server.start()
        async with Widget.open(server, chat, token=token, since=since) as widget:
            assert [message["text"] for message in widget.welcome["messages"]] == ["Before", "Meanwhile"]


@asynccontextmanager
async def another_process(crm: Crm) -> AsyncIterator[Server]:
    """A second Crm on the same database, with a server of its own; it leaves the jobs to the first one."""
    other = Crm(crm.settings, [WebChat])
    await other.open(dispatch=False)
    try:
        async with serving(other) as server:
            yield server
    finally:
        await other.close()


async def test_an_answer_reaches_a_socket_that_another_process_holds(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat), another_process(crm) as elsewhere:  # noqa: SIM117
        async with Widget.open(elsewhere, chat) as widget:
            await widget.say("Hello")
            token = widget.welcome["token"]
            async with Widget.open(server, chat, token=token) as here:
                await answer(crm, await thread_of(crm.acting_as(SYSTEM), widget), "Hello to both")
                for tab in (widget, here):
                    (shown,) = (await tab.hear("messages"))["messages"]
                    assert shown["text"] == "Hello to both"
                said = await here.say("And from here")
                (seen,) = (await widget.hear("messages"))["messages"]
                assert seen["id"] == said["id"]


async def test_nobody_looks_for_new_messages_while_no_socket_is_open(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        async with Widget.open(server, chat) as widget:
            await widget.say("Hello")
        before = crm.database.statements
        await asyncio.sleep(0.5)
        assert crm.database.statements - before <= 4, "the core's own clocks alone"


async def test_an_agent_may_begin_another_conversation_with_a_visitor(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, identity_secret=SECRET) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as widget:
            await widget.say("Hello")
            first, token = await thread_of(session, widget), widget.welcome["token"]
            await session.update(Conversation, [Update(first["id"], {"status": "closed"})])
            asked = {
                "connection_id": encode_id("con", chat),
                "address": widget.welcome["visitor"],
                "body": "News!",
            }
            assert not (await session.run("send_message", [asked])).errors
            await crm.settle()
            (shown,) = (await widget.hear("messages"))["messages"]
        async with Widget.open(server, chat, identity=ann_signed(), token=token) as signed_in:
            texts = [message["text"] for message in signed_in.welcome["messages"]]
        assert shown["text"] == "News!"
        assert texts == ["Hello", "News!"]


# --- who may, and who does not get in ----------------------------------------------------------------------


async def test_a_site_that_is_not_allowed_gets_no_socket(make_crm: MakeCrm) -> None:
    others = (
        "https://evil.example",
        "http://www.shop.example",
        "https://shop.example",
        "https://www.shop.example.evil.com",
        "https://www.shop.example:8443",
        "null",
        None,
    )
    async with open_chat(make_crm) as (crm, server, chat):
        nobody = await new_chat(crm.acting_as(SYSTEM), allowed_origins=[])
        for connection, origin in (*((chat, origin) for origin in others), (nobody, ORIGIN), (nobody, None)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(server.socket(connection), origin=origin)  # type: ignore[arg-type]
            assert refused.value.response.status_code == 403, origin
            assert b"allowed_origins" in (refused.value.response.body or b"")


async def test_a_connection_that_is_not_there_or_off_has_neither_widget_nor_socket(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, _):
        off = await new_chat(crm.acting_as(SYSTEM))
        await crm.acting_as(SYSTEM).update(Connection, [Update(off, {"active": False})])
        async with httpx2.AsyncClient() as client:
            for id in (off, uuid4()):
                assert (await client.get(server.widget(id))).status_code == 404
                with pytest.raises(InvalidStatus) as refused:
                    await connect(server.socket(id), origin=ORIGIN)  # type: ignore[arg-type]
                assert refused.value.response.status_code == 404
            assert (await client.get(f"{server.url}/webchat/nonsense/widget.js")).status_code == 404


async def test_what_is_no_message_ends_the_socket(make_crm: MakeCrm) -> None:
    frames: tuple[str | bytes, ...] = (
        b"binary",
        "no json",
        "[]",
        '{"t": "rm"}',
        '{"t": "hello", "v": 1}',
        '{"t": "message", "id": "short", "text": "x"}',
        '{"t": "history", "before": "no cursor"}',
        json.dumps({"t": "seen", "ids": ["x" * 40_000]}),
    )
    async with open_chat(make_crm) as (_, server, chat):
        for frame in frames:
            async with Widget.open(server, chat) as widget:
                await widget.link.send(frame)
                with pytest.raises(ConnectionClosed) as closed:
                    await widget.hear("nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4400, frame[:40]


async def test_who_says_no_hello_first_is_not_heard(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        async with connect(server.socket(chat), origin=ORIGIN) as link:  # type: ignore[arg-type]
            await link.send(json.dumps({"t": "message", "id": uuid4().hex, "text": "x"}))
            with pytest.raises(ConnectionClosed) as closed:
                await link.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400
        assert await crm.acting_as(SYSTEM).find(Interaction).count() == 0


async def test_another_visitors_words_and_receipts_are_out_of_reach(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as ann:
            await ann.say("My secret")
            id = await answer(crm, await thread_of(session, ann), "Your secret's answer")
            token = ann.welcome["token"]
        payload, _, signature = token.partition(".")
        guesses = [payload, f"{payload}.", f"{payload[:-2]}AA.{signature}", f".{signature}", "x" * 4_000, "é.é"]
        async with Widget.open(server, await new_chat(session), token=token) as elsewhere:
            assert elsewhere.welcome["messages"] == []
        for guess in guesses:
            async with Widget.open(server, chat, token=guess) as eve:
                assert eve.welcome["visitor"] != ann.welcome["visitor"]
                assert eve.welcome["messages"] == []
                await eve.tell("seen", ids=[id, "int_nonsense", "cus_1"])
                assert await eve.quiet() == []
        assert (await messages_of(session, await thread_of(session, ann)))[1]["delivery"].lower() == "sent"


async def test_who_writes_too_much_has_to_wait(make_crm: MakeCrm) -> None:
    limits = {"burst": 3, "messages_per_minute": 60, "max_length": 20}
    async with open_chat(make_crm, limits) as (_, server, chat), Widget.open(server, chat) as widget:
        for number in range(3):
            await widget.say(str(number))
        id = uuid4().hex
        await widget.tell("message", id=id, text="one too many")
        refused = await widget.hear("refused")
        assert (refused["code"], refused["id"]) == ("rate", id)
        await asyncio.sleep(refused["after"])
        assert (await widget.say("one too many", id))["text"] == "one too many"
        await widget.tell("message", id=uuid4().hex, text="x" * 21)
        assert (await widget.hear("refused"))["code"] == "size"
        await widget.tell("message", id=uuid4().hex, text=" \n\x00 ")
        assert (await widget.hear("refused"))["code"] == "size"


async def test_a_visitor_has_so_many_sockets_and_a_connection_too(make_crm: MakeCrm) -> None:
    limits = {"max_sockets": 3, "max_sockets_per_visitor": 2}
    async with open_chat(make_crm, limits) as (_, server, chat), Widget.open(server, chat) as one:
        token = one.welcome["token"]
        async with Widget.open(server, chat, token=token):
            with pytest.raises(ConnectionClosed) as closed:
                async with Widget.open(server, chat, token=token):
                    pass
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4429
            async with Widget.open(server, chat):
                with pytest.raises(ConnectionClosed):
                    async with Widget.open(server, chat):
                        pass


def test_a_bucket_lets_a_burst_through_and_then_so_many_a_second() -> None:
    now = 0.0
    bucket = Bucket(rate=2.0, burst=3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now = 0.5
    assert bucket.take() == 0.0
    assert not bucket.full
    now = 60.0
    assert bucket.full


# --- who it is ---------------------------------------------------------------------------------------------


async def test_an_address_that_is_claimed_goes_to_the_visitors_own_prospect(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, creates_prospects=True) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as widget:
            await widget.say("Hello")
            await widget.tell("email", email=" New.Visitor@Example.COM ")
            await widget.hear("email")
            await widget.tell("email", email="no address")
            assert (await widget.hear("refused"))["code"] == "email"
            thread, token = await thread_of(session, widget), widget.welcome["token"]
        assert re.fullmatch(r"Visitor [0-9A-F]{6}", thread["customer"]["name"])
        points = session.find(ContactPoint).where({"customer_id": {"eq": thread["customer"]["id"]}})
        found = await points.select("channel", "address", "label", "shared").order_by("channel").all()
        assert found[0] == {
            "channel": "email",
            "address": "new.visitor@example.com",
            "label": "web chat, not verified",
            "shared": True,
        }
        assert [point["channel"] for point in found] == ["email", "webchat"]
        assert thread["unread"] == 1, "the note about the address is nothing to answer"
        async with Widget.open(server, chat, token=token) as widget:
            assert [message["text"] for message in widget.welcome["messages"]] == ["Hello"]


@pytest.mark.parametrize("creates_prospects", [True, False])
async def test_an_address_that_somebody_has_is_a_hint_for_agents_and_opens_nothing(
    make_crm: MakeCrm, creates_prospects: bool
) -> None:
    async with open_chat(make_crm, creates_prospects=creates_prospects) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        (ann,) = (await session.create(Customer, [{"kind": "person", "name": "Ann Lee"}])).ids
        await session.create(
            ContactPoint, [{"customer_id": ann, "channel": "email", "address": "ann@acme.example"}]
        )
        async with Widget.open(server, chat) as widget:
            await widget.say("I am Ann, what did I order?")
            await widget.tell("email", email="Ann@acme.example")
            await widget.hear("email")
            thread = await thread_of(session, widget)
        assert ann is not None
        theirs = encode_id("cus", ann)
        assert thread["customer"] is None or thread["customer"]["id"] != theirs
        note = (await messages_of(session, thread))[1]
        assert (note["automatic"], note["identity"].lower()) == (True, "ambiguous")
        assert note["custom_fields"]["webchat"] == {
            "claimed_email": "ann@acme.example",
            "verified": False,
            "address_of": [theirs],
        }
        assert await session.find(Interaction).where({"customer_id": {"eq": ann}}).count() == 0
        assert await session.find(ContactPoint).where({"customer_id": {"eq": ann}}).count() == 1


async def signed_in_customer(session: Session) -> UUID:
    (ann,) = (await session.create(Customer, [{"kind": "person", "name": "Ann Lee"}])).ids
    await session.create(ContactPoint, [{"customer_id": ann, "channel": "email", "address": "ann@acme.example"}])
    assert ann is not None
    return ann


def ann_signed(**more: Any) -> str:
    given = {"now": time.time(), "email": "Ann@Acme.example", "name": "Ann Lee", **more}
    return sign_identity(SECRET, "user 42/ä", **given)


async def test_a_signed_identity_joins_the_customer_and_is_the_same_on_every_device(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, identity_secret=SECRET) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        ann = encode_id("cus", await signed_in_customer(session))
        async with Widget.open(server, chat, identity=ann_signed()) as phone:
            await phone.say("From the phone")
            thread = await thread_of(session, phone)
            assert (phone.welcome["identified"], phone.welcome["token"]) == (True, None)
        async with Widget.open(server, chat, identity=ann_signed()) as laptop:
            assert [message["text"] for message in laptop.welcome["messages"]] == ["From the phone"]
        assert thread["customer"]["id"] == ann
        assert await session.find(Interaction).where({"customer_id": {"eq": ann}}).count() == 1


@pytest.mark.parametrize("creates_prospects", [True, False])
@pytest.mark.parametrize("spoke_before", [True, False])
async def test_what_was_said_before_signing_in_comes_along(
    make_crm: MakeCrm, creates_prospects: bool, spoke_before: bool
) -> None:
    chat_of = open_chat(make_crm, creates_prospects=creates_prospects, identity_secret=SECRET)
    async with chat_of as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        ann = encode_id("cus", await signed_in_customer(session))
        if spoke_before:
            async with Widget.open(server, chat, identity=ann_signed()) as long_ago:
                await long_ago.say("Long ago")
        async with Widget.open(server, chat) as guest:
            await guest.say("As a guest")
            token = guest.welcome["token"]
        expected = ["Long ago", "As a guest"] if spoke_before else ["As a guest"]
        for _ in range(2):
            async with Widget.open(server, chat, identity=ann_signed(), token=token) as widget:
                texts = [message["text"] for message in widget.welcome["messages"]]
                thread = await thread_of(session, widget)
            assert texts == expected
        assert thread["customer"]["id"] == ann
        assert thread["unread"] == len(expected)
        assert await session.find(Conversation).count() == 1
        assert await session.find(Customer).count() == 1, "the prospect that the guest was is gone"
        assert await session.find(Interaction).where({"customer_id": {"eq": ann}}).count() == len(expected)
        async with Widget.open(server, chat, token=token) as nobody:
            assert nobody.welcome["messages"] == [], "after signing out, nothing is left for the next one"


async def test_a_guest_of_whom_somebody_decided_stays_who_they_are(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, identity_secret=SECRET) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        await signed_in_customer(session)
        (bob,) = (await session.create(Customer, [{"kind": "person", "name": "Bob"}])).ids
        await session.create(
            ContactPoint, [{"customer_id": bob, "channel": "email", "address": "bob@acme.example"}]
        )
        async with Widget.open(server, chat) as guest:
            await guest.say("This is Bob")
            token, key = guest.welcome["token"], guest.welcome["visitor"]
            await session.create(ContactPoint, [{"customer_id": bob, "channel": "webchat", "address": key}])
            await guest.say("Bob again")
            before = await thread_of(session, guest)
        async with Widget.open(server, chat, identity=ann_signed(), token=token) as widget:
            assert widget.welcome["messages"] == []
        assert await thread_of(session, guest) == before | {"visitor": {"online": False, "typing": False}}


async def test_a_signed_in_visitor_whom_nobody_knows_becomes_a_prospect_with_the_address(
    make_crm: MakeCrm,
) -> None:
    chat_of = open_chat(make_crm, creates_prospects=True, identity_secret=SECRET)
    async with chat_of as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat, identity=ann_signed()) as widget:
            await widget.say("Hello")
            thread = await thread_of(session, widget)
        assert thread["customer"]["name"] == "Ann Lee"
        points = session.find(ContactPoint).select("channel", "label").order_by("channel")
        assert [point["channel"] for point in await points.all()] == ["email", "webchat"]


async def test_an_identity_that_is_not_signed_makes_nobody_anybody(make_crm: MakeCrm) -> None:
    wrong = (
        (ann_signed(now=time.time() - 7_200), "expired"),
        (ann_signed(seconds=200_000), "too long"),
        (sign_identity("another secret of thirty-two characters", "42", now=time.time()), "signature"),
        (".".join([*ann_signed().split(".")[:2], ""]), "signature"),
        ("eyJhbGciOiJub25lIn0.e30.", "signature"),
        ("nonsense", "JSON Web Token"),
    )
    async with open_chat(make_crm, identity_secret=SECRET) as (_, server, chat):
        async with Widget.open(server, chat, identity=ann_signed()) as ann:
            await ann.say("Mine")
        for identity, reason in wrong:
            async with Widget.open(server, chat, identity=identity) as eve:
                assert (eve.welcome["identified"], eve.welcome["messages"]) == (False, [])
                refused = await eve.hear("refused")
                assert refused["code"] == "identity"
                assert reason in refused["reason"]


async def test_a_page_that_is_open_outlives_its_identity_but_a_new_one_does_not(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm, identity_secret=SECRET) as (crm, server, chat):
        async with Widget.open(server, chat, identity=ann_signed()) as page:
            await page.say("Hello")
            resume, since = page.welcome["resume"], page.welcome["since"]
        old = ann_signed(now=time.time() - 7_200)
        async with Widget.open(server, chat, identity=old, resume=resume, since=since) as again:
            assert (again.welcome["identified"], again.welcome["visitor"]) == (True, page.welcome["visitor"])
            assert await again.quiet() == []
        async with Widget.open(server, chat) as guest:
            assert guest.welcome["resume"] is None
        elsewhere = await new_chat(crm.acting_as(SYSTEM), identity_secret=SECRET)
        for connection, hello in (
            (chat, {"identity": old}),
            (chat, {"resume": guest.welcome["token"]}),
            (chat, {"token": resume}),
            (elsewhere, {"resume": resume}),
        ):
            async with Widget.open(server, connection, **hello) as eve:
                assert (eve.welcome["identified"], eve.welcome["messages"]) == (False, [])


async def test_times_that_are_absurd_are_no_times(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (_, server, chat):
        for since in (
            "0001-01-01T00:00:00+00:00",
            "9999-12-31T23:59:59-23:59",
            "yesterday",
            "2026-01-01T00:00:00",
        ):
            async with Widget.open(server, chat, since=since) as widget:
                assert widget.welcome["messages"] == []


def test_the_algorithm_and_the_claims_of_an_identity_are_checked() -> None:
    now = 1_000_000.0
    good = sign_identity(SECRET, "42", now=now, email="a@b.example", name="Ann")
    assert read_identity(good, SECRET, now).subject == "42"
    for wrong, reason in (
        (sign_identity(SECRET, "", now=now), "sub"),
        (sign_identity(SECRET, "a\nb", now=now), "sub"),
        (sign_identity(SECRET, "42", now=now, email="a\x00b"), "email"),
        (sign_identity(SECRET, "42", now=now, name="n" * 201), "name"),
    ):
        with pytest.raises(TokenError, match=reason):
            read_identity(wrong, SECRET, now)


def test_a_visitors_token_lasts_a_year_and_survives_a_new_key() -> None:
    crm_settings = Crm(settings(), [WebChat]).settings
    old, other = vault(crm_settings, "webchat"), vault(Crm(settings(), [WebChat]).settings, "webchat")
    connection, now = uuid4(), 1_000_000.0
    visitor = new_visitor(connection, now)
    token = sign(visitor, old)
    assert read(token, connection, old, now) == visitor
    with pytest.raises(TokenError, match="not ours"):
        read(token, connection, other, now)
    with pytest.raises(TokenError, match="another connection"):
        read(token, uuid4(), old, now)
    with pytest.raises(TokenError, match="too old"):
        read(token, connection, old, now + VALID + 1)
    first = old.keys[0]
    rotated = Crm({"security": {"keys": [new_key(), first]}}, [WebChat]).settings
    assert read(token, connection, vault(rotated, "webchat"), now) == visitor


# --- typing and presence -----------------------------------------------------------------------------------


async def test_typing_is_seen_on_both_sides_and_stored_on_none(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as widget:
            await widget.say("Hello")
            thread = await thread_of(session, widget)
            assert thread["visitor"] == {"online": True, "typing": False}
            await widget.tell("typing")
            await widget.quiet()
            assert (await thread_of(session, widget))["visitor"] == {"online": True, "typing": True}
            with recorded() as statements:
                result = await session.run("webchat_typing", [{"conversation_id": thread["id"]}])
            await widget.hear("typing")
            assert not [text for text in statements if not text.lstrip().lower().startswith(("select", "with"))]
            assert result.values[0].typing is True
        assert (await thread_of(session, widget))["visitor"]["online"] is False
        wrong = await session.run("webchat_typing", [{"conversation_id": encode_id("cnv", uuid4())}])
        assert [error.code for error in wrong.errors] == ["not_found"]


async def test_visitors_see_whether_somebody_is_online(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat):
        session = crm.acting_as(SYSTEM)
        async with Widget.open(server, chat) as widget:
            assert widget.welcome["online"] is False
            await session.run("webchat_presence", [{"connection_id": encode_id("con", chat)}])
            assert (await widget.hear("presence"))["online"] is True
            off = {"connection_id": encode_id("con", chat), "online": False}
            await session.run("webchat_presence", [off])
            assert (await widget.hear("presence"))["online"] is False
        for presence in ("always", "never"):
            fixed = await new_chat(session, presence=presence)
            await session.run("webchat_presence", [{"connection_id": encode_id("con", fixed)}])
            async with Widget.open(server, fixed) as widget:
                assert widget.welcome["online"] is (presence == "always")


async def test_typing_goes_from_process_to_process_where_the_database_has_a_line(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, _, chat), another_process(crm) as elsewhere:
        if crm.database.dialect == "sqlite":
            pytest.skip("SQLite has no line between processes; answers arrive by looking for them")
        session = crm.acting_as(SYSTEM)
        async with Widget.open(elsewhere, chat) as widget:
            await widget.say("Hello")
            thread = await thread_of(session, widget)
            async with asyncio.timeout(5):
                while not (await thread_of(session, widget))["visitor"]["online"]:
                    await asyncio.sleep(0.02)
                    await widget.tell("typing")
            await session.run("webchat_typing", [{"conversation_id": thread["id"]}])
            await widget.hear("typing")
            await session.run("webchat_presence", [{"connection_id": encode_id("con", chat)}])
            assert (await widget.hear("presence"))["online"] is True


async def test_a_connection_that_is_switched_off_closes_its_sockets(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat), Widget.open(server, chat) as widget:
        await crm.acting_as(SYSTEM).update(Connection, [Update(chat, {"active": False})])
        with pytest.raises(ConnectionClosed) as closed:
            await widget.hear("nothing")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


async def test_agents_need_nothing_of_the_web_chat_but_what_graphql_has(make_crm: MakeCrm) -> None:
    async with make_crm([WebChat], {"plugins": ["graphql"], **settings()}) as crm, serving(crm) as server:
        session = crm.acting_as(SYSTEM)
        chat = await new_chat(session)
        async with Widget.open(server, chat) as widget:
            await widget.say("Do you have lamps?")
            with recorded() as statements:
                inbox = await execute(
                    crm,
                    session,
                    """{ conversations(where: {status: {eq: OPEN}}, orderBy: [{lastAt: DESC}]) { nodes {
                        id unread visitor { online typing }
                        interactions(first: 1, orderBy: [{occurredAt: DESC}]) { nodes { body } } } } }""",
                    {},
                )
            assert not inbox.errors, inbox.errors
            (node,) = inbox.data["conversations"]["nodes"]
            sent = await execute(
                crm,
                session,
                """mutation($id: ID!) {
                    webchatTyping(input: {conversationId: $id}) { userErrors { message } }
                    sendMessage(input: {conversationId: $id, body: "We do"}) { userErrors { message } } }""",
                {"id": node["id"]},
            )
            assert not sent.errors, sent.errors
            await widget.hear("typing")
            (shown,) = (await widget.hear("messages"))["messages"]
        assert len(statements) == 1
        assert node["visitor"] == {"online": True, "typing": False}
        assert node["interactions"]["nodes"] == [{"body": "Do you have lamps?"}]
        assert shown["text"] == "We do"


# --- the account and the script ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ({"allowed_origins": ["*"]}, "'*' is no origin; expected scheme and host"),
        ({"allowed_origins": ["https://*.shop.example"]}, "is no origin"),
        ({"allowed_origins": ["shop.example"]}, "is no origin"),
        ({"allowed_origins": ["https://shop.example/chat"]}, "is more than an origin"),
        ({"allowed_origins": ["https://user@shop.example"]}, "is more than an origin"),
        ({"color": "red; }"}, "String should match pattern"),
        ({"languages": ["tlh"]}, "the widget brings no texts in 'tlh'"),
        ({"languages": ["<b>"]}, "is no language"),
        ({"texts": {"en": {"hello": "x"}}}, "texts.en has 'hello'; known are open, close"),
        ({"identity_secret": "short"}, "shorter than 32 characters"),
        ({"titel": "x"}, "Extra inputs"),
    ],
)
def test_an_account_that_can_not_work_is_refused(account: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        WebChatAccount(**account)
    assert message in str(refused.value)
    assert "short'" not in str(refused.value)


@pytest.mark.parametrize("name", WebChatAccount.model_fields)
def test_every_setting_of_the_account_stands_in_the_docs(name: str) -> None:
    assert f"| `{name}` | " in (Path(__file__).parents[1] / "docs" / "webchat.md").read_text(encoding="utf-8")


def test_origins_are_kept_as_browsers_send_them() -> None:
    given = ["HTTPS://WWW.Shop.example:443/", "http://localhost:8080", "https://bücher.example", "http://[::1]:80"]
    assert WebChatAccount(allowed_origins=given).allowed_origins == [
        "https://www.shop.example",
        "http://localhost:8080",
        "https://xn--bcher-kva.example",
        "http://[::1]",
    ]


@pytest.mark.parametrize(
    ("color", "ink"), [("#ffff00", "#000000"), ("#1f4fd8", "#ffffff"), ("#777777", "#000000")]
)
def test_text_on_the_color_can_be_read(color: str, ink: str) -> None:
    assert WebChatAccount(color=color).ink == ink
    assert WebChatAccount(color=color).ring == ("#1d2129" if color == "#ffff00" else color)


def test_every_language_has_every_text() -> None:
    for language, texts in TEXTS.items():
        assert list(texts) == list(KEYS), language
        assert all(texts.values())
    own = WebChatAccount(languages=["nl"], texts={"nl": dict.fromkeys(KEYS, "woord")})
    assert own.words("nl")["send"] == "woord"
    assert WebChatAccount(languages=["de-CH"], texts={"de-CH": {"close": "Schliessen"}}).words("de-CH")["save"]


def test_the_script_is_small_and_holds_texts_that_could_end_it() -> None:
    hostile = "</script><script>alert(1)</script>\u2028`${alert(1)}`"
    account = WebChatAccount(title=hostile, greeting={"en": hostile, "de": "Hallo"}, languages=["en", "de"])
    made = script("con_" + "0" * 32, account, heartbeat=25, longest=4000)
    assert len(made.text.encode()) < 25_000
    assert "</script>" not in made.text
    assert "\u2028" not in made.text
    line = next(line for line in made.text.splitlines() if line.startswith("const config = "))
    config = json.loads(line.removeprefix("const config = ").removesuffix(";"))
    assert config["texts"]["en"]["greeting"] == hostile
    assert config["texts"]["de"]["greeting"] == "Hallo"


async def test_the_script_is_cached_until_it_changes(make_crm: MakeCrm) -> None:
    async with open_chat(make_crm) as (crm, server, chat), httpx2.AsyncClient() as client:
        first = await client.get(server.widget(chat))
        same = await client.get(server.widget(chat), headers={"if-none-match": first.headers["etag"]})
        assert (first.status_code, same.status_code, same.content) == (200, 304, b"")
        assert first.headers["content-type"] == "text/javascript; charset=utf-8"
        assert first.headers["x-content-type-options"] == "nosniff"
        assert SECRET not in first.text
        changed = {"id": encode_id("con", chat), "settings": {"title": "Another"}}
        assert not (await crm.acting_as(SYSTEM).run("update_connection", [changed])).errors
        async with asyncio.timeout(10):
            while "Another" not in (await client.get(server.widget(chat))).text:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
