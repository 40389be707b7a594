"""A database in memory: the shortest reading of the contract, and a place for tests of what stands above the adapters.

`memory://local/NAME` is a store of this program: every adapter with that NAME sees the same, until the program ends.
It refuses what PostgreSQL refuses, at the same moment: what a step writes to the tracker is judged when it commits.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from migrator.adapters._chores import ChoreLease, Chores
from migrator.adapters._context import ContextBase
from migrator.adapters._retiring import applied, retired, retires
from migrator.core.batch import Checkpoint, Control, FailedRow
from migrator.core.errors import LockHeld, LockLost, StatementTimeout, TrackerNewer, TrackerRefused
from migrator.core.protocols import (
    Adapter,
    Capabilities,
    Databases,
    Finding,
    Findings,
    Holder,
    Lock,
    Owner,
    TrackerPlace,
)
from migrator.core.revision import Direction
from migrator.core.run import EFFECTS, TRANSITIONS, Run, Status
from migrator.core.runs import LISTED, RunFilter, live
from migrator.core.schedule import Firing
from migrator.core.url import Url

if TYPE_CHECKING:
    from migrator.adapters._journal import MemoryJournal
    from migrator.core.stats import Total

KIND = "memory"
SCHEMES = ("memory",)
CAPABILITIES = Capabilities(transactions=True, transaction_default=True, sql=False)
VERSION = 1  # of the tracker; a newer one is refused


@dataclass
class Store:
    """One database. `things` is the users'; `rows` are the runs in order of their start, None without a tracker."""

    things: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Run] | None = None
    version: int = VERSION
    fence: int = 0
    owner: Owner | None = None
    since: str = ""
    firings: dict[str, Firing] = field(default_factory=dict)
    evictions: list[tuple[str, str, str]] = field(default_factory=list)
    chores: Chores = field(default_factory=dict)
    controls: dict[str, Control] = field(default_factory=dict)
    journal: "MemoryJournal | None" = None


@cache
def store(name: str) -> Store:  # noqa: ARG001 - the cache keeps one for each name
    """Return the store of that name, made on first use."""
    return Store()


def adapter(name: str, url: Url, *, pool: int = 2, connect_timeout: float = 5.0, release: str = "") -> Adapter:  # noqa: ARG001
    """Return the adapter of one database; nothing is opened yet. The options are there for the other adapters."""
    return _Adapter(name, url)


class Context(ContextBase):
    """What a script receives: `ctx.store`, a dict. In a transactional step it is a copy, committed with the step."""

    def __init__(self, things: dict[str, Any], run: Run | None, databases: Databases | None) -> None:
        super().__init__(run, databases)
        self._things = things

    @property
    def store(self) -> dict[str, Any]:
        """What is in the database. Whoever asks for it counts as having touched it."""
        self.touched = True
        return self._things

    async def settle(self) -> None:
        """Do nothing: nothing waits here."""


