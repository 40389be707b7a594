"""The logger of a script, whose records reach the log of the run whatever the program does to its loggers.

`dictConfig` and `fileConfig` disable the loggers that they do not name and take the handlers of others away, and
`logging.disable` silences all of them. Those are switches for what the program shows, so they hold for what is passed
on, and not for the log of the run.
"""

import logging
from typing import Any

from migrator.notifiers._lines import SCRIPTS
from migrator.runtime.runlog import hear

_ABOVE = "migrator"


class _ScriptLogger(logging.Logger):
    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - a name of the standard library
        del level
        return True

    def handle(self, record: logging.LogRecord) -> None:
        marked = hear(record)
        above = logging.getLogger(_ABOVE)
        if above.isEnabledFor(marked.levelno):
            above.callHandlers(marked)

    def getChild(self, suffix: str) -> "_ScriptLogger":  # noqa: N802 - a name of the standard library
        return _ScriptLogger(f"{self.name}.{suffix}")

    def __reduce__(self) -> tuple[Any, ...]:
        return logging.getLogger, (self.name,)  # in another process, where no run can hear it


def script_logger(revision: str) -> logging.Logger:
    """Return a logger for the script of a revision."""
    return _ScriptLogger(f"{SCRIPTS}{revision}")
