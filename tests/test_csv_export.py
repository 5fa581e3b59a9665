"""Exporting records as CSV, and bringing them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Count, Crm, Customer, Deal, Pipeline, Plugin, Session, Stage, Update, expression
from amity.contracts import FieldDeclaration
from amity_csv import Csv, CsvError, export_rows, load_mapping, run_import

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]


class Counting(Plugin):
    """A plugin with a field of its own on customers."""

    name = "counting"

    def fields(self) -> Sequence[FieldDeclaration]:
        return [expression(Customer, "deal_count", Count("deals"))]


async def exported(session: Session, entity: str, *fields: str, **options: Any) -> list[dict[str, str]]:
    output = io.StringIO(newline="")
    count = await export_rows(session, entity, output, fields=fields, **options)
    rows = list(csv.DictReader(io.StringIO(output.getvalue(), newline="")))
    assert len(rows) == count
    return rows


async def company(session: Session) -> None:
    acme = (await session.create(Customer, [{"kind": "organization", "name": "=Acme"}])).ids[0]
    ann = {"kind": "person", "name": "Ann", "organization_id": acme, "custom_fields": {"size": -3, "tag": "@vip"}}
    await session.create(Customer, [ann])
    sales = (await session.create(Pipeline, [{"name": "Sales"}])).ids[0]
    stage = (await session.create(Stage, [{"pipeline_id": sales, "name": "Won", "category": "won"}])).ids[0]
    deals: list[dict[str, Any]] = [
        {"name": "Lamps", "stage_id": stage, "customer_id": acme, "value": {"amount": -105450, "currency": "USD"}},
        {"name": "+1 chair", "stage_id": stage},
    ]
    await session.create(Deal, deals)


async def test_chosen_fields_of_the_record_and_of_what_it_refers_to(make_crm: MakeCrm) -> None:
    async with make_crm([Csv, Counting]) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)

        customers = await exported(
            session,
            "Customer",
            "name",
            "organization.name",
            "organization.kind",
            "custom_fields.size",
            "custom_fields.tag",
            "organization.custom_fields.tag",
            "deal_count",
            order_by=["name"],
        )

        assert [list(row.values()) for row in customers] == [
            ["'=Acme", "", "", "", "", "", "1"],
            ["Ann", "'=Acme", "organization", "-3", "'@vip", "", "0"],
        ]


async def test_money_is_written_in_major_units_with_its_currency(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)

        deals = await exported(session, "Deal", "name", "value", "stage.category", order_by=["-name"])

        assert deals == [
            {"name": "Lamps", "value": "-1054.50", "value.currency": "USD", "stage.category": "won"},
            {"name": "'+1 chair", "value": "", "value.currency": "", "stage.category": "won"},
        ]


async def test_every_column_is_exported_by_default(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)

        row = (await exported(session, "Customer", where={"kind": {"eq": "person"}}))[0]

        assert row["id"].startswith("cus_")
        assert row["organization_id"].startswith("cus_")
        assert row["custom_fields"] == '{"size":-3,"tag":"@vip"}'
        assert "search_text" not in row


async def test_long_exports_are_streamed(make_crm: MakeCrm) -> None:
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        await session.create(Customer, [{"kind": "person", "name": f"{n:05}"} for n in range(2_345)])
        seen: list[int] = []

        rows = await exported(session, "Customer", "name", order_by=["name"], progress=seen.append)

        assert [row["name"] for row in rows] == [f"{n:05}" for n in range(2_345)]
        assert seen == [2_000, 2_345]


@pytest.mark.parametrize(
    ("entity", "field", "message"),
    [
        ("Custmer", "name", "there is no entity 'Custmer'; did you mean 'Customer'?"),
        ("Customer", "nmae", "Customer has no field 'nmae' that fits into a cell; did you mean 'name'?"),
        ("Customer", "organization", "name one of its fields, like organization.id"),
        ("Customer", "organization.nmae", "Customer has no field 'nmae'"),
        ("Customer", "deals", "Customer has no field 'deals' that fits into a cell"),
        ("Customer", "name.first", "Customer has no field 'name.first' that fits into a cell"),
    ],
)
async def test_fields_that_are_not_there(make_crm: MakeCrm, entity: str, field: str, message: str) -> None:
    async with make_crm([Csv]) as crm:
        with pytest.raises(CsvError) as caught:
            await exported(crm.acting_as(SYSTEM), entity, field)

        assert message in str(caught.value)


async def test_an_export_can_be_edited_and_imported_again(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)
        rows = await exported(session, "Deal", "id", "name", "value")
        for row in rows:
            row["name"] = row["name"].replace("Lamps", "Lights")
        with (tmp_path / "deals.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows([*rows, {**rows[0], "id": "dea_" + "0" * 32}])
        (tmp_path / "import.toml").write_text(
            '[[import]]\nentity = "Deal"\nfile = "deals.csv"\nkey = "id"\n'
            "[import.fields]\n"
            'id = "id"\nname = "name"\nvalue = { column = "value", currency_column = "value.currency" }\n'
        )

        report = await run_import(session, load_mapping(tmp_path / "import.toml"), tmp_path)

        section = report.sections[0]
        assert (section.created, section.updated, section.unchanged, section.refused) == (0, 1, 1, 1)
        names = await session.find(Deal).select("name").order_by("name").all()
        assert [row["name"] for row in names] == ["+1 chair", "Lights"]


async def test_what_was_exported_is_imported_the_same(make_crm: MakeCrm, tmp_path: Path) -> None:
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
    risky = st.builds(
        lambda quotes, start, rest: quotes + start + rest,
        st.text("'", max_size=3),
        st.sampled_from("=+-@\t\r"),
        texts,
    )
    (tmp_path / "import.toml").write_text(
        '[[import]]\nentity = "Customer"\nfile = "customers.csv"\nkey = "id"\n[import.fields]\nid = "id"\n'
        'name = "name"\n"custom_fields.tag" = "tag"\n'
        "[import.columns.name]\ntrim = false\n[import.columns.tag]\ntrim = false\n"
    )
    mapping = load_mapping(tmp_path / "import.toml")
    drawn: list[list[tuple[str, str]]] = []

    @given(st.lists(st.tuples(texts | risky, texts | risky), min_size=200, max_size=200))
    @settings(max_examples=1, database=None, suppress_health_check=list(HealthCheck))
    def draw(pairs: list[tuple[str, str]]) -> None:
        drawn.append(pairs)

    draw()
    async with make_crm([Csv]) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [{"kind": "person", "name": name, "custom_fields": {"tag": tag}} for name, tag in drawn[-1]]
        ids = (await session.create(Customer, rows)).ids
        with (tmp_path / "customers.csv").open("w", encoding="utf-8", newline="") as file:
            await export_rows(session, "Customer", file, fields=["id", "name", "custom_fields.tag"])
        header, rest = (tmp_path / "customers.csv").read_bytes().split(b"\n", 1)
        (tmp_path / "customers.csv").write_bytes(header.replace(b"custom_fields.tag", b"tag") + b"\n" + rest)

        unchanged = await run_import(session, mapping, tmp_path)
        await session.update(
            Customer, [Update(id, {"name": "x", "custom_fields": {}}) for id in ids if id is not None]
        )
        updated = await run_import(session, mapping, tmp_path)

        assert unchanged.sections[0].unchanged == len(rows)
        assert updated.sections[0].updated == len(rows)
        found = await session.find(Customer).select("name", "custom_fields").order_by("id").all()
        assert sorted((row["name"], row["custom_fields"]["tag"]) for row in found) == sorted(drawn[-1])


async def test_the_action_writes_a_file_into_its_folder(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv], {"csv": {"folder": str(tmp_path)}}) as crm:
        session = crm.acting_as(SYSTEM)
        await company(session)

        done = await session.run(
            "export_csv",
            [{"entity": "Deal", "file": "deals.csv", "fields": ["name"], "where": {"value": {"isNull": True}}}],
        )
        wrong = await session.run("export_csv", [{"entity": "Deal", "file": "no.csv", "fields": ["nmae"]}])

        assert done.values[0].model_dump() == {"file": "deals.csv", "rows": 1}
        assert (tmp_path / "deals.csv").read_text() == "name\n'+1 chair\n"
        assert "did you mean 'name'?" in wrong.errors[0].message
        assert [path.name for path in tmp_path.iterdir()] == ["deals.csv"]
