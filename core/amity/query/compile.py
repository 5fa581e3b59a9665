"""The compiler: roots of a query tree → one SQL statement that builds the JSON of all answers.

A page of rows becomes three table expressions: ``r`` holds the rows, with every column that its selection
needs, also those behind to-one relations (left joins); ``q`` turns each into JSON; ``j`` puts them together.
``totalCount`` adds a fourth, ``n``. A nested page hangs on the rows of its parent.

They are laid out in one of two ways. In line: the ``j`` of a page is joined laterally to the rows of its parent,
and evaluated for each of them; this is as fast as PostgreSQL can be. As a chain, flat however deep the query is: a
nested ``r`` reads the ids in its parent's, its ``j`` is grouped by the parent, and the parent's ``q`` joins it.
SQLite has no other way, and its parser would overflow; PostgreSQL needs it where several rows share a parent, as
customers share an organization, so that what hangs on it is read once.

Every table enters a statement through :meth:`Conditions.visible`, which adds what access demands of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

from ..access import Rights
from ..database import Dialect as DialectName
from ..entity import Catalog, EntityType, Kind
from ..entity.expression import Aggregate, Arithmetic, Coalesced, Expression
from ..entity.expression import Field as Path
from ..given import Given
from ..tree import (
    Aggregated,
    Aggregation,
    All,
    Ancestors,
    AnyLinked,
    AnyOf,
    Batched,
    Can,
    Choices,
    Compare,
    Computed,
    Condition,
    Connected,
    Constant,
    Cursor,
    Direction,
    Edges,
    Field,
    Groups,
    Linked,
    Many,
    Money,
    Never,
    Node,
    Nodes,
    Not,
    One,
    OrderKey,
    Page,
    PageInfo,
    Part,
    Quantified,
    Reaches,
    Root,
    Scalar,
    Search,
    Selection,
    Through,
    Timeline,
    TotalCount,
)
from . import cursor as cursors
from .aggregates import GroupSql, records
from .conditions import is_payload
from .dialect import DIALECTS, Dialect, identifier, literal
from .errors import QueryError
from .hits import compile_search
from .joins import MAX_JOINS, too_many_joins
from .orders import Key
from .rows import PageShape, PageSql, Parent, Rows
from .statement import BatchPlan, ComputedUse, Statement, Step
from .timeline import ENTRY, RECORD, Merged, Timelines


def compile_roots(
    catalog: Catalog,
    rights: Rights,
    dialect: DialectName,
    roots: Mapping[str, Root],
    *,
    without_expressions: bool = False,
    max_rows: int | None = None,
) -> Statement:
    """Roots by the key of their answer → the statement. Raises :class:`QueryError`.

    ``max_rows`` refuses what could answer with more rows, by the sizes of its pages. ``without_expressions``
    answers plugins' expression fields with null, for when one of them broke the statement.
    """
    compiler = _Compiler(catalog, rights, DIALECTS[dialect], without_expressions, max_rows)
    return compiler.compile(roots)


MAX_LINKS = 7
"""Levels of to-one relations below a row. SQLite's parser takes nine."""


