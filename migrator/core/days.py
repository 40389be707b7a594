"""How runs ended, day by day: what the strip of the last days is drawn from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from migrator.core.run import Run, Status

COLUMNS = ("run_id", "revision", "status", "started_at")
"""What must be read of a run to count it."""


@dataclass
class Days:
    """Runs by the day (UTC) of their start: how many stand or were taken back later, and how many failed."""

    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, run: Run) -> None:
        """Count a run; one that has not ended is neither."""
        counts = {Status.FAILED: self.failed, Status.PENDING: None}.get(run.status, self.done)
        if counts is not None:
            day = run.started_at[:10]
            counts[day] = counts.get(day, 0) + 1

    def since(self, first: date, days: int) -> Mapping[date, tuple[int, int]]:
        """Return done and failed of so many days from the first on, also of those on which nothing ran."""
        found = (first + timedelta(days=number) for number in range(days))
        return {day: (self.done.get(f"{day}", 0), self.failed.get(f"{day}", 0)) for day in found}
