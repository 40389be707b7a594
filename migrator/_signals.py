"""What SIGTERM, SIGINT and SIGHUP do: the first one cancels the work, the second one ends the process.

The handlers run in the main thread between two bytecodes, so also while the event loop is blocked by Python code. Where
it is blocked by other code (a driver in C that waits for its server), a thread hears of the second signal.
Imported before anything else: a signal during start-up is handled, too, and process 1 of a container gets none without.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STOPPED = 130
PATIENCE = 0.5
"""Seconds that the main thread gets to handle a second signal itself."""

_SECOND = "a second signal: the process ends now; the next command settles what is left"
_EARLY = "stopped before anything was changed"
_LATE = "stopped while the output was being written; the command itself is done"


class _Handlers:
    """The state of the process as its signal handlers see it."""

    def __init__(self) -> None:
        self.cancel: Callable[[], object] | None = None
        self.asking = False
        self.code = STOPPED
        self.received = 0
        self.ended = False
        self.handled = 0
        self.installed: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals over; a SIGHUP that nohup ignores stays ignored."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            number = getattr(signal, name)
            before = signal.getsignal(number)
            if name == "SIGHUP" and before is signal.SIG_IGN:
                continue
            self.installed[number] = before
            signal.signal(number, self._received)

    def restore(self) -> None:
        """Give the signals back to those who had them."""
        for number, before in self.installed.items():
            signal.signal(number, before)
        self.installed.clear()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.handled += 1
        if self.asking:  # the question ends, and with it the command
            raise KeyboardInterrupt
        self.received += 1
        name = signal.Signals(number).name
        if self.received > 1:
            _end(self.code, f"{name}: {_SECOND}")
        elif self.cancel is None:
            _end(self.code, f"{name}: {_LATE if self.ended else _EARLY}")
        else:
            if os.isatty(2):
                _say(f"{name}: stopping; a second signal ends the process at once")
            self.cancel()


_handlers = _Handlers()


def install() -> None:
    """Handle the signals from now on, for a process that is a command. Main thread only."""
    _handlers.install()


@contextmanager
def cancelling(cancel: Callable[[], object]) -> Iterator[None]:
    """Let the first signal in this block call `cancel`, from the handler; install the handlers if they are not yet."""
    own = not _handlers.installed
    if own:
        _handlers.received = 0
        _handlers.install()
    _handlers.cancel = cancel
    try:
        with _hearing():
            yield
    finally:
        _handlers.cancel, _handlers.ended = None, True
        if own:
            _handlers.restore()


@contextmanager
def _hearing() -> Iterator[None]:
    """Let a thread end the process at the second signal in this block which the main thread is not able to handle."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_hear, args=(reader, _handlers.handled), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


def _hear(reader: int, handled: int) -> None:
    heard = 0
    with open(reader, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            heard += number[0] in _handlers.installed
            if heard > 1 and heard > _handlers.handled - handled:
                time.sleep(PATIENCE)
                if heard > _handlers.handled - handled:
                    _end(_handlers.code, f"{signal.Signals(number[0]).name}: {_SECOND}")


@contextmanager
def asking() -> Iterator[None]:
    """Let a signal in this block raise KeyboardInterrupt: a person is asked something, and nothing else happens."""
    _handlers.asking = True
    try:
        yield
    finally:
        _handlers.asking = False


def ended(code: int) -> None:
    """Set the exit code with which a signal ends the process from now on: the work is done."""
    _handlers.code, _handlers.ended = code, True


def _end(code: int, text: str) -> None:
    """End the process at once, and report it."""
    _say(f"error: {text}")
    os._exit(code)


def _say(text: str) -> None:
    """Write a line to stderr if that takes it without waiting. Not through sys.stderr: a handler may interrupt that."""
    with suppress(OSError):
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in poll.poll(0)):
            os.write(2, f"{text}\n".encode())
