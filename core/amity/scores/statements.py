"""The two statements of a run: one computes what changed, one makes it current.

The first adds to the history every score that is other than the current one, and a null for every record that
lost its score. The second copies those into the scorer's own table. Unchanged scores are written by neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..database import Dialect
from ..entity import EntityType, Kind, new_id
from ..query.dialect import DIALECTS, identifier, literal
from .sql import ScoreQuery
from .table import Output


@dataclass(frozen=True)
class Plan:
    """What a run works on."""

    scorer: str
    version: str
    run: UUID
    now: datetime
    target: EntityType
    table: EntityType
    """The scorer's own."""
    relation: str
    """Its column that leads to the target."""
    outputs: Sequence[Output]
    ids: Sequence[UUID] | None


Sql = tuple[str, tuple[Any, ...]]


def compute(plan: Plan, query: ScoreQuery, source: str) -> Sql:
    """Adds to the history what is new. ``source`` is a select of id, the outputs and, maybe, inputs_digest."""
    conditions, dialect = query.conditions, DIALECTS[query.dialect]
    names = [output.name for output in plan.outputs]
    casts = ", ".join(
        f"{_cast(o.kind, f's.{identifier(o.name)}', query.dialect)} as {_q(o.name)}" for o in plan.outputs
    )
    restricted = ""
    if plan.ids is not None:
        among = dialect.among('t."id"', conditions.bind(list(plan.ids), Kind.ID, many=True))
        restricted = f" and {among}"
    visible = "".join(f" and {predicate}" for predicate in conditions.visible(plan.target, "t"))
    head = ", ".join(
        [
            _new_id(query.dialect),
            conditions.bind(plan.run, Kind.ID),
            literal(plan.scorer),
            literal(plan.version),
            literal(plan.target.code),
        ]
    )
    value = dialect.object([(o.name, dialect.out(o.kind, f"f.{_q(o.name)}")) for o in plan.outputs])
    if query.dialect == "postgresql":
        value = f"({value})::jsonb"
        null_json, null_text = "null::jsonb", "null::text"
    else:
        null_json = null_text = "null"
    now = conditions.bind(plan.now, Kind.DATETIME)
    differs = [f"{dialect.different(f'c.{_q(name)}', f'f.{_q(name)}')}" for name in names]
    current = f"{identifier(plan.table.table)} c"
    joined = f"c.{_q(plan.relation)}"
    lost = ""
    if plan.ids is not None:
        lost = f" and {dialect.among(joined, conditions.bind(list(plan.ids), Kind.ID, many=True))}"
    sql = (
        'insert into "core_score" ("id", "run_id", "scorer", "version", "entity_type", "entity_id", "value", '
        '"inputs_digest", "computed_at") '
        f"{conditions.heads()}s as materialized ({source}), "
        f'f as materialized (select t."id", {casts}, s."inputs_digest" from s '
        f'join {identifier(plan.target.table)} t on t."id" = s."id"{visible}{restricted}) '
        f'select {head}, f."id", {value}, f."inputs_digest", {now} '
        f'from f left join {current} on {joined} = f."id" '
        f'where {joined} is null or c."version" <> {literal(plan.version)} or {" or ".join(differs)} '
        f"union all select {head}, {joined}, {null_json}, {null_text}, {now} from {current} "
        f'left join f on f."id" = {joined} where f."id" is null{lost}'
    )
    return sql, query.parameters


def store(plan: Plan, query: ScoreQuery) -> Sql:
    """Makes the run's scores current."""
    names = [output.name for output in plan.outputs]
    columns = ["id", plan.relation, *names, "version", "computed_at"]
    values = [stored(output, 'h."value"', query.dialect) for output in plan.outputs]
    run = query.conditions.bind(plan.run, Kind.ID)
    sets = ", ".join(f"{_q(name)} = excluded.{_q(name)}" for name in [*names, "version", "computed_at"])
    sql = (
        f"insert into {identifier(plan.table.table)} ({', '.join(map(_q, columns))}) "
        f'select h."id", h."entity_id", {", ".join(values)}, h."version", h."computed_at" '
        f'from "core_score" h where h."run_id" = {run} and h."value" is not null '
        f"on conflict ({_q(plan.relation)}) do update set {sets}"
    )
    return sql, query.parameters


def withdraw(plan: Plan, query: ScoreQuery) -> Sql:
    """Removes the current scores of records that have none any more."""
    run = query.conditions.bind(plan.run, Kind.ID)
    sql = (
        f"delete from {identifier(plan.table.table)} where {_q(plan.relation)} in "
        f'(select h."entity_id" from "core_score" h where h."run_id" = {run} and h."value" is null)'
    )
    return sql, query.parameters


def drafted(plan: Plan, query: ScoreQuery) -> str:
    """The source of a run whose scores were computed in Python."""
    values = ", ".join(f"{stored(o, 'd.value', query.dialect)} as {_q(o.name)}" for o in plan.outputs)
    run = query.conditions.bind(plan.run, Kind.ID)
    return f'select d."target" as id, {values}, d."inputs_digest" from "core_score_draft" d where d."run" = {run}'


def stored(output: Output, value: str, dialect: Dialect) -> str:
    """An output out of the JSON that scores are kept as."""
    if dialect == "postgresql":
        return _cast(output.kind, f"({value} ->> {literal(output.name)})", dialect)
    return _cast(output.kind, f"json_extract({value}, {literal('$.' + output.name)})", dialect)


_POSTGRESQL = {
    Kind.TEXT: 'text collate "C"',
    Kind.INT: "integer",
    Kind.BIGINT: "bigint",
    Kind.FLOAT: "float8",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.DATETIME: "timestamptz",
}
_SQLITE = {Kind.INT: "integer", Kind.BIGINT: "integer", Kind.BOOLEAN: "integer", Kind.FLOAT: "real"}


def _cast(kind: Kind, expression: str, dialect: Dialect) -> str:
    if dialect == "postgresql":
        return f"({expression})::{_POSTGRESQL[kind]}"
    return f"cast({expression} as {_SQLITE[kind]})" if kind in _SQLITE else expression


def _new_id(dialect: Dialect) -> str:
    """A UUIDv7 for each row: the time of the run, then the database's random digits."""
    head = literal(str(new_id())[:15])
    if dialect == "postgresql":
        return f"({head} || substr(gen_random_uuid()::text, 16))::uuid"
    digits = "lower(hex(randomblob({})))"
    return (
        f"{head} || substr({digits.format(2)}, 2) || '-' || substr('89ab', 1 + (random() & 3), 1) "
        f"|| substr({digits.format(2)}, 2) || '-' || {digits.format(6)}"
    )


def _q(name: str) -> str:
    return identifier(name)
