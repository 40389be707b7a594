"""What is kept and what goes, whatever the past looks like."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from migrator.core.retention import Cleaned, Fate, Judge, Retention, holds_log, size
from migrator.core.run import EFFECTS, Kind, Run, Status
from migrator.core.runs import live
from migrator.core.stats import totals

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RULES = Retention(keep_days=30, keep_last=0, log_days=14, failed_days=90, max_bytes=0)


def run(days: float, status: Status = Status.SUCCESS, *, superseded: bool = True, script: str = "a1") -> Run:
    """Return a run that ended so many days ago."""
    at = (NOW - timedelta(days=days)).isoformat()
    return Run(
        run_id="1",
        database="main",
        revision=script,
        status=status,
        effect=min(EFFECTS[status]),
        started_at=at,
        finished_at="" if status is Status.PENDING else at,
        superseded_by="2" if superseded else "",
    )


def fate(one: Run, rules: Retention = RULES) -> Fate:
    return Judge(rules, NOW).fate(one)


def test_the_rules_one_by_one() -> None:
    """Rows for keep_days, failures for failed_days, logs for log_days and those of failures with their rows."""
    assert fate(run(13)) == Fate(row=False, log=False)
    assert fate(run(15)) == Fate(row=False, log=True)
    assert fate(run(31)) == Fate(row=True, log=True)
    assert fate(run(31, Status.ROLLED_BACK)) == Fate(row=True, log=True)
    assert fate(run(31, Status.FAILED)) == Fate(row=False, log=False)
    assert fate(run(91, Status.FAILED)) == Fate(row=True, log=True)


def test_what_is_live_stays() -> None:
    """The success of an applied revision loses its log only; an unresolved failure and a pending run lose nothing."""
    assert fate(run(999, superseded=False)) == Fate(row=False, log=True)
    assert fate(run(999, Status.FAILED, superseded=False)) == Fate(row=False, log=False)
    assert fate(run(999, Status.PENDING, superseded=False)) == Fate(row=False, log=False)


def test_the_newest_of_every_script_stay() -> None:
    """keep_last counts each script by itself, the live ones too, and verifies apart from the rest."""
    judge = Judge(Retention(keep_days=1, keep_last=2, log_days=1), NOW)
    for _ in range(5):
        judge.fate(replace(run(50), kind=Kind.VERIFY))
    kept = [judge.fate(run(50, script=name)).row for name in ("a1", "a1", "b2", "a1", "b2", "b2", "a1")]
    assert kept == [False, False, False, True, False, True, True]


def test_a_log_is_not_kept_longer_than_its_run() -> None:
    """Where log_days is more than keep_days, or failed_days less, keep_days is what counts."""
    rules = Retention(keep_days=5, keep_last=0, log_days=14, failed_days=1)
    assert rules.days_of_logs == 5
    assert fate(run(6), rules) == Fate(row=True, log=True)
    assert fate(run(4, Status.FAILED), rules) == Fate(row=False, log=False)


DAYS = st.integers(0, 400)
RUNS = st.lists(
    st.builds(
        run,
        st.floats(0, 500),
        st.sampled_from(Status),
        superseded=st.booleans(),
        script=st.sampled_from(["a1", "b2", "c3"]),
    ).filter(lambda one: one.status is not Status.PENDING or not one.superseded_by),
    max_size=60,
)
ANY_RULES = st.builds(Retention, DAYS, st.integers(0, 5), DAYS, DAYS)


@given(RUNS, ANY_RULES)
def test_what_must_stay_stays(runs: list[Run], rules: Retention) -> None:
    """Whatever the rules: nothing live goes, no row goes before its log, nothing young goes, the newest N stay."""
    judge, seen = Judge(rules, NOW), Counter[str]()
    for one in runs:
        what = judge.fate(one)
        seen[one.revision] += 1
        age = NOW - datetime.fromisoformat(one.finished_at or one.started_at)
        assert not (what.row and live(one))
        assert what.log or not what.row
        assert not (holds_log(one) and what.log)
        assert not what.row or age > timedelta(days=rules.keep_days)
        assert not what.row or one.status is not Status.FAILED or age > timedelta(days=rules.failed_days)
        assert not what.row or seen[one.revision] > rules.keep_last
        assert holds_log(one) == (live(one) and one.status in (Status.FAILED, Status.PENDING))
        assert not (what.log and one.status is Status.FAILED and not what.row)


@given(RUNS, ANY_RULES)
def test_longer_rules_keep_more(runs: list[Run], rules: Retention) -> None:
    """Whatever stays under some rules stays under rules that keep everything longer."""
    longer = Retention(rules.keep_days + 1, rules.keep_last + 1, rules.log_days + 1, rules.failed_days + 1)
    now, then = Judge(rules, NOW), Judge(longer, NOW)
    for one in runs:
        short, long = now.fate(one), then.fate(one)
        assert long.row <= short.row
        assert long.log <= short.log


def test_a_report_in_a_few_words() -> None:
    """Runs, files, bytes, time, and the first error."""
    done = Cleaned({"main": 2, "events": 1}, 4, 1_500_000, 0.26, ("x.log cannot be deleted: Permission denied",))
    assert str(done) == (
        "3 runs and 4 log files deleted, 1.5 MB freed, in 0.3 s; "
        "1 error, first: x.log cannot be deleted: Permission denied"
    )
    assert done.as_dict()["runs"] == {"main": 2, "events": 1}
    assert [size(each) for each in (0, 999, 1000, 10**9, 10**12)] == ["0 B", "999 B", "1.0 kB", "1.0 GB", "1.0 TB"]


@given(
    st.lists(st.tuples(st.sampled_from([0.5, 4, 10, 20, 40, 100]), st.sampled_from(Status), st.booleans()), max_size=30)
)
def test_only_the_old_are_looked_at(made: list[tuple[float, Status, bool]]) -> None:
    """Whoever looks at the old runs only, and knows how many younger ones there are, decides the same."""
    rules = replace(RULES, keep_last=3)
    runs = [run(*each[:2], superseded=each[2]) for each in sorted(made, key=lambda each: each[0])]
    whole = Judge(rules, NOW)
    fates = [whole.fate(one) for one in runs]
    before = (NOW - timedelta(days=rules.youngest)).isoformat()
    young = [one for one in runs if one.started_at >= before]
    assert all(fate == Fate(row=False, log=False) for fate in fates[: len(young)])
    part = Judge(rules, NOW, totals(young))
    assert [part.fate(one) for one in runs[len(young) :]] == fates[len(young) :]
