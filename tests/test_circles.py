"""Rows that belong to rows of their own entity, and entities that belong to each other in a circle."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    AccessDenied,
    Crm,
    Customer,
    Entity,
    EntityOptions,
    Event,
    ExternalId,
    Generic,
    Plugin,
    Principal,
    Session,
    Update,
    User,
)
from amity.access import Facts, Role, TypeGrant, Verb
from amity.access.roles import RolePolicy
from amity.cli.access import told
from amity.entity import Record, new_id
from amity.testing import make_crm
from amity.tree import Ancestors

from .seeds import drawn
from .test_roles import ids, role

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "25"))
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Circles(Plugin):
    """Folders in folders; hosts and guests of each other; labels on anything, and stickers on labels."""

    name = "circles"

    def entities(self) -> Sequence[type[Record]]:
        return [Folder, Leaf, Host, Guest, Label, Sticker]


class Folder(Entity):
    """Of a customer; perhaps inside another folder, perhaps a copy of one."""

    name = fields.CharField(max_length=100)
    customer: Any = fields.ForeignKeyField("core.Customer", related_name="folders", on_delete=fields.CASCADE)
    inside: Any = fields.ForeignKeyField(
        "circles.Folder", related_name="folders", on_delete=fields.CASCADE, null=True
    )
    copy_of: Any = fields.ForeignKeyField(
        "circles.Folder", related_name="copies", on_delete=fields.CASCADE, null=True
    )
    options = EntityOptions(prefix="fol", api=EDITABLE)


class Leaf(Entity):
    """In a folder."""

    name = fields.CharField(max_length=100)
    folder: Any = fields.ForeignKeyField("circles.Folder", related_name="leaves", on_delete=fields.CASCADE)
    options = EntityOptions(prefix="lef", plural="leaves", api=EDITABLE)


class Host(Entity):
    """Of a customer, and perhaps of a guest."""

    name = fields.CharField(max_length=100)
    customer: Any = fields.ForeignKeyField(
        "core.Customer", related_name="hosts", on_delete=fields.CASCADE, null=True
    )
    guest: Any = fields.ForeignKeyField("circles.Guest", related_name="hosts", on_delete=fields.CASCADE, null=True)
    options = EntityOptions(prefix="hst", api=EDITABLE)


class Guest(Entity):
    """Perhaps of a host, and of a customer."""

    name = fields.CharField(max_length=100)
    customer: Any = fields.ForeignKeyField(
        "core.Customer", related_name="guests", on_delete=fields.CASCADE, null=True
    )
    host: Any = fields.ForeignKeyField("circles.Host", related_name="guests", on_delete=fields.CASCADE, null=True)
    options = EntityOptions(prefix="gst", api=EDITABLE)


class Label(Entity):
    """Sticks to any record."""

    name = fields.CharField(max_length=100)
    entity_type = fields.CharField(max_length=100)
    entity_id = fields.UUIDField()
    options = EntityOptions(prefix="lab", api=EDITABLE, generic=(Generic("entity", related_name="labels"),))


class Sticker(Entity):
    """On a label."""

    name = fields.CharField(max_length=100)
    label: Any = fields.ForeignKeyField("circles.Label", related_name="stickers", on_delete=fields.CASCADE)
    options = EntityOptions(prefix="sti", api=EDITABLE)


class Sitting(Plugin):
    """Brings entities of its own."""

    name = "sitting"

    def entities(self) -> Sequence[type[Record]]:
        return [Nap, Nest, Nook, Cranny]


class Nap(Entity):
    """Nobody's."""

    name = fields.CharField(max_length=100)
    options = EntityOptions(prefix="nap", api=EDITABLE)


class Nest(Entity):
    """Of a customer, or inside another one."""

    name = fields.CharField(max_length=100)
    customer: Any = fields.ForeignKeyField("core.Customer", related_name="nests", on_delete=fields.CASCADE)
    inside: Any = fields.ForeignKeyField("sitting.Nest", related_name="nests", on_delete=fields.CASCADE, null=True)
    options = EntityOptions(prefix="nst", api=EDITABLE)


