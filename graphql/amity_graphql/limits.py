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
    Node,
    OperationDefinitionNode,
)
from graphql.language import InlineFragmentNode, SelectionSetNode

from .errors import VALIDATION_FAILED, coded
from .settings import GraphQLSettings

MAX_TOKENS = 10_000
"""Tokens of a document; far beyond what people and code generators write."""
MAX_DEFINITIONS = 500
"""Operations and fragments of a document."""
MAX_COMPARISONS = 10_000
"""How many pairs of fields of the same name validation may have to compare: what is asked for n times in one
place has n (n - 1) / 2. A hundred fragments that all name the same two fields are within."""


@dataclass(frozen=True)
class Size:
    """Levels of fields, and fields with every fragment put in where it is used."""

    depth: int
    fields: int


def check(document: DocumentNode, settings: GraphQLSettings) -> GraphQLError | None:
    """What is too large about a document, if anything is."""
    if len(document.definitions) > MAX_DEFINITIONS:
        count = len(document.definitions)
        return _refused(f"the document has {count} operations and fragments; at most {MAX_DEFINITIONS} are read")
    measure = _Measure(document)
    definitions = [
        item
        for item in document.definitions
        if isinstance(item, (OperationDefinitionNode, FragmentDefinitionNode))
    ]
    fields = 0
    for definition in definitions:
        size = measure.of(definition.selection_set)
        if measure.circle is not None:
            return _refused(f"Cannot spread fragment '{measure.circle.name.value}' within itself.", measure.circle)
        if size.depth > settings.max_depth:
            message = f"the operation is {size.depth} levels deep; at most {settings.max_depth} are answered"
            return _refused(message, definition)
        # operations are counted together; a fragment counts where it is used
        if isinstance(definition, OperationDefinitionNode):
            fields += size.fields
        total = max(fields, size.fields)
        if total > settings.max_fields:
            shown = str(total) if total < 10**9 else "more than 1,000,000,000"
            message = (
                f"the document selects {shown} fields, with its fragments put in where they are used; "
                f"at most {settings.max_fields} are answered"
            )
            return _refused(message, definition)
    # what is known to be small when expanded may be walked
    comparisons = 0
    for definition in definitions:
        comparisons += measure.comparisons([definition.selection_set])
        if comparisons > MAX_COMPARISONS:
            message = "the document names the same fields in the same places too often; name each once"
            return _refused(message, definition)
    return None


def _refused(message: str, node: Node | None = None) -> GraphQLError:
    return coded(GraphQLError(message, node), VALIDATION_FAILED)


class _Measure:
    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {
            item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
        }
        self.sizes: dict[str, Size] = {}
        self.open: set[str] = set()
        self.circle: FragmentDefinitionNode | None = None
        """A fragment that leads to itself; what was measured is of no use then."""

    def of(self, selections: SelectionSetNode) -> Size:
        return _sum(self._size(item) for item in selections.selections)

    def _size(self, item: object) -> Size:
        if isinstance(item, FieldNode):
            if item.selection_set is None:
                return Size(1, 1)
            inner = self.of(item.selection_set)
            return Size(inner.depth + 1, inner.fields + 1)
        if isinstance(item, InlineFragmentNode):
            return self.of(item.selection_set)
        if isinstance(item, FragmentSpreadNode):
            return self._fragment(item.name.value)
        return Size(0, 0)

    def _fragment(self, name: str) -> Size:
        if name in self.open:
            self.circle = self.fragments[name]
        if name in self.open or name not in self.fragments:
            return Size(0, 0)
        if name not in self.sizes:
            self.open.add(name)
            inner = self.of(self.fragments[name].selection_set)
            self.sizes[name] = Size(inner.depth, inner.fields + 1)
            self.open.discard(name)
        return self.sizes[name]

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
    depth = fields = 0
    for size in sizes:
        depth = max(depth, size.depth)
        fields += size.fields
    return Size(depth, fields)
