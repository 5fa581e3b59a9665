"""The core's entities."""

from .access import ApiKey, Grant, PermissionGrant, Role, RoleMember, UserSession
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
    Role,
    Grant,
    PermissionGrant,
    RoleMember,
    ApiKey,
    UserSession,
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
    "ApiKey",
    "Connection",
    "ConsentEntry",
    "ContactPoint",
    "Conversation",
    "Customer",
    "Deal",
    "Event",
    "ExternalId",
    "File",
    "Grant",
    "Interaction",
    "JobRun",
    "MessageReference",
    "Participant",
    "PermissionGrant",
    "Pipeline",
    "Relationship",
    "Role",
    "RoleMember",
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
    "UserSession",
]
