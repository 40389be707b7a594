"""`migrator schedule`: runs what is due, once for each firing, however many instances there are.

Every instance computes the same firings; whoever moves the row of a schedule from its last firing to this one does it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from migrator.config import Config
from migrator.core.errors import ConfigError, DatabaseError, LockHeld, MigratorError, TargetError
from migrator.core.events import Event
from migrator.core.protocols import Notifier, Owner, Session
from migrator.core.schedule import (
    Firing,
    Following,
    Schedule,
    Task,
    at_clock_times,
    chore_of,
    due,
    following,
    moment_of,
    runs,
    text_of,
)
from migrator.runtime import lease
from migrator.runtime.connections import Connections
from migrator.runtime.deployment import owner_of
from migrator.runtime.migrator import Migrator
from migrator.runtime.questions import Questions
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
        self._after = {each.name: followed(each) for each in config.schedules}
        self._connections = Connections(config)
        self._home = next(iter(config.databases))
        self._connections.make_room(len(config.schedules))
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def serve(self) -> None:
        """Run until cancelled; then wait for what runs, at most GRACE seconds.

        A database that is away is waited for. Raises as `check`, before anything runs.
        """
        await self.check()
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
        """Look once, begin what is due, and return the firings that are ours.

        One firing of a schedule is done at a time, on whatever host: those that fall due meanwhile are merged into one.
        """
        now = self._now()
        found = [await self._begin(each, now) for each in self._config.schedules if each.name not in self._running]
        return [firing for firing in found if firing is not None]

    async def settled(self) -> None:
        """Wait for the firings that run."""
        while self._running:
            await asyncio.wait(self._running.values())

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

    async def check(self) -> None:
        """Raise ConfigError where a schedule names a script, or a tag, that no file has."""
        async with Questions.open(self._config) as questions:
            scripts = await questions.scripts()
        for schedule in self._config.schedules:
            if schedule.task is not Task.RUN:
                continue
            try:
                scripts.choose(schedule.scripts, schedule.tags, tuple(self._config.databases))
            except TargetError as error:
                raise ConfigError(
                    f"schedule.{schedule.name}: {error.message}", state="Nothing was run.", hint=error.hint
                ) from error

    async def _begin(self, schedule: Schedule, now: datetime) -> Firing | None:
        """Begin a schedule where it is due; return the firing that is ours, None where there is none."""
        if not await self._is_due(schedule, now):
            return None
        begun: asyncio.Future[Firing | None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(self._alone(schedule, now, begun))
        self._running[schedule.name] = task
        task.add_done_callback(lambda _: self._running.pop(schedule.name, None))
        return await begun

    async def _is_due(self, schedule: Schedule, now: datetime) -> bool:
        """Say whether a firing may be done now; the first time that a schedule is seen, it is only written down."""
        async with self._session() as session:
            last = await _last(session, schedule)
            after = self._after[schedule.name]
            if last is None:
                await session.tracker.claim_firing(Firing(schedule.name, text_of(now), text_of(after(now))), "")
                return False
        return not _is_over(schedule, last) and due(moment_of(last.due), now, after) is not None

    async def _alone(self, schedule: Schedule, now: datetime, begun: "asyncio.Future[Firing | None]") -> None:
        """Do a firing under the lease of its schedule, unless another instance holds it."""
        try:
            async with self._session() as session:
                right = session.lease(chore_of(schedule.name))
                async with lease.hold(right, self._home, owner_of(self._config), wait=0.0, publish=_unheard):
                    firing, missed = await self._claim(session, schedule, now)
                    begun.set_result(firing)
                    if firing is not None and firing.word == "running":
                        await self._fire(schedule, firing, missed)
        except LockHeld:
            begun.set_result(None)
        except (MigratorError, asyncio.CancelledError) as error:
            if begun.done():
                _LOG.error("%s: %s", schedule.name, str(error) or "stopped")
            elif isinstance(error, MigratorError):
                begun.set_exception(error)
            else:
                begun.cancel()

    async def _claim(self, session: Session, schedule: Schedule, now: datetime) -> tuple[Firing | None, int]:
        """Write down that the newest firing is ours; return it, and how many before it were missed."""
        after, last = self._after[schedule.name], await _last(session, schedule)
        found = None if last is None or _is_over(schedule, last) else due(moment_of(last.due), now, after)
        if last is None or found is None:
            return None, 0
        word = "running" if runs(schedule, found.at, now) else "missed"
        count = last.runs + (word == "running")
        over = schedule.max_runs and count >= schedule.max_runs
        mine = Firing(
            schedule.name,
            text_of(found.at),
            "" if over else text_of(after(found.at)),
            word,
            _by(self._owner),
            runs=count,
        )
        return (mine if await session.tracker.claim_firing(mine, last.due) else None), found.missed

    async def _fire(self, schedule: Schedule, firing: Firing, missed: int) -> None:
        word, message = "ok", ""
        try:
            message = await perform(schedule, self._config, self._notifiers)
        except asyncio.CancelledError:
            word, message = "failed", "stopped with the scheduler" if self._stopping else "its lease was lost"
            raise
        except MigratorError as error:
            word, message = "failed", error.message
        except Exception as error:  # noqa: BLE001 - one firing must not end the others
            word, message = "failed", f"{type(error).__name__}: {error}"
        finally:
            if missed:
                message += f"; merged with {missed} missed before it"
            _LOG.log(logging.INFO if word == "ok" else logging.ERROR, "%s: %s %s", schedule.name, word, message)
            with suppress(DatabaseError):
                await self._note(firing, word, self._config.mask()(message))

    async def _note(self, firing: Firing, word: str, message: str) -> None:
        async with self._session() as session:
            await session.tracker.end_firing(firing.name, firing.due, word, message)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        adapter = await self._connections.adapter(self._home)
        async with adapter.session() as session:
            yield session

    async def _end(self) -> None:
        self._stopping = True
        if self._running:
            await asyncio.wait(self._running.values(), timeout=GRACE)
        for task in self._running.values():
            task.cancel()
        await self.settled()
        await self.close()


def upcoming(schedule: Schedule, now: datetime, count: int, done: int = 0) -> list[str]:
    """Return the next firings of a schedule, at most so many; `done` is how often it has run. [] where it is over."""
    if schedule.max_runs:
        count = max(0, min(count, schedule.max_runs - done))
    after, found = followed(schedule), list[str]()
    for _ in range(count):
        now = after(now)
        found.append(text_of(now))
    return found


def followed(schedule: Schedule) -> Following:
    """Return how the firings of a schedule follow one another."""
    return following(schedule, _cron)


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
        failed = [each for each in outcome.results if each.word not in ("ok", "done")]
        if failed:
            raise MigratorError("; ".join(f"{each.key}: {each.message}" for each in failed))
        return f"{len(outcome.results)} run"


async def _last(session: Session, schedule: Schedule) -> Firing | None:
    return next((each for each in await session.tracker.firings() if each.name == schedule.name), None)


def _is_over(schedule: Schedule, last: Firing) -> bool:
    return bool(schedule.max_runs and last.runs >= schedule.max_runs)


def _unheard(_: Event) -> None:
    """Say nothing of a lease that was taken."""


def _cron(expression: str, zone: str) -> Following:
    from cronsim import CronSim

    place, plain = ZoneInfo(zone), at_clock_times(expression)

    def after(moment: datetime) -> datetime:
        times = CronSim(plain, moment.astimezone(place))
        while True:
            found: datetime = next(times).astimezone(UTC)
            if found > moment:  # in the hour that comes twice cronsim means the first of the two
                return found

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
