"""How large the next batch is, how fast the work goes, and when it will be done. A clock is passed in, never read.

The controller is a hybrid of two known ones: an exponential average of rows per second as in pt-online-schema-change,
and bounded growth with an immediate fall as in block/spirit; `docs/long-changes.md` shows what it does.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import NamedTuple

WEIGHT = 0.3
"""Of the newest batch in the average of rows per second."""
MARGIN = 0.95
"""The part of the target that a batch is planned to take."""
GROWTH = 1.5
"""At most this many times the size of the batch before."""
SLOW = 1.5
"""A batch that took this many times its target sets the size by itself; the average would be too slow."""
LIMIT = 4.0
"""Targets after which the server ends a batch."""
FIRST = 1000
"""Rows of the first batch, of which nothing is known."""
MARKS = 240
"""How many points of the window are remembered at most, about."""
PARTS = 8
"""Into how many parts the window is cut to see how unsteady it is."""


@dataclass(frozen=True)
class Bounds:
    """What a batch may be: seconds it should take, the most rows, the most bytes."""

    target: float = 0.5
    rows: int = 100_000
    bytes: int = 8 << 20

    def most(self, row_bytes: float) -> int:
        """Return the most rows of a batch whose rows have this many bytes on average; at least 1."""
        by_bytes = int(self.bytes / row_bytes) if row_bytes > 0 else self.rows
        return max(1, min(self.rows, by_bytes))


@dataclass(frozen=True)
class Pace:
    """The size of the next batch, in rows.

    `suspect` counts the rows from the cursor on among which one is known to fail, 0 for none: until it is found, each
    attempt takes half of them, or fewer where even that takes too long.
    """

    size: int = FIRST
    rate: float = 0.0
    suspect: int = 0

    @property
    def next(self) -> int:
        """Return how many rows to take."""
        return max(1, min(self.size, self.suspect // 2)) if self.suspect else self.size

    def done(self, rows: int, seconds: float, bounds: Bounds, most: int) -> "Pace":
        """Return the pace after a batch that was committed."""
        if self.suspect:
            return replace(self, suspect=max(0, self.suspect - rows))
        now = rows / max(seconds, 1e-6)
        if seconds > SLOW * bounds.target:
            return Pace(max(1, int(MARGIN * now * bounds.target)), now)
        if rows < min(self.size, most):
            return self  # the last batch of a table is small and says nothing
        rate = WEIGHT * now + (1 - WEIGHT) * self.rate if self.rate else now
        size = min(int(MARGIN * rate * bounds.target), int(self.size * GROWTH) + 1, most)
        return Pace(max(1, size), rate)

    def too_slow(self, rows: int) -> "Pace":
        """Return the pace after a batch that the server ended at its limit: LIMIT times the target was not enough."""
        return Pace(max(1, int(rows / LIMIT)), 0.0, self.suspect)

    def failed(self, rows: int) -> "Pace":
        """Return the pace after a batch in which one row failed."""
        return replace(self, suspect=rows)

    def found(self) -> "Pace":
        """Return the pace after the failing row was found and passed over."""
        return replace(self, suspect=0)


class Estimate(NamedTuple):
    """When the work will be done: `state` is measuring, ready, paused, due or unknown; the seconds are a range."""

    state: str
    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass
class Speed:
    """Effective rows per second over the last `window` seconds, pauses counted as time in which nothing was done."""

    window: float = 120.0
    settle: float = 10.0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def mark(self, now: float, rows: int) -> None:
        """Note how many rows are done in all."""
        if len(self._marks) > 1 and now - self._marks[-2][0] < self.window / MARKS:
            self._marks.pop()
        self._marks.append((now, rows))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self.window:
            self._marks.popleft()

    def rate(self, now: float) -> float:
        """Return rows per second over the window, 0 where too little is known."""
        if not self._marks:
            return 0.0
        began, first = self._start(now)
        return (self._marks[-1][1] - first) / (now - began) if now > began else 0.0

    def estimate(self, total: int, now: float) -> Estimate:
        """Return how long the rest takes. `total` is an estimate itself, below 0 where it is unknown."""
        if total < 0 or not self._marks:
            return Estimate("unknown")
        left = total - self._marks[-1][1]
        if left <= 0:
            return Estimate("due")
        rate = self.rate(now)
        if now - self._marks[0][0] < self.settle:
            return Estimate("measuring")
        if rate <= 0:
            return Estimate("paused")
        low, high = self._spread(rate, now)
        return Estimate("ready", left / rate, left / high, left / low)

    def _start(self, now: float) -> tuple[float, int]:
        """Return the beginning of the window, and how much was done by then.

        A window that begins between two marks begins in a pause, or within one batch: what was done between them
        counts as done inside, so that the end of a pause is seen at once.
        """
        began, first = self._marks[0]
        for mark in self._marks:
            if mark[0] > now - self.window:
                break
            began, first = mark
        return max(began, now - self.window), first

    def _spread(self, rate: float, now: float) -> tuple[float, float]:
        """Return a slow and a fast rate: two standard errors of the window's parts away, and at least a tenth."""
        began, before = self._start(now)
        done = [0] * PARTS
        for at, rows in self._marks:
            if at > began:
                done[min(PARTS - 1, int((at - began) / (now - began) * PARTS))] += rows - before
                before = rows
        part = (now - began) / PARTS
        variance = sum((rows / part - rate) ** 2 for rows in done) / (PARTS - 1)
        error = 2 * sqrt(variance / PARTS)
        return max(min(rate - error, rate * 0.9), rate / 4), max(rate + error, rate * 1.1)
