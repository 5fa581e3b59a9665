"""Rows behind to-one relations, joined: each once, however often it is followed."""

from __future__ import annotations

from ..entity import EntityType
from .conditions import Conditions
from .dialect import identifier
from .errors import QueryError

MAX_JOINS = 50
"""To-one relations that one page of rows can follow. SQLite joins 64 tables."""


def too_many_joins(entity: EntityType) -> QueryError:
    return QueryError(f"follows more than {MAX_JOINS} to-one relations of {entity.name}; ask for fewer")


class Joins:
    """The left joins of rows of an entity, on top of each other."""

    def __init__(self, conditions: Conditions, entity: EntityType, base: str) -> None:
        self._conditions = conditions
        self._entity = entity
        self._base = base
        self._found: dict[tuple[str, str], tuple[EntityType, str]] = {}
        self._tables: list[str] = []

    @property
    def sql(self) -> str:
        """What follows the first table of the statement."""
        return "".join(self._tables)

    def follow(self, entity: EntityType, alias: str, relation: str) -> tuple[EntityType, str]:
        """The entity and the alias of the row behind a relation."""
        conditions = self._conditions
        conditions.follow(entity, relation)
        if (alias, relation) not in self._found:
            if len(self._found) >= MAX_JOINS:
                raise too_many_joins(self._entity)
            other = conditions.alias("t")
            if relation in entity.to_one:
                link = entity.to_one[relation]
                target = conditions.catalog[link.target]
                on = f'{other}."id" = {conditions.reference(alias, link)}'
            else:
                many = entity.to_many[relation]
                target = conditions.catalog[many.target]
                on = f'{other}.{identifier(many.column)} = {alias}."id"'
            predicates = " and ".join([on, *conditions.visible(target, other)])
            self._tables.append(f" left join {identifier(target.table)} {other} on {predicates}")
            self._found[alias, relation] = target, other
            if alias in conditions.joining:
                conditions.joining[other] = self.follow
        return self._found[alias, relation]

    def begin(self) -> None:
        """From here on, values over relations are those of joined rows."""
        self._conditions.joining.update(dict.fromkeys(self._aliases(), self.follow))

    def end(self) -> None:
        """Values over relations are looked up again."""
        for alias in self._aliases():
            self._conditions.joining.pop(alias, None)

    def _aliases(self) -> tuple[str, ...]:
        return self._base, *(other for _, other in self._found.values())
