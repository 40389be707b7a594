"""Migrator: what the commands ask. Each method is one command and returns values; nothing is printed here."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from migrator.config import Config, load
from migrator.core.history import History
from migrator.core.protocols import Findings, Holder, Notifier, Tracker
from migrator.core.report import DatabaseReport, lines_of
from migrator.core.revision import Revision
from migrator.core.run import State, merged, state_of
from migrator.runtime import directory
from migrator.runtime.connections import Connections
from migrator.runtime.notify import Notifiers

if TYPE_CHECKING:
    from migrator.core.outcome import Decision, Outcome, Resolution, Shown, Verification
    from migrator.core.plan import Plan
    from migrator.runtime.deployment import Deployment, Planner
    from migrator.runtime.past import Past


class Migrator:
    """One configuration, open. Use it as `async with Migrator.open() as m: await m.upgrade("head")`.

    It belongs to the event loop that opened it. Errors are `migrator.core.errors.MigratorError`.
    """

    def __init__(self, config: Config, notifiers: Iterable[Notifier] = ()) -> None:
        self.config = config
        self._connections = Connections(config)
        self._notifiers = Notifiers(notifiers, config.mask())
        self._listened = False

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config | None = None, notifiers: Iterable[Notifier] = ()) -> AsyncIterator["Migrator"]:
        """Open the configuration (by default migrator.toml and the environment) and close all of it at the end."""
        migrator = cls(config or load(), notifiers)
        try:
            yield migrator
        finally:
            await migrator._connections.close()
            await migrator._notifiers.close()

    async def upgrade(
        self, *targets: str, databases: Sequence[str] = (), force: bool = False, dry_run: bool = False
    ) -> "Outcome":
        """Apply revisions up to the targets (default `head`) and return what ran.

        `databases` narrows the scope; cross links may still bring in others. `force` runs applied revisions again.
        Raises RunFailed with what was done before it, PlanRefused, TargetError, LockHeld and so on.
        """
        from migrator.core import plan as planning
        from migrator.core.target import Target

        wanted = [Target.parse(text) for text in targets or ("head",)]
        scope = self._scope(databases)
        history = History(self._read())
        make = planning.again if force else planning.upgrade

        def plan(history: History, state: State) -> "Plan":
            return make(history, state, wanted, scope)

        reach = _reach(history, scope)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, reach)
        return await self._deployment().carry_out("upgrade", plan, history, reach)

    async def downgrade(self, *targets: str, databases: Sequence[str] = (), dry_run: bool = False) -> "Outcome":
        """Take revisions down to the targets and return what ran.

        Where the file of an applied revision is gone, the text that the tracker kept is run. Raises as `upgrade`.
        """
        from migrator.core import plan as planning
        from migrator.core.target import Target

        wanted = [Target.parse(text) for text in targets]
        scope = self._scope(databases)

        def plan(history: History, state: State) -> "Plan":
            return planning.downgrade(history, state, wanted, scope)

        history, everything = History(self._read()), tuple(self.config.databases)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, everything)
        return await self._deployment().carry_out("downgrade", plan, history, everything, stored=True)

    async def stamp(self, *targets: str, databases: Sequence[str] = (), dry_run: bool = False) -> "Outcome":
        """Write the tracker as if the targets had been reached, without running anything; return the runs written."""
        from migrator.core import plan as planning
        from migrator.core.target import Target

        wanted = [Target.parse(text) for text in targets]
        scope = self._scope(databases)

        def plan(history: History, state: State) -> "Plan":
            return planning.stamp(history, state, wanted, scope)

        history, everything = History(self._read()), tuple(self.config.databases)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, everything)
        return await self._deployment().carry_out("stamp", plan, history, everything, stored=True, run=False)

    async def status(self, databases: Sequence[str] = ()) -> tuple[DatabaseReport, ...]:
        """Return what is applied and what is not. Takes no lock and changes nothing."""
        history = History(self._read())
        return tuple([await self._report(name, history) for name in self._scope(databases)])

    async def history(self, databases: Sequence[str] = ()) -> History:
        """Return the checked graph of the revision files. Touches no database."""
        self._scope(databases)
        return History(self._read())

    async def show(self, target: str, databases: Sequence[str] = ()) -> "Shown":
        """Return one revision in full: its file, its state, and the text that ran."""
        from migrator.core import plan as planning
        from migrator.core.outcome import Shown
        from migrator.core.target import Target
        from migrator.runtime.deployment import with_stored

        scope = self._scope(databases)
        history = History(self._read())
        async with self._peek(tuple(self.config.databases)) as (state, trackers):
            full = await with_stored(history, state, trackers)
            key = planning.one(full, Target.parse(target), scope)
            stored = await trackers[key.database].sources([key.id]) if key in state.applied else {}
        lines = lines_of(full, state, key.database, None)
        line = next(line for line in lines if line.revision == key.id)
        text = "" if full[key].stored else full[key].source
        return Shown(line, text, stored.get(key.id, ("", ""))[1], full[key].header)

    async def verify(self, *targets: str, databases: Sequence[str] = ()) -> "tuple[Verification, ...]":
        """Ask the verify of applied revisions (all, or these) and return the answers. Changes nothing."""
        from migrator.core import plan as planning
        from migrator.core.target import Target
        from migrator.runtime.verifying import verify

        scope = self._scope(databases)
        history = History(self._read())
        async with self._peek(scope) as (state, _):
            keys = [planning.one(history, Target.parse(text), scope) for text in targets]
        return await verify([history[key] for key in keys or state.applied if key in history], self._connections)

    async def resolve(self, run_id: str, decision: "Decision | None" = None, reason: str = "") -> "Resolution":
        """Record what a person decided about a run that left something behind; return the run, and what verify says.

        Without a decision it only looks. The reason is kept in the tracker. Raises TargetNotFound, UsageError.
        """
        from migrator.runtime.resolving import resolve

        history = History(self._read())
        deployment = self._deployment()
        async with deployment.hold(tuple(self.config.databases)) as held:
            state = await deployment.settled(held, history)
            return await resolve(run_id, decision, reason, state, held, history, self._connections)

    async def unlock(self, reason: str = "", databases: Sequence[str] = ()) -> "dict[str, Holder | None]":
        """Return who holds the locks; with a reason, end them, and keep the reason beside the lock."""
        from migrator.runtime.deployment import owner_of

        holders: dict[str, Holder | None] = {}
        for name in self._scope(databases):
            adapter = await self._connections.adapter(name)
            async with adapter.session() as session:
                evict = session.lock.evict(owner_of(self.config), reason) if reason else session.lock.holder()
                holders[name] = await evict
        return holders

    async def doctor(self, databases: Sequence[str] = ()) -> dict[str, Findings]:
        """Look at every database and its files; the findings by database name. Changes nothing."""
        from migrator.runtime.examining import examine

        return {name: await examine(name, self.config, self._connections) for name in self._scope(databases)}

    @property
    def past(self) -> "Past":
        """What was done to the databases: runs, their logs, statistics, and cleaning up."""
        from migrator.runtime.past import Past

        return Past(self.config, self._connections)

    def _scope(self, databases: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.config.database(name).name for name in databases) or tuple(self.config.databases)

    def _read(self) -> list[Revision]:
        return [
            revision
            for database in self.config.databases.values()
            for revision in directory.read(database, self.config.root)
        ]

    def _deployment(self) -> "Deployment":
        from migrator.runtime.deployment import Deployment

        if not self._listened and self.config.observed:
            from migrator.runtime.listening import listen

            listen(self.config, self._notifiers)
        self._listened = True
        return Deployment(self.config, self._connections, self._notifiers)

    async def _only_plan(self, make: "Planner", history: History, databases: tuple[str, ...]) -> "Outcome":
        """Plan from what can be read without the locks."""
        from migrator.core.outcome import Outcome
        from migrator.runtime.deployment import notes, with_stored

        async with self._peek(databases) as (state, trackers):
            full = await with_stored(history, state, trackers)
        return Outcome(make(full, state), notes=notes(history, state), dry_run=True)

    @asynccontextmanager
    async def _peek(self, databases: tuple[str, ...]) -> AsyncIterator[tuple[State, dict[str, Tracker]]]:
        """Read the state without a lock."""
        async with AsyncExitStack() as stack:
            trackers: dict[str, Tracker] = {}
            for name in databases:
                adapter = await self._connections.adapter(name)
                trackers[name] = (await stack.enter_async_context(adapter.session())).tracker
            yield merged([state_of(await tracker.runs()) for tracker in trackers.values()]), trackers

    async def _report(self, name: str, history: History) -> DatabaseReport:
        adapter = await self._connections.adapter(name)
        async with adapter.session() as session:
            state = state_of(await session.tracker.runs())
            holder: Holder | None = await session.lock.holder() if state.running else None
        lines = lines_of(history, state, name, holder)
        return DatabaseReport(name, adapter.kind, self._connections.address(name), lines, str(holder or ""))


def _reach(history: History, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return the databases whose revisions those in scope may need, the scope first."""
    needed = history.ancestors(key for name in scope for key in history.of(name))
    return tuple(dict.fromkeys([*scope, *sorted({key.database for key in needed})]))
