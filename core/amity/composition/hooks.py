"""Registering plugins with pluggy, and what can be wrong with their methods."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import pluggy

from ..plugin import HOOKS, LAYER_HOOKS, Plugin
from .values import PluginInfo
from .work import Work


class Manager(pluggy.PluginManager):
    """A method that overrides one of ``Plugin`` implements that hook; no decorator can be forgotten."""

    def __init__(self, hooks: Iterable[str]) -> None:
        super().__init__("amity")
        self._hooks = set(hooks)

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> Any:
        return {} if name in self._hooks and callable(getattr(module_or_class, name, None)) else None

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if name not in self._hooks:
            return None
        implementation = getattr(type(plugin), name, None)
        overridden = implementation is not None and implementation is not getattr(Plugin, name, None)
        return {} if overridden else None

    def allow(self, names: Iterable[str]) -> None:
        self._hooks |= set(names)


def register(work: Work) -> Manager:
    manager = Manager(HOOKS)
    manager.add_hookspecs(Plugin)
    layered: set[str] = set()
    for info in work.infos:
        specs = type(info.plugin).hookspecs
        if specs is not None:
            names = [name for name in vars(specs) if not name.startswith("_")]
            layered |= set(names)
            manager.allow(names)
            manager.add_hookspecs(specs)
    known = {*HOOKS, *layered}
    for info in work.infos:
        check_methods(work, info, known)
        try:
            manager.register(info.plugin, name=info.name)
        except pluggy.PluginValidationError as error:
            work.problems.append(f"plugin {info.name!r}: {_signature_problem(error)}")
    return manager


def check_methods(work: Work, info: PluginInfo, known: set[str]) -> None:
    allowed = {name for name in vars(Plugin) if not name.startswith("_")}
    for cls in type(info.plugin).__mro__:
        if cls is Plugin:
            break
        for name, value in vars(cls).items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            if name in known:
                if inspect.iscoroutinefunction(function):
                    work.problems.append(
                        f"plugin {info.name!r}: the hook {name} is async; hooks only declare and are plain "
                        "functions, what they declare may be async"
                    )
            elif name in allowed or name in LAYER_HOOKS:
                continue  # a hook of a layer that is not enabled, or an override of a helper of Plugin
            else:
                close = difflib.get_close_matches(name, known | set(LAYER_HOOKS), n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"hooks are {', '.join(sorted(known))}"
                work.problems.append(
                    f"plugin {info.name!r}: {cls.__name__}.{name} is no hook; {hint} "
                    "Helpers start with an underscore."
                )


def _signature_problem(error: pluggy.PluginValidationError) -> str:
    """pluggy names plugin, hook, both signatures and the offending argument; on one line."""
    text = " ".join(str(error).split())
    return f"a hook has another signature than declared: {text}"
