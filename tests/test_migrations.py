"""Migrations: tables with rows in them follow their entities, on both databases, and nothing is lost."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tortoise import fields

from amity import migration
from amity.composition import Composition, compose
from amity.database import Database, DatabaseError, connect
from amity.entity import Entity, EntityOptions, Record, SqlIndex, Unique, new_id
from amity.migration import MigrationError, drift, index_differences, make, migrate, pending
from amity.plugin import Plugin
from amity.settings import Settings
from amity.testing import empty_database, fresh_database

Shop = Callable[..., Composition]


def options(prefix: str, **more: Any) -> EntityOptions:
    return EntityOptions(prefix=prefix, **more)


def plugin(
    name: str, entities: Sequence[type[Record]], migrations: str | None = None, **more: Any
) -> type[Plugin]:
    members = {"name": name, "migrations": migrations, "entities": lambda self: entities, **more}
    return type(name.capitalize(), (Plugin,), members)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Composes the core and a plugin ``shop`` of some entities, whose migrations are files of this test."""
    package = f"shop_{new_id().hex}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def composed(*entities: type[Record], version: str = "1.0") -> Composition:
        shop_plugin = plugin("shop", entities, f"{package}.migrations", version=version)
        return compose(Settings(), [shop_plugin])

    yield composed
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[module]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def run(database: Database, *statements: str) -> None:
    async def work(transaction: Any) -> None:
        for sql in statements:
            await transaction.execute(sql)

    await database.transact(work)


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await database.read(sql)]


async def tables(database: Database) -> set[str]:
    sql = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if database.dialect == "sqlite"
        else "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
    )
    return {name for (name,) in await database.read(sql)}


async def columns(database: Database, table: str) -> dict[str, tuple[str, bool]]:
    """Column → (type, nullable)"""
    if database.dialect == "sqlite":
        found = await database.read(f"PRAGMA table_info('{table}')")
        return {name: (kind, not required) for _, name, kind, required, *_ in found}
    found = await database.read(
        "SELECT column_name::text, data_type::text, is_nullable = 'YES' FROM information_schema.columns"
        " WHERE table_name = $1",
        (table,),
    )
    return {name: (kind, nullable) for name, kind, nullable in found}


def product(**more: Any) -> type[Entity]:
    """A version of the entity Product: its name and what ``more`` adds to it or changes in it."""
    members: dict[str, Any] = {
        "__module__": __name__,
        "name": fields.CharField(max_length=100),
        "options": options("prd", unique=("name",)),
        **more,
    }
    return type("Product", (Entity,), {key: value for key, value in members.items() if value is not None})


def review(**more: Any) -> type[Entity]:
    """A version of Review, whose rows go when their product does."""
    members: dict[str, Any] = {
        "__module__": __name__,
        "product": fields.ForeignKeyField("shop.Product", related_name="reviews", on_delete=fields.CASCADE),
        "stars": fields.IntField(),
        "options": options("rev", indexes=(SqlIndex("best", "(stars DESC, id) WHERE deleted_at IS NULL"),)),
        **more,
    }
    return type("Review", (Entity,), members)


def values(database: Database, **given: Any) -> tuple[str, str]:
    """Columns and SQL values of a row with these, and what every row has."""
    now = "'2026-01-02T03:04:05.000006Z'"
    row = {"created_at": now, "updated_at": now, "version": "1", **given}
    return ", ".join(f'"{name}"' for name in row), ", ".join(row.values())


async def fill(database: Database, products: int, reviews: int, **more: str) -> None:
    """Some products, with some reviews each; ``more`` are further columns of products."""
    statements = []
    for number in range(products):
        key = f"'{new_id()}'"
        names, row = values(database, id=key, name=f"'Product {number}'", **more)
        statements.append(f"INSERT INTO shop_product ({names}) VALUES ({row})")
        for stars in range(reviews):
            names, row = values(database, id=f"'{new_id()}'", product_id=key, stars=str(stars))
            statements.append(f"INSERT INTO shop_review ({names}) VALUES ({row})")
    await run(database, *statements)


