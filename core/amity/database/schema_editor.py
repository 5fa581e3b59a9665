"""Tortoise's schema editors, with what both databases need to mean the same and to lose nothing.

* Text on PostgreSQL is ordered by code point, like on SQLite: ``COLLATE "C"``.
* References are checked at the end of a transaction, so that the rows of a batch may refer to each other.
* Rebuilding a SQLite table keeps its indexes and triggers, and the rows that refer to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from tortoise.fields import BigIntField
from tortoise.fields.base import Field
from tortoise.fields.relational import ForeignKeyFieldInstance
from tortoise.migrations.constraints import CheckConstraint
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_editor.base_postgres import BasePostgresSchemaEditor
from tortoise.migrations.schema_editor.sqlite import SqliteSchemaEditor
from tortoise.models import Model

from .base import DatabaseError

if TYPE_CHECKING:
    from .schema_connection import SchemaConnection

_DEFERRED = ' REFERENCES {table} ("{field}") ON DELETE {on_delete} DEFERRABLE INITIALLY DEFERRED{comment}'
_SQLITE_TYPES = {"TIMESTAMP": "TEXT", "DATE": "TEXT", "JSON": "TEXT"}
"""Tortoise's names have numeric affinity, which would turn a text that looks like a number into one."""


def schema_editor(connection: SchemaConnection) -> BaseSchemaEditor:
    """The editor for the connection's database."""
    client = cast(Any, connection)
    return SQLiteEditor(client) if connection.dialect == "sqlite" else PostgreSQLEditor(client)


def literal(value: object, dialect: str) -> str:
    """A Python value as an SQL literal: None, bool, int, float, str, or what JSON knows."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(int(value)) if dialect == "sqlite" else str(value).upper()
    if isinstance(value, (int, float)):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    return "'" + text.replace("'", "''") + "'"


def default_of(field: Field[Any], model: type[Model], dialect: str) -> str | None:
    """The SQL of a field's ``db_default``; None where it has none."""
    if not field.has_db_default():
        return None
    value = field.db_default
    if hasattr(value, "get_sql"):
        return str(value.get_sql(dialect=dialect))
    return literal(value, dialect)


