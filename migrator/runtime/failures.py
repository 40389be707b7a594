"""What a failed step means: what it did to the database, what to record, what to tell the person on call."""

import traceback
from collections.abc import Collection, Mapping
from typing import Any

from migrator.core.data_state import describe_effect
from migrator.core.errors import (
    ConnectionLost,
    DatabaseError,
    DependencyMissing,
    LockLost,
    MigratorError,
    OutcomeUnknown,
    PlanRefused,
    RowFailed,
    RunFailed,
    Stopped,
    TrackerDamaged,
    TrackerRefused,
    TransactionEscaped,
    UsageError,
    VerifyFailed,
    leaves,
)
from migrator.core.outcome import Outcome
from migrator.core.plan import Plan
from migrator.core.refusals import GIVEN_UP
from migrator.core.revision import Direction
from migrator.core.run import Effect, Kind, Run, State, Status
from migrator.core.wording import counted

LISTED = 3
"""How many errors of a group are described."""


class Failure(Exception):
    """A step that failed: why, whether anything had been sent, and what is known of the effect (None: derive it).

    `exit_code` is 0 where the cause decides; `progress` is how far it came; `lead` comes first in the hint.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        *,
        touched: bool,
        effect: Effect | None = None,
        exit_code: int = 0,
        progress: Mapping[str, Any] | None = None,
        lead: str = "",
    ) -> None:
        super().__init__(message)
        self.lead = lead
        self.progress = progress
        self.exit_code = exit_code
        self.reason = reason
        self.touched = touched
        self.effect = effect

    def unanswered(self, run: Run) -> bool:
        """Say whether the step's own command may still run on the server, so that only the next holder can judge it.

        A driver that connects again by itself could write the row at once, while nobody has asked what was done.
        """
        return isinstance(self.__cause__, ConnectionLost) and self.touched and not run.transactional

    def effect_on(self, run: Run, *, escaped: bool) -> Effect:
        """Return what the failed run is known to have done: a transaction that failed did nothing.

        `escaped` says that the script may have ended it.
        """
        if escaped or isinstance(self.__cause__, TransactionEscaped):
            return Effect.UNKNOWN
        if run.transactional or not self.touched:
            return Effect.PARTIAL if run.origin not in ("", run.run_id) else Effect.NONE
        if run.origin:  # its checkpoints know how much: what verify cannot say is not in doubt
            return Effect.PARTIAL if self.effect in (None, Effect.UNKNOWN) else self.effect
        return self.effect or Effect.UNKNOWN

    def kept(self, lines: Collection[str]) -> Mapping[str, Any] | None:
        """Return what the run keeps of its failure: the last lines of its log, and which error it was, for statistics.

        The latter where `reason` says nothing: it is the driver's own class where a driver raised it.
        """
        cause = self.__cause__
        origin = cause.__cause__ or cause if isinstance(cause, DatabaseError) else cause
        known = {"error_class": type(origin).__name__} if self.reason == "error" and origin is not None else {}
        return {**known, **({"log": list(lines)} if lines else {})} or None


class Unanswered(Exception):
    """A step whose commit was never answered: the plan, its run, and those done before."""

    def __init__(self, plan: Plan, run: Run, done: tuple[Run, ...], cause: OutcomeUnknown) -> None:
        super().__init__(cause.message)
        self.plan = plan
        self.run = run
        self.done = done
        self.cause = cause


def said(error: BaseException, path: str) -> str:
    """Return an error in one line, with the line of the revision file where its traceback, or its causes', has one.

    Of a group of errors the first three are listed.
    """
    if isinstance(error, BaseExceptionGroup):
        found = list(leaves(error))
        more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
        return "; ".join(said(each, path) for each in found[:LISTED]) + more
    name = "" if isinstance(error, MigratorError) else f"{type(error).__name__}: "
    text = str(error).splitlines()[0] if str(error) else ""
    line = None if text.startswith(path) else _line_of(error, path)
    where = f"{path}:{line}: " if line else ""
    return f"{where}{name}{text}".rstrip(": ")


def _line_of(error: BaseException, path: str) -> int | None:
    """Return the last line of a file in the traceback of an error, else in that of its cause."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and not any(found is each for each in seen):
        lines = [line for frame, line in traceback.walk_tb(found.__traceback__) if frame.f_code.co_filename == path]
        if lines:
            return lines[-1]
        seen.append(found)
        found = found.__cause__
    return None


