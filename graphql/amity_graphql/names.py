"""The GraphQL names of what an entity has: fields, filters, orders and inputs.

GraphQL writes ``contactPoints`` where the core has ``contact_points``. Nothing converts names back by rule;
both directions are looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from amity.change.input import has_external_ids, required, writable
from amity.composition import Composition
from amity.entity import Catalog, Column, EntityType, Kind, camel
from amity.entity.catalog import TIMELINE

AGGREGATE = "Aggregate"
"""What the fields with figures of rows end in."""
Group = Literal["column", "money", "to_one", "single", "to_many", "generic", "expression", "batch", "timeline"]


@dataclass(frozen=True)
class Named:
    """Something of an entity: which kind of thing, and its name in the core."""

    group: Group
    name: str


@dataclass(frozen=True)
class Input:
    """A field that rows are written by; ``name`` is its key in the core's rows."""

    group: Literal["id", "column", "money", "external_id"]
    name: str
    column: Column | None
    required: bool
    description: str


@dataclass(frozen=True)
class EntityNames:
    """One entity, as GraphQL sees it. All keys are GraphQL names."""

    entity: EntityType
    singular: str
    plural: str
    fields: Mapping[str, Named]
    filters: Mapping[str, Named]
    orders: Mapping[str, Named]
    inputs: Mapping[str, Input]
    patches: Mapping[str, Input]
    keys: Mapping[str, tuple[str, ...]]
    """Upsert keys: enum value → columns."""
    aggregates: Mapping[str, str]
    """Fields with figures of related rows → the relation."""

    @property
    def type(self) -> str:
        return self.entity.name

    @property
    def types(self) -> str:
        """The plural, as part of a type's name."""
        return self.plural[:1].upper() + self.plural[1:]


def pascal(name: str) -> str:
    """``contact_point`` → ``ContactPoint``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def a(name: str) -> str:
    """``Customer`` → ``a Customer``, ``Interaction`` → ``an Interaction``."""
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def label(name: str) -> str:
    """``ContactPoint`` and ``contact_point`` → ``Contact point``."""
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in name).replace("_", " ").split()
    return " ".join(words).capitalize()


def readable(catalog: Catalog) -> list[EntityType]:
    """The entities that let themselves be read; the schema knows no other."""
    return [entity for entity in catalog.values() if "read" in entity.options.api]


def names_of(composition: Composition) -> dict[str, EntityNames]:
    """Every readable entity by its name."""
    catalog = composition.catalog
    known = {entity.name for entity in readable(catalog)}
    return {entity.name: _names(catalog, entity, known) for entity in readable(catalog)}


def _names(catalog: Catalog, entity: EntityType, known: set[str]) -> EntityNames:
    # only living records are read, so that their time of deletion says nothing
    columns = [("column", column.name) for column in entity.visible_columns if column.name != "deleted_at"]
    to_one = [("to_one", key) for key, relation in entity.to_one.items() if relation.target in known]
    to_many = [
        ("single" if relation.single else "to_many", key)
        for key, relation in entity.to_many.items()
        if relation.target in known
    ]
    generic = [("generic", key) for key, item in entity.generic.items() if set(item.targets) & known]
    money = [("money", key) for key in entity.currencies]
    expressions = [("expression", key) for key in entity.expressions if key not in entity.currencies]
    batches = [("batch", key) for key in entity.batches]
    timeline = [("timeline", TIMELINE)] if known & {item.entity for item in entity.timeline} else []
    fields = _index([*columns, *money, *to_one, *generic, *to_many, *expressions, *batches, *timeline])
    # a filter and an input name a reference by its id, too
    ids = [("column", relation.column.name) for relation in entity.to_one.values()]
    ids += [("column", item.id_column) for item in entity.generic.values()]
    filters = _index([*columns, *ids, *money, *to_one, *to_many, *expressions])
    sortable = [item for item in columns if entity.columns[item[1]].kind is not Kind.JSON]
    singles = [item for item in to_many if item[0] == "single"]
    orders = _index([*sortable, *money, *to_one, *singles, *expressions])
    return EntityNames(
        entity=entity,
        singular=camel(entity.singular),
        plural=camel(entity.plural),
        fields=fields,
        filters=filters,
        orders=orders,
        inputs=_inputs(catalog, entity, patch=False),
        patches=_inputs(catalog, entity, patch=True),
        keys=_keys(catalog, entity),
        aggregates={f"{camel(name)}{AGGREGATE}": name for group, name in to_many if group == "to_many"},
    )


def _index(items: list[tuple[str, str]]) -> dict[str, Named]:
    return {camel(name): Named(group, name) for group, name in items}  # type: ignore[arg-type]


def _inputs(catalog: Catalog, entity: EntityType, *, patch: bool) -> dict[str, Input]:
    needed = () if patch else required(entity)
    types = {item.type_column for item in entity.generic.values()}  # an id says what it is an id of
    found: dict[str, Input] = {}
    for name in writable(catalog, entity, "update" if patch else "create"):
        if name not in types:
            found[camel(name)] = _input(entity, name, name in needed)
    return found


def _input(entity: EntityType, name: str, needed: bool) -> Input:
    if name == "id":
        text = f"A new id ({entity.prefix}_…), for who wants to know it beforehand; made up where it is absent"
        return Input("id", name, None, False, text)
    if name in entity.money:
        return Input("money", name, None, needed, entity.money[name].description)
    if name not in entity.columns:
        return Input("external_id", name, None, False, "The id that another system has for the record")
    column = entity.columns[name]
    return Input("column", name, column, needed, column.description)


def _keys(catalog: Catalog, entity: EntityType) -> dict[str, tuple[str, ...]]:
    found = {key.name.upper(): key.columns for key in entity.unique if key.where is None}
    if has_external_ids(catalog, entity):
        found["EXTERNAL_ID"] = ("external_id",)
    return found
