"""Searches as SQL: what fits as written, what fits with typing errors, and a page of it.

Each searchable entity gives a branch of ``w``: candidates from the index of grams, as far as they may be read,
each with how well its texts fit. Only fields that may be read are looked at, so that others find nothing. Where
that is cut off, ``s`` adds those that begin with the words; where few fit as written, ``f`` those with typing
errors. On PostgreSQL, ``k`` is what each of them looks for. ``h`` is each record once; ``r`` is a page of ``h``,
joined to the records, and becomes JSON like any other page.

How well a record fits, and by which field, is one number: a hundred times the rank, and 99 less the field's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from ..access import AccessDenied, type_denied
from ..database import grams
from ..database.grams import Sought
from ..entity import Catalog, EntityType, Kind, camel
from ..given import late
from ..tree import Constant, HitEdges, HitNode, HitPart, PageInfo, Search, TotalCount
from . import cursor as cursors
from .dialect import identifier, literal
from .errors import QueryError
from .rows import Rows
from .search import parse_search, searchable

if TYPE_CHECKING:
    from .compile import _Compiler

ENOUGH = 20
"""Records that fit as written, from which none is looked for that has typing errors."""
MOST = 10_000
"""Records of an entity that are ranked: as many of which fields or words begin with the text, and as many more."""
SNIPPET = 160
"""Characters of a snippet."""
SCORES = {6: "1.0", 5: "0.9", 4: "0.8", 3: "0.7", 2: "0.6", 1: "0.3"}
"""What is told of a rank (see :mod:`amity.database.grams`)."""
_WRITTEN = {"phrase": False, "number": False, "patterns": True, "starts": True}
"""What texts are compared with by PostgreSQL where they fit as written; whether each is one for every word."""
_TOLERANT = {"tolerant": True}
"""The same with typing errors."""
_DIGEST = "search"
_BEFORE = 60
_SHORT = 500


@dataclass(frozen=True)
class Source:
    """A searchable entity, and the record that is answered: its own, or one that it stands for."""

    number: int
    entity: EntityType
    target: EntityType
    reference: str | None
    fields: tuple[tuple[int, str], ...]
    """Fields that may be read, each with its place among the searchable ones, from 1."""


def compile_search(compiler: _Compiler, root: Search) -> str:
    """The statement of a search's JSON; its table expressions are added to the compiler's. Raises QueryError."""
    return _Searching(compiler, root).compile()


class _Searching:
    def __init__(self, compiler: _Compiler, root: Search) -> None:
        self.compiler = compiler
        self.root = root
        self.dialect = compiler.dialect
        self.postgresql = compiler.dialect.name == "postgresql"
        self.sought = late(root.text, parse_search)
        self.bound: dict[str, str] = {}
        self.sources = tuple(_sources(compiler, root))
        self.records = tuple(dict.fromkeys(source.target.name for source in self.sources))

    def compile(self) -> str:
        compiler, root = self.compiler, self.root
        within = self._table("w", self._branches(self._rank, _WRITTEN, "pieces"))
        cut = self._branches(self._rank, _WRITTEN, "begun_pieces", *_unless_in(within, f">= {MOST}"))
        written = self._table("s", f"select * from {within} union all {cut}")
        few = _unless_in(written, f"< {ENOUGH}")
        tolerant = self._table("f", self._branches(self._tolerance, _TOLERANT, "tolerant_pieces", *few))
        hits = self._hits(written, tolerant)
        rows = Rows(compiler.slot(), self.sources[0].target, "p", distinct=False, inline=False)
        rows.limit, rows.counted = root.first, True
        compiler._expect(root.first)
        items: dict[str, str] = {}
        aggregates: list[tuple[str, str]] = []
        for part in root.parts:
            aggregates.append((part.key, self._part(rows, part, items)))
        order = 'p.best / 100 desc, p."id" desc'
        page = f"from (select * from {hits} p{self._after()} order by {order} limit {root.first + 1}) p"
        source = compiler._fill(rows, page, "", f"row_number() over (order by {order}) as rn, ")
        columns = "".join(f", {value} as {name}" for value, name in items.items())
        shown = self._table(
            "q", f"select r.rn as rn{columns} from {source} r{''.join(rows.json_joins)} order by r.rn"
        )
        total = f"(select count(*) from {hits})"
        pairs = [(key, value.replace("\x02total", total)) for key, value in aggregates]
        return f"select {self.dialect.object(pairs)} from {shown} q"

    def _table(self, letter: str, body: str) -> str:
        name = f"{letter}{self.compiler.slot()}"
        return self.compiler._table(name, body, inline=False)

    # --- what is found --------------------------------------------------------------------------------------

    def _branches(
        self,
        rank: Callable[[Source], str],
        said: Mapping[str, bool],
        pieces: str,
        gate: str = "",
        condition: str = "",
    ) -> str:
        """Candidates of all sources that fit, each with how well."""
        candidates = self._candidates(said, pieces, gate)
        tables = (self._fitting(candidates, source, rank(source), condition) for source in self.sources)
        return " union all ".join(
            f"select * from (select y.* from {table} y where y.best >= 100 limit {MOST}) x" for table in tables
        )

    def _candidates(self, said: Mapping[str, bool], pieces: str, gate: str) -> str:
        """A table of what the index answers, on SQLite; on PostgreSQL, of one row: what the index is asked, and
        what texts are compared with. PostgreSQL plans as if it did not know what is looked for: else it would
        plan every search anew, which takes longer than to run it."""
        query = grams.postgresql_query if self.postgresql else grams.sqlite_query
        bound = self._bound(pieces, lambda sought: query(getattr(sought, pieces)))
        if self.postgresql:
            values = [f"{bound}::tsquery as query"]
            values += [f"{self._bound(name, attrgetter(name), many)} as {name}" for name, many in said.items()]
            return self._table("k", f"select {', '.join(values)}{f' where {gate}' if gate else ''}")
        return self._table(
            "c",
            "select distinct s.entity as entity, s.record as record "
            "from core_search_index cross join core_search s on s.n = core_search_index.rowid "
            f"where core_search_index match {bound}{f' and {gate}' if gate else ''}",
        )

    def _fitting(self, candidates: str, source: Source, best: str, condition: str) -> str:
        branch = self._branch(candidates, source, best, condition)
        # "offset 0" keeps PostgreSQL from computing each rank twice
        return f"{candidates} k cross join lateral ({branch} offset 0)" if self.postgresql else f"({branch})"

    def _branch(self, candidates: str, source: Source, best: str, condition: str) -> str:
        compiler, entity = self.compiler, source.entity
        predicates = [*compiler.visible(entity, "b"), *([condition] if condition else [])]
        tables = f"{identifier(entity.table)} b"
        if self.postgresql:
            predicates.append(f'{grams.FUNCTION}(b."search_text") @@ k.query')
        else:
            tables = f'{candidates} c cross join {tables} on b."id" = c.record'
            predicates.append(f"c.entity = {literal(entity.code)}")
        id = 'b."id"'
        if source.reference is not None:
            other = compiler.alias("o")
            link = entity.to_one[source.reference]
            on = [f'{other}."id" = b.{identifier(link.column.name)}', *compiler.visible(source.target, other)]
            tables += self._one_each(identifier(source.target.table), other, " and ".join(on))
            id = f'{other}."id"'
        where = " and ".join(predicates)
        columns = f'{source.number} as src, {id} as id, b."id" as origin, {best} as best'
        return f"select {columns} from {tables} where {where}"

    def _one_each(self, table: str, alias: str, on: str) -> str:
        """Joins the one row that each candidate leads to. A plan that is kept can't tell how few they are, and
        would read the whole table for them."""
        if self.postgresql:
            return f" cross join lateral (select * from {table} {alias} where {on} limit 1) {alias}"
        return f" join {table} {alias} on {on}"

    def _hits(self, written: str, tolerant: str) -> str:
        """Every record that was found, once, by what fits it best."""
        both = " union all ".join(f"select * from {name}" for name in (written, tolerant))
        if len(self.records) == len(self.sources):
            return self._table("h", both)
        first = "row_number() over (partition by u.id order by u.best desc, u.src)"
        return self._table(
            "h",
            f"select src, id, origin, best from (select u.*, {first} as place from ({both}) u) v where place = 1",
        )

    def _rank(self, source: Source) -> str:
        """How well the texts of a row fit as written."""
        ranks = [self._of_field(self._rank_of(self._line(source, place)), place) for place, _ in source.fields]
        if len(source.fields) > 1:
            ranks.append(f"case when {self._across(self._record(source))} then {grams.ACROSS}99 else 0 end")
        return self._greatest(ranks)

    def _tolerance(self, source: Source) -> str:
        """The same with typing errors."""
        ranks = [self._of_field(self._tolerant(self._line(source, place)), place) for place, _ in source.fields]
        if len(source.fields) > 1:
            ranks.append(f"{self._tolerant(self._record(source))} * 199")
        return self._greatest(ranks)

    def _of_field(self, rank: str, place: int) -> str:
        return f"{rank} * 100 + {100 - place}"

    def _greatest(self, values: Sequence[str]) -> str:
        if len(values) == 1:
            return values[0]
        return f"{'greatest' if self.postgresql else 'max'}({', '.join(values)})"

    def _line(self, source: Source, place: int, alias: str = "b") -> str:
        if len(source.entity.options.searchable) == 1:
            return f'{alias}."search_text"'
        if self.postgresql:
            return f"split_part({alias}.\"search_text\", E'\\n', {place})"
        return f'amity_line({alias}."search_text", {place})'

    def _record(self, source: Source) -> str:
        """All texts of a row that may be read."""
        if len(source.fields) == len(source.entity.options.searchable):
            return 'b."search_text"'
        newline = "E'\\n'" if self.postgresql else "char(10)"
        return f"({f' || {newline} || '.join(self._line(source, place) for place, _ in source.fields)})"

    def _rank_of(self, text: str) -> str:
        """:func:`amity.database.grams.rank`."""
        if not self.postgresql:
            return f"amity_search_rank({text}, {self._spec(fuzzy=False)})"
        number = f"ltrim({text}, '+') = k.number"
        ends = f"right({text}, length(k.number)) = k.number"
        return (
            f"case when {self._across(text)} then "
            f"case when {text} = k.phrase or {number} then {grams.EXACT} "
            f"when starts_with({text}, k.phrase) then {grams.PREFIX} "
            f"when {_words(text)} like all (k.starts) or {ends} then {grams.WORDS} else {grams.WITHIN} end "
            f"when strpos({text}, k.number) > 0 then "
            f"case when {number} then {grams.EXACT} when {ends} then {grams.WORDS} else {grams.WITHIN} end "
            "else 0 end"
        )

    def _across(self, text: str) -> str:
        if self.postgresql:
            return f"{text} like all (k.patterns)"
        words = self._bound("words", lambda sought: Sought(sought.words).spec(fuzzy=False))
        return f"amity_search_rank({text}, {words}) > 0"

    def _tolerant(self, text: str) -> str:
        if self.postgresql:
            return f"case when {text} ~ all (k.tolerant) then {grams.FUZZY} else 0 end"
        return f"amity_search_rank({text}, {self._spec(fuzzy=True)})"

    def _spec(self, fuzzy: bool) -> str:
        return self._bound(f"spec {fuzzy}", lambda sought: sought.spec(fuzzy))

    def _bound(self, name: str, read: Callable[[Sought], Any], many: bool = False) -> str:
        """A placeholder for something of what is looked for, which has a name; the statement is the same whatever
        that is."""
        if name not in self.bound:
            self.bound[name] = self.compiler.bind(late(self.sought, read), Kind.TEXT, many)
        return self.bound[name]

    # --- what is told of it ---------------------------------------------------------------------------------

    def _after(self) -> str:
        if self.root.after is None:
            return ""
        place = late(self.root.after, _decoded)
        rank, id = late(place, itemgetter(0)), late(place, itemgetter(1))
        bound, last = self.compiler.bind(rank, Kind.INT), self.compiler.bind(id, Kind.ID)
        return f' where p.best / 100 <= {bound} and (p.best / 100 < {bound} or p."id" < {last})'

    def _part(
        self, rows: Rows, part: HitEdges | HitNode | PageInfo | TotalCount | Constant, items: dict[str, str]
    ) -> str:
        match part:
            case Constant(_, value):
                return literal(value)
            case TotalCount():
                return "cast(\x02total as text)"
            case PageInfo(_, names):
                return self.dialect.object([(key, self._of_page(rows, name, items)) for key, name in names])
            case HitNode(key, _):
                with self.compiler.at(key, "[]"):
                    return self._list(self._node(rows, part), items)
            case HitEdges(key, parts):
                with self.compiler.at(key, "[]"):
                    pairs = [(item.key, self._of_edge(rows, item)) for item in parts]
                return self._list(self.dialect.object(pairs), items)

    def _list(self, value: str, items: dict[str, str]) -> str:
        name = items.setdefault(value, f"o{len(items)}")
        array = self.dialect.array(f"q.{name}", "q.rn", f"q.rn <= {self.root.first}")
        return f"coalesce({array}, {self.dialect.empty_array})"

    def _of_edge(self, rows: Rows, part: HitPart | HitNode | Constant) -> str:
        match part:
            case Constant(_, value):
                return literal(value)
            case HitNode(key, _):
                with self.compiler.at(key):
                    return self._node(rows, part)
            case HitPart(_, "score"):
                cases = " ".join(f"when {rank} then {score}" for rank, score in SCORES.items())
                return f"case {rows.output('p.best')} / 100 {cases} end"
            case HitPart(_, "cursor"):
                return self._cursor(rows)
            case HitPart(_, "field"):
                return self._chosen(rows, lambda source, _, name: literal(_field(source, name, part.camel)))
            case _:
                return rows.output(self._chosen_of_sources(rows))

    def _node(self, rows: Rows, node: HitNode) -> str:
        """The record, as one of the entities that it may be."""
        objects = []
        for name in self.records:
            target = self.compiler.catalog[name]
            numbers = [str(source.number) for source in self.sources if source.target is target]
            on = ['{other}."id" = p."id"', f"p.src in ({', '.join(numbers)})"]
            other = self.compiler._joined_table(rows, target, f"p.{name}", on)
            objects.append(self.compiler._joined_object(rows, target, other, node.fields[name]))
        return f"coalesce({', '.join(objects)})" if len(objects) > 1 else objects[0]

    def _cursor(self, rows: Rows) -> str:
        keys = [(Kind.INT, f"{rows.output('p.best')} / 100"), (Kind.ID, rows.output('p."id"'))]
        return self.dialect.cursor(_DIGEST, keys)

    def _chosen(self, rows: Rows, value: Callable[[Source, int, str], str]) -> str:
        """A value for the field by which the record was found."""
        src, best = rows.output("p.src"), rows.output("p.best")
        return _by_field(self.sources, src, best, value)

    def _chosen_of_sources(self, rows: Rows) -> str:
        """The text of the field by which the record was found, from the row that has it."""
        aliases = {}
        for source in self.sources:
            other = self.compiler.alias("t")
            on = [f'{other}."id" = p.origin', f"p.src = {source.number}"]
            on += self.compiler.visible(source.entity, other)
            rows.joins.append(f" left join {identifier(source.entity.table)} {other} on {' and '.join(on)}")
            aliases[source.number] = other

        def snippet(source: Source, place: int, name: str) -> str:
            alias = aliases[source.number]
            value = self.compiler.value(source.entity, alias, name)
            length = source.entity.columns[name].max_length
            if length is not None and length <= _SHORT:
                return f"coalesce({value}, '')"
            return self._around(value, self._line(source, place, alias))

        return _by_field(self.sources, "p.src", "p.best", snippet)

    def _around(self, value: str, text: str) -> str:
        """The part of a long text that has the first word; folding may have moved it by a few characters."""
        word = self._bound("first word", lambda sought: sought.words[0])
        function, most = ("strpos", "greatest") if self.postgresql else ("instr", "max")
        start = f"{most}(1, {function}({text}, {word}) - {_BEFORE})"
        part = f"substr({value}, {start}, {SNIPPET})"
        return f"case when length({value}) > {SNIPPET} then {part} else coalesce({value}, '') end"

    def _of_page(self, rows: Rows, name: str, items: dict[str, str]) -> str:
        first = self.root.first
        match name:
            case "hasNextPage":
                return self.dialect.boolean(f"max(q.rn) > {first}")
            case "hasPreviousPage":
                return self.dialect.boolean("1 = 0" if self.root.after is None else "1 = 1")
            case "startCursor" | "endCursor":
                column = items.setdefault(self._cursor(rows), f"o{len(items)}")
                last = f"(select max(m.rn) from {rows.name} m where m.rn <= {first})"
                at = f"q.rn = {'1' if name == 'startCursor' else last}"
                return f"max(q.{column}) filter (where {at})"
            case "__typename":
                return literal("PageInfo")
        raise QueryError(f"PageInfo has no {name!r}")


def _decoded(cursor: str) -> Sequence[Any]:
    return cursors.decode(cursor, _DIGEST, [(Kind.INT, False), (Kind.ID, False)])


def _sources(compiler: _Compiler, root: Search) -> Iterator[Source]:
    """The entities that are looked into. Raises AccessDenied if one that was named may not be read, or all."""
    catalog = compiler.catalog
    named = [catalog[name] for name in root.entities]
    for entity in named:
        if entity not in searchable(catalog):
            raise QueryError(f"{entity.name} records are not found by searching", ("types",))
        if root.named:
            compiler.readable(entity)
    number = 0
    for entity in catalog.values():
        target = _answered(catalog, entity)
        if not entity.options.searchable or target not in named:
            continue
        fields = tuple(_readable(compiler, entity, target))
        if fields:
            yield Source(number, entity, target, entity.options.found_as, fields)
            number += 1
    if not number:
        raise type_denied(compiler.rights.principal, "read", (named or searchable(catalog))[0])


def _readable(compiler: _Compiler, entity: EntityType, target: EntityType) -> Iterator[tuple[int, str]]:
    """The searchable fields that may be read; none, if the record that they lead to may not."""
    try:
        compiler.readable(entity)
        compiler.readable(target)
        if entity.options.found_as is not None:
            compiler.follow(entity, entity.options.found_as)
    except AccessDenied:
        return
    for place, name in enumerate(entity.options.searchable, 1):
        try:
            compiler.use(entity, name)
        except AccessDenied:
            continue
        yield place, name


def _unless_in(table: str, size: str) -> tuple[str, str]:
    """The condition that a table has so many rows, and the one that a candidate is not among them."""
    return f"(select count(*) from {table}) {size}", f'b."id" not in (select origin from {table})'


def _by_field(sources: Sequence[Source], src: str, best: str, value: Callable[[Source, int, str], str]) -> str:
    written = []
    for source in sources:
        fields = " ".join(f"when {100 - place} then {value(source, place, name)}" for place, name in source.fields)
        first = value(source, *source.fields[0])
        written.append(f"when {source.number} then case {best} % 100 {fields} else {first} end")
    return f"case {src} {' '.join(written)} end"


def _field(source: Source, name: str, as_camel: bool) -> str:
    names = [name] if source.reference is None else [source.entity.singular, name]
    return ".".join(map(camel, names) if as_camel else names)


def _words(text: str) -> str:
    blanks = " " * len(grams.SEPARATORS)
    return f"(' ' || translate({text}, {literal(grams.SEPARATORS)}, {literal(blanks)}))"


def _answered(catalog: Catalog, entity: EntityType) -> EntityType:
    """The entity whose record a search answers for one of this."""
    reference = entity.options.found_as
    return entity if reference is None else catalog[entity.to_one[reference].target]


__all__ = ["compile_search"]
