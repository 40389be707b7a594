"""Every error of migrator, in one tree.

The number is the exit code of the command that ends with it.

    MigratorError                     1
    ├── ConfigError                   3   migrator.toml, the environment or an option
    ├── UsageError                    3   a command that cannot be meant
    ├── FileFailed                    3   a file or folder of this machine that cannot be used
    │   └── FileDenied                5   this user may not read or write it
    ├── RevisionFileError             3   a file that is no revision: path, line
    ├── HistoryError                  3   files that form no history
    │   ├── CycleFound
    │   ├── ParentMissing
    │   ├── DuplicateRevision
    │   ├── SelfParent
    │   └── UnlabelledRoots
    ├── TargetError                   3   a target that names no place, or more than one
    │   ├── TargetNotFound
    │   ├── AmbiguousTarget
    │   └── MultipleHeads
    ├── PlanRefused                   3   a plan that would do harm
    │   ├── Irreversible              3
    │   ├── StillNeeded               2
    │   ├── DatabaseAhead             2
    │   ├── ResolveNeeded            14
    │   └── Drifted                  15
    ├── DependencyMissing             2   an extra, a program, a platform
    ├── LockHeld                     12   somebody else is changing the database
    ├── LockLost                     12   somebody else took over, or may have
    ├── DatabaseError                 1   what a server answered; the driver's error is the cause
    │   ├── ConnectionFailed          4   nobody answers
    │   ├── ConnectionLost            4   it answered, then went away
    │   ├── DatabaseMissing           4   the server has no database of that name
    │   ├── AuthenticationFailed      5
    │   ├── PermissionDenied          5
    │   ├── StatementFailed           1
    │   │   ├── TransactionAborted    1   a deadlock, a conflict, a lock that was not free: begun again it may succeed
    │   │   └── ResourcesExhausted    1   the server's disk or memory is full
    │   ├── StatementTimeout          1
    │   ├── TransactionEscaped        1   the script ended the transaction it runs in
    │   ├── TrackerRefused           12   the tracker does not accept this write
    │   ├── TrackerNewer              3   written by a newer migrator
    │   ├── TrackerAmbiguous          3   more than one place may be the tracker's
    │   └── TrackerDamaged           14   it was emptied, or a part of it is gone
    ├── OutcomeUnknown               14   a commit that was never answered
    ├── RunFailed                     1   a step failed; the code of its cause where that has one
    │   └── VerifyFailed             13
    ├── ValidationFailed              1   a script's validate said no, before anything changed
    ├── RowFailed                     1   one row of a long change cannot be changed
    ├── GivenUp                      14   a person cancelled a long change
    ├── CheckFailed                  13   a script's own ctx.check said no
    ├── AwaitForgotten                1   a script made a coroutine and never awaited it, so that nothing was done
    ├── TookTooLong                   1   a script ended after its time limit, or had to be interrupted
    ├── ScriptEnded                   1   a script called sys.exit, or raised what ends a program or a task
    └── Stopped                     130   Ctrl-C or SIGTERM
"""

import copyreg
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from migrator.core.run import Run


RETRIED = frozenset({4, 12, 130})
"""Exit codes after which the same command may succeed by itself: the server, the lock, or a stop was in the way."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group, and in the groups in it; an error that is no group is its own only one."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


class MigratorError(Exception):
    """What happened (`message`), what state the database is in (`state`), what to type next (`hint`)."""

    exit_code: int = 1

    def __init__(self, message: str, *, state: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.state = state
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy every error of the tree with all its fields, whatever its constructor takes.

        The driver's own error, its cause, stays behind, as with every exception.
        """
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def details(self) -> Mapping[str, Any]:
        """Return the fields of this error beside the common four, for `--json`."""
        return {}

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints under `error`."""
        common = {"type": type(self).__name__, "message": self.message, "state": self.state, "hint": self.hint}
        return {**common, "exit_code": self.exit_code, "retry": self.retry, **self.details()}

    @property
    def retry(self) -> bool:
        """Return whether the same command may succeed when it is run again, with nothing changed before."""
        return self.exit_code in RETRIED


class ConfigError(MigratorError):
    """Something in migrator.toml, the environment or an option cannot be used."""

    exit_code = 3


class UsageError(MigratorError):
    """The command cannot be meant as it stands."""

    exit_code = 3


class FileFailed(MigratorError):
    """A file or folder cannot be read or written."""

    exit_code = 3


class FileDenied(FileFailed):
    """This user may not read or write a file or folder, or nobody may: it is mounted read-only."""

    exit_code = 5


class RevisionFileError(MigratorError):
    """A file in a revisions folder is no revision."""

    exit_code = 3

    def __init__(self, message: str, *, path: str, line: int | None = None, hint: str = "") -> None:
        self.path = path
        self.line = line
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {message}", state="Nothing was changed.", hint=hint)

    def details(self) -> Mapping[str, Any]:
        """Return the file and the line (from 1; None where the whole file is meant)."""
        return {"path": self.path, "line": self.line}


class HistoryError(MigratorError):
    """The revision files do not form a history."""

    exit_code = 3

    def __init__(self, message: str, *, paths: Iterable[str], hint: str = "") -> None:
        self.paths = tuple(paths)
        super().__init__(message, state="Nothing was changed.", hint=hint)

    def details(self) -> Mapping[str, Any]:
        """Return the files that are to blame."""
        return {"paths": self.paths}


class CycleFound(HistoryError):
    """Revisions that wait for one another."""


class ParentMissing(HistoryError):
    """A revision names a parent that is in no file."""


class DuplicateRevision(HistoryError):
    """Two files have one id."""


class SelfParent(HistoryError):
    """A revision is its own parent."""


class UnlabelledRoots(HistoryError):
    """Two revisions of one database have no parent, and no labels to tell their branches apart."""


class TargetError(MigratorError):
    """A target names no place in the history, or more than one."""

    exit_code = 3


class TargetNotFound(TargetError):
    """No revision is meant by the target."""


class AmbiguousTarget(TargetError):
    """More than one revision may be meant by the target."""


class MultipleHeads(TargetError):
    """The history has several heads and `head` means one."""


class PlanRefused(MigratorError):
    """The plan would do harm, so it was not made."""

    exit_code = 3


class Irreversible(PlanRefused):
    """A revision to take down has no downgrade."""


class StillNeeded(PlanRefused):
    """An applied revision depends on one to take down."""

    exit_code = 2


class DatabaseAhead(PlanRefused):
    """The database has revisions that these files do not have."""

    exit_code = 2


class ResolveNeeded(PlanRefused):
    """An earlier run left the database in a state that a person must judge."""

    exit_code = 14


class Drifted(PlanRefused):
    """A revision file changed after it was applied."""

    exit_code = 15


class DependencyMissing(MigratorError):
    """An extra, a program or a platform is missing."""

    exit_code = 2


class LockHeld(MigratorError):
    """Somebody else holds the lock of this database."""

    exit_code = 12


class LockLost(MigratorError):
    """The lock is not ours any more."""

    exit_code = 12


class DatabaseError(MigratorError):
    """A server refused something; the driver's own error is the cause.

    `code` is the server's (an SQLSTATE, a MongoDB error number), "" where there is none. `retryable` says that the
    server promises that the same transaction may succeed when it is begun again from the start.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str = "", state: str = "", hint: str = "") -> None:
        super().__init__(message, state=state, hint=hint)
        self.code = code

    def details(self) -> Mapping[str, Any]:
        """Return the server's own code."""
        return {"code": self.code}

    @property
    def retry(self) -> bool:
        """Return whether the connection or a transaction that may be begun again was the cause."""
        return self.retryable or super().retry


