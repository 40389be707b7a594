"""From an exception to what the person on call reads: what happened, what state the database is in, what to type."""

from migrator.core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    DatabaseMissing,
    DependencyMissing,
    FileFailed,
    MigratorError,
    PlanRefused,
    Stopped,
    TargetError,
    UsageError,
)
from migrator.core.files import explain

_EARLY = (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    DatabaseMissing,
    DependencyMissing,
    FileFailed,
    PlanRefused,
    TargetError,
    UsageError,
)
"""What is raised before the first step begins; in a step it would be the cause of RunFailed."""

UNCHANGED = "Nothing was changed."


def advised(error: BaseException) -> MigratorError:
    """Return the error as one of ours, with state and hint also where whoever raised it left them open."""
    known = error if isinstance(error, MigratorError) else _unexpected(error)
    early = isinstance(known, _EARLY)
    known.state = known.state or (UNCHANGED if early else "Every step that was begun is in the tracker.")
    known.hint = known.hint or (
        "Correct it, then run the command again." if early else "`migrator status` shows where things stand."
    )
    return known


def _unexpected(error: BaseException) -> MigratorError:
    if type(error).__name__ in ("CancelledError", "KeyboardInterrupt"):
        told = next((each for each in error.args if isinstance(each, Stopped)), None)
        return told or Stopped(
            "stopped before the end",
            state="The step that was running was rolled back or is settled by the next command.",
            hint="`migrator status` shows where things stand.",
        )
    if isinstance(error, OSError) and (known := explain(error)):
        return known
    return MigratorError(
        f"{type(error).__name__}: {error}",
        state="This is a defect of migrator or of a plug-in.",
        hint="Run it again with DEBUG=1 for the traceback, and report it.",
    )
