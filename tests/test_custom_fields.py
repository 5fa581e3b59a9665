"""Custom fields: declared in the settings, real fields everywhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tortoise import fields

from amity import (
    SYSTEM,
    Crm,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Event,
    FieldDenied,
    MigrationsPending,
    Pipeline,
    Plugin,
    Principal,
    Related,
    Session,
    Stage,
    Update,
)
from amity.access import Verb
from amity.access.roles import Role, TypeGrant
from amity.composition import CompositionError, compose
from amity.database import Transaction
from amity.entity import encode_id
from amity.migration import MigrationError, Progress, index_differences, make, migrate
from amity.migration.manifest import Reference, manifest_of
from amity.principals.rules import parse_grant
from amity.settings import SettingsError, from_mapping
from amity.testing import empty_database
from amity_csv import export_rows, load_mapping, run_import
from amity_graphql import execute

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
Declared = Mapping[str, Any]


def custom(entity: str, name: str, type: str, **more: Any) -> dict[str, Any]:
    return {"entity": entity, "name": name, "type": type, **more}


FIELDS: Sequence[Declared] = (
    custom("Customer", "tier", "choice", choices=["gold", "silver"], indexed=True, label="Tier of service"),
    custom("Customer", "contract_value", "money", indexed=True),
    custom("Customer", "shoe_size", "number"),
    custom("Customer", "seats", "integer", default=1),
    custom("Customer", "nickname", "text", personal=True),
    custom("Customer", "born", "date", indexed=True),
    custom("Customer", "renewed_at", "datetime"),
    custom("Customer", "vip", "boolean", default=False),
    custom("Customer", "partner", "link", to="Customer"),
    custom("Deal", "competitor", "link", to="Customer", related_name="contested"),
    custom("Deal", "reason", "text", required=True, max_length=20),
)
ANN = {
    "kind": "person",
    "name": "Ann",
    "tier": "gold",
    "contract_value": {"amount": 125_000, "currency": "CHF"},
    "shoe_size": 38.5,
    "seats": 3,
    "nickname": "Annie",
    "born": "1990-02-28",
    "renewed_at": "2026-01-31T12:00:00Z",
    "vip": True,
}


def given(*declared: Declared, plugins: Sequence[str] = ("graphql",)) -> dict[str, Any]:
    return {"plugins": list(plugins), "custom_fields": list(declared or FIELDS)}


async def made(session: Session, entity: Any, *rows: Mapping[str, Any]) -> list[UUID]:
    result = await session.create(entity, rows)
    assert not result.errors, result.errors
    return [id for id in result.ids if id is not None]


async def ask(crm: Crm, document: str, **variables: Any) -> Any:
    result = await execute(crm, crm.acting_as(SYSTEM), document, variables)
    assert not result.errors, result.errors
    return result.data


async def test_a_custom_field_is_a_field_of_the_graphql_api(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        (bob,) = await made(crm.acting_as(SYSTEM), Customer, {"kind": "person", "name": "Bob"})
        selection = """
            name tier contractValue { amount currency } shoeSize seats nickname born renewedAt vip
            partner { name vip } history { nodes { after } }
        """
        input = {
            "kind": "PERSON",
            "name": "Ann",
            "tier": "GOLD",
            "contractValue": {"amount": "125000", "currency": "CHF"},
            "shoeSize": 38.5,
            "seats": 3,
            "nickname": "Annie",
            "born": "1990-02-28",
            "renewedAt": "2026-01-31T12:00:00Z",
            "vip": True,
            "partnerId": encode_id("cus", bob),
        }
        data = await ask(
            crm,
            f"""mutation($input: CustomerInput!) {{
              createCustomer(input: $input) {{ customer {{ {selection} }} }}
            }}""",
            input=input,
        )
        ann = data["createCustomer"]["customer"]
        (event,) = ann.pop("history")["nodes"]
        assert ann == {
            "name": "Ann",
            "tier": "GOLD",
            "contractValue": {"amount": "125000", "currency": "CHF"},
            "shoeSize": 38.5,
            "seats": 3,
            "nickname": "Annie",
            "born": "1990-02-28",
            "renewedAt": "2026-01-31T12:00:00.000000Z",
            "vip": True,
            "partner": {"name": "Bob", "vip": False},
        }
        told = {name: event["after"][name] for name in ("tier", "contract_value_amount", "partner_id", "born")}
        assert told == {
            "tier": "gold",
            "contract_value_amount": "125000",
            "partner_id": encode_id("cus", bob),
            "born": "1990-02-28",
        }
        data = await ask(
            crm,
            """{
              found: customers(where: {tier: {eq: GOLD}, contractValue: {amount: {gte: "100000"}}, seats: {gt: 2},
                born: {lt: "2000-01-01"}, vip: {eq: true}, nickname: {contains: "NNI"},
                partner: {name: {eq: "Bob"}}}) { nodes { name } }
              ordered: customers(orderBy: [{contractValue: DESC_NULLS_LAST}]) { nodes { name } }
              back: customers(where: {partnerCustomers: {some: {vip: {eq: true}}}}) {
                nodes { name tier seats contractValue { amount } partnerCustomers { nodes { name } totalCount } }
              }
              described: __type(name: "Customer") { fields { name description } }
            }""",
        )
        assert data["found"]["nodes"] == [{"name": "Ann"}]
        assert [row["name"] for row in data["ordered"]["nodes"]] == ["Ann", "Bob"]
        assert data["back"]["nodes"] == [
            {
                "name": "Bob",
                "tier": None,
                "seats": 1,
                "contractValue": None,
                "partnerCustomers": {"nodes": [{"name": "Ann"}], "totalCount": "1"},
            }
        ]
        labels = {item["name"]: item["description"] for item in data["described"]["fields"]}
        assert (labels["tier"], labels["shoeSize"]) == ("Tier of service", "Shoe size")


async def test_custom_fields_are_updated_checked_and_upserted(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        session = crm.acting_as(SYSTEM)
        keyed = {**ANN, "external_id": {"system": "shop", "id": "1"}}
        (ann,) = (await session.upsert(Customer, [keyed], on=["external_id"])).ids
        assert ann is not None
        changed = await session.upsert(Customer, [{**keyed, "tier": "silver"}], on=["external_id"])
        assert (changed.updated, changed.ids) == (1, (ann,))
        await session.update(Customer, [Update(ann, {"contract_value": None, "shoe_size": None, "seats": 4})])
        names = ["tier", "contract_value", "shoe_size", "seats", "version"]
        row = await session.find(Customer).select(*names).get(ann)
        assert row == dict(zip(names, ["silver", None, None, 4, 3], strict=True))
        refused = await session.update(
            Customer, [Update(ann, {"tier": "bronze", "seats": "many", "born": "soon", "partner_id": uuid4()})]
        )
        assert {(error.path, error.code) for error in refused.errors} == {
            (("tier",), "invalid"),
            (("seats",), "invalid"),
            (("born",), "invalid"),
        }
        gone = await session.update(Customer, [Update(ann, {"partner_id": uuid4()})])
        assert [error.code for error in gone.errors] == ["not_found"]


async def test_a_required_field_is_asked_of_new_records_only(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        session = crm.acting_as(SYSTEM)
        (sales,) = await made(session, Pipeline, {"name": "Sales"})
        (stage,) = await made(session, Stage, {"pipeline_id": sales, "name": "New"})
        refused = await session.create(Deal, [{"name": "Lamps", "stage_id": stage}])
        assert [(error.path, error.code) for error in refused.errors] == [(("reason",), "required")]
        (deal,) = await made(session, Deal, {"name": "Lamps", "stage_id": stage, "reason": "price"})
        refused = await session.update(Deal, [Update(deal, {"reason": None})])
        assert [(error.path, error.code) for error in refused.errors] == [(("reason",), "required")]
        refused = await session.update(Deal, [Update(deal, {"reason": "x" * 21})])
        assert [(error.path, error.code) for error in refused.errors] == [(("reason",), "invalid")]


async def test_a_link_reads_as_null_while_its_record_is_deleted(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        session = crm.acting_as(SYSTEM)
        bob, ann = await made(session, Customer, {"kind": "person", "name": "Bob"}, ANN)
        await session.update(Customer, [Update(ann, {"partner_id": bob})])
        await session.delete(Customer, [bob])
        find = session.find(Customer).select("name", "partner.name").where({"vip": {"eq": True}})
        assert await find.all() == [{"name": "Ann", "partner": None}]
        await session.restore(Customer, [bob])
        assert await find.all() == [{"name": "Ann", "partner": {"name": "Bob"}}]
        back = session.find(Customer).select("name", Related("partner_customers", ["name"]))
        assert (await back.get(bob)) == {"name": "Bob", "partner_customers": [{"name": "Ann"}]}


async def test_rights_on_custom_fields_are_granted_by_name(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        bob, ann = await made(crm.acting_as(SYSTEM), Customer, {"kind": "person", "name": "Bob"}, ANN)
        await crm.acting_as(SYSTEM).update(Customer, [Update(ann, {"partner_id": bob})])
        customer, event = crm.catalog["Customer"], crm.catalog.of(Event)
        names = ["name", "kind", "tier", "custom_fields"]
        grants: dict[tuple[str, Verb], TypeGrant] = {
            (customer.code, "read"): parse_grant(crm.catalog, customer, "all", names),
            (customer.code, "update"): parse_grant(crm.catalog, customer, "all", ["tier"]),
            (event.code, "read"): parse_grant(crm.catalog, event, "all", None),
        }
        session = crm.acting_as(Principal("user", "usr_1", roles=(Role("some", uuid4(), grants=grants),)))
        found = session.find(Customer).where({"tier": {"eq": "gold"}}).order_by("tier").select("name", "tier")
        assert [row["name"] for row in await found.all()] == ["Ann"]
        for hidden in ("contract_value", "partner", "partner_id", "vip"):
            with pytest.raises(FieldDenied, match=f"Customer.{hidden.removesuffix('_id')}"):
                await session.find(Customer).select(hidden).all()
        wheres: list[Mapping[str, Any]] = [
            {"vip": {"eq": True}},
            {"contract_value": {"amount": {"gt": 1}}},
            {"partner": {"name": {"eq": "Bob"}}},
            {"partner_customers": {"some": {"name": {"eq": "Ann"}}}},
        ]
        for where in wheres:
            with pytest.raises(FieldDenied):
                await session.find(Customer).where(where).all()
        with pytest.raises(FieldDenied):
            await session.find(Customer).order_by("contract_value").all()
        events = await session.find(Event).select("after").all()
        assert all(not {"vip", "contract_value_amount", "partner_id"} & set(row["after"]) for row in events)
        assert any(row["after"].get("tier") == "gold" for row in events)
        result = await session.update(Customer, [Update(ann, {"tier": "silver"})])
        assert not result.errors
        with pytest.raises(FieldDenied):
            await session.update(Customer, [Update(ann, {"vip": False})])


async def test_custom_fields_are_exported_and_imported(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm(settings=given(plugins=["csv"])) as crm:
        session = crm.acting_as(SYSTEM)
        bob, ann = await made(session, Customer, {"kind": "person", "name": "Bob"}, ANN)
        await session.update(Customer, [Update(ann, {"partner_id": bob})])
        output = io.StringIO(newline="")
        names = ["id", "name", "tier", "contract_value", "shoe_size", "seats", "born", "vip", "partner.name"]
        await export_rows(session, "Customer", output, fields=names, order_by=["name"])
        header, first, _ = output.getvalue().splitlines()
        assert header == (
            "id,name,tier,contract_value,contract_value.currency,shoe_size,seats,born,vip,partner.name"
        )
        assert first == f"{encode_id('cus', ann)},Ann,gold,1250.00,CHF,38.5,3,1990-02-28,true,Bob"
        (tmp_path / "people.csv").write_text(
            "name,tier,value,seats,born\nCarl,silver,99.50,7,2001-12-24\n", encoding="utf-8"
        )
        (tmp_path / "map.toml").write_text(
            '[[import]]\nfile = "people.csv"\nentity = "Customer"\nmode = "create"\n[import.fields]\n'
            'kind = { value = "person" }\nname = "name"\ntier = "tier"\nseats = "seats"\nborn = "born"\n'
            'contract_value = { column = "value", currency = "EUR" }\n',
            encoding="utf-8",
        )
        await run_import(session, load_mapping(tmp_path / "map.toml"), tmp_path)
        carl = session.find(Customer).where({"name": {"eq": "Carl"}})
        assert await carl.select("tier", "contract_value", "seats", "born", "vip").all() == [
            {
                "tier": "silver",
                "contract_value": {"amount": "9950", "currency": "EUR"},
                "seats": 7,
                "born": "2001-12-24",
                "vip": False,
            }
        ]


# --- amity migrate -----------------------------------------------------------------------------------------


@pytest.fixture
def crm_of(database_url: str) -> Callable[..., Crm]:
    """A CRM on one and the same database, with custom fields as they are declared at the time."""

    def crm(*declared: Declared) -> Crm:
        return Crm({"database_url": database_url, "custom_fields": list(declared)})

    return crm


async def test_migrate_adds_columns_and_moves_values_out_of_the_json(crm_of: Callable[..., Crm]) -> None:
    plain = crm_of()
    await plain.migrate()
    async with plain as crm:
        kept: list[Any] = [
            {"tier": "gold", "sector": "it"},
            {"tier": "bronze"},
            {"value": {"amount": 5, "currency": "CHF"}, "born": "2000-02-30"},
            {"born": "2000-02-29", "tier": None},
        ]
        rows = [{"kind": "person", "name": str(n), "custom_fields": item} for n, item in enumerate(kept)]
        ids = await made(crm.acting_as(SYSTEM), Customer, *rows)
        links = {"partner": encode_id("cus", ids[0])}, {"partner": encode_id("cus", uuid4())}
        rows = [{"kind": "person", "name": f"link {n}", "custom_fields": item} for n, item in enumerate(links)]
        await made(crm.acting_as(SYSTEM), Customer, *rows)
        await crm.acting_as(SYSTEM).delete(Customer, [ids[3]])

    declared = [
        custom("Customer", "tier", "choice", choices=["gold", "silver"], indexed=True),
        custom("Customer", "value", "money"),
        custom("Customer", "born", "date"),
        custom("Customer", "seats", "integer", default=2),
        custom("Customer", "partner", "link", to="Customer"),
    ]
    with pytest.raises(MigrationsPending, match=r"custom field Customer\.tier"):
        async with crm_of(*declared):
            pass
    told: list[Progress] = []
    names = await crm_of(*declared).migrate(told.append)
    assert names == [
        "custom field Customer.tier (moved out of custom_fields: 2, left there as they do not fit: 1)",
        "custom field Customer.value (moved out of custom_fields: 1)",
        "custom field Customer.born (moved out of custom_fields: 1, left there as they do not fit: 1)",
        "custom field Customer.seats",
        "custom field Customer.partner (moved out of custom_fields: 1, left there as they do not fit: 1)",
    ]
    assert [progress.name for progress in told] == names
    assert await crm_of(*declared).migrate() == []

    async with crm_of(*declared) as crm:
        session = crm.acting_as(SYSTEM)
        await session.restore(Customer, [ids[3]])
        find = session.find(Customer).order_by("name")
        rows = await find.select("tier", "value", "born", "seats", "partner.name", "custom_fields").all()
        none: dict[str, Any] = {
            "tier": None,
            "value": None,
            "born": None,
            "seats": 2,
            "partner": None,
            "custom_fields": {},
        }
        assert rows == [
            {**none, "tier": "gold", "custom_fields": {"sector": "it"}},
            {**none, "custom_fields": {"tier": "bronze"}},
            {**none, "value": {"amount": "5", "currency": "CHF"}, "custom_fields": {"born": "2000-02-30"}},
            {**none, "born": "2000-02-29"},
            {**none, "partner": {"name": "0"}},
            {**none, "custom_fields": links[1]},
        ]
        assert await index_differences(crm.composition, crm.database) == []


async def test_a_field_that_is_declared_no_more_keeps_its_values(crm_of: Callable[..., Crm]) -> None:
    tier = custom("Customer", "tier", "choice", choices=["gold", "silver"], indexed=True)
    await crm_of(tier).migrate()
    async with crm_of(tier) as crm:
        (ann,) = await made(crm.acting_as(SYSTEM), Customer, {"kind": "person", "name": "Ann", "tier": "gold"})
    assert await crm_of().migrate() == ["no index of custom field core_customer.tier"]
    async with crm_of() as crm:
        session = crm.acting_as(SYSTEM)
        assert "tier" not in crm.catalog["Customer"].columns
        await session.update(Customer, [Update(ann, {"note": "while nobody knew"})])
        assert await index_differences(crm.composition, crm.database) == []
    text = custom("Customer", "tier", "text")
    async with crm_of(text) as crm:  # nothing to be done: the column is there
        row = await crm.acting_as(SYSTEM).find(Customer).select("tier", "note").get(ann)
        assert row == {"tier": "gold", "note": "while nobody knew"}
    assert await crm_of(tier).migrate() == ["index of custom field Customer.tier"]
    async with crm_of(tier) as crm:
        assert await index_differences(crm.composition, crm.database) == []


async def test_a_field_does_not_change_its_type(crm_of: Callable[..., Crm]) -> None:
    await crm_of(custom("Customer", "size", "number"), custom("Customer", "boss", "link", to="Customer")).migrate()
    changed = [custom("Customer", "size", "text"), custom("Customer", "boss", "link", to="User")]
    with pytest.raises(MigrationError) as caught:
        await crm_of(*changed).migrate()
    assert str(caught.value) == (
        "another type was declared for "
        "custom field Customer.size (in the database number, declared as text), "
        "custom field Customer.boss (in the database link to core_customer, declared as link to core_user): "
        "values can't follow by themselves. Declare it as it was, or under another name"
    )
    with pytest.raises(MigrationsPending, match="in the database number, declared as text"):
        async with crm_of(*changed):
            pass


Shop = Callable[..., type[Plugin]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A plugin with products, whose migrations are files of this test."""
    package = f"shop_{uuid4().hex}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def plugin(length: int, **more: Any) -> type[Plugin]:
        members: dict[str, Any] = {
            "__module__": __name__,
            "name": fields.CharField(max_length=length),
            "options": EntityOptions(prefix="prd", api={"read", "create", "update"}),
            **more,
        }
        product = type("Product", (Entity,), members)
        own = {"name": "shop", "migrations": f"{package}.migrations", "entities": lambda self: [product]}
        return type("Shop", (Plugin,), own)

    return plugin