class ConnectionFailed(DatabaseError):
    """Nobody answers at the address."""

    exit_code = 4


class ConnectionLost(DatabaseError):
    """The server answered and then went away."""

    exit_code = 4


class DatabaseMissing(DatabaseError):
    """The server has no database of that name."""

    exit_code = 4

    @property
    def retry(self) -> bool:
        """Return False: somebody has to create it."""
        return False


class AuthenticationFailed(DatabaseError):
    """The server does not accept the user or the password."""

    exit_code = 5


class PermissionDenied(DatabaseError):
    """The user may not do this."""

    exit_code = 5


class StatementFailed(DatabaseError):
    """The server refused a statement."""


class StatementTimeout(DatabaseError):
    """A time limit ended a statement on the server."""


class TransactionAborted(StatementFailed):
    """The server ended a transaction that may succeed when it is begun again from the start."""

    retryable = True


class ResourcesExhausted(StatementFailed):
    """The server has no disk or no memory left."""


class TransactionEscaped(DatabaseError):
    """The script ended the transaction in which it ran."""


class TrackerRefused(DatabaseError):
    """The tracker's own rules refuse a write: an old fence, or a transition that is not allowed."""

    exit_code = 12


class TrackerNewer(DatabaseError):
    """The tracker was written by a newer migrator."""

    exit_code = 3


class TrackerAmbiguous(DatabaseError):
    """The database has more than one tracker, or its tracker is not where the configuration says."""

    exit_code = 3


class TrackerDamaged(DatabaseError):
    """The tracker was emptied, or a part of it is gone, so it does not say what is applied."""

    exit_code = 14


class OutcomeUnknown(MigratorError):
    """A commit was sent and never answered, so the tracker must be asked again."""

    exit_code = 14

    @property
    def retry(self) -> bool:
        """Return True: the next command asks the tracker."""
        return True


class RunFailed(MigratorError):
    """A step failed. `done` are the runs that succeeded before it in this command, `failed` is its own run.

    The exit code is that of the cause where the cause is a DatabaseError (a lost connection, a missing permission),
    else 1. `transient` is set if the cause was a transaction that may succeed when it is begun again.
    """

    transient = False

    def __init__(self, message: str, *, done: tuple["Run", ...], failed: "Run", state: str, hint: str) -> None:
        super().__init__(message, state=state, hint=hint)
        self.done = done
        self.failed = failed

    @property
    def retry(self) -> bool:
        """Return whether the cause is one after which the same command may succeed."""
        return self.transient or super().retry

    def details(self) -> Mapping[str, Any]:
        """Return the failed run and those done before it."""
        return {"done": [run.as_dict() for run in self.done], "failed": self.failed.as_dict()}


class VerifyFailed(RunFailed):
    """A step's verify said no."""

    exit_code = 13


class ValidationFailed(MigratorError):
    """A script's validate said no, before anything changed."""


class RowFailed(MigratorError):
    """One row of a long change cannot be changed; the cause says why."""


class GivenUp(MigratorError):
    """A person ended a long change with `migrator cancel`."""

    exit_code = 14


class CheckFailed(MigratorError):
    """A check in a script said no."""

    exit_code = 13


class AwaitForgotten(MigratorError):
    """A script made a coroutine and never awaited it: what it was to do was not done."""


class TookTooLong(MigratorError):
    """A script ended after its time limit, or had to be interrupted because it blocked the event loop."""


class ScriptEnded(MigratorError):
    """A script called sys.exit, or raised another exception that ends a program or a task; that one is the cause."""


class Stopped(MigratorError):
    """Ctrl-C or SIGTERM ended the command."""

    exit_code = 130
