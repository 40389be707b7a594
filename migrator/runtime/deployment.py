"""A command that changes something: under the locks it settles, plans, runs, and says what it did."""

import asyncio
import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from migrator.config import Config
from migrator.core.advice import advised
from migrator.core.errors import DatabaseError, LockHeld, RunFailed
from migrator.core.events import DeployBegun, DeployEnded, Event, LockWaiting, PlanMade, RunFinished
from migrator.core.history import History
from migrator.core.outcome import Outcome
from migrator.core.plan import Plan, Step
from migrator.core.protocols import Owner, Tracker
from migrator.core.refusals import unknown_keys
from migrator.core.revision import Direction, Key, Revision, Script
from migrator.core.run import Edit, Kind, Run, State, merged
from migrator.core.utf8 import readable
from migrator.runtime import directory, lease
from migrator.runtime.connections import Connections
from migrator.runtime.failures import Unanswered, answered, has_landed
from migrator.runtime.notify import Notifiers
from migrator.runtime.reading import peek, state_in, timed, with_edits
from migrator.runtime.runlog import RunLogs
from migrator.runtime.runner import Runner
from migrator.runtime.runs import Held, new_id
from migrator.runtime.settle import settle
from migrator.runtime.stopping import Stop

if TYPE_CHECKING:
    from migrator.runtime.params import Params
    from migrator.runtime.slices import Place

Planner = Callable[[History, State], Plan]


