"""What the API answers of runs and of what was asked, for its OpenAPI document; `as_dict` of the values agrees."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """An answer: all of these names, and no others."""

    model_config = ConfigDict(extra="forbid")


class Run(Document):
    """One execution of one step. Times are ISO 8601 in UTC, "" where there is none; `standing` is the status for
    people, in which a pending run is running or interrupted.
    """

    run_id: str
    database: str
    revision: str
    title: str
    kind: Literal["revision", "stamp", "resolve", "script", "verify"]
    direction: Literal["upgrade", "downgrade"]
    status: Literal["pending", "success", "failed", "rolled_back"]
    standing: Literal["pending", "success", "failed", "rolled_back", "running", "interrupted"]
    effect: Literal["none", "partial", "full", "unknown"]
    reason: str
    forced: bool
    attempt: int
    transactional: bool
    checksum: str
    path: str
    params: dict[str, Any] | None
    progress: dict[str, Any] | None
    cursor: dict[str, Any] | None
    started_at: str
    finished_at: str
    duration_ms: float | None
    result: dict[str, Any] | None
    error: str
    log_file: str
    deploy_id: str
    owner: str
    host: str
    pid: int
    user: str
    release: str
    fence: int
    superseded_by: str


class RunPage(Document):
    """Runs, newest first. `after` asks for the next page, and is "" where there is none."""

    runs: list[Run]
    after: str


class LogFile(Document):
    """The log of a run: its newest file with its bytes, and the full ones before it; `note` says why there is none."""

    file: str
    size: int
    older: int
    older_size: int
    note: str


class Estimate(Document):
    """How long the rest takes, in seconds, where the state is ready."""

    state: str
    seconds: float | None
    low: float | None
    high: float | None


class Loop(Document):
    """How far one loop of a long change is. `total` is -1 where it is unknown; `rate` is in rows per second."""

    name: str
    rows: int
    total: int
    percent: float | None
    batches: int
    retries: int
    splits: int
    skipped: int
    size: int
    rate: float
    effective_rate: float
    done: bool
    eta: Estimate
    throttled: dict[str, float]


class Control(Document):
    """What people want of a long change."""

    desired: Literal["run", "pause", "cancel"]
    by: str
    reason: str
    settings: dict[str, float]
    at: str


class Change(Document):
    """A long change that runs, or that stopped on its way."""

    run_id: str
    database: str
    revision: str
    title: str
    direction: str
    origin: str
    standing: Literal["running", "paused", "throttled", "cancelled", "interrupted"]
    waiting: str
    control: Control
    loops: list[Loop]


class Changes(Document):
    """Every long change that runs or stopped on its way."""

    changes: list[Change]


class FailedRow(Document):
    """A row that a loop passed over."""

    name: str
    key: list[Any]
    run_id: str
    error: str
    at: str


class WholeRun(Run):
    """One run in full. `change` is the long change it belongs to, `failures` the first rows that it passed over."""

    source: str
    log: LogFile
    change: Change | None
    failures: list[FailedRow]
    more_failures: int


class LogLine(Document):
    """A line, with its place in the file in bytes and the level of its entry."""

    offset: int
    level: str
    text: str


class LogPage(Document):
    """Some lines of a log. Ask on with `next_offset` and `mark`, which names the file: a full one is begun anew.

    `missed` says that lines may be missing before these; `complete` that there is nothing more, and never will be.
    `note` says why there is no log; `kept` are the last lines that the tracker kept of a failure.
    """

    lines: list[LogLine]
    start: int
    next_offset: int
    size: int
    mark: str
    older: int
    missed: bool
    complete: bool
    note: str
    kept: list[str]


class Sum(Document):
    """How many runs ended how, and how long those took that did their work, in milliseconds."""

    total: int
    success: int
    failed: int
    rolled_back: int
    running: int
    interrupted: int
    average_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


class ScriptSum(Sum):
    """The same for one script."""

    title: str


class Statistics(Document):
    """All runs together, by script (`database:id`), by month, and the failures by class of error."""

    all: Sum
    scripts: dict[str, ScriptSum]
    months: dict[str, Sum]
    failures: dict[str, int]


class Cleaned(Document):
    """What a clean-up did or would do."""

    runs: dict[str, int]
    files: int
    bytes: int
    seconds: float
    errors: list[str]
    dry_run: bool


class Entry(Document):
    """A call that was to change something, and what became of it."""

    entry_id: str
    who: str
    role: str
    via: str
    action: str
    address: str
    databases: list[str]
    subject: str
    asked: dict[str, Any]
    key: str
    instance: str
    word: Literal["running", "ok", "failed", "refused"]
    message: str
    result: dict[str, Any] | None
    begun_at: str
    ended_at: str


class Entries(Document):
    """Entries of the audit, newest first. `after` asks for the next page, and is "" where there is none."""

    entries: list[Entry]
    after: str


class Holder(Document):
    """Who holds a lock."""

    host: str
    pid: int
    user: str
    since: str
    doing: str


class CleanupStatus(Document):
    """Who cleans now, by database; the last clean-up that was asked for here; when a schedule does it next."""

    running: dict[str, Holder]
    last: Entry | None
    next: str


class Problem(BaseModel):
    """What is wrong (RFC 9457): what happened, what state the data is in, what to do next."""

    type: str
    title: str
    status: int
    detail: str
    hint: str
