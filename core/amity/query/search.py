"""Searching by a text: what somebody wrote, turned into what is looked for; and searching from Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..database.grams import Sought, search_fold
from ..entity import Catalog, EntityType, Record
from ..tree import Field, HitEdges, HitNode, HitPart, PageInfo, Scalar, Search, Selection, TotalCount
from .errors import QueryError
from .find import selection_of
from .where import check_text

if TYPE_CHECKING:
    from ..crm import Session

MAX_TEXT = 200
"""Characters of a text to search for."""
MAX_WORDS = 10
"""Words of it."""
_NUMBER = re.compile(r"[0-9 ()+./-]+")
_DIGITS = 4
"""Digits from which a number is also looked for without its punctuation."""


def parse_search(text: Any, path: tuple[str | int, ...] = ("text",)) -> Sought:
    """What is looked for. Raises :class:`QueryError`."""
    given = check_text(text, path)
    if len(given) > MAX_TEXT:
        raise QueryError(f"is {len(given)} characters long; at most {MAX_TEXT} are searched for", path)
    words = search_fold(given).split()
    if not words:
        raise QueryError("is empty; say what to look for", path)
    if len(words) > MAX_WORDS:
        raise QueryError(f"has {len(words)} words; at most {MAX_WORDS} are searched for", path)
    return Sought(tuple(words), _number(words))


def _number(words: Sequence[str]) -> str | None:
    """The digits of a number that is written with punctuation, or with a leading zero that others leave out."""
    text = " ".join(words)
    if not _NUMBER.fullmatch(text):
        return None
    digits = re.sub("[^0-9]", "", text.replace("(0)", "")).lstrip("0")
    return digits if len(digits) >= _DIGITS and digits != text else None


@dataclass(frozen=True)
class Hit:
    """A record that was found, and why: how well it fits from 0 to 1, by which field, and its text there."""

    entity: str
    id: str
    score: float
    field: str
    snippet: str
    row: Mapping[str, Any]
    """The fields that were asked for."""


@dataclass(frozen=True)
class Hits:
    """A page of what a search found, the best first. ``after`` is handed in to go on."""

    items: tuple[Hit, ...]
    total: int
    after: str | None = None
    """None where nothing follows."""

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def searchable(catalog: Catalog) -> list[EntityType]:
    """The entities that a search can answer."""
    return [entity for entity in catalog.values() if entity.options.searchable and not entity.options.found_as]


async def search(
    session: Session,
    text: str,
    types: Sequence[type[Record] | str] | None = None,
    *,
    select: Mapping[type[Record] | str, Sequence[str]] | None = None,
    first: int = 20,
    after: str | None = None,
) -> Hits:
    """Records that a text finds. Raises :class:`QueryError` and :class:`~amity.access.AccessDenied`.

    ``select`` names the fields to read of each entity.
    """
    catalog = session.crm.catalog
    chosen = {catalog.of(entity).name: names for entity, names in (select or {}).items()}
    fields: dict[str, Selection] = {}
    for entity in catalog.values():
        wanted: tuple[Field, ...] = selection_of(catalog, entity, chosen.get(entity.name, ()))
        fields[entity.name] = (Scalar(" id", "id"), *wanted)
    said = (HitPart("score", "score"), HitPart("field", "field"), HitPart("snippet", "snippet"))
    entities = searchable(catalog) if types is None else [catalog.of(item) for item in types]
    root = Search(
        text,
        tuple(entity.name for entity in entities),
        (
            HitEdges("edges", (*said, HitNode("row", fields))),
            PageInfo("page", (("more", "hasNextPage"), ("end", "endCursor"))),
            TotalCount("total"),
        ),
        types is not None,
        first,
        after,
    )
    answer = (await session.read({"search": root})).parsed()["search"]
    items = []
    for edge in answer["edges"]:
        row = dict(edge["row"])
        id = row.pop(" id")
        entity_type, _ = catalog.by_id(id)
        items.append(Hit(entity_type.name, id, edge["score"], edge["field"], edge["snippet"], row))
    page = answer["page"]
    return Hits(tuple(items), int(answer["total"]), page["end"] if page["more"] else None)


__all__ = ["Hit", "Hits", "parse_search", "search", "searchable"]
