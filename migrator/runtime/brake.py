"""Holds a loop between two batches: for a person, for a signal of its throttle, for `max_rows_per_second`.

It is always between two transactions, so that nothing is locked however long it takes.
"""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.core.batch import Control, Settings
from migrator.core.errors import GivenUp
from migrator.core.events import Asked, Throttled, Unthrottled
from migrator.core.throttle import kind

if TYPE_CHECKING:
    from migrator.runtime.batches import Loop
    from migrator.runtime.throttle import Watch

LOOK = 1.0
"""Seconds between two looks at why the work stands still."""


class Brake:
    """See the module. `settings` are those that hold now, with what people changed."""

    def __init__(self, loop: "Loop", watch: "Watch", settings: Settings) -> None:
        self._loop = loop
        self._watch = watch
        self._given = settings
        self.settings = settings
        self._asked = Control()
        self._spent = (0, 0.0)

    def spend(self, rows: int, began: float) -> None:
        """Note that so many rows were done since a moment, so that the next ones wait for their time."""
        self._spent = (rows, began)

    async def free(self) -> None:
        """Return when nothing holds the work back. Raises GivenUp."""
        reason = await self._reason()
        while reason:
            reason = await self._stand_still(reason)

    async def _reason(self) -> str:
        loop = self._loop
        control = await loop.ledger.control(loop.checkpoint.origin)
        self.settings = self._given.changed(control.settings)
        if control != self._asked:
            self._asked = control
            loop.around.publish(Asked(loop.around.run, control))
        if control.cancelled:
            raise GivenUp(f"{loop.name}: cancelled by {control.by}: {control.reason}")
        return control.pause or loop.around.mask(self._watch.reason) or self._too_fast()

    @property
    def _left(self) -> float:
        """Return the seconds until the rows of the last batch are within the rate, as it is set now."""
        (rows, began), limit = self._spent, self.settings.max_rows_per_second
        return began + rows / limit - time.monotonic() if limit else 0.0

    def _too_fast(self) -> str:
        return f"rate: at most {self.settings.max_rows_per_second:g} rows a second" if self._left > 0 else ""

    async def _stand_still(self, reason: str) -> str:
        """Stand still for as long as the reason is of the same kind; return the next one, "" where there is none.

        A short wait for the rate is counted, but neither told nor written: there is one after every batch.
        """
        loop, began = self._loop, time.monotonic()
        quiet = kind(reason) == "rate" and self._left < LOOK
        if not quiet:
            loop.around.publish(Throttled(loop.around.run, reason))
        now = reason
        while kind(now) == kind(reason):
            if not quiet and now != loop.checkpoint.waiting:
                await loop.move(waiting=now)
            await asyncio.sleep(min(max(self._left, 0.0), LOOK) if kind(now) == "rate" else LOOK)
            now = await self._reason()
        await self._go_on(reason, time.monotonic() - began, quiet=quiet)
        return now

    async def _go_on(self, reason: str, seconds: float, *, quiet: bool) -> None:
        loop, word = self._loop, kind(reason)
        before = loop.checkpoint.throttled
        throttled = {**before, word: round(before.get(word, 0) + seconds, 3)}
        if quiet:
            loop.checkpoint = replace(loop.checkpoint, throttled=throttled)  # it is written with the next batch
            return
        await loop.move(waiting="", throttled=throttled)
        loop.around.publish(Unthrottled(loop.around.run, reason, seconds))
