"""What becomes of the output changes neither what a command does nor its exit code."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrator._output import LIMIT, _Queue
from tests.acceptance._project import LIMIT as LONGEST
from tests.acceptance._project import Project, until


@contextmanager
def started(project: Project, *words: str, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with these streams, and end it in any case."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
    with subprocess.Popen(project.command(*words), cwd=project.folder, env=project.environ(), **settings) as program:  # type: ignore[call-overload] # the streams are numbers
        try:
            yield program
        finally:
            program.kill()


def ended(project: Project, *words: str, **streams: int) -> int:
    """Run a command to its end, and return its exit code."""
    with started(project, *words, **streams) as program:
        return program.wait(LONGEST)


@contextmanager
def broken() -> Iterator[int]:
    """Give the end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone(shop: Project, stream: str) -> None:
    """A broken pipe changes nothing: `status --exit-code | true` ends with 11, an upgrade is done and ends with 0."""
    shop.table("main", "a1")
    with broken() as writer:
        for words, code in (
            (("--help",), 0),
            (("status", "--help"), 0),
            (("nonsense",), 3),
            (("status", "--exit-code"), 11),
            (("status", "--exit-code", "--json"), 11),
            (("upgrade", "nowhere"), 3),
            (("upgrade", "-vv"), 0),
            (("status", "--exit-code"), 0),
            (("downgrade", "base", "--dry-run"), 10),
        ):
            assert ended(shop, *words, **{stream: writer}) == code, words


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(shop: Project, closed: str) -> None:
    """With stdin, stdout or stderr closed a command does its work, and its database connection is none of them."""
    shop.table("main", "a1")
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *shop.command("upgrade", "-vv")],
        check=False, cwd=shop.folder, env=shop.environ(), stdin=subprocess.DEVNULL, capture_output=True,
        timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert shop.states() == {"a1": "applied"}


def test_a_full_disk(shop: Project) -> None:
    """Where stdout cannot be written, what is done is done, and what failed ends with its own code."""
    shop.table("main", "a1")
    shop.revision("main", "b1", "a1", upgrade='raise ValueError("no")')
    with Path("/dev/full").open("wb") as full:
        both = {"stdout": full.fileno(), "stderr": full.fileno()}
        assert ended(shop, "upgrade", "a1", **both) == 0
        assert ended(shop, "upgrade", "head", **both) == 1
        assert ended(shop, "status", "--json", **both) == 0
    assert shop.states()["a1"] == "applied"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_does_not_read(shop: Project, stream: str) -> None:
    """A deploy does not wait for the reader of its output: what does not fit is lost, and how much is reported."""
    say = "print('x' * 1000)" if stream == "stdout" else "ctx.log.info('x' * 1000)"
    body = f"import threading\ndef flood():\n    for number in range(3000):\n        {say}\n"
    shop.revision("main", "a1", upgrade=f"{body}thread = threading.Thread(target=flood)\nthread.start()\nthread.join()")
    reader, writer = os.pipe()
    with started(shop, "upgrade", "-v", **{stream: writer}) as program:
        os.close(writer)
        until(lambda: shop.states() == {"a1": "applied"}, "the step is applied")
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        assert program.wait(LONGEST) == 0
    assert b"lines of output were lost" in text
    assert len(text) < 2 * LIMIT


def test_the_last_lines_have_a_limit() -> None:
    """The end of a command that changed something does not wait for ever for a reader that takes nothing."""
    reader, writer = os.pipe()
    queue = _Queue(writer)
    queue.losing = True
    for _ in range(3 * LIMIT // 100_000):
        queue.write(b"x" * 99_999 + b"\n")
    queue.drain(0.05)
    taken = 0
    while taken < 2 * LIMIT and not (text := os.read(reader, 1 << 20)).endswith(b"keep up)\n"):
        taken += len(text)
    assert b"lines of output were lost" in text
    queue.drain(None)
    os.close(reader)
    queue.write(b"x")
    queue.drain(None)
    os.close(writer)


def test_a_slow_reader_gets_all_of_a_report(shop: Project) -> None:
    """What only reads waits for its reader: nothing of a report is lost."""
    lines = "".join(f"-- {'x' * 1000} {number}\n" for number in range(2 * LIMIT // 1000))
    file = shop.sql("main", "a1", upgrade=f"{lines}SELECT 1")
    reader, writer = os.pipe()
    with started(shop, "show", "a1", stdout=writer) as program:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        assert program.wait(LONGEST) == 0
    assert file.read_bytes() in text


def test_text_that_the_stream_does_not_have(shop: Project) -> None:
    """Letters that the encoding of stdout does not have are escaped."""
    shop.sql("main", "a1", upgrade="SELECT 1").write_text(
        "-- Größe Ж\n-- revision: a1\n-- down_revision: none\n\n-- migrator: upgrade\nSELECT 1\n", "utf-8"
    )
    done = subprocess.run(
        shop.command("upgrade"), check=True, cwd=shop.folder, env=shop.environ({"PYTHONIOENCODING": "latin-1"}),
        capture_output=True, timeout=LONGEST,
    )  # fmt: skip
    assert "Größe \\u0416".encode("latin-1") in done.stdout


def test_a_signal_during_the_start(project: Project) -> None:
    """A signal that comes while the program is still being imported ends it with 130."""
    slow = project.folder / "slow" / "click"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("import pathlib, time\npathlib.Path('there').touch()\ntime.sleep(60)\n", "utf-8")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child = project.start("upgrade", env={"PYTHONPATH": str(slow.parent)})
        until((project.folder / "there").exists, "the import has begun")
        child.send(number)
        ended = child.wait()
        assert ended.exit_code == 130
        assert "before anything was changed" in ended.stderr
        (project.folder / "there").unlink()


def test_a_hangup_stops(shop: Project) -> None:
    """SIGHUP stops a deploy as SIGTERM does, but not one that nohup started."""
    there = shop.folder / "there"
    lines = ["import asyncio, pathlib", "there = pathlib.Path('there')", "there.touch()", "while there.exists():"]
    shop.revision("main", "a1", upgrade="\n".join([*lines, "    await asyncio.sleep(0.01)"]))
    child = shop.start("upgrade")
    until(there.exists, "the step runs")
    child.send(signal.SIGHUP)
    assert child.wait().exit_code == 130
    there.unlink()
    with subprocess.Popen(
        ["nohup", *shop.command("upgrade")], cwd=shop.folder, env=shop.environ(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as program:  # fmt: skip
        until(there.exists, "the step runs again")
        program.send_signal(signal.SIGHUP)
        there.unlink()
        assert program.wait(LONGEST) == 0


@pytest.mark.parametrize("block", ["import time\n    time.sleep(0.01)", "pass"])
def test_a_second_signal_ends_a_blocked_loop(shop: Project, block: str) -> None:
    """The second signal ends the process at once, also while a script blocks the event loop, and is reported."""
    shop.revision("main", "a1", upgrade=f"import pathlib\npathlib.Path('there').touch()\nwhile True:\n    {block}")
    child = shop.start("upgrade")
    until((shop.folder / "there").exists, "the step runs")
    child.send(signal.SIGTERM)
    until(lambda: _pending(child.pid) == 0, "the first signal was handled")
    child.send(signal.SIGTERM)
    ended = child.wait()
    assert ended.exit_code == 130
    assert "a second signal" in ended.stderr


def _pending(pid: int) -> int:
    """Return the signals that a process has not taken yet."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return sum(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd")))
