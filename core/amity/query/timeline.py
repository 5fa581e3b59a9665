"""The timeline of a customer: rows of several entities as one page, in the order of their times.

Each source is cut to the size of the page by itself, in the order of its index; what is left is merged, and cut
again. The merged rows are entries: a time, an entity and an id. So a generic reference leads to a row, too, and
the own fields of rows are joined as behind one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ..access import AccessDenied, Rights
from ..entity import Catalog, Column, EntityType, GenericReference, Kind, TimelineSource, TimelineStep
from ..entity.base import Record
from ..entity.options import EntityOptions
from ..tree import Choices, Condition, Direction, Edges, Node, Nodes, OrderKey, Part, Timeline
from .dialect import Dialect, identifier, literal
from .errors import QueryError
from .orders import Key, Orders

RECORD = "record"
"""The reference from an entry to its row."""
_COLUMNS = {
    "at": Column("at", Kind.DATETIME, nullable=False, description="When it happened (UTC)"),
    "type": Column("type", Kind.TEXT, nullable=False, description="Entity of the row"),
    "id": Column("id", Kind.ID, nullable=False, description="Id of the row"),
}
ENTRY = EntityType(
    name="timeline entry",  # no entity can be called this
    plugin="core",
    model=Record,
    table="",
    prefix="",
    singular="timeline_entry",
    plural="timeline_entries",
    description="Something on a timeline",
    options=EntityOptions(),
    columns=MappingProxyType(_COLUMNS),
    to_one={},
    to_many={},
    generic={RECORD: GenericReference(RECORD, "type", "id", (), "", "The row", nullable=False)},
    money={},
    unique=(),
    expressions={},
    batches={},
)
"""What a timeline's rows have in common; everybody may read it of what they may read."""


@dataclass(frozen=True)
class Arm:
    """Rows of one entity that take part, and one way on which they lead to the customer."""

    entity: EntityType
    source: TimelineSource
    path: tuple[TimelineStep, ...]