class SQLiteEditor(SqliteSchemaEditor):
    FK_TEMPLATE = _DEFERRED

    async def _run_sql(self, sql: str) -> None:
        await self.client.execute_script(sql)

    def _escape_default_value(self, default: object) -> str:
        return literal(default, "sqlite")

    def _get_field_sql(
        self, db_field: str, field_type: str, nullable: bool, unique: bool, is_pk: bool, comment: str
    ) -> str:
        field_type = _SQLITE_TYPES.get(field_type, field_type)
        return super()._get_field_sql(db_field, field_type, nullable, unique, is_pk, comment)

    async def _remake_table(
        self,
        model: type[Model],
        create_field: Any = None,
        delete_field: Any = None,
        alter_fields: Sequence[tuple[Any, Any]] | None = None,
    ) -> None:
        """Makes the table anew as ``model`` says, without ``delete_field``, and brings everything over."""
        table = model._meta.db_table
        _, existing = await self.client.execute_query(f"PRAGMA table_info({self.quote(table)})")
        present = {column["name"] for column in existing}
        _, attached = await self.client.execute_query(
            "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger')"
            " AND sql IS NOT NULL",
            [table],
        )
        definitions = self._definitions(model)
        removed = _column(delete_field) if delete_field else None
        if removed:
            definitions.pop(removed)
        former = {removed, *(_column(old) for old, _ in alter_fields or ())}
        definitions |= await self._undescribed(table, present - definitions.keys() - former)
        sources = {name: self.quote(name) for name in definitions if name in present}
        for old, new in alter_fields or ():
            await self._check_narrowing(table, old, new)
            source = self.quote(_column(old))
            default = default_of(new, model, "sqlite")
            if old.null and not new.null and default is not None:
                source = f"coalesce({source}, {default})"
            sources[_column(new)] = source
        checks = [
            self.CHECK_CONSTRAINT_CREATE_TEMPLATE.format(name=constraint.name, check=constraint.check)
            for constraint in model._meta.constraints or ()
            if isinstance(constraint, CheckConstraint)
        ]
        body = ",\n    ".join([*definitions.values(), *checks])
        remade, original = self.quote(f"new__{table}"), self.quote(table)
        names = ", ".join(self.quote(name) for name in sources)
        values = ", ".join(sources.values())
        await self.client.execute_script(f"CREATE TABLE {remade} (\n    {body}\n)")
        await self.client.execute_script(
            f"INSERT INTO {remade} ({names}) SELECT {values} FROM {original} ORDER BY rowid"
        )
        await self.client.execute_script(f"DROP TABLE {original}")
        # the newer RENAME reads the whole schema and stumbles over triggers that name the dropped table
        await self.client.execute_script("PRAGMA legacy_alter_table = ON")
        await self.client.execute_script(f"ALTER TABLE {remade} RENAME TO {original}")
        await self.client.execute_script("PRAGMA legacy_alter_table = OFF")
        for row in attached:
            # SQLite takes a quoted name that is no column for a text, so it would not complain
            after_on = row["sql"].split(" ON ", 1)[-1]
            if removed is None or not re.search(rf"\b{re.escape(removed)}\b", after_on):
                await self.client.execute_script(row["sql"])

    async def _undescribed(self, table: str, names: set[str]) -> dict[str, str]:
        """Columns that no model knows, those of custom fields, as they are."""
        _, columns = await self.client.execute_query(f"PRAGMA table_info({self.quote(table)})")
        _, keys = await self.client.execute_query(f"PRAGMA foreign_key_list({self.quote(table)})")
        definitions = {}
        for column in columns:
            if (name := column["name"]) not in names:
                continue
            sql = f"{self.quote(name)} {column['type']}"
            if column["dflt_value"] is not None:
                sql += f" DEFAULT {column['dflt_value']}"
            for key in keys:
                if key["from"] == name:
                    sql += self.FK_TEMPLATE.format(
                        table=self.quote(key["table"]), field=key["to"], on_delete=key["on_delete"], comment=""
                    )
            definitions[name] = sql
        return definitions

    async def _check_narrowing(self, table: str, old: Any, new: Any) -> None:
        """SQLite stores any value in any column; PostgreSQL would refuse those that do not fit."""
        column, length = self.quote(_column(old)), getattr(new, "max_length", None)
        if length is not None and length != getattr(old, "max_length", None):
            outside = f"length({column}) > {length}"
        elif isinstance(old, BigIntField) and not isinstance(new, BigIntField):
            outside = f"{column} NOT BETWEEN -2147483648 AND 2147483647"
        else:
            return
        _, rows = await self.client.execute_query(
            f"SELECT count(*) AS number FROM {self.quote(table)} WHERE {outside}"
        )
        if rows[0]["number"]:
            raise DatabaseError(f"{rows[0]['number']} values of {table}.{_column(old)} do not fit any more")

    def _definitions(self, model: type[Model]) -> dict[str, str]:
        """Each column with its definition, as in CREATE TABLE."""
        definitions: dict[str, str] = {}
        for name, column in model._meta.fields_db_projection.items():
            field = model._meta.fields_map[name]
            if getattr(field, "reference", None):
                sql = self._get_fk_field_definition(model, name)
            else:
                kind = cast(str, field.get_for_dialect(self.DIALECT, "SQL_TYPE"))
                sql = self._get_field_sql(column, kind, field.null, field.unique, field.pk, "")
            default = default_of(field, model, "sqlite")
            definitions[column] = sql if default is None else f"{sql} DEFAULT {default}"
        return definitions


