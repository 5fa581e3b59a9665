"""Orders as SQL: keys that make every order total, and positions within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..entity import EntityType, Kind
from ..tree import Direction, OrderKey
from .conditions import Conditions
from .errors import QueryError


@dataclass(frozen=True)
class Key:
    """An order key, with the kind of its values and whether it can be null."""

    order: OrderKey
    kind: Kind
    nullable: bool

    @property
    def descending(self) -> bool:
        return self.order.direction.descending

    @property
    def nulls_first(self) -> bool:
        return self.order.direction.nulls_first


class Orders(Conditions):
    """Writes orders, and what lies beyond a position in them."""

    def keys(self, entity: EntityType, order: Sequence[OrderKey]) -> tuple[Key, ...]:
        """The order made total: by id in the end, in the direction of the key before it."""
        keys = []
        for item in order:
            kind, nullable = self._sort_kind(entity, item)
            keys.append(Key(item, kind, nullable))
            if item.field == "id" and not item.path:
                return tuple(keys)
        descending = bool(keys) and keys[-1].order.direction.descending
        direction = OrderKey("id", _DIRECTIONS[descending])
        return (*keys, Key(direction, Kind.ID, nullable=False))

    def _sort_kind(self, entity: EntityType, key: OrderKey) -> tuple[Kind, bool]:
        for step in key.path:
            target = entity.leads_to(step)
            if target is None:
                raise QueryError(f"{entity.name} has no relation {step!r} to one row, to order by")
            self.follow(entity, step)
            entity = self.catalog[target]
        name = key.field
        if name in entity.expressions:
            self.use(entity, name)
            return entity.expressions[name].kind, True
        if name in entity.money:
            name = entity.money[name].amount
        column = entity.columns.get(name)
        if column is None or name in entity.internal:
            raise QueryError(f"{entity.name} has no column {name!r} to order by")
        self.use(entity, name)
        return column.kind, column.nullable or bool(key.path)

    def key_sql(self, entity: EntityType, alias: str, key: Key) -> str:
        return self.follow_path([*key.order.path, key.order.field], entity, alias)

    def order_by(self, entity: EntityType, alias: str, keys: Sequence[Key], backward: bool) -> str:
        parts = []
        for key in keys:
            parts.append(self.directed(self.key_sql(entity, alias, key), key, backward))
        return ", ".join(parts)

    def directed(self, value: str, key: Key, backward: bool) -> str:
        """A value of a key, as part of ``order by``."""
        descending = key.descending is not backward
        nulls = self.dialect.nulls(descending, key.nulls_first is not backward) if key.nullable else ""
        return f"{value} {'desc' if descending else 'asc'}{nulls}"

    def beyond(
        self,
        entity: EntityType,
        alias: str,
        keys: Sequence[Key],
        values: Sequence[Any],
        backward: bool,
    ) -> str:
        """Rows strictly after the position; strictly before it, if ``backward``."""
        key, value = keys[0], values[0]
        left = self.key_sql(entity, alias, key)
        descending = key.descending is not backward
        nulls_first = key.nulls_first is not backward
        rest = self.beyond(entity, alias, keys[1:], values[1:], backward) if len(keys) > 1 else ""
        if value is None:
            after = f"{left} is not null" if nulls_first else "false"
            return f"({after} or ({left} is null and {rest}))" if rest else after
        bound = self.bind(value, key.kind)
        sign = "<" if descending else ">"
        if not key.nullable:
            if not rest:
                return f"{left} {sign} {bound}"
            # a bare range first, so that an index is used up to it
            return f"({left} {sign}= {bound} and ({left} {sign} {bound} or {rest}))"
        after = f"{left} {sign} {bound}" if nulls_first else f"({left} {sign} {bound} or {left} is null)"
        return f"({after} or ({left} = {bound} and {rest}))" if rest else after


_DIRECTIONS = {False: Direction.ASC, True: Direction.DESC}
