"""Time limits that hold although a script blocks the event loop, where no timer of the loop can fire.

A thread of its own waits for the limits. A script that runs on past its limit is interrupted in the thread of its
loop, inside its own code: in the main thread by a signal, which ends a `time.sleep` as well; in another thread by an
exception that Python raises before the next bytecode. A script that only swallows its cancellation is cancelled again.
Where none of this ends the script and the process is a command, the process ends: the next command settles what is
left, as after kill -9.
"""

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

SLACK = 3.0
"""Seconds after a limit for the loop's own timer, which rolls back in good order where the loop is free."""

AGAIN = 1.0
"""Seconds between two interruptions of one script."""

LAST = 10
"""How many interruptions are tried before the process ends."""

NUMBER = signal.SIGURG
"""The signal that interrupts the main thread: nobody misses it, its default is to be ignored."""


class Interrupted(BaseException):
    """Raised inside a script that did not end in time."""


@dataclass(eq=False)
class Watched:
    """One call of a script: its task, and the `time.monotonic` by which it must have ended."""

    task: "asyncio.Task[Any]"
    deadline: float
    path: str
    thread: int = field(default_factory=threading.get_ident)
    tries: int = 0
    free: bool = True

    def cancel_again(self) -> None:
        """Cancel the task once more; that this runs at all shows that its loop is free."""
        self.free = True
        self.task.cancel()


_CALL: ContextVar[Watched | None] = ContextVar("the call of a script in which this runs", default=None)
"""Also in tasks that the script has begun."""


def enter(watched: Watched) -> None:
    """Note that the code of a script runs from here on, in this task and in what it begins."""
    _CALL.set(watched)


class _Watchdog:
    """`end_process` ends this process, given the file of the script; None in a process that is not ours to end."""

    def __init__(self) -> None:
        self.end_process: Callable[[str], object] | None = None
        self._changed = threading.Condition()
        self._calls: list[Watched] = []
        self._next = float("inf")
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """Hold a script to its limit for the length of a block."""
        before = _listen()
        with self._changed:
            self._calls.append(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog of scripts", daemon=True)
                self._thread.start()
            elif watched.deadline + SLACK < self._next:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.remove(watched)
            if before is not None:
                signal.signal(NUMBER, before)

    def _watch(self) -> None:
        with self._changed:
            while self._calls:
                now = time.monotonic()
                self._next = min(each.deadline + SLACK + each.tries * AGAIN for each in self._calls)
                if self._next > now:
                    self._changed.wait(self._next - now)
                    continue
                for each in [each for each in self._calls if each.deadline + SLACK + each.tries * AGAIN <= now]:
                    each.tries += 1
                    if each.tries > LAST and self.end_process is not None:
                        self.end_process(each.path)
                    _interrupt(each)
            self._thread = None


def _interrupt(watched: Watched) -> None:
    if not watched.free:
        if watched.thread == threading.main_thread().ident:
            signal.pthread_kill(watched.thread, NUMBER)
        elif _in_script(sys._current_frames().get(watched.thread), watched.path):  # noqa: SLF001 - the only way to it
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(watched.thread), ctypes.py_object(Interrupted))
    watched.free = False
    watched.task.get_loop().call_soon_threadsafe(watched.cancel_again)


def _in_script(frame: FrameType | None, path: str) -> bool:
    """Say whether a thread is inside the code of a file, or in what that code has called."""
    while frame is not None:
        code: CodeType = frame.f_code
        if code.co_filename == path:
            return True
        frame = frame.f_back
    return False


def _listen() -> Any:
    """Let the signal interrupt scripts, in the main thread and unless the program uses it. Return what was there."""
    if threading.current_thread() is not threading.main_thread():
        return None
    before = signal.getsignal(NUMBER)
    if before not in (signal.SIG_DFL, signal.SIG_IGN):
        return None
    signal.signal(NUMBER, _received)
    return before


def _received(number: int, frame: FrameType | None) -> None:
    """Raise inside the script, if it is the script that was interrupted, and not the loop or another task."""
    del number, frame
    watched = _CALL.get()
    if watched is not None and not watched.task.done() and watched.tries:
        raise Interrupted


_WATCHDOG = _Watchdog()
watching = _WATCHDOG.watching


@contextmanager
def may_end(end_process: Callable[[str], object]) -> Iterator[None]:
    """Let the process be ended in this block where a script of its main thread cannot be: the process is a command."""
    _WATCHDOG.end_process = end_process
    try:
        yield
    finally:
        _WATCHDOG.end_process = None
