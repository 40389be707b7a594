"""The loop of a long change: one short transaction after another, each with its checkpoint, paced, throttled, retried.

What to do is decided in `core.failing` and `core.pace`; where things are kept is the adapter's `Walk` and `Ledger`.
Here is the order of it, and the time.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from migrator.core.batch import Batch as ScriptBatch
from migrator.core.batch import Checkpoint, FailedRow, Ledger, Page, Settings, Walk
from migrator.core.errors import ConnectionLost, DatabaseError, OutcomeUnknown, RowFailed, UsageError
from migrator.core.events import BatchDone, Event, LoopBegun
from migrator.core.failing import Next, after, pause
from migrator.core.pace import LIMIT, Pace
from migrator.core.protocols import Adapter, Context, Databases, Lock
from migrator.core.revision import Function
from migrator.core.run import Run
from migrator.core.secrets import Mask
from migrator.core.throttle import chosen
from migrator.runtime.awaiting import check_awaited
from migrator.runtime.brake import Brake
from migrator.runtime.script_logger import script_logger
from migrator.runtime.stopping import Stop
from migrator.runtime.throttle import Watch

if TYPE_CHECKING:
    from migrator.runtime.params import Params
    from migrator.runtime.slices import Place, Slices

ON_ERROR = ("stop", "skip")


@dataclass(frozen=True)
class Around:
    """What a loop needs to know of the step around it; `throttle` is what migrator.toml says for this database, and
    `rerunnable` what the revision says. `failures` returns the rows that are kept as failed under an origin, `kept` its
    checkpoints; both use the step's own session. `function` is the script's own, `params` are its parameters, `work`
    gives where its slices run, under the `lock`; `stop` tells whether the command, or the slice, was asked to stop.
    """

    run: Run
    publish: Callable[[Event], None]
    mask: Mask
    databases: Databases
    adapter: Adapter
    lock: Lock
    throttle: Mapping[str, Any]
    rerunnable: bool
    failures: Callable[[str], Awaitable[Sequence[FailedRow]]]
    kept: Callable[[str], Awaitable[Sequence[Checkpoint]]]
    function: Function
    context: Context
    params: "Params"
    work: "Callable[[], Place]"
    stop: Stop


class Loops:
    """The loops of one step; lent to its context as `core.batch.Tools`."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._loops: list[Loop | Slices] = []
        self._exactly_once = True

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
    ) -> AsyncIterable[ScriptBatch]:
        """Return the loop over a walk; see `Context.batches`. Raises UsageError for options that cannot be meant."""
        origin = (self._around.run.cursor or {}).get("origin")
        if origin is None:
            raise UsageError(
                f"{self._around.run.key}: ctx.batches works in an upgrade() or downgrade() that names it itself",
                hint="Write `async for batch in ctx.batches(...)` in the function of the revision, not behind it.",
            )
        if on_error not in ON_ERROR:
            raise UsageError(f"on_error is {on_error!r}", hint='It takes "stop" or "skip".')
        if settings.odd:
            raise UsageError(f"ctx.batches: {settings.odd}")
        if not ledger.exactly_once:
            self._repeat(f"{walk.source} is on a server without transactions")
        loop_name = name or walk.source
        if any(each.name == loop_name for each in self._loops):
            raise UsageError(
                f"{self._around.run.key} has two loops over {loop_name}",
                hint='Give each a name of its own: `ctx.batches(..., name="totals")`.',
            )
        blank = Checkpoint(origin=origin, name=loop_name, run_id=self._around.run.run_id, fence=self._around.run.fence)
        if workers < 1:
            raise UsageError(f"workers is {workers}, and one is the least")
        return self._made(walk, ledger, blank, settings, throttle, on_error == "skip", workers)

    def _made(
        self,
        walk: Walk,
        ledger: Ledger,
        blank: Checkpoint,
        settings: Settings,
        throttle: Mapping[str, Any],
        skip: bool,
        workers: int,
    ) -> AsyncIterable[ScriptBatch]:
        """Return the loop that the options ask for."""
        kind, loop = Loop, None
        if self._around.run.failed_of:
            from migrator.runtime.mending import Mending

            kind = Mending
        elif workers > 1:
            from migrator.runtime.slices import Slices

            loop = Slices(self._around, walk, ledger, blank, workers)
        made = loop or kind(self._around, walk, ledger, blank, settings, self.watch(throttle), skip=skip)
        self._loops.append(made)
        return made

    def opened(self, database: str) -> None:
        """Note that the script opens another database; see `core.batch.Tools`."""
        self._repeat(f"what is changed in {database} does not commit with a checkpoint of this database")

    def _repeat(self, why: str) -> None:
        """Note that a batch may run twice. Raises UsageError unless the revision allows it."""
        if not self._around.rerunnable:
            raise UsageError(
                f"{self._around.run.key}: {why}, so a batch may run twice",
                state="Nothing was changed by it.",
                hint="Write the batch so that a second time does no harm, and say so: `rerunnable = True`.",
            )
        self._exactly_once = False

    def watch(self, throttle: Mapping[str, Any]) -> Watch:
        """Return what looks at the signals of a loop."""
        around = self._around
        logger = script_logger(around.run.revision)
        limits = chosen(around.adapter.capabilities, around.throttle, throttle)
        return Watch(limits, around.adapter, lambda text: logger.warning("%s", around.mask(text)))

    async def close(self) -> None:
        """Let go of what the loops hold beside the step's own connection."""
        for loop in self._loops:
            await loop.close()

    @property
    def report(self) -> Mapping[str, Any] | None:
        """Return what the loops did, for the run's `progress`; None where there were none."""
        if not self._loops:
            return None
        guarantee = "exactly once" if self._exactly_once else "at least once"
        return {"loops": [each.report for each in self._loops], "guarantee": guarantee}

    def check_done(self) -> None:
        """Raise UsageError where a loop was left before its last batch: the rest would be missing for good."""
        for loop in self._loops:
            if not loop.checkpoint.done:
                raise UsageError(
                    f"the loop over {loop.name} was left before its last batch",
                    hint="Let it run to its end, without `break` or `return`; what it has done is kept.",
                )


