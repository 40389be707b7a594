"""What a tracker says of its database, read from it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from migrator.core.errors import MigratorError, TrackerDamaged
from migrator.core.protocols import Tracker
from migrator.core.revision import Key, Revision
from migrator.core.run import Edit, Run, State, merged, state_of
from migrator.core.runs import RunFilter
from migrator.runtime import directory
from migrator.runtime.connections import Connections

_TIMES = ("run_id", "started_at", "finished_at")
PAGE = 100
"""How many texts are in memory at once."""


async def state_in(tracker: Tracker, *, emptied: bool = False) -> State:
    """Return the state of one database, with what people want of the long changes that stopped on their way.

    Raises TrackerDamaged where the tracker has lost its runs, unless `emptied`: a person says what is applied.
    """
    runs = await tracker.runs()
    if not runs and not emptied and (lost := await tracker.emptied()):
        raise TrackerDamaged(
            lost,
            state="Which revisions are applied is not known. Nothing was changed.",
            hint="Restore the tracker from a backup; or say what is applied: `migrator stamp ID`, for everything "
            "`migrator stamp head`; or, where the database is to begin at the first revision, drop script_run_tracker "
            "and script_run_lock.",
        )
    state = state_of(runs)
    if not state.resumable:
        return state
    return replace(state, controls={key: await tracker.control(run.origin) for key, run in state.resumable.items()})


async def timed(runs: Sequence[Run], trackers: Mapping[str, Tracker]) -> tuple[Run, ...]:
    """Return the runs of a command with the times that the servers gave them; without where one cannot be asked now."""
    found: dict[str, Run] = {}
    for name, tracker in trackers.items():
        ids = tuple(run.run_id for run in runs if run.database == name)
        if not ids:
            continue
        with suppress(MigratorError):  # the work is done, whatever becomes of this question
            page = await tracker.page(RunFilter(ids=ids), limit=len(ids), columns=_TIMES)
            found |= {run.run_id: run for run in page}
    return tuple(
        replace(run, started_at=seen.started_at, finished_at=seen.finished_at)
        if (seen := found.get(run.run_id))
        else run
        for run in runs
    )


@asynccontextmanager
async def peek(
    connections: Connections, databases: Iterable[str], *, emptied: bool = False
) -> AsyncIterator[tuple[State, dict[str, Tracker]]]:
    """Read the state of databases without their locks; the trackers can be asked while the block lasts.

    `emptied` as in `state_in`.
    """
    async with AsyncExitStack() as stack:
        trackers: dict[str, Tracker] = {}
        for name in databases:
            adapter = await connections.adapter(name)
            trackers[name] = (await stack.enter_async_context(adapter.session())).tracker
        yield merged([await state_in(each, emptied=emptied) for each in trackers.values()]), trackers


async def with_edits(state: State, revisions: Iterable[Revision], trackers: Mapping[str, Tracker]) -> State:
    """Return the state with the edits of files since they ran, found by comparing them with the texts in the trackers.

    A file whose checksum is that of its run costs nothing; only the texts of the others are read.
    """
    known = {each.key: each for each in revisions if not each.stored}
    runs = {
        run.run_id: run
        for found in (state.applied, state.scripts, state.resumable)
        for key, run in found.items()
        if key in known and key.database in trackers and state.is_changed(run, known[key].checksum)
    }
    if not runs:
        return state
    from migrator.core.runs import RunFilter

    edits: dict[Key, Edit] = {}
    for name, tracker in trackers.items():
        ids = tuple(run.run_id for run in runs.values() if run.database == name)
        for start in range(0, len(ids), PAGE):
            wanted = RunFilter(ids=ids[start : start + PAGE])
            for ran in await tracker.page(wanted, limit=PAGE, columns=("run_id", "path", "source")):
                revision = known[runs[ran.run_id].key]
                edit = directory.edit_of(revision, ran.path, ran.source)
                if edit is not None:
                    edits[revision.key] = edit
    return replace(state, edits=edits) if edits else state
