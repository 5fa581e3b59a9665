"""``plugins`` and ``entities``: what the schema is made of, for forms and tables that suit any entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import strawberry

from amity.access import Rights, Verb
from amity.composition import Composition
from amity.entity import Catalog, EntityType
from amity.query.readable import refusal

from .declare import Field
from .names import EntityNames, Named, label
from .parts import Info
from .roots import RootField

Group = Literal["COLUMN", "MONEY", "TO_ONE", "TO_MANY", "REFERENCE", "EXPRESSION", "BATCH", "TIMELINE"]
_GROUPS: Mapping[str, Group] = {
    "column": "COLUMN",
    "money": "MONEY",
    "to_one": "TO_ONE",
    "single": "TO_ONE",
    "to_many": "TO_MANY",
    "generic": "REFERENCE",
    "expression": "EXPRESSION",
    "batch": "BATCH",
    "timeline": "TIMELINE",
}


@strawberry.type(description="A plugin that is enabled", name="PluginInfo")
class PluginInfo:
    name: str = strawberry.field(description="Its name, as in the settings")
    version: str = strawberry.field(description="Its version")
    description: str = strawberry.field(description="What it is for")


@strawberry.type(description="A field of an entity", name="EntityFieldInfo")
class EntityFieldInfo:
    name: str = strawberry.field(description="Its name in the schema")
    label: str = strawberry.field(description="Its name for people")
    kind: str = strawberry.field(
        description=(
            "COLUMN, MONEY, TO_ONE, TO_MANY, REFERENCE (to a record of any kind), EXPRESSION, BATCH or TIMELINE"
        )
    )
    type: str = strawberry.field(description="The GraphQL type of its values, or of the records it leads to")
    choices: list[str] | None = strawberry.field(description="The values it may have, where they are few")
    writable: bool = strawberry.field(description="Whether you may set it, creating or updating a record")
    input: str | None = strawberry.field(description="Its name in input, where it can be set")
    nullable: bool = strawberry.field(description="Whether it may be empty")
    required: bool = strawberry.field(description="Whether a new record can't do without it")
    target: str | None = strawberry.field(description="The entity that it leads to")
    plugin: str = strawberry.field(description="The plugin that brings it")
    description: str = strawberry.field(description="What it means")


@strawberry.type(description="An entity: a kind of record", name="EntityInfo")
class EntityInfo:
    name: str = strawberry.field(description="Its type in the schema")
    plugin: str = strawberry.field(description="The plugin that brings it")
    label: str = strawberry.field(description="Its name for people")
    singular: str = strawberry.field(description="The root field that reads one record")
    plural: str = strawberry.field(description="The root field that reads many")
    description: str = strawberry.field(description="What it is")
    prefix: str = strawberry.field(description="How its ids begin, without the underscore")
    verbs: list[str] = strawberry.field(description="What you may do with records: read, create, update, …")
    fields: list[EntityFieldInfo] = strawberry.field(description="The fields that you may read")


def infos(composition: Composition, names: Mapping[str, EntityNames]) -> Iterator[RootField]:
    """The root fields ``plugins`` and ``entities``."""
    plugins = [
        PluginInfo(name=info.name, version=info.version, description=info.description)
        for info in composition.plugins
    ]
    entities = {item.entity.name: _entity(item) for item in names.values()}

    def all_plugins(_source: Any, _info: Any) -> list[PluginInfo]:
        return plugins

    def all_entities(_source: Any, info: Info) -> list[EntityInfo]:
        rights = info.context.session.rights
        return [
            _open(composition.catalog, rights, names[name], described)
            for name, described in entities.items()
            if rights.granted(names[name].entity, "read")
        ]

    field = Field("plugins", list[PluginInfo], "The plugins that are enabled, the core first")
    yield RootField("graphql", field, all_plugins)
    field = Field("entities", list[EntityInfo], "The entities that you may read")
    yield RootField("graphql", field, all_entities)


_NEEDED: Mapping[str, tuple[Verb, ...]] = {
    "read": ("read",),
    "create": ("create",),
    "update": ("update",),
    "upsert": ("create", "update"),
    "delete": ("delete",),
    "restore": ("delete",),
}
"""What rights a verb of the API needs."""


def _open(catalog: Catalog, rights: Rights, names: EntityNames, described: EntityInfo) -> EntityInfo:
    """What an entity is to a principal."""
    entity = names.entity
    verbs = [verb for verb in described.verbs if all(rights.granted(entity, item) for item in _NEEDED[verb])]
    fields = [
        replace(item, writable=item.writable and _writable(rights, entity, names.fields[item.name]))
        for item in described.fields
        if refusal(catalog, rights, entity, names.fields[item.name].name) is None
    ]
    return replace(described, verbs=verbs, fields=fields)


def _writable(rights: Rights, entity: EntityType, item: Named) -> bool:
    written = _written(entity, item)
    field = entity.field_of.get(written, written)
    return any(
        rights.granted(entity, verb)
        and ((fields := rights.fields(entity, verb)) is None or field in fields)
        and field not in {entity.field_of.get(name, name) for name in rights.presets(entity, verb)}
        for verb in _WRITING
    )


_WRITING: tuple[Verb, ...] = ("create", "update")


def _entity(names: EntityNames) -> EntityInfo:
    entity = names.entity
    return EntityInfo(
        name=entity.name,
        plugin=entity.plugin,
        label=label(entity.name),
        singular=names.singular,
        plural=names.plural,
        description=entity.description,
        prefix=entity.prefix,
        verbs=sorted(entity.options.api),
        fields=[_field(names, key, item) for key, item in names.fields.items()],
    )


def _field(names: EntityNames, key: str, item: Named) -> EntityFieldInfo:
    entity = names.entity
    written = _written(entity, item)
    inputs = {entry.name: (name, entry) for name, entry in names.inputs.items()}
    input, declared = inputs.get(written, (None, None))
    type_, nullable, target, plugin, description, choices = _about(entity, item)
    return EntityFieldInfo(
        name=key,
        label=label(item.name),
        kind=_GROUPS[item.group],
        type=type_,
        choices=[choice.upper() for choice in choices] or None,
        writable=input is not None and item.name != "id",
        input=input,
        nullable=nullable,
        required=declared is not None and declared.required,
        target=target,
        plugin=plugin,
        description=description or label(item.name),
    )


def _written(entity: EntityType, item: Named) -> str:
    """The key of a row that sets the field."""
    if item.group == "to_one":
        return entity.to_one[item.name].column.name
    if item.group == "generic":
        return entity.generic[item.name].id_column
    return item.name


def _about(entity: EntityType, item: Named) -> tuple[str, bool, str | None, str, str, tuple[str, ...]]:
    """Type, whether it may be null, target, plugin, description and choices."""
    match item.group:
        case "column":
            column = entity.columns[item.name]
            return column.kind.value, column.nullable, None, entity.plugin, column.description, column.choices
        case "money":
            if item.name in entity.expressions:
                computed = entity.expressions[item.name]
                return "Money", True, None, computed.plugin, computed.description, ()
            money = entity.money[item.name]
            return "Money", money.nullable, None, entity.plugin, money.description, ()
        case "to_one":
            relation = entity.to_one[item.name]
            nullable = relation.column.nullable
            return relation.target, nullable, relation.target, entity.plugin, relation.description, ()
        case "single" | "to_many":
            many = entity.to_many[item.name]
            return many.target, many.single, many.target, entity.plugin, many.description, ()
        case "generic":
            reference = entity.generic[item.name]
            return "Node", reference.nullable, None, entity.plugin, reference.description, ()
        case "expression":
            expression = entity.expressions[item.name]
            return expression.kind.value, True, None, expression.plugin, expression.description, ()
        case "batch":
            batch = entity.batches[item.name]
            return "JSON", True, None, batch.plugin, batch.description, ()
        case "timeline":
            return "TimelineNode", False, None, "core", "What happened to it, by time", ()
