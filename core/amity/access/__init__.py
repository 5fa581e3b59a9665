"""Access: who may see and change which rows and fields.

Every read and every change names its principal, whose rights the policy of the CRM gives. What they say of rows
is compiled into the statement on every table that it touches: pages, relations, filters, orders, counts,
expressions. Fields out of reach are refused by name, before anything runs. There is no path around it.
"""

from .errors import AccessDenied, FieldDenied
from .principal import SYSTEM, Facts, HeldRole, Principal
from .rights import (
    NOTHING_SET,
    VERBS,
    Everything,
    Nothing,
    Policy,
    Rights,
    Verb,
    field_denied,
    permission_denied,
    type_denied,
)
from .roles import EVERY, SCOPES, Role, RolePolicy, RoleRights, RowRule, Scope, TypeGrant, has_owner

__all__ = [
    "EVERY",
    "NOTHING_SET",
    "SCOPES",
    "SYSTEM",
    "VERBS",
    "AccessDenied",
    "Everything",
    "Facts",
    "FieldDenied",
    "HeldRole",
    "Nothing",
    "Policy",
    "Principal",
    "Rights",
    "Role",
    "RolePolicy",
    "RoleRights",
    "RowRule",
    "Scope",
    "TypeGrant",
    "Verb",
    "field_denied",
    "has_owner",
    "permission_denied",
    "type_denied",
]
