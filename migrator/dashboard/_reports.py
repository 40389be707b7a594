"""What the API answers of databases, revisions, plans, schedules and tokens, for its OpenAPI document."""

from typing import Literal

from pydantic import Field

from migrator.dashboard._documents import Change, Document, Entry, Holder


class Lock(Document):
    """The lock of a database."""

    database: str
    holder: Holder | None


class Firing(Document):
    """The last firing of a schedule."""

    name: str
    due: str
    next: str
    word: Literal["waiting", "running", "ok", "failed", "missed", "interrupted"]
    by: str
    started_at: str
    finished_at: str
    message: str
    runs: int


class Schedule(Document):
    """What runs by itself, when it will (the next five times), and its last firing."""

    name: str
    task: Literal["run", "verify", "cleanup"]
    scripts: list[str]
    tags: list[str]
    cron: str
    zone: str
    every: float
    missed: Literal["once", "skip"]
    max_runs: int
    next: list[str]
    last: Firing | None


class Schedules(Document):
    """What `[schedule]` says."""

    schedules: list[Schedule]


class Database(Document):
    """A database: how many revisions are in which state, or why it does not answer."""

    name: str
    answers: bool
    error: str
    kind: str
    address: str
    clean: bool
    lock: str
    counts: dict[str, int]
    changes: int
    running: list[str] = Field(description="The ids of the runs that go on.")


class Databases(Document):
    """The databases that the caller may see."""

    databases: list[Database]


class Line(Document):
    """A revision with its state."""

    database: str
    revision: str
    title: str
    state: Literal[
        "applied", "pending", "failed", "drifted", "unknown", "running", "interrupted", "blocked", "elsewhere", "new",
        "changed", "done",
    ]  # fmt: skip
    head: bool
    labels: list[str]
    parents: list[str]
    path: str
    applied_at: str
    applied_by: str
    release: str
    run_id: str
    note: str
    failed_run: str


class Report(Document):
    """One database: what is applied and what is not."""

    name: str
    kind: str
    address: str
    lines: list[Line]
    lock: str
    changes: list[Change]
    tracker: str = Field(description="Where the tracker is, and its version.")
    follower: bool = Field(description="Whether the server is a standby or a secondary.")
    clean: bool


class Revisions(Document):
    """Revisions with their states, parents first."""

    revisions: list[Line]


class Param(Document):
    """A parameter that a script takes; `default` is JSON, "" where it must be given."""

    name: str
    type: str
    default: str


class Header(Document):
    """What the constants of a revision's file say. `timeout` is in seconds."""

    revision: str
    down_revision: list[str]
    depends_on: list[str]
    branch_labels: list[str]
    tags: list[str]
    transaction: bool | None
    timeout: float | None
    rerunnable: bool
    allow_pooled: bool
    on_failed_verify: str | None
    repeatable: bool
    once: bool
    environments: list[str]
    requires: list[str]
    requires_backfill: list[str]
    title: str
    functions: list[str]


class Revision(Document):
    """One revision in full: `stored` says whether the tracker keeps the text that ran, `on_disk` whether its file is
    here, `differs` whether the two are not the same.
    """

    line: Line
    header: Header
    params: list[Param]
    stored: bool
    on_disk: bool
    differs: bool


class Step(Document):
    """One revision in one direction."""

    database: str
    revision: str
    title: str
    direction: Literal["upgrade", "downgrade"]
    forced: bool
    path: str


class Forecast(Document):
    """What is expected of one loop of a long change. Numbers below 0 are unknown; `missing` says why all are."""

    database: str
    revision: str
    title: str
    loop: str
    missing: str
    rows: int
    sampled: int
    rows_per_second: float
    seconds: float
    low: float
    high: float
    log: str
    volume: int
    plan: list[str]
    warnings: list[str]


class Plan(Document):
    """The steps that would be taken, in order, and what is worth knowing of them."""

    steps: list[Step]
    notes: list[str]
    forecasts: list[Forecast]
    mark: str = Field(description="Sent as `agreed`, it lets this plan run and no other.")


class Token(Document):
    """A right to ask; times are "" for never."""

    token_id: str
    name: str
    role: Literal["viewer", "operator", "admin"]
    databases: list[str]
    made_at: str
    made_by: str
    expires_at: str
    revoked_at: str


class Tokens(Document):
    """Every token, revoked ones too."""

    tokens: list[Token]


class NewToken(Document):
    """A token that was made. Its text is shown this once; it is "" where the same call was made before."""

    entry: Entry
    text: str