def explained(
    run: Run, failure: Failure, done: tuple[Run, ...], *, again: str, recorded: bool, rerunnable: bool = False
) -> RunFailed:
    """Return the error for the command: what happened, what state the database is in, what to type next.

    `again` is the command that runs the step again, from `retry_command`.
    """
    kind = VerifyFailed if failure.reason == "verify_failed" else RunFailed
    error = kind(
        f"{run.key} ({run.title}) failed in {run.direction}: {run.error}",
        done=done,
        failed=run,
        state=_state(run, done, recorded=recorded),
        hint=f"{_hint(run, failure, again, rerunnable=rerunnable)} `migrator logs {run.run_id}` prints its log.",
    )
    cause = failure.__cause__
    if kind is RunFailed and isinstance(cause, MigratorError):
        error.exit_code = cause.exit_code
        error.transient = isinstance(cause, DatabaseError) and cause.retryable
    error.exit_code = failure.exit_code or error.exit_code
    return error


def stopped(run: Run, again: str) -> Stopped:
    """Return what a stop in the middle of a long change means; `again` as in `explained`."""
    return Stopped(
        f"stopped in the {run.direction} of {run.key} ({run.title})",
        state=_kept(run),
        hint=f"Run {again} again; it continues at the checkpoint.",
    )


def stopped_outside(run: Run, again: str) -> Stopped:
    """Return what a stop means in a step outside a transaction: nobody has judged it yet."""
    return Stopped(
        f"stopped in the {run.direction} of {run.key} ({run.title})",
        state="It ran without a transaction: what it did before it was stopped is still in the database.",
        hint=f"Run {again} again; it first asks the verify of {run.key} what was done.",
    )


def overtaken(run: Run, refused: TrackerRefused) -> LockLost:
    """Return what a failed step means whose row is refused: its cause is that somebody else took over and ended it."""
    return LockLost(
        f"{run.key} ({run.title}): the lock was taken over by somebody else in the middle of the {run.direction}",
        state="The tracker refused this command's last write; the new holder has judged the run.",
        hint=refused.hint,
    )


def has_landed(run: Run, state: State) -> bool:
    """Say whether a run whose commit was never answered is committed by what the tracker says now."""
    after = state.applied.get(run.key) or state.scripts.get(run.key)
    return after is not None and after.run_id == run.run_id if run.direction is Direction.UPGRADE else after is None


def unrecorded(run: Run, lost: TrackerDamaged) -> TrackerDamaged:
    """Return what a failed step means of which nothing can be recorded: the tracker was lost while it ran."""
    return TrackerDamaged(
        f"{run.key} ({run.title}) failed in {run.direction}: {lost.message}",
        state=f"{describe_effect(run)} Which revisions are applied is not recorded any more.",
        hint=lost.hint,
    )


def answered(doubt: Unanswered, state: State) -> Outcome:
    """Return the outcome of a plan whose last begun step turned out to be committed, if that was its last step.

    Raises OutcomeUnknown where it is committed and others were left, ConnectionLost where it is not.
    """
    run = doubt.run
    again = f"Run {retry_command(run, doubt.plan)} again; it continues from there."
    if not has_landed(run, state):
        there = f"What the checkpoints of {run.key} say is" if run.origin else f"Nothing of {run.key} is"
        if not run.transactional and not run.origin:
            there = f"What {run.key} did is"
        if run.key in state.blocked and not run.origin:
            again = (
                "Look at what it left, then decide: "
                f'`migrator resolve {run.run_id} --retry | --mark-success | --mark-rolled-back --reason "..."`'
            )
        raise ConnectionLost(
            f"{doubt.cause.message}; the tracker, read again under the lock, says that the commit did not arrive",
            state=f"{there} in the database. {len(doubt.done)} before it are done and kept.",
            hint=again,
        )
    done = (*doubt.done, run.moved(Status.SUCCESS, Effect.FULL, reason="recovered"))
    told = f"{doubt.cause.message}; the tracker, read again, says that it is done."
    if len(done) < len(doubt.plan):
        left = len(doubt.plan) - len(done)
        raise OutcomeUnknown(told, state=f"{counted(len(done), 'step')} done, {left} not begun.", hint=again)
    return Outcome(doubt.plan, done, (told,))


