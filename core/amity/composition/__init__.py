"""Composition: plugins become one immutable whole, or one error that lists everything wrong with them.

Nothing runs here but the plugins' hooks, which only declare. No database is touched.
"""

from .discovery import ENTRY_POINT_GROUP, available
from .steps import check_layers, compose
from .values import Composition, CompositionError, PluginInfo

__all__ = [
    "ENTRY_POINT_GROUP",
    "Composition",
    "CompositionError",
    "PluginInfo",
    "available",
    "check_layers",
    "compose",
]
