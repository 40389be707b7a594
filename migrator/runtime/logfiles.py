"""The folder of the log files: read, followed, measured and taken away. No name from a tracker leads out of it."""

import asyncio
import gzip
import os
import socket
import stat
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from io import BufferedReader
from itertools import takewhile
from pathlib import Path

from migrator.core.logs import PARTS, Part, is_log_of, part_name, part_of
from migrator.core.run import Run
from migrator.core.utf8 import readable

POLL = 0.2
"""Seconds between two looks at a log that is followed."""

_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class NoLog(Exception):
    """There is no log to read; the text says why."""


class LogFiles:
    """The log files of runs in one folder; None where none are kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def lines(self, run: Run) -> Iterator[str]:
        """Yield the lines of a run's log, oldest first, its compressed parts included. Raises NoLog at once."""
        return self._lines(self.opened(run), run)

    async def follow(self, run: Run, over: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        """Yield the lines of a run's log, and those that come, until the run is `over`. Raises NoLog."""
        mark = self._newest_part(run)
        current, rest = self.opened(run), b""
        try:
            for line in self._older(run, self._names(run)[1:]):
                yield line
            while True:
                last = await over()  # asked before the reading, which then misses nothing
                *lines, rest = (rest + current.read()).split(b"\n")
                for each in lines:
                    yield _text(each)
                if self._begun_anew(run, current):
                    *lines, rest = (rest + current.read()).split(b"\n")
                    for line in [*map(_text, lines), *self._older(run, self._filled_since(run, mark))]:
                        yield line
                    mark = self._newest_part(run)
                    current.close()
                    current = self.opened(run)
                elif last:
                    break
                else:
                    await asyncio.sleep(POLL)
        finally:
            current.close()
        if rest:
            yield _text(rest)

    def found(self, run: Run) -> list[tuple[str, int]]:
        """Return the files that make up a run's log, with their sizes in bytes; [] where it has none (any more).

        Raises NoLog where the tracker names something as its log that is none of ours.
        """
        if self._folder is None or not run.log_file:
            return []
        folder, name = self._place(run)
        if _size(f"{folder}{os.sep}{name}") is None:
            return []
        sizes = ((each, _size(f"{folder}{os.sep}{each}")) for each in self._names(run))
        return [(each, size) for each, size in sizes if size is not None]

    def parts(self) -> Iterator[tuple[Part, int, float]]:
        """Yield every file in the folder that is a part of a run's log, with its size and the time of its last line."""
        if self._folder is None or not self._folder.is_dir():
            return
        with os.scandir(self._folder) as entries:
            for entry in entries:
                part = part_of(entry.name)
                with suppress(FileNotFoundError):
                    if part is not None:
                        looks = entry.stat(follow_symlinks=False)
                        yield part, looks.st_size, looks.st_mtime

    def remove(self, file_name: str) -> None:
        """Delete one file of the folder, if it is there. Of a link, the link goes. Raises OSError."""
        if self._folder is not None:
            (self._folder / file_name).unlink(missing_ok=True)

    def _place(self, run: Run) -> tuple[Path, str]:
        if self._folder is None:
            raise NoLog("no log files are kept: [logs] folder is empty")
        if not run.log_file:
            raise NoLog("this run wrote no log file")
        if not is_log_of(run.log_file, run.run_id):
            raise NoLog(
                f"the tracker names {run.log_file!r} as its log file, which is not opened: it is no log of ours"
            )
        return self._folder, run.log_file

    def opened(self, run: Run, number: int = 0) -> BufferedReader:
        """Open a part of a run's log, as its bytes are: 0 is the newest, the others are compressed. Raises NoLog."""
        folder, newest = self._place(run)
        name = part_name(newest, number)
        try:
            return _opened(folder / name)
        except FileNotFoundError:
            elsewhere = run.host and run.host != readable(socket.gethostname())
            there = f"; the run was on {run.host}, and so may its log be" if elsewhere else ""
            raise NoLog(f"its log file is not there (any more): {folder / name}{there}") from None
        except OSError as error:
            raise NoLog(f"its log file cannot be read: {folder / name}: {error.strerror or error}") from None

    def _begun_anew(self, run: Run, current: BufferedReader) -> bool:
        folder, name = self._place(run)
        return _inode(folder / name) not in (0, os.fstat(current.fileno()).st_ino)

    def _newest_part(self, run: Run) -> int:
        folder, name = self._place(run)
        return _inode(folder / part_name(name, 1))

    def _filled_since(self, run: Run, mark: int) -> list[str]:
        """Return the parts that are newer than the one that was the newest, but for the first of them: that is what
        was being read.
        """
        folder, _ = self._place(run)
        newer = [*takewhile(lambda each: _inode(folder / each) != mark, self._names(run)[1:])]
        return newer[:-1]

    def _names(self, run: Run) -> list[str]:
        """Return the names of the files that make up a log, newest first; the numbers of its parts have no gaps."""
        folder, name = self._place(run)
        older = (part_name(name, number) for number in range(1, PARTS + 1))
        return [name, *takewhile(lambda each: os.path.lexists(folder / each), older)]

    def _lines(self, newest: BufferedReader, run: Run) -> Iterator[str]:
        with newest:
            yield from self._older(run, self._names(run)[1:])
            for line in newest:
                yield _text(line)

    def _older(self, run: Run, parts: list[str]) -> Iterator[str]:
        folder, _ = self._place(run)
        for name in reversed(parts):
            try:
                with _opened(folder / name) as packed, gzip.GzipFile(fileobj=packed) as file:
                    for line in file:
                        yield _text(line)
            except (OSError, EOFError, zlib.error) as error:
                yield f"... {name} cannot be read to its end: {error}"


def _opened(path: Path) -> BufferedReader:
    """Open a plain file, and nothing else: no link, no device, no pipe."""
    file = os.fdopen(os.open(path, _LOOK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(0, "it is not a plain file")
    return file


def _size(path: str) -> int | None:
    with suppress(OSError):
        return os.lstat(path).st_size
    return None


def _inode(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_ino
    return 0


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")
