"""``amity run``: every action as a command, its options read off its input."""

from __future__ import annotations

import json
import sys
import types
from typing import Any, Literal, Union, get_args, get_origin

import click
import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..access import SYSTEM
from ..contracts import Action, ChangeResult
from ..crm import Crm
from ..entity import encode_id
from .app import App


class _Actions(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_dashed(name) for name in self._crm(context).composition.actions)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        owned = self._crm(context).composition.actions.get(name.replace("-", "_"))
        return _command(owned.value) if owned else None

    @staticmethod
    def _crm(context: click.Context) -> Crm:
        return context.ensure_object(App).crm


@click.group(name="run", cls=_Actions)
def run() -> None:
    """Run an action of the core or a plugin, like log-interaction."""


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _command(action: Action[Any]) -> click.Command:
    """An action as a command: an option for each field, ``--json`` for one or several inputs whole."""
    options: list[click.Parameter] = [_option(name, field) for name, field in action.input.model_fields.items()]
    options.append(
        click.Option(["--json", "json_"], help="The input as JSON, or a list of inputs; - reads standard input.")
    )

    @click.pass_obj
    def invoke(app: App, /, json_: str | None, **values: Any) -> None:
        inputs = _inputs(json_) if json_ else [{k: v for k, v in values.items() if v is not None}]

        with _bar(app) as bar:
            task = bar.add_task(_dashed(action.name), total=None, visible=False)

            def advance(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total, visible=True)

            async def work(crm: Crm) -> ChangeResult:
                return await crm.acting_as(SYSTEM, origin="cli", progress=advance).run(action.name, inputs)

            result = app.run(work)
        if result.errors:
            problems = [f"{'.'.join(map(str, e.path)) or 'input'}: {e.message}" for e in result.errors]
            raise click.ClickException("\n".join(problems))
        click.echo(orjson.dumps(_shown(app.crm, action, result)).decode())

    return click.Command(
        _dashed(action.name), params=options, callback=invoke, help=action.description or action.name
    )


def _bar(app: App) -> Progress:
    """Shows how far long actions have come, to whoever sits at a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=app.console, transient=True, disable=not app.console.is_terminal)


def _shown(crm: Crm, action: Action[Any], result: ChangeResult) -> list[Any]:
    if action.entity is None:
        return [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in result.values]
    prefix = crm.catalog.of(action.entity).prefix
    return [None if value is None else encode_id(prefix, value) for value in result.ids]


def _inputs(text: str) -> list[dict[str, Any]]:
    if text == "-":
        text = sys.stdin.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--json") from error
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise click.BadParameter("expected an object or a list of objects", param_hint="--json")
    return items


def _option(name: str, field: FieldInfo) -> click.Option:
    annotation: Any = _unwrapped(field.annotation)
    kind: Any = str
    if annotation is bool:
        kind = bool
    elif annotation is int:
        kind = int
    elif annotation is float:
        kind = float
    elif get_origin(annotation) is Literal:
        kind = click.Choice([str(value) for value in get_args(annotation)])
    elif get_origin(annotation) in (list, dict) or (
        isinstance(annotation, type) and issubclass(annotation, (dict, list, BaseModel))
    ):
        kind = _Json()
    return click.Option([f"--{_dashed(name)}", name], type=kind, help=field.description)


def _unwrapped(annotation: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [item for item in get_args(annotation) if item is not type(None)]
        return inner[0] if len(inner) == 1 else str
    return annotation


class _Json(click.ParamType[Any]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            self.fail(f"is no JSON: {error}", param, context)
