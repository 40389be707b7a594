"""How large the next batch is, and when the work will be done: with a clock that is only counted."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.pace import LIMIT, Bounds, Estimate, Pace, Speed

TARGET = 0.5
BOUNDS = Bounds(TARGET)
SPEED = 20_000.0
"""Rows per second at which 10,000 rows take the target."""


class Table:
    """A table on which rows take time; the server ends what takes too long, where it is told to."""

    def __init__(self, *, limited: bool = True, bounds: Bounds = BOUNDS) -> None:
        self.pace = Pace()
        self.limited = limited
        self.bounds = bounds
        self.seconds: list[float] = []

    def batch(self, speed: float, noise: float = 1.0) -> int:
        """Run one batch, and return the size of the next."""
        rows = min(self.pace.next, self.bounds.rows)
        seconds = rows / speed * noise
        if self.limited and seconds > LIMIT * self.bounds.target:
            seconds, self.pace = LIMIT * self.bounds.target, self.pace.too_slow(rows)
        else:
            self.pace = self.pace.done(rows, seconds, self.bounds, self.bounds.rows)
        self.seconds.append(seconds)
        return self.pace.next

    def settled(self, speed: float) -> int:
        """Return after how many batches the size is and stays within a quarter of the ideal."""
        sizes = [self.pace.next, *(self.batch(speed) for _ in range(30))]
        good = [abs(size / (speed * self.bounds.target) - 1) <= 0.25 for size in sizes]
        return next(number for number in range(len(good)) if all(good[number:]))


@pytest.mark.parametrize("limited", [True, False])
def test_settles_upwards(limited: bool) -> None:
    """From 1,000 rows to an ideal of 10,000 in at most 6 batches, and never by more than half at once."""
    table = Table(limited=limited)
    assert table.settled(SPEED) <= 6
    table = Table(limited=limited)
    sizes = [table.pace.next, *(table.batch(SPEED) for _ in range(10))]
    assert all(after <= before * 1.5 + 1 for before, after in pairwise(sizes))


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("slower", [2, 2.1, 3, 4, 4.2, 5, 8, 10, 15, 20])
def test_settles_downwards(slower: float, limited: bool) -> None:
    """When the work becomes 2 to 20 times slower, the size is right after at most 2 batches."""
    table = Table(limited=limited)
    table.settled(SPEED)
    assert table.settled(SPEED / slower) <= 2


def test_what_is_hardly_slower_is_followed() -> None:
    """A slow-down that is no alarm is followed by the average, within 8 batches."""
    for slower in (1.2, 1.3, 1.4, 1.5, 1.6, 1.9):
        table = Table()
        table.settled(SPEED)
        assert table.settled(SPEED / slower) <= 8, slower


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
def test_noise(sigma: float, seed: int) -> None:
    """Lognormal noise and a spike of eight times in a hundred batches: the mean batch takes about the target."""
    chance = random.Random(seed)
    table = Table()
    table.settled(SPEED)
    table.seconds.clear()
    sizes = sorted(
        table.batch(SPEED, chance.lognormvariate(0, sigma) * (8 if chance.random() < 0.01 else 1)) for _ in range(4000)
    )
    assert 0.85 <= sum(table.seconds) / len(table.seconds) / TARGET <= 1.15
    assert sizes[0] >= 400
    assert sizes[-1] <= 30_000
    assert 7_000 <= sizes[2000] <= 11_000
    assert sizes[200] >= (6_000 if sigma < 0.2 else 2_500)


@given(st.lists(st.tuples(st.sampled_from(["done", "slow", "failed", "found"]), st.floats(1e-7, 1e4)), max_size=60))
def test_always_some_rows(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, in whatever order, the next batch has at least one row, and no more than the bounds."""
    bounds = Bounds(rows=50_000)
    pace = Pace()
    for what, seconds in steps:
        if what == "done":
            pace = pace.done(pace.next, seconds, bounds, bounds.most(0))
        elif what == "found":
            pace = pace.found()
        else:
            pace = pace.too_slow(pace.next) if what == "slow" else pace.failed(pace.next)
        assert 1 <= pace.next <= 50_000


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 1_000, 99_999])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_the_failing_row_is_found(rows: int, place: float) -> None:
    """One row of a batch fails: halves are tried until it is alone, every other row is committed once."""
    bad, at, tries = int(rows * place), 0, 0
    pace = Pace(rows).failed(rows) if rows > 1 else Pace(1)
    while not (at == bad and pace.next == 1):
        size = min(pace.next, rows - at)
        tries += 1
        if at <= bad < at + size:
            pace = pace.failed(size)
        else:
            at += size
            pace = pace.done(size, 0.01, BOUNDS, BOUNDS.rows)
    assert tries <= 2 * rows.bit_length()
    assert pace.found().next == rows


