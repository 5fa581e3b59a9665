"""The kind of an expression, inferred from the columns it reads; its mistakes told at composition."""

from __future__ import annotations

from .catalog import Catalog, EntityType, Kind
from .expression import Aggregate, Arithmetic, Coalesced, Expression, Field, Value

_NUMBERS = (Kind.INT, Kind.BIGINT, Kind.FLOAT)


class ExpressionProblem(ValueError):
    """Raised when an expression names what is absent, or computes with what is no number."""


def kind_of(expression: Expression, entity: EntityType, catalog: Catalog) -> Kind:
    """What an expression on ``entity`` yields. Raises :class:`ExpressionProblem`."""
    match expression:
        case Value(value):
            if isinstance(value, bool):
                return Kind.BOOLEAN
            if isinstance(value, int):
                return Kind.INT if -(2**31) <= value < 2**31 else Kind.BIGINT
            return Kind.FLOAT if isinstance(value, float) else Kind.TEXT
        case Field(path):
            return _column_kind(path, entity, catalog)
        case Aggregate(function, path, _):
            return _aggregate_kind(function, path, entity, catalog)
        case Arithmetic(operator, left, right):
            kinds = (kind_of(left, entity, catalog), kind_of(right, entity, catalog))
            for kind in kinds:
                if kind not in _NUMBERS:
                    raise ExpressionProblem(f"{operator} needs numbers, and one side is a {kind.value}")
            if operator == "%" and Kind.FLOAT in kinds:
                raise ExpressionProblem("Percent needs whole numbers, and one side is a Float")
            return Kind.FLOAT if operator == "/" or Kind.FLOAT in kinds else Kind.BIGINT
        case Coalesced(items):
            found = {kind_of(item, entity, catalog) for item in items}
            if found <= set(_NUMBERS) and len(found) > 1:
                return Kind.FLOAT if Kind.FLOAT in found else Kind.BIGINT
            if len(found) != 1:
                names = ", ".join(sorted(kind.value for kind in found))
                raise ExpressionProblem(f"Coalesce mixes {names or 'nothing'}; all items must be of one kind")
            return found.pop()
    raise ExpressionProblem(f"{expression!r} is no expression of amity.entity.expression")


def _column_kind(path: str, entity: EntityType, catalog: Catalog) -> Kind:
    *steps, last = path.split(".")
    for step in steps:
        relation = entity.to_one.get(step)
        if relation is None:
            raise ExpressionProblem(f"{entity.name} has no to-one relation {step!r} (in {path!r})")
        entity = catalog[relation.target]
    return _readable(entity, last, path)


def _readable(entity: EntityType, name: str, path: str) -> Kind:
    readable = {
        column.name: column.kind for column in entity.columns.values() if column.name not in entity.internal
    }
    if name not in readable:
        raise ExpressionProblem(
            f"{entity.name} has no column {name!r} (in {path!r}); columns are {', '.join(readable)}"
        )
    return readable[name]


def _aggregate_kind(function: str, path: str, entity: EntityType, catalog: Catalog) -> Kind:
    steps = path.split(".") if function == "count" else path.split(".")[:-1]
    many = 0
    for step in steps:
        if step in entity.to_many:
            entity = catalog[entity.to_many[step].target]
            many += 1
        elif step in entity.to_one:
            entity = catalog[entity.to_one[step].target]
        else:
            names = ", ".join([*entity.to_many, *entity.to_one])
            raise ExpressionProblem(f"{entity.name} has no relation {step!r} (in {path!r}); it has {names}")
    if not many:
        raise ExpressionProblem(f"{path!r} leads over no to-many relation, so there is nothing to {function}")
    if function == "count":
        return Kind.BIGINT
    kind = _readable(entity, path.split(".")[-1], path)
    if function in ("min", "max"):
        if kind in (Kind.BOOLEAN, Kind.ID, Kind.JSON):
            raise ExpressionProblem(f"{function} needs something with an order, and {path!r} is a {kind.value}")
        return kind
    if kind not in _NUMBERS:
        raise ExpressionProblem(f"{function} needs a number, and {path!r} is a {kind.value}")
    if function == "avg":
        return Kind.FLOAT
    return Kind.FLOAT if kind is Kind.FLOAT else Kind.BIGINT
