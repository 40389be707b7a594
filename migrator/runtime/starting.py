"""An upgrade at the start of a program: it ends in time, and a signal that ends the program ends it first."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from migrator.core.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def cancelled_by_signals() -> Iterator[list[int]]:
    """Cancel this task at the first SIGTERM or SIGINT, and let the program's own handlers hear them when it has ended.

    Yields the signals that came. In another thread than the main one, which hears no signals, it does nothing.
    """
    came: list[int] = []
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None or threading.current_thread() is not threading.main_thread():
        yield came
        return

    def cancel(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, cancel) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is cancel:
                signal.signal(number, handler)
        for heard in came:
            signal.raise_signal(heard)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise Stopped in place of the cancellation with which a signal ends the block."""
    task = asyncio.current_task()
    came: list[int] = []
    try:
        with cancelled_by_signals() as came:
            yield
    except asyncio.CancelledError:
        if not came:
            raise
        if task is not None:
            task.uncancel()
        raise Stopped(
            f"{signal.Signals(came[0]).name} ended the start of the program",
            state="The step that was running was rolled back, or is settled by the next command.",
            hint="`migrator status` shows what is applied.",
        ) from None
