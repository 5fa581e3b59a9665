"""Templates: checked when they are saved, rendered for many at once, and a way to nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity import SYSTEM, AccessDenied, Crm, Principal, Session
from amity.composition import compose
from amity.entity import decode_id
from amity.messaging import templates
from amity.messaging.templates import (
    MAX_ITEMS,
    Rendered,
    RenderRequest,
    Unrendered,
    check_text,
    choose_language,
    render,
)
from amity.model import Template, TemplateText
from amity.settings import from_mapping
from amity.testing import recorded

from . import company
from .company import ACME, ANN, BOB, MIA, RENEWAL, WEI
from .conftest import MakeCrm

CATALOG = compose(from_mapping({})).catalog
WELCOME = {
    "name": "welcome",
    "purpose": "marketing",
    "variables": ["code", "items"],
    "texts": [
        {
            "language": "en",
            "subject": "Welcome, {{ customer.given_name | default(customer.name) }}",
            "body": "Dear {{ customer.name }} of {{ customer.organization.name | default('none') }}: {{ code }}",
            "html": "<p>Dear {{ customer.name }}: <b>{{ code }}</b></p>",
        },
        {"language": "de", "body": "Guten Tag {{ customer.name }}: {{ code }}"},
    ],
}


@pytest.fixture
async def crm(make_crm: MakeCrm) -> AsyncIterator[Crm]:
    async with make_crm() as crm:
        await company.company(crm.acting_as(SYSTEM))
        yield crm


async def save(session: Session, **given: Any) -> UUID:
    result = await session.run("save_template", [{**WELCOME, **given}])
    assert not result.errors, result.errors
    assert result.ids[0] is not None
    return result.ids[0]


async def save_text(session: Session, body: str, **given: Any) -> UUID:
    return await save(session, texts=[{"language": "en", "body": body}], **given)


def of(text: str) -> UUID:
    return decode_id(text.split("_")[0], text)


async def written(session: Session, body: str, **given: Any) -> str | None:
    """The text that a template becomes; None where it can't be rendered."""
    template = await save_text(session, body, name=f"t{hash(body)}")
    known: dict[str, Any] = {"customer": of(ANN), "deal": of(RENEWAL), "user": of(MIA), **given}
    (found,) = await render(session, [RenderRequest(template, **known)])
    return found.body if isinstance(found, Rendered) else None


# --- checking ----------------------------------------------------------------------------------------------

