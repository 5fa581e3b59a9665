"""Who may do what at Northlight: one administrator, agents in teams, and one who only reads."""

from __future__ import annotations

from collections.abc import Mapping

from amity import SYSTEM, Crm, User
from amity.contracts import ChangeResult
from amity.model import RoleMember

from .people import address

ADMIN, READER = "Rosa Delgado", "Judith Amsel"


async def let_in(crm: Crm, passwords: Mapping[str, str]) -> None:
    """Gives a role to everybody who has none, and ``passwords`` to users by their e-mail addresses."""
    session = crm.acting_as(SYSTEM, origin="demo")
    users = await session.find(User).select("id", "email").all()
    ids = {user["email"]: user["id"] for user in users}
    given = {member["user"]["id"] for member in await session.find(RoleMember).select("user.id").all()}
    roles = {address(ADMIN): "admin", address(READER): "read-only"}
    members = [
        {"user": id, "role": roles.get(email, "agent")} for email, id in ids.items() if id not in given and email
    ]
    _check(await session.run("assign_role", members))
    known = [{"user": ids[email], "password": password} for email, password in passwords.items() if email in ids]
    _check(await session.run("set_password", known))


def _check(result: ChangeResult) -> None:
    if result.errors:
        raise RuntimeError(f"the CRM refuses to let users of the demo in: {result.errors[0]}")
