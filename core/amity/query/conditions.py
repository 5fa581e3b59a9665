"""Conditions and expressions as SQL, with what access demands of every table they touch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from ..access import Rights, field_denied, type_denied
from ..database import Dialect as DialectName
from ..entity import Catalog, Column, EntityType, Kind, ToMany, ToOne
from ..entity.expression import Aggregate, Arithmetic, Coalesced, Expression, Value
from ..entity.expression import Field as Path
from ..entity.kinds import kind_of
from ..given import Given, gathered, late, now
from ..model import Event
from ..tree import All, Ancestors, AnyOf, Compare, Condition, Moment, Never, Not, Quantified, Reaches, Through
from .dialect import DIALECTS, Dialect, identifier, literal
from .errors import QueryError
from .implied import left_to_ask
from .json_keys import compared
from .relative import resolved
from .where import parse_where


class Conditions:
    """Writes conditions and expressions for the rows of a table alias; binds their values.

    Every table enters a statement through :meth:`visible`.
    """

    def __init__(self, catalog: Catalog, rights: Rights, dialect: Dialect) -> None:
        self.catalog = catalog
        self.rights = rights
        self.dialect = dialect
        self.parameters: list[Any] = []
        self.bound: dict[tuple[Any, ...], str] = {}
        self.aliases = 0
        self.nesting = 0
        """Levels of the filter that is being written, as callers count them."""
        self.depth = 0
        """Levels of sub-queries that we are in."""
        self.views: list[str] = []
        """Sub-queries that stand at the head of the statement, as the parser takes no more levels."""
        self.policing = False
        """Whether a condition of the rights themselves is being written."""
        self.timeless = False
        """Whether deleted rows count too."""
        self.joining: dict[str, Callable[[EntityType, str, str], tuple[EntityType, str]]] = {}
        """Aliases whose to-one relations are joined instead of looked into: what joins one of them."""
        self.known: dict[tuple[str, str], str] = {}
        """References that are the same in all rows of a statement's part, with what they are equal to: whether the
        record meets a condition is looked up once then."""
        self._open: dict[str, frozenset[str] | None] = {}

    def bind(self, value: Any, kind: Kind, many: bool = False) -> str:
        """A placeholder for a value; the same value is bound once. A moment is bound as what it is by now."""
        if isinstance(value, Moment):
            value = late(self.now, partial(resolved, value))
        if many and not isinstance(value, Given):
            value = gathered(value)
        if isinstance(value, Given):
            return self._bind_given(value, kind, many)
        kept = stored(self.dialect, kind, many, value)
        key = (kind, many, type(kept), str(kept) if many else kept)
        if key not in self.bound:
            self.parameters.append(kept)
            self.bound[key] = self.dialect.placeholder(len(self.parameters), kind, many)
        return self.bound[key]

    def _bind_given(self, value: Given, kind: Kind, many: bool) -> str:
        """A placeholder for a value that each request brings."""
        key = (Given, value.index, kind, many)
        if key not in self.bound:
            self.parameters.append(value.then(partial(stored, self.dialect, kind, many)))
            self.bound[key] = self.dialect.placeholder(len(self.parameters), kind, many)
        return self.bound[key]

    def alias(self, letter: str = "x") -> str:
        self.aliases += 1
        return f"{letter}{self.aliases}"

    @cached_property
    def now(self) -> datetime:
        """The time that everything in the statement is relative to."""
        return now()

    # --- access ---------------------------------------------------------------------------------------------

    def visible(self, entity: EntityType, alias: str, over: str | None = None) -> list[str]:
        """What rows must meet to be seen: alive, and allowed by access.

        ``over`` is their relation to a row that is visible in the same statement, if they are reached from there:
        what follows from that is not asked. Inside of a condition of the rights only whether they live is asked:
        it is about facts, not about rights. Raises :class:`~amity.access.AccessDenied` if no such rows may be
        read at all.
        """
        predicates = [f'{alias}."deleted_at" is null'] if entity.is_entity and not self.timeless else []
        if not self.policing:
            self.readable(entity)
            condition = self.rights.rows(entity, "read")
            if condition is not None:
                predicates += self._of_rights(entity, alias, condition, over)
        return predicates

    def _of_rights(self, entity: EntityType, alias: str, condition: Condition, over: str | None) -> list[str]:
        """What rows must meet to be read: written once for all statements of such principals."""
        memo = self.rights.memo(entity)
        if memo is None:
            asked = self._beyond(entity, condition, over)
            return [] if asked is None else [self.of_policy(entity, alias, asked)]
        key = (self.dialect.name, entity.name, min(self.depth, _LEVELS), self.timeless, over)
        if key not in memo:
            asked = self._beyond(entity, condition, over)
            memo[key] = None if asked is None else _Template(self, entity, asked)
        template: _Template | None = memo[key]
        return [] if template is None else [template.written(self, alias)]

    def _beyond(self, entity: EntityType, condition: Condition, over: str | None) -> Condition | None:
        """The condition without what follows from having come over a relation."""
        if over is None or self.timeless:
            return condition
        link = entity.to_one[over]
        met = self.rights.rows(self.catalog[link.target], "read")
        return left_to_ask(condition, over, link.column.name, met)

    def readable(self, entity: EntityType) -> frozenset[str] | None:
        """The fields that may be read; None for all. Raises :class:`~amity.access.AccessDenied` if nothing may."""
        if entity.name not in self._open:
            if not self.rights.granted(entity, "read"):
                raise type_denied(self.rights.principal, "read", entity)
            fields = self.rights.fields(entity, "read")
            self._open[entity.name] = None if fields is None else fields | entity.open_fields
        return self._open[entity.name]

    def use(self, entity: EntityType, name: str) -> None:
        """Asks for the right to read a field, or the field that a column belongs to.

        Whatever a statement says of a row goes through here: what is selected, compared, sorted by, computed
        with, followed. Raises :class:`~amity.access.FieldDenied`.
        """
        if self.policing:
            return
        fields = self.readable(entity)
        if fields is not None and (field := entity.field_of.get(name, name)) not in fields:
            raise field_denied(self.rights.principal, "read", entity, field)

    def follow(self, entity: EntityType, relation: str) -> None:
        """Asks for the right to follow a relation: its target must be readable, and the reference behind it."""
        if relation in entity.to_one:
            self.use(entity, relation)
            target = self.catalog[entity.to_one[relation].target]
        else:
            many = entity.to_many[relation]
            target = self.catalog[many.target]
            self.use(target, many.column)
        if not self.policing:
            self.readable(target)

    def value(self, entity: EntityType, alias: str, name: str) -> str:
        """A column of a row, as the principal may see it.

        Payloads of events lack what it may not read, and a reference to a row out of its reach is null.
        """
        self.use(entity, name)
        column = f"{alias}.{identifier(name)}"
        if self.policing:
            return column
        if is_payload(entity, name):
            return self.masked(alias, column)
        target = self.catalog.get(entity.columns[name].references or "")
        if target is None:
            return column
        self.readable(target)
        if self.rights.rows(target, "read") is not None:
            there = self._found(target, "id", column, partial(self.visible, target))
            return f"case when {there} then {column} end"
        return column

    def masked(self, alias: str, payload: str) -> str:
        """The payload of an event, without what its reader may not read of the record.

        It lacks the fields that the principal may not read, and references to records out of its reach, which
        would read as null.
        """
        cases: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], list[str]] = {}
        complete = True
        for entity in self.catalog.values():
            if not self.rights.granted(entity, "read"):
                complete = False
                continue
            fields = self.readable(entity)
            closed = frozenset[str]() if fields is None else entity.right_fields - fields
            names = tuple(name for name in entity.columns if entity.field_of.get(name, name) in closed)
            found = tuple(item for item in self._reached(entity, payload) if item[0] not in names)
            cases.setdefault((names, found), []).append(entity.code)
        if complete and set(cases) <= {((), ())}:
            return payload
        kind = f"{alias}.{identifier('entity_type')}"
        written = [
            f"when {kind} in ({', '.join(map(literal, codes))}) then {self.dialect.without(payload, names, found)}"
            for (names, found), codes in cases.items()
        ]
        # what nobody granted, or nobody knows any more, stays closed
        return f"case {' '.join(written)} end" if written else "null"

    def _reached(self, entity: EntityType, payload: str) -> Iterator[tuple[str, str]]:
        """The references of an entity that may lead out of reach, each with what is true if it does not.

        That the record was deleted since does not matter: the event is older.
        """
        before, self.timeless = self.timeless, True
        for link in entity.to_one.values():
            target = self.catalog[link.target]
            if not self.rights.granted(target, "read"):
                yield link.column.name, "false"
            elif self.rights.rows(target, "read") is not None:
                yield link.column.name, self._known(target, payload, link.column.name)
        for generic in entity.generic.values():
            targets = [self.catalog[name] for name in generic.targets]
            open_ = [target for target in targets if self.rights.granted(target, "read")]
            if len(open_) < len(targets) or any(self.rights.rows(target, "read") is not None for target in open_):
                known = [self._known(target, payload, generic.id_column) for target in open_]
                yield generic.id_column, _balanced("or", known, "false")
        self.timeless = before

    def _known(self, target: EntityType, payload: str, column: str) -> str:
        """Whether a payload names a row of this entity that may be read."""
        id = self.dialect.id_in(payload, column, target.prefix)
        return self._found(target, "id", id, partial(self.visible, target))

    def of_policy(self, entity: EntityType, alias: str, condition: Condition) -> str:
        """A condition of the rights, on the rows of a table."""
        before, self.policing = self.policing, True
        try:
            return self.condition(entity, alias, condition)
        finally:
            self.policing = before

    # --- conditions -----------------------------------------------------------------------------------------

    def condition(self, entity: EntityType, alias: str, condition: Condition) -> str:
        """SQL that is true exactly for the rows that meet the condition."""
        match condition:
            case All(items):
                return _balanced("and", [self.condition(entity, alias, item) for item in items], "true")
            case AnyOf(items):
                return _balanced("or", [self.condition(entity, alias, item) for item in items], "false")
            case Not(item):
                with self._deeper():
                    return f"(({self.condition(entity, alias, item)}) is not true)"
            case Never():
                return "false"
            case Compare():
                return self._compare(entity, alias, condition)
            case Through(relation, inner):
                with self._deeper():
                    return self._through(entity, alias, relation, inner)
            case Quantified(relation, quantifier, inner):
                with self._deeper():
                    return self._quantified(entity, alias, relation, quantifier, inner)
            case Reaches():
                with self._deeper():
                    return self._reaches(entity, alias, condition)
            case Ancestors():
                with self._deeper():
                    return self._ancestors(entity, alias, condition)
        raise TypeError(f"{condition!r} is no condition")

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        """One level of a filter; both databases take as many. Conditions of the rights are as deep as they are."""
        self.nesting += 0 if self.policing else 1
        if self.nesting > MAX_NESTING:
            raise QueryError(f"the filter is nested deeper than {MAX_NESTING} levels; ask in smaller steps")
        yield
        self.nesting -= 0 if self.policing else 1

    def _compare(self, entity: EntityType, alias: str, condition: Compare) -> str:
        name, operator, value = condition.field, condition.operator, condition.value
        column = None if name in entity.internal else entity.columns.get(name)
        if column is not None or name in entity.expressions:
            self.use(entity, name)
        if column is not None and column.references is not None and not self.policing:
            return self._reference(entity, alias, column, operator, value)
        if column is not None:
            kind, left = column.kind, f"{alias}.{identifier(name)}"
        elif name in entity.expressions:
            expression = entity.expressions[name]
            kind, left = expression.kind, self.expression(expression.expression, entity, alias)
        else:
            raise QueryError(f"{entity.name} has no column {name!r}")
        if is_payload(entity, name):
            return self._payload(entity, alias, condition)
        if condition.keys:
            return compared(self, left, condition.keys, operator, value)
        return self._compared(left, kind, operator, value)

    def _payload(self, entity: EntityType, alias: str, condition: Compare) -> str:
        """A payload of an event is compared as it is shown: without what may not be read.

        What is shown is told by sub-queries, too deep for SQLite's parser where a filter stands; so it becomes a
        view, which is looked into by the event's id.
        """
        other, name, seen = self.alias(), self.alias("v"), self.alias()
        depth, self.depth = self.depth, 0
        shown = self.value(entity, other, condition.field)
        self.depth = depth
        self.views.append(
            f'{name} as not materialized (select {other}."id" as k, {shown} as p '
            f"from {identifier(entity.table)} {other})"
        )
        met = compared(self, f"{seen}.p", condition.keys, condition.operator, condition.value)
        return f'exists (select 1 from {name} {seen} where {seen}.k = {alias}."id" and {met})'

    def _reference(self, entity: EntityType, alias: str, column: Column, operator: str, value: Any) -> str:
        """A reference reads as null where its target is deleted or hidden; so it does in a filter."""
        left = f"{alias}.{identifier(column.name)}"
        target = self.catalog[column.references or ""]
        there = self._found(target, "id", left, partial(self.visible, target))
        if operator == "isNull":
            return f"not {there}" if value else there
        if operator in ("ne", "notIn"):
            same = self._compared(left, column.kind, "eq" if operator == "ne" else "in", value)
            return f"(({same} and {there}) is not true)"
        return f"({self._compared(left, column.kind, operator, value)} and {there})"

    def _compared(self, left: str, kind: Kind, operator: str, value: Any) -> str:
        if operator == "isNull":
            return f"{left} is null" if value else f"{left} is not null"
        if operator == "like":
            return self.dialect.like(left, self.bind(value, Kind.TEXT))
        if operator == "in":
            return self.dialect.among(left, self.bind(value, kind, many=True))
        if operator == "notIn":
            return f"(({self.dialect.among(left, self.bind(value, kind, many=True))}) is not true)"
        bound = self.bind(value, kind)
        if operator == "ne":
            return self.dialect.different(left, bound)
        return f"{left} {_COMPARISON[operator]} {bound}"

    def _through(self, entity: EntityType, alias: str, relation: str, inner: Condition) -> str:
        self.use(entity, relation)
        link = entity.to_one[relation]
        target = self.catalog[link.target]

        def met(other: str) -> list[str]:
            return [*self.visible(target, other), self.condition(target, other, inner)]

        return self._found(target, "id", self.reference(alias, link), met)

    def reference(self, alias: str, link: ToOne) -> str:
        """The id that a relation to one row holds."""
        return self.known.get((alias, link.column.name)) or f"{alias}.{identifier(link.column.name)}"

    def _quantified(self, entity: EntityType, alias: str, relation: str, quantifier: str, inner: Condition) -> str:
        self.follow(entity, relation)
        many = entity.to_many[relation]
        target = self.catalog[many.target]

        def met(other: str) -> list[str]:
            condition = self.condition(target, other, inner)
            condition = f"(({condition}) is not true)" if quantifier == "every" else condition
            return [*self._constant(many, other), *self.visible(target, other), condition]

        found = self._found(target, many.column, f'{alias}."id"', met)
        return found if quantifier == "some" else f"not {found}"

    def _reaches(self, entity: EntityType, alias: str, condition: Reaches) -> str:
        self.use(entity, condition.reference)
        reference = entity.generic[condition.reference]
        kind, id = (f"{alias}.{identifier(name)}" for name in (reference.type_column, reference.id_column))
        choices = []
        for name, inner in condition.targets.items():
            target = self.catalog[name]

            def met(other: str, target: EntityType = target, inner: Condition | None = inner) -> list[str]:
                found = self.visible(target, other)
                return found if inner is None else [*found, self.condition(target, other, inner)]

            before, self.timeless = self.timeless, self.timeless or not condition.alive
            try:
                there = self._found(target, "id", id, met)
            finally:
                self.timeless = before
            choices.append(f"({kind} = {literal(target.code)} and {there})")
        return _balanced("or", choices, "false")

    def _ancestors(self, entity: EntityType, alias: str, condition: Ancestors) -> str:
        """Rows are collected by their ids, each once: some data lead in a circle, too.

        On SQLite that takes so many levels of the parser that it becomes a view within any sub-query.
        """
        if self.dialect.name == "sqlite" and self.depth:
            depth, self.depth, row = self.depth, 0, self.alias()
            met = self._ancestors(entity, row, condition)
            self.depth = depth
            return self._in_view(f'{row}."id"', f"{identifier(entity.table)} {row}", met, f'{alias}."id"')
        links = [entity.to_one[name] for name in condition.relations]
        above, row, seen = self.alias("u"), self.alias(), self.alias("u")
        first = [f'{alias}."id"'] if condition.itself else [self.reference(alias, link) for link in links]
        columns = [f"{row}.{identifier(link.column.name)}" for link in links]
        source = f'from {identifier(entity.table)} {row} join {above} on {row}."id" = {above}.id'
        start = " union ".join(f"select {id}" for id in first)
        climb = f"{above}(id) as ({start} union {self.dialect.each(columns, source)})"

        def meets(other: str) -> list[str]:
            return [*self.visible(entity, other), self.condition(entity, other, condition.condition)]

        self.depth += 1
        there = self._found(entity, "id", f"{seen}.id", meets)
        self.depth -= 1
        outside = f"select 1 from {above} {seen} where {seen}.id is not null and not {there}"
        return f"not exists ({_CLIMBING} {climb} {outside})"

    def _in_view(self, key: str, source: str, predicates: str, value: str) -> str:
        """Whether a value is among the keys of rows, by a view of them at the head of the statement."""
        name, seen = self.alias("v"), self.alias()
        self.views.append(f"{name} as not materialized (select {key} as k from {source} where {predicates})")
        return f"exists (select 1 from {name} {seen} where {seen}.k = {value})"

    def _found(self, target: EntityType, column: str, value: str, met: Callable[[str], Sequence[str]]) -> str:
        """Whether there is a row that has a value in a column, and meets what ``met`` says of its alias.

        SQLite's parser takes a few levels of sub-queries only. What lies deeper becomes a view, in that it stands
        at the head of the statement under a name, and is looked into by its column.

        A few levels deep PostgreSQL must not flatten it into joins: without statistics it takes every table
        for a handful of rows, and compares each with each. Nor where it climbs: it would for every row there is.
        """
        other = self.alias()
        table, key = identifier(target.table), f"{other}.{identifier(column)}"
        if self.dialect.name == "sqlite" and self.depth >= _LEVELS:
            depth, self.depth = self.depth, 0
            predicates = " and ".join(met(other)) or "true"
            self.depth = depth
            return self._in_view(key, f"{table} {other}", predicates, value)
        self.depth += 1
        predicates = " and ".join([f"{key} = {value}", *met(other)])
        self.depth -= 1
        source = f"from {table} {other} where {predicates}"
        flattened = self.depth < _FLATTENED and _CLIMBING not in predicates
        if self.dialect.name == "postgresql" and not flattened:
            return f"coalesce((select true {source} limit 1), false)"
        return f"exists (select 1 {source})"

    def headed(self, sql: str) -> str:
        """A statement with the views that it uses at its head."""
        if not self.views:
            return sql
        if sql.startswith("with "):
            return self.heads() + sql.removeprefix("with ")
        return f"{self.heads().removesuffix(_NEXT)}\n{sql}"

    def heads(self) -> str:
        """How a statement with table expressions of its own begins."""
        return "with " + "".join(f"{view}{_NEXT}" for view in self.views)

    def _constant(self, many: ToMany, alias: str) -> list[str]:
        """What rows of a generic relation must meet to belong to this kind of record."""
        return [f"{alias}.{identifier(many.constant[0])} = {literal(many.constant[1])}"] if many.constant else []

    def _related(
        self, entity: EntityType, alias: str, relation: str, letter: str = "x"
    ) -> tuple[EntityType, list[str], str]:
        """Target, join predicates and alias of a to-many relation's rows."""
        many = entity.to_many[relation]
        target = self.catalog[many.target]
        self.use(target, many.column)
        other = self.alias(letter)
        predicates = [f'{other}.{identifier(many.column)} = {alias}."id"', *self._constant(many, other)]
        return target, predicates, other

    # --- expressions ----------------------------------------------------------------------------------------

    def expression(self, expression: Expression, entity: EntityType, alias: str) -> str:
        """One SQL value for the row of ``alias``."""
        match expression:
            case Value(value):
                if isinstance(value, bool):
                    return self.bind(value, Kind.BOOLEAN)
                if isinstance(value, str):
                    return self.bind(value, Kind.TEXT)
                return self.bind(value, Kind.FLOAT if isinstance(value, float) else Kind.BIGINT)
            case Path(path):
                return self.follow_path(path.split("."), entity, alias)
            case Aggregate():
                return self._aggregate(expression, entity, alias)
            case Arithmetic(operator, left, right):
                return self._arithmetic(operator, left, right, entity, alias)
            case Coalesced(items):
                return f"coalesce({', '.join(self.expression(i, entity, alias) for i in items)})"
        raise TypeError(f"{expression!r} is no expression")

    def follow_path(self, path: Sequence[str], entity: EntityType, alias: str) -> str:
        """A column over to-one relations; null where one of them leads nowhere."""
        name, *rest = path
        if not rest:
            if name in entity.expressions:
                self.use(entity, name)
                return self.expression(entity.expressions[name].expression, entity, alias)
            if name in entity.money:
                name = entity.money[name].amount
            return self.value(entity, alias, name)
        link = entity.to_one.get(name)
        if (
            alias in self.joining
            and not self.policing
            and (link is None or (alias, link.column.name) not in self.known)
        ):
            target, other = self.joining[alias](entity, alias, name)
            value = self.follow_path(rest, target, other)
            # an expression is something even of a row that isn't there, as a count is zero
            return (
                f'case when {other}."id" is not null then {value} end' if rest[0] in target.expressions else value
            )
        if link is not None:
            self.use(entity, name)
            target = self.catalog[link.target]
            other = self.alias()
            joined = [f'{other}."id" = {self.reference(alias, link)}']
        else:
            target, joined, other = self._related(entity, alias, name)
        predicates = [*joined, *self.visible(target, other)]
        value = self.follow_path(rest, target, other)
        return f"(select {value} from {identifier(target.table)} {other} where {' and '.join(predicates)})"

    def _aggregate(self, aggregate: Aggregate, entity: EntityType, alias: str) -> str:
        steps = aggregate.path.split(".")
        column = None if aggregate.function == "count" else steps.pop()
        tables: list[str] = []
        predicates: list[str] = []
        current, here = entity, alias
        for step in steps:
            if step in current.to_many:
                current, joined, here = self._related(current, here, step)
                predicates += joined
            else:
                self.use(current, step)
                link = current.to_one[step]
                current = self.catalog[link.target]
                other = self.alias()
                predicates.append(f'{other}."id" = {here}.{identifier(link.column.name)}')
                here = other
            tables.append(f"{identifier(current.table)} {here}")
            predicates += self.visible(current, here)
        if aggregate.where:
            predicates.append(self.condition(current, here, parse_where(self.catalog, current, aggregate.where)))
        value = self._reduced(aggregate.function, current, here, column)
        return f"(select {value} from {', '.join(tables)} where {' and '.join(predicates)})"

    def _reduced(self, function: str, entity: EntityType, alias: str, column: str | None) -> str:
        if column is None:
            return "count(*)"
        value = self.value(entity, alias, column)
        kind = entity.columns[column].kind
        if function == "sum":
            total = Kind.FLOAT if kind is Kind.FLOAT else Kind.BIGINT
            return f"coalesce({self.dialect.number(f'sum({value})', total)}, 0)"
        if function == "avg":
            # sum and count are the same on both databases, where their own averages differ in the last digit
            return f"{self.dialect.number(f'sum({value})', Kind.FLOAT)} / nullif(count({value}), 0)"
        return f"{function}({value})"

    def _arithmetic(
        self, operator: str, left: Expression, right: Expression, entity: EntityType, alias: str
    ) -> str:
        sides = (self.expression(left, entity, alias), self.expression(right, entity, alias))
        if operator == "/":
            divided, divisor = (self.dialect.number(side, Kind.FLOAT) for side in sides)
            return f"({divided} / nullif({divisor}, 0))"
        if operator == "%":
            whole, percent = (self.dialect.number(side, Kind.BIGINT) for side in sides)
            hundredfold = self.dialect.integer(f"{whole} * {percent}")
            return f"({hundredfold} / 100 + {hundredfold} % 100 / 50)"  # rounded, as divisions cut off
        kinds = {kind_of(side, entity, self.catalog) for side in (left, right)}
        if Kind.FLOAT in kinds:
            return f"({sides[0]} {operator} {sides[1]})"
        return self.dialect.integer(f"{self.dialect.number(sides[0], Kind.BIGINT)} {operator} {sides[1]}")


