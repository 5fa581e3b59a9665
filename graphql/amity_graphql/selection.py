"""A selection of fields in a document, turned into the core's query tree.

graphql-core collects the fields: aliases, fragments, ``@skip`` and ``@include`` are its business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import get_argument_values

from amity import tree
from amity.entity import EntityType

from .arguments import Slice
from .errors import told
from .outputs import VIEWER_CAN
from .values import Leaf, Listed, Nullable, Object, Shape

if TYPE_CHECKING:
    from .executor import Executor

Details = list[FieldDetails]
Format = Callable[[Any], Any]


class Selections:
    """Translates the selections of one execution. What stands in the document once is translated once."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.api = executor.api
        self._rows: dict[tuple[str, int], tree.Selection] = {}

    def row(self, entity: EntityType, details: Details) -> tree.Selection:
        """What is selected of a row."""
        key = (entity.name, id(details))
        if key not in self._rows:
            type_ = self.api.objects[entity.name]
            self._rows[key] = tuple(
                self._field(entity, type_, name, nodes) for name, nodes in self.collected(type_, details)
            )
        return self._rows[key]

    def page(self, entity: EntityType, details: Details, slice: Slice) -> tree.Page:
        """What is selected of a connection, with the rows that it shows."""
        connection = self.api.connections[entity.name]
        parts: list[tree.Part] = []
        for key, nodes in self.collected(connection, details):
            match nodes[0].node.name.value:
                case "__typename":
                    parts.append(tree.Constant(key, connection.name))
                case "nodes":
                    parts.append(tree.Nodes(key, self.row(entity, nodes)))
                case "edges":
                    parts.append(tree.Edges(key, self._edges(entity, nodes)))
                case "pageInfo":
                    parts.append(tree.PageInfo(key, self.names(self.api.types["PageInfo"], nodes)))
                case "totalCount":
                    parts.append(tree.TotalCount(key))
        return tree.Page(
            tuple(parts), slice.where, slice.order, slice.first, slice.after, slice.last, slice.before
        )

    def _edges(self, entity: EntityType, details: Details) -> tuple[Any, ...]:
        edge = self.api.edges[entity.name]
        parts: list[tree.Cursor | tree.Node | tree.Constant] = []
        for key, nodes in self.collected(edge, details):
            match nodes[0].node.name.value:
                case "__typename":
                    parts.append(tree.Constant(key, edge.name))
                case "cursor":
                    parts.append(tree.Cursor(key))
                case "node":
                    parts.append(tree.Node(key, self.row(entity, nodes)))
        return tuple(parts)

    def names(self, type_: GraphQLObjectType, details: Details) -> tuple[tuple[str, str], ...]:
        """What is selected of a type without arguments: key and name of each field."""
        return tuple((key, nodes[0].node.name.value) for key, nodes in self.collected(type_, details))

    def _field(self, entity: EntityType, type_: GraphQLObjectType, key: str, nodes: Details) -> tree.Field:
        field_name = nodes[0].node.name.value
        if field_name == "__typename":
            return tree.Constant(key, type_.name)
        if field_name == VIEWER_CAN:
            return tree.Can(key, self.names(self.api.types["ViewerCan"], nodes))
        named = self.api.names[entity.name].fields[field_name]
        catalog = self.api.catalog
        match named.group:
            case "column":
                return tree.Scalar(key, named.name, enum=bool(entity.columns[named.name].choices))
            case "expression":
                return tree.Computed(key, named.name)
            case "money":
                return tree.Money(key, named.name, self.names(self.api.types["Money"], nodes))
            case "to_one":
                target = catalog[entity.to_one[named.name].target]
                return tree.Linked(key, named.name, self.row(target, nodes))
            case "single":
                target = catalog[entity.to_many[named.name].target]
                return tree.Linked(key, named.name, self.row(target, nodes))
            case "generic":
                targets = (name for name in entity.generic[named.name].targets if name in self.api.names)
                choices = {name: self.row(catalog[name], nodes) for name in targets}
                return tree.AnyLinked(key, named.name, choices)
            case "to_many":
                target = catalog[entity.to_many[named.name].target]
                return tree.Connected(key, named.name, self._connected(target, type_, nodes))
            case "batch":
                return self._batched(entity, type_, key, named.name, nodes)

    def _connected(self, target: EntityType, type_: GraphQLObjectType, nodes: Details) -> tree.Page:
        given = self._arguments(type_, nodes[0])
        try:
            slice = self.api.arguments.slice(target, given)
        except Exception as error:
            found = told(error)
            found.nodes = [item.node for item in nodes]
            raise found from error
        return self.page(target, nodes, slice)

    def _batched(
        self, entity: EntityType, type_: GraphQLObjectType, key: str, name: str, nodes: Details
    ) -> tree.Batched:
        given = self._arguments(type_, nodes[0])
        shape = self.api.values.batch(entity, entity.batches[name])
        arguments = self.api.values.batch_arguments(entity, name, given)
        return tree.Batched(key, name, arguments, self.format(shape, nodes))

    def format(self, shape: Shape, details: Details) -> Format:
        """A function that turns a Python value into JSON values, as far as it is selected."""
        match shape:
            case Leaf():
                return shape.format
            case Nullable(of):
                inner = self.format(of, details)
                return lambda value: None if value is None else inner(value)
            case Listed(of):
                item = self.format(of, details)
                return lambda value: [item(entry) for entry in value]
            case Object():
                return self._object(shape, details)

    def _object(self, shape: Object, details: Details) -> Format:
        type_ = self.api.types[shape.annotation.__name__]
        parts: list[tuple[str, str, Format]] = []
        for key, nodes in self.collected(type_, details):
            name = nodes[0].node.name.value
            if name == "__typename":
                parts.append((key, "", lambda _, text=type_.name: text))  # type: ignore[misc]
            else:
                member = shape.members[name]
                parts.append((key, member.attribute, self.format(member.shape, nodes)))

        def format_object(value: Any) -> dict[str, Any]:
            read = value.get if isinstance(value, dict) else lambda name: getattr(value, name)
            return {key: inner(read(name) if name else None) for key, name, inner in parts}

        return format_object

    def _arguments(self, type_: GraphQLObjectType, item: FieldDetails) -> dict[str, Any]:
        field = type_.fields[item.node.name.value]
        if not field.args:
            return {}
        return get_argument_values(field, item.node, self.executor.variable_values, item.fragment_variable_values)

    def collected(self, type_: GraphQLObjectType, details: Details) -> list[tuple[str, Details]]:
        """The fields that are selected of a type, by the keys of their answers."""
        return list(self.executor.collect_subfields(type_, details).grouped_field_set.items())
