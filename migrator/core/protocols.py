"""The seams. Each docstring is the contract: who commits, what is raised, what may be empty.

A driver's errors never cross a seam: they leave an adapter as `migrator.core.errors.DatabaseError`, cause kept.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from migrator.core.revision import Header, Script
from migrator.core.run import Run
from migrator.core.runs import LISTED, RunFilter

if TYPE_CHECKING:
    from logging import Logger

    from migrator.core.batch import Checkpoint, Control, FailedRow, Tools
    from migrator.core.errors import MigratorError
    from migrator.core.events import Event
    from migrator.core.forecast import Sampling
    from migrator.core.journal import Journal
    from migrator.core.schedule import Firing
    from migrator.core.stats import Total
    from migrator.core.throttle import Signals


class Capabilities(NamedTuple):
    """What a kind of database can do, asked for and never guessed.

    `transactions`: a step may run in one transaction with its tracker row. `transaction_default`: it does so unless
    the revision says otherwise. `sql`: revisions may be plain SQL. `signals` are those of a throttle that it has.
    """

    transactions: bool
    transaction_default: bool
    sql: bool
    signals: tuple[str, ...] = ()


class ConnectionStatus(NamedTuple):
    """The shared connection of an adapter: open or not, how many hold it, and where it goes. Never a password."""

    connected: bool
    references: int
    host: str
    port: int
    database: str


class Owner(NamedTuple):
    """Who wants the lock: `token` is fresh for every attempt, the rest is for people."""

    token: str
    host: str
    pid: int
    user: str
    release: str


class Holder(NamedTuple):
    """Who holds a lock. `since` is ISO 8601 in UTC from the server's clock, "" where unknown."""

    host: str
    pid: int
    user: str
    since: str
    doing: str = ""

    def __str__(self) -> str:
        """Return it for a person."""
        since = f" since {self.since}" if self.since else ""
        doing = f", now at {self.doing}" if self.doing else ""
        return f"{self.user or '?'}@{self.host or '?'} pid {self.pid}{since}{doing}"


class Context(Protocol):
    """What a script receives. Adapters add their own ways to reach the database.

    `tools` is set by the runtime in a step that walks in batches, else None. `lines` are what the script logged last,
    while they are to be kept beside each statement that commits by itself, else None.
    """

    tools: "Tools | None"
    params: Any
    lines: "Sequence[str] | None"

    logger: "Logger | None"
    """The logger of the run, where the runtime has one for it."""

    run: Run | None

    touched: bool
    """Whether anything was sent to the database, so that a failure may have left something behind."""

    escaped: bool
    """Known when the step has ended with an error: whether the script may have ended the step's own transaction."""

    checked: bool
    """Whether the script has called `check`; a `verify` that returns nothing must have."""

    @property
    def progress(self) -> "Mapping[str, Any] | None":
        """Return how many `statements` the script has sent, `of` how many; None where the adapter does not see them."""

    @property
    def log(self) -> "Logger":
        """The logger of the run."""

    def explain(self, error: Exception) -> "MigratorError | None":
        """Return what a driver's error means, None where it is none of a driver's."""

    async def only_read(self) -> None:
        """From here on refuse what would be written outside of a batch, where the database can."""

    async def settle(self) -> None:
        """Write what the script left unwritten in the context, so that `verify` sees it."""


class TrackerPlace(NamedTuple):
    """Where a tracker is, for people: `schema public`. `version` is 0 where there is none yet, `newest` the version to
    which the next command that takes the lock moves it; `note` is what else should be known of it.
    """

    where: str
    version: int
    newest: int
    note: str = ""

    def __str__(self) -> str:
        """Return it in one line."""
        if not self.version:
            return f"none yet; the first upgrade creates it in {self.where}"
        older = f"; the next upgrade moves it to version {self.newest}" if self.version < self.newest else ""
        return f"{self.where}, version {self.version}{older}" + (f"; {self.note}" if self.note else "")


