"""Importing CSV files: what a mapping says becomes records, and what can't be taken is told."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amity import (
    SYSTEM,
    AccessDenied,
    Context,
    Crm,
    Customer,
    Deal,
    Event,
    Pipeline,
    Plugin,
    Principal,
    Problem,
    Proposed,
    Session,
    Stage,
    Update,
    User,
    Validator,
)
from amity_csv import Csv, ImportFailed, ImportReport, MappingError, load_mapping, run_import

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]

CUSTOMERS = """
[[import]]
entity = "Customer"
file = "customers.csv"
key = "external_id"

[import.fields]
external_id = { column = "id", system = "old" }
kind = { value = "person" }
name = "name"
"""


@dataclass
class Desk:
    """A folder with a mapping and files, and a CRM to import them into."""

    folder: Path
    session: Session

    def write(self, name: str, text: str, encoding: str = "utf-8") -> None:
        (self.folder / name).write_bytes(text.encode(encoding))

    async def run(self, mapping: str, **options: Any) -> ImportReport:
        self.write("import.toml", mapping)
        return await run_import(self.session, load_mapping(self.folder / "import.toml"), self.folder, **options)

    def refused(self, name: str = "customers.csv") -> list[tuple[str, str, str, str]]:
        """Line, column, value and reason of what was refused."""
        path = self.folder / f"{name}.refused.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["line"], row["column"], row["value"], row["reason"]) for row in csv.DictReader(file)]

    async def names(self) -> list[str]:
        rows = await self.session.find(Customer).select("name").order_by("name").all()
        return [row["name"] for row in rows]

    async def events(self) -> int:
        return await self.session.find(Event).count()


@pytest.fixture
async def desk(make_crm: MakeCrm, tmp_path: Path) -> Any:
    async with make_crm([Csv]) as crm:
        yield Desk(tmp_path, crm.acting_as(SYSTEM))


def only(report: ImportReport) -> tuple[int, int, int, int]:
    """Created, updated, unchanged, refused of a report with one section."""
    (section,) = report.sections
    return section.created, section.updated, section.unchanged, section.refused


# --- again, and again ---------------------------------------------------------------------------------------


async def test_a_second_run_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n2,Bo\n")

    first = await desk.run(CUSTOMERS)
    events = await desk.events()
    second = await desk.run(CUSTOMERS)

    assert only(first) == (2, 0, 0, 0)
    assert only(second) == (0, 0, 2, 0)
    assert "Changed nothing" in second.summary()
    assert await desk.events() == events


async def test_a_changed_file_changes_only_what_is_different(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n2,Bo\n")
    await desk.run(CUSTOMERS)

    desk.write("customers.csv", "id,name\n1,Ann Lee\n2,Bo\n3,Cy\n")
    report = await desk.run(CUSTOMERS)

    assert only(report) == (1, 1, 1, 0)
    assert await desk.names() == ["Ann Lee", "Bo", "Cy"]


async def test_a_dry_run_tells_what_would_happen_and_writes_nothing(desk: Desk) -> None:
    desk.write("customers.csv", "id,name,boss\n1,Ann,2\n2,Bo,\n3,,1\n4,Di,9\n")
    mapping = CUSTOMERS + (
        '[[import]]\nname = "Bosses"\nentity = "Customer"\nfile = "customers.csv"\nkey = "external_id"\n'
        'skip = { boss = "" }\n'
        "[import.fields]\n"
        'external_id = { column = "id", system = "old" }\n'
        'organization_id = { column = "boss", by = "external_id", system = "old" }\n'
    )

    dry = await desk.run(mapping, dry_run=True)
    refused = desk.refused()
    before = (await desk.names(), await desk.events())
    wet = await desk.run(mapping)

    assert before == ([], 0)
    assert dry.dry_run
    assert "Nothing was written" in dry.summary()
    assert [s.model_dump() for s in dry.sections] == [s.model_dump() for s in wet.sections]
    assert refused == desk.refused()
    # the second import found what the first one would have made
    assert (wet.sections[1].updated, wet.sections[1].refused) == (1, 2)
    assert await desk.names() == ["Ann", "Bo", "Di"]


async def test_events_tell_which_file_a_record_came_from(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n")
    await desk.run(CUSTOMERS)

    events = await desk.session.find(Event).select("type", "origin").all()

    assert {event["origin"] for event in events} == {"csv:customers.csv"}


# --- files as they come -------------------------------------------------------------------------------------


async def test_broken_rows_are_refused_and_the_others_are_stored(desk: Desk) -> None:
    text = 'id,name\n1,Ann\n2,"Bo\n3,Cy\n4\n5,"Ed" x\n6,Fay,more\n\n7,"Gus ""G"" Hall"\n8,"two\nlines"\n'
    desk.write("customers.csv", text)

    report = await desk.run(CUSTOMERS)

    assert await desk.names() == ["Ann", "Cy", 'Gus "G" Hall', "two\nlines"]
    assert only(report) == (4, 0, 0, 4)
    assert [(line, value) for line, _, value, _ in desk.refused()] == [
        ("3", '2,"Bo'),
        ("5", "4"),
        ("6", '5,"Ed" x'),
        ("7", "6,Fay,more"),
    ]
    reasons = [reason for *_, reason in desk.refused()]
    assert "never closed" in reasons[0]
    assert reasons[1] == "has 1 columns; the header has 2"
    assert report.sections[0].refused_file == str(desk.folder / "customers.csv.refused.csv")


async def test_a_byte_of_another_encoding_is_refused_with_its_column(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Zoë\n2,Bo\n", "latin-1")

    await desk.run(CUSTOMERS)

    assert desk.refused() == [
        ("2", "name", "Zo\\xeb", "byte 0xEB is no utf-8; save the file as utf-8, or set its encoding")
    ]
    assert await desk.names() == ["Bo"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp1252", "utf-16"])
async def test_files_of_other_programs_are_read(desk: Desk, encoding: str) -> None:
    desk.write("customers.csv", "id;name\r\n1;Zoë Müller\r\n2;'Bo; Diaz'\r\n", encoding)
    setting = "" if "utf-8" in encoding else f'encoding = "{encoding}"\n'
    mapping = CUSTOMERS.replace("key =", f'{setting}delimiter = ";"\nquote = "\'"\nkey =')

    report = await desk.run(mapping)

    assert only(report) == (2, 0, 0, 0)
    assert await desk.names() == ["Bo; Diaz", "Zoë Müller"]


async def test_a_file_without_a_header_gets_its_names_from_the_mapping(desk: Desk) -> None:
    desk.write("customers.csv", "1,Ann\n2,Bo\n")

    await desk.run(CUSTOMERS.replace("key =", 'header = ["id", "name"]\nkey ='))

    assert await desk.names() == ["Ann", "Bo"]


async def test_the_list_of_refused_rows_goes_when_none_is_refused(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1\n")
    await desk.run(CUSTOMERS)
    there = bool(desk.refused())
    desk.write("customers.csv", "id,name\n1,Ann\n")

    report = await desk.run(CUSTOMERS)

    assert there
    assert not (desk.folder / "customers.csv.refused.csv").exists()
    assert report.sections[0].refused_file is None


async def test_refused_rows_can_be_listed_elsewhere(desk: Desk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    desk.write("customers.csv", "id,name\n1\n")

    await desk.run(CUSTOMERS, refused_folder=elsewhere)

    assert not (desk.folder / "customers.csv.refused.csv").exists()
    assert "has 1 columns" in (elsewhere / "customers.csv.refused.csv").read_text()


async def test_what_the_crm_refuses_is_told_by_line_and_column(desk: Desk) -> None:
    long = "x" * 301
    desk.write("customers.csv", f"id,name\n1,Ann\n2,{long}\n3,a\0b\n")

    report = await desk.run(CUSTOMERS)

    assert only(report) == (1, 0, 0, 2)
    rows = desk.refused()
    assert [(line, column) for line, column, _, _ in rows] == [("3", "name"), ("4", "name")]
    assert "300" in rows[0][3]
    assert "NUL" in rows[1][3]


# --- values -------------------------------------------------------------------------------------------------


async def test_values_are_replaced_and_counted(desk: Desk) -> None:
    desk.write("customers.csv", "id,name,kind\n1,Ann,P\n2,Bo,P\n3,Co,O\n")
    mapping = CUSTOMERS.replace('kind = { value = "person" }', 'kind = "kind"') + (
        '[import.columns.kind]\nmap = { P = "person", O = "organization" }\n'
    )

    report = await desk.run(mapping)

    assert [str(value) for value in report.sections[0].mapped] == [
        "kind: P → person 2 times",
        "kind: O → organization once",
    ]
    found = await desk.session.find(Customer).select("name", "kind").order_by("name").all()
    assert [row["kind"].lower() for row in found] == ["person", "person", "organization"]


@pytest.mark.parametrize(
    ("unknown", "sector", "told"),
    [
        ("refuse", "", "did you mean 'retail'?"),
        ("empty", None, "left empty once"),
        ("keep", "retial", "kept once"),
    ],
)
async def test_values_that_are_not_allowed(desk: Desk, unknown: str, sector: str | None, told: str) -> None:
    desk.write("sectors.csv", "sector\nretail\nfinance\n")
    desk.write("customers.csv", "id,name,sector\n1,Ann,retial\n2,Bo,finance\n")
    mapping = CUSTOMERS + (
        '"custom_fields.sector" = "sector"\n[import.columns.sector]\n'
        f'allowed = {{ file = "sectors.csv", column = "sector" }}\nunknown = "{unknown}"\n'
    )

    report = await desk.run(mapping)

    if unknown == "refuse":
        ((line, column, value, reason),) = desk.refused()
        assert (line, column, value) == ("2", "sector", "retial")
        assert "sectors.csv, column sector" in reason
        assert told in reason
        assert await desk.names() == ["Bo"]
    else:
        assert any(told in note for note in report.sections[0].notes)
        found = await desk.session.find(Customer).select("custom_fields").where({"name": {"eq": "Ann"}}).one()
        assert found is not None
        assert found["custom_fields"].get("sector") == sector


async def test_defaults_templates_and_alternatives(desk: Desk) -> None:
    desk.write(
        "customers.csv", "id,name,city,mobile,phone,source\n1,Ann,Rome,,12,web\n2,Bo,,34,56,\n3,Cy,Oslo,,,\n"
    )
    mapping = CUSTOMERS.replace('name = "name"', 'name = { template = "{name}[ of {city}]" }') + (
        'note = { column = ["mobile", "phone"] }\nsource = "source"\n[import.columns.source]\ndefault = "fair"\n'
    )

    await desk.run(mapping)

    found = await desk.session.find(Customer).select("name", "note", "source").order_by("name").all()
    assert [tuple(row.values()) for row in found] == [
        ("Ann of Rome", "12", "web"),
        ("Bo", "34", "fair"),
        ("Cy of Oslo", None, "fair"),
    ]


async def test_rows_are_taken_and_left_out_by_their_values(desk: Desk) -> None:
    desk.write("customers.csv", "id,name,state\n1,Ann,active\n2,Bo,left\n3,Cy,\n4,Di,active\n")
    mapping = CUSTOMERS.replace("key =", 'only = { state = ["active", ""] }\nskip = { name = "Di" }\nkey =')

    report = await desk.run(mapping)

    assert await desk.names() == ["Ann", "Cy"]
    assert report.sections[0].skipped == 2


async def test_custom_fields_keep_what_the_file_does_not_name(desk: Desk) -> None:
    desk.write("customers.csv", 'id,name,size,since,vip\n1,Ann,"1,200",31.12.2020,yes\n')
    mapping = CUSTOMERS + (
        '"custom_fields.size" = { column = "size", type = "integer", thousands = "," }\n'
        '"custom_fields.since" = { column = "since", type = "date", format = "%d.%m.%Y" }\n'
        '"custom_fields.vip" = { column = "vip", type = "boolean" }\n'
    )
    await desk.run(mapping)
    ann = await desk.session.find(Customer).select("id", "custom_fields").one()
    assert ann is not None
    assert ann["custom_fields"] == {"size": 1200, "since": "2020-12-31", "vip": True}

    added = {**ann["custom_fields"], "nickname": "Annie"}
    await desk.session.update(Customer, [Update(ann["id"], {"custom_fields": added})])
    desk.write("customers.csv", "id,name,size,since,vip\n1,Ann,1300,31.12.2020,\n")
    report = await desk.run(mapping)

    assert only(report) == (0, 1, 0, 0)
    ann = await desk.session.find(Customer).select("custom_fields").one()
    assert ann is not None
    assert ann["custom_fields"] == {"nickname": "Annie", "size": 1300, "since": "2020-12-31"}


async def test_money_in_the_ways_it_is_written(desk: Desk) -> None:
    await pipeline(desk.session)
    desk.write(
        "deals.csv",
        'id,name,amount,currency\n1,dollars,1054,USD\n2,francs,"1.054,5",chf\n3,yen,1500,JPY\n'
        '4,dinars,"12,345",KWD\n5,none,,\n6,too fine,"0,005",EUR\n7,no number,abc,EUR\n8,odd,1,Euro\n',
    )
    mapping = (
        '[[import]]\nentity = "Deal"\nfile = "deals.csv"\nkey = "external_id"\n[import.fields]\n'
        'external_id = { column = "id", system = "old" }\nname = "name"\n'
        'stage_id = { value = "Open", by = "name" }\n'
        'value = { column = "amount", currency_column = "currency", decimal = ",", thousands = "." }\n'
    )

    await desk.run(mapping)

    found = await desk.session.find(Deal).select("name", "value").all()
    assert {row["name"]: row["value"] and tuple(row["value"].values()) for row in found} == {
        "dollars": ("105400", "USD"),
        "francs": ("105450", "CHF"),
        "yen": ("1500", "JPY"),
        "dinars": ("12345", "KWD"),
        "none": None,
    }
    assert [(line, column, value) for line, column, value, _ in desk.refused("deals.csv")] == [
        ("7", "amount", "0,005"),
        ("8", "amount", "abc"),
        ("9", "amount", "1"),
    ]


async def test_dates_and_times_in_the_ways_they_are_written(desk: Desk) -> None:
    await pipeline(desk.session)
    desk.write(
        "deals.csv", "id,opened,moved\n1,31/01/2024,2024-02-01 09:30\n2,2024-01-31,2024-07-01 09:30\n3,x,x\n"
    )
    mapping = (
        '[[import]]\nentity = "Deal"\nfile = "deals.csv"\nkey = "external_id"\n[import.fields]\n'
        'external_id = { column = "id", system = "old" }\nname = "id"\n'
        'stage_id = { value = "Open", by = "name" }\n'
        'opened_on = { column = "opened", format = ["%d/%m/%Y", "%Y-%m-%d"] }\n'
        'stage_entered_at = { column = "moved", format = "%Y-%m-%d %H:%M", time_zone = "Europe/Zurich" }\n'
    )

    await desk.run(mapping)

    found = await desk.session.find(Deal).select("opened_on", "stage_entered_at").order_by("name").all()
    assert [tuple(row.values()) for row in found] == [
        ("2024-01-31", "2024-02-01T08:30:00.000000Z"),
        ("2024-01-31", "2024-07-01T07:30:00.000000Z"),
    ]
    assert [(line, column) for line, column, _, _ in desk.refused("deals.csv")] == [
        ("4", "opened"),
        ("4", "moved"),
    ]


# --- look-ups -----------------------------------------------------------------------------------------------


async def pipeline(session: Session) -> None:
    """Two pipelines, each with a stage ``Open``… and one of them with a stage of its own."""
    made = await session.create(Pipeline, [{"name": "Sales"}, {"name": "Service"}])
    sales, service = made.ids
    rows = [{"pipeline_id": sales, "name": "Open"}, {"pipeline_id": sales, "name": "Both"}]
    await session.create(Stage, [*rows, {"pipeline_id": service, "name": "Both"}])


DEALS = """
[[import]]
entity = "Deal"
file = "deals.csv"
key = "external_id"

