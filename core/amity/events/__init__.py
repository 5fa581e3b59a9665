"""The event log: what happened, in one order, and who is told."""

from .log import EventLog
from .sequence import Position

__all__ = ["EventLog", "Position"]
