"""The core's own actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ..contracts import Action, Context, IdOf, Permission, UserError
from ..model import Customer, Deal, Interaction, Stage, User
from .draft import Placement
from .input import Update
from .interactions import log_interactions
from .write import update

LOG_INTERACTION = Permission("core.log_interaction", "Log interactions with customers")
MOVE_DEAL = Permission("core.move_deal", "Move deals between and within stages")
CORE_PERMISSIONS: tuple[Permission, ...] = (LOG_INTERACTION, MOVE_DEAL)


class ExternalIdInput(BaseModel):
    """The id that another system has for a record."""

    model_config = ConfigDict(extra="forbid")

    system: str = Field(min_length=1, max_length=100, description="Name of the other system")
    id: str = Field(min_length=1, max_length=300, description="The id in that system")


class LogInteractionInput(BaseModel):
    """One contact with a customer, as it happened."""

    model_config = ConfigDict(extra="forbid")

    channel: str = Field(description="The channel, like email or phone")
    direction: Literal["inbound", "outbound"] = Field(description="Who began: the customer or the company")
    customer_id: Annotated[UUID, IdOf(Customer)] | None = Field(
        default=None, description="The customer; looked up by the address where it is not given"
    )
    address: str | None = Field(default=None, description="The customer's address on the channel")
    user_id: Annotated[UUID, IdOf(User)] | None = Field(
        default=None, description="The user who took part; whoever logs it by default"
    )
    subject: str | None = Field(default=None, description="Subject or summary, one line")
    body: str | None = Field(default=None, description="What was said")
    occurred_at: AwareDatetime | None = Field(default=None, description="When it happened; now by default")
    duration_seconds: int | None = Field(default=None, description="How long it took")
    external_id: ExternalIdInput | None = Field(
        default=None, description="Its id in another system; logged twice, it is stored once"
    )
    custom_fields: dict[str, Any] | None = Field(default=None, description="What has no field")


class MoveDealInput(BaseModel):
    """Where a deal goes: to the end of the stage, or next to another deal of it."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(Deal)] = Field(description="The deal")
    stage_id: Annotated[UUID, IdOf(Stage)] = Field(description="The stage that it goes to, or is in")
    before: Annotated[UUID, IdOf(Deal)] | None = Field(default=None, description="The deal to come before")
    after: Annotated[UUID, IdOf(Deal)] | None = Field(default=None, description="The deal to come after")
    expected_version: int | None = Field(default=None, description="Refused if the deal has another version")
    moved_at: AwareDatetime | None = Field(
        default=None, description="When it moved, for importing history; now by default"
    )


async def log_interaction(context: Context, inputs: Sequence[LogInteractionInput]) -> Sequence[UUID | UserError]:
    """Logs contacts, each once: see :func:`~amity.change.interactions.log_interactions`."""
    return await log_interactions(context.session, inputs)


async def move_deal(context: Context, inputs: Sequence[MoveDealInput]) -> Sequence[UUID | UserError]:
    """Moves deals to where they shall stand; positions are given in the order of the inputs."""
    result = await update(
        context.session,
        Deal,
        [Update(item.id, {"stage_id": item.stage_id}, item.expected_version) for item in inputs],
        on_error="skip_invalid",
        placements={index: Placement(item.before, item.after, item.moved_at) for index, item in enumerate(inputs)},
    )
    errors: dict[int, UserError] = {}
    for error in result.errors:
        errors.setdefault(error.index, error)
    return [errors[index] if id is None else id for index, id in enumerate(result.ids)]


CORE_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "log_interaction",
        LogInteractionInput,
        run=log_interaction,
        permission=LOG_INTERACTION.name,
        entity=Interaction,
        description="Logs contacts with customers, who are found by their address where they are not named",
    ),
    Action(
        "move_deal",
        MoveDealInput,
        run=move_deal,
        permission=MOVE_DEAL.name,
        entity=Deal,
        description="Moves deals to a stage, to its end or next to another deal",
    ),
)
