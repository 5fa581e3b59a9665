"""Arguments as GraphQL coerced them, turned into what the core takes."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amity.entity import Catalog, EntityType
from amity.given import Given, known, late
from amity.query import QueryError, parse_order, parse_where
from amity.tree import Condition, OrderKey

from .errors import bad_input
from .limits import too_large, too_long
from .names import EntityNames, Input
from .settings import GraphQLSettings


@dataclass(frozen=True)
class Slice:
    """Which rows of an entity a connection shows."""

    where: Condition | None = None
    order: tuple[OrderKey, ...] = ()
    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


class Arguments:
    """Turns the arguments of all entities' fields."""

    def __init__(self, catalog: Catalog, names: Mapping[str, EntityNames], settings: GraphQLSettings) -> None:
        self.catalog = catalog
        self.names = names
        self.settings = settings

    def slice(self, entity: EntityType, given: Mapping[str, Any]) -> Slice:
        """The arguments of a connection. Raises QueryError and GraphQLError."""
        where, order = given.get("where"), given.get("orderBy")
        return Slice(
            self.where(entity, where) if where is not None else None,
            self.order(entity, order) if order is not None else (),
            *self.bounds(
                known(given.get("first")), given.get("after"), known(given.get("last")), given.get("before")
            ),
        )

    def bounds(
        self, first: int | None, after: str | None, last: int | None, before: str | None
    ) -> tuple[int | None, str | None, int | None, str | None]:
        """``first``, ``after``, ``last`` and ``before``, checked, with the default size of a page."""
        most = self.settings.max_page_size
        if first is not None and last is not None:
            raise bad_input("first and last exclude each other: first counts from the start, last from the end")
        for name, value in (("first", first), ("last", last)):
            if value is not None and value < 0:
                raise bad_input(f"{name} is {value}; expected a number from 0 to {most}")
            if value is not None and value > most:
                raise too_large(name, value, self.settings)
        if first is None and last is None:
            first = self.settings.page_size
        return first, after, last, before

    def where(self, entity: EntityType, given: Mapping[str, Any]) -> Condition:
        return parse_where(self.catalog, entity, self._where(entity, given), ("where",))

    def order(self, entity: EntityType, given: Sequence[Mapping[str, Any]]) -> tuple[OrderKey, ...]:
        items = [self.named_order(entity, item) for item in given]
        return parse_order(self.catalog, entity, items, ("order_by",))

    def _where(self, entity: EntityType, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        filters = self.names[entity.name].filters
        for key, value in given.items():
            name = key if key in ("and", "or", "not") else filters[key].name
            if value is None:
                found[name] = None  # refused by the core, which says what to write instead
            elif key in ("and", "or"):
                found[name] = [self._where(entity, item) for item in self.limited(key, value)]
            elif key == "not":
                found[name] = self._where(entity, value)
            else:
                found[name] = self._filter(entity, filters[key].group, name, value)
        return found

    def _filter(self, entity: EntityType, group: str, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        if group == "to_one":
            return self._where(self.catalog[entity.to_one[name].target], value)
        if group in ("single", "to_many"):
            target = self.catalog[entity.to_many[name].target]
            if group == "single":
                return self._where(target, value)
            return {
                quantifier: None if inner is None else self._where(target, inner)
                for quantifier, inner in value.items()
            }
        if name in entity.currencies:
            return {
                part: self._operators(inner) if isinstance(inner, Mapping) else inner
                for part, inner in value.items()
            }
        return self._operators(value)

    def conditions(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Conditions on plain columns, by their names in the core."""
        return {name: value and self._operators(value) for name, value in given.items()}

    def _operators(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {operator: self._operand(operator, value) for operator, value in given.items()}

    def _operand(self, operator: str, value: Any) -> Any:
        if isinstance(value, Given):
            return value.then(lambda item: self._operand(operator, item))
        if isinstance(value, list):
            return [late(item, plain) for item in self.limited(operator, value)]
        return plain(value)

    def named_order(self, entity: EntityType, given: Mapping[str, Any]) -> dict[str, Any]:
        """One key of an order, by the core's names."""
        key, value = single(given, "order_by")
        named = self.names[entity.name].orders[key]
        target = entity.leads_to(named.name)
        if target is not None:
            return {named.name: self.named_order(self.catalog[target], value)}
        return {named.name: value}

    def limited(self, name: str, items: Sequence[Any]) -> Sequence[Any]:
        """The items, if they are not too many. Raises GraphQLError."""
        if len(items) > self.settings.max_list:
            raise too_long(name, len(items), self.settings)
        return items


def single(given: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """The field of an input that must have exactly one. Raises QueryError."""
    if len(given) != 1:
        raise QueryError(f"has {', '.join(given) or 'nothing'}; expected exactly one field", (name,))
    return next(iter(given.items()))


def plain(value: Any) -> Any:
    """The value behind an enum."""
    return value.value if isinstance(value, enum.Enum) else value


def row(inputs: Mapping[str, Input], given: Mapping[str, Any]) -> dict[str, Any]:
    """An input object as a row of the core: what is absent stays absent, null becomes None."""
    return {inputs[key].name: plain(value) for key, value in given.items()}


def row_path(inputs: Mapping[str, Input], path: Sequence[str | int]) -> list[str]:
    """A path into a row of the core, as the sender of the input object knows it."""
    if not path:
        return []
    names = {item.name: key for key, item in inputs.items()}
    return [names.get(str(path[0]), str(path[0])), *(str(part) for part in path[1:])]


__all__ = ["Arguments", "QueryError", "Slice", "plain", "row", "row_path"]
