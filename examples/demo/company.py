"""Makes the demo's database, and fills it with Northlight, a company that does not exist.

    python examples/demo/company.py [--config amity.toml] [--seed 7] [--scale 1.0]

Run again, it says that the company is there already.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from amity import CompositionError, Crm, SettingsError
from amity.database import DatabaseError
from amity.principals.who import anybody
from amity.settings import load
from amity_graphql import GraphQLSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.demo.northlight import generate, let_in, state

_SQLITE = "sqlite:///"


async def fill(config: Path, seed: int, scale: float, console: Console) -> int:
    """Makes the database that the settings name, and the company in it if it is empty; an exit code."""
    settings = load(config)
    url = settings.database_url
    if url.startswith(_SQLITE):
        Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    crm = Crm(settings)
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        await crm.migrate(lambda step: advance("Migrations", step.done, step.total))
        async with crm:
            found = await state(crm)
            if found == "empty":
                size = await generate(crm, seed=seed, scale=scale, progress=advance)
            if found == "empty" or (found == "complete" and not await anybody(crm)):
                await let_in(crm, _passwords(crm))
    if found == "other":
        console.print(
            f"{url} is not empty, and does not hold the whole demo company; making it may have been interrupted. "
            "Remove the database and run this again, or name another one.",
            soft_wrap=True,
        )
        return 1
    if found == "complete":
        console.print(f"The company is there already, in {url}.", soft_wrap=True)
    else:
        console.print(
            f"Northlight is in {url}: {size.customers:,} customers with {size.addresses:,} addresses, "
            f"{size.interactions:,} interactions, {size.deals:,} deals that moved {size.moves:,} times.",
            soft_wrap=True,
        )
    return 0


def _passwords(crm: Crm) -> dict[str, str]:
    """The passwords of the users that GraphiQL offers, by their e-mail addresses."""
    settings = [info.plugin.settings for info in crm.composition.plugins]
    offered = [item for found in settings if isinstance(found, GraphQLSettings) for item in found.sign_ins]
    return {item.email: item.password for item in offered}


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a CRM with a believable company.")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "amity.toml")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 makes a tenth of it")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    try:
        code = asyncio.run(fill(arguments.config, arguments.seed, arguments.scale, console))
    except (SettingsError, CompositionError, DatabaseError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        code = 2
    raise SystemExit(code)


if __name__ == "__main__":
    main()
