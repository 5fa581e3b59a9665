"""Figures of groups of rows as SQL.

Groups become up to six table expressions, one inside of the other where the page that they hang on is in line::

    s  the rows that count, with keys and values as columns; what they refer to is joined
    i  groups of s by keys and currency, only where money is asked for: figures that can be put together further
    g  a row for each group, with its figures
    r  the groups that ``having`` and ``first`` leave, ranked, with records that are keys joined in
    q  a JSON object for each
    j  the objects put together

Money is never summed across currencies: each figure of it is a list with one amount for each. Where a statement
needs rows by several currencies, or counts distinct values besides, ``i`` has one section for each of these
groupings, and ``g`` takes every figure from the section that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..entity import EntityType, Kind
from ..tree import (
    All,
    AnyOf,
    Compare,
    Condition,
    Constant,
    Counted,
    Figure,
    FigureField,
    FigureIs,
    FigureOrder,
    Figures,
    GroupKey,
    Groups,
    Having,
    HavingAll,
    HavingAny,
    HavingNot,
    KeyField,
    KeyObject,
    KeyRecord,
    Keys,
    KeyValue,
    Not,
    OrderKey,
    Selection,
)
from .dialect import identifier, literal
from .errors import QueryError
from .grouping import figure_kind, record_of
from .joins import Joins
from .orders import Key
from .rows import PageSql, Parent, Rows

if TYPE_CHECKING:
    from .compile import _Compiler

_DISTINCT = "''"
"""The currency of the section in which distinct values are counted."""


@dataclass
class _Columns:
    """Expressions that a table expression has as columns."""

    letter: str
    found: dict[str, str] = field(default_factory=dict)

    def of(self, expression: str) -> str:
        return self.found.setdefault(expression, f"{self.letter}{len(self.found)}")

    def __str__(self) -> str:
        return "".join(f", {expression} as {name}" for expression, name in self.found.items())


class GroupSql:
    """Writes one aggregation."""

    def __init__(
        self, compiler: _Compiler, entity: EntityType, groups: Groups, parent: Parent | None, *, inline: bool
    ) -> None:
        self.compiler = compiler
        self.dialect = compiler.dialect
        self.entity = entity
        self.groups = groups
        self.parent = parent
        self.inline = inline
        self.chained = parent is not None and not inline
        """Whether all parents are answered by one chain of table expressions."""
        self.slots = (compiler.slot(), compiler.slot(), compiler.slot())
        """The places of ``i``, ``g`` and ``r`` in the chain."""
        self.base = compiler.alias("b")
        if parent is not None and inline:
            compiler.known[self.base, parent.column] = parent.seen
        self.joins = Joins(compiler, entity, self.base)
        self.values = _Columns("v")
        self.keys: dict[tuple[tuple[str, ...], str], str] = {}
        self.kinds: dict[str, Kind] = {}
        self.inner = _Columns("p")
        self.outer = _Columns("f")
        wanted = list(_figures(groups))
        self.sections = self._sections(wanted)
        self.staged = bool(self.sections)
        """Whether there is an ``i``."""

    def _sections(self, wanted: Sequence[Figure]) -> list[str]:
        """The currencies by which rows are grouped besides, as columns of ``s``."""
        columns = self.entity.currencies
        currencies = [
            self._value(self.compiler.value(self.entity, self.base, columns[figure.field]))
            for figure in wanted
            if figure_kind(self.entity, figure) is None
        ]
        found = list(dict.fromkeys(currencies))
        if found and any(figure.function == "count_distinct" for figure in wanted):
            found.append(_DISTINCT)
        return found

    # --- the statement --------------------------------------------------------------------------------------

    def write(self) -> PageSql:
        compiler, groups, dialect = self.compiler, self.groups, self.dialect
        slot = self.slots[2]
        self.joins.begin()
        for key in groups.by:
            self._key(key)
        rows = Rows(slot, self.entity, compiler.alias("g"), distinct=False, inline=self.inline)
        before = compiler.expected
        compiler._expect(1 if not groups.by or groups.first is None else groups.first)
        with compiler.at("[]"):
            item = self._item(rows)
        compiler.expected = before
        met = self._having(groups.having, rows.base) if groups.having is not None else ""
        order = self._order(rows)
        grouped = self._grouped()
        self.joins.end()
        rank = f"row_number() over ({self._partition(rows)}order by {order})" if order else "1"
        head = (f"{rows.base}.pid as pid, " if self.chained else "") + f"{rank} as rn, "
        source = f"from {grouped} {rows.base}"
        found = compiler._fill(rows, source, f" where {met}" if met else "", head)
        items = self._items(found, item, rows, ordered=bool(order))
        array = dialect.array("q.o", "q.rn" if order else "", None)
        name = f"j{compiler.slot()}"
        pid, by = ("q.pid as pid, ", " group by q.pid") if self.chained else ("", "")
        body = f"select {pid}{array} as g0 from {items} q{by}"
        joined = compiler._joined(name, body, self.parent, self.inline)
        return PageSql(f"coalesce({dialect.nested(f'{name}.g0')}, {dialect.empty_array})", (joined,))

    def _partition(self, rows: Rows) -> str:
        return f"partition by {rows.base}.pid " if self.chained else ""

    def _items(self, found: str, item: str, rows: Rows, *, ordered: bool) -> str:
        """``q``: objects, as far as ``first`` goes."""
        pid = "r.pid as pid, " if self.chained else ""
        shown = "" if self.groups.first is None else f" where r.rn <= {self.groups.first}"
        sort = f" order by {'r.pid, ' if self.chained else ''}r.rn" if ordered else ""
        body = f"select {pid}{item} as o, r.rn as rn from {found} r{''.join(rows.json_joins)}{shown}{sort}"
        return self.compiler._table(f"q{self.compiler.slot()}", body, self.inline)

    def _grouped(self) -> str:
        """``g``, now that all its columns are known."""
        names = [*(["pid"] if self.chained else []), *self.keys.values()]
        source, alias = (self._staged(names), "i") if self.staged else (self._rows(), "s")
        keys = ", ".join(f"{alias}.{name} as {name}" for name in names)
        by = f" group by {', '.join(f'{alias}.{name}' for name in names)}" if names else ""
        columns = (keys + str(self.outer)).removeprefix(", ") or "count(*) as n"
        body = f"select {columns} from {source} {alias}{by}"
        return self.compiler._table(f"g{self.slots[1]}", body, self.inline)

    def _staged(self, names: Sequence[str]) -> str:
        """``i``: groups by keys and currency, one section for each grouping."""
        head = "".join(f"s.{name} as {name}, " for name in names)
        parts = []
        for number, currency in enumerate(self.sections):
            columns = f"{head}{number} as section, {currency} as currency{self.inner}"
            terms = [*(f"s.{name}" for name in names), *([currency] if currency != _DISTINCT else [])]
            by = f" group by {', '.join(terms)}" if terms else ""
            parts.append(f"select {columns} from {self._rows()} s{by}")
        return self.compiler._table(f"i{self.slots[0]}", " union all ".join(parts), self.inline)

    def _rows(self) -> str:
        """``s``: the rows that count."""
        compiler, entity, parent, groups = self.compiler, self.entity, self.parent, self.groups
        predicates = compiler.visible(entity, self.base)
        if groups.where is not None:
            predicates.append(compiler.condition(entity, self.base, groups.where))
        source = f"{identifier(entity.table)} {self.base}"
        head = "1 as one"
        if parent is not None:
            of_parent = parent.predicates(self.base, "p.id" if self.chained else parent.seen)
            predicates = [*of_parent, *predicates]
        if self.chained and parent is not None:
            source = f"{parent.ids} p cross join {source}"
            head += ", p.id as pid"
        columns = "".join(f", {value} as {name}" for value, name in self.values.found.items())
        where = f" where {' and '.join(predicates)}" if predicates else ""
        body = f"select {head}{columns} from {source}{self.joins.sql}{where}"
        if self.chained and parent is not None and not groups.by:
            # a parent without rows has its one group nevertheless
            body += f" union all select null, p.id{', null' * len(self.values.found)} from {parent.ids} p"
        return f"({body})"

    # --- keys -----------------------------------------------------------------------------------------------

    def _key(self, key: GroupKey) -> None:
        """Adds a key to the columns of ``s``; it has the same name in ``i`` and ``g``."""
        compiler, entity, alias = self.compiler, self.entity, self.base
        for step in key.path:
            entity, alias = self.joins.follow(entity, alias, step)
        kind = _kind(entity, key)
        value = compiler.follow_path([key.field], entity, alias)
        if key.unit is not None:
            zone = compiler.bind(key.zone, Kind.TEXT) if kind is Kind.DATETIME else literal("UTC")
            value = self.dialect.period(value, key.unit, kind, zone)
            kind = Kind.DATE
        elif kind is Kind.FLOAT:
            value = f"({value} + 0.0)"  # there are two zeros
        name = self.values.of(value)
        self.keys[key.path, key.field] = name
        self.kinds[name] = kind

    def _named(self, path: tuple[str, ...], name: str) -> str:
        """The column of a key. Raises :class:`QueryError` where rows are not grouped by it."""
        if (path, name) not in self.keys:
            raise QueryError(f"{'.'.join((*path, name))} is no key of the groups; add it to groupBy")
        return self.keys[path, name]

    # --- figures --------------------------------------------------------------------------------------------

    def _value(self, expression: str) -> str:
        return f"s.{self.values.of(expression)}"

    def _part(self, aggregate: str, merge: str, section: int) -> str:
        """An aggregate over the rows of ``s`` as one on the level of ``g``."""
        if not self.staged:
            return aggregate
        chosen = f" filter (where i.section = {section})" if len(self.sections) > 1 else ""
        return f"{merge}(i.{self.inner.of(aggregate)}){chosen}"

    def _count(self) -> str:
        counted = "count(s.one)" if self.chained else "count(*)"
        return f"coalesce({self.dialect.number(self._part(counted, 'sum', 0), Kind.BIGINT)}, 0)"

    def figure(self, figure: Figure) -> str:
        """A figure that is no money, as a column of ``g``."""
        return self.outer.of(self._figure(figure))

    def _figure(self, figure: Figure) -> str:
        if figure.function == "count":
            return self._count()
        kind = figure_kind(self.entity, figure)
        value = self._value(self._field(figure.field))
        match figure.function:
            case "count_distinct":
                section = len(self.sections) - 1
                return f"coalesce({self._part(f'count(distinct {value})', 'max', section)}, 0)"
            case "min" | "max":
                return self._part(f"{figure.function}({value})", figure.function, 0)
        own = Kind.FLOAT if self._is_float(figure.field) else Kind.BIGINT
        sums = [self._part(sum, "sum", 0) for sum in self.dialect.sums(value, own)]
        count = f"coalesce({self._part(f'count({value})', 'sum', 0)}, 0)"
        if figure.function == "sum":
            return self.dialect.total(sums, count, kind or Kind.BIGINT)
        return self.dialect.mean(sums, count, own)

    def _is_float(self, name: str) -> bool:
        found = self.entity.columns.get(name) or self.entity.expressions[name]
        return found.kind is Kind.FLOAT

    def _field(self, name: str) -> str:
        """What a figure is of, for a row of ``s``."""
        compiler, entity = self.compiler, self.entity
        if name in entity.to_one:
            _, other = self.joins.follow(entity, self.base, name)
            return f'{other}."id"'
        value = compiler.follow_path([name], entity, self.base)
        return value if name in entity.money or not self._is_float(name) else f"({value} + 0.0)"

    def _amount(self, figure: Figure) -> tuple[str, str]:
        """A figure of money in one currency, for a row of ``i``: the amount, and whether it is there."""
        value = self._value(self._field(figure.field))
        currency = self.compiler.value(self.entity, self.base, self.entity.currencies[figure.field])
        section = self.sections.index(self._value(currency))
        chosen = f" and i.section = {section}" if len(self.sections) > 1 else ""
        if figure.function in ("min", "max"):
            found = f"i.{self.inner.of(f'{figure.function}({value})')}"
            return found, f"i.currency is not null and {found} is not null{chosen}"
        sums = [f"i.{self.inner.of(sum)}" for sum in self.dialect.sums(value, Kind.BIGINT)]
        there = f"i.currency is not null and {sums[0]} is not null{chosen}"
        if figure.function == "avg":
            count = f"i.{self.inner.of(f'count({value})')}"
            return self.dialect.rounded_mean(sums, count), there
        return self.dialect.total(sums, "", Kind.BIGINT), there

    def _money(self, figure: Figure, parts: Sequence[tuple[str, str]]) -> str:
        """A list of money, one amount for each currency, as a column of ``g``."""
        amount, there = self._amount(figure)
        values = {
            "amount": self.dialect.out(Kind.BIGINT, amount),
            "currency": "i.currency",
            "__typename": literal("Money"),
        }
        built = self.dialect.object([(key, values[part]) for key, part in parts])
        return self.outer.of(self.dialect.in_order(built, "i.currency", there))

    # --- objects --------------------------------------------------------------------------------------------

    def _item(self, rows: Rows) -> str:
        """The JSON object of a group, as seen from outside of ``r``."""
        pairs: list[tuple[str, str]] = []
        for part in self.groups.parts:
            match part:
                case Constant(key, value):
                    pairs.append((key, literal(value)))
                case Counted(key):
                    pairs.append((key, self._shown(rows, Figure("count"))))
                case Keys(key, fields):
                    with self.compiler.at(key):
                        pairs.append((key, self.dialect.object(self._keys(rows, fields))))
                case Figures(key, function, figures):
                    inner = [(item.key, self._figure_field(rows, function, item)) for item in figures]
                    pairs.append((key, self.dialect.object(inner)))
        return self.dialect.object(pairs)

    def _shown(self, rows: Rows, figure: Figure) -> str:
        kind = figure_kind(self.entity, figure) or Kind.BIGINT
        return self.dialect.out(kind, rows.output(f"{rows.base}.{self.figure(figure)}"))

    def _figure_field(self, rows: Rows, function: str, item: FigureField | Constant) -> str:
        if isinstance(item, Constant):
            return literal(item.value)
        figure = Figure(function, item.name)  # type: ignore[arg-type]
        if figure_kind(self.entity, figure) is not None:
            return self._shown(rows, figure)
        found = rows.output(f"{rows.base}.{self._money(figure, item.parts)}")
        return f"coalesce({self.dialect.nested(found)}, {self.dialect.empty_array})"

    def _keys(self, rows: Rows, fields: Sequence[KeyField]) -> list[tuple[str, str]]:
        pairs: list[tuple[str, str]] = []
        for item in fields:
            match item:
                case Constant(key, value):
                    pairs.append((key, literal(value)))
                case KeyValue(key, by, enum):
                    pairs.append((key, self._key_value(rows, by, enum)))
                case KeyRecord(key, path, selection):
                    target, other = self._record(rows, path)
                    with self.compiler.at(key):
                        pairs.append((key, self.compiler._joined_object(rows, target, other, selection)))
                case KeyObject(key, inner):
                    built = self.dialect.object(self._keys(rows, inner))
                    there = " or ".join(f"{value} is not null" for value in self._below(rows, inner))
                    pairs.append((key, f"case when {there} then {built} end" if there else "null"))
        return pairs

    def _key_value(self, rows: Rows, by: GroupKey, enum: bool) -> str:
        name = self._named(by.path, by.field)
        value = rows.output(f"{rows.base}.{name}")
        return f"upper({value})" if enum else self.dialect.out(self.kinds[name], value)

    def _below(self, rows: Rows, fields: Sequence[KeyField]) -> Iterator[str]:
        """The values of all keys behind a relation."""
        for item in fields:
            if isinstance(item, KeyValue):
                yield rows.output(f"{rows.base}.{self._named(item.by.path, item.by.field)}")
            elif isinstance(item, KeyRecord):
                yield rows.output(f"{rows.base}.{self._named(item.path, 'id')}")
            elif isinstance(item, KeyObject):
                yield from self._below(rows, item.fields)

    def _record(self, rows: Rows, path: tuple[str, ...]) -> tuple[EntityType, str]:
        """Joins a record that is a key to the groups."""
        compiler, target = self.compiler, self.entity
        for step in path:
            target = compiler.catalog[str(target.leads_to(step))]
        on = [f'{{other}}."id" = {rows.base}.{self._named(path, "id")}']
        return target, compiler._joined_table(rows, target, f"{rows.base}.{'.'.join(path)}", on)

    # --- conditions and order ---------------------------------------------------------------------------------

    def _having(self, having: Having, alias: str) -> str:
        match having:
            case HavingAll(items):
                return f"({' and '.join(self._having(item, alias) for item in items) or 'true'})"
            case HavingAny(items):
                return f"({' or '.join(self._having(item, alias) for item in items) or 'false'})"
            case HavingNot(item):
                return f"(({self._having(item, alias)}) is not true)"
            case FigureIs(figure, condition):
                return self._figure_is(figure, condition, alias)

    def _figure_is(self, figure: Figure, condition: Condition, alias: str) -> str:
        kind = figure_kind(self.entity, figure)
        if kind is not None:
            return self._compared(condition, {"value": (f"{alias}.{self.figure(figure)}", kind)})
        amount, there = self._amount(figure)
        met = self._compared(condition, {"amount": (amount, Kind.BIGINT), "currency": ("i.currency", Kind.TEXT)})
        column = self.outer.of(f"max(case when {there} and {met} then 1 else 0 end)")
        return f"coalesce({alias}.{column}, 0) = 1"

    def _compared(self, condition: Condition, known: Mapping[str, tuple[str, Kind]]) -> str:
        match condition:
            case All(items):
                return f"({' and '.join(self._compared(item, known) for item in items) or 'true'})"
            case AnyOf(items):
                return f"({' or '.join(self._compared(item, known) for item in items) or 'false'})"
            case Not(item):
                return f"(({self._compared(item, known)}) is not true)"
            case Compare(name, operator, value):
                left, kind = known[name]
                return self.compiler._compared(left, kind, operator, value)
        raise TypeError(f"{condition!r} is no condition on a figure")

    def _order(self, rows: Rows) -> str:
        """The order of groups, total by their keys; empty where there is but one."""
        if not self.groups.by:
            return ""
        parts = []
        for item in self.groups.order:
            value, kind = self._ordered_by(rows, item)
            parts.append(self._directed(value, item.direction, kind))
        for name in self.keys.values():
            parts.append(self._directed(f"{rows.base}.{name}", OrderKey("").direction, self.kinds[name]))
        return ", ".join(parts)

    def _directed(self, value: str, direction: object, kind: Kind) -> str:
        key = Key(OrderKey("", direction), kind, nullable=True)  # type: ignore[arg-type]
        return self.compiler.directed(value, key, backward=False)

    def _ordered_by(self, rows: Rows, item: OrderKey | FigureOrder) -> tuple[str, Kind]:
        if isinstance(item, FigureOrder):
            kind = figure_kind(self.entity, item.figure)
            if kind is not None:
                return f"{rows.base}.{self.figure(item.figure)}", kind
            amount, there = self._amount(item.figure)
            currency = self.compiler.bind(item.currency, Kind.TEXT)
            chosen = f"max({amount}) filter (where {there} and i.currency = {currency})"
            return f"{rows.base}.{self.outer.of(chosen)}", Kind.BIGINT
        if (item.path, item.field) in self.keys:
            name = self.keys[item.path, item.field]
            return f"{rows.base}.{name}", self.kinds[name]
        key = record_of(self.groups.by, item)
        if key is None:
            raise QueryError(f"{'.'.join((*item.path, item.field))} is no key of the groups; add it to groupBy")
        target, other = self._record(rows, key.path)
        rest = OrderKey(item.field, item.direction, item.path[len(key.path) :])
        made = self.compiler.keys(target, (rest,))[0]
        return self.compiler.key_sql(target, other, made), made.kind


def _kind(entity: EntityType, key: GroupKey) -> Kind:
    found = entity.columns.get(key.field) or entity.expressions.get(key.field)
    if found is None or key.field in entity.internal:
        raise QueryError(f"{entity.name} has no column {key.field!r} to group by")
    return found.kind


def _figures(groups: Groups) -> Iterator[Figure]:
    """Every figure that is selected, compared or ordered by."""
    for part in groups.parts:
        if isinstance(part, Figures):
            yield from (Figure(part.function, item.name) for item in part.fields if isinstance(item, FigureField))
    for order in groups.order:
        if isinstance(order, FigureOrder):
            yield order.figure
    if groups.having is not None:
        yield from _compared_figures(groups.having)


def _compared_figures(having: Having) -> Iterator[Figure]:
    match having:
        case FigureIs(figure, _):
            yield figure
        case HavingNot(item):
            yield from _compared_figures(item)
        case HavingAll(items) | HavingAny(items):
            for item in items:
                yield from _compared_figures(item)


def records(groups: Groups) -> Iterator[Selection]:
    """What is selected of records that are keys."""
    waiting: list[KeyField] = [item for part in groups.parts if isinstance(part, Keys) for item in part.fields]
    while waiting:
        item = waiting.pop()
        if isinstance(item, KeyRecord):
            yield item.fields
        elif isinstance(item, KeyObject):
            waiting.extend(item.fields)


__all__ = ["GroupSql", "records"]
