"""Runs a plan: one step after another, each verified and recorded. It makes no choices of its own."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from migrator.core.errors import (
    ConnectionLost,
    DatabaseError,
    GivenUp,
    LockLost,
    MigratorError,
    OutcomeUnknown,
    StatementTimeout,
    TookTooLong,
    TrackerDamaged,
    TrackerRefused,
)
from migrator.core.events import Event, RunFinished, RunStarted
from migrator.core.plan import Plan, Step
from migrator.core.protocols import Context, Databases
from migrator.core.refusals import GIVEN_UP
from migrator.core.revision import Direction, Key, Script
from migrator.core.run import Effect, Kind, Run, State, Status
from migrator.core.secrets import Mask
from migrator.runtime.calling import Within, call
from migrator.runtime.failures import (
    Failure,
    Unanswered,
    explained,
    overtaken,
    retry_command,
    said,
    stopped,
    stopped_outside,
    unrecorded,
)
from migrator.runtime.lifecycle import clean_up, validate
from migrator.runtime.params import Params
from migrator.runtime.returned import returned
from migrator.runtime.runlog import RunLog, RunLogs
from migrator.runtime.runs import Held, new_run
from migrator.runtime.script_logger import script_logger
from migrator.runtime.stopping import Stop
from migrator.runtime.verdict import Verdict, check

if TYPE_CHECKING:
    from migrator.runtime.batches import Loops
    from migrator.runtime.slices import Place

AGAIN = 5
"""How often a transaction that the server aborted is begun again, with growing pauses."""

GRACE = 1.0
"""Seconds by which the server's own limit comes before ours: two ends of one statement at the same moment would end the
next one too, which records how the step ended.
"""


@dataclass
class _Seen:
    """What a step has been seen to do so far."""

    touched: bool = False
    progress: Mapping[str, Any] | None = None
    context: Context | None = None

    @property
    def escaped(self) -> bool:
        """Say whether the script may have ended the transaction of its step."""
        return self.context is not None and self.context.escaped


@dataclass(frozen=True)
class _Work:
    """One step with all that it needs. `place` is (number, total)."""

    step: Step
    run: Run
    script: Script
    following: Run | None
    place: tuple[int, int]
    log: RunLog
    params: Params
    hurried: Step | None
    again: str
    seen: _Seen = field(default_factory=_Seen)


class Runner:
    """Runs the steps of one command. `timeout` is the seconds a step may take where its revision says nothing."""

    def __init__(
        self,
        held: Mapping[str, Held],
        databases: Databases,
        *,
        timeout: float,
        publish: Callable[[Event], None],
        mask: Mask,
        logs: RunLogs,
        params: Mapping[Key, Params] | None = None,
        slices: "Callable[[], Place]",
        stop: Stop,
    ) -> None:
        self._held = held
        self._logs = logs
        self._params = params or {}
        self._slices = slices
        self._stop = stop
        self._databases = databases
        self._timeout = timeout
        self._publish = publish
        self._mask = mask
        self._done: list[Run] = []
        self._ahead: Run | None = None

    async def run_plan(self, plan: Plan, scripts: Mapping[Key, Script], state: State) -> tuple[Run, ...]:
        """Run every step in order and return the runs; at the first failure raise RunFailed with those done before.

        Raises Unanswered where a commit was never answered: then the tracker must be asked again, under the lock.
        """
        runs = [self._new_run(step, state) for step in plan.steps]
        try:
            with self._logs.listening():
                for index, (step, run) in enumerate(zip(plan.steps, runs, strict=True)):
                    self._stop.heed()
                    following = runs[index + 1] if index + 1 < len(runs) else None
                    rides = following if _may_ride(run, following) else None
                    place, log = (index + 1, len(runs)), self._logs.of(run)
                    given = self._params.get(step.key, Params())
                    hurried = plan.hurried(step, self._timeout)
                    await self._run(
                        _Work(step, run, scripts[step.key], rides, place, log, given, hurried, retry_command(run, plan))
                    )
        except OutcomeUnknown as error:
            raise Unanswered(plan, runs[len(self._done)], tuple(self._done), error) from error
        finally:
            await self._take_back()
        return tuple(self._done)

    def _new_run(self, step: Step, state: State) -> Run:
        run = self._logs.named(new_run(step, self._held[step.revision.database], state))
        given = self._params.get(step.key)
        return run if given is None else replace(run, params=given.shown)

    async def stamp_plan(self, plan: Plan, state: State) -> tuple[Run, ...]:
        """Record every step as done without running anything, and return the runs."""
        for number, step in enumerate(plan.steps, 1):
            held = self._held[step.revision.database]
            done = new_run(step, held, state, Kind.STAMP).moved(Status.SUCCESS, Effect.FULL, reason="stamped")
            await held.session.tracker.record(done)
            self._done.append(done)
            self._publish(RunFinished(done, number, len(plan)))
        return tuple(self._done)

    async def _run(self, work: _Work) -> None:
        run = work.run
        if self._ahead is not run:
            await self._held[run.database].session.tracker.start(run)
        self._ahead = None
        self._publish(RunStarted(run, *work.place))
        began = time.perf_counter()
        with work.log as log:
            try:
                done = await self._persist(work)
            except (Failure, asyncio.CancelledError) as error:
                raise await self._failed(work, error, began) from error
            finally:
                await clean_up(work.script, run, work.params, self._held[run.database].adapter, self._databases)
            done = replace(done, duration_ms=_since(began))
            log.ended(done)
        self._ahead = work.following
        self._done.append(done)
        self._publish(RunFinished(done, *work.place))

    async def _persist(self, work: _Work) -> Run:
        """Run one step, and begin it again where the server says that it may succeed and nothing of it can be left.

        That is so for a transaction of plain SQL; a Python script may have done something elsewhere, so it must say
        that it is rerunnable.
        """
        log = script_logger(work.run.revision)

        def again(error: Exception) -> bool:
            worth = isinstance(error, Failure) and _may_begin_again(work, error)
            if worth:
                log.info("the server gave the transaction up, and it may be begun again: %s", error)
            return worth

        try:
            return await self._perform(work)
        except Failure as failure:
            if not again(failure):
                raise
        import stamina
        import stamina.instrumentation

        stamina.instrumentation.set_on_retry_hooks([])  # they would warn of each, in words that say nothing
        async for attempt in stamina.retry_context(on=again, attempts=AGAIN, wait_initial=0.2, wait_max=2.0):
            with attempt:
                return await self._perform(work)
        raise AssertionError("stamina raises the last error")

    async def _perform(self, work: _Work) -> Run:
        """Run one step. Raises Failure; OutcomeUnknown and LockLost where nothing may be written any more."""
        limit = self._limit(work)
        seen = work.seen
        try:
            async with asyncio.timeout(limit + GRACE if limit else None) as scope:
                return await self._body(work, limit, seen, scope)
        except (LockLost, OutcomeUnknown):
            raise
        except Verdict as error:
            raise Failure(
                str(error), "verify_failed", touched=seen.touched, effect=error.effect, progress=seen.progress
            ) from error
        except Exception as error:
            raise self._failure(work, error, seen, scope, limit) from error

    def _limit(self, work: _Work) -> float:
        own, theirs = work.step.limit(self._timeout), work.hurried.limit(self._timeout) if work.hurried else 0.0
        return min(own, theirs) if own and theirs else own or theirs

    def _failure(self, work: _Work, error: Exception, seen: _Seen, scope: asyncio.Timeout, limit: float) -> Failure:
        """Return what an error in a step means: a time limit, a server that is gone, or the script's own."""
        late = isinstance(error, TookTooLong) or (isinstance(error, TimeoutError) and scope.expired())
        cut = isinstance(error, StatementTimeout)
        late |= cut and not work.step.batched and _is_over(scope)  # a batch has a limit of its own
        if isinstance(error, TookTooLong) and error.hint:
            text = f"took longer than {limit:g} s; {said(error, work.run.path)}"
            return Failure(text, "timeout", touched=seen.touched, progress=seen.progress, lead=f"{error.hint} ")
        if late and not self._held[work.run.database].session.alive:
            text = f"the server has not answered for {limit:g} s, and not when it was told to stop either"
            code = ConnectionLost.exit_code
            return Failure(text, "error", touched=seen.touched, progress=seen.progress, exit_code=code)
        text = f"took longer than {limit:g} s" if late else said(error, work.run.path)
        if cut and not late and limit and not work.step.batched:
            text += f" (not the step's own limit, which is {limit:g} s)"
        if late and work.hurried and limit == work.hurried.limit(self._timeout):
            text += f", the time that {work.hurried.key} has and leaves to the backfill that it requires"
            alone = f"`migrator upgrade {work.run.key}` runs it alone and without that limit. "
            return Failure(text, "timeout", touched=seen.touched, progress=seen.progress, lead=alone)
        if isinstance(error, GivenUp):
            return Failure(str(error), GIVEN_UP, touched=seen.touched, progress=seen.progress)
        return Failure(text, "timeout" if late else "error", touched=seen.touched, progress=seen.progress)

    async def _body(self, work: _Work, limit: float, seen: _Seen, scope: asyncio.Timeout) -> Run:
        held = self._held[work.run.database]
        function = work.script.function(work.step.direction)
        if function is None:
            raise AssertionError(f"{work.step.key} has no {work.step.direction}; a plan never holds such a step")
        done = work.run.moved(Status.SUCCESS, Effect.FULL)
        opened = held.session.step(
            work.run,
            timeout=limit,
            databases=self._databases,
            allow_pooled=work.step.revision.header.allow_pooled,
        )
        async with opened as context:
            seen.context = context
            loops = self._lend(context, work) if work.step.batched else None
            context.lines, context.params = work.log.lines, work.params.value
            context.logger = log = script_logger(work.run.revision)
            within = Within.seconds(limit)
            try:
                if work.step.direction is Direction.UPGRADE:
                    await validate(work.script, context, within)
                if work.script.setup is not None:
                    await call(work.script.setup, context, within)
                result = await call(function, context, within)
                done = replace(done, result=returned(result, self._mask, log))
                await context.settle()
                if loops is not None:
                    loops.check_done()
                    done = replace(done, progress=loops.report)
            finally:
                seen.touched, context.lines, context.tools = context.touched, None, None
                seen.progress = context.progress if loops is None else loops.report
                if loops is not None:
                    await loops.close()
            if work.step.direction is Direction.UPGRADE:
                await check(work.script, context, within)
            within.check_time()
            await _finish(held, done, work.following)
            scope.reschedule(None)  # the work is done, and what is left must not be cut: the commit
        return done

    def _lend(self, context: Context, work: _Work) -> "Loops":
        """Give the context of a long change its loops."""
        from migrator.runtime.batches import Around, Loops

        held = self._held[work.run.database]
        function = work.script.function(work.step.direction)
        assert function is not None, "the step has one, or it would not have begun"
        around = Around(
            run=work.run,
            publish=self._publish,
            mask=self._mask,
            databases=self._databases,
            adapter=held.adapter,
            lock=held.session.lock,
            throttle=held.throttle,
            rerunnable=work.step.revision.header.rerunnable,
            failures=held.session.tracker.failures,
            kept=held.session.tracker.checkpoints,
            function=function,
            context=context,
            params=work.params,
            work=self._slices,
            stop=self._stop,
        )
        loops = Loops(around)
        context.tools = loops
        return loops

    async def _failed(self, work: _Work, error: Failure | asyncio.CancelledError, began: float) -> BaseException:
        """Record a failure as far as it can be, and return what the caller is to raise."""
        touched = work.seen.touched
        if not isinstance(error, Failure) and touched and not (work.run.transactional or work.run.origin):
            return self._leave_open(work, error)
        stop = Failure("stopped", "cancelled", touched=touched, progress=work.seen.progress)
        failure = error if isinstance(error, Failure) else stop
        if failure.reason == "verify_failed" and work.step.revision.header.on_failed_verify == "downgrade":
            failure = await self._undo(work, failure)
        run = work.run.moved(
            Status.FAILED,
            failure.effect_on(work.run, escaped=work.seen.escaped),
            reason=failure.reason,
            error=self._mask(str(failure)),
            duration_ms=_since(began),
            progress=failure.progress,
            result=failure.kept(work.log.lines),
        )
        work.log.failed(failure.__cause__ or failure)
        work.log.ended(run)
        try:
            recorded = not failure.unanswered(work.run) and await self._record(run)
        except TrackerRefused as refused:
            # What was stopped may also have been committed just before it, and whoever lost the lock says so anyway.
            return overtaken(run, refused) if isinstance(error, Failure) else error
        except TrackerDamaged as lost:
            return unrecorded(run, lost) if isinstance(error, Failure) else error
        self._publish(RunFinished(run, *work.place))
        if not isinstance(error, Failure):
            error.args = (stopped(run, work.again),) if run.origin else error.args
            return error
        rerunnable = work.step.revision.header.rerunnable
        return explained(run, failure, tuple(self._done), again=work.again, recorded=recorded, rerunnable=rerunnable)

    def _leave_open(self, work: _Work, error: asyncio.CancelledError) -> BaseException:
        """Write no end of a stopped step of which only its verify knows what it has done: the next holder asks it."""
        text = "stopped; the next command asks its verify"
        work.log.failed(error)
        work.log.ended(replace(work.run, reason="cancelled", error=text))
        error.args = (stopped_outside(work.run, work.again),)
        return error

    async def _undo(self, work: _Work, failure: Failure) -> Failure:
        """After a failed verify outside a transaction, run the downgrade: the revision asks for it."""
        if work.run.transactional or work.script.downgrade is None:
            return failure
        session = self._held[work.run.database].session
        try:
            async with session.step(
                work.run,
                timeout=self._timeout,
                databases=self._databases,
                allow_pooled=work.step.revision.header.allow_pooled,
            ) as context:
                await call(work.script.downgrade, context)
                await context.settle()
        except Exception as error:  # noqa: BLE001 - its text goes into the record
            message = f"{failure}; its downgrade failed too: {said(error, work.run.path)}"
            return Failure(message, failure.reason, touched=True)
        return Failure(f"{failure}; its downgrade took it back", failure.reason, touched=True, effect=Effect.NONE)

    async def _record(self, run: Run) -> bool:
        """Write a failed run; False where the tracker cannot be told and the next holder will settle it.

        Raises TrackerRefused where the next holder is there already, TrackerDamaged where the tracker is not.
        """
        try:
            await asyncio.shield(self._held[run.database].session.tracker.finish(run))
        except (TrackerRefused, TrackerDamaged):
            raise
        except MigratorError:
            return False
        return True

    async def _take_back(self) -> None:
        """Close a run that started in the commit of the step before it, and whose own step never began."""
        if self._ahead is not None:
            run, self._ahead = self._ahead, None
            with suppress(TrackerRefused, TrackerDamaged):
                await self._record(run.moved(Status.FAILED, Effect.NONE, reason="cancelled", error="it never began"))


