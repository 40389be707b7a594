"""A place for an embedded server, the programs that use it, and the end of them all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.servers import _attach, _state

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
PROGRAMS = {"postgres": "postgres", "mongo": "mongod"}
USE = """
import sys
sys.path.insert(0, sys.argv[1])
from importlib import import_module
from pathlib import Path
with import_module("migrator.servers." + sys.argv[2]).attach(Path(sys.argv[3])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


class User:
    """An unrelated program that uses the server of a folder."""

    def __init__(self, kind: str, folder: Path, before: str = "") -> None:
        argv = [sys.executable, "-c", before + USE, str(ROOT), kind, str(folder)]
        self.program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def url(self) -> str:
        assert self.program.stdout is not None
        url = self.program.stdout.readline().strip()
        assert url, "the user could not attach"
        return url

    def end(self, number: signal.Signals | None = None) -> None:
        if number is None:
            self.program.communicate(timeout=LIMIT)
        else:
            self.program.send_signal(number)
            self.program.wait(LIMIT)
            self.close()

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait()
        for pipe in (self.program.stdin, self.program.stdout):
            if pipe is not None:
                pipe.close()


def name_of(pid: int) -> str:
    with suppress(psutil.Error):
        return str(psutil.Process(pid).name())
    return ""


def parent_of(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).ppid())
    return 0


def until(condition: Callable[[], bool], limit: float = LIMIT) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kill(*pids: int) -> None:
    """Kill with -9, and wait until the kernel has done it."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(_state.alive, pids)))


def port_of(url: str) -> int:
    return int(url.rpartition("127.0.0.1:")[2].partition("/")[0])


async def ask(url: str, statement: str) -> Any:
    import asyncpg  # type: ignore[import-untyped,unused-ignore]

    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def transact(url: str, number: int) -> int:
    """Insert in a transaction; return how many documents there are."""
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        numbers = client.get_default_database().get_collection("numbers")
        with client.start_session() as session, session.start_transaction():
            numbers.insert_one({"_id": number}, session=session)
        return numbers.count_documents({})


class Place:
    """A folder for a server, and all who use it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.users: list[User] = []

    def user(self, before: str = "") -> User:
        self.users.append(User(self.kind, self.folder, before))
        return self.users[-1]

    def attach(self) -> _attach.Attached:
        attached: _attach.Attached = import_module(f"migrator.servers.{self.kind}").attach(self.folder)
        return attached

    def state(self) -> _state.State:
        state = _state.read_state(self.folder)
        assert state is not None
        return state

    def programs(self) -> list[int]:
        """Return the pids of all keepers and servers below the folder."""
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                line = one.cmdline()
                ours = any(str(self.folder.parent) in part for part in line) and str(ROOT) not in line[3:4]
                if ours and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one.pid)
        return found

    def servers(self) -> list[int]:
        """Return the servers; not what one forked a moment ago, which looks the same."""
        found = [pid for pid in self.programs() if _state.alive(pid) and name_of(pid) == PROGRAMS[self.kind]]
        return [pid for pid in found if parent_of(pid) not in found]

    async def keep(self, url: str) -> None:
        if self.kind == "mongo":
            transact(url, 1)
        else:
            await ask(url, "CREATE TABLE numbers AS SELECT 1 AS number")

    async def kept(self, url: str) -> bool:
        if self.kind == "mongo":
            return transact(url, 2) == 2
        return bool(await ask(url, "SELECT count(*) FROM numbers") == 1)

    def gone(self, state: _state.State) -> bool:
        return not self.programs() and not answers(state.port) and not (self.folder / "server.json").exists()

    until = staticmethod(until)
    answers = staticmethod(answers)
    kill = staticmethod(kill)
    port_of = staticmethod(port_of)
    ask = staticmethod(ask)
    transact = staticmethod(transact)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    one = Place(getattr(request, "param", "postgres"), tmp_path / "servers" / "one")
    yield one
    for user in one.users:
        user.close()
    try:
        until(lambda: not one.programs(), 30)
    finally:
        for pid in one.programs():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
