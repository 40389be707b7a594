"""A log file that nobody else may read, and that is compressed and begun anew when it is full.

It does what `logging.handlers.RotatingFileHandler` does, which costs a fifth of a small step for each run: most runs
write two lines, and there may be thousands of them.
"""

import gzip
import os
import shutil
from contextlib import suppress
from pathlib import Path
from threading import Lock

from migrator.core.logs import PARTS, part_name

_PRIVATE = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class LogFile:
    """A file of mode 0600, never reached through a link. Lines are on the disk, or on their way, when `write` returns.

    Everything raises OSError where it cannot be done.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max = max_bytes
        self._turn = Lock()
        self._file = os.open(path, _PRIVATE | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, line: str) -> None:
        """Add a line, in a new file where this one would become too large by it; nothing when it was closed."""
        text = f"{line}\n".encode("utf-8", "backslashreplace")
        with self._turn:
            if self._file < 0:
                return
            if self._size and self._size + len(text) > self._max:
                self._begin_anew()
            self._size += os.write(self._file, text)

    def close(self) -> None:
        """Close the file. A thread that was left behind may still try to write, so its number is forgotten first."""
        with self._turn:
            file, self._file = self._file, -1
            os.close(file)

    def _begin_anew(self) -> None:
        """Compress what there is, under the number 1; older parts move up by one, and the oldest goes."""
        names = [self._path.with_name(part_name(self._path.name, number)) for number in range(PARTS + 1)]
        for number in range(PARTS - 1, 0, -1):
            with suppress(FileNotFoundError):
                names[number].replace(names[number + 1])
        _compress(self._path, names[1])
        fresh = os.open(self._path, _PRIVATE | os.O_EXCL | os.O_APPEND, 0o600)
        os.close(self._file)
        self._file, self._size = fresh, 0


def _compress(source: Path, target: Path) -> None:
    with (
        source.open("rb") as plain,
        os.fdopen(os.open(target, _PRIVATE | os.O_EXCL, 0o600), "wb") as file,
        gzip.GzipFile("", "wb", 6, file) as packed,
    ):
        shutil.copyfileobj(plain, packed)
    source.unlink()
