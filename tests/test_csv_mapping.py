"""Mistakes in mapping files are told at once, by file and key, with what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import amity_csv
from amity import SYSTEM, Crm
from amity_csv import MappingError, load_mapping, run_import
from amity_csv.mapping import ColumnRule, FieldRule, Section
from amity_csv.planning import plan


def section(text: str, head: str = 'entity = "Customer"\nfile = "c.csv"\nkey = "external_id"') -> str:
    return f"[[import]]\n{head}\n[import.fields]\n{text}\n"


GOOD = 'external_id = { column = "id", system = "old" }\nkind = { value = "person" }\n'

FORM = {
    "": "import is missing",
    "import = 3": "import: input should be a valid tuple; it is 3",
    "[[import]": "Expected ']]' at the end of an array declaration (at line 1, column 9)",
    'sistem = "x"\n' + section("a = 'b'"): "unknown key 'sistem'; did you mean 'system'?",
    section("a = 'b'", 'entty = "Customer"\nfile = "c.csv"\nkey = "id"'): (
        "import 1: entity is missing",
        "import 1: unknown key 'entty'; did you mean 'entity'?",
    ),
    section("a = 'b'", 'entity = "Customer"\nfile = "c.csv"'): "import 1: key is missing",
    section("a = 'b'", 'entity = "Customer"\nkey = "id"'): "import 1: expected either file or rows",
    section("a = 'b'", 'entity = "Customer"\nkey = "id"\nfile = "../c.csv"'): (
        "import 1: file: expected the name of a file below the data folder; it is '../c.csv'"
    ),
    section("a = 'b'", 'entity = "C"\nkey = "id"\nfile = "c.csv"\nmode = "create"'): (
        'import 1: mode "create" takes no key; remove one of them'
    ),
    section("a = 'b'", 'entity = "C"\nkey = "id"\nfile = "c.csv"\nencoding = "utf8000"'): (
        "import 1: encoding: unknown encoding"
    ),
    section("a = 'b'", 'entity = "C"\nkey = "id"\nfile = "c.csv"\ndelimiter = "::"'): (
        "import 1: delimiter: string should have at most 1 character; it is '::'"
    ),
    section("a = {}"): "import 1: fields.a: expected one of column, value and template",
    section(
        'a = { column = "x", value = 1 }'
    ): "expected one of column, value and template; it has column and value",
    section('a = { colum = "x" }'): "import 1: fields.a: unknown key 'colum'; did you mean 'column'?",
    section('a = { column = "x", missing = "null" }'): "import 1: fields.a: missing belongs to a look-up; add by",
    section('a = { column = "x", empty = "zero" }'): (
        "import 1: fields.a.empty: input should be 'null', 'refuse' or 'keep'; it is 'zero'"
    ),
    section('a = { column = "x", time_zone = "Mars/Olympus" }'): "import 1: fields.a.time_zone: unknown time zone",
    section('a = { column = "x", thousands = "." }'): "decimal and thousands are the same sign",
    section(
        'a = "b"\n[import.columns.x]\nmpa = {}'
    ): "import 1: columns.x: unknown key 'mpa'; did you mean 'map'?",
    section('a = "b"\n[import.columns.x]\nallowed = { file = "p.csv" }'): "columns.x.allowed: column is missing",
}


@pytest.mark.parametrize("text", FORM)
def test_a_mistake_in_the_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "import.toml"
    path.write_text(text)
    expected = FORM[text]

    with pytest.raises(MappingError) as caught:
        load_mapping(path)

    problems = caught.value.problems
    assert all(problem.startswith(f"{path}: ") for problem in problems)
    for sentence in (expected,) if isinstance(expected, str) else expected:
        assert any(sentence in problem for problem in problems), problems


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="No such file"):
        load_mapping(tmp_path / "absent.toml")
    (tmp_path / "import.toml").write_bytes(b"system = '\xff'")
    with pytest.raises(MappingError, match="byte 10 is not UTF-8"):
        load_mapping(tmp_path / "import.toml")


FIT = {
    section(GOOD, 'entity = "Custmer"\nfile = "c.csv"\nkey = "id"'): (
        "import 1 (Custmer from c.csv): entity: there is no entity 'Custmer'; did you mean 'Customer'?"
    ),
    section(GOOD, 'entity = "Event"\nrows = [{ a = 1 }]\nkey = "id"'): "entity: there is no entity 'Event'",
    section(GOOD, 'entity = "Customer"\nfile = "absent.csv"\nkey = "id"'): "absent.csv: No such file or directory",
    section(
        GOOD, 'entity = "Customer"\nfile = "empty.csv"\nkey = "id"'
    ): "expected a line with the names of the columns",
    section(GOOD + 'name = "nmae"'): "fields.name: c.csv has no column 'nmae'; did you mean 'name'?",
    section(GOOD + 'name = "twice"'): "file: c.csv has 2 columns 'twice'; rename one",
    section(GOOD + 'nmae = "name"'): "fields.nmae: Customer has no field 'nmae'; did you mean 'name'?",
    section(GOOD + 'version = "name"'): "fields.version: Customer.version is not set from outside",
    section(GOOD + 'organization = "name"'): "organization is a relation; did you mean 'organization_id'?",
    section(GOOD + '"name.first" = "name"'): "Customer.name holds no fields; name it alone",
    section(GOOD + 'name = { template = "{name" }'): "expected text with {column} and [optional parts]",
    section(GOOD + 'name = { template = "plain" }'): "expected text with {column} and [optional parts]",
    section(GOOD + 'name = { template = "{nme}" }'): "c.csv has no column 'nme'; did you mean 'name'?",
    section(GOOD + 'name = { column = "name", format = "%Y" }'): (
        "fields.name: format has no meaning here; options of this field are: none"
    ),
    section(GOOD + 'name = { column = "name", empty = "null" }'): 'empty = "null": the field can\'t be null',
    section(GOOD + 'name = { column = "name", by = "name" }'): "by is for fields that refer to other records",
    section(GOOD + 'owner_id = { column = "name", by = "emial" }'): (
        "User can't be looked up by 'emial'; did you mean 'email'?"
    ),
    section(GOOD + 'owner_id = { column = "name", by = "external_id" }'): "system is missing: whose ids these are",
    section(GOOD + 'owner_id = { column = "name", by = "name", where = { nme = 1 } }'): (
        "fields.owner_id: where: nme: User has no 'nme'; did you mean 'name'?"
    ),
    section(GOOD + 'custom_fields = "name"\n"custom_fields.a" = "name"'): (
        "fields.custom_fields: is filled as a whole, and so are keys of it"
    ),
    section('external_id = "id"'): 'fields.external_id: system is missing: whose ids these are, like system = "',
    section(GOOD, 'entity = "Customer"\nfile = "c.csv"\nkey = "name"'): (
        "key: [name] is no key of Customer; its keys are [external_id], [id]"
    ),
    section('kind = { value = "person" }'): "key: external_id is part of the key, so fields must fill it",
    section(GOOD, 'entity = "Customer"\nfile = "c.csv"\nkey = "external_id"\nonly = { nme = "x" }'): (
        "only: c.csv has no column 'nme'"
    ),
    section(GOOD + "[import.columns.nme]\ntrim = false"): "columns: c.csv has no column 'nme'",
    section(GOOD + '[import.columns.name]\nallowed = { file = "c.csv", column = "nme" }'): (
        "columns.name.allowed: c.csv has no column 'nme'; did you mean 'name'?"
    ),
}


async def problems(folder: Path, text: str) -> tuple[str, ...]:
    """What is wrong with a mapping, told before the database is even connected to."""
    (folder / "c.csv").write_text("id,name,twice,twice\n1,Ann,a,b\n")
    (folder / "empty.csv").write_text("")
    path = folder / "import.toml"
    path.write_text(text)
    session = Crm({"plugins": ["csv"]}).acting_as(SYSTEM)
    with pytest.raises(MappingError) as caught:
        await run_import(session, load_mapping(path), folder)
    assert all(problem.startswith(f"{path}: import ") for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize("text", FIT)
async def test_a_mapping_that_does_not_fit(tmp_path: Path, text: str) -> None:
    found = await problems(tmp_path, text)

    assert any(FIT[text] in problem for problem in found), found


async def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    absent = section(GOOD, 'entity = "X"\nfile = "c.csv"\nkey = "id"')

    found = await problems(tmp_path, section(GOOD + 'nmae = "name"\nname = "nmae"') + absent)

    assert [problem.removeprefix(f"{tmp_path}/import.toml: ").split(": ")[:2] for problem in found] == [
        ["import 1 (Customer from c.csv)", "fields.nmae"],
        ["import 1 (Customer from c.csv)", "fields.name"],
        ["import 2 (X from c.csv)", "entity"],
    ]


def test_the_mapping_in_the_readme_is_one(tmp_path: Path) -> None:
    readme = Path(amity_csv.__file__).with_name("README.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "[[import]]" in block]
    (tmp_path / "import.toml").write_text(example)
    (tmp_path / "people.csv").write_text("id;status;sector;first;last;title;agent;birthday;mail\n")
    crm = Crm({"plugins": ["csv"]})

    sections = plan(load_mapping(tmp_path / "import.toml"), tmp_path, crm.catalog, "USD")

    assert [section.entity.name for section in sections] == ["Customer", "ContactPoint"]
    documented = set(re.findall(r"`(\w+)`", readme))
    models = (Section, ColumnRule, FieldRule)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert keys - {"fields", "columns"} <= documented