async def _finish(held: Held, done: Run, following: Run | None) -> None:
    """Write that a step is done. Raises OutcomeUnknown where that was never answered, as a commit may be."""
    try:
        await held.session.tracker.finish(done, following)
    except ConnectionLost as error:
        raise OutcomeUnknown(
            f"the connection was lost while the end of {done.key} was being recorded ({error.message})",
            state="All of it is done; the tracker knows whether that is recorded.",
            hint="Run the command again: it reads the tracker under the lock and continues from there.",
        ) from error


def _is_over(scope: asyncio.Timeout) -> bool:
    """Say whether a step's own time is over, which the server measures, too."""
    end = scope.when()
    return end is not None and asyncio.get_running_loop().time() >= end - GRACE


def _may_begin_again(work: _Work, failure: Failure) -> bool:
    cause = failure.__cause__
    pure = work.run.path.endswith(".sql") or work.step.revision.header.rerunnable
    return isinstance(cause, DatabaseError) and cause.retryable and work.run.transactional and pure


def _may_ride(run: Run, following: Run | None) -> bool:
    """Say whether the next run may start in this run's commit.

    Only between transactional steps of one database: if the process dies in between, the next run is known to have
    done nothing.
    """
    return (
        following is not None and following.database == run.database and run.transactional and following.transactional
    )


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
