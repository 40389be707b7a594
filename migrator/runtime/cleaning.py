"""`migrator cleanup`: deletes the runs and the logs that the rules do not keep. See `core.retention` for the rules."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from migrator.config import Config
from migrator.core.logs import Part
from migrator.core.protocols import Session, Tracker
from migrator.core.retention import COLUMNS, Cleaned, Judge, Retention, holds_log
from migrator.core.run import Run
from migrator.core.runs import RunFilter, time_of
from migrator.core.wording import counted
from migrator.runtime import lease
from migrator.runtime.deployment import owner_of
from migrator.runtime.logfiles import LogFiles, NoLog
from migrator.runtime.runlog import RunLogs, own_log

CHORE = "cleanup"
BATCH = 100
"""How many runs go in one commit, their log files first."""

PAGE = 5000
TOLD = 20
"""How many errors are told in full."""

_LOG = logging.getLogger("migrator.cleanup")


class Cleaning:
    """One clean-up. Memory holds a page of runs and the names of the files, however long the past is."""

    def __init__(self, config: Config, rules: Retention, files: LogFiles, actor: str, *, dry_run: bool) -> None:
        self._config = config
        self._actor = actor
        self._rules = rules
        self._files = files
        self._dry_run = dry_run
        self._runs: dict[str, int] = {}
        self._files_gone = self._bytes_gone = 0
        self._errors: list[str] = []
        self._wrong = 0
        self._held: set[str] = set()
        self._would_go: set[str] = set()
        self._say: Callable[[int, str], None] = _LOG.log

    async def clean(self, sessions: Mapping[str, Session]) -> Cleaned:
        """Clean these databases, and the folder of the logs where they are all there are. Raises LockHeld."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            now = datetime.now(UTC)
            if not self._dry_run:
                self._say = stack.enter_context(own_log(CHORE, RunLogs(self._config.logs, self._config.mask()), _LOG))
                now = await self._lock(sessions, stack) or now
            self._say(logging.INFO, f"begins: {self._rules}")
            for name, session in sessions.items():
                await self._clean(name, session.tracker, now)
            if set(sessions) == set(self._config.databases):
                before = (now - timedelta(days=self._rules.days_of_logs)).timestamp()
                await self._clean_orphans([session.tracker for session in sessions.values()], before)
                self._clean_too_much()
            errors = (*self._errors, *([f"and {self._wrong - TOLD} more"] if self._wrong > TOLD else ()))
            spent = round(time.monotonic() - began, 3)
            done = Cleaned(self._runs, self._files_gone, self._bytes_gone, spent, errors, self._dry_run)
            self._say(logging.INFO, str(done))
            return done

    async def _lock(self, sessions: Mapping[str, Session], stack: AsyncExitStack) -> datetime | None:
        """Take the right to clean every database that has runs, and return the server's time."""
        now = None
        for name, session in sessions.items():
            if await session.tracker.page(RunFilter(), limit=1, columns=()):
                right, owner = session.lease(CHORE), owner_of(self._config, self._actor)
                await stack.enter_async_context(lease.hold(right, name, owner, wait=0.0, publish=_unheard))
                holder = await right.holder()
                now = time_of(holder.since) if holder else now
        return now

    async def _clean(self, name: str, tracker: Tracker, now: datetime) -> None:
        """Go through the runs of a database that are old enough, and delete what is to go, in batches."""
        self._runs[name] = 0
        before = (now - timedelta(days=self._rules.youngest)).isoformat()
        self._held |= {run.log_file for run in await tracker.runs() if holds_log(run)}
        judge, doomed = Judge(self._rules, now, await tracker.totals(RunFilter(since=before))), list[Run]()
        async for page in walk(tracker, wanted=RunFilter(until=before)):
            for run in page:
                fate = judge.fate(run)
                if (not fate.log or self._drop_log(run)) and fate.row:
                    doomed.append(run)
                if len(doomed) == BATCH:
                    await self._drop(name, tracker, doomed)
        await self._drop(name, tracker, doomed)

    async def _drop(self, name: str, tracker: Tracker, doomed: list[Run]) -> None:
        """Delete runs whose logs have gone, and empty the list."""
        if doomed:
            ids = [run.run_id for run in doomed]
            self._runs[name] += len(ids) if self._dry_run else await tracker.delete(ids)
            self._say(logging.INFO, f"{name}: {counted(len(ids), 'run')}, {ids[-1]} to {ids[0]}")
        doomed.clear()

    def _drop_log(self, run: Run) -> bool:
        """Delete the log of a run; False where it could not be, so that the run stays and is tried again."""
        try:
            files = self._files.found(run)
        except NoLog as why:
            self._fail(f"{run.key} run {run.run_id}: {why}")
            return True  # there is nothing of ours to be deleted, now or later
        return not [name for name, size in files if not self._drop_file(name, size)]

    def _drop_file(self, name: str, size: int) -> bool:
        try:
            if self._dry_run:
                self._would_go.add(name)
            else:
                self._files.remove(name)
        except OSError as error:
            self._fail(f"{name} cannot be deleted: {error.strerror or error}")
            return False
        self._files_gone += 1
        self._bytes_gone += size
        return True

    async def _clean_orphans(self, trackers: Sequence[Tracker], before: float) -> None:
        """Delete old logs of runs that no database knows."""
        old = [(part, size) for part, size, changed in self._parts() if changed < before]
        for start in range(0, len(old), BATCH):
            some = old[start : start + BATCH]
            asked = RunFilter(ids=tuple({part.run_id for part, _ in some}))
            known = {
                run.run_id for each in trackers for run in await each.page(asked, limit=len(some), columns=("run_id",))
            }
            for part, size in some:
                if part.run_id not in known:
                    self._drop_file(part.file_name, size)

    def _clean_too_much(self) -> None:
        """Delete the oldest logs until the rest is small enough; those that must be kept stay in any case."""
        if not self._rules.max_bytes:
            return
        files = sorted((changed, size, part) for part, size, changed in self._parts())
        excess = sum(size for _, size, _ in files) - self._rules.max_bytes
        for _, size, part in files:
            if excess > 0 and part.name not in self._held and self._drop_file(part.file_name, size):
                excess -= size

    def _parts(self) -> Iterator[tuple[Part, int, float]]:
        """Yield the files that are there, or would be."""
        return (each for each in self._files.parts() if each[0].file_name not in self._would_go)

    def _fail(self, what: str) -> None:
        self._wrong += 1
        self._say(logging.ERROR, what)
        if len(self._errors) < TOLD:
            self._errors.append(what)


async def walk(
    tracker: Tracker, columns: Sequence[str] = COLUMNS, wanted: RunFilter | None = None
) -> AsyncIterator[list[Run]]:
    """Yield all the runs of one tracker, newest first, page by page: memory holds one page, however many there are."""
    after = ""
    while page := await tracker.page(wanted or RunFilter(), after=after, limit=PAGE, columns=columns):
        yield page
        after = page[-1].run_id


def _unheard(event: object) -> None:
    """Tell nobody."""
