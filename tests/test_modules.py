"""A company takes only the modules that it needs: none of the others leaves a table, a field or a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLObjectType, build_schema
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    Count,
    Crm,
    Customer,
    Entity,
    EntityOptions,
    Plugin,
    Record,
    Related,
    expression,
)
from amity.composition import compose
from amity.contracts import FieldDeclaration
from amity.settings import from_mapping
from amity.testing import fresh_database
from amity_graphql import sdl

from .conftest import MakeCrm


class Parcel(Entity):
    """Something that was sent to a customer."""

    customer: Any = fields.ForeignKeyField("core.Customer", related_name="parcels", on_delete=fields.CASCADE)
    weight_grams = fields.IntField(default=0, db_default=0)

    options = EntityOptions(prefix="pcl", api=EDITABLE)


class Shipping(Plugin):
    """Parcels."""

    name = "shipping"

    def entities(self) -> Sequence[type[Record]]:
        return [Parcel]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [expression(Customer, "parcel_count", Count("parcels"))]


async def tables(crm: Crm) -> set[str]:
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if crm.database.dialect == "sqlite"
        else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    return {row[0] for row in await crm.database.read(names)}


def names(crm: Crm) -> set[str]:
    """Types of the schema, and the fields of its objects."""
    found: set[str] = set()
    for name, type_ in build_schema(sdl(crm)).type_map.items():
        found.add(name)
        if isinstance(type_, GraphQLObjectType):
            found |= {f"{name}.{field}" for field in type_.fields}
    return found


async def test_the_core_and_the_graphql_layer_alone_hold_nothing_of_others(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as crm:
        assert all(name.startswith("core_") for name in await tables(crm))
        text = sdl(crm).lower()
        for word in ("csv", "parcel", "shipping"):
            assert word not in text
        assert set(crm.catalog) == {entity.name for entity in crm.catalog.values() if entity.plugin == "core"}


async def test_enabling_one_more_adds_exactly_its_own(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as without:
        tables_before, names_before = await tables(without), names(without)
    async with make_crm([Shipping], {"plugins": ["graphql"]}) as crm:
        assert await tables(crm) - tables_before == {"shipping_parcel"}
        assert tables_before <= await tables(crm)
        added = names(crm) - names_before
        assert names_before <= names(crm)
    outside = {name for name in added if "parcel" not in name.lower()}
    # customers have a number to add up now
    figures = r"Customer(Sums|Averages)|CustomerAggregate\.(sum|avg)$"
    assert {name for name in outside if not re.match(figures, name)} == set()
    assert {
        "Parcel",
        "Customer.parcels",
        "Customer.parcelCount",
        "Query.parcels",
        "Mutation.createParcels",
    } <= added


async def test_the_csv_plugin_adds_two_actions_and_no_table(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"plugins": ["graphql"]}) as without:
        tables_before, names_before = await tables(without), names(without)
    async with make_crm(settings={"plugins": ["graphql", "csv"]}) as crm:
        assert await tables(crm) == tables_before
        fields_added = {name for name in names(crm) - names_before if name.startswith("Mutation.")}
    assert fields_added == {
        "Mutation.importCsv",
        "Mutation.importCsvBatch",
        "Mutation.exportCsv",
        "Mutation.exportCsvBatch",
    }


async def test_a_rename_in_the_schema_loses_nothing(server_url: str | None) -> None:
    composition = compose(from_mapping({}))
    async with fresh_database(composition, server_url) as url:
        row = {"kind": "person", "name": "Ann", "external_id": {"system": "erp", "id": "7"}}
        async with Crm({"database_url": url}) as crm:
            (id,) = (await crm.acting_as(SYSTEM).create(Customer, [row])).ids
        renamed = {"database_url": url, "schema": {"rename": {"core.Customer": "Client"}}}
        async with Crm(renamed) as crm:
            session = crm.acting_as(SYSTEM)
            result = await session.upsert("Client", [{**row, "name": "Ann Lee"}], on=("external_id",))
            assert id is not None
            assert list(result.ids) == [id]
            found = await session.find("Client").select(Related("external_ids", ["external_id"]), "name").get(id)
            assert found == {"external_ids": [{"external_id": "7"}], "name": "Ann Lee"}
            assert await session.find("Client").select("id").where({"history": {"some": {}}}).count() == 1
