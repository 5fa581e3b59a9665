"""Commands of the core."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from .. import migration
from ..composition import available, check_layers
from ..crm import Crm
from ..messaging.secrets import new_key
from ..settings import DEFAULT_FILE
from .app import App

_FILE = """\
# Amity. Every setting can also come from the environment, as AMITY_<NAME>.

# sqlite:///path, or postgresql://user@host/name
database_url = "{database_url}"

# Plugins by name; `amity plugins` lists what is installed.
plugins = [{plugins}]

# Country of phone numbers that are written without one, currency of amounts that come without one.
default_region = "US"
default_currency = "USD"

[server]
host = "127.0.0.1"
port = 8000

# Secrets of connections are encrypted with this key. It can come from AMITY_SECURITY__KEYS instead.
[security]
keys = ["{key}"]
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.option("--database-url", default="sqlite:///amity.sqlite3", show_default=True)
@click.pass_obj
def init(app: App, folder: Path, database_url: str) -> None:
    """Write amity.toml into FOLDER, and make the database."""
    file = folder / DEFAULT_FILE
    if file.exists():
        raise click.ClickException(f"{file} is there already; edit it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    bundled = [name for name in ("graphql", "csv") if name in available() and _importable(name)]
    plugins = ", ".join(f'"{name}"' for name in bundled)
    if database_url.startswith("sqlite:///") and not database_url.startswith("sqlite:////"):
        relative = database_url.removeprefix("sqlite:///")
        # its whole path, as the settings may be used from any folder
        database_url = f"sqlite:///{(folder / relative).resolve()}" if str(folder) != "." else database_url
    text = _FILE.format(database_url=database_url, plugins=plugins, key=new_key())
    # for nobody else's eyes: there is a key in it
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as writing:
        writing.write(text)
    click.echo(f"Wrote {file}")
    try:
        _migrate(App(file))
    except BaseException:
        # so that the same command, put right, can be run again
        file.unlink()
        click.echo(f"Removed {file} again, as the database could not be made.", err=True)
        raise
    option = "" if str(folder) == "." else f" --config {file}"
    click.echo(f"Ready. Make the first administrator with `amity{option} access add-user EMAIL --role admin`,")
    click.echo(f"then start the server with `amity{option} serve`.")


def _importable(name: str) -> bool:
    """Whether the extra that a bundled plugin needs is installed."""
    try:
        available()[name].load()
    except ImportError:
        return False
    return True


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.")
@click.pass_obj
def serve(app: App, host: str | None, port: int | None) -> None:
    """Start the server."""
    try:
        from ..server import serve as run_server
    except ImportError as error:
        raise click.ClickException(
            f"the server needs the extra amity[server]; install it with pip install 'amity[server]' ({error})"
        ) from error
    host = host or app.settings.server.host
    port = app.settings.server.port if port is None else port
    check_layers(app.crm.composition)
    run_server(app.crm, host, port)


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Apply nothing; fail if anything is pending.")
@click.pass_obj
def migrate(app: App, only_check: bool) -> None:
    """Bring the database up to date."""
    if not only_check:
        _migrate(app)
        return

    async def look(crm: Crm) -> list[str]:
        await crm.database.open()
        try:
            return await migration.pending(crm.composition, crm.database)
        finally:
            await crm.database.close()

    names = asyncio.run(look(app.crm))
    for name in names:
        click.echo(f"pending: {name}")
    if names:
        raise SystemExit(1)
    click.echo("The database is up to date.")


def _migrate(app: App) -> None:
    with _bar(app) as bar:
        task = bar.add_task("Migrating", total=None)

        def advance(progress: migration.Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=progress.name)

        names = asyncio.run(app.crm.migrate(advance))
    click.echo(f"Applied {len(names)}: {', '.join(names)}" if names else "The database is up to date.")


def _bar(app: App) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=app.console,
        transient=True,
    )


@click.command()
@click.argument("plugin", required=False)
@click.option("--name", help="What the migration is about, for its file name.")
@click.option("--renamed", multiple=True, metavar="OLD=NEW", help="loyalty.Account.points=balance")
@click.option("--dropped", multiple=True, metavar="OLD", help="loyalty.Account.points")
@click.pass_obj
def makemigrations(
    app: App, plugin: str | None, name: str | None, renamed: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    """Write migrations for what changed in the entities of PLUGIN, or of all enabled plugins."""
    renames: dict[str, str | None] = {old: new for old, _, new in (item.partition("=") for item in renamed)}
    renames |= dict.fromkeys(dropped)
    try:
        files = migration.make(app.crm.composition, plugin, name=name, renames=renames or None)
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    for file in files:
        click.echo(f"Wrote {file}")
    if not files:
        click.echo("Nothing changed.")


@click.command()
@click.pass_obj
def plugins(app: App) -> None:
    """List the plugins that are enabled, and those that are installed."""
    infos = app.crm.composition.plugins
    table = Table(box=None, pad_edge=False)
    for heading in ("plugin", "version", "state", "distribution", "what it is"):
        table.add_column(heading)
    for info in infos:
        table.add_row(info.name, info.version, "enabled", info.distribution or "", info.description)
    enabled = {info.name for info in infos}
    for name, point in sorted(available().items()):
        if name not in enabled:
            distribution = point.dist.name if point.dist else ""
            table.add_row(name, point.dist.version if point.dist else "", "installed", distribution, "")
    Console(markup=False).print(table)


@click.command()
@click.pass_obj
def check(app: App) -> None:
    """Check settings, plugins and database; fails if anything is wrong."""
    findings: list[tuple[bool, str]] = []
    composition = app.crm.composition
    check_layers(composition)
    names = ", ".join(f"{info.name} {info.version}" for info in composition.plugins)
    findings.append((True, f"plugins fit together: {names}"))

    async def look(crm: Crm) -> None:
        await crm.database.open()
        try:
            findings.extend(await crm.database.checks())
            pending = await migration.pending(crm.composition, crm.database)
            findings.append(
                (not pending, f"migrations: {', '.join(pending)} not applied; run `amity migrate`")
                if pending
                else (True, "all migrations are applied")
            )
            if not pending:
                differences = await migration.index_differences(crm.composition, crm.database)
                findings.extend((False, f"index: {difference}") for difference in differences)
                if not differences:
                    findings.append((True, "all declared indexes exist"))
            drift = migration.drift(crm.composition)
            findings.extend((False, f"entities without a migration: {item}") for item in drift)
        finally:
            await crm.database.close()

    asyncio.run(look(app.crm))
    for good, sentence in findings:
        click.echo(f"{click.style('ok   ', fg='green') if good else click.style('WRONG', fg='red')}  {sentence}")
    if not all(good for good, _ in findings):
        raise SystemExit(1)
