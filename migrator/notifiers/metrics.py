"""Metrics for Prometheus: a textfile after each command, a push, or the text for whoever serves it."""

import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Lock

from migrator.core.events import (
    BatchDone,
    DeployBegun,
    DeployEnded,
    Event,
    LockTaken,
    LockWaiting,
    PlanMade,
    RunSettled,
    Unthrottled,
)
from migrator.core.history import History
from migrator.core.revision import Direction, Key
from migrator.core.run import Kind, Run, State, Status
from migrator.core.scripts import here
from migrator.notifiers._samples import Samples

PATIENCE = 10.0
"""Seconds that writing and pushing get when the command ends."""


class Metrics:
    """Implements `core.protocols.Notifier`. `push` is the address of a Pushgateway, `job` names what is pushed there.

    What it counts begins with this object; what it says of revisions comes from the tracker. Revisions that belong to
    other environments than `environment` do not count as pending. Any thread may ask for the `text`.
    """

    name = "metrics"
    patience = PATIENCE
    hears: frozenset[type] = frozenset(
        {DeployBegun, PlanMade, LockWaiting, LockTaken, RunSettled, BatchDone, Unthrottled, DeployEnded}
    )

    def __init__(
        self, textfile: Path | None = None, push: str = "", job: str = "migrator", environment: str = ""
    ) -> None:
        self._textfile = textfile
        self._push = push
        self._job = job
        self._environment = environment
        self._lock = Lock()
        self._fresh = Samples()
        self._total = Samples()
        self._pending: dict[str, set[Key]] = {}
        self._waited: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Count one event; at the end of a command count its runs, write, and push."""
        if isinstance(event, DeployBegun):
            import prometheus_client  # noqa: F401 - now, while the command waits for its server, and not at its end
        elif isinstance(event, PlanMade):
            self.read(event.history, event.state, event.databases)
        elif isinstance(event, DeployEnded):
            self._deliver(self._ended(event))
        else:
            with self._lock:
                self._count(event)

    def read(self, history: History, state: State, databases: tuple[str, ...]) -> None:
        """Take in what the trackers of these databases say."""
        with self._lock:
            for database in databases:
                self._read_files(database, history, state)
            for run in (*state.applied.values(), *state.scripts.values(), *state.blocked.values()):
                if run.database in databases:
                    self._stands(run, _seconds(run.finished_at))

    def reached(self, database: str, *, up: bool) -> None:
        """Say whether a database could be read."""
        with self._lock:
            self._fresh.put("migrator_database_up", (database,), float(up))

    def text(self) -> str:
        """Return everything in Prometheus' text format, for whoever serves it."""
        with self._lock:
            self._count_pending()
            everything = self._total.plus(self._fresh)
        return everything.text()

    def _count(self, event: Event) -> None:
        if isinstance(event, RunSettled):
            self._stands(event.run, time.time())
        elif isinstance(event, LockWaiting | LockTaken):
            self._waited[event.database] = event.waited
        elif isinstance(event, BatchDone):
            self._fresh.add("migrator_batch_rows", (event.run.revision, event.run.database), event.rows)
        elif isinstance(event, Unthrottled):
            labels = (event.run.revision, event.run.database)
            self._fresh.add("migrator_throttle_seconds", labels, event.seconds)

    def _read_files(self, database: str, history: History, state: State) -> None:
        mine = [history[key] for key in history.of(database) if not history[key].stored]
        waiting = (each.key for each in mine if each.key not in state.applied and here(each, self._environment))
        self._pending[database] = set(waiting)
        tried = {key.id for key in (*state.attempts, *state.applied) if key.database == database}
        self._fresh.known[database] = tried | {each.id for each in mine}

    def _ran(self, run: Run) -> None:
        if run.kind is not Kind.STAMP and run.duration_ms is not None:
            self._fresh.observe(_labels(run), run.duration_ms / 1000)
        self._stands(run, time.time())
        if run.status is Status.SUCCESS and run.kind is not Kind.SCRIPT:
            pending = self._pending.setdefault(run.database, set())
            (pending.discard if run.direction is Direction.UPGRADE else pending.add)(run.key)

    def _stands(self, run: Run, at: float) -> None:
        self._fresh.put("script_execution_status", _labels(run), float(run.status is Status.SUCCESS))
        self._fresh.put("script_last_run_timestamp", _labels(run), at)

    def _count_pending(self) -> None:
        for database, keys in self._pending.items():
            self._fresh.put("migrator_pending_revisions", (database,), len(keys))

    def _ended(self, event: DeployEnded) -> Samples:
        """Count what the end of a command brings, and return what came since the last one."""
        with self._lock:
            for run in event.runs:
                self._ran(run)
            for database, waited in self._waited.items():
                self._fresh.add("migrator_lock_wait_seconds", (database,), waited)
            self._waited.clear()
            self._count_pending()
            fresh, self._fresh = self._fresh, Samples()
            self._total = self._total.plus(fresh)
            return fresh

    def _deliver(self, fresh: Samples) -> None:
        """Write what is new, added to what the file has, and push it."""
        said = fresh
        try:
            if self._textfile:
                said = fresh.written(self._textfile)
        finally:
            if self._push:
                for database in fresh.databases():
                    said.of(database).push(self._push, self._job, self._environment, database)


def _labels(run: Run) -> tuple[str, str, str]:
    return run.revision, run.database, run.direction


def _seconds(text: str) -> float:
    """Return the seconds since 1970 of a time as the tracker has it; 0 where it has none."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return 0.0
