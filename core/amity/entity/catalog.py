"""The catalog: every entity of a composition with its columns and relations, as plain values.

It is read off the entity classes once, when plugins are composed, and never changes. Reads, changes, access
and the GraphQL layer work from it; none of them looks at a Tortoise model again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from tortoise import fields as tortoise_fields
from tortoise.fields.relational import (
    BackwardFKRelation,
    ForeignKeyFieldInstance,
    ManyToManyFieldInstance,
    OneToOneFieldInstance,
)

from ..database.grams import FUNCTION as GRAMS
from .base import Entity, Record, Staged
from .custom import CustomField
from .expression import Expression
from .ids import InvalidId, split_id
from .index import LIVE, SqlIndex, Unique
from .options import VERBS, EntityOptions

__all__ = [
    "BatchField",
    "Catalog",
    "Column",
    "EntityType",
    "ExpressionField",
    "GenericReference",
    "Kind",
    "MoneyField",
    "Problem",
    "TimelineSource",
    "TimelineStep",
    "ToMany",
    "ToOne",
    "camel",
    "snake",
]


class Kind(Enum):
    """What a value is, in the database and in answers."""

    ID = "ID"
    TEXT = "String"
    INT = "Int"
    BIGINT = "BigInt"
    FLOAT = "Float"
    BOOLEAN = "Boolean"
    DATETIME = "DateTime"
    DATE = "Date"
    JSON = "JSON"


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    nullable: bool
    description: str
    default: Any = None
    """What a new row gets: a value, or a function without arguments; None where input must bring it."""
    has_default: bool = False
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    references: str | None = None
    """The entity that an ID column points to."""
    writable: bool = True
    bits: int | None = None
    """Size of an integer: 16, 32 or 64."""
    required: bool = False
    """Input has to bring it, though rows from before may lack it."""


@dataclass(frozen=True)
class ToOne:
    """A reference to one row: ``column`` holds its id."""

    name: str
    column: Column
    target: str
    on_delete: Literal["CASCADE", "RESTRICT", "SET NULL"]
    description: str
    back: str | None
    """Name of the relation on the target that leads back."""
    one_to_one: bool = False


@dataclass(frozen=True)
class ToMany:
    """The rows of ``target`` whose ``column`` holds this row's id."""

    name: str
    target: str
    column: str
    description: str
    constant: tuple[str, str] | None = None
    """For generic references: (column, entity name) that must hold too."""
    newest: str | None = None
    """The column whose greatest values come first, where no order is asked for; without one, it is by id."""
    single: bool = False
    """One-to-one, seen from the side that is referred to: a row or null."""


@dataclass(frozen=True)
class GenericReference:
    """A reference to a row of any of ``targets``, in the columns ``type_column`` and ``id_column``."""

    name: str
    type_column: str
    id_column: str
    targets: tuple[str, ...]
    back: str
    description: str
    nullable: bool


@dataclass(frozen=True)
class TimelineStep:
    """A reference on the way from a row to its customer, and the entity that it leads to."""

    relation: str
    target: str


@dataclass(frozen=True)
class TimelineSource:
    """Rows that take part in the timeline of a customer: ``at`` is when they happened.

    There are several ``paths`` where a generic reference leads to several entities that lead on to a customer.
    """

    entity: str
    plugin: str
    at: str
    paths: tuple[tuple[TimelineStep, ...], ...]


@dataclass(frozen=True)
class MoneyField:
    """An amount in minor units and its ISO 4217 currency, kept in two columns, null together."""

    name: str
    amount: str
    currency: str
    nullable: bool
    description: str


@dataclass(frozen=True)
class ExpressionField:
    """A plugin's field that the database computes."""

    name: str
    plugin: str
    expression: Expression
    kind: Kind
    description: str
    deprecated: str | None = None
    currency: str | None = None
    """The column of the currency, if it is money: an amount in minor units."""


