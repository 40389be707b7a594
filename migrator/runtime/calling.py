"""Calling the functions of a script, so that nothing which they do to their task outlives them.

Each call is a task of its own. A script that catches the error of an `asyncio.TaskGroup` leaves the cancellation
counter of its task raised (CPython 3.11 and 3.12), and one that catches CancelledError takes the request to stop for
itself: the task of the command sees the requests that were made to it, and only those.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from inspect import iscoroutine, unwrap
from typing import Any, TypeVar

from migrator.core.errors import AwaitForgotten, ScriptEnded
from migrator.runtime.awaiting import watching

A = TypeVar("A")
T = TypeVar("T")


class Leave(BaseException):
    """Raised by what is lent to a script in order to end it: it passes through the script and through `call`."""


async def call(function: Callable[[A], Awaitable[T]], argument: A, within: Context | None = None) -> T:
    """Call a function of a script and return its result; `within` lets several calls share their context variables.

    Raises AwaitForgotten where the script dropped a coroutine; ScriptEnded where it raised what would end the program
    (SystemExit and the like), or a CancelledError that nobody asked for. A request to stop that was made meanwhile is
    raised in any case, also where the script caught it: as CancelledError, when the script has ended.
    """
    caller = asyncio.current_task()
    assert caller is not None, "a coroutine of ours runs in a task"
    before = caller.cancelling()
    try:
        result = await asyncio.create_task(_called(function, argument), context=within)
    except asyncio.CancelledError as error:
        if caller.cancelling() > before:
            raise
        raise _ended(error) from error
    if caller.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def _called(function: Callable[[A], Awaitable[T]], argument: A) -> T:
    code = getattr(unwrap(function), "__code__", None)
    with watching(code.co_filename if code else "") as watch, guarded():
        result = await function(argument)
        if iscoroutine(result):
            result.close()
            raise AwaitForgotten(
                f"{function.__name__} returned a coroutine that was never awaited", hint="Write `return await ...`."
            )
        watch.check()
        return result


@contextmanager
def guarded() -> Iterator[None]:
    """Run code of a script: what would end the event loop or the program is raised as ScriptEnded."""
    try:
        yield
    except (Exception, asyncio.CancelledError, Leave):
        raise
    except BaseException as error:
        raise _ended(error) from error


def _ended(error: BaseException) -> ScriptEnded:
    """Return the error for an exception that is no Exception, with the traceback of the script."""
    return ScriptEnded(f"the script {_deed(error)}").with_traceback(error.__traceback__)


def _deed(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"called sys.exit({'' if error.code is None else repr(error.code)})"
    if isinstance(error, asyncio.CancelledError):
        return "raised CancelledError, although nobody asked it to stop"
    text: Any = str(error)
    return f"raised {type(error).__name__}" + (f": {text}" if text else "")
