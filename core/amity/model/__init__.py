"""The core's entities."""

from .communication import ContactPoint, Interaction
from .customer import Customer, ExternalId, Relationship
from .job import JobRun
from .log import Event
from .pipeline import Deal, Pipeline, Stage, StageMove
from .score import Score, ScoreDraft, ScoreRun
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
    ScoreRun,
    Score,
    ScoreDraft,
    JobRun,
)

__all__ = [
    "CORE_ENTITIES",
    "ContactPoint",
    "Customer",
    "Deal",
    "Event",
    "ExternalId",
    "Interaction",
    "JobRun",
    "Pipeline",
    "Relationship",
    "Score",
    "ScoreDraft",
    "ScoreRun",
    "Stage",
    "StageMove",
    "Team",
    "User",
]
