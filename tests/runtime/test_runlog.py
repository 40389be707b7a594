"""The log of a run: what lands in it, in which run's, and in what state the rest of the program's logging is left."""

import asyncio
import gzip
import json
import logging
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from migrator.core.run import Effect, Run, Status
from migrator.core.secrets import Mask
from migrator.keeping import Logs
from migrator.notifiers._lines import cleaned, formatter, own
from migrator.runtime._logfile import LogFile
from migrator.runtime.logfiles import LogFiles
from migrator.runtime.runlog import RunLogs, hear_warnings

SECRET = "p@ss w0rd"
LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[(\w+)\] \[(\w+)\] (.*)")


def run_of(script: str, run_id: str = "1") -> Run:
    return Run(run_id=run_id, database="main", revision=script, title="Title")


def script(name: str) -> logging.Logger:
    """Return what `ctx.log` is in a script."""
    return logging.getLogger(f"migrator.script.{name}")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show no warning to whoever runs the tests; they are raised on purpose."""
    monkeypatch.setattr(warnings, "showwarning", lambda *_: None)
    hear_warnings()


@pytest.fixture
def logs(tmp_path: Path, quiet: None) -> Iterator[RunLogs]:
    """Give logs in a folder that is not there yet, while the root lets INFO through."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    made = RunLogs(Logs(tmp_path / "new" / "logs"), Mask([SECRET]))
    with made.listening():
        yield made
    root.setLevel(level)


def said(logs: RunLogs, run: Run) -> list[str]:
    """Return what is in a run's log, without times and levels."""
    return [found[3] if (found := LINE.fullmatch(line)) else line for line in _files(logs).lines(run)]


def _files(logs: RunLogs) -> LogFiles:
    return LogFiles(logs.settings.folder)


async def test_everybody_in_the_run_is_heard(logs: RunLogs) -> None:
    """The script's logger, any other (by its name), warnings, tasks and threads begun in the run."""
    run = logs.named(run_of("a1"))

    async def task() -> None:
        logging.getLogger("library").info("in a task")
        await asyncio.to_thread(logging.getLogger("library.part").warning, "in a %s", "thread of it")

    with logs.of(run):
        script("a1").info("by the script")
        await asyncio.create_task(task())
        plain = threading.Thread(target=lambda: script("a1").info("by a plain thread"))
        plain.start()
        plain.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("it is old", DeprecationWarning, stacklevel=1)
    heard = said(logs, run)
    assert heard[0].startswith("upgrade of main:a1 Title begins: run 1, attempt 1")
    assert heard[1:-1] == [
        "by the script",
        "library: in a task",
        "library.part: in a thread of it",
        "by a plain thread",
    ]
    assert heard[-1].startswith("warnings: ")
    assert heard[-1].endswith("DeprecationWarning: it is old")


async def test_two_runs_at_once_do_not_mix(logs: RunLogs) -> None:
    """Each hears only what is said in its own task, in tasks and threads of it, though both use one logger."""
    library, both = logging.getLogger("library"), asyncio.Barrier(2)

    async def work(run: Run) -> None:
        with logs.of(run):
            await both.wait()
            for number in range(50):
                library.info("%s %d", run.run_id, number)
                await asyncio.to_thread(library.info, "%s in a thread", run.run_id)

    runs = [logs.named(run_of("a1", number)) for number in ("1", "2")]
    await asyncio.gather(*(work(run) for run in runs))
    for run in runs:
        heard = said(logs, run)[1:]
        assert len(heard) == 100
        assert [line for line in heard if not line.startswith(f"library: {run.run_id} ")] == []


