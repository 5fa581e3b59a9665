"""The documentation is true: its snippets run, its links lead somewhere, its tables are complete."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from amity.cli.app import App
from amity.cli.main import main
from amity.composition import compose
from amity.entity import Kind
from amity.messaging.secrets import new_key
from amity.query.where import operators
from amity.settings import (
    CustomFieldSettings,
    FileSettings,
    SchemaSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
    SettingsError,
    SignInSettings,
    from_mapping,
)
from amity.tree import Direction
from amity_csv import CsvSettings
from amity_graphql import GraphQLSettings, errors
from amity_graphql.settings import SignIn
from amity_rfm import RfmSettings
from amity_webchat import WebChatSettings

from . import snippets
from .conftest import KIND, MakeCrm
from .snippets import ROOT, differences, page_run
from .warm import warm

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md"]


def named(page: Path) -> str:
    return page.name


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warm(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=named)
async def test_the_snippets_of_a_page_run(
    page: Path, tmp_path: Path, make_crm: MakeCrm, database_url: str, commands: Path
) -> None:
    url = None if KIND == "sqlite" else database_url
    async with page_run(page, tmp_path, make_crm, url, commands) as run:
        for snippet in snippets.snippets(page):
            await run.snippet(snippet)
        run.end()


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to {target}"


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        "".join(
            char
            for char in heading.strip().lower().replace(" ", "-")
            if char in "-_" or unicodedata.category(char)[0] in "LN"
        )
        for heading in headings
    }


# --- the runner itself -------------------------------------------------------------------------------------


async def ran(text: str, folder: Path, make_crm: MakeCrm, commands: Path) -> None:
    page = ROOT / "docs" / "page.md"  # only named, never written
    file = folder / "page.md"
    file.write_text(text, encoding="utf-8")
    async with page_run(page, folder, make_crm, None, commands) as run:
        for snippet in snippets.snippets(file):
            await run.snippet(snippet)
        run.end()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nraise ValueError('oops')\n```", "docs/page.md:2: ValueError: oops"),
        ("<!-- setup: empty -->\n```graphql\n{ us }\n```", "Cannot query field 'us'"),
        ("```python\nprint(1 + 1)\n```\n```text\n3\n```", "it prints\n2"),
        ("<!-- setup: empty -->\n```graphql\n{ us }\n```\n```json\n{}\n```", "answer.errors is there"),
        ('<!-- toml: settings -->\n```toml\ndatabse_url = "x"\n```', "did you mean 'database_url'"),
        ("```console\n$ amity frobnicate\n```", "No such command 'frobnicate'"),
        ("```console\n$ amity --version\namity, version 7\n```", "amity, version 0"),
        ("```console\n$ make money\n```", "the Makefile has no money"),
        ("```cobol\nDISPLAY 'HI'.\n```", "nothing is known of 'cobol'"),
    ],
)
async def test_a_snippet_that_is_wrong_fails(
    text: str, message: str, tmp_path: Path, make_crm: MakeCrm, commands: Path
) -> None:
    with pytest.raises(AssertionError) as caught:
        await ran(text, tmp_path, make_crm, commands)
    assert message in str(caught.value)


def test_an_ellipsis_stands_for_any_characters() -> None:
    assert not differences({"id": "cus_…", "n": 1}, {"id": "cus_0190", "n": 1})
    assert differences({"id": "cus_…"}, {"id": "dea_0190"})
    assert differences({"n": 1}, {"n": True})
    assert differences([1], [1, 2])
    assert differences({}, {"n": 1})


# --- docs/configuration.md ---------------------------------------------------------------------------------


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def shown_default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return f"`{json.dumps(value, default=str, ensure_ascii=False)}`"


def rows(model: type[BaseModel], section: str = "") -> Iterator[str]:
    """How the rows of a table of settings begin: key, variable, default."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        nested = field.annotation
        if name == "sections" or (isinstance(nested, type) and issubclass(nested, BaseModel)):
            continue
        variable = f"AMITY_{section.upper()}__{key.upper()}" if section else f"AMITY_{key.upper()}"
        yield f"| `{key}` | `{variable}` | {shown_default(field)} | "


