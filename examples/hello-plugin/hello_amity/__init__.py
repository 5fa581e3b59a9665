"""A plugin for Amity: remembers what was said to customers."""

from collections.abc import Sequence
from typing import Any

from tortoise import fields

from amity import EDITABLE, Count, Customer, Entity, EntityOptions, Plugin, RoleGrant, expression
from amity.contracts import FieldDeclaration


class Greeting(Entity):
    """Something kind that was said to a customer."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer", related_name="greetings", on_delete=fields.CASCADE, description="Who was greeted"
    )
    text = fields.CharField(max_length=200, description="What was said")

    options = EntityOptions(prefix="gre", api=EDITABLE)


class Hello(Plugin):
    """Remembers what was said to customers."""

    name = "hello"
    core = ">=0.1,<1"

    def entities(self) -> Sequence[type[Entity]]:
        return [Greeting]

    def grants(self) -> Sequence[RoleGrant]:
        return [
            RoleGrant("agent", Greeting, {"read", "create", "update"}, "team"),
            RoleGrant("read-only", Greeting, {"read"}),
        ]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [expression(Customer, "greetings_received", Count("greetings"), description="How often")]
