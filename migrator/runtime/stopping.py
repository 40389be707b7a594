"""A request to stop that got lost on its way."""

import asyncio


class Stop:
    """The requests to stop that are made to the task of a command from here on; older ones do not count.

    A task may have been cancelled long before: who migrates in a `finally`, or after an `asyncio.TaskGroup` whose error
    was caught (CPython 3.11 and 3.12 leave the counter raised), asks for work and not for a stop.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0

    def heed(self) -> None:
        """Raise CancelledError where the task was asked to stop and something took that for an answer of its own.

        `asyncio.wait_for` of Python 3.11 does where both come at once (bpo-42130), and drivers use it. Called where
        nothing is half done: before a step, a batch, and a look at the lock.
        """
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError
