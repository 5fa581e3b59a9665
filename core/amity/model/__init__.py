"""The core's entities."""

from .communication import ContactPoint, Interaction
from .customer import Customer, ExternalId, Relationship
from .log import Event
from .pipeline import Deal, Pipeline, Stage, StageMove
from .team import Team, User

CORE_ENTITIES = (
    Team,
    User,
    Customer,
    ContactPoint,
    Relationship,
    Interaction,
    Pipeline,
    Stage,
    Deal,
    StageMove,
    ExternalId,
    Event,
)

__all__ = [
    "CORE_ENTITIES",
    "ContactPoint",
    "Customer",
    "Deal",
    "Event",
    "ExternalId",
    "Interaction",
    "Pipeline",
    "Relationship",
    "Stage",
    "StageMove",
    "Team",
    "User",
]
