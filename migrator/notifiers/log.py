"""The log on stderr: `[2026-11-20 10:30:00] [INFO] [script_name] message`, or JSON lines."""

import logging
import sys
from typing import Any

from migrator.core.events import Event, LockWaiting, PlanMade, RunFinished, RunSettled, RunStarted
from migrator.core.secrets import Mask

_SCRIPTS = "migrator.script."
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""What every record has; the rest came by `extra=`."""


def configure(level: str, form: str, mask: Mask) -> None:
    """Send the log of migrator and of the scripts to stderr, without secrets. `form` is "text" or "json"."""
    channel = logging.StreamHandler(sys.stderr)
    channel.setFormatter(
        _json()
        if form == "json"
        else logging.Formatter("[%(asctime)s] [%(levelname)s] [%(script)s] %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    channel.addFilter(_Filter(mask))
    root = logging.getLogger("migrator")
    root.handlers[:] = [channel]
    root.setLevel(logging.DEBUG)  # whoever else listens, such as the run's own tail, chooses for itself
    channel.setLevel(level)
    root.propagate = False


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


class _Filter(logging.Filter):
    """Adds the script's name to a record and takes secrets out of its text."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def filter(self, record: logging.LogRecord) -> bool:
        record.script = record.name.removeprefix(_SCRIPTS)
        record.msg, record.args = self._mask(record.getMessage()), ()
        for name in record.__dict__.keys() - _STANDARD:
            record.__dict__[name] = self._clean(record.__dict__[name])
        if record.exc_info:
            record.exc_text = self._mask(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    def _clean(self, value: Any) -> Any:
        """Return an extra field without secrets, however deep they are in it."""
        if isinstance(value, dict):
            return {key: self._clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set):
            return [self._clean(each) for each in value]
        return value if isinstance(value, int | float | None) else self._mask(str(value))


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    formatter: logging.Formatter = JsonFormatter("%(asctime)s %(levelname)s %(script)s %(message)s")
    return formatter
