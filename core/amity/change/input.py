"""Input of a batch, checked against the catalog and turned into Python values.

A row is a mapping of column names to values: ``{"name": "Ann", "organization_id": "cus_…"}``. Money goes by
the name of its field, ``{"value": {"amount": 105400, "currency": "USD"}}``, and what another system calls the
record by ``external_id``, ``{"system": "…", "id": "…"}``.

Times need a zone: a time without one is refused rather than guessed at. What is an instant is kept in UTC.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

from ..entity import Catalog, Column, EntityType, InvalidId, Kind, MoneyField, decode_id
from ..model import ExternalId
from .refusals import Path, Refusals

Verb = Literal["create", "update", "upsert"]
MAX_DEPTH = 32
_KEPT = frozenset(("created_at", "updated_at", "version", "deleted_at", "search_text"))
_KEPT_STAGED = frozenset(("position", "stage_entered_at"))
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """Raised by a reader for a value that it can't take. ``path`` leads into the value."""

    def __init__(self, message: str, path: Path = (), code: str = "invalid") -> None:
        super().__init__(message)
        self.path = path
        self.code = code


@dataclass(frozen=True)
class Update:
    """A patch for one row: only the named fields change, and None sets null.

    With ``expected_version`` it is refused if the row has another version by now.
    """

    id: UUID | str
    patch: Mapping[str, Any]
    expected_version: int | None = None


@dataclass(slots=True)
class Item:
    """One item of a batch, as it came in. There are many, so they are not frozen, which would make them slow."""

    index: int
    id: UUID | None
    values: dict[str, Any]
    """Python values of the columns that the input names."""
    external: tuple[str, str] | None = None
    """(system, id) in another system."""
    expected_version: int | None = None
    names: Mapping[str, str] | None = None
    """Where a column's value came from, if not from a field of its name: money."""

    def path(self, column: str) -> Path:
        return (self.names.get(column, column) if self.names else column,)


Reader = Callable[[Any], Any]


def writable(catalog: Catalog, entity: EntityType, verb: Verb, *, read_only: bool = False) -> list[str]:
    """Names of the fields that input may bring: columns, money fields, ``external_id``.

    ``create`` also takes ``id``, and when something entered its stage. ``read_only`` adds the columns that
    the entity's options call so, for code of the plugin that the entity belongs to.
    """
    money = {name for m in entity.money.values() for name in (m.amount, m.currency)}
    kept = {"id", *_KEPT, *(_KEPT_STAGED if entity.is_staged else ()), *money}

    def open_to(column: Column) -> bool:
        return column.writable or (read_only and column.name not in kept)

    names = [column.name for column in entity.columns.values() if open_to(column) and column.name not in kept]
    if verb == "update":
        names = [name for name in names if name not in entity.fixed]
    else:
        names.insert(0, "id")
        if entity.is_staged:
            names.append("stage_entered_at")
    names.extend(name for name, m in entity.money.items() if read_only or entity.columns[m.amount].writable)
    if has_external_ids(catalog, entity):
        names.append("external_id")
    return names


def required(entity: EntityType) -> list[str]:
    """Names of the fields that a new row can't do without. A stage brings its pipeline."""
    names = [
        column.name
        for column in entity.columns.values()
        if not column.has_default and (column.required or not column.nullable) and not _implied(entity, column)
    ]
    money = {m.amount: m.name for m in entity.money.values()} | {m.currency: m.name for m in entity.money.values()}
    return list(dict.fromkeys(money.get(name, name) for name in names))


def _implied(entity: EntityType, column: Column) -> bool:
    if entity.is_staged and column.name == "pipeline_id":
        return True
    return any(generic.type_column == column.name for generic in entity.generic.values())


def has_external_ids(catalog: Catalog, entity: EntityType) -> bool:
    references = catalog.of(ExternalId).generic["entity"]
    return entity.name in references.targets and "external_id" not in entity.columns


