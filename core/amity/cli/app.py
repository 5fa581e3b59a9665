"""What every command works with: the settings, the composed CRM, and a way to run something in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console

from .. import settings as configuration
from ..access import AccessDenied
from ..change.errors import ChangeError
from ..composition import CompositionError, compose
from ..crm import Crm
from ..database import DatabaseError
from ..memory import settle_memory
from ..migration import MigrationError, MigrationsPending
from ..query import QueryError
from ..settings import Settings, SettingsError

T = TypeVar("T")
PATIENCE = 600.0
"""Seconds that a command waits for subscribers and jobs; they go on when the CRM is open the next time."""
EXPECTED = (
    SettingsError,
    CompositionError,
    DatabaseError,
    MigrationError,
    MigrationsPending,
    QueryError,
    AccessDenied,
    ChangeError,
)
"""Errors that are written for whoever runs a command; anything else is a defect and shows its trace."""


class App:
    """Handed to commands by ``@click.pass_obj``. Settings are read, and plugins composed, when first needed."""

    def __init__(self, config: Path | None = None) -> None:
        self.config = config
        self.console = Console(stderr=True)
        """For progress and messages; answers go to standard output."""

    @cached_property
    def settings(self) -> Settings:
        return configuration.load(self.config)

    @cached_property
    def crm(self) -> Crm:
        """The composed CRM, not connected; without what layers build, which takes longer than most commands."""
        return Crm(self.settings, composition=compose(self.settings, layered=False))

    def run(self, work: Callable[[Crm], Awaitable[T]], *, dispatch: bool = True) -> T:
        """Opens the CRM, awaits ``work(crm)``, lets subscribers and jobs catch up, closes.

        ``dispatch=False`` leaves them alone, for commands that only read.
        """

        async def opened() -> T:
            crm = self.crm
            await crm.open(dispatch=dispatch)
            settle_memory()
            try:
                result = await work(crm)
                if dispatch:
                    await crm.settle(PATIENCE)
                return result
            finally:
                await crm.close()

        with told():
            return asyncio.run(opened())


@contextmanager
def told() -> Iterator[None]:
    """Turns errors that the user can act on into messages, without a trace."""
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(str(error)) from error


__all__ = ["EXPECTED", "App", "told"]
