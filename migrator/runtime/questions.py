"""Questions: what can be asked of a configuration without running the code of a revision or taking its locks."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from migrator.config import Config
from migrator.core.errors import DatabaseError, PermissionDenied
from migrator.core.history import History
from migrator.core.protocols import Holder, Tracker
from migrator.core.report import UNSEEN, DatabaseReport, lines_of, script_line
from migrator.core.run import State
from migrator.core.scripts import Scripts, refuse_lookalikes
from migrator.core.utf8 import readable
from migrator.runtime import directory
from migrator.runtime.connections import Connections
from migrator.runtime.reading import peek, state_in, with_edits

if TYPE_CHECKING:
    from migrator.core.change import Change
    from migrator.core.health import Health
    from migrator.core.outcome import Shown
    from migrator.notifiers.metrics import Metrics
    from migrator.runtime.control import Controls
    from migrator.runtime.journal import Journal
    from migrator.runtime.past import Past


class Questions:
    """The half of a `Migrator` that a web server may use on its own event loop: none of it runs code of a revision,
    and none of it waits for the lock of a database.
    """

    def __init__(self, config: Config, *, actor: str = "") -> None:
        self.config = config
        self.actor = actor
        self._connections = Connections(config)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator["Questions"]:
        """Open the connections of a configuration for the length of a block."""
        questions = cls(config)
        try:
            yield questions
        finally:
            await questions._connections.close()

    async def status(self, databases: Sequence[str] = ()) -> tuple[DatabaseReport, ...]:
        """Return what is applied and what is not. Takes no lock and changes nothing."""
        history = self._read()[0]
        return tuple([await self._report(name, history) for name in self._scope(databases)])

    async def history(self, databases: Sequence[str] = ()) -> History:
        """Return the checked graph of the revision files. Touches no database."""
        self._scope(databases)
        return self._read()[0]

    async def scripts(self, databases: Sequence[str] = ()) -> Scripts:
        """Return the checked scripts beside the history. Touches no database."""
        self._scope(databases)
        return self._read()[1]

    async def show(self, target: str, databases: Sequence[str] = ()) -> "Shown":
        """Return one revision in full: its file, its state, and the text that ran. `params` stays empty here: the
        parameters of a script are known only where its file is executed.
        """
        from migrator.core import plan as planning
        from migrator.core.outcome import Shown
        from migrator.core.target import Target
        from migrator.runtime.deployment import with_stored

        scope = self._scope(databases)
        history, scripts = self._read()
        beside = scripts.named([target], scope)
        async with self._peek(tuple(self.config.databases)) as (ran, trackers):
            state = await with_edits(ran, [*history, *scripts], trackers)
            if beside:
                return Shown(script_line(beside[0], state), beside[0].source, "", beside[0].header)
            full = await with_stored(history, state, trackers)
            key = planning.one(full, Target.parse(target), scope)
            stored = await trackers[key.database].sources([key.id]) if key in state.applied else {}
        lines = lines_of(full, state, key.database, None)
        line = next(line for line in lines if line.revision == key.id)
        text = "" if full[key].stored else full[key].source
        return Shown(line, text, stored.get(key.id, ("", ""))[1], full[key].header)

    async def unlock(
        self, reason: str = "", databases: Sequence[str] = (), *, by: str = ""
    ) -> "dict[str, Holder | None]":
        """Return who holds the locks; with a reason, end them, and keep the reason beside the lock.

        `by` is the person for whom this is done, "" for the user of this program.
        """
        from migrator.runtime.deployment import owner_of

        if reason:
            self.config.refuse_dry_run("unlock")
        owner, holders = owner_of(self.config, by or self.actor), dict[str, Holder | None]()
        for name in self._scope(databases):
            adapter = await self._connections.adapter(name)
            async with adapter.session() as session:
                if session.follower:
                    raise PermissionDenied(
                        f"{name}: the address leads to a standby or a secondary, on which no lock is seen",
                        state="Nothing was changed.",
                        hint="Use the address of the primary; on MongoDB, remove directConnection from it.",
                    )
                lock = session.lock
                holders[name] = await (lock.evict(owner, readable(reason)) if reason else lock.holder())
        return holders

    async def doctor(self, databases: Sequence[str] = ()) -> "Health":
        """Look at every database and its files, and return how well they are. Changes nothing, takes no lock."""
        from migrator.runtime.examining import examine

        self._connections.refuse_closed()
        return await examine(self._scope(databases), self._read, self._connections, self.config.environment)

    @property
    def past(self) -> "Past":
        """What was done to the databases: runs, their logs, statistics, and cleaning up."""
        from migrator.runtime.past import Past

        return Past(self.config, self._connections)

    @property
    def controls(self) -> "Controls":
        """The long changes that run or stopped on their way, and what can be asked of them without a lock."""
        from migrator.runtime.control import Controls

        return Controls(self.config, self._connections)

    @property
    def journal(self) -> "Journal":
        """The audit of the HTTP API, and its tokens."""
        from migrator.runtime.journal import Journal

        return Journal(self.config, self._connections)

    @asynccontextmanager
    async def hold(self, database: str, jobs: int) -> AsyncIterator[None]:
        """Keep the connections to a database open for the length of a block, so that no question has to open one; so
        many may be asked at once. It comes before the first of them. Raises what opening raises.
        """
        self._connections.make_room(jobs)
        adapter = await self._connections.adapter(database)
        async with adapter.hold():
            yield

    async def measure(self, metrics: "Metrics", databases: Sequence[str] = ()) -> None:
        """Let metrics read where databases stand now, or that they are silent, for whoever serves them."""
        history = self._read()[0]
        for name in self._scope(databases):
            try:
                async with self._peek((name,)) as (state, trackers):
                    metrics.read(history, await with_edits(state, history, trackers), (name,))
            except DatabaseError:
                metrics.reached(name, up=False)
            else:
                metrics.reached(name, up=True)

    def _scope(self, databases: Sequence[str]) -> tuple[str, ...]:
        return self.config.named(databases)

    def _read(self) -> tuple[History, Scripts]:
        """Return the ordered revisions and the scripts beside them, each checked."""
        found = [
            each for database in self.config.databases.values() for each in directory.read(database, self.config.root)
        ]
        refuse_lookalikes(found, self.config.environment)
        history = History(each for each in found if not each.header.is_script)
        return history, Scripts([each for each in found if each.header.is_script], history)

    @asynccontextmanager
    async def _peek(
        self, databases: tuple[str, ...], *, emptied: bool = False
    ) -> AsyncIterator[tuple[State, dict[str, Tracker]]]:
        """Read the state without a lock; `emptied` as in `state_in`."""
        async with peek(self._connections, databases, emptied=emptied) as found:
            yield found

    async def _report(self, name: str, history: History) -> DatabaseReport:
        adapter = await self._connections.adapter(name)
        async with adapter.session() as session:
            state = await with_edits(await state_in(session.tracker), history, {name: session.tracker})
            follower = session.follower
            holder: Holder | None = await session.lock.holder() if state.running and not follower else None
            changes: tuple[Change, ...] = ()
            if any(run.origin for run in (*state.running, *state.resumable.values())):
                from migrator.runtime.control import changes_in

                changes = await changes_in(session, state)
            tracker = str(session.tracker.place)
        lines = lines_of(history, state, name, UNSEEN if follower else holder, self.config.environment)
        address = self._connections.address(name)
        return DatabaseReport(name, adapter.kind, address, lines, str(holder or ""), changes, tracker, follower)
