"""Requirements of plugins, and the order that follows from them."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from .. import __version__
from .values import PluginInfo
from .work import Work


def check_requirements(work: Work) -> None:
    versions = {info.name: info.version for info in work.infos}
    for info in work.infos:
        cls = type(info.plugin)
        try:
            if cls.core and not SpecifierSet(cls.core).contains(__version__, prereleases=True):
                work.problems.append(
                    f"plugin {info.name!r} {info.version} needs Amity {cls.core}; this is {__version__}"
                )
        except InvalidSpecifier:
            work.problems.append(f"plugin {info.name!r}: core is {cls.core!r}; expected versions like '>=0.1,<1'")
        if isinstance(cls.requires, str) or isinstance(cls.after, str):
            work.problems.append(
                f"plugin {info.name!r}: requires and after are sequences of texts, like ('commerce>=0.2',)"
            )
            continue
        for text in cls.requires:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                work.problems.append(f"plugin {info.name!r} requires {text!r}; expected 'name>=version'")
                continue
            present = versions.get(requirement.name)
            if present is None:
                work.problems.append(
                    f"plugin {info.name!r} requires {text!r}, which is not enabled; "
                    f'add "{requirement.name}" to plugins'
                )
            elif not _satisfies(present, requirement.specifier):
                work.problems.append(
                    f"plugin {info.name!r} requires {text!r}, but {requirement.name} is {present}"
                )


def sort(work: Work) -> None:
    """Requirements first; otherwise in the order in which they were enabled."""
    pending = {info.name: info for info in work.infos}
    before: dict[str, set[str]] = {}
    for info in work.infos:
        names = {Requirement(text).name for text in type(info.plugin).requires}
        names |= {name for name in type(info.plugin).after if name in pending}
        if info.name != "core":
            names.add("core")
        before[info.name] = names
    ordered: list[PluginInfo] = []
    while pending:
        ready = next((name for name in pending if not before[name] & pending.keys()), None)
        if ready is None:
            cycle = _cycle(before, next(iter(pending)))
            work.problems.append(f"plugins wait for each other: {' → '.join(cycle)}; remove one requirement")
            return
        ordered.append(pending.pop(ready))
    work.infos = ordered


def _satisfies(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _cycle(before: Mapping[str, set[str]], start: str) -> list[str]:
    path = [start]
    while True:
        following = next((n for n in sorted(before[path[-1]]) if n != "core" and n in before), None)
        if following is None:
            return path
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
