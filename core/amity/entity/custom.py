"""Fields that the settings add to an entity: real columns, without a class that declares them."""

from __future__ import annotations

from dataclasses import dataclass

from .index import LIVE, SqlIndex


@dataclass(frozen=True)
class CustomField:
    """A field of ``[[custom_fields]]``, and the columns that hold it."""

    name: str
    type: str
    columns: tuple[str, ...]
    """Its column; two for money: minor units, and the currency."""
    target: str | None = None
    """The table that a link refers to."""
    indexed: bool = False

    @property
    def index(self) -> SqlIndex:
        """What its filters and orders are found by; the id is what rows are ordered by in the end."""
        return SqlIndex(index_name(self.name), f'("{self.columns[0]}", "id") WHERE {LIVE}')


def columns_of(name: str, type: str) -> tuple[str, ...]:
    """The columns that a field of a type is kept in."""
    if type == "money":
        return f"{name}_amount", f"{name}_currency"
    return (f"{name}_id",) if type == "link" else (name,)


def index_name(field: str) -> str:
    """The index of a custom field, without its table; no index of a plugin is named so."""
    return f"cf_{field}"


__all__ = ["CustomField", "columns_of", "index_name"]
