"""One server process: ours, the limit, or the plain one.

    python -m benchmarks.server amity|limit|plain --database URL

The limit is a bare Starlette endpoint behind the same session check, in which asyncpg passes on the JSON that a
hand-written statement builds. Plain is the same schema as most write it (:mod:`benchmarks.plain`). Prints its
port.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Awaitable, Callable

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from amity import Crm
from amity.memory import settle_memory
from amity.server import app
from amity.signin import authenticate

from .operations import OPERATIONS, Operation
from .plain import plain

SETTINGS = {"plugins": ["graphql"], "pool_size": 16, "statement_timeout": 60.0}


async def limit(crm: Crm, database: str) -> Starlette:
    """An endpoint for each operation, ``/0`` for the first."""

    async def as_it_is(_: object) -> None:
        """Connections are not reset between statements, as ours are not."""

    pool = await asyncpg.create_pool(
        database, min_size=16, max_size=16, reset=as_it_is, server_settings={"timezone": "UTC", "jit": "off"}
    )

    def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            principal = await authenticate(crm, request)
            if principal.kind == "anonymous":
                return Response(status_code=401)
            variables = orjson.loads(await request.body())["variables"]
            values = list(variables.values())
            if operation.writes:
                given = values[0] if isinstance(values[0], list) else values
                values = [orjson.dumps(given).decode(), principal.facts.user, str(principal)]
            async with pool.acquire() as connection:
                text = await connection.fetchval(operation.sql, *values)
            return Response(b'{"data":' + text.encode() + b"}", media_type="application/json")

        return answer

    return Starlette(
        routes=[Route(f"/{place}", endpoint(item), methods=["POST"]) for place, item in enumerate(OPERATIONS)]
    )


async def serve(kind: str, database: str) -> None:
    crm = Crm({**SETTINGS, "database_url": database})
    async with crm:
        made = {"limit": limit, "plain": plain}
        application = await made[kind](crm, database) if kind in made else app(crm, opens=False)
        # with its protocol named, asyncio sends answers at once
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        print(listening.getsockname()[1], flush=True)
        settle_memory()
        config = uvicorn.Config(
            application, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        await uvicorn.Server(config).serve([listening])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["amity", "limit", "plain"])
    parser.add_argument("--database", required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.kind, arguments.database))


if __name__ == "__main__":
    main()
