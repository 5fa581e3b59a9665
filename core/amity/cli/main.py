"""``amity``: commands of the core, and those that plugins bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..composition import CompositionError
from ..settings import SettingsError
from . import access, actions, commands, connections, files
from .app import App, told


class _Commands(click.Group):
    """The core's commands, and those of the enabled plugins.

    Plugins are looked at only for what the core does not know, so that ``amity init`` and ``amity check``
    work when settings or plugins are broken.
    """

    def invoke(self, context: click.Context) -> Any:
        with told():
            return super().invoke(context)

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self._of_plugins(context)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or self._of_plugins(context, name).get(name)

    def _of_plugins(self, context: click.Context, wanted: str | None = None) -> dict[str, click.Command]:
        app = context.ensure_object(App)
        if context.params.get("config"):
            app.config = context.params["config"]
        try:
            owned = app.crm.composition.commands
        except (SettingsError, CompositionError) as error:
            if wanted is not None:
                raise click.ClickException(str(error)) from error
            click.echo(f"Commands of plugins are left out: {error}\n", err=True)
            return {}
        return {item.value.name: item.value for item in owned}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amity")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; by default $AMITY_CONFIG, or amity.toml in this folder.",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """A CRM that is composed, not installed whole.

    Settings come from amity.toml and from AMITY_* in the environment, like AMITY_DATABASE_URL.
    """
    app = context.ensure_object(App)
    app.config = config


for command in (
    commands.init,
    commands.serve,
    commands.migrate,
    commands.makemigrations,
    commands.plugins,
    commands.check,
    actions.run,
    access.access,
    connections.connections,
    files.files,
):
    main.add_command(command)
