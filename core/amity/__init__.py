"""Amity: a pluggable CRM framework.

This package is the headless core: usable from Python alone, without web or GraphQL dependencies.
"""

from __future__ import annotations

__version__ = "0.1.0"

from .access import SYSTEM, AccessDenied, FieldDenied, Policy, Principal, Rights
from .change import Resolution, Update
from .composition import Composition, CompositionError, PluginInfo
from .contracts import (
    Action,
    ChangeResult,
    Context,
    FieldDeclaration,
    IdOf,
    Job,
    LogEvent,
    Permission,
    Problem,
    Proposed,
    Purchases,
    Refs,
    Scored,
    Scorer,
    Subscriber,
    UserError,
    Validator,
    batch,
    expression,
)
from .crm import Crm, Session
from .entity import EDITABLE, Entity, EntityOptions, Generic, Record, SqlIndex, Staged, Unique
from .entity.expression import Add, Avg, Coalesce, Count, Divide, Field, Max, Min, Multiply, Subtract, Sum
from .migration import MigrationsPending
from .model import (
    ContactPoint,
    Customer,
    Deal,
    Event,
    ExternalId,
    Interaction,
    JobRun,
    Pipeline,
    Relationship,
    Score,
    ScoreRun,
    Stage,
    StageMove,
    Team,
    User,
)
from .plugin import Plugin
from .query import Answer, QueryError
from .query.find import Find, Related
from .scores import ScoreQuery
from .settings import Settings, SettingsError

__all__ = [
    "EDITABLE",
    "SYSTEM",
    "AccessDenied",
    "Action",
    "Add",
    "Answer",
    "Avg",
    "ChangeResult",
    "Coalesce",
    "Composition",
    "CompositionError",
    "ContactPoint",
    "Context",
    "Count",
    "Crm",
    "Customer",
    "Deal",
    "Divide",
    "Entity",
    "EntityOptions",
    "Event",
    "ExternalId",
    "Field",
    "FieldDeclaration",
    "FieldDenied",
    "Find",
    "Generic",
    "IdOf",
    "Interaction",
    "Job",
    "JobRun",
    "LogEvent",
    "Max",
    "MigrationsPending",
    "Min",
    "Multiply",
    "Permission",
    "Pipeline",
    "Plugin",
    "PluginInfo",
    "Policy",
    "Principal",
    "Problem",
    "Proposed",
    "Purchases",
    "QueryError",
    "Record",
    "Refs",
    "Related",
    "Relationship",
    "Resolution",
    "Rights",
    "Score",
    "ScoreQuery",
    "ScoreRun",
    "Scored",
    "Scorer",
    "Session",
    "Settings",
    "SettingsError",
    "SqlIndex",
    "Stage",
    "StageMove",
    "Staged",
    "Subscriber",
    "Subtract",
    "Sum",
    "Team",
    "Unique",
    "Update",
    "User",
    "UserError",
    "Validator",
    "__version__",
    "batch",
    "expression",
]
