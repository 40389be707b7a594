"""Runs whose owner is gone: judged by the next holder of the lock, before it plans anything."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from migrator.core.errors import MigratorError
from migrator.core.events import Event, RunSettled
from migrator.core.protocols import Databases
from migrator.core.revision import Direction, Key, Revision
from migrator.core.run import Effect, Run, State, Status
from migrator.runtime import directory
from migrator.runtime.calling import Within
from migrator.runtime.reading import state_in
from migrator.runtime.runs import Held
from migrator.runtime.verdict import Verdict, check

LIMIT = 60.0
"""Seconds that the verify of an interrupted run may take."""

Find: TypeAlias = Callable[[Key], Revision | None]
"""Returns the revision or the script of a name, None where there is no file of it."""


async def settle(
    held: Held, find: Find, databases: Databases, publish: Callable[[Event], None], *, emptied: bool = False
) -> State:
    """Judge every pending run of one database and return the state after it.

    Holding the lock proves that their owners are gone. A transactional run did nothing, or its row would say
    success. One in batches did what its checkpoints say. Any other is asked by its verify. Each judgement commits by
    itself. `emptied` as in `state_in`.
    """
    state = await state_in(held.session.tracker, emptied=emptied)
    if not state.running:
        return state
    for run in state.running:
        revision = find(run.key)
        ended = await _judged(replace(run, fence=held.fence), held, revision, databases)
        await held.session.tracker.finish(ended)
        publish(RunSettled(ended, revision.header.tags if revision else ()))
    return await state_in(held.session.tracker)


async def _judged(run: Run, held: Held, revision: Revision | None, databases: Databases) -> Run:
    if run.transactional:
        return run.moved(
            Status.FAILED, Effect.NONE, reason="interrupted", error="interrupted; rolled back by the server"
        )
    if run.cursor is not None:
        text = "interrupted between two batches; the next run goes on at the checkpoint"
        return run.moved(Status.FAILED, Effect.PARTIAL, reason="interrupted", error=text)
    answer = await _ask(run, held, revision, databases)
    wanted = Effect.FULL if run.direction is Direction.UPGRADE else Effect.NONE
    if answer is wanted:
        return run.moved(Status.SUCCESS, Effect.FULL, reason="recovered")
    undone = Effect.NONE if wanted is Effect.FULL else Effect.FULL
    if answer is undone:
        return run.moved(Status.FAILED, Effect.NONE, reason="interrupted", error="interrupted before it did anything")
    return run.moved(Status.FAILED, answer, reason="interrupted", error="interrupted without a transaction")


async def _ask(run: Run, held: Held, revision: Revision | None, databases: Databases) -> Effect:
    """Return what the revision's verify says of its effect; UNKNOWN where it has none, raises, or just says no."""
    if revision is None or not revision.verifiable:
        return Effect.UNKNOWN
    script = directory.load(revision, held.adapter.capabilities)
    try:
        async with held.session.step(run, timeout=LIMIT, databases=databases, allow_pooled=True) as context:
            await check(script, context, Within.seconds(LIMIT))
    except Verdict as verdict:
        return verdict.effect
    except MigratorError:
        return Effect.UNKNOWN
    return Effect.FULL
