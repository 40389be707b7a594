"""What scripts print: it goes to stderr and to the log of their run, and leaves stdout to the command."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast
from weakref import WeakKeyDictionary

from migrator import _output
from migrator.core.secrets import Mask
from migrator.runtime.runlog import Hears, running


@contextmanager
def aside(mask: Mask, *, everything: bool) -> Iterator[None]:
    """Keep what scripts print out of stdout for the length of a block.

    With `everything` that includes what is printed by threads that know no run, by imports, and by programs that a
    script starts: the one document on stdout is then written after the block.
    """
    before = sys.stdout
    sys.stdout = cast("TextIO", _Printed(before, mask, everything=everything))
    kept = -1
    if everything and _output.is_installed():
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


class _Printed:
    """Stands in the place of stdout. Lines are passed on when they are complete, or at `flush`."""

    def __init__(self, stdout: TextIO, mask: Mask, *, everything: bool) -> None:
        self._stdout = stdout
        self._mask = mask
        self._everything = everything
        self._begun: WeakKeyDictionary[Hears, str] = WeakKeyDictionary()

    def write(self, text: str, /) -> int:
        run = running()
        if run is not None:
            *lines, rest = (self._begun.get(run, "") + text).split("\n")
            self._begun[run] = rest
            for line in lines:
                self._say(run, line)
        else:
            (sys.stderr if self._everything else self._stdout).write(text)
        return len(text)

    def flush(self) -> None:
        run = running()
        rest = self._begun.pop(run, "") if run is not None else ""
        if run is not None and rest:
            self._say(run, rest)
        (sys.stderr if self._everything else self._stdout).flush()

    def _say(self, run: Hears, line: str) -> None:
        run.hear(logging.LogRecord("stdout", logging.INFO, "", 0, line, (), None))
        sys.stderr.write(f"{self._mask(line)}\n")

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)  # `encoding`, `buffer`, and what else a stream has