class Loop:
    """One `async for batch in ctx.batches(...)`. It can be walked once."""

    def __init__(
        self,
        around: Around,
        walk: Walk,
        ledger: Ledger,
        blank: Checkpoint,
        settings: Settings,
        watch: Watch,
        *,
        skip: bool,
    ) -> None:
        self.around = around
        self.walk = walk
        self.ledger = ledger
        self.name = blank.name
        self.skip = skip
        self.checkpoint = blank
        self.row_bytes = 0.0
        self.pace = Pace()
        self.tries = 0
        self.watch = watch
        self.brake = Brake(self, watch, settings)
        self._before = 0
        self.latest = 0.0

    def __aiter__(self) -> AsyncIterator["Batch"]:
        """Walk from the checkpoint to the last key that there was when the loop first began."""
        return self._walk()

    @property
    def report(self) -> Mapping[str, Any]:
        """Return what has been done, with all earlier attempts; `before` is the rows that those did."""
        names = ("name", "rows", "total", "batches", "retries", "splits", "skipped", "throttled", "done")
        return {**{name: getattr(self.checkpoint, name) for name in names}, "before": self._before}

    async def close(self) -> None:
        """Let go of what the loop holds beside the step's own connection."""
        await self.watch.stop()

    @property
    def settings(self) -> Settings:
        """Return the settings that hold now."""
        return self.brake.settings

    @property
    def seconds(self) -> float:
        """Return the server's limit for a statement of a batch."""
        return LIMIT * self.settings.target

    async def move(self, **changes: Any) -> None:
        """Write the checkpoint by itself."""
        with self.ours():
            await self._put(replace(self.checkpoint, **changes))

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Do something that is no change of the script's."""
        context = self.around.context
        before = context.touched
        try:
            yield
        finally:
            context.touched = before

    async def _put(self, new: Checkpoint, failed: Callable[[], Awaitable[None]] | None = None) -> None:
        """Write a checkpoint, together with what `failed` writes."""
        for tries in count(1):
            try:
                async with self.ledger.moved(self.checkpoint, new):
                    if failed is not None:
                        await failed()
                break
            except DatabaseError as error:
                await _wait_after(error, tries)
        self.checkpoint = new

    def began(self) -> None:
        """Note that a batch begins."""
        self.latest = time.monotonic()

    def following(self, page: Page, retries: int) -> Checkpoint:
        """Return the checkpoint as it is after a batch that was begun again so many times."""
        was = self.checkpoint
        return replace(
            was,
            cursor=page.upto,
            low=was.low or page.upto,
            rows=was.rows + page.size,
            batches=was.batches + 1,
            retries=was.retries + retries,
            size=self.pace.size,
            rate=self.pace.rate,
        )

    def opened(self, page: Page, new: Checkpoint) -> AbstractAsyncContextManager[None]:
        """Open the transaction of a batch, in which the checkpoint has moved already."""
        del page
        return self.ledger.moved(self.checkpoint, new, seconds=self.seconds)

    def committed(self, page: Page, checkpoint: Checkpoint) -> None:
        """Note that a batch is committed."""
        seconds = time.monotonic() - self.latest
        self.checkpoint = checkpoint
        self.tries = 0
        if checkpoint.cursor != checkpoint.high:
            self.brake.spend(page.size, self.latest)
        bounds = self.settings.bounds
        self.pace = self.pace.done(page.size, seconds, bounds, bounds.most(self.row_bytes))
        self.around.publish(
            BatchDone(self.around.run, page.size, checkpoint.rows, seconds, self.name, checkpoint.total, self.pace.next)
        )

    async def _walk(self) -> AsyncIterator["Batch"]:
        skipped = await self.skipped_before()
        with self.ours():
            await self._claim(reopen=bool(skipped))
        if not self.checkpoint.done:
            await self.watch.start()
        if skipped:
            from migrator.runtime.mending import Again

            again = Again(self, skipped)
            async for batch in again:
                yield batch
            self.checkpoint = again.checkpoint
        while not self.checkpoint.done:
            self.around.stop.heed()
            await self.brake.free()
            page = await self._page()
            if page is None:
                await self.move(done=True, waiting="")
                await self.watch.stop()
                return
            batch = Batch(self, page)
            yield batch
            batch.check_entered()
            if batch.error is not None:
                await self._after(batch.error, page)

    async def skipped_before(self) -> Sequence[FailedRow]:
        """Return the rows that earlier attempts skipped: this one takes them first."""
        run = self.around.run
        if not self.skip or run.run_id == run.origin:
            return ()
        return [each for each in await self.around.failures(run.origin) if each.name == self.name]

    async def _claim(self, *, reopen: bool) -> None:
        extent = await self.walk.extent()
        blank = replace(self.checkpoint, high=extent.high, total=extent.rows, done=extent.high is None)
        self.checkpoint = await self.claimed(blank, reopen=reopen)
        self.row_bytes = extent.row_bytes
        self._before = self.checkpoint.rows
        self.around.publish(LoopBegun(self.around.run, self.name, self._before, self.checkpoint.total))
        if self.checkpoint.size:
            self.pace = Pace(self.checkpoint.size, self.checkpoint.rate)

    async def claimed(self, blank: Checkpoint, *, reopen: bool) -> Checkpoint:
        """Return the checkpoint from which the loop continues."""
        return await self.ledger.claim(blank, reopen=reopen)

    async def _page(self) -> Page | None:
        if self.checkpoint.high is None:
            return None
        limit = min(self.pace.next, self.settings.bounds.most(self.row_bytes))
        return await self.walk.page(self.checkpoint.cursor, self.checkpoint.high, limit)

    async def _after(self, error: Exception, page: Page) -> None:
        """Do what `core.failing.after` says after a batch that was rolled back; STOP was raised by the batch itself."""
        what = after(error, page.size, self.tries)
        if what is Next.ROW:
            await self._pass_over(error, page)
        elif what is Next.SPLIT:
            self.pace, self.tries = self.pace.failed(page.size), 0
            await self.move(splits=self.checkpoint.splits + 1)
        elif what is Next.SMALLER:
            self.pace, self.tries = self.pace.too_slow(page.size), 0
            await self.move(splits=self.checkpoint.splits + 1)
        else:
            await asyncio.sleep(pause(self.tries, random.random()))  # noqa: S311 - spreads retries
            await self.move(retries=self.checkpoint.retries + 1)

    async def _pass_over(self, error: Exception, page: Page) -> None:
        new = replace(self.checkpoint, cursor=page.upto, skipped=self.checkpoint.skipped + 1)
        text = self.around.mask(str(error).partition("\n")[0])
        await self._put(new, lambda: self.ledger.failed(new, page.upto, text))
        self.tries = 0
        self.pace = self.pace.found()

    def judge(self, error: Exception, page: Page) -> None:
        """Return where the loop goes on after this error of a batch; else raise it, or RowFailed with the row's key."""
        self.tries += 1
        what = after(error, page.size, self.tries)
        if what is Next.STOP:
            raise error
        if what is Next.ROW and not self.skip:
            raise RowFailed(
                f"{self.name}: the row {page.first!r} cannot be changed: {error}",
                state="Everything before it is done and kept; this row and what comes after it is not.",
                hint='Correct the row or the revision, or let it pass over such rows with `on_error="skip"`.',
            ) from error


