"""Events to those who hear them, each in a thread of its own: one that is slow or broken holds up nobody."""

import sys
from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from migrator.core.protocols import Notifier

if TYPE_CHECKING:
    from migrator.core.events import Event

DRAIN = 5.0
"""Seconds that a notifier gets to finish when the command ends."""


class Notifiers:
    """Publishes events to notifiers, in order, without waiting for them."""

    def __init__(self, notifiers: Iterable[Notifier] = ()) -> None:
        self._listeners = [_Listener(each) for each in notifiers]

    def publish(self, event: "Event") -> None:
        """Hand an event to every notifier; returns at once."""
        for listener in self._listeners:
            listener.put(event)

    def close(self) -> None:
        """Wait until everybody has heard everything, but not longer than DRAIN seconds each."""
        for listener in self._listeners:
            listener.finish()


class _Listener:
    def __init__(self, notifier: Notifier) -> None:
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._notifier = notifier
        self._broken = False
        self._thread: Thread | None = None

    def put(self, event: "Event | None") -> None:
        if self._thread is None and event is not None:
            self._thread = Thread(target=self._listen, name=f"notifier {type(self._notifier).__name__}", daemon=True)
            self._thread.start()
        self._queue.put(event)

    def finish(self) -> None:
        if self._thread is not None:
            self.put(None)
            self._thread.join(DRAIN)

    def _listen(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._notifier(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                self._report(error)

    def _report(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            name = type(self._notifier).__name__
            sys.stderr.write(f"the notifier {name} failed: {type(error).__name__}; the run goes on\n")
