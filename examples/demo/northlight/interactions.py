"""What was said, over five channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from amity import Interaction
from amity.entity import new_id

from .conversations import make_conversations
from .people import anybody
from .talk import CALLS, CHATS, FOLLOW_UPS, LETTERS, PRODUCTS, SITES, TEXTS, TOPICS, Topic
from .world import DAYS, Party, World, batches, check

CHANNELS = {"email": 0.22, "phone": 0.36, "webchat": 0.3, "sms": 0.26, "letter": 0.05}
"""How often a customer who has an address on all of them uses each; an e-mail draws others after it."""


async def make_interactions(world: World, count: int) -> int:
    strangers = count // 100
    rows: list[dict[str, Any]] = []
    while len(rows) < count - strangers:
        rows += _contact(world)
    del rows[count - strangers :]
    rows.sort(key=lambda row: row["occurred_at"])
    calls = sorted((_stranger(world) for _ in range(strangers)), key=lambda call: call["occurred_at"])
    await make_conversations(world, rows)
    await world.create(Interaction, "Interactions", rows)
    for batch in batches(calls):
        check((await world.session.run("log_interaction", batch)).errors)
    return count


def _contact(world: World) -> Iterator[dict[str, Any]]:
    """One contact: a call, a chat, a letter, or e-mails back and forth."""
    chance, party = world.chance, world.active()
    known = [channel for channel in CHANNELS if channel in party.addresses or channel == "letter"]
    channel = chance.choices(known, [CHANNELS[channel] for channel in known])[0]
    # a little more every month
    start = world.office_hours(party.since + (world.now - party.since) * chance.random() ** 0.8)
    facts = _facts(world, start)
    out = chance.random() < 0.45
    talk = {"conversation_id": new_id()}
    match channel:
        case "email":
            yield from (row | talk for row in _thread(world, party, start, facts, out))
        case "phone":
            row = _row(world, party, channel, start, out, chance.choice(CALLS), None, facts)
            yield row | {"duration_seconds": round(chance.lognormvariate(5.2, 0.9)) + 10}
        case "webchat":
            text = chance.choice(CHATS)
            row = _row(world, party, channel, start, False, text, text, facts)
            yield row | talk | {"duration_seconds": chance.randrange(60, 1500)}
        case "sms":
            theirs, ours = TEXTS
            text = chance.choice(ours if out else theirs)
            yield _row(world, party, channel, start, out, text, text, facts) | talk
        case _:
            letter = chance.choice(LETTERS)
            yield _row(world, party, channel, start, chance.random() < 0.6, letter, None, facts)


def _thread(
    world: World, party: Party, start: datetime, facts: Mapping[str, Any], out: bool
) -> Iterator[dict[str, Any]]:
    chance = world.chance
    topic: Topic = chance.choices(TOPICS, [topic.weight for topic in TOPICS])[0]
    when = start
    for number in range(min(6, 1 + int(chance.expovariate(0.8)))):
        ours = out ^ bool(number % 2)
        if number < 2:
            text = chance.choice(topic.outbound if ours else topic.inbound)
        else:
            text = chance.choice(FOLLOW_UPS[1 if ours else 0])
        subject = f"Re: {topic.subject}" if number else topic.subject
        yield _row(world, party, "email", when, ours, subject, text, facts)
        later = when + timedelta(minutes=chance.expovariate(1 / 150) + 4)
        if not 7 <= later.hour < 19:
            later = world.office_hours(when + timedelta(days=1))
        if later >= world.now:
            return
        when = later.replace(microsecond=0)


def _row(
    world: World,
    party: Party,
    channel: str,
    when: datetime,
    out: bool,
    subject: str,
    body: str | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    user = party.owner if world.chance.random() < 0.75 else anybody(world)
    return {
        "customer_id": party.id,
        "user_id": world.users[user],
        "channel": channel,
        "direction": "outbound" if out else "inbound",
        "address": party.addresses.get(channel),
        "subject": subject.format(**facts),
        "body": body.format(**facts) if body else None,
        "occurred_at": when,
    }


def _facts(world: World, when: datetime) -> Mapping[str, Any]:
    chance = world.chance
    return {
        "product": chance.choice(PRODUCTS)[0],
        "site": chance.choice(SITES),
        "count": chance.choice((2, 4, 6, 8, 10, 12, 20, 24, 36, 50, 80, 120)),
        "order": f"A-{when:%y}{chance.randrange(100, 99_999):05}",
        "invoice": f"R{when:%Y}-{chance.randrange(100, 9_999):04}",
        "day": f"{when + timedelta(days=chance.randrange(2, 20)):%B %d}",
    }


def _stranger(world: World) -> dict[str, Any]:
    """A call or message from an address that nobody knows, or that several people have."""
    chance = world.chance
    when = world.office_hours(world.now - timedelta(days=DAYS * chance.random() ** 2))
    facts = _facts(world, when)
    found: dict[str, Any] = {"direction": "inbound", "occurred_at": when}
    if chance.random() < 0.5:
        topic = chance.choice(TOPICS)
        return found | {
            "channel": "email",
            "address": f"someone{chance.randrange(100_000)}@elsewhere.example",
            "subject": topic.subject.format(**facts),
            "body": chance.choice(topic.inbound).format(**facts),
        }
    switchboard = chance.choice(world.organizations).addresses["phone"]
    return found | {
        "channel": "phone",
        "address": switchboard if chance.random() < 0.6 else f"+1917555{chance.randrange(10_000):04}",
        "subject": chance.choice(CALLS).format(**facts),
        "duration_seconds": chance.randrange(20, 600),
    }
