"""How close import and export come to what the databases can do, in one run.

    python -m benchmarks.bulk [--rows 200000] [--database postgresql|sqlite|both] [--what import|export|both]

A CSV file of customers with their e-mail addresses, as people write them and some of them twice, goes in through
the mapping below: two changes, with rights, keys, references and events. The limit is the same rows into the same
tables: ``COPY`` on PostgreSQL, ``executemany`` in one transaction on SQLite. Then the customers go out as CSV; the
limit is ``COPY (select …) to`` a file, or a plain cursor and ``csv.writer``. The files are compared, and what is
stored with what the file says. Every contender runs in a process of its own, of which the largest resident size is
told.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import multiprocessing
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from amity import SYSTEM, Crm
from amity.memory import settle_memory
from amity_csv import export_rows, load_mapping, run_import

from .reads import postgresql

MAPPING = """
system = "shop"

[[import]]
entity = "Customer"
file = "customers.csv"
key = "external_id"
repeated = "skip"

[import.fields]
external_id = "id"
kind = { value = "person" }
name = { template = "{given} {family}" }
given_name = "given"
family_name = "family"
lifecycle = "status"
source = "source"
locale = "locale"

[[import]]
entity = "ContactPoint"
file = "customers.csv"
key = ["channel", "address", "customer_id"]
repeated = "skip"

[import.fields]
customer_id = { column = "id", by = "external_id" }
channel = { value = "email" }
address = "email"
primary = { value = true }
"""
TABLES = ("core_event_batch", "core_customer", "core_external_id", "core_contact_point", "core_event")
FIELDS = ("id", "kind", "name", "given_name", "family_name", "lifecycle", "source", "locale", "created_at")
REPEATED = 100
"""Every so manieth row comes twice, and every so manieth address is written in another way by somebody else."""


@dataclass(frozen=True)
class Turn:
    """What one contender took: seconds, seconds of its own processor time, MiB of its largest resident size."""

    seconds: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Said:
    """What the file says: customers, addresses that are nobody else's, a sum over all names and addresses."""

    customers: int
    addresses: int
    checksum: str


def write_file(path: Path, rows: int) -> Said:
    """The file of customers."""
    names, addresses = [], {}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "given", "family", "status", "source", "locale", "email"))
        for n in range(rows):
            given, family = f"Given{n % 997}", f"Family{n % 7919}"
            # of the first of each hundred, and of the tenth, who wrote it in capitals
            address = f"c{n - 9 if n % REPEATED == 10 else n}@example.com"
            told = f" {address.replace('example', 'Example')} " if n % 3 == 0 else address
            status = ("prospect", "lead", "customer", "former")[n % 4]
            row = (n, given, family, status, ("web", "fair")[n % 2], ("de-CH", "en-US")[n % 2], told)
            writer.writerow(row)
            if n % REPEATED == 50:
                writer.writerow(row)
            names.append(f"{given} {family}")
            addresses[address] = n
    return Said(rows, len(addresses), checksum(names, list(addresses)))


def checksum(names: list[str], addresses: list[str]) -> str:
    return hashlib.sha256("\n".join([*sorted(names), *sorted(addresses)]).encode()).hexdigest()


def settings(url: str) -> dict[str, Any]:
    return {"plugins": ["graphql", "csv"], "database_url": url, "statement_timeout": 1200.0}


async def migrated(url: str) -> None:
    await Crm(settings(url)).migrate()


# --- contenders, each in a process of its own -----------------------------------------------------------------


async def ours_in(url: str, folder: Path) -> float:
    crm = Crm(settings(url))
    async with crm:
        batch = crm.composition.plugin("csv").plugin.settings.batch
        settle_memory()  # as every command does
        began = time.perf_counter()
        report = await run_import(
            crm.acting_as(SYSTEM), load_mapping(folder / "mapping.toml"), folder, batch=batch
        )
        seconds = time.perf_counter() - began
    print("   ", report.summary(), flush=True)
    return seconds


async def ours_out(url: str, folder: Path) -> float:
    crm = Crm(settings(url))
    async with crm:
        settle_memory()
        began = time.perf_counter()
        with (folder / "ours.csv").open("w", newline="", encoding="utf-8") as file:
            await export_rows(crm.acting_as(SYSTEM), "Customer", file, fields=FIELDS, order_by=["id"])
        return time.perf_counter() - began


async def copy_in(url: str, folder: Path) -> float:
    import asyncpg

    connection = await asyncpg.connect(url, server_settings={"search_path": "public"})
    began = time.perf_counter()
    async with connection.transaction():
        for table in TABLES:
            columns = _columns(folder, table)
            await connection.copy_to_table(table, source=folder / table, columns=columns, format="binary")
    seconds = time.perf_counter() - began
    await connection.close()
    return seconds


async def copy_out(url: str, folder: Path) -> float:
    import asyncpg

    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    began = time.perf_counter()
    await connection.copy_from_query(
        f"select {_selected('postgresql')} from core_customer where deleted_at is null order by core_customer.id",
        output=folder / "limit.csv",
        format="csv",
        header=True,
    )
    seconds = time.perf_counter() - began
    await connection.close()
    return seconds


async def many_in(url: str, folder: Path) -> float:
    target = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "cache_size = -65536"):
        target.execute(f"PRAGMA {pragma}")
    source = sqlite3.connect(folder / "ours.sqlite3")
    seconds = 0.0
    target.execute("BEGIN IMMEDIATE")
    for table in TABLES:
        columns = _columns(folder, table)
        read = source.execute(f"select {_quoted(columns)} from {table} order by rowid")
        places = ", ".join("?" * len(columns))
        while rows := read.fetchmany(20_000):  # what the limit inserts is in memory before its clock runs
            began = time.perf_counter()
            target.executemany(f"insert into {table} ({_quoted(columns)}) values ({places})", rows)
            seconds += time.perf_counter() - began
    began = time.perf_counter()
    target.execute("COMMIT")
    return seconds + time.perf_counter() - began