async def test_the_core_has_no_drift_and_declares_the_indexes_that_exist(database_url: str) -> None:
    core = compose(Settings())
    assert drift(core) == []
    names = await migrate(core, database_url)
    assert names[0] == "core.0001_foundation"
    async with opened(database_url) as database:
        assert await index_differences(core, database) == []
        assert await pending(core, database) == []


async def test_migrating_twice_does_nothing_the_second_time(database_url: str) -> None:
    core = compose(Settings())
    told: list[migration.Progress] = []
    first = await migrate(core, database_url, told.append)
    assert [progress.name for progress in told] == first
    assert [progress.done for progress in told] == list(range(1, len(first) + 1))
    assert await migrate(core, database_url, told.append) == []
    assert len(told) == len(first)


async def test_two_processes_that_migrate_at_once_both_succeed_and_one_does_the_work(
    database_url: str,
) -> None:
    script = (
        "import asyncio, sys\n"
        "from amity.composition import compose\n"
        "from amity.migration import migrate\n"
        "from amity.settings import Settings\n"
        "print(len(asyncio.run(migrate(compose(Settings()), sys.argv[1]))))\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, database_url, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    outputs = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    async with opened(database_url) as database:
        total = len(await migration.applied(database))
        assert sum(int(out) for out, _ in outputs) == total
        assert await index_differences(compose(Settings()), database) == []


async def test_a_populated_table_keeps_rows_children_and_indexes_when_its_columns_change(
    shop: Shop, database_url: str
) -> None:
    before = shop(product(price=fields.IntField(db_default=0), note=fields.TextField(null=True)), review())
    make(before)
    await migrate(before, database_url)
    async with opened(database_url) as database:
        await fill(database, products=3, reviews=4, price="7", note="NULL")

    after = shop(
        product(
            name=fields.CharField(max_length=300),
            price=None,
            note=fields.TextField(db_default='it\'s empty; "quoted"'),
            stock=fields.IntField(db_default=5),
        ),
        review(),
    )
    (path,) = make(after, renames={"shop.Product.price": None})
    assert path.name.startswith("0002_")
    assert drift(after) == []
    assert await migrate(after, database_url) == [f"shop.{path.stem}"]

    async with opened(database_url) as database:
        assert await rows(database, "SELECT count(*) FROM shop_review") == [(12,)]
        assert await rows(
            database,
            "SELECT p.name, p.stock, p.note, count(*) FROM shop_product p JOIN shop_review r"
            " ON r.product_id = p.id GROUP BY p.id, p.name, p.stock, p.note ORDER BY p.name",
        ) == [(f"Product {number}", 5, 'it\'s empty; "quoted"', 4) for number in range(3)]
        assert await index_differences(after, database) == []
        found = await columns(database, "shop_product")
        assert "price" not in found
        assert found["note"][1] is False
        with pytest.raises(DatabaseError):
            await run(database, "UPDATE shop_product SET note = NULL")
        with pytest.raises(DatabaseError):
            await run(database, "UPDATE shop_product SET name = 'the same'")
        await run(database, "DELETE FROM shop_product")
        assert await rows(database, "SELECT count(*) FROM shop_review") == [(0,)]


async def test_a_reference_is_added_changed_and_removed(shop: Shop, database_url: str) -> None:
    before = shop(product(), review())
    make(before)
    await migrate(before, database_url)
    async with opened(database_url) as database:
        await fill(database, products=2, reviews=2)

    replaces: Any = fields.ForeignKeyField(
        "shop.Product", null=True, related_name="replaced_by", on_delete=fields.CASCADE
    )
    maker: Any = fields.ForeignKeyField(
        "core.Customer", null=True, related_name="products", on_delete=fields.SET_NULL
    )
    added = shop(product(replaces=replaces, maker=maker), review())
    make(added)
    await migrate(added, database_url)
    async with opened(database_url) as database:
        await run(
            database,
            "UPDATE shop_product SET replaces_id = (SELECT id FROM shop_product ORDER BY id LIMIT 1)",
        )
        assert await index_differences(added, database) == []

    loosened: Any = fields.ForeignKeyField(
        "shop.Product", null=True, related_name="replaced_by", on_delete=fields.SET_NULL
    )
    changed = shop(product(replaces=loosened, maker=maker), review())
    make(changed)
    await migrate(changed, database_url)
    async with opened(database_url) as database:
        assert await index_differences(changed, database) == []
        await run(database, "DELETE FROM shop_product WHERE id = (SELECT replaces_id FROM shop_product LIMIT 1)")
        assert await rows(database, "SELECT count(*) FROM shop_product") == [(1,)]
        assert await rows(database, "SELECT count(replaces_id) FROM shop_product") == [(0,)]

    removed = shop(product(maker=maker), review())
    make(removed)
    await migrate(removed, database_url)
    async with opened(database_url) as database:
        assert await rows(database, "SELECT count(*) FROM shop_product") == [(1,)]
        assert await rows(database, "SELECT count(*) FROM shop_review") == [(2,)]
        assert "replaces_id" not in await columns(database, "shop_product")
        assert await index_differences(removed, database) == []
        assert drift(removed) == []


async def test_a_field_and_an_entity_are_renamed_with_their_values(shop: Shop, database_url: str) -> None:
    before = shop(product(price=fields.IntField(db_default=0)), review())
    make(before)
    await migrate(before, database_url)
    async with opened(database_url) as database:
        await fill(database, products=2, reviews=3, price="9")

    cost = fields.IntField(db_default=0)
    renamed = shop(product(cost=cost), review())
    with pytest.raises(MigrationError, match=r"shop\.Product\.price is gone and shop\.Product\.cost") as refused:
        make(renamed)
    assert "renames={'shop.Product.price': 'cost'}" in str(refused.value)
    make(renamed, renames={"shop.Product.price": "cost"})
    await migrate(renamed, database_url)
    async with opened(database_url) as database:
        assert await rows(database, "SELECT cost FROM shop_product") == [(9,), (9,)]

    article = type(
        "Article",
        (Entity,),
        {
            "__module__": __name__,
            "name": fields.CharField(max_length=100),
            "cost": cost,
            "options": options("art", unique=("name",)),
        },
    )
    about: Any = fields.ForeignKeyField("shop.Article", related_name="reviews", on_delete=fields.CASCADE)
    again = shop(article, review(product=about))
    with pytest.raises(MigrationError, match=r"shop\.Product is gone and shop\.Article, entity of the same"):
        make(again)
    make(again, renames={"shop.Product": "Article"})
    assert drift(again) == []
    await migrate(again, database_url)
    async with opened(database_url) as database:
        assert await rows(
            database,
            "SELECT a.cost, count(*) FROM shop_article a JOIN shop_review r ON r.product_id = a.id GROUP BY 1",
        ) == [(9, 6)]
        assert await index_differences(again, database) == []
        assert "shop_product" not in await tables(database)


async def test_a_reference_is_renamed_with_its_values_and_its_index(shop: Shop, database_url: str) -> None:
    def reference() -> Any:
        return fields.ForeignKeyField(
            "shop.Product", null=True, related_name="replaced_by", on_delete=fields.CASCADE
        )

    before = shop(product(replaces=reference()))
    make(before)
    await migrate(before, database_url)
    async with opened(database_url) as database:
        first, second = f"'{new_id()}'", f"'{new_id()}'"
        names, row = values(database, id=first, name="'A'")
        await run(database, f"INSERT INTO shop_product ({names}) VALUES ({row})")
        names, row = values(database, id=second, name="'B'", replaces_id=first)
        await run(database, f"INSERT INTO shop_product ({names}) VALUES ({row})")
    after = shop(product(successor_of=reference()))
    make(after, renames={"shop.Product.replaces": "successor_of"})
    await migrate(after, database_url)
    async with opened(database_url) as database:
        assert await rows(
            database, "SELECT b.name FROM shop_product b JOIN shop_product a ON a.id = b.successor_of_id"
        ) == [("B",)]
        assert await index_differences(after, database) == []
    assert drift(after) == []


def test_renames_of_what_is_not_gone_are_refused(shop: Shop) -> None:
    make(shop(product()))
    for key in ("shop.Product.name", "shop.Prodcut.name", "shop.Product", "name"):
        with pytest.raises(MigrationError, match=rf"renames has '{key}'"):
            make(shop(product()), renames={key: "other"})


async def test_values_that_no_longer_fit_stop_the_migration(shop: Shop, database_url: str) -> None:
    before = shop(product(price=fields.BigIntField(db_default=0)), review())
    make(before)
    await migrate(before, database_url)
    async with opened(database_url) as database:
        await fill(database, products=1, reviews=1, price="3000000000")
    narrowed = shop(product(price=fields.IntField(db_default=0)), review())
    (path,) = make(narrowed)
    with pytest.raises(MigrationError, match="Alter field price on Product"):
        await migrate(narrowed, database_url)
    path.unlink()
    shortened = shop(
        product(name=fields.CharField(max_length=4), price=fields.BigIntField(db_default=0)), review()
    )
    make(shortened)
    with pytest.raises(MigrationError, match="Alter field name on Product"):
        await migrate(shortened, database_url)
    async with opened(database_url) as database:
        assert await rows(database, "SELECT name, price FROM shop_product") == [("Product 0", 3000000000)]
        assert await rows(database, "SELECT count(*) FROM shop_review") == [(1,)]


async def test_triggers_survive_the_rebuilding_of_a_sqlite_table(shop: Shop) -> None:
    async with empty_database() as url:
        before = shop(product(), review())
        make(before)
        await migrate(before, url)
        async with opened(url) as database:
            await run(
                database,
                "CREATE TRIGGER one AFTER INSERT ON shop_product BEGIN"
                " UPDATE shop_product SET version = 7 WHERE id = new.id; END",
                "CREATE TRIGGER two AFTER INSERT ON shop_review BEGIN"
                " UPDATE shop_product SET version = 8 WHERE id = new.product_id; END",
            )
        after = shop(product(name=fields.CharField(max_length=200)), review())
        make(after)
        await migrate(after, url)
        async with opened(url) as database:
            await fill(database, products=1, reviews=0)
            assert await rows(database, "SELECT version FROM shop_product") == [(7,)]
            await fill_review(database)
            assert await rows(database, "SELECT version FROM shop_product") == [(8,)]


async def fill_review(database: Database) -> None:
    ((key,),) = await rows(database, "SELECT id FROM shop_product")
    names, row = values(database, id=f"'{new_id()}'", product_id=f"'{key}'", stars="1")
    await run(database, f"INSERT INTO shop_review ({names}) VALUES ({row})")


async def test_an_entity_that_is_gone_takes_its_table_with_it(shop: Shop, database_url: str) -> None:
    before = shop(product(), review())
    make(before)
    await migrate(before, database_url)
    after = shop(product())
    make(after)
    await migrate(after, database_url)
    async with opened(database_url) as database:
        assert {name for name in await tables(database) if name.startswith("shop")} == {"shop_product"}
    assert drift(after) == []


def test_a_field_without_a_value_for_existing_rows_is_refused(shop: Shop) -> None:
    make(shop(product()))
    with pytest.raises(MigrationError, match=r"shop\.Product\.stock is new and not null.*db_default"):
        make(shop(product(stock=fields.IntField())))
    with pytest.raises(MigrationError, match=r"shop\.Product\.maker is new and not null.*null=True"):
        make(shop(product(maker=fields.ForeignKeyField("core.Customer", on_delete=fields.CASCADE))))


def test_a_field_whose_values_cannot_follow_is_refused(shop: Shop) -> None:
    make(shop(product(stock=fields.IntField(db_default=0))))
    with pytest.raises(MigrationError, match=r"shop\.Product\.stock changes from fields\.IntField.*CharField"):
        make(shop(product(stock=fields.CharField(max_length=10, db_default="0"))))


def test_make_writes_nothing_when_nothing_changed(shop: Shop) -> None:
    (path,) = make(shop(product(), review()))
    assert path.name == "0001_initial.py"
    assert make(shop(product(), review())) == []


def test_a_description_or_a_default_in_python_asks_for_no_migration(shop: Shop) -> None:
    make(shop(product(stock=fields.IntField(db_default=0))))
    described = fields.IntField(default=3, db_default=0, description="How many are left")
    assert drift(shop(product(stock=described))) == []


def test_a_migration_file_depends_on_no_live_code(shop: Shop) -> None:
    (path,) = make(shop(product(), review()))
    imports = re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE)
    assert set(imports) == {"tortoise", "tortoise.migrations", "amity.database.operations"}


