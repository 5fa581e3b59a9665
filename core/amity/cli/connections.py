"""``amity connections``: keys for secrets, and the accounts of channels."""

from __future__ import annotations

from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from ..access import SYSTEM
from ..crm import Crm
from ..entity import decode_id
from ..messaging import connections as accounts
from ..messaging import secrets
from ..model import Connection
from .app import App


@click.group()
def connections() -> None:
    """Keys for secrets, and accounts of channels.

    They are made with `amity run create-connection`, whose --json - reads them from standard input, so that no
    password stands in the shell's history.
    """


@connections.command("new-key")
def new_key() -> None:
    """Print a new key for `keys` in [security], or AMITY_SECURITY__KEYS.

    Secrets of connections are encrypted, and links are signed, with it. Keep it apart from the database.
    """
    click.echo(secrets.new_key())


@connections.command("list")
@click.pass_obj
def list_connections(app: App) -> None:
    """List connections, and what is wrong with them."""

    async def work(crm: Crm) -> None:
        query = crm.acting_as(SYSTEM).find(Connection).order_by("name")
        rows = await query.select("name", "channel", "active", "fetched_at", "failure").all()
        if not rows:
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("name", "channel", "active", "fetched", "failure"):
            table.add_column(heading)
        for row in rows:
            active = "yes" if row["active"] else "no"
            table.add_row(row["name"], row["channel"], active, row["fetched_at"] or "", row["failure"] or "")
        Console(markup=False).print(table)

    app.run(work, dispatch=False)


@connections.command()
@click.argument("name")
@click.pass_obj
def check(app: App, name: str) -> None:
    """Try the connection NAME, without sending anything; fails if it does not work."""

    async def work(crm: Crm) -> accounts.CheckedConnection:
        session = crm.acting_as(SYSTEM, origin="cli")
        row = await session.find(Connection).where({"name": {"eq": name}}).one()
        if row is None:
            raise click.ClickException(f"there is no connection {name!r}; `amity connections list` shows them")
        id: UUID = decode_id(Connection.options.prefix, row["id"])
        result = await session.run("check_connection", [{"id": id}])
        found: accounts.CheckedConnection = result.values[0]
        return found

    found = app.run(work, dispatch=False)
    if not found.works:
        raise click.ClickException(f"{name}: {found.problem}")
    click.echo(f"{name} works.")


@connections.command()
@click.pass_obj
def rotate(app: App) -> None:
    """Encrypt the secrets of all connections with the first key."""

    async def work(crm: Crm) -> int:
        return await accounts.rotate(crm.acting_as(SYSTEM, origin="cli"))

    try:
        count = app.run(work, dispatch=False)
    except secrets.SecretsError as error:
        raise click.ClickException(str(error)) from error
    connections = "connection" if count == 1 else "connections"
    click.echo(f"Encrypted the secrets of {count} {connections} with the first key.")
