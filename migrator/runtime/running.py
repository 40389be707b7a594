"""`migrator run`: scripts in the order of their `depends_on`, side by side where it allows."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from migrator.core.errors import LockLost, MigratorError, RunFailed, UsageError
from migrator.core.history import History
from migrator.core.outcome import ScriptResult, ScriptsOutcome
from migrator.core.plan import Plan, Step
from migrator.core.revision import Direction, Key, Revision, Script
from migrator.core.run import Effect, State, Status, merged
from migrator.core.scripts import already_done, here, refuse_unready
from migrator.runtime.connections import Connections
from migrator.runtime.deployment import Deployment
from migrator.runtime.failures import Unanswered, has_landed
from migrator.runtime.params import Params, fields_of, read
from migrator.runtime.reading import state_in, timed, with_edits
from migrator.runtime.requirements import refuse_missing
from migrator.runtime.runs import Held
from migrator.runtime.stopping import Stop


@dataclass(frozen=True)
class Wanted:
    """What one `migrator run` asks for. `timeout` is in seconds for each script, None for its own."""

    scripts: Sequence[Revision]
    params: Mapping[str, Any]
    jobs: int
    keep_going: bool
    force: bool
    timeout: float | None
    dry_run: bool


async def run(
    deployment: Deployment, wanted: Wanted, history: History, connections: Connections, environment: str
) -> ScriptsOutcome:
    """Hold the locks, look at everything that may be in the way, then run the scripts."""
    _refuse_elsewhere(wanted.scripts, environment)
    chosen = [_limited(each, wanted.timeout) for each in wanted.scripts]
    databases = tuple(dict.fromkeys(each.database for each in chosen))
    if wanted.dry_run:
        state = await _peek(chosen, connections)
        before = {} if wanted.force else _done(chosen, state)
        found = tuple(before.get(each.key) or ScriptResult(each.key, each.title, "would run") for each in chosen)
        return ScriptsOutcome(found, dry_run=True)
    await refuse_missing(chosen, connections)
    reach = tuple(dict.fromkeys([*databases, *(link.database for each in chosen for link in each.depends_on)]))
    async with deployment.reporting("run", databases), deployment.hold(reach) as held:
        trackers = {name: each.session.tracker for name, each in held.items()}
        state = await with_edits(await deployment.settled(held, history), chosen, trackers)
        before = {} if wanted.force else _done(chosen, state)
        chosen = [each for each in chosen if each.key not in before]
        refuse_unready(chosen, state, force=wanted.force)
        plan = Plan(tuple(Step(each, Direction.UPGRADE) for each in chosen))
        scripts = deployment.loaded(plan.steps, held)
        params = _params(chosen, scripts, wanted.params)
        deployment.planned(plan, history, state, reach)
        running = Running(deployment, held, state, scripts, params)
        results = await running.run(chosen, jobs=wanted.jobs, keep_going=wanted.keep_going)
        runs = await timed([each.run for each in results if each.run], trackers)
        times = {run.run_id: run for run in runs}
        timely = [replace(each, run=each.run and times[each.run.run_id]) for each in results]
        every = {**before, **{each.key: each for each in timely}}
        return ScriptsOutcome(tuple(every[each.key] for each in wanted.scripts))


def _done(scripts: Sequence[Revision], state: State) -> dict[Key, ScriptResult]:
    """Return the results of those scripts that run once and are done."""
    told = {each: already_done(each, state) for each in scripts}
    return {each.key: ScriptResult(each.key, each.title, "done", text) for each, text in told.items() if text}


async def _peek(scripts: Sequence[Revision], connections: Connections) -> State:
    """Read, without a lock, what is known of the scripts that run once."""
    states = []
    for name in dict.fromkeys(each.database for each in scripts if each.header.once):
        async with (await connections.adapter(name)).session() as session:
            states.append(await state_in(session.tracker))
    return merged(states)


def _refuse_elsewhere(scripts: Sequence[Revision], environment: str) -> None:
    for each in scripts:
        if not here(each, environment):
            raise UsageError(
                f"{each.key} is for {', '.join(each.header.environments)}, and this is {environment}",
                state="Nothing was changed.",
                hint="ENVIRONMENT, or `environment` in migrator.toml, says where we are.",
            )


def _limited(revision: Revision, timeout: float | None) -> Revision:
    return revision if timeout is None else replace(revision, header=replace(revision.header, timeout=timeout))


def _params(chosen: Sequence[Revision], scripts: Mapping[Key, Script], given: Mapping[str, Any]) -> dict[Key, Params]:
    """Return the parameters of each script: those given that it knows. One that nobody knows is refused."""
    known = {each.key: {field.name for field in fields_of(scripts[each.key])} for each in chosen}
    stray = {name for name in given if not any(name in names for names in known.values())}
    found = {}
    for each in chosen:
        own = {name: value for name, value in given.items() if name in known[each.key] or name in stray}
        found[each.key] = read(each, scripts[each.key], own)
    return found


class Running:
    """The scripts of one command. At most `jobs` run at once, each on a connection of its own, under one lock."""

    def __init__(
        self,
        deployment: Deployment,
        held: Mapping[str, Held],
        state: State,
        scripts: Mapping[Key, Script],
        params: Mapping[Key, Params],
    ) -> None:
        self._deployment = deployment
        self._held = held
        self._state = state
        self._scripts = scripts
        self._params = params
        self._results: dict[Key, ScriptResult] = {}
        self._tasks: dict[asyncio.Task[ScriptResult], Revision] = {}
        self._stopped: tuple[object, ...] = ()

    async def run(self, chosen: Sequence[Revision], *, jobs: int, keep_going: bool) -> tuple[ScriptResult, ...]:
        """Run them, and return one result for each, in order. A failure stops those that depend on it, and all that
        have not begun unless `keep_going`. Raises LockLost; a cancellation ends what runs first.
        """
        by_key = {each.key: each for each in chosen}
        graph = {key: [link for link in each.depends_on if link in by_key] for key, each in by_key.items()}
        sorter = TopologicalSorter(graph)
        sorter.prepare()
        ready: list[Key] = []
        try:
            while sorter.is_active():
                ready += sorter.get_ready()
                while ready and len(self._tasks) < jobs:
                    key = ready.pop(0)
                    if not self._begin(by_key[key], graph[key], keep_going=keep_going):
                        sorter.done(key)
                        ready += sorter.get_ready()
                for key in await self._ended():
                    sorter.done(key)
        except asyncio.CancelledError as error:
            await self._stop()
            error.args = self._stopped
            raise
        finally:
            await self._stop()
        return tuple(self._results[each.key] for each in chosen)

    def _begin(self, revision: Revision, needed: Sequence[Key], *, keep_going: bool) -> bool:
        """Begin one script; False where it is left out."""
        missing = [key for key in needed if self._results[key].word != "ok"]
        failed = [key for key, result in self._results.items() if result.word == "failed"]
        if missing or (failed and not keep_going):
            why = f"{missing[0]} did not run well" if missing else f"{failed[0]} failed"
            self._results[revision.key] = ScriptResult(revision.key, revision.title, "left out", why)
            return False
        self._tasks[asyncio.ensure_future(self._one(revision))] = revision
        return True

    async def _ended(self) -> list[Key]:
        """Wait until at least one has ended, and return which."""
        if not self._tasks:
            return []
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = []
        for task in done:
            revision = self._tasks.pop(task)
            self._results[revision.key] = task.result()
            ended.append(revision.key)
        return ended

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, revision: Revision) -> ScriptResult:
        holder = self._held[revision.database]
        plan, stop = Plan((Step(revision, Direction.UPGRADE),)), Stop()
        try:
            async with holder.adapter.session(under=holder.session.lock) as session:
                mine = {revision.database: replace(holder, session=session)}
                runner = self._deployment.runner(mine, self._params, stop)
                (run,) = await runner.run_plan(plan, self._scripts, self._state)
        except LockLost:
            raise
        except asyncio.CancelledError as error:
            self._stopped = error.args or self._stopped  # what the stop means for this script
            raise
        except RunFailed as error:
            return ScriptResult(revision.key, revision.title, "failed", error.failed.error, error.failed, error)
        except Unanswered as doubt:
            with suppress(MigratorError):
                if has_landed(doubt.run, await state_in(holder.session.tracker)):
                    run = doubt.run.moved(Status.SUCCESS, Effect.FULL, reason="recovered")
                    return ScriptResult(revision.key, revision.title, "ok", "", run)
            return ScriptResult(revision.key, revision.title, "failed", doubt.cause.message, doubt.run, doubt.cause)
        except MigratorError as error:
            return ScriptResult(revision.key, revision.title, "failed", error.message, None, error)
        return ScriptResult(revision.key, revision.title, "ok", "", run)
