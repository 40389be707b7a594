"""A wish to stop that got lost on its way."""

import asyncio


def heed() -> None:
    """Raise CancelledError where this task was asked to stop and something took that for an answer of its own.

    `asyncio.wait_for` of Python 3.11 does where both come at once (bpo-42130), drivers use it, and so may
    scripts. Called where nothing is half done: before a step, a batch, and a look at the lock.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
