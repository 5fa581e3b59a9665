"""Three pipelines, and the deals that went through them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from amity import Deal, Pipeline, Stage

from .talk import PRODUCTS, SITES
from .world import DAYS, World, batches, check


@dataclass(frozen=True)
class Step:
    """A stage: its category, the chance of winning in percent, and how many days deals usually stay."""

    name: str
    category: str
    probability: int
    days: float = 0


@dataclass(frozen=True)
class Path:
    """A pipeline. Its last two steps are won and lost."""

    name: str
    share: float
    """Of all deals, how many are in it."""
    won: float
    """Of its deals, how many are won."""
    worth: float
    """Its deals' value, compared with that of new business."""
    steps: tuple[Step, ...]


PATHS = (
    Path(
        "New business",
        0.68,
        0.42,
        1.0,
        (
            Step("Inquiry", "open", 10, 6),
            Step("Qualified", "open", 25, 12),
            Step("Light plan", "open", 45, 18),
            Step("Offer", "open", 65, 16),
            Step("Negotiation", "open", 80, 12),
            Step("Won", "won", 100),
            Step("Lost", "lost", 0),
        ),
    ),
    Path(
        "Service contracts",
        0.24,
        0.74,
        0.35,
        (
            Step("Due", "open", 60, 20),
            Step("Contacted", "open", 70, 10),
            Step("Offer sent", "open", 80, 14),
            Step("Renewed", "won", 100),
            Step("Ended", "lost", 0),
        ),
    ),
    Path(
        "Partners",
        0.08,
        0.35,
        1.8,
        (
            Step("Introduced", "open", 15, 15),
            Step("Training", "open", 40, 30),
            Step("Trial order", "open", 70, 35),
            Step("Partner", "won", 100),
            Step("Declined", "lost", 0),
        ),
    ),
)
LOST = ("price", "chose another supplier", "project put off", "no answer any more", "no budget this year")
NOTES = ("Architect decides on the color.", "Must be fitted before the opening.", "Wants two references.")
RATES = {
    "USD": 1.0,
    "EUR": 0.92,
    "GBP": 0.79,
    "CHF": 0.88,
    "MXN": 18.0,
    "BRL": 5.2,
    "PLN": 4.0,
    "SEK": 10.5,
    "TRY": 33.0,
    "INR": 84.0,
    "CNY": 7.2,
    "JPY": 150.0,
    "KRW": 1_350.0,
    "AED": 3.67,
    "NGN": 1_500.0,
    "VND": 25_000.0,
}
"""Units of a currency for a dollar, roughly."""
_WITHOUT_CENTS = ("JPY", "KRW", "VND")


@dataclass(frozen=True)
class Sale:
    """A deal, and the stages that it entered after the first."""

    row: Mapping[str, Any]
    opened: datetime
    path: int
    moves: tuple[tuple[int, datetime], ...]


async def make_deals(world: World, count: int) -> int:
    """Makes the deals, and moves them as they moved; how many moves there were."""
    stages = await _pipelines(world)
    sales = sorted((_sale(world, stages) for _ in range(count)), key=lambda sale: sale.opened)
    ids = await world.create(Deal, "Deals", [sale.row for sale in sales])
    moves: dict[int, list[tuple[datetime, dict[str, Any]]]] = {}
    for sale, id in zip(sales, ids, strict=True):
        for number, (step, when) in enumerate(sale.moves):
            move = {"id": id, "stage_id": stages[sale.path][step], "moved_at": when}
            moves.setdefault(number, []).append((when, move))
    total = sum(map(len, moves.values()))
    done = 0
    # everybody's first move, then everybody's second: no deal moves twice in a batch
    for number in sorted(moves):
        for batch in batches([move for _, move in sorted(moves[number], key=lambda item: item[0])]):
            check((await world.session.run("move_deal", batch)).errors)
            done += len(batch)
            world.advance("Moves of deals", done, total)
    return total


async def _pipelines(world: World) -> list[list[UUID]]:
    names = [{"name": path.name, "position": i} for i, path in enumerate(PATHS)]
    pipelines = await world.create(Pipeline, "Pipelines", names)
    rows = [
        {
            "pipeline_id": pipeline,
            "name": step.name,
            "category": step.category,
            "probability": step.probability,
            "position": i,
        }
        for pipeline, path in zip(pipelines, PATHS, strict=True)
        for i, step in enumerate(path.steps)
    ]
    stages = iter(await world.create(Stage, "Stages", rows))
    return [[next(stages) for _ in path.steps] for path in PATHS]


def _sale(world: World, stages: Sequence[Sequence[UUID]]) -> Sale:
    chance = world.chance
    number = chance.choices(range(len(PATHS)), [path.share for path in PATHS])[0]
    path, party = PATHS[number], world.active()
    opened = world.office_hours(max(party.since, world.now - timedelta(days=DAYS * chance.random())))
    moves = tuple(_moves(world, path, opened))
    last = path.steps[moves[-1][0]] if moves else path.steps[0]
    product, price = chance.choice(PRODUCTS)
    pieces = max(1, round(math.exp(chance.gauss(2.6, 0.9))))
    site = chance.choice(SITES)
    names = (f"{product} for the {site}", f"Service of the {site}", f"Partnership: {product}")
    custom: dict[str, Any] = {"product": product, "pieces": pieces}
    if last.category == "lost":
        custom["lost_because"] = chance.choice(LOST)
    row: dict[str, Any] = {
        "name": f"{names[number]}, {party.name}",
        "customer_id": party.id,
        "owner_id": world.users[party.owner],
        "stage_id": stages[number][0],
        "stage_entered_at": opened,
        "opened_on": opened.date(),
        "value": money(price * pieces * path.worth, party.culture.currency),
        "source": party.row["source"],
        "custom_fields": custom,
    }
    if last.category == "open":
        row["expected_close_on"] = (world.now + timedelta(days=chance.randrange(5, 120))).date()
    if chance.random() < 0.07:
        row["note"] = chance.choice(NOTES)
    return Sale(row, opened, number, moves)


def money(dollars: float, currency: str) -> dict[str, Any]:
    """So many dollars in another currency, with three digits that count."""
    amount = dollars * RATES[currency]
    rounded = round(amount, 2 - int(math.log10(amount)))
    return {"amount": round(rounded * (1 if currency in _WITHOUT_CENTS else 100)), "currency": currency}


def _moves(world: World, path: Path, opened: datetime) -> Iterator[tuple[int, datetime]]:
    """The steps that a deal enters after the first, and when; it may not have come to its end yet."""
    chance = world.chance
    won = len(path.steps) - 2
    wins = chance.random() < path.won
    # what is lost is lost late rather than early
    leaves_at = won - 1 if wins else chance.choices(range(won), range(1, won + 1))[0]
    stuck = chance.random() < 0.03
    when, step = opened, 0
    while not (stuck and step == leaves_at):
        days = 0.7 + chance.expovariate(1 / path.steps[step].days)
        when = world.office_hours(when + timedelta(days=days))
        if when >= world.now:
            return
        if step >= leaves_at:
            yield (won if wins else won + 1), when
            return
        step += 2 if step + 2 <= leaves_at and chance.random() < 0.12 else 1
        yield step, when
