"""Real mongods for the fault tests: a set of three that loses members and primaries, and some that stand alone."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import pymongo
import pytest
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

LIMIT = 60.0
"""Seconds after which whatever was waited for counts as never coming."""

Client: TypeAlias = pymongo.MongoClient[dict[str, Any]]
SMALL = (
    "--bind_ip=127.0.0.1",
    "--nounixsocket",
    "--oplogSize=32",
    "--wiredTigerCacheSizeGB=0.25",
    "--wiredTigerEngineConfigString=log=(prealloc=false,file_max=8MB)",
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--setParameter=enableTestCommands=1",
)


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Wait until something is true, and return it. A server that is just not there counts as not yet."""
    end = time.monotonic() + limit
    while True:
        with suppress(PyMongoError):
            if found := condition():
                return found
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)


class Member:
    """One mongod in a folder of its own; it keeps its port and its data when it is started again."""

    def __init__(self, folder: Path, *flags: str) -> None:
        spec = find_spec("fiftyone")
        places = (spec and spec.submodule_search_locations) or ()
        programs = [each for place in places if (each := Path(place, "db", "bin", "mongod")).is_file()]
        if not programs:
            pytest.skip("the embedded mongod is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = _free_port()
        self._command = [str(programs[0]), f"--dbpath={folder}", f"--port={self.port}", *SMALL, *flags]
        self._program: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Return its address."""
        return f"127.0.0.1:{self.port}"

    @property
    def up(self) -> bool:
        """Say whether its program runs."""
        return self._program is not None and self._program.poll() is None

    def client(self, **options: Any) -> Client:
        """Return a client of this member alone."""
        limits: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 2000, "socketTimeoutMS": 10_000}
        return pymongo.MongoClient("127.0.0.1", self.port, **{**limits, **options})

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "mongod.log").open("ab") as log:
            self._program = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with self.client() as client:
            until(lambda: client.admin.command("ping"), f"mongod on {self.port} answers")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._program is not None
        os.kill(self._program.pid, number)

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self._program is not None and self._program.poll() is None:
            self.send(signal.SIGKILL)
        if self._program is not None:
            self._program.wait(LIMIT)


class MongoSet:
    """A replica set. `step_downs` counts what was done to it."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.step_downs = 0

    def url(self, database: str) -> str:
        """Return the address of a database, with all members in it."""
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet=rs0&retryWrites=true"

    def begin(self) -> None:
        """Make a set of the members and wait for its primary."""
        hosts = [{"_id": number, "host": member.host} for number, member in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        with self.members[0].client() as client:
            wanted = {"_id": "rs0", "members": hosts, "settings": settings}
            client.admin.command("replSetInitiate", wanted)
        self.primary()

    def primary(self) -> Member:
        """Wait for the member that takes writes, and return it."""
        found: Member = until(self._primary, "the set has a primary")
        return found

    def step_down(self) -> None:
        """Make the primary step down; the fault has to take effect."""
        with self.primary().client() as client, suppress(ConnectionFailure):
            try:
                client.admin.command("replSetStepDown", 3, secondaryCatchUpPeriodSecs=2)
            except OperationFailure as error:
                if error.code not in (189, 10107, 11602, 50, 262):  # it is not the primary any more, or cannot be now
                    raise
                return
        self.step_downs += 1

    def lose_majority(self) -> None:
        """Stop all members but the primary, and wait until it has noticed and gives up."""
        primary = self.primary()
        for member in self.members:
            if member is not primary:
                member.send(signal.SIGSTOP)
        with primary.client() as client:
            until(lambda: not client.admin.command("hello")["isWritablePrimary"], "the primary has given up")

    def healed(self) -> None:
        """Start again whoever is down, let go on whoever is stopped, and wait until all follow the primary."""
        for member in self.members:
            if member.up:
                member.send(signal.SIGCONT)
            else:
                member.kill()
                member.start()

        def whole() -> bool:
            with self.primary().client() as client:
                states = [each["stateStr"] for each in client.admin.command("replSetGetStatus")["members"]]
            return sorted(states) == ["PRIMARY", *["SECONDARY"] * (len(self.members) - 1)]

        until(whole, "all members follow the primary")

    def _primary(self) -> Member | None:
        for member in self.members:
            if member.up:
                with (
                    suppress(PyMongoError),
                    member.client(serverSelectionTimeoutMS=500, socketTimeoutMS=2000) as client,
                ):
                    if client.admin.command("hello").get("isWritablePrimary"):
                        return member
        return None


def _free_port() -> int:
    """Return a port that nobody uses now, below those that the kernel gives to clients."""
    while True:
        with socket.socket() as probe:
            wanted = 20_000 + int.from_bytes(os.urandom(2)) % 12_000
            with suppress(OSError):
                probe.bind(("127.0.0.1", wanted))
                return wanted
