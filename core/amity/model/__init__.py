"""The core's entities."""

from .access import ApiKey, Grant, PermissionGrant, Role, RoleMember, UserSession
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
    Role,
    Grant,
    PermissionGrant,
    RoleMember,
    ApiKey,
    UserSession,
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
    "ApiKey",
    "ContactPoint",
    "Customer",
    "Deal",
    "Event",
    "ExternalId",
    "Grant",
    "Interaction",
    "JobRun",
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
    "User",
    "UserSession",
]
