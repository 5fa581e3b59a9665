"""A plain Python evaluation of queries: what the compiled statements are held against.

It reads whole tables and loops over dictionaries. It knows nothing of SQL, cursors or indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cmp_to_key
from operator import add, mul, sub, truediv
from typing import Any
from uuid import UUID

import ciso8601
import orjson

from amity import Crm
from amity.entity import Catalog, Column, EntityType, Kind
from amity.entity.expression import Aggregate, Arithmetic, Coalesced, Expression, Field, Value
from amity.tree import Direction

Row = dict[str, Any]


def percent(of: int, hundredths: int) -> int:
    """Rounded to a whole number, halves away from zero."""
    found = (2 * abs(of * hundredths) + 100) // 200
    return found if of * hundredths >= 0 else -found


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": add, "-": sub, "*": mul, "/": truediv, "%": percent}


async def dump(crm: Crm) -> dict[str, list[Row]]:
    """Every row of every entity but the log, deleted ones too, as Python values."""
    tables: dict[str, list[Row]] = {}
    for entity in crm.catalog.values():
        if entity.name == "Event":
            tables["Event"] = []
            continue
        names = ", ".join(f'"{name}"' for name in entity.columns)
        rows = await crm.database.read(f'SELECT {names} FROM "{entity.table}"')
        tables[entity.name] = [
            {
                column.name: _python(value, column.kind)
                for column, value in zip(entity.columns.values(), row, strict=True)
            }
            for row in rows
        ]
    return tables


def _python(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind is Kind.ID:
        return value if isinstance(value, UUID) else UUID(value)
    if kind is Kind.DATETIME:
        return ciso8601.parse_datetime(value) if isinstance(value, str) else value.astimezone(UTC)
    if kind is Kind.DATE:
        return date.fromisoformat(value) if isinstance(value, str) else value
    if kind is Kind.BOOLEAN:
        return bool(value)
    if kind is Kind.JSON:
        return orjson.loads(value) if isinstance(value, str) else value
    return value


class Reference:
    """Answers queries over dumped tables. Rows may be hidden by ``visible``."""

    def __init__(
        self,
        catalog: Catalog,
        tables: Mapping[str, list[Row]],
        visible: Callable[[str, Row], bool] = lambda entity, row: True,
    ) -> None:
        self.catalog = catalog
        self.rows = {
            name: [row for row in rows if row.get("deleted_at") is None and visible(name, row)]
            for name, rows in tables.items()
        }
        self.by_id = {name: {row["id"]: row for row in rows} for name, rows in self.rows.items()}

    # --- relations ------------------------------------------------------------------------------------------

    def target(self, entity: EntityType, row: Row, relation: str) -> tuple[EntityType, Row | None]:
        link = entity.to_one[relation]
        return self.catalog[link.target], self.by_id[link.target].get(row[link.column.name])

    def related(self, entity: EntityType, row: Row, relation: str) -> tuple[EntityType, list[Row]]:
        many = entity.to_many[relation]
        found = [other for other in self.rows[many.target] if other[many.column] == row["id"]]
        if many.constant:
            column, value = many.constant
            found = [other for other in found if other[column] == value]
        return self.catalog[many.target], found

    # --- filters --------------------------------------------------------------------------------------------

    def meets(self, entity: EntityType, row: Row, where: Mapping[str, Any]) -> bool:
        return all(self._item(entity, row, name, value) for name, value in where.items())

    def _item(self, entity: EntityType, row: Row, name: str, value: Any) -> bool:
        if name == "and":
            return all(self.meets(entity, row, item) for item in value)
        if name == "or":
            return any(self.meets(entity, row, item) for item in value)
        if name == "not":
            return not self.meets(entity, row, value)
        if name in entity.to_one:
            target, other = self.target(entity, row, name)
            return other is not None and self.meets(target, other, value)
        if name in entity.to_many:
            target, others = self.related(entity, row, name)
            return all(
                {
                    "some": any(self.meets(target, other, inner) for other in others),
                    "none": not any(self.meets(target, other, inner) for other in others),
                    "every": all(self.meets(target, other, inner) for other in others),
                }[quantifier]
                for quantifier, inner in value.items()
            )
        if name in entity.money:
            money = entity.money[name]
            return all(
                compare(row[money.amount if part == "amount" else money.currency], operators)
                for part, operators in value.items()
            )
        return compare(self.value(entity, row, name), value)

    # --- values ---------------------------------------------------------------------------------------------

    def value(self, entity: EntityType, row: Row, name: str) -> Any:
        if name in entity.expressions:
            return self.expression(entity.expressions[name].expression, entity, row)
        if name in entity.money:
            return row[entity.money[name].amount]
        return row[name]

    def expression(self, expression: Expression, entity: EntityType, row: Row) -> Any:
        match expression:
            case Value(value):
                return value
            case Field(path):
                return self._path(entity, row, path.split("."))
            case Coalesced(items):
                values = (self.expression(item, entity, row) for item in items)
                return next((value for value in values if value is not None), None)
            case Arithmetic(operator, left, right):
                a, b = self.expression(left, entity, row), self.expression(right, entity, row)
                if a is None or b is None or (operator == "/" and b == 0):
                    return None
                return ARITHMETIC[operator](a, b)
            case Aggregate():
                return self._aggregate(expression, entity, row)
        raise AssertionError(expression)

    def _path(self, entity: EntityType, row: Row, path: Sequence[str]) -> Any:
        if len(path) == 1:
            return self.value(entity, row, path[0])
        target, other = self.target(entity, row, path[0])
        return None if other is None else self._path(target, other, path[1:])

    def _aggregate(self, aggregate: Aggregate, entity: EntityType, row: Row) -> Any:
        steps = aggregate.path.split(".")
        column = None if aggregate.function == "count" else steps.pop()
        rows = [row]
        for step in steps:
            found: list[Row] = []
            target = entity
            for item in rows:
                if step in entity.to_many:
                    target, others = self.related(entity, item, step)
                    found += others
                else:
                    target, other = self.target(entity, item, step)
                    found += [other] if other is not None else []
            if not rows:
                many = entity.to_many.get(step)
                target = self.catalog[many.target if many else entity.to_one[step].target]
            entity, rows = target, found
        if aggregate.where:
            rows = [item for item in rows if self.meets(entity, item, aggregate.where)]
        if column is None:
            return len(rows)
        values = [item[column] for item in rows if item[column] is not None]
        if aggregate.function == "sum":
            return sum(values)
        if not values:
            return None
        match aggregate.function:
            case "avg":
                return float(sum(values)) / len(values)
            case "min":
                return min(values)
        return max(values)

    # --- orders ---------------------------------------------------------------------------------------------

    def place(self, entity: EntityType, row: Row, order: Sequence[Mapping[str, Any]]) -> list[Any]:
        """What an order goes by, of a row."""
        return [self._path(entity, row, path) for path, _ in _keys(order)]

    def ordered(self, entity: EntityType, rows: list[Row], order: Sequence[Mapping[str, Any]]) -> list[Row]:
        keys = _keys(order)
        final = keys[-1][1].descending if keys else False
        keys.append((["id"], Direction.DESC if final else Direction.ASC))

        def order_of(left: Row, right: Row) -> int:
            for path, direction in keys:
                a, b = self._path(entity, left, path), self._path(entity, right, path)
                if a == b:
                    continue
                if a is None or b is None:
                    return -1 if (a is None) is direction.nulls_first else 1
                smaller = _sortable(a) < _sortable(b)
                return -1 if smaller is not direction.descending else 1
            return 0

        return sorted(rows, key=cmp_to_key(order_of))

    def find(
        self,
        entity: EntityType,
        where: Mapping[str, Any],
        order: Sequence[Mapping[str, Any]],
        rows: list[Row] | None = None,
    ) -> list[Row]:
        candidates = self.rows[entity.name] if rows is None else rows
        return self.ordered(entity, [row for row in candidates if self.meets(entity, row, where)], order)


def _keys(order: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], Direction]]:
    keys: list[tuple[list[str], Direction]] = []
    for item in order:
        path: list[str] = []
        value: Any = item
        while isinstance(value, Mapping):
            ((name, value),) = value.items()
            path.append(name)
        keys.append((path, Direction(value)))
    return keys


def _sortable(value: Any) -> Any:
    """Text by code point, ids by their bytes."""
    return value.int if isinstance(value, UUID) else value


def compare(value: Any, operators: Mapping[str, Any]) -> bool:
    """A null is equal to nothing, and no comparison is unknown."""
    if "path" in operators:
        found = under(value, operators["path"])
        return all(compare_json(found, name, operand) for name, operand in operators.items() if name != "path")
    results = []
    for name, operand in operators.items():
        match name:
            case "isNull":
                results.append((value is None) is operand)
            case "eq":
                results.append(value is not None and value == operand)
            case "ne":
                results.append(value is None or value != operand)
            case "in":
                results.append(value is not None and value in operand)
            case "notIn":
                results.append(value is None or value not in operand)
            case "lt":
                results.append(value is not None and value < operand)
            case "lte":
                results.append(value is not None and value <= operand)
            case "gt":
                results.append(value is not None and value > operand)
            case "gte":
                results.append(value is not None and value >= operand)
            case "contains":
                results.append(value is not None and operand.casefold() in value.casefold())
            case "startsWith":
                results.append(value is not None and value.casefold().startswith(operand.casefold()))
            case "endsWith":
                results.append(value is not None and value.casefold().endswith(operand.casefold()))
            case "lastDays" | "nextDays":
                results.append(value is not None and in_days(value, operand, name == "lastDays"))
            case "during":
                results.append(value is not None and value.year == datetime.now(UTC).year + YEARS[operand])
            case _:
                raise AssertionError(name)
    return all(results)


YEARS = {"this_year": 0, "last_year": -1, "next_year": 1}


def in_days(value: date, days: int, last: bool) -> bool:
    """Times by the hours between, dates by the days, with today."""
    now = datetime.now(UTC)
    if isinstance(value, datetime):
        hours = (value - now) / timedelta(hours=1)
        return -24 * days <= hours < 0 if last else 0 <= hours < 24 * days
    distance = (value - now.date()).days
    return -days <= distance <= 0 if last else 0 <= distance <= days


def under(kept: Any, path: str) -> Any:
    """What a JSON value has under keys; None where there is nothing."""
    for key in path.split("."):
        kept = kept.get(key) if isinstance(kept, dict) else None
    return kept


def compare_json(kept: Any, name: str, operand: Any) -> bool:
    """What is not of the operand's type is equal to it in no way, and neither less nor greater."""
    if name == "isNull":
        return (kept is None) is operand
    if name in ("ne", "notIn"):
        return not compare_json(kept, "eq" if name == "ne" else "in", operand)
    if name == "in":
        return any(compare_json(kept, "eq", item) for item in operand)
    return _json_type(kept) is _json_type(operand) and compare(kept, {name: operand})


def _json_type(value: Any) -> type:
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def shown(value: Any, column: Column | Kind, entity: EntityType, catalog: Catalog) -> Any:
    """A value as answers have it."""
    kind = column if isinstance(column, Kind) else column.kind
    if value is None:
        return None
    if kind is Kind.ID and isinstance(column, Column):
        prefix = catalog[column.references].prefix if column.references else entity.prefix
        return f"{prefix}_{value.hex}"
    if kind is Kind.BIGINT:
        return str(value)
    if kind is Kind.DATETIME:
        assert isinstance(value, datetime)
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if kind is Kind.DATE:
        return value.isoformat()
    if kind is Kind.FLOAT:
        return float(value)
    return value