def test_a_slow_half_becomes_smaller() -> None:
    """Where the server ends a half of the search, fewer rows are tried: the same half would take as long again."""
    pace = Pace(1_000).failed(1_000)
    assert pace.next == 500
    sizes = []
    for _ in range(6):
        pace = pace.too_slow(pace.next)
        sizes.append(pace.next)
    assert sizes == [125, 31, 7, 1, 1, 1]


def test_the_last_batch_says_nothing() -> None:
    """A batch that the end of the table cut short changes neither the size nor the rate."""
    pace = Pace(5_000, SPEED)
    assert pace.done(3, 0.01, BOUNDS, BOUNDS.rows) == pace


def test_bytes_bound_the_rows() -> None:
    """Wide rows make small batches; a table of unknown width is bound by rows alone; one row always fits."""
    bounds = Bounds(rows=10_000, bytes=1_000_000)
    assert bounds.most(0) == 10_000
    assert bounds.most(1_000) == 1_000
    assert bounds.most(5_000_000) == 1
    pace = Pace(800, SPEED)
    for _ in range(20):
        pace = pace.done(pace.next, pace.next / SPEED, bounds, bounds.most(1_000))
    assert pace.next == 1_000


def test_a_new_target_is_followed() -> None:
    """A person who asks for shorter batches has them at once, for longer ones by steps of half."""
    table = Table()
    table.settled(SPEED)
    table.bounds = Bounds(TARGET / 5)
    assert table.settled(SPEED) <= 2
    table.bounds = Bounds(TARGET)
    assert table.settled(SPEED) <= 4


def walked(
    until: float, rate: float = 1_000.0, every: float = 0.5, pauses: Callable[[float], bool] = lambda _: False
) -> Speed:
    """Return what is known after some seconds of batches, in which nothing is done while `pauses` is true."""
    speed, done = Speed(), 0
    for number in range(int(until / every) + 1):
        now = number * every
        if number and pauses(now):
            continue
        done += int(rate * every) if number else 0
        speed.mark(now, done)
    return speed


def half_of(period: float) -> Callable[[float], bool]:
    """Return what pauses in the second half of each period."""
    return lambda now: now % period >= period / 2


def test_nothing_is_said_too_early() -> None:
    """Nothing is known without a total or a mark; for ten seconds it is measured; then there is a time and a range."""
    assert Speed().estimate(100, 5.0) == Estimate("unknown")
    assert walked(60).estimate(-1, 60.0) == Estimate("unknown")
    assert walked(5).estimate(1_000_000, 5.0) == Estimate("measuring")
    assert Speed().rate(5.0) == 0
    found = walked(60).estimate(1_000_000, 60.0)
    assert found.state == "ready"
    assert found.seconds == pytest.approx(940, rel=0.01)
    assert found.low < found.seconds < found.high


def test_more_rows_than_expected() -> None:
    """The total is a guess of the server: whoever is past it is due, and no time is negative."""
    assert walked(60).estimate(59_000, 60.0) == Estimate("due")


def test_pauses_count() -> None:
    """Work that stands still half of the time takes twice as long, whatever the length of the pauses."""
    for period in (2.0, 20.0, 60.0):
        speed = walked(600, pauses=half_of(period))
        found = speed.estimate(1_000_000, 600.0)
        assert found.seconds == pytest.approx((1_000_000 - 300_000) / 500, rel=0.35), period
        assert found.low <= 1_400 <= found.high, period


def test_a_pause_makes_it_longer_at_once() -> None:
    """While it stands still the time grows, until nothing was done in the whole window; then there is none."""
    speed = walked(120)
    seconds = [speed.estimate(1_000_000, 120.0 + more).seconds for more in (0, 30, 60, 90)]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 2 * seconds[0]
    assert speed.estimate(1_000_000, 241.0) == Estimate("paused")


def test_a_long_pause_is_forgotten() -> None:
    """Two minutes after an hour's pause the estimate is that of the work, not of the hour."""
    speed = walked(120)
    for number in range(240):
        speed.mark(3_720 + number * 0.5, 120_000 + number * 500)
    found = speed.estimate(1_000_000, 3_840.0)
    assert found.seconds == pytest.approx(760, rel=0.05)


def test_unsteady_work_has_a_wider_range() -> None:
    """The range says how sure the time is."""
    calm = walked(120).estimate(1_000_000, 120.0)
    wild = walked(120, pauses=half_of(40)).estimate(1_000_000, 120.0)
    assert (wild.high - wild.low) / wild.seconds > 2 * (calm.high - calm.low) / calm.seconds


def test_few_marks_are_kept() -> None:
    """A million batches of a millisecond leave some hundred points, and the rate is right."""
    speed = walked(300, every=0.001, rate=5_000)
    assert len(speed._marks) < 500
    assert speed.rate(300.0) == pytest.approx(5_000, rel=0.05)