class Nook(Entity):
    """In a nest, or inside another one."""

    name = fields.CharField(max_length=100)
    nest: Any = fields.ForeignKeyField("sitting.Nest", related_name="nooks", on_delete=fields.CASCADE)
    inside: Any = fields.ForeignKeyField("sitting.Nook", related_name="nooks", on_delete=fields.CASCADE, null=True)
    options = EntityOptions(prefix="nok", api=EDITABLE)


class Cranny(Entity):
    """In a nook, or inside another one."""

    name = fields.CharField(max_length=100)
    nook: Any = fields.ForeignKeyField("sitting.Nook", related_name="crannies", on_delete=fields.CASCADE)
    inside: Any = fields.ForeignKeyField(
        "sitting.Cranny", related_name="crannies", on_delete=fields.CASCADE, null=True
    )
    options = EntityOptions(prefix="crn", plural="crannies", api=EDITABLE)


class House:
    """Mia and Jo with a customer each."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self.users: dict[str, UUID] = {}
        self.customers: dict[str, UUID] = {}

    @property
    def system(self) -> Session:
        return self.crm.acting_as(SYSTEM)

    async def fill(self) -> None:
        names = ("mia", "jo")
        self.users = dict(
            zip(names, ids(await self.system.create(User, [{"name": n} for n in names])), strict=True)
        )
        rows = [{"kind": "person", "name": name, "owner_id": id} for name, id in self.users.items()]
        self.customers = dict(zip(names, ids(await self.system.create(Customer, rows)), strict=True))

    async def made(self, entity: type[Record], name: str, **values: Any) -> UUID:
        (id,) = ids(await self.system.create(entity, [{"name": name, **values}]))
        return id

    def reader(self, name: str, **grants: Any) -> Session:
        """Who reads everything of this plugin, and their own customers, unless it is said otherwise."""
        ours = [*Circles().entities(), *Sitting().entities()]
        rules: dict[Any, Any] = dict.fromkeys(ours, "all")
        rules[Customer] = "own"
        for entity, rule in grants.items():
            rules[self.crm.catalog[entity].model] = rule
        facts = Facts(user=self.users[name])
        held = role(self.crm, rules, "read", "create", "update")
        return self.crm.acting_as(Principal("user", name, roles=(held,), facts=facts))

    async def seen(self, session: Session, entity: type[Record]) -> set[str]:
        return {row["name"] for row in await session.find(entity).select("name").all()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(server_url: str | None) -> AsyncIterator[House]:
    async with make_crm([Circles, Sitting], server_url=server_url) as crm:
        house = House(crm)
        await house.fill()
        yield house


async def test_a_hidden_folder_hides_all_that_is_inside(house: House) -> None:
    mia, jo = house.customers["mia"], house.customers["jo"]
    cellar = await house.made(Folder, "cellar", customer_id=jo)
    box = await house.made(Folder, "box", customer_id=mia, inside_id=cellar)
    bag = await house.made(Folder, "bag", customer_id=mia, inside_id=box)
    copy = await house.made(Folder, "copy", customer_id=mia, copy_of_id=bag)
    attic = await house.made(Folder, "attic", customer_id=mia)
    case = await house.made(Folder, "case", customer_id=mia, inside_id=attic)
    for name, folder in (("in bag", bag), ("in copy", copy), ("in case", case)):
        await house.made(Leaf, name, folder_id=folder)
    session = house.reader("mia")
    assert await house.seen(session, Folder) == {"attic", "case"}
    assert await house.seen(session, Leaf) == {"in case"}
    assert await session.find(Customer).where({"folders": {"some": {"name": {"eq": "bag"}}}}).count() == 0
    # nothing is put into what is hidden, and nothing that is in sight is moved there
    for values in ({"inside_id": bag}, {"copy_of_id": copy}):
        refused = await session.create(Folder, [{"name": "new", "customer_id": mia, **values}])
        assert [error.code for error in refused.errors] == ["not_found"]
        refused = await session.update(Folder, [Update(case, values)])
        assert [error.code for error in refused.errors] == ["not_found"]
    assert not (await session.create(Folder, [{"name": "new", "customer_id": mia, "inside_id": case}])).errors
    # to whoever sees both customers, everything is in sight
    everything = house.reader("mia", Customer="all")
    found = {"cellar", "box", "bag", "copy", "attic", "case", "new"}
    assert await house.seen(everything, Folder) == found
    assert await house.seen(everything, Leaf) == {"in bag", "in copy", "in case"}
    # and what is inside follows as soon as the outermost does
    assert not (await house.system.update(Folder, [Update(cellar, {"customer_id": mia})])).errors
    assert await house.seen(session, Folder) == found
    await house.system.delete(Folder, [cellar, attic])


async def test_a_rule_on_folders_goes_for_those_around_them(house: House) -> None:
    mia = house.customers["mia"]
    secret = await house.made(Folder, "secret", customer_id=mia)
    plain = await house.made(Folder, "plain", customer_id=mia, inside_id=secret)
    session = house.reader("mia", Folder={"name": {"ne": "secret"}}, Customer="all")
    assert await house.seen(session, Folder) == set()
    assert not (await house.system.update(Folder, [Update(plain, {"inside_id": None})])).errors
    assert await house.seen(session, Folder) == {"plain"}
    await house.system.delete(Folder, [secret, plain])


async def test_folders_inside_each_other_are_looked_at_once(house: House) -> None:
    mia = house.customers["mia"]
    one = await house.made(Folder, "one", customer_id=mia)
    two = await house.made(Folder, "two", customer_id=mia, inside_id=one)
    assert not (await house.system.update(Folder, [Update(one, {"inside_id": two})])).errors
    assert await house.seen(house.reader("mia"), Folder) == {"one", "two"}
    assert not (await house.system.update(Folder, [Update(one, {"customer_id": house.customers["jo"]})])).errors
    assert await house.seen(house.reader("mia"), Folder) == set()
    await house.system.delete(Folder, [one, two])


async def test_who_may_not_read_folders_reads_nothing_inside(house: House) -> None:
    """What a role grants of changing folders is no way around."""
    catalog, facts = house.crm.catalog, Facts(user=house.users["mia"])
    held = role(house.crm, {Folder: "all", Customer: "all"}, "create"), role(house.crm, {Customer: "all"})
    rights = house.crm.policy.rights(Principal("user", "mia", roles=held, facts=facts))
    check = rights.check(catalog.of(Folder), "create")
    assert isinstance(check, Ancestors)
    assert told(check) == "every inside and copy_of above it: never"


async def test_what_is_written_together_is_asked_for_what_is_above_it(house: House) -> None:
    """Rows of one batch refer to each other without being looked up first."""
    crm, mia = house.crm, house.customers["mia"]
    reads = role(crm, {Folder: {"name": {"ne": "secret"}}, Customer: "all"})
    writes = role(crm, {Folder: "all"}, "create", "update", name="writes")
    facts = Facts(user=house.users["mia"])
    session = crm.acting_as(Principal("user", "mia", roles=(reads, writes), facts=facts))
    for name in ("plain", "secret"):
        outer, inner = new_id(), new_id()
        rows: list[dict[str, Any]] = [
            {"id": outer, "name": name, "customer_id": mia},
            {"id": inner, "name": "in it", "customer_id": mia, "inside_id": outer},
        ]
        if name == "secret":
            with pytest.raises(AccessDenied, match="may not create such folders"):
                await session.create(Folder, rows)
            continue
        assert not (await session.create(Folder, rows)).errors
        # what it becomes itself is the role's business that writes
        assert not (await session.update(Folder, [Update(outer, {"name": "secret"})])).errors
        assert await house.seen(session, Folder) == set()
        await house.system.delete(Folder, [outer])
    unlimited = house.reader("mia", Customer="all").rights
    assert unlimited.check(crm.catalog.of(Folder), "create") is None


async def test_what_belongs_to_each_other_in_a_circle_is_hidden_beyond_the_first_time_round(house: House) -> None:
    mia, jo = house.customers["mia"], house.customers["jo"]
    hidden = await house.made(Host, "hidden", customer_id=jo)
    guest = await house.made(Guest, "of hidden", host_id=hidden)
    await house.made(Host, "of its guest", customer_id=mia, guest_id=guest)
    host = await house.made(Host, "mine", customer_id=mia)
    of_mine = await house.made(Guest, "of mine", host_id=host)
    await house.made(Guest, "of nobody")
    await house.made(Host, "of my guest", customer_id=mia, guest_id=of_mine)
    session = house.reader("mia")
    assert await house.seen(session, Host) == {"mine"}
    assert await house.seen(session, Guest) == {"of mine", "of nobody"}
    everything = house.reader("mia", Customer="all")
    assert await house.seen(everything, Host) == {"hidden", "of its guest", "mine", "of my guest"}
    assert await house.seen(everything, Guest) == {"of hidden", "of mine", "of nobody"}


async def test_what_is_nobodys_own_hides_what_belongs_to_it(house: House) -> None:
    """A guest is whose its customer and its host are; without a host, nobody's, and so is a host of that guest."""
    mia = house.customers["mia"]
    alone = await house.made(Guest, "alone", customer_id=mia)
    host = await house.made(Host, "of one alone", customer_id=mia, guest_id=alone)
    for scope in ("own", "team"):
        session = house.reader("mia", Customer="all", Guest=scope)
        assert "alone" not in await house.seen(session, Guest)
        assert "of one alone" not in await house.seen(session, Host)
    await house.system.delete(Host, [host])
    await house.system.delete(Guest, [alone])


