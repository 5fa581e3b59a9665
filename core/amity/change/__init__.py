"""Changes: batches of create, update, upsert, delete and restore, and actions."""

from .actions import run
from .draft import Placement
from .errors import BadRequest, ChangeError, Contention, PluginError, UnknownAction
from .identity import Resolution, resolve
from .input import Update, required, writable
from .removal import delete, restore
from .unit import Unit, in_unit
from .write import authorize, create, update, upsert

__all__ = [
    "BadRequest",
    "ChangeError",
    "Contention",
    "Placement",
    "PluginError",
    "Resolution",
    "Unit",
    "UnknownAction",
    "Update",
    "authorize",
    "create",
    "delete",
    "in_unit",
    "required",
    "resolve",
    "restore",
    "run",
    "update",
    "upsert",
    "writable",
]