WRONG = {
    "{{ customer.nmae }}": "line 1: customer.nmae: Customer has no field 'nmae'; did you mean 'name'?",
    "a\n\n{{ customer.organization.nmae }}": "line 3: customer.organization.nmae: Customer has no field 'nmae'",
    "{{ custmer.name }}": "there is no variable 'custmer'; did you mean 'customer'?",
    "{{ coed }}": "did you mean 'code'?",
    "{{ customer }}": "'customer' is a record; name one of its fields",
    "{{ customer.organization }}": "customer.organization: is a Customer; name one of its fields",
    "{{ customer.name.upper }}": "Customer.name has no fields",
    "{{ customer.deals }}": "Customer.deals are several; a template can't choose one",
    "{{ customer.search_text }}": "Customer has no field 'search_text'",
    "{{ customer.consents }}": "Customer.consents can't be used in a template",
    "{{ conversation.connection.secrets }}": "Connection has no field 'secrets'",
    "{{ deal.value.cents }}": "money has amount and currency",
    "{{ customer.name }": "unexpected '}'",
    "{% if customer.name %}": "Unexpected end of template",
    "{{ customer.name | shout }}": "there is no filter 'shout'",
    "{{ customer.name | uper }}": "did you mean 'upper'?",
    "{{ customer.name | upper(1) }}": "too many arguments",
    "{{ customer.name | truncate(length=3) }}": "takes plain values",
    "{{ customer.name | default(range(9)) }}": "takes plain values",
    "{{ customer.name is string }}": "there is no test 'string'",
    "{{ customer['name'] }}": "square brackets can't be used",
    "{{ customer.name() }}": "calls can't be used",
    "{{ range(10) }}": "calls can't be used",
    "{{ 'a' * 1000000000 }}": "Mul expressions can't be used",
    "{{ 2 ** 1000000000 }}": "Pow expressions can't be used",
    "{{ 'a' ~ 'b' }}": "Concat expressions can't be used",
    "{{ [1, 2] }}": "lists of its own can't be used",
    "{{ {'a': 1} }}": "mappings of its own can't be used",
    "{% set a = 1 %}": "set can't be used",
    "{% macro a() %}{% endmacro %}": "macros can't be used",
    "{% include 'a' %}": "include can't be used",
    "{% import 'a' as b %}": "import can't be used",
    "{% extends 'a' %}": "extends can't be used",
    "{% block a %}{% endblock %}": "blocks can't be used",
    "{% filter upper %}a{% endfilter %}": "filter blocks can't be used",
    "{% with %}{% endwith %}": "with can't be used",
    "{% for a in customer.name %}{% endfor %}": "a loop goes over a variable",
    "{% for a, b in items %}{% endfor %}": "a loop has one variable",
    "{% for a in items recursive %}{% endfor %}": "can't be recursive",
    "{% for a in items if a %}{% endfor %}": "can't be recursive or filtered",
    "{% for customer in items %}{% endfor %}": "has the name of something else",
    "{% for a in items %}{{ loop.cycle }}{% endfor %}": "loop has first",
    "{{ loop.index }}": "there is no variable 'loop'",
    "{% for a in items %}{% for b in a %}{% for c in b %}{% endfor %}{% endfor %}{% endfor %}": "nested 2 deep",
    "{% for a in items %}{% for b in a %}"
    + "{{ b }}" * 500
    + "{% endfor %}{% endfor %}": "too long to be repeated",
    "{{ ''.__class__.__mro__ }}": "only variables have attributes",
    "{{ customer.__class__ }}": "Customer has no field '__class__'",
    "{{ items.__class__.__init__.__globals__() }}": "calls can't be used",
    "{{ self }}": "there is no variable 'self'",
    "{{ cycler.__init__ }}": "there is no variable 'cycler'",
    "x" * 100_001: "at most 100000 are allowed",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "",
}


@pytest.mark.parametrize(("text", "told"), WRONG.items(), ids=[text[:60] for text in WRONG])
def test_what_can_not_be_used_is_told_with_its_line(text: str, told: str) -> None:
    problems = check_text(CATALOG, text, ["code", "items"]).problems
    assert problems
    assert told in "; ".join(map(str, problems))


async def test_nothing_is_saved_of_a_template_that_is_wrong(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    texts = [WELCOME["texts"][0], {"language": "de", "html": "<p>\n{{ customer.nmae }}</p>"}]
    result = await session.run("save_template", [{**WELCOME, "texts": texts}])
    assert result.errors[0].path == ("texts", 1, "html")
    assert "line 2: customer.nmae" in result.errors[0].message
    assert await session.find(Template).count() == 0


INPUTS: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"texts": []}, ("texts",), "at least 1 item"),
    ({"texts": [{"language": "en"}]}, ("texts", 0, "body"), "a body or HTML is needed"),
    ({"texts": [{"language": "english!", "body": "x"}]}, ("texts", 0, "language"), "should match pattern"),
    (
        {"texts": [{"language": "en", "body": "x"}, {"language": "EN", "body": "x"}]},
        ("texts", 1, "language"),
        "two texts in EN",
    ),
    ({"channel": "emial"}, ("channel",), "did you mean 'email'?"),
    ({"variables": ["customer"]}, ("variables", 0), "can't be the name of a variable"),
    ({"variables": ["a", "B b"]}, ("variables", 1), "can't be the name of a variable"),
    ({"purpose": "*"}, ("purpose",), "should match pattern"),
]