def test_entities_that_refer_to_each_other_are_made_in_turn(shop: Shop) -> None:
    best: Any = fields.ForeignKeyField("shop.Review", null=True, related_name=False, on_delete=fields.SET_NULL)
    (path,) = make(shop(product(best=best), review()))
    text = path.read_text()
    assert text.index('name="Review"') < text.index('name="best"')
    assert drift(shop(product(best=best), review())) == []


async def test_entities_that_refer_to_each_other_can_be_migrated(shop: Shop, database_url: str) -> None:
    best: Any = fields.ForeignKeyField("shop.Review", null=True, related_name=False, on_delete=fields.SET_NULL)
    composition = shop(product(best=best), review())
    make(composition)
    await migrate(composition, database_url)
    async with opened(database_url) as database:
        assert await index_differences(composition, database) == []


async def test_a_changed_key_is_dropped_and_made_anew(shop: Shop, database_url: str) -> None:
    code = fields.CharField(max_length=20, null=True)
    before = shop(product(code=code))
    make(before)
    await migrate(before, database_url)
    after = shop(product(code=code, options=options("prd", unique=(Unique(("code",)),))))
    assert drift(after) == [
        "shop: Drop index shop_product_name_key",
        "shop: Create index shop_product_code_key",
    ]
    async with opened(database_url) as database:
        found = await index_differences(after, database)
        assert sorted((difference.index, difference.what) for difference in found) == [
            ("shop_product_code_key", "missing"),
            ("shop_product_name_key", "undeclared"),
        ]
    make(after)
    await migrate(after, database_url)
    async with opened(database_url) as database:
        assert await index_differences(after, database) == []
        name = "shop_product_code_key"
        await run(database, f"DROP INDEX {name}", f"CREATE INDEX {name} ON shop_product (code)")
        (found_,) = await index_differences(after, database)
        assert (found_.index, found_.what) == (name, "different")


