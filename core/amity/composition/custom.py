"""The fields of ``[[custom_fields]]``: added to the catalog, where everything finds them that works on it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..change.input import Unreadable, reader
from ..entity import Catalog, Column, CustomField, EntityType, Kind, MoneyField, ToMany, ToOne, camel
from ..entity.custom import columns_of
from ..settings import CustomFieldSettings
from .work import Work

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "text": Kind.TEXT,
        "integer": Kind.INT,
        "number": Kind.FLOAT,
        "money": Kind.BIGINT,
        "date": Kind.DATE,
        "datetime": Kind.DATETIME,
        "boolean": Kind.BOOLEAN,
        "choice": Kind.TEXT,
        "link": Kind.ID,
    }
)
"""What each type of custom field is kept as."""
MAX_INDEXED = 600
"""Characters that an indexed text may have: PostgreSQL's indexes take entries of a few kilobytes."""
_INDEXED = 255
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CHOICE = re.compile(r"[a-z][a-z0-9_]*")
_MAX_IDENTIFIER = 63
_RESERVED = frozenset(
    ("id", "cursor", "node", "and", "or", "not", "viewer_can", "typename", "external_id", "stage_entered_at")
)
Wrong = Callable[[str], None]


def with_custom_fields(work: Work, catalog: Catalog) -> Catalog:
    """The same catalog, with the fields that the settings add. What is wrong with them is told, all at once."""
    entities = dict(catalog)
    for number, declared in enumerate(work.settings.custom_fields, 1):
        where = f"[[custom_fields]] {number} ({declared.entity}.{declared.name})"
        problems: list[str] = []
        _add(entities, catalog, declared, problems.append)
        work.problems.extend(f"{where}: {problem}" for problem in problems)
    return Catalog(entities.values(), work.settings.time_zone)


def _add(entities: dict[str, EntityType], catalog: Catalog, declared: CustomFieldSettings, wrong: Wrong) -> None:
    """Adds one field, and the relation that leads back to it, unless something is wrong with it."""
    entity = entities.get(declared.entity)
    problems: list[str] = []
    if entity is None:
        open_ = sorted(name for name, item in entities.items() if "update" in item.options.api)
        wrong(f"there is no entity {declared.entity!r} of the enabled plugins; {_hint(declared.entity, open_)}")
        return
    if "update" not in entity.options.api:
        wrong(f"{entity.name} can't be updated through the API, so that nobody could fill the field")
        return
    _check(entity, entities, declared, problems.append)
    for problem in problems:
        wrong(problem)
    if problems:
        return
    target = entities[declared.to] if declared.to is not None else None
    columns = _columns(declared, target)
    if declared.default is not None:
        try:
            default = reader(catalog, entity, columns[0])(declared.default)
        except Unreadable as problem:
            wrong(f"default: {problem}")
            return
        columns = [dataclasses.replace(columns[0], default=default)]
    if taken := _taken(entity, [declared.name, *(column.name for column in columns)]):
        wrong(f"{entity.name} already has a field {camel(taken)!r}; choose another name")
        return
    back = declared.related_name or f"{declared.name}_{entity.plural}"
    if target is not None and (taken := _taken(target, [back])):
        wrong(f"{target.name} already has a field {camel(taken)!r}; choose another related_name")
        return
    entities[entity.name] = _extended(entity, declared, columns, target, back)
    if target is not None:
        target = entities[target.name]
        many = ToMany(back, entity.name, columns[0].name, f"{entity.description} ({_label(declared)})")
        entities[target.name] = dataclasses.replace(
            target, to_many=MappingProxyType({**target.to_many, back: many})
        )


def _check(
    entity: EntityType, entities: Mapping[str, EntityType], declared: CustomFieldSettings, wrong: Wrong
) -> None:
    if not _NAME.fullmatch(declared.name) or declared.name in _RESERVED:
        reserved = ", ".join(sorted(_RESERVED))
        wrong(f"its name must be a lower-case word of at most 40 characters, and none of {reserved}")
    if declared.type not in KINDS:
        wrong(f"there is no type {declared.type!r}; {_hint(declared.type, KINDS)}")
        return
    if len(f"{entity.table}_cf_{declared.name}") > _MAX_IDENTIFIER:
        wrong(f"its name is too long for an index of {entity.table}; choose a shorter one")
    _check_choices(declared, wrong)
    _check_link(entities, declared, wrong)
    if declared.max_length is not None and declared.type != "text":
        wrong(f"max_length is for the type text; this is {declared.type}")
    if declared.indexed and (declared.max_length or 0) > MAX_INDEXED:
        wrong(f"max_length is {declared.max_length}; a text that is indexed has at most {MAX_INDEXED}")
    if declared.default is not None and declared.type in ("money", "link"):
        wrong(f"the type {declared.type} has no default; let apps bring the value")


