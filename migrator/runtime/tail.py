"""The last lines that a script logged, kept with its run when it fails: the first thing that a person wants to see."""

import logging
from collections import deque
from typing import Self

from migrator.core.secrets import Mask

LINES = 20


class Tail(logging.Handler):
    """Hears the logger of one script for the length of a block, and keeps its last lines without secrets."""

    def __init__(self, revision: str, mask: Mask) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LINES)
        self._logger = logging.getLogger(f"migrator.script.{revision}")
        self._mask = mask

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(self._mask(f"[{record.levelname}] {record.getMessage()}"))

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
