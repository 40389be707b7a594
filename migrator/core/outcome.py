"""What the commands answer when they did or asked something, as values."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migrator.core.errors import MigratorError
from migrator.core.plan import Plan
from migrator.core.report import Line
from migrator.core.revision import Header, Key
from migrator.core.run import Run

if TYPE_CHECKING:
    from migrator.core.forecast import Forecast


@dataclass(frozen=True)
class Outcome:
    """What upgrade, downgrade and stamp did: the plan, the runs in order, and sentences worth reading.

    `forecasts` are those of a dry run, one for each loop of its long changes.
    """

    plan: Plan
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    forecasts: "tuple[Forecast, ...]" = ()

    def __repr__(self) -> str:
        """Return how many steps were planned and how many runs there are."""
        return f"<Outcome of {len(self.plan)} steps: {len(self.runs)} runs{', dry run' if self.dry_run else ''}>"

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        return {
            "dry_run": self.dry_run,
            "plan": [step.as_dict() for step in self.plan.steps],
            "runs": [run.as_dict() for run in self.runs],
            "notes": list(self.notes),
            **({"forecasts": [each.as_dict() for each in self.forecasts]} if self.forecasts else {}),
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

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class Shown:
    """One revision in full: its line, its constants, the text on disk, and the text that ran (or "").

    `params` are those that a script takes: name, type, and default as JSON ("" where it must be given).
    """

    line: Line
    source: str = field(repr=False)
    stored: str = field(repr=False)
    header: Header = field(repr=False)
    params: tuple[tuple[str, str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the revision for `--json`."""
        params = [dict(zip(("name", "type", "default"), each, strict=True)) for each in self.params]
        texts = {"source": self.source, "stored": self.stored}
        return {**asdict(self.line), **texts, "tags": self.header.tags, "params": params}


@dataclass(frozen=True)
class ScriptResult:
    """What became of one script: `word` is ok, failed, left out, or done (before), with the reason in `message`."""

    key: Key
    title: str
    word: str
    message: str = ""
    run: Run | None = None
    error: MigratorError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return {
            "script": str(self.key),
            "title": self.title,
            "result": self.word,
            "message": self.message,
            "run": self.run.as_dict() if self.run else None,
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True)
class ScriptsOutcome:
    """What `migrator run` did: one result for each script, in order; in a dry run what would run."""

    results: tuple[ScriptResult, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """Return the code of the first failure, 0 where all went well."""
        return next((each.error.exit_code if each.error else 1 for each in self.results if each.word == "failed"), 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        return {"dry_run": self.dry_run, "scripts": [each.as_dict() for each in self.results]}


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