def _check_choices(declared: CustomFieldSettings, wrong: Wrong) -> None:
    choices = declared.choices or []
    if declared.type != "choice":
        if declared.choices is not None:
            wrong(f"choices are for the type choice; this is {declared.type}")
        return
    if not choices or len(set(choices)) < len(choices):
        wrong("a choice needs choices, a list of different values")
    for value in choices:
        if not _CHOICE.fullmatch(value):
            wrong(f"choices has {value!r}; values are lower-case words with underscores")


def _check_link(entities: Mapping[str, EntityType], declared: CustomFieldSettings, wrong: Wrong) -> None:
    if declared.type != "link":
        for name in ("to", "related_name"):
            if getattr(declared, name) is not None:
                wrong(f"{name} is for the type link; this is {declared.type}")
        return
    known = sorted(name for name, item in entities.items() if item.is_entity and "read" in item.options.api)
    if declared.to is None:
        wrong(f"a link needs to, the entity that it leads to; known are {', '.join(known)}")
    elif declared.to not in known:
        wrong(f"it leads to {declared.to!r}, which no enabled plugin has; {_hint(declared.to, known)}")
    if declared.related_name is not None and not _NAME.fullmatch(declared.related_name):
        wrong("its related_name must be a lower-case word of at most 40 characters")


def _taken(entity: EntityType, names: Iterable[str]) -> str | None:
    """The first of the names that the entity has a field of already, as GraphQL compares them."""
    present = {camel(name) for name in (*entity.field_names(), *entity.columns, *_RESERVED)}
    return next((name for name in names if camel(name) in present), None)


def _columns(declared: CustomFieldSettings, target: EntityType | None) -> list[Column]:
    most = declared.max_length
    if most is None and declared.indexed and declared.type == "text":
        most = _INDEXED
    names = columns_of(declared.name, declared.type)
    first = Column(
        name=names[0],
        kind=KINDS[declared.type],
        nullable=True,
        description=_label(declared),
        has_default=not declared.required or declared.default is not None,
        max_length=most,
        choices=tuple(declared.choices or ()),
        references=target.name if target is not None else None,
        bits={"integer": 32, "money": 64}.get(declared.type),
        required=declared.required,
    )
    if declared.type != "money":
        return [first]
    return [first, dataclasses.replace(first, name=names[1], kind=Kind.TEXT, max_length=3, bits=None)]


def _extended(
    entity: EntityType, declared: CustomFieldSettings, columns: list[Column], target: EntityType | None, back: str
) -> EntityType:
    """The entity with the field."""
    name, first = declared.name, columns[0]
    to_one, money, options = dict(entity.to_one), dict(entity.money), entity.options
    if target is not None:
        to_one[name] = ToOne(name, first, target.name, "SET NULL", first.description, back)
    if declared.type == "money":
        money[name] = MoneyField(name, first.name, columns[1].name, True, first.description)
    if declared.personal:
        options = dataclasses.replace(options, personal=(*options.personal, *(item.name for item in columns)))
    field = CustomField(
        name,
        declared.type,
        tuple(column.name for column in columns),
        target.table if target is not None else None,
        declared.indexed or target is not None,
    )
    return dataclasses.replace(
        entity,
        columns=MappingProxyType({**entity.columns, **{column.name: column for column in columns}}),
        to_one=MappingProxyType(to_one),
        money=MappingProxyType(money),
        options=options,
        custom=MappingProxyType({**entity.custom, name: field}),
    )


def _label(declared: CustomFieldSettings) -> str:
    return declared.label or declared.name.replace("_", " ").capitalize()


def _hint(name: str, known: Iterable[str]) -> str:
    names: list[Any] = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"


__all__ = ["KINDS", "with_custom_fields"]