class Deployment:
    """The writing side of a Migrator: one for each command, made in its task."""

    def __init__(self, config: Config, connections: Connections, notifiers: Notifiers, actor: str = "") -> None:
        self._config = config
        self._actor = actor
        self._connections = connections
        self._notifiers = notifiers
        self._deploy_id = new_id()
        self._logs = RunLogs(config.logs, config.mask())
        self._ended: list[Run] = []
        self._stop = Stop()

    async def carry_out(
        self,
        command: str,
        make: Planner,
        history: History,
        databases: tuple[str, ...],
        *,
        scripts: Iterable[Revision] = (),
        watched: Iterable[str] = (),
        stored: bool = False,
        run: bool = True,
    ) -> Outcome:
        """Plan under the locks of these databases, and run the plan; or, without `run`, only record it.

        `scripts` are the revisions beside the order that the plan may hold. `watched` are databases whose state counts
        and is not changed, so that their locks are not taken: nothing new in them can depend on a revision of a
        database whose lock is held, because an upgrade holds the locks of all that its revisions need. `stored` adds
        the applied revisions whose files are gone, from the text that the tracker kept. Where a commit was never
        answered, the locks are taken again and the tracker is read again before anything is said.
        """
        async with self.reporting(command, databases):
            outcome = await self._carried_out(make, history, databases, scripts, watched, stored=stored, run=run)
            self._ended = list(outcome.runs)
        return outcome

    @asynccontextmanager
    async def reporting(self, command: str, databases: tuple[str, ...]) -> AsyncIterator[None]:
        """Tell those who listen that a command begins and how it ends."""
        self._publish(DeployBegun(self._deploy_id, command, databases))
        try:
            yield
        except BaseException as error:
            self._publish(DeployEnded(self._deploy_id, command, tuple(self._ended), advised(error)))
            raise
        self._publish(DeployEnded(self._deploy_id, command, tuple(self._ended)))

    def planned(self, plan: Plan, history: History, state: State, databases: tuple[str, ...]) -> None:
        """Tell those who listen what is going to run, and what it was planned from."""
        self._publish(PlanMade(plan, history, state, databases))

    def _publish(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self._ended.append(event.run)
        self._notifiers.publish(event)

    async def _carried_out(
        self,
        make: Planner,
        history: History,
        databases: tuple[str, ...],
        scripts: Iterable[Revision],
        watched: Iterable[str],
        *,
        stored: bool,
        run: bool,
    ) -> Outcome:
        try:
            async with (
                self.hold(databases) as held,
                peek(self._connections, watched, emptied=not run) as (beside, trackers),
            ):
                state = merged([await self.settled(held, history, emptied=not run), beside])
                trackers |= {name: held[name].session.tracker for name in databases}
                state = await with_edits(state, [*history, *scripts], trackers)
                full = await with_stored(history, state, trackers) if stored else history
                plan = self._without_those_asked(make(full, state), held)
                self.planned(plan, full, state, databases)
                try:
                    runs = await (self._run(plan, state, held) if run else self.runner(held).stamp_plan(plan, state))
                except RunFailed as error:
                    *done, failed = await timed([*error.done, error.failed], trackers)
                    error.done, error.failed = tuple(done), failed
                    raise
                return Outcome(plan, await timed(runs, trackers), notes(history, state, plan))
        except Unanswered as doubt:
            return await self._ask_again(doubt, history, databases)

    def _without_those_asked(self, plan: Plan, held: Mapping[str, Held]) -> Plan:
        """Leave out the scripts that need parameters: they run when a person or a schedule gives some."""
        beside = [step for step in plan.steps if step.kind is Kind.SCRIPT]
        if not beside:
            return plan
        from migrator.runtime.params import fields_of

        loaded = self.loaded(beside, held)
        asking = {key for key, script in loaded.items() if any(each.required for each in fields_of(script))}
        return replace(plan, steps=tuple(step for step in plan.steps if step.key not in asking))

    async def _run(self, plan: Plan, state: State, held: dict[str, Held]) -> tuple[Run, ...]:
        revisions = [step.revision for step in plan.steps]
        if any(each.header.requires for each in revisions):
            from migrator.runtime.requirements import refuse_missing

            await refuse_missing(revisions, self._connections)
        scripts = self.loaded(plan.steps, held)
        given = {each.key: params for each in revisions if (params := _defaults(each, scripts[each.key])) is not None}
        return await self.runner(held, given).run_plan(plan, scripts, state)

    def loaded(self, steps: Iterable[Step], held: Mapping[str, Held]) -> dict[Key, Script]:
        """Return the scripts of steps, loaded before the first of them runs."""
        return {
            each.key: directory.load(each.revision, held[each.key.database].adapter.capabilities, each.direction)
            for each in steps
        }

    def runner(
        self, held: Mapping[str, Held], params: "Mapping[Key, Params] | None" = None, stop: Stop | None = None
    ) -> Runner:
        """Return what runs plans under these locks; `stop` is that of the task in which it does, by default ours."""
        for each in (params or {}).values():
            self._config.mask().learn(each.secrets)
        return Runner(
            held,
            self._connections,
            timeout=self._config.timeout,
            publish=self._publish,
            mask=self._config.mask(),
            logs=self._logs,
            params=params,
            slices=self._slices,
            stop=stop or self._stop,
        )

    def _slices(self) -> "Place":
        """Return where the slices of a long change run: in this program, or on the cluster of `[execution]`."""
        if self._config.execution.engine == "dask":
            from migrator.runtime.cluster import on_cluster

            return on_cluster(self._config)
        from migrator.runtime.slices import here

        return here

    async def _ask_again(self, doubt: Unanswered, history: History, databases: tuple[str, ...]) -> Outcome:
        """Find out what became of a commit that was never answered. Raises OutcomeUnknown where nobody can say."""
        try:
            async with self.hold(databases) as held:
                state = await self.settled(held, history)
        except (DatabaseError, LockHeld) as error:
            seen = await self._seen(doubt.run.database)
            if seen is None or not has_landed(doubt.run, seen):
                raise doubt.cause from error
            state = seen
        return answered(doubt, state)

    async def _seen(self, database: str) -> State | None:
        """Return what the tracker says without the lock, None where it does not answer.

        That a run is committed is certain even so; that it is not, only under the lock.
        """
        try:
            adapter = await self._connections.adapter(database)
            async with adapter.session() as session:
                return await state_in(session.tracker)
        except DatabaseError:
            return None

    async def settled(self, held: dict[str, Held], history: History, *, emptied: bool = False) -> State:
        """Judge the interrupted runs of these databases and return the state after it; `emptied` as in `state_in`."""
        find = partial(self.find, history)
        settled = [await settle(one, find, self._connections, self._publish, emptied=emptied) for one in held.values()]
        return merged(settled)

    def find(self, history: History, key: Key) -> Revision | None:
        """Return the revision, or the script beside the history, of this name; None where there is no file of it."""
        if key in history:
            return history[key]
        files = directory.read(self._config.database(key.database), self._config.root)
        return next((each for each in files if each.key == key), None)

    @asynccontextmanager
    async def hold(self, databases: tuple[str, ...]) -> AsyncIterator[dict[str, Held]]:
        """Hold the locks of these databases; always in the same order, so that no two deployers block each other."""
        held: dict[str, Held] = {}
        async with AsyncExitStack() as stack:
            for name in sorted(databases):
                wait = self._config.lock_timeout - await self._take_turn(name, stack)
                adapter = await self._connections.adapter(name)
                await self._connections.refuse_another(name)
                session = await stack.enter_async_context(adapter.session())
                owner = owner_of(self._config, self._actor)
                fence = await stack.enter_async_context(
                    lease.hold(session.lock, name, owner, wait=wait, publish=self._publish)
                )
                throttle = self._config.database(name).throttle
                held[name] = Held(adapter, session, fence, owner, self._deploy_id, throttle)
            yield {name: held[name] for name in databases}

    async def _take_turn(self, name: str, stack: AsyncExitStack) -> float:
        """Wait for the commands of this Migrator that change the same database, and return for how many seconds.

        A waiting command holds no connection. Raises LockHeld.
        """
        turn, began = self._connections.turn(name), time.monotonic()
        message = f"another command of this Migrator is changing {name}"
        if turn.locked():
            self._publish(LockWaiting(name, message, 0.0))
        try:
            async with asyncio.timeout(self._config.lock_timeout):
                await turn.acquire()
        except TimeoutError:
            raise LockHeld(message, state="Nothing was changed.", hint="Wait until it has ended.") from None
        stack.callback(turn.release)
        return time.monotonic() - began


def _defaults(revision: Revision, script: Script) -> "Params | None":
    """Return the parameters of a script to which nobody gives any. UsageError where one of them is required."""
    if script.Params is None:
        return None
    from migrator.runtime.params import read

    return read(revision, script, {})


async def with_stored(history: History, state: State, trackers: dict[str, Tracker]) -> History:
    """Return the history with the applied revisions whose files are gone, from the text that the tracker kept."""
    missing = unknown_keys(history, state)
    found: list[Revision] = []
    for name, tracker in trackers.items():
        ids = [key.id for key in missing if key.database == name]
        if ids:
            texts = await tracker.sources(ids)
            found.extend(directory.stored(Key(name, each), *texts[each]) for each in ids if each in texts)
    return History([*history, *found]) if found else history


def notes(history: History, state: State, plan: Plan) -> tuple[str, ...]:
    """Return what a person should read beside the result."""
    edited = [
        step.key
        for step in plan.steps
        if step.direction is Direction.DOWNGRADE and state.edits.get(step.key) is Edit.BACK
    ]
    found = [
        f"{key} was applied from an older text: the downgrade is that of {history[key].path} as it is now."
        for key in edited
        if key in history
    ]
    unknown = unknown_keys(history, state)
    if unknown:
        run = state.applied[unknown[-1]]
        found.append(
            f"The database is ahead of these files: {', '.join(str(key) for key in unknown)} was applied "
            f"{run.finished_at} by {run.user}@{run.host} from release {run.release or 'unknown'}."
        )
    return tuple(found)


def owner_of(config: Config, actor: str = "") -> Owner:
    """Return who we are, with a fresh token. `actor` is the person for whom we act, "" for the user of this program."""
    host, user = readable(socket.gethostname()), readable(actor or _user())
    return Owner(uuid4().hex, host, os.getpid(), user, readable(config.release))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a number without a name, as containers have
