"""The plugin on a CRM of its own: a fresh database, with only this plugin in it."""

from hello_amity import Greeting, Hello

from amity import SYSTEM, Customer
from amity.testing import make_crm


async def test_a_customer_knows_how_often_they_were_greeted() -> None:
    async with make_crm([Hello]) as crm:
        session = crm.acting_as(SYSTEM)
        made = await session.create(
            Customer, [{"kind": "person", "name": name} for name in ("Ann Lee", "Bo Diaz")]
        )
        ann, _ = made.ids
        greetings = [{"customer_id": ann, "text": text} for text in ("Hello!", "Welcome back")]
        await session.create(Greeting, greetings)

        found = await session.find(Customer).select("name", "greetings_received").order_by("name").all()

        assert found == [
            {"name": "Ann Lee", "greetings_received": "2"},
            {"name": "Bo Diaz", "greetings_received": "0"},
        ]


async def test_greetings_can_be_filtered_and_sorted_by() -> None:
    async with make_crm([Hello]) as crm:
        session = crm.acting_as(SYSTEM)
        made = await session.create(
            Customer, [{"kind": "person", "name": name} for name in ("Ann Lee", "Bo Diaz")]
        )
        await session.create(Greeting, [{"customer_id": made.ids[1], "text": "Hello!"}])

        query = session.find(Customer).where({"greetings_received": {"lt": 1}})

        assert await query.select("name").all() == [{"name": "Ann Lee"}]
