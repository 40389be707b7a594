"""Which runs are asked for, in the words of people."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.run import Effect, Run, Status
from migrator.core.runs import WORDS, RunFilter, RunPage, live, moment, standing, statuses_of, time_of

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
RUN = Run(run_id="1", database="main", revision="a1", started_at="2026-11-20T10:30:00.000Z")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("2026-11-20T10:30", "2026-11-20T10:30:00+00:00"),
        ("2026-11-20 10:30:05.250", "2026-11-20T10:30:05.250000+00:00"),
        ("2026-11-20T10:30:00Z", "2026-11-20T10:30:00+00:00"),
        ("2026-11-20T10:30:00+02:00", "2026-11-20T08:30:00+00:00"),
        ("7d", "2026-11-13T10:30:00+00:00"),
        ("1h30m", "2026-11-20T09:00:00+00:00"),
        ("0", "2026-11-20T10:30:00+00:00"),
    ],
)
def test_times(text: str, meant: str) -> None:
    """A date, a time with or without a zone, and how long ago."""
    assert moment(text, NOW) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "7", "2026-13-01", "-1d", "999999999d", "2026-11-20T25:00"])
def test_what_is_no_time(text: str) -> None:
    """Anything else is an error that says how it is written."""
    with pytest.raises(ValueError, match="is no time; write a date"):
        moment(text, NOW)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"])
def test_a_time_that_has_no_utc(text: str) -> None:
    """The first and the last day are not the same everywhere."""
    with pytest.raises(ValueError, match="beyond what a calendar can tell"):
        moment(text, NOW)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_keeps_its_value(when: datetime) -> None:
    """What the tracker shows as text is the same time when it is read."""
    text = when.isoformat()
    assert time_of(moment(text, NOW)) == time_of(text) == when
    assert time_of("") <= when


def test_how_a_run_stands() -> None:
    """A pending run is running while somebody holds the lock, else interrupted; any other stands as it is."""
    assert standing(RUN, owned=True) == "running"
    assert standing(RUN, owned=False) == "interrupted"
    done = RUN.moved(Status.SUCCESS, Effect.FULL)
    assert standing(done, owned=True) == standing(done, owned=False) == "success"
    page = RunPage((RUN, done), frozenset({"other"}))
    assert [run["standing"] for run in page.as_dict()["runs"]] == ["interrupted", "success"]


@given(st.sets(st.sampled_from(WORDS)), st.booleans())
def test_words_and_statuses(asked: set[str], owned: bool) -> None:
    """A tracker is asked for exactly the statuses of the runs that stand in one of the words; `pending` means both."""
    for status in Status:
        run = Run(run_id="1", database="main", revision="a1", status=status)
        wanted = standing(run, owned=owned) in asked or str(status) in asked
        assert (status in statuses_of(asked, owned=owned)) == wanted


def test_the_bounds_of_time() -> None:
    """`since` is inclusive and `until` is not, in whatever zone they are written."""
    at, later = RUN.started_at, (NOW + timedelta(seconds=1)).isoformat()
    assert RunFilter(since=at).matches(RUN)
    assert not RunFilter(until=at).matches(RUN)
    assert RunFilter(since="2026-11-20T12:30:00+02:00", until=later).matches(RUN)
    assert not RunFilter(since=later).matches(RUN)


def test_what_is_live() -> None:
    """What nothing came after."""
    assert live(RUN)
    assert not live(Run(run_id="1", database="main", revision="a1", superseded_by="2"))
