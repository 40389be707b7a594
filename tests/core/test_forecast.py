"""What one batch says about all of them: arithmetic, and what a person is warned of."""

from dataclasses import replace

import pytest

from migrator.core.batch import Settings
from migrator.core.forecast import Forecast, Sample, Tried, forecast, missing
from migrator.core.plan import Step
from migrator.core.revision import Direction
from tests.core.build import revision

STEP = Step(revision("a1"), Direction.UPGRADE)
TRIED = Tried("orders.total", "public.orders", Settings(), left=100_000, size=1_000, seconds=0.02)
SAMPLE = Sample("WAL", seconds=0.08, volume=250_000, plan=("Update on orders",))


def told(tried: Tried = TRIED, sample: Sample = SAMPLE) -> Forecast:
    """Return the forecast of the one step."""
    return forecast(STEP, tried, sample)


def test_all_from_one() -> None:
    """A thousand rows in a tenth of a second and a quarter of a megabyte: a hundred thousand take ten, in a range."""
    found = told()
    assert (found.rows, found.sampled, found.rows_per_second) == (100_000, 1_000, 10_000)
    assert (found.low, found.seconds, found.high) == (5, 10, 20)
    assert (found.log, found.volume, found.plan) == ("WAL", 25_000_000, ("Update on orders",))
    assert found.warnings == ()
    assert found.as_dict()["revision"] == "a1"


def test_the_rate_that_was_asked_for() -> None:
    """What is held back to so many rows a second is not expected to be faster."""
    assert told(replace(TRIED, settings=Settings(max_rows_per_second=500))).seconds == 200


def test_several_at_once() -> None:
    """Workers side by side may be as much faster as they are many, and may be no faster at all."""
    found = told(replace(TRIED, workers=4))
    assert (found.low, found.seconds, found.high) == (1.25, 10, 20)


def test_nobody_knows_how_many() -> None:
    """Without a number of rows there is a speed, and neither a time nor a volume."""
    found = told(replace(TRIED, left=-1))
    assert found.rows_per_second == 10_000
    assert (found.rows, found.low, found.seconds, found.high, found.volume) == (-1, -1, -1, -1, -1)
    assert "ANALYZE" in found.warnings[0]


def test_nothing_left() -> None:
    """A loop that found no rows takes no time, and there is nothing to warn of."""
    found = told(Tried("orders", "orders", Settings(), left=0), Sample("oplog"))
    assert (found.rows, found.seconds, found.warnings) == (0, 0, ())


@pytest.mark.parametrize(
    ("whole", "left", "warned"), [("orders", 100_000, True), ("orders", 9_000, False), ("lines", 100_000, False)]
)
def test_a_table_read_as_a_whole(whole: str, left: int, warned: bool) -> None:
    """It is odd where each of many batches reads the table that it walks over from end to end."""
    found = told(replace(TRIED, left=left), replace(SAMPLE, whole=(whole,)))
    assert any("the whole of public.orders" in text for text in found.warnings) is warned


def test_a_batch_that_changed_nothing() -> None:
    """Then the others may well take longer."""
    assert "changed nothing" in told(sample=replace(SAMPLE, volume=0)).warnings[0]


@pytest.mark.parametrize(
    ("room", "window", "warned"),
    [(0, 0.0, False), (10**9, 86_400.0, False), (10**9, 15.0, True), (20_000_000, 86_400.0, True)],
)
def test_a_log_that_is_too_short(room: int, window: float, warned: bool) -> None:
    """The log is overwritten by what is written anyway, and by the change itself: that counts together."""
    found = told(sample=replace(SAMPLE, log="oplog", room=room, window=window))
    assert any("oplog will be overwritten" in text for text in found.warnings) is warned


def test_why_there_is_none() -> None:
    """A loop that could not be tried has a reason, and nothing else."""
    found = missing(STEP, "orders", "there is no table orders")
    assert (found.missing, found.rows, found.seconds, found.plan) == ("there is no table orders", -1, -1.0, ())
