"""The list of mutants that behave no differently is one of mutants that there are, each with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutants import EQUIVALENT, MODULES, equivalent, name_of
from .mutation import switch
from .mutation.places import instrumented, mutants_of

CODE = '''
"""Somebody's code."""

from __future__ import annotations


def allowed(user, row):
    if user is None:
        return "refused"
    predicates = [row > 1, row < 9]
    return "allowed" if all(predicates) and user in {"a", "b", "c"} & {"a", "b"} else "hidden"


def sql(alias):
    return f"select 1 from t {alias} where {alias}.owner = 1 and {alias}.team = 2"
'''


def test_each_that_is_said_to_be_equivalent_is_there_with_its_reason() -> None:
    reasons = equivalent(EQUIVALENT.read_text(encoding="utf-8"))
    assert reasons.keys() <= {name_of(mutant) for mutant in mutants_of(MODULES)}
    assert all(reasons.values())
    lines = [line for line in EQUIVALENT.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert len(lines) == len(reasons), "a mutant is listed twice"


def test_each_mutant_is_the_code_without_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code.py").write_text(CODE, encoding="utf-8")
    tree, mutants = instrumented("code.py", 0, tmp_path)
    names: dict[str, object] = {}
    exec(compile(tree, "code.py", "exec"), names)
    allowed, sql = names["allowed"], names["sql"]
    assert callable(allowed)
    assert callable(sql)
    asked = [(user, row) for user in (None, "a", "c") for row in (0, 5, 10)]

    def behavior(number: int) -> tuple[object, ...]:
        monkeypatch.setattr(switch, "active", number)
        return (*(allowed(*it) for it in asked), sql("x"))

    usual = behavior(-1)
    assert usual[:3] == ("refused",) * 3
    assert usual[3:6] == ("hidden", "allowed", "hidden")
    assert usual[6:9] == ("hidden",) * 3
    assert usual[9] == "select 1 from t x where x.owner = 1 and x.team = 2"
    found = {mutant.key: behavior(mutant.number) for mutant in mutants}
    assert found["allowed: never user is None"][:3] == ("hidden",) * 3
    assert found["allowed: without the item row < 9"][5] == "allowed"
    assert found["allowed: without and all(predicates)"][3] == "allowed"
    assert found["allowed: without & {'a', 'b'}"][7] == "allowed"
    assert found["sql: SQL without {alias}.team = 2"][9] == "select 1 from t x where x.owner = 1 and true"
    assert [key for key, it in found.items() if it == usual] == ["allowed: without {'a', 'b', 'c'} &"]


def test_only_what_would_make_a_difference_matters(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE, encoding="utf-8")
    tree, mutants = instrumented("code.py", 0, tmp_path)
    names: dict[str, object] = {}
    exec(compile(tree, "code.py", "exec"), names)
    allowed = names["allowed"]
    assert callable(allowed)
    switch.mattered.clear()
    allowed("a", 5)
    mattered = {mutant.key for mutant in mutants if mutant.number in switch.mattered}
    assert "allowed: always user is None" in mattered
    assert "allowed: never user is None" not in mattered
    assert "allowed: without and all(predicates)" not in mattered
