"""Filters and orders as callers write them, checked and turned into the query tree.

The same shape serves GraphQL, Python, exports and mapping files: ``{"name": {"contains": "ann"},
"organization": {"name": {"eq": "Acme"}}, "deals": {"some": {…}}, "or": [{…}, {…}]}``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast

import ciso8601

from ..entity import Catalog, Column, EntityType, InvalidId, Kind, decode_id
from ..given import Given, known, late
from ..tree import (
    All,
    AnyOf,
    Compare,
    Condition,
    Direction,
    Not,
    Operator,
    OrderKey,
    Placeholder,
    Quantified,
    Through,
)
from .dialect import pattern
from .errors import QueryError
from .json_keys import KEY_OPERATORS, parse_key, parse_operand
from .relative import parse_relative, relative_operators

Path = tuple[str | int, ...]
_COMPARISONS = ("eq", "ne", "in", "notIn", "lt", "lte", "gt", "gte", "isNull")
_TEXT = ("contains", "startsWith", "endsWith", "like")
_UNORDERED = (Kind.BOOLEAN, Kind.ID)
MAX_LIST = 10_000
MAX_PATTERN = 10_000
MAX_PATTERN_BYTES = 40_000
_INT64 = 2**63


def operators(kind: Kind) -> tuple[str, ...]:
    """What a value of this kind can be compared by."""
    if kind is Kind.JSON:
        return KEY_OPERATORS
    if kind in _UNORDERED:
        return ("eq", "ne", "in", "notIn", "isNull")
    return (*_COMPARISONS, *_TEXT) if kind is Kind.TEXT else (*_COMPARISONS, *relative_operators(kind))


def parse_where(catalog: Catalog, entity: EntityType, where: Mapping[str, Any], path: Path = ()) -> Condition:
    """A filter as a condition. Raises :class:`QueryError` with the path to the mistake."""
    if not isinstance(where, Mapping):
        raise QueryError(f"expected an object of conditions, got {where!r}", path)
    items: list[Condition] = []
    for name, value in where.items():
        here = (*path, name)
        if value is None:
            raise QueryError("is null; leave it out, or use {isNull: true}", here)
        items.append(_item(catalog, entity, name, value, here))
    return items[0] if len(items) == 1 else All(tuple(items))


def _item(catalog: Catalog, entity: EntityType, name: str, value: Any, path: Path) -> Condition:
    if name in ("and", "or"):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise QueryError("expected a list of filters", path)
        parts = tuple(parse_where(catalog, entity, item, (*path, i)) for i, item in enumerate(value))
        return All(parts) if name == "and" else AnyOf(parts)
    if name == "not":
        return Not(parse_where(catalog, entity, value, path))
    if name in entity.to_one:
        relation = entity.to_one[name]
        return Through(name, parse_where(catalog, catalog[relation.target], value, path))
    if name in entity.to_many:
        many = entity.to_many[name]
        target = catalog[many.target]
        if many.single:
            return Quantified(name, "some", parse_where(catalog, target, value, path))
        return _quantified(catalog, target, name, value, path)
    if name in entity.currencies:
        money = entity.money.get(name)
        amount = entity.columns[money.amount] if money else _computed(entity, name)
        return _money(entity, amount, entity.columns[entity.currencies[name]], value, path)
    column = entity.columns.get(name)
    if column is not None and name not in entity.internal:
        return _compare(catalog, entity, column, value, path)
    if name in entity.expressions:
        return _compare(catalog, entity, _computed(entity, name), value, path)
    raise QueryError(unknown(entity, name, filterable(entity)), path)


def _quantified(catalog: Catalog, target: EntityType, name: str, value: Any, path: Path) -> Condition:
    if not isinstance(value, Mapping) or not value:
        raise QueryError("expected some, none or every with a filter", path)
    items: list[Condition] = []
    for quantifier, inner in value.items():
        if quantifier not in ("some", "none", "every"):
            raise QueryError(f"unknown quantifier {quantifier!r}; expected some, none or every", path)
        condition = parse_where(catalog, target, inner, (*path, quantifier))
        items.append(Quantified(name, cast(Any, quantifier), condition))
    return items[0] if len(items) == 1 else All(tuple(items))


def _computed(entity: EntityType, name: str) -> Column:
    """An expression field as if it were a column."""
    field = entity.expressions[name]
    return Column(name=name, kind=field.kind, nullable=True, description=field.description)


def _money(entity: EntityType, amount: Column, currency: Column, value: Any, path: Path) -> Condition:
    if not isinstance(value, Mapping):
        raise QueryError("expected conditions on amount and currency", path)
    items: list[Condition] = []
    for part, inner in value.items():
        if part == "amount":
            items.append(_compare(None, entity, amount, inner, (*path, part)))
        elif part == "currency":
            items.append(_compare(None, entity, currency, inner, (*path, part)))
        elif part == "isNull":
            if not isinstance(inner, bool):
                raise QueryError(f"expected true or false, got {inner!r}", (*path, part))
            items.append(Compare(amount.name, "isNull", inner))
        else:
            raise QueryError(f"unknown part {part!r}; expected amount, currency or isNull", path)
    return All(tuple(items))


def _compare(catalog: Catalog | None, entity: EntityType, column: Column, value: Any, path: Path) -> Condition:
    allowed = operators(column.kind)
    if not isinstance(value, Mapping):
        raise QueryError(f"expected an operator with a value, like {{eq: …}}, got {value!r}", path)
    if column.kind is Kind.JSON and set(value) != {"isNull"}:
        return _at_keys(column, value, path)
    items: list[Condition] = []
    for name, operand in value.items():
        here = (*path, name)
        if name not in allowed:
            raise QueryError(f"unknown operator {name!r}; {column.name} has {', '.join(allowed)}", path)
        if name == "isNull":
            if not isinstance(operand, bool):
                raise QueryError(f"expected true or false, got {operand!r}", here)
            items.append(Compare(column.name, "isNull", operand))
        elif name in ("eq", "ne") and operand is None:
            items.append(Compare(column.name, "isNull", name == "eq"))
        elif name in _TEXT:
            folded = late(operand, lambda text, name=name, here=here: _pattern(name, text, here))
            items.append(Compare(column.name, "like", folded))
        elif name in ("in", "notIn"):
            items.append(_membership(catalog, entity, column, name, operand, here))
        elif name in relative_operators(column.kind):
            zone = catalog.time_zone if catalog is not None else "UTC"
            items.append(parse_relative(column.name, column.kind, zone, name, operand, here))
        else:
            parsed = parse_value(catalog, entity, column, operand, here)
            items.append(Compare(column.name, cast(Operator, name), parsed))
    return items[0] if len(items) == 1 else All(tuple(items))


def compared(entity: EntityType, column: Column, value: Any, path: Path) -> Condition:
    """Operators with their values, on a column that need not be one of the entity. Raises :class:`QueryError`."""
    return _compare(None, entity, column, value, path)


def _at_keys(column: Column, value: Mapping[str, Any], path: Path) -> Condition:
    """Conditions on what a JSON column has under some keys."""
    if "path" not in value:
        message = 'say which key, like {path: "…", eq: …}; of the whole there is {isNull: true}'
        raise QueryError(message, path)
    keys = parse_key(value["path"], (*path, "path"))
    items: list[Condition] = []
    for name, operand in value.items():
        here = (*path, name)
        if name == "path":
            continue
        if name not in KEY_OPERATORS:
            raise QueryError(f"unknown operator {name!r}; a key has {', '.join(KEY_OPERATORS[1:])}", path)
        if name in _TEXT:
            items.append(Compare(column.name, "like", _pattern(name, operand, here), keys))
            continue
        if name in ("in", "notIn"):
            operand = _list(operand, here)
        for item in operand if name in ("in", "notIn") else [operand]:
            if isinstance(item, str):
                check_text(item, here)
        operator, parsed = parse_operand(name, operand, here)
        items.append(Compare(column.name, operator, parsed, keys))
    return items[0] if len(items) == 1 else All(tuple(items))


def _membership(
    catalog: Catalog | None, entity: EntityType, column: Column, name: str, operand: Any, path: Path
) -> Condition:
    parsed = late(operand, lambda items: _members(catalog, entity, column, items, path))
    return Compare(column.name, cast(Operator, name), parsed)


def _members(
    catalog: Catalog | None, entity: EntityType, column: Column, operand: Any, path: Path
) -> tuple[Any, ...]:
    values = enumerate(_list(operand, path))
    return tuple(parse_value(catalog, entity, column, v, (*path, i)) for i, v in values)


def _list(operand: Any, path: Path) -> list[Any]:
    if isinstance(operand, (str, Mapping)) or not isinstance(operand, Iterable):
        raise QueryError(f"expected a list, got {operand!r}", path)
    values = list(operand)
    if len(values) > MAX_LIST:
        raise QueryError(f"has {len(values)} values; at most {MAX_LIST} are allowed", path)
    return values


def _pattern(name: str, operand: Any, path: Path) -> str:
    text = check_text(operand, path)
    if len(text) > MAX_PATTERN:
        raise QueryError(f"is {len(text)} characters long; at most {MAX_PATTERN} are allowed", path)
    if name == "like":
        trailing = len(text) - len(text.rstrip("\\"))
        if trailing % 2:
            raise QueryError("ends in an escape character; write \\\\ for a backslash", path)
    folded = pattern(name, text)
    if len(folded.encode()) > MAX_PATTERN_BYTES:
        raise QueryError(f"is {len(folded.encode())} bytes long; at most {MAX_PATTERN_BYTES} are allowed", path)
    return folded


def check_text(value: Any, path: Path) -> str:
    """A text that both databases can hold. Raises :class:`QueryError`."""
    if not isinstance(value, str):
        raise QueryError(f"expected a text, got {value!r}", path)
    if "\x00" in value:
        raise QueryError("contains the character NUL, which can't be stored", path)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise QueryError("contains half of a surrogate pair, which is no character", path) from None
    return value


def parse_value(catalog: Catalog | None, entity: EntityType, column: Column, value: Any, path: Path) -> Any:
    """A value as the column's kind has it in Python. Raises :class:`QueryError`."""
    kind = column.kind
    if isinstance(value, Given):
        return value.then(lambda item: parse_value(catalog, entity, column, item, path))
    if value is None:
        raise QueryError("is null; use {isNull: true}", path)
    if isinstance(value, Placeholder):
        return _placeholder(column, value, path)
    match kind:
        case Kind.ID:
            return _id(catalog, entity, column, value, path)
        case Kind.TEXT:
            text = check_text(value, path)
            if column.choices and text not in column.choices:
                raise QueryError(f"unknown value {text!r}; expected one of {', '.join(column.choices)}", path)
            return text
        case Kind.INT | Kind.BIGINT:
            if isinstance(value, str) and kind is Kind.BIGINT:
                try:
                    value = int(value)
                except ValueError:
                    raise QueryError(f"expected a whole number, got {value!r}", path) from None
            if not isinstance(value, int) or isinstance(value, bool):
                raise QueryError(f"expected a whole number, got {value!r}", path)
            if not -_INT64 <= value < _INT64:
                raise QueryError(f"{value} does not fit into 64 bits", path)
            return value
        case Kind.FLOAT:
            try:
                number = math.nan if isinstance(value, bool) else float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            if not math.isfinite(number) or isinstance(value, str):
                raise QueryError(f"expected a finite number, got {str(value)[:60]}", path)
            return number
        case Kind.BOOLEAN:
            if not isinstance(value, bool):
                raise QueryError(f"expected true or false, got {value!r}", path)
            return value
        case Kind.DATETIME:
            return parse_datetime(value, path)
        case Kind.DATE:
            return parse_date(value, path)
    raise QueryError(f"a {kind.value} can't be compared", path)


