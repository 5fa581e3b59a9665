"""Northlight, a company that sells lighting and does not exist: a demo that a CRM is filled with.

About 2,000 customers from many countries, 20,000 interactions over five channels, and 3,000 deals in three
pipelines with two years of history, all made through the public API.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from amity import SYSTEM, Crm, ExternalId, Team, Update

from .access import let_in
from .addresses import make_addresses
from .customers import make_customers, make_relationships
from .deals import make_deals
from .interactions import make_interactions
from .people import make_people
from .world import Advance, World, check

ORGANIZATIONS, PERSONS, INTERACTIONS, DEALS = 500, 1_500, 20_000, 3_000
_SYSTEM, _COMPLETE = "northlight", "complete"


@dataclass(frozen=True)
class Size:
    """How much was made."""

    customers: int
    addresses: int
    interactions: int
    deals: int
    moves: int


async def generate(
    crm: Crm,
    *,
    seed: int = 7,
    scale: float = 1.0,
    today: date | None = None,
    progress: Advance | None = None,
) -> Size:
    """Makes the company in an empty CRM.

    The same seed and day make the same company; its history ends in the evening of ``today``, by default
    yesterday's, so that nothing happens in the future. ``scale`` 0.1 makes a tenth of it.
    ``progress(what, done, total)`` is called on the way.
    """
    session = crm.acting_as(SYSTEM, origin="demo")
    world = World(session, seed, scale, today or datetime.now(UTC).date() - timedelta(days=1), progress)
    fields = crm.composition.catalog["Customer"].custom
    await make_people(world)
    await make_customers(world, world.many(ORGANIZATIONS), world.many(PERSONS), fields)
    addresses = await make_addresses(world)
    await make_relationships(world)
    moves = await make_deals(world, world.many(DEALS))
    interactions = await make_interactions(world, world.many(INTERACTIONS))
    if "rfm" in crm.composition.scorers:
        # the demo is opened without waiting for the night
        await session.run("compute_scores", [{"scorer": "rfm"}])
    # written last: a CRM without it was not filled to the end
    mark = {"external_id": {"system": _SYSTEM, "id": _COMPLETE}}
    check((await session.update(Team, [Update(world.teams[0], mark)])).errors)
    return Size(len(world.parties), addresses, interactions, world.many(DEALS), moves)


async def state(crm: Crm) -> str:
    """Whether a CRM is ``"empty"``, holds the company (``"complete"``), or something else (``"other"``)."""
    session = crm.acting_as(SYSTEM)
    mark = {"system": {"eq": _SYSTEM}, "external_id": {"eq": _COMPLETE}}
    if await session.find(ExternalId).where(mark).one():
        return "complete"
    return "other" if await session.find(Team).one() else "empty"


__all__ = ["Size", "generate", "let_in", "state"]