async def test_a_hidden_sticker_hides_what_is_stuck_on_its_labels(house: House) -> None:
    """Also where the one rule in all of the circle is on stickers."""
    catalog = house.crm.catalog
    on = {"entity_type": catalog.of(Customer).code, "entity_id": house.customers["mia"]}
    label = await house.made(Label, "seen", **on)
    secret = await house.made(Sticker, "secret", label_id=label)
    hidden = await house.made(Label, "hidden", entity_type=catalog.of(Sticker).code, entity_id=secret)
    await house.made(Sticker, "around", label_id=hidden)
    others = {entity.name: "all" for entity in catalog.values()}
    session = house.reader("mia", **{**others, "Sticker": {"name": {"ne": "secret"}}})
    assert await house.seen(session, Label) == {"seen"}
    assert await house.seen(session, Sticker) == set()
    assert await house.seen(house.reader("mia", **others), Sticker) == {"secret", "around"}
    await house.system.delete(Label, [label, hidden])


async def test_whatever_belongs_to_rows_in_circles_can_be_read(house: House) -> None:
    """Events, external ids and labels may be of any record: their conditions are as long as can be."""
    mia, jo = house.customers["mia"], house.customers["jo"]
    folders = [await house.made(Folder, name, customer_id=id) for name, id in (("mine", mia), ("theirs", jo))]
    catalog = house.crm.catalog
    others = {entity.name: "all" for entity in catalog.values() if entity.name != "Customer"}
    session = house.reader("mia", **others)
    events = session.find(Event).where({"entity_id": {"in": folders}}).select("entity_id")
    assert [row["entity_id"] for row in await events.all()] == [folders[0].hex]
    for entity in (ExternalId, Label, Sticker, Leaf):
        assert await session.find(entity).count() == len(await session.find(entity).select("id").all())
    for name, order in (("Sticker", "label.name"), ("Leaf", "folder.inside.name"), ("Host", "guest.host.name")):
        await session.find(name).select("name").order_by(order).all()
    await house.system.delete(Folder, folders)