def _placeholder(column: Column, value: Placeholder, path: Path) -> Placeholder:
    """What a role's condition compares with, where the column can be compared with it."""
    if value.name != "now" and column.kind is Kind.ID:
        return value
    if value.name == "now" and column.kind is Kind.DATETIME:
        return value
    if value.name == "now" and column.kind is Kind.DATE:
        return Placeholder("today")
    raise QueryError(f"${value.name} can't be compared with {column.name}, a {column.kind.value}", path)


def parse_datetime(value: Any, path: Path) -> datetime:
    """ISO 8601 with an offset, or an aware datetime. Raises :class:`QueryError`."""
    if isinstance(value, str):
        try:
            value = ciso8601.parse_rfc3339(value)
        except ValueError:
            raise QueryError(
                f"expected a time with an offset, like 2026-01-31T09:30:00Z, got {value!r}", path
            ) from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise QueryError(f"expected a time with an offset, like 2026-01-31T09:30:00Z, got {value!r}", path)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise QueryError(f"{value} is outside the years 1 to 9999", path) from None


def parse_date(value: Any, path: Path) -> date:
    """``2026-01-31``, or a date. Raises :class:`QueryError`."""
    if isinstance(value, datetime):
        raise QueryError(f"expected a date without time, got {value!r}", path)
    if isinstance(value, date):
        return value
    try:
        if not isinstance(value, str) or len(value) != 10:
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise QueryError(f"expected a date, like 2026-01-31, got {value!r}", path) from None


