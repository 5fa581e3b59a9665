"""How the two databases write the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from ..database import Dialect as DialectName
from ..database.folding import FUNCTION, fold
from ..entity import Kind
from ..entity.values import encode, timestamp

Pair = tuple[str, str]


def literal(text: str) -> str:
    """A text of ours as SQL; what users bring is always bound."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _path(key: str) -> str:
    """The path of a key in a JSON object, for SQLite."""
    return literal(f'$."{key}"')


class Dialect:
    """SQL that both databases understand; subclasses write what differs."""

    name: ClassVar[DialectName]
    lateral: ClassVar[bool]
    """Whether joins can be lateral."""
    max_pairs: ClassVar[int]
    """Pairs that one call of the JSON object function takes."""

    # --- values ---------------------------------------------------------------------------------------------

    def placeholder(self, number: int, kind: Kind, many: bool = False) -> str:
        raise NotImplementedError

    def constant(self, text: str) -> str:
        """A text of ours as a column, which compares and sorts like those of tables."""
        return literal(text)

    def store(self, value: Any, kind: Kind) -> Any:
        """A Python value as the driver takes it for a column of this kind."""
        return encode(kind, value, self.name)

    def among(self, expression: str, placeholder: str) -> str:
        """Whether the expression is one of a bound list."""
        raise NotImplementedError

    def each(self, columns: Sequence[str], source: str) -> str:
        """The values of several columns as rows of one, where ``source`` is the recursive part of a table."""
        raise NotImplementedError

    def different(self, expression: str, placeholder: str) -> str:
        """``ne``: null is different from everything but null."""
        raise NotImplementedError

    def like(self, expression: str, placeholder: str) -> str:
        return f"{FUNCTION}({expression}) like {placeholder} escape '\\'"

    def number(self, expression: str, kind: Kind) -> str:
        """The expression as a 64-bit integer or a double."""
        raise NotImplementedError

    def integer(self, expression: str) -> str:
        """Whole-number arithmetic, which fails where the result does not fit into 64 bits."""
        return f"({expression})"

    def nulls(self, descending: bool, nulls_first: bool) -> str:
        """The ``NULLS …`` clause, empty where it is the database's own way."""
        raise NotImplementedError

    # --- JSON -----------------------------------------------------------------------------------------------

    def out(self, kind: Kind, expression: str) -> str:
        """A value as JSON has it."""
        raise NotImplementedError

    def boolean(self, condition: str) -> str:
        """A condition as JSON's true or false."""
        raise NotImplementedError

    def id(self, prefix: str, expression: str) -> str:
        """``cus_0190…``"""
        raise NotImplementedError

    def nested(self, expression: str) -> str:
        """A JSON value that comes from another table expression."""
        raise NotImplementedError

    def without(self, expression: str, keys: Sequence[str], unless: Sequence[Pair] = ()) -> str:
        """A stored JSON object without some of its keys; those in ``unless`` stay where the condition is true."""
        raise NotImplementedError

    def id_in(self, expression: str, key: str, prefix: str) -> str:
        """The id that a stored JSON object has under a key, if it is one with this prefix."""
        raise NotImplementedError

    def place(self, expression: str, path: Sequence[str]) -> str:
        """What a stored JSON value has under keys, which are bound, for ``type_at`` and ``value_at``."""
        raise NotImplementedError

    def type_at(self, place: str) -> str:
        """The name of the type of what is at a place; null where nothing is, ``'null'`` for JSON's null."""
        raise NotImplementedError

    def value_at(self, place: str, kind: Kind) -> str:
        """What is at a place, as text, number or boolean; null where something else is."""
        raise NotImplementedError

    def object(self, pairs: Sequence[Pair]) -> str:
        """A JSON object. Keys are the caller's, values SQL expressions."""
        parts = [pairs[i : i + self.max_pairs] for i in range(0, len(pairs), self.max_pairs)] or [()]
        objects = [self._object(part) for part in parts]
        return objects[0] if len(objects) == 1 else self._joined(objects)

    def _object(self, pairs: Sequence[Pair]) -> str:
        raise NotImplementedError

    def _joined(self, objects: Sequence[str]) -> str:
        raise NotImplementedError

    def array(self, expression: str, order: str, condition: str | None) -> str:
        """Aggregates JSON values into an array, in the order of ``order``; if it is empty, as they come."""
        raise NotImplementedError

    empty_array: ClassVar[str]

    # --- figures of groups ----------------------------------------------------------------------------------

    def period(self, expression: str, unit: str, kind: Kind, zone: str) -> str:
        """The first day of the period that a time or a date lies in; ``zone`` is a bound name."""
        raise NotImplementedError

    def sums(self, value: str, kind: Kind) -> tuple[str, ...]:
        """Aggregates that together are the sum of a value, and can be summed up further."""
        raise NotImplementedError

    def total(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        """Such sums as a 64-bit integer or a double; 0 of no values, an error where it does not fit."""
        raise NotImplementedError

    def mean(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        """Such sums by their count, as a double; null of no values."""
        raise NotImplementedError

    def rounded_mean(self, sums: Sequence[str], count: str) -> str:
        """Sums of integers by their count as an integer, halves away from zero; null of no values."""
        raise NotImplementedError

    def in_order(self, expression: str, key: str, condition: str) -> str:
        """Aggregates JSON objects into an array, in the order of texts."""
        raise NotImplementedError

    # --- cursors --------------------------------------------------------------------------------------------

    def cursor(self, digest: str, keys: Sequence[tuple[Kind, str]]) -> str:
        """The position of a row in an order: base64 of a JSON array of texts."""
        raise NotImplementedError

    # --- rows -----------------------------------------------------------------------------------------------

    def ids(self, placeholder: str, alias: str) -> str:
        """A bound list of ids as a table with the columns id and rn."""
        raise NotImplementedError


class SQLiteDialect(Dialect):
    name = "sqlite"
    lateral = False
    max_pairs = 60
    empty_array = "json('[]')"

    def placeholder(self, number: int, kind: Kind, many: bool = False) -> str:
        return f"?{number}"

    def among(self, expression: str, placeholder: str) -> str:
        return f"{expression} in (select value from json_each({placeholder}))"

    def each(self, columns: Sequence[str], source: str) -> str:
        return " union ".join(f"select {column} {source}" for column in columns)

    def different(self, expression: str, placeholder: str) -> str:
        return f"{expression} is not {placeholder}"

    def number(self, expression: str, kind: Kind) -> str:
        return f"cast({expression} as {'real' if kind is Kind.FLOAT else 'integer'})"

    def integer(self, expression: str) -> str:
        return f"amity_integer({expression})"

    def nulls(self, descending: bool, nulls_first: bool) -> str:
        own = not descending  # null is the least value
        return "" if nulls_first is own else (" nulls first" if nulls_first else " nulls last")

    def out(self, kind: Kind, expression: str) -> str:
        if kind is Kind.BIGINT:
            return f"cast({expression} as text)"
        if kind is Kind.FLOAT:
            return f"json(amity_float({expression}))"
        if kind is Kind.BOOLEAN:
            return f"case {expression} when 1 then json('true') when 0 then json('false') end"
        if kind is Kind.JSON:
            return f"json({expression})"
        if kind is Kind.ID:
            return f"replace({expression}, '-', '')"
        return expression

    def boolean(self, condition: str) -> str:
        return f"json(iif({condition}, 'true', 'false'))"

    def id(self, prefix: str, expression: str) -> str:
        return f"{literal(prefix + '_')} || replace({expression}, '-', '')"

    def nested(self, expression: str) -> str:
        return f"json({expression})"

    def without(self, expression: str, keys: Sequence[str], unless: Sequence[Pair] = ()) -> str:
        paths = [_path(key) for key in keys]
        # a path that leads nowhere removes nothing
        paths += [f"iif({condition}, {_path('')}, {_path(key)})" for key, condition in unless]
        return f"json_remove({', '.join([expression, *paths])})" if paths else expression

    def id_in(self, expression: str, key: str, prefix: str) -> str:
        text = f"json_extract({expression}, {_path(key)})"
        start, parts = len(prefix) + 2, []
        for length in (8, 4, 4, 4, 12):
            parts.append(f"substr({text}, {start}, {length})")
            start += length
        begins = f"substr({text}, 1, {len(prefix) + 1}) = {literal(prefix + '_')}"
        joined = " || '-' || ".join(parts)
        return f"iif({begins}, {joined}, null)"

    def place(self, expression: str, path: Sequence[str]) -> str:
        return f"({expression}, {path[0]})"

    def type_at(self, place: str) -> str:
        return f"json_type{place}"

    def value_at(self, place: str, kind: Kind) -> str:
        if kind is Kind.BOOLEAN:
            return f"case json_type{place} when 'true' then 1 when 'false' then 0 end"
        if kind is Kind.FLOAT:
            found = f"json_type{place} in ('integer', 'real')"
            return f"case when {found} then cast(json_extract{place} as real) end"
        return f"case when json_type{place} = 'text' then json_extract{place} end"

    def _object(self, pairs: Sequence[Pair]) -> str:
        return f"json_object({', '.join(f'{literal(key)}, {value}' for key, value in pairs)})"

    def _joined(self, objects: Sequence[str]) -> str:
        inner = " || ',' || ".join(f"substr({o}, 2, length({o}) - 2)" for o in objects)
        return f"json('{{' || {inner} || '}}')"

    def array(self, expression: str, order: str, condition: str | None) -> str:
        # rows arrive in this order already: they are read from a sorted, materialized table expression
        filtered = f" filter (where {condition})" if condition else ""
        return f"json_group_array(json({expression})){filtered}"

    def period(self, expression: str, unit: str, kind: Kind, zone: str) -> str:
        return f"amity_period({expression}, {literal(unit)}, {zone})"

    def sums(self, value: str, kind: Kind) -> tuple[str, ...]:
        if kind is Kind.FLOAT:
            return (f"sum({value})",)
        # the sum of neither half can overflow; the order of rows does not matter then
        return f"sum({value} >> 32)", f"sum({value} & 4294967295)"

    def total(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        if kind is Kind.FLOAT:
            return f"amity_finite({sums[0]}, {count})"
        return f"amity_total({', '.join(sums)})"

    def mean(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        if kind is Kind.FLOAT:
            return f"amity_finite({sums[0]}, {count}) / nullif({count}, 0)"
        return f"amity_mean({', '.join(sums)}, {count})"

    def rounded_mean(self, sums: Sequence[str], count: str) -> str:
        return f"amity_rounded_mean({', '.join(sums)}, {count})"

    def in_order(self, expression: str, key: str, condition: str) -> str:
        pairs = f"json_group_array(json_array({key}, json({expression}))) filter (where {condition})"
        return f"amity_in_order({pairs})"

    def cursor(self, digest: str, keys: Sequence[tuple[Kind, str]]) -> str:
        values = []
        for kind, expression in keys:
            if kind is Kind.FLOAT:
                values.append(f"amity_float({expression})")
            else:
                values.append(f"cast({expression} as text)")
        return f"amity_base64(json_array({literal(digest)}, {', '.join(values)}))"

    def ids(self, placeholder: str, alias: str) -> str:
        return f"(select value as id, key + 1 as rn from json_each({placeholder})) {alias}"


class PostgreSQLDialect(Dialect):
    name = "postgresql"
    lateral = True
    max_pairs = 50
    empty_array = "'[]'::json"
    types: ClassVar[dict[Kind, str]] = {
        Kind.ID: "uuid",
        Kind.TEXT: "text",
        Kind.INT: "bigint",
        Kind.BIGINT: "bigint",
        Kind.FLOAT: "float8",
        Kind.BOOLEAN: "boolean",
        Kind.DATETIME: "timestamptz",
        Kind.DATE: "date",
        Kind.JSON: "jsonb",
    }

    def placeholder(self, number: int, kind: Kind, many: bool = False) -> str:
        several = "[]" if many else ""
        # times go as text: the driver takes the first and the last of them for infinity
        text = f"::text{several}" if kind in (Kind.DATETIME, Kind.DATE) else ""
        return f"${number}{text}::{self.types[kind]}{several}"

    def constant(self, text: str) -> str:
        return f'{literal(text)}::text collate "C"'

    def store(self, value: Any, kind: Kind) -> Any:
        if kind in (Kind.DATETIME, Kind.DATE) and value is not None:
            return timestamp(value) if isinstance(value, datetime) else value.isoformat()
        return super().store(value, kind)

    def among(self, expression: str, placeholder: str) -> str:
        return f"{expression} = any({placeholder})"

    def each(self, columns: Sequence[str], source: str) -> str:
        return f"select unnest(array[{', '.join(columns)}]) {source}"

    def different(self, expression: str, placeholder: str) -> str:
        return f"{expression} is distinct from {placeholder}"

    def number(self, expression: str, kind: Kind) -> str:
        return f"({expression})::{'float8' if kind is Kind.FLOAT else 'bigint'}"

    def nulls(self, descending: bool, nulls_first: bool) -> str:
        own = descending  # null is the greatest value
        return "" if nulls_first is own else (" nulls first" if nulls_first else " nulls last")

    def out(self, kind: Kind, expression: str) -> str:
        if kind is Kind.BIGINT:
            return f"({expression})::text"
        if kind is Kind.DATETIME:
            return f"to_char({expression} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        if kind is Kind.DATE:
            return f"to_char({expression}, 'YYYY-MM-DD')"
        if kind is Kind.ID:
            return f"replace(({expression})::text, '-', '')"
        return expression

    def boolean(self, condition: str) -> str:
        return f"coalesce({condition}, false)"

    def id(self, prefix: str, expression: str) -> str:
        return f"{literal(prefix + '_')} || replace(({expression})::text, '-', '')"

    def nested(self, expression: str) -> str:
        return expression

    def without(self, expression: str, keys: Sequence[str], unless: Sequence[Pair] = ()) -> str:
        # a key that is null removes nothing
        names = [
            *map(literal, keys),
            *(f"case when {condition} then null else {literal(key)} end" for key, condition in unless),
        ]
        return f"({expression} - array[{', '.join(names)}]::text[])" if names else expression

    def id_in(self, expression: str, key: str, prefix: str) -> str:
        text = f"({expression} ->> {literal(key)})"
        start = len(prefix) + 2
        return f"case when starts_with({text}, {literal(prefix + '_')}) then substr({text}, {start})::uuid end"

    def place(self, expression: str, path: Sequence[str]) -> str:
        # by keys alone: #> would count the items of arrays, too
        return f"({' -> '.join([expression, *path])})"

    def type_at(self, place: str) -> str:
        return f"jsonb_typeof{place}"

    def value_at(self, place: str, kind: Kind) -> str:
        text = f"{place} #>> '{{}}'"
        if kind is Kind.BOOLEAN:
            return f"case when jsonb_typeof{place} = 'boolean' then ({text})::boolean end"
        if kind is Kind.FLOAT:
            return f"case when jsonb_typeof{place} = 'number' then ({text})::float8 end"
        return f"case when jsonb_typeof{place} = 'string' then ({text}) collate \"C\" end"

    def _object(self, pairs: Sequence[Pair]) -> str:
        if all(len(key.encode()) <= _NAME for key, _ in pairs) and pairs:
            # a tenth faster than json_build_object
            columns = ", ".join(f"{value} as {identifier(key)}" for key, value in pairs)
            return f"(select row_to_json(o) from (select {columns}) o)"
        return f"json_build_object({', '.join(f'{literal(key)}, {value}' for key, value in pairs)})"

    def _joined(self, objects: Sequence[str]) -> str:
        inner = " || ',' || ".join(f"substr(({o})::text, 2, char_length(({o})::text) - 2)" for o in objects)
        return f"('{{' || {inner} || '}}')::json"

    def array(self, expression: str, order: str, condition: str | None) -> str:
        filtered = f" filter (where {condition})" if condition else ""
        ordered = f" order by {order}" if order else ""
        return f"json_agg({expression}{ordered}){filtered}"

    def period(self, expression: str, unit: str, kind: Kind, zone: str) -> str:
        local = f"({expression})::timestamp"
        if kind is Kind.DATETIME:
            # the zone can lead out of the years that dates have outside
            local = f"({expression} at time zone {zone})"
            local = f"least(greatest({local}, timestamp '0001-01-01'), timestamp '9999-12-31')"
        # null stays null, where least and greatest pass over it
        return f"case when {expression} is not null then date_trunc({literal(unit)}, {local})::date end"

    def sums(self, value: str, kind: Kind) -> tuple[str, ...]:
        return (f"sum({value})",)

    def total(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        return f"coalesce({self.number(sums[0], kind)}, 0)"

    def mean(self, sums: Sequence[str], count: str, kind: Kind) -> str:
        return f"({self.number(sums[0], Kind.FLOAT)} / nullif({count}, 0))"

    def rounded_mean(self, sums: Sequence[str], count: str) -> str:
        sum, by = f"({sums[0]})::numeric", f"nullif({count}, 0)"
        half = f"case when 2 * abs(mod({sum}, {by})) >= {by} then sign({sum}) else 0 end"
        return f"(div({sum}, {by}) + {half})::bigint"

    def in_order(self, expression: str, key: str, condition: str) -> str:
        return self.array(expression, key, condition)

    def cursor(self, digest: str, keys: Sequence[tuple[Kind, str]]) -> str:
        values = []
        for kind, expression in keys:
            if kind in (Kind.DATETIME, Kind.DATE):
                values.append(self.out(kind, expression))
            else:
                values.append(f"({expression})::text")
        array = f"json_build_array({literal(digest)}::text, {', '.join(values)})::text"
        return f"translate(encode(convert_to({array}, 'UTF8'), 'base64'), E'\\n', '')"

    def ids(self, placeholder: str, alias: str) -> str:
        return f"unnest({placeholder}) with ordinality as {alias}(id, rn)"


_NAME = 63
"""Bytes of a name in PostgreSQL; longer ones are cut off."""
DIALECTS: dict[str, Dialect] = {"sqlite": SQLiteDialect(), "postgresql": PostgreSQLDialect()}


def pattern(operator: str, text: str) -> str:
    """The folded ``like`` pattern of contains, startsWith, endsWith and like."""
    if operator == "like":
        return fold(text)
    escaped = fold(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if operator == "startsWith":
        return f"{escaped}%"
    return f"%{escaped}" if operator == "endsWith" else f"%{escaped}%"
