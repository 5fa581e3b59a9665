"""The house: what imports what, and that its folders shadow nobody."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "amity"


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_headless_core_pulls_in_no_web_and_no_graphql() -> None:
    code = "import amity, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = set(run("-c", code).split())
    assert not loaded & {
        "starlette",
        "strawberry",
        "graphql",
        "uvicorn",
        "asyncpg",
        "amity_graphql",
        "amity_csv",
    }


def test_python_started_in_the_repository_imports_the_real_graphql() -> None:
    code = "import graphql; print(graphql.__file__); print(graphql.version)"
    file, version = run("-c", code).splitlines()
    assert "site-packages" in file
    assert version.startswith("3.3")


def test_pytest_started_in_the_repository_imports_the_real_graphql(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("import graphql\n\ndef test_it():\n    assert graphql.version.startswith('3.3')\n")
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(ROOT), str(file))
    assert "1 passed" in out


def test_uvicorn_started_in_the_repository_imports_the_real_graphql() -> None:
    code = "import uvicorn.main, uvicorn.importer\nprint(uvicorn.importer.import_from_string('graphql:version'))"
    assert run("-c", code).startswith("3.3")


def test_source_folders_are_plain_containers() -> None:
    for folder in ("core", "graphql", "plugins"):
        assert not (ROOT / folder / "__init__.py").exists()


ROOMS = [
    ["__main__"],
    ["cli", "server", "testing"],
    ["signin"],
    ["crm"],
    ["migration"],
    ["composition"],
    ["plugin"],
    ["principals"],
    ["messaging"],
    ["jobs"],
    ["scores"],
    ["change"],
    ["events"],
    ["query"],
    ["contracts"],
    ["messages"],
    ["access"],
    ["tree"],
    ["given"],
    ["model"],
    ["entity"],
    ["channels", "memory", "settings", "network", "outbound"],
    ["database"],
]
"""From the top of the house down; imports lead down only."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def imports_of(file: Path) -> list[tuple[str, int]]:
    """Rooms that a module imports at run time, with the line."""
    tree = ast.parse(file.read_text())
    typing_only: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_only |= {id(inner) for inner in ast.walk(node)}
    depth = len(file.relative_to(CORE).parts)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in typing_only or node.level != depth:
            continue
        names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
        found += [(name, node.lineno) for name in names]
    return found


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda f: str(f.relative_to(CORE)))
def test_imports_lead_down_only(file: Path) -> None:
    room = file.relative_to(CORE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    assert room in FLOOR, f"{room} has no floor yet"
    for name, line in imports_of(file):
        if name.startswith("__"):
            continue
        assert FLOOR[name] >= FLOOR[room], f"{file.name}:{line} imports {name}, which is above {room}"
