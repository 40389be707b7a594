"""A long change as it stands: from its last run, its checkpoints, and what people want of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from migrator.core.batch import Checkpoint, Control, Desired
from migrator.core.pace import Estimate
from migrator.core.run import Run, Status

PAUSED = "paused"
"""The kind of standing still that a person asked for; see `Control.pause`."""
LIMITED = "rate"
"""The kind that `max_rows_per_second` asks for, which goes on to the end."""


@dataclass(frozen=True)
class Change:
    """A long change that runs, or that stopped on its way. `at_work` says whether somebody holds the lock for it."""

    run: Run
    control: Control
    loops: tuple[Checkpoint, ...] = ()
    at_work: bool = False

    @property
    def standing(self) -> str:
        """Return how it stands: running, paused, throttled, cancelled or interrupted."""
        if self.control.desired is Desired.CANCEL:
            return "cancelled"
        if not self.at_work or self.run.status is not Status.PENDING:
            return "interrupted"
        if self.control.desired is Desired.PAUSE:
            return PAUSED
        return "throttled" if self.waiting else "running"

    @property
    def waiting(self) -> str:
        """Return why it stands still now, "" where it does not."""
        found = next((each.waiting for each in self.loops if each.waiting), "")
        return found if self.at_work else ""

    @property
    def rows(self) -> int:
        """Return how many rows all of its loops have done."""
        return sum(each.rows for each in self.loops)

    @property
    def skipped(self) -> int:
        """Return how many rows it passed over."""
        return sum(each.skipped for each in self.loops)

    def estimate(self, loop: Checkpoint) -> Estimate:
        """Return how long the rest of a loop takes: from never held back by a signal again, to as often as before."""
        if loop.done or 0 <= loop.total <= loop.rows:
            return Estimate("due")
        if loop.total < 0:
            return Estimate("unknown")
        if self.standing != "running":
            return Estimate("paused")
        slow, fast = rate(loop), rate(loop, [kind for kind in loop.throttled if kind != LIMITED])
        left = loop.total - loop.rows
        return Estimate("ready", left / slow, left / fast, left / slow) if slow else Estimate("measuring")

    def as_dict(self) -> dict[str, Any]:
        """Return the change for `--json`."""
        return {
            "run_id": self.run.run_id,
            "database": self.run.database,
            "revision": self.run.revision,
            "title": self.run.title,
            "direction": self.run.direction,
            "origin": self.run.origin,
            "standing": self.standing,
            "waiting": self.waiting,
            "control": {**vars(self.control), "settings": dict(self.control.settings)},
            "loops": [self._loop(each) for each in self.loops],
        }

    def _loop(self, loop: Checkpoint) -> Mapping[str, Any]:
        names = ("name", "rows", "total", "batches", "retries", "splits", "skipped", "size", "rate", "done")
        percent = round(100 * loop.rows / loop.total, 1) if loop.total > 0 else None
        return {
            **{name: getattr(loop, name) for name in names},
            "effective_rate": round(rate(loop), 1),
            "percent": percent,
            "eta": self.estimate(loop)._asdict(),
            "throttled": dict(loop.throttled),
        }


def rate(loop: Checkpoint, without: Collection[str] = (PAUSED,)) -> float:
    """Return the rows per second of a loop since it began, 0 where nobody knows; the time for which it stood still
    counts, but for these kinds of reasons: a person's pause says nothing of how fast it goes.
    """
    still = sum(seconds for kind, seconds in loop.throttled.items() if kind not in without)
    return loop.rows / (loop.rows / loop.rate + still) if loop.rate and loop.rows else 0.0
