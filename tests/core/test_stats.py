"""What many runs come to, against PostgreSQL's own arithmetic."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.run import Kind, Run, Status
from migrator.core.stats import Counting, error_class, quantiles, totals

TIMES = st.lists(st.floats(0, 1e9, allow_nan=False), min_size=2, max_size=200)


def run(status: Status = Status.SUCCESS, **fields: object) -> Run:
    fields = {"revision": "a1", "started_at": "2026-11-20T10:30:00.000Z", **fields}
    return Run(run_id="1", database="main", title="Title", status=status, **fields)  # type: ignore[arg-type]


def count(counting: Counting, *runs: Run, owned: bool = False) -> None:
    """Add runs up, as a tracker counts them."""
    for total in totals(runs):
        counting.add("main", total, owned=owned)


@given(TIMES)
def test_quantiles(values: list[float]) -> None:
    """The median and the 95th percentile lie where the standard library says, ends included."""
    cut = statistics.quantiles(values, n=100, method="inclusive")
    assert list(quantiles(values)) == [pytest.approx(cut[49], abs=2e-3), pytest.approx(cut[94], abs=2e-3)]


def test_quantiles_of_little() -> None:
    """Nothing has none, and one value is both."""
    assert quantiles([]) == (None, None)
    assert quantiles([7.5]) == (7.5, 7.5)


def test_counts() -> None:
    """Every way to stand is counted, all together, by script and by month; only work that was done has a time."""
    counting = Counting()
    count(counting, run(duration_ms=10.0))
    count(counting, run(Status.ROLLED_BACK, duration_ms=30.0))
    count(counting, run(Status.FAILED, duration_ms=999.0, reason="timeout"))
    count(counting, run(duration_ms=0.1, kind=Kind.STAMP, revision="b2"))
    count(counting, run(Status.PENDING, revision="b2", started_at="2026-10-01T00:00:00.000Z"), owned=True)
    count(counting, run(Status.PENDING, revision="b2"))
    found = counting.result()
    assert (found.all.total, found.all.success, found.all.failed, found.all.rolled_back) == (6, 2, 1, 1)
    assert (found.all.running, found.all.interrupted) == (1, 1)
    assert (found.all.average_ms, found.all.p50_ms, found.all.p95_ms) == (20.0, 20.0, 29.0)
    assert {key: each.total for key, each in found.scripts.items()} == {"main:a1": 3, "main:b2": 3}
    assert {month: each.total for month, each in found.months.items()} == {"2026-10": 1, "2026-11": 5}
    assert found.scripts["main:b2"].p95_ms is None
    assert found.as_dict()["scripts"]["main:a1"]["title"] == "Title"


def test_classes_of_errors() -> None:
    """A failure counts under the class that was recorded, else under its reason; the most frequent come first."""
    counting = Counting()
    for fields in (
        {"reason": "error", "result": {"error_class": "DeadlockDetectedError"}},
        {"reason": "verify_failed"},
        {"reason": "verify_failed"},
        {"reason": "interrupted", "result": {"log": ["x"]}},
        {},
    ):
        count(counting, run(Status.FAILED, **fields))
    assert list(counting.result().failures.items()) == [
        ("verify_failed", 2),
        ("DeadlockDetectedError", 1),
        ("interrupted", 1),
        ("unknown", 1),
    ]
    assert error_class(run(Status.FAILED, reason="error")) == "error"


def test_nothing() -> None:
    """Without runs there is nothing to count."""
    found = Counting().result()
    assert (found.all.total, found.all.average_ms, found.scripts, found.failures) == (0, None, {}, {})
