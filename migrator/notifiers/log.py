"""The log on stderr: `[2026-11-20 10:30:00] [INFO] [script_name] message`, or JSON lines."""

import logging
import sys
from typing import TextIO

from migrator.core.events import Event, LockWaiting, PlanMade, RunFinished, RunSettled, RunStarted
from migrator.core.secrets import Mask
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
            self._logger.info("%d step(s) to run", len(event.plan))
        elif isinstance(event, RunStarted):
            self._logger.info("%s %s started (run %s)", event.run.key, event.run.direction, event.run.run_id)
        elif isinstance(event, RunFinished | RunSettled):
            run = event.run
            error = f": {run.error}" if run.error else ""
            self._logger.info("%s %s: %s, effect %s%s", run.key, run.direction, run.status, run.effect, error)
        elif isinstance(event, LockWaiting):
            self._logger.info("waiting for %.0f s: %s", event.waited, event.holder)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes records with the script's name and without secrets."""

    def __init__(self, mask: Mask) -> None:
        super().__init__(sys.stderr)
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return super().format(cleaned(record, self._mask, record.name.removeprefix(SCRIPTS)))
