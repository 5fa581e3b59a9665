"""How deep and how large an operation is, told before it is validated and run.

Each fragment is measured once however often it is used, so that measuring costs no more than reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
)
from graphql.language import InlineFragmentNode, SelectionSetNode

from .errors import VALIDATION_FAILED, coded
from .settings import GraphQLSettings


@dataclass(frozen=True)
class Size:
    """Levels of fields, and fields with every fragment put in where it is used."""

    depth: int
    fields: int


def check(document: DocumentNode, settings: GraphQLSettings) -> GraphQLError | None:
    """What is too large about a document, if anything is. Cycles of fragments are left to validation."""
    measure = _Measure(document)
    for definition in document.definitions:
        if not isinstance(definition, OperationDefinitionNode):
            continue
        size = measure.of(definition.selection_set)
        name = f"operation {definition.name.value!r}" if definition.name else "operation"
        if size.depth > settings.max_depth:
            message = f"the {name} is {size.depth} levels deep; at most {settings.max_depth} are answered"
            return coded(GraphQLError(message, definition), VALIDATION_FAILED)
        if size.fields > settings.max_fields:
            count = f"{size.fields}" if size.fields < 10**9 else "more than 1,000,000,000"
            message = (
                f"the {name} selects {count} fields, with its fragments put in where they are used; "
                f"at most {settings.max_fields} are answered"
            )
            return coded(GraphQLError(message, definition), VALIDATION_FAILED)
    return None


class _Measure:
    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {
            item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
        }
        self.sizes: dict[str, Size] = {}
        self.open: set[str] = set()

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
        if name in self.open or name not in self.fragments:
            return Size(0, 0)
        if name not in self.sizes:
            self.open.add(name)
            inner = self.of(self.fragments[name].selection_set)
            self.sizes[name] = Size(inner.depth, inner.fields + 1)
            self.open.discard(name)
        return self.sizes[name]


def _sum(sizes: Iterable[Size]) -> Size:
    depth = fields = 0
    for size in sizes:
        depth = max(depth, size.depth)
        fields += size.fields
    return Size(depth, fields)
