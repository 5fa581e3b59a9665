"""What an operation costs: the fields that its answer can have at most, told before anything is run.

A field counts once for every record that it is asked of: below a page so often as the page may have records, and
pages within pages multiply. Where a list ends is read off the schema, so that fields of plugins count as well:

- a field with ``first`` or ``last`` brings so many records, or those of a page of the usual size;
- a field that takes a list of ids, and a mutation that takes a list, bring one for each item;
- lists of introspection are as long as the schema has them on average;
- any other list counts as a page of the usual size.

The lists are the field itself, or those right below it, as ``nodes`` and ``edges`` are below a connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    Node,
    NullValueNode,
    OperationDefinitionNode,
    SchemaMetaFieldDef,
    SelectionNode,
    SelectionSetNode,
    TypeMetaFieldDef,
    ValueNode,
    VariableNode,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_composite_type,
    parse,
    type_from_ast,
)

from .amounts import Factor, Flag, Largest, Length, Number, Page, Sum, Variables, number
from .limits import beyond, nested_too_deeply, shown, too_large, too_long
from .settings import GraphQLSettings

_PAGE = ("first", "last")
_META = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}


class Form(NamedTuple):
    """What a selection costs: by itself, and for each record of the page that it is selected of."""

    own: Sum
    each: Sum


class Costs:
    """What a schema says of costs; the same for all documents."""

    def __init__(self, schema: GraphQLSchema, settings: GraphQLSettings) -> None:
        self.schema = schema
        self.settings = settings

    def document(self, document: DocumentNode) -> DocumentCost:
        """The costs of a valid document."""
        return DocumentCost(self, document)

    @cached_property
    def introspection(self) -> int:
        """What it costs to read all of the schema, which is always allowed."""
        text = get_introspection_query(
            descriptions=True,
            specified_by_url=True,
            directive_is_repeatable=True,
            schema_description=True,
            input_value_deprecation=True,
        )
        return self.document(parse(text)).estimate(None, {}) or 0

    @cached_property
    def lengths(self) -> Mapping[tuple[str, str], int]:
        """How long the lists of introspection are: on average, of what has them."""
        types = list(self.schema.type_map.values())
        fields = [getattr(item, "fields", {}) for item in types if is_composite_type(item)]
        arguments = [item.args for group in fields for item in group.values()]
        inputs = [item.fields for item in types if isinstance(item, GraphQLInputObjectType)]
        none: list[Any] = [()] * len(types)
        possible = [self.schema.get_possible_types(item) for item in types if is_abstract_type(item)]
        return {
            ("__Schema", "types"): len(types),
            ("__Schema", "directives"): len(self.schema.directives),
            ("__Type", "fields"): _average([*fields, *none[len(fields) :]]),
            ("__Type", "inputFields"): _average([*inputs, *none[len(inputs) :]]),
            ("__Type", "enumValues"): _average([getattr(item, "values", ()) for item in types]),
            ("__Type", "interfaces"): _average([getattr(item, "interfaces", ()) for item in types]),
            ("__Type", "possibleTypes"): _average([*possible, *none[len(possible) :]]),
            ("__Field", "args"): _average(arguments),
            ("__Directive", "args"): _average([item.args for item in self.schema.directives]),
        }

    # --- lists that are handed in ---------------------------------------------------------------------------

    def too_long(self, name: str, type_: Any, value: Any) -> tuple[str, int] | None:
        """The first list in a variable that is too long, by its name there, and how many items it has."""
        waiting = [(name, type_, value)]
        while waiting:
            name, type_, value = waiting.pop()
            inner = get_nullable_type(type_)
            if isinstance(inner, GraphQLList) and isinstance(value, (list, tuple)):
                if len(value) > self.settings.max_list:
                    return name, len(value)
                if self.leads_to_lists(inner.of_type):
                    waiting += [(name, inner.of_type, item) for item in value]
            elif isinstance(inner, GraphQLList):
                waiting.append((name, inner.of_type, value))  # one item is a list of one
            elif isinstance(inner, GraphQLInputObjectType) and isinstance(value, Mapping):
                fields = self._listing.get(inner.name, {})
                waiting += [(f"{name}.{key}", fields[key], value[key]) for key in value if key in fields]
        return None

    def leads_to_lists(self, type_: Any) -> bool:
        """Whether values of an input type are lists, or have some in them."""
        inner = get_nullable_type(type_)
        return isinstance(inner, GraphQLList) or (
            isinstance(inner, GraphQLInputObjectType) and inner.name in self._listing
        )

    @cached_property
    def _listing(self) -> Mapping[str, Mapping[str, Any]]:
        """The input types that lead to lists, and by which fields. They may lead to themselves."""
        inputs = [item for item in self.schema.type_map.values() if isinstance(item, GraphQLInputObjectType)]
        found: dict[str, dict[str, Any]] = {}

        def leads(type_: Any) -> bool:
            inner = get_nullable_type(type_)
            return isinstance(inner, GraphQLList) or getattr(inner, "name", "") in found

        grown = True
        while grown:
            grown = False
            for item in inputs:
                fields = {name: entry.type for name, entry in item.fields.items() if leads(entry.type)}
                grown |= len(fields) > len(found.get(item.name, ()))
                if fields:
                    found[item.name] = fields
        return found


def _average(items: Sequence[Any]) -> int:
    """How many there are in each, rounded up, so that together they are never more than they are taken for."""
    return max(1, -(-sum(map(len, items)) // max(1, len(items))))


class _Looked(NamedTuple):
    """What was found out about a place of a document: a field, or a fragment where it is used."""

    form: Form
    type: Any
    """Of the selection below it."""
    listed: bool
    """Whether it is a field that is a list."""
    size: Factor | int | None
    """How many records it says that there are below it."""
    shown: tuple[Factor | int, ...]
    """One or zero, as ``@include`` and ``@skip`` say."""


class DocumentCost:
    """What the operations of one document cost. Each is looked at when it is first asked for."""

    def __init__(self, costs: Costs, document: DocumentNode) -> None:
        self.costs = costs
        self.fragments = {
            item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
        }
        self._nodes = [item for item in document.definitions if isinstance(item, OperationDefinitionNode)]
        self._operations: dict[str | None, _Operation] = {}

    def estimate(self, name: str | None, variables: Variables) -> int | None:
        """The cost of an operation; None where the document has none of this name, or several to choose from."""
        operation = self._operation(name)
        return None if operation is None else operation.total.of(variables)

    def refusal(self, name: str | None, variables: Variables) -> GraphQLError | None:
        """What is too large about an operation with these variables, as they were sent, if anything is."""
        try:
            operation = self._operation(name)
            return None if operation is None else operation.refusal(variables)
        except RecursionError:
            return nested_too_deeply()

    def steps(self, name: str | None) -> int:
        """How many places of the document were looked at to tell it; a fragment is looked at once."""
        operation = self._operation(name)
        return 0 if operation is None else operation.steps

    def most(self, name: str | None) -> int:
        """What an operation may cost."""
        operation = self._operation(name)
        return self.costs.settings.max_cost if operation is None else operation.most

    def _operation(self, name: str | None) -> _Operation | None:
        found = self._operations.get(name)
        if found is None:
            nodes = [item for item in self._nodes if name is None or (item.name and item.name.value == name)]
            if len(nodes) != 1:
                return None  # told where it is run
            found = self._operations[name] = _Operation(self.costs, self.fragments, nodes[0])
        return found


class _Operation:
    """One operation, as far as its cost can be told without its variables."""

    def __init__(
        self, costs: Costs, fragments: Mapping[str, FragmentDefinitionNode], node: OperationDefinitionNode
    ) -> None:
        self.costs = costs
        self.fragments = fragments
        self.settings = costs.settings
        self.schema = costs.schema
        self.node = node
        self.defaults = {
            item.variable.name.value: item.default_value
            for item in node.variable_definitions or ()
            if item.default_value is not None
        }
        self.pages: list[tuple[str, Number | int, FieldNode]] = []
        """The sizes of pages that are asked for: the argument, how many, and where."""
        self.steps = 0
        self._looked: dict[int, _Looked] = {}
        self._measured: dict[str, Form] = {}
        self.root: Any = self.schema.get_root_type(node.operation)
        self.introspects = all(
            item.name.value.startswith("__") for item in self._roots(node.selection_set.selections)
        )
        self.total = self._whole(self._selections(node.selection_set, self.root), self.settings.page_size)
        self.lists = [
            (item, type_)
            for item in node.variable_definitions or ()
            if self.costs.leads_to_lists(type_ := type_from_ast(self.schema, item.type))
        ]

    def refusal(self, variables: Variables) -> GraphQLError | None:
        for definition, type_ in self.lists:
            name = definition.variable.name.value
            found = self.costs.too_long(f"${name}", type_, variables.get(name))
            if found is not None:
                return too_long(*found, self.settings, definition)
        for name, size, field in self.pages:
            asked = size if isinstance(size, int) else size.value(variables)
            if asked is not None and asked > self.settings.max_page_size:
                return too_large(name, asked, self.settings, field)
        value, most = self.total.of(variables), self.most
        if value <= most:
            return None
        node, path, value = self._heaviest(variables, value, most)
        where = ".".join(path) or "the operation"
        what = f"{where} costs {shown(value)}, counting each field once for every record that it could be asked of"
        allowed = f"at most {shown(most)} is answered; ask for smaller pages (first) or fewer fields"
        return beyond("max_cost", value, most, what, allowed, node, path or None)

    @property
    def most(self) -> int:
        limit = self.settings.max_cost
        return max(limit, self.costs.introspection) if self.introspects else limit

    # --- looking at selections --------------------------------------------------------------------------------

    def _selections(self, selections: SelectionSetNode, type_: Any) -> Form:
        form = Form(Sum(), Sum())
        for item in selections.selections:
            found = self._look(item, type_).form
            form.own.add(found.own)
            form.each.add(found.each)
        return form

    def _look(self, item: SelectionNode, type_: Any) -> _Looked:
        found = self._looked.get(id(item))
        if found is None:
            self.steps += 1
            if isinstance(item, FieldNode):
                found = self._field(item, type_)
            elif isinstance(item, InlineFragmentNode):
                condition = item.type_condition
                inner = type_ if condition is None else self.schema.get_type(condition.name.value)
                found = _Looked(self._selections(item.selection_set, inner), inner, False, None, self._shown(item))
            else:
                assert isinstance(item, FragmentSpreadNode)
                form, inner = self._fragment(item.name.value)
                found = _Looked(form, inner, False, None, self._shown(item))
            for flag in found.shown:
                own, each = found.form
                found = found._replace(form=Form(_times(own, flag), _times(each, flag)))
            self._looked[id(item)] = found
        return found

    def _fragment(self, name: str) -> tuple[Form, Any]:
        definition = self.fragments[name]
        type_ = self.schema.get_type(definition.type_condition.name.value)
        if name not in self._measured:
            self._measured[name] = self._selections(definition.selection_set, type_)
        return self._measured[name], type_

    def _field(self, item: FieldNode, type_: Any) -> _Looked:
        name = item.name.value
        declared: GraphQLField | None = _META.get(name) or getattr(type_, "fields", {}).get(name)
        own, each = Sum(1), Sum()
        if item.selection_set is None or declared is None:
            return _Looked(Form(own, each), None, False, None, self._shown(item))
        inner_type = get_named_type(declared.type)
        inner = self._selections(item.selection_set, inner_type)
        size = self._size(item, type_, declared)
        usual = self.settings.page_size
        listed = isinstance(get_nullable_type(declared.type), GraphQLList)
        if not listed:
            own.add(self._whole(inner, usual if size is None else size))
        elif size is not None:
            own.add(self._whole(inner, usual), size)
        else:
            each.add(self._whole(inner, usual))
        return _Looked(Form(own, each), inner_type, listed, size, self._shown(item))

    def _whole(self, form: Form, size: Factor | int) -> Sum:
        """A selection with the lists right below it, of so many records."""
        found = Sum()
        found.add(form.own)
        found.add(form.each, size)
        return found

    def _shown(self, item: SelectionNode) -> tuple[Factor | int, ...]:
        found: list[Factor | int] = []
        for directive in item.directives or ():
            name = directive.name.value
            condition = next(
                (entry.value for entry in directive.arguments or () if entry.name.value == "if"), None
            )
            if name not in ("include", "skip") or condition is None:
                continue
            wanted = name == "include"
            if isinstance(condition, BooleanValueNode):
                found.append(int(condition.value is wanted))
            elif isinstance(condition, VariableNode):
                default = self.defaults.get(condition.name.value)
                absent = default.value if isinstance(default, BooleanValueNode) else None
                found.append(Flag(condition.name.value, wanted, absent))
        return tuple(found)

    # --- how many records -------------------------------------------------------------------------------------

    def _size(self, item: FieldNode, parent: Any, declared: GraphQLField) -> Factor | int | None:
        """How many records a field says that there are in the lists that it brings."""
        length = self.costs.lengths.get((parent.name, item.name.value)) if parent.name[:2] == "__" else None
        if length is not None:
            return length
        given = {entry.name.value: entry.value for entry in item.arguments or ()}
        names = [name for name in _PAGE if name in declared.args]
        if any(get_named_type(declared.args[name].type).name == "Int" for name in names):
            asked: list[Number | int] = []
            for name in names:
                number_ = self._number(given.get(name), declared.args[name].default_value)
                if number_ is not None:
                    asked.append(number_)
                    self.pages.append((name, number_, item))
            page = Page(tuple(asked), self.settings.page_size)
            return page if any(isinstance(entry, Number) for entry in asked) else page.of({})
        lengths = [self._length(given[name]) for name in self._batches(parent, declared) if name in given]
        if all(isinstance(entry, int) for entry in lengths):
            return max((entry for entry in lengths if isinstance(entry, int)), default=None)
        return Largest(tuple(lengths))

    def _batches(self, parent: Any, declared: GraphQLField) -> Iterator[str]:
        """The arguments that are lists, with each item of which one comes out."""
        for name, argument in declared.args.items():
            is_list = isinstance(get_nullable_type(argument.type), GraphQLList)
            if is_list and (parent is self.schema.mutation_type or get_named_type(argument.type).name == "ID"):
                yield name

    def _number(self, value: ValueNode | None, default: Any) -> Number | int | None:
        usual = default if isinstance(default, int) else None
        if value is None:
            return usual
        if isinstance(value, IntValueNode):
            return max(0, int(value.value))
        if not isinstance(value, VariableNode):
            return None
        own = self.defaults.get(value.name.value)
        if own is not None:
            usual = int(own.value) if isinstance(own, IntValueNode) else None
        return Number(value.name.value, usual)

    def _length(self, value: ValueNode) -> Factor | int:
        if isinstance(value, VariableNode):
            default = self.defaults.get(value.name.value)
            absent = 0 if default is None else self._length(default)
            return Length(value.name.value, absent if isinstance(absent, int) else 0)
        if isinstance(value, ListValueNode):
            return len(value.values)
        return int(not isinstance(value, NullValueNode))

    # --- telling ------------------------------------------------------------------------------------------------

    def _heaviest(self, variables: Variables, value: int, most: int) -> tuple[Node, list[str], int]:
        """The deepest field that costs too much by itself: where it stands, its path, and what it costs."""
        place: Node = self.node
        path: list[str] = []
        selections: SelectionSetNode | None = self.node.selection_set
        type_, times, size = self.root, 1, self.settings.page_size
        while selections is not None:
            costs = []
            for item in selections.selections:
                own, each = self._look(item, type_).form
                costs.append((own.of(variables) + size * each.of(variables), item))
            cost, item = max(costs, key=lambda entry: entry[0])
            if cost * times <= most or (isinstance(item, FieldNode) and item.selection_set is None):
                break
            looked = self._look(item, type_)
            if isinstance(item, FieldNode):
                place, value = item, cost * times
                path.append((item.alias or item.name).value)
                below = None if looked.size is None else number(looked.size, variables)
                if looked.listed:
                    times *= size if below is None else below
                    below = None
                size = self.settings.page_size if below is None else below
            type_ = looked.type
            selections = self._below(item)
        return place, path, value

    def _below(self, item: SelectionNode) -> SelectionSetNode | None:
        if isinstance(item, FragmentSpreadNode):
            return self.fragments[item.name.value].selection_set
        assert isinstance(item, (FieldNode, InlineFragmentNode))
        return item.selection_set

    def _roots(self, items: Sequence[SelectionNode]) -> Iterator[FieldNode]:
        seen: set[str] = set()
        waiting = list(items)
        while waiting:
            item = waiting.pop()
            if isinstance(item, FieldNode):
                yield item
                continue
            name = item.name.value if isinstance(item, FragmentSpreadNode) else None
            below = self._below(item)
            if below is not None and name not in seen:
                waiting += below.selections
            if name is not None:
                seen.add(name)


def _times(amount: Sum, factor: Factor | int) -> Sum:
    found = Sum()
    found.add(amount, factor)
    return found
