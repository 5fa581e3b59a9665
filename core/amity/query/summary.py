"""Groups and figures by their names, for Python callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..entity import Catalog, EntityType
from ..tree import (
    Condition,
    Counted,
    Direction,
    Figure,
    FigureField,
    FigureOrder,
    Figures,
    Function,
    GroupKey,
    GroupPart,
    Groups,
    KeyField,
    KeyObject,
    KeyRecord,
    Keys,
    KeyValue,
    OrderKey,
    Scalar,
)
from .errors import QueryError
from .grouping import FUNCTIONS, figure_kind, parse_group_order, parse_groups, parse_having

By = str | Mapping[str, Any]
_MONEY = (("amount", "amount"), ("currency", "currency"))


def named_groups(
    catalog: Catalog,
    entity: EntityType,
    figures: Sequence[str],
    by: Sequence[By],
    having: Mapping[str, Any] | None,
    order_by: Sequence[str],
    where: Condition | None,
    first: int | None,
) -> Groups:
    """``("count", "sum.value")`` by ``("owner", {"closed_on": {"unit": "month"}})``. Raises QueryError."""
    if not figures or len(set(figures)) != len(figures):
        raise QueryError(f"expected figures, each named once, like 'count' and 'sum.value'; got {list(figures)}")
    keys = parse_groups(catalog, entity, [_nested(item, True) if isinstance(item, str) else item for item in by])
    parts: list[GroupPart] = [Keys("key", _keys(keys))] if keys else []
    functions: dict[str, list[FigureField]] = {}
    for name in figures:
        function, _, field = name.partition(".")
        kind = figure_kind(entity, Figure(cast(Function, function), field))
        if function == "count":
            parts.append(Counted("count"))
        else:
            functions.setdefault(function, []).append(FigureField(field, field, _MONEY if kind is None else ()))
    parts += [Figures(name, cast(Function, name), tuple(fields)) for name, fields in functions.items()]
    order = tuple(_order(catalog, entity, keys, name) for name in order_by)
    met = parse_having(entity, having) if having is not None else None
    return Groups(tuple(parts), keys, where, met, order, first)


def _nested(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return cast(dict[str, Any], value)


def _order(catalog: Catalog, entity: EntityType, by: Sequence[GroupKey], name: str) -> OrderKey | FigureOrder:
    """``"-count"``, ``"sum.points"``, ``"-sum.value.USD"``; every other name is one of a key."""
    direction = Direction.DESC if name.startswith("-") else Direction.ASC
    parts = name.removeprefix("-").split(".")
    if parts[0] not in FUNCTIONS:
        item: dict[str, Any] = {"key": _nested(".".join(parts), direction)}
    else:
        item = _nested(".".join(parts[:2]), direction)
        if len(parts) == 3:
            item["currency"] = parts[2]
    return parse_group_order(catalog, entity, by, [item])[0]


def _keys(keys: Sequence[GroupKey], path: tuple[str, ...] = ()) -> tuple[KeyField, ...]:
    """The keys behind a path, nested like the relations that lead to them."""
    found: list[KeyField] = []
    depth = len(path)
    below = [key for key in keys if key.path[:depth] == path]
    for step in dict.fromkeys(key.path[depth] for key in below if len(key.path) > depth):
        inner = (*path, step)
        if any(key.path == inner and key.field == "id" for key in keys):
            found.append(KeyRecord(step, inner, (Scalar("id", "id"),)))
        else:
            found.append(KeyObject(step, _keys(keys, inner)))
    found += [KeyValue(key.field, key) for key in below if key.path == path]
    return tuple(found)


__all__ = ["By", "named_groups"]
