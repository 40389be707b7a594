"""Which step takes the rows that a long change passed over once more."""

from migrator.core.errors import PlanRefused
from migrator.core.history import History
from migrator.core.plan import Plan, Step
from migrator.core.refusals import UNCHANGED, refuse_drift
from migrator.core.revision import Direction
from migrator.core.run import Run, State
from migrator.core.scripts import Scripts


def mend(history: History, scripts: Scripts, state: State, run: Run) -> Plan:
    """Return that step; `run` is one of the runs of the change.

    Raises PlanRefused where the revision was not applied by that change, or not as it is now.
    """
    applied = state.applied.get(run.key) or state.scripts.get(run.key)
    if applied is None or run.kept_under != applied.kept_under:
        raise PlanRefused(
            f"{run.key} ({run.title}): run {run.run_id} is not what it stands on now",
            state=UNCHANGED,
            hint="That is for a change that is applied. One that failed takes the rows that it skipped first when it "
            f"runs again; `migrator runs --script {run.revision}` shows what came after it.",
        )
    refuse_drift(history, state, {run.database}, only={run.key})
    revision = scripts[run.key] if run.key in scripts else history[run.key]
    if state.is_changed(applied, revision.checksum):
        raise PlanRefused(
            f"{revision.path} changed since it ran", state=UNCHANGED, hint=f"`migrator run {revision.id}` runs it anew."
        )
    return Plan((Step(revision, Direction.UPGRADE, failed_of=run.kept_under),))
