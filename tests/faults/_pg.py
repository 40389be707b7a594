"""What the tests on PostgreSQL look at from outside, gates for steps that wait, and a server of one's own."""

import shutil
import signal
import socket
from pathlib import Path
from typing import Any, Self

from tests._servers import sql
from tests.faults.deployer import Deployer, until

OURS = "datname = current_database() AND application_name LIKE 'migrator:%'"
SLEEPING = f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event = 'PgSleep'"
HOLDER = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def pids(url: str, query: str) -> list[int]:
    """Return the first column of a query."""
    return [row[0] for row in sql(url, query)]


def sleeps(url: str, deployer: Deployer) -> int:
    """Wait until the deployer's step sleeps on the server, and return the server's process."""
    until(lambda: pids(url, SLEEPING) or not deployer.runs, "the step sleeps on the server")
    assert deployer.runs, deployer.wait()
    return pids(url, SLEEPING)[0]


def runs(url: str) -> list[tuple[str, str, str, str]]:
    """Return revision, status, effect, reason of every run, oldest first."""
    return [
        tuple(row) for row in sql(url, "SELECT revision, status, effect, reason FROM script_run_tracker ORDER BY seq")
    ]


def end_sessions(url: str) -> None:
    """End the sessions of all deployers, as the server's idle timeouts do, and wait until they have gone."""
    assert sql(url, f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {OURS}")


class Gate:
    """A place in a Python step where it waits for the test. The lines of code go into the revision."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.here, self.open = folder / "here", folder / "open"
        self.code = [
            "import asyncio, pathlib",
            f"pathlib.Path({str(self.here)!r}).touch()",
            f"while not pathlib.Path({str(self.open)!r}).exists(): await asyncio.sleep(0.02)",
        ]

    def reached(self, deployer: Deployer) -> None:
        """Wait until a step stands at the gate."""
        until(lambda: self.here.exists() or not deployer.runs, "the step is at the gate")
        assert deployer.runs, deployer.wait()


class Server:
    """A PostgreSQL of one's own, to be stopped and started again. It ends with the block."""

    def __init__(self, folder: Path, *settings: str) -> None:
        from migrator.servers.postgres import KIND

        self._kind = KIND
        KIND.check()
        self._folder = folder
        folder.mkdir(mode=0o700)
        self._settings = settings
        self._store = KIND.prepare(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._program: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return its address."""
        return self._kind.url(self._folder, self.port)

    @property
    def store(self) -> Path:
        """Return its folder of data."""
        return self._store

    def follow(self, primary: "Server") -> None:
        """Become a standby of another server before the start: its data in place of what was there."""
        from migrator.servers._initdb import runnable
        from migrator.servers._spawn import start
        from migrator.servers.postgres import _programs

        for each in self._store.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        (self._folder / "password").write_text((primary._folder / "password").read_text())
        command = [str(runnable(_programs()) / "pg_basebackup"), "-D", str(self._store), "-d", primary.url, "-R"]
        with (self._folder / "log").open("ab") as log:
            copying = start(
                [*command, "--checkpoint=fast", "--no-sync"],
                guise=self._kind.guise(),
                die_with=signal.SIGTERM,
                log=log,
            )
            assert copying.wait(60) == 0, (self._folder / "log").read_text()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        from migrator.servers._spawn import start

        extra = [part for setting in self._settings for part in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            command = [*self._kind.command(self._store, self.port), *extra]
            self._program = start(command, guise=self._kind.guise(), die_with=signal.SIGINT, log=log)
        until(lambda: self._program.poll() is not None or self._takes_connections(), "the server is ready")
        assert self._program.poll() is None, (self._folder / "log").read_text()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions first, SIGQUIT is a crash."""
        if self._program is not None:
            self._program.send_signal(number)
            self._program.wait(30)
            self._program = None

    def _takes_connections(self) -> bool:
        lock_file = self._store / "postmaster.pid"
        return lock_file.exists() and lock_file.read_text().splitlines()[7:8] in (["ready   "], ["standby "])