SECTIONS: list[tuple[type[BaseModel], str]] = [
    (Settings, ""),
    (ServerSettings, "server"),
    (SignInSettings, "sign_in"),
    (SchemaSettings, "schema"),
    (SecuritySettings, "security"),
    (FileSettings, "files"),
    (GraphQLSettings, "graphql"),
    (CsvSettings, "csv"),
    (RfmSettings, "rfm"),
    (WebChatSettings, "webchat"),
]


@pytest.mark.parametrize(("model", "section"), SECTIONS, ids=lambda item: getattr(item, "__name__", item or "top"))
def test_every_setting_stands_in_the_docs(model: type[BaseModel], section: str) -> None:
    text = text_of("configuration.md")
    missing = [row for row in rows(model, section) if row not in text]
    assert not missing, "docs/configuration.md lacks\n" + "\n".join(missing)


def test_no_setting_stands_in_the_docs_that_is_not_there() -> None:
    known = {row.split("`")[3] for model, section in SECTIONS for row in rows(model, section)}
    shown = set(re.findall(r"^\| `\w+` \| `(AMITY_\w+)` \|", text_of("configuration.md"), flags=re.MULTILINE))
    assert shown <= known


KEY = new_key()
EXAMPLES = ROOT / "graphql" / "amity_graphql" / "examples.graphql"
TRIED: dict[str, tuple[str, Any]] = {
    "AMITY_DATABASE_URL": ("sqlite:///other.sqlite3", "sqlite:///other.sqlite3"),
    "AMITY_PLUGINS": ("csv, graphql", ["csv", "graphql"]),
    "AMITY_DEFAULT_REGION": ("CH", "CH"),
    "AMITY_DEFAULT_CURRENCY": ("CHF", "CHF"),
    "AMITY_TIME_ZONE": ("Europe/Zurich", "Europe/Zurich"),
    "AMITY_CUSTOM_FIELDS": (
        '[{"entity": "Customer", "name": "tier", "type": "text"}]',
        [CustomFieldSettings(entity="Customer", name="tier", type="text")],
    ),
    "AMITY_SERVER__HOST": ("127.0.0.2", "127.0.0.2"),
    "AMITY_SERVER__ALLOWED_HOSTS": ('["crm.example"]', ["crm.example"]),
    "AMITY_SERVER__PUBLIC_URL": ("https://crm.example", "https://crm.example"),
    "AMITY_SECURITY__KEYS": (f'["{KEY}"]', [SecretStr(KEY)]),
    "AMITY_FILES__STORAGE": ("local", "local"),
    "AMITY_FILES__FOLDER": ("/srv/files", Path("/srv/files")),
    "AMITY_FILES__BUCKET": ("crm", "crm"),
    "AMITY_FILES__PREFIX": ("amity/", "amity/"),
    "AMITY_FILES__ENDPOINT": ("https://s3.example", "https://s3.example"),
    "AMITY_FILES__REGION": ("eu-central-1", "eu-central-1"),
    "AMITY_FILES__ACCESS_KEY_ID": ("crm", "crm"),
    "AMITY_FILES__SECRET_ACCESS_KEY": ("open sesame", SecretStr("open sesame")),
    "AMITY_SCHEMA__RENAME": ('{"core.Deal": "Opportunity"}', {"core.Deal": "Opportunity"}),
    "AMITY_RFM__CURRENCY": ("EUR", "EUR"),
    "AMITY_RFM__SCHEDULE": ("30 4 * * 1", "30 4 * * 1"),
    "AMITY_GRAPHQL__SIGN_INS": (
        '[{"label": "Mia", "email": "mia@ourcompany.example", "password": "x"}]',
        [SignIn(label="Mia", email="mia@ourcompany.example", password="x")],
    ),
    "AMITY_GRAPHQL__MAX_PAGE_SIZE": ("90", 90),
    "AMITY_GRAPHQL__PERSISTED_OPERATIONS": (str(EXAMPLES), EXAMPLES),
    "AMITY_CSV__FOLDER": ("/srv/files", Path("/srv/files")),
}
"""Texts of variables, and what they mean; other numbers and booleans are made up."""


