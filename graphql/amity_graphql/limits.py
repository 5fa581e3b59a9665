"""How deep and how large a document is, told before it is validated and run.

Each fragment is measured once however often it is used, so that measuring costs no more than reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
)
from graphql.language import InlineFragmentNode, SelectionSetNode

from .errors import LIMIT_EXCEEDED, VALIDATION_FAILED, coded
from .settings import GraphQLSettings

MAX_TOKENS = 10_000
"""Tokens of a document; far beyond what people and code generators write."""
MAX_DEFINITIONS = 500
"""Operations and fragments of a document."""
MAX_DIRECTIVES = 5
"""Directives in one place of a document; there are three, and none of them may stand there twice."""
MAX_COMPARISONS = 10_000
"""How many pairs of fields of the same name validation may have to compare: what is asked for n times in one
place has n (n - 1) / 2. A hundred fragments that all name the same two fields are within."""
_COUNTED = 10**9
"""What is told exactly; more than that is told as more."""


@dataclass(frozen=True)
class Size:
    """Levels of fields, fields at the top level, and all fields; with every fragment put in where it is used."""

    depth: int = 0
    roots: int = 0
    fields: int = 0


def check(document: DocumentNode, settings: GraphQLSettings) -> GraphQLError | None:
    """What is too large about a document, if anything is."""
    try:
        return _check(document, settings)
    except RecursionError:
        return nested_too_deeply()


def nested_too_deeply() -> GraphQLError:
    """What is told of a document that Python's own stack can't take."""
    return coded(GraphQLError("the document is nested too deeply to be read"), LIMIT_EXCEEDED)


def beyond(
    limit: str,
    value: int,
    most: int,
    what: str,
    allowed: str,
    node: Node | None = None,
    path: Sequence[str | int] | None = None,
) -> GraphQLError:
    """What is told of a value beyond a limit that is a setting: both, where it is, and the setting's name."""
    extensions = {"code": LIMIT_EXCEEDED, "limit": limit, "value": min(value, _COUNTED), "most": most}
    message = f"{what}; {allowed} ({limit} in [graphql])"
    return GraphQLError(message, node, path=path, extensions=extensions)


def too_long(name: str, count: int, settings: GraphQLSettings, node: Node | None = None) -> GraphQLError:
    """What is told of a list that is handed in with too many items."""
    most = settings.max_list
    return beyond("max_list", count, most, f"{name} has {count} items", f"at most {most} are taken at once", node)


def too_large(name: str, value: int, settings: GraphQLSettings, node: Node | None = None) -> GraphQLError:
    """What is told of a page that is asked for with too many records."""
    most = settings.max_page_size
    what, allowed = f"{name} is {shown(value)}", f"at most {most} records are given at once"
    return beyond("max_page_size", value, most, what, allowed, node)


def shown(number: int) -> str:
    return f"{number:,}" if number <= _COUNTED else f"more than {_COUNTED:,}"


def _check(document: DocumentNode, settings: GraphQLSettings) -> GraphQLError | None:
    if len(document.definitions) > MAX_DEFINITIONS:
        count = len(document.definitions)
        return _refused(f"the document has {count} operations and fragments; at most {MAX_DEFINITIONS} are read")
    measure = Measure(document, settings)
    definitions = [
        item
        for item in document.definitions
        if isinstance(item, (OperationDefinitionNode, FragmentDefinitionNode))
    ]
    fields = 0
    for definition in definitions:
        size = measure.definition(definition)
        if measure.problem is not None:
            return measure.problem
        problem = _too_large(definition, size, settings)
        # operations are counted together; a fragment counts where it is used
        if isinstance(definition, OperationDefinitionNode):
            fields += size.fields
        total = max(fields, size.fields)
        if problem is None and total > settings.max_fields:
            most = settings.max_fields
            what = f"the document selects {shown(total)} fields, with its fragments put in where they are used"
            problem = beyond("max_fields", total, most, what, f"at most {most} are answered", definition)
        if problem is not None:
            return problem
    # what is known to be small when expanded may be walked
    comparisons = 0
    for definition in definitions:
        comparisons += measure.comparisons([definition.selection_set])
        if comparisons > MAX_COMPARISONS:
            message = "the document names the same fields in the same places too often; name each once"
            return _refused(message, definition)
    return None