class _Compiler(Timelines):
    """Pages, rows and objects."""

    def __init__(
        self,
        catalog: Catalog,
        rights: Rights,
        dialect: Dialect,
        without_expressions: bool,
        max_rows: int | None,
    ) -> None:
        super().__init__(catalog, rights, dialect)
        self.without_expressions = without_expressions
        self.batches: list[BatchPlan] = []
        self.computed: list[ComputedUse] = []
        self.root = ""
        self.path: list[Step] = []
        self.nested = 0
        self.max_rows = max_rows
        self.sums = False
        self.expected = 1
        """Rows that the page we are in can have, for all its parents together."""
        self.total = 0

    def compile(self, roots: Mapping[str, Root]) -> Statement:
        answers: list[str] = []
        for key, root in roots.items():
            self.root = key
            self.path = []
            self.expected = 1
            answers.append(f"({self._root(root)}) as {identifier(f'a{len(answers)}')}")
        head = "with " + ",\n".join(cte for cte in self.ctes if cte) + "\n" if any(self.ctes) else ""
        return Statement(
            self.headed(f"{head}select {', '.join(answers)}"),
            tuple(self.parameters),
            tuple(roots),
            tuple(self.batches),
            tuple(self.computed),
            self.sums,
        )

    def slot(self) -> int:
        """A place in the chain of table expressions, to be filled once its text is known."""
        self.ctes.append("")
        return len(self.ctes) - 1

    @contextmanager
    def at(self, *steps: Step) -> Iterator[None]:
        """Remembers where in the answer we are, for the errors of plugins' fields."""
        self.path.extend(steps)
        yield
        del self.path[len(self.path) - len(steps) :]

    # --- roots ----------------------------------------------------------------------------------------------

    def _root(self, root: Root) -> str:
        if isinstance(root, Search):
            return compile_search(self, root)
        entity = self.catalog[root.entity]
        if isinstance(root, One):
            return self._one(entity, root)
        if isinstance(root, Many):
            return self._many(entity, root)
        if isinstance(root, Aggregation):
            page = self._groups(entity, root.groups, None)
        else:
            page = self._page(entity, root.page, None)
        tables = "".join(page.joins)
        return f"select {page.value} from (select 1 as one) o{tables}"

    def _one(self, entity: EntityType, root: One) -> str:
        inline = self.dialect.lateral and not _shares(root.fields)
        rows = Rows(self.slot(), entity, self.alias(), distinct=True, inline=inline)
        value = self._object(rows, entity, rows.base, root.fields)
        predicates = [
            f'{rows.base}."id" = {self.bind(root.id, Kind.ID)}',
            *self.visible(entity, rows.base),
        ]
        source = f"from {identifier(entity.table)} {rows.base}"
        found = self._fill(rows, source, f" where {' and '.join(predicates)}", "")
        return f"select {value} from {found} r{''.join(rows.json_joins)}"

    def _many(self, entity: EntityType, root: Many) -> str:
        # the same id may be asked for twice
        rows = Rows(self.slot(), entity, self.alias(), distinct=False, inline=False)
        self.expected = 1
        self._expect(len(root.ids))
        with self.at("[]"):
            value = self._object(rows, entity, rows.base, root.fields)
        present = rows.output(f'{rows.base}."id"')
        ids = self.alias("p")
        join = [f'{rows.base}."id" = {ids}.id', *self.visible(entity, rows.base)]
        bound = self.bind(list(root.ids), Kind.ID, many=True)
        source = (
            f"from {self.dialect.ids(bound, ids)} "
            f"left join {identifier(entity.table)} {rows.base} on {' and '.join(join)}"
        )
        found = self._fill(rows, source, "", f"{ids}.rn as rn, ")
        item = f"case when {present} is not null then {value} else {self._null()} end"
        items = self._table(
            f"j{self.slot()}",
            f"select {item} as o, r.rn as rn from {found} r{''.join(rows.json_joins)} order by r.rn",
            inline=False,
        )
        return f"select coalesce({self.dialect.array('q.o', 'q.rn', None)}, {self._empty()}) from {items} q"

    def _null(self) -> str:
        return "json('null')" if self.dialect.name == "sqlite" else "'null'::json"

    def _empty(self) -> str:
        return self.dialect.empty_array

    def _fill(self, rows: Rows, source: str, where: str, head: str) -> str:
        """``r`` as something to select from, now that all its outputs and joins are known."""
        outputs = ", ".join(f"{expression} as {name}" for expression, name in rows.outputs.items())
        columns = (head + outputs).rstrip(", ") or "1 as one"
        return self._table(rows.name, f"select {columns} {source}{''.join(rows.joins)}{where}", rows.inline)

    def _table(self, name: str, body: str, inline: bool) -> str:
        """A table expression as something to select from: in line, or in the chain, at the slot of its name."""
        if inline:
            return f"({body})"
        self.ctes[int(name[1:])] = f"{name} as materialized ({body})"
        return name

    # --- pages ----------------------------------------------------------------------------------------------

    def _page(
        self, entity: EntityType, page: Page, parent: Parent | None, merged: Merged | None = None
    ) -> PageSql:
        """A page of rows: its table expressions, and its JSON as seen from where it is joined."""
        keys = self.keys(entity, page.order)
        backward = page.last is not None
        limit = page.last if backward else page.first
        assembled: list[tuple[str, Callable[[str], str]]] = []
        inline = self.dialect.lateral and (parent is None or parent.distinct) and not any(map(_shares, _of(page)))
        distinct = parent is None or parent.distinct
        rows = Rows(self.slot(), entity, self.alias(), distinct=distinct, inline=inline)
        rows.repeated = inline and parent is not None
        rows.limit = limit
        rows.counted = any(_looks_ahead(part) for part in page.parts)
        before = self.expected
        self._expect(1 if limit is None else limit)
        shape = PageShape(rows, keys, page, cursors.digest(entity, [key.order for key in keys]), merged)
        counts: list[str] = []
        for part in page.parts:
            match part:
                case Nodes(key, fields):
                    assembled.append((key, self._nodes(shape, key, fields)))
                case Edges(key, _):
                    assembled.append((key, self._edges(shape, part)))
                case PageInfo(key, _):
                    assembled.append((key, self._page_info(shape, part)))
                case TotalCount(key):
                    counts.append(key)
                    assembled.append((key, lambda _: ""))
                case Constant(key, value):
                    assembled.append((key, lambda _, value=value: f"{literal(value)}"))  # type: ignore[misc]
        self.expected = before
        joins: list[str] = []
        name = total = ""
        if shape.aggregates:
            name, joined = self._write_page(shape, parent, backward)
            joins.append(joined)
        if counts:
            total, joined = self._count(entity, page, parent, inline, merged)
            joins.append(joined)
        pairs = []
        for key, build in assembled:
            text = f"cast(coalesce({total}.c, 0) as text)" if key in counts else build(name)
            pairs.append((key, text))
        return PageSql(self.dialect.object(pairs), tuple(joins))

    def _expect(self, size: int) -> None:
        """Counts what a page can add to the answer, as its sizes say, before anything is run."""
        self.expected *= size
        self.total += self.expected
        if self.max_rows is not None and self.total > self.max_rows:
            raise QueryError(
                f"could answer with {self.total:,} rows or more, and {self.max_rows:,} are allowed; "
                "ask for smaller pages (first), above all of nested relations"
            )

    def _joined(self, name: str, body: str, parent: Parent | None, inline: bool) -> str:
        """Joins a ``j`` or an ``n`` to the rows that it belongs to."""
        table = self._table(name, body, inline)
        if inline:
            return f" cross join lateral {table} {name}"
        on = f"{name}.pid = {parent.seen}" if parent else "1 = 1"
        return f" left join {name} on {on}"

    def _nodes(self, shape: PageShape, key: str, fields: Selection | Choices) -> Callable[[str], str]:
        with self.at(key, "[]"):
            value = self._row(shape.rows, fields)
        return self._list(shape, value)

    def _row(self, rows: Rows, fields: Selection | Choices) -> str:
        if isinstance(fields, Mapping):
            return self._any_linked(rows, rows.entity, rows.base, RECORD, fields)
        return self._object(rows, rows.entity, rows.base, fields)

    def _edges(self, shape: PageShape, edges: Edges) -> Callable[[str], str]:
        pairs: list[tuple[str, str]] = []
        with self.at(edges.key, "[]"):
            for part in edges.parts:
                if isinstance(part, Cursor):
                    pairs.append((part.key, self._cursor(shape)))
                elif isinstance(part, Constant):
                    pairs.append((part.key, literal(part.value)))
                elif isinstance(part, Scalar):
                    pairs.append((part.key, self._field(shape.rows, shape.rows.entity, shape.rows.base, part)))
                else:
                    with self.at(part.key):
                        value = self._row(shape.rows, part.fields)
                    pairs.append((part.key, value))
        return self._list(shape, self.dialect.object(pairs))

    def _list(self, shape: PageShape, value: str) -> Callable[[str], str]:
        column = shape.item(value)
        order = "q.rn desc" if shape.page.last is not None else "q.rn"
        if not self._ranked(shape):
            order = ""
        array = self.dialect.array(f"q.{column}", order, shape.shown())
        name = shape.aggregate(array)
        return lambda j: f"coalesce({self.dialect.nested(f'{j}.{name}')}, {self._empty()})"

    def _cursor(self, shape: PageShape) -> str:
        values = []
        for key in shape.keys:
            sql = self.key_sql(shape.rows.entity, shape.rows.base, key)
            if key.order.path or key.order.field in shape.rows.entity.expressions:
                values.append((key.kind, shape.rows.output(sql)))
            else:
                values.append((key.kind, shape.rows.output(self._recorded(shape.rows, sql))))
        return self.dialect.cursor(shape.digest, values)

    def _recorded(self, rows: Rows, sql: str) -> str:
        """Notes that a plain column of the base table is used outside of its page."""
        alias, _, name = sql.partition(".")
        return rows.column(alias, name.strip('"'))

    def _page_info(self, shape: PageShape, info: PageInfo) -> Callable[[str], str]:
        page = shape.page
        backward = page.last is not None
        values: dict[str, Callable[[str], str]] = {}
        for _, name in info.parts:
            if name in ("hasNextPage", "hasPreviousPage"):
                if (name == "hasPreviousPage") is backward:
                    values[name] = self._has_more(shape)
                else:
                    known = page.before is not None if name == "hasNextPage" else page.after is not None
                    values[name] = lambda _, known=known: self.dialect.boolean(  # type: ignore[misc]
                        "1 = 1" if known else "1 = 0"
                    )
            elif name in ("startCursor", "endCursor"):
                values[name] = self._boundary(shape, first=(name == "startCursor") is not backward)
            elif name == "__typename":
                values[name] = lambda _: literal("PageInfo")
            else:
                raise QueryError(f"PageInfo has no {name!r}")

        def assemble(j: str) -> str:
            return self.dialect.object([(key, values[name](j)) for key, name in info.parts])

        return assemble

    def _has_more(self, shape: PageShape) -> Callable[[str], str]:
        limit = shape.rows.limit
        if limit is None:
            name = shape.aggregate("0")
            return lambda j: self.dialect.boolean(f"{j}.{name} = 1")
        name = shape.aggregate("max(q.cnt)")
        return lambda j: self.dialect.boolean(f"coalesce({j}.{name}, 0) > {limit}")

    def _boundary(self, shape: PageShape, first: bool) -> Callable[[str], str]:
        column = shape.item(self._cursor(shape))
        if first:
            at = "q.rn = 1"
        else:
            limit = shape.rows.limit
            at = (
                "q.rn = q.cnt"
                if limit is None
                else f"q.rn = case when q.cnt > {limit} then {limit} else q.cnt end"
            )
        shown = shape.shown()
        condition = f"{at} and {shown}" if shown else at
        name = shape.aggregate(f"max(q.{column}) filter (where {condition})")
        return lambda j: f"{j}.{name}"

    def _ranked(self, shape: PageShape) -> bool:
        """Whether rows carry their rank; if not, they are only sorted."""
        return not shape.rows.inline or shape.rows.counted or shape.page.last is not None

    def _write_page(self, shape: PageShape, parent: Parent | None, backward: bool) -> tuple[str, str]:
        """``r``, ``q`` and ``j`` of a page: the name of ``j``, and how it is joined."""
        rows, entity = shape.rows, shape.rows.entity
        outer_order = self.order_by(entity, rows.base, shape.keys, backward)
        for key in shape.keys:
            self._used_by_key(rows, key)
        fetched = None if rows.limit is None else rows.limit + (1 if rows.counted else 0)
        limit = f" limit {fetched}" if fetched is not None else ""
        grouped = parent is not None and not rows.inline
        partition = "partition by p.id " if grouped else ""
        head = "p.id as pid, " if grouped else ""
        if self._ranked(shape):
            head += f"row_number() over ({partition}order by {outer_order}) as rn, "
        if rows.counted:
            head += f"count(*) over ({partition.strip()}) as cnt, "
        if shape.merged is not None:
            assert parent is not None
            filters = partial(self._filters, ENTRY, shape=shape)
            place = (rows.base, parent.seen) if rows.inline else (rows.base, None)
            source, after = self.merged(shape.merged, parent.ids, place, filters, shape.keys, backward, fetched)
        else:
            source, after = self._of_entity(shape, parent, backward, limit)
        sort = f"{'r.pid, ' if grouped else ''}r.rn{' desc' if backward else ''}"
        if not self._ranked(shape):
            sort = self._sorted(shape, backward)
        found = self._fill(rows, source, after, head)
        slot = self.slot()
        columns = ", ".join(
            [
                *(["r.pid as pid"] if grouped else []),
                *(["r.rn as rn"] if self._ranked(shape) else []),
                *(["r.cnt as cnt"] if rows.counted else []),
                *(f"{value} as {name}" for value, name in shape.items.items()),
            ]
        )
        items = self._table(
            f"q{slot}",
            f"select {columns} from {found} r{''.join(rows.json_joins)} order by {sort}",
            rows.inline,
        )
        aggregates = ", ".join(f"{value} as {name}" for value, name in shape.aggregates.items())
        name = f"j{self.slot()}"
        body = f"select {aggregates} from {items} q"
        if grouped:
            body = f"select q.pid as pid, {aggregates} from {items} q group by q.pid"
        return name, self._joined(name, body, parent, rows.inline)

    def _of_entity(self, shape: PageShape, parent: Parent | None, backward: bool, limit: str) -> tuple[str, str]:
        """The rows of a page, from the table of its entity: ``from …``, and what comes behind the joins."""
        rows, entity = shape.rows, shape.rows.entity
        inner = self.alias("b")
        over = parent.over if parent else None
        predicates = [*self.visible(entity, inner, over), *self._filters(entity, inner, shape)]
        order = self.order_by(entity, inner, shape.keys, backward)
        if parent is not None and not rows.inline:
            return self._of_parent(rows, parent, inner, predicates, order, limit)
        if parent is not None:
            predicates = [*parent.predicates(inner, parent.seen), *predicates]
        columns = ", ".join(f"{inner}.{identifier(name)}" for name in {"id": None, **rows.used})
        where = f" where {' and '.join(predicates)}" if predicates else ""
        table = f"select {columns} from {identifier(entity.table)} {inner}{where} order by {order}{limit}"
        return f"from ({table}) {rows.base}", ""

    def _sorted(self, shape: PageShape, backward: bool) -> str:
        """The order of a page, by outputs of its ``r``."""
        rows, parts = shape.rows, []
        for key in shape.keys:
            value = rows.output(self.key_sql(rows.entity, rows.base, key))
            parts.append(self.directed(value, key, backward))
        return ", ".join(parts)

    def _used_by_key(self, rows: Rows, key: Key) -> None:
        """Columns of the base table that an order key reads, also inside of expressions."""
        entity = rows.entity
        first = key.order.path[0] if key.order.path else key.order.field
        if key.order.path:
            rows.used[entity.to_one[first].column.name if first in entity.to_one else "id"] = None
        elif first in entity.expressions:
            self._used_by_expression(rows, entity.expressions[first].expression)
        elif first in entity.money:
            rows.used[entity.money[first].amount] = None
        else:
            rows.used[first] = None

    def _used_by_expression(self, rows: Rows, expression: Expression) -> None:
        entity = rows.entity
        rows.used["id"] = None
        match expression:
            case Path(path) | Aggregate(path=path):
                first = path.split(".")[0]
                if first in entity.to_one:
                    rows.used[entity.to_one[first].column.name] = None
                elif first in entity.columns:
                    rows.used[first] = None
                elif first in entity.expressions:
                    self._used_by_expression(rows, entity.expressions[first].expression)
            case Arithmetic(_, left, right):
                self._used_by_expression(rows, left)
                self._used_by_expression(rows, right)
            case Coalesced(items):
                for item in items:
                    self._used_by_expression(rows, item)

    def _filters(self, entity: EntityType, alias: str, shape: PageShape) -> list[str]:
        page = shape.page
        found = []
        if page.where is not None:
            found.append(self.condition(entity, alias, page.where))
        kinds = [(key.kind, key.nullable) for key in shape.keys]
        for cursor, backward in ((page.after, False), (page.before, True)):
            if cursor is not None:
                values = _position(cursor, shape.digest, kinds)
                found.append(self.beyond(entity, alias, shape.keys, values, backward))
        return found

    def _of_parent(
        self,
        rows: Rows,
        parent: Parent,
        inner: str,
        predicates: list[str],
        order: str,
        limit: str,
    ) -> tuple[str, str]:
        """Rows for each parent: at most ``limit`` each, found through the index of the relation."""
        table = identifier(rows.entity.table)
        where = " and ".join([*parent.predicates(inner, "p.id"), *predicates])
        if self.dialect.lateral:
            columns = ", ".join(f"{inner}.{identifier(name)}" for name in {"id": None, **rows.used})
            ordered = f" order by {order}{limit}" if limit else ""
            return (
                f"from {parent.ids} p cross join lateral "
                f"(select {columns} from {table} {inner} where {where}{ordered}) {rows.base}"
            ), ""
        chosen = f"select {inner}.rowid from {table} {inner} where {where} order by {order}{limit}"
        return (
            f"from {parent.ids} p cross join {table} {rows.base}",
            f" where {rows.base}.rowid in ({chosen})",
        )

    def _count(
        self, entity: EntityType, page: Page, parent: Parent | None, inline: bool, merged: Merged | None = None
    ) -> tuple[str, str]:
        """``n``: how many rows there are, whatever the page; its name, and how it is joined."""
        name = f"n{self.slot()}"
        if merged is not None:
            assert parent is not None
            found = self.counted(merged, parent.ids, parent.seen if inline else None, page.where)
            return name, self._joined(name, found, parent, inline)
        alias = self.alias("b")
        predicates = self.visible(entity, alias, parent.over if parent else None)
        if page.where is not None:
            predicates.append(self.condition(entity, alias, page.where))
        if parent is None or inline:
            if parent is not None:
                predicates = [*parent.predicates(alias, parent.seen), *predicates]
            where = f" where {' and '.join(predicates)}" if predicates else ""
            body = f"select count(*) as c from {identifier(entity.table)} {alias}{where}"
        else:
            join = " and ".join([*parent.predicates(alias, "p.id"), *predicates])
            body = (
                f"select p.id as pid, count(*) as c from {parent.ids} p "
                f"join {identifier(entity.table)} {alias} on {join} group by p.id"
            )
        return name, self._joined(name, body, parent, inline)

    def _groups(self, entity: EntityType, groups: Groups, parent: Parent | None) -> PageSql:
        """Groups of rows: their table expressions, and their JSON as seen from where it is joined."""
        self.sums = True
        inline = self.dialect.lateral and (parent is None or parent.distinct) and not _hanging(groups)
        return GroupSql(self, entity, groups, parent, inline=inline).write()

    # --- objects --------------------------------------------------------------------------------------------

    def _object(self, rows: Rows, entity: EntityType, alias: str, fields: Selection) -> str:
        """The JSON object of a row, as seen from outside of ``r``."""
        pairs: list[tuple[str, str]] = []
        hidden: list[tuple[str, str]] = []
        for item in fields:
            if isinstance(item, Batched):
                pairs.append((item.key, "null"))
                hidden.append(self._batched(rows, entity, alias, item))
            else:
                pairs.append((item.key, self._field(rows, entity, alias, item)))
        return self.dialect.object([*pairs, *hidden])

    def _field(self, rows: Rows, entity: EntityType, alias: str, item: Field) -> str:
        match item:
            case Scalar(_, name, enum):
                return self._scalar(rows, entity, alias, name, enum)
            case Constant(_, value):
                return f"{literal(value)}"
            case Money(key, name, parts):
                return self._money(rows, entity, alias, key, name, parts)
            case Computed(key, name):
                return self._computed(rows, entity, alias, key, name)
            case Linked(key, name, fields):
                with self.at(key):
                    return self._linked(rows, entity, alias, name, fields)
            case AnyLinked(key, name, choices):
                with self.at(key):
                    return self._any_linked(rows, entity, alias, name, choices)
            case Connected(key, name, page):
                with self.at(key):
                    return self._connected(rows, entity, alias, name, page)
            case Aggregated(key, name, groups):
                with self.at(key):
                    return self._aggregated(rows, entity, alias, name, groups)
            case Timeline(key):
                with self.at(key):
                    return self._timeline(rows, entity, alias, item)
            case Can(_, parts):
                return self._can(rows, entity, alias, parts)
        raise TypeError(f"{item!r} is no field")

    def _scalar(self, rows: Rows, entity: EntityType, alias: str, name: str, enum: bool) -> str:
        column = entity.columns.get(name)
        if column is None or name in entity.internal:
            raise QueryError(f"{entity.name} has no column {name!r}")
        self.use(entity, name)
        if column.references is not None:
            # a reference reads as null where its target is deleted or hidden
            target, other = self._join(rows, entity, alias, entity.link_of[name].name)
            return self.dialect.id(target.prefix, rows.output(f'{other}."id"'))
        if is_payload(entity, name):
            rows.column(alias, name)
            rows.column(alias, "entity_type")
        elif alias == rows.base:
            rows.column(alias, name)
        value = rows.output(self.value(entity, alias, name))
        if column.kind is Kind.ID:
            return self.dialect.id(entity.prefix, value) if name == "id" else self.dialect.out(Kind.ID, value)
        if enum:
            return f"upper({value})"
        return self.dialect.out(column.kind, value)

    def _money(
        self,
        rows: Rows,
        entity: EntityType,
        alias: str,
        key: str,
        name: str,
        parts: Sequence[tuple[str, str]],
    ) -> str:
        self.use(entity, name)
        code = entity.currencies[name]
        self.use(entity, code)
        if name in entity.expressions:
            amount = self._evaluated(rows, entity, alias, key, name)
        else:
            amount = rows.output(rows.column(alias, entity.money[name].amount))
        currency = rows.output(rows.column(alias, code))
        values = {
            "amount": self.dialect.out(Kind.BIGINT, amount),
            "currency": currency,
            "__typename": literal("Money"),
        }
        built = self.dialect.object([(key, values[part]) for key, part in parts])
        return f"case when {amount} is not null and {currency} is not null then {built} end"

    def _computed(self, rows: Rows, entity: EntityType, alias: str, key: str, name: str) -> str:
        self.use(entity, name)
        value = self._evaluated(rows, entity, alias, key, name)
        return self.dialect.out(entity.expressions[name].kind, value) if value != "null" else value

    def _evaluated(self, rows: Rows, entity: EntityType, alias: str, key: str, name: str) -> str:
        """The value of an expression field, seen from outside of ``r``; null if expressions are left out."""
        declared = entity.expressions[name]
        self.computed.append(ComputedUse(self.root, (*self.path,), key, declared.plugin))
        if self.without_expressions:
            return "null"
        if alias == rows.base:
            self._used_by_expression(rows, declared.expression)
        return rows.output(self.expression(declared.expression, entity, alias))

    def _can(self, rows: Rows, entity: EntityType, alias: str, parts: Sequence[tuple[str, str]]) -> str:
        values = {"__typename": literal("ViewerCan")}
        for verb in ("update", "delete"):
            condition = self.rights.rows(entity, verb) if self.rights.granted(entity, verb) else Never()
            if verb not in entity.options.api or isinstance(condition, Never):
                values[verb] = self.dialect.boolean("1 = 0")
            elif condition is None:
                values[verb] = self.dialect.boolean("1 = 1")
            elif any(name == verb for _, name in parts):
                if alias == rows.base:
                    self._used_by_condition(rows, condition)
                values[verb] = self.dialect.boolean(rows.output(self.of_policy(entity, alias, condition)))
        return self.dialect.object([(key, values[name]) for key, name in parts])

    def _used_by_condition(self, rows: Rows, condition: Condition) -> None:
        """Columns of the base table that a condition reads."""
        entity = rows.entity
        match condition:
            case All(items) | AnyOf(items):
                for item in items:
                    self._used_by_condition(rows, item)
            case Not(item):
                self._used_by_condition(rows, item)
            case Compare(name) if name in entity.expressions:
                self._used_by_expression(rows, entity.expressions[name].expression)
            case Compare(name):
                rows.used[name] = None
            case Through(relation):
                rows.used[entity.to_one[relation].column.name] = None
            case Reaches(reference):
                generic = entity.generic[reference]
                rows.used |= {generic.type_column: None, generic.id_column: None}
            case Quantified():
                rows.used["id"] = None
            case Ancestors(relations):
                rows.used |= {entity.to_one[name].column.name: None for name in relations}

    def _linked(self, rows: Rows, entity: EntityType, alias: str, name: str, fields: Selection) -> str:
        target, other = self._join(rows, entity, alias, name)
        return self._joined_object(rows, target, other, fields)

    def _join(self, rows: Rows, entity: EntityType, alias: str, name: str) -> tuple[EntityType, str]:
        """Joins the row behind a to-one relation, once however often it is selected."""
        self.follow(entity, name)
        if name in entity.to_one:
            link = entity.to_one[name]
            target = self.catalog[link.target]
            here, there = rows.column(alias, link.column.name), "id"
        else:
            many = entity.to_many[name]
            target = self.catalog[many.target]
            here, there = rows.column(alias, "id"), many.column
        on = [f"{{other}}.{identifier(there)} = {here}"]
        return target, self._joined_table(rows, target, f"{alias}.{name}", on)

    def _joined_table(self, rows: Rows, target: EntityType, link: str, on: Sequence[str]) -> str:
        """The alias of a table that is joined to the rows; ``{other}`` stands for it in ``on``."""
        if link not in rows.links:
            if len(rows.links) >= MAX_JOINS:
                raise too_many_joins(rows.entity)
            other = self.alias("t")
            predicates = [*(item.replace("{other}", other) for item in on), *self.visible(target, other)]
            table, meets = f"{identifier(target.table)} {other}", " and ".join(predicates)
            if rows.repeated:
                # plainly joined, a small table is hashed whole for each parent, and the order of the rows is lost
                table, meets = f"lateral (select * from {table} where {meets} limit 1) {other}", "true"
            rows.joins.append(f" left join {table} on {meets}")
            rows.links[link] = other
        return rows.links[link]

    def _joined_object(self, rows: Rows, target: EntityType, other: str, fields: Selection) -> str:
        self.nested += 1
        if self.nested > MAX_LINKS:
            raise QueryError(f"follows to-one relations deeper than {MAX_LINKS} levels; ask in smaller steps")
        present = rows.output(f'{other}."id"')
        built = self._object(rows, target, other, fields)
        self.nested -= 1
        return f"case when {present} is not null then {built} end"

    def _any_linked(
        self, rows: Rows, entity: EntityType, alias: str, name: str, choices: Mapping[str, Selection]
    ) -> str:
        self.use(entity, name)
        reference = entity.generic[name]
        objects = []
        for target_name, fields in choices.items():
            target = self.catalog[target_name]
            if not self.rights.granted(target, "read"):
                continue  # a reference to what is hidden reads as null
            on = [
                f'{{other}}."id" = {rows.column(alias, reference.id_column)}',
                f"{rows.column(alias, reference.type_column)} = {literal(target.code)}",
            ]
            other = self._joined_table(rows, target, f"{alias}.{name}.{target_name}", on)
            objects.append(self._joined_object(rows, target, other, fields))
        if not objects:
            return "null"
        return f"coalesce({', '.join(objects)})" if len(objects) > 1 else objects[0]

    def _connected(self, rows: Rows, entity: EntityType, alias: str, name: str, page: Page) -> str:
        target, parent = self._related_to(rows, entity, alias, name)
        newest = entity.to_many[name].newest
        if newest is not None and not page.order:
            page = replace(page, order=(OrderKey(newest, Direction.DESC),))
        sql = self._page(target, page, parent)
        rows.json_joins.extend(sql.joins)
        return sql.value

    def _aggregated(self, rows: Rows, entity: EntityType, alias: str, name: str, groups: Groups) -> str:
        target, parent = self._related_to(rows, entity, alias, name)
        sql = self._groups(target, groups, parent)
        rows.json_joins.extend(sql.joins)
        return sql.value

    def _related_to(self, rows: Rows, entity: EntityType, alias: str, name: str) -> tuple[EntityType, Parent]:
        """What a to-many relation leads to, and the rows that it hangs on."""
        self.follow(entity, name)
        many = entity.to_many[name]
        target = self.catalog[many.target]
        over = target.link_of.get(many.column)
        return target, self._parent(rows, alias, many.column, many.constant, over.name if over else None)

    def _timeline(self, rows: Rows, entity: EntityType, alias: str, item: Timeline) -> str:
        merged = self.sources(entity, item, self.slot)
        page = replace(item.page, order=merged.order, parts=merged.narrowed(item.page.parts))
        sql = self._page(ENTRY, page, self._parent(rows, alias, "id"), merged)
        rows.json_joins.extend(sql.joins)
        return sql.value

    def _parent(
        self,
        rows: Rows,
        alias: str,
        belongs: str,
        constant: tuple[str, str] | None = None,
        over: str | None = None,
    ) -> Parent:
        """The rows of an alias, for a page that hangs on them; ``belongs`` is the column that leads back."""
        seen = rows.output(rows.column(alias, "id"))
        column = seen.removeprefix("r.")
        distinct = rows.distinct and alias == rows.base
        shown = f" and r.rn <= {rows.limit}" if rows.counted and rows.limit is not None else ""
        return Parent(
            ids=(
                f"(select {'' if distinct else 'distinct '}r.{column} as id from {rows.name} r "
                f"where r.{column} is not null{shown})"
            ),
            seen=seen,
            column=belongs,
            constant=f"{identifier(constant[0])} = {literal(constant[1])}" if constant else None,
            distinct=distinct,
            over=over,
        )

    def _batched(self, rows: Rows, entity: EntityType, alias: str, item: Batched) -> tuple[str, str]:
        self.use(entity, item.name)
        declared = entity.batches[item.name]
        # no GraphQL alias can be this; rows of several entities may stand in one list
        hidden = f" {entity.name} {item.key}"
        self.batches.append(BatchPlan(self.root, (*self.path,), item, entity, hidden))
        needs = _needed(self.catalog, entity, declared.needs)
        with self.at(hidden):
            return hidden, self._object(rows, entity, alias, needs)


