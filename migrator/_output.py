"""stdout and stderr of a command, which never hold it up and never fail it.

What is written goes into a queue, and a thread of its own passes it on. While a command changes something, a reader
that does not keep up loses lines, and how many is reported; otherwise the writer waits for it. A reader that is gone,
a full disk or a closed descriptor loses the output and nothing else.
"""

import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIMIT = 1 << 20
"""Bytes that wait for a reader."""

PATIENCE = 10.0
"""Seconds that the end of a command which changed something waits for a reader that takes nothing."""

_installed: "list[_Queue]" = []


def open_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2, so that no socket or file gets such a number."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:  # noqa: PLR2004 - stderr
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def install() -> None:
    """Put queues in the place of stdout and stderr of this process."""
    open_descriptors()
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        queue = _Queue(descriptor)
        setattr(sys, name, _text(queue, getattr(sys, f"__{name}__")))
        _installed.append(queue)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    os.register_at_fork(after_in_child=_restore)  # a forked child has no such threads


def is_installed() -> bool:
    """Return whether stdout and stderr of this process are ours."""
    return bool(_installed)


def finish() -> None:
    """Wait until everything is written, or cannot be: as long as it takes, or PATIENCE after a change."""
    for queue in _installed:
        queue.drain(PATIENCE if queue.hurried else None)
    _restore()


def lose_lines() -> None:
    """Lose lines from now on rather than wait for a reader: something is being changed."""
    for queue in _installed:
        queue.losing = queue.hurried = True


@contextmanager
def working() -> Iterator[None]:
    """Lose lines in this block, in which something is changed; what is printed after it waits again."""
    lose_lines()
    try:
        yield
    finally:
        for queue in _installed:
            queue.losing = False


def shown() -> None:
    """Wait a moment until what was written is shown: a person is about to be asked something."""
    for queue in _installed:
        queue.drain(1.0)


def _restore() -> None:
    if _installed:
        _installed.clear()
        sys.stdout, sys.stderr = _original("stdout"), _original("stderr")


def _original(name: str) -> TextIO:
    found: TextIO | None = getattr(sys, f"__{name}__")
    return found if found is not None else os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _text(queue: "_Queue", original: TextIO | None) -> TextIO:
    encoding = original.encoding if original is not None else "utf-8"
    if encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968"):  # what a terminal shows is more than that
        encoding = "utf-8"
    return io.TextIOWrapper(queue, encoding, "backslashreplace", write_through=True)  # type: ignore[type-var]


class _Queue(io.RawIOBase):
    """Takes bytes and passes them on to a descriptor, in a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._terminal = os.isatty(descriptor)
        self._changed = threading.Condition()
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._written = 0
        self._lost = 0
        self._busy = False
        self._broken = False
        self._thread: threading.Thread | None = None
        self.losing = False
        self.hurried = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Queue a piece of text. Waits for room only if nothing may be lost."""
        piece = bytes(data)
        with self._changed:
            if self._broken:
                return len(piece)
            if self.losing and self._size + len(piece) > LIMIT:
                self._lost += max(piece.count(b"\n"), 1)
                return len(piece)
            self._changed.wait_for(lambda: self._size < LIMIT or self._broken or self.losing)
            self._append(piece)
        return len(piece)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether a person reads this."""
        return self._terminal

    def writable(self) -> bool:
        """Return True."""
        return True

    def drain(self, patience: float | None) -> None:
        """Wait until the queue is empty or broken, at most `patience` seconds without any progress (None: for ever)."""
        with self._changed:
            self._changed.notify_all()  # Ctrl-C at a question may have interrupted what would have done so
            seen, since = self._written, monotonic()
            while (self._parts or self._busy) and not self._broken:
                self._changed.wait(patience)
                if self._written != seen:
                    seen, since = self._written, monotonic()
                elif patience is not None and monotonic() - since >= patience:
                    return

    def _append(self, piece: bytes) -> None:
        self._parts.append(piece)
        self._size += len(piece)
        if self._thread is None:
            self._thread = threading.Thread(target=self._pass_on, name="output", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _pass_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parts)
                piece, self._busy = self._parts.popleft(), True
            reason = self._put(piece)
            with self._changed:
                if reason:
                    self._broken = True
                    self._parts.clear()
                self._size = self._size - len(piece) if self._parts else 0
                self._busy = False
                if self._lost and not self._parts:
                    lost, self._lost = self._lost, 0
                    self._append(f"({lost} lines of output were lost: the reader did not keep up)\n".encode())
                self._changed.notify_all()

    def _put(self, piece: bytes) -> str:
        """Write to the descriptor as it takes it. Returns why it does not, "" if it does."""
        left = memoryview(piece)
        while left:
            try:
                count = os.write(self._descriptor, left)
            except BlockingIOError:  # somebody made it non-blocking, who shares it
                import select

                select.select([], [self._descriptor], [])
            except OSError as error:
                return error.strerror or type(error).__name__
            else:
                left = left[count:]
                self._written += count
        return ""
