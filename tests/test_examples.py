"""The examples do what their READMEs say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from amity import SYSTEM, Crm, Customer, Deal, Event, Session, User
from amity.database import connect
from amity_csv import ImportReport, load_mapping, run_import

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]

EXAMPLES = Path(__file__).parents[1] / "examples"
SALES = EXAMPLES / "sales-opportunities"
REAL = Path(__file__).parents[2] / "shared" / "data" / "crm_sales_opportunities"


# --- sales-opportunities ------------------------------------------------------------------------------------


async def brought_in(session: Session, data: Path, mapping: Path = SALES / "import.toml") -> ImportReport:
    return await run_import(session, load_mapping(mapping), data)


async def won_value(session: Session) -> int:
    """Of all deals that were won, in dollars."""
    total = 0
    query = session.find(Deal).select("value").where({"stage": {"category": {"eq": "won"}}})
    async for rows in query.stream():
        assert {row["value"]["currency"] for row in rows} == {"USD"}
        total += sum(int(row["value"]["amount"]) for row in rows)
    assert total % 100 == 0
    return total // 100


async def deals_by_category(session: Session) -> dict[str, int]:
    return {
        category: await session.find(Deal).where({"stage": {"category": {"eq": category}}}).count()
        for category in ("open", "won", "lost")
    }


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SALES / "sample", tmp_path / "sample"))


async def test_the_sample_of_sales_opportunities(make_crm: MakeCrm, sample: Path) -> None:
    async with make_crm(settings={"plugins": ["csv"]}) as crm:
        session = crm.acting_as(SYSTEM)

        report = await brought_in(session, sample)

        assert (report.changed, report.refused) == (29, 0)
        assert await deals_by_category(session) == {"open": 6, "won": 4, "lost": 2}
        deal = await (
            session.find(Deal)
            .select(
                "name",
                "customer.organization.name",
                "customer.custom_fields",
                "owner.manager.name",
                "owner.team.name",
                "stage.pipeline.name",
                "closed_on",
                "stage_entered_at",
            )
            .where({"name": {"startsWith": "GTX Pro for Alder"}})
            .one()
        )
        assert deal == {
            "name": "GTX Pro for Alder & Sons",
            "customer": {
                "organization": {"name": "Zephyr Holding"},
                "custom_fields": {
                    "sector": "technology",
                    "country": "United States",
                    "founded": 1996,
                    "employees": 2822,
                    "revenue_million_usd": 1100.04,
                },
            },
            "owner": {"manager": {"name": "Nils Okafor"}, "team": {"name": "Central"}},
            "stage": {"pipeline": {"name": "Sales opportunities"}},
            "closed_on": "2023-02-20",
            "stage_entered_at": "2023-02-20T00:00:00.000000Z",
        }


async def test_the_sample_without_its_value_maps_reports_what_is_wrong(make_crm: MakeCrm, sample: Path) -> None:
    text = (SALES / "import.toml").read_text()
    for line in ('map = { GTXPro = "GTX Pro" }', 'map = { technolgy = "technology" }'):
        assert line in text
        text = text.replace(line, "")
    (sample / "import.toml").write_text(text)
    async with make_crm(settings={"plugins": ["csv"]}) as crm:
        report = await brought_in(crm.acting_as(SYSTEM), sample, sample / "import.toml")

        refused = {section.name: section.refused for section in report.sections if section.refused}
        # who is not there has no parent and no deals
        assert refused == {"Organizations": 1, "Parents of organizations": 1, "Deals": 5}
        assert "'technolgy' is" not in text
        accounts = (sample / "accounts.csv.refused.csv").read_text()
        deals = (sample / "sales_pipeline.csv.refused.csv").read_text()
        assert "2,sector,technolgy,is not among the 10 allowed values" in accounts
        assert "did you mean 'technology'?" in accounts
        assert '3,product,GTXPro,"is not among the 3 allowed values (products.csv, column product)' in deals
        assert "did you mean 'GTX Pro'?" in deals


@pytest.mark.skipif(not REAL.is_dir(), reason="the data set is not next to this checkout")
async def test_the_whole_of_sales_opportunities(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["csv"]}) as crm:
        session = crm.acting_as(SYSTEM)

        first = await brought_in(session, REAL)
        events = await session.find(Event).count()
        second = await brought_in(session, REAL)

        assert await deals_by_category(session) == {"open": 2_089, "won": 4_238, "lost": 2_473}
        assert await session.find(Deal).count() == 8_800
        assert await won_value(session) == 10_005_534
        assert await session.find(Customer).where({"kind": {"eq": "organization"}}).count() == 85
        assert await session.find(Customer).where({"organization": {"kind": {"eq": "organization"}}}).count() == 15
        assert await session.find(Deal).where({"customer_id": {"isNull": True}}).count() == 1_425
        assert await session.find(User).where({"manager": {"name": {"eq": "Dustin Brinkmann"}}}).count() == 5
        assert await session.find(User).count() == 35 + 6

        sections = {section.name: section for section in first.sections}
        assert "product: GTXPro → GTX Pro 1,480 times" in map(str, sections["Deals"].mapped)
        assert "sector: technolgy → technology 12 times" in map(str, sections["Organizations"].mapped)
        assert sections["Deals"].notes == ("1,425 rows without account: customer_id is null",)
        assert first.refused == second.refused == 0
        assert second.changed == 0
        assert "Changed nothing" in second.summary()
        assert await session.find(Event).count() == events


# --- hello-plugin -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the plugin was installed, as anybody would install it."""
    return install("hello-plugin", tmp_path_factory)


