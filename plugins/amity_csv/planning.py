"""Checking a mapping against the entities of a CRM and the files of a folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from amity import QueryError
from amity.change import writable
from amity.entity import Catalog, Column, Kind
from amity.query.where import parse_where

from . import values
from .errors import ImportFailed, MappingError
from .mapping import AllowedIn, ColumnRule, FieldRule, Section
from .mapping import Mapping as MappingFile
from .plan import EXTERNAL_ID, Allowed, ColumnPlan, Convert, FieldPlan, Lookup, SectionPlan
from .reading import CsvFile, Format, Row
from .template import parse_template
from .values import Numbers, Times

_TYPES = {
    "text": Kind.TEXT,
    "integer": Kind.BIGINT,
    "number": Kind.FLOAT,
    "boolean": Kind.BOOLEAN,
    "date": Kind.DATE,
    "time": Kind.DATETIME,
}


def plan(
    mapping: MappingFile, folder: Path, catalog: Catalog, currency: str, entities: Sequence[str] = ()
) -> tuple[SectionPlan, ...]:
    """The sections of a mapping, ready to be run; with ``entities`` only those of these entities.

    Raises :class:`~amity_csv.MappingError`, which lists everything that is wrong.
    """
    problems: list[str] = []
    plans = []
    for name in entities:
        if name not in [section.entity for section in mapping.sections]:
            known = ", ".join(dict.fromkeys(section.entity for section in mapping.sections))
            problems.append(f"no import is of the entity {name!r}; there are {known}")
    for number, section in enumerate(mapping.sections, 1):
        if entities and section.entity not in entities:
            continue
        planner = _Planner(mapping, number, section, folder, catalog, currency)
        found = planner.plan()
        problems += [f"import {number} ({section.label}): {problem}" for problem in planner.problems]
        if found is not None:
            plans.append(found)
    if problems:
        where = mapping.path or "mapping"
        raise MappingError([f"{where}: {problem}" for problem in problems])
    return tuple(plans)


@dataclass
class _Planner:
    mapping: MappingFile
    number: int
    section: Section
    folder: Path
    catalog: Catalog
    currency: str
    problems: list[str] = field(default_factory=list)

    def plan(self) -> SectionPlan | None:
        section = self.section
        entity = self.catalog.get(section.entity)
        if entity is None or not entity.is_entity:
            known = [item.name for item in self.catalog.values() if item.is_entity]
            self.wrong("entity", f"there is no entity {section.entity!r}; {_hint(section.entity, known)}")
            return None
        self.entity = entity
        names = self._names()
        if names is None:
            return None
        self.available = names
        rules = section.fields_ or {name: FieldRule(column=(name,)) for name in names}
        fields = [plan for name, rule in rules.items() if (plan := self._field(name, rule)) is not None]
        used = {name for plan in fields for name in plan.columns}
        used |= {*section.only, *section.skip, *section.columns}
        for what, given in (("only", section.only), ("skip", section.skip), ("columns", section.columns)):
            for name in given:
                self._column(what, name)
        columns = tuple(self._cleaning(name) for name in names if name in used)
        for name in {plan.column for plan in fields if plan.key is not None} & set(rules):
            self.wrong(
                f"fields.{name}", f"is filled as a whole, and so are keys of it, like {name}.…; leave one out"
            )
        key = self._key({plan.column for plan in fields if plan.key is None})
        fields = [replace(plan, empty="refuse") if plan.column in key else plan for plan in fields]
        path = self.folder / section.file if section.file else (self.mapping.path or Path("mapping"))
        system = self.mapping.system or ""
        for plan in fields:
            if plan.name == EXTERNAL_ID:
                system = plan.rule.system or system
        return SectionPlan(self.number, section, entity, path, columns, tuple(fields), key, system)

    def wrong(self, where: str, message: str) -> None:
        self.problems.append(f"{where}: {message}")

    # --- columns -------------------------------------------------------------------------------------------

    def _names(self) -> tuple[str, ...] | None:
        """The columns of the file, or of the rows in the mapping."""
        section = self.section
        if section.file is None:
            return tuple(dict.fromkeys(name for row in section.rows for name in row))
        names = self._columns_of("file", section.file, section.form)
        if names is None:
            return None
        for name in dict.fromkeys(names):
            if names.count(name) > 1 and self._mentions(name):
                self.wrong("file", f"{section.file} has {names.count(name)} columns {name!r}; rename one")
        return names

    def _columns_of(self, where: str, file: str, form: Format) -> tuple[str, ...] | None:
        try:
            with CsvFile(self.folder / file, form) as opened:
                return opened.columns
        except ImportFailed as error:
            self.wrong(where, str(error))
            return None

    def _mentions(self, name: str) -> bool:
        rules = self.section.fields_.values()
        return name in self.section.columns or any(name in rule.column for rule in rules)

    def _column(self, where: str, name: str) -> bool:
        if name in self.available:
            return True
        file = self.section.file or "the rows"
        self.wrong(where, f"{file} has no column {name!r}; {_hint(name, self.available)}")
        return False

    def _cleaning(self, name: str) -> ColumnPlan:
        rule = self.section.columns.get(name, ColumnRule())
        allowed = None
        if isinstance(rule.allowed, AllowedIn):
            allowed = self._allowed_in(f"columns.{name}.allowed", rule.allowed)
        elif rule.allowed is not None:
            allowed = Allowed(frozenset(rule.allowed), "listed in the mapping")
        return ColumnPlan(name, rule, allowed)

    def _allowed_in(self, where: str, given: AllowedIn) -> Allowed | None:
        try:
            with CsvFile(self.folder / given.file, self.section.form) as opened:
                if given.column not in opened.columns:
                    hint = _hint(given.column, opened.columns)
                    self.wrong(where, f"{given.file} has no column {given.column!r}; {hint}")
                    return None
                listed = {str(row.cells[given.column]).strip() for row in opened if isinstance(row, Row)}
        except ImportFailed as error:
            self.wrong(where, str(error))
            return None
        return Allowed(frozenset(listed - {""}), f"{given.file}, column {given.column}")

    # --- fields --------------------------------------------------------------------------------------------

    def _field(self, name: str, rule: FieldRule) -> FieldPlan | None:
        where = f"fields.{name}"
        template = parse_template(rule.template) if rule.template is not None else None
        sources = template.columns if template else rule.column
        if rule.template is not None and template is None:
            self.wrong(where, f"template {rule.template!r}: expected text with {{column}} and [optional parts]")
            return None
        if rule.currency_column is not None:
            sources = (*sources, rule.currency_column)
        known = [self._column(where, source) for source in sources]
        if not all(known):
            return None
        make = partial(FieldPlan, name, sources, rule, template)
        head, dot, rest = name.partition(".")
        if name == EXTERNAL_ID and EXTERNAL_ID in self._writable and EXTERNAL_ID not in self.entity.columns:
            return self._external_id(where, rule, make)
        if name in self.entity.money and name in self._writable:
            self._only(where, rule, {"decimal", "thousands", "currency", "currency_column"})
            nullable = self.entity.money[name].nullable
            return make(self._money(rule), self._empty(where, rule, nullable, False), None, name)
        column = self.entity.columns.get(head)
        if column is None or head not in self._writable:
            self._unknown(where, name)
            return None
        if dot:
            if column.kind is not Kind.JSON or not rest:
                self.wrong(where, f"{self.entity.name}.{head} holds no fields; name it alone")
                return None
            kind = _TYPES[rule.type or "text"]
            self._only(where, rule, _options(kind) | {"type"})
            convert = _json_safe(self._convert(kind, rule))
            return make(convert, self._empty(where, rule, True, False), None, head, rest)
        if rule.by is not None:
            return self._looked_up(where, rule, column, make)
        self._only(where, rule, _options(column.kind))
        read = self._convert(column.kind, rule)
        empty = self._empty(where, rule, column.nullable, column.has_default)
        return make(read, empty, None, column.name)

    @cached_property
    def _writable(self) -> list[str]:
        return writable(self.catalog, self.entity, "upsert")

    def _unknown(self, where: str, name: str) -> None:
        entity = self.entity
        if name in entity.columns and name not in entity.internal:
            self.wrong(where, f"{entity.name}.{name} is not set from outside")
        elif name in entity.to_one:
            self.wrong(where, f"{name} is a relation; did you mean {entity.to_one[name].column.name!r}?")
        else:
            self.wrong(where, f"{entity.name} has no field {name!r}; {_hint(name, self._writable)}")

    def _external_id(self, where: str, rule: FieldRule, make: Callable[..., FieldPlan]) -> FieldPlan:
        system = rule.system or self.mapping.system
        if not system:
            self.wrong(where, 'system is missing: whose ids these are, like system = "legacy_crm" at the top')
        self._only(where, rule, {"system"})

        def convert(value: Any, cells: Mapping[str, Any]) -> Any:
            return {"system": system, "id": str(value)}

        return make(convert, "refuse", None, EXTERNAL_ID)

    def _looked_up(
        self, where: str, rule: FieldRule, column: Column, make: Callable[..., FieldPlan]
    ) -> FieldPlan | None:
        target = self.catalog.get(column.references or "")
        if target is None or rule.by is None:
            self.wrong(where, f"by is for fields that refer to other records; {column.name} does not")
            return None
        self._only(where, rule, {"by", "system", "where", "missing"})
        system = rule.system or self.mapping.system or ""
        by = target.columns.get(rule.by)
        if rule.by == EXTERNAL_ID and by is None:
            if not system:
                self.wrong(where, "system is missing: whose ids these are")
        elif by is None or by.kind not in (Kind.TEXT, Kind.INT, Kind.BIGINT) or by.name in target.internal:
            columns = [c.name for c in target.visible_columns if c.kind in (Kind.TEXT, Kind.INT, Kind.BIGINT)]
            hint = _hint(rule.by, [EXTERNAL_ID, *columns])
            self.wrong(where, f"{target.name} can't be looked up by {rule.by!r}; {hint}")
            return None
        if rule.where is not None:
            try:
                parse_where(self.catalog, target, rule.where)
            except QueryError as error:
                self.wrong(where, f"where: {error}")
        if rule.missing == "null" and not column.nullable:
            self.wrong(where, f'missing = "null": {column.name} can\'t be null')
        convert = _texts(values.whole) if by is not None and by.kind is not Kind.TEXT else _text
        empty = self._empty(where, rule, column.nullable, column.has_default)
        lookup = Lookup(target, rule.by, system, rule.where, rule.missing == "null")
        return make(convert, empty, lookup, column.name)

    def _empty(self, where: str, rule: FieldRule, nullable: bool, has_default: bool) -> str:
        if rule.empty == "null" and not nullable:
            self.wrong(where, 'empty = "null": the field can\'t be null')
        if rule.empty is not None:
            return rule.empty
        return "null" if nullable else "keep" if has_default else "refuse"

    def _only(self, where: str, rule: FieldRule, meaningful: set[str]) -> None:
        """Options that say nothing about this kind of field are mistakes."""
        general = {"column", "value", "template", "empty"}
        for option in sorted(rule.model_fields_set - general - meaningful):
            known = ", ".join(sorted(meaningful)) or "none"
            self.wrong(where, f"{option} has no meaning here; options of this field are: {known}")

    # --- conversions ---------------------------------------------------------------------------------------

    def _numbers(self, rule: FieldRule) -> Numbers:
        return Numbers(rule.decimal, rule.thousands or "")

    def _money(self, rule: FieldRule) -> Convert:
        numbers = self._numbers(rule)
        fixed = rule.currency or self.currency

        def convert(value: Any, cells: Mapping[str, Any]) -> Any:
            given = cells[rule.currency_column] if rule.currency_column is not None else None
            currency = str(given).upper() if given is not None else fixed
            if not re.fullmatch("[A-Z]{3}", currency):
                raise ValueError(f"has the currency {currency!r}; expected three letters, like USD (ISO 4217)")
            return {"amount": values.minor_units(str(value), currency, numbers), "currency": currency}

        return convert

    def _convert(self, kind: Kind, rule: FieldRule) -> Convert | None:
        times = Times(rule.format, ZoneInfo(rule.time_zone) if rule.time_zone else None)
        numbers = self._numbers(rule)
        parsers: dict[Kind, Callable[[str], Any]] = {
            Kind.INT: partial(values.whole, numbers=numbers),
            Kind.BIGINT: partial(values.whole, numbers=numbers),
            Kind.FLOAT: partial(values.real, numbers=numbers),
            Kind.BOOLEAN: values.truth,
            Kind.DATE: times.day,
            Kind.DATETIME: times.instant,
            Kind.JSON: values.json,
        }
        parse = parsers.get(kind)
        return _texts(parse) if parse is not None else None

    # --- the key -------------------------------------------------------------------------------------------

    def _key(self, filled: set[str]) -> tuple[str, ...]:
        section, entity = self.section, self.entity
        if section.mode == "create":
            return ()
        key = tuple(entity.to_one[name].column.name if name in entity.to_one else name for name in section.key)
        possible = [unique.columns for unique in entity.unique if unique.where is None]
        if EXTERNAL_ID in self._writable:
            possible.append((EXTERNAL_ID,))
        possible.append(("id",))
        found = next((columns for columns in possible if set(columns) == set(key)), None)
        if found is None:
            known = ", ".join(f"[{', '.join(columns)}]" for columns in possible)
            self.wrong("key", f"[{', '.join(section.key)}] is no key of {entity.name}; its keys are {known}")
            return key
        for name in found:
            if name not in filled:
                self.wrong("key", f"{name} is part of the key, so fields must fill it")
        return found


def _options(kind: Kind) -> set[str]:
    """Options of a field rule that say something about a kind of value."""
    match kind:
        case Kind.INT | Kind.BIGINT | Kind.FLOAT:
            return {"decimal", "thousands"}
        case Kind.DATE:
            return {"format"}
        case Kind.DATETIME:
            return {"format", "time_zone"}
    return set()


def _text(value: Any, cells: Mapping[str, Any]) -> str:
    return str(value)


def _texts(parse: Callable[[str], Any]) -> Convert:
    """Texts are parsed; what the mapping writes as a number, a date or a truth value is one already."""
    return lambda value, cells: parse(value) if isinstance(value, str) else value


def _json_safe(convert: Convert | None) -> Convert:
    """A custom field is JSON: dates and times are texts there."""

    def converted(value: Any, cells: Mapping[str, Any]) -> Any:
        found = convert(value, cells) if convert is not None else value
        if isinstance(found, (date, datetime)):
            return found.isoformat().replace("+00:00", "Z")
        return found

    return converted


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
