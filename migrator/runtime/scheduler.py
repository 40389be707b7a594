"""`migrator schedule`: runs what is due, once for each firing, however many instances there are.

Every instance computes the same firings; whoever moves the row of a schedule from its last firing to this one does it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from migrator.config import Config
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.protocols import Notifier, Owner
from migrator.core.schedule import Firing, Following, Schedule, Task, due, following, moment_of, runs, text_of
from migrator.runtime.connections import Connections
from migrator.runtime.deployment import owner_of
from migrator.runtime.migrator import Migrator
from migrator.runtime.stopping import Stop

if TYPE_CHECKING:
    from migrator.notifiers.metrics import Metrics

TICK = 1.0
"""Seconds between two looks at the clock."""

GRACE = 8.0
"""Seconds that running firings get to end after SIGTERM; then they are cancelled, and settled like every other run."""

Clock = Callable[[], datetime]

_LOG = logging.getLogger("migrator.schedule")


class Scheduler:
    """One instance. `now` is the clock; the firings are kept in the first database of the configuration."""

    def __init__(
        self, config: Config, notifiers: Sequence[Notifier] = (), *, now: Clock | None = None, tick: float = TICK
    ) -> None:
        self._config = config
        self._metrics = _metrics(config) if config.metrics.listen else None
        self._notifiers = [*notifiers, *([self._metrics] if self._metrics else [])]
        self._now = now or _utc
        self._tick = tick
        self._owner = owner_of(config)
        self._after = {each.name: following(each, _cron) for each in config.schedules}
        self._connections = Connections(config)
        self._home = next(iter(config.databases))
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Run until cancelled; then wait for what runs, at most GRACE seconds.

        A database that is away is waited for.
        """
        stop = Stop()
        try:
            while True:
                stop.heed()
                try:
                    await self.tick()
                except DatabaseError as error:
                    _LOG.warning("the schedules cannot be read, and are tried again: %s", error.message)
                await asyncio.sleep(self._tick)
        finally:
            await self._end()

    async def tick(self) -> list[Firing]:
        """Look once, begin what is due, and return the firings that are ours."""
        now = self._now()
        begun = []
        for schedule in self._config.schedules:
            firing = await self._claim(schedule, now)
            if firing is not None:
                begun.append(firing)
                if firing.word == "running":
                    self._begin(schedule, firing)
        return begun

    async def settled(self) -> None:
        """Wait for the firings that run."""
        while self._running:
            await asyncio.wait(self._running)

    async def measured(self) -> str:
        """Return the metrics: the trackers' as they are now, and what the firings of this instance counted."""
        if self._metrics is None:
            return ""
        async with Migrator.open(self._config) as migrator:
            await migrator.measure(self._metrics)
        return self._metrics.text()

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _claim(self, schedule: Schedule, now: datetime) -> Firing | None:
        after = self._after[schedule.name]
        adapter = await self._connections.adapter(self._home)
        async with adapter.session() as session:
            tracker = session.tracker
            last = next((each for each in await tracker.firings() if each.name == schedule.name), None)
            if last is None:
                first = Firing(schedule.name, text_of(now), text_of(after(now)))
                await tracker.claim_firing(first, "")
                return None
            if schedule.max_runs and last.runs >= schedule.max_runs:
                return None
            at = due(moment_of(last.due), now, after)
            if at is None:
                return None
            word = "running" if runs(schedule, at, now) else "missed"
            mine = Firing(
                schedule.name,
                text_of(at),
                text_of(after(at)),
                word,
                _by(self._owner),
                runs=last.runs + (word == "running"),
            )
            return mine if await tracker.claim_firing(mine, last.due) else None

    def _begin(self, schedule: Schedule, firing: Firing) -> None:
        task = asyncio.ensure_future(self._fire(schedule, firing))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fire(self, schedule: Schedule, firing: Firing) -> None:
        word, message = "ok", ""
        try:
            message = await perform(schedule, self._config, self._notifiers)
        except asyncio.CancelledError:
            word, message = "failed", "stopped with the scheduler"
            raise
        except MigratorError as error:
            word, message = "failed", error.message
        except Exception as error:  # noqa: BLE001 - one firing must not end the others
            word, message = "failed", f"{type(error).__name__}: {error}"
        finally:
            _LOG.log(logging.INFO if word == "ok" else logging.ERROR, "%s: %s %s", schedule.name, word, message)
            with suppress(DatabaseError):
                await self._note(firing, word, self._config.mask()(message))

    async def _note(self, firing: Firing, word: str, message: str) -> None:
        adapter = await self._connections.adapter(self._home)
        async with adapter.session() as session:
            await session.tracker.end_firing(firing.name, firing.due, word, message)

    async def _end(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=GRACE)
        for task in self._running:
            task.cancel()
        await self.settled()
        await self.close()


def upcoming(schedule: Schedule, now: datetime, count: int, done: int = 0) -> list[str]:
    """Return the next firings of a schedule, at most so many; `done` is how often it has run. [] where it is over."""
    if schedule.max_runs:
        count = max(0, min(count, schedule.max_runs - done))
    after, found = following(schedule, _cron), list[str]()
    for _ in range(count):
        now = after(now)
        found.append(text_of(now))
    return found


async def perform(schedule: Schedule, config: Config, notifiers: Sequence[Notifier]) -> str:
    """Do what a schedule says, with connections of its own, and return it in a few words. Raises MigratorError."""
    async with Migrator.open(config, notifiers) as migrator:
        if schedule.task is Task.CLEANUP:
            return str(await migrator.past.cleanup())
        if schedule.task is Task.VERIFY:
            answers = await migrator.verify(tags=schedule.tags)
            wrong = [f"{each.database}:{each.revision}" for each in answers if each.ok is False]
            if wrong:
                raise MigratorError(f"verify says no: {', '.join(wrong)}")
            return f"{len(answers)} asked"
        outcome = await migrator.run(*schedule.scripts, tags=schedule.tags, params=schedule.params)
        failed = [each for each in outcome.results if each.word != "ok"]
        if failed:
            raise MigratorError("; ".join(f"{each.key}: {each.message}" for each in failed))
        return f"{len(outcome.results)} run"


def _cron(expression: str, zone: str) -> Following:
    from cronsim import CronSim

    place = ZoneInfo(zone)

    def after(moment: datetime) -> datetime:
        found: datetime = next(CronSim(expression, moment.astimezone(place)))
        return found.astimezone(UTC)

    return after


def _metrics(config: Config) -> "Metrics":
    from migrator.notifiers._announcer import need

    need("metrics", "prometheus_client", "metrics")
    from migrator.notifiers.metrics import Metrics

    return Metrics(environment=config.environment)


def _by(owner: Owner) -> str:
    return f"{owner.user}@{owner.host} pid {owner.pid}"


def _utc() -> datetime:
    return datetime.now(UTC)
