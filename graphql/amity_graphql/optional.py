"""``@optional``: fields that are left out where they may not be read, instead of refusing the operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphql import DirectiveLocation, GraphQLDirective, GraphQLError, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import get_argument_values

from amity.entity import InvalidId
from amity.query.readable import refusal

if TYPE_CHECKING:
    from .executor import Executor

OPTIONAL = GraphQLDirective(
    "optional",
    [DirectiveLocation.FIELD],
    description=(
        "Leaves the field out of the answer, as @skip would, where you may not read it. Without it, a field that "
        "you may not read refuses the whole operation. It is about the field itself: what is selected below it "
        "and what its arguments name can be refused still."
    ),
)


def left_out(executor: Executor, type_: GraphQLObjectType, details: Sequence[FieldDetails]) -> bool:
    """Whether a field is optional, and may not be read."""
    if not all(_is_optional(item) for item in details):
        return False
    api, rights = executor.api, executor.context_value.session.rights
    name = details[0].node.name.value
    names = api.names.get(type_.name)
    if names is not None:
        field = names.fields.get(name)
        known = field.name if field is not None else names.aggregates.get(name)
        return known is not None and refusal(api.catalog, rights, names.entity, known) is not None
    declared = type_.fields.get(name)
    hole = api.holes.get(declared.type) if declared is not None else None
    if declared is None or hole is None or hole.kind == "value":
        return False
    if hole.entity is not None:
        return not rights.granted(hole.entity, "read")
    try:
        item = details[0]
        given = get_argument_values(declared, item.node, executor.variable_values, item.fragment_variable_values)
        return any(not rights.granted(api.catalog.by_id(id)[0], "read") for id in _ids(given))
    except (GraphQLError, InvalidId):
        return False  # told when it is executed


def _is_optional(item: FieldDetails) -> bool:
    return any(directive.name.value == OPTIONAL.name for directive in item.node.directives or ())


def _ids(given: dict[str, Any]) -> list[str]:
    """The ids that ``node`` and ``nodes`` are asked for."""
    return [given["id"]] if "id" in given else list(given.get("ids", ()))
