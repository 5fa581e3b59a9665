"""Letters and faxes for Amity: printed into a folder, carried by people, recorded by hand."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from amity import (
    Action,
    Channel,
    Connection,
    Context,
    IdOf,
    Inbound,
    Interaction,
    Item,
    Permission,
    Plugin,
    Receipt,
)
from amity.messaging import deliver

from .channel import Faxes, Letters


class Paper(BaseModel):
    """A letter or fax that came."""

    connection_id: Annotated[UUID, IdOf(Connection)] = Field(description="The connection that it belongs to")
    number: str = Field(min_length=1, description="What was stamped on it, or the message id that it carries")
    address: str = Field(description="Who wrote it")
    subject: str | None = Field(default=None, description="What it is about")
    text: str = Field(description="What it says")
    answers: str | None = Field(default=None, description="The number of what it answers")


class Outcome(BaseModel):
    """What became of a letter or fax that was printed."""

    connection_id: Annotated[UUID, IdOf(Connection)] = Field(description="The connection that it went by")
    number: str = Field(description="The message id that is on it")
    status: Literal["delivered", "failed"] = Field(description="Whether it arrived or came back")


class Paperwork(Plugin):
    """Letters and faxes, printed into a folder and recorded by hand."""

    name = "letter"
    core = ">=0.1,<1"

    def channels(self) -> Sequence[Channel[Any]]:
        return [Letters(), Faxes()]

    def permissions(self) -> Sequence[Permission]:
        return [Permission("letter.record", "Record letters and faxes")]

    def actions(self) -> Sequence[Action[Any]]:
        # they are not transactional, since taking in a message is a transaction of its own
        return [
            Action("record_paper", Paper, self._came, "letter.record", Interaction, transactional=False),
            Action("record_outcome", Outcome, self._became, "letter.record", output=Outcome, transactional=False),
        ]

    async def _came(self, context: Context, inputs: Sequence[Paper]) -> Sequence[UUID | None]:
        ids: list[UUID | None] = []
        for paper in inputs:
            answers = [paper.answers] if paper.answers else []
            item = Inbound(paper.number, paper.address, subject=paper.subject, body=paper.text, replies_to=answers)
            ids += (await deliver(context.crm, paper.connection_id, [item])).ids
        return ids

    async def _became(self, context: Context, inputs: Sequence[Outcome]) -> Sequence[Outcome]:
        for outcome in inputs:
            items: list[Item] = [Receipt(outcome.number, outcome.status, reason="it came back")]
            await deliver(context.crm, outcome.connection_id, items)
        return inputs