async def test_enabling_a_plugin_adds_its_own_tables_and_none_else(shop: Shop, database_url: str) -> None:
    core = compose(Settings())
    await migrate(core, database_url)
    async with opened(database_url) as database:
        before = await tables(database)
        assert all(name.startswith("core_") for name in before)
    with_shop = shop(product(), review())
    make(with_shop)
    await migrate(with_shop, database_url)
    async with opened(database_url) as database:
        assert await tables(database) - before == {"shop_product", "shop_review"}


async def test_a_disabled_plugin_keeps_its_data_and_its_manifest(shop: Shop, database_url: str) -> None:
    maker: Any = fields.ForeignKeyField(
        "core.Customer", null=True, related_name="products", on_delete=fields.SET_NULL
    )
    merged = options("prd", personal=("name",), unique=("name",), on_merge={"name": "concat"})
    enabled = shop(product(maker=maker, options=merged), version="2.1")
    make(enabled)
    await migrate(enabled, database_url)
    core = compose(Settings())
    async with opened(database_url) as database:
        assert not await migration.refresh_manifest(database, enabled)
        assert await migration.refresh_manifest(database, core)
        found = {manifest.plugin: manifest for manifest in await migration.manifests(database)}
        assert found["core"].enabled
        assert not found["shop"].enabled
        assert found["shop"].version == "2.1"
        (table,) = found["shop"].tables
        assert (table.table, table.entity, table.personal) == ("shop_product", "Product", ("name",))
        assert table.keys == (("name",),)
        assert table.on_merge == {"name": "concat"}
        assert [(r.column, r.table, r.on_delete) for r in table.references] == [
            ("maker_id", "core_customer", "SET NULL")
        ]
        assert "shop_product" in await tables(database)
    assert await migrate(enabled, database_url) == []
    async with opened(database_url) as database:
        assert all(manifest.enabled for manifest in await migration.manifests(database))


