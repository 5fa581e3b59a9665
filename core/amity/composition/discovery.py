"""Finding the plugins that settings enable."""

from __future__ import annotations

import difflib
import inspect
import re
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..plugin import Plugin
from ..settings import SettingsError, plugin_settings, unknown_key
from .core import Core
from .values import PluginInfo
from .work import Work

ENTRY_POINT_GROUP = "amity.plugins"


def available() -> dict[str, EntryPoint]:
    """Installed plugins, enabled or not, by entry-point name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def collect(work: Work) -> None:
    add(work, Core, None, None)
    points = available()
    for name in work.settings.plugins:
        point = points.get(name)
        if point is None:
            close = difflib.get_close_matches(name, points, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"installed are {', '.join(sorted(points))}"
            work.problems.append(f"plugin {name!r} is enabled but not installed; {hint}")
            continue
        distribution = point.dist.name if point.dist else None
        version = point.dist.version if point.dist else None
        try:
            loaded = point.load()
        except Exception as error:
            work.problems.append(
                f"plugin {name!r} fails to import ({point.value}"
                + (f", from {distribution} {version}" if distribution else "")
                + f"): {type(error).__name__}: {error}; {_what_to_do(point, error)}"
            )
            continue
        add(work, loaded, distribution, version)
    for plugin in work.given:
        add(work, plugin, None, None)


def _what_to_do(point: EntryPoint, error: Exception) -> str:
    """How a plugin that fails to import can be helped: by the extra of its name, if its distribution has one."""
    extras = (point.dist.metadata.get_all("Provides-Extra") or []) if point.dist else []
    if isinstance(error, ModuleNotFoundError) and point.dist and point.name in extras:
        return f"install what it needs with pip install '{point.dist.name}[{point.name}]', or disable it"
    return "repair or disable it"


def add(work: Work, plugin: Any, distribution: str | None, version: str | None) -> None:
    cls = plugin if isinstance(plugin, type) else type(plugin)
    label = f"{cls.__module__}.{cls.__qualname__}"
    if not issubclass(cls, Plugin):
        work.problems.append(f"{label} is no plugin: it must derive from amity.Plugin")
        return
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
        work.problems.append(
            f"{label} has the name {name!r}; expected 2 to 31 lower-case letters, digits and underscores"
        )
        return
    work.names.add(name)
    if name in [info.name for info in work.infos]:
        work.problems.append(f"two plugins are named {name!r}; names must be unique")
        return
    if isinstance(plugin, type):
        try:
            model = cls.settings_model()
            section = work.settings.sections.get(name, {})
            instance = cls(plugin_settings(model, name, section, "settings"))
        except SettingsError as error:
            work.problems.extend(f"plugin {name!r}: {problem}" for problem in error.problems)
            return
    else:
        instance = plugin
    own = cls.__dict__.get("version", cls.version)
    doc = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    work.infos.append(PluginInfo(name, own if own != "0" else (version or "0"), doc, distribution, instance))


def check_sections(work: Work) -> None:
    known = (work.names - {"core"}) | set(work.settings.plugins)
    for section in work.settings.sections:
        if section in known:
            continue
        if section in available():
            work.problems.append(
                f"settings have a section [{section}], but the plugin is not enabled; "
                f'add "{section}" to plugins, or remove the section'
            )
        else:
            core = {"server", "security", "files", "schema", "sign_in", *known}
            message = unknown_key(section, core).replace("unknown key", "unknown section")
            work.problems.append(f"settings: {message}")
