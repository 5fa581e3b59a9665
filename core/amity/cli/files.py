"""``amity files``: what the storage keeps."""

from __future__ import annotations

import click

from ..access import SYSTEM
from ..crm import Crm
from ..messaging.files import sweep as sweep_files
from .app import App


@click.group()
def files() -> None:
    """Files of messages."""


@files.command()
@click.pass_obj
def sweep(app: App) -> None:
    """Remove stored bytes that no file refers to, if they are older than a day.

    They are left behind where something was stored and its transaction failed. The folder or bucket in [files]
    must belong to this database alone: what another one keeps there would be removed.
    """

    async def work(crm: Crm) -> int:
        return await sweep_files(crm.acting_as(SYSTEM, origin="cli"))

    click.echo(f"Removed {app.run(work, dispatch=False)} files that nothing refers to.")
