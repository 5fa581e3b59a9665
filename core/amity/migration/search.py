"""Texts for searching that were folded otherwise than entities declare now: folded anew.

What is kept says which fields of an entity were folded, and how. So a plugin that makes another field searchable,
or a version that folds differently, needs no migration for the rows that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..change import storage
from ..change.rules import search_text
from ..database.grams import FOLDING
from . import files

if TYPE_CHECKING:
    from ..composition import Composition
    from ..database.schema_connection import SchemaConnection
    from ..entity import EntityType

BATCH = 5_000
_NONE = "00000000-0000-0000-0000-000000000000"


async def refresh(connection: SchemaConnection, composition: Composition) -> None:
    """Folds the texts of every searchable entity whose texts were folded otherwise, deleted records too."""
    rows = await connection.fetch("SELECT entity, definition FROM core_search_folded")
    done = {str(entity): str(definition) for entity, definition in rows}
    skipped = set(files.unmigrated(composition))
    for entity in composition.catalog.values():
        definition = f"{FOLDING}: {', '.join(entity.options.searchable)}"
        if entity.plugin in skipped or not entity.options.searchable or done.get(entity.code) == definition:
            continue
        async with connection.transaction():
            await _fold(connection, entity)
            await connection.execute("DELETE FROM core_search_folded WHERE entity = $1", (entity.code,))
            await connection.execute(
                "INSERT INTO core_search_folded (entity, definition) VALUES ($1, $2)", (entity.code, definition)
            )


async def _fold(connection: SchemaConnection, entity: EntityType) -> None:
    names = ["id", "search_text", *entity.options.searchable]
    mark = "$1::text::uuid" if connection.dialect == "postgresql" else "?1"
    sql = (
        f"SELECT {storage.quoted(names)} FROM {storage.table_of(entity)} "
        f"WHERE id > {mark} ORDER BY id LIMIT {BATCH}"
    )
    last = _NONE
    while rows := await connection.fetch(sql, (last,)):
        found = [storage.decode_row(entity, names, row, connection.dialect) for row in rows]
        texts = [{"id": row["id"], "search_text": search_text(entity, row)} for row in found]
        if connection.dialect == "postgresql":
            # SQLite's index has to be told of every text; an index of PostgreSQL knows those that stay
            former = {row["id"]: row["search_text"] for row in found}
            texts = [row for row in texts if row["search_text"] != former[row["id"]]]
        await storage.update(connection, entity, texts, ["search_text"])
        last = str(found[-1]["id"])


__all__ = ["refresh"]
