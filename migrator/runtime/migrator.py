"""Migrator: what the commands ask. Each method is one command and returns values; nothing is printed here."""

import getpass
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

from migrator.config import Config, load
from migrator.core import plan as planning
from migrator.core.events import PlanMade
from migrator.core.history import History
from migrator.core.plan import Plan
from migrator.core.protocols import Findings, Holder, Notifier, Owner, Tracker
from migrator.core.refusals import unknown_keys
from migrator.core.report import DatabaseReport, Decision, Outcome, Resolution, Shown, Verification, lines_of
from migrator.core.revision import Key, Revision
from migrator.core.run import State, merged, state_of
from migrator.core.target import Target
from migrator.runtime import directory, lease
from migrator.runtime.connections import Connections
from migrator.runtime.notify import Notifiers
from migrator.runtime.runner import Held, Runner, new_id
from migrator.runtime.settle import settle

Planner = Callable[[History, State], Plan]


class Migrator:
    """One configuration, open. Use it as `async with Migrator.open() as m: await m.upgrade("head")`.

    It belongs to the event loop that opened it. Errors are `migrator.core.errors.MigratorError`.
    """

    def __init__(self, config: Config, notifiers: Iterable[Notifier] = ()) -> None:
        self.config = config
        self._connections = Connections(config)
        self._notifiers = Notifiers(notifiers)
        self._deploy_id = new_id()

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config | None = None, notifiers: Iterable[Notifier] = ()) -> AsyncIterator["Migrator"]:
        """Open the configuration (by default migrator.toml and the environment) and close all of it at the end."""
        migrator = cls(config or load(), notifiers)
        try:
            yield migrator
        finally:
            await migrator._connections.close()
            migrator._notifiers.close()

    async def upgrade(
        self, *targets: str, databases: Sequence[str] = (), force: bool = False, dry_run: bool = False
    ) -> Outcome:
        """Apply revisions up to the targets (default `head`) and return what ran.

        `databases` narrows the scope; cross links may still bring in others. `force` runs one applied revision again.
        Raises RunFailed with what was done before it, PlanRefused, TargetError, LockHeld and so on.
        """
        wanted = [Target.parse(text) for text in targets or ("head",)]
        scope = self._scope(databases)
        history = History(self._read())

        def plan(history: History, state: State) -> Plan:
            if force:
                return planning.again(history, state, wanted, scope)
            return planning.upgrade(history, state, wanted, scope)

        return await self._carry_out(plan, history, _reach(history, scope), dry_run=dry_run)

    async def downgrade(self, *targets: str, databases: Sequence[str] = (), dry_run: bool = False) -> Outcome:
        """Take revisions down to the targets and return what ran.

        Where the file of an applied revision is gone, the text that the tracker kept is run.
        """
        wanted = [Target.parse(text) for text in targets]
        scope = self._scope(databases)

        def plan(history: History, state: State) -> Plan:
            return planning.downgrade(history, state, wanted, scope)

        everything = tuple(self.config.databases)
        return await self._carry_out(plan, History(self._read()), everything, dry_run=dry_run, stored=True)

    async def stamp(self, *targets: str, databases: Sequence[str] = (), dry_run: bool = False) -> Outcome:
        """Write the tracker as if the targets had been reached, without running anything; return the runs written."""
        wanted = [Target.parse(text) for text in targets]
        scope = self._scope(databases)

        def plan(history: History, state: State) -> Plan:
            return planning.stamp(history, state, wanted, scope)

        everything = tuple(self.config.databases)
        return await self._carry_out(plan, History(self._read()), everything, dry_run=dry_run, stored=True, run=False)

    async def status(self, databases: Sequence[str] = ()) -> tuple[DatabaseReport, ...]:
        """Return what is applied and what is not. Takes no lock and changes nothing."""
        history = History(self._read())
        return tuple([await self._report(name, history) for name in self._scope(databases)])

    async def history(self, databases: Sequence[str] = ()) -> History:
        """Return the checked graph of the revision files. Touches no database."""
        self._scope(databases)
        return History(self._read())

    async def show(self, target: str, databases: Sequence[str] = ()) -> Shown:
        """Return one revision in full: its file, its state, and the text that ran."""
        scope = self._scope(databases)
        history = History(self._read())
        async with self._peek(scope) as (state, trackers):
            full = await self._with_stored(history, state, trackers)
            key = planning.one(full, Target.parse(target), scope)
            stored = await trackers[key.database].sources([key.id]) if key in state.applied else {}
            lines = lines_of(full, state, key.database, None)
        line = next(line for line in lines if line.revision == key.id)
        text = "" if full[key].stored else full[key].source
        return Shown(line, text, stored.get(key.id, ("", ""))[1], full[key].header)

    async def verify(self, *targets: str, databases: Sequence[str] = ()) -> tuple[Verification, ...]:
        """Ask the verify of applied revisions (all, or these) and return the answers. Changes nothing."""
        from migrator.runtime.verifying import verify

        scope = self._scope(databases)
        history = History(self._read())
        async with self._peek(scope) as (state, _):
            keys = [planning.one(history, Target.parse(text), scope) for text in targets]
            chosen = [history[key] for key in keys or state.applied if key in history]
        return await verify(chosen, self._connections)

    async def resolve(self, run_id: str, decision: Decision | None = None, reason: str = "") -> Resolution:
        """Record what a person decided about a run that left something behind; return the run, and what verify says.

        Without a decision it only looks. The reason is kept in the tracker. Raises TargetNotFound, UsageError.
        """
        from migrator.runtime.resolving import resolve

        history = History(self._read())
        async with self._hold(tuple(self.config.databases)) as held:
            publish = self._notifiers.publish
            states = {name: await settle(one, history, self._connections, publish) for name, one in held.items()}
            return await resolve(run_id, decision, reason, states, held, history, self._connections)

    async def doctor(self, databases: Sequence[str] = ()) -> dict[str, Findings]:
        """Look at every database and its files; the findings by database name. Changes nothing."""
        from migrator.runtime.examining import examine

        return {name: await examine(name, self.config, self._connections) for name in self._scope(databases)}

    def _scope(self, databases: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.config.database(name).name for name in databases) or tuple(self.config.databases)

    def _read(self) -> list[Revision]:
        return [
            revision
            for database in self.config.databases.values()
            for revision in directory.read(database, self.config.root)
        ]

    async def _carry_out(
        self,
        plan: Planner,
        history: History,
        databases: tuple[str, ...],
        *,
        dry_run: bool,
        stored: bool = False,
        run: bool = True,
    ) -> Outcome:
        """Plan under the locks and run; or, for a dry run, plan from what can be read without them."""
        if dry_run or self.config.dry_run:
            async with self._peek(databases) as (state, trackers):
                full = await self._with_stored(history, state, trackers) if stored else history
                return Outcome(plan(full, state), notes=_notes(history, state), dry_run=True)
        async with self._hold(databases) as held:
            publish = self._notifiers.publish
            state = merged([await settle(held[name], history, self._connections, publish) for name in databases])
            trackers = {name: held[name].session.tracker for name in databases}
            full = await self._with_stored(history, state, trackers) if stored else history
            made = plan(full, state)
            self._notifiers.publish(PlanMade(made))
            runner = Runner(
                held,
                self._connections,
                timeout=self.config.timeout,
                publish=self._notifiers.publish,
                mask=self.config.mask(),
            )
            if not run:
                return Outcome(made, await runner.stamp_plan(made, state), _notes(history, state))
            scripts = {
                step.key: directory.load(step.revision, held[step.revision.database].adapter.capabilities)
                for step in made.steps
            }
            return Outcome(made, await runner.run_plan(made, scripts, state), _notes(history, state))

    @asynccontextmanager
    async def _hold(self, databases: tuple[str, ...]) -> AsyncIterator[dict[str, Held]]:
        """Hold the locks of these databases; always in the same order, so that no two deployers block each other."""
        held: dict[str, Held] = {}
        async with AsyncExitStack() as stack:
            for name in sorted(databases):
                adapter = await self._connections.adapter(name)
                session = await stack.enter_async_context(adapter.session())
                owner = _owner(self.config.release)
                fence = await stack.enter_async_context(
                    lease.hold(
                        session.lock, name, owner, wait=self.config.lock_timeout, publish=self._notifiers.publish
                    )
                )
                held[name] = Held(adapter, session, fence, owner, self._deploy_id)
            yield held

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

    async def _with_stored(self, history: History, state: State, trackers: dict[str, Tracker]) -> History:
        """Return the history with the applied revisions whose files are gone, from the text that the tracker kept."""
        missing = unknown_keys(history, state)
        found: list[Revision] = []
        for name, tracker in trackers.items():
            ids = [key.id for key in missing if key.database == name]
            if ids:
                texts = await tracker.sources(ids)
                found.extend(directory.stored(Key(name, each), *texts[each]) for each in ids if each in texts)
        return History([*history, *found]) if found else history


def _reach(history: History, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return the databases whose revisions those in scope may need, the scope first."""
    needed = history.ancestors(key for name in scope for key in history.of(name))
    return tuple(dict.fromkeys([*scope, *sorted({key.database for key in needed})]))


def _notes(history: History, state: State) -> tuple[str, ...]:
    """Return what a person should read beside the result."""
    unknown = unknown_keys(history, state)
    if not unknown:
        return ()
    run = state.applied[unknown[-1]]
    listed = ", ".join(str(key) for key in unknown)
    note = (
        f"The database is ahead of these files: {listed} was applied {run.finished_at} by {run.user}@{run.host} "
        f"from release {run.release or 'unknown'}."
    )
    return (note,)


def _owner(release: str) -> Owner:
    return Owner(uuid4().hex, socket.gethostname(), os.getpid(), getpass.getuser(), release)
