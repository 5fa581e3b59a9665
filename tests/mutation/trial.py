"""The tests, run on each mutant: in forks of one process that has collected them, those first that cost least.

It is a plugin of pytest, and takes over where pytest would run the tests.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import itertools
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import hypothesis
import pytest

from . import switch
from .children import Killed, Task, in_children
from .places import ROOT, Mutant, instrumented

SLOW = 20.0
"""How much longer than without it tests may take with a mutant, with half a minute on top."""

ENOUGH = 5.0
"""Seconds of tests that are run on every mutant, before those which survived meet the others."""


class Instrumented(importlib.abc.MetaPathFinder):
    """Imports the modules with their switches."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.mutants: list[Mutant] = []
        self._code: dict[str, CodeType] = {}
        for module in modules:
            tree, found = instrumented(module, len(self.mutants))
            self.mutants += found
            name = ".".join(Path(module).with_suffix("").parts[1:])
            self._code[name] = compile(tree, str(ROOT / module), "exec")

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in self._code:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._code[name])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._compiled = code

    def get_code(self, fullname: str) -> CodeType:
        return self._compiled


@dataclass
class Unit:
    """Tests that are run together: one, or those of a module that share a stand."""

    items: list[pytest.Item]
    seconds: float = 0.0
    mattered: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        return self.items[0].nodeid if len(self.items) == 1 else self.items[0].nodeid.partition("::")[0]


@dataclass
class Trial:
    """What became of the mutants: the test that missed one, why it ended else, or None where it survived."""

    mutants: Sequence[Mutant]
    equivalent: frozenset[int]
    """Mutants that are known to behave no differently: they meet the tests of the first round only."""
    jobs: int
    log: Path
    seconds: float = math.inf
    """Of tests that a mutant meets at most."""
    killers: dict[int, str | None] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    """How many units each mutant matters in."""
    broken: list[str] = field(default_factory=list)
    """Tests that fail without any mutant."""
    _failed: list[str] = field(default_factory=list)
    _kills: Counter[str] = field(default_factory=Counter)

    def pytest_sessionstart(self) -> None:
        """The same examples for all mutants, and none made smaller."""
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        assert threading.active_count() == 1, "a process with threads can't be forked"
        units = list(_units(session.items))
        known = self._measured(units)
        if not self.broken:
            self._tried(known)
        return True

    def _measured(self, units: Sequence[Unit]) -> list[Unit]:
        """The units with what matters in them, those first that a second tells most by."""
        by_name = {unit.name: unit for unit in units}
        tasks = (Task(unit.name, partial(self._profile, unit), 600.0) for unit in units)
        for done, (task, result) in enumerate(in_children(tasks, self.jobs, self.log), 1):
            unit = by_name[task.name]
            if isinstance(result, Killed) or result["failed"]:
                self.broken.append(f"{task.name}: {result if isinstance(result, Killed) else result['failed']}")
                continue
            unit.seconds, unit.mattered = result["seconds"], frozenset(result["mattered"])
            if done % 25 == 0:
                print(f"measured {done}/{len(units)}", flush=True)
        for mutant in self.mutants:
            self.reached[mutant.number] = sum(mutant.number in unit.mattered for unit in units)
        return sorted(
            (unit for unit in units if unit.mattered), key=lambda unit: unit.seconds / len(unit.mattered)
        )

    def _profile(self, unit: Unit) -> dict[str, Any]:
        switch.mattered.clear()
        begun = time.process_time()
        failed = self._run(unit)
        return {"failed": failed, "seconds": time.process_time() - begun, "mattered": sorted(switch.mattered)}

    def _tried(self, units: Sequence[Unit]) -> None:
        """In two rounds: most mutants die of tests that cost little, and only the others meet all."""
        self._round(self.mutants, units, 0.0, ENOUGH)
        alive = [mutant for mutant in self.mutants if self.killers[mutant.number] is None]
        self._round([it for it in alive if it.number not in self.equivalent], units, ENOUGH, self.seconds)

    def _round(self, mutants: Sequence[Mutant], units: Sequence[Unit], after: float, until: float) -> None:
        tasks = (self._task(mutant, units, after, until) for mutant in mutants)
        for done, (task, result) in enumerate(in_children(tasks, self.jobs, self.log), 1):
            mutant: Mutant = task.name
            killer = str(result) if isinstance(result, Killed) else result
            self.killers[mutant.number] = killer
            if killer is not None:
                self._kills[f"{mutant.module} {killer}"] += 1
            print(f"{done}/{len(mutants)} {'killed  ' if killer else 'SURVIVES'} {mutant}", flush=True)

    def _task(self, mutant: Mutant, units: Sequence[Unit], after: float, until: float) -> Task:
        """Those of the units that a mutant matters in which begin so many seconds after the first."""
        reached = [unit for unit in units if mutant.number in unit.mattered]
        ends = list(itertools.accumulate(unit.seconds for unit in reached))
        chosen = [unit for unit, end in zip(reached, ends, strict=True) if after <= end - unit.seconds < until]

        def rank(unit: Unit) -> float:
            """What has killed mutants of this module before is likely to do so again."""
            kills = sum(self._kills[f"{mutant.module} {item.nodeid}"] for item in unit.items)
            return unit.seconds / (1 + kills)

        chosen.sort(key=rank)
        return Task(
            mutant, lambda: self._attempt(mutant, chosen), 30 + SLOW * sum(unit.seconds for unit in chosen)
        )

    def _attempt(self, mutant: Mutant, units: Sequence[Unit]) -> str | None:
        switch.active = mutant.number
        return next((failed for unit in units if (failed := self._run(unit))), None)

    def _run(self, unit: Unit) -> str | None:
        """The first test of a unit that fails."""
        failed: list[str] = []
        self._failed = failed
        for item, following in zip(unit.items, [*unit.items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if failed:
                return failed[0]
        return None


def _units(items: Sequence[pytest.Item]) -> Iterator[Unit]:
    stands: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _shares_a_stand(item):
            stands.setdefault(item.nodeid.partition("::")[0], []).append(item)
        else:
            yield Unit([item])
    for together in stands.values():
        yield Unit(together)


def _shares_a_stand(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("asyncio")
    return marker is not None and marker.kwargs.get("loop_scope") == "module"


def run(trial: Trial, finder: Instrumented, tests: Sequence[str]) -> int:
    """Collects the tests and tries the mutants; the exit status of pytest."""
    sys.meta_path.insert(0, finder)
    flags = [
        "-s",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    return int(pytest.main([*flags, *tests], plugins=[trial]))
