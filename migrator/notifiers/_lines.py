"""Log lines: `[2026-11-20 10:30:00] [INFO] [script_name] message`, or JSON; times in UTC, and no secrets."""

import logging
import time
from copy import copy
from typing import Any

from migrator.core.secrets import Mask

SCRIPTS = "migrator.script."
"""What the names of the scripts' loggers begin with."""

_FORM = "[%(asctime)s] [%(levelname)s] [%(script)s] %(message)s"
_TIME, _JSON_TIME = "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""What every record has; the rest came by `extra=`."""


def formatter(form: str, *also: str) -> logging.Formatter:
    """Return what makes lines of cleaned records. `form` is "text" or "json"; JSON has the fields `also` too."""
    made: logging.Formatter = _json(also) if form == "json" else _Text(_FORM, _TIME)
    made.converter = time.gmtime
    return made


def own(form: str, level: str, text: str, script: str, run_id: str) -> str:
    """Return a line of our own, as `formatter` would make it: a record for it would cost more than all the rest."""
    now = time.gmtime()
    if form == "json":
        import json

        said = {"asctime": time.strftime(_JSON_TIME, now), "levelname": level, "script": script, "run_id": run_id}
        return json.dumps({**said, "name": "migrator", "message": text})
    return _one_entry(f"[{time.strftime(_TIME, now)}] [{level}] [{script}] {text}")


def cleaned(record: logging.LogRecord, mask: Mask, script: str) -> logging.LogRecord:
    """Return a record of a script without secrets, ready for a formatter; never raises for what somebody logged."""
    clean = copy(record)
    clean.script = script
    clean.msg, clean.args = mask(_text(record)), ()
    for name in record.__dict__.keys() - _STANDARD:
        clean.__dict__[name] = _clean(record.__dict__[name], mask)
    if record.exc_info:
        clean.exc_text = mask(logging.Formatter().formatException(record.exc_info))
        clean.exc_info = None
    return clean


class _Text(logging.Formatter):
    """Indents what follows the first line of a record, so that no message can pass for another line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        return _one_entry(super().format(record))


def _one_entry(text: str) -> str:
    return "\n    ".join(text.splitlines()) if "\n" in text or "\r" in text else text


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - a wrong log line is no reason to fail
        return f"{record.msg!r} with {record.args!r} ({type(error).__name__}: {error})"


def _clean(value: Any, mask: Mask) -> Any:
    """Return an extra field without secrets, however deep they are in it."""
    if isinstance(value, dict):
        return {key: _clean(each, mask) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean(each, mask) for each in value]
    return value if isinstance(value, int | float | None) else mask(str(value))


def _json(also: tuple[str, ...]) -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    fields = ("asctime", "levelname", "script", *also, "message")
    made: logging.Formatter = JsonFormatter(" ".join(f"%({name})s" for name in fields), _JSON_TIME)
    return made
