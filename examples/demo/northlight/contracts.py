"""What Northlight knows of its customers in custom fields, where the CRM declares them: industry and contract."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from .deals import money
from .world import Party, World

INDUSTRIES: Mapping[str, str] = {
    trade: industry
    for industry, trades in {
        "crafts": "Ceramics Electric Fabrics Furniture Glass Kitchens Watches",
        "culture": "Museum Music School Theatre",
        "food": "Bakery Brewing Coffee Dairy Farms Foods Tea Vineyards",
        "health": "Clinic Dental Fitness Labs Optics Pharmacy",
        "hospitality": "Hotels Travel",
        "manufacturing": "Cycles Paper Robotics Tools Toys Yachts",
        "retail": "Books Flowers Gardens Market Outfitters",
        "services": "Design Interiors Logistics Media Press Shipping Software Studios",
    }.items()
    for trade in trades.split()
}
"""By the trade in an organization's name."""


def add_contracts(world: World, organizations: Iterable[Party], fields: Collection[str]) -> None:
    """Sets those of ``industry``, ``contract_value`` and ``renewal_on`` that are ``fields`` of customers.

    It has a chance of its own, so that the rest of the company is the same with and without them.
    """
    chance = random.Random(f"contracts {world.seed}")
    for party in organizations:
        found: dict[str, object] = {}
        industry = next((INDUSTRIES[word] for word in party.name.split() if word in INDUSTRIES), None)
        if industry is not None:
            found["industry"] = industry
        if party.row["lifecycle"] == "customer" and chance.random() < 0.6:
            yearly = 400 * party.row["custom_fields"]["sites"] * chance.uniform(0.8, 1.6)
            found["contract_value"] = money(yearly, party.culture.currency)
            found["renewal_on"] = (world.now + timedelta(days=chance.randrange(2, 365))).date()
        party.row.update({name: value for name, value in found.items() if name in fields})