class Batch:
    """Implements `core.batch.Batch`."""

    def __init__(self, loop: Loop, page: Page) -> None:
        self._loop = loop
        self._page = page
        self._open = AsyncExitStack()
        self._changes: list[tuple[Any, Mapping[str, Any]]] = []
        self._next = loop.checkpoint
        self.first, self.last, self.size = page.first, page.last, page.size
        self.where, self.args = page.where, page.args
        self.entered = self._touched = False
        self.error: Exception | None = None

    def check_entered(self) -> None:
        """Raise UsageError where the script passed the batch by."""
        if not self.entered:
            raise UsageError(
                f"a batch of {self._loop.name} was not entered",
                hint="Write `async with batch:` around what belongs to it.",
            )

    async def __aenter__(self) -> Self:
        """Open the transaction; the checkpoint moves first, which keeps everybody else out."""
        loop, page = self._loop, self._page
        if self.entered:
            raise UsageError(f"a batch of {loop.name} was entered twice", hint="Enter each batch once.")
        self.entered = True
        self._touched = loop.around.context.touched
        for tries in count(1):
            self._next = loop.following(page, tries - 1)
            loop.began()
            try:
                await self._open.enter_async_context(loop.opened(page, self._next))
                break
            except DatabaseError as error:
                await _wait_after(error, tries)
        self._open.push_async_exit(self._write)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Commit, or roll back and decide how the loop goes on."""
        failure = error
        try:
            await self._open.__aexit__(kind, error, trace)
        except Exception as raised:  # noqa: BLE001 - judged below, and raised again where it ends the loop
            failure = raised if error is None or isinstance(error, Exception) else error
        in_doubt = isinstance(failure, ConnectionLost | OutcomeUnknown)
        self._loop.around.context.touched = failure is None or in_doubt or self._touched
        if failure is None:
            self._loop.committed(self._page, self._next)
            return False
        if not isinstance(failure, Exception):
            return False
        self._loop.judge(failure, self._page)
        self.error = failure
        return True

    async def _write(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Write what waits, as the last thing inside the transaction. Raises AwaitForgotten."""
        del kind, trace
        if error is None:
            check_awaited()
        if error is None and self._changes:
            await self._loop.walk.write(self._changes)

    async def rows(self, *columns: str) -> Sequence[Any]:
        """Return the rows of this batch which the loop's `where` admits."""
        return await self._loop.walk.rows(self._page, columns)

    def update(self, row: Any, **values: Any) -> None:
        """Buffer new values of one row."""
        self._changes.append((row, values))


async def _wait_after(error: DatabaseError, tries: int) -> None:
    """Wait before a write of ours alone is begun again, or raise its error where that is no use."""
    if after(error, 1, tries) is not Next.AGAIN:
        raise error
    await asyncio.sleep(pause(tries, random.random()))  # noqa: S311 - spreads retries
