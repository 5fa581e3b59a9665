"""Takes predicates out of the code of access, one at a time, and tells which of them no test misses.

    python -m tests.mutants [--jobs 2] [--module core/amity/access/roles.py] [--survivors] [--list]

A mutant lacks one thing: an operand of a condition, a branch's decision, a check that raises, an item of a list of
predicates, a part of a statement's ``where``. The tests run on it, on SQLite, and one of them must fail. Mutants
that behave no differently are named in ``mutants_equivalent.txt``, each with the reason. Not part of the suite.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .mutation.places import ROOT, Mutant, mutants_of

MODULES = (
    "core/amity/access/principal.py",
    "core/amity/access/roles.py",
    "core/amity/change/rights.py",
    "core/amity/change/references.py",
    "core/amity/query/conditions.py",
    "core/amity/query/implied.py",
    "core/amity/principals/rules.py",
    "core/amity/signin.py",
)
TESTS = (
    "tests/test_access.py",
    "tests/test_access_fields.py",
    "tests/test_access_law.py",
    "tests/test_access_matrix.py",
    "tests/test_access_statements.py",
    "tests/test_access_writes.py",
    "tests/test_aggregates.py",
    "tests/test_changes.py",
    "tests/test_circles.py",
    "tests/test_columns.py",
    "tests/test_edges.py",
    "tests/test_granting.py",
    "tests/test_graphql_reading.py",
    "tests/test_json_filters.py",
    "tests/test_messaging_access.py",
    "tests/test_plans.py",
    "tests/test_principals.py",
    "tests/test_query_law.py",
    "tests/test_relative_dates.py",
    "tests/test_role_rules.py",
    "tests/test_roles.py",
    "tests/test_signin.py",
    "tests/test_written_rights.py",
)
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
RESULTS = ROOT / ".mutants"


def equivalent(text: str) -> dict[str, str]:
    """The reasons why mutants behave no differently, by module and key, a line each: ``module key # reason``."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.rpartition(" # ")
            found[name.strip()] = reason.strip()
    return found


def name_of(mutant: Mutant) -> str:
    """By what a mutant is known from run to run."""
    return f"{mutant.module} {mutant.key}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--module", action="append", help="only mutants of this file")
    parser.add_argument("--survivors", action="store_true", help="only those that survived the run before")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="of tests that a mutant meets at most; all by default"
    )
    parser.add_argument("--list", action="store_true", help="only tell what would be taken out")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(map(str, mutants_of(MODULES))))
        return
    os.environ["AMITY_TEST_DATABASE"] = "sqlite"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is running ends with us
    with tempfile.TemporaryDirectory(prefix="amity-templates-") as folder:
        os.environ["AMITY_TEST_TEMPLATES"] = folder
        status = _try(arguments.jobs, arguments.module, arguments.survivors, arguments.seconds)
    raise SystemExit(status)


def _try(jobs: int, modules: Sequence[str] | None, again: bool, seconds: float) -> int:
    from .mutation.trial import Instrumented, Trial, run

    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "survivors.json"
    before = set(json.loads(kept.read_text())) if again else set()
    finder = Instrumented(MODULES)
    chosen = [
        mutant
        for mutant in finder.mutants
        if (not modules or mutant.module in modules) and (not again or name_of(mutant) in before)
    ]
    reasons = equivalent(EQUIVALENT.read_text())
    known = frozenset(mutant.number for mutant in chosen if name_of(mutant) in reasons)
    gone = sorted(set(reasons) - {name_of(mutant) for mutant in finder.mutants})
    if gone:
        print("mutants_equivalent.txt names what is not there:", *gone, sep="\n  ", file=sys.stderr)
        return 2
    trial = Trial(chosen, known, jobs, RESULTS / "output.txt", seconds)
    begun = time.monotonic()
    status = run(trial, finder, [str(ROOT / test) for test in TESTS])
    if status or trial.broken:
        print("without any mutant, tests fail:", *trial.broken, sep="\n  ", file=sys.stderr)
        return 2
    alive = [mutant for mutant in chosen if trial.killers[mutant.number] is None]
    kept.write_text(json.dumps([name_of(mutant) for mutant in alive], indent=1))
    return _report(trial.killers, trial.reached, chosen, alive, (time.monotonic() - begun) / 60)


def _report(
    killers: Mapping[int, str | None],
    reached: Mapping[int, int],
    chosen: Sequence[Mutant],
    alive: Sequence[Mutant],
    minutes: float,
) -> int:
    reasons = equivalent(EQUIVALENT.read_text())
    known = [mutant for mutant in alive if name_of(mutant) in reasons]
    survivors = [mutant for mutant in alive if name_of(mutant) not in reasons]
    dead = [mutant for mutant in chosen if name_of(mutant) in reasons and mutant not in known]
    print("\nmutants, killed, equivalent, by module:")
    for module, count in Counter(mutant.module for mutant in chosen).items():
        same = sum(mutant.module == module for mutant in known)
        lost = sum(mutant.module == module for mutant in survivors)
        print(f"  {count:5} {count - same - lost:5} {same:5}  {module}")
    for mutant in dead:
        print(f"said to be equivalent, but {killers[mutant.number]} misses it: {mutant}")
    print(f"\n{len(chosen)} mutants in {minutes:.0f} minutes, {len(known)} equivalent, {len(survivors)} survive")
    for mutant in survivors:
        print(f"  {mutant} (matters in {reached[mutant.number]} of the tests)")
    return 1 if survivors or dead else 0


if __name__ == "__main__":
    main()
