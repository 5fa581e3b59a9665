"""What people of one team may do with the customers and conversations of another by messages: nothing."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from amity import (
    ConsentEntry,
    ContactPoint,
    Conversation,
    Customer,
    Deal,
    File,
    Inbound,
    Interaction,
    Media,
    Pipeline,
    Principal,
    Related,
    Session,
    Stage,
    Team,
    Undelivered,
    Unreadable,
    Update,
    User,
)
from amity.entity import encode_id
from amity.messaging import deliver

from .conftest import MakeCrm
from .courier import Post, couriers, note


@dataclass
class Teams:
    """North's agent, South's customer with a conversation that nobody took care of yet, and a reader of all."""

    post: Post
    north: Session
    south: Session
    reader: Session
    ann: UUID
    """North's customer."""
    sue: UUID
    """South's customer."""
    southern: UUID
    """The team South."""

    async def runs(self, session: Session, action: str, given: Mapping[str, Any], **more: Any) -> UUID:
        done = await session.run(action, [given], **more)
        assert not done.errors, done.errors
        assert done.ids[0] is not None
        return done.ids[0]


async def _owned(post: Post, name: str, owner: UUID) -> UUID:
    id = await post.customer(name, name.lower())
    assert not (await post.session.update(Customer, [Update(id, {"owner_id": owner})])).errors
    return id


@asynccontextmanager
async def teams(make_crm: MakeCrm, folder: Path, **more: Any) -> AsyncIterator[Teams]:
    async with couriers(make_crm, folder, **more) as post:
        crm, system = post.crm, post.session
        places = (await system.create(Team, [{"name": "North"}, {"name": "South"}])).ids
        people = [
            {"name": name, "email": f"{name}@x.example", "team_id": team}
            for name, team in (("nora", places[0]), ("saul", places[1]), ("rita", None))
        ]
        users = (await system.create(User, people)).ids
        for user, role in zip(users, ("agent", "agent", "read-only"), strict=True):
            assert user is not None
            given = {"user": encode_id("usr", user), "role": role}
            assert not (await system.run("assign_role", [given])).errors
        north, south, reader = [
            crm.acting_as(await crm.access.user(f"{name}@x.example")) for name in ("nora", "saul", "rita")
        ]
        assert users[0] is not None
        assert users[1] is not None
        assert places[1] is not None
        yield Teams(
            post,
            north,
            south,
            reader,
            await _owned(post, "Ann", users[0]),
            await _owned(post, "Sue", users[1]),
            places[1],
        )