async def test_a_field_of_a_later_version_has_the_way_made_free(shop: Shop, database_url: str) -> None:
    declared = [
        custom("Product", "color", "text", indexed=True),
        custom("Product", "maker", "link", to="Customer"),
    ]
    settings = from_mapping({"custom_fields": declared}, overrides={"database_url": database_url})
    before = compose(settings, [shop(100)])
    make(before)
    await migrate(before, database_url)
    async with Crm(settings, composition=before) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await made(session, Customer, {"kind": "person", "name": "Ann"})
        await made(session, "Product", {"name": "Lamp", "color": "red", "maker_id": ann})

    maker: Any = fields.ForeignKeyField(
        "core.Customer", null=True, related_name="makes", on_delete=fields.SET_NULL
    )
    later = shop(100, color=fields.IntField(null=True), maker=maker)
    with pytest.raises(CompositionError, match="Product already has a field 'color'; choose another name"):
        compose(settings, [later])
    make(compose(from_mapping({}), [later]))
    renamed = [{**item, "name": f"cf_{item['name']}"} for item in declared]
    settings = from_mapping({"custom_fields": renamed}, overrides={"database_url": database_url})
    after = compose(settings, [later])
    assert (await migrate(after, database_url))[1:] == [
        "index of custom field Product.cf_color",
        "index of custom field Product.cf_maker",
    ]
    async with Crm(settings, composition=after) as crm:
        find = crm.acting_as(SYSTEM).find("Product").select("color", "cf_color", "maker.name", "cf_maker.name")
        assert await find.all() == [{"color": None, "cf_color": "red", "maker": None, "cf_maker": {"name": "Ann"}}]
        assert await index_differences(after, crm.database) == []


