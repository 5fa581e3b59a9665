"""Mapping files: which columns of which files become which fields of which entities. TOML.

A file has one or more ``[[import]]`` tables, which are run in their order. Each reads a file (or rows written
in the mapping itself), cleans its columns (``[import.columns.<name>]``), and fills fields of one entity
(``[import.fields]``)::

    system = "maven"                       # whose ids these are, for external_id

    [[import]]
    entity = "Deal"
    file = "sales_pipeline.csv"
    key = "external_id"                    # running it again updates these rows, and adds none twice

    [import.columns.product]
    map = { GTXPro = "GTX Pro" }
    allowed = { file = "products.csv", column = "product" }

    [import.fields]
    external_id = "opportunity_id"                           # a column
    name = { template = "{product}[ for {account}]" }        # [...] goes when a column in it is empty
    customer_id = { column = "account", by = "name" }        # looked up in the entity that it refers to
    value = { column = "close_value", currency = "USD" }     # 1054.50 becomes minor units
    source = { value = "maven" }                             # the same in every row
    "custom_fields.product" = "product"
"""

from __future__ import annotations

import codecs
import difflib
import tomllib
from collections.abc import Mapping as MappingOf
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import MappingError
from .reading import Format

Scalar = bool | int | float | datetime | date | str


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _file_name(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not path.parts:
        raise ValueError("expected the name of a file below the data folder")
    return value


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise ValueError("unknown encoding; expected one like utf-8, cp1252, latin-1 or utf-16") from None


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError('unknown time zone; expected one like "Europe/Zurich" or "UTC"') from None
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


FileName = Annotated[str, AfterValidator(_file_name)]
Encoding = Annotated[str, AfterValidator(_encoding)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Sign = Annotated[str, Field(min_length=1, max_length=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class AllowedIn(_Table):
    """The values of a column of another file."""

    file: FileName
    column: str


class ColumnRule(_Table):
    """``[import.columns.<name>]``: how a column is cleaned before fields take its values.

    In this order: whitespace around it goes, ``default`` stands in for an empty cell, ``map`` replaces a
    value, ``allowed`` says which there may be. ``unknown`` says what becomes of others: the row is refused,
    the cell counts as empty, or the value is kept; all three are reported.
    """

    trim: bool = True
    default: Scalar | None = None
    map: dict[str, Scalar] = Field(default_factory=dict)
    allowed: tuple[str, ...] | AllowedIn | None = None
    unknown: Literal["refuse", "empty", "keep"] = "refuse"


class FieldRule(_Table):
    """What a field is filled with; in the mapping a table, or just the name of a column.

    One of ``column`` (of several, the first that is not empty), ``value`` and ``template`` says where it comes
    from. With ``by`` it is looked up in the entity that the field refers to: by ``"external_id"`` or one of
    its columns, among the rows that meet ``where`` (a filter, as in queries).
    """

    column: Texts = ()
    value: Scalar | None = None
    template: str | None = None

    by: str | None = None
    system: str | None = None
    where: dict[str, Any] | None = None
    missing: Literal["refuse", "null"] = "refuse"
    """What if nothing is found: the row is refused, or goes without."""

    empty: Literal["null", "refuse", "keep"] | None = None
    """What an empty value does: sets null, refuses the row, leaves the field as it is. By default null where
    the field may be, else the field keeps its value or default, or the row is refused if it has none."""
    type: Literal["text", "integer", "number", "boolean", "date", "time"] | None = None
    """For custom fields, which are text unless this says otherwise."""
    format: Texts = ()
    """For dates and times, as of strptime: ``"%d.%m.%Y"``. Of several the first that fits."""
    time_zone: TimeZone | None = None
    decimal: Sign = "."
    thousands: Sign | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    currency_column: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> FieldRule:
        given = [name for name in ("column", "value", "template") if name in self.model_fields_set]
        if len(given) != 1:
            found = f"; it has {' and '.join(given)}" if given else ""
            raise ValueError(f"expected one of column, value and template{found}")
        if self.by is None:
            for name in ("system", "where", "missing"):
                if name in self.model_fields_set and not (name == "system"):
                    raise ValueError(f"{name} belongs to a look-up; add by")
        if self.currency is not None and self.currency_column is not None:
            raise ValueError("expected currency or currency_column, not both")
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError("decimal and thousands are the same sign")
        return self


def _field_rule(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class Section(_Table):
    """One ``[[import]]`` table."""

    entity: str
    name: str = ""
    """What it is called in the report."""
    file: FileName | None = None
    rows: tuple[dict[str, Scalar], ...] = ()
    encoding: Encoding = "utf-8"
    delimiter: Sign = ","
    quote: Sign = '"'
    header: tuple[str, ...] = ()
    """Names of the columns, for a file whose first line is a row already."""

    key: Texts = ()
    """What a row is recognized by when it comes again: ``"external_id"``, ``"id"`` (of rows that are there),
    or the columns of a unique key."""
    mode: Literal["upsert", "create"] = "upsert"
    """``create`` adds every row each time it is run; it takes no key."""
    repeated: Literal["refuse", "skip"] = "refuse"
    """What becomes of a row whose key stood further up: ``skip`` where several rows tell of one record."""
    only: dict[str, Texts] = Field(default_factory=dict)
    """Takes the rows in which each of these columns has one of these values."""
    skip: dict[str, Texts] = Field(default_factory=dict)
    """Leaves out the rows in which one of these columns has one of these values; ``""`` is an empty cell."""

    columns: dict[str, ColumnRule] = Field(default_factory=dict)
    fields_: dict[str, Annotated[FieldRule, BeforeValidator(_field_rule)]] = Field(
        default_factory=dict, alias="fields"
    )

    @property
    def form(self) -> Format:
        return Format(self.encoding, self.delimiter, self.quote, self.header)

    @property
    def label(self) -> str:
        return self.name or (f"{self.entity} from {self.file}" if self.file else self.entity)

    @model_validator(mode="after")
    def _consistent(self) -> Section:
        if (self.file is None) == (not self.rows):
            raise ValueError("expected either file or rows")
        if self.mode == "create":
            if self.key:
                raise ValueError('mode "create" takes no key; remove one of them')
            if self.repeated == "skip":
                raise ValueError('repeated = "skip" needs a key')
        elif not self.key:
            raise ValueError(
                'key is missing: "external_id", "id", or the columns of a unique key; '
                'mode = "create" adds every row each time'
            )
        if not self.fields_ and not self.rows:
            raise ValueError("fields is missing: a table of field = column")
        return self


class Mapping(_Table):
    """A mapping file. ``system`` is whose ids its files hold; ``path`` is where it was read from."""

    system: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    sections: tuple[Section, ...] = Field(alias="import", min_length=1)
    path: Path | None = Field(default=None, exclude=True)

    @property
    def file_name(self) -> str:
        return self.path.name if self.path else "mapping"


def load_mapping(path: Path) -> Mapping:
    """A mapping file, its form checked. Raises :class:`~amity_csv.MappingError`, which lists all mistakes.

    Whether entities, fields and files exist is checked when it is run.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MappingError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise MappingError([f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from error
    return parse_mapping(text, path)


def parse_mapping(text: str, path: Path) -> Mapping:
    """A mapping from TOML; ``path`` is for messages and reports. Raises :class:`~amity_csv.MappingError`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError([f"{path}: {error}"]) from error
    try:
        return Mapping.model_validate({**values, "path": path} if "path" not in values else values)
    except ValidationError as error:
        raise MappingError([f"{path}: {problem}" for problem in _explained(error, values)]) from error


def _explained(error: ValidationError, values: MappingOf[str, Any]) -> list[str]:
    problems = []
    for item in error.errors():
        location = [part for part in item["loc"] if part != "AllowedIn" and not str(part).startswith("tuple[")]
        where = _where(location)
        if item["type"] == "extra_forbidden":
            key = str(location[-1])
            message = f"unknown key {key!r}; {_hint(key, _known(location[:-1]))}"
            where = _where(location[:-1])
        elif item["type"] == "missing":
            message = f"{location[-1]} is missing"
            where = _where(location[:-1])
        else:
            message = item["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            if not isinstance(item["input"], (dict, list)):
                message += f"; it is {item['input']!r}"
        problems.append(f"{where}: {message}" if where else message)
    return list(dict.fromkeys(problems))


def _where(location: list[int | str]) -> str:
    """``("import", 1, "fields", "name")`` → ``import 2: fields.name``."""
    if location[:1] == ["import"] and len(location) > 1 and isinstance(location[1], int):
        rest = ".".join(str(part) for part in location[2:])
        return f"import {location[1] + 1}" + (f": {rest}" if rest else "")
    return ".".join(str(part) for part in location)


def _known(location: list[int | str]) -> list[str]:
    """The keys that a table at this place may have."""
    model: type[BaseModel] = Mapping
    if location[:1] == ["import"]:
        model = Section
        if location[2:3] == ["columns"]:
            model = AllowedIn if location[4:5] == ["allowed"] else ColumnRule
        elif location[2:3] == ["fields"]:
            model = FieldRule
    names = [field.alias or name for name, field in model.model_fields.items()]
    return [name for name in names if name != "path"]


def _hint(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