def _too_large(definition: Node, size: Size, settings: GraphQLSettings) -> GraphQLError | None:
    if size.depth > settings.max_depth:
        what, most = f"the operation is {size.depth} levels deep", settings.max_depth
        return beyond("max_depth", size.depth, most, what, f"at most {most} are answered", definition)
    if isinstance(definition, OperationDefinitionNode) and size.roots > settings.max_root_fields:
        what, most = f"the operation has {shown(size.roots)} fields at its root", settings.max_root_fields
        return beyond("max_root_fields", size.roots, most, what, f"at most {most} are answered", definition)
    return None


def _refused(message: str, node: Node | None = None, code: str = LIMIT_EXCEEDED) -> GraphQLError:
    return coded(GraphQLError(message, node), code)


class Measure:
    """Measures the definitions of a document; ``steps`` says how many places it looked at."""

    def __init__(self, document: DocumentNode, settings: GraphQLSettings) -> None:
        self.fragments = {
            item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
        }
        self.settings = settings
        self.sizes: dict[str, Size] = {}
        self.open: set[str] = set()
        self.steps = 0
        self.problem: GraphQLError | None = None
        """What is wrong with what was looked at; its size is of no use then."""

    def definition(self, definition: OperationDefinitionNode | FragmentDefinitionNode) -> Size:
        self._directives(definition)
        for variable in definition.variable_definitions or ():
            self._directives(variable)
            if variable.default_value is not None:
                self._value(variable.variable.name.value, variable.default_value)
        return self.of(definition.selection_set)

    def of(self, selections: SelectionSetNode) -> Size:
        """The size of a selection."""
        return _sum(self._size(item) for item in selections.selections)

    def _size(self, item: object) -> Size:
        self.steps += 1
        if isinstance(item, FieldNode):
            self._directives(item)
            for argument in item.arguments or ():
                self._value(argument.name.value, argument.value)
            if item.selection_set is None:
                return Size(1, 1, 1)
            inner = self.of(item.selection_set)
            return Size(inner.depth + 1, 1, inner.fields + 1)
        if isinstance(item, InlineFragmentNode):
            self._directives(item)
            return self.of(item.selection_set)
        if isinstance(item, FragmentSpreadNode):
            self._directives(item)
            return self._fragment(item.name.value)
        return Size()

    def _fragment(self, name: str) -> Size:
        if name in self.open:
            circle = self.fragments[name]
            message = f"Cannot spread fragment '{circle.name.value}' within itself."
            self.problem = self.problem or _refused(message, circle, VALIDATION_FAILED)
        if name in self.open or name not in self.fragments:
            return Size()
        if name not in self.sizes:
            self.open.add(name)
            inner = self.of(self.fragments[name].selection_set)
            self.sizes[name] = Size(inner.depth, inner.roots, inner.fields + 1)
            self.open.discard(name)
        return self.sizes[name]

    def _directives(self, node: Node) -> None:
        count = len(getattr(node, "directives", None) or ())
        if count > MAX_DIRECTIVES and self.problem is None:
            message = f"{count} directives stand in one place; at most {MAX_DIRECTIVES} are read"
            self.problem = _refused(message, node)

    def _value(self, name: str, value: ValueNode) -> None:
        if isinstance(value, ListValueNode):
            if len(value.values) > self.settings.max_list and self.problem is None:
                self.problem = too_long(name, len(value.values), self.settings, value)
            for item in value.values:
                self._value(name, item)
        elif isinstance(value, ObjectValueNode):
            for field in value.fields:
                self._value(field.name.value, field.value)

    def comparisons(self, sets: Sequence[SelectionSetNode]) -> int:
        """Pairs of fields of the same name in selections that are merged, and in what lies below them."""
        named: dict[str, list[FieldNode]] = {}
        for selections in sets:
            for field in self._fields(selections):
                named.setdefault((field.alias or field.name).value, []).append(field)
        total = 0
        for fields in named.values():
            total += len(fields) * (len(fields) - 1) // 2
            below = [field.selection_set for field in fields if field.selection_set is not None]
            if below and total <= MAX_COMPARISONS:
                total += self.comparisons(below)
        return total

    def _fields(self, selections: SelectionSetNode) -> Iterator[FieldNode]:
        for item in selections.selections:
            if isinstance(item, FieldNode):
                yield item
            elif isinstance(item, InlineFragmentNode):
                yield from self._fields(item.selection_set)
            elif isinstance(item, FragmentSpreadNode) and item.name.value in self.fragments:
                yield from self._fields(self.fragments[item.name.value].selection_set)


def _sum(sizes: Iterable[Size]) -> Size:
    depth = roots = fields = 0
    for size in sizes:
        depth = max(depth, size.depth)
        roots += size.roots
        fields += size.fields
    return Size(depth, roots, fields)
