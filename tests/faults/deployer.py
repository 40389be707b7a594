"""One deployer: `python -m migrator ...` as a process of its own in the folder of a project, and what may befall it.

    with Deployer(folder, "upgrade", "head") as deployer:
        deployer.stop()                 # SIGSTOP; .resume(), .terminate(), .interrupt(), .kill()
        result = deployer.wait(20)      # an Ended: code, stdout, stderr

It is killed at the end of the block, however far it is. `run(folder, *words)` runs one to its end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

LIMIT = 60.0
"""Seconds after which whatever was waited for counts as never coming."""

KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Ended:
    """How a deployer ended. `code` is negative where a signal ended it; `took` is in seconds, from its start."""

    code: int
    stdout: str
    stderr: str
    took: float

    @property
    def error(self) -> dict[str, Any]:
        """Return what `--json` printed under `error`."""
        found: dict[str, Any] = json.loads(self.stdout)["error"]
        return found


class Deployer:
    """See the module."""

    def __init__(self, folder: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.words = words
        self._began = time.monotonic()
        self._last: dict[Any, str] = {}
        self._out, self._err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - closed with the deployer
        self._program = subprocess.Popen(
            [sys.executable, "-m", "migrator", *words],
            cwd=folder,
            env={**{name: os.environ[name] for name in KEPT if name in os.environ}, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )
        self.pid = self._program.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> bool:
        """Say whether it has not ended yet."""
        return self._program.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended takes none."""
        with suppress(ProcessLookupError):
            self._program.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """SIGINT."""
        self.send(signal.SIGINT)

    def stop(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        until(lambda: _state(self.pid) in "TtZX" or not self.runs, f"deployer {self.pid} stops")

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def wait(self, limit: float = LIMIT) -> Ended:
        """Wait for its end; one that does not come fails the test."""
        try:
            code = self._program.wait(limit)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"{self.words} has not ended after {limit:g} s; stderr: {self.stderr}") from None
        return Ended(code, self._text(self._out), self._text(self._err), time.monotonic() - self._began)

    def close(self) -> None:
        """Kill it, and reap it."""
        self.kill()
        self._program.wait()
        for file in (self._out, self._err):
            if not file.closed:
                self._last[file] = self._text(file)
                file.close()

    @property
    def stderr(self) -> str:
        """Return what it has printed on stderr so far."""
        return self._text(self._err)

    @property
    def stdout(self) -> str:
        """Return what it has printed on stdout so far."""
        return self._text(self._out)

    def _text(self, file: Any) -> str:
        if file.closed:
            return self._last[file]
        return os.pread(file.fileno(), 1 << 22, 0).decode()


def run(folder: Path, *words: str, env: Mapping[str, str] | None = None, limit: float = LIMIT) -> Ended:
    """Run one deployer to its end."""
    with Deployer(folder, *words, env=env) as deployer:
        return deployer.wait(limit)


def until(condition: Callable[[], object], what: str, limit: float = LIMIT, pause: float = 0.03) -> None:
    """Wait until something is true; fail where it never is."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not in {limit:g} s: {what}"
        time.sleep(pause)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
