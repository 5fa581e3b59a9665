"""From one schema to another: the operations in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tortoise.fields.base import Field
from tortoise.fields.relational import ForeignKeyFieldInstance
from tortoise.migrations import operations as ops
from tortoise.migrations.operations import Operation

from ..database.operations import DropIndex, RenameTable
from .errors import MigrationError
from .render import render_field
from .schema import Model, ModelKey, Schema, same_field

Renames = Mapping[str, str | None]
"""``{"plugin.Entity.old": "new"}`` or ``{"plugin.Old": "New"}``; None says that it was dropped instead."""


def operations_between(old: Schema, new: Schema, app: str, renames: Renames | None = None) -> list[Operation]:
    """What leads from ``old`` to ``new`` in the tables of one plugin.

    Raises :class:`MigrationError` where a table with rows could not follow, or where it can't be told
    whether something was renamed or replaced.
    """
    return _Comparison(old, new, app, renames or {}).operations()


def check_renames(old: Schema, new: Schema, renames: Renames) -> None:
    """Raises :class:`MigrationError` where ``renames`` speaks of what is not gone."""
    gone = {f"{app}.{name}" for app, name in old.models.keys() - new.models.keys()}
    former = {f"{key.split('.')[0]}.{target}": key for key, target in renames.items() if key.count(".") == 1}
    for (app, name), model in new.models.items():
        key = f"{app}.{name}"
        before = old.models.get((app, former.get(key, key).split(".")[1]))
        if before is not None:
            gone |= {f"{key}.{field}" for field in before.fields.keys() - model.fields.keys()}
    for key in renames.keys() - gone:
        raise MigrationError(
            f"renames has {key!r}, and no such field or entity is gone; expected 'plugin.Entity.field' or "
            f"'plugin.Entity', by its old name; gone are {', '.join(sorted(gone)) or 'none'}"
        )


class _Comparison:
    def __init__(self, old: Schema, new: Schema, app: str, renames: Renames) -> None:
        self.app = app
        self.renames = renames
        self.before = {key[1]: model for key, model in old.models.items() if key[0] == app}
        self.after = {key[1]: model for key, model in new.models.items() if key[0] == app}
        self.old_indexes = old.indexes_in(app)
        self.new_indexes = new.indexes_in(app)

    def operations(self) -> list[Operation]:
        renaming = self._rename_models()
        removed = [self.before[name] for name in self.before if name not in self.after]
        added = [self.after[name] for name in self.after if name not in self.before]
        gone = {model.table for model in removed}
        # indexes first and last: a column that goes must not be in one, one that comes must be there
        drops = [
            DropIndex(index.table, index.name, index.sql, sqlite=index.sqlite, unique=index.unique)
            for name, index in self.old_indexes.items()
            if not self._kept(name) and index.table not in gone
        ]
        creates = [index for name, index in self.new_indexes.items() if not self._kept(name)]
        changes = [
            operation
            for name, model in self.after.items()
            if name in self.before
            for operation in self._change(self.before[name], model)
        ]
        deletes = [ops.DeleteModel(name=model.name) for model in reversed(_in_order(removed)[0])]
        return [*drops, *renaming, *self._create(added), *changes, *deletes, *creates]

    def _kept(self, name: str) -> bool:
        old, new = self.old_indexes.get(name), self.new_indexes.get(name)
        return old is not None and new is not None and old.definition == new.definition

    def _rename_models(self) -> list[Operation]:
        found: list[Operation] = []
        for old in [name for name in self.before if name not in self.after]:
            key = f"{self.app}.{old}"
            if key in self.renames:
                new = self.renames[key]
                if new is None:
                    continue
                if new not in self.after or new in self.before:
                    raise MigrationError(f"{key} can't be renamed to {new!r}: there is no such new entity")
                found.append(ops.RenameModel(old_name=old, new_name=new))
                model = self.before.pop(old)
                self.before[new] = Model(self.app, new, model.table, model.fields)
                continue
            alike = [
                name
                for name, model in self.after.items()
                if name not in self.before and _signature(model) == _signature(self.before[old])
            ]
            if alike:
                raise self._undecided(key, alike[0], f"{self.app}.{alike[0]}", "entity")
        return found

    def _undecided(self, old: str, new: str, new_name: str, what: str) -> MigrationError:
        return MigrationError(
            f"{old} is gone and {new_name}, {what} of the same shape, is new: was it renamed? "
            f"To keep its values: renames={{{old!r}: {new!r}}} (--renamed {old}={new}); "
            f"to drop them: renames={{{old!r}: None}} (--dropped {old})"
        )

    def _create(self, models: Iterable[Model]) -> list[Operation]:
        ordered, later = _in_order(models)
        found: list[Operation] = [
            ops.CreateModel(
                name=model.name,
                fields=[(name, field) for name, field in model.fields.items() if (model.key, name) not in later],
                options={"table": model.table},
            )
            for model in ordered
        ]
        found += [
            ops.AddField(model_name=model.name, name=name, field=model.fields[name])
            for model in ordered
            for name in model.fields
            if (model.key, name) in later
        ]
        return found

    def _change(self, old: Model, new: Model) -> list[Operation]:
        found: list[Operation] = []
        if old.table != new.table:
            found.append(RenameTable(new.name, old.table, new.table))
        present = dict(old.fields)
        for name in [name for name in old.fields if name not in new.fields]:
            if renamed := self._renamed_field(old, new, name):
                found.append(ops.RenameField(model_name=new.name, old_name=name, new_name=renamed))
                present[renamed] = present.pop(name)
        for name, field in new.fields.items():
            if name in present and not same_field(present[name], field):
                _check_alteration(new, name, present[name], field)
                found.append(ops.AlterField(model_name=new.name, name=name, field=field))
        for name, field in new.fields.items():
            if name not in present:
                _check_addition(new, name, field)
                found.append(ops.AddField(model_name=new.name, name=name, field=field))
        found += [ops.RemoveField(model_name=new.name, name=name) for name in present if name not in new.fields]
        return found

    def _renamed_field(self, old: Model, new: Model, name: str) -> str | None:
        key = f"{self.app}.{new.name}.{name}"
        added = [other for other in new.fields if other not in old.fields]
        if key in self.renames:
            target = self.renames[key]
            if target is not None and target not in added:
                raise MigrationError(f"{key} can't be renamed to {target!r}: there is no such new field")
            return target
        alike = [other for other in added if same_field(new.fields[other], old.fields[name])]
        if alike:
            raise self._undecided(key, alike[0], f"{self.app}.{new.name}.{alike[0]}", "field")
        return None


def _signature(model: Model) -> dict[str, str]:
    return {name: render_field(field) for name, field in model.fields.items()}


def _in_order(models: Iterable[Model]) -> tuple[list[Model], set[tuple[ModelKey, str]]]:
    """Models after those that they refer to, and the references that have to be added later.

    Raises :class:`MigrationError` where entities wait for each other and none can be left empty.
    """
    pending = {model.key: model for model in models}
    later: set[tuple[ModelKey, str]] = set()
    ordered: list[Model] = []

    def waiting(model: Model) -> list[str]:
        return [
            name
            for name, target in model.references().items()
            if target in pending and target != model.key and (model.key, name) not in later
        ]

    while pending:
        ready = next((model for model in pending.values() if not waiting(model)), None)
        if ready is None:
            for model in pending.values():
                names = waiting(model)
                if all(model.fields[name].null for name in names):
                    later |= {(model.key, name) for name in names}
                    ready = model
                    break
        if ready is None:
            names_ = ", ".join(f"{app}.{name}" for app, name in pending)
            raise MigrationError(
                f"{names_} refer to each other, and none could come first; make one reference null=True"
            )
        ordered.append(pending.pop(ready.key))
    return ordered, later


def _check_addition(model: Model, name: str, field: Field[Any]) -> None:
    if field.null or field.has_db_default():
        return
    if isinstance(field, ForeignKeyFieldInstance):
        advice = "declare it null=True, fill it, and tighten it in a later migration"
    else:
        advice = "declare db_default=… for the rows that are there, or null=True"
    raise MigrationError(
        f"{model.app}.{model.name}.{name} is new and not null, and existing rows would have no value for it: "
        f"{advice}"
    )


def _check_alteration(model: Model, name: str, old: Field[Any], new: Field[Any]) -> None:
    where = f"{model.app}.{model.name}.{name}"
    related = isinstance(old, ForeignKeyFieldInstance), isinstance(new, ForeignKeyFieldInstance)
    if related[0] != related[1] or (not related[0] and old.field_type != new.field_type) or old.pk != new.pk:
        raise MigrationError(
            f"{where} changes from {render_field(old)} to {render_field(new)}, and its values can't follow "
            "by themselves: add a field of another name, copy the values with RunSql, then remove the old one"
        )


__all__ = ["Renames", "check_renames", "operations_between"]