class Reading:
    """Reads input of one entity. The table of readers is made once for a batch."""

    def __init__(
        self, catalog: Catalog, entity: EntityType, verb: Verb, currency: str, *, read_only: bool = False
    ) -> None:
        self.catalog = catalog
        self.entity = entity
        self.verb = verb
        self.allowed = writable(catalog, entity, verb, read_only=read_only)
        self._currency = currency
        self._readers: dict[str, Reader] = {
            name: reader(catalog, entity, entity.columns[name]) for name in self.allowed if name in entity.columns
        }
        self._id = self._readers.pop("id", None)
        self._external = None
        if "external_id" in self.allowed and "external_id" not in entity.columns:
            self._external = catalog.of(ExternalId)

    def rows(self, rows: Sequence[Any], refusals: Refusals) -> list[Item]:
        """Items of the rows that can be read; the others are refused."""
        items = []
        for index, row in enumerate(rows):
            item = self._item(index, None, row, None, refusals)
            if item is not None:
                items.append(item)
        return items

    def updates(self, updates: Sequence[Update], refusals: Refusals) -> list[Item]:
        """Items of the patches that can be read; the others are refused."""
        items = []
        seen: set[UUID] = set()
        for index, update in enumerate(updates):
            id = read_id(self.catalog, self.entity, index, update.id, refusals)
            if id is None:
                continue
            item = self._item(index, id, update.patch, update.expected_version, refusals)
            if id in seen:
                refusals.refuse(
                    index, ("id",), "duplicate", "an earlier item of this batch changes the same record"
                )
            elif item is not None:
                items.append(item)
            seen.add(id)
        return items

    def _item(
        self, index: int, id: UUID | None, row: Any, expected_version: int | None, refusals: Refusals
    ) -> Item | None:
        if not isinstance(row, Mapping):
            refusals.refuse(index, (), "invalid", f"expected an object with fields, got {shown(row)}")
            return None
        item = Item(index, id, {}, None, expected_version)
        values, readers = item.values, self._readers
        for name, value in row.items():
            try:
                if (read := readers.get(name)) is not None:
                    values[name] = read(value)
                else:
                    self._special(item, name, value)
            except Unreadable as problem:
                refusals.refuse(index, (name, *problem.path), problem.code, str(problem))
        if self.entity.generic:
            self._complete(index, values, row, refusals)
        return None if index in refusals.refused else item

    def _special(self, item: Item, name: str, value: Any) -> None:
        """What is no column of its own name."""
        if name == "id" and self._id is not None:
            if value is not None:
                item.id = self._id(value)
        elif name in self.entity.money and name in self.allowed:
            money = self.entity.money[name]
            item.values[money.amount], item.values[money.currency] = self._money(money, value)
            item.names = {**(item.names or {}), money.amount: name, money.currency: name}
        elif name == "external_id" and self._external is not None:
            item.external = self._read_external(value)
        else:
            raise self._unknown(name)

    def _complete(self, index: int, values: dict[str, Any], row: Mapping[str, Any], refusals: Refusals) -> None:
        """Generic references: an id says what it is an id of."""
        for generic in self.entity.generic.values():
            given = row.get(generic.id_column)
            if generic.id_column not in values:
                if generic.type_column in values and generic.type_column in row:
                    message = f"is set together with {generic.id_column}, which says what it is an id of"
                    refusals.refuse(index, (generic.type_column,), "invalid", message)
                continue
            if given is None:
                values[generic.type_column] = None
                continue
            kind = values.get(generic.type_column)
            if isinstance(given, str):
                found = self.catalog.by_id(given)[0].code
                if kind is not None and kind != found:
                    message = f"is {kind!r}, but {generic.id_column} is an id of {found!r}"
                    refusals.refuse(index, (generic.type_column,), "invalid", message)
                kind = values[generic.type_column] = found
            referred = self.catalog.by_code(kind)
            if referred is None or referred.name not in generic.targets:
                message = f"expected an id of {', '.join(generic.targets)}" + (
                    f", got one of {referred.name if referred else kind}" if kind else ""
                )
                refusals.refuse(index, (generic.id_column,), "invalid", message)

    def _money(self, money: MoneyField, value: Any) -> tuple[int | None, str | None]:
        if value is None:
            if not money.nullable or self.entity.columns[money.amount].required:
                raise Unreadable("can't be null", code="required")
            return None, None
        if not isinstance(value, Mapping):
            raise Unreadable(f"expected an object of amount and currency, got {shown(value)}")
        for name in value:
            if name not in ("amount", "currency"):
                raise Unreadable(
                    f"there is no field {name!r}; known are amount, currency", (name,), "unknown_field"
                )
        if value.get("amount") is None:
            raise Unreadable("a value is needed: minor units, like cents", ("amount",), "required")
        try:
            amount = _integer(64, value["amount"])
        except Unreadable as problem:
            raise Unreadable(str(problem), ("amount",)) from None
        currency = value.get("currency")
        if currency is None:
            currency = self._currency
        if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
            message = f"expected a currency (ISO 4217), three capital letters like USD; got {shown(currency)}"
            raise Unreadable(message, ("currency",))
        return amount, currency

    def _read_external(self, value: Any) -> tuple[str, str] | None:
        if value is None:
            return None
        assert self._external is not None
        if not isinstance(value, Mapping):
            raise Unreadable(f"expected an object of system and id, got {shown(value)}")
        for name in value:
            if name not in ("system", "id"):
                raise Unreadable(f"there is no field {name!r}; known are system, id", (name,), "unknown_field")
        parts = []
        for name, column in (("system", "system"), ("id", "external_id")):
            part = value.get(name)
            if part is None or part == "":
                raise Unreadable("a value is needed", (name,), "required")
            try:
                parts.append(_text(self._external.columns[column], part))
            except Unreadable as problem:
                raise Unreadable(str(problem), (name,), problem.code) from None
        return parts[0], parts[1]

    def _unknown(self, name: Any) -> Unreadable:
        entity = self.entity
        if name in entity.columns and name not in {
            part for m in entity.money.values() for part in (m.amount, m.currency)
        }:
            if name == "id":
                return Unreadable("the id of a record never changes", code="read_only")
            return Unreadable("is not set from outside", code="read_only")
        return Unreadable(unknown(entity.name, str(name), self.allowed), code="unknown_field")


