"""Schedules: the five fields of cron, in UTC."""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError


def schedule_problem(schedule: str) -> str | None:
    """What is wrong with a schedule, if anything is."""
    try:
        next(CronSim(schedule, datetime(2026, 1, 1)))
    except CronSimError as error:
        told = str(error).lower()
        return f"is {schedule!r} ({told}); expected minute, hour, day, month and weekday, like '0 3 * * *'"
    except StopIteration:
        return f"is {schedule!r}, a time that never comes"
    return None


def next_time(schedule: str, after: datetime) -> datetime:
    """The first time of a schedule after this one (UTC)."""
    return next(CronSim(schedule, after))