async def test_a_migration_that_makes_a_table_anew_keeps_its_custom_columns(shop: Shop, database_url: str) -> None:
    """SQLite changes a column by making the table anew."""
    declared = [
        custom("Product", "color", "text", indexed=True, default="it's red"),
        custom("Product", "maker", "link", to="Customer"),
    ]
    settings = from_mapping({"custom_fields": declared}, overrides={"database_url": database_url})
    before = compose(settings, [shop(100)])
    make(before)
    await migrate(before, database_url)
    async with Crm(settings, composition=before) as crm:
        session = crm.acting_as(SYSTEM)
        (ann,) = await made(session, Customer, {"kind": "person", "name": "Ann"})
        await made(session, "Product", {"name": "Lamp", "maker_id": ann}, {"name": "Chair", "color": "blue"})
    after = compose(settings, [shop(200)])
    (file,) = make(after)
    assert await migrate(after, database_url) == [f"shop.{file.stem}"]
    async with Crm(settings, composition=after) as crm:
        find = crm.acting_as(SYSTEM).find("Product").select("name", "color", "maker.name").order_by("name")
        assert await find.all() == [
            {"name": "Chair", "color": "blue", "maker": None},
            {"name": "Lamp", "color": "it's red", "maker": {"name": "Ann"}},
        ]
        assert await index_differences(after, crm.database) == []


async def test_two_crms_in_one_process_have_fields_of_their_own(server_url: str | None) -> None:
    async with empty_database(server_url) as one, empty_database(server_url) as other:
        crms = [
            Crm({"database_url": one, "plugins": ["graphql"], "custom_fields": [custom("Customer", "a", "text")]}),
            Crm(
                {"database_url": other, "plugins": ["graphql"], "custom_fields": [custom("Customer", "a", "date")]}
            ),
        ]
        for crm in crms:
            await crm.migrate()
        async with crms[0], crms[1]:
            for crm, value in zip(crms, ["later", "2026-01-31"], strict=True):
                await made(crm.acting_as(SYSTEM), Customer, {"kind": "person", "name": "Ann", "a": value})
            for crm, kind, value in zip(crms, ["String", "Date"], ["later", "2026-01-31"], strict=True):
                data = await ask(
                    crm, '{ customers { nodes { a } } __type(name: "Customer") { fields { name type { name } } } }'
                )
                assert data["customers"]["nodes"] == [{"a": value}]
                (field,) = [item for item in data["__type"]["fields"] if item["name"] == "a"]
                assert field["type"]["name"] == kind


async def test_an_indexed_field_is_found_by_its_index(make_crm: MakeCrm) -> None:
    async with make_crm(settings=given()) as crm:
        session = crm.acting_as(SYSTEM)
        rows = [
            {
                "kind": "person",
                "name": str(n),
                "born": f"19{n % 100:02}-01-{n % 28 + 1:02}",
                "contract_value": {"amount": n, "currency": "CHF"},
            }
            for n in range(2_000)
        ]
        await made(session, Customer, *rows)
        if crm.database.dialect == "postgresql":

            async def analyze(transaction: Transaction) -> None:
                await transaction.execute("ANALYZE core_customer")

            await crm.database.transact(analyze)
        found = session.find(Customer).first(20)
        queries = {
            "core_customer_cf_born": found.where({"born": {"eq": "1950-01-05"}}),
            "core_customer_cf_contract_value": found.where({"contract_value": {"amount": {"gt": 1_990}}}).order_by(
                "contract_value"
            ),
            "core_customer_cf_partner": found.where({"partner_id": {"eq": uuid4()}}),
        }
        for index, query in queries.items():
            statement = session.compile({"page": query.root()})
            plan = await crm.database.explain(statement.sql, statement.parameters)
            assert index in plan, plan


