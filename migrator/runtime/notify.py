"""Events to those who hear them, each in a thread of its own: one that is slow or broken holds up nobody."""

import sys
from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread

from migrator.core.events import Event
from migrator.core.protocols import Notifier

DRAIN = 5.0
"""Seconds that a notifier gets to finish when the command ends."""


class Notifiers:
    """Publishes events to notifiers, in order, without waiting for them."""

    def __init__(self, notifiers: Iterable[Notifier] = ()) -> None:
        self._listeners = [_Listener(each) for each in notifiers]

    def publish(self, event: Event) -> None:
        """Hand an event to every notifier; returns at once."""
        for listener in self._listeners:
            listener.queue.put(event)

    def close(self) -> None:
        """Wait until everybody has heard everything, but not longer than DRAIN seconds each."""
        for listener in self._listeners:
            listener.queue.put(None)
            listener.thread.join(DRAIN)


class _Listener:
    def __init__(self, notifier: Notifier) -> None:
        self.queue: SimpleQueue[Event | None] = SimpleQueue()
        self._notifier = notifier
        self._broken = False
        self.thread = Thread(target=self._listen, name=f"notifier {type(notifier).__name__}", daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while (event := self.queue.get()) is not None:
            try:
                self._notifier(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                self._report(error)

    def _report(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            name = type(self._notifier).__name__
            sys.stderr.write(f"the notifier {name} failed: {type(error).__name__}; the run goes on\n")
