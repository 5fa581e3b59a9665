"""A law: figures of groups are what a plain Python evaluation over the same rows gives.

Hypothesis makes up the rows, filters, keys, figures, conditions on groups and orders; for an entity, for the rows
behind a relation, and for those behind a relation of a record that several rows share.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cmp_to_key
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM
from amity.entity import Catalog, EntityType, Kind
from amity.query import parse_where
from amity.query.grouping import figure_kind
from amity.query.summary import named_groups
from amity.testing import make_crm, recorded
from amity.tree import (
    Aggregated,
    Aggregation,
    Connection,
    Figure,
    Groups,
    Linked,
    Nodes,
    OrderKey,
    Page,
    Root,
    Scalar,
)

from .reference import Reference, Row, compare, dump, shown
from .test_query_law import Company, Figures, companies, fill, make_stages, wheres

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "30"))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kolkata")
UNITS = ("day", "week", "month", "quarter", "year")
KEYS: Mapping[str, Sequence[str]] = {
    "Customer": ("lifecycle", "kind", "given_name", "organization", "organization.name", "deal_count"),
    "Interaction": ("channel", "direction", "customer", "customer.organization.kind", "duration_seconds"),
    "Deal": ("stage.category", "stage.probability", "stage", "customer", "customer.lifecycle", "name", "expected"),
}
PERIODS = {"Interaction": "occurred_at", "Deal": "expected_close_on"}
FIGURES: Mapping[str, Sequence[str]] = {
    "Customer": (
        "count",
        "count_distinct.organization",
        "count_distinct.given_name",
        "sum.deal_count",
        "sum.won_value",
        "avg.value_per_contact",
        "max.last_contact",
        "min.name",
    ),
    "Interaction": (
        "count",
        "count_distinct.customer",
        "sum.duration_seconds",
        "avg.duration_seconds",
        "min.duration_seconds",
        "max.occurred_at",
        "min.subject",
    ),
    "Deal": (
        "count",
        "count_distinct.stage",
        "count_distinct.name",
        "sum.value",
        "avg.value",
        "min.value",
        "max.value",
        "sum.weighted_value",
        "sum.expected",
        "avg.expected",
        "max.expected_close_on",
    ),
}


@dataclass(frozen=True)
class Ask:
    entity: str
    where: Mapping[str, Any]
    by: Sequence[str | Mapping[str, Any]]
    figures: Sequence[str]
    having: Mapping[str, Any]
    order: Sequence[str]
    first: int | None

    def groups(self, catalog: Catalog) -> Groups:
        entity = catalog[self.entity]
        where = parse_where(catalog, entity, self.where)
        return named_groups(
            catalog, entity, self.figures, self.by, self.having or None, self.order, where, self.first
        )


@st.composite
def asks(draw: st.DrawFn, catalog: Catalog, name: str) -> Ask:
    by: list[Any] = list(draw(st.lists(st.sampled_from(KEYS[name]), max_size=3, unique=True)))
    if name in PERIODS and draw(st.booleans()):
        period = {"unit": draw(st.sampled_from(UNITS))}
        if name == "Interaction" and draw(st.booleans()):
            period["time_zone"] = draw(st.sampled_from(ZONES))
        by.append({PERIODS[name]: period})
    having: dict[str, Any] = {}
    match draw(st.integers(0, 5)):
        case 0:
            having = {"count": {"gt": draw(st.integers(0, 2))}}
        case 1 if name == "Deal":
            amount = {draw(st.sampled_from(["gt", "lt"])): 10**9}
            condition = {"amount": amount, "currency": {"eq": draw(st.sampled_from(["EUR", "USD"]))}}
            having = {draw(st.sampled_from(["sum", "min", "avg"])): {"value": condition}}
        case 2 if name == "Deal":
            having = {"not": {"sum": {"weighted_value": {"amount": {"gte": 0}}}}}
        case 3 if name == "Interaction":
            seconds = [{"avg": {"duration_seconds": {"isNull": True}}}, {"sum": {"duration_seconds": {"lt": 5}}}]
            having = {"or": seconds}
    orders = ["count", "-count", *(f"-{key}" for key in by if isinstance(key, str) and "." in key)]
    if "customer" in by:
        orders.append("-customer.name")
    if name == "Deal":
        orders += ["-sum.value.EUR", "max.value.USD", "-avg.expected"]
    return Ask(
        name,
        draw(wheres(catalog, name)),
        by,
        draw(st.lists(st.sampled_from(FIGURES[name]), min_size=1, max_size=5, unique=True)),
        having,
        draw(st.lists(st.sampled_from(orders), max_size=2, unique=True)),
        draw(st.none() | st.integers(0, 3)),
    )


# --- the same in plain Python ---------------------------------------------------------------------------------


def first_day(value: Any, unit: str, zone: str) -> date | None:
    """By walking back day by day."""
    if value is None:
        return None
    day = value.astimezone(ZoneInfo(zone)).date() if isinstance(value, datetime) else value
    while not {
        "day": True,
        "week": day.isoweekday() == 1,
        "month": day.day == 1,
        "quarter": day.day == 1 and day.month in (1, 4, 7, 10),
        "year": (day.month, day.day) == (1, 1),
    }[unit]:
        day -= timedelta(days=1)
    return day


class Grouping:
    """Groups of some rows, each with what it has in common."""

    def __init__(self, reference: Reference, ask: Ask, rows: Sequence[Row]) -> None:
        self.reference, self.ask = reference, ask
        self.entity = reference.catalog[ask.entity]
        self.by = ask.groups(reference.catalog).by
        found: dict[tuple[Any, ...], list[Row]] = {}
        if not self.by:
            found[()] = []
        for row in rows:
            if reference.meets(self.entity, row, ask.where):
                found.setdefault(tuple(self.key(row, key) for key in self.by), []).append(row)
        self.groups = found

    def key(self, row: Row, key: Any) -> Any:
        value = self.reference._path(self.entity, row, [*key.path, key.field])
        return value if key.unit is None else first_day(value, key.unit, key.zone)

    def values(self, rows: Sequence[Row], name: str) -> list[Any]:
        if name in self.entity.to_one:
            found = [self.reference._path(self.entity, row, [name, "id"]) for row in rows]
        else:
            found = [self.reference.value(self.entity, row, name) for row in rows]
        return [value for value in found if value is not None]

    def figure(self, rows: Sequence[Row], name: str) -> Any:
        """A number; for money, one for each currency."""
        function, _, field = name.partition(".")
        if function == "count":
            return len(rows)
        if field in self.entity.currencies:
            code = self.entity.currencies[field]
            currencies = sorted({row[code] for row in rows if row[code] is not None})
            each = {c: self.values([row for row in rows if row[code] == c], field) for c in currencies}
            return {c: self.of(function, values, money=True) for c, values in each.items() if values}
        return self.of(function, self.values(rows, field))

    def of(self, function: str, values: list[Any], money: bool = False) -> Any:
        match function:
            case "count_distinct":
                return len(set(values))
            case "sum":
                return sum(values)
            case "min" | "max":
                return (min if function == "min" else max)(values, default=None)
        if not values:
            return None
        if money:
            rounded = (2 * abs(sum(values)) + len(values)) // (2 * len(values))
            return rounded if sum(values) >= 0 else -rounded
        return float(sum(values)) / len(values)

    def meets(self, rows: Sequence[Row], having: Mapping[str, Any]) -> bool:
        results = []
        for name, value in having.items():
            if name == "not":
                results.append(not self.meets(rows, value))
            elif name == "or":
                results.append(any(self.meets(rows, item) for item in value))
            elif name == "count":
                results.append(compare(len(rows), value))
            else:
                for field, operators in value.items():
                    figure = self.figure(rows, f"{name}.{field}")
                    results.append(
                        any(
                            compare(amount, operators.get("amount", {}))
                            and compare(currency, operators.get("currency", {}))
                            for currency, amount in figure.items()
                        )
                        if field in self.entity.currencies
                        else compare(figure, operators)
                    )
        return all(results)

    def answer(self) -> list[dict[str, Any]]:
        kept = [(keys, rows) for keys, rows in self.groups.items() if self.meets(rows, self.ask.having)]
        orders = self.ask.groups(self.reference.catalog).order

        def order(left: Any, right: Any) -> int:
            for item in [*orders, *(OrderKey(key.field, path=key.path) for key in self.by)]:
                a, b = (self.ordered_by(keys, rows, item) for keys, rows in (left, right))
                if a == b:
                    continue
                if a is None or b is None:
                    return -1 if (a is None) is item.direction.nulls_first else 1
                return -1 if (sortable(a) < sortable(b)) is not item.direction.descending else 1
            return 0

        kept.sort(key=cmp_to_key(order))
        return [self.item(keys, rows) for keys, rows in kept[: self.ask.first]]

    def ordered_by(self, keys: tuple[Any, ...], rows: Sequence[Row], item: Any) -> Any:
        if isinstance(item, OrderKey):
            names = [(key.path, key.field) for key in self.by]
            if (item.path, item.field) in names:
                return keys[names.index((item.path, item.field))]
            # a field of a record that is a key, which all rows of the group share
            return self.reference._path(self.entity, rows[0], [*item.path, item.field])
        name = ".".join(filter(None, (item.figure.function, item.figure.field)))
        found = self.figure(rows, name)
        return found.get(item.currency) if item.currency else found

    def item(self, keys: tuple[Any, ...], rows: Sequence[Row]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.by:
            found["key"] = self.key_object(dict(zip(self.by, keys, strict=True)), ())
        for name in self.ask.figures:
            function, _, field = name.partition(".")
            value = self.figure(rows, name)
            kind = figure_kind(self.entity, Figure(function, field))  # type: ignore[arg-type]
            if kind is None:
                value = [{"amount": str(amount), "currency": c} for c, amount in value.items()]
            else:
                value = shown(value, kind, self.entity, self.reference.catalog)
            if function == "count":
                found["count"] = value
            else:
                found.setdefault(function, {})[field] = value
        return found

    def key_object(self, keys: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        target = self.entity
        for step in path:
            target = self.reference.catalog[str(target.leads_to(step))]
        for key, value in keys.items():
            if key.path[: len(path)] != path:
                continue
            if key.path == path:
                kind = Kind.DATE if key.unit else _kind(target, key.field)
                found[key.field] = (
                    f"{target.prefix}_{value.hex}"
                    if isinstance(value, UUID)
                    else shown(value, kind, target, self.reference.catalog)
                )
            else:
                step = key.path[len(path)]
                inner = {k: v for k, v in keys.items() if k.path[: len(path) + 1] == (*path, step)}
                record = [k for k in inner if k.path == (*path, step) and k.field == "id"]
                chosen = {k: v for k, v in inner.items() if not record or k in record}
                empty = all(value is None for value in chosen.values())
                found[step] = None if empty else self.key_object(chosen, (*path, step))
        return found


def _kind(entity: EntityType, name: str) -> Kind:
    column = entity.columns.get(name)
    return column.kind if column is not None else entity.expressions[name].kind


def sortable(value: Any) -> Any:
    return value.int if isinstance(value, UUID) else value


def same(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of floats, which depend on the order in which they are added."""
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


