"""Background work: what is enqueued is kept in a table, and run at least once."""

from .engine import Jobs
from .schedule import next_time, schedule_problem

__all__ = ["Jobs", "next_time", "schedule_problem"]
