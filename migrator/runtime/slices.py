"""A loop in slices that run side by side: each with a connection, a checkpoint and a pace of its own.

Every slice runs the revision's own function; in it the loop yields only what belongs to the slice. So the function
must change the database inside of batches only, which PostgreSQL enforces. The slices are made once, when the loop
first begins, and kept: an attempt with more or fewer workers continues with the same ones.

Only the run that holds the lock claims them. When it ends, for whatever reason, it takes them back first: that waits
for the batches that are open, and every later one is refused, wherever it runs.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from migrator.core.batch import Batch, Checkpoint, FailedRow, Ledger, Settings, Walk
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.events import BatchDone, LoopBegun
from migrator.core.protocols import Context
from migrator.runtime.batches import Around, Loop, Loops
from migrator.runtime.calling import call
from migrator.runtime.runlog import in_slice
from migrator.runtime.script_logger import script_logger
from migrator.runtime.side_by_side import side_by_side
from migrator.runtime.stopping import Stop

_NOTHING: tuple[Batch, ...] = ()

LOOK = 1.0
"""Seconds between two looks at how far the slices have come."""

Work = Callable[[str, int, int], Awaitable[None]]
"""Runs one slice to its end: the loop's name, the slice's number, how many there are."""

Place = Callable[[Around, int], AbstractAsyncContextManager[Work]]
"""Where the slices of a step run, so many at once; open for as long as they do."""


class Slices:
    """One `async for batch in ctx.batches(..., workers=N)` in the step that waits for the slices; it yields nothing."""

    def __init__(self, around: Around, walk: Walk, ledger: Ledger, blank: Checkpoint, workers: int) -> None:
        self._around = around
        self._walk = walk
        self._ledger = ledger
        self._workers = workers
        self._place = around.work()
        self._before = 0
        self.name = blank.name
        self.checkpoint = blank
        self._blank = blank

    def __aiter__(self) -> AsyncIterator[Batch]:
        """Run every slice to its end."""
        return self._run()

    @property
    def report(self) -> Mapping[str, Any]:
        """Return what the slices did together, with all earlier attempts."""
        names = ("name", "rows", "total", "batches", "retries", "splits", "skipped", "throttled", "done")
        values = {name: getattr(self.checkpoint, name) for name in names}
        return {**values, "before": self._before, "workers": self._workers}

    async def close(self) -> None:
        """Do nothing: each slice lets go of its own."""

    async def _run(self) -> AsyncIterator[Batch]:
        touched = self._around.context.touched
        numbers = await self._slices()
        await self._look()
        self._before = self.checkpoint.rows
        self._around.publish(LoopBegun(self._around.run, self.name, self._before, self.checkpoint.total))
        looking = asyncio.create_task(self._keep_looking())
        try:
            async with self._place(self._around, self._workers) as work:
                await self._side_by_side(work, numbers)
        except BaseException:
            with suppress(MigratorError):  # the end of the run takes them back as well, or is not recorded
                await self._ledger.withdraw(self._blank)
            raise
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            self._around.context.touched = True  # unless it is seen below that no batch was done
            with suppress(DatabaseError):
                await self._look()
                self._around.context.touched = touched or bool(self.checkpoint.batches or self.checkpoint.skipped)
        for batch in _NOTHING:
            yield batch

    async def _side_by_side(self, work: Work, numbers: Sequence[int]) -> None:
        """Run the slices, `workers` at once. The first that fails stops the others."""
        turn = asyncio.Semaphore(self._workers)

        async def one(number: int) -> None:
            async with turn:
                await work(self.name, number, len(numbers))

        await side_by_side(one(number) for number in numbers)

    async def _slices(self) -> list[int]:
        """Claim the slices, and return their numbers; make them where the loop begins.

        They are written from the last to the first, and nobody works before the first is there. So whatever a crash
        in between left out is one stretch at the beginning, and becomes the first slice.
        """
        kept = sorted((each for each in await self._kept()), key=lambda each: each.slice)
        skipped = any(each.name == self.name for each in await self._around.failures(self._blank.origin))
        for each in kept:
            mine = replace(each, run_id=self._blank.run_id, fence=self._blank.fence)
            await self._ledger.claim(mine, reopen=skipped and each.slice == 0)
        if kept and kept[0].slice == 0:
            return [each.slice for each in kept]
        if kept:
            ends = [kept[0].cursor]
        else:
            extent = await self._walk.extent()
            self.checkpoint = replace(self.checkpoint, high=extent.high, total=extent.rows, done=extent.high is None)
            ends = [] if extent.high is None else list(await self._walk.split(extent.high, self._workers))
        total = self.checkpoint.total // len(ends) if self.checkpoint.total > 0 and ends else self.checkpoint.total
        for number in reversed(range(len(ends))):
            start = ends[number - 1] if number else None
            await self._ledger.claim(
                replace(self.checkpoint, slice=number, cursor=start, high=ends[number], total=total)
            )
        return [*range(len(ends)), *(each.slice for each in kept)]

    async def _keep_looking(self) -> None:
        stop = Stop()
        while True:
            stop.heed()
            await asyncio.sleep(LOOK)
            with suppress(DatabaseError):
                before = self.checkpoint.rows
                await self._look()
                done = self.checkpoint.rows - before
                size, total = self.checkpoint.size, self.checkpoint.total
                self._around.publish(
                    BatchDone(self._around.run, done, self.checkpoint.rows, LOOK, self.name, total, size)
                )

    async def _look(self) -> None:
        kept = await self._kept()
        if kept:
            self.checkpoint = together(kept)

    async def _kept(self) -> list[Checkpoint]:
        found = await self._around.kept(self._blank.origin)
        return [each for each in found if each.name == self.name]


class SliceLoop(Loop):
    """The loop of one slice, whose checkpoint the run that waits for it has claimed."""

    async def skipped_before(self) -> Sequence[FailedRow]:
        """Return the rows that earlier attempts skipped, whichever slice they are in: the first slice takes them."""
        return await super().skipped_before() if self.checkpoint.slice == 0 else ()

    async def claimed(self, blank: Checkpoint, *, reopen: bool) -> Checkpoint:
        """Return the checkpoint from which the slice continues. Raises TrackerRefused where the run has ended."""
        del reopen  # the run has done that
        return await self.ledger.join(blank)


class SliceLoops(Loops):
    """The tools of one slice: the loop of that name is walked within the slice; every other has no batches here."""

    def __init__(self, around: Around, name: str, number: int, parts: int) -> None:
        super().__init__(around)
        self._name = name
        self._number = number
        self._parts = parts

    def _made(
        self,
        walk: Walk,
        ledger: Ledger,
        blank: Checkpoint,
        settings: Settings,
        throttle: Mapping[str, Any],
        skip: bool,
        workers: int,
    ) -> AsyncIterable[Batch]:
        """Return the loop of this slice, or one without batches."""
        del workers
        if blank.name != self._name:
            return _none()
        share = replace(settings, max_rows_per_second=settings.max_rows_per_second / self._parts)
        mine = replace(blank, slice=self._number)
        made = SliceLoop(self._around, walk, ledger, mine, share, self.watch(throttle), skip=skip)
        self._loops.append(made)
        return made


@asynccontextmanager
async def here(around: Around, workers: int) -> AsyncIterator[Work]:
    """Run slices in this program, each on a connection of its own."""
    around.adapter.make_room(workers, more=True)

    async def work(name: str, number: int, parts: int) -> None:
        async with (
            around.adapter.session(under=around.lock) as session,
            session.step(around.run, timeout=0.0, databases=around.databases) as context,
        ):
            own = replace(around, publish=lambda _: None, stop=Stop(), context=context)
            await perform(own, context, name, number, parts)

    yield work


async def perform(around: Around, context: Context, name: str, number: int, parts: int) -> None:
    """Run the revision's function for one slice."""
    loops = SliceLoops(around, name, number, parts)
    context.tools, context.params = loops, around.params.value
    context.logger = script_logger(around.run.revision)
    with in_slice(number):
        await context.only_read()
        try:
            await call(around.function, context)
            loops.check_done()
        finally:
            await loops.close()


def together(slices: Sequence[Checkpoint]) -> Checkpoint:
    """Return the checkpoints of slices as one: what they did is added up, and it is done when all of them are."""
    first = slices[0]
    sums = {
        name: sum(getattr(each, name) for each in slices)
        for name in ("rows", "batches", "retries", "splits", "skipped")
    }
    throttled: dict[str, float] = {}
    for each in slices:
        for word, seconds in each.throttled.items():
            throttled[word] = round(max(throttled.get(word, 0.0), seconds), 3)
    return replace(
        first,
        **sums,
        total=sum(each.total for each in slices) if all(each.total >= 0 for each in slices) else -1,
        size=max(each.size for each in slices),
        rate=sum(each.rate for each in slices if not each.done),
        waiting=next((each.waiting for each in slices if each.waiting), ""),
        throttled=throttled,
        done=all(each.done for each in slices),
        high=slices[-1].high,
    )


async def _none() -> AsyncIterator[Batch]:
    for batch in _NOTHING:
        yield batch