def tried(variable: str, default: str) -> tuple[str, Any]:
    value = json.loads(default)
    if isinstance(value, bool):
        return str(not value).lower(), not value
    if variable not in TRIED and isinstance(value, (int, float)):
        return "9", 9
    return TRIED[variable]


@pytest.mark.parametrize("row", [row for model, section in SECTIONS for row in rows(model, section)])
def test_a_variable_that_stands_in_the_docs_works(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, variable, _, default, _ = row.split("`")
    text, expected = tried(variable, default)
    monkeypatch.delenv("AMITY_DATABASE_URL", raising=False)
    monkeypatch.setenv(variable, text)
    settings = from_mapping({"plugins": ["graphql", "csv", "rfm", "webchat"]})
    section, _, key = variable.removeprefix("AMITY_").lower().rpartition("__")
    if section in ("graphql", "csv", "rfm", "webchat"):
        found: Any = compose(settings, layered=False).plugin(section).plugin.settings
    else:
        found = getattr(settings, {"schema": "schema_"}.get(section, section), settings)
    assert getattr(found, key) == expected


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA", "public")
    monkeypatch.setenv("PLUGINS", "none")
    assert from_mapping({}).schema_.rename == {}


@pytest.mark.parametrize("variable", ["AMITY_SERVER__ALLOWED_HOSTS", "AMITY_SCHEMA__RENAME"])
def test_a_variable_that_is_no_json_is_told_by_name(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "a,b")
    with pytest.raises(SettingsError, match=variable.rpartition("__")[0]):
        from_mapping({})


def test_every_command_stands_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "amity.toml").write_text('plugins = ["graphql", "csv"]\n', encoding="utf-8")
    context = click.Context(main, obj=App(tmp_path / "amity.toml"))
    names = main.list_commands(context)
    assert {"init", "import", "query"} <= set(names)
    shown = set(re.findall(r"^\| `amity ([a-z]+)[^`]*` \|", text_of("configuration.md"), flags=re.MULTILINE))
    assert shown == set(names)


# --- docs/queries.md ---------------------------------------------------------------------------------------


def test_every_operator_stands_in_the_docs() -> None:
    text = text_of("queries.md")
    for name in {name for kind in Kind for name in operators(kind)}:
        assert re.search(rf"^\| `{name}`", text, flags=re.MULTILINE), f"docs/queries.md lacks the operator {name}"


def test_every_order_stands_in_the_docs() -> None:
    text = text_of("queries.md")
    for direction in Direction:
        assert f"`{direction.value}`" in text


def test_every_code_of_an_error_stands_in_the_docs() -> None:
    text = text_of("queries.md")
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)}
    codes -= {name for name in codes if name.startswith("_")}
    assert "BAD_USER_INPUT" in codes
    for code in codes:
        assert f"| `{code}` |" in text, f"docs/queries.md lacks the code {code}"


def test_every_code_of_a_user_error_stands_in_the_docs() -> None:
    from amity.change import errors as changes

    table = re.findall(r"^``(\w+)``", changes.__doc__ or "", flags=re.MULTILINE)
    assert "taken" in table
    for code in table:
        assert f"| `{code}` |" in text_of("queries.md"), f"docs/queries.md lacks the code {code}"


# --- docs/security.md --------------------------------------------------------------------------------------


def test_every_threat_names_tests_that_are_there() -> None:
    table = text_of("security.md").partition("## Threats")[2].partition("\n## ")[0]
    found = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(found) >= 20
    for row in found:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert named, f"no test answers: {row}"
        for file, name in named:
            text = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {name}\(", text, flags=re.MULTILINE), f"{file} has no {name}"


# --- the change log ----------------------------------------------------------------------------------------


def test_the_change_log_starts_with_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    kinds = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
