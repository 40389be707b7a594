"""What runs by itself: schedules, their firings, and which firing is due. Times are aware and in UTC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

LATE = timedelta(seconds=60)
"""A firing that is later than this was missed: nobody was there to do it."""

MOST = 100_000
"""How many missed firings are counted at most before the newest one is taken."""


class Task(StrEnum):
    """What a firing does."""

    RUN = "run"
    VERIFY = "verify"
    CLEANUP = "cleanup"


class Missed(StrEnum):
    """What becomes of firings that nobody was there for: the newest runs once, or none does."""

    ONCE = "once"
    SKIP = "skip"


@dataclass(frozen=True)
class Schedule:
    """One entry of `[schedule]`. `cron` in a time `zone`, or `every` so many seconds; `max_runs` 0 is no limit."""

    name: str
    task: Task = Task.RUN
    scripts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cron: str = ""
    zone: str = "UTC"
    every: float = 0.0
    missed: Missed = Missed.ONCE
    max_runs: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Firing:
    """The last firing of a schedule, as the database keeps it; `word` is waiting, running, ok, failed or missed.

    Times are ISO 8601 in UTC, "" where there is none. `runs` counts the firings that began.
    """

    name: str
    due: str
    next: str = ""
    word: str = "waiting"
    by: str = ""
    started_at: str = ""
    finished_at: str = ""
    message: str = ""
    runs: int = 0


Following: TypeAlias = Callable[[datetime], datetime]
"""Returns the first firing after a moment."""


def following(schedule: Schedule, cron: Callable[[str, str], Following]) -> Following:
    """Return how the firings of a schedule follow one another. An interval counts from 1970, the same for everybody.

    `cron` makes the same of a cron expression and a time zone.
    """
    if schedule.cron:
        return cron(schedule.cron, schedule.zone)
    step = schedule.every

    def after(moment: datetime) -> datetime:
        return datetime.fromtimestamp((moment.timestamp() // step + 1) * step, UTC)

    return after


def due(last: datetime, now: datetime, after: Following) -> datetime | None:
    """Return the newest firing after `last` whose time has come, None where there is none."""
    found = None
    moment = after(last)
    for _ in range(MOST):
        if moment > now:
            break
        found, moment = moment, after(moment)
    return found


def runs(schedule: Schedule, at: datetime, now: datetime) -> bool:
    """Say whether a firing that is due is to be run, or was missed and is only noted."""
    return schedule.missed is Missed.ONCE or now - at <= LATE


def moment_of(text: str) -> datetime:
    """Read a time of the database."""
    return datetime.fromisoformat(text).astimezone(UTC)


def text_of(moment: datetime) -> str:
    """Return a time as the database keeps it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
