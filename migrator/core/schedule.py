"""What runs by itself: schedules, their firings, and which firing is due. Times are aware and in UTC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

LATE = timedelta(seconds=60)
"""A firing that is later than this was missed: nobody was there to do it."""

MOST = 100_000
"""How many missed firings are counted at most before the newest one is taken."""


_FIELDS = 5
"""Of a cron expression without seconds."""


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
    """The last firing of a schedule, as the database keeps it; `word` is waiting, running, ok, failed or missed, and
    interrupted where it was running and its owner is gone.

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


class Due(NamedTuple):
    """A firing whose time has come, and how many before it nobody did."""

    at: datetime
    missed: int


def due(last: datetime, now: datetime, after: Following) -> Due | None:
    """Return the newest firing after `last` whose time has come, None where there is none."""
    found = None
    moment = after(last)
    for missed in range(MOST):
        if moment > now:
            break
        found, moment = Due(moment, missed), after(moment)
    return found


def chore_of(name: str) -> str:
    """Return the name of the lease that whoever does a firing of this schedule holds."""
    return f"schedule {name}"


def at_clock_times(expression: str) -> str:
    """Return a cron expression in which only `*` for the hour means every hour that passes.

    Every other expression names times of the clock, for which cronsim makes up where the clock is set; it decides by
    the first sign of the fields, so that `*/2` has to be written in another way.
    """
    fields = expression.split()
    if len(fields) != _FIELDS or fields[1] in ("*", "*/1"):
        return expression
    minute, hour, *rest = fields
    minute = f"0-59{minute[1:]}" if minute.startswith("*") else minute
    hour = f"0-23{hour[1:]}" if hour.startswith("*") else hour
    return " ".join([minute, hour, *rest])


def judged(firing: Firing, schedule: Schedule | None, now: datetime, after: Following | None, *, held: bool) -> Firing:
    """Return the last firing of a schedule as it stands now. `held` says that the one who did it is there.

    `schedule` and `after` are None where migrator.toml does not have it any more.
    """
    if firing.word == "running" and not held:
        firing = replace(firing, word="interrupted")
    if schedule is None or after is None or (schedule.max_runs and firing.runs >= schedule.max_runs):
        return replace(firing, next="")
    if firing.word == "running" and firing.next and moment_of(firing.next) <= now:
        return replace(firing, next=text_of(after(now)))
    return firing


def runs(schedule: Schedule, at: datetime, now: datetime) -> bool:
    """Say whether a firing that is due is to be run, or was missed and is only noted."""
    return schedule.missed is Missed.ONCE or now - at <= LATE


def moment_of(text: str) -> datetime:
    """Read a time of the database."""
    return datetime.fromisoformat(text).astimezone(UTC)


def text_of(moment: datetime) -> str:
    """Return a time as the database keeps it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
