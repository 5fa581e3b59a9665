"""What has to be granted before anything is written: each field that input names, each key, each reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from tortoise import fields

from amity import (
    EDITABLE,
    SYSTEM,
    AccessDenied,
    Crm,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    ExternalId,
    FieldDenied,
    Generic,
    Pipeline,
    Plugin,
    Principal,
    Session,
    Stage,
    Unique,
    Update,
)
from amity.access import Everything, Rights, Role, TypeGrant, Verb
from amity.contracts import ChangeResult
from amity.entity import EntityType, Record, encode_id, new_id
from amity.tree import Condition, Never

from .conftest import MakeCrm

Grants = Mapping[tuple[type[Record], Verb], Sequence[str] | None]
ERP = {"system": "erp", "id": "1"}


class Notes(Plugin):
    """Keeps notes, which may be about a record."""

    name = "notes"

    def entities(self) -> Sequence[type[Record]]:
        return [Note]


class Note(Entity):
    """Written down, perhaps about a record."""

    text = fields.CharField(max_length=100)
    about_type = fields.CharField(max_length=100, null=True)
    about_id = fields.UUIDField(null=True)
    code = fields.CharField(max_length=20, null=True)
    options = EntityOptions(
        prefix="not",
        api=EDITABLE,
        generic=(Generic("about", related_name="notes"),),
        unique=(Unique(("code",)),),
    )


def under(crm: Crm, grants: Grants) -> Session:
    """A session of somebody who may do so with every row: with the fields that are named, None for all."""
    given = {
        (crm.catalog.of(entity).code, verb): TypeGrant(fields=None if names is None else frozenset(names))
        for (entity, verb), names in grants.items()
    }
    return crm.acting_as(Principal("user", "usr_1", roles=(Role("some", new_id(), grants=given),)))


def created(result: ChangeResult) -> UUID:
    assert not result.errors, result.errors
    (id,) = result.ids
    assert id is not None
    return id


def person(name: str = "Ann", **more: Any) -> list[dict[str, Any]]:
    return [{"kind": "person", "name": name, **more}]


async def test_an_id_from_another_system_needs_rights_of_its_own(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        write: Grants = {(Customer, "read"): None, (Customer, "create"): None, (Customer, "update"): None}
        with pytest.raises(AccessDenied, match="may not create external ids"):
            await under(crm, {**write, (ExternalId, "read"): None}).create(Customer, person(external_id=ERP))
        with pytest.raises(AccessDenied, match="may not read external ids"):
            await under(crm, {**write, (ExternalId, "create"): None}).upsert(
                Customer, person(external_id=ERP), on=["external_id"]
            )
        both = under(crm, {**write, (ExternalId, "read"): None, (ExternalId, "create"): None})
        assert created(await both.upsert(Customer, person(external_id=ERP), on=["external_id"]))
        # by a key it is told whether a row is there: that is reading it
        blind: Grants = {(Customer, "create"): None, (Customer, "update"): None}
        with pytest.raises(AccessDenied, match="may not read customers"):
            await under(crm, {**blind, (ExternalId, "read"): None, (ExternalId, "create"): None}).upsert(
                Customer, person(external_id=ERP), on=["external_id"]
            )


async def test_an_id_of_another_system_is_also_a_field(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        system = crm.acting_as(SYSTEM)
        created(await system.create(Customer, person(external_id=ERP)))
        (known,) = await system.find(ExternalId).select("id").all()
        write: Grants = {
            (Customer, "read"): None,
            (ExternalId, "create"): None,
            (ExternalId, "read"): None,
            (ExternalId, "update"): ["system"],
        }
        with pytest.raises(FieldDenied, match=r"may not write ExternalId\.external_id"):
            await under(crm, write).update(ExternalId, [Update(known["id"], {"external_id": "2"})])
        assert not (await under(crm, write).update(ExternalId, [Update(known["id"], {"system": "crm"})])).errors
        # as a key it is read like any other field
        blind: Grants = {**write, (ExternalId, "read"): ["system", "entity"], (ExternalId, "update"): None}
        rows = [{"system": "crm", "external_id": "1"}]
        with pytest.raises(FieldDenied, match=r"may not read ExternalId\.external_id"):
            await under(crm, blind).upsert(ExternalId, rows, on=["system", "entity_type", "external_id"])


async def test_a_key_is_read(make_crm: MakeCrm) -> None:
    async with make_crm([Notes]) as crm:
        write: Grants = {(Note, "create"): None, (Note, "update"): None}
        notes = [{"text": "first", "code": "1"}]
        with pytest.raises(AccessDenied, match="may not read notes"):
            await under(crm, write).upsert(Note, notes, on=["code"])
        with pytest.raises(FieldDenied, match=r"may not read Note\.code"):
            await under(crm, {**write, (Note, "read"): ["text"]}).upsert(Note, notes, on=["code"])
        assert created(await under(crm, {**write, (Note, "read"): ["code"]}).upsert(Note, notes, on=["code"]))
        # whoever names an id brings no field
        limited = under(crm, {(Customer, "read"): None, (Customer, "create"): ["kind", "name"]})
        assert created(await limited.create(Customer, person("Cy", id=encode_id("cus", new_id()))))
        with pytest.raises(FieldDenied, match=r"may not write Customer\.note"):
            await limited.create(Customer, person("Cy", note="x"))


async def test_references_within_a_batch_are_of_their_own_kind(make_crm: MakeCrm) -> None:
    async with make_crm([Notes]) as crm:
        system = crm.acting_as(SYSTEM)
        pipeline = created(await system.create(Pipeline, [{"name": "Sales"}]))
        stage = created(await system.create(Stage, [{"pipeline_id": pipeline, "name": "New"}]))
        (error,) = (await system.create(Stage, [{"pipeline_id": new_id(), "name": "Lost"}])).errors
        assert (error.code, error.message) == ("not_found", "there is no such pipeline")
        # a stage that may not be read is like none
        seller = under(crm, {(Deal, "read"): None, (Deal, "create"): None})
        (error,) = (await seller.create(Deal, [{"name": "without", "stage_id": stage}])).errors
        assert (error.code, error.message) == ("not_found", "there is no such stage")
        id = new_id()
        deal = {"id": encode_id("dea", id), "name": "own", "stage_id": stage, "customer_id": encode_id("cus", id)}
        (error,) = (await system.create(Deal, [deal])).errors
        assert (error.code, error.message) == ("not_found", "there is no such customer")
        company = new_id()
        rows = [
            {"kind": "organization", "name": "Acme", "id": encode_id("cus", company)},
            {"kind": "person", "name": "Ann", "organization_id": encode_id("cus", company)},
        ]
        assert not (await system.create(Customer, rows)).errors
        # a reference that may lead anywhere may lead nowhere
        assert created(await system.create(Note, [{"text": "about nothing"}]))
        about = {"about_type": crm.catalog.of(Customer).code, "about_id": company}
        assert created(await system.create(Note, [{"text": "about Acme", **about}]))
        (error,) = (await system.create(Note, [{"text": "x", **about, "about_id": new_id()}])).errors
        assert error.code == "not_found"


class Closed(Everything):
    """Everything is granted, and for some verbs to no row."""

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return Never() if verb == "update" else None

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        return Never() if verb == "create" else None


class ClosedToUsers:
    def rights(self, principal: Principal) -> Rights:
        return Everything(principal) if principal == SYSTEM else Closed(principal)


async def test_where_no_row_can_be_treated_so_it_is_refused_by_name(make_crm: MakeCrm) -> None:
    async with make_crm(policy=ClosedToUsers()) as crm:
        id = created(await crm.acting_as(SYSTEM).create(Customer, person()))
        somebody = crm.acting_as(Principal("user", "usr_1"))
        with pytest.raises(AccessDenied, match="may not create customers"):
            await somebody.create(Customer, person())
        with pytest.raises(AccessDenied, match="may not update customers"):
            await somebody.update(Customer, [Update(id, {"name": "Bo"})])
        result = await somebody.delete(Customer, [id])
        assert not result.errors
        assert result.deleted == 1
