"""Making Strawberry types from values.

A class is made bare first, and its fields are given to it when all classes are there, as they refer to each
other.
"""

from __future__ import annotations

import dataclasses
import enum
import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Optional, Union, get_args, get_origin

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import StrawberryList, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField

from .provenance import Source


@dataclass(frozen=True)
class Argument:
    """An argument of a field. ``default`` is printed in the schema and given to the resolver."""

    name: str
    type: Any
    description: str
    default: Any = strawberry.UNSET


@dataclass(frozen=True)
class Field:
    """A field of an output or input type. ``attribute`` of the parent holds its value."""

    name: str
    type: Any
    description: str
    arguments: Sequence[Argument] = ()
    attribute: str | None = None
    deprecated: str | None = None
    source: Source | None = None


class _Type(StrawberryAnnotation):
    """A type that is there already: nothing of it is a text that would have to be evaluated."""

    def evaluate(self) -> Any:
        return self.raw_annotation

    def _resolve(self) -> Any:
        given = self.raw_annotation
        origin, arguments = get_origin(given), get_args(given)
        if origin is list:
            return StrawberryList(_Type(arguments[0]).resolve())
        if origin is Union and len(arguments) == 2 and arguments[1] is NoneType:
            return StrawberryOptional(_Type(arguments[0]).resolve())
        return super()._resolve()

    def set_namespace_from_field(self, field: StrawberryField) -> None:
        """Texts would be looked up in it."""


class _Field(StrawberryField):
    """A field of a type that is there already. Strawberry asks for it again and again while it builds a schema."""

    _resolved: tuple[StrawberryAnnotation, Any] | None = None

    def resolve_type(self, *, type_definition: StrawberryObjectDefinition | None = None) -> Any:
        given = self.type_annotation
        if given is None:
            return super().resolve_type(type_definition=type_definition)
        if self._resolved is None or self._resolved[0] is not given:
            self._resolved = given, super().resolve_type(type_definition=type_definition)
        return self._resolved[1]


def optional(type_: Any) -> Any:
    """The type, or null."""
    return Optional[type_]  # noqa: UP045, as the type is a value here


def listed(type_: Any) -> Any:
    """A list of the type."""
    return list[type_]


def bare(name: str, *bases: type) -> type:
    """A class that is to become the GraphQL type ``name``."""
    # without a text of their own, dataclasses would write signatures of them
    return type(name, bases, {"__module__": __name__, "__doc__": name})


def output(cls: type, fields: Iterable[Field], description: str, source: Source | None) -> None:
    """Makes an object type of a bare class."""
    _fill(cls, fields, is_input=False)
    strawberry.type(cls, name=cls.__name__, description=description, directives=[source] if source else [])


def input_type(
    cls: type, fields: Iterable[Field], description: str, source: Source | None, *, one_of: bool = False
) -> None:
    """Makes an input type of a bare class. With ``one_of``, exactly one field is given."""
    _fill(cls, fields, is_input=True)
    strawberry.input(
        cls,
        name=cls.__name__,
        description=description,
        directives=[source] if source else [],
        one_of=one_of or None,
    )


def enumeration(name: str, values: Mapping[str, str], description: str, source: Source | None) -> Any:
    """An enum type; ``values`` maps its names to what they stand for."""
    cls = enum.Enum(name, dict(values))  # type: ignore[misc]
    return strawberry.enum(cls, name=name, description=description, directives=[source] if source else [])


def argument(item: Argument) -> StrawberryArgument:
    return StrawberryArgument(
        python_name=_attribute(item.name),
        graphql_name=item.name,
        type_annotation=_Type(item.type),
        description=item.description,
        default=item.default,
    )


def _fill(cls: type, fields: Iterable[Field], *, is_input: bool) -> None:
    annotations: dict[str, Any] = {}
    for item in fields:
        attribute = _attribute(item.attribute or item.name)
        annotations[attribute] = _Type(item.type)
        made = _Field(
            graphql_name=item.name,
            description=item.description,
            deprecation_reason=item.deprecated,
            directives=[item.source] if item.source else [],
            default=strawberry.UNSET if is_input else dataclasses.MISSING,
        )
        if item.arguments:
            made.arguments = [argument(entry) for entry in item.arguments]
        setattr(cls, attribute, made)
    cls.__annotations__ = annotations


def _attribute(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name
