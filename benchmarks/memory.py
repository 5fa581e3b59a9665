"""Whether a server's memory stays bounded, whatever it is asked: documents that are all different, over HTTP.

    python -m benchmarks.memory [--documents 100000] [--database URL]

Each document is new, and so is its SQL; every other one is made known by its hash, and every tenth can't be run.
Caches fill with the first of them. What is judged is the rest: memory that grew by more than ``MOST`` bytes for
each further document was kept for it, and the command fails. The database is empty but for one team; by default a
SQLite file of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import psutil

from amity import SYSTEM, Crm

from . import load
from .server import SETTINGS

MOST = 200.0
"""Bytes for each document; the text alone of one that is kept has more, and what is made of it has 60,000."""
STEPS = 10
SETTLED = 4
"""After so many steps all caches are full."""


def body(number: int) -> bytes:
    """A request whose document nobody has sent before."""
    text = (
        f'query Q{number}($first: Int!) {{ customers(first: $first, where: {{name: {{ne: "n{number}"}}}}) '
        f"{{ t{number}: totalCount n{number}: nodes {{ a{number}: name b{number}: createdAt "
        f"deals(first: 3) {{ c{number}: nodes {{ d{number}: name }} }} }} }} }}"
    )
    if number % 10 == 9:
        text = text.replace("createdAt", "createdOn")
    request: dict[str, object] = {"query": text, "variables": {"first": number % 50}}
    if number % 2:
        digest = hashlib.sha256(text.encode()).hexdigest()
        request["extensions"] = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    return orjson.dumps(request)


async def prepare(database: str) -> str:
    """Brings the database up to date; an administrator's API key."""
    crm = Crm({**SETTINGS, "database_url": database})
    await crm.migrate()
    async with crm:
        session = crm.acting_as(SYSTEM)
        await session.create("Team", [{"name": "Benchmark"}])
        result = await session.run("create_api_key", [{"name": "memory", "role": "admin"}])
        return str(result.values[0].text)


async def send(port: int, key: str, start: int, end: int) -> None:
    """Sends the documents of these numbers over two connections."""
    numbers = iter(range(start, end))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            writer.write(load.request("/graphql", body(number), f"authorization: Bearer {key}\r\n"))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            answer = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
            if (b'"errors"' in answer) != (number % 10 == 9):
                raise RuntimeError(answer[:500].decode())
        writer.close()

    await asyncio.gather(one(), one())


async def measure(database: str, documents: int) -> bool:
    key = await prepare(database)
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.server", "amity", "--database", database), stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        process = psutil.Process(server.pid)
        seen = [told(0, process)]
        for step in range(STEPS):
            end = documents * (step + 1) // STEPS
            await send(port, key, documents * step // STEPS, end)
            seen.append(told(end, process))
    finally:
        server.terminate()
        await server.wait()
    grown = (seen[-1] - seen[SETTLED]) / (documents * (STEPS - SETTLED) / STEPS)
    verdict = "bounded" if grown <= MOST else "NOT BOUNDED"
    print(f"{verdict}: {grown:+.0f} bytes for each of the last documents; {MOST:.0f} are allowed")
    return grown <= MOST


def told(documents: int, process: psutil.Process) -> int:
    """The memory of the server, in bytes."""
    found = int(process.memory_info().rss)
    print(f"{documents:>9,} documents  {found / 2**20:7.1f} MiB", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--database", help="URL of an empty database; by default a SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amity-memory-") as folder:
        database = arguments.database or f"sqlite:///{Path(folder) / 'crm.sqlite3'}"
        if not asyncio.run(measure(database, arguments.documents)):
            sys.exit(1)


if __name__ == "__main__":
    main()