def _position(cursor: Any, digest: str, kinds: Sequence[tuple[Kind, bool]]) -> list[Any]:
    """The values in a cursor. Which of them are null is for the statement to know."""
    if not isinstance(cursor, Given):
        return cursors.decode(cursor, digest, kinds)
    decoded = cursor.then(lambda text: cursors.decode(text, digest, kinds))
    empty = decoded.known(lambda values: tuple(value is None for value in values))
    return [None if null else decoded.then(itemgetter(place)) for place, null in enumerate(empty)]


def _looks_ahead(part: Part) -> bool:
    """Whether the page has to know if there is a row after its last one, or which one that is."""
    return isinstance(part, PageInfo) and any(name in _AHEAD for _, name in part.parts)


def _of(page: Page) -> Iterator[Selection]:
    """What a page selects of its rows."""
    for part in page.parts:
        nodes = (part,) if isinstance(part, Nodes) else part.parts if isinstance(part, Edges) else ()
        for item in nodes:
            if isinstance(item, (Nodes, Node)):
                fields = item.fields
                yield (AnyLinked("", RECORD, fields),) if isinstance(fields, Mapping) else fields


def _shares(fields: Selection) -> bool:
    """Whether pages hang on rows behind to-one relations, which several rows may share."""
    return any(map(_shares_below, fields))


