"""Letters and faxes, printed into a folder. What comes in is recorded by hand."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from amity import Capabilities, Channel, Connected, Outbound, Sent
from amity.channels import CHANNELS


class Tray(BaseModel):
    """Where they are printed to."""

    folder: Path


class Letters(Channel[Tray]):
    """Letters on paper."""

    name = "letter"
    account = Tray
    can = Capabilities(sends=True, subject=True, receipts=True)

    async def send(self, connection: Connected[Tray], messages: Sequence[Outbound]) -> Sequence[Sent]:
        for message in messages:
            page = f"{message.address}\n\n{message.subject or ''}\n\n{message.body}\n"
            # printed again after a crash, it is still one file
            (connection.settings.folder / f"{message.message_id}.txt").write_text(page, encoding="utf-8")
        return [Sent() for _ in messages]


class Faxes(Letters):
    """Letters by telephone."""

    name, space = "fax", "number"

    def normalize(self, address: str, region: str) -> str:
        return CHANNELS["phone"].normalize(address, region)