def read_id(
    catalog: Catalog, entity: EntityType, index: int, value: Any, refusals: Refusals, name: str = "id"
) -> UUID | None:
    """An id of the entity; refused if it is none."""
    try:
        if not isinstance(value, (str, UUID)):
            raise InvalidId(f"expected an id like {entity.prefix}_…, got {shown(value)}")
        return decode_id(entity.prefix, value, catalog.prefixes)
    except InvalidId as problem:
        refusals.refuse(index, (name,), "invalid", str(problem))
        return None


def unknown(where: str, name: str, known: Sequence[str]) -> str:
    """``Customer has no field 'nmae'; did you mean 'name'?``"""
    close = difflib.get_close_matches(name, known, n=1)
    if not close and f"{name}_id" in known:
        close = [f"{name}_id"]
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"{where} has no field {name[:100]!r}; {hint}"


def shown(value: Any) -> str:
    """A value as a message may repeat it: short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def reader(catalog: Catalog, entity: EntityType, column: Column) -> Reader:
    """What reads one column's input: raises :class:`Unreadable`."""
    if column.kind is Kind.TEXT:
        return _text_reader(column)
    read = _readers(catalog, entity, column)
    if (column.nullable and not column.required) or column.name == "id":
        return lambda value: None if value is None else read(value)

    def needed(value: Any) -> Any:
        if value is None:
            raise Unreadable("can't be null", code="required")
        return read(value)

    return needed


def _text_reader(column: Column) -> Reader:
    """Most values are plain texts, which are told at once."""
    longest = column.max_length if column.max_length is not None else sys.maxsize
    choices = column.choices or None

    def read(value: Any) -> Any:
        if type(value) is str and len(value) <= longest and value.isascii() and "\0" not in value:
            if choices is None or value in choices:
                return value
        elif value is None:
            if column.nullable and not column.required:
                return None
            raise Unreadable("can't be null", code="required")
        return _text(column, value)

    return read