class _Draft(Conditions):
    """Writes marks in the place of aliases and parameters."""

    def __init__(self, like: Conditions) -> None:
        super().__init__(like.catalog, like.rights, like.dialect)
        self.depth, self.timeless, self.policing = like.depth, like.timeless, True
        self.values: list[tuple[Any, Kind, bool]] = []

    def alias(self, letter: str = "x") -> str:
        return f"\x02{super().alias(letter)}\x03"

    def bind(self, value: Any, kind: Kind, many: bool = False) -> str:
        self.values.append((value, kind, many))
        return f"\x02${len(self.values) - 1}\x03"


class _Template:
    """A condition of the rights as SQL, to be put into any statement at the same depth."""

    def __init__(self, like: Conditions, entity: EntityType, condition: Condition) -> None:
        draft = _Draft(like)
        self._sql = draft.condition(entity, "\x02b\x03", condition)
        self._views = tuple(draft.views)
        self._values = tuple(draft.values)

    def written(self, into: Conditions, alias: str) -> str:
        """The condition for the rows of an alias, with aliases and parameters of that statement."""
        names = {"b": alias}

        def filled(mark: re.Match[str]) -> str:
            name = mark[1]
            if name not in names:
                bound = name.startswith("$")
                names[name] = into.bind(*self._values[int(name[1:])]) if bound else into.alias(name[0])
            return names[name]

        into.views.extend(_MARK.sub(filled, view) for view in self._views)
        return _MARK.sub(filled, self._sql)


