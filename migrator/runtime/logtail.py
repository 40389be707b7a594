"""Some lines of a log, wherever they are in it: no call reads more than a few megabytes, however long the log is.

A place in a log is a number of bytes in one of its files, and the `mark` of that file, because the file that is written
to is begun anew when it is full.
"""

import gzip
import os
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from typing import NamedTuple

from migrator.core.logs import LEVELS, level_of
from migrator.core.run import Run
from migrator.runtime.logfiles import LogFiles, NoLog

SCAN = 4 << 20
"""How many bytes one call looks through at most."""

LONGEST = 16 << 10
"""How much of one line is shown, in bytes."""

_BLOCK = 64 << 10
_GROWTH = 8
_HEAD = 200
_REWOUND = 64 << 20
"""Up to which place a compressed file is unpacked once more to go on in it."""


class Line(NamedTuple):
    """A line with its place. `level` is that of the entry it belongs to, "" where no entry begins before it."""

    offset: int
    level: str
    text: str


@dataclass(frozen=True)
class Wanted:
    """Which lines: of this level or a higher one, with this text in them, whatever its case; at most `limit`."""

    limit: int = 1000
    level: str = "DEBUG"
    search: str = ""


@dataclass(frozen=True)
class LogPage:
    """Lines of a log, in order. `start` is where the first of them is, or where the search for them began.

    `mark` and `next_offset` say where to go on, in a file of `size` bytes; `older` compressed files are before it.
    `missed` says that the file in which to go on is gone, so that lines may be missing before these. `complete` says
    that nothing is behind these, and nothing will be.
    """

    lines: tuple[Line, ...] = ()
    start: int = 0
    next_offset: int = 0
    size: int = 0
    mark: str = ""
    older: int = 0
    missed: bool = False
    complete: bool = False


class LogTail:
    """Reads the log of one run. `over` says that nobody writes to it any more. Everything raises NoLog."""

    def __init__(self, files: LogFiles, run: Run, *, over: bool) -> None:
        self._files = files
        self._run = run
        self.over = over

    def page(self, offset: int, wanted: Wanted, mark: str = "") -> LogPage:
        """Return the lines from a place on; one in the middle of a line means the next line.

        Without a `mark`, the file that is written to is meant. Where that of the mark is full and compressed by now,
        its rest is what is returned first.
        """
        with self._files.opened(self._run) as file:
            now, size = _mark(file), os.fstat(file.fileno()).st_size
            if mark in ("", now):
                offset = min(offset, size)
                reading = _Reading(file, wanted, size if self.over else -1)
                lines = list(reading.lines(offset))
                return self._page(lines, offset, reading.place, size, now)
            lines, rest = self._rest(mark, offset, wanted)
            if rest >= 0:
                return replace(self._page(lines, offset, rest, size, mark), complete=False)
            return replace(self._page(lines, offset, 0, size, now), missed=rest == _GONE)

    def last(self, wanted: Wanted, before: int = -1) -> LogPage:
        """Return the last lines of the file that is written to, or those before a place in it."""
        with self._files.opened(self._run) as file:
            mark, size = _mark(file), os.fstat(file.fileno()).st_size
            end = size if before < 0 else min(before, size)
            window = _BLOCK
            while True:
                start = max(0, end - window)
                reading = _Reading(file, wanted, size if self.over else -1, end)
                lines = deque(reading.lines(start, most=False), maxlen=wanted.limit)
                if len(lines) == wanted.limit or start == 0 or window >= SCAN:
                    break
                window *= _GROWTH
            first = lines[0].offset if len(lines) == wanted.limit else start
            return self._page(list(lines), first, reading.place, size, mark)

    def _page(self, lines: list[Line], start: int, place: int, size: int, mark: str) -> LogPage:
        older = max(len(self._files.found(self._run)) - 1, 0)
        complete = self.over and place >= size
        return LogPage(tuple(lines), start, place, max(size, place), mark, older, complete=complete)

    def _rest(self, mark: str, offset: int, wanted: Wanted) -> tuple[list[Line], int]:
        """Return what is behind a place in the newest compressed file and where to go on in it; _END at its end.

        _GONE where it is not the file of that mark, or too far away.
        """
        try:
            with self._unpacked() as file:
                if _mark(file) == mark and offset <= _REWOUND:
                    file.seek(offset)
                    reading = _Reading(file, wanted, -1)
                    lines = list(reading.lines(offset))
                    return lines, reading.place if file.read(1) else _END
        except (NoLog, OSError, EOFError, zlib.error):
            pass
        return [], _GONE

    @contextmanager
    def _unpacked(self) -> Iterator[gzip.GzipFile]:
        with self._files.opened(self._run, 1) as packed, gzip.GzipFile(fileobj=packed) as file:
            yield file


_END, _GONE = -1, -2


class _Reading:
    """One way through a file, line by line, up to `end`. `place` is behind the last line that was looked at.

    `whole` is the size of a file whose last line is whole though nothing ends it, else -1.
    """

    def __init__(self, file: BufferedIOBase, wanted: Wanted, whole: int, end: int = -1) -> None:
        self._file = file
        self._wanted = wanted
        self._allowed = LEVELS[LEVELS.index(wanted.level) :]
        self._sought = wanted.search.casefold()
        self._whole = whole
        self._end = end if end >= 0 else sys.maxsize
        self._level = ""
        self.place = 0

    def lines(self, offset: int, *, most: bool = True) -> Iterator[Line]:
        """Yield the wanted lines from a place on; no more than wanted where `most` says so."""
        self._begin(offset)
        upto, found = offset + SCAN, 0
        while self.place < min(upto, self._end) and not (most and found == self._wanted.limit):
            at, raw = self.place, self._file.readline(LONGEST)
            cut = len(raw) == LONGEST and not raw.endswith(b"\n")
            if not raw.endswith(b"\n") and not cut and (not raw or at + len(raw) != self._whole):
                break  # the end, or somebody is still writing it
            self.place += len(raw)
            if cut:
                self._skip(upto)
            text = raw.decode("utf-8", "replace").rstrip("\r\n") + (" …" if cut else "")
            self._level = level_of(text) or self._level
            if (not self._level or self._level in self._allowed) and self._sought in text.casefold():
                found += 1
                yield Line(at, self._level, text)

    def _begin(self, offset: int) -> None:
        """Go to the line at a place or behind it, and find out to what entry it belongs."""
        self._file.seek(max(0, offset - _BLOCK))
        before = self._file.read(min(offset, _BLOCK))
        self.place = offset
        levels = (level_of(line.decode("utf-8", "replace")) for line in reversed(before.splitlines()))
        self._level = next(filter(None, levels), "")
        if before and not before.endswith(b"\n"):
            self._skip(offset + SCAN)

    def _skip(self, upto: int) -> None:
        """Go behind the end of the line, which may be far away."""
        while self.place < upto:
            raw = self._file.readline(_BLOCK)
            self.place += len(raw)
            if not raw or raw.endswith(b"\n"):
                return


def _mark(file: BufferedIOBase) -> str:
    """Return what tells a file from the one that comes after it under its name: its first line has the time.

    A number of the file system would not do: it is given again.
    """
    head = file.readline(_HEAD)
    return f"{zlib.crc32(head):08x}" if head else ""
