"""Migrator: what the commands ask. Each method is one command and returns values; nothing is printed here."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from migrator.config import Config, configured
from migrator.core.arguments import at_least_one, listed
from migrator.core.errors import UsageError
from migrator.core.history import History
from migrator.core.protocols import Notifier
from migrator.core.revision import Key, Revision
from migrator.core.run import State
from migrator.runtime import directory
from migrator.runtime.notify import Notifiers
from migrator.runtime.questions import Questions
from migrator.runtime.reading import with_edits

if TYPE_CHECKING:
    from migrator.core.forecast import Forecast
    from migrator.core.outcome import Decision, Outcome, Resolution, ScriptsOutcome, Shown, Verification
    from migrator.core.plan import Plan
    from migrator.core.target import Target
    from migrator.runtime.deployment import Deployment, Planner


class Migrator(Questions):
    """One configuration, open. Use it as `async with Migrator.open() as m: await m.upgrade("head")`.

    It belongs to the event loop that opened it. Errors are `migrator.core.errors.MigratorError`.
    """

    def __init__(self, config: Config, notifiers: Iterable[Notifier] = (), *, actor: str = "") -> None:
        super().__init__(config, actor=actor)
        self._notifiers = Notifiers(notifiers, config.mask())
        config.find_modules()
        self._listened = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Config | None = None,
        notifiers: Iterable[Notifier] = (),
        *,
        url: str = "",
        revisions: str | PathLike[str] = "revisions",
        actor: str = "",
    ) -> AsyncIterator["Migrator"]:
        """Open a configuration (by default migrator.toml and the environment) and close all of it at the end.

        With a `url` there is no file: one database, called `main`, with this folder of `revisions`. `actor` is the
        person for whom everything is done, "" for the user of this program: the tracker keeps the name.
        Raises ConfigError, UsageError.
        """
        migrator = cls(configured(config, url, revisions), notifiers, actor=actor)
        try:
            yield migrator
        finally:
            await migrator._connections.close()
            await migrator._notifiers.close()

    async def start_up(self, *targets: str, deadline: float = 300.0, databases: Sequence[str] = ()) -> "Outcome":
        """Upgrade at the start of a program, within `deadline` seconds, the wait for other instances included.

        SIGTERM and SIGINT end it as they end the command: the step is rolled back, the locks are released, and then
        the program's own handlers hear the signal. Raises Stopped for a signal and where the time is over, and as
        `upgrade`.
        """
        from migrator.core.errors import Stopped
        from migrator.runtime.starting import stopped_by_signals

        try:
            with stopped_by_signals():
                async with asyncio.timeout(deadline) as limit:
                    return await self.upgrade(*targets, databases=databases)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Stopped(
                f"the upgrade was not done within {deadline:g} s",
                state="The step that was running was rolled back, or is settled by the next command.",
                hint="`migrator status` shows what is applied, and who holds the lock.",
            ) from None

    async def upgrade(
        self,
        *targets: str,
        databases: Sequence[str] = (),
        force: bool = False,
        dry_run: bool = False,
        agreed: str = "",
        within: Sequence[str] = (),
    ) -> "Outcome":
        """Apply revisions up to the targets (default `head`) and return what ran.

        `databases` narrows the scope; cross links may still bring in others. `force` runs applied revisions again.
        `agreed` is the `core.agreement.mark` of a plan: under the lock any other is refused, and so is one that changes
        other databases than those `within` which whoever asks must stay, () for all. A dry run of an agreed plan
        compares the two and forecasts nothing.
        Raises RunFailed with what was done before it, PlanRefused, TargetError, LockHeld and so on.
        """
        from migrator.core import plan as planning
        from migrator.core.agreement import agreed as as_agreed
        from migrator.core.agreement import within as kept_within
        from migrator.core.target import Target

        wanted = [Target.parse(text) for text in targets or ("head",)]
        scope, here = self._scope(databases), self.config.environment
        history, scripts = self._read()

        def plan(history: History, state: State) -> "Plan":
            if force:
                return planning.again(history, state, wanted, scope)
            ordered = planning.upgrade(history, state, wanted, scope, here)
            found = planning.with_scripts(ordered, scripts, state, wanted, scope, here)
            return as_agreed(kept_within(found, within), agreed)

        reach = planning.reach(history, wanted, scope)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, reach, scripts, run=not agreed)
        return await self._deployment().carry_out("upgrade", plan, history, reach, scripts=scripts)

    async def downgrade(
        self,
        *targets: str,
        databases: Sequence[str] = (),
        dry_run: bool = False,
        agreed: str = "",
        within: Sequence[str] = (),
    ) -> "Outcome":
        """Take revisions down to the targets and return what ran.

        Where the file of an applied revision is gone, the text that the tracker kept is run. `agreed`, `within`, and
        what is raised, as in `upgrade`.
        """
        from migrator.core import plan as planning
        from migrator.core.agreement import agreed as as_agreed
        from migrator.core.agreement import within as kept_within

        wanted = _needed("downgrade", targets)
        scope = self._scope(databases)
        history, scripts = self._read()
        beside = scripts.named(targets, scope)

        def plan(history: History, state: State) -> "Plan":
            found = planning.back(beside) if beside else planning.downgrade(history, state, wanted, scope)
            return as_agreed(kept_within(found, within), agreed)

        everything = tuple(self.config.databases)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, everything, run=not agreed)
        own = tuple({each.database: None for each in beside} or planning.scope_of(wanted, scope))
        return await self._deployment().carry_out(
            "downgrade", plan, history, own, watched=[name for name in everything if name not in own], stored=True
        )

    async def run(
        self,
        *names: str,
        tags: Sequence[str] = (),
        params: "Mapping[str, Any] | None" = None,
        databases: Sequence[str] = (),
        jobs: int = 1,
        keep_going: bool = False,
        force: bool = False,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> "ScriptsOutcome":
        """Run scripts, by name or tag, in the order of their `depends_on`, and return one result for each.

        `params` are texts or values; each script gets those that it knows. `timeout` is in seconds for each script.
        A script that fails is a result, not an error. Raises TargetNotFound, UsageError, DependencyMissing,
        ResolveNeeded (not with `force`), LockHeld, before anything starts.
        """
        from migrator.runtime.running import Wanted, run

        scope = self._scope(databases)
        if not names and not tags:
            raise UsageError(
                "run needs the name of a script, or a tag",
                state="Nothing was run.",
                hint='For example: run("refresh_totals"), or run(tags=["automation"]).',
            )
        self._connections.make_room(at_least_one("jobs", jobs))
        history, scripts = self._read()
        chosen = scripts.choose(names, listed("tags", tags), scope)
        wanted = Wanted(chosen, params or {}, jobs, keep_going, force, timeout, dry_run or self.config.dry_run)
        return await run(self._deployment(), wanted, history, self._connections, self.config.environment)

    async def stamp(self, *targets: str, databases: Sequence[str] = (), dry_run: bool = False) -> "Outcome":
        """Write the tracker as if the targets had been reached, without running anything; return the runs written."""
        from migrator.core import plan as planning

        wanted = _needed("stamp", targets)
        scope = self._scope(databases)

        def plan(history: History, state: State) -> "Plan":
            return planning.stamp(history, state, wanted, scope)

        history, own = self._read()[0], planning.scope_of(wanted, scope)
        if dry_run or self.config.dry_run:
            return await self._only_plan(plan, history, own, run=False)
        return await self._deployment().carry_out("stamp", plan, history, own, stored=True, run=False)

    async def show(self, target: str, databases: Sequence[str] = ()) -> "Shown":
        """Return one revision in full, with the parameters that a script takes: for those, its file is executed."""
        from migrator.runtime.params import fields_of

        shown = await super().show(target, databases)
        if not shown.header.is_script:
            return shown
        script = self._read()[1][Key(shown.line.database, shown.line.revision)]
        adapter = await self._connections.adapter(script.database)
        fields = fields_of(directory.load(script, adapter.capabilities))
        return replace(shown, params=tuple((each.name, each.type, each.default) for each in fields))

    async def verify(
        self, *targets: str, databases: Sequence[str] = (), tags: Sequence[str] = (), jobs: int = 1
    ) -> "tuple[Verification, ...]":
        """Ask the verify of what is applied (all of it, or these targets, or these tags) and return the answers.

        `jobs` are asked at once. Changes nothing but the list of runs, in which each answer is recorded.
        """
        from migrator.core import plan as planning
        from migrator.core.target import Target
        from migrator.runtime.deployment import owner_of
        from migrator.runtime.verifying import verify

        scope = self._scope(databases)
        history, scripts = self._read()
        self._connections.make_room(at_least_one("jobs", jobs))
        beside = scripts.named(targets, scope)
        async with self._peek(scope) as (state, _):
            keys = [] if beside else [planning.one(history, Target.parse(text), scope) for text in targets]
        asked = [history[key] for key in keys or state.applied if key in history]
        asked = list(beside) or (
            asked if targets else [*asked, *(scripts[key] for key in state.scripts if key in scripts)]
        )
        chosen = [each for each in asked if not tags or set(listed("tags", tags)) & set(each.header.tags)]
        return await verify(chosen, self._connections, owner_of(self.config, self.actor), self.config.timeout, jobs)

    async def resolve(self, run_id: str, decision: "Decision | None" = None, reason: str = "") -> "Resolution":
        """Record what a person decided about a run that left something behind; return the run, and what verify says.

        Without a decision it only looks. The reason is kept in the tracker. Raises TargetNotFound, UsageError.
        """
        from functools import partial

        from migrator.runtime.resolving import resolve

        if decision is not None:
            self.config.refuse_dry_run("resolve")
        history = self._read()[0]
        deployment = self._deployment()
        everything = tuple(self.config.databases)
        async with self._peek(everything) as (seen, _):
            runs = [*seen.running, *seen.resumable.values(), *seen.blocked.values()]
        own = tuple(dict.fromkeys(run.database for run in runs if run.run_id.startswith(run_id)))
        async with deployment.hold(own or everything) as held:
            state = await deployment.settled(held, history)
            find = partial(deployment.find, history)
            return await resolve(run_id, decision, reason, state, held, find, self._connections)

    async def retry_failed(self, run_id: str, databases: Sequence[str] = ()) -> "Outcome":
        """Take the rows that a long change passed over once more, and return its run; none where no row is left.

        Raises PlanRefused where the revision does not stand on that run any more; as `upgrade` otherwise.
        """
        from migrator.core.errors import UsageError
        from migrator.core.mend import mend
        from migrator.core.outcome import Outcome
        from migrator.core.plan import Plan

        self.config.refuse_dry_run("runs retry-failed")
        (run,) = (await self.past.run(run_id, databases)).runs
        if not run.origin:
            raise UsageError(
                f"run {run.run_id} ({run.key} {run.title}) did not walk in batches",
                state="Nothing was changed.",
                hint="`migrator runs` lists the runs.",
            )
        if not await self.controls.failures(run):
            return Outcome(Plan())
        history, scripts = self._read()

        def plan(history: History, state: State) -> "Plan":
            return mend(history, scripts, state, run)

        return await self._deployment().carry_out(
            "retry-failed", plan, history, (run.database,), scripts=scripts, stored=True
        )

    def _deployment(self) -> "Deployment":
        from migrator.runtime.deployment import Deployment

        if not self._listened and self.config.observed:
            from migrator.runtime.listening import listen

            listen(self.config, self._notifiers)
        self._listened = True
        return Deployment(self.config, self._connections, self._notifiers, self.actor)

    async def _only_plan(
        self,
        make: "Planner",
        history: History,
        databases: tuple[str, ...],
        scripts: Iterable[Revision] = (),
        *,
        run: bool = True,
    ) -> "Outcome":
        """Plan from what can be read without the locks; where it is to `run`, say how long long changes will take."""
        from migrator.core.outcome import Outcome
        from migrator.runtime.deployment import notes, with_stored

        async with self._peek(databases, emptied=not run) as (ran, trackers):
            state = await with_edits(ran, [*history, *scripts], trackers)
            full = await with_stored(history, state, trackers)
        plan = make(full, state)
        told: tuple[Forecast, ...] = ()
        if run and any(step.batched for step in plan.steps):
            from migrator.runtime.forecast import forecasts

            told = await forecasts(plan, state, self._connections)
        return Outcome(plan, notes=notes(history, state, plan), dry_run=True, forecasts=told)


def _needed(command: str, targets: Sequence[str]) -> "list[Target]":
    """Return the targets of a command that does nothing without one. Raises UsageError."""
    from migrator.core.target import Target

    if not targets:
        raise UsageError(
            f"{command} needs a target", state="Nothing was changed.", hint=f'For example: {command}("base").'
        )
    return [Target.parse(text) for text in targets]