async def many_out(url: str, folder: Path) -> float:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    began = time.perf_counter()
    with (folder / "limit.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(
            connection.execute(
                f"select {_selected('sqlite')} from core_customer where deleted_at is null "
                "order by core_customer.id"
            )
        )
    return time.perf_counter() - began


def _selected(dialect: str) -> str:
    """The columns of the export, in the form in which it has them."""
    time_ = {
        "postgresql": "to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        "sqlite": "created_at",
    }[dialect]
    text = "::text" if dialect == "postgresql" else ""
    written = {"id": f"'cus_' || replace(id{text}, '-', '') as id", "created_at": f"{time_} as created_at"}
    return ", ".join(written.get(name, name) for name in FIELDS)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _columns(folder: Path, table: str) -> list[str]:
    return (folder / f"{table}.columns").read_text().split()


# --- around them ------------------------------------------------------------------------------------------------

Contender = Callable[[str, Path], Coroutine[Any, Any, float]]


def _child(contender: Contender, url: str, folder: Path, answer: Any) -> None:
    before = time.process_time()
    seconds = asyncio.run(contender(url, folder))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.put(Turn(seconds, time.process_time() - before, memory))


def turn(contender: Contender, url: str, folder: Path) -> Turn:
    """Runs a contender in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer: Any = context.Queue()
    process = context.Process(target=_child, args=(contender, url, folder, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{contender.__name__} ended with {process.exitcode}")
    found: Turn = answer.get(timeout=10)
    return found


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Callable[[str], str]]:
    """New databases by name, in an embedded server or in the folder."""
    if kind == "sqlite":
        yield lambda name: f"sqlite:///{folder / name}.sqlite3"
        return
    with postgresql(folder) as server:

        def make(name: str) -> str:
            import asyncpg

            async def create() -> None:
                connection = await asyncpg.connect(server)
                await connection.execute(f'create database "{name}"')
                await connection.close()

            asyncio.run(create())
            return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))

        yield make


async def dump(url: str, folder: Path) -> None:
    """Keeps the rows of the tables as ``COPY`` reads them, and the names of their columns."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as opened:
            for table in TABLES:
                names = [row[1] for row in opened.execute(f"pragma table_info({table})")]
                (folder / f"{table}.columns").write_text("\n".join(names))
        return
    import asyncpg

    connection = await asyncpg.connect(url)
    for table in TABLES:
        rows = await connection.fetch(
            "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped "
            "and attgenerated = '' order by attnum",
            table,
        )
        names = [row[0] for row in rows]
        (folder / f"{table}.columns").write_text("\n".join(names))
        await connection.copy_from_table(table, columns=names, output=folder / table, format="binary")
    await connection.close()


async def stored(url: str) -> tuple[list[int], Said]:
    """Rows of each table, and what they say."""
    crm = Crm(settings(url))
    async with crm:
        counts = [(await crm.database.read(f"select count(*) from {table}"))[0][0] for table in TABLES]
        names = [row[0] for row in await crm.database.read("select name from core_customer")]
        addresses = [row[0] for row in await crm.database.read("select address from core_contact_point")]
    return counts, Said(len(names), len(addresses), checksum(names, addresses))


def told(what: str, kind: str, rows: int, ours: Turn, limit: Turn) -> str:
    cells = [
        f"{what}, {kind}",
        f"{limit.seconds:.1f}",
        f"{ours.seconds:.1f}",
        f"{rows / ours.seconds:,.0f}",
        f"**{limit.seconds / ours.seconds:.2f}**",
        f"{limit.cpu:.1f}, {ours.cpu:.1f}",
        f"{limit.memory:.0f}, {ours.memory:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| what | limit, s | amity, s | customers/s | amity : limit | CPU of the process, s: limit, amity "
    "| peak MiB: limit, amity |\n|" + "---|" * 7
)


def measure(kind: str, rows: int, what: str) -> list[str]:
    lines = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amity-bulk-")))
        said = write_file(folder / "customers.csv", rows)
        (folder / "mapping.toml").write_text(MAPPING)
        make = stack.enter_context(databases(kind, folder))
        url = make("ours")
        asyncio.run(migrated(url))
        ours = turn(ours_in, url, folder)
        counts, found = asyncio.run(stored(url))
        assert found == said, f"the file says {said}, stored is {found}"
        if what in ("import", "both"):
            asyncio.run(dump(url, folder))
            other = make("limit")
            asyncio.run(migrated(other))
            limit = turn(many_in if kind == "sqlite" else copy_in, other, folder)
            assert asyncio.run(stored(other)) == (counts, found)
            lines.append(told("import", kind, rows, ours, limit))
        if what in ("export", "both"):
            limit = turn(many_out if kind == "sqlite" else copy_out, url, folder)
            ours = turn(ours_out, url, folder)
            assert (folder / "ours.csv").read_bytes() == (folder / "limit.csv").read_bytes()
            lines.append(told("export", kind, rows, ours, limit))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--database", choices=["postgresql", "sqlite", "both"], default="both")
    parser.add_argument("--what", choices=["import", "export", "both"], default="both")
    arguments = parser.parse_args()
    kinds = ["postgresql", "sqlite"] if arguments.database == "both" else [arguments.database]
    lines = [line for kind in kinds for line in measure(kind, arguments.rows, arguments.what)]
    print(HEAD, *lines, sep="\n")


if __name__ == "__main__":
    main()