async def test_writing_to_an_address_takes_over_no_conversation_of_another_team(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with teams(make_crm, tmp_path) as at:
        whistle = {"channel": "whistle", "name": "whistle", "team_id": at.southern}
        connection = await at.runs(at.post.session, "create_connection", whistle)
        secret = Inbound("w1", "unknown", _now(), None, "the secret")
        await deliver(at.post.crm, connection, [secret])
        assert await at.north.find(Interaction).count() == 0
        assert await at.south.find(Interaction).count() == 1
        given = {"connection_id": connection, "address": "unknown", "body": "hello"}
        await at.runs(at.north, "send_message", given)
        assert await at.north.find(Interaction).select("body").all() == [{"body": "hello"}]
        theirs = at.south.find(Interaction).select("conversation.assignee.name")
        assert await theirs.where({"body": {"eq": "the secret"}}).all() == [{"conversation": {"assignee": None}}]


def _now() -> Any:
    return datetime.now(UTC) - timedelta(minutes=5)


async def test_who_has_an_address_is_not_told_by_a_message(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        for address in ("nobody", "sue"):
            given = {"connection_id": at.post.id, "address": address, "body": "hello"}
            done = await at.north.run("send_message", [given])
            assert not done.errors, (address, done.errors)
        rows = await at.north.find(Interaction).select("address", "customer.name").order_by("address").all()
        assert rows == [{"address": "nobody", "customer": None}, {"address": "sue", "customer": None}]


async def test_a_message_that_is_refused_leaves_no_conversation(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        stage = await _stage(at.post.session)
        deal = {"name": "Secret", "customer_id": at.sue, "stage_id": stage}
        made = await at.post.session.create(Deal, [deal])
        assert not made.errors, made.errors
        (hidden,) = made.ids
        given = {"connection_id": at.post.id, "address": "nobody", "body": "hello", "deal_id": hidden}
        done = await at.north.run("send_message", [given], on_error="skip_invalid")
        assert [error.code for error in done.errors] == ["not_found"]
        assert await at.post.session.find(Conversation).count() == 0


async def _stage(session: Session) -> Any:
    (id,) = (await session.create(Pipeline, [{"name": "Sales"}])).ids
    made = await session.create(Stage, [{"name": "New", "pipeline_id": id, "category": "open"}])
    assert not made.errors, made.errors
    return made.ids[0]


async def test_whoever_added_a_file_sends_it_and_nobody_else(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        content = base64.b64encode(b"offer").decode()
        file = await at.runs(at.north, "add_file", {"name": "offer.txt", "content": content})
        assert await at.reader.find(File).count() == 0
        given = {"connection_id": at.post.id, "body": "see", "file_ids": [file]}
        refused = await at.south.run("send_message", [{**given, "customer_id": at.sue}])
        assert [error.code for error in refused.errors] == ["not_found"]
        await at.runs(at.north, "send_message", {**given, "customer_id": at.ann})
        await at.post.crm.settle()
        assert [left["files"] for left in at.post.left()] == [{"offer.txt": "offer"}]
        assert await at.north.find(File).select("name").all() == [{"name": "offer.txt"}]
        assert await at.south.find(File).count() == 0


async def test_what_could_not_be_taken_in_is_no_file_of_everybody(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        await at.post.brings(Unreadable("r1", "is noise", b"raw secret"))
        assert await at.post.session.find(Undelivered).count() == 1
        assert await at.reader.find(File).select("name", "url").all() == []


async def test_consents_are_those_that_may_be_read(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        entry = {"channel": "courier", "purpose": "news", "state": "withdrawn"}
        await at.runs(at.post.session, "record_consent", {**entry, "customer_id": at.sue, "address": "sue"})
        point = {"customer_id": at.ann, "channel": "courier", "address": "sue", "shared": True}
        assert not (await at.north.create(ContactPoint, [point])).errors
        assert await at.north.find(ConsentEntry).count() == 0
        rows = await at.north.find(Customer).select("name", "consents").all()
        assert rows == [{"name": "Ann", "consents": []}]


async def test_copies_need_consent_too(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        entry = {"channel": "courier", "purpose": "*", "state": "withdrawn", "address": "sue"}
        await at.runs(at.post.session, "record_consent", entry)
        for kind in ("cc", "bcc"):
            given = {"connection_id": at.post.id, "customer_id": at.ann, "body": "hello", kind: ["Sue"]}
            done = await at.north.run("send_message", [given])
            assert [(error.path, error.code) for error in done.errors] == [((kind,), "refused")]


async def test_an_id_of_a_hidden_message_tells_nothing(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        theirs = await at.runs(
            at.south, "send_message", {"connection_id": at.post.id, "customer_id": at.sue, "body": "hello"}
        )
        again = {"id": theirs, "connection_id": at.post.id, "customer_id": at.ann, "body": "hello"}
        done = await at.north.run("send_message", [again])
        assert [error.code for error in done.errors] == ["taken"]


async def test_answers_in_a_conversation_whose_deal_is_hidden(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        deal = {"name": "Secret", "customer_id": at.sue, "stage_id": await _stage(at.post.session)}
        made = await at.post.session.create(Deal, [deal])
        assert not made.errors, made.errors
        (hidden,) = made.ids
        await at.post.brings(note("m1", "ann"))
        (row,) = await at.north.find(Conversation).all()
        await at.post.session.update(Conversation, [Update(row["id"], {"deal_id": hidden})])
        await at.runs(at.north, "send_message", {"conversation_id": row["id"], "body": "two"})


async def test_customers_see_what_was_said_to_them_and_not_what_was_written_about_them(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with teams(make_crm, tmp_path) as at:
        await at.post.brings(note("from ann", "ann"), note("from a machine", "ann", automatic=True))
        await at.post.sends(
            {"customer_id": at.ann, "body": "to ann"}, {"customer_id": at.ann, "body": "nobody there"}
        )
        logged = {"channel": "phone", "direction": "inbound", "customer_id": at.ann, "body": "rude, as always"}
        await at.runs(at.north, "log_interaction", logged)
        assert await at.north.find(Interaction).count() == 5
        customer = at.post.crm.acting_as(await at.post.crm.access.customer(at.ann))
        rows = await customer.find(Interaction).select("body").order_by("body").all()
        assert rows == [{"body": "from ann"}, {"body": "to ann"}]
        nested = customer.find(Conversation).select(Related("interactions", ["body"]))
        assert {each["body"] for row in await nested.all() for each in row["interactions"]} == {
            "from ann",
            "to ann",
        }


async def test_consents_of_addresses_are_told_to_who_may_read_the_ledger(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with teams(make_crm, tmp_path) as at:
        entry = {"channel": "courier", "purpose": "news", "state": "withdrawn", "address": "ann"}
        await at.runs(at.post.session, "record_consent", entry)
        given = {"channel": "courier", "purpose": "events", "state": "given", "customer_id": at.ann}
        await at.runs(at.post.session, "record_consent", given)
        (row,) = await at.north.find(Customer).select("consents").all()
        assert [each["purpose"] for each in row["consents"]] == ["events", "news"]
        system = at.post.session
        assert not (await system.run("create_role", [{"name": "narrow"}])).errors
        granted = [
            {"role": "narrow", "entity": name, "action": "read", "rows": "all"}
            for name in ("Customer", "ContactPoint")
        ]
        assert not (await system.run("grant", granted)).errors
        narrow = at.post.crm.acting_as(
            Principal("user", "usr_x", roles=(await at.post.crm.access.role("narrow"),))
        )
        assert await narrow.find(Customer).select("consents").all() == [{"consents": None}] * 2


async def test_pictures_in_a_message_are_shown_to_who_may_read_files(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        logo = Media("logo.png", "image/png", b"picture", content_id="logo", inline=True)
        await at.post.brings(note("m1", "ann", html='<p>Hi</p><img src="cid:logo">', media=[logo]))
        (row,) = await at.north.find(Interaction).select("html").all()
        assert 'src="/files/fil_' in row["html"]
        assert not (await at.post.session.run("create_role", [{"name": "narrow"}])).errors
        reads = {"role": "narrow", "action": "read", "rows": "all"}
        granted = [{**reads, "entity": name} for name in ("Customer", "Interaction")]
        assert not (await at.post.session.run("grant", granted)).errors
        role = await at.post.crm.access.role("narrow")
        narrow = at.post.crm.acting_as(Principal("user", "usr_x", roles=(role,)))
        (row,) = await narrow.find(Interaction).select("html").all()
        assert "Hi" in row["html"]
        assert "/files/" not in row["html"]


async def test_strangers_belong_to_the_team_of_their_connection(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        desk = {"channel": "whistle", "name": "desk", "team_id": at.southern, "creates_prospects": True}
        connection = await at.runs(at.post.session, "create_connection", desk)
        await deliver(
            at.post.crm, connection, [Inbound("w1", "stranger", _now(), None, "good morning", name="Stan")]
        )
        assert await at.north.find(Interaction).count() == 0
        assert await at.north.find(Customer).where({"name": {"eq": "Stan"}}).count() == 0
        inbox = at.south.find(Conversation).select("unread", "customer.name", Related("interactions", ["body"]))
        assert await inbox.all() == [
            {"unread": 1, "customer": {"name": "Stan"}, "interactions": [{"body": "good morning"}]}
        ]


async def test_what_was_said_is_not_rewritten(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with teams(make_crm, tmp_path) as at:
        await at.post.brings(note("m1", "ann", body="I'll pay on Monday"))
        (said,) = await at.north.find(Interaction).select("id", "body").all()
        for patch in ({"body": "I'll pay today"}, {"direction": "outbound"}, {"address": "bob"}):
            done = await at.north.update(Interaction, [Update(said["id"], patch)])
            assert [(error.path, error.code) for error in done.errors] == [((*patch,), "read_only")]
        assert await at.north.find(Interaction).select("id", "body").all() == [said]
        assert not (await at.north.update(Interaction, [Update(said["id"], {"custom_fields": {"due": 1}})])).errors
