"""Consent: what the ledger says is what a plain reading of it says, and nothing in it ever changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, AccessDenied, ContactPoint, Customer, Event, Principal, Session
from amity.change.errors import ChangeError
from amity.messaging.consent import (
    Ask,
    Entry,
    add_entries,
    allowed,
    read_withdrawal_token,
    withdraw,
    withdrawal_token,
)
from amity.messaging.secrets import SecretsError, new_key
from amity.model import ConsentEntry
from amity.settings import from_mapping
from amity.testing import recorded
from amity_graphql import execute

from .conftest import MakeCrm

ANN, BOB = "ann@example.com", "bob@example.com"


async def people(session: Session) -> list[UUID]:
    made = await session.create(Customer, [{"kind": "person", "name": name} for name in ("Ann", "Bob", "Cleo")])
    ids = [id for id in made.ids if id is not None]
    points = [
        {"customer_id": ids[0], "channel": "email", "address": ANN},
        {"customer_id": ids[1], "channel": "email", "address": BOB},
        {"customer_id": ids[1], "channel": "phone", "address": "+41443331122"},
    ]
    assert not (await session.create(ContactPoint, points)).errors
    return ids


async def record(session: Session, **given: Any) -> UUID:
    result = await session.run("record_consent", [{"channel": "email", "purpose": "marketing", **given}])
    assert not result.errors, result.errors
    assert result.ids[0] is not None
    return result.ids[0]


async def may(session: Session, *asks: Ask) -> list[bool]:
    return [answer.allowed for answer in await allowed(session, asks)]


# --- the rule ----------------------------------------------------------------------------------------------


def plainly(entries: Sequence[Entry], ask: Ask) -> bool:
    """The rule, as one would read the ledger by hand."""
    if ask.customer is None and ask.address is None:
        return False
    counting = [
        (entry.occurred_at, place, entry)
        for place, entry in enumerate(entries)
        if entry.channel == ask.channel
        and entry.purpose in (ask.purpose, "*")
        and (
            (ask.customer is not None and entry.customer == ask.customer)
            or (ask.address is not None and entry.address == ask.address)
        )
    ]
    if not counting:
        return ask.purpose == "service"
    return max(counting)[2].state == "given"


MOMENTS = st.integers(0, 3).map(lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
CHANNELS = st.sampled_from(["email", "sms", "phone"])
PURPOSES = st.sampled_from(["service", "marketing", "events"])
WHO = st.sampled_from([None, 0, 1])
ADDRESSES = st.sampled_from([None, ANN, BOB, "+41443331122"])
ENTRIES = st.lists(
    st.tuples(
        CHANNELS,
        st.one_of(PURPOSES, st.just("*")),
        st.sampled_from(["given", "withdrawn"]),
        WHO,
        ADDRESSES,
        MOMENTS,
    ),
    max_size=12,
)
ASKS = st.lists(st.tuples(WHO, CHANNELS, ADDRESSES, PURPOSES), min_size=1, max_size=12)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ledgers=st.lists(st.tuples(ENTRIES, ASKS), min_size=10, max_size=25))
async def test_the_answer_is_that_of_a_plain_reading_of_the_ledger(make_crm: MakeCrm, ledgers: Any) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        for drawn, asked in ledgers:
            made = await session.create(Customer, [{"kind": "person", "name": name} for name in "ab"])
            mark = f".{made.ids[0]}"  # addresses of this ledger alone

            def who(number: int | None, ids: Sequence[UUID | None] = made.ids) -> UUID | None:
                return None if number is None else ids[number]

            def at(address: str | None, mark: str = mark) -> str | None:
                return None if address is None else address + mark

            entries = [Entry(c, p, s, who(n), at(a), occurred_at=t) for c, p, s, n, a, t in drawn]
            asks = [Ask(who(n), c, at(a), p) for n, c, a, p in asked]

            async def add(joined: Session, entries: Sequence[Entry] = entries) -> None:
                await add_entries(joined, entries)

            await session.transact(add)
            with recorded() as statements:
                answers = await allowed(session, asks)
            assert len(statements) == 1
            assert [answer.allowed for answer in answers] == [plainly(entries, ask) for ask in asks]
            assert all(answer.allowed or answer.reason for answer in answers)


async def test_answers_are_sent_until_somebody_says_stop_and_nothing_else_without_consent(
    make_crm: MakeCrm,
) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, *_ = await people(session)
        service, marketing = Ask(ann, "email", ANN), Ask(ann, "email", ANN, "marketing")
        assert await may(session, service, marketing) == [True, False]

        await record(session, customer_id=ann, state="given", basis="consent", source="web form")
        assert await may(session, service, marketing, Ask(ann, "sms", None, "marketing")) == [True, True, False]

        await record(session, address="Ann@Example.com", purpose="*", state="withdrawn", source="STOP")
        answers = await allowed(session, [service, marketing, Ask(None, "email", ANN), Ask(ann, "phone", None)])
        assert [answer.allowed for answer in answers] == [False, False, False, True]
        today = datetime.now(UTC).date().isoformat()
        assert answers[0].reason == f"consent for everything over email was withdrawn on {today}"

        await record(session, customer_id=ann, state="given")
        assert await may(session, service, marketing) == [False, True]


async def test_an_entry_of_long_ago_does_not_undo_a_newer_one(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, *_ = await people(session)
        await record(session, customer_id=ann, state="withdrawn", occurred_at="2026-02-01T00:00:00Z")
        await record(session, customer_id=ann, state="given", occurred_at="2026-01-01T00:00:00Z")
        assert await may(session, Ask(ann, "email", None, "marketing")) == [False]


async def test_many_questions_are_one_statement_and_in_order(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        entries = [Entry("email", "marketing", "given", address=f"a{n}@example.com") for n in range(0, 4000, 2)]

        async def work(joined: Session) -> list[bool]:
            await add_entries(joined, entries)
            return await may(joined, Ask(None, "email", "a2@example.com", "marketing"))

        assert await session.transact(work) == [True]
        asks = [Ask(None, "email", f"a{n}@example.com", "marketing") for n in range(4000)]
        with recorded() as statements:
            answers = await may(session, *asks)
        assert len(statements) == 1
        assert answers == [n % 2 == 0 for n in range(4000)]
        assert await allowed(session, []) == []


async def test_what_a_principal_may_not_see_counts_all_the_same(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, *_ = await people(session)
        await record(session, customer_id=ann, purpose="*", state="withdrawn")
        nobody = crm.acting_as(Principal("user", "mia"))
        assert await may(nobody, Ask(ann, "email", ANN)) == [False]
        with pytest.raises(AccessDenied):
            await nobody.run("record_consent", [])


# --- recording ---------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"address": None}, ("customer_id",), "a customer or an address is needed"),
    ({"customer_id": UUID(int=7)}, ("customer_id",), "there is no such customer"),
    ({"channel": "emial"}, ("channel",), "did you mean 'email'?"),
    ({"address": "nobody"}, ("address",), "is no e-mail address"),
    ({"state": "maybe"}, ("state",), "'given' or 'withdrawn'"),
    ({"purpose": "Marketing!"}, ("purpose",), "should match pattern"),
    ({"basis": "hope"}, ("basis",), "'consent', 'contract'"),
    ({"occurred_at": "2999-01-01T00:00:00Z"}, ("occurred_at",), "lies ahead"),
    ({"occurred_at": "2026-01-01T00:00:00"}, ("occurred_at",), "timezone"),
]


@pytest.mark.parametrize(("given", "path", "told"), WRONG)
async def test_what_can_not_be_recorded_is_told(
    make_crm: MakeCrm, given: dict[str, Any], path: tuple[str | int, ...], told: str
) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        right = {"channel": "email", "address": ANN, "purpose": "marketing", "state": "given"}
        result = await session.run("record_consent", [right, {**right, **given}])
        assert [(error.index, error.path) for error in result.errors] == [(1, path)]
        assert told in result.errors[0].message
        assert await session.find(ConsentEntry).count() == 0


async def test_the_ledger_is_in_the_log_and_never_changed(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        id = await record(session, address=ANN, state="given", basis="consent", note="by phone")
        events = await session.find(Event).where({"type": {"eq": "consent_entry.created"}}).select("after").all()
        assert events[0]["after"]["address"] == ANN
        with pytest.raises(ChangeError, match="written once"):
            await session.delete(ConsentEntry, [id])


# --- reading -----------------------------------------------------------------------------------------------


async def test_a_customer_shows_what_they_agreed_to(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        ann, *_ = await people(session)
        await record(session, customer_id=ann, state="given", basis="consent", occurred_at="2026-01-01T00:00:00Z")
        await record(session, address=ANN, state="withdrawn", occurred_at="2026-02-01T00:00:00Z")
        await record(session, address=BOB, purpose="events", state="given", occurred_at="2026-03-01T00:00:00Z")
        sms = {"channel": "sms", "address": "+41 44 333 11 22", "purpose": "*", "state": "withdrawn"}
        await record(session, **sms, occurred_at="2026-04-01T00:00:00Z")

        document = (
            "{ customers(orderBy: [{name: ASC}]) { nodes { name consents { channel purpose state since } } } }"
        )
        answer = await execute(crm, session, document)
        assert not answer.errors, answer.errors
        assert answer.data is not None
        assert answer.data["customers"]["nodes"] == [
            {
                "name": "Ann",
                "consents": [
                    {
                        "channel": "email",
                        "purpose": "marketing",
                        "state": "WITHDRAWN",
                        "since": "2026-02-01T00:00:00.000000Z",
                    }
                ],
            },
            {
                "name": "Bob",
                "consents": [
                    {
                        "channel": "email",
                        "purpose": "events",
                        "state": "GIVEN",
                        "since": "2026-03-01T00:00:00.000000Z",
                    },
                    {
                        "channel": "sms",
                        "purpose": "*",
                        "state": "WITHDRAWN",
                        "since": "2026-04-01T00:00:00.000000Z",
                    },
                ],
            },
            {"name": "Cleo", "consents": []},
        ]
        by_consent = {"consent_entries": {"some": {"basis": {"eq": "consent"}}}}
        assert await session.find(Customer).where(by_consent).count() == 1


async def test_graphql_records_and_answers_with_the_entry(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        session = crm.acting_as(SYSTEM)
        document = """mutation {
          recordConsent(
            input: {channel: "email", address: "Ann@Example.com", purpose: "marketing", state: GIVEN}
          ) { consentEntry { address purpose state } userErrors { message } } }"""
        answer = await execute(crm, session, document)
        assert not answer.errors, answer.errors
        assert answer.data == {
            "recordConsent": {
                "consentEntry": {"address": ANN, "purpose": "marketing", "state": "GIVEN"},
                "userErrors": [],
            }
        }


# --- links -------------------------------------------------------------------------------------------------


async def test_a_link_withdraws_once_and_says_nothing_to_who_reads_it(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        ann, *_ = await people(session)
        ask = Ask(ann, "email", ANN, "marketing")
        await record(session, customer_id=ann, state="given")
        token = withdrawal_token(crm.settings, ask)
        assert ANN not in token
        assert ann.hex not in token

        found = read_withdrawal_token(crm.settings, token)
        assert found == ask
        assert await withdraw(session, found, "unsubscribe link") is not None
        assert await withdraw(session, found, "unsubscribe link") is None
        assert await may(session, ask, Ask(ann, "email", ANN)) == [False, True]
        rows = await session.find(ConsentEntry).select("source", "state").order_by("-occurred_at").all()
        assert rows[0] == {"source": "unsubscribe link", "state": "withdrawn"}
        assert len(rows) == 2


def test_a_token_of_somebody_else_is_none() -> None:
    settings = from_mapping({"security": {"keys": [new_key()]}})
    token = withdrawal_token(settings, Ask(None, "email", ANN, "marketing"))
    for wrong in (
        "",
        token[:-2],
        token.lower(),
        "x" * 5000,
        "é",
        withdrawal_token(from_mapping({"security": {"keys": [new_key()]}}), Ask(None, "email", ANN, "marketing")),
    ):
        assert read_withdrawal_token(settings, wrong) is None
    with pytest.raises(SecretsError, match="new-key"):
        withdrawal_token(from_mapping({}), Ask(None, "email", ANN))
    assert read_withdrawal_token(from_mapping({}), token) is None
