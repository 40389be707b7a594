"""The log of each run: a file of its own, and the last lines, which are kept with the run when it fails.

Whatever is logged or warned of in the task of a run, in tasks and threads (`asyncio.to_thread`) begun from it, lands in
its log, whichever logger it came by; the log of another run is not touched. A thread that knows no context has at
least what it says by the script's own logger heard.
"""

import logging
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, Token
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, Self

from migrator.core.logs import log_name
from migrator.core.run import Run
from migrator.core.secrets import Mask
from migrator.keeping import Logs
from migrator.notifiers._lines import SCRIPTS, cleaned, formatter, own

if TYPE_CHECKING:
    from migrator.runtime._logfile import LogFile

LINES = 20
"""How many of its last lines are kept with a run that fails."""

_LOG = logging.getLogger("migrator.logs")
_RUN: ContextVar["Hears | None"] = ContextVar("the log of the run", default=None)
_SLICE: ContextVar[int | None] = ContextVar("the slice of a long change", default=None)


class Hears(Protocol):
    """What hears the records of a run."""

    def hear(self, record: logging.LogRecord) -> None:
        """Take in one record."""


class RunLogs:
    """Makes the logs of the runs of one command. A folder that cannot be written to is said once, and harms no run."""

    def __init__(self, settings: Logs, mask: Mask) -> None:
        self.settings = settings
        self.mask = mask
        self._form: logging.Formatter | None = None
        self._folder = settings.folder
        self._made = False

    def named(self, run: Run) -> Run:
        """Return the run with the name of its log file, if it is to have one."""
        return replace(run, log_file=log_name(run.revision, run.run_id, datetime.now(UTC))) if self.ready() else run

    def ready(self) -> bool:
        """Say whether there is a folder for log files, and make it where it is missing."""
        if not self._made and self._folder is not None:
            self._made = True
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                self._lost(error)
        return self._folder is not None

    def listening(self) -> AbstractContextManager[None]:
        """Let the logs of runs hear, for the length of a block, what is logged and warned of in this program."""
        return _EAR.listening()

    def of(self, run: Run) -> "RunLog":
        """Return the log of a run; within `with` it hears all that is logged in this task, and in what it begins."""
        return RunLog(run, self)

    def opened(self, file_name: str) -> "LogFile | None":
        """Open a file of the folder, None where it has no name or there is no folder."""
        if self._folder is None or not file_name:
            return None
        from migrator.runtime._logfile import LogFile

        try:
            return LogFile(self._folder / file_name, self.settings.max_bytes)
        except OSError as error:
            self._lost(error)
            return None

    def say(self, file: "LogFile", level: int, text: str, script: str, run_id: str = "") -> None:
        """Write a line of our own to a file."""
        line = own(self.settings.format, logging.getLevelName(level), self.mask(text), script, run_id)
        self._put(file, line)

    def write(self, file: "LogFile", record: logging.LogRecord, run_id: str) -> None:
        """Write a cleaned record to a file."""
        if self._form is None:
            self._form = formatter(self.settings.format, "run_id", "name")
        record.run_id = run_id
        try:
            line = self._form.format(record)
        except (TypeError, ValueError) as error:  # what JSON cannot hold
            self._lost(error)
        else:
            self._put(file, line)

    def _put(self, file: "LogFile", line: str) -> None:
        try:
            file.write(line)
        except OSError as error:
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        if self._folder is not None:
            folder, self._folder = self._folder, None
            why = getattr(error, "strerror", None) or error
            _LOG.warning("no log files are written to %s: %s; the run goes on", folder, why)