def _readers(catalog: Catalog, entity: EntityType, column: Column) -> Reader:
    match column.kind:
        case Kind.TEXT:
            return lambda value: _text(column, value)
        case Kind.INT | Kind.BIGINT:
            bits = column.bits or (64 if column.kind is Kind.BIGINT else 32)
            return lambda value: _integer(bits, value)
        case Kind.FLOAT:
            return _float
        case Kind.BOOLEAN:
            return _boolean
        case Kind.DATETIME:
            return _datetime
        case Kind.DATE:
            return _date
        case Kind.JSON:
            wants_object = column.default is dict
            return lambda value: _json(value, wants_object)
        case Kind.ID:
            return _id_reader(catalog, entity, column)


def _id_reader(catalog: Catalog, entity: EntityType, column: Column) -> Reader:
    target = entity if column.name == "id" else catalog.get(column.references or "")

    def read(value: Any) -> UUID:
        if type(value) is UUID:
            return value
        if not isinstance(value, (str, UUID)):
            raise Unreadable(f"expected an id, got {shown(value)}")
        try:
            if isinstance(value, UUID):
                return UUID(int=value.int)
            if target is not None:
                return decode_id(target.prefix, value, catalog.prefixes)
            return catalog.by_id(value)[1]
        except InvalidId as problem:
            raise Unreadable(str(problem)) from None

    return read


def clean(text: str) -> str:
    """The text, if both databases can keep it."""
    text = str(text)  # what derives from str, such as members of enums, is a text too
    if "\x00" in text:
        raise Unreadable("has a NUL character, which can't be stored")
    if not text.isascii() and _SURROGATE.search(text):
        raise Unreadable("has half of a surrogate pair, which is no character")
    return text


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"expected a text, got {shown(value)}")
    if column.choices and value not in column.choices:
        close = difflib.get_close_matches(value, column.choices, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise Unreadable(f"is {shown(value)}; {hint}expected one of {', '.join(column.choices)}")
    if column.max_length is not None and len(value) > column.max_length:
        raise Unreadable(f"has {len(value)} characters; at most {column.max_length} are allowed")
    return clean(value)


def _integer(bits: int, value: Any) -> int:
    if isinstance(value, str) and bits == 64 and _INTEGER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"expected an integer, got {shown(value)}")
    limit = 2 ** (bits - 1)
    if not -limit <= value < limit:
        raise Unreadable(f"is {shown(value)}; expected an integer from {-limit} to {limit - 1}")
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"expected a number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unreadable(f"is {shown(value)}; expected a finite number")
    return number + 0.0  # SQLite knows no negative zero


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(f"expected true or false, got {shown(value)}")
    return value


def _datetime(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            message = f"expected a time like 2026-01-31T12:00:00Z, got {shown(value)}"
            raise Unreadable(message) from None
    if not isinstance(value, datetime):
        raise Unreadable(f"expected a time like 2026-01-31T12:00:00Z, got {shown(value)}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise Unreadable(f"{value.isoformat()} has no time zone; add Z for UTC, or an offset like +01:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Unreadable(f"{value.isoformat()} is outside of the years 1 to 9999") from None


def _date(value: Any) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise Unreadable(f"{value} is not in the calendar") from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Unreadable(f"expected a date like 2026-01-31, got {shown(value)}")
    return value


def _json(value: Any, wants_object: bool) -> Any:
    if wants_object and not isinstance(value, Mapping):
        raise Unreadable(f"expected a JSON object, got {shown(value)}")
    return _json_value(value, 1)


def _json_value(value: Any, depth: int, path: Path = ()) -> Any:
    """JSON that both databases keep alike."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return clean(value)
        except Unreadable as problem:
            raise Unreadable(str(problem), path) from None
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Unreadable("expected an integer of at most 64 bits; write longer ones as text", path)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable(f"is {value}; JSON has finite numbers only", path)
        # PostgreSQL writes 1e16 as an integer; so does everybody then
        return int(value) if value.is_integer() and 1e16 <= abs(value) < 2**63 else value + 0.0
    if depth > MAX_DEPTH:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels", path)
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Unreadable(f"the key {shown(key)} is no text", path)
            try:
                clean(key)
            except Unreadable as problem:
                raise Unreadable(f"the key {shown(key)} {problem}", path) from None
            result[key] = _json_value(item, depth + 1, (*path, key))
        return result
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_json_value(item, depth + 1, (*path, i)) for i, item in enumerate(value)]
    raise Unreadable(f"{shown(value)} is no JSON", path)
