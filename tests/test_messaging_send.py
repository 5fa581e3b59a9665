"""What is sent: queued with the caller's change, asked for consent, at least once, only ever forward."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from amity import (
    SYSTEM,
    Connection,
    Conversation,
    Customer,
    Interaction,
    JobRun,
    Participant,
    Principal,
    Receipt,
    Session,
    Undelivered,
    Update,
    User,
)
from amity.access import Everything, Rights
from amity.entity import encode_id, new_id
from amity.events import dispatcher
from amity.messaging import outbox, receipts
from amity.messaging.fetch import TendConnections
from amity.testing import recorded

from .conftest import MakeCrm
from .courier import NOON, couriers, note


async def test_a_message_leaves_and_says_so(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        ann = await post.customer("Ann", "ann")
        (id,) = await post.sends({"customer_id": ann, "subject": "Offer", "body": "Dear Ann", "cc": ["BOB"]})
        (left,) = post.left()
        assert left == {
            "message_id": encode_id("int", id),
            "address": "ann",
            "subject": "Offer",
            "body": "Dear Ann",
            "attempt": 1,
            "replies_to": [],
            "parties": [["to", "ann"], ["cc", "bob"]],
            "files": {},
            "unsubscribe": None,
        }
        fields = ("delivery", "direction", "purpose", "failure", "customer.name", "remote_id", "attempts")
        assert await post.message(id, *fields) == {
            "delivery": "sent",
            "direction": "outbound",
            "purpose": "service",
            "failure": None,
            "customer": {"name": "Ann"},
            "remote_id": f"receipt-{left['message_id']}",
            "attempts": 1,
        }
        conversation = await post.conversation()
        assert (conversation["status"], conversation["unread"], conversation["subject"]) == ("open", 0, "Offer")


async def test_an_answer_stays_in_its_conversation(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        done = await post.brings(note("m1"))
        (first,) = await post.sends({"reply_to_id": done.ids[0], "body": "one"})
        conversation = (await post.conversation())["id"]
        (second,) = await post.sends({"conversation_id": conversation, "body": "two"})
        one = encode_id("int", first)
        assert [left["replies_to"] for left in post.left()] == [["m1"], ["m1", f"receipt-{one}"]]
        assert [left["address"] for left in post.left()] == ["ann", "ann"]
        # answers come to the provider's id, or to ours
        await post.brings(note("m2", replies_to=[f"receipt-{one}"]), note("m3", replies_to=[one]))
        assert await post.threads() == [{"m1", one, encode_id("int", second), "m2", "m3"}]


async def test_a_message_is_queued_with_the_change_that_asks_for_it_or_not_at_all(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path) as post:

        async def work(joined: Session) -> None:
            await joined.run("send_message", [post.by_it({"address": "ann", "body": "hello"})])
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            await post.session.transact(work)
        await post.crm.settle()
        assert post.left() == []
        assert await post.session.find(Interaction).count() == 0
        assert await post.session.find(Conversation).count() == 0


async def test_a_message_with_the_same_id_is_queued_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        id = encode_id("int", new_id())
        given = {"id": id, "address": "ann", "body": "hello"}
        assert await post.sends(given) == await post.sends(given)
        assert len(post.left()) == 1
        done = await post.brings(note("m1"))
        path, told = await post.refused({**given, "id": done.ids[0]})
        assert (path, told) == (("id",), "another interaction has this id")


async def test_consent_is_asked_when_it_is_queued_and_before_it_leaves(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        given = {"address": "ann", "body": "hello", "purpose": "news"}
        path, told = await post.refused(given)
        assert (path, told) == (("purpose",), "there is no consent for 'news' over courier")
        consent = {"channel": "courier", "address": "ann", "purpose": "news"}
        await post.session.run("record_consent", [{**consent, "state": "given"}])
        await post.session.update(Connection, [Update(post.id, {"active": False})])
        assert (await post.refused(given))[1] == "the connection 'front desk' is not active"
        await post.session.update(Connection, [Update(post.id, {"active": True})])

        async def work(joined: Session) -> Any:
            done = await joined.run("send_message", [post.by_it(given)])
            await joined.run("record_consent", [{**consent, "state": "withdrawn"}])
            return done.ids[0]

        id = await post.session.transact(work)
        await post.crm.settle()
        row = await post.message(id, "delivery", "failure")
        assert row["delivery"] == "failed"
        assert row["failure"].startswith("consent for 'news' over courier was withdrawn on")
        assert post.left() == []


async def test_what_is_no_answer_brings_a_link_to_withdraw_consent(make_crm: MakeCrm, tmp_path: Path) -> None:
    settings = {"server": {"public_url": "https://crm.example/"}}
    async with couriers(make_crm, tmp_path, settings=settings) as post:
        consent = {"channel": "courier", "address": "ann", "purpose": "news", "state": "given"}
        await post.session.run("record_consent", [consent])
        await post.sends(
            {"address": "ann", "body": "news", "purpose": "news"}, {"address": "ann", "body": "answer"}
        )
        links = {left["body"]: left["unsubscribe"] for left in post.left()}
        assert links["answer"] is None
        assert links["news"].startswith("https://crm.example/unsubscribe/")


async def test_after_the_reply_window_only_templates_are_taken(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, channel="whistle") as post:
        given = {"address": "ann", "body": "hello"}
        path, told = await post.refused(given)
        assert path == ("template_id",)
        assert told.startswith("the other side did not write within 1 day")
        await post.brings(note("m1", occurred_at=datetime.now(UTC) - timedelta(days=2)))
        await post.refused(given)
        template = {"name": "call", "texts": [{"language": "en", "body": "call us"}]}
        saved = await post.session.run("save_template", [template])
        await post.sends({"address": "ann", "template_id": saved.ids[0]})
        await post.brings(note("m2", occurred_at=datetime.now(UTC) - timedelta(hours=23)))
        (id,) = await post.sends(given)
        assert (await post.message(id, "delivery"))["delivery"] == "sent"
        assert len(await post.threads()) == 1


async def test_a_template_becomes_the_text(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        ann = await post.customer("Ann", "ann")
        await post.session.update(Customer, [Update(ann, {"locale": "de-CH"})])
        template = {
            "name": "hello",
            "variables": ["day"],
            "texts": [
                {"language": "en", "subject": "Hello", "body": "Dear {{ customer.name }}, see you on {{ day }}"},
                {"language": "de", "subject": "Hallo", "body": "Liebe {{ customer.name }}, bis {{ day }}"},
            ],
        }
        saved = await post.session.run("save_template", [template])
        given = {"customer_id": ann, "template_id": saved.ids[0], "variables": {"day": "Montag"}}
        (id,) = await post.sends(given)
        assert [(left["subject"], left["body"]) for left in post.left()] == [("Hallo", "Liebe Ann, bis Montag")]
        assert await post.message(id, "language", "template.name") == {
            "language": "de",
            "template": {"name": "hello"},
        }
        assert (await post.refused({**given, "variables": {}}))[0] == ("template_id",)


async def test_files_go_along_with_one_message(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        content = base64.b64encode(b"plan").decode()
        made = await post.session.run("add_file", [{"name": "plan.txt", "content": content}])
        given = {"address": "ann", "file_ids": [made.ids[0]]}
        await post.sends(given)
        assert post.left()[0]["files"] == {"plan.txt": "plan"}
        assert (await post.refused(given))[1] == "there is no such file, or another message has it"


@pytest.mark.parametrize(
    ("given", "path", "told"),
    [
        ({"body": "x", "address": " "}, ("address",), "the address is empty"),
        ({"body": "x"}, ("address",), "there is no address on the channel 'courier'"),
        ({"address": "ann"}, ("body",), "a text is needed"),
        ({"address": "ann", "body": "x" * 501}, ("body",), "has 501 characters; the channel 'courier' takes 500"),
        (
            {"channel": "pigeon", "address": "ann", "body": "x"},
            ("channel",),
            "nothing can be sent by the channel 'pigeon'; enabled are courier, whistle",
        ),
        (
            {"channel": "whistle", "address": "ann", "body": "x"},
            ("channel",),
            "the channel 'whistle' has no connection that is active",
        ),
        (
            {"conversation_id": f"cnv_{0:032x}", "body": "x"},
            ("conversation_id",),
            "there is no such conversation",
        ),
    ],
)
async def test_what_can_not_be_sent_is_told(
    make_crm: MakeCrm, tmp_path: Path, given: dict[str, Any], path: tuple[Any, ...], told: str
) -> None:
    async with couriers(make_crm, tmp_path) as post:
        assert await post.refused(given) == (path, told)


async def test_what_the_channel_refuses_for_good_has_failed(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        (id,) = await post.sends({"address": "ann", "body": "nobody there"})
        assert await post.message(id, "delivery", "failure") == {
            "delivery": "failed",
            "failure": "nobody lives there",
        }


@pytest.mark.parametrize(
    ("weather", "reason"), [("rain", "it rains"), ("storm", "ConnectionError: the storm took •••")]
)
async def test_what_fails_for_now_is_tried_again_and_then_given_up(
    make_crm: MakeCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weather: str, reason: str
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(dispatcher, "LONGEST_RETRY", 0.01)
    monkeypatch.setattr(outbox, "ATTEMPTS", 3)
    async with couriers(make_crm, tmp_path) as post:
        (id,) = await post.sends({"address": "ann", "body": weather})
        while (row := await post.message(id, "delivery", "failure", "attempts"))["delivery"] != "failed":
            assert row["delivery"] == "sending"
            await post.crm.settle()
        assert row == {"delivery": "failed", "failure": reason, "attempts": 3}
        connection = post.session.find(Connection).select("failure")
        told = f"sending: {reason}" if weather == "storm" else None
        assert await connection.get(post.id) == {"failure": told}
        await post.sends({"address": "ann", "body": "sun"})
        assert await connection.get(post.id) == {"failure": None}


async def test_what_was_left_behind_gets_another_job(
    make_crm: MakeCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with couriers(make_crm, tmp_path) as post:

        async def work(joined: Session) -> None:
            await joined.run("send_message", [post.by_it({"address": "ann", "body": "hello"})])
            await joined.update(Connection, [Update(post.id, {"active": False})])

        await post.session.transact(work)
        await post.crm.settle()
        assert post.left() == []
        monkeypatch.setattr(outbox, "LEFT_BEHIND", timedelta(0))
        await post.session.enqueue("tend_connections", TendConnections())
        await post.crm.settle()
        assert post.left() == []
        await post.session.update(Connection, [Update(post.id, {"active": True})])
        await post.session.enqueue("tend_connections", TendConnections())
        await post.crm.settle()
        assert [left["body"] for left in post.left()] == ["hello"]


async def test_receipts_move_a_message_forward_and_never_back(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        (id,) = await post.sends({"address": "ann", "body": "hello"})
        own = encode_id("int", id)

        async def after(*brought: Receipt) -> Any:
            await post.brings(*brought)
            return (await post.message(id, "delivery"))["delivery"]

        assert await after(Receipt(own, "delivered", NOON)) == "delivered"
        assert (await post.message(id, "delivered_at"))["delivered_at"] == "2026-03-02T12:00:00.000000Z"
        assert await after(Receipt(f"receipt-{own}", "sent"), Receipt(own, "failed", reason="late")) == "delivered"
        assert await after(Receipt(f"receipt-{own}", "read"), Receipt(own, "delivered")) == "read"
        version = (await post.message(id, "version"))["version"]
        assert await after(Receipt(own, "delivered"), Receipt(own, "sent")) == "read"
        assert (await post.message(id, "version"))["version"] == version
        told = await post.session.update(Interaction, [Update(id, {"delivery": "sent"})], read_only=True)
        assert told.errors[0].message == "only moves forward, and read does not lead to sent"
        assert (await post.session.update(Interaction, [Update(id, {"delivery": "read"})])).errors[
            0
        ].code == "read_only"


async def test_a_receipt_that_fails_a_message_says_why(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        (id,) = await post.sends({"address": "ann", "body": "hello"})
        await post.brings(Receipt(encode_id("int", id), "failed", reason="no such street", permanent=True))
        row = await post.message(id, "delivery", "failure")
        assert row == {"delivery": "failed", "failure": "no such street"}
        await post.brings(Receipt(encode_id("int", id), "delivered"))
        assert (await post.message(id, "delivery"))["delivery"] == "failed"


async def test_a_receipt_that_comes_too_early_is_kept(
    make_crm: MakeCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "FIRST_PAUSE", timedelta(seconds=0.05))
    monkeypatch.setattr("amity.messaging.receive.FIRST_PAUSE", timedelta(0))
    async with couriers(make_crm, tmp_path) as post:
        id = new_id()
        await post.brings(Receipt(f"receipt-{encode_id('int', id)}", "delivered"))
        await post.sends({"id": id, "address": "ann", "body": "hello"})
        while (await post.message(id, "delivery"))["delivery"] != "delivered":
            await post.crm.settle()
        monkeypatch.setattr(receipts, "KEPT", timedelta(0))
        await post.brings(Receipt("nobody's", "read"))
        while not await post.session.find(Undelivered).count():
            await post.crm.settle()
        row = await post.session.find(Undelivered).select("reference", "reason").one()
        assert row == {"reference": "nobody's", "reason": "a receipt (read) of a message that is not known"}


async def test_a_batch_costs_a_constant_number_of_statements(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        counts = []
        for size in (2, 20, 60):
            inputs = [post.by_it({"address": f"{size}-{n}", "body": "hello", "cc": ["bob"]}) for n in range(size)]
            with recorded() as statements:
                done = await post.session.run("send_message", inputs)
            assert not done.errors
            counts.append(sum(not statement.startswith("ANALYZE") for statement in statements))
        await post.crm.settle()
        assert len(post.left()) == 82
        assert counts[0] == counts[1] == counts[2], counts


class Everybody:
    """Users may do everything too."""

    def rights(self, principal: Principal) -> Rights:
        return Everything(principal)


async def test_whoever_answers_takes_the_conversation_over(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        made = await post.session.create(User, [{"name": "Mia"}, {"name": "Jon"}])
        mia, jon = (encode_id("usr", id) for id in made.ids if id is not None)
        await post.brings(note("m1"))
        conversation = (await post.conversation())["id"]
        post.crm.policy = Everybody()
        for user in (mia, jon):
            session = post.crm.acting_as(Principal("user", user))
            done = await session.run("send_message", [{"conversation_id": conversation, "body": "hello"}])
            assert not done.errors
        await post.crm.settle()
        row = await post.session.find(Conversation).select("assignee.name").get(conversation)
        assert row == {"assignee": {"name": "Mia"}}
        agents = post.session.find(Participant).where({"role": {"eq": "agent"}}).order_by("id")
        assert await agents.select("user.name").all() == [{"user": {"name": "Mia"}}, {"user": {"name": "Jon"}}]
        told = await session.update(
            Conversation, [Update(conversation, {"assignee_id": jon, "status": "pending"})]
        )
        assert not told.errors


async def test_a_connection_is_fetched_page_by_page_and_each_note_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    lines = [json.dumps({"message_id": f"m{n}", "address": "ann"}) for n in range(5)]
    inbox.write_text("\n".join(lines), "utf-8")
    async with couriers(make_crm, tmp_path) as post:

        async def fetched() -> dict[str, Any]:
            await post.session.enqueue("tend_connections", TendConnections())
            await post.crm.settle()
            row = (
                await post.session.find(Connection)
                .select("cursor", "fetched_at", "failure", "version")
                .get(post.id)
            )
            assert row is not None
            return row

        first = await fetched()
        assert (first["cursor"], first["failure"]) == ("5", None)
        assert first["fetched_at"] is not None
        assert [row["message_id"] for row in await post.messages("message_id")] == ["m0", "m1", "m2", "m3", "m4"]
        inbox.write_text("\n".join([*lines, json.dumps({"message_id": "m5", "address": "ann"})]), "utf-8")
        second = await fetched()
        assert (second["cursor"], second["version"]) == ("6", first["version"])
        inbox.write_text("\n".join([*lines, "", "no json sesame"]), "utf-8")
        third = await fetched()
        assert third["failure"].startswith("fetching: JSONDecodeError")
        assert third["cursor"] == "6"
        inbox.write_text("\n".join([*lines, "", ""]), "utf-8")
        await post.crm.database.transact(lambda tx: tx.execute("DELETE FROM core_job_run WHERE state = 'queued'"))
        assert (await fetched())["failure"] is None


async def test_without_a_channel_nothing_is_scheduled(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        jobs = crm.acting_as(SYSTEM).find(JobRun).where({"job": {"eq": "tend_connections"}})
        assert await jobs.count() == 0
