"""Events to those who hear them, each in a thread of its own: one that is slow or broken holds up nobody."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from migrator.core.protocols import Notifier
from migrator.core.secrets import Mask

if TYPE_CHECKING:
    from migrator.core.events import Event

PATIENCE = 5.0
"""Seconds that a notifier gets to finish when the command ends, unless it says otherwise."""

_LOG = logging.getLogger("migrator.notify")


class Notifiers:
    """Publishes events to notifiers, in order, without waiting for them. Their errors are told without secrets."""

    def __init__(self, notifiers: Iterable[Notifier] = (), mask: Mask | None = None) -> None:
        self._mask = mask or Mask(())
        self._listeners: list[_Listener] = []
        self._companions: list[Callable[[Event], None]] = []
        for each in notifiers:
            self.add(each)

    def add(self, notifier: Notifier) -> None:
        """Let one more hear what is published from now on."""
        self._listeners.append(_Listener(notifier, self._mask))

    def accompany(self, companion: "Callable[[Event], None]") -> None:
        """Call this one at every event in the task that publishes it, for what must be there while a step runs.

        It must be quick.
        """
        self._companions.append(companion)

    def publish(self, event: "Event") -> None:
        """Hand an event to every notifier; returns at once."""
        for companion in tuple(self._companions):
            try:
                companion(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without it
                self._companions.remove(companion)
                _warn(type(companion).__name__, error, self._mask)
        for listener in self._listeners:
            listener.put(event)

    async def close(self) -> None:
        """Wait until everybody has heard everything, but for nobody longer than its patience, counted from now."""
        busy = [listener for listener in self._listeners if listener.begun]
        began = time.monotonic()
        for listener in busy:
            listener.put(None)
        for listener in busy:
            await asyncio.to_thread(listener.finish, began)


class _Listener:
    def __init__(self, notifier: Notifier, mask: Mask) -> None:
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._notifier = notifier
        self._name = getattr(notifier, "name", type(notifier).__name__)
        self._patience: float = getattr(notifier, "patience", PATIENCE)
        self._hears: frozenset[type] | None = getattr(notifier, "hears", None)
        self._mask = mask
        self._broken = False
        self._thread: Thread | None = None

    @property
    def begun(self) -> bool:
        return self._thread is not None

    def put(self, event: "Event | None") -> None:
        if event is not None and self._hears is not None and type(event) not in self._hears:
            return
        if self._thread is None:
            self._thread = Thread(target=self._listen, name=f"notifier {self._name}", daemon=True)
            self._thread.start()
        self._queue.put(event)

    def finish(self, began: float) -> None:
        if self._thread is not None:
            self._thread.join(max(began + self._patience - time.monotonic(), 0.0))
            if self._thread.is_alive():
                _LOG.warning(
                    "the notifier %s had not finished after %g s; what it had left to say is lost",
                    self._name,
                    self._patience,
                )

    def _listen(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._notifier(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                if not self._broken:
                    self._broken = True
                    _warn(self._name, error, self._mask)


def _warn(name: str, error: Exception, mask: Mask) -> None:
    """Say once that a notifier is broken, in one line without secrets."""
    said = " ".join(mask(f"{type(error).__name__}: {error}").split())
    _LOG.warning("the notifier %s failed: %s; the run goes on", name, said)
