"""What composing makes: the composition, and the error that lists what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..access import Role
from ..channels import Channels
from ..contracts import Owned
from ..entity import Catalog
from ..plugin import Plugin


class CompositionError(Exception):
    """Raised when plugins do not fit together. ``problems`` lists everything that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The CRM can't be composed; {head}:\n{lines}")


@dataclass(frozen=True)
class PluginInfo:
    """An enabled plugin: provenance of everything that it brings."""

    name: str
    version: str
    description: str
    distribution: str | None
    plugin: Plugin[Any]


@dataclass(frozen=True)
class Composition:
    """Everything that the enabled plugins declare, each piece with the plugin it came from."""

    plugins: tuple[PluginInfo, ...]
    catalog: Catalog
    actions: Mapping[str, Owned[Any]]
    validators: tuple[Owned[Any], ...]
    subscribers: tuple[Owned[Any], ...]
    permissions: Mapping[str, Owned[Any]]
    grants: tuple[Owned[Any], ...]
    """What roles are given by default."""
    plugin_roles: Mapping[str, Role]
    """What each plugin's own code may do besides everything on its own entities."""
    commands: tuple[Owned[Any], ...]
    scorers: Mapping[str, Owned[Any]]
    purchases: tuple[Owned[Any], ...]
    jobs: Mapping[str, Owned[Any]]
    """The plugins' own, and one for each scorer."""
    channels: Mapping[str, Owned[Any]]
    """The plugins' channels by name."""
    kinds: Channels
    """Every channel that addresses belong to, the core's own as well."""
    hooks: Any
    """The pluggy hook caller, for layers that add hooks of their own."""

    def plugin(self, name: str) -> PluginInfo:
        for info in self.plugins:
            if info.name == name:
                return info
        enabled = ", ".join(info.name for info in self.plugins)
        raise LookupError(f"plugin {name!r} is not enabled; enabled are {enabled}")

    def declarations(self, hook: str, **arguments: Any) -> list[tuple[PluginInfo, Any]]:
        """What each plugin returns from a hook, in the order of the plugins."""
        found = {impl.plugin_name: impl for impl in getattr(self.hooks, hook).get_hookimpls()}
        return [
            (info, impl.function(*(arguments[name] for name in impl.argnames)))
            for info in self.plugins
            if (impl := found.get(info.name)) is not None
        ]