def test_levels_and_last_lines(logs: RunLogs) -> None:
    """What is below the level is not heard; the last twenty lines are kept for the tracker."""
    run = logs.named(run_of("a1"))
    with logs.of(run) as log:
        script("a1").debug("nobody asked")
        for number in range(30):
            script("a1").info("line %d", number)
    script("a1").info("after it")
    logging.getLogger("library").info("after it")
    assert list(log.lines) == [f"[INFO] line {number}" for number in range(10, 30)]
    assert len(said(logs, run)) == 31


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_written(tmp_path: Path, quiet: None, form: str) -> None:
    """Not in messages, arguments, extra fields, tracebacks or warnings, nor in what is kept for the tracker."""
    logs = RunLogs(Logs(tmp_path, form), Mask([SECRET]))
    run = logs.named(run_of("a1"))
    with logs.listening(), logs.of(run) as log, warnings.catch_warnings():
        warnings.simplefilter("always")
        script("a1").info(SECRET)
        script("a1").info("%s in arguments", {"deep": [SECRET]})
        script("a1").info("extra", extra={"one": {"two": [SECRET]}})
        logging.getLogger("library").error("with %s", SECRET)
        warnings.warn(SECRET, stacklevel=1)
        try:
            raise RuntimeError(SECRET)
        except RuntimeError as error:
            script("a1").exception("it raised")
            log.failed(error)
        log.ended(run.moved(Status.FAILED, Effect.NONE, reason="error", error="with ***"))
    text = (tmp_path / run.log_file).read_text()
    assert SECRET not in text
    assert SECRET not in str(log.lines)
    assert text.count("***") >= 7
    if form == "json":
        entries = [json.loads(line) for line in text.splitlines()]
        assert {(entry["script"], entry["run_id"]) for entry in entries} == {("a1", "1")}
        assert entries[3]["one"] == {"two": ["***"]}
        assert entries[-1]["message"].startswith("failed, effect none (error): with ***")