def _id(catalog: Catalog | None, entity: EntityType, column: Column, value: Any, path: Path) -> Any:
    try:
        if column.name == "id":
            return decode_id(entity.prefix, value, catalog.prefixes if catalog else None)
        if column.references and catalog is not None:
            return decode_id(catalog[column.references].prefix, value, catalog.prefixes)
        if isinstance(value, str) and catalog is not None:
            return catalog.by_id(value)[1]
    except InvalidId as error:
        raise QueryError(str(error), path) from None
    except TypeError:
        raise QueryError(f"expected an id, got {value!r}", path) from None
    return value


def filterable(entity: EntityType) -> list[str]:
    """Names that a filter may use."""
    columns = [name for name in entity.columns if name not in entity.internal]
    return [*columns, *entity.money, *entity.to_one, *entity.to_many, *entity.expressions, "and", "or", "not"]


def unknown(entity: EntityType, name: str, known: Sequence[str]) -> str:
    """``Customer has no 'nam'; did you mean 'name'?``"""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"{entity.name} has no {name!r}; {hint}"


def parse_order(
    catalog: Catalog, entity: EntityType, order: Sequence[Mapping[str, Any]] | None, path: Path = ()
) -> tuple[OrderKey, ...]:
    """``[{"name": "ASC"}, {"organization": {"name": "DESC"}}]`` as keys. Raises :class:`QueryError`."""
    keys: list[OrderKey] = []
    for index, item in enumerate(order or ()):
        here = (*path, index)
        if not isinstance(item, Mapping) or len(item) != 1:
            raise QueryError("expected exactly one field with its direction, like {name: ASC}", here)
        keys.append(_order_key(catalog, entity, item, (), here))
    if len(keys) > 8:
        raise QueryError(f"has {len(keys)} keys; at most 8 are allowed", path)
    return tuple(keys)


def _order_key(
    catalog: Catalog, entity: EntityType, item: Mapping[str, Any], steps: tuple[str, ...], path: Path
) -> OrderKey:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise QueryError("expected exactly one field with its direction, like {name: ASC}", path)
    name, value = next(iter(item.items()))
    target = entity.leads_to(name)
    if target is not None:
        return _order_key(catalog, catalog[target], value, (*steps, name), (*path, name))
    if name not in sortable(entity):
        raise QueryError(unknown(entity, name, [*sortable(entity), *entity.links]), path)
    value = known(value)
    try:
        direction = value if isinstance(value, Direction) else Direction(value)
    except ValueError:
        expected = ", ".join(d.value for d in Direction)
        raise QueryError(f"unknown direction {value!r}; expected one of {expected}", (*path, name)) from None
    return OrderKey(name, direction, steps)


def sortable(entity: EntityType) -> list[str]:
    """Names that rows can be ordered by."""
    columns = [column.name for column in entity.visible_columns if column.kind is not Kind.JSON]
    computed = [field.name for field in entity.expressions.values() if field.kind is not Kind.JSON]
    return [*columns, *entity.money, *computed]


__all__ = ["operators", "parse_order", "parse_where", "sortable"]
