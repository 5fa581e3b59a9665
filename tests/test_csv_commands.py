"""``amity import`` and ``amity export``, as they are typed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amity import Crm
from amity.cli import main

MAPPING = """
[[import]]
entity = "Customer"
file = "customers.csv"
key = "external_id"

[import.columns.kind]
map = { P = "person" }

[import.fields]
external_id = { column = "id", system = "old" }
kind = "kind"
name = "name"
"""


@pytest.fixture
def folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mapping and its file; a migrated database, and the plugin enabled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMITY_DATABASE_URL", database_url)
    monkeypatch.setenv("AMITY_PLUGINS", "csv")
    asyncio.run(Crm({"database_url": database_url}).migrate())
    (tmp_path / "import.toml").write_text(MAPPING)
    (tmp_path / "customers.csv").write_text("id,name,kind\n1,Ann,P\n2,Bo,P\n")
    return tmp_path


def amity(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_an_import_is_tried_run_and_run_again(folder: Path) -> None:
    dry = amity("import", "import.toml", "--dry-run")
    empty = amity("export", "Customer", "--fields", "name")
    wet = amity("import", "import.toml", "--data", str(folder))
    again = amity("import", "import.toml")

    assert dry.exit_code == wet.exit_code == again.exit_code == 0, dry.output + wet.output + again.output
    assert "2 would be created" in dry.output
    assert "Nothing was written." in dry.output
    assert empty.stdout == "name\n"
    assert "kind: P → person 2 times" in wet.output
    assert "2 rows read: 2 created, 0 updated" in wet.output
    assert "Changed nothing: 2 rows read" in again.output


def test_refused_rows_make_the_command_fail_and_name_their_list(folder: Path) -> None:
    (folder / "customers.csv").write_text("id,name,kind\n1,Ann,P\n2,Bo,Q\n3\n")

    result = amity("import", "import.toml")

    assert result.exit_code == 1
    assert "2 refused; each is listed in customers.csv.refused.csv" in result.output
    listed = (folder / "customers.csv.refused.csv").read_text().splitlines()
    assert listed[0] == "line,column,value,reason,import"
    assert listed[1].startswith("3,kind,Q,")
    assert amity("export", "Customer", "--fields", "name").stdout == "name\nAnn\n"


def test_an_export_to_a_file(folder: Path) -> None:
    amity("import", "import.toml")

    result = amity(
        "export", "Customer", "--fields", "name, kind", "--where", '{"name": {"eq": "Bo"}}', "--output", "out.csv"
    )

    assert result.exit_code == 0
    assert "Wrote 1 rows to out.csv" in result.stderr
    assert (folder / "out.csv").read_text() == "name,kind\nBo,person\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "absent.toml"), "File 'absent.toml' does not exist"),
        (("import", "wrong.toml"), "wrong.toml: import 1: key is missing"),
        (("import", "import.toml", "--data", "absent"), "Directory 'absent' does not exist"),
        (("import", "import.toml", "--entity", "Deal"), "no import is of the entity 'Deal'; there are Customer"),
        (("export", "Custmer"), "there is no entity 'Custmer'; did you mean 'Customer'?"),
        (("export", "Customer", "--where", "{"), "is no JSON"),
        (("export", "Customer", "--where", '{"nme": {"eq": 1}}'), "Customer has no 'nme'; did you mean 'name'?"),
        (("export", "Customer", "--order-by", "nme"), "Customer has no 'nme'; did you mean 'name'?"),
        (("export", "Customer", "--output", "absent/out.csv"), "absent/out.csv: No such file or directory"),
    ],
)
def test_what_is_wrong_is_told_without_a_trace(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    (folder / "wrong.toml").write_text('[[import]]\nentity = "Customer"\nfile = "customers.csv"\n')

    result = amity(*arguments)

    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output
    assert {path.name for path in folder.iterdir()} >= {"import.toml", "customers.csv", "wrong.toml"}
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
