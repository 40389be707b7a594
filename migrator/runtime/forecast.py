"""Forecasts for a dry run: one batch of each long change of the plan is run by its own function, and rolled back.

A function is left when its first batch was tried. Before that nothing it does is kept either: PostgreSQL lets it read
only, and on MongoDB it reaches no collection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, NoReturn, Self

from migrator.core.batch import Checkpoint, Ledger, Page, Settings, Walk
from migrator.core.errors import TookTooLong, UsageError
from migrator.core.forecast import Forecast, Sampling, Tried, forecast, missing
from migrator.core.pace import FIRST, LIMIT
from migrator.core.plan import Plan, Step
from migrator.core.protocols import Capabilities, Session
from migrator.core.run import Run, State
from migrator.runtime import directory
from migrator.runtime.calling import Leave, Within, call
from migrator.runtime.connections import Connections
from migrator.runtime.failures import said
from migrator.runtime.runs import new_id

SECONDS = 60.0
"""For one step, with all that its function does before its first batch."""


class _Enough(Leave):
    """Ends a function whose first batch was tried; it is no Exception, so that no script goes on after it."""


async def forecasts(plan: Plan, state: State, connections: Connections) -> tuple[Forecast, ...]:
    """Return what can be said about the loops of a plan, in order. Changes nothing, and takes no lock of ours."""
    found: list[Forecast] = []
    for number, step in enumerate(plan.steps):
        if step.batched:
            adapter = await connections.adapter(step.revision.database)
            async with adapter.session() as session:
                sampler = _Sampler(step, await _kept(step, state, session))
                why = await sampler.run(session, adapter.capabilities)
            before = sum(each.revision.database == step.revision.database for each in plan.steps[:number])
            found += _told(sampler, why, before)
    return tuple(found)


def _told(sampler: "_Sampler", why: str, before: int) -> list[Forecast]:
    """Return the forecast of the loop that was tried, if one was, and why there is none for the others."""
    step, found = sampler.step, sampler.found
    if why and before:
        why += f"; {before} step{'s' * (before > 1)} of {step.revision.database} before it may have to be applied first"
    names = [name for name in step.revision.loops(step.direction) if found is None or name != found.loop]
    if found is not None:
        why, names = f"it comes behind {found.loop}", names[:-1] if "" in names else names
    rest = [missing(step, name, why) for name in names]
    return rest if found is None else [found, *rest]


async def _kept(step: Step, state: State, session: Session) -> Mapping[str, Checkpoint]:
    """Return the checkpoints at which the step would go on, by the names of its loops."""
    run = state.resumable.get(step.key)
    if run is None or run.direction is not step.direction:
        return {}
    kept = await session.tracker.checkpoints(run.origin)
    names = dict.fromkeys(each.name for each in kept)
    return {name: _one([each for each in kept if each.name == name]) for name in names}


def _one(slices: Sequence[Checkpoint]) -> Checkpoint:
    """Return where a loop goes on: the first of its slices that is not done, with what all of them did."""
    if len(slices) == 1:
        return slices[0]
    from migrator.runtime.slices import together

    first = next((each for each in slices if not each.done), slices[0])
    return replace(together(slices), low=first.low, cursor=first.cursor, high=first.high)


class _Sampler:
    """Implements `core.batch.Tools`: a loop of one batch. `found` is what it says about all of them."""

    def __init__(self, step: Step, kept: Mapping[str, Checkpoint]) -> None:
        self.step = step
        self.found: Forecast | None = None
        self._kept = kept
        self._context: Sampling | None = None

    async def run(self, session: Session, capabilities: Capabilities) -> str:
        """Run the function of the step up to the end of its first batch; return why that did not succeed."""
        revision = self.step.revision
        run = Run(
            run_id=new_id(),
            database=revision.database,
            revision=revision.id,
            direction=self.step.direction,
            transactional=False,
            cursor={"origin": ""},
            path=revision.path,
            source=revision.source,
        )
        try:
            function = directory.load(revision, capabilities).function(self.step.direction)
            async with asyncio.timeout(SECONDS), session.sampling(run, databases=_Closed()) as context:
                self._context, context.tools = context, self
                if function is not None:
                    await call(function, context, Within.seconds(SECONDS))
        except _Enough:
            return ""
        except (TimeoutError, TookTooLong):
            return f"its first batch was not done in {SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a script raises; a forecast is no reason to fail
            return said(error, revision.path)
        return "it ended without a batch"

    def opened(self, database: str) -> NoReturn:
        """Refuse, as `_Closed` does."""
        raise UsageError(f"it opens {database}, and what is written there could not be rolled back")

    def batches(
        self,
        walk: Walk,
        ledger: Ledger,
        *,
        name: str,
        settings: Settings,
        on_error: str,
        throttle: Mapping[str, Any],
        workers: int,
    ) -> AsyncIterator["_Batch"]:
        """Return the loop of one batch. Nothing holds it back, and it keeps no checkpoint."""
        del ledger, on_error, throttle
        return self._walk(walk, name or walk.source, settings, workers)

    async def _walk(self, walk: Walk, name: str, settings: Settings, workers: int) -> AsyncIterator["_Batch"]:
        if self._context is None:
            raise AssertionError("a loop of a step that does not run")
        extent, kept = await walk.extent(), self._kept.get(name, Checkpoint(origin="", name=name))
        high = kept.high or extent.high
        total = kept.total if kept.total >= 0 else extent.rows
        left = total if total < 0 else max(0, total - kept.rows)
        began, page = time.perf_counter(), None
        if high is not None and not kept.done:
            most = settings.bounds.most(extent.row_bytes)
            page = await walk.page(kept.cursor, high, min(kept.size or FIRST, most))
        spent = time.perf_counter() - began
        if page is not None:
            batch = _Batch(walk, page, self._context.tried(page, LIMIT * settings.target))
            yield batch
            if not batch.left:
                raise UsageError(f"a batch of {name} was not entered")
        size = 0 if page is None else page.size
        tried = Tried(name, walk.source, settings, left if size else 0, size, spent, workers)
        self.found = forecast(self.step, tried, self._context.sample)
        raise _Enough


class _Batch:
    """Implements `core.batch.Batch` in a transaction that is rolled back."""

    def __init__(self, walk: Walk, page: Page, transaction: AbstractAsyncContextManager[None]) -> None:
        self._walk = walk
        self._page = page
        self._transaction = transaction
        self._open = AsyncExitStack()
        self._changes: list[tuple[Any, Mapping[str, Any]]] = []
        self.first, self.last, self.size = page.first, page.last, page.size
        self.where, self.args = page.where, page.args
        self.left = False

    async def __aenter__(self) -> Self:
        """Open the transaction."""
        await self._open.enter_async_context(self._transaction)
        self._open.push_async_exit(self._write)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Roll back."""
        self.left = True
        await self._open.__aexit__(kind, error, trace)
        return False

    async def _write(self, kind: object, error: BaseException | None, trace: object) -> None:
        del kind, trace
        if error is None and self._changes:
            await self._walk.write(self._changes)

    async def rows(self, *columns: str) -> Sequence[Any]:
        """Return the rows of this batch which the loop's `where` admits."""
        return await self._walk.rows(self._page, columns)

    def update(self, row: Any, **values: Any) -> None:
        """Buffer new values of one row."""
        self._changes.append((row, values))


class _Closed:
    """Implements `core.protocols.Databases`: none is opened."""

    def open(self, name: str) -> NoReturn:
        """Refuse: what is written there could not be rolled back."""
        raise UsageError(f"it opens {name}, and what is written there could not be rolled back")
