"""What many runs come to: how they ended, how long they took, and why they failed. One pass, run by run."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from migrator.core.run import Kind, Run, Status
from migrator.core.runs import INTERRUPTED, RUNNING

COLUMNS = ("run_id", "revision", "title", "kind", "status", "reason", "started_at", "duration_ms", "result")
"""What must be read of a run to count it."""

_NO_WORK = (Kind.STAMP, Kind.RESOLVE, Kind.VERIFY)
"""Runs that changed nothing, and whose time would make the others look quicker than they are."""


@dataclass(frozen=True)
class Sum:
    """How runs ended, and how long those took that did their work; in milliseconds, None where there are none.

    `success` are those that stand, `rolled_back` those that were taken back later.
    """

    total: int
    success: int
    failed: int
    rolled_back: int
    running: int
    interrupted: int
    average_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Statistics:
    """All runs together, by script (`database:id`) and by month of their start, and the failures by class of error."""

    all: Sum
    scripts: Mapping[str, Sum]
    months: Mapping[str, Sum]
    failures: Mapping[str, int]
    titles: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics for `--json`."""
        scripts = {key: {"title": self.titles[key], **asdict(each)} for key, each in self.scripts.items()}
        months = {month: asdict(each) for month, each in self.months.items()}
        return {"all": asdict(self.all), "scripts": scripts, "months": months, "failures": dict(self.failures)}


class Counting:
    """Counts runs, in any order. Memory holds one number for each run that did its work, three times."""

    def __init__(self) -> None:
        self._all = _Group()
        self._scripts: dict[str, _Group] = {}
        self._months: dict[str, _Group] = {}
        self._failures = Counter[str]()
        self._titles: dict[str, str] = {}

    def add(self, run: Run, standing: str) -> None:
        """Count one run, which stands so (`core.runs.standing`)."""
        key = str(run.key)
        self._titles.setdefault(key, run.title)
        month = self._months.setdefault(run.started_at[:7], _Group())
        for group in (self._all, self._scripts.setdefault(key, _Group()), month):
            group.add(run, standing)
        if run.status is Status.FAILED:
            self._failures[error_class(run)] += 1

    def result(self) -> Statistics:
        """Return what was counted: scripts by name, months in order, the most frequent failures first."""
        return Statistics(
            self._all.sum(),
            {key: self._scripts[key].sum() for key in sorted(self._scripts)},
            {month: self._months[month].sum() for month in sorted(self._months)},
            dict(sorted(self._failures.items(), key=lambda each: (-each[1], each[0]))),
            self._titles,
        )


class _Group:
    def __init__(self) -> None:
        self._words = Counter[str]()
        self._spent = array("d")

    def add(self, run: Run, standing: str) -> None:
        self._words[standing] += 1
        worked = run.kind not in _NO_WORK and run.status in (Status.SUCCESS, Status.ROLLED_BACK)
        if worked and run.duration_ms is not None:
            self._spent.append(run.duration_ms)

    def sum(self) -> Sum:
        average = round(sum(self._spent) / len(self._spent), 3) if self._spent else None
        middle, most = quantiles(self._spent)
        return Sum(
            total=self._words.total(),
            success=self._words[Status.SUCCESS],
            failed=self._words[Status.FAILED],
            rolled_back=self._words[Status.ROLLED_BACK],
            running=self._words[RUNNING],
            interrupted=self._words[INTERRUPTED],
            average_ms=average,
            p50_ms=middle,
            p95_ms=most,
        )


def quantiles(values: Iterable[float]) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile, between two values where need be, as PostgreSQL's percentile_cont."""
    ordered = sorted(values)
    if not ordered:
        return None, None

    def at(share: float) -> float:
        below, part = divmod(share * (len(ordered) - 1), 1)
        first = ordered[int(below)]
        return round(first + part * (ordered[min(int(below) + 1, len(ordered) - 1)] - first), 3)

    return at(0.5), at(0.95)


def error_class(run: Run) -> str:
    """Return which error a failed run ended with: its class where one was recorded, else the reason."""
    return str((run.result or {}).get("error_class") or run.reason or "unknown")
