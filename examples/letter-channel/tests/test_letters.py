"""The plugin on a CRM of its own, and held to what all channels promise."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from letter_amity import Paperwork

from amity import SYSTEM, Connection, Conversation, Crm, Interaction, Related
from amity.entity import encode_id
from amity.testing import Arrived, ChannelCase, Written, assert_channel, make_crm


class Desk(ChannelCase):
    """Somebody at a desk, with a folder for what is printed."""

    def __init__(self, channel: str, folder: Path) -> None:
        self.channel = channel
        self.account = {"folder": str(folder)}
        self.folder = folder

    def address(self, number: int) -> str:
        return f"+41 44 333 11 {number:02}" if self.channel == "fax" else f"Main Street {number}, 8000 Zürich"

    async def arrived(self) -> Sequence[Arrived]:
        pages = [(page.stem, page.read_text(encoding="utf-8")) for page in self.folder.iterdir()]
        return [Arrived(name, text.splitlines()[0], text) for name, text in pages]

    async def bring(self, crm: Crm, connection: UUID, messages: Sequence[Written]) -> None:
        papers = [
            {
                "connection_id": connection,
                "number": message.id,
                "address": message.address,
                "text": message.text,
                "answers": message.replies_to,
            }
            for message in messages
        ]
        result = await crm.acting_as(SYSTEM).run("record_paper", papers)
        assert not result.errors

    async def tell(self, crm: Crm, connection: UUID, message_id: str, status: str) -> bool:
        if status == "read":
            return False
        outcome = {"connection_id": connection, "number": message_id, "status": status}
        result = await crm.acting_as(SYSTEM).run("record_outcome", [outcome])
        assert not result.errors
        return True


@pytest.mark.parametrize("channel", ["letter", "fax"])
async def test_it_is_a_channel(channel: str, tmp_path: Path) -> None:
    await assert_channel(Paperwork, Desk(channel, tmp_path))


async def test_a_letter_is_printed_and_its_answer_recorded(tmp_path: Path) -> None:
    async with make_crm([Paperwork]) as crm:
        session = crm.acting_as(SYSTEM)
        tray = {"channel": "letter", "name": "Post", "settings": {"folder": str(tmp_path)}}
        made = await session.run("create_connection", [tray])
        assert made.ids[0] is not None
        connection = encode_id(Connection.options.prefix, made.ids[0])
        letter = {
            "connection_id": connection,
            "address": "Ann Lee, Main Street 1",
            "subject": "Your order",
            "body": "It is on its way.",
        }

        await session.run("send_message", [letter])
        await crm.settle()
        (page,) = tmp_path.iterdir()
        assert page.read_text(encoding="utf-8").startswith("Ann Lee, Main Street 1\n\nYour order\n")
        outcome = {"connection_id": connection, "number": page.stem, "status": "delivered"}
        await session.run("record_outcome", [outcome])
        answer = {"connection_id": connection, "number": "2026-117", "answers": page.stem, "text": "Thank you!"}
        await session.run("record_paper", [{**answer, "address": "Ann Lee, Main Street 1"}])

        messages = Related("interactions", ["body", "delivery"], order_by=["occurred_at"])
        (conversation,) = await session.find(Conversation).select("unread", messages).all()
        assert conversation["unread"] == 1
        assert [row["delivery"] for row in conversation["interactions"]] == ["delivered", None]
        assert await session.find(Interaction).count() == 2
