"""Several things at once; the first that fails ends the others."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]]) -> tuple[T, ...]:
    """Run coroutines at once and return their results in order.

    Raises the first error as it is, when all of the others have ended. (`asyncio.TaskGroup` raises a group, and in
    CPython 3.11 and 3.12 it leaves the cancellation counter of the caller's task raised.)
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return tuple(task.result() for task in tasks)
