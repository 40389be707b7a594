"""How runs ended, day by day: what the strip of the last days is drawn from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from migrator.core.run import Status
from migrator.core.stats import Total


@dataclass
class Days:
    """Runs by the day (UTC) of their start: how many stand or were taken back later, and how many failed."""

    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, total: Total) -> None:
        """Count runs; those that have not ended are neither."""
        counts = {Status.FAILED: self.failed, Status.PENDING: None}.get(total.status, self.done)
        if counts is not None:
            counts[total.day] = counts.get(total.day, 0) + total.runs

    def since(self, first: date, days: int) -> Mapping[date, tuple[int, int]]:
        """Return done and failed of so many days from the first on, also of those on which nothing ran."""
        found = (first + timedelta(days=number) for number in range(days))
        return {day: (self.done.get(f"{day}", 0), self.failed.get(f"{day}", 0)) for day in found}