async def test_two_plugins_with_the_same_class_names_never_meet(server_url: str | None) -> None:
    for name in ("loyalty", "rewards"):
        account = type(
            "LoyaltyAccount",
            (Entity,),
            {
                "__module__": __name__,
                "customer": fields.OneToOneField(
                    "core.Customer", related_name="loyalty", on_delete=fields.CASCADE
                ),
                "options": options("loy"),
            },
        )
        composition = compose(Settings(), [plugin(name, [account])])
        async with fresh_database(composition, server_url) as url, opened(url) as database:
            assert f"{name}_loyalty_account" in await tables(database)
            assert await index_differences(composition, database) == []


async def test_one_to_one_is_unique_among_living_rows(server_url: str | None) -> None:
    badge = type(
        "Badge",
        (Entity,),
        {
            "__module__": __name__,
            "user": fields.OneToOneField("core.User", related_name="badge", on_delete=fields.CASCADE),
            "options": options("bdg"),
        },
    )
    composition = compose(Settings(), [plugin("badges", [badge])])
    async with fresh_database(composition, server_url) as url, opened(url) as database:
        user = f"'{new_id()}'"
        names, row = values(database, id=user, name="'Ann'")
        await run(database, f"INSERT INTO core_user ({names}) VALUES ({row})")
        names, row = values(database, id=f"'{new_id()}'", user_id=user)
        await run(database, f"INSERT INTO badges_badge ({names}) VALUES ({row})")
        names, row = values(database, id=f"'{new_id()}'", user_id=user)
        with pytest.raises(DatabaseError):
            await run(database, f"INSERT INTO badges_badge ({names}) VALUES ({row})")
        await run(database, "UPDATE badges_badge SET deleted_at = created_at")
        await run(database, f"INSERT INTO badges_badge ({names}) VALUES ({row})")


