"""The core's entities."""

from .communication import DELIVERY, ContactPoint, Conversation, File, Interaction, MessageReference, Participant
from .connection import Connection, Undelivered
from .consent import ConsentEntry
from .customer import Customer, ExternalId, Relationship
from .job import JobRun
from .log import Event
from .pipeline import Deal, Pipeline, Stage, StageMove
from .score import Score, ScoreDraft, ScoreRun
from .team import Team, User
from .template import Template, TemplateText

CORE_ENTITIES = (
    Team,
    User,
    Customer,
    ContactPoint,
    Relationship,
    Connection,
    Conversation,
    Interaction,
    MessageReference,
    Participant,
    File,
    Undelivered,
    ConsentEntry,
    Template,
    TemplateText,
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
    "DELIVERY",
    "Connection",
    "ConsentEntry",
    "ContactPoint",
    "Conversation",
    "Customer",
    "Deal",
    "Event",
    "ExternalId",
    "File",
    "Interaction",
    "JobRun",
    "MessageReference",
    "Participant",
    "Pipeline",
    "Relationship",
    "Score",
    "ScoreDraft",
    "ScoreRun",
    "Stage",
    "StageMove",
    "Team",
    "Template",
    "TemplateText",
    "Undelivered",
    "User",
]
