"""Users of the little company who sign in, and keys of programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amity import SYSTEM, Crm, User

from .company import JONAS, MIA, TEAM, id_of

PASSWORD = "correct horse battery staple"
JUDITH = id_of("usr", 3)
"""May only read."""
FORMER, WITHOUT, THROTTLED = (id_of("usr", number) for number in range(4, 7))


async def people(crm: Crm) -> None:
    """Mia is administrator and agent, Jonas is an agent, Judith may only read."""
    system = crm.acting_as(SYSTEM)
    rows: list[dict[str, Any]] = [
        {"id": JUDITH, "name": "Judith Amsel", "email": "judith@ourcompany.example", "team_id": TEAM},
        {"id": FORMER, "name": "Fabio Ormea", "email": "former@ourcompany.example", "active": False},
        {"id": WITHOUT, "name": "Wei Ling", "email": "wei@ourcompany.example"},
        {"id": THROTTLED, "name": "Thea Rotte", "email": "throttled@ourcompany.example"},
    ]
    assert not (await system.create(User, rows)).errors
    roles = [(MIA, "admin"), (MIA, "agent"), (JONAS, "agent"), (JUDITH, "read-only"), (FORMER, "admin")]
    await run(crm, "assign_role", *({"user": user, "role": role} for user, role in roles))
    passwords = [{"user": user, "password": PASSWORD} for user in (MIA, JONAS, JUDITH, FORMER, THROTTLED)]
    await run(crm, "set_password", *passwords)


async def key_of(crm: Crm, role: str, **given: Any) -> str:
    """A new API key that acts under a role; ``user`` is whom it acts as."""
    (made,) = await run(crm, "create_api_key", {"name": "test", "role": role, **given})
    return str(made.text)


async def run(crm: Crm, action: str, *inputs: Mapping[str, Any]) -> list[Any]:
    """Runs an action as the system; its values."""
    result = await crm.acting_as(SYSTEM).run(action, inputs)
    assert not result.errors, result.errors
    return list(result.values)