async def test_conditions_grow_with_the_entities_that_they_lead_to(house: House) -> None:
    """What is above is asked once, also where each of several entities belongs to itself and to the next."""
    rights = house.reader("mia").rights
    size = [len(repr(rights.rows(house.crm.catalog.of(entity), "read"))) for entity in (Nest, Nook, Cranny)]
    assert size[2] - size[1] < 1.5 * (size[1] - size[0])


async def test_a_label_on_what_belongs_to_a_hidden_label_is_hidden(house: House) -> None:
    catalog = house.crm.catalog

    async def label(name: str, entity: type[Record], id: UUID) -> UUID:
        return await house.made(Label, name, entity_type=catalog.of(entity).code, entity_id=id)

    for name in ("mia", "jo"):
        first = await label(f"of {name}", Customer, house.customers[name])
        sticker = await house.made(Sticker, f"of {name}", label_id=first)
        await label(f"on the sticker of {name}", Sticker, sticker)
    others = {entity.name: "all" for entity in catalog.values() if entity.name != "Customer"}
    session = house.reader("mia", **others)
    assert await house.seen(session, Label) == {"of mia"}
    assert await house.seen(session, Sticker) == {"of mia"}
    everything = house.reader("mia", **others, Customer="all")
    assert len(await house.seen(everything, Label)) == 4
    assert len(await house.seen(everything, Sticker)) == 2


