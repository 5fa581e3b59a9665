"""How customers are reached: e-mail, phone, text messages, chat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from amity import ContactPoint

from .world import Party, World

MAILBOXES = ("post.example", "inbox.example", "mailbox.example")


async def make_addresses(world: World) -> int:
    book = _Book(world)
    rows = [row for party in world.parties for row in book.of(party)]
    await world.create(ContactPoint, "Addresses", rows)
    return len(rows)


class _Book:
    """Hands out addresses, none of them twice."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.taken: set[str] = set()

    def of(self, party: Party) -> Iterator[dict[str, Any]]:
        return self._person(party) if party.is_person else self._organization(party)

    def _organization(self, party: Party) -> Iterator[dict[str, Any]]:
        yield self._row(party, "email", self._free(f"info@{party.latin}.example"), "office", primary=True)
        yield self._row(party, "phone", self._number(party.culture.phone), "switchboard", shared=True)

    def _person(self, party: Party) -> Iterator[dict[str, Any]]:
        chance, employer = self.chance, party.employer
        first, *_, last = party.latin.split("-")
        name = f"{first}.{last}" if chance.random() < 0.7 else f"{first[0]}{last}"
        private = f"{name}@{chance.choice(MAILBOXES)}"
        if employer is not None and chance.random() < 0.93:
            address = self._free(f"{name}@{employer.latin}.example")
            yield self._row(party, "email", address, "work", primary=True)
        if chance.random() < (0.1 if employer else 0.95):
            yield self._row(party, "email", self._free(private), "home", primary=employer is None)
        if chance.random() < 0.7:
            mobile = self._number(party.culture.mobile)
            yield self._row(party, "phone", mobile, "mobile")
            if chance.random() < 0.6:
                yield self._row(party, "sms", mobile, "mobile")
        if employer is not None and chance.random() < 0.2:
            # the switchboard is shared by everybody who sits behind it
            yield self._row(party, "phone", employer.addresses["phone"], "switchboard", shared=True)
        if chance.random() < 0.3:
            yield self._row(party, "webchat", f"visitor-{chance.getrandbits(48):012x}", None)
        if not party.addresses:
            yield self._row(party, "phone", self._number(party.culture.phone), "work", primary=True)

    def _number(self, pattern: str) -> str:
        while True:
            number = re.sub("#", lambda _: str(self.chance.randrange(10)), pattern)
            if number not in self.taken:
                self.taken.add(number)
                return number

    def _free(self, address: str) -> str:
        name, _, domain = address.partition("@")
        number = 1
        while address in self.taken:
            number += 1
            address = f"{name}{number}@{domain}"
        self.taken.add(address)
        return address

    @staticmethod
    def _row(
        party: Party,
        channel: str,
        address: str,
        label: str | None,
        *,
        shared: bool = False,
        primary: bool = False,
    ) -> dict[str, Any]:
        party.addresses.setdefault(channel, address)
        return {
            "customer_id": party.id,
            "channel": channel,
            "address": address,
            "label": label,
            "shared": shared,
            "primary": primary,
        }
