"""Operations for migration files, beside Tortoise's own: ``from amity.database.operations import …``.

They hold plain values and SQL alone, so that a migration means the same for ever.
"""

from __future__ import annotations

from typing import Any

from tortoise.migrations.operations import TortoiseOperation
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_generator.state import State

from . import grams
from .folding import FUNCTION, postgresql_function


class CreateIndex(TortoiseOperation):
    """Creates the index ``<table>_<name>``.

    ``sql`` is what comes behind ``ON <table>``, as in :class:`~amity.entity.SqlIndex`; ``sqlite`` is given
    where SQLite's differs, and an empty text stands for a database that does without the index.
    """

    def __init__(
        self, table: str, name: str, sql: str, *, sqlite: str | None = None, unique: bool = False
    ) -> None:
        self.table = table
        self.name = name
        self.sql = sql
        self.sqlite = sqlite
        self.unique = unique

    def describe(self) -> str:
        return f"Create index {self.table}_{self.name}"

    @property
    def definition(self) -> tuple[str, str | None, bool]:
        """What makes two indexes of one name the same."""
        return self.sql, self.sqlite, self.unique

    def create_statement(self, dialect: str) -> str | None:
        body = self.sql if dialect == "postgres" or self.sqlite is None else self.sqlite
        if not body:
            return None
        unique = "UNIQUE " if self.unique else ""
        return f'CREATE {unique}INDEX "{self.table}_{self.name}" ON "{self.table}" {body}'

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        if state_editor and (sql := self.create_statement(state_editor.DIALECT)):
            await state_editor._run_sql(sql)

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        if state_editor:
            await state_editor._run_sql(f'DROP INDEX IF EXISTS "{self.table}_{self.name}"')


class DropIndex(CreateIndex):
    """Drops an index. It is written out, so that going back can create it again."""

    def describe(self) -> str:
        return f"Drop index {self.table}_{self.name}"

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        await super().database_backward(app_label, old_state, new_state, state_editor)

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        await super().database_forward(app_label, old_state, new_state, state_editor)


class RenameTable(TortoiseOperation):
    """Gives the table of a model another name."""

    def __init__(self, model_name: str, old: str, new: str) -> None:
        self.model_name = model_name
        self.old = old
        self.new = new

    def describe(self) -> str:
        return f"Rename table {self.old} to {self.new}"

    def state_forward(self, app_label: str, state: State) -> None:
        model = self.get_model_state(state, app_label, self.model_name)
        model.table = self.new
        model.options["table"] = self.new
        state.reload_model(app_label, self.model_name)

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        if state_editor:
            await state_editor._run_sql(f'ALTER TABLE "{self.old}" RENAME TO "{self.new}"')

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        if state_editor:
            await state_editor._run_sql(f'ALTER TABLE "{self.new}" RENAME TO "{self.old}"')


class RunSql(TortoiseOperation):
    """Runs statements, separated by semicolons; an empty text does nothing on that database.

    ``undo_postgresql`` and ``undo_sqlite`` take it back; without them the migration can't be reversed.
    """

    def __init__(
        self,
        *,
        postgresql: str,
        sqlite: str,
        undo_postgresql: str | None = None,
        undo_sqlite: str | None = None,
    ) -> None:
        self.postgresql = postgresql
        self.sqlite = sqlite
        self.undo_postgresql = undo_postgresql
        self.undo_sqlite = undo_sqlite
        self.reversible = undo_postgresql is not None and undo_sqlite is not None

    def describe(self) -> str:
        return "Run SQL"

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        await _run(state_editor, self.postgresql, self.sqlite)

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        await _run(state_editor, self.undo_postgresql or "", self.undo_sqlite or "")


class InstallFold(TortoiseOperation):
    """Creates or replaces ``amity_fold`` on PostgreSQL; on SQLite every connection brings it."""

    def describe(self) -> str:
        return f"Install the function {FUNCTION}"

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        if state_editor is not None and state_editor.DIALECT != "sqlite":
            await _run(state_editor, postgresql_function(), "")

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        await _run(state_editor, f"DROP FUNCTION IF EXISTS {FUNCTION}(text)", "")


class InstallSearch(RunSql):
    """Creates what searching needs beside the index of each entity: how its texts were folded last, and on
    PostgreSQL the function ``amity_grams``, on SQLite one index for all entities.

    SQLite's index is only added to: it says which records to look at, and a record of which it knows a former
    text is looked at in vain.
    """

    def __init__(self) -> None:
        super().__init__(
            postgresql=f"{grams.postgresql_function()};\n{_FOLDED}",
            sqlite=f"{_FOLDED};\n{_SQLITE_SEARCH}",
            undo_postgresql=f"DROP TABLE core_search_folded; DROP FUNCTION {grams.FUNCTION}(text)",
            undo_sqlite="DROP TABLE core_search_folded; DROP TABLE core_search_index; DROP TABLE core_search",
        )

    def describe(self) -> str:
        return "Install searching"


_FOLDED = "CREATE TABLE core_search_folded (entity text PRIMARY KEY, definition text NOT NULL)"
_SQLITE_SEARCH = """
CREATE TABLE core_search (n integer PRIMARY KEY, entity text NOT NULL, record text NOT NULL);
CREATE VIRTUAL TABLE core_search_index
  USING fts5(grams, content='', detail='none', columnsize=0, tokenize='ascii');
"""


async def _run(editor: BaseSchemaEditor | None, postgresql: str, sqlite: str) -> None:
    sql: Any = (sqlite if editor.DIALECT == "sqlite" else postgresql) if editor else ""
    if editor and sql:
        await editor._run_sql(sql)


__all__ = ["CreateIndex", "DropIndex", "InstallFold", "InstallSearch", "RenameTable", "RunSql"]
