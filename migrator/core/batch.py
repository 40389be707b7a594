"""A long data change, batch by batch: its checkpoints, what people may ask of it, and what walks and keeps it."""

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from migrator.core.pace import Bounds

Position: TypeAlias = tuple[Any, ...]
"""A place in the order of a key, in the form in which the checkpoint keeps it."""

_RANGES = {
    "target": (0.01, 3600.0),
    "max_rows": (1, 1_000_000_000),
    "max_bytes": (1, 1 << 40),
    "max_rows_per_second": (0.0, inf),
}


@dataclass(frozen=True)
class Page:
    """The rows from `first` to `last`, both included, in the order of the key; `size` counts them.

    `first` and `last` are what a script uses: one value, or a tuple for a key of several columns. `upto` is `last` as
    the checkpoint keeps it. `where` with `args` says which rows these are, in the database's own language.
    """

    first: Any
    last: Any
    upto: Position
    size: int
    where: Any
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Extent:
    """What is known of a table before the first batch: `rows` and `row_bytes` from statistics (below 0: unknown), and
    the last key, None where the table is empty.
    """

    rows: int
    row_bytes: float
    high: Position | None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How far one loop has come; `origin` is the first run of the chain of attempts that continue one another.

    `fence` belongs to the holder that may move it. `waiting` says why it stands still now, "" where it does not;
    `throttled` holds the seconds for which it stood still, by reason.
    """

    origin: str
    name: str
    slice: int = 0
    run_id: str = ""
    fence: int = 0
    low: Position | None = None
    high: Position | None = None
    cursor: Position | None = None
    rows: int = 0
    total: int = -1
    batches: int = 0
    retries: int = 0
    splits: int = 0
    skipped: int = 0
    size: int = 0
    rate: float = 0.0
    waiting: str = ""
    throttled: Mapping[str, float] = field(default_factory=dict)
    done: bool = False


class Desired(StrEnum):
    """What a person wants of a long change."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Control:
    """What people asked of a long change: who, why, and the settings that they changed while it runs.

    `at` is when, as ISO 8601 from the server's clock, and "" before it is written.
    """

    desired: Desired = Desired.RUN
    by: str = ""
    reason: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)
    at: str = ""

    @property
    def cancelled(self) -> bool:
        """Say whether the change is to end where it is, and not to go on until somebody says so."""
        return self.desired is Desired.CANCEL

    @property
    def pause(self) -> str:
        """Return why the change stands still, "" where nobody wants it to; the word before the colon is the kind."""
        if self.desired is not Desired.PAUSE:
            return ""
        since = f" since {self.at}" if self.at else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"paused: by {self.by}{since}{why}; `migrator resume` lets it go on"


@dataclass(frozen=True)
class FailedRow:
    """A row that a loop passed over: its key in the loop of that name, which run did it, why, and when (ISO 8601)."""

    name: str
    key: Position
    run_id: str
    error: str
    at: str


@dataclass(frozen=True)
class Settings:
    """What can be changed while a loop runs. `max_rows_per_second` is 0 for no limit."""

    target: float = 0.5
    max_rows: int = 100_000
    max_bytes: int = 8 << 20
    max_rows_per_second: float = 0.0

    def changed(self, settings: Mapping[str, float]) -> "Settings":
        """Return these settings with others over them; what is not known here or cannot be meant is left out."""
        sound = {name: value for name, value in settings.items() if name in _RANGES and not _odd(name, value)}
        return Settings(**{**vars(self), **{name: type(_RANGES[name][0])(value) for name, value in sound.items()}})

    @property
    def odd(self) -> str:
        """Return what is wrong with the first setting that cannot be meant, "" where all can."""
        return next(filter(None, (_odd(name, value) for name, value in vars(self).items())), "")

    @property
    def bounds(self) -> Bounds:
        """Return the bounds of a batch."""
        return Bounds(self.target, self.max_rows, self.max_bytes)


