"""How long runs and their logs are kept: the decision, as a function of the rules, the time and the runs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from migrator.core.run import Kind, Run, Status
from migrator.core.runs import live, time_of
from migrator.core.stats import Total
from migrator.core.wording import counted

COLUMNS = ("run_id", "revision", "status", "effect", "kind", "started_at", "finished_at", "log_file", "superseded_by")
"""What must be read of a run to judge it."""


@dataclass(frozen=True)
class Retention:
    """The rules. A run is kept for `keep_days` after its end, a failed one for `failed_days`, and of every script and
    kind the `keep_last` newest whatever their age. A log is kept for `log_days`, that of a failure as long as its run.
    All logs together take at most `max_bytes` (0: any number).

    What is live (`core.runs.live`) is kept for ever; of it, the logs of failures and of pending runs too.
    """

    keep_days: float = 30
    keep_last: int = 10
    log_days: float = 14
    failed_days: float = 90
    max_bytes: int = 1 << 30

    @property
    def youngest(self) -> float:
        """Return how many days ago a run ended at least of which anything may go."""
        return min(self.days_of_logs, self.keep_days)

    @property
    def days_of_logs(self) -> float:
        """Return how long a log is kept that is not a failure's: never longer than its run would be."""
        return min(self.log_days, self.keep_days)


@dataclass(frozen=True)
class Cleaned:
    """What a clean-up did, or would do: runs and log files that went, and what went wrong, in sentences.

    `runs` are by database, `bytes` those of the log files, `seconds` what it took.
    """

    runs: Mapping[str, int]
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    errors: tuple[str, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        """Return it in a few words."""
        wrong = f"; {counted(len(self.errors), 'error')}, first: {self.errors[0]}" if self.errors else ""
        would = "would be " if self.dry_run else ""
        return (
            f"{counted(sum(self.runs.values()), 'run')} and {counted(self.files, 'log file')} {would}deleted, "
            f"{size(self.bytes)} {would}freed, in {self.seconds:.1f} s{wrong}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {**vars(self), "runs": dict(self.runs), "errors": list(self.errors)}


def size(count: float) -> str:
    """Return a number of bytes for a person: 12 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - the next unit
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class Fate(NamedTuple):
    """What becomes of a run: whether its row goes, and whether its log goes."""

    row: bool
    log: bool


def holds_log(run: Run) -> bool:
    """Say whether the log of a run stays in any case: it may be what a person has to look at."""
    return live(run) and run.status in (Status.FAILED, Status.PENDING)


class Judge:
    """Judges the runs of one database, which must come newest first: it counts those of every script.

    `younger` are the totals of those that come before the first one, and which stay.
    """

    def __init__(self, rules: Retention, now: datetime, younger: Iterable[Total] = ()) -> None:
        self._rules = rules
        self._now = now
        self._seen = Counter[tuple[str, Kind]]()  # an hourly verify is not to push out what was done
        for each in younger:
            self._seen[each.revision, each.kind] += each.runs

    def fate(self, run: Run) -> Fate:
        """Return what becomes of the next run."""
        counted = run.revision, run.kind
        self._seen[counted] += 1
        failed = run.status is Status.FAILED
        if live(run):
            return Fate(row=False, log=not holds_log(run) and self._older(run, self._rules.days_of_logs))
        days = max(self._rules.failed_days, self._rules.keep_days) if failed else self._rules.keep_days
        row = self._seen[counted] > self._rules.keep_last and self._older(run, days)
        return Fate(row=row, log=row or (not failed and self._older(run, self._rules.days_of_logs)))

    def _older(self, run: Run, days: float) -> bool:
        """Say whether a run ended longer ago than that."""
        return time_of(run.finished_at or run.started_at) < self._now - timedelta(days=days)
