"""Filters into JSON columns: by a key, and the keys of what is in it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity import SYSTEM, Crm, Customer, Event, FieldDenied, Principal, Update
from amity.access import Verb
from amity.access.roles import Role, TypeGrant
from amity.principals.rules import parse_grant
from amity.query import QueryError
from amity_graphql import execute

from .reference import compare_json, under

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
ROWS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "it": {"sector": "it", "size": 12, "founded": "2001-05-06"},
    "IT": {"sector": "IT", "size": 12.5, "vip": True},
    "straße": {"sector": "Straße", "size": "12", "chat": {"language": "de"}},
    "null": {"sector": None, "chat": {"language": None}, "vip": False},
    "list": {"sector": ["it"], "size": -3, "chat": ["de"], "founded": "1999-12-31"},
    "number": {"sector": 12, "vip": 1, "chat": {"language": {"de": True}}, "size": 1e300},
}


async def filled(crm: Crm) -> None:
    rows = [{"kind": "person", "name": name, "custom_fields": kept} for name, kept in ROWS.items()]
    result = await crm.acting_as(SYSTEM).create(Customer, rows)
    assert not result.errors, result.errors


async def names(crm: Crm, where: Mapping[str, Any]) -> set[str]:
    found = crm.acting_as(SYSTEM).find(Customer).select("name").where(where)
    return {row["name"] for row in await found.all()}


async def test_a_segment_by_what_has_no_column(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        await filled(crm)
        document = """query($sectors: [JSON!]) {
          it: customers(where: {customFields: {path: "sector", eq: "it"}}) { nodes { name } }
          anyCase: customers(where: {customFields: {path: "sector", startsWith: "it"}}) { totalCount }
          big: customers(where: {and: [{customFields: {path: "size", gte: 12}},
            {not: {customFields: {path: "sector", in: $sectors}}}]}) { totalCount }
          old: customers(where: {customFields: {path: "founded", lt: "2000-01-01"}}) { nodes { name } }
          german: customers(where: {customFields: {path: "chat.language", contains: "D"}}) { nodes { name } }
          vip: customers(where: {customFields: {path: "vip", eq: true}}) { nodes { name } }
          without: customers(where: {customFields: {path: "sector", eq: null}}) { totalCount }
        }"""
        result = await execute(crm, crm.acting_as(SYSTEM), document, {"sectors": ["it", 12]})
        assert not result.errors, result.errors
        assert {key: value.get("nodes", value.get("totalCount")) for key, value in result.data.items()} == {
            "it": [{"name": "it"}],
            "anyCase": "2",
            "big": "1",
            "old": [{"name": "list"}],
            "german": [{"name": "straße"}],
            "vip": [{"name": "IT"}],
            "without": "2",
        }


# --- the law -----------------------------------------------------------------------------------------------

VALUES = ["it", "IT", "Straße", "STRASSE", "12", "de", "", 12, 12.0, 12.5, -3, 1e300, 0, True, False]
PATHS = ["sector", "size", "chat", "chat.language", "chat.0", "vip", "founded", "absent"]


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, str, Any]:
    path, values = draw(st.sampled_from(PATHS)), st.sampled_from(VALUES)
    name = draw(st.sampled_from(["eq", "ne", "in", "notIn", "isNull", "lt", "lte", "gt", "gte", "contains"]))
    if name == "isNull":
        return path, name, draw(st.booleans())
    if name in ("in", "notIn"):
        return path, name, draw(st.lists(values, max_size=3))
    if name in ("lt", "lte", "gt", "gte"):
        values = values.filter(lambda value: not isinstance(value, bool))
    if name == "contains":
        name = draw(st.sampled_from(["contains", "startsWith", "endsWith"]))
        values = values.filter(lambda value: isinstance(value, str))
    return path, name, draw(values)


async def test_both_databases_compare_as_python_does(make_crm: MakeCrm) -> None:
    drawn: list[tuple[str, str, Any]] = []

    @settings(
        max_examples=int(os.environ.get("AMITY_JSON_EXAMPLES", "60")),
        database=None,
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(comparisons())
    def draw(comparison: tuple[str, str, Any]) -> None:
        drawn.append(comparison)

    draw()
    async with make_crm() as crm:
        await filled(crm)
        for path, name, operand in drawn:
            where = {"custom_fields": {"path": path, name: operand}}
            expected = {key for key, kept in ROWS.items() if compare_json(under(kept, path), name, operand)}
            assert await names(crm, where) == expected, where
            assert await names(crm, {"not": where}) == ROWS.keys() - expected, where


# --- access, and what is refused ---------------------------------------------------------------------------


async def test_a_key_of_what_may_not_be_read_is_refused_or_not_there(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        await filled(crm)
        system = crm.acting_as(SYSTEM)
        (row,) = await system.find(Customer).where({"name": {"eq": "it"}}).all()
        await system.update(Customer, [Update(row["id"], {"note": "secret", "source": "fair"})])
        customer, event = crm.catalog.of(Customer), crm.catalog.of(Event)
        grants: dict[tuple[str, Verb], TypeGrant] = {
            (customer.code, "read"): parse_grant(crm.catalog, customer, "all", ["name", "source"]),
            (event.code, "read"): parse_grant(crm.catalog, event, "all", None),
        }
        session = crm.acting_as(Principal("user", "usr_1", roles=(Role("some", uuid4(), grants=grants),)))
        with pytest.raises(FieldDenied, match=r"Customer\.custom_fields"):
            await session.find(Customer).where({"custom_fields": {"path": "sector", "eq": "it"}}).all()
        for reader, found in ((system, 1), (session, 0)):
            asked = reader.find(Event).where({"after": {"path": "note", "eq": "secret"}})
            assert await asked.count() == found
            asked = reader.find(Event).where({"after": {"path": "note", "isNull": False}})
            assert await asked.count() == found
        assert await session.find(Event).where({"after": {"path": "source", "eq": "fair"}}).count() == 1


def refused() -> Iterator[tuple[Mapping[str, Any], str]]:
    yield {"eq": "it"}, "say which key"
    yield {"path": "", "eq": 1}, "expected keys"
    yield {"path": "a..b", "eq": 1}, "expected keys"
    yield {"path": 'a"b', "eq": 1}, "without quotes and backslashes"
    yield {"path": ".".join("abcdefghi"), "eq": 1}, "at most 8"
    yield {"path": "a", "lt": True}, "true and false have no order"
    yield {"path": "a", "eq": {"b": 1}}, "expected a text, a finite number, true or false"
    yield {"path": "a", "eq": math.inf}, "expected a text, a finite number, true or false"
    yield {"path": "a", "eq": "\x00"}, "NUL"
    yield {"path": "a", "in": "it"}, "expected a list"
    yield {"path": "a", "within": 1}, "unknown operator 'within'"
    yield {"path": "a", "contains": 1}, "expected a text"


@pytest.mark.once
async def test_what_is_no_comparison_is_refused(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        for where, message in refused():
            with pytest.raises(QueryError, match=message):
                crm.acting_as(SYSTEM).find(Customer).where({"custom_fields": where})