BatchResolve = Callable[[Any, Sequence[Mapping[str, Any]], Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""``async def resolve(context, parents, arguments)``; a result for each parent, in their order."""


@dataclass(frozen=True)
class BatchField:
    """A plugin's field that Python computes, for all parents of an answer at once."""

    name: str
    plugin: str
    output: Any
    """A Python type: a scalar, ``list[…]``, a dataclass or a pydantic model."""
    needs: tuple[str, ...]
    resolve: BatchResolve
    description: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Argument name → (Python type, default)."""
    deprecated: str | None = None


TIMELINE = "timeline"
"""The field of what has a timeline."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with an entity declaration: where and what."""

    where: str
    message: str


@dataclass(frozen=True)
class EntityType:
    """One entity of the composition."""

    name: str
    plugin: str
    model: type[Record]
    table: str
    prefix: str
    singular: str
    plural: str
    description: str
    options: EntityOptions
    columns: Mapping[str, Column]
    to_one: Mapping[str, ToOne]
    to_many: Mapping[str, ToMany]
    generic: Mapping[str, GenericReference]
    money: Mapping[str, MoneyField]
    unique: tuple[Unique, ...]
    expressions: Mapping[str, ExpressionField]
    batches: Mapping[str, BatchField]
    custom: Mapping[str, CustomField] = field(default_factory=lambda: MappingProxyType({}))
    """Fields that the settings add; they are among the columns, money and relations too."""
    timeline: tuple[TimelineSource, ...] = ()
    """What takes part in the timeline of such a row."""

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What others work out once for this entity, by keys of their own."""
        return {}

    @cached_property
    def code(self) -> str:
        """``core.Customer``: what generic references and events keep. A rename in the schema does not touch it."""
        return f"{self.plugin}.{self.model.__name__}"

    @property
    def is_entity(self) -> bool:
        """Whether rows have versions and can be deleted; records of a log do not."""
        return "deleted_at" in self.columns

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Columns that never change once a row is there."""
        return frozenset(
            self.to_one[name].column.name if name in self.to_one else name for name in self.options.fixed
        )

    @property
    def is_staged(self) -> bool:
        return issubclass(self.model, Staged)

    @cached_property
    def hidden(self) -> frozenset[str]:
        """Columns that no selection names: parts of relations and money, and what the core keeps for itself."""
        names = set(self.link_of)
        names |= {m.amount for m in self.money.values()} | {m.currency for m in self.money.values()}
        names |= {g.type_column for g in self.generic.values()} | {g.id_column for g in self.generic.values()}
        return frozenset(names | self.internal)

    @cached_property
    def internal(self) -> frozenset[str]:
        """Columns that only the core's own code knows: the folded text for searching, and secrets."""
        return frozenset({"search_text", *self.options.secret} & set(self.columns))

    @cached_property
    def visible_columns(self) -> tuple[Column, ...]:
        """The columns that can be selected, filtered and sorted by under their own name."""
        hidden = self.hidden
        return tuple(column for column in self.columns.values() if column.name not in hidden)

    @cached_property
    def link_of(self) -> Mapping[str, ToOne]:
        """To-one relations by the columns that hold their ids."""
        return {link.column.name: link for link in self.to_one.values()}

    @cached_property
    def field_of(self) -> Mapping[str, str]:
        """Columns that belong to a field of another name → that field: rights are granted by fields."""
        found = {column: link.name for column, link in self.link_of.items()}
        for money in self.money.values():
            found |= {money.amount: money.name, money.currency: money.name}
        for generic in self.generic.values():
            found |= {generic.type_column: generic.name, generic.id_column: generic.name}
        return found

    @cached_property
    def currencies(self) -> Mapping[str, str]:
        """The fields that are money, computed ones too, each with the column of its currency."""
        computed = {item.name: item.currency for item in self.expressions.values() if item.currency is not None}
        return {**{item.name: item.currency for item in self.money.values()}, **computed}

    @cached_property
    def open_fields(self) -> frozenset[str]:
        """What everybody reads of a row who may read the row at all: what tells versions apart."""
        return frozenset({"id", *(_VERSIONING if self.is_entity else ())})

    @cached_property
    def right_fields(self) -> frozenset[str]:
        """The fields that rights are granted on: columns, money, references, expressions, batch fields."""
        names = {self.field_of.get(name, name) for name in self.columns if name not in self.internal}
        return frozenset((names | set(self.expressions) | set(self.batches)) - self.open_fields)

    def leads_to(self, relation: str) -> str | None:
        """The entity that a relation to at most one row leads to, from either side of it; None if it is none."""
        if relation in self.to_one:
            return self.to_one[relation].target
        many = self.to_many.get(relation)
        return many.target if many is not None and many.single else None

    @property
    def links(self) -> tuple[str, ...]:
        """The relations to at most one row, from either side."""
        return (*self.to_one, *(name for name, many in self.to_many.items() if many.single))

    def field_names(self) -> list[str]:
        """Every name that a selection may use."""
        names = [column.name for column in self.visible_columns]
        for group in (self.money, self.to_one, self.generic, self.to_many, self.expressions, self.batches):
            names.extend(group)
        return names


class Catalog(Mapping[str, EntityType]):
    """Entities by name; also by class (:meth:`of`), id prefix and plural."""

    def __init__(self, entities: Iterable[EntityType], time_zone: str = "UTC") -> None:
        self.time_zone = time_zone
        """Where a day begins (IANA), for what is asked relative to today."""
        self._entities = {entity.name: entity for entity in entities}
        self._by_model = {entity.model: entity for entity in self._entities.values()}
        self._by_prefix = {entity.prefix: entity for entity in self._entities.values()}
        self._by_code = {entity.code: entity for entity in self._entities.values()}
        self.prefixes = {entity.prefix: entity.name for entity in self._entities.values()}

    def __getitem__(self, name: str) -> EntityType:
        return self._entities[name]

    def __iter__(self) -> Any:
        return iter(self._entities)

    def __len__(self) -> int:
        return len(self._entities)

    def of(self, entity: type[Record] | str | EntityType) -> EntityType:
        """The entity of a class or name. Raises LookupError with what to do about it."""
        if isinstance(entity, EntityType):
            return entity
        found = self._entities.get(entity) if isinstance(entity, str) else self._by_model.get(entity)
        if found is None:
            name = entity if isinstance(entity, str) else entity.__name__
            raise LookupError(
                f"{name} is no entity of this CRM; enabled are {', '.join(sorted(self._entities))}. "
                "Is the plugin that brings it enabled?"
            )
        return found

    def by_code(self, code: str | None) -> EntityType | None:
        """The entity that a generic reference or an event names, if its plugin is enabled."""
        return self._by_code.get(code or "")

    def by_id(self, text: str) -> tuple[EntityType, UUID]:
        """The entity and UUID of an external id. Raises :class:`~amity.entity.ids.InvalidId`."""
        prefix, value = split_id(text)
        entity = self._by_prefix.get(prefix)
        if entity is None:
            known = ", ".join(f"{key}_ ({name})" for key, name in sorted(self.prefixes.items()))
            raise InvalidId(f"{text!r} starts with {prefix}_, which no entity has; known are {known}")
        return entity, value


def snake(name: str) -> str:
    """``ContactPoint`` → ``contact_point``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def camel(name: str) -> str:
    """``contact_point`` → ``contactPoint``."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


_KINDS: tuple[tuple[type[Any], Kind], ...] = (
    (tortoise_fields.BooleanField, Kind.BOOLEAN),
    (tortoise_fields.BigIntField, Kind.BIGINT),
    (tortoise_fields.SmallIntField, Kind.INT),
    (tortoise_fields.IntField, Kind.INT),
    (tortoise_fields.FloatField, Kind.FLOAT),
    (tortoise_fields.DatetimeField, Kind.DATETIME),
    (tortoise_fields.DateField, Kind.DATE),
    (tortoise_fields.UUIDField, Kind.ID),
    (tortoise_fields.JSONField, Kind.JSON),
    (tortoise_fields.CharField, Kind.TEXT),
    (tortoise_fields.TextField, Kind.TEXT),
)
_VERSIONING = ("created_at", "updated_at", "version", "deleted_at")
_UNWRITABLE = frozenset(("created_at", "updated_at", "version", "deleted_at", "search_text"))
_STAGED_UNWRITABLE = frozenset(("position", "stage_entered_at"))
_BITS: tuple[tuple[type[Any], int], ...] = (
    (tortoise_fields.BigIntField, 64),
    (tortoise_fields.SmallIntField, 16),
    (tortoise_fields.IntField, 32),
)
_WITH_RELATIONS = ("read_only", "fixed", "personal", "guarded")
MERGE_RULES = frozenset(("keep", "sum", "min", "max", "concat", "newest"))


def table_name(plugin: str, model: type[Record]) -> str:
    """The table of an entity: ``Meta.table`` if it has one, else ``<plugin>_<entity>``."""
    meta = model.__dict__.get("Meta")
    explicit = getattr(meta, "table", None)
    return str(explicit) if explicit else f"{plugin}_{snake(model.__name__)}"


def describe(plugin: str, model: type[Record]) -> tuple[EntityType, list[Problem]]:
    """One entity class, read off into values, with what is wrong with it.

    ``to_many``, ``expressions`` and ``batches`` are still empty: they need the whole composition.
    """
    problems: list[Problem] = []
    name = model.__name__
    options = model.__dict__.get("options", EntityOptions())

    def wrong(where: str, message: str) -> None:
        problems.append(Problem(where, message))

    columns: dict[str, Column] = {}
    to_one: dict[str, ToOne] = {}
    for key, item in model._meta.fields_map.items():
        if isinstance(item, ManyToManyFieldInstance):
            if not item._generated:
                wrong(
                    f"{name}.{key}",
                    "many-to-many fields are not supported; declare an entity with two foreign keys",
                )
        elif isinstance(item, ForeignKeyFieldInstance):
            relation = _to_one(name, key, item, model, options, wrong)
            to_one[key] = relation
            columns[relation.column.name] = relation.column
        elif isinstance(item, BackwardFKRelation) or getattr(item, "reference", None) is not None:
            continue
        else:
            column = _column(name, key, item, model, options, wrong)
            if column is not None:
                columns[key] = column

    _check_options(name, model, options, columns, wrong)
    unique = tuple(key if isinstance(key, Unique) else Unique((key,)) for key in options.unique)
    resolved: list[Unique] = []
    for entry in unique:
        # a key may name a relation; it means the column behind it
        names = tuple(to_one[part].column.name if part in to_one else part for part in entry.columns)
        for part in names:
            if part not in columns:
                wrong(f"{name}.options.unique", f"there is no column {part!r}")
        resolved.append(Unique(names, entry.where))
    for relation in to_one.values():
        # one to one among the rows that live; a deleted row does not keep another from coming
        if relation.one_to_one and (one := Unique((relation.column.name,))) not in resolved:
            resolved.append(one)
    money = {
        key: MoneyField(
            key,
            amount,
            currency,
            nullable=bool(amount in columns and columns[amount].nullable),
            description=columns[amount].description if amount in columns else "",
        )
        for key, (amount, currency) in options.money.items()
    }
    generic = {
        entry.name: GenericReference(
            entry.name,
            f"{entry.name}_type",
            f"{entry.name}_id",
            (),
            entry.related_name,
            "The record that this belongs to",
            nullable=bool((c := columns.get(f"{entry.name}_id")) and c.nullable),
        )
        for entry in options.generic
    }
    singular = snake(name)
    entity = EntityType(
        name=name,
        plugin=plugin,
        model=model,
        table=table_name(plugin, model),
        prefix=options.prefix,
        singular=singular,
        plural=options.plural or f"{singular}s",
        description=" ".join((model.__doc__ or name).split("\n\n")[0].split()),
        options=options,
        columns=MappingProxyType(columns),
        to_one=MappingProxyType(to_one),
        to_many=MappingProxyType({}),
        generic=MappingProxyType(generic),
        money=MappingProxyType(money),
        unique=tuple(resolved),
        expressions=MappingProxyType({}),
        batches=MappingProxyType({}),
    )
    return entity, problems


Wrong = Callable[[str, str], None]


def _to_one(name: str, key: str, item: Any, model: type[Record], options: EntityOptions, wrong: Wrong) -> ToOne:
    reference = item.model_name
    target = reference.rsplit(".", 1)[-1] if isinstance(reference, str) else reference.__name__
    if isinstance(reference, str) and reference.count(".") != 1:
        wrong(f"{name}.{key}", f"refers to {reference!r}; write it as 'plugin.Entity', like 'core.Customer'")
    on_delete = str(item.on_delete)
    if on_delete not in ("CASCADE", "RESTRICT", "SET NULL"):
        wrong(f"{name}.{key}", f"on_delete is {on_delete}; expected CASCADE, RESTRICT or SET_NULL")
    nullable = bool(item.null)
    column = Column(
        # Tortoise sets source_field to this name itself, once its apps are initialized
        name=item.source_field or f"{key}_id",
        kind=Kind.ID,
        nullable=nullable,
        description=item.description or key.replace("_", " ").capitalize(),
        has_default=nullable,
        references=target,
        writable=key not in options.read_only,
    )
    one_to_one = isinstance(item, OneToOneFieldInstance)
    back: str | None
    if item.related_name is False:
        back = None
    elif item.related_name:
        back = str(item.related_name)
    else:
        back = snake(name) if one_to_one else (options.plural or f"{snake(name)}s")
    return ToOne(key, column, target, on_delete, column.description, back, one_to_one)  # type: ignore[arg-type]


def _column(
    name: str, key: str, item: Any, model: type[Record], options: EntityOptions, wrong: Wrong
) -> Column | None:
    kind = next((kind for cls, kind in _KINDS if isinstance(item, cls)), None)
    if kind is None:
        hint = "store integer minor units in a BigIntField" if "Decimal" in type(item).__name__ else "use another"
        wrong(f"{name}.{key}", f"a {type(item).__name__} is not supported; {hint}")
        return None
    if key == "id" and kind is not Kind.ID:
        wrong(f"{name}.id", "the id is declared by Entity; do not declare another")
    if type(item).__name__.endswith("EnumFieldInstance"):
        wrong(f"{name}.{key}", "enum fields tie migrations to live code; use a CharField and options.choices")
    if item.unique and key != "id":
        wrong(f"{name}.{key}", "unique=True ignores that rows can be deleted; name it in options.unique")
    unwritable = _UNWRITABLE | _STAGED_UNWRITABLE if issubclass(model, Staged) else _UNWRITABLE
    has_default = item.default is not None or bool(item.null) or key in unwritable
    return Column(
        name=key,
        kind=kind,
        nullable=bool(item.null),
        description=item.description or key.replace("_", " ").capitalize(),
        default=item.default,
        has_default=has_default,
        max_length=getattr(item, "max_length", None),
        choices=tuple(options.choices.get(key, ())),
        writable=key not in options.read_only and key not in options.secret and key not in unwritable,
        bits=next((bits for kind_of, bits in _BITS if isinstance(item, kind_of)), None),
    )


def _check_options(name: str, model: type[Any], options: Any, columns: Mapping[str, Column], wrong: Wrong) -> None:
    where = f"{name}.options"
    if not isinstance(options, EntityOptions):
        wrong(where, f"is a {type(options).__name__}; expected EntityOptions(prefix=…)")
        return
    if not re.fullmatch(r"[a-z][a-z0-9]{1,7}", options.prefix):
        wrong(where, f"prefix is {options.prefix!r}; expected 2 to 8 lower-case letters, the start of its ids")
    if not issubclass(model, Record):
        wrong(name, "derives from a Tortoise model; derive it from amity.Entity")
    if unknown := set(options.api) - VERBS:
        wrong(where, f"api has {', '.join(sorted(unknown))}; known are {', '.join(sorted(VERBS))}")
    named = {
        "read_only": options.read_only,
        "fixed": options.fixed,
        "secret": options.secret,
        "searchable": options.searchable,
        "personal": options.personal,
        "guarded": options.guarded,
        "choices": options.choices,
        "on_merge": options.on_merge,
    }
    relations = {key[: -len("_id")] for key in columns if key.endswith("_id")}
    for option, keys in named.items():
        for key in keys:
            if key not in columns and not (option in _WITH_RELATIONS and key in relations):
                wrong(f"{where}.{option}", f"there is no column {key!r}")
    if options.searchable and "search_text" not in columns:
        wrong(f"{where}.searchable", "needs a column search_text = TextField(default='', db_default='')")
    for key in options.searchable:
        if key in columns and columns[key].kind is not Kind.TEXT:
            wrong(f"{where}.searchable", f"{key} is no text column")
    if options.found_as is not None and f"{options.found_as}_id" not in columns:
        wrong(f"{where}.found_as", f"there is no reference {options.found_as!r}")
    for key, rule in options.on_merge.items():
        if rule not in MERGE_RULES:
            wrong(f"{where}.on_merge", f"{key} has {rule!r}; known are {', '.join(sorted(MERGE_RULES))}")
    for key, values in options.choices.items():
        if key in columns and columns[key].kind is not Kind.TEXT:
            wrong(f"{where}.choices", f"{key} is no text column")
        for value in values:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
                wrong(f"{where}.choices", f"{key} has {value!r}; values are lower-case words with underscores")
    for key, (amount, currency) in options.money.items():
        if amount not in columns or columns[amount].kind is not Kind.BIGINT:
            wrong(f"{where}.money", f"{key} needs a BigIntField {amount!r} for its minor units")
        if currency not in columns or columns[currency].max_length != 3:
            wrong(f"{where}.money", f"{key} needs a CharField {currency!r} of max_length 3 for its currency")
    for generic in options.generic:
        for suffix in ("type", "id"):
            if f"{generic.name}_{suffix}" not in columns:
                wrong(f"{where}.generic", f"{generic.name} needs a column {generic.name}_{suffix}")
        if generic.newest is not None and (
            generic.newest not in columns or columns[generic.newest].kind is not Kind.DATETIME
        ):
            wrong(f"{where}.generic", f"newest of {generic.name} is {generic.newest!r}; expected a time column")


def is_subclass_named(model: type[Any], name: str) -> bool:
    """Whether a class or one of its bases has this name."""
    return any(base.__name__ == name for base in model.__mro__)


__all__ += ["Entity", "describe", "is_subclass_named", "table_name"]


def indexes_of(entity: EntityType) -> tuple[SqlIndex, ...]:
    """Every index that an entity declares: its unique keys, its own, and one for each reference and generic pair.

    A reference needs none where an own index starts with its column. Those of custom fields are their own.
    """
    live = " WHERE " + LIVE if entity.is_entity else ""
    found: list[SqlIndex] = []
    for key in entity.unique:
        predicate = " AND ".join(part for part in (LIVE if entity.is_entity else "", key.where or "") if part)
        body = f"({', '.join(_quoted(key.columns))})" + (f" WHERE {predicate}" if predicate else "")
        found.append(SqlIndex(f"{key.name}_key", body, unique=True))
    found.extend(entity.options.indexes)
    starts = {re.split(r"[,\s)]", index.postgresql.lstrip("("), maxsplit=1)[0].strip('"') for index in found}
    if entity.options.searchable:
        found.append(SqlIndex("search", f'USING gin ({GRAMS}("search_text")){live}', sqlite=""))
    for name, relation in entity.to_one.items():
        column = relation.column.name
        if column not in starts and name not in entity.custom:
            found.append(SqlIndex(column, f'("{column}"){live}'))
    for generic in entity.generic.values():
        if generic.type_column not in starts and generic.id_column not in starts:
            found.append(SqlIndex(generic.name, f'("{generic.id_column}", "{generic.type_column}"){live}'))
    return tuple(found)


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


__all__ += ["indexes_of"]
