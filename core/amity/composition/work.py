"""What composing works on: the plugins found so far, and what was found wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..plugin import Plugin
from ..settings import Settings
from .values import Composition, CompositionError, PluginInfo


@dataclass
class Work:
    settings: Settings
    given: Sequence[Plugin[Any] | type[Plugin[Any]]]
    problems: list[str] = field(default_factory=list)
    infos: list[PluginInfo] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Plugins that were asked for, whether or not they could be made."""

    def done(self) -> None:
        """Ends a step: raises if anything was found wrong, as the next step would trip over it."""
        if self.problems:
            raise CompositionError(self.problems)


def hook(work: Work, composition: Composition, hook: str) -> list[tuple[PluginInfo, Any]]:
    """Items of a hook that returns a sequence, each with its plugin; failures become problems."""
    items: list[tuple[PluginInfo, Any]] = []
    found = {impl.plugin_name: impl for impl in getattr(composition.hooks, hook).get_hookimpls()}
    for info in composition.plugins:
        impl = found.get(info.name)
        if impl is None:
            continue
        try:
            result = impl.function()
            items.extend((info, item) for item in result)
        except Exception as error:
            work.problems.append(f"plugin {info.name!r}: the hook {hook} fails: {type(error).__name__}: {error}")
    return items


def typed(work: Work, info: PluginInfo, hook: str, item: Any, *types: type[Any]) -> bool:
    if isinstance(item, types):
        return True
    expected = " or ".join(cls.__name__ for cls in types)
    work.problems.append(f"plugin {info.name!r}: the hook {hook} returned {item!r}; expected values of {expected}")
    return False
