"""What the commands answer when they did or asked something, as values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from migrator.core.plan import Plan, Step
from migrator.core.report import Line
from migrator.core.revision import Header
from migrator.core.run import Run


@dataclass(frozen=True)
class Outcome:
    """What upgrade, downgrade and stamp did: the plan, the runs in order, and sentences worth reading."""

    plan: Plan
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        return {
            "dry_run": self.dry_run,
            "plan": [_step(step) for step in self.plan.steps],
            "runs": [run.as_dict() for run in self.runs],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Verification:
    """What one verify said. `ok` is None where the revision has none."""

    database: str
    revision: str
    title: str
    ok: bool | None
    message: str = ""
    duration_ms: float | None = None


@dataclass(frozen=True)
class Shown:
    """One revision in full: its line, its constants, the text on disk, and the text that ran (or "")."""

    line: Line
    source: str
    stored: str
    header: Header


class Decision(StrEnum):
    """What a person may decide about a run that left something behind."""

    RETRY = "retry"
    MARK_SUCCESS = "mark-success"
    MARK_ROLLED_BACK = "mark-rolled-back"


@dataclass(frozen=True)
class Resolution:
    """A run that a person has to judge, what verify says of the database now, and what was recorded (None: nothing)."""

    run: Run
    verify: str
    recorded: Run | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the resolution for `--json`."""
        recorded = self.recorded.as_dict() if self.recorded else None
        return {"run": self.run.as_dict(), "verify": self.verify, "recorded": recorded}


def _step(step: Step) -> dict[str, Any]:
    revision = step.revision
    return {
        "database": revision.database,
        "revision": revision.id,
        "title": revision.title,
        "direction": step.direction,
        "forced": step.forced,
        "path": revision.path,
    }