def _shares_below(item: Field) -> bool:
    if isinstance(item, (Connected, Timeline)):
        return any(map(_shares, _of(item.page)))
    if isinstance(item, Aggregated):
        return _hanging(item.groups)
    return any(map(_hangs, _linked(item)))


def _hangs(fields: Selection) -> bool:
    """Whether there is a page, or are groups, anywhere below."""
    return any(
        isinstance(item, (Connected, Timeline, Aggregated)) or any(map(_hangs, _linked(item))) for item in fields
    )


def _hanging(groups: Groups) -> bool:
    """Whether pages hang on records that are keys."""
    return any(map(_hangs, records(groups)))


def _linked(item: Field) -> tuple[Selection, ...]:
    """What is selected behind a relation to one row."""
    if isinstance(item, AnyLinked):
        return tuple(item.fields.values())
    return (item.fields,) if isinstance(item, Linked) else ()


_AHEAD = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")


def _needed(catalog: Catalog, entity: EntityType, needs: Sequence[str]) -> Selection:
    """The selection that brings what a batch field needs, under the names it used."""
    nested: dict[str, list[str]] = {}
    fields: list[Field] = []
    for need in needs:
        head, _, rest = need.partition(".")
        if rest:
            nested.setdefault(head, []).append(rest)
        elif head in entity.currencies:
            fields.append(Money(head, head, (("amount", "amount"), ("currency", "currency"))))
        elif head in entity.expressions:
            fields.append(Computed(head, head))
        else:
            fields.append(Scalar(head, head))
    for head, rest_needs in nested.items():
        link = entity.to_one.get(head)
        target = catalog[link.target if link else entity.to_many[head].target]
        fields.append(Linked(head, head, _needed(catalog, target, rest_needs)))
    return tuple(fields)


__all__ = ["compile_roots"]