def compile_meeting(
    catalog: Catalog,
    rights: Rights,
    dialect: DialectName,
    entity: EntityType,
    ids: Sequence[UUID],
    condition: Condition,
) -> tuple[str, tuple[Any, ...]]:
    """A statement for those of ``ids`` whose rows, alive or deleted, meet a policy's condition; its parameters.

    Changes ask it of the rows that they are about to touch.
    """
    one, memo = len(ids) == 1, rights.memo(entity)
    given: Any = ids[0] if one else ids
    kept: dict[tuple[int, bool], _Meeting] = (
        {} if memo is None else memo.setdefault((_Meeting, dialect, entity.name), {})
    )
    found = kept.get((id(condition), one))
    if found is None:
        conditions = Conditions(catalog, rights, DIALECTS[dialect])
        met = conditions.of_policy(entity, "t", condition)
        # the ids are others each time, so they share their place with no other value
        place = conditions.dialect.placeholder(len(conditions.parameters) + 1, Kind.ID, not one)
        # PostgreSQL would plan the statement each time if one were an array
        chosen = f't."id" = {place}' if one else conditions.dialect.among('t."id"', place)
        sql = conditions.headed(f'select t."id" from {identifier(entity.table)} t where {chosen} and {met}')
        found = _Meeting(condition, sql, tuple(conditions.parameters))
        if "now" not in vars(conditions):  # what was asked relative to now is bound as of now
            if len(kept) >= _MEETINGS:  # those that compare with the time itself are others each time
                kept.clear()
            kept[id(condition), one] = found
    return found.sql, (*found.parameters, stored(DIALECTS[dialect], Kind.ID, not one, given))


