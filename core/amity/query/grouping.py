"""Groups, conditions on them and their order as callers write them, checked and turned into the query tree.

The same shape serves GraphQL and Python: ``[{"lifecycle": True}, {"owner": True}, {"stage": {"category": True}},
{"closed_on": {"unit": "month"}}]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast, get_args
from zoneinfo import available_timezones

from ..entity import Catalog, Column, EntityType, Kind
from ..tree import (
    All,
    Direction,
    Figure,
    FigureIs,
    FigureOrder,
    Function,
    GroupKey,
    Having,
    HavingAll,
    HavingAny,
    HavingNot,
    OrderKey,
    Unit,
)
from .errors import QueryError
from .where import Path, check_text, compared, parse_order, unknown

MAX_KEYS = 4
"""Keys that rows are grouped by at once."""
MAX_ORDER = 8
UNITS: tuple[str, ...] = get_args(Unit)
FUNCTIONS: tuple[str, ...] = get_args(Function)
_NUMBERS = (Kind.INT, Kind.BIGINT, Kind.FLOAT)
_PERIODS = (Kind.DATETIME, Kind.DATE)
_CURRENCY = re.compile(r"[A-Z]{3}")
_NO_FIGURES = frozenset(("version", "deleted_at"))
"""Columns that figures say nothing by."""


# --- what there is of an entity -------------------------------------------------------------------------------


def groupable(entity: EntityType) -> dict[str, Kind]:
    """Columns and expressions that rows can be grouped by, relations apart."""
    found: dict[str, Kind] = {
        column.name: column.kind
        for column in entity.visible_columns
        if column.kind is not Kind.JSON and column.name not in ("id", "deleted_at")
    }
    computed = {item.name: item.kind for item in entity.expressions.values() if item.currency is None}
    return found | {name: kind for name, kind in computed.items() if kind is not Kind.JSON}


def figures(entity: EntityType, function: str) -> dict[str, Kind | None]:
    """The fields that a function takes, with the kind of its results; None for money."""
    if function == "count_distinct":
        names = [*(name for name in groupable(entity) if name not in _NO_FIGURES), *entity.to_one]
        return dict.fromkeys(names, Kind.BIGINT)
    without = _NO_FIGURES | set(entity.currencies)
    kinds = {name: kind for name, kind in groupable(entity).items() if name not in without}
    chosen = {name for name, column in entity.columns.items() if column.choices}
    found: dict[str, Kind | None]
    if function in ("min", "max"):
        unordered = (Kind.BOOLEAN, Kind.ID)
        found = {name: kind for name, kind in kinds.items() if kind not in unordered and name not in chosen}
    else:
        numbers = {name: kind for name, kind in kinds.items() if kind in _NUMBERS}
        results = {name: Kind.FLOAT if kind is Kind.FLOAT else Kind.BIGINT for name, kind in numbers.items()}
        found = dict.fromkeys(numbers, Kind.FLOAT) if function == "avg" else {**results}
    return found | dict.fromkeys(entity.currencies, None)


# --- keys -----------------------------------------------------------------------------------------------------


def parse_groups(
    catalog: Catalog, entity: EntityType, items: Sequence[Mapping[str, Any]], path: Path = ()
) -> tuple[GroupKey, ...]:
    """What rows are grouped by. Raises :class:`QueryError` with the path to the mistake."""
    if isinstance(items, (str, Mapping)) or not isinstance(items, Sequence):
        raise QueryError("expected a list of keys, like [{lifecycle: true}]", path)
    if len(items) > MAX_KEYS:
        raise QueryError(f"has {len(items)} keys; rows can be grouped by at most {MAX_KEYS}", path)
    keys: list[GroupKey] = []
    for index, item in enumerate(items):
        key = _key(catalog, entity, item, (), (*path, index))
        if any((key.path, key.field) == (other.path, other.field) for other in keys):
            name = ".".join((*key.path, key.field))
            raise QueryError(f"{name} is there twice; an answer has one key of that name", (*path, index))
        keys.append(key)
    return tuple(keys)


def _key(catalog: Catalog, entity: EntityType, item: Any, steps: tuple[str, ...], path: Path) -> GroupKey:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise QueryError("expected exactly one key, like {lifecycle: true}", path)
    name, value = next(iter(item.items()))
    here = (*path, name)
    target = entity.leads_to(name)
    if target is not None:
        if value is True:
            return GroupKey("id", (*steps, name))
        return _key(catalog, catalog[target], value, (*steps, name), here)
    if name == "id" and steps:
        return _chosen(GroupKey("id", steps), value, here)
    known = groupable(entity)
    if name not in known:
        raise QueryError(unknown(entity, name, [*known, *entity.links, *(["id"] if steps else [])]), here)
    if known[name] in _PERIODS:
        return _period(name, known[name], value, steps, here)
    return _chosen(GroupKey(name, steps), value, here)


def _chosen(key: GroupKey, value: Any, path: Path) -> GroupKey:
    if value is not True:
        raise QueryError(f"expected true, got {value!r}", path)
    return key


def _period(name: str, kind: Kind, value: Any, steps: tuple[str, ...], path: Path) -> GroupKey:
    allowed = {"unit", "time_zone"} if kind is Kind.DATETIME else {"unit"}
    if not isinstance(value, Mapping) or not {"unit"} <= set(value) <= allowed:
        also = " and a time_zone" if kind is Kind.DATETIME else ""
        raise QueryError(f"a {kind.value} is grouped by its periods: expected a unit{also}, got {value!r}", path)
    unit = value["unit"]
    if unit not in UNITS:
        raise QueryError(f"unknown unit {unit!r}; expected one of {', '.join(UNITS)}", (*path, "unit"))
    zone: Any = value.get("time_zone")
    return GroupKey(name, steps, unit, "UTC" if zone is None else parse_zone(zone, (*path, "time_zone")))


@cache
def _zones() -> Mapping[str, str]:
    # these two are no places, and not every database knows them
    return {name.lower(): name for name in available_timezones() - {"Factory", "localtime"}}


def parse_zone(name: Any, path: Path) -> str:
    """The name of a time zone of the IANA database. Raises :class:`QueryError`."""
    text = check_text(name, path)
    found = _zones().get(text.lower())
    if found == text:
        return text
    hint = f"; did you mean {found!r}?" if found else ", like Europe/Berlin or UTC"
    raise QueryError(f"{text[:60]!r} is no time zone of the IANA database{hint}", path)


# --- figures --------------------------------------------------------------------------------------------------


def figure_kind(entity: EntityType, figure: Figure, path: Path = ()) -> Kind | None:
    """The kind of a figure's results; None for money. Raises :class:`QueryError` if there is no such figure."""
    if figure.function == "count":
        return Kind.BIGINT
    if figure.function not in FUNCTIONS:
        raise QueryError(f"unknown function {figure.function!r}; expected one of {', '.join(FUNCTIONS)}", path)
    known = figures(entity, figure.function)
    if figure.field not in known:
        hint = f"it takes {', '.join(known)}" if known else f"{entity.name} has nothing for it"
        raise QueryError(f"{figure.function} does not take {figure.field!r} of {entity.name}; {hint}", path)
    return known[figure.field]


