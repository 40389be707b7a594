"""What people ask of a long change: pause, resume, cancel, tune. No lock: the loop reads it before each batch."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from migrator.config import Config
from migrator.core.batch import Checkpoint, Control, Desired, FailedRow
from migrator.core.change import Change
from migrator.core.errors import AmbiguousTarget, TargetNotFound, UsageError
from migrator.core.protocols import Session
from migrator.core.run import Run, State, Status
from migrator.core.utf8 import readable
from migrator.runtime.connections import Connections
from migrator.runtime.deployment import owner_of
from migrator.runtime.reading import state_in

_UNCHANGED = "Nothing was changed."


async def changes_in(session: Session, state: State) -> tuple[Change, ...]:
    """Return the long changes of one database that run or stopped on their way, with how far they have come."""
    runs = {run.origin: run for run in (*state.resumable.values(), *state.running) if run.origin}
    held = bool(state.running) and await session.lock.holder() is not None
    return tuple([await change_of(session, run, held=held) for run in runs.values()])


async def change_of(session: Session, run: Run, *, held: bool) -> Change:
    """Return one long change by its last run; `held` says whether somebody holds the lock."""
    control = await session.tracker.control(run.origin)
    loops = _by_name(await session.tracker.checkpoints(run.origin))
    return Change(run, control, loops, at_work=held and run.status is Status.PENDING)


def _by_name(found: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Return one checkpoint for each loop: the slices of one that runs side by side are added up."""
    if all(each.slice == 0 for each in found):
        return tuple(found)
    from migrator.runtime.slices import together

    names = dict.fromkeys(each.name for each in found)
    return tuple(together([each for each in found if each.name == name]) for name in names)


class Controls:
    """The long changes of every database of a configuration, and what can be asked of them; see `Migrator.controls`.

    `by` is the person for whom something is asked, "" for the user of this program. Where a command names no run, it
    means the one that is at work, or else the one that stopped on its way. Raises TargetNotFound where there is none,
    AmbiguousTarget with the exact commands where there are several.
    """

    def __init__(self, config: Config, connections: Connections) -> None:
        self._config = config
        self._connections = connections

    async def changes(self, databases: Sequence[str] = ()) -> tuple[Change, ...]:
        """Return every long change that runs or stopped on its way."""
        found: list[Change] = []
        for name in self._scope(databases):
            async with self._session(name) as session:
                found += await changes_in(session, await state_in(session.tracker))
        return tuple(found)

    async def of(self, run: Run) -> Change:
        """Return the long change that a run belongs to, as it stands now."""
        async with self._session(run.database) as session:
            held = run.status is Status.PENDING and await session.lock.holder() is not None
            return await change_of(session, run, held=held)

    async def failures(self, run: Run) -> list[FailedRow]:
        """Return the rows that the long change of a run passed over and that are not done yet."""
        async with self._session(run.database) as session:
            return await session.tracker.failures(run.kept_under)

    async def pause(self, run: str = "", reason: str = "", databases: Sequence[str] = (), *, by: str = "") -> Change:
        """Let a change stand still after the batch it is at, until `resume`. It keeps its lock meanwhile."""
        change = await self._one("pause", run, databases)
        if change.control.cancelled:
            raise UsageError(
                f"{change.run.key} was cancelled by {change.control.by}: {change.control.reason}",
                state=_UNCHANGED,
                hint=f"`migrator resume {change.run.run_id}` takes that back.",
            )
        return await self._ask(change, lambda now: replace(now, desired=Desired.PAUSE, reason=readable(reason)), by)

    async def resume(self, run: str = "", reason: str = "", databases: Sequence[str] = (), *, by: str = "") -> Change:
        """Let a change go on that was paused or cancelled: at once where somebody is at work, else in the next run."""
        change = await self._one("resume", run, databases, lambda change: change.control.desired is not Desired.RUN)
        return await self._ask(change, lambda now: replace(now, desired=Desired.RUN, reason=readable(reason)), by)

    async def cancel(self, run: str = "", reason: str = "", databases: Sequence[str] = (), *, by: str = "") -> Change:
        """End a change after the batch it is at. Its checkpoint is kept; nobody goes on until `resume`."""
        if not reason:
            raise UsageError(
                "cancel needs a reason, which is kept",
                state=_UNCHANGED,
                hint='For example: `migrator cancel --reason "it slows the shop down"`; `migrator pause` needs none.',
            )
        change = await self._one("cancel", run, databases)
        return await self._ask(change, lambda now: replace(now, desired=Desired.CANCEL, reason=readable(reason)), by)

    async def tune(
        self, settings: Mapping[str, float], run: str = "", databases: Sequence[str] = (), *, by: str = ""
    ) -> Change:
        """Change settings of a change (see `core.tuning`), on top of those that were changed before."""
        change = await self._one("tune", run, databases)
        return await self._ask(change, lambda now: replace(now, settings={**now.settings, **settings}), by)

    async def _ask(self, change: Change, asked: Callable[[Control], Control], actor: str) -> Change:
        """Write it down under the name of the actor, and return the change as it stands then."""
        owner = owner_of(self._config, actor)
        async with self._session(change.run.database) as session:
            now = await session.tracker.control(change.run.origin)
            wanted = asked(now)
            stays = wanted == replace(now, settings=wanted.settings) and now.desired is not Desired.RUN
            by = now.by if stays else f"{owner.user}@{owner.host}"  # who paused it is still the one who did
            await session.tracker.ask(change.run.origin, replace(wanted, by=by))
            return replace(change, control=await session.tracker.control(change.run.origin))

    async def _one(
        self,
        verb: str,
        run: str,
        databases: Sequence[str],
        first: Callable[[Change], bool] = lambda change: change.at_work,
    ) -> Change:
        """Return the change that is meant; where no run is named, those that are so `first` come before the others."""
        self._config.refuse_dry_run(verb)
        found = await self.changes(databases)
        if run:
            meant = [each for each in found if each.run.run_id.startswith(run) or each.run.origin == run]
        else:
            meant = [each for each in found if first(each)] or list(found)
        if len(meant) == 1:
            return meant[0]
        if not meant:
            raise _none(run, found)
        listed = ", ".join(f"{each.run.key} ({each.run.title})" for each in meant)
        commands = " or ".join(f"`migrator {verb} {each.run.run_id}`" for each in meant)
        raise AmbiguousTarget(f"{verb} may mean {listed}", state=_UNCHANGED, hint=f"Say which: {commands}")

    def _scope(self, databases: Sequence[str]) -> tuple[str, ...]:
        return self._config.named(databases)

    @asynccontextmanager
    async def _session(self, name: str) -> AsyncIterator[Session]:
        adapter = await self._connections.adapter(name)
        async with adapter.session() as session:
            yield session


def _none(run: str, found: Sequence[Change]) -> TargetNotFound:
    if run and found:
        listed = ", ".join(f"{each.run.run_id} ({each.run.key} {each.run.title})" for each in found)
        return TargetNotFound(f"no long change has the run {run!r}", state=_UNCHANGED, hint=f"There are: {listed}")
    return TargetNotFound(
        "no long change is at work, and none stopped on its way",
        state=_UNCHANGED,
        hint="A long change is a revision that walks in `ctx.batches`; `migrator status` shows how all of them stand.",
    )
