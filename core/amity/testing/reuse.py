"""PostgreSQL databases used again by the tests of a process: making one takes the server a third of a second.

A database that a test is done with is emptied, and gets the rows of its template back. That takes a few
milliseconds. One whose schema a test has changed, or that somebody is still connected to, is dropped instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..database import DatabaseError
from ..database.schema_connection import SchemaConnection, schema_connection

_SCHEMA = """
select md5(concat_ws(' ',
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_class),
    (select string_agg(concat(attrelid, ':', attnum, ':', xmin), ',' order by attrelid, attnum) from pg_attribute),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_attrdef),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_constraint),
    (select string_agg(concat(indexrelid, ':', xmin), ',' order by indexrelid) from pg_index),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_namespace),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_proc),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_trigger),
    (select string_agg(concat(oid, ':', xmin), ',' order by oid) from pg_type)))
"""
"""Differs as soon as a row of these catalogs was written, whatever was changed."""
_ALONE = """
select not exists (
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend')
"""
_TABLES = """
select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema') order by 1
"""
_EMPTY = """
do $$
declare
    name text;
    filled boolean;
begin
    for name in
        select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname not in ('pg_catalog', 'information_schema')
    loop
        execute 'select exists (select from ' || name || ')' into filled;
        if filled then execute 'delete from ' || name; end if;
    end loop;
    perform setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences;
end $$
"""


@dataclass(frozen=True)
class _Template:
    """What a database is like when nobody has used it."""

    schema: str
    rows: Sequence[tuple[str, str]]
    """Tables with their rows, as JSON."""


@dataclass
class Reuse:
    """Databases of one process that wait to be used again, by the URL of their server and their template."""

    _templates: dict[tuple[str, str], _Template] = field(default_factory=dict)
    _waiting: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    async def learn(self, server: str, template: str, url: str) -> None:
        """Looks at a template, at ``url``, before anybody uses a copy of it."""
        async with schema_connection(url) as connection:
            rows = []
            for (table,) in await connection.fetch(_TABLES):
                ((kept,),) = await connection.fetch(f"select json_agg(t)::text from {table} t")
                rows += [(table, kept)] if kept is not None else []
            self._templates[server, template] = _Template(await _schema(connection), rows)

    def take(self, server: str, template: str) -> str | None:
        """A database that is as good as new, if there is one."""
        waiting = self._waiting.get((server, template))
        return waiting.pop() if waiting else None

    async def cleaned(self, server: str, template: str, url: str) -> bool:
        """Makes a database as it was; False if it can't be used again."""
        known = self._templates.get((server, template))
        if known is None:
            return False
        try:
            async with schema_connection(url) as connection:
                return await _cleaned(connection, known)
        except (DatabaseError, OSError):
            return False

    def give(self, server: str, template: str, name: str) -> None:
        """Lets a clean database wait for who takes it."""
        self._waiting.setdefault((server, template), []).append(name)

    def forget(self, server: str) -> list[str]:
        """The databases that wait on a server, which from now on are nobody's."""
        keys = [key for key in self._waiting if key[0] == server]
        return [name for key in keys for name in self._waiting.pop(key)]


async def _cleaned(connection: SchemaConnection, known: _Template) -> bool:
    ((alone,),) = await connection.fetch(_ALONE)
    if not alone or await _schema(connection) != known.schema:
        return False
    async with connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(_EMPTY)
        for table, rows in known.rows:
            kept = f"json_populate_recordset(null::{table}, $1::text::json)"
            await connection.execute(f"insert into {table} select * from {kept}", (rows,))
    return True


async def _schema(connection: SchemaConnection) -> str:
    ((found,),) = await connection.fetch(_SCHEMA)
    return str(found)