def parse_having(entity: EntityType, having: Mapping[str, Any], path: Path = ()) -> Having:
    """Conditions on groups: ``{"count": {"gt": 5}, "sum": {"points": {"gte": 100}}}``. Raises QueryError.

    A sum of money is compared as ``{"value": {"amount": {"gte": 100000}, "currency": {"eq": "USD"}}}``, which is
    met where the sum in one currency meets all of it.
    """
    if not isinstance(having, Mapping):
        raise QueryError(f"expected an object of conditions, got {having!r}", path)
    items: list[Having] = []
    for name, value in having.items():
        here = (*path, name)
        if value is None:
            raise QueryError("is null; leave it out", here)
        if name in ("and", "or"):
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise QueryError("expected a list of conditions", here)
            parts = tuple(parse_having(entity, item, (*here, i)) for i, item in enumerate(value))
            items.append(HavingAll(parts) if name == "and" else HavingAny(parts))
        elif name == "not":
            items.append(HavingNot(parse_having(entity, value, here)))
        elif name == "count":
            items.append(_figure_is(entity, Figure("count"), value, here))
        elif name in FUNCTIONS:
            if not isinstance(value, Mapping):
                raise QueryError("expected fields with conditions", here)
            for field, inner in value.items():
                figure = Figure(cast(Function, name), field)
                items.append(_figure_is(entity, figure, inner, (*here, field)))
        else:
            known = ", ".join((*FUNCTIONS, "and", "or", "not"))
            raise QueryError(f"unknown condition {name!r}; expected one of {known}", here)
    return items[0] if len(items) == 1 else HavingAll(tuple(items))


