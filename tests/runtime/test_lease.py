"""Holding a lock that is lost at an awkward moment."""

import asyncio

import pytest

from migrator.adapters._shared import to_the_end
from migrator.core.errors import LockLost
from migrator.core.protocols import Holder, Owner
from migrator.runtime.lease import hold


class Slipping:
    """A lock that is lost at its first renewal, and whose release takes a moment."""

    lease = 10.0
    interval = 0.01

    def __init__(self) -> None:
        self.released = False

    async def acquire(self, owner: Owner) -> int:
        return 1

    async def renew(self) -> None:
        raise LockLost("lost at the renewal")

    async def holder(self) -> Holder | None:
        return None

    async def release(self) -> None:
        await asyncio.sleep(0)
        self.released = True

    async def evict(self, by: Owner, reason: str) -> Holder | None:
        return None


OWNER = Owner(token="t", host="h", pid=1, user="u", release="")


async def test_the_work_is_cancelled() -> None:
    """What runs under a lock that is lost ends at once, and says so."""
    with pytest.raises(LockLost, match="at the renewal"):
        async with hold(Slipping(), "main", OWNER, wait=0.0, publish=print):
            await asyncio.sleep(10)


async def test_work_to_the_end_is_cancelled_once() -> None:
    """A time limit that runs out while something is done to its end is still that time limit, and no more than it."""

    async def late() -> None:
        async with asyncio.timeout(0.01):
            await to_the_end(asyncio.sleep(0.05))
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await late()
    await asyncio.sleep(0)


@pytest.mark.parametrize("error", [LockLost("seen by the work itself"), None], ids=["error", "success"])
async def test_work_that_is_over_is_not_cancelled(error: LockLost | None) -> None:
    """Where the work is at its end when the lock is lost, its own end counts, and the release is not cut short."""
    lock = Slipping()

    async def work() -> None:
        async with hold(lock, "main", OWNER, wait=0.0, publish=print):
            await to_the_end(asyncio.sleep(0.05))
            if error is not None:
                raise error

    if error is None:
        await work()
    else:
        with pytest.raises(LockLost, match="by the work itself"):
            await work()
    assert lock.released
    await asyncio.sleep(0)