class _Meeting(NamedTuple):
    """A statement of :func:`compile_meeting`; as long as it is kept, nothing else has its condition's ``id()``."""

    condition: Condition
    sql: str
    parameters: tuple[Any, ...]
    """Those before the ids."""


def is_payload(entity: EntityType, name: str) -> bool:
    """Whether a column holds the fields of other records."""
    return entity.model is Event and name in ("before", "after")


_MARK = re.compile("\x02([^\x03]*)\x03")
_MEETINGS = 20
_CHAIN = 16
_CLIMBING = "with recursive"
_NEXT = ",\n"
_LEVELS = 3
"""Levels of sub-queries below which SQLite gets views: its parser takes nine, and a page is one itself."""
_FLATTENED = 2
"""Levels of sub-queries that PostgreSQL may flatten into joins."""
MAX_NESTING = 8
"""Levels of relations and negations in a filter."""
_COMPARISON = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _balanced(operator: str, parts: Sequence[str], empty: str) -> str:
    """Joined as a balanced tree: a long chain would be nested as deep as it is long."""
    if not parts:
        return empty
    if len(parts) <= _CHAIN:
        return f"({f' {operator} '.join(parts)})"
    half = len(parts) // 2
    left, right = (_balanced(operator, part, empty) for part in (parts[:half], parts[half:]))
    return f"({left} {operator} {right})"


def stored(dialect: Dialect, kind: Kind, many: bool, value: Any) -> Any:
    """A value, or a list of them, as the driver takes it."""
    if not many:
        return dialect.store(value, kind)
    items = [dialect.store(item, kind) for item in value]
    return _json_list(items) if dialect.name == "sqlite" else items


def _json_list(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()
