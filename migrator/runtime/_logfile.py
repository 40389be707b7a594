"""A log file that nobody else may read, and that is compressed and begun anew when it is full."""

import gzip
import logging
import os
import shutil
import sys
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from migrator.core.logs import PARTS

_PRIVATE = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class LogFile(RotatingFileHandler):
    """Writes records to a file of mode 0600, never through a link.

    `lost` is called with the error when it cannot be written to any more; nothing is raised then.
    """

    def __init__(self, path: Path, max_bytes: int, lost: Callable[[BaseException], None]) -> None:
        self._lost = lost
        super().__init__(path, maxBytes=max_bytes, backupCount=PARTS)
        self.namer = "{}.gz".format
        self.rotator = _compress

    def _open(self) -> Any:
        return os.fdopen(_private(self.baseFilename, os.O_APPEND), "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        """Tell of the error that just came up."""
        del record
        error = sys.exception()
        if error is not None:
            self._lost(error)


def _private(path: str, how: int) -> int:
    return os.open(path, _PRIVATE | how, 0o600)


def _compress(source: str, target: str) -> None:
    with (
        Path(source).open("rb") as plain,
        os.fdopen(_private(target, os.O_EXCL), "wb") as file,
        gzip.GzipFile("", "wb", 6, file) as packed,
    ):
        shutil.copyfileobj(plain, packed)
    Path(source).unlink()
