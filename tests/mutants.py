"""Takes predicates out of the code of access, one at a time, and tells which of them no test misses.

    python -m tests.mutants [--jobs 2] [--module core/amity/access/roles.py] [--list]

Each mutant is a copy of the source in which one thing is gone: a check that raises, an operand of a condition, an
item of a list of predicates, a guard. The tests of access run on it, on SQLite, and must fail. Mutants that pass
are printed in the end, with their place. Not part of the suite: it takes half an hour.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = (
    "core/amity/access/principal.py",
    "core/amity/access/roles.py",
    "core/amity/change/rights.py",
    "core/amity/change/references.py",
    "core/amity/query/conditions.py",
    "core/amity/principals/rules.py",
    "core/amity/signin.py",
)
TESTS = (
    "tests/test_access_fields.py",
    "tests/test_access.py",
    "tests/test_roles.py",
    "tests/test_granting.py",
    "tests/test_access_law.py",
    "tests/test_access_matrix.py",
    "tests/test_principals.py",
    "tests/test_signin.py",
    "tests/test_query_law.py",
)
"""The quickest to notice come first."""
SOURCES = ("core", "graphql", "plugins", "tests", "examples", "docs", "pyproject.toml", "README.md")
TIMEOUT = 300.0


@dataclass(frozen=True)
class Mutant:
    """A module without one thing."""

    module: str
    line: int
    what: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.what}"


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every way to take one thing out of a module."""
    tree = ast.parse((ROOT / module).read_text())
    count = len(list(_places(tree)))
    for number in range(count):
        changed = copy.deepcopy(tree)
        node, kind, index = list(_places(changed))[number]
        yield Mutant(module, node.lineno, _apply(changed, node, kind, index), ast.unparse(changed))


def _places(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str, int]]:
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            match node:
                case ast.BoolOp(values=values):
                    yield from ((node, "operand", i) for i in range(len(values)))
                case ast.If(body=[ast.Raise() | ast.Return() | ast.Continue(), *_], orelse=[]):
                    yield node, "guard", 0
                case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call())):
                    yield node, "call", 0
                case ast.List(elts=items) if len(items) > 1:
                    yield from ((node, "item", i) for i in range(len(items)))
                case ast.BinOp(op=ast.BitAnd()):
                    yield from ((node, "side", i) for i in range(2))
                case ast.comprehension(ifs=conditions) if conditions:
                    yield conditions[0], "filter", 0


def _apply(tree: ast.Module, node: ast.expr | ast.stmt, kind: str, index: int) -> str:
    """Takes it out; says what is gone."""
    match node:
        case ast.BoolOp() if kind == "operand":
            gone = ast.unparse(node.values.pop(index))
            return f"without the operand {gone}"
        case ast.If() if kind == "guard":
            gone = ast.unparse(node.test)
            node.test = ast.copy_location(ast.Constant(False), node.test)
            return f"without the guard {gone}"
        case ast.Expr() if kind == "call":
            gone = ast.unparse(node.value)
            node.value = ast.copy_location(ast.Constant(None), node.value)
            return f"without {gone}"
        case ast.List() if kind == "item":
            return f"without the item {ast.unparse(node.elts.pop(index))}"
        case ast.BinOp() if kind == "side":
            kept = node.right if index == 0 else node.left
            gone = ast.unparse(node.left if index == 0 else node.right)
            _replace(tree, node, kept)
            return f"not narrowed by {gone}"
    gone = ast.unparse(node)
    _replace(tree, node, ast.copy_location(ast.Constant(True), node))
    return f"without the filter {gone}"


def _replace(tree: ast.Module, old: ast.AST, new: ast.expr) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, name, [new if item is old else item for item in value])


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether the tests pass with it."""
    place = folder / mutant.module
    original = place.read_text()
    place.write_text(mutant.source)
    paths = [str(folder / name) for name in ("core", "graphql", "plugins")]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*paths, str(folder)]),
                "AMITY_TEST_DATABASE": "sqlite",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        place.write_text(original)
    return done.returncode == 0


def worker(mutants: Sequence[Mutant], number: int, total: int) -> list[Mutant]:
    """Those of every ``total``-th mutant that no test misses, in a copy of the source of its own."""
    folder = Path(tempfile.mkdtemp(prefix="amity-mutants-"))
    found = []
    try:
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        for place, mutant in enumerate(mutants):
            if place % total == number:
                alive = survives(mutant, folder)
                print(f"{place + 1}/{len(mutants)} {'SURVIVES' if alive else 'killed  '} {mutant}", flush=True)
                found += [mutant] if alive else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--module", action="append")
    parser.add_argument("--list", action="store_true", help="only tell what would be taken out")
    arguments = parser.parse_args()
    mutants = [mutant for module in arguments.module or MODULES for mutant in mutants_of(module)]
    if arguments.list:
        print("\n".join(map(str, mutants)))
        return
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda number: worker(mutants, number, arguments.jobs), range(arguments.jobs))
        survivors = [mutant for found in results for mutant in found]
    print(f"\n{len(mutants)} mutants, {len(survivors)} survive:")
    print("\n".join(f"  {mutant}" for mutant in survivors))
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
