"""How the time of reads grows with the company: the same operations on ten and a hundred times the rows.

    python -m benchmarks.growth [--scales 0.1 1 10] [--seconds 3] [--rounds 3] [--folder .bench]

One connection asks, so that a figure is the time of one request, over HTTP; the median of each round, and of the
rounds. The companies take turns. Scale 1 has 1,000,000 interactions.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from amity import Crm

from .company import Size
from .operations import OPERATIONS
from .reads import CONTENDERS, Server, Turns, known, postgresql, prepare, round_of
from .server import SETTINGS

OURS = next(item for item in CONTENDERS if item.name == "amity")


async def measure(urls: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """For each operation, the median milliseconds of a request on each database."""
    figures: dict[str, list[list[float]]] = {item.name: [[] for _ in urls] for item in OPERATIONS}
    asked = []
    for url in urls:
        async with Crm({**SETTINGS, "database_url": url}) as crm:
            asked.append(await known(crm))
    with ExitStack() as stack:
        servers = [stack.enter_context(Server("amity", url)) for url in urls]
        for number in range(1, rounds + 1):
            for place, operation in enumerate(OPERATIONS):
                print(f"round {number} of {rounds}: {operation.name}", file=sys.stderr, flush=True)
                turns = [
                    Turns(server, place, OURS, tokens[OURS.role], ids[operation.of])
                    for server, (tokens, ids) in zip(servers, asked, strict=True)
                ]
                for found, seen in zip(figures[operation.name], await round_of(turns, 1, seconds), strict=True):
                    found.append(seen.p50)
    return {name: [statistics.median(item) for item in found] for name, found in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scales", type=float, nargs="+", default=[0.1, 1.0, 10.0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(".bench"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    sizes = [Size().times(scale) for scale in arguments.scales]
    with postgresql(arguments.folder.resolve()) as server:
        urls = [asyncio.run(prepare(server, size)) for size in sizes]
        found = asyncio.run(measure(urls, arguments.rounds, arguments.seconds))
    heads = [f"{size.interactions:,}, ms" for size in sizes]
    print("| operation | " + " | ".join([*heads, *("of the one before" for _ in sizes[1:])]) + " |")
    print("|" + "---|" * (2 * len(sizes)))
    for name, times in found.items():
        ratios = [f"**{after / before:.2f}**" for before, after in pairwise(times)]
        print("| " + " | ".join([name, *(f"{item:.2f}" for item in times), *ratios]) + " |")


if __name__ == "__main__":
    main()
