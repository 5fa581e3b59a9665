"""Python types as GraphQL types: what batch fields return, what actions take and give.

A :class:`Shape` is made of each Python type when the schema is built. It knows the GraphQL type, turns results
into JSON values along a selection, and arguments into what the core takes.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import strawberry
from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from strawberry.scalars import JSON

from amity.contracts import IdOf
from amity.entity import BatchField, EntityType, camel, encode_id

from .declare import Argument, Field, bare, enumeration, input_type, listed, optional, output
from .names import label, pascal
from .provenance import Source
from .scalars import format_date, format_datetime, json_value

_INT32 = 2**31


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Leaf:
    """A scalar or an enum."""

    annotation: Any
    format: Callable[[Any], Any]
    """A Python value as JSON has it. Raises ValueError."""
    parse: Callable[[Any], Any] = _itself


@dataclass(frozen=True)
class Nullable:
    of: Shape

    @property
    def annotation(self) -> Any:
        return optional(self.of.annotation)


@dataclass(frozen=True)
class Listed:
    of: Shape

    @property
    def annotation(self) -> Any:
        return listed(self.of.annotation)


@dataclass(frozen=True)
class Member:
    """A field of an object: its name in Python, and its shape."""

    attribute: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Object:
    """An object; ``members`` by their GraphQL names. Filled in after it is made, as objects may nest."""

    annotation: Any
    members: dict[str, Member] = field(default_factory=dict)


Shape = Leaf | Nullable | Listed | Object


def is_nullable(shape: Shape) -> bool:
    return isinstance(shape, Nullable)


def parse(shape: Shape, value: Any) -> Any:
    """What GraphQL made of an argument, with the names that Python uses."""
    if value is None:
        return None
    match shape:
        case Leaf():
            return shape.parse(value)
        case Nullable(of):
            return parse(of, value)
        case Listed(of):
            return [parse(of, item) for item in value]
        case Object():
            members = shape.members
            return {members[key].attribute: parse(members[key].shape, item) for key, item in value.items()}


Parse = Callable[[Any], Any]


def parser(shape: Shape) -> Parse:
    """The function that :func:`parse` is for a shape, put together once."""
    match shape:
        case Leaf():
            read = shape.parse
            return _itself if read is _itself else lambda value: None if value is None else read(value)
        case Nullable(of):
            return parser(of)
        case Listed(of):
            item = parser(of)
            return lambda value: None if value is None else [item(each) for each in value]
        case Object():
            return _object_parser(shape)


def _object_parser(shape: Object) -> Parse:
    # objects may nest in themselves, and get their members when they are all there
    readers: dict[str, tuple[str, Parse]] = {}

    def read(value: Any) -> Any:
        if value is None:
            return None
        found = {}
        for key, item in value.items():
            known = readers.get(key)
            if known is None:
                member = shape.members[key]
                known = readers[key] = member.attribute, parser(member.shape)
            attribute, parse_item = known
            found[attribute] = item if parse_item is _itself else parse_item(item)
        return found

    return read


def path_of(shape: Shape, path: Sequence[str | int]) -> list[str]:
    """A path of Python names, as GraphQL has it. What the shape does not know stays as it is."""
    found: list[str] = []
    here: Shape | None = shape
    for part in path:
        while isinstance(here, Nullable):
            here = here.of
        following: Shape | None = None
        name = str(part)
        if isinstance(here, Listed) and isinstance(part, int):
            following = here.of
        elif isinstance(here, Object):
            for key, member in here.members.items():
                if member.attribute == part:
                    name, following = key, member.shape
        found.append(name)
        here = following
    return found


class Values:
    """Shapes of Python types; the GraphQL types that they need are made on the way.

    ``claim(name, plugin, origin)`` says whether a type's name is free; ``problems`` collects what is wrong.
    """

    def __init__(
        self,
        sources: Callable[[str], Source],
        enums: Mapping[tuple[str, str], Any],
        claim: Callable[[str, str, object], bool],
        problems: list[str],
    ) -> None:
        self.sources = sources
        self.enums = enums
        self.claim = claim
        self.problems = problems
        self._objects: dict[tuple[type, bool], Object] = {}
        self._enums: dict[Any, Leaf] = {}
        self._batches: dict[tuple[str, str], Shape] = {}
        self._arguments: dict[tuple[str, str], dict[str, tuple[str, Shape, Any]]] = {}

    # --- what is asked for ----------------------------------------------------------------------------------

    def batch(self, entity: EntityType, declared: BatchField) -> Shape:
        """The shape of a batch field's results."""
        key = (entity.name, declared.name)
        if key not in self._batches:
            owner = _Owner(
                declared.plugin, f"{entity.name}{pascal(declared.name)}", f"the field {declared.name!r}"
            )
            shape = self._of(declared.output, owner, is_input=False)
            self._batches[key] = shape.of if isinstance(shape, Nullable) else shape
        return self._batches[key]

    def arguments(self, entity: EntityType, declared: BatchField) -> list[Argument]:
        """The GraphQL arguments of a batch field."""
        found: list[Argument] = []
        shapes: dict[str, tuple[str, Shape, Any]] = {}
        for name, (python, default) in declared.arguments.items():
            owner = _Owner(
                declared.plugin,
                f"{entity.name}{pascal(declared.name)}{pascal(name)}",
                f"the argument {name!r} of {declared.name!r}",
            )
            shape = self._of(python, owner, is_input=True)
            shapes[camel(name)] = (name, shape, default)
            required = default is ... or isinstance(shape, Nullable)
            annotation = shape.annotation if required else optional(shape.annotation)
            printed = default if isinstance(default, (bool, int, float, str)) else strawberry.UNSET
            found.append(Argument(camel(name), annotation, label(name), printed))
        self._arguments[entity.name, declared.name] = shapes
        return found

    def batch_arguments(self, entity: EntityType, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that a batch field's function gets."""
        found = {}
        for key, (python_name, shape, default) in self._arguments[entity.name, name].items():
            value = given.get(key)
            absent = value is None and (key not in given or not isinstance(shape, Nullable))
            found[python_name] = default if absent else parse(shape, value)
        return found

    def outputs(self) -> list[Object]:
        """The object types that were made for results."""
        return [shape for (_, is_input), shape in self._objects.items() if not is_input]

    def input(self, model: type[BaseModel], name: str, plugin: str, entity: str | None = None) -> Object:
        """The input type of an action, under a name of its own."""
        owner = _Owner(plugin, name, f"the input {model.__name__}", entity)
        return self._object(model, owner, is_input=True, name=name)

    def result(self, model: type[BaseModel] | None, name: str, plugin: str) -> Shape:
        """What an action without an entity returns."""
        if model is None:
            return Nullable(_JSON)
        return Nullable(self._of(model, _Owner(plugin, name, f"the output {model.__name__}"), is_input=False))

    # --- types ----------------------------------------------------------------------------------------------

    def _of(self, python: Any, owner: _Owner, *, is_input: bool) -> Shape:
        origin, arguments = get_origin(python), get_args(python)
        if origin is Annotated:
            for item in arguments[1:]:
                if isinstance(item, IdOf):
                    return _id_of(item)
            return self._of(arguments[0], owner, is_input=is_input)
        if origin in (Union, types.UnionType):
            rest = [item for item in arguments if item is not type(None)]
            if len(rest) == 1 and len(rest) < len(arguments):
                return Nullable(_stripped(self._of(rest[0], owner, is_input=is_input)))
            return Nullable(_JSON)
        if origin in (list, tuple, set, frozenset) or (
            isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)
        ):
            items = [item for item in arguments if item is not ...]
            if len(items) == 1:
                return Listed(self._of(items[0], owner, is_input=is_input))
            return _JSON
        if origin is Literal:
            return self._literal(arguments, owner)
        if python is Any or python is object:
            return Nullable(_JSON)
        if python in _SCALARS:
            return _SCALARS[python]
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return _JSON
        if isinstance(python, type):
            if issubclass(python, enum.Enum):
                return self._enum(python, owner)
            if issubclass(python, BaseModel) or dataclasses.is_dataclass(python):
                return self._object(python, owner, is_input=is_input)
            if issubclass(python, Mapping):
                return _JSON
        return self._inferred(python, owner)

    def _object(self, python: type, owner: _Owner, *, is_input: bool, name: str | None = None) -> Object:
        found = self._objects.get((python, is_input))
        if found is not None:
            return found
        if name is None:
            name = python.__name__
            if is_input and not name.endswith("Input"):
                name += "Input"
        self.claim(name, owner.plugin, (python, is_input))
        cls = bare(name)
        shape = self._objects[python, is_input] = Object(cls)
        fields = []
        for attribute, item, required, description in _members(python):
            inner = dataclasses.replace(owner, name=f"{name.removesuffix('Input')}{pascal(attribute)}")
            member = self._reused(attribute, item, owner) or self._of(item, inner, is_input=is_input)
            loose = is_input and not required and not isinstance(member, Nullable)
            annotation = optional(member.annotation) if loose else member.annotation
            shape.members[camel(attribute)] = Member(attribute, member)
            fields.append(Field(camel(attribute), annotation, description, attribute=attribute))
        description = " ".join((python.__doc__ or name).split("\n\n")[0].split())
        (input_type if is_input else output)(cls, fields, description, self.sources(owner.plugin))
        return shape

    def _reused(self, attribute: str, python: Any, owner: _Owner) -> Shape | None:
        """The enum of a column, where an action asks for the same values under the same name."""
        if get_origin(python) is not Literal or owner.entity is None:
            return None
        found = self.enums.get((owner.entity, attribute))
        values = {item.value for item in found} if found is not None else set()
        return _choice(found) if values == set(get_args(python)) else None

    def _literal(self, values: tuple[Any, ...], owner: _Owner) -> Shape:
        if not all(isinstance(value, str) for value in values):
            kinds = {type(value) for value in values}
            return _SCALARS.get(kinds.pop(), _JSON) if len(kinds) == 1 else _JSON
        names = {value.upper().replace("-", "_").replace(" ", "_"): value for value in values}
        if len(names) != len(values) or not all(re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) for name in names):
            return _SCALARS[str]
        key = (owner.name, values)
        if key not in self._enums:
            self.claim(owner.name, owner.plugin, key)
            description = f"One of: {', '.join(values)}"
            self._enums[key] = _choice(enumeration(owner.name, names, description, self.sources(owner.plugin)))
        return self._enums[key]

    def _enum(self, python: type[enum.Enum], owner: _Owner) -> Leaf:
        if python not in self._enums:
            self.claim(python.__name__, owner.plugin, python)
            members = {item.name: item.value for item in python}
            description = " ".join((python.__doc__ or python.__name__).split("\n\n")[0].split())
            made = enumeration(python.__name__, members, description, self.sources(owner.plugin))
            self._enums[python] = _choice(made)
        return self._enums[python]

    def _inferred(self, python: Any, owner: _Owner) -> Shape:
        """Types that pydantic knows, such as e-mail addresses and constrained numbers."""
        try:
            schema = TypeAdapter(python).json_schema()
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, TypeError):
            self.problems.append(
                f"plugin {owner.plugin!r}: {owner.what} has the type {python!r}, which GraphQL can't have; "
                "use a scalar, a list, an enum, a dataclass or a pydantic model"
            )
            return _JSON
        kind, form = schema.get("type"), schema.get("format")
        return _FORMATS.get((kind, form)) or _FORMATS.get((kind, None)) or _JSON