def _odd(name: str, value: Any) -> str:
    low, high = _RANGES[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value < inf:
        return ""
    return f"{name} is {value!r}, and it takes a number from {low:g}" + (f" to {high:g}" if high < inf else "")


class Walk(Protocol):
    """The way along the key of one table or collection, for one loop. Everything but `rows` and `write` only reads."""

    @property
    def source(self) -> str:
        """The table or collection."""

    async def extent(self) -> Extent:
        """Return how much there is, from statistics, and the last key. Never counts. It is asked before all else."""

    async def page(self, after: Position | None, upto: Position, limit: int) -> Page | None:
        """Return the next rows behind `after` and not behind `upto`, at most `limit`; None where there are none."""

    async def at(self, position: Position) -> Page | None:
        """Return the one row at a position as a page, None where it is gone."""

    async def split(self, upto: Position, parts: int) -> Sequence[Position]:
        """Return the ends of about equally large slices of the keys up to `upto`; the last one is `upto`."""

    async def rows(self, page: Page, columns: Sequence[str]) -> Sequence[Any]:
        """Return the rows of a page that the loop's `where` admits, locked where the database can; all columns where
        none is named.
        """

    async def write(self, changes: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Write buffered changes, each a row of `rows` and its new values, as one command."""


class Ledger(Protocol):
    """Where checkpoints are kept: in the database that the loop changes, so that both commit together."""

    @property
    def exactly_once(self) -> bool:
        """Say whether they do; where the database has no transactions the checkpoint follows its batch, which may run
        twice.
        """

    async def claim(self, checkpoint: Checkpoint, *, reopen: bool = False) -> Checkpoint:
        """Make the checkpoint where there is none, and take it over from an earlier holder where there is; `reopen` it
        where it is done.

        Returns it as it is kept, with the run and fence that were given. Commits. Raises TrackerRefused where a newer
        holder has it.
        """

    async def join(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint of a slice as it is kept. Raises TrackerRefused unless it still belongs to the run and
        fence that were given: only the run that made the slices claims them.
        """

    async def withdraw(self, checkpoint: Checkpoint) -> None:
        """Take all checkpoints of a loop away from the run that was given, so that none of its slices begins another
        batch, wherever it runs. Waits until the batches that are open have ended, and commits.
        """

    def moved(self, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0) -> AbstractAsyncContextManager[None]:
        """Open a short transaction which begins with moving the checkpoint from `old` to `new`; what runs inside is
        committed with it, or rolled back with it.

        Raises TrackerRefused, with nothing done, unless the checkpoint still has the cursor, the run and the fence of
        `old`. A run that ends loses its checkpoints in the commit that records its end (`Tracker.finish`).
        `seconds` is the server's limit for each statement (StatementTimeout), 0 for none.
        """

    async def failed(self, checkpoint: Checkpoint, key: Position, error: str) -> None:
        """Keep the key of a row that was passed over, in the open transaction of `moved`."""

    async def mended(self, checkpoint: Checkpoint, key: Position) -> None:
        """Forget the key of a row that was passed over and is done by now, in the open transaction of `moved`.

        Raises TrackerRefused where it is not kept: somebody else has done it.
        """

    async def control(self, origin: str) -> Control:
        """Return what people want of this change now."""


class Batch(Protocol):
    """One batch, as the script sees it: `async with batch:` opens its transaction, in which its checkpoint commits.

    `first`, `last`, `size`, `where` and `args` are those of its `Page`.
    """

    first: Any
    last: Any
    size: int
    where: Any
    args: tuple[Any, ...]

    async def __aenter__(self) -> Self:
        """Open the transaction."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Commit; after an error roll back, and swallow it where the loop goes on with the same rows or fewer."""

    async def rows(self, *columns: str) -> Sequence[Any]:
        """Return the rows of this batch which `where` admits, with these columns (all where none is named)."""

    def update(self, row: Any, **values: Any) -> None:
        """Set values of one of these rows; all of them are written together at the end of the batch."""


class Tools(Protocol):
    """What the runtime lends to the context of a step."""

    def opened(self, database: str) -> None:
        """Note that the script opens another database, whose changes do not commit with a checkpoint. Raises UsageError
        unless the revision may run again.
        """

    def batches(
        self,
        walk: Walk,
        ledger: Ledger,
        *,
        name: str,
        settings: Settings,
        on_error: str,
        throttle: Mapping[str, Any],
        workers: int,
    ) -> AsyncIterable[Batch]:
        """Return the loop over the batches of a walk. Raises UsageError for options that cannot be meant."""
