"""A schema as plain values: as the entities declare it, and as the migration files make it.

Python's defaults, descriptions and related names say nothing about a table and are left out, so that
changing them asks for no migration, and so that migration files depend on no live code. The entity classes
themselves are only read: two compositions in one process never meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tortoise import fields
from tortoise.fields.base import Field
from tortoise.fields.relational import ForeignKeyFieldInstance
from tortoise.migrations.migration import Migration
from tortoise.migrations.operations import Operation
from tortoise.migrations.schema_generator.state import ModelState, State

from ..database.operations import CreateIndex, DropIndex
from ..entity.catalog import indexes_of
from .errors import MigrationError
from .render import render_field
from .state import empty_state

if TYPE_CHECKING:
    from ..composition import Composition
    from ..entity import EntityType

_TYPES: tuple[type[Field[Any]], ...] = (
    fields.BooleanField,
    fields.BigIntField,
    fields.SmallIntField,
    fields.IntField,
    fields.FloatField,
    fields.DatetimeField,
    fields.DateField,
    fields.UUIDField,
    fields.JSONField,
    fields.CharField,
    fields.TextField,
)

ModelKey = tuple[str, str]
"""Plugin and class name."""


@dataclass(frozen=True)
class Model:
    """One table: its columns as clean Tortoise fields."""

    app: str
    name: str
    table: str
    fields: Mapping[str, Field[Any]]

    @property
    def key(self) -> ModelKey:
        return self.app, self.name

    def references(self) -> dict[str, ModelKey]:
        """Field name → model, for each reference."""
        found = {}
        for name, item in self.fields.items():
            if isinstance(item, ForeignKeyFieldInstance):
                app, model = str(item.model_name).split(".")
                found[name] = (app, model)
        return found


@dataclass(frozen=True)
class Schema:
    """Models by plugin and name, and indexes by their full name, each with the plugin it belongs to."""

    models: Mapping[ModelKey, Model] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, CreateIndex]] = field(default_factory=dict)

    def indexes_in(self, app: str) -> dict[str, CreateIndex]:
        return {name: index for name, (owner, index) in self.indexes.items() if owner == app}


def declared(composition: Composition) -> Schema:
    """The schema that the entities of a composition declare."""
    models: dict[ModelKey, Model] = {}
    indexes: dict[str, tuple[str, CreateIndex]] = {}
    for entity in composition.catalog.values():
        model = _model(entity, composition)
        models[model.key] = model
        for index in indexes_of(entity):
            operation = CreateIndex(
                entity.table, index.name, index.postgresql, sqlite=index.sqlite, unique=index.unique
            )
            indexes[index.index_name(entity.table)] = (entity.plugin, operation)
    return Schema(models, indexes)


def _model(entity: EntityType, composition: Composition) -> Model:
    columns: dict[str, Field[Any]] = {}
    for name, item in entity.model._meta.fields_map.items():
        if name in entity.to_one:
            relation = entity.to_one[name]
            # a target may be renamed in this composition; migrations call it by its class
            target = composition.catalog[relation.target]
            reference = f"{target.plugin}.{target.model.__name__}"
            columns[name] = _reference(name, item, reference, relation.column.name)
        elif name in entity.columns:
            columns[name] = _plain(f"{entity.name}.{name}", item)
    return Model(entity.plugin, entity.model.__name__, entity.table, columns)


def _plain(where: str, item: Field[Any]) -> Field[Any]:
    """The same column without what only Python sees."""
    kind = next((kind for kind in _TYPES if isinstance(item, kind)), None)
    if kind is None:
        raise MigrationError(f"{where}: a {type(item).__name__} is not supported in a table of an entity")
    arguments: dict[str, Any] = {}
    if item.pk:
        arguments["primary_key"] = True
    if isinstance(item, fields.CharField):
        arguments["max_length"] = item.max_length
    if item.null:
        arguments["null"] = True
    if item.has_db_default():
        default = item.db_default
        if isinstance(default, fields.db_defaults.Now):
            raise MigrationError(
                f"{where}: db_default=Now() would write times that SQLite and PostgreSQL read differently; "
                "use null=True, and let the change that creates the row give the time"
            )
        arguments["db_default"] = default
    return kind(**arguments)


def _reference(name: str, item: Any, target: str, column: str) -> Field[Any]:
    arguments: dict[str, Any] = {"related_name": False, "on_delete": item.on_delete}
    if item.null:
        arguments["null"] = True
    if column != f"{name}_id":
        arguments["source_field"] = column
    return ForeignKeyFieldInstance(target, **arguments)


def replayed(migrations: Iterable[Migration]) -> Schema:
    """The schema that migration files make, in the order in which they are applied."""
    state = empty_state()
    indexes: dict[str, tuple[str, CreateIndex]] = {}
    for migration in migrations:
        for operation in migration.operations:
            advance(migration, operation, state)
            if isinstance(operation, DropIndex):
                indexes.pop(f"{operation.table}_{operation.name}", None)
            elif isinstance(operation, CreateIndex):
                indexes[f"{operation.table}_{operation.name}"] = (migration.app_label, operation)
    models = {key: _from_state(model) for key, model in state.models.items()}
    tables = {model.table for model in models.values()}
    # the indexes of a table go with it
    return Schema(models, {name: found for name, found in indexes.items() if found[1].table in tables})


def advance(migration: Migration, operation: Operation, state: State) -> None:
    """Replays one operation on the record. Raises :class:`MigrationError` that names it."""
    try:
        operation.state_forward(migration.app_label, state)
    except Exception as error:
        raise MigrationError(
            f"the migration {migration.app_label}.{migration.name} does not fit those before it, at "
            f"“{operation.describe()}”: {type(error).__name__}: {error}"
        ) from error


def _from_state(state: ModelState) -> Model:
    columns: dict[str, Field[Any]] = {}
    for name, item in state.fields.items():
        if isinstance(item, ForeignKeyFieldInstance):
            column = str(item.source_field or f"{name}_id")
            columns[name] = _reference(name, item, str(item.model_name), column)
        else:
            columns[name] = _plain(f"{state.app}.{state.name}.{name}", item)
    return Model(state.app, state.name, state.table, columns)


def same_field(one: Field[Any], other: Field[Any]) -> bool:
    """Whether two clean fields make the same column."""
    return render_field(one) == render_field(other)