@dataclass(frozen=True)
class _Owner:
    plugin: str
    name: str
    """What an enum without a name of its own is called."""
    what: str
    entity: str | None = None


def _stripped(shape: Shape) -> Shape:
    return shape.of if isinstance(shape, Nullable) else shape


def _members(python: Any) -> list[tuple[str, Any, bool, str]]:
    """Attribute, type, whether input must bring it, description."""
    if issubclass(python, BaseModel):
        return [
            (
                name,
                Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
                info.is_required(),
                info.description or label(name),
            )
            for name, info in python.model_fields.items()
        ]
    hints = get_type_hints(python, include_extras=True)
    return [
        (
            item.name,
            hints[item.name],
            item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING,
            str(item.metadata.get("description") or label(item.name)),
        )
        for item in dataclasses.fields(python)
    ]


def _choice(made: Any) -> Leaf:
    names: dict[Any, str] = {item.value: str(item.name) for item in made}

    def format(value: Any) -> str:
        key = value.value if isinstance(value, enum.Enum) else value
        if key not in names:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, names))}")
        return names[key]

    return Leaf(made, format, lambda value: value.value if isinstance(value, enum.Enum) else value)


def _id_of(item: IdOf) -> Leaf:
    prefix = item.entity.options.prefix

    def format(value: Any) -> str:
        return encode_id(prefix, value) if isinstance(value, UUID) else _text(value)

    return Leaf(strawberry.ID, format)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")
    if not -_INT32 <= value < _INT32:
        raise ValueError(f"{value} does not fit into 32 bits, which is what Int has; return a float or a text")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


_JSON = Leaf(JSON, json_value)
_SCALARS: dict[Any, Leaf] = {
    str: Leaf(str, _text),
    int: Leaf(int, _int),
    float: Leaf(float, _float),
    bool: Leaf(bool, _boolean),
    datetime: Leaf(datetime, format_datetime),
    date: Leaf(date, format_date),
    UUID: Leaf(strawberry.ID, str),
    dict: _JSON,
}
_FORMATS: dict[tuple[Any, Any], Leaf] = {
    ("string", None): Leaf(str, str),
    ("string", "date-time"): _SCALARS[datetime],
    ("string", "date"): _SCALARS[date],
    ("string", "uuid"): _SCALARS[UUID],
    ("integer", None): _SCALARS[int],
    ("number", None): _SCALARS[float],
    ("boolean", None): _SCALARS[bool],
}
