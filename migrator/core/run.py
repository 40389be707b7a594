"""A run: one execution of one step; its states as data; and what the runs say about a database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migrator.core.revision import Direction, Key

if TYPE_CHECKING:
    from migrator.core.batch import Control


class Status(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class Effect(StrEnum):
    """What a run is known to have done to the database."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """Why there is a run: a revision in its order, a word of a person, a script beside the order, a verify alone."""

    REVISION = "revision"
    STAMP = "stamp"
    RESOLVE = "resolve"
    SCRIPT = "script"
    VERIFY = "verify"


class Edit(StrEnum):
    """How the file of a revision differs from the text that ran, where an upgrade does the same all the same.

    LAYOUT is comments, blanks, docstrings; BACK is that and what only `downgrade` and `verify` do. Any other
    difference is drift.
    """

    LAYOUT = "layout"
    BACK = "downgrade or verify"


TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, Status.PENDING): "The holder of the lock starts a step; the row is committed before the work.",
    (Status.PENDING, Status.SUCCESS): "The step did all of its work and its verify agreed.",
    (Status.PENDING, Status.FAILED): "The step raised, was stopped, or its verify said no.",
    (Status.SUCCESS, Status.ROLLED_BACK): "A later downgrade of the same revision succeeded.",
}
"""Every arrow that exists. Whatever is not here is refused, by `Run.moved` and again by the tracker."""

EFFECTS: Mapping[Status, frozenset[Effect]] = {
    Status.PENDING: frozenset({Effect.UNKNOWN, Effect.PARTIAL}),
    Status.SUCCESS: frozenset({Effect.FULL}),
    Status.FAILED: frozenset(Effect),
    Status.ROLLED_BACK: frozenset({Effect.NONE}),
}
"""Which effects a status may go with."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of the tracker. Times are ISO 8601 text in UTC from the server's clock; durations are milliseconds."""

    run_id: str
    database: str
    revision: str
    title: str = ""
    kind: Kind = Kind.REVISION
    direction: Direction = Direction.UPGRADE
    status: Status = Status.PENDING
    effect: Effect = Effect.UNKNOWN
    reason: str = ""
    forced: bool = False
    attempt: int = 1
    transactional: bool = True
    checksum: str = ""
    path: str = ""
    source: str = field(default="", repr=False)
    params: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    cursor: Mapping[str, Any] | None = None
    started_at: str = ""
    finished_at: str = ""
    duration_ms: float | None = None
    result: Mapping[str, Any] | None = None
    error: str = ""
    log_file: str = ""
    deploy_id: str = ""
    owner: str = ""
    host: str = ""
    pid: int = 0
    user: str = ""
    release: str = ""
    fence: int = 0
    superseded_by: str = ""

    def __repr__(self) -> str:
        """Return what tells it from another; `as_dict` has everything."""
        return f"<Run {self.run_id} {self.direction} {self.key} {self.status}>"

    @property
    def key(self) -> Key:
        """Return the revision with its database."""
        return Key(self.database, self.revision)

    @property
    def origin(self) -> str:
        """Return the first run of the attempts at a long change that continue one another; "" for any other run."""
        return str((self.cursor or {}).get("origin", ""))

    @property
    def kept_under(self) -> str:
        """Return the origin under which the rows that a long change passed over are kept."""
        return self.failed_of or self.origin

    @property
    def failed_of(self) -> str:
        """Return the origin of the long change whose failed rows this run takes once more; "" for any other run.

        What it leaves undone is recorded row by row, so that nobody has to judge it when it fails.
        """
        return str((self.cursor or {}).get("failed_of", ""))

    @property
    def lane(self) -> str:
        """Return what only one pending run of a database may have: "" in the order, a script's own name beside it."""
        return self.revision if self.kind is Kind.SCRIPT else ""

    def moved(self, status: Status, effect: Effect, **changes: Any) -> "Run":
        """Return this run in another status. ValueError where there is no such arrow."""
        if (self.status, status) not in TRANSITIONS:
            raise ValueError(f"a run cannot go from {self.status} to {status}")
        if effect not in EFFECTS[status]:
            raise ValueError(f"a run that is {status} cannot have the effect {effect}")
        return replace(self, status=status, effect=effect, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the run for `--json`: every column but the source."""
        return {name: value for name, value in vars(self).items() if name != "source"}


COLUMNS = tuple(each.name for each in fields(Run) if each.name != "database")
"""The columns of the tracker, in order. The database is where the tracker is, so it is no column."""


@dataclass(frozen=True)
class State:
    """What the trackers say: the applied revisions in the order in which they were applied, those whose last run
    left something that a person must judge, the runs that have started and not finished, how often each was tried, and
    the long changes that stopped on their way and whose checkpoints the next run continues. `scripts` are the last
    runs of repeatable revisions that did well; `controls` say what people want of long changes that stopped. `edits`
    are the edits of files since, as far as they are no drift. `failed` are the last failures that left nothing and that
    no later run followed: of a revision that is not applied, or a downgrade after which nothing else was done.
    """

    applied: Mapping[Key, Run] = field(default_factory=dict)
    blocked: Mapping[Key, Run] = field(default_factory=dict)
    running: tuple[Run, ...] = ()
    attempts: Mapping[Key, int] = field(default_factory=dict)
    resumable: Mapping[Key, Run] = field(default_factory=dict)
    scripts: Mapping[Key, Run] = field(default_factory=dict)
    controls: Mapping[Key, "Control"] = field(default_factory=dict)
    edits: Mapping[Key, Edit] = field(default_factory=dict)
    failed: Mapping[Key, Run] = field(default_factory=dict)

    def is_changed(self, run: Run, checksum: str) -> bool:
        """Return whether a revision with this checksum does something else than its run did."""
        return bool(run.checksum) and run.checksum != checksum and run.key not in self.edits


def state_of(runs: Iterable[Run]) -> State:
    """Derive the state from the live runs (those that no later run superseded), oldest first."""
    applied: dict[Key, Run] = {}
    blocked: dict[Key, Run] = {}
    running: list[Run] = []
    attempts: dict[Key, int] = {}
    resumable: dict[Key, Run] = {}
    scripts: dict[Key, Run] = {}
    failed: dict[Key, Run] = {}
    for run in runs:
        if run.superseded_by:
            continue
        left = run.status is Status.FAILED and run.effect is not Effect.NONE and not run.failed_of
        if left and run.cursor is not None:
            resumable[run.key] = run
        attempts[run.key] = max(run.attempt, attempts.get(run.key, 0))
        if run.status is Status.PENDING:
            running.append(run)
        elif run.status is Status.SUCCESS and run.direction is Direction.UPGRADE:
            done = scripts if run.kind is Kind.SCRIPT else applied
            done.pop(run.key, None)
            done[run.key] = run
        elif left and run.kind is not Kind.RESOLVE:
            blocked[run.key] = run
        elif run.status is Status.FAILED and run.kind is Kind.REVISION:
            failed[run.key] = run
    newest = max((run.run_id for run in applied.values()), default="")
    failed = {key: run for key, run in failed.items() if key not in applied or run.run_id > newest}
    return State(applied, blocked, tuple(running), attempts, resumable, scripts, failed=failed)


def merged(states: Iterable[State]) -> State:
    """Return the states of several databases as one."""
    applied: dict[Key, Run] = {}
    blocked: dict[Key, Run] = {}
    attempts: dict[Key, int] = {}
    running: list[Run] = []
    resumable: dict[Key, Run] = {}
    scripts: dict[Key, Run] = {}
    controls: dict[Key, Control] = {}
    edits: dict[Key, Edit] = {}
    failed: dict[Key, Run] = {}
    for state in states:
        failed.update(state.failed)
        edits.update(state.edits)
        controls.update(state.controls)
        scripts.update(state.scripts)
        applied.update(state.applied)
        resumable.update(state.resumable)
        blocked.update(state.blocked)
        attempts.update(state.attempts)
        running.extend(state.running)
    return State(applied, blocked, tuple(running), attempts, resumable, scripts, controls, edits, failed)
