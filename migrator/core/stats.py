"""What many runs come to: how they ended, how long they took, and why they failed. Added up from totals."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from migrator.core.revision import Key
from migrator.core.run import Kind, Run, Status
from migrator.core.runs import INTERRUPTED, RUNNING, standing_of

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


@dataclass(frozen=True)
class Total:
    """Runs of one database that are alike: those of one revision, kind, status, day of their start (UTC, as
    2026-11-20), and class of error, "" for a run that did not fail.

    `newest` is the id of the last of them, `spent` are their durations in milliseconds as far as they are known.
    """

    revision: str
    title: str
    kind: Kind
    status: Status
    day: str
    error: str
    runs: int
    newest: str
    spent: Sequence[float]


def totals(runs: Iterable[Run]) -> list[Total]:
    """Return what `Tracker.totals` answers for these runs."""
    alike: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        error = error_class(run) if run.status is Status.FAILED else ""
        key = run.revision, run.title, run.kind, run.status, run.started_at[:10], error
        alike.setdefault(key, []).append(run)
    return [_total(found) for found in alike.values()]


def _total(runs: Sequence[Run]) -> Total:
    first = runs[0]
    return Total(
        revision=first.revision,
        title=first.title,
        kind=first.kind,
        status=first.status,
        day=first.started_at[:10],
        error=error_class(first) if first.status is Status.FAILED else "",
        runs=len(runs),
        newest=max(run.run_id for run in runs),
        spent=[run.duration_ms for run in runs if run.duration_ms is not None],
    )


class Counting:
    """Adds totals up, in any order. Memory holds one number for each run that did its work, three times."""

    def __init__(self) -> None:
        self._all = _Group()
        self._scripts: dict[str, _Group] = {}
        self._months: dict[str, _Group] = {}
        self._failures = Counter[str]()
        self._titles: dict[str, tuple[str, str]] = {}

    def add(self, database: str, total: Total, *, owned: bool) -> None:
        """Count runs of a database; `owned` says whether its lock is held."""
        key = str(Key(database, total.revision))
        self._titles[key] = max(self._titles.get(key, ("", "")), (total.newest, total.title))
        month = self._months.setdefault(total.day[:7], _Group())
        for group in (self._all, self._scripts.setdefault(key, _Group()), month):
            group.add(total, owned=owned)
        if total.status is Status.FAILED:
            self._failures[total.error] += total.runs

    def result(self) -> Statistics:
        """Return what was counted: scripts by name, months in order, the most frequent failures first."""
        return Statistics(
            self._all.sum(),
            {key: self._scripts[key].sum() for key in sorted(self._scripts)},
            {month: self._months[month].sum() for month in sorted(self._months)},
            dict(sorted(self._failures.items(), key=lambda each: (-each[1], each[0]))),
            {key: title for key, (_, title) in self._titles.items()},
        )


class _Group:
    def __init__(self) -> None:
        self._words = Counter[str]()
        self._spent = array("d")

    def add(self, total: Total, *, owned: bool) -> None:
        self._words[standing_of(total.status, owned=owned)] += total.runs
        if total.kind not in _NO_WORK and total.status in (Status.SUCCESS, Status.ROLLED_BACK):
            self._spent.extend(total.spent)

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