def test_a_wrong_log_line_is_no_failure() -> None:
    """Where text and arguments do not fit, or cannot be shown, the line says so, masked, and nothing is raised."""
    record = logging.LogRecord("migrator.script.a1", logging.INFO, "", 0, "%d", (SECRET,), None)
    assert cleaned(record, Mask([SECRET]), "a1").msg == (
        "'%d' with ('***',) (TypeError: %d format: a real number is required, not str)"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_of_our_own_looks_like_any_other(form: str) -> None:
    """What is put together without a record is what the formatter makes of one."""
    record = logging.LogRecord("migrator", logging.ERROR, "", 0, 'two\nlines "\u2603"', (), None)
    record.script, record.run_id = "a1", "1"
    plain = own(form, "ERROR", record.getMessage(), "a1", "1")
    made = formatter(form, "run_id", "name").format(record)
    times = re.compile(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\dZ?")
    if form == "json":
        assert list(json.loads(plain)) == list(json.loads(made))
        plain, made = (str(json.loads(line)) for line in (plain, made))
    assert times.sub("TIME", plain) == times.sub("TIME", made)
    assert "TIME" in times.sub("TIME", plain)


def test_a_line_cannot_pass_for_another(logs: RunLogs) -> None:
    """What follows a line break in a message, or in a traceback, is indented."""
    run = logs.named(run_of("a1"))
    with logs.of(run):
        script("a1").info("one\n[2026-11-20 10:30:00] [ERROR] [a1] two\r[x]\r\n\nthree")
    lines = list(_files(logs).lines(run))[1:]
    assert [bool(LINE.fullmatch(line)) for line in lines] == [True, False, False, False]


def test_nobody_else_may_read_it(logs: RunLogs) -> None:
    """Folder and files are the owner's own, rotated parts too."""
    folder = logs.settings.folder
    assert folder is not None
    logs.settings = Logs(folder, max_bytes=1024)
    run = logs.named(run_of("a1"))
    with logs.of(run):
        for _ in range(40):
            script("a1").info("x" * 100)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) > 2
    assert set(modes.values()) == {0o600}


def test_a_full_file_is_compressed(logs: RunLogs) -> None:
    """A log goes on in a new file, its older parts are gzip, and together they are the newest lines in order."""
    folder = logs.settings.folder
    assert folder is not None
    logs.settings = Logs(folder, max_bytes=2048)
    run = logs.named(run_of("a1"))
    with logs.of(run):
        for number in range(1000):
            script("a1").info("line %04d", number)
    heard = said(logs, run)
    assert heard == [f"line {number:04d}" for number in range(1000 - len(heard), 1000)]
    assert len(heard) > 9 * 2048 // 50
    parts = sorted(path.name for path in folder.iterdir())
    assert parts == sorted([run.log_file, *(f"{run.log_file}.{number}.gz" for number in range(1, 10))])
    assert all(len(gzip.decompress((folder / name).read_bytes())) <= 2048 for name in parts if name.endswith(".gz"))
    assert (folder / run.log_file).stat().st_size <= 2048


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The runs go on without files and say so once; their last lines are kept all the same."""
    (tmp_path / "logs").write_text("a file is in the way")
    logs = RunLogs(Logs(tmp_path / "logs"), Mask(()))
    with logs.listening():
        for number in "12":
            with logs.of(logs.named(run_of("a1", number))) as log:
                script("a1").warning("heard")
            assert list(log.lines) == ["[WARNING] heard"]
    (told,) = (record.message for record in caplog.records if "no log files" in record.message)
    assert told == f"no log files are written to {tmp_path / 'logs'}: File exists; the run goes on"


def test_a_disk_that_is_full(logs: RunLogs, caplog: pytest.LogCaptureFixture) -> None:
    """A write that fails harms nobody and is said once."""
    run = logs.named(run_of("a1"))
    with logs.of(run) as log:
        assert log._file is not None
        import os

        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, log._file._file)
        os.close(full)
        script("a1").warning("one")
        script("a1").warning("two")
    assert [record.message for record in caplog.records if "No space left" in record.message] != []
    assert list(log.lines) == ["[WARNING] one", "[WARNING] two"]


def test_a_link_in_the_way_is_not_followed(logs: RunLogs, tmp_path: Path) -> None:
    """Where a link has the name of the log, nothing is written through it."""
    folder, run = logs.settings.folder, logs.named(run_of("a1"))
    assert folder is not None
    (tmp_path / "target").write_text("mine")
    (folder / run.log_file).symlink_to(tmp_path / "target")
    with logs.of(run):
        script("a1").info("one")
    assert (tmp_path / "target").read_text() == "mine"


def test_what_comes_too_late_is_lost(logs: RunLogs) -> None:
    """A thread that was left behind writes neither into a closed log nor into another file."""
    run, go, done = logs.named(run_of("a1")), threading.Event(), threading.Event()

    def late() -> None:
        go.wait(10)
        script("a1").info("late")
        done.set()

    import contextvars

    with logs.of(run):
        threading.Thread(target=contextvars.copy_context().run, args=(late,)).start()
    other = logs.named(run_of("b2", "2"))
    with logs.of(other):
        go.set()
        assert done.wait(10)
    assert len(said(logs, run)) == len(said(logs, other)) == 1


def test_a_closed_file_is_not_written_to(tmp_path: Path) -> None:
    """Whoever still holds it writes nothing, and not into the file that has its number by now."""
    file = LogFile(tmp_path / "one.log", 1024)
    file.close()
    with (tmp_path / "two.log").open("w"):
        file.write("too late")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["", ""]


class Heard(logging.Handler):
    """An application's own handler."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_the_application_hears_what_it_would_have_heard(tmp_path: Path) -> None:
    """Its handlers get no line more and none less, and afterwards everything is as it was."""
    root, heard = logging.getLogger(), Heard()
    level = root.level
    root.setLevel(logging.WARNING)
    root.addHandler(heard)
    before = _state()
    logs = RunLogs(Logs(tmp_path), Mask(()))
    run = logs.named(run_of("a1"))
    with logs.listening(), logs.of(run):
        script("a1").info("too low for the application")
        script("a1").warning("for both")
        logging.getLogger("library").info("not let through")
    assert heard.lines == ["for both"]
    assert said(logs, run)[1:] == ["too low for the application", "for both"]
    assert _state() == before
    root.removeHandler(heard)
    root.setLevel(level)


def _state() -> tuple[Any, ...]:
    root, scripts = logging.getLogger(), logging.getLogger("migrator.script")
    return (
        tuple(root.handlers),
        root.level,
        tuple(scripts.handlers),
        scripts.level,
        scripts.propagate,
        warnings.showwarning,
    )


def test_listeners_come_and_go_in_threads(tmp_path: Path) -> None:
    """Commands in several threads, each with its loop, leave the logging as they found it."""
    before, logs = _state(), RunLogs(Logs(tmp_path), Mask(()))

    def work(number: int) -> int:
        run = logs.named(run_of(f"s{number}", str(number)))
        for _ in range(20):
            with logs.listening(), logs.of(run):
                script(f"s{number}").warning("mine")
        return len([line for line in said(logs, run) if line == "mine"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [20] * 8
    assert _state() == before


def test_no_folder_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder a run has no log file, and the tracker is told of none."""
    monkeypatch.chdir(tmp_path)
    logs = RunLogs(Logs(None), Mask(()))
    run = logs.named(run_of("a1"))
    with logs.listening(), logs.of(run) as log:
        script("a1").warning("heard")
    assert run.log_file == ""
    assert list(log.lines) == ["[WARNING] heard"]
    assert list(tmp_path.iterdir()) == []