def _figure_is(entity: EntityType, figure: Figure, value: Any, path: Path) -> FigureIs:
    kind = figure_kind(entity, figure, path)
    if kind is not None:
        return FigureIs(figure, compared(entity, _pseudo("value", kind), value, path))
    parts = {"amount": Kind.BIGINT, "currency": Kind.TEXT}
    if not isinstance(value, Mapping) or not value or not set(value) <= set(parts):
        raise QueryError("expected conditions on amount and currency", path)
    conditions = [
        compared(entity, _pseudo(part, parts[part]), inner, (*path, part)) for part, inner in value.items()
    ]
    return FigureIs(figure, All(tuple(conditions)))


def _pseudo(name: str, kind: Kind) -> Column:
    return Column(name=name, kind=kind, nullable=True, description="")


def parse_group_order(
    catalog: Catalog,
    entity: EntityType,
    by: Sequence[GroupKey],
    order: Sequence[Mapping[str, Any]],
    path: Path = (),
) -> tuple[OrderKey | FigureOrder, ...]:
    """``[{"count": "DESC"}, {"key": {"stage": {"position": "ASC"}}}, {"sum": {"points": "DESC"}}]``.

    Money is ordered by its amount in one currency: ``{"sum": {"value": "DESC"}, "currency": "USD"}``. Raises
    :class:`QueryError`.
    """
    if len(order) > MAX_ORDER:
        raise QueryError(f"has {len(order)} keys; at most {MAX_ORDER} are allowed", path)
    return tuple(_order(catalog, entity, by, item, (*path, index)) for index, item in enumerate(order))


def _order(
    catalog: Catalog, entity: EntityType, by: Sequence[GroupKey], item: Any, path: Path
) -> OrderKey | FigureOrder:
    given = (
        {name: value for name, value in item.items() if name != "currency"} if isinstance(item, Mapping) else {}
    )
    if len(given) != 1:
        raise QueryError("expected exactly one of key and the functions, like {count: DESC}", path)
    name, value = next(iter(given.items()))
    currency = item.get("currency")
    here = (*path, name)
    if name == "key":
        found = parse_order(catalog, entity, [value], here)[0]
        if not is_key(by, found):
            named = ".".join((*found.path, found.field))
            raise QueryError(f"{named!r} is nothing that rows are grouped by; add it to groupBy", here)
        order: OrderKey | FigureOrder = found
    elif name == "count":
        order = FigureOrder(Figure("count"), _direction(value, here))
    elif name in FUNCTIONS:
        return _figure_order(entity, cast(Function, name), value, currency, path)
    else:
        known = ", ".join(("key", *FUNCTIONS))
        raise QueryError(f"unknown {name!r}; expected one of {known}", path)
    if currency is not None:
        raise QueryError("only figures of money are ordered by in a currency", (*path, "currency"))
    return order


def _figure_order(entity: EntityType, function: Function, value: Any, currency: Any, path: Path) -> FigureOrder:
    here = (*path, function)
    if not isinstance(value, Mapping) or len(value) != 1:
        raise QueryError("expected exactly one field with its direction", here)
    field, direction = next(iter(value.items()))
    if isinstance(direction, Mapping) and set(direction) == {"id"}:
        direction = direction["id"]  # the records that a reference leads to
    figure = Figure(function, field)
    here = (*here, field)
    is_money = figure_kind(entity, figure, here) is None
    if is_money and currency is None:
        raise QueryError('is money; say in which currency to order, like currency: "USD"', here)
    if currency is not None:
        if not is_money:
            raise QueryError("only figures of money are ordered by in a currency", (*path, "currency"))
        currency = _currency(currency, (*path, "currency"))
    return FigureOrder(figure, _direction(direction, here), currency)


def _currency(value: Any, path: Path) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise QueryError(f"expected a currency (ISO 4217), three capital letters like USD; got {value!r}", path)
    return value


def _direction(value: Any, path: Path) -> Direction:
    try:
        return value if isinstance(value, Direction) else Direction(value)
    except ValueError:
        expected = ", ".join(item.value for item in Direction)
        raise QueryError(f"unknown direction {value!r}; expected one of {expected}", path) from None


def is_key(by: Sequence[GroupKey], order: OrderKey) -> bool:
    """Whether what an order names is a key, or a field of a record that is one."""
    return (
        any((key.path, key.field) == (order.path, order.field) for key in by) or record_of(by, order) is not None
    )


def record_of(by: Sequence[GroupKey], order: OrderKey) -> GroupKey | None:
    """The key whose record has the field that an order names."""
    for key in by:
        if key.field == "id" and order.path[: len(key.path)] == key.path:
            return key
    return None


__all__ = [
    "MAX_KEYS",
    "figure_kind",
    "figures",
    "groupable",
    "is_key",
    "parse_group_order",
    "parse_groups",
    "parse_having",
    "parse_zone",
    "record_of",
]