def install(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / name
    shutil.copytree(EXAMPLES / name, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, cwd=source.parent)
    return target


def run(installed: Path, *command: str, **environment: str) -> str:
    """A command where the plugin is installed; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AMITY_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        env={**kept, "PYTHONPATH": str(installed), **environment},
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def tables(url: str) -> set[str]:
    database = connect(url)
    await database.open()
    try:
        if database.dialect == "sqlite":
            sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
        else:
            sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
        return {str(name) for (name,) in await database.read(sql)}
    finally:
        await database.close()


def test_the_plugin_is_one_short_module() -> None:
    module = EXAMPLES / "hello-plugin" / "hello_amity" / "__init__.py"

    assert len(module.read_text().splitlines()) <= 40


async def test_enabling_the_plugin_adds_its_table_and_nothing_else(installed: Path, database_url: str) -> None:
    cli = ("amity", "migrate")
    run(installed, *cli, AMITY_DATABASE_URL=database_url, AMITY_PLUGINS="")
    before = await tables(database_url)

    output = run(installed, *cli, AMITY_DATABASE_URL=database_url, AMITY_PLUGINS="hello")

    assert "Applied 1: hello.0001_initial" in output
    assert await tables(database_url) - before == {"hello_greeting"}
    assert "up to date" in run(installed, *cli, AMITY_DATABASE_URL=database_url, AMITY_PLUGINS="hello")


def test_enabling_the_plugin_adds_its_names_and_no_others(installed: Path) -> None:
    without = run(installed, "amity", "schema", AMITY_PLUGINS="graphql")
    enabled = run(installed, "amity", "schema", AMITY_PLUGINS="graphql,hello")

    assert "reeting" not in without
    assert "type Greeting implements Node" in enabled
    assert "greetingsReceived" in enabled


def test_the_plugins_own_tests_pass(installed: Path) -> None:
    tests = EXAMPLES / "hello-plugin" / "tests"

    output = run(installed, "pytest", "-q", "-p", "no:cacheprovider", str(tests))

    assert "2 passed" in output


# --- letter-channel -----------------------------------------------------------------------------------------


def test_the_channel_is_one_short_module() -> None:
    module = EXAMPLES / "letter-channel" / "letter_amity" / "channel.py"

    assert len(module.read_text().splitlines()) <= 40


def test_letters_and_faxes_are_channels(tmp_path_factory: pytest.TempPathFactory) -> None:
    tests = EXAMPLES / "letter-channel" / "tests"
    configured = ["-c", str(EXAMPLES / "letter-channel" / "pyproject.toml")]

    output = run(
        install("letter-channel", tmp_path_factory),
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *configured,
        str(tests),
    )

    assert "3 passed" in output
