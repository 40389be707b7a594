"""The rows that a long change passed over, once more: each in a transaction of its own, in which it is forgotten."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from migrator.core.batch import Checkpoint, FailedRow, Page
from migrator.core.events import BatchDone, LoopBegun
from migrator.runtime.batches import Batch, Loop


class Mending(Loop):
    """A loop over the failed rows alone. A row that fails again stays as it is kept, with its new error.

    Its checkpoint only counts: which rows are left is known from what is kept of them.
    """

    async def _walk(self) -> AsyncIterator[Batch]:
        origin = self.around.run.kept_under
        failed = [each for each in await self.around.failures(origin) if each.name == self.name]
        await self.walk.extent()  # learns what the key is
        blank = replace(self.checkpoint, total=len(failed))
        self.checkpoint = await self.ledger.claim(blank)
        self.around.publish(LoopBegun(self.around.run, self.name, 0, len(failed)))
        if failed:
            await self.watch.start()
        async for batch in self.rows(failed):
            yield batch
        await self.move(done=True, waiting="")
        await self.watch.stop()

    async def rows(self, failed: Sequence[FailedRow]) -> AsyncIterator[Batch]:
        """Take rows once more, one after another."""
        for each in failed:
            async for batch in self._row(each):
                yield batch

    async def _row(self, failed: FailedRow) -> AsyncIterator[Batch]:
        """Try one row until it is done, gone, or fails by its own fault."""
        while True:
            await self.brake.free()
            page = await self.walk.at(failed.key)
            if page is None:
                await self._forget(failed)
                return
            batch = Batch(self, page)
            yield batch
            batch.check_entered()
            if batch.error is not None:
                await self._after(batch.error, page)
            if self.tries == 0:  # it is done, or passed over again
                return

    def following(self, page: Page, retries: int) -> Checkpoint:
        """Return the checkpoint after one row more."""
        was = self.checkpoint
        return replace(was, rows=was.rows + page.size, batches=was.batches + 1, retries=was.retries + retries, size=1)

    @asynccontextmanager
    async def opened(self, page: Page, new: Checkpoint) -> AsyncIterator[None]:
        """Open the transaction of one row, in which it is not a failed one any more."""
        async with self.ledger.moved(self.checkpoint, new, seconds=self.seconds):
            await self.ledger.mended(self._kept(new), page.upto)
            yield

    def committed(self, page: Page, checkpoint: Checkpoint) -> None:
        """Note that a row is done."""
        self.checkpoint = checkpoint
        self.tries = 0
        self.brake.spend(page.size, self.latest)
        seconds = time.monotonic() - self.latest
        done, total = checkpoint.rows, checkpoint.total
        self.around.publish(BatchDone(self.around.run, page.size, done, seconds, self.name, total, 1))

    async def _pass_over(self, error: Exception, page: Page) -> None:
        new = replace(self.checkpoint, skipped=self.checkpoint.skipped + 1)
        text = self.around.mask(str(error).partition("\n")[0])
        await self._put(new, lambda: self.ledger.failed(self._kept(new), page.upto, text))
        self.tries = 0

    async def _forget(self, failed: FailedRow) -> None:
        """Note that a row is gone since it was passed over."""
        new = replace(self.checkpoint, batches=self.checkpoint.batches + 1)
        await self._put(new, lambda: self.ledger.mended(self._kept(new), failed.key))

    def _kept(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint as one of the change that passed the row over: under its origin the row is kept."""
        return replace(checkpoint, origin=self.around.run.kept_under)


class Again(Mending):
    """The rows that earlier attempts of a loop skipped, before this attempt continues at the loop's own checkpoint."""

    def __init__(self, loop: Loop, skipped: Sequence[FailedRow]) -> None:
        super().__init__(loop.around, loop.walk, loop.ledger, loop.checkpoint, loop.settings, loop.watch, skip=True)
        self._skipped = skipped

    def __aiter__(self) -> AsyncIterator[Batch]:
        """Walk over them."""
        return self.rows(self._skipped)

    def following(self, page: Page, retries: int) -> Checkpoint:
        """Return the checkpoint after one row more, which is not a skipped one any more."""
        was = self.checkpoint
        return replace(super().following(page, retries), size=was.size, skipped=was.skipped - 1)

    async def _pass_over(self, error: Exception, page: Page) -> None:
        before = self.checkpoint.skipped
        self.checkpoint = replace(self.checkpoint, skipped=before - 1)  # it is counted once
        await super()._pass_over(error, page)

    async def _forget(self, failed: FailedRow) -> None:
        self.checkpoint = replace(self.checkpoint, skipped=self.checkpoint.skipped - 1)
        await super()._forget(failed)
