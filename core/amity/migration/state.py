"""Tortoise's record of models while migrations are replayed, whose classes are made when they are asked for.

Tortoise makes the class of a model anew with each operation, and those of all models that are related to it. A
replay asks for no class at all, and an operation that touches tables asks for one.
"""

from __future__ import annotations

from collections.abc import Iterable

from tortoise.connection import ConnectionHandler
from tortoise.migrations.schema_generator.state import ModelState, State
from tortoise.migrations.schema_generator.state_apps import StateApps
from tortoise.models import Model

Key = tuple[str, str]
"""Plugin and class name."""


class _Classes(StateApps):
    """The classes of models; those in ``stale`` are made anew before one is handed out."""

    def __init__(self) -> None:
        super().__init__(connections=ConnectionHandler())
        self.record: LazyState | None = None
        self.stale: set[Key] = set()

    def get_model(self, app_label: str, model_name: str | None = None) -> type[Model]:
        if self.stale and self.record is not None:
            self.record.refresh()
        return super().get_model(app_label, model_name)


class LazyState(State):
    """Models by plugin and name, without any connection."""

    apps: _Classes

    def __init__(self, models: dict[Key, ModelState]) -> None:
        super().__init__(models=models, apps=_Classes())
        self.apps.record = self
        self.apps.stale.update(models)

    def reload_model(self, app_label: str, model_name: str) -> None:
        if (app_label, model_name) not in self.models:
            raise LookupError(f"there is no model {app_label}.{model_name}")
        self.apps.stale.add((app_label, model_name))

    def reload_models(self, model_tuples: Iterable[Key]) -> None:
        self.apps.stale.update(key for key in model_tuples if key in self.models)

    def refresh(self) -> None:
        """Makes the classes that are not as their models are, with those that hold on to them."""
        stale, self.apps.stale = self.apps.stale, set()
        wanted = {key for name in stale for key in self._find_related_models(*name)}
        self._reload({key for key in wanted if key in self.models})

    def clone(self) -> LazyState:
        return LazyState({key: model.clone() for key, model in self.models.items()})


def empty_state() -> LazyState:
    """A record of no models."""
    return LazyState({})


__all__ = ["LazyState", "empty_state"]
