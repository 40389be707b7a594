"""How the databases stand, one by one, so that one that does not answer hides no other."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from migrator.core.change import Change
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.health import DatabaseHealth
from migrator.core.report import DatabaseReport, Line, tops
from migrator.core.run import Run
from migrator.core.runs import RUNNING, RunFilter
from migrator.dashboard._asking import Asking

HEALTHY = 5.0
"""Seconds for which an answer about the health of the databases is given again."""

ATTENTION = ("blocked", "drifted", "failed", "interrupted", "unknown")
"""States of revisions that a person should look at, the worst first."""


@dataclass(frozen=True)
class Standing:
    """One database: its report, or why there is none; how well it is, and what runs in it."""

    name: str
    report: DatabaseReport | None = None
    error: MigratorError | None = None
    health: DatabaseHealth | None = None
    running: tuple[Run, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """Return how it is in one word: ok, degraded, failing or silent."""
        if self.silent:
            return "silent"
        return self.health.status if self.health else "failing"

    @property
    def silent(self) -> bool:
        """Say whether the database does not answer; what is wrong with its files is another thing."""
        return isinstance(self.error, DatabaseError)

    @property
    def heads(self) -> tuple[Line, ...]:
        """Return the newest revisions that are applied."""
        return tops(self.report.lines) if self.report else ()

    @property
    def waiting(self) -> int:
        """Return how many revisions `upgrade head` would apply."""
        return sum(self.counts.get(word, 0) for word in ("pending", "failed", "interrupted"))

    @property
    def attention(self) -> tuple[Line, ...]:
        """Return the revisions that a person should look at, the worst first."""
        return tuple(line for word in ATTENTION for line in self.lines(word))

    def lines(self, *states: str) -> tuple[Line, ...]:
        """Return the revisions in these states."""
        return self.report.having(*states) if self.report else ()

    def change(self, run: Run) -> Change | None:
        """Return the long change of a run."""
        changes = self.report.changes if self.report else ()
        return next((each for each in changes if each.run.run_id == run.run_id), None)


async def standings(asking: Asking, names: Sequence[str]) -> tuple[Standing, ...]:
    """Return how these databases stand."""
    health = (await asking.shared("health", asking.questions.doctor, HEALTHY)).databases
    return tuple(await asyncio.gather(*(_standing(asking, name, health.get(name)) for name in names)))


async def _standing(asking: Asking, name: str, health: DatabaseHealth | None) -> Standing:
    if health is not None and not health.reachable:  # it has just been waited for
        return Standing(name, error=_why(health), health=health)
    try:
        report = await reported(asking, name)
        running = await asking.shared(("running", name), partial(_running, asking, name))
    except MigratorError as error:
        return Standing(name, error=error, health=health)
    counts = Counter(line.state for line in report.lines)
    return Standing(name, report, None, health, running, counts)


async def reported(asking: Asking, name: str) -> DatabaseReport:
    """Return the report of one database. Raises MigratorError."""
    return (await asking.shared(("status", name), partial(asking.questions.status, [name])))[0]


async def _running(asking: Asking, name: str) -> tuple[Run, ...]:
    return (await asking.questions.past.runs(RunFilter(), [RUNNING], [name], limit=20)).runs


def _why(health: DatabaseHealth) -> DatabaseError:
    """Return why a database does not answer."""
    for finding in health.findings:
        if finding.subject == "connection" and finding.level == "fail":
            return DatabaseError(finding.text, hint=finding.hint)
    return DatabaseError("it does not answer")


async def answering(asking: Asking, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of these databases that answer."""
    health = (await asking.shared("health", asking.questions.doctor, HEALTHY)).databases
    return tuple(name for name in names if name not in health or health[name].reachable)
