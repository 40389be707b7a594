"""What was done to the databases, as their trackers tell it: asked for page by page, in full, and taken away."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from migrator.config import Config
from migrator.core.errors import AmbiguousTarget, PlanRefused, TargetNotFound
from migrator.core.protocols import Holder, Session
from migrator.core.run import COLUMNS, Kind, Run, Status
from migrator.core.runs import RunFilter, RunPage, live, statuses_of
from migrator.runtime.connections import Connections
from migrator.runtime.logfiles import LogFiles, NoLog

if TYPE_CHECKING:
    from migrator.core.days import Days
    from migrator.core.retention import Cleaned
    from migrator.core.schedule import Firing
    from migrator.core.stats import Statistics
    from migrator.runtime.logtail import LogTail

UNCHANGED = "Nothing was changed."
ASK = 1.0
"""Seconds between two questions to the server whether a run that is followed has ended."""

NEAR = 200
"""Among how many of the newest runs the one that was meant is looked for, when an id is mistyped."""


class Past:
    """The runs of every database of a configuration; see `Migrator.past`. Takes no lock."""

    def __init__(self, config: Config, connections: Connections) -> None:
        self._config = config
        self._connections = connections
        self._files = LogFiles(config.logs.folder)

    async def runs(
        self,
        wanted: RunFilter | None = None,
        words: Iterable[str] = (),
        databases: Sequence[str] = (),
        *,
        limit: int = 50,
        after: str = "",
    ) -> RunPage:
        """Return a page of runs of all these databases, newest first, with what asks for the next page.

        `words` are of `core.runs.WORDS`, and narrow the filter to runs that stand in one of these ways.
        """
        asked, wanted = tuple(words), wanted or RunFilter()
        found: list[Run] = []
        owned: set[str] = set()
        for name in self._scope(databases):
            async with self._session(name) as session:
                held = await session.lock.holder() is not None
                if held:
                    owned.add(name)
                statuses = statuses_of(asked, owned=held)
                if statuses or not asked:
                    narrowed = replace(wanted, statuses=statuses) if asked else wanted
                    found += await session.tracker.page(narrowed, after=after, limit=limit + 1)
        found.sort(key=lambda run: run.run_id, reverse=True)
        shown = tuple(found[:limit])
        return RunPage(shown, frozenset(owned), shown[-1].run_id if len(found) > limit else "")

    async def run(self, run_id: str, databases: Sequence[str] = ()) -> RunPage:
        """Return one run in full, with its source, as a page of one: by its id or the beginning of it, or by a
        revision (`ID` or `DATABASE:ID`), which means its last run.

        Raises TargetNotFound with the nearest id, AmbiguousTarget.
        """
        found: list[Run] = []
        owned: set[str] = set()
        for name in self._scope(databases):
            async with self._session(name) as session:
                page = await session.tracker.page(RunFilter(run=run_id), limit=3, columns=COLUMNS)
                found += page
                if any(run.status is Status.PENDING for run in page) and await session.lock.holder():
                    owned.add(name)
        exact = [run for run in found if run.run_id == run_id] or found
        if not exact and run_id and (last := await self._last_of(run_id, databases)):
            return last
        if len(exact) != 1 or not run_id:
            raise await self._not_one(run_id, exact, databases)
        return RunPage(tuple(exact), frozenset(owned))

    async def _last_of(self, revision: str, databases: Sequence[str]) -> RunPage | None:
        """Return the last run of a revision (`ID`, its beginning, or `DATABASE:ID`) in full; None if it has none.

        Raises AmbiguousTarget for a beginning that several revisions have.
        """
        database, _, prefix = revision.rpartition(":")
        if not prefix or (database and database not in self._config.databases):
            return None
        scope = [database] if database else databases
        page = await self.runs(RunFilter(script=prefix), (), scope, limit=NEAR)
        changing = [run for run in page.runs if run.kind is not Kind.VERIFY] or page.runs
        last = {run.key: run for run in reversed(changing)}
        found = [run for key, run in last.items() if key.id == prefix] or list(last.values())
        if len(found) > 1:
            listed = ", ".join(str(run.key) for run in found)
            hint = "Name one: " + " or ".join(f"`migrator runs show {run.key}`" for run in found[:2])
            raise AmbiguousTarget(f"{revision!r} matches several revisions: {listed}", state=UNCHANGED, hint=hint)
        return await self.run(found[0].run_id, [found[0].database]) if found else None

    async def delete(self, runs: Sequence[Run]) -> int:
        """Delete runs with their logs and return how many went.

        Raises PlanRefused, before any goes, where one of them is live. A log that cannot be deleted is left.
        """
        self._config.refuse_dry_run("runs delete")
        self.refuse_live(runs)
        for run in runs:
            with suppress(NoLog, OSError):
                for name, _ in self._files.found(run):
                    self._files.remove(name)
        gone = 0
        for name in dict.fromkeys(run.database for run in runs):
            async with self._session(name) as session:
                gone += await session.tracker.delete([run.run_id for run in runs if run.database == name])
        return gone

    def log(self, run: Run) -> Iterator[str]:
        """Yield the lines of a run's log, oldest first. Raises NoLog, whose text says why there is none."""
        return self._files.lines(run)

    def tail(self, run: Run, *, over: bool) -> "LogTail":
        """Return what reads some lines of a run's log; `over` says that nobody writes to it any more."""
        from migrator.runtime.logtail import LogTail

        return LogTail(self._files, run, over=over)

    def log_files(self, run: Run) -> list[tuple[str, int]]:
        """Return the files of a run's log with their sizes, newest first; [] where it has none. Raises NoLog."""
        return self._files.found(run)

    def storage(self) -> tuple[int, int]:
        """Return how many log files of runs there are, and how many bytes they take."""
        sizes = [size for _, size, _ in self._files.parts()]
        return len(sizes), sum(sizes)

    async def follow(self, run: Run) -> AsyncIterator[str]:
        """Yield the lines of a run's log, and those that come, until it is over: ended or interrupted. Raises NoLog."""
        async with self._session(run.database) as session:
            asked, over = 0.0, run.status is not Status.PENDING

            async def ended() -> bool:
                nonlocal asked, over
                if not over and time.monotonic() - asked > ASK:
                    asked = time.monotonic()
                    (*_, now) = await session.tracker.page(RunFilter(ids=(run.run_id,)), columns=("status",)) or (None,)
                    over = now is None or now.status is not Status.PENDING or await session.lock.holder() is None
                return over

            async for line in self._files.follow(run, ended):
                yield line

    async def stats(
        self, wanted: RunFilter | None = None, databases: Sequence[str] = (), words: Iterable[str] = ()
    ) -> "Statistics":
        """Return what the runs that the trackers still have come to; `wanted` and `words` narrow them as in `runs`."""
        from migrator.core import stats

        counting, asked, wanted = stats.Counting(), tuple(words), wanted or RunFilter()
        for name in self._scope(databases):
            async with self._session(name) as session:
                owned = await session.lock.holder() is not None
                statuses = statuses_of(asked, owned=owned)
                if asked and not statuses:
                    continue
                narrowed = replace(wanted, statuses=statuses) if asked else wanted
                for total in await session.tracker.totals(narrowed):
                    counting.add(name, total, owned=owned)
        return counting.result()

    async def days(self, since: str, databases: Sequence[str] = ()) -> "Days":
        """Return how the runs of each day since then ended."""
        from migrator.core import days

        counted = days.Days()
        for name in self._scope(databases):
            async with self._session(name) as session:
                for total in await session.tracker.totals(RunFilter(since=since)):
                    counted.add(total)
        return counted

    async def firings(self) -> "list[Firing]":
        """Return the last firing of each schedule that was ever seen, by whatever instance, as it stands now: one that
        was running and whose owner is gone is `interrupted`.
        """
        from migrator.core.schedule import chore_of, judged
        from migrator.runtime.scheduler import followed

        schedules, now = {each.name: each for each in self._config.schedules}, datetime.now(UTC)
        found = []
        async with self._session(next(iter(self._config.databases))) as session:
            for each in await session.tracker.firings():
                held = each.word == "running" and await session.lease(chore_of(each.name)).holder() is not None
                schedule = schedules.get(each.name)
                found.append(judged(each, schedule, now, followed(schedule) if schedule else None, held=held))
        return found

    async def cleanup(
        self, days: float | None = None, databases: Sequence[str] = (), *, dry_run: bool = False, by: str = ""
    ) -> "Cleaned":
        """Delete the runs and logs that `[retention]` does not keep, and return what went. `days` is for `keep_days`.

        What belongs to no run, and what is too much for `max_bytes`, goes only where all databases are cleaned.
        `by` is the person for whom this is done. Raises LockHeld where another process is cleaning one of them.
        """
        from migrator.runtime.cleaning import Cleaning

        rules = self._config.retention if days is None else replace(self._config.retention, keep_days=days)
        cleaning = Cleaning(self._config, rules, self._files, by, dry_run=dry_run or self._config.dry_run)
        async with AsyncExitStack() as stack:
            sessions = {
                name: await stack.enter_async_context(self._session(name)) for name in sorted(self._scope(databases))
            }
            return await cleaning.clean(sessions)

    async def cleaners(self, databases: Sequence[str] = ()) -> dict[str, Holder]:
        """Return who is cleaning now, by database; {} where nobody is."""
        from migrator.runtime.cleaning import CHORE

        found: dict[str, Holder] = {}
        for name in self._scope(databases):
            async with self._session(name) as session:
                if await session.tracker.page(RunFilter(), limit=1, columns=()):  # else there may be no tracker
                    holder = await session.lease(CHORE).holder()
                    if holder is not None:
                        found[name] = holder
        return found

    def refuse_live(self, runs: Iterable[Run]) -> None:
        """Raise PlanRefused where one of these runs is live."""
        for run in runs:
            if live(run):
                raise PlanRefused(
                    f"run {run.run_id} is what the tracker knows of {run.key} now ({run.status}), so it stays",
                    state=UNCHANGED,
                    hint="`migrator downgrade`, `migrator upgrade` or `migrator resolve` put another in its place.",
                )

    @asynccontextmanager
    async def _session(self, name: str) -> AsyncIterator[Session]:
        adapter = await self._connections.adapter(name)
        async with adapter.session() as session:
            yield session

    def _scope(self, databases: Sequence[str]) -> tuple[str, ...]:
        return self._config.named(databases)

    async def _not_one(self, run_id: str, found: Sequence[Run], databases: Sequence[str]) -> Exception:
        if found and run_id:
            listed = ", ".join(f"{run.run_id} ({run.key} {run.title})" for run in found)
            hint = "Write more of the id."
            return AmbiguousTarget(f"{run_id!r} may mean {listed}", state=UNCHANGED, hint=hint)
        from difflib import get_close_matches

        newest = (await self.runs(databases=databases, limit=NEAR)).runs
        near = get_close_matches(run_id, [run.run_id for run in newest], n=1)
        hint = f"Did you mean {near[0]}?" if near else "`migrator runs` lists them, newest first."
        return TargetNotFound(f"there is no run {run_id!r}", state=UNCHANGED, hint=hint)
