"""What a run left in its database, in one sentence: a function of direction, force, transaction and effect."""

from migrator.core.revision import Direction
from migrator.core.run import Effect, Kind, Run, Status


def describe_effect(run: Run) -> str:
    """Return the sentence for a run that has ended, one that is recorded as applied all the same included."""
    if run.status is Status.ROLLED_BACK:
        return f"It was reverted later: nothing of {run.key} is in {run.database}."
    if run.status is Status.SUCCESS:
        part = "Nothing" if run.direction is Direction.DOWNGRADE else "All"
        return f"{part} of {run.key} is in {run.database}."
    work = "downgrade" if run.direction is Direction.DOWNGRADE else "forced run" if run.forced else ""
    if run.effect is Effect.NONE:
        return _nothing(run, work)
    subject = f"the {work}" if work else str(run.key)
    text = {
        Effect.PARTIAL: f"A part of {subject} is in {run.database}",
        Effect.FULL: f"All of {subject} is in {run.database}",
        Effect.UNKNOWN: f"It ran without a transaction: what {subject} did before it failed is still in {run.database}",
    }[run.effect]
    if run.effect is Effect.UNKNOWN and run.transactional:
        text = f"It ended its own transaction: what {subject} did before it failed may still be in {run.database}"
    return f"{text}; {_record(run)}." if work else f"{text}."


def _nothing(run: Run, work: str) -> str:
    if not work:
        rolled_back = "It was rolled back: nothing" if run.transactional else "Nothing"
        return f"{rolled_back} of {run.key} is in {run.database}."
    return f"The {work} {'was rolled back' if run.transactional else 'changed nothing'}; {_record(run)}."


def _record(run: Run) -> str:
    """Return what the tracker has of the revision beside the failed run."""
    if run.kind is Kind.SCRIPT:
        return f"the last successful run of {run.key} still counts"
    return f"{run.key} is still {'applied' if run.effect is Effect.NONE else 'recorded as applied'}"