class _Tracker:
    """`waiting` is what an open transactional step will commit, else None."""

    def __init__(self, name: str, place: Store) -> None:
        self._name = name
        self._place = place
        self.waiting: list[tuple[Run | None, Run | None]] | None = None

    async def ensure(self) -> None:
        self._check_version()
        self._place.rows = self._place.rows or {}

    @property
    def place(self) -> TrackerPlace:
        return TrackerPlace("memory", 0 if self._place.rows is None else self._place.version, VERSION)

    async def emptied(self) -> str:
        return ""

    async def runs(self) -> list[Run]:
        self._check_version()
        return [replace(run, source="") for run in deepcopy(self._place.rows or {}).values() if not run.superseded_by]

    async def sources(self, revisions: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        rows = (self._place.rows or {}).values()
        return {run.revision: (run.path, run.source) for run in rows if run.source and applied(run, revisions)}

    async def page(
        self, wanted: RunFilter, *, after: str = "", limit: int = 100, columns: Sequence[str] = LISTED
    ) -> list[Run]:
        self._check_version()
        rows = sorted((self._place.rows or {}).values(), key=lambda run: run.run_id, reverse=True)
        found = [run for run in rows if (not after or run.run_id < after) and wanted.matches(run)][:limit]
        return [deepcopy(run) if "source" in columns else replace(deepcopy(run), source="") for run in found]

    async def totals(self, wanted: RunFilter) -> "list[Total]":
        from migrator.core.stats import totals

        self._check_version()
        return totals(run for run in (self._place.rows or {}).values() if wanted.matches(run))

    async def delete(self, run_ids: Sequence[str]) -> int:
        rows = self._place.rows or {}
        gone = [run_id for run_id in dict.fromkeys(run_ids) if run_id in rows and not live(rows[run_id])]
        left = {run_id: run for run_id, run in rows.items() if run_id not in gone}
        kept = {origin for run in left.values() for origin in (run.origin, run.failed_of)}
        for origin in {each for run_id in gone for each in (rows[run_id].origin, rows[run_id].failed_of)} - kept:
            self._place.controls.pop(origin, None)
        self._place.rows = left
        return len(gone)

    async def checkpoints(self, origin: str) -> list[Checkpoint]:  # noqa: ARG002 - no step walks in batches here
        return []

    async def control(self, origin: str) -> Control:
        return self._place.controls.get(origin, Control())

    async def ask(self, origin: str, control: Control) -> None:
        if self._place.rows is None:
            raise TrackerRefused(f"{self._name} has no tracker, so no long change to ask anything of")
        self._place.controls[origin] = replace(deepcopy(control), at=_now())

    async def failures(self, origin: str) -> list[FailedRow]:  # noqa: ARG002
        return []

    async def start(self, run: Run) -> None:
        self.commit([(None, run)])

    async def finish(self, run: Run, following: Run | None = None) -> None:
        """Write the end of a run; in an open transactional step this waits for the commit."""
        self.commit([(run, following)]) if self.waiting is None else self.waiting.append((run, following))

    async def record(self, run: Run) -> None:
        self.commit([(None, run), (run, None)])

    async def note(self, run: Run) -> None:
        self._place.rows = {**(self._place.rows or {}), run.run_id: replace(run, superseded_by=run.run_id)}

    async def firings(self) -> list[Firing]:
        return [self._place.firings[name] for name in sorted(self._place.firings)]

    async def claim_firing(self, firing: Firing, last: str) -> bool:
        kept = self._place.firings.get(firing.name)
        if (kept.due if kept else "") != last:
            return False
        began = _now() if firing.word == "running" else (kept.started_at if kept else "")
        self._place.firings[firing.name] = replace(firing, started_at=began)
        return True

    async def end_firing(self, name: str, due: str, word: str, message: str) -> None:
        kept = self._place.firings.get(name)
        if kept is not None and kept.due == due:
            self._place.firings[name] = replace(kept, word=word, message=message, finished_at=_now())

    def commit(self, writes: Sequence[tuple[Run | None, Run | None]]) -> None:
        rows = dict(self._place.rows or {})
        for run, following in writes:
            if any(each is not None and each.fence != self._place.fence for each in (run, following)):
                raise self._refused(run or following, "somebody else holds the lock by now")
            if run is not None:
                self._finish(rows, run)
            if following is not None:
                self._start(rows, following)
        self._place.rows = rows

    def _start(self, rows: dict[str, Run], run: Run) -> None:
        waiting = [each for each in rows.values() if each.status is Status.PENDING and each.lane == run.lane]
        if run.run_id in rows or waiting:
            raise self._refused(run, "another run is pending")
        rows[run.run_id] = replace(deepcopy(run), status=Status.PENDING, started_at=_now(), finished_at="")

    def _finish(self, rows: dict[str, Run], run: Run) -> None:
        found = rows.get(run.run_id)
        if found is None or found.status is not Status.PENDING or found.fence > run.fence:
            raise self._refused(run, "it is not pending")
        if (Status.PENDING, run.status) not in TRANSITIONS or run.effect not in EFFECTS[run.status]:
            raise self._refused(run, f"it cannot become {run.status} with the effect {run.effect}")
        if run.attempt > 1 or run.direction is Direction.DOWNGRADE:
            rows.update({each.run_id: retired(each, run) for each in rows.values() if retires(run, each)})
        if run.status is Status.SUCCESS and any(applied(each, [run.revision]) for each in rows.values()):
            raise self._refused(run, f"{run.revision} is applied by now")
        spent = (datetime.now(UTC) - datetime.fromisoformat(found.started_at)).total_seconds() * 1000
        told = {name: getattr(run, name) for name in ("status", "effect", "reason", "error", "log_file")}
        told["progress"] = deepcopy(run.progress or found.progress)
        rows[run.run_id] = replace(found, **told, result=deepcopy(run.result), finished_at=_now(), duration_ms=spent)

    def _check_version(self) -> None:
        if self._place.version > VERSION:
            raise TrackerNewer(f"the tracker of {self._name} has version {self._place.version}, we know {VERSION}")

    def _refused(self, run: Run | None, why: str) -> TrackerRefused:
        return TrackerRefused(f"the tracker of {self._name} refused to record run {run and run.run_id}: {why}")


class _Lock:
    lease, interval = float("inf"), 15.0

    def __init__(self, name: str, place: Store, tracker: _Tracker) -> None:
        self._name = name
        self._place = place
        self._tracker = tracker
        self._owner: Owner | None = None

    async def acquire(self, owner: Owner) -> int:
        if self._place.owner is not None:
            raise LockHeld(f"the lock of {self._name} is held by {await self.holder()}", hint="Wait for it.")
        await self._tracker.ensure()
        self._owner = self._place.owner = owner
        self._place.since = _now()
        self._place.fence += 1
        return self._place.fence

    async def renew(self) -> None:
        if self._owner is None or self._place.owner is not self._owner:
            raise LockLost(f"the lock of {self._name} is not ours any more")

    async def holder(self) -> Holder | None:
        runs, owner = (self._place.rows or {}).values(), self._place.owner
        doing = next((f"{run.revision} {run.title}" for run in runs if run.status is Status.PENDING), "")
        return None if owner is None else Holder(owner.host, owner.pid, owner.user, self._place.since, doing)

    async def release(self) -> None:
        if self._owner is not None and self._place.owner is self._owner:
            self._place.owner = None
        self._owner = None

    async def evict(self, by: Owner, reason: str) -> Holder | None:
        holder, self._place.owner = await self.holder(), None
        if holder is not None:
            self._place.fence += 1
            self._place.evictions.append((str(by.user), reason, str(holder)))
        return holder


class _Session:
    def __init__(self, name: str, place: Store) -> None:
        self._place = place
        self.tracker = _Tracker(name, place)
        self.lock = _Lock(name, place, self.tracker)

    @property
    def journal(self) -> "MemoryJournal":
        """The audit and the tokens of the store."""
        from migrator.adapters._journal import MemoryJournal  # this module is loaded wherever adapters are listed

        self._place.journal = self._place.journal or MemoryJournal()
        return self._place.journal

    def lease(self, chore: str) -> ChoreLease:
        """Return the right to do a chore."""
        return ChoreLease(self._place.chores, chore)

    @property
    def alive(self) -> bool:
        """Say yes."""
        return True

    @property
    def follower(self) -> bool:
        """Return False: nothing is copied."""
        return False

    def sampling(self, run: Run, *, databases: Databases) -> AbstractAsyncContextManager[Any]:
        del databases
        raise AssertionError(f"a store in memory has no batches for {run.key}")

    @asynccontextmanager
    async def step(
        self, run: Run, *, timeout: float, databases: Databases, allow_pooled: bool = False
    ) -> AsyncIterator[Context]:
        """Open the context of a step; see the protocol. The time limit ends whatever the script awaits."""
        from asyncio import timeout as at_most

        del allow_pooled
        context = Context(deepcopy(self._place.things) if run.transactional else self._place.things, run, databases)
        self.tracker.waiting = [] if run.transactional else None
        try:
            async with at_most(timeout or None) as limit:
                yield context
            self.tracker.commit(self.tracker.waiting or [])
            if run.transactional:
                self._place.things = context.store
        except TimeoutError as error:
            if limit.expired():
                raise StatementTimeout(f"{run.revision} took longer than {timeout:g} seconds") from error
            raise
        finally:
            self.tracker.waiting = None


class _Adapter:
    kind = KIND
    capabilities = CAPABILITIES

    def __init__(self, name: str, url: Url) -> None:
        from migrator.adapters._shared import Shared

        async def opened() -> Store:
            return store(url.database)

        self._name = name
        self._shared = Shared(url, opened, lambda _: opened())  # closing keeps it for whoever opens it next
        self.status = self._shared.status
        self.hold = self._shared.hold
        self.force_close = self._shared.force_close

    @asynccontextmanager
    async def session(self, under: Lock | None = None) -> AsyncIterator[_Session]:  # noqa: ARG002 - the fence is enough
        async with self._shared.hold() as place:
            session = _Session(self._name, place)
            try:
                yield session
            finally:
                await session.lock.release()

    @asynccontextmanager
    async def context(self, source: str = "", databases: Databases | None = None) -> AsyncIterator[Context]:
        """Hold a reference and a context; what a verify writes in it goes nowhere."""
        async with self._shared.hold() as place:
            yield Context(deepcopy(place.things) if source else place.things, None, databases)

    def make_room(self, connections: int, *, more: bool = False) -> None:
        """Do nothing: there is room for any number."""

    def signals(self) -> AbstractAsyncContextManager[Any]:
        raise AssertionError("a store in memory has no signals")

    async def examine(self) -> Findings:
        return [Finding("ok", "store", "in the memory of this program")]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
