"""Whether a field may be read at all, asked before it is selected."""

from __future__ import annotations

from ..access import AccessDenied, Rights
from ..entity import Catalog, EntityType
from ..entity.catalog import TIMELINE
from ..tree import Page, Timeline
from .dialect import DIALECTS
from .timeline import Timelines


def refusal(catalog: Catalog, rights: Rights, entity: EntityType, name: str) -> AccessDenied | None:
    """Why the principal may not select a field, by its name in the catalog; None if it may.

    It is found by what compiling asks for: an expression and a batch field need all that they are made from.
    """
    asking = Timelines(catalog, rights, DIALECTS["sqlite"])
    try:
        asking.readable(entity)
        if name in entity.to_one or name in entity.to_many:
            asking.follow(entity, name)
        elif name in entity.expressions:
            asking.use(entity, name)
            asking.expression(entity.expressions[name].expression, entity, "t")
        elif name in entity.batches:
            asking.use(entity, name)
            for need in entity.batches[name].needs:
                asking.follow_path(need.split("."), entity, "t")
        elif name == TIMELINE and entity.timeline:
            asking.sources(entity, Timeline("", Page(())), lambda: 0)
        elif name in entity.columns:
            asking.value(entity, "t", name)
        else:
            asking.use(entity, name)
    except AccessDenied as denied:
        return denied
    return None


def reads_everything(catalog: Catalog, rights: Rights) -> bool:
    """Whether no type and no field is closed to the principal; rows may be."""
    return all(
        rights.granted(entity, "read") and rights.fields(entity, "read") is None for entity in catalog.values()
    )


__all__ = ["reads_everything", "refusal"]
