"""Calling the functions of a script, so that nothing which they do to their task outlives them.

Each call is a task of its own. A script that catches the error of an `asyncio.TaskGroup` leaves the cancellation
counter of its task raised (CPython 3.11 and 3.12), and one that catches CancelledError takes the request to stop for
itself: the task of the command sees the requests that were made to it, and only those.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from inspect import iscoroutine, unwrap
from math import inf
from traceback import walk_tb
from typing import Any, Self, TypeVar

from migrator.core.errors import AwaitForgotten, ScriptEnded, TookTooLong, leaves
from migrator.runtime import watchdog
from migrator.runtime.awaiting import watching

_BLOCKED = "Let what blocks run in a thread: `await asyncio.to_thread(...)`."

_log = logging.getLogger("migrator")

A = TypeVar("A")
T = TypeVar("T")


class Leave(BaseException):
    """Raised by what is lent to a script in order to end it: it passes through the script and through `call`."""


@dataclass
class _Running:
    """A call, and what left the event loop in one of the tasks and callbacks that it began."""

    is_over: bool = False
    exit: BaseException | None = None


_RUNNING: ContextVar[_Running | None] = ContextVar("the call that began this task or callback", default=None)


def note_exit(error: BaseException) -> None:
    """Take in a SystemExit or KeyboardInterrupt that left the event loop: it fails the call whose task raised it.

    Of a call that is over nothing can be taken back; then it is logged.
    """
    handles = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    contexts = [handle._context for handle in handles if isinstance(handle, asyncio.Handle)]  # type: ignore[attr-defined]  # noqa: SLF001 - the only way from an error to the task that raised it
    running = next((found for context in contexts if (found := context.get(_RUNNING))), None)
    if running is None or running.is_over:
        _log.warning("a task or callback that a script left behind %s; this was ignored", _deed(error))
    else:
        running.exit = error


@dataclass(frozen=True)
class Within:
    """What several calls share: their context variables, and the `time.monotonic` by which they must have ended."""

    context: Context
    deadline: float = inf

    @classmethod
    def seconds(cls, limit: float) -> Self:
        """Return the bounds of calls that begin now and may take so many seconds together, 0 for any time."""
        return cls(copy_context(), time.monotonic() + limit if limit else inf)

    def check_time(self) -> None:
        """Raise TookTooLong where the time is over."""
        if time.monotonic() > self.deadline:
            raise TookTooLong("it took longer than its time limit")


async def call(function: Callable[[A], Awaitable[T]], argument: A, within: Within | None = None) -> T:
    """Call a function of a script and return its result.

    Raises AwaitForgotten where the script dropped a coroutine; TookTooLong where it ended after its time, also where it
    blocked the event loop; ScriptEnded where it raised what would end the program (SystemExit and the like), or a
    CancelledError that nobody asked for. A request to stop that was made meanwhile is raised in any case, also where
    the script caught it: as CancelledError, when the script has ended.
    """
    bounds = within or Within.seconds(0)
    caller = asyncio.current_task()
    assert caller is not None, "a coroutine of ours runs in a task"
    before = caller.cancelling()
    code = getattr(unwrap(function), "__code__", None)
    path = code.co_filename if code else ""
    task = asyncio.create_task(_called(function, argument, path), context=bounds.context)
    watched = watchdog.Watched(task, bounds.deadline, path)
    bounds.context.run(watchdog.enter, watched)
    try:
        with watchdog.watching(watched) if bounds.deadline < inf else nullcontext():
            result = await task
    except asyncio.CancelledError as error:
        if caller.cancelling() > before:
            raise
        bounds.check_time()
        raise _ended(error) from error
    if caller.cancelling() > before:
        raise asyncio.CancelledError
    bounds.check_time()
    return result


async def _called(function: Callable[[A], Awaitable[T]], argument: A, path: str) -> T:
    with watching(path) as watch, guarded(), _collecting_exits():
        result = await function(argument)
        if iscoroutine(result):
            result.close()
            raise AwaitForgotten(
                f"{function.__name__} returned a coroutine that was never awaited", hint="Write `return await ...`."
            )
        watch.check()
        return result


@contextmanager
def _collecting_exits() -> Iterator[None]:
    """Raise what left the event loop in a task or callback of this block, when the block has ended well."""
    running = _Running()
    _RUNNING.set(running)
    try:
        yield
    finally:
        running.is_over = True
    if running.exit is not None:
        raise running.exit


@contextmanager
def guarded() -> Iterator[None]:
    """Run code of a script: what would end the event loop or the program is raised as ScriptEnded."""
    try:
        yield
    except BaseExceptionGroup as group:
        _raise_only(group)
        raise
    except (Exception, asyncio.CancelledError, Leave):
        raise
    except watchdog.Interrupted as error:
        late = TookTooLong("it blocked the event loop beyond its time limit", hint=_BLOCKED)
        raise late.with_traceback(error.__traceback__) from error
    except BaseException as error:
        raise _ended(error) from error


def _raise_only(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise what a group of errors comes to: one that would end the program, or its only one, as if it were alone."""
    found = list(leaves(group))
    for error in found:
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise _ended(error).with_traceback(error.__traceback__ or group.__traceback__) from error
    if len(found) == 1 and isinstance(found[0], Exception):
        only = found[0]
        raise only.with_traceback(only.__traceback__ or group.__traceback__) from only.__cause__


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
