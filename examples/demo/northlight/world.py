"""What all parts of the company share while it is made: chance, the calendar, customers, and the CRM."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

from amity import Session, UserError

from .cultures import Culture

DAYS = 730
"""Days of history."""
BATCH = 1_000
Advance = Callable[[str, int, int], object]
"""``advance(what, done, total)``"""


@dataclass
class Party:
    """A customer while the company is made."""

    name: str
    latin: str
    """The name in lower-case Latin letters and hyphens, for addresses."""
    culture: Culture
    since: datetime
    """When the history with them begins."""
    activity: float
    """How much is going on with them, compared with others."""
    owner: int
    """Place of the user who looks after them."""
    row: dict[str, Any]
    employer: Party | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    id: UUID | None = None

    @property
    def is_person(self) -> bool:
        return bool(self.row["kind"] == "person")


class World:
    """The company while it is made. The same seed and day make the same one."""

    def __init__(self, session: Session, seed: int, scale: float, today: date, advance: Advance | None) -> None:
        self.session = session
        self.seed = seed
        self.chance = random.Random(seed)
        self.scale = scale
        self.now = datetime.combine(today, time(17, 30), tzinfo=UTC)
        self.begin = self.now - timedelta(days=DAYS)
        self.advance: Advance = advance or (lambda what, done, total: None)
        self.teams: list[UUID] = []
        self.users: list[UUID] = []
        self.parties: list[Party] = []
        self._weights: list[float] = []

    def many(self, number: int) -> int:
        """A number of things, in proportion to the size of the company."""
        return max(1, round(number * self.scale))

    @property
    def organizations(self) -> list[Party]:
        return [party for party in self.parties if not party.is_person]

    @property
    def persons(self) -> list[Party]:
        return [party for party in self.parties if party.is_person]

    def active(self) -> Party:
        """A customer with whom something goes on: the busy ones more often."""
        if len(self._weights) != len(self.parties):
            self._weights = list(accumulate(party.activity for party in self.parties))
        return self.chance.choices(self.parties, cum_weights=self._weights)[0]

    def office_hours(self, moment: datetime) -> datetime:
        """That day or the next working day, while the office is open; never after the end of the history."""
        chance = self.chance
        if moment.weekday() >= 5 and chance.random() < 0.9:
            moment += timedelta(days=7 - moment.weekday())
        hour = min(18, max(7, round(chance.gauss(12.5, 2.6))))
        found = moment.replace(hour=hour, minute=chance.randrange(60), second=chance.randrange(60), microsecond=0)
        return min(found, self.now)

    async def create(
        self, entity: type[Any], what: str, rows: Sequence[Mapping[str, Any]], *, read_only: bool = False
    ) -> list[UUID]:
        """Stores rows, and gives their ids."""
        ids: list[UUID] = []
        for batch in batches(rows):
            result = await self.session.create(entity, batch, read_only=read_only)
            check(result.errors)
            ids += [id for id in result.ids if id is not None]
            self.advance(what, len(ids), len(rows))
        return ids


def batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def check(errors: Sequence[UserError]) -> None:
    """Raises RuntimeError if the CRM refused anything: then the demo is wrong."""
    if errors:
        raise RuntimeError(f"the CRM refuses {len(errors)} rows of the demo; the first: {errors[0]}")


_LETTERS = str.maketrans({"ł": "l", "Ł": "L", "ß": "ss", "ø": "o", "đ": "d", "Đ": "D", "ı": "i"})


def slug(text: str) -> str:
    """``Bäckerei Groß & Söhne`` → ``backerei-gross-sohne``; empty for names without Latin letters."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower().replace("'", "")).strip("-")
