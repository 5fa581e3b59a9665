"""What connections bring: each message once, in the right conversation of the right customer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from amity import (
    Connection,
    ConsentChange,
    ConsentEntry,
    ContactPoint,
    Context,
    Conversation,
    Customer,
    File,
    Interaction,
    Item,
    Media,
    Participant,
    Party,
    Plugin,
    Problem,
    Proposed,
    Receipt,
    Team,
    Undelivered,
    Unreadable,
    Update,
    User,
    Validator,
)
from amity.messaging import NotUsable
from amity.testing import recorded

from .conftest import MakeCrm
from .courier import NOON, couriers, note


async def test_a_message_becomes_an_interaction_of_its_customer(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.customer("Ann", "ann")
        done = await post.brings(note("m1", "ANN", html="<b>m1</b>", fields={"tray": 7}, language="de"))
        assert (done.received, done.duplicates) == (1, 0)
        row = await post.session.find(Interaction).select(
            "customer.name", "channel", "direction", "address", "identity", "subject", "body", "html",
            "occurred_at", "custom_fields", "language", "delivery", "connection.name", "automatic",
        ).get(done.ids[0])  # type: ignore[arg-type]  # fmt: skip
        assert row == {
            "customer": {"name": "Ann"},
            "channel": "courier",
            "direction": "inbound",
            "address": "ann",
            "identity": "matched",
            "subject": "Hello",
            "body": "m1",
            "html": "<b>m1</b>",
            "occurred_at": "2026-03-02T12:00:00.000000Z",
            "custom_fields": {"tray": 7},
            "language": "de",
            "delivery": None,
            "connection": {"name": "front desk"},
            "automatic": False,
        }
        conversation = await post.conversation()
        assert (conversation["status"], conversation["unread"], conversation["subject"]) == ("open", 1, "Hello")
        assert conversation["customer"] == {"name": "Ann"}


async def test_the_same_message_again_changes_nothing(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        first = await post.brings(note("m1"), note("m2"), note("m1"))
        assert (first.received, first.duplicates) == (2, 1)
        assert first.ids[0] == first.ids[2]
        before = await post.crm.database.read("SELECT count(*) FROM core_event")
        again = await post.brings(note("m2"), note("m1"))
        assert (again.received, again.duplicates) == (0, 2)
        assert list(again.ids) == [first.ids[1], first.ids[0]]
        assert await post.crm.database.read("SELECT count(*) FROM core_event") == before
        await post.session.delete(Interaction, [first.ids[0]])  # type: ignore[list-item]
        assert (await post.brings(note("m1"))).received == 0
        assert len(await post.messages("id")) == 1


async def test_the_same_message_from_two_processes_is_stored_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, creates_prospects=True) as post:
        done = await asyncio.gather(*(post.brings(note("m1"), note(f"m2-{n}")) for n in range(5)))
        assert sum(each.received for each in done) == 6
        assert await post.session.find(Customer).count() == 1
        assert await post.session.find(Interaction).count() == 6
        assert {message["identity"] for message in await post.messages("identity")} == {"matched"}


THREAD = {"m1": (), "m2": ("m1",), "m3": ("m2", "m1"), "m4": ("m3", "m2", "m1"), "m5": ("m1",)}


async def test_a_thread_is_one_conversation_in_any_order_of_arrival(make_crm: MakeCrm, tmp_path: Path) -> None:
    orders = list(itertools.permutations(THREAD))
    async with couriers(make_crm, tmp_path) as post:
        for number, order in enumerate(orders[::9]):

            def name(id: str, number: int = number) -> str:
                return f"{number}-{id}"

            for id in order:
                at = NOON + timedelta(minutes=int(id[1]))
                await post.brings(
                    note(name(id), f"ann{number}", occurred_at=at, replies_to=[name(m) for m in THREAD[id]])
                )
            found = await post.threads()
            assert {name(id) for id in THREAD} in found
            assert len(found) == number + 1
            answers = {
                row["message_id"]: row["reply_to"] and row["reply_to"]["message_id"]
                for row in await post.messages("message_id", "reply_to.message_id")
                if row["message_id"].startswith(f"{number}-")
            }
            nearest = {name(id): name(above[0]) if above else None for id, above in THREAD.items()}
            assert answers == nearest


async def test_answers_to_a_message_that_never_came_are_one_conversation(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.brings(note("m2", replies_to=["m1"]))
        await post.brings(note("m3", replies_to=["m1"]), note("other"))
        assert sorted(await post.threads(), key=len) == [{"other"}, {"m2", "m3"}]


async def test_a_message_that_joins_two_conversations_makes_them_one(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.brings(note("m1"))
        await post.brings(note("m3", occurred_at=NOON + timedelta(hours=1), replies_to=["m2"]))
        assert len(await post.threads()) == 2
        await post.brings(note("m2", replies_to=["m1"]))
        assert await post.threads() == [{"m1", "m2", "m3"}]
        conversation = await post.conversation()
        assert conversation["unread"] == 3
        assert conversation["last_at"] == "2026-03-02T13:00:00.000000Z"


async def test_a_message_id_does_not_join_the_conversations_of_two_customers(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.customer("Ann", "ann")
        await post.customer("Bob", "bob")
        await post.brings(note("a1"), note("b1", "bob"))
        await post.brings(note("a2", replies_to=["a1", "b1"]))
        assert sorted(await post.threads(), key=len) == [{"b1"}, {"a1", "a2"}]


async def test_a_channel_with_keys_has_its_own_threads(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.brings(note("m1", conversation="t1"), note("m2", conversation="t2"))
        await post.brings(note("m3", conversation="t1", replies_to=["m2"]))
        assert sorted(await post.threads(), key=len) == [{"m2"}, {"m1", "m3"}]


async def test_without_threads_the_last_conversation_with_an_address_goes_on(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path, channel="whistle") as post:
        await post.brings(note("m1"), note("m2"), note("b", "bob"))
        await post.brings(note("m3", occurred_at=NOON + timedelta(days=20)))
        await post.brings(note("m4", occurred_at=NOON + timedelta(days=60)))
        assert sorted(await post.threads(), key=sorted) == [{"b"}, {"m1", "m2", "m3"}, {"m4"}]


async def test_a_closed_conversation_is_opened_by_a_person_and_not_by_a_machine(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.brings(note("m1"))
        id = (await post.conversation())["id"]
        await post.session.update(Conversation, [Update(id, {"status": "closed"})])
        await post.brings(note("m2", replies_to=["m1"], automatic=True))
        assert (await post.conversation())["status"] == "closed"
        assert (await post.conversation())["unread"] == 1
        await post.brings(note("m3", replies_to=["m1"]))
        assert (await post.conversation())["status"] == "open"
        assert (await post.conversation())["unread"] == 2
        await post.session.run("read_conversation", [{"id": id}])
        assert (await post.conversation())["unread"] == 0


async def test_a_person_says_who_it_is(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        ann = await post.customer("Ann")
        await post.brings(note("m1", "A7"), note("m2", "a7", replies_to=["m1"]), note("other", "b"))
        rows = await post.session.find(Conversation).where({"address": {"eq": "a7"}}).all()
        given = {"id": rows[0]["id"], "customer_id": ann}
        assert not (await post.session.run("identify_conversation", [given])).errors
        whose = await post.messages("customer.name", "identity")
        assert whose[:2] == [{"customer": {"name": "Ann"}, "identity": "matched"}] * 2
        assert whose[2] == {"customer": None, "identity": "unknown"}
        await post.brings(note("m3", "a7"))
        (row,) = [row for row in await post.messages("message_id", "customer.name") if row["message_id"] == "m3"]
        assert row["customer"] == {"name": "Ann"}
        told = await post.session.run("identify_conversation", [{**given, "customer_id": f"cus_{1:032x}"}])
        assert told.errors[0].message == "there is no such customer"


async def test_a_copy_of_what_was_sent_elsewhere_is_nothing_to_read(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.customer("Ann", "ann")
        await post.brings(note("m1"))
        await post.brings(note("m2", direction="outbound", replies_to=["m1"]))
        rows = await post.messages("direction", "delivery", "customer.name")
        assert rows[1] == {"direction": "outbound", "delivery": "sent", "customer": {"name": "Ann"}}
        assert (await post.conversation())["unread"] == 1


async def test_unknown_senders_become_one_prospect_each_if_the_connection_says_so(
    make_crm: MakeCrm, tmp_path: Path
) -> None:
    async with couriers(make_crm, tmp_path, creates_prospects=True) as post:
        await post.brings(
            note("m1", "Zoe", name="Zoe Young"), note("m2", "zoe"), note("m3", "bot", automatic=True)
        )
        rows = await post.session.find(Customer).select("name", "lifecycle", "source").all()
        assert rows == [{"name": "Zoe Young", "lifecycle": "prospect", "source": "front desk"}]
        names = [row["customer"] and row["customer"]["name"] for row in await post.messages("customer.name")]
        assert names == ["Zoe Young", "Zoe Young", None]
        assert await post.session.find(ContactPoint).select("address").all() == [{"address": "zoe"}]


async def test_who_can_not_be_told_apart_is_decided_by_the_conversation(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, creates_prospects=True) as post:
        ann = await post.customer("Ann", "ann")
        for customer in (ann, await post.customer("Bob")):
            shared = {"customer_id": customer, "channel": "courier", "address": "home", "shared": True}
            await post.session.create(ContactPoint, [shared])
        await post.brings(note("m1", "home"))
        await post.brings(note("m2", "ann"))
        await post.brings(note("m3", "home", replies_to=["m2"]))
        rows = await post.messages("identity", "customer.name")
        assert [row["identity"] for row in rows] == ["ambiguous", "matched", "matched"]
        assert rows[2]["customer"] == {"name": "Ann"}


@pytest.mark.parametrize(
    "at", [None, datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=3), datetime(2026, 1, 1)]
)
async def test_absurd_times_are_those_of_receipt(make_crm: MakeCrm, tmp_path: Path, at: datetime | None) -> None:
    async with couriers(make_crm, tmp_path) as post:
        before = datetime.now(UTC)
        await post.brings(note("m1", occurred_at=at))
        (row,) = await post.messages("occurred_at")
        assert before - timedelta(seconds=1) <= datetime.fromisoformat(row["occurred_at"]) <= datetime.now(UTC)


async def test_texts_of_the_real_world_are_kept(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, creates_prospects=True) as post:
        long = "x" * 3000
        await post.brings(
            note("m1", "a\x00nn", subject="a\r\nb\x00" + long, body="half \ud83d \x00 done", name="\ud800" + long),
            note(long, long, fields={"k\x00": ["\ud83d", 1, None]}, parties=[Party("cc", long, long)]),
            note("m3", replies_to=[long]),
        )
        rows = await post.messages("message_id", "subject", "body", "address")
        assert [row["body"] for row in rows] == ["half ?  done", "m3", long]
        assert rows[0]["address"] == "ann"
        assert rows[0]["subject"].startswith("a b")
        assert len(rows[0]["subject"]) == 500
        assert rows[2]["message_id"].startswith("sha256:")
        assert {rows[1]["message_id"], rows[2]["message_id"]} in await post.threads()


async def test_participants_are_found_by_their_addresses(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.customer("Ann", "ann")
        await post.session.create(User, [{"name": "Mia", "email": "mia@ours.example"}])
        parties = [Party("to", "MIA@ours.example", "Mia"), Party("cc", "bob")]
        await post.brings(note("m1", name="Ann Lee", parties=parties))
        rows = (
            await post.session.find(Participant)
            .select("role", "address", "name", "contact_point.address", "user.name")
            .order_by("role")
            .all()
        )
        assert rows == [
            {"role": "cc", "address": "bob", "name": None, "contact_point": None, "user": None},
            {
                "role": "from",
                "address": "ann",
                "name": "Ann Lee",
                "contact_point": {"address": "ann"},
                "user": None,
            },
            {
                "role": "to",
                "address": "mia@ours.example",
                "name": "Mia",
                "contact_point": None,
                "user": {"name": "Mia"},
            },
        ]


async def test_files_are_stored_and_those_by_reference_are_fetched(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        media = [
            Media("../plan.pdf", "application/pdf", b"plan", content_id="p1", inline=True),
            Media("parcel.txt", "text/plain", reference="for ann"),
            Media("gone.txt", "text/plain", reference="lost"),
        ]
        await post.brings(note("m1", media=media))
        assert await post.crm.settle() == ["fetch_media"]
        fields = ("name", "media_type", "size", "state", "content_id", "inline", "failure")
        rows = await post.session.find(File).select(*fields).order_by("name").all()
        assert [row["state"] for row in rows] == ["pending", "stored", "stored"]
        assert rows[0]["failure"] == "FileNotFoundError: the parcel is lost"
        assert (rows[1]["name"], rows[1]["size"]) == ("parcel.txt", str(len("parcel for ann")))
        assert (rows[2]["name"], rows[2]["content_id"], rows[2]["inline"]) == ("plan.pdf", "p1", True)


async def test_consent_of_a_message_goes_to_the_ledger(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.customer("Ann", "ann")
        await post.brings(note("m1", consent=[ConsentChange("withdrawn", source="STOP")]))
        rows = (
            await post.session.find(ConsentEntry)
            .select("customer.name", "channel", "address", "purpose", "state", "source")
            .all()
        )
        assert rows == [
            {
                "customer": {"name": "Ann"},
                "channel": "courier",
                "address": "ann",
                "purpose": "*",
                "state": "withdrawn",
                "source": "STOP",
            }
        ]


async def test_what_nobody_understands_is_kept(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        done = await post.brings(note("m1"), Unreadable("u7", "is no note", b"\xff\xfe"), note("  "))
        assert (done.received, done.undelivered) == (1, 2)
        rows = await post.session.find(Undelivered).select("reference", "reason", "file.size").order_by("id").all()
        assert rows[0] == {"reference": "u7", "reason": "is no note", "file": {"size": "2"}}
        assert rows[1]["reason"] == "the message has no message id"


async def _no_swearing(context: Context, rows: Sequence[Proposed]) -> Sequence[Problem]:
    return [
        Problem(row.index, "body", "we do not swear") for row in rows if row.after and row.after["body"] == "!?"
    ]


class Manners(Plugin):
    """Refuses messages."""

    name = "manners"

    def validators(self) -> Sequence[Validator]:
        return [Validator(Interaction, needs=["body"], check=_no_swearing)]


async def test_a_message_that_is_refused_fails_no_other_and_is_kept(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, Manners) as post:
        done = await post.brings(note("m1"), note("m2", body="!?"), note("m3", replies_to=["m2"]))
        assert (done.received, done.undelivered, done.ids[1]) == (2, 1, None)
        (row,) = await post.session.find(Undelivered).select("reference", "reason", "file.name").all()
        assert (row["reference"], row["reason"]) == ("m2", "body: we do not swear")
        assert row["file"] is not None
        assert sorted(await post.threads(), key=sorted) == [{"m1"}, {"m3"}]


async def test_a_batch_costs_a_constant_number_of_statements(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, creates_prospects=True) as post:

        def batch(prefix: str, count: int) -> list[Item]:
            items: list[Item] = []
            for n in range(count):
                media = [Media("a.txt", "text/plain", b"a"), Media("b.txt", "text/plain", reference="b")]
                consent = [ConsentChange("given", "news")]
                more = {"replies_to": [f"{prefix}{n - 1}"] if n % 3 else [], "media": media, "consent": consent}
                items.append(note(f"{prefix}{n}", f"{prefix}{n // 2}", parties=[Party("cc", "bob")], **more))
            return [*items, Receipt("unknown", "sent"), Unreadable("x", "no")]

        await post.brings(*batch("w", 3))
        counts = []
        for prefix, count in (("a", 4), ("b", 40), ("c", 120)):
            with recorded() as statements:
                done = await post.brings(*batch(prefix, count))
            assert done.received == count
            # PostgreSQL looks at a table anew when it has grown, which is no batch's doing
            counts.append(sum(not statement.startswith("ANALYZE") for statement in statements))
        assert counts[0] == counts[1] == counts[2], counts
        assert counts[0] < 70


async def test_the_team_of_a_connection_gets_its_conversations(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        made = await post.session.create(Team, [{"name": "Support"}])
        await post.session.update(Connection, [Update(post.id, {"team_id": made.ids[0]})])
        await post.brings(note("m1"))
        assert (await post.conversation())["team"] == {"name": "Support"}


async def test_a_connection_that_is_gone_takes_nothing_in(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path) as post:
        await post.session.delete(Connection, [post.id])
        with pytest.raises(NotUsable, match="there is no such connection"):
            await post.brings(note("m1"))
