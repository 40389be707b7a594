"""`migrator resolve`: a person's judgement of a run that left something behind."""

from collections.abc import Mapping
from dataclasses import replace

from migrator.core.errors import MigratorError, TargetNotFound, UsageError
from migrator.core.outcome import Decision, Resolution
from migrator.core.protocols import Databases
from migrator.core.revision import Revision
from migrator.core.run import Effect, Kind, Run, State, Status
from migrator.core.utf8 import readable
from migrator.runtime import directory
from migrator.runtime.runs import Held, new_id
from migrator.runtime.settle import LIMIT, Find
from migrator.runtime.verdict import Verdict, check_within

_ENDS = {
    Decision.RETRY: (Status.FAILED, Effect.UNKNOWN),
    Decision.MARK_SUCCESS: (Status.SUCCESS, Effect.FULL),
    Decision.MARK_ROLLED_BACK: (Status.FAILED, Effect.NONE),
}
"""What each decision records: a retry leaves open what is there, and only lets the next command run over it."""


async def resolve(
    run_id: str,
    decision: Decision | None,
    reason: str,
    state: State,
    held: Mapping[str, Held],
    find: Find,
    databases: Databases,
) -> Resolution:
    """Find the run, ask its verify, and record the decision, if there is one, in one commit."""
    run = _find(run_id, state)
    mine = held[run.database]
    revision = find(run.key)
    said = await _verify(revision, mine, databases)
    if decision is None:
        return Resolution(run, said)
    if not reason.strip():
        raise UsageError(
            "a decision needs a reason, which the tracker keeps",
            state="Nothing was changed.",
            hint=f'For example: `migrator resolve {run.run_id} --{decision} --reason "the index is there"`',
        )
    status, effect = _ENDS[decision]
    if run.kind is Kind.SCRIPT and status is Status.FAILED:
        effect = Effect.NONE  # nothing in the order waits for it
    pending = replace(
        run,
        run_id=new_id(),
        kind=Kind.SCRIPT if run.kind is Kind.SCRIPT else Kind.RESOLVE,
        status=Status.PENDING,
        effect=Effect.UNKNOWN,
        attempt=run.attempt + 1,
        error="",
        checksum=revision.checksum if revision else run.checksum,
        source=revision.source if revision else "",
        owner=mine.owner.token,
        host=mine.owner.host,
        pid=mine.owner.pid,
        user=mine.owner.user,
        release=mine.owner.release,
        deploy_id=mine.deploy_id,
        fence=mine.fence,
    )
    recorded = pending.moved(status, effect, reason=readable(f"{decision}: {reason.strip()}"))
    await mine.session.tracker.record(recorded)
    if decision is Decision.RETRY and run.origin:
        await _let_go_on(run, mine, readable(reason.strip()))
    return Resolution(run, said, recorded)


async def _let_go_on(run: Run, held: Held, reason: str) -> None:
    """Take back what a person asked of a long change that is to go on: a pause, or the word that cancelled it."""
    from migrator.core.batch import Desired

    control = await held.session.tracker.control(run.origin)
    by = f"{held.owner.user}@{held.owner.host}"
    await held.session.tracker.ask(run.origin, replace(control, desired=Desired.RUN, by=by, reason=reason))


def _find(run_id: str, state: State) -> Run:
    blocked = list({**state.resumable, **state.blocked}.values())
    found = [run for run in blocked if run.run_id.startswith(run_id)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{run.run_id} ({run.key} {run.title})" for run in found or blocked)
    raise TargetNotFound(
        f"{run_id!r} may mean {listed}" if found else f"no run {run_id!r} waits for a decision",
        state="Nothing was changed.",
        hint="" if found else (f"Waiting: {listed}" if listed else "None waits for one: run your command again."),
    )


async def _verify(revision: Revision | None, held: Held, databases: Databases) -> str:
    """Return what the revision's verify says now, in words."""
    if revision is None:
        return "its file is not here, so nothing can be asked"
    if not revision.verifiable:
        return "it has no verify"
    script = directory.load(revision, held.adapter.capabilities)
    try:
        async with held.adapter.context(revision.source, databases) as context:
            await check_within(LIMIT, script, context)
    except (Verdict, MigratorError) as error:
        return f"no: {error}"
    return "yes: all of it is in the database"
