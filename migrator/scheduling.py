"""`[schedule.NAME]` of migrator.toml: as it is written, and checked."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from migrator.core import environ as variables
from migrator.core.duration import seconds
from migrator.core.errors import ConfigError
from migrator.core.schedule import Missed, Schedule, Task

CLEANUP = "cleanup"
"""The name of the schedule that CLEANUP_INTERVAL makes."""

_EXAMPLE = 'For example: cron = "0 3 * * *" with time_zone = "Europe/Berlin", or every = "10m".'


class ScheduleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[schedule.NAME]`: a `script` or a `tag` to run, or a `task` (verify, cleanup); when: `cron` or `every`.

    `missed` says what becomes of firings that nobody was there for; `max_runs` 0 is for ever.
    """

    script: str = ""
    tag: str = ""
    task: Literal["run", "verify", "cleanup"] = "run"
    cron: str = ""
    time_zone: str = "UTC"
    every: str = ""
    missed: Literal["once", "skip"] = "once"
    max_runs: int = 0
    params: dict[str, Any] = {}


def schedules(tables: Mapping[str, ScheduleTable], env: Mapping[str, str]) -> tuple[Schedule, ...]:
    """Return what `[schedule]` and CLEANUP_INTERVAL say. Raises ConfigError."""
    found = [_schedule(name, table) for name, table in tables.items()]
    interval = variables.text(env, "CLEANUP_INTERVAL")
    if interval and CLEANUP not in tables:
        found.append(Schedule(CLEANUP, Task.CLEANUP, every=_interval(interval, "CLEANUP_INTERVAL")))
    return tuple(found)


def _schedule(name: str, table: ScheduleTable) -> Schedule:
    where = f"schedule.{name}"
    task = Task(table.task)
    if task is Task.RUN and not (table.script or table.tag):
        raise ConfigError(f"{where} names nothing to run", hint='Add script = "...", tag = "..." or task = "verify".')
    if task is not Task.RUN and (table.script or table.params):
        raise ConfigError(f"{where}: {task} takes no script and no params", hint="Leave `task` out to run a script.")
    if bool(table.cron) == bool(table.every):
        raise ConfigError(f"{where} needs either cron or every", hint=_EXAMPLE)
    if table.max_runs < 0:
        raise ConfigError(f"{where}.max_runs is {table.max_runs}, and cannot be negative")
    if table.cron:
        _check_cron(table, where)
    return Schedule(
        name=name,
        task=task,
        scripts=(table.script,) if table.script else (),
        tags=(table.tag,) if table.tag else (),
        cron=table.cron,
        zone=table.time_zone,
        every=_interval(table.every, f"{where}.every") if table.every else 0.0,
        missed=Missed(table.missed),
        max_runs=table.max_runs,
        params=table.params,
    )


def _check_cron(table: ScheduleTable, where: str) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from cronsim import CronSim, CronSimError

    try:
        zone = ZoneInfo(table.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = 'Write it as "Europe/Berlin" or "UTC".'
        raise ConfigError(f"{where}: there is no time zone {table.time_zone!r}", hint=hint) from None
    try:
        next(CronSim(table.cron, datetime.now(zone)))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "it never comes"
        raise ConfigError(f"{where}: {table.cron!r} is no cron expression: {why}", hint=_EXAMPLE) from None


def _interval(text: str, where: str) -> float:
    try:
        found = seconds(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", hint=_EXAMPLE) from None
    if found < 1:
        raise ConfigError(f"{where} is {text}, and one second is the least", hint=_EXAMPLE)
    return found