def _state(run: Run, done: tuple[Run, ...], *, recorded: bool) -> str:
    text = _kept(run, sure=recorded) if run.origin and run.effect is Effect.PARTIAL else describe_effect(run)
    if not recorded:
        text += " The tracker could not be written; the next command finds the run and settles it."
    if not done:
        return text
    verb = "applied" if run.direction is Direction.UPGRADE else "reverted"
    last = ", ".join(str(each.key) for each in done[-3:])
    return f"{text} Before it, {len(done)} {verb} and kept (last: {last})."


def _kept(run: Run, *, sure: bool = True) -> str:
    """Return how much of a long change is done; where the connection was lost, the last batch may be, too."""
    loops = (run.progress or {}).get("loops", ())
    parts = [
        ("" if sure else "at least ")
        + f"{loop['rows']:,} "
        + (f"of about {loop['total']:,} " if loop["total"] >= loop["rows"] else "")
        + f"rows of {loop['name']}"
        for loop in loops
    ]
    back = f" {run.key} is still recorded as applied." if run.direction is Direction.DOWNGRADE or run.forced else ""
    return (f"Done and kept: {', '.join(parts)}." if parts else "What was done before is kept.") + back


def retry_command(run: Run, plan: Plan) -> str:
    """Return the command that runs a failed step of a plan again, and what of its database was to follow it."""
    if run.kind is Kind.SCRIPT:
        return f"`migrator run {run.key}`" if run.direction is Direction.UPGRADE else f"`migrator downgrade {run.key}`"
    targets = [text for text in plan.targets if text.startswith(f"{run.database}:")]
    return f"`migrator {run.direction} {' '.join(targets or [str(run.key)])}{' --force' * run.forced}`"


def _hint_on(run: Run, failure: Failure, again: str) -> str:
    """Return how a long change that stopped is continued."""
    settle = f'`migrator resolve {run.run_id} --mark-success | --mark-rolled-back --reason "..."` settles it otherwise.'
    if failure.reason == GIVEN_UP:
        return f"`migrator resume {run.run_id}` lets the next {run.direction} continue at the checkpoint; {settle}"
    lead = "Correct the row. " if isinstance(failure.__cause__, RowFailed) else _skipped(run, again)
    return (
        f"{lead}Run {again} again; it continues at the checkpoint. After an edit of {run.path}, first run "
        f'`migrator resolve {run.run_id} --retry --reason "..."`.'
    )


def _skipped(run: Run, again: str) -> str:
    skipped = sum(loop["skipped"] for loop in (run.progress or {}).get("loops", ()))
    if not skipped:
        return ""
    return f"`migrator runs show {run.run_id}` lists the {skipped} rows that were skipped; {again} takes them first. "


def _hint(run: Run, failure: Failure, again: str, *, rerunnable: bool) -> str:
    cause = failure.__cause__
    lead = f"{cause.hint} " if isinstance(cause, DatabaseError | DependencyMissing | UsageError) and cause.hint else ""
    if isinstance(cause, ConnectionLost):
        return lead.strip()
    if isinstance(cause, PlanRefused):
        return cause.hint
    if failure.reason == "timeout":
        lead = failure.lead or 'Give it more time (`timeout = "30m"` in the revision), or do less at once. '
    if run.origin and run.effect is Effect.PARTIAL:
        return lead + _hint_on(run, failure, again)
    if run.effect is Effect.NONE and isinstance(cause, DatabaseError) and cause.retryable:
        return f"{cause.hint} Nothing needs to be corrected; {again} begins the step again."
    if run.effect is Effect.NONE or rerunnable:
        return f"{lead}Correct {run.path}, then run {again} again."
    return (
        f"{lead}Look at what it left, then decide: "
        f'`migrator resolve {run.run_id} --retry | --mark-success | --mark-rolled-back --reason "..."`.'
    )
