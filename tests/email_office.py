"""A CRM with one mailbox, for the tests of ``amity_email``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from amity import SYSTEM, Crm, Interaction, Item, Related, Session
from amity.messaging import Delivered, deliver
from amity_email import Email
from tests.conftest import MakeCrm
from tests.email_corpus.build import MAILBOX

KEY = "cMIrMIJSVWfROLMqVGvBfBHdEfU5G0PzC2YzNU7jWzU="
SECRET = "correct horse battery"


class Office:
    """A connection of the channel, and what tests ask of it."""

    def __init__(self, crm: Crm, session: Session, id: UUID) -> None:
        self.crm = crm
        self.session = session
        self.id = id

    async def brings(self, items: Sequence[Item]) -> Delivered:
        return await deliver(self.crm, self.id, items)

    async def messages(self, *fields: str | Related) -> list[dict[str, Any]]:
        return await self.session.find(Interaction).select(*fields).all()


def settings_of(folder: Path) -> dict[str, Any]:
    return {
        "security": {"keys": [KEY]},
        "files": {"folder": str(folder / "files")},
        "server": {"public_url": "https://crm.amity-crm.example"},
    }


@asynccontextmanager
async def office(make_crm: MakeCrm, folder: Path, **account: Any) -> AsyncIterator[Office]:
    """A CRM with a mailbox; unknown senders become prospects."""
    async with make_crm([Email], settings_of(folder)) as crm:
        session = crm.acting_as(SYSTEM)
        settings = {"address": MAILBOX, "display_name": "Amity Support", "webhook_secret": SECRET, **account}
        row = {"channel": "email", "name": "support", "settings": settings, "creates_prospects": True}
        made = await session.run("create_connection", [row])
        assert not made.errors, made.errors
        assert made.ids[0] is not None
        yield Office(crm, session, made.ids[0])
