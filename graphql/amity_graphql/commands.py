"""Commands: ``amity schema``, ``amity query``, ``amity explain``, ``amity operations``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from amity import SYSTEM, Principal
from amity.cli.app import App, told
from amity.crm import Crm

from . import api, persisted
from .execution import Result


class _Variables(click.ParamType[dict[str, Any]]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            self.fail(f"is no JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail("expected a JSON object", param, ctx)
        return found


_FILE = click.argument("file", type=click.File("r", encoding="utf-8"))
_VARIABLES = click.option("--variables", type=_Variables(), help="Variables, as a JSON object.")
_AS = click.option("--as", "email", metavar="EMAIL", help="Act as this user; by default as the system.")
_OPERATION = click.option("--operation", help="Which operation, if the document has several.")


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.pass_obj
def schema(app: App, output: Path | None) -> None:
    """Print the GraphQL schema (SDL) of what is composed."""
    with told():
        text = api.sdl(app.crm)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@click.command()
@_FILE
@_VARIABLES
@_OPERATION
@_AS
@click.pass_obj
def query(
    app: App, file: TextIO, variables: dict[str, Any] | None, operation: str | None, email: str | None
) -> None:
    """Run a GraphQL operation from FILE (- reads standard input), and print the answer as JSON.

    Fails if the answer has errors.
    """
    document = file.read()

    async def work(crm: Crm) -> Result:
        session = crm.acting_as(await _principal(crm, email), origin="cli")
        return await api.execute(crm, session, document, variables, operation, spliced=True)

    result = app.run(work)
    click.echo(result.encode())
    if result.errors:
        sys.exit(1)


@click.command()
@_FILE
@_VARIABLES
@_OPERATION
@_AS
@click.pass_obj
def explain(
    app: App, file: TextIO, variables: dict[str, Any] | None, operation: str | None, email: str | None
) -> None:
    """Show the SQL that the query in FILE compiles to, and the database's plan of it."""
    document = file.read()

    async def work(crm: Crm) -> list[str]:
        try:
            session = crm.acting_as(await _principal(crm, email))
            statements = await api.explain(crm, session, document, variables, operation)
            cost = api.cost(crm, document, variables, operation)
        except api.Unexplained as error:
            raise click.ClickException(str(error)) from error
        parts = []
        for number, (sql, parameters) in enumerate(statements, 1):
            shown = [f"-- statement {number} of {len(statements)}", sql]
            shown += [f"-- {place}: {value!r}" for place, value in enumerate(parameters, 1)]
            shown += ["", await crm.database.explain(sql, parameters)]
            parts.append("\n".join(shown))
        return [*parts, f"-- costs {cost['value']:,} of at most {cost['most']:,}"] if cost else parts

    click.echo("\n\n".join(app.run(work, dispatch=False)))


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.pass_obj
def operations(app: App, folder: Path, output: Path | None) -> None:
    """Print the manifest of the GraphQL documents in FOLDER: what each is named by, and its text.

    Fails if one does not fit the schema.
    """
    with told():
        found = persisted.registered(folder, api.problems(app.crm))
    text = json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


async def _principal(crm: Crm, email: str | None) -> Principal:
    """The user of ``--as``; the system without."""
    if email is None:
        return SYSTEM
    try:
        return await crm.access.user(email)
    except LookupError as error:
        raise click.ClickException(str(error)) from error


COMMANDS: tuple[click.Command, ...] = (schema, query, explain, operations)