class Tracker(Protocol):
    """Where the runs of one database are kept; it refuses what the rules forbid.

    Every write carries the fence of its run and is refused with TrackerRefused when a newer fence exists, when the
    transition is not in `core.run.TRANSITIONS`, when another run is pending, or when it would make a second live
    success of a revision.
    """

    async def ensure(self) -> None:
        """Create the tracker where it is missing; the lock must be held. Raises TrackerNewer, PermissionDenied."""

    @property
    def place(self) -> TrackerPlace:
        """Where it is. The version is known once something was read from it."""

    async def runs(self) -> list[Run]:
        """Return the live runs (not superseded) in order of their start, without their source; [] where there is no
        tracker. Raises TrackerNewer.
        """

    async def emptied(self) -> str:
        """Return how the runs were lost, "" where there never were any; asked where `runs` returned none."""

    async def sources(self, revisions: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return path and text of these applied revisions as they ran, by id; those without a text are left out."""

    async def start(self, run: Run) -> None:
        """Insert a pending run and commit at once."""

    async def finish(self, run: Run, following: Run | None = None) -> None:
        """Write the end of a run. A success supersedes the other live runs of its revision, and turns a success that
        it takes back into rolled_back. A failure supersedes earlier failures; one without an effect only those
        without an effect, because what an earlier one left is still there (a person's word in `resolve` ends that).

        Inside an open transactional step it joins the step's transaction and takes effect with its commit; otherwise
        it commits at once. `following` is the next pending run: it starts in the same commit.
        """

    async def record(self, run: Run) -> None:
        """Insert a run that has ended already, with all that `finish` does, in one commit: for stamp and resolve."""

    async def note(self, run: Run) -> None:
        """Insert a run that has ended and changes no state (a verify), and commit. Needs no lock; it is never live."""

    async def firings(self) -> "list[Firing]":
        """Return the last firing of every schedule, by name; [] where there is no tracker."""

    async def claim_firing(self, firing: "Firing", last: str) -> bool:
        """Write a firing if the one before it was due at `last` ("" where there was none), and commit; False where
        somebody else was faster. Creates the tracker on first use. A word of "running" begins it now.
        """

    async def end_firing(self, name: str, due: str, word: str, message: str) -> None:
        """Write how a firing ended, unless a later one began, and commit."""

    async def page(
        self, wanted: RunFilter, *, after: str = "", limit: int = 100, columns: Sequence[str] = LISTED
    ) -> list[Run]:
        """Return runs, superseded ones too, newest first: at most `limit`, and of ids smaller than `after`.

        Ids sort by time, so that the last id of a page asks for the next one. Only `columns` are read; the other
        fields of these runs mean nothing. [] where there is no tracker. Raises TrackerNewer.
        """

    async def totals(self, wanted: RunFilter) -> "list[Total]":
        """Return how many runs there are of each sort, superseded ones too, counted by the server. [] where there is
        no tracker. `core.stats.totals` says exactly what belongs together. Raises TrackerNewer.
        """

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Delete runs in one commit and return how many went. Needs no lock: what is live (`core.runs.live`) stays.

        With the last run of a long change go its checkpoints, what was asked of it, and the rows it passed over.
        """

    async def checkpoints(self, origin: str) -> "list[Checkpoint]":
        """Return how far the loops of a long change have come, by name and slice; [] where none began. `origin` is the
        first run of the chain of attempts, as in `Run.cursor`.
        """

    async def control(self, origin: str) -> "Control":
        """Return what people want of a long change now."""

    async def ask(self, origin: str, control: "Control") -> None:
        """Put down what people want of a long change, in place of what they wanted before, and commit. Needs no lock.

        Raises TrackerRefused where there is no tracker.
        """

    async def failures(self, origin: str) -> "list[FailedRow]":
        """Return the rows that the loops of a long change passed over, oldest first."""


class Lease(Protocol):
    """The sole right to do something, kept on the server.

    `lease` is the seconds for which the server keeps it for a holder that says nothing (infinite where it lives as long
    as the connection); `interval` is how often the holder should renew it, in seconds.
    """

    @property
    def lease(self) -> float:
        """Seconds, see above."""

    @property
    def interval(self) -> float:
        """Seconds, see above."""

    async def acquire(self, owner: Owner) -> int:
        """Take it at once or raise LockHeld; never wait. Returns the new fence, greater than any before.

        Creates the tracker on first use (`Tracker.ensure`).
        """

    async def renew(self) -> None:
        """Tell the server that the holder lives. Raises LockLost where the lock is somebody else's by now."""

    async def holder(self) -> Holder | None:
        """Return who holds the lock now, None where nobody does or it cannot be told."""

    async def release(self) -> None:
        """Give it back. Does nothing where it is not held."""


class Lock(Lease, Protocol):
    """The sole right to change one database."""

    async def evict(self, by: Owner, reason: str) -> Holder | None:
        """End the holder: its session, or its lease. Returns who it was, None where nobody held the lock.

        What the holder does from here on is refused. Who did it and why is kept beside the lock.
        """


class Session(Protocol):
    """One connection of one's own, for the lock, the tracker and the work together."""

    @property
    def tracker(self) -> Tracker:
        """The tracker, over this connection."""

    @property
    def lock(self) -> Lock:
        """The lock, over this connection."""

    @property
    def journal(self) -> "Journal":
        """The audit of the HTTP API and its tokens, over this connection."""

    def lease(self, chore: str) -> Lease:
        """Return the right to do a chore, by its name, such as cleanup: beside the lock, always for a limited time.

        No write is refused by its fence, so a chore must do no harm when two do it at once.
        """

    @property
    def alive(self) -> bool:
        """Say whether the connection is open, as far as is known here. Touches no network."""

    @property
    def follower(self) -> bool:
        """Return whether the server only follows another: it takes no writes, and no lock is seen on it."""

    def step(
        self, run: Run, *, timeout: float, databases: "Databases", allow_pooled: bool = False
    ) -> AbstractAsyncContextManager[Context]:
        """Open the context in which a script runs; `run.transactional` says whether in a transaction.

        Leaving it without an error commits, with whatever `Tracker.finish` wrote in it; leaving it with one rolls
        back. A commit that was never answered raises OutcomeUnknown. `timeout` is in seconds and is also given to
        the server; 0 means none. `databases` opens other databases for the script. A step outside a transaction is
        refused (PlanRefused) behind a pooler that would scatter its statements, unless `allow_pooled`.
        """

    def sampling(self, run: Run, *, databases: "Databases") -> "AbstractAsyncContextManager[Sampling]":
        """Open the context in which one batch of a long change is tried, without the lock; nothing of it is kept.

        Raises UsageError where this kind of database cannot roll a batch back.
        """


class Databases(Protocol):
    """The other databases, as a script sees them."""

    def open(self, name: str) -> AbstractAsyncContextManager[Any]:
        """Open a context of another database, outside every transaction; its connection is shared and counted."""


class Adapter(Protocol):
    """One database: its connection, shared and counted, and what can be asked of it."""

    @property
    def kind(self) -> str:
        """The word for this kind of database: `postgres`, `mongo`."""

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of database can do."""

    def session(self, under: Lock | None = None) -> AbstractAsyncContextManager[Session]:
        """Hold a reference and a connection of one's own. Raises ConnectionFailed, AuthenticationFailed and so on.

        `under` is the lock that another session of this adapter holds: what this one does is done under that lock, and
        refused where it is lost. Leaving this session does not release it.
        """

    def context(self, source: str = "", databases: "Databases | None" = None) -> AbstractAsyncContextManager[Any]:
        """Hold a reference and a context outside every transaction, for `ctx.database(name)`.

        With the `source` of a script it is the context for its verify, in which the server refuses writes if it can.
        """

    def signals(self) -> "AbstractAsyncContextManager[Signals]":
        """Open a connection for looking at the server beside a long change, apart from the shared one.

        It is never the one that does the work, and works also where a script holds all the others.
        """

    def status(self) -> ConnectionStatus:
        """Say how the shared connection stands. Touches no network."""

    def make_room(self, connections: int, *, more: bool = False) -> None:
        """Let so many sessions and contexts be open at once, where that is more than before; or so many `more`.

        Touches no network.
        """

    def hold(self) -> AbstractAsyncContextManager[object]:
        """Hold a reference and no connection of one's own, so that the shared one stays open from one session to the
        next. Raises as `session`.
        """

    async def force_close(self) -> None:
        """Close the shared connection whoever holds it."""

    async def examine(self) -> "Findings":
        """Look at the server for `doctor`: one sentence a finding. Changes nothing."""


@runtime_checkable
class Identified(Protocol):
    """What an adapter may have besides, so that the two addresses of one database can be compared."""

    async def identity(self) -> Mapping[str, str]:
        """Return what tells this database from others, by words for people, such as `database`; what this user may not
        know is left out. Raises as `Adapter.session`.
        """


class Finding(NamedTuple):
    """One answer of `doctor`. `level` is "ok", "warn" or "fail"; `hint` says what to do about the latter two.

    `value` is the answer for programs where it is a number: the clocks' difference in seconds at "clock", 1 at
    "tracker" where there is one.
    """

    level: str
    subject: str
    text: str
    hint: str = ""
    value: float | None = None


Findings = Sequence[Finding]


class Format(Protocol):
    """A kind of revision file."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:  # noqa: N802 - a constant of a module
        """The file name endings, with the dot."""

    def read(self, text: str, path: str) -> Header:
        """Read the header. Runs no code of the file. Raises RevisionFileError with path and line."""

    def load(self, text: str, path: str) -> Script:
        """Make the functions callable; runs the file's top level. Raises RevisionFileError."""

    def template(
        self, *, revision: str, title: str, down_revision: tuple[str, ...], kind: str, labels: tuple[str, ...] = ()
    ) -> str:
        """Return the text of a new file. Raises UsageError where the kind of database has no such files."""


class Notifier(Protocol):
    """Somebody who hears events. It may be slow or fail; the run does not notice.

    It may have a `name` for the one warning that it failed; a `patience`, the seconds that it gets to finish when the
    command ends; and `hears`, the classes of the events that it wants, so that the others do not wake its thread.
    """

    def __call__(self, event: "Event") -> None:
        """Hear one event."""
