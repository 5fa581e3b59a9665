"""The table of a scorer: one row for each record that has a score, one typed column for each output.

It is an entity like any other, made from the scorer's output, so that everything that works on the catalog
knows it: reads, access, migrations, GraphQL, export.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tortoise import fields

from ..contracts import Owned, Scorer
from ..entity import Catalog, Entity, EntityOptions, EntityType, Kind, Record, SqlIndex, snake

_TAKEN = frozenset(
    ("id", "version", "computed_at", "and", "or", "not", "viewer_can", "cursor", "node", "typename")
)
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_INT32 = 2**31


@dataclass(frozen=True)
class Output:
    """One output of a scorer, as a column has it."""

    name: str
    kind: Kind
    nullable: bool
    description: str
    choices: tuple[str, ...] = ()


def outputs_of(model: type[BaseModel], wrong: Callable[[str], None]) -> list[Output]:
    """The columns that a scorer's output becomes; ``wrong`` is told of each field that can't be one."""
    found = []
    for name, field in model.model_fields.items():
        annotation, nullable = _unwrapped(field.annotation)
        kind, choices = _kind(annotation, field)
        if not _WORD.fullmatch(name) or name in _TAKEN:
            wrong(f"the output {name!r} must be a lower-case word, and none of {', '.join(sorted(_TAKEN))}")
        elif kind is None:
            wrong(
                f"the output {name!r} is a {getattr(annotation, '__name__', annotation)}; expected str, "
                "Literal of lower-case words, int, float, bool, date or datetime, or one of them or None"
            )
        else:
            description = field.description or name.replace("_", " ").capitalize()
            found.append(Output(name, kind, nullable, description, choices))
    if not model.model_fields:
        wrong(f"the output {model.__name__} has no fields")
    return found


def _unwrapped(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [item for item in get_args(annotation) if item is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def _kind(annotation: Any, field: FieldInfo) -> tuple[Kind | None, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
        good = all(isinstance(value, str) and _WORD.fullmatch(value) for value in values)
        return (Kind.TEXT, tuple(values)) if good else (None, ())
    if annotation is int:
        return (Kind.INT if _fits(field) else Kind.BIGINT), ()
    return _KINDS.get(annotation), ()


_KINDS: Mapping[Any, Kind] = {
    str: Kind.TEXT,
    float: Kind.FLOAT,
    bool: Kind.BOOLEAN,
    date: Kind.DATE,
    datetime: Kind.DATETIME,
}


def _fits(field: FieldInfo) -> bool:
    """Whether the bounds of an int leave it 32 bits."""
    least = [getattr(item, name, None) for item in field.metadata for name in ("ge", "gt")]
    most = [getattr(item, name, None) for item in field.metadata for name in ("le", "lt")]
    low = [value for value in least if value is not None]
    high = [value for value in most if value is not None]
    return bool(low and high) and min(low) >= -_INT32 and max(high) < _INT32


_FIELDS: Mapping[Kind, Callable[..., Any]] = {
    Kind.TEXT: fields.TextField,
    Kind.INT: fields.IntField,
    Kind.BIGINT: fields.BigIntField,
    Kind.FLOAT: fields.FloatField,
    Kind.BOOLEAN: fields.BooleanField,
    Kind.DATE: fields.DateField,
    Kind.DATETIME: fields.DatetimeField,
}


def class_name(scorer: Scorer) -> str:
    """``churn_risk`` → ``ChurnRiskScore``."""
    return "".join(part[:1].upper() + part[1:] for part in scorer.name.split("_")) + "Score"


def target_field(target: type[Entity]) -> str:
    """The relation that leads from a score to its record."""
    return snake(target.__name__)


def score_model(scorer: Scorer, target: str, outputs: list[Output]) -> type[Record]:
    """The entity class of a scorer's current scores. ``target`` is written like ``"core.Customer"``."""
    relation = target_field(scorer.target)
    named = [output for output in outputs if output.choices]
    attributes: dict[str, Any] = {
        "__module__": scorer.output.__module__,
        "__qualname__": class_name(scorer),
        "__doc__": scorer.description or f"The {scorer.name.replace('_', ' ')} score of a {relation}.",
        relation: fields.OneToOneField(
            target, related_name=scorer.name, on_delete=fields.CASCADE, description="Whose score it is"
        ),
        "version": fields.CharField(max_length=50, description="Version of the scorer that computed it"),
        "computed_at": fields.DatetimeField(description="Since when the score is this one (UTC)"),
        "options": EntityOptions(
            prefix=scorer.prefix or f"s{scorer.name.replace('_', '')[:7]}",
            choices={output.name: output.choices for output in named},
            # what has few values is what segments are filtered by
            indexes=tuple(SqlIndex(item.name, f'("{item.name}", "{relation}_id")') for item in named),
        ),
    }
    for output in outputs:
        attributes[output.name] = _FIELDS[output.kind](null=output.nullable, description=output.description)
    return type(class_name(scorer), (Record,), attributes)


def score_entity(catalog: Catalog, owned: Owned[Any]) -> EntityType:
    """The entity of a scorer's current scores in a composition."""
    wanted = class_name(owned.value)
    return next(
        entity
        for entity in catalog.values()
        if entity.plugin == owned.plugin and entity.model.__name__ == wanted and not entity.is_entity
    )