[import.fields]
external_id = { column = "id", system = "old" }
name = "id"
"""


async def test_a_look_up_that_finds_several_is_refused_unless_narrowed(desk: Desk) -> None:
    await pipeline(desk.session)
    desk.write("deals.csv", "id,stage\n1,Both\n2,Open\n3,Gone\n")

    await desk.run(DEALS + 'stage_id = { column = "stage", by = "name" }\n')
    loose = desk.refused("deals.csv")
    await desk.run(
        DEALS
        + 'stage_id = { column = "stage", by = "name", where = { pipeline = { name = { eq = "Service" } } } }\n'
    )

    assert [(line, value) for line, _, value, _ in loose] == [("2", "Both"), ("4", "Gone")]
    assert "several records of Stage have this name" in loose[0][3]
    assert loose[1][3] == "there is no Stage with the name 'Gone'"
    assert [value for _, _, value, _ in desk.refused("deals.csv")] == ["Open", "Gone"]


async def test_a_look_up_may_be_empty_or_find_nothing(desk: Desk) -> None:
    await pipeline(desk.session)
    await desk.session.create(User, [{"name": "Rosa", "email": "rosa@acme.example"}])
    desk.write("deals.csv", "id,owner\n1,rosa@acme.example\n2,\n3,x@acme.example\n4,x@acme.example\n5,\n")

    report = await desk.run(
        DEALS
        + 'stage_id = { value = "Open", by = "name" }\n'
        + 'owner_id = { column = "owner", by = "email", missing = "null" }\n'
    )

    assert only(report) == (5, 0, 0, 0)
    assert report.sections[0].notes == (
        "2 rows without owner: owner_id is null",
        "owner_id: there is no User with the email 'x@acme.example'; null 2 times",
    )
    found = await desk.session.find(Deal).select("owner.name").order_by("name").all()
    assert [row["owner"] and row["owner"]["name"] for row in found] == ["Rosa", None, None, None, None]


async def test_values_that_no_record_can_have_are_refused_like_any_other(desk: Desk) -> None:
    await pipeline(desk.session)
    desk.write(
        "deals.csv",
        "id,owner,stage,value\n1,a\0b,Open,1\n2,,O\0n,1\n3\0,,Open,1\n4,,Open,99999999999999999999\n5,,Open,1\n",
    )

    report = await desk.run(
        DEALS
        + 'stage_id = { column = "stage", by = "name" }\nowner_id = { column = "owner", by = "email" }\n'
        + '"custom_fields.size" = { column = "value", type = "integer" }\n'
        + 'value = { column = "value" }\n'
    )

    assert only(report) == (1, 0, 0, 4)
    assert sorted({line for line, *_ in desk.refused("deals.csv")}) == ["2", "3", "4", "5"]


async def test_ids_that_are_none_are_refused(desk: Desk) -> None:
    (ann,) = (await desk.session.create(Customer, [{"kind": "person", "name": "Ann"}])).ids
    assert ann is not None
    desk.write("customers.csv", f"id,tag\ncus_{ann.hex},x\nabc,x\ndea_{ann.hex},x\n,x\n,y\n")
    mapping = (
        '[[import]]\nentity = "Customer"\nfile = "customers.csv"\nkey = "id"\n'
        '[import.fields]\nid = "id"\n"custom_fields.tag" = "tag"\n'
    )

    report = await desk.run(mapping)

    assert only(report) == (0, 1, 0, 4)
    assert [line for line, *_ in desk.refused()] == ["3", "4", "5", "6"]
    assert "expected an id of Customer" in desk.refused()[1][3]


async def test_a_record_may_refer_to_one_that_an_earlier_batch_brought(desk: Desk) -> None:
    desk.write("customers.csv", "id,name,boss\n1,Ann,\n2,Bo,1\n3,Cy,2\n4,Di,3\n")
    mapping = CUSTOMERS + 'organization_id = { column = "boss", by = "external_id", system = "old" }\n'

    report = await desk.run(mapping, batch=1)

    assert only(report) == (4, 0, 0, 0)


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 1000])
async def test_a_key_that_comes_twice_is_refused_whatever_the_batches(desk: Desk, batch: int) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n2,Bo\n1,Anna\n3,Cy\n1,Anne\n")

    report = await desk.run(CUSTOMERS, batch=batch)

    assert only(report) == (3, 0, 0, 2)
    assert [(line, column, reason) for line, column, _, reason in desk.refused()] == [
        ("4", "id", "line 2 has the same external_id"),
        ("6", "id", "line 2 has the same external_id"),
    ]


async def test_rows_that_tell_of_one_record_make_one_record(desk: Desk) -> None:
    desk.write("teams.csv", "agent,office\nAnn,East\nBo,West\nCy,East\n")
    mapping = (
        '[[import]]\nentity = "Team"\nfile = "teams.csv"\nkey = "name"\nrepeated = "skip"\n'
        '[import.fields]\nname = "office"\n'
    )

    report = await desk.run(mapping, batch=1)

    assert only(report) == (2, 0, 0, 0)
    assert report.sections[0].repeated == 1
    assert await desk.session.find("Team").count() == 2


async def test_repeated_rows_that_differ_are_told(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n1,Ann\n1,Anna\n")

    report = await desk.run(CUSTOMERS.replace("key =", 'repeated = "skip"\nkey ='))

    (note,) = report.sections[0].notes
    assert note.startswith("1 repeated row said something else")
    assert "line 4" in note


async def test_rows_in_the_mapping_itself(desk: Desk) -> None:
    mapping = (
        '[[import]]\nentity = "Pipeline"\nkey = "name"\nrows = [{ name = "Sales", position = 3 }]\n'
        '[[import]]\nentity = "Stage"\nkey = ["pipeline", "name"]\n'
        'rows = [{ name = "New" }, { name = "Won", category = "won" }]\n'
        '[import.fields]\npipeline_id = { value = "Sales", by = "name" }\n'
        'name = "name"\ncategory = { column = "category", empty = "keep" }\n'
    )

    await desk.run(mapping)
    again = await desk.run(mapping)

    assert again.changed == 0
    found = await desk.session.find(Stage).select("name", "category", "pipeline.position").order_by("name").all()
    assert [(row["name"], row["category"].lower(), row["pipeline"]["position"]) for row in found] == [
        ("New", "open", 3),
        ("Won", "won", 3),
    ]


async def test_without_a_key_every_run_adds_rows(desk: Desk) -> None:
    desk.write("customers.csv", "name\nAnn\nAnn\n")
    mapping = (
        '[[import]]\nentity = "Customer"\nfile = "customers.csv"\nmode = "create"\n'
        '[import.fields]\nname = "name"\nkind = { value = "person" }\n'
    )

    await desk.run(mapping)
    await desk.run(mapping)

    assert await desk.names() == ["Ann"] * 4


async def test_only_the_entities_that_are_asked_for(desk: Desk) -> None:
    desk.write("customers.csv", "id,name\n1,Ann\n")
    mapping = CUSTOMERS + '[[import]]\nentity = "Team"\nkey = "name"\nrows = [{ name = "East" }]\n'

    report = await desk.run(mapping, entities=["Team"])

    assert [section.entity for section in report.sections] == ["Team"]
    assert await desk.names() == []
    with pytest.raises(MappingError, match=r"no import is of the entity 'Pipeline'; there are Customer, Team"):
        await desk.run(mapping, entities=["Pipeline"])


# --- plugins and principals ---------------------------------------------------------------------------------


class Strict(Plugin):
    """A plugin that refuses names and, when told to, breaks."""

    name = "strict"

    def validators(self) -> Sequence[Validator]:
        return [Validator(Customer, ["name"], check_names)]


async def check_names(context: Context, rows: Sequence[Proposed]) -> Sequence[Problem]:
    if any(row.after and row.after["name"] == "Crash" for row in rows):
        raise RuntimeError("out of order")
    return [
        Problem(row.index, "name", "nobody is called that")
        for row in rows
        if row.after and row.after["name"] == "X"
    ]


async def test_validators_of_plugins_refuse_rows(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv, Strict]) as crm:
        desk = Desk(tmp_path, crm.acting_as(SYSTEM))
        desk.write("customers.csv", "id,name\n1,Ann\n2,X\n3,Cy\n")

        await desk.run(CUSTOMERS)

        assert desk.refused() == [("3", "name", "X", "name: nobody is called that")]
        assert await desk.names() == ["Ann", "Cy"]


async def test_an_import_that_was_stopped_goes_on_where_it_was(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv, Strict]) as crm:
        desk = Desk(tmp_path, crm.acting_as(SYSTEM))
        desk.write("customers.csv", "id,name\n1,Ann\n2,Bo\n3,Crash\n4,Di\n5,Ed\n")

        with pytest.raises(ImportFailed, match=r"lines 4 to 5: plugin 'strict'.*out of order(.|\n)*goes on there"):
            await desk.run(CUSTOMERS, batch=2)
        assert await desk.names() == ["Ann", "Bo"]
        desk.write("customers.csv", "id,name\n1,Ann\n2,Bo\n3,Cy\n4,Di\n5,Ed\n")
        report = await desk.run(CUSTOMERS, batch=2)

        assert only(report) == (3, 0, 2, 0)


async def test_who_may_not_write_may_not_import(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv]) as crm:
        desk = Desk(tmp_path, crm.acting_as(Principal("user", "usr_1")))
        desk.write("customers.csv", "id,name\n1,Ann\n")

        with pytest.raises(AccessDenied):
            await desk.run(CUSTOMERS)

        assert await crm.acting_as(SYSTEM).find(Customer).count() == 0


async def test_the_action_stays_within_its_folder(make_crm: MakeCrm, tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    folder.mkdir()
    (folder / "import.toml").write_text(CUSTOMERS)
    (folder / "customers.csv").write_text("id,name\n1,Ann\n")
    (tmp_path / "outside.toml").write_text(CUSTOMERS)
    async with make_crm([Csv], {"csv": {"folder": str(folder)}}) as crm:
        session = crm.acting_as(SYSTEM)

        done = await session.run("import_csv", [{"mapping": "import.toml"}])
        out = await session.run("import_csv", [{"mapping": "../outside.toml"}])
        denied = crm.acting_as(Principal("user", "usr_1")).run("import_csv", [{"mapping": "import.toml"}])

        assert not done.errors
        assert done.values[0].changed == 1
        assert "outside the CSV plugin's folder" in out.errors[0].message
        with pytest.raises(AccessDenied, match=r"csv\.import"):
            await denied


async def test_without_a_folder_the_action_refuses(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        result = await crm.acting_as(SYSTEM).run("import_csv", [{"mapping": "import.toml"}])

        assert "set folder in [csv]" in result.errors[0].message