@dataclass(frozen=True)
class Merged:
    """What a page of a timeline is made of. ``slots`` are places in the chain of table expressions, one an arm."""

    arms: tuple[Arm, ...]
    slots: tuple[int, ...]
    order: tuple[OrderKey, ...]

    def narrowed(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """A page's parts with the nodes of what takes part, and no others."""
        return tuple(self._narrowed(part) for part in parts)

    def _narrowed(self, part: Part) -> Part:
        if isinstance(part, Nodes):
            return replace(part, fields=self._choices(part.fields))
        if isinstance(part, Edges):
            found = (
                replace(item, fields=self._choices(item.fields)) if isinstance(item, Node) else item
                for item in part.parts
            )
            return replace(part, parts=tuple(found))
        return part

    def _choices(self, fields: Any) -> Choices:
        if not isinstance(fields, Mapping):
            raise QueryError("the nodes of a timeline need what is selected of each entity, by its name")
        return {arm.entity.name: fields.get(arm.entity.name, ()) for arm in self.arms}


class Timelines(Orders):
    """Writes the rows of a timeline's page."""

    def __init__(self, catalog: Catalog, rights: Rights, dialect: Dialect) -> None:
        super().__init__(catalog, rights, dialect)
        self.ctes: list[str] = []
        self._open[ENTRY.name] = None

    def sources(self, entity: EntityType, item: Timeline, slot: Callable[[], int]) -> Merged:
        """What takes part in a timeline.

        Without names, what the principal may not read is left out; what it names it must be able to read. Raises
        :class:`~amity.access.AccessDenied` where nothing is left.
        """
        arms: list[Arm] = []
        for name in self._named(entity, item):
            source = next(source for source in entity.timeline if source.entity == name)
            refused: AccessDenied | None = None
            count = len(arms)
            for path in source.paths:
                arm = Arm(self.catalog[name], source, path)
                try:
                    self._ask(arm)
                    arms.append(arm)
                except AccessDenied as error:
                    refused = error
            if len(arms) == count and refused is not None and item.types is not None:
                raise refused
        if not arms:
            self._ask_any(entity)
        direction = Direction.ASC if item.oldest_first else Direction.DESC
        order = (OrderKey("at", direction), OrderKey("type", direction))
        return Merged(tuple(arms), tuple(slot() for _ in arms), order)

    def _named(self, entity: EntityType, item: Timeline) -> Sequence[str]:
        known = [source.entity for source in entity.timeline]
        if not known:
            raise QueryError(f"{entity.name} has no timeline")
        if item.types is None:
            return known
        for name in item.types:
            if name not in known:
                raise QueryError(
                    f"{name!r} takes no part in the timeline; known are {', '.join(known)}", ("types",)
                )
        if not item.types:
            raise QueryError("names no type; leave it out for all of them", ("types",))
        return list(dict.fromkeys(item.types))

    def _ask_any(self, entity: EntityType) -> None:
        """Raises why not a single source may be read."""
        source = entity.timeline[0]
        self._ask(Arm(self.catalog[source.entity], source, source.paths[0]))

    def _ask(self, arm: Arm) -> None:
        """Asks for the right to read when an arm's rows happened, and that they are the customer's."""
        self.use(arm.entity, arm.source.at)
        entity = arm.entity
        for step in arm.path:
            self.use(entity, step.relation)
            entity = self.catalog[step.target]
            self.readable(entity)

    # --- rows -----------------------------------------------------------------------------------------------

    def merged(
        self,
        merged: Merged,
        ids: str,
        place: tuple[str, str | None],
        filters: Callable[[str], Sequence[str]],
        keys: Sequence[Key],
        backward: bool,
        size: int | None,
    ) -> tuple[str, str]:
        """The rows of a page: ``from …``, and what comes behind the joins.

        ``ids`` are the customers, as a table expression with the column id; ``place`` is the alias of the rows,
        and the customer's id where the page stands in line with the customer's row.
        """
        base, customer = place
        limit = "" if size is None else f" limit {size}"
        order = self.order_by(ENTRY, "u", keys, backward)
        cut = _cut_of(self, keys, backward, limit)
        if self.dialect.lateral:
            arms = [f"({self._cut(arm, customer or 'p.id', filters, cut)})" for arm in merged.arms]
            table = f"select u.* from ({_UNION.join(arms)}) u order by {order}{limit}"
            source = "from" if customer else f"from {ids} p cross join lateral"
            return f"{source} ({table}) {base}", ""
        slots = zip(merged.arms, merged.slots, strict=True)
        named = [self._chained(arm, slot, ids, filters, cut) for arm, slot in slots]
        union = _UNION.join(f"select * from {name}" for name in named)
        rank = f'row_number() over (partition by u."pid" order by {order}) as "place"'
        source = f'from (select u.*, {rank} from ({union}) u) {base} join {ids} p on p.id = {base}."pid"'
        return source, "" if size is None else f' where {base}."place" <= {size}'

    def _cut(
        self, arm: Arm, customer: str, filters: Callable[[str], Sequence[str]], cut: Callable[[str], str]
    ) -> str:
        """The first rows of an arm."""
        alias = self.alias("s")
        where = " and ".join(filters(alias))
        columns = ", ".join(f"{alias}.{identifier(name)}" for name in _COLUMNS)
        met = f" where {where}" if where else ""
        return f"select {columns} from ({self._entries(arm, customer)}) {alias}{met}{cut(alias)}"

    def _chained(
        self,
        arm: Arm,
        slot: int,
        ids: str,
        filters: Callable[[str], Sequence[str]],
        cut: Callable[[str], str],
    ) -> str:
        """The first rows of an arm for each customer, as a table expression; its name."""
        alias, row = self.alias("s"), self.alias("b")
        with self._lower():
            entries = self._entries(arm, "p.id", rowid=True)
        where = " and ".join(filters(alias))
        met = f" where {where}" if where else ""
        chosen = f"select {alias}.rid from ({entries}) {alias}{met}{cut(alias)}"
        name = f"e{slot}"
        self.ctes[slot] = (
            f"{name} as materialized (select p.id as pid, {self._columns(arm, row)} "
            f"from {ids} p cross join {identifier(arm.entity.table)} {row} where {row}.rowid in ({chosen}))"
        )
        return name

    def counted(self, merged: Merged, ids: str, customer: str | None, where: Condition | None) -> str:
        """A statement for how many rows there are: of each customer in ``ids``, or of the one."""
        counts = []
        for arm in merged.arms:
            alias = self.alias("s")
            with self._lower():
                entries = self._entries(arm, customer or "p.id")
            met = f" where {self.condition(ENTRY, alias, where)}" if where is not None else ""
            counts.append(f"(select count(*) from ({entries}) {alias}{met})")
        total = " + ".join(counts)
        return f"select {total} as c" if customer else f"select p.id as pid, {total} as c from {ids} p"

    def _entries(self, arm: Arm, customer: str, rowid: bool = False) -> str:
        """The entries of an arm that are a customer's, and may be seen."""
        base = here = self.alias("b")
        entity = arm.entity
        tables = f"{identifier(entity.table)} {base}"
        # what follows from the row that it leads to, visible as well, isn't asked
        predicates = self.visible(entity, base, _over(entity, arm.path[0]))
        if entity.columns[arm.source.at].nullable:
            predicates.append(f"{base}.{identifier(arm.source.at)} is not null")
        for index, step in enumerate(arm.path):
            target = self.catalog[step.target]
            if step.relation in entity.generic:
                reference = entity.generic[step.relation]
                predicates.append(f"{here}.{identifier(reference.type_column)} = {literal(target.code)}")
                column = f"{here}.{identifier(reference.id_column)}"
            else:
                column = f"{here}.{identifier(entity.to_one[step.relation].column.name)}"
            if index == len(arm.path) - 1:
                predicates.append(f"{column} = {customer}")
                break
            there = self.alias("t")
            over = _over(target, arm.path[index + 1])
            met = " and ".join([f'{there}."id" = {column}', *self.visible(target, there, over)])
            tables += f" join {identifier(target.table)} {there} on {met}"
            entity, here = target, there
        columns = self._columns(arm, base) + (f", {base}.rowid as rid" if rowid else "")
        return f"select {columns} from {tables} where {' and '.join(predicates)}"

    def _columns(self, arm: Arm, alias: str) -> str:
        code = self.dialect.constant(arm.entity.code)
        return f'{alias}.{identifier(arm.source.at)} as "at", {code} as "type", {alias}."id" as "id"'

    @contextmanager
    def _lower(self) -> Iterator[None]:
        """A level of sub-queries that ``depth`` would not know of."""
        self.depth += 1
        yield
        self.depth -= 1


def _cut_of(orders: Orders, keys: Sequence[Key], backward: bool, limit: str) -> Callable[[str], str]:
    """How an arm is cut: its entity is the same in all its rows, so that an index has them in order."""
    own = [key for key in keys if key.order.field != "type"]
    return lambda alias: f" order by {orders.order_by(ENTRY, alias, own, backward)}{limit}" if limit else ""


def _over(entity: EntityType, step: TimelineStep) -> str | None:
    """The relation that a step follows; None for a generic reference."""
    return step.relation if step.relation in entity.to_one else None


_UNION = " union all "