async def test_a_plugin_needs_no_grant_of_its_own_for_what_may_lead_there(house: House) -> None:
    """Labels stick to stickers, and to naps; with all the others granted, every label may be read."""
    catalog = house.crm.catalog
    grants: dict[tuple[str, Verb], TypeGrant] = {
        (entity.code, "read"): TypeGrant() for entity in catalog.values() if entity.model is not Nap
    }
    for needed in (grants, {key: grants[key] for key in grants if key[0] != catalog.of(Customer).code}):
        policy = RolePolicy(catalog, {"sitting": Role("sitting", grants=needed)})
        rows = policy.rights(Principal("plugin", "sitting")).rows(catalog.of(Label), "read")
        assert (rows is None) is (needed is grants)


async def test_of_any_folders_those_are_seen_that_nothing_around_hides(house: House) -> None:
    """The law, against a walk up from each folder in Python."""
    seeds = drawn(EXAMPLES)
    shown = hidden = 0
    for seed in seeds:
        chance = random.Random(seed)
        names = [f"{number}" for number in range(chance.randint(1, 12))]
        owners = {name: chance.choice(["mia", "mia", "mia", "jo"]) for name in names}
        rows = [{"name": name, "customer_id": house.customers[owners[name]]} for name in names]
        folders = dict(zip(names, ids(await house.system.create(Folder, rows)), strict=True))
        above = {name: [chance.choice([None, None, *names]) for _ in range(2)] for name in names}
        links = [
            Update(
                folders[name],
                {
                    column: folders[other] if other else None
                    for column, other in zip(("inside_id", "copy_of_id"), above[name], strict=True)
                },
            )
            for name in names
        ]
        assert not (await house.system.update(Folder, links)).errors
        await house.system.create(Leaf, [{"name": name, "folder_id": folders[name]} for name in names])

        def around(name: str, known: set[str], above: dict[str, Any] = above) -> set[str]:
            for other in above[name]:
                if other and other not in known:
                    known.add(other)
                    around(other, known)
            return known

        expected = {
            name for name in names if all(owners[other] == "mia" for other in {name, *around(name, set())})
        }
        session = house.reader("mia")
        assert await house.seen(session, Folder) == expected, seed
        assert await house.seen(session, Leaf) == expected, seed
        shown, hidden = shown + len(expected), hidden + len(names) - len(expected)
        await house.system.delete(Folder, list(folders.values()))
    assert shown
    assert hidden


async def test_filters_and_pages_over_folders_ask_it_of_each(house: House) -> None:
    """However deep: SQLite's parser takes few levels."""
    jo, mia = house.customers["jo"], house.customers["mia"]
    outside = await house.made(Folder, "outside", customer_id=jo)
    hidden = await house.made(Folder, "hidden", customer_id=mia, inside_id=outside)
    open_ = await house.made(Folder, "open", customer_id=mia)
    inner = await house.made(Folder, "inner", customer_id=mia, inside_id=open_)
    for name, folder in (("1", hidden), ("2", open_), ("3", inner)):
        await house.made(Leaf, name, folder_id=folder)
    session = house.reader("mia")
    deep: dict[str, Any] = {"folder": {"customer": {"name": {"eq": "mia"}}}}
    deep = {"folder": {"customer": {"folders": {"some": {"leaves": {"some": deep}}}}}}
    for where in ({}, deep):
        assert {row["name"] for row in await session.find(Leaf).where(where).select("name").all()} == {"2", "3"}
    inside: dict[str, Any] = {"folder": {"inside": {"leaves": {"some": {"name": {"in": ["1", "2", "3"]}}}}}}
    assert [row["name"] for row in await session.find(Leaf).where(inside).select("name").all()] == ["3"]
    rows = await session.find(Leaf).select("name", "folder.name", "folder.inside.name").order_by("name").all()
    assert [row["folder"]["inside"] for row in rows] == [None, {"name": "open"}]
    await house.system.delete(Folder, [outside, open_])