async def test_a_plugin_with_entities_and_no_migrations_is_told_what_to_do(database_url: str) -> None:
    badges = plugin("badges", [product()], __module__="__main__")
    composition = compose(Settings(), [badges])
    with pytest.raises(MigrationError, match=r"badges bring entities but no migrations; .*makemigrations"):
        await migrate(composition, database_url)
    with pytest.raises(MigrationError, match="no place for migrations"):
        make(composition, "badges")


async def test_a_failing_migration_leaves_nothing_of_itself(shop: Shop, database_url: str) -> None:
    composition = shop(product(), review())
    (path,) = make(composition)
    path.write_text(path.read_text().replace("(stars DESC, id)", "(stares DESC, id)"))
    with pytest.raises(MigrationError, match=r"shop\.0001_initial failed at “Create index shop_review_best”"):
        await migrate(composition, database_url)
    async with opened(database_url) as database:
        assert not {name for name in await tables(database) if name.startswith("shop")}
        assert await pending(composition, database) == ["shop.0001_initial"]


async def test_a_database_newer_than_the_plugin_is_refused(shop: Shop, database_url: str) -> None:
    composition = shop(product())
    (path,) = make(composition)
    await migrate(composition, database_url)
    path.rename(path.with_name("0001_other.py"))
    with pytest.raises(MigrationError, match=r"has had shop\.0001_initial, which shop 1\.0 does not bring"):
        await migrate(composition, database_url)


