"""What the end of a run does to the runs before it, as `core.protocols.Tracker.finish` says it."""

from collections.abc import Sequence
from dataclasses import replace

from migrator.core.revision import Direction
from migrator.core.run import Effect, Kind, Run, Status


def retires(by: Run, each: Run) -> bool:
    """Say whether the end of one run ends the life of another."""
    harmless = each.effect is Effect.NONE or by.effect is not Effect.NONE or by.kind is Kind.RESOLVE
    done = (
        each.status is Status.FAILED and harmless if by.status is Status.FAILED else each.status is not Status.PENDING
    )
    return done and each.revision == by.revision and not each.superseded_by


def retired(run: Run, by: Run) -> Run:
    """Return a run whose life the end of another has ended."""
    if run.status is by.status is Status.SUCCESS and by.direction is Direction.DOWNGRADE:
        run = run.moved(Status.ROLLED_BACK, Effect.NONE)
    return replace(run, superseded_by=by.run_id)


def applied(run: Run, revisions: Sequence[str]) -> bool:
    """Say whether a run is the live success of one of these revisions."""
    return run.revision in revisions and run.status is Status.SUCCESS and not run.superseded_by
