"""A mapping ready to be run: every name in it is known, every file is there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amity.change import authorize
from amity.entity import EntityType

from .mapping import ColumnRule, FieldRule, Section
from .template import Template

if TYPE_CHECKING:
    from amity.crm import Session

Convert = Callable[[Any, Mapping[str, Any]], Any]
"""``convert(value, cells)``: from the value of a cell to the field's. Raises ValueError with the reason."""
EXTERNAL_ID = "external_id"


@dataclass(frozen=True)
class Allowed:
    """The values that a column may have; ``where`` says where they are listed."""

    values: frozenset[str]
    where: str

    def refusal(self, value: str) -> str:
        close = difflib.get_close_matches(value, self.values, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"is not among the {len(self.values)} allowed values ({self.where}){hint}"


@dataclass(frozen=True)
class ColumnPlan:
    """How one column is cleaned."""

    name: str
    rule: ColumnRule
    allowed: Allowed | None
    plain: bool = field(init=False)
    """Whether nothing is done but to take whitespace away."""

    def __post_init__(self) -> None:
        rule = self.rule
        plain = rule.trim and rule.default is None and not rule.map and self.allowed is None
        object.__setattr__(self, "plain", plain)


@dataclass(frozen=True)
class Lookup:
    """Finds rows of ``entity`` by ``by``."""

    entity: EntityType
    by: str
    system: str
    where: Mapping[str, Any] | None
    nullable: bool
    """Whether the field goes without what is not found; else the row is refused."""


@dataclass(frozen=True)
class FieldPlan:
    """How one field is filled."""

    name: str
    columns: tuple[str, ...]
    """Where it comes from, for telling what is wrong with it."""
    rule: FieldRule
    template: Template | None
    convert: Convert | None
    empty: str
    lookup: Lookup | None = None
    column: str = ""
    """The column of the entity; for a custom field, the JSON column that holds it."""
    key: str | None = None
    """The key within a JSON column."""


@dataclass(frozen=True)
class SectionPlan:
    """One ``[[import]]``, ready to be run."""

    number: int
    section: Section
    entity: EntityType
    path: Path
    """The file; the mapping file itself where the rows are written there."""
    columns: tuple[ColumnPlan, ...]
    """Those that are used."""
    fields: tuple[FieldPlan, ...]
    key: tuple[str, ...]
    system: str

    @property
    def origin(self) -> str:
        return f"csv:{self.path.name}"[:200]

    def authorize(self, session: Session) -> None:
        """Asks for the right to write what it fills, before anything is. Raises :class:`~amity.AccessDenied`."""
        filled = [dict.fromkeys(field.column or field.name for field in self.fields)]
        if self.section.mode == "create":
            authorize(session, self.entity, "create", filled)
        elif self.key == ("id",):
            authorize(session, self.entity, "update", filled)
        else:
            authorize(session, self.entity, "upsert", filled, key=self.key)

    @property
    def json_columns(self) -> tuple[str, ...]:
        """JSON columns of which some keys are filled."""
        return tuple(dict.fromkeys(plan.column for plan in self.fields if plan.key is not None))