class RunLog:
    """The log of one run. `lines` are the last ones that were logged in it."""

    def __init__(self, run: Run, logs: RunLogs) -> None:
        self.lines: deque[str] = deque(maxlen=LINES)
        self._run = run
        self._logs = logs
        self._level = logging.getLevelNamesMapping()[logs.settings.level]
        self._file: LogFile | None = None
        self._token: Token[Hears | None]
        self._over = False

    def __enter__(self) -> Self:
        run = self._run
        self._file = self._logs.opened(run.log_file)
        self._write(
            logging.INFO,
            f"{run.direction} of {run.key} {run.title} begins: run {run.run_id}, attempt {run.attempt}, "
            f"{run.user}@{run.host} pid {run.pid}",
        )
        self._token = _RUN.set(self)
        _EAR.active.append((run.revision, self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not self._over:
            self.failed(error)
        _EAR.active.remove((self._run.revision, self))
        _RUN.reset(self._token)
        file, self._file = self._file, None
        if file is not None:
            file.close()  # what comes later, from a thread or a task that was left behind, is lost

    def hear(self, record: logging.LogRecord) -> None:
        """Take in one record."""
        if record.levelno < self._level:
            return
        clean = cleaned(record, self._logs.mask, self._run.revision)
        whose = "" if record.name.startswith(SCRIPTS) else f"{record.name}: "
        clean.msg = f"{whose}{clean.msg}"
        self.lines.append(f"[{record.levelname}] {clean.msg}")
        file = self._file
        if file is not None:
            self._logs.write(file, clean, self._run.run_id)

    def failed(self, error: BaseException) -> None:
        """Write the traceback of what ended the run."""
        self._write(logging.ERROR, "".join(traceback.format_exception(error)).rstrip())

    def ended(self, run: Run) -> None:
        """Write how the run ended."""
        self._over = True
        spent = f" after {run.duration_ms:.0f} ms" if run.duration_ms is not None else ""
        because = f" ({run.reason}): {run.error}" if run.error else ""
        self._write(logging.INFO, f"{run.status}, effect {run.effect}{spent}{because}")

    def _write(self, level: int, text: str) -> None:
        file = self._file
        if file is not None:
            self._logs.say(file, level, text, self._run.revision, self._run.run_id)


class _Ear(logging.Handler):
    """Hears everybody while runs are going on, and passes each record on to the run in which it was made.

    There is one for the whole program. It sits at the root, and at the scripts' loggers by `_Scripts`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.active: list[tuple[str, RunLog]] = []
        self._listeners = 0
        self._turn = Lock()
        self._leave: Callable[[], None] = _nothing

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on that came up to the root; scripts and warnings are heard elsewhere."""
        if not record.name.startswith(("migrator.", "py.warnings")):
            self.hear(_of_slice(record))

    def hear(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        log: Hears | None = _RUN.get()
        if log is None:
            same = [each for script, each in self.active if record.name == f"{SCRIPTS}{script}"]
            log = same[0] if len(same) == 1 else None
        if log is not None:
            log.hear(record)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear, for the length of the block."""
        with self._turn:
            self._listeners += 1
            if self._listeners == 1:
                self._leave = self._enter()
        try:
            yield
        finally:
            with self._turn:
                self._listeners -= 1
                if self._listeners == 0:
                    self._leave()

    def _enter(self) -> Callable[[], None]:
        """Sit down everywhere, and return what leaves everything as it was."""
        root, scripts, hears = logging.getLogger(), logging.getLogger(SCRIPTS.rstrip(".")), _Scripts()
        level, propagate = scripts.level, scripts.propagate
        root.addHandler(self)
        scripts.addHandler(hears)
        scripts.setLevel(logging.DEBUG)
        scripts.propagate = False

        def leave() -> None:
            root.removeHandler(self)
            scripts.removeHandler(hears)
            scripts.setLevel(level)
            scripts.propagate = propagate

        return leave


class _Scripts(logging.Handler):
    """Hears all that is said by the scripts' loggers, and passes on what would have gone further up without it."""

    def emit(self, record: logging.LogRecord) -> None:
        record = hear(record)
        above = logging.getLogger("migrator")
        if above.isEnabledFor(record.levelno):
            above.callHandlers(record)


def _nothing() -> None:
    pass


_EAR = _Ear()


def running() -> Hears | None:
    """Return what hears the run in which the code that asks runs, None outside of every run."""
    return _RUN.get()


def hear(record: logging.LogRecord) -> logging.LogRecord:
    """Let the run in which a record was made hear it, and return the record with the slice in which it was made."""
    marked = _of_slice(record)
    _EAR.hear(marked)
    return marked


@contextmanager
def in_slice(number: int) -> Iterator[None]:
    """Let everything that is logged in this task name the slice of the long change."""
    token = _SLICE.set(number)
    try:
        yield
    finally:
        _SLICE.reset(token)


@contextmanager
def relayed(relay: Hears) -> Iterator[None]:
    """Let a relay hear what is logged in this task, where the run itself is in another process."""
    token = _RUN.set(relay)
    try:
        with _EAR.listening():
            yield
    finally:
        _RUN.reset(token)


def _of_slice(record: logging.LogRecord) -> logging.LogRecord:
    number = _SLICE.get()
    if number is None:
        return record
    marked = copy(record)
    marked.msg = f"slice {number}: {record.msg}"
    return marked


@contextmanager
def own_log(name: str, logs: RunLogs, logger: logging.Logger) -> Iterator[Callable[[int, str], None]]:
    """Give what says a line (level, text) to a logger and to the file `<name>.log`, which is no run's and is kept."""
    file = logs.opened(f"{name}.log") if logs.ready() else None

    def say(level: int, text: str) -> None:
        logger.log(level, "%s", text)
        if file is not None:
            logs.say(file, level, text, name)

    try:
        yield say
    finally:
        if file is not None:
            file.close()


def hear_warnings() -> None:
    """Tell each run the warnings that are raised in it, from now on; they are shown as before.

    This changes the whole program, so it is for programs that are ours: the commands.
    """
    if not isinstance(warnings.showwarning, _Shower):
        warnings.showwarning = _Shower(warnings.showwarning)  # type: ignore[assignment] # it takes more


class _Shower:
    def __init__(self, show: Callable[..., Any]) -> None:
        self._show = show

    def __call__(self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any) -> None:
        log = _RUN.get()
        if log is not None:
            text = f"{filename}:{lineno}: {category.__name__}: {message}"
            with suppress(Exception):
                log.hear(logging.LogRecord("warnings", logging.WARNING, filename, lineno, text, (), None))
        self._show(message, category, filename, lineno, *more)