async def test_rows_of_one_transaction_may_refer_to_each_other(server_url: str | None) -> None:
    core = compose(Settings())
    async with fresh_database(core, server_url) as url, opened(url) as database:
        child, parent = f"'{new_id()}'", f"'{new_id()}'"
        first = values(database, id=child, kind="'person'", name="'B'", lifecycle="'lead'", organization_id=parent)
        second = values(database, id=parent, kind="'organization'", name="'A'", lifecycle="'lead'")
        await run(
            database,
            *(f"INSERT INTO core_customer ({names}) VALUES ({row})" for names, row in (first, second)),
        )
        with pytest.raises(DatabaseError):
            await run(database, f"UPDATE core_customer SET organization_id = '{new_id()}'")


async def test_text_is_ordered_by_code_point_on_both_databases(server_url: str | None) -> None:
    core = compose(Settings())
    async with fresh_database(core, server_url) as url, opened(url) as database:
        statements = []
        for name in ("ä", "Z", "a", "_", "B", "é"):
            names, row = values(database, id=f"'{new_id()}'", name=f"'{name}'")
            statements.append(f"INSERT INTO core_team ({names}) VALUES ({row})")
        await run(database, *statements)
        found = await rows(database, "SELECT name FROM core_team ORDER BY name")
        assert [name for (name,) in found] == sorted(["ä", "Z", "a", "_", "B", "é"])


async def test_databases_of_one_composition_are_isolated_and_gone_afterwards(server_url: str | None) -> None:
    core = compose(Settings())
    async with fresh_database(core, server_url) as one, fresh_database(core, server_url) as other:
        async with opened(one) as database:
            names, row = values(database, id=f"'{new_id()}'", name="'Sales'")
            await run(database, f"INSERT INTO core_team ({names}) VALUES ({row})")
        async with opened(other) as database:
            assert await rows(database, "SELECT count(*) FROM core_team") == [(0,)]
    with pytest.raises(DatabaseError):
        async with opened(one):
            pass


async def test_a_database_after_another_has_the_rows_and_the_schema_of_a_new_one(server_url: str | None) -> None:
    core = compose(Settings())

    async def found(database: Database) -> list[Any]:
        plain = ("core_role", "core_grant", "core_team", "core_event")
        counts = [await rows(database, f"SELECT count(*) FROM {table}") for table in plain]
        return [
            *counts,
            await rows(database, "SELECT name, id FROM core_role ORDER BY name"),
            await tables(database),
        ]

    async with fresh_database(core, server_url) as url, opened(url) as database:
        new = await found(database)
        names, row = values(database, id=f"'{new_id()}'", name="'Sales'")
        await run(
            database,
            f"INSERT INTO core_team ({names}) VALUES ({row})",
            "UPDATE core_role SET name = name || '*'",
            "DELETE FROM core_grant",
        )
        assert await found(database) != new
    async with fresh_database(core, server_url) as url, opened(url) as database:
        assert await found(database) == new
        await run(database, "CREATE TABLE extra (id int)", "ALTER TABLE core_team ADD COLUMN extra int")
        assert await found(database) != new
    async with fresh_database(core, server_url) as url, opened(url) as database:
        assert await found(database) == new


async def test_a_migration_that_breaks_references_is_refused_on_both_databases(
    shop: Shop, database_url: str
) -> None:
    composition = shop(product(), review())
    (path,) = make(composition)
    await migrate(composition, database_url)
    async with opened(database_url) as database:
        await fill(database, products=1, reviews=1)
    delete = "UPDATE shop_review SET product_id = '0190f2c4-0000-7000-8000-000000000000'"
    path.with_name("0002_broken.py").write_text(
        "from tortoise import migrations\n"
        "from amity.database.operations import RunSql\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("shop", "0001_initial")]\n'
        f'    operations = [RunSql(postgresql="{delete}", sqlite="{delete}")]\n'
    )
    with pytest.raises(MigrationError, match=r"shop\.0002_broken failed"):
        await migrate(composition, database_url)
    async with opened(database_url) as database:
        assert await rows(
            database, "SELECT count(*) FROM shop_review r JOIN shop_product p ON p.id = r.product_id"
        ) == [(1,)]


async def test_an_empty_database_has_no_tables(server_url: str | None) -> None:
    async with empty_database(server_url) as url, opened(url) as database:
        assert await tables(database) == set()