class PostgreSQLEditor(BasePostgresSchemaEditor):
    FK_TEMPLATE = _DEFERRED
    # without CASCADE: what else depends on it is not ours to drop
    DELETE_TABLE_TEMPLATE = "DROP TABLE {table}"
    DELETE_FIELD_TEMPLATE = 'ALTER TABLE {table} DROP COLUMN "{column}"'

    def _escape_default_value(self, default: object) -> str:
        return literal(default, "postgresql")

    def _get_field_sql(
        self, db_field: str, field_type: str, nullable: bool, unique: bool, is_pk: bool, comment: str
    ) -> str:
        return super()._get_field_sql(db_field, _collated(field_type), nullable, unique, is_pk, comment)

    async def remove_field(self, model: type[Model], field: Any) -> None:
        table = self._qualify_table_name(model._meta.db_table, model._meta.schema)
        await self._run_sql(self.DELETE_FIELD_TEMPLATE.format(table=table, column=_column(field)))

    async def alter_field(self, old_model: type[Model], new_model: type[Model], field_name: str) -> None:
        old, new = old_model._meta.fields_map[field_name], new_model._meta.fields_map[field_name]
        await super().alter_field(old_model, new_model, field_name)
        if isinstance(old, ForeignKeyFieldInstance) and isinstance(new, ForeignKeyFieldInstance):
            changed = (old.on_delete, old.model_name) != (new.on_delete, new.model_name)
            if changed:
                await self._replace_reference(new_model, field_name)

    async def _replace_reference(self, model: type[Model], field_name: str) -> None:
        field = cast(ForeignKeyFieldInstance[Any], model._meta.fields_map[field_name])
        column = _column(field)
        table = self._qualify_table_name(model._meta.db_table, model._meta.schema)
        _, rows = await self.client.execute_query(
            "SELECT k.conname FROM pg_constraint k JOIN pg_attribute a"
            " ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]"
            " WHERE k.contype = 'f' AND k.conrelid = $1::regclass AND a.attname = $2",
            [table, column],
        )
        for row in rows:
            await self._run_sql(self.DELETE_CONSTRAINT_TEMPLATE.format(table=table, name=row["conname"]))
        reference = self._get_fk_reference_string(
            "",
            column,
            self._qualify_table_name(field.related_model._meta.db_table, field.related_model._meta.schema),
            field.related_model._meta.db_pk_column,
            field.on_delete,
            "",
        )
        await self._run_sql(f"ALTER TABLE {table} ADD FOREIGN KEY ({self.quote(column)}){reference}")

    async def _alter_field(self, model: type[Model], old_field: Any, new_field: Any) -> None:
        table = self._qualify_table_name(model._meta.db_table, model._meta.schema)
        column = self.quote(_column(new_field))
        if _column(old_field) != _column(new_field):
            await self._run_sql(
                self.RENAME_FIELD_TEMPLATE.format(
                    table=table, old_column=_column(old_field), new_column=_column(new_field)
                )
            )
        old_type = cast(str, old_field.get_for_dialect(self.DIALECT, "SQL_TYPE"))
        new_type = cast(str, new_field.get_for_dialect(self.DIALECT, "SQL_TYPE"))
        changes: list[str] = []
        if old_type != new_type:
            changes.append(f"TYPE {_collated(new_type)}")
        old_default = default_of(old_field, model, "postgres")
        default = default_of(new_field, model, "postgres")
        if old_default != default:
            changes.append("DROP DEFAULT" if default is None else f"SET DEFAULT {default}")
        if old_field.null != new_field.null:
            if not new_field.null and default is not None:
                await self._run_sql(f"UPDATE {table} SET {column} = {default} WHERE {column} IS NULL")
            changes.append("DROP NOT NULL" if new_field.null else "SET NOT NULL")
        if changes:
            actions = ", ".join(f"ALTER COLUMN {column} {change}" for change in changes)
            await self._run_sql(f"ALTER TABLE {table} {actions}")


def _collated(field_type: str) -> str:
    return f'{field_type} COLLATE "C"' if field_type.startswith(("VARCHAR", "TEXT", "CHAR")) else field_type


def _column(field: Any) -> str:
    """The column of a field. A relation's is the one of its key; Tortoise calls that ``<name>_id``."""
    if isinstance(field, ForeignKeyFieldInstance):
        key = field.model._meta.fields_map[f"{field.model_field_name}_id"]
        return str(key.source_field)
    return str(field.source_field or field.model_field_name)
