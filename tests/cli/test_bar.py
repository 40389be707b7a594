"""A long change where there is no terminal: a line every ten seconds, and one whenever it stops or goes on."""

import re

import pytest

from migrator.cli._bar import EVERY, Bar
from migrator.core.batch import Control
from migrator.core.events import BatchDone, LoopBegun
from migrator.core.pace import Estimate
from migrator.core.run import Run
from migrator.core.wording import amount, duration, loop_report, remaining

RUN = Run(run_id="r", database="main", revision="a2")


def done(rows: int, expected: int = 1_000_000) -> BatchDone:
    """Make the end of a batch after which so many rows are done."""
    return BatchDone(RUN, 1000, rows, 0.1, "rows", expected, 1500)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines come every ten seconds, in which pauses count; each stop and each word of a person has its own."""
    now = 0.0
    bar = Bar("[1/2] main:a2", lambda text: text.replace("hunter2", "***"), terminal=False, clock=lambda: now)
    bar.begin(LoopBegun(RUN, "rows", 200_000, 1_000_000))
    for second in range(1, 13):
        now = float(second)
        bar.step(done(200_000 + second * 10_000))
    bar.still("lag: 4 s behind hunter2")
    bar.on(28.0)
    bar.hear(Control(by="ann@pod-1", settings={"target": 0.2}))
    bar.hear(Control(by="ann@pod-1", settings={"target": 0.2}))
    now = 40.0
    bar.step(done(320_000))
    bar.stop()
    ranges = re.compile(r" \([\w. ]+ to [\w. ]+\)")  # which are those of core.pace, and tested there
    assert [ranges.sub("", line) for line in capsys.readouterr().out.splitlines()] == [
        "[1/2] main:a2 rows: goes on at 200,000 of about 1,000,000 (20 %)",
        "[1/2] main:a2 rows: 300,000 of about 1,000,000 (30 %), 10,000 rows/s, 1 min 10 s left, 1,500 a batch",
        "[1/2] main:a2 rows: stands still, lag: 4 s behind ***",
        "[1/2] main:a2 rows: goes on after 28 s",
        "[1/2] main:a2 rows: settings changed by ann@pod-1: target=0.2",
        "[1/2] main:a2 rows: 320,000 of about 1,000,000 (32 %), 3,000 rows/s, 3 min 46 s left, 1,500 a batch",
    ]
    assert EVERY == 10.0


def test_words() -> None:
    """Amounts, times and reports read well at their edges."""
    assert amount(5, -1) == "5 rows"
    assert amount(0, 0) == "0 of about 0 (100 %)"
    assert amount(1_200, 1_000) == "1,200 processed (expected 1,000)"
    assert [remaining(Estimate(word)) for word in ("unknown", "measuring", "due", "paused")] == [
        "",
        "measuring",
        "due",
        "paused",
    ]
    assert remaining(Estimate("ready", 61, 61, 61)) == "1 min 1 s left"
    assert duration(3_600_000 * 2.5) == "2 h 30 min"
    loop = {"name": "rows", "rows": 1, "batches": 1, "retries": 1, "splits": 2, "skipped": 3, "throttled": {"lag": 2.0}}
    said = "rows: 1 row in 1 batch, 1 retry, 2 splits, 3 skipped; stood still for 2.0 s (lag 2.0 s)"
    assert loop_report(loop) == said
