"""The real servers, one of each for the whole session and for all workers; a database of its own for each test."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from migrator.core.errors import DependencyMissing


def new_name() -> str:
    """Return a name for a database that nobody else uses."""
    return f"test_{uuid4().hex[:16]}"


def with_database(url: str, name: str) -> str:
    """Return the address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_user(url: str, userinfo: str) -> str:
    """Return the address with another `user:password`, escaped or not."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{userinfo}@{rest.rpartition('@')[2]}"


def sql(url: str, *statements: str) -> list[Any]:
    """Run statements one by one from outside, and return the rows of the last.

    In a thread of its own, so that it works in every test, whether or not a loop runs.
    """

    async def run() -> list[Any]:
        import asyncpg

        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


class Servers:
    """The servers of the session, each started when it is first asked for."""

    def __init__(self, folder: Path, asked_for: list[str]) -> None:
        self._folder = folder
        self._asked_for = asked_for
        self._urls: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._open = ExitStack()

    def url(self, name: str) -> str:
        """Return the address of a server. One that cannot be had skips the test, or fails it where it was asked for."""
        if name not in self._urls and name not in self._missing:
            try:
                self._urls[name] = self._started(name)
            except DependencyMissing as error:
                self._missing[name] = error.message
        if name in self._missing:
            reason = f"no {name}: {self._missing[name]}"
            if name in self._asked_for or "all" in self._asked_for:
                pytest.fail(reason)
            pytest.skip(reason)
        return self._urls[name]

    def close(self) -> None:
        """Detach from all."""
        self._open.close()

    def _started(self, name: str) -> str:
        if name.startswith("docker-"):
            return self._docker(name.removeprefix("docker-"))
        attached = self._open.enter_context(_attach_of(name)(self._folder / name))
        return str(attached.url)

    def _docker(self, name: str) -> str:
        """Start a container; each worker has its own. Whoever set MIGRATOR_TEST_DOCKER wants an error, not a skip."""
        if os.environ.get("MIGRATOR_TEST_DOCKER") != "1":
            raise DependencyMissing("MIGRATOR_TEST_DOCKER=1 is not set")
        if name == "postgres":
            from testcontainers.community.postgres import PostgresContainer

            return str(self._open.enter_context(PostgresContainer("postgres:18", driver=None)).get_connection_url())
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import LogMessageWaitStrategy

        # A replica set of one under the address by which it is reached from here, without a user: testcontainers'
        # own MongoDbContainer is a standalone server and has no transactions.
        box = DockerContainer("mongo:8").with_exposed_ports(27017).with_command("mongod --replSet rs0 --bind_ip_all")
        box.waiting_for(LogMessageWaitStrategy("Waiting for connections"))
        self._open.enter_context(box)
        return _replica_set(box.get_container_host_ip(), int(box.get_exposed_port(27017)))


def _attach_of(name: str) -> Callable[[Path], Any]:
    if name == "postgres15":
        from tests import _postgres15

        return _postgres15.attach
    from migrator.servers import mongo, postgres

    return mongo.attach if name == "mongo" else postgres.attach


def _replica_set(host: str, port: int) -> str:
    """Begin a set of one member, and return its address when it can be written to.

    The member calls itself by its port inside the container; the client goes to it directly.
    """
    import pymongo
    from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(host, port, directConnection=True) as client, pymongo.timeout(60):
        member = {"_id": 0, "host": "127.0.0.1:27017"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        while True:
            try:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return f"mongodb://{host}:{port}/test?directConnection=true"
            except (AutoReconnect, NotPrimaryError, OperationFailure):
                continue


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Give the servers of the session. Workers of pytest-xdist share them."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    found = Servers(folder / "servers", request.config.getoption("backend"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def fresh_postgres(servers: Servers) -> Iterator[Callable[[str], str]]:
    """Give a maker of empty databases: name of the server in, address out. They are dropped afterwards."""
    made: list[tuple[str, str]] = []

    def make(server: str) -> str:
        url, name = servers.url(server), new_name()
        sql(url, f"CREATE DATABASE {name} TEMPLATE template1")
        made.append((url, name))
        return with_database(url, name)

    yield make
    for url, name in made:
        sql(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def fresh_mongo(servers: Servers) -> Iterator[Callable[[str], str]]:
    """Give a maker of databases that nobody else uses: name of the server in, address out. Dropped afterwards."""
    import pymongo

    made: list[str] = []

    def make(server: str) -> str:
        made.append(with_database(servers.url(server), new_name()))
        return made[-1]

    yield make
    for url in made:
        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient(url) as client:
            client.drop_database(client.get_default_database().name)


@pytest.fixture
def postgres_url(fresh_postgres: Callable[[str], str], pytestconfig: pytest.Config) -> str:
    """Give the address of an empty database on PostgreSQL; it is dropped after the test.

    It is the embedded one, unless --backend=postgres15 asks for the system's.
    """
    return fresh_postgres("postgres15" if pytestconfig.getoption("--backend") == ["postgres15"] else "postgres18")


@pytest.fixture
def mongo_url(fresh_mongo: Callable[[str], str]) -> str:
    """Give the address of an empty database on the embedded MongoDB; it is dropped after the test."""
    return fresh_mongo("mongo")
