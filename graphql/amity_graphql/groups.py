"""Groups of rows, as GraphQL asks for them: their arguments, and what is selected of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType

from amity import tree
from amity.entity import EntityType
from amity.given import known
from amity.query import QueryError
from amity.query.grouping import figure_kind, parse_group_order, parse_groups, parse_having

from .arguments import Arguments, plain, single
from .errors import bad_input

if TYPE_CHECKING:
    from .selection import Details, Selections

FUNCTIONS: Mapping[str, tree.Function] = {
    "countDistinct": "count_distinct",
    "sum": "sum",
    "avg": "avg",
    "min": "min",
    "max": "max",
}
"""The fields of a group that have figures of several of its fields."""


class Groupings:
    """Turns the arguments of ``customersAggregate`` and ``dealsAggregate`` of all entities."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments

    def parse(self, entity: EntityType, given: Mapping[str, Any]) -> tree.Groups:
        """Groups without a selection yet. Raises QueryError and GraphQLError."""
        arguments, catalog = self.arguments, self.arguments.catalog
        where, having, order = given.get("where"), given.get("having"), given.get("orderBy")
        items = [self._key(entity, item) for item in given.get("groupBy") or ()]
        by = parse_groups(catalog, entity, items, ("group_by",))
        return tree.Groups(
            (),
            by,
            arguments.where(entity, where) if where is not None else None,
            parse_having(entity, self._having(entity, having), ("having",)) if having is not None else None,
            parse_group_order(
                catalog, entity, by, [self._order(entity, item) for item in order or ()], ("order_by",)
            ),
            self._first(known(given.get("first"))),
        )

    def _first(self, first: int | None) -> int:
        settings = self.arguments.settings
        if first is None:
            return settings.page_size
        if not 0 <= first <= settings.max_page_size:
            raise bad_input(f"first is {first}; expected a number from 0 to {settings.max_page_size}")
        return first

    def _key(self, entity: EntityType, item: Mapping[str, Any]) -> dict[str, Any]:
        key, value = single(item, "group_by")
        named = self.arguments.names[entity.name].orders[key]
        target = entity.leads_to(named.name)
        if target is not None:
            return {named.name: self._key(self.arguments.catalog[target], value)}
        if isinstance(value, Mapping):
            names = {"unit": "unit", "timeZone": "time_zone"}
            value = {names[name]: _lower(known(inner)) for name, inner in value.items()}
        return {named.name: value}

    def _having(self, entity: EntityType, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in given.items():
            if value is None:
                found[key] = None  # refused by the core
            elif key in ("and", "or"):
                found[key] = [self._having(entity, item) for item in self.arguments.limited(key, value)]
            elif key == "not":
                found[key] = self._having(entity, value)
            elif key == "count":
                found[key] = self._operators(value)
            else:
                fields = self.arguments.names[entity.name].fields
                found[FUNCTIONS[key]] = {
                    fields[name].name: self._compared(entity, fields[name].name, inner)
                    for name, inner in value.items()
                }
        return found

    def _compared(self, entity: EntityType, name: str, value: Any) -> Any:
        if name in entity.currencies and isinstance(value, Mapping):
            return {part: self._operators(inner) for part, inner in value.items()}
        return self._operators(value)

    def _operators(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {
            name: [plain(item) for item in self.arguments.limited(name, inner)]
            if isinstance(inner, list)
            else plain(inner)
            for name, inner in value.items()
        }

    def _order(self, entity: EntityType, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in given.items():
            if key in ("count", "currency") or value is None:
                found[key] = value
            elif key == "key":
                found[key] = self.arguments.named_order(entity, value)
            else:
                found[FUNCTIONS[key]] = self.arguments.named_order(entity, value)
        return found


def _lower(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


# --- what is selected ---------------------------------------------------------------------------------------


def grouped(selections: Selections, entity: EntityType, details: Details, groups: tree.Groups) -> tree.Groups:
    """The groups with what is selected of them. Raises QueryError where that is no key of theirs."""
    type_ = selections.api.groups[entity.name]
    parts: list[tree.GroupPart] = []
    for key, nodes in selections.collected(type_, details):
        name = nodes[0].node.name.value
        if name == "__typename":
            parts.append(tree.Constant(key, type_.name))
        elif name == "count":
            parts.append(tree.Counted(key))
        elif name == "key":
            inner = selections.api.types[f"{entity.name}AggregateKey"]
            parts.append(tree.Keys(key, _keys(selections, entity, inner, nodes, groups.by, ())))
        else:
            parts.append(_figures(selections, entity, key, FUNCTIONS[name], type_, nodes))
    return tree.Groups(tuple(parts), groups.by, groups.where, groups.having, groups.order, groups.first)


def _figures(
    selections: Selections,
    entity: EntityType,
    key: str,
    function: tree.Function,
    type_: GraphQLObjectType,
    details: Details,
) -> tree.Figures:
    inner: Any = type_.fields[details[0].node.name.value].type
    object_type: GraphQLObjectType = inner.of_type
    fields: list[tree.FigureField | tree.Constant] = []
    for alias, nodes in selections.collected(object_type, details):
        name = nodes[0].node.name.value
        if name == "__typename":
            fields.append(tree.Constant(alias, object_type.name))
            continue
        named = selections.api.names[entity.name].fields[name].name
        is_money = figure_kind(entity, tree.Figure(function, named)) is None
        parts = selections.names(selections.api.types["Money"], nodes) if is_money else ()
        fields.append(tree.FigureField(alias, named, parts))
    return tree.Figures(key, function, tuple(fields))


def _keys(
    selections: Selections,
    entity: EntityType,
    type_: GraphQLObjectType,
    details: Details,
    by: Sequence[tree.GroupKey],
    path: tuple[str, ...],
) -> tuple[tree.KeyField, ...]:
    """Keys that are selected; a record that is one is selected from like any other."""
    found: list[tree.KeyField] = []
    names = selections.api.names[entity.name].fields
    for alias, nodes in selections.collected(type_, details):
        field = nodes[0].node.name.value
        if field == "__typename":
            found.append(tree.Constant(alias, type_.name))
            continue
        name = names[field].name if field in names else field
        target = entity.leads_to(name)
        if target is None or (*path, name) not in {key.path[: len(path) + 1] for key in by}:
            key = next((item for item in by if (item.path, item.field) == (path, name)), None)
            if key is None:
                raise QueryError(f"{field} of {entity.name} is no key of the groups; add it to groupBy")
            enum = key.field in entity.columns and bool(entity.columns[key.field].choices)
            found.append(tree.KeyValue(alias, key, enum))
            continue
        inner, there = selections.api.catalog[target], (*path, name)
        if any(key.path == there and key.field == "id" for key in by):
            found.append(tree.KeyRecord(alias, there, selections.row(inner, nodes)))
        else:
            below = _keys(selections, inner, selections.api.objects[target], nodes, by, there)
            found.append(tree.KeyObject(alias, below))
    return tuple(found)


__all__ = ["FUNCTIONS", "Groupings", "grouped"]
