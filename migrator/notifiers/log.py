"""The log on stderr: `[2026-11-20 10:30:00] [INFO] [script_name] message`, or JSON lines."""

import logging
import sys
from typing import TextIO

from migrator.core.events import (
    Asked,
    Event,
    LockWaiting,
    LoopBegun,
    PlanMade,
    RunFinished,
    RunSettled,
    RunStarted,
    Throttled,
    Unthrottled,
)
from migrator.core.secrets import Mask
from migrator.core.wording import counted
from migrator.notifiers._lines import SCRIPTS, cleaned, formatter


def configure(level: str, form: str, mask: Mask, least: str = "WARNING") -> None:
    """Send the log and the warnings of the program to stderr, without secrets. `form` is "text" or "json".

    `least` is the level from which the log files of runs want to hear of everybody's records.
    """
    channel = _Stderr(mask)
    channel.setFormatter(formatter(form))
    channel.setLevel(level)
    root = logging.getLogger()
    root.handlers[:] = [channel]
    root.setLevel(min(logging.WARNING, logging.getLevelNamesMapping()[least]))
    logging.getLogger("migrator").setLevel(logging.DEBUG)  # whoever listens chooses for itself
    logging.captureWarnings(True)


class Log:
    """Implements `core.protocols.Notifier`: writes events as log records."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("migrator.runs")

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if isinstance(event, PlanMade):
            self._logger.info("%s to run", counted(len(event.plan), "step"))
        elif isinstance(event, RunStarted):
            self._logger.info("%s %s started (run %s)", event.run.key, event.run.direction, event.run.run_id)
        elif isinstance(event, RunFinished | RunSettled):
            run = event.run
            error = f": {run.error}" if run.error else ""
            self._logger.info("%s %s: %s, effect %s%s", run.key, run.direction, run.status, run.effect, error)
        elif isinstance(event, LockWaiting):
            self._logger.info("waiting for %.0f s: %s", event.waited, event.holder)
        else:
            self._change(event)

    def _change(self, event: Event) -> None:
        """Log what happens to a long change between its beginning and its end."""
        if isinstance(event, LoopBegun):
            self._logger.info("%s %s begins at %d of %d rows", event.run.key, event.name, event.rows, event.expected)
        elif isinstance(event, Throttled):
            self._logger.info("%s stands still: %s", event.run.key, event.reason)
        elif isinstance(event, Unthrottled):
            self._logger.info("%s goes on after %.0f s: %s", event.run.key, event.seconds, event.reason)
        elif isinstance(event, Asked):
            asked = event.control
            settings = " ".join(f"{name}={value:g}" for name, value in asked.settings.items())
            self._logger.info("%s: %s by %s: %s %s", event.run.key, asked.desired, asked.by, asked.reason, settings)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes records with the script's name and without secrets."""

    def __init__(self, mask: Mask) -> None:
        super().__init__(sys.stderr)
        self._mask = mask
        self._terminal = sys.stderr.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Write to what stands in the place of stderr now: a bar may move on the terminal, and lines go above it."""
        if self._terminal:
            self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(cleaned(record, self._mask, record.name.removeprefix(SCRIPTS)))
