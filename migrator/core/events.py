"""What happened, as values. Notifiers hear them; the run does not wait for anybody."""

from dataclasses import dataclass

from migrator.core.plan import Plan
from migrator.core.run import Run


@dataclass(frozen=True)
class PlanMade:
    """A command knows its steps and holds the locks it needs."""

    plan: Plan


@dataclass(frozen=True)
class LockWaiting:
    """Somebody else holds the lock; the command waits. `waited` is in seconds."""

    database: str
    holder: str
    waited: float


@dataclass(frozen=True)
class RunStarted:
    """A step begins. `number` counts from 1 to `total`."""

    run: Run
    number: int
    total: int


@dataclass(frozen=True)
class RunFinished:
    """A step ended, well or badly: see the run's status."""

    run: Run
    number: int
    total: int


@dataclass(frozen=True)
class RunSettled:
    """A run whose owner is gone was judged by the next holder of the lock."""

    run: Run


Event = PlanMade | LockWaiting | RunStarted | RunFinished | RunSettled
