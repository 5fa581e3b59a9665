"""What is known already of rows that were reached over a relation need not be asked of them once more.

Rows that hang on a visible row inherit its condition: a deal is visible where its customer is. Reached from that
customer, they meet it. The database can't see that, and looks the customer up again for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ..entity import Catalog, EntityType
from ..tree import All, AnyOf, Compare, Condition, Through


def left_to_ask(
    condition: Condition | None, relation: str, column: str, met: Condition | None
) -> Condition | None:
    """What of a condition is still open for rows whose ``relation`` leads to a row that lives and meets ``met``.

    ``column`` is the relation's own, which isn't null then. None where nothing is open.
    """
    if condition is None:
        return None
    open_ = [item for item in _parts(condition, All) if not _known(item, relation, column, met)]
    if not open_:
        return None
    return open_[0] if len(open_) == 1 else All(tuple(open_))


def _known(condition: Condition, relation: str, column: str, met: Condition | None) -> bool:
    """Whether the condition follows. False where that can't be told."""
    choices = _parts(condition, AnyOf)
    if any(choice == Compare(column, "isNull", False) for choice in choices):
        return True
    behind = [
        inner
        for choice in choices
        if isinstance(choice, Through) and choice.relation == relation
        for inner in _parts(choice.condition, AnyOf)
    ]
    # whichever of the alternatives the row behind meets, it meets one of those that are asked for
    return (
        met is not None
        and bool(behind)
        and all(any(_covers(item, asked) for asked in behind) for item in _parts(met, AnyOf))
    )


def _covers(met: Condition, asked: Condition) -> bool:
    """Whether all that is asked for is among what is met."""
    parts = _parts(met, All)
    return all(item in parts for item in _parts(asked, All))


def _parts(condition: Condition, kind: type[All] | type[AnyOf]) -> Sequence[Condition]:
    """The parts of a conjunction or a disjunction, however it is nested; else the condition itself."""
    if not isinstance(condition, kind):
        return (condition,)
    return [part for item in condition.items for part in _parts(item, kind)]


def is_met(condition: Condition | None, values: Mapping[str, Any]) -> bool:
    """Whether a row of these values meets a condition. False where they don't tell."""
    match condition:
        case None:
            return True
        case All(items):
            return all(is_met(item, values) for item in items)
        case AnyOf(items):
            return any(is_met(item, values) for item in items)
        case Compare(column, "eq", UUID() as id):
            return bool(values.get(column) == id)
        case Compare(column, "isNull", True):
            return column in values and values[column] is None
    return False


def lasts(catalog: Catalog, entity: EntityType, condition: Condition, written: EntityType) -> bool:
    """Whether rows of an entity that meet a condition go on to, whatever is written of another one.

    False where that can't be told.
    """
    match condition:
        case All(items) | AnyOf(items):
            return all(lasts(catalog, entity, item, written) for item in items)
        case Compare(column):
            return column in entity.columns
        case Through(relation, inner):
            target = catalog[entity.to_one[relation].target]
            return target.name != written.name and lasts(catalog, target, inner, written)
    return False