@pytest.mark.parametrize(("wrong", "path", "told"), INPUTS)
async def test_what_is_wrong_with_the_rest_is_told(
    make_crm: MakeCrm, wrong: dict[str, Any], path: tuple[str | int, ...], told: str
) -> None:
    async with make_crm() as crm:
        result = await crm.acting_as(SYSTEM).run("save_template", [{**WELCOME, **wrong}])
        assert result.errors[0].path == path
        assert told in result.errors[0].message


async def test_a_template_is_saved_again_whole(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    id = await save(session)
    texts = [{"language": "de", "body": "Hallo"}, {"language": "fr", "body": "Bonjour"}]
    assert await save(session, texts=texts, variables=[]) == id
    assert await save(session, id=id, name="bienvenue", texts=texts) == id

    rows = await session.find(TemplateText).select("language", "body", "subject").order_by("id").all()
    assert [(row["language"], row["body"]) for row in rows] == [("de", "Hallo"), ("fr", "Bonjour")]
    assert await session.find(Template).select("name").all() == [{"name": "bienvenue"}]
    other = await save(session, name="other")
    refused = await session.run("save_template", [{**WELCOME, "id": other, "name": "bienvenue"}])
    assert refused.errors[0].code == "taken"


async def test_several_are_saved_at_once_and_the_wrong_ones_skipped(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    await save(session, name="b")
    rows = [{**WELCOME, "name": name} for name in ("a", "b", "c", "a")]
    rows[2] = {**rows[2], "channel": "none"}
    result = await session.run("save_template", rows, on_error="skip_invalid")
    assert [id is None for id in result.ids] == [False, False, True, True]
    assert {row["name"] for row in await session.find(Template).select("name").all()} == {"a", "b"}
    assert await session.find(TemplateText).count() == 4
    with pytest.raises(AccessDenied):
        await crm.acting_as(Principal("user", "mia")).run("save_template", [])


# --- rendering ---------------------------------------------------------------------------------------------


async def test_a_batch_is_rendered_by_two_statements(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    welcome = await save(session)
    other = await save_text(session, "{{ deal.name }} is {{ deal.value | money }}, says {{ user.name }}", name="b")
    requests = [
        RenderRequest(welcome, of(ANN), variables={"code": "A1"}),
        RenderRequest(welcome, of(WEI), language="de", variables={"code": "A2"}),
        RenderRequest(other, of(BOB), deal=of(RENEWAL), user=of(MIA)),
        RenderRequest(welcome, of(ANN), variables={"code": "<i>"}),
        RenderRequest(UUID(int=1), of(ANN)),
    ]
    with recorded() as statements:
        ann, wei, bob, escaped, missing = await render(session, requests)
    assert len(statements) == 2
    assert ann == Rendered(
        template=welcome,
        language="en",
        purpose="marketing",
        channel=None,
        subject="Welcome, Ann",
        body="Dear Ann Lee of Acme: A1",
        html="<p>Dear Ann Lee: <b>A1</b></p>",
    )
    assert isinstance(wei, Rendered)
    assert (wei.language, wei.subject, wei.body) == ("de", None, "Guten Tag 王伟: A2")
    assert isinstance(bob, Rendered)
    assert bob.body == "Renewal 2026 is 54,000.00 USD, says Mia Keller"
    assert isinstance(escaped, Rendered)
    assert escaped.html == "<p>Dear Ann Lee: <b>&lt;i&gt;</b></p>"
    assert escaped.body == "Dear Ann Lee of Acme: <i>"
    assert missing == Unrendered("there is no such template")
    assert await render(session, []) == []


async def test_what_is_missing_is_named_and_nothing_is_sent(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    template = await save_text(session, "{{ customer.given_name }} {{ deal.name }} {{ code }} {{ customer.note }}")
    (found,) = await render(session, [RenderRequest(template, of(WEI), variables={})])
    assert isinstance(found, Unrendered)
    assert found.missing == ("customer.given_name", "deal.name", "code", "customer.note")
    assert found.reason == "customer.given_name, deal.name, code, customer.note are missing"


TEXTS = {
    "{% if customer.note %}a{% else %}b{% endif %}": "b",
    "{% if deal.name == 'Renewal 2026' and not customer.note %}a{% endif %}": "a",
    "{{ 'a' if customer.kind == 'person' else 'b' }}": "a",
    "{% if customer.note is defined %}a{% else %}b{% endif %}": "b",
    "{% if customer.note == none %}a{% endif %}": "a",
    "{% for i in items %}{{ loop.index }}:{{ i.name }}{% if not loop.last %}, {% endif %}{% endfor %}": "1:x, 2:y",
    "{% for i in items %}{% for t in i.tags %}{{ t }}{% endfor %}{% endfor %}": "abc",
    "{% for i in code %}{{ i }}{% else %}none{% endfor %}": "none",
    "{{ items.items | default('-') }}": "-",
    "{% for i in items %}{{ i.keys | default('-') }}{{ i.values }}{% endfor %}": "-1-2",
    "{{ customer.name | upper }} {{ customer.name | truncate(5) }}": "ANN LEE Ann …",
    "{{ deal.closed_on | default('open') }}": "open",
    "{{ deal.opened_on | date('%d.%m.%Y') }}": "01.09.2025",
    "{{ customer.created_at | date('%Y') | length }}": "4",
    "{{ deal.value.amount }} {{ deal.value.currency }}": "5400000 USD",
    "{{ customer.custom_fields.color | default('no color') }}": "no color",
    "{{ 1 }}{{ 'a' }}{{ true }}": "1aTrue",
    "{# a comment #}a": "a",
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.items())
async def test_the_language_of_templates(crm: Crm, text: str, shown: str) -> None:
    items = [{"name": "x", "tags": ["a", "b"], "values": 1}, {"name": "y", "tags": ["c"], "values": 2}]
    assert await written(crm.acting_as(SYSTEM), text, variables={"items": items}) == shown


@pytest.mark.parametrize(
    "text", ["{{ deal.opened_on | date('%999999999d') }}", "{{ customer.name | date }}", "{{ code.name }}"]
)
async def test_what_can_not_be_written_is_told(crm: Crm, text: str) -> None:
    session = crm.acting_as(SYSTEM)
    template = await save_text(session, text)
    (found,) = await render(
        session, [RenderRequest(template, of(ANN), deal=of(RENEWAL), variables={"code": "A1"})]
    )
    assert isinstance(found, Unrendered)
    assert "can't be rendered" in found.reason


async def test_lists_and_texts_have_an_end(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    text = "{% for a in items %}{% for b in items %}{{ code }}{% endfor %}{% endfor %}"
    template = await save_text(session, text)
    began = time.perf_counter()
    results = await render(
        session,
        [
            RenderRequest(template, variables={"items": ["a"] * (MAX_ITEMS + 1), "code": "x"}),
            RenderRequest(template, variables={"items": ["a"] * MAX_ITEMS, "code": "x" * 100_000}),
            RenderRequest(template, variables={"items": ["a"] * MAX_ITEMS, "code": "x"}),
            RenderRequest(template, variables={"itmes": []}),
        ],
    )
    assert time.perf_counter() - began < 5
    assert "at most 200 are allowed" in getattr(results[0], "reason", "")
    assert "longer than 500000 characters" in getattr(results[1], "reason", "")
    assert isinstance(results[2], Rendered)
    assert results[3] == Unrendered("the template has no variable 'itmes'; it has code, items")


async def test_a_text_that_works_hard_is_stopped(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_SECONDS", 0.2)
    session = crm.acting_as(SYSTEM)
    hard = "{% if items | join | upper == code %}x{% endif %}"
    template = await save_text(
        session, f"{{% for a in items %}}{{% for b in items %}}{hard}{{% endfor %}}{{% endfor %}}"
    )
    began = time.perf_counter()
    (found,) = await render(session, [RenderRequest(template, variables={"items": ["a" * 10_000] * MAX_ITEMS})])
    assert time.perf_counter() - began < 5
    assert found == Unrendered("the text in en can't be rendered: it takes longer than 0.2 seconds")


async def test_a_subject_is_one_line(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    texts = [{"language": "en", "subject": "Hi {{ code }}", "body": "x"}]
    template = await save(session, texts=texts)
    code = "a\r\nBcc: everybody@example.com"
    (found,) = await render(session, [RenderRequest(template, variables={"code": code})])
    assert isinstance(found, Rendered)
    assert found.subject == "Hi a Bcc: everybody@example.com"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=60)
@given(code=VALUES, items=VALUES)
async def test_whatever_is_brought_is_data_and_never_a_template(code: Any, items: Any) -> None:
    noted: list[str] = []
    context = {name: templates._plain(value, name, noted) for name, value in (("code", code), ("items", items))}
    text = "{{ code }}|{{ items }}|{{ code.name | default('') }}|{{ code.__class__ | default('') }}"
    written = templates._written(text, True, context)
    assert "<" not in written
    assert written.endswith("|")


async def test_values_that_look_like_templates_are_not_run(crm: Crm) -> None:
    code = "{{ customer.name }}{% for a in items %}"
    assert await written(crm.acting_as(SYSTEM), "{{ code }}", variables={"code": code}) == code


# --- languages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("languages", "asked", "others", "chosen"),
    [
        (["en", "de"], None, ["de-CH"], "de"),
        (["en", "de", "de-CH"], None, ["de-ch"], "de-CH"),
        (["en", "de"], "fr", ["de"], None),
        (["en", "de"], None, ["fr", "de"], "de"),
        (["en", "de"], None, [None, None], "en"),
        (["en", "zh-Hant"], "zh-Hant-TW", [], "zh-Hant"),
        ([], None, ["de"], None),
    ],
)
def test_the_language_is_what_was_asked_for_or_what_the_customer_speaks(
    languages: list[str], asked: str | None, others: list[str | None], chosen: str | None
) -> None:
    assert choose_language(languages, asked, *others) == chosen


async def test_a_customer_is_written_to_in_their_language(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    texts = [{"language": language, "body": language} for language in ("en", "de", "zh")]
    template = await save(session, texts=texts)
    requests = [
        RenderRequest(template, of(WEI)),
        RenderRequest(template, of(WEI), language="de-AT"),
        RenderRequest(template, of(ANN), default_language="de"),
        RenderRequest(template, of(ANN)),
        RenderRequest(template, of(ANN), language="it"),
    ]
    found = await render(session, requests)
    assert [item.body if isinstance(item, Rendered) else item.reason for item in found] == [
        "zh",
        "de",
        "de",
        "en",
        "the template has no text in 'it'; there are en, de, zh",
    ]


# --- previewing --------------------------------------------------------------------------------------------


async def test_a_preview_shows_what_is_missing_and_is_harmless(crm: Crm) -> None:
    session = crm.acting_as(SYSTEM)
    texts = [
        {
            "language": "en",
            "subject": "For {{ customer.given_name }}",
            "body": "{{ code }}",
            "html": "<script>x</script><p>{{ customer.name }} {{ customer.organization.name }}</p>",
        }
    ]
    template = await save(session, texts=texts)
    row = {"template_id": template, "customer_id": ACME}
    result = await session.run("preview_template", [row, {**row, "language": "fr"}], on_error="skip_invalid")
    shown = result.values[0]
    assert shown.model_dump() == {
        "language": "en",
        "subject": "For [customer.given_name]",
        "body": "[code]",
        "html": "<p>Acme [customer.organization.name]</p>",
        "missing": ["customer.given_name", "code", "customer.organization.name"],
    }
    assert result.errors[0].message == "the template has no text in 'fr'; there are en"