# --- what is refused ---------------------------------------------------------------------------------------


def test_what_can_not_be_a_field_is_told_all_at_once() -> None:
    declared = [
        custom("Custmer", "tier", "text"),
        custom("Event", "tier", "text"),
        custom("Customer", "Tier", "text"),
        custom("Customer", "cursor", "text"),
        custom("Customer", "name", "text"),
        custom("Customer", "deals", "text"),
        custom("Customer", "organization", "text"),
        custom("Customer", "organizationId", "text"),
        custom("Customer", "size", "decimal"),
        custom("Customer", "tier", "choice"),
        custom("Customer", "grade", "choice", choices=["A", "b"]),
        custom("Customer", "color", "text", choices=["red"]),
        custom("Customer", "car", "link"),
        custom("Customer", "van", "link", to="Vehicle"),
        custom("Customer", "friend", "link", to="Customer", related_name="deals"),
        custom("Customer", "seats", "integer", default="many"),
        custom("Customer", "long", "text", indexed=True, max_length=5_000),
        custom("Customer", "fee", "money", default=5),
        custom("Customer", "good", "text"),
        custom("Customer", "good", "text"),
    ]
    with pytest.raises(CompositionError) as caught:
        compose(from_mapping({"custom_fields": declared}))
    problems = "\n".join(caught.value.problems)
    for number, part in [
        (1, "(Custmer.tier): there is no entity 'Custmer' of the enabled plugins; did you mean 'Customer'?"),
        (2, "(Event.tier): Event can't be updated through the API"),
        (3, "(Customer.Tier): its name must be a lower-case word"),
        (4, "(Customer.cursor): its name must be a lower-case word"),
        (5, "(Customer.name): Customer already has a field 'name'"),
        (6, "(Customer.deals): Customer already has a field 'deals'"),
        (7, "(Customer.organization): Customer already has a field 'organization'"),
        (8, "(Customer.organizationId): its name must be"),
        (9, "(Customer.size): there is no type 'decimal'; known are text, integer, number, money"),
        (10, "(Customer.tier): a choice needs choices"),
        (11, "(Customer.grade): choices has 'A'; values are lower-case words"),
        (12, "(Customer.color): choices are for the type choice; this is text"),
        (13, "(Customer.car): a link needs to, the entity that it leads to"),
        (14, "(Customer.van): it leads to 'Vehicle', which no enabled plugin has"),
        (15, "(Customer.friend): Customer already has a field 'deals'; choose another related_name"),
        (16, "(Customer.seats): default: expected an integer, got 'many'"),
        (17, "(Customer.long): max_length is 5000; a text that is indexed has at most 600"),
        (18, "(Customer.fee): the type money has no default"),
        (20, "(Customer.good): Customer already has a field 'good'"),
    ]:
        assert f"[[custom_fields]] {number} {part}" in problems
    assert "[[custom_fields]] 19" not in problems


def test_an_unknown_key_is_told_with_its_place() -> None:
    with pytest.raises(SettingsError, match=r"custom_fields\.0\.lable'; did you mean 'label'"):
        from_mapping({"custom_fields": [custom("Customer", "tier", "text", lable="Tier")]})


def test_the_manifest_and_the_rights_know_custom_fields() -> None:
    composition = compose(from_mapping({"custom_fields": list(FIELDS)}))
    customer = composition.catalog["Customer"]
    assert {"contract_value", "partner", "tier"} <= customer.right_fields
    manifest = manifest_of(composition, composition.plugin("core"))
    (table,) = [table for table in manifest.tables if table.entity == "Customer"]
    assert {"contract_value_amount", "contract_value_currency", "partner_id", "tier"} <= set(table.columns)
    assert "nickname" in table.personal
    assert Reference("partner_id", "core_customer", "SET NULL") in table.references