# --- the law ----------------------------------------------------------------------------------------------------


async def test_figures_are_what_plain_python_gives(server_url: str | None) -> None:
    async with make_crm(plugins=[Figures], server_url=server_url) as crm:
        await make_stages(crm)
        catalog = crm.catalog
        cases: list[tuple[Company, Ask, Ask, Ask]] = []

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(companies(), st.data())
        def collect(company: Company, data: st.DataObject) -> None:
            name = data.draw(st.sampled_from(list(KEYS)))
            inner = [data.draw(asks(catalog, name)) for name in ("Deal", "Interaction")]
            cases.append((company, data.draw(asks(catalog, name)), *inner))  # type: ignore[arg-type]

        collect()
        for company, ask, deals, interactions in cases:
            await fill(crm, company)
            reference = Reference(catalog, await dump(crm))
            shared = (Aggregated("i", "interactions", interactions.groups(catalog)),)
            fields = (
                Scalar("id", "id"),
                Aggregated("deals", "deals", deals.groups(catalog)),
                Linked("organization", "organization", shared),
            )
            roots: dict[str, Root] = {
                "groups": Aggregation(ask.entity, ask.groups(catalog)),
                "page": Connection("Customer", Page((Nodes("nodes", fields),))),
            }
            with recorded() as statements:
                answer = (await crm.acting_as(SYSTEM).read(roots)).parsed()
            assert len(statements) == 1
            expected = Grouping(reference, ask, reference.rows[ask.entity]).answer()
            assert same(expected, answer["groups"]), (company, ask, expected, answer["groups"])
            customer = catalog["Customer"]
            rows = reference.find(customer, {}, [])
            for row, node in zip(rows, answer["page"]["nodes"], strict=True):
                _, related = reference.related(customer, row, "deals")
                expected = Grouping(reference, deals, related).answer()
                assert same(expected, node["deals"]), (company, deals, expected, node)
                _, parent = reference.target(customer, row, "organization")
                assert (parent is None) is (node["organization"] is None)
                if parent is not None:
                    _, related = reference.related(customer, parent, "interactions")
                    expected = Grouping(reference, interactions, related).answer()
                    assert same(expected, node["organization"]["i"]), (company, interactions, expected, node)
