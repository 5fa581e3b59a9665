"""Who works at Northlight."""

from __future__ import annotations

from amity import Team, Update, User

from .cultures import Culture
from .world import World, check, slug

TEAMS = ("Americas", "Europe", "Asia and Pacific", "Key accounts", "Service")
USERS: tuple[tuple[str, int], ...] = (
    ("Rosa Delgado", 0),
    ("Marcus Webb", 0),
    ("Tamika Ellis", 0),
    ("Paulo Nogueira", 0),
    ("Erin Gallagher", 0),
    ("Katrin Hoffmann", 1),
    ("Luc Perrin", 1),
    ("Agnieszka Mazur", 1),
    ("Giorgio Ferri", 1),
    ("Sanna Holm", 1),
    ("Owen Pryce", 1),
    ("Daiki Mori", 2),
    ("Ananya Rao", 2),
    ("林志明 (Lin Zhiming)", 2),
    ("Layla Haddad", 2),
    ("Bùi Thanh Hà", 2),
    ("Henrik Dahl", 3),
    ("Yetunde Alabi", 3),
    ("Clara Weiss", 3),
    ("Nils Aaltonen", 4),
    ("Priyanka Bose", 4),
    ("Tomás Vidal", 4),
    ("Judith Amsel", 4),
    ("Seo-jun Bae", 4),
)
"""Name and place of the team. The first of a team leads it, the first of all leads the leaders."""
_EUROPE, _KEY_ACCOUNTS = 1, 3
_REGIONS = {
    **dict.fromkeys(("en-US", "es-MX", "pt-BR"), 0),
    **dict.fromkeys(("hi-IN", "zh-CN", "ja-JP", "ko-KR", "ar-AE", "vi-VN"), 2),
}


async def make_people(world: World) -> None:
    world.teams = await world.create(Team, "Teams", [{"name": name} for name in TEAMS])
    rows = [
        {
            "name": name,
            "email": address(name),
            "team_id": world.teams[team],
        }
        for name, team in USERS
    ]
    world.users = await world.create(User, "Users", rows)
    leads = [_of_team(team)[0] for team in range(len(TEAMS))]
    managers = [
        Update(world.users[i], {"manager_id": world.users[0 if i in leads else leads[team]]})
        for i, (_, team) in enumerate(USERS)
        if i
    ]
    check((await world.session.update(User, managers)).errors)


def address(name: str) -> str:
    """Rosa Delgado → rosa.delgado@northlight.example"""
    return f"{slug(name).replace('-', '.')}@northlight.example"


def owner(world: World, culture: Culture) -> int:
    """Who looks after a customer from there."""
    region = _REGIONS.get(culture.locale, _EUROPE)
    return world.chance.choice(_of_team(_KEY_ACCOUNTS if world.chance.random() < 0.12 else region))


def anybody(world: World) -> int:
    return world.chance.randrange(len(USERS))


def _of_team(team: int) -> list[int]:
    return [i for i, (_, of) in enumerate(USERS) if of == team]
