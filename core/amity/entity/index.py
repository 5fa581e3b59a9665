"""Indexes and unique keys, as they are declared on an entity."""

from __future__ import annotations

from dataclasses import dataclass

LIVE = "deleted_at IS NULL"


@dataclass(frozen=True)
class Unique:
    """Columns that no two live rows share; also a key to upsert by.

    The index behind it is partial: deleted rows do not occupy a key. ``where`` narrows it further and is SQL
    that both databases understand. A key with ``where`` can't be an upsert key.
    """

    columns: tuple[str, ...]
    where: str | None = None

    @property
    def name(self) -> str:
        return "_".join(self.columns)


@dataclass(frozen=True)
class SqlIndex:
    """An index written as the SQL behind ``ON <table>``, for each database.

    ``SqlIndex("customer_newest", "(created_at DESC, id DESC) WHERE deleted_at IS NULL")`` serves both;
    give ``sqlite`` where it differs, and an empty text for a database that does without the index. ``using``
    statements, collations, expressions and predicates are all part of the text. The index is named
    ``<table>_<name>``.
    """

    name: str
    postgresql: str
    sqlite: str | None = None
    unique: bool = False

    def sql(self, dialect: str, table: str) -> str | None:
        """The ``CREATE INDEX`` statement for ``"postgresql"`` or ``"sqlite"``; None where there is none."""
        body = self.postgresql if dialect == "postgresql" or self.sqlite is None else self.sqlite
        if not body:
            return None
        unique = "UNIQUE " if self.unique else ""
        return f'CREATE {unique}INDEX "{self.index_name(table)}" ON "{table}" {body}'

    def index_name(self, table: str) -> str:
        return f"{table}_{self.name}"
