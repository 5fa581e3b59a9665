"""Migration files as text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tortoise.fields.base import Field
from tortoise.fields.db_defaults import SqlDefault
from tortoise.fields.relational import ForeignKeyFieldInstance
from tortoise.migrations import operations as ops
from tortoise.migrations.operations import Operation

from ..database.operations import CreateIndex, DropIndex, RenameTable
from .errors import MigrationError

_WIDTH = 110


def render_migration(
    app: str, name: str, operations: Sequence[Operation], dependencies: Sequence[tuple[str, str]]
) -> str:
    """The text of a migration file."""
    body = [render_operation(operation, 8) for operation in operations]
    text = "\n".join(body)
    own = sorted(set(re.findall(r"^        (\w+)\(", text, re.MULTILINE)))
    tortoise = "fields, migrations" if "fields." in text else "migrations"
    # isort puts modules of the standard library and of others first
    lines = [f'"""{app}.{name}"""', "", f"from tortoise import {tortoise}"]
    if "SqlDefault(" in text:
        lines.append("from tortoise.fields.db_defaults import SqlDefault")
    if re.search(r"^        ops\.", text, re.MULTILINE):
        lines.append("from tortoise.migrations import operations as ops")
    if own:
        lines += ["", f"from amity.database.operations import {', '.join(own)}"]
    lines += ["", "", "class Migration(migrations.Migration):"]
    if not any(dependency[0] == app for dependency in dependencies):
        lines.append("    initial = True")
    if dependencies:
        pairs = ", ".join(f"({_text(label)}, {_text(migration)})" for label, migration in dependencies)
        lines += [f"    dependencies = [{pairs}]", ""]
    lines += ["    operations = [", text, "    ]", ""]
    return "\n".join(lines)


def render_operation(operation: Operation, indent: int = 0) -> str:
    match operation:
        case ops.CreateModel():
            lines = "\n".join(
                _call("", [_text(name), render_field(field)], indent + 8)  # type: ignore[arg-type]
                for name, field in operation.fields
            )
            block = f"[\n{lines}\n{' ' * (indent + 4)}]"
            options = f'{{"table": {_text((operation.options or {})["table"])}}}'
            arguments = [f"name={_text(operation.name)}", f"fields={block}", f"options={options}"]
            return _call("ops.CreateModel", arguments, indent)
        case ops.DeleteModel():
            return _call("ops.DeleteModel", [f"name={_text(operation.name)}"], indent)
        case ops.RenameModel():
            names = [f"old_name={_text(operation.old_name)}", f"new_name={_text(operation.new_name)}"]
            return _call("ops.RenameModel", names, indent)
        case ops.AddField() | ops.AlterField():
            arguments = [
                f"model_name={_text(operation.model_name)}",
                f"name={_text(operation.name)}",
                f"field={render_field(operation.field)}",  # type: ignore[arg-type]
            ]
            return _call(f"ops.{type(operation).__name__}", arguments, indent)
        case ops.RemoveField():
            arguments = [f"model_name={_text(operation.model_name)}", f"name={_text(operation.name)}"]
            return _call("ops.RemoveField", arguments, indent)
        case ops.RenameField():
            arguments = [
                f"model_name={_text(operation.model_name)}",
                f"old_name={_text(operation.old_name)}",
                f"new_name={_text(operation.new_name)}",
            ]
            return _call("ops.RenameField", arguments, indent)
        case RenameTable():
            arguments = [_text(operation.model_name), _text(operation.old), _text(operation.new)]
            return _call("RenameTable", arguments, indent)
        case CreateIndex():  # and DropIndex, which derives from it
            arguments = [_text(operation.table), _text(operation.name), _text(operation.sql)]
            if operation.sqlite is not None:
                arguments.append(f"sqlite={_text(operation.sqlite)}")
            if operation.unique:
                arguments.append("unique=True")
            name = "DropIndex" if isinstance(operation, DropIndex) else "CreateIndex"
            return _call(name, arguments, indent)
    raise MigrationError(f"{operation.describe()}: there is no text for a {type(operation).__name__}")


def render_field(field: Field[Any]) -> str:
    """A clean field as it stands in a migration file, like ``fields.CharField(max_length=20)``."""
    arguments: list[str] = []
    name = type(field).__name__
    if isinstance(field, ForeignKeyFieldInstance):
        name = "ForeignKeyField"
        on_delete = str(field.on_delete).upper().replace(" ", "_")
        arguments += [_text(str(field.model_name)), "related_name=False", f"on_delete=fields.{on_delete}"]
    if field.pk:
        arguments.append("primary_key=True")
    length = getattr(field, "max_length", None)
    if length is not None:
        arguments.append(f"max_length={length}")
    if field.null:
        arguments.append("null=True")
    if field.source_field:
        arguments.append(f"source_field={_text(field.source_field)}")
    if field.has_db_default():
        arguments.append(f"db_default={_value(field.db_default)}")
    return f"fields.{name}({', '.join(arguments)})"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, (dict, list)):
        return _text(json.dumps(value, ensure_ascii=False))
    if type(value) is SqlDefault:
        return f"SqlDefault({_text(value.sql)})"
    raise MigrationError(
        f"db_default={value!r} can't be written down; use a text, a number, true or false, or SqlDefault"
    )


def _text(text: str) -> str:
    """A Python literal with the quotes that formatters choose."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in text:
        return f'"{literal[1:-1]}"'
    return literal


def _call(name: str, arguments: Sequence[str], indent: int) -> str:
    start = " " * indent
    line = f"{start}{name}({', '.join(arguments)}),"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "\n".join(f"{start}    {argument}," for argument in arguments)
    return f"{start}{name}(\n{inner}\n{start}),"
