"""Holding the lock: polled with jitter, kept alive, and the work cancelled the moment it is lost."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from migrator.core.errors import ConnectionLost, LockHeld, LockLost, MigratorError
from migrator.core.events import Event, LockTaken, LockWaiting
from migrator.core.protocols import Lease, Owner
from migrator.runtime.stopping import Stop

POLL = (0.1, 0.5)
"""Between which seconds the lock is tried again; at random, so that many waiters do not come at once."""

TELL = 2.0
"""Seconds between two reports of waiting."""

MARGIN = 2.0
"""Seconds before the server would drop the lease at which we count it as lost."""


@asynccontextmanager
async def hold(
    lock: Lease, database: str, owner: Owner, *, wait: float, publish: Callable[[Event], None]
) -> AsyncIterator[int]:
    """Hold the lock of a database for the length of a block and yield the fence.

    Waits at most `wait` seconds, then raises LockHeld. When the lock is lost the block is cancelled and LockLost
    raised; ConnectionLost where it is lost only because the server does not answer.
    """
    fence = await _acquire(lock, database, owner, wait, publish)
    keeper = _Keeper(lock, database)
    try:
        yield fence
    except asyncio.CancelledError:
        keeper.raise_if_lost()
        raise
    finally:
        try:
            await keeper.stop()
        finally:
            with suppress(MigratorError):
                await lock.release()


async def _acquire(lock: Lease, database: str, owner: Owner, wait: float, publish: Callable[[Event], None]) -> int:
    began = told = time.monotonic()
    stop = Stop()
    while True:
        stop.heed()
        try:
            fence = await lock.acquire(owner)
        except LockHeld as error:
            now = time.monotonic()
            if now - began >= wait:
                raise
            if now - told >= TELL or told == began:
                publish(LockWaiting(database, error.message, now - began))
                told = now
        else:
            publish(LockTaken(database, time.monotonic() - began if told > began else 0.0))
            return fence
        await asyncio.sleep(min(random.uniform(*POLL), max(wait - (now - began), 0.0)))  # noqa: S311 - jitter


class _Keeper:
    """Renews the lock from a task of its own and cancels the task that made it when the lock is lost.

    Time is counted by our own monotonic clock, from before each request: where no renewal came through for a lease
    less a margin, the lock counts as lost before the server gives it away.
    """

    def __init__(self, lock: Lease, database: str) -> None:
        self._lock = lock
        self._database = database
        self._lost: LockLost | ConnectionLost | None = None
        self._holder = asyncio.current_task()
        self._task = asyncio.create_task(self._keep(), name=f"keep the lock of {database}")

    def raise_if_lost(self) -> None:
        """Raise what was lost, the lock or its server, in place of the cancellation that it caused."""
        if self._lost is not None:
            self._take_back()
            raise self._lost

    async def stop(self) -> None:
        """End the renewals. A cancellation of ours that came too late for the work must not hit what follows it."""
        self._task.cancel()
        try:
            await asyncio.wait([self._task])
            if self._lost is not None:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._lost is None:
                raise
        if self._lost is not None:
            self._take_back()

    def _take_back(self) -> None:
        """Take our cancellation of the holder back, once: it is not one of those who want the program to end."""
        if self._holder is not None:
            self._holder.uncancel()
            self._holder = None

    async def _keep(self) -> None:
        trusted_until = time.monotonic() + self._lock.lease - MARGIN
        stop = Stop()
        while self._lost is None:
            stop.heed()
            await asyncio.sleep(self._lock.interval)
            began = time.monotonic()
            try:
                async with asyncio.timeout(min(trusted_until - began, self._lock.interval)):
                    await self._lock.renew()
                trusted_until = began + self._lock.lease - MARGIN
            except LockLost as error:
                self._lose(error)
            except (MigratorError, TimeoutError) as error:
                if time.monotonic() >= trusted_until:
                    self._lose(
                        ConnectionLost(
                            f"the lock of {self._database} could not be renewed: {str(error) or 'no answer in time'}",
                            state="The run was stopped; the next one finds out what was done.",
                            hint="Check that the server can be reached, then run the command again.",
                        )
                    )

    def _lose(self, error: LockLost | ConnectionLost) -> None:
        self._lost = error
        if self._holder is not None:
            self._holder.cancel()
