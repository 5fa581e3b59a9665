"""The little company that the documentation's answers are about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from amity import (
    ContactPoint,
    Customer,
    Deal,
    Entity,
    Pipeline,
    Relationship,
    Session,
    Stage,
    Team,
    User,
)
from amity.contracts import ChangeResult


def id_of(prefix: str, number: int) -> str:
    """Ids are brought along, so that the documentation can show them: ``cus_019a…0001``."""
    return f"{prefix}_019a0000000070008000{number:012d}"


TEAM = id_of("tea", 1)
MIA, JONAS = id_of("usr", 1), id_of("usr", 2)
ACME, GLOBEX, ANN, BOB, WEI = (id_of("cus", number) for number in range(1, 6))
SALES = id_of("pip", 1)
QUALIFIED, OFFER, WON, LOST = (id_of("stg", number) for number in range(1, 5))
STARTER, RENEWAL, PILOT = (id_of("dea", number) for number in range(1, 4))


async def empty(session: Session) -> None:
    """No company at all."""


async def company(session: Session) -> None:
    """Two organizations, three persons, a pipeline with three deals, four interactions."""
    await _create(session, Team, {"id": TEAM, "name": "Zurich"})
    await _create(
        session,
        User,
        {"id": MIA, "name": "Mia Keller", "email": "mia@ourcompany.example", "team_id": TEAM},
        {"id": JONAS, "name": "Jonas Frei", "email": "jonas@ourcompany.example", "team_id": TEAM},
    )
    await _create(
        session,
        Customer,
        {"id": ACME, "kind": "organization", "name": "Acme", "lifecycle": "customer", "owner_id": MIA},
        {"id": GLOBEX, "kind": "organization", "name": "Globex", "source": "fair", "owner_id": JONAS},
    )
    await _create(
        session,
        Customer,
        {
            "id": ANN,
            "kind": "person",
            "name": "Ann Lee",
            "given_name": "Ann",
            "family_name": "Lee",
            "lifecycle": "customer",
            "organization_id": ACME,
            "owner_id": MIA,
        },
        {"id": BOB, "kind": "person", "name": "Bob Stone", "lifecycle": "lead", "organization_id": ACME},
        {"id": WEI, "kind": "person", "name": "王伟", "source": "web site", "locale": "zh-CN"},
    )
    await _create(
        session,
        ContactPoint,
        {"customer_id": ANN, "channel": "email", "address": "Ann.Lee@acme.example", "primary": True},
        {"customer_id": ANN, "channel": "phone", "address": "+41 44 333 11 22", "label": "work"},
        {"customer_id": BOB, "channel": "email", "address": "bob@acme.example"},
    )
    await _create(session, Relationship, {"customer_id": GLOBEX, "related_id": ACME, "type": "supplier_of"})
    await _pipeline(session)
    await _interactions(session)


async def _pipeline(session: Session) -> None:
    await _create(session, Pipeline, {"id": SALES, "name": "Sales"})
    await _create(
        session,
        Stage,
        *(
            {
                "id": id,
                "pipeline_id": SALES,
                "name": name,
                "category": category,
                "probability": probability,
                "position": position,
            }
            for position, (id, name, category, probability) in enumerate(
                [
                    (QUALIFIED, "Qualified", "open", 20),
                    (OFFER, "Offer", "open", 60),
                    (WON, "Won", "won", 100),
                    (LOST, "Lost", "lost", 0),
                ]
            )
        ),
    )
    await _create(
        session,
        Deal,
        {
            "id": STARTER,
            "name": "Starter kit",
            "customer_id": ACME,
            "owner_id": MIA,
            "stage_id": WON,
            "value": {"amount": 120_000, "currency": "USD"},
            "opened_on": "2025-02-03",
            "closed_on": "2025-03-14",
        },
        {
            "id": RENEWAL,
            "name": "Renewal 2026",
            "customer_id": ACME,
            "owner_id": MIA,
            "stage_id": OFFER,
            "value": {"amount": 5_400_000, "currency": "USD"},
            "opened_on": "2025-09-01",
            "external_id": {"system": "legacy", "id": "D-1042"},
        },
        {
            "id": PILOT,
            "name": "Pilot",
            "customer_id": GLOBEX,
            "owner_id": JONAS,
            "stage_id": QUALIFIED,
            "value": {"amount": 800_000, "currency": "EUR"},
            "opened_on": "2025-10-20",
        },
    )


async def _interactions(session: Session) -> None:
    result = await session.run(
        "log_interaction",
        [
            {
                "channel": "email",
                "direction": "inbound",
                "address": "ann.lee@acme.example",
                "subject": "Prices for 2026",
                "occurred_at": "2025-11-03T08:15:00Z",
            },
            {
                "channel": "phone",
                "direction": "outbound",
                "customer_id": ANN,
                "user_id": MIA,
                "subject": "Went through the offer",
                "duration_seconds": 1260,
                "occurred_at": "2025-11-05T13:30:00Z",
            },
            {
                "channel": "email",
                "direction": "outbound",
                "customer_id": BOB,
                "user_id": MIA,
                "subject": "Welcome",
                "occurred_at": "2025-11-06T09:00:00Z",
            },
            {
                "channel": "web",
                "direction": "inbound",
                "customer_id": WEI,
                "address": "visitor-77",
                "subject": "Asked for a call",
                "occurred_at": "2025-11-10T02:41:07Z",
            },
        ],
    )
    _well(result)


async def _create(session: Session, entity: type[Entity], *rows: Mapping[str, Any]) -> None:
    _well(await session.create(entity, rows))


def _well(result: ChangeResult) -> None:
    assert not result.errors, result.errors


FILL: Mapping[str, Callable[[Session], Awaitable[None]]] = {"company": company, "empty": empty}
