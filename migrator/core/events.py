"""What happened, as values. Notifiers hear them; the run does not wait for anybody."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.core.errors import MigratorError
from migrator.core.history import History
from migrator.core.plan import Plan
from migrator.core.run import Run, State

if TYPE_CHECKING:
    from migrator.core.batch import Control


@dataclass(frozen=True)
class DeployBegun:
    """A command that changes something begins; its runs carry the same `deploy_id`."""

    deploy_id: str
    command: str
    databases: tuple[str, ...]


@dataclass(frozen=True)
class LockWaiting:
    """Somebody else holds the lock; the command waits. `waited` is in seconds."""

    database: str
    holder: str
    waited: float


@dataclass(frozen=True)
class LockTaken:
    """The command holds the lock of a database, after `waited` seconds."""

    database: str
    waited: float


@dataclass(frozen=True)
class PlanMade:
    """A command knows its steps and holds the locks it needs; what it planned from, before the first step.

    `databases` are those whose state is known.
    """

    plan: Plan
    history: History
    state: State
    databases: tuple[str, ...]


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
    """A run whose owner is gone was judged by the next holder of the lock. `tags` are those of its revision's file."""

    run: Run
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoopBegun:
    """A loop of a long change begins, or goes on where an earlier run stopped after `rows` rows.

    `expected` is how many there are in all, an estimate, below 0 where nobody knows.
    """

    run: Run
    name: str
    rows: int
    expected: int


@dataclass(frozen=True)
class BatchDone:
    """A batch of a long change is committed: `rows` in `seconds`; `total` rows are done by the whole loop so far.

    `name` is the loop's, `expected` how many rows it has in all (an estimate, below 0 where nobody knows), `size` the
    rows of the next batch.
    """

    run: Run
    rows: int
    total: int
    seconds: float
    name: str = ""
    expected: int = -1
    size: int = 0


@dataclass(frozen=True)
class Asked:
    """A person asked something of a long change while it runs, and it has heard of it."""

    run: Run
    control: "Control"


@dataclass(frozen=True)
class Throttled:
    """A long change stands still between two batches, for this reason."""

    run: Run
    reason: str


@dataclass(frozen=True)
class Unthrottled:
    """A long change goes on after it stood still for so many seconds."""

    run: Run
    reason: str
    seconds: float


@dataclass(frozen=True)
class DeployEnded:
    """A command that changes something is over: the runs that ended in it, in order, and its error (None: it did well).

    Without runs and without an error there was nothing to do.
    """

    deploy_id: str
    command: str
    runs: tuple[Run, ...] = ()
    error: MigratorError | None = None


Event = (
    DeployBegun
    | LockWaiting
    | LockTaken
    | PlanMade
    | RunStarted
    | RunFinished
    | RunSettled
    | LoopBegun
    | BatchDone
    | Asked
    | Throttled
    | Unthrottled
    | DeployEnded
)
