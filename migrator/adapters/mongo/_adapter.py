"""The adapter: one client, shared and counted, and what can be asked of it."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import PyMongoError

from migrator.adapters._shared import MOST, Shared
from migrator.adapters.mongo import CAPABILITIES, KIND
from migrator.adapters.mongo._client import Client
from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._examine import examined, unreachable
from migrator.adapters.mongo._home import find
from migrator.adapters.mongo._options import FILES, checked, ignored, need_members
from migrator.adapters.mongo._sent import Watch, watched
from migrator.adapters.mongo._session import MongoSession
from migrator.adapters.mongo._work import SHORT, Work
from migrator.core.errors import ConfigError, MigratorError
from migrator.core.protocols import ConnectionStatus, Databases, Findings, Lock
from migrator.core.url import Url

if TYPE_CHECKING:
    from migrator.adapters.mongo._signals import MongoSignals

PAUSE = 0.05
"""Seconds between a failed opening and the end of its client."""

FAREWELL = 2.0
"""Seconds for telling the server that the client goes."""


@dataclass(frozen=True)
class Connected:
    """The open client, and whether its server has transactions."""

    client: AsyncMongoClient[dict[str, Any]]
    transactions: bool


class MongoAdapter:
    """One database on MongoDB. `name` is the configured name, for messages and `Run.database`."""

    kind = KIND
    capabilities = CAPABILITIES

    def __init__(self, name: str, url: Url, *, pool: int, connect_timeout: float, release: str, tracker: str) -> None:
        self._name = name
        self._tracker = tracker
        self._url = checked(name, url)
        self._ignored = ignored(url)
        self._pool = pool
        self._connect_timeout = connect_timeout
        # Unique, so that the commands of this client can be found on the server and ended.
        self._appname = f"migrator/{release} {uuid4().hex[:12]}"
        self._shared = Shared(self._url, self._connect, _disconnect)

    @asynccontextmanager
    async def session(self, under: Lock | None = None) -> AsyncIterator[MongoSession]:  # noqa: ARG002
        """Hold a reference and a server session. Raises ConnectionFailed, AuthenticationFailed and so on.

        Nothing in a session depends on its lock, so `under` changes nothing: the fence refuses what is too late.
        """
        async with self._shared.hold() as connected:
            db = self._database(connected)
            with translated(f"{self._name}: look for the tracker", own=True), pymongo.timeout(SHORT):
                home = await find(db, self._name, self._tracker)
            work = Work(db, connected.client.start_session(), connected.transactions, home)
            try:
                yield MongoSession(work, self._name, self._appname)
            finally:
                with (
                    suppress(PyMongoError),
                    pymongo.timeout(FAREWELL),
                ):  # it aborts what is open, and the server may be gone
                    await work.session.end_session()

    @asynccontextmanager
    async def context(self, source: str = "", databases: Databases | None = None) -> AsyncIterator[Context]:  # noqa: ARG002
        """Hold a reference and a context outside every transaction. Time limits are the caller's.

        The `source` of the revision changes nothing here: MongoDB cannot make a connection read-only.
        """
        async with self._shared.hold() as connected:
            with translated(self._name, secrets=self._url.secrets()), watched() as sent:
                yield Context(None, databases, self._database(connected), sent=sent)

    @asynccontextmanager
    async def signals(self) -> AsyncIterator["MongoSignals"]:
        """Open a client of its own, which looks at the members of the set often."""
        from migrator.adapters.mongo._signals import HEARTBEAT, MongoSignals

        connected = await self._connect(heartbeatFrequencyMS=HEARTBEAT)
        try:
            yield MongoSignals(self._database(connected), self._name, self._appname)
        finally:
            await _disconnect(connected)

    def status(self) -> ConnectionStatus:
        """Say how the shared client stands."""
        return self._shared.status()

    def make_room(self, connections: int, *, more: bool = False) -> None:
        """Do nothing: the driver opens connections as they are needed."""

    def hold(self) -> AbstractAsyncContextManager[Any]:
        """Keep the client open."""
        return self._shared.hold()

    async def force_close(self) -> None:
        """Close the shared client whoever holds it."""
        await self._shared.force_close()

    async def identity(self) -> Mapping[str, str]:
        """Return the database's name, and the name and members of its replica set."""
        async with self._shared.hold() as connected:
            told = translated(f"{self._name}: ask which server this is", secrets=self._url.secrets())
            with told, pymongo.timeout(SHORT):
                hello = await connected.client.admin.command("hello")
        members = ", ".join(sorted([*hello.get("hosts", ()), *hello.get("passives", ())]))
        known = {"database": self._url.database, "replica set": hello.get("setName", ""), "members": members}
        return {word: value for word, value in known.items() if value}

    async def examine(self) -> Findings:
        """Look at the server for `doctor`. Changes nothing, raises nothing of the server's."""
        try:
            async with self._shared.hold() as connected:
                with translated(f"{self._name}: look at the server", secrets=self._url.secrets()):
                    return [*await examined(self._database(connected), self._name, self._tracker), *self._ignored]
        except MigratorError as error:
            return unreachable(error)

    def _database(self, connected: Connected) -> AsyncDatabase[dict[str, Any]]:
        return connected.client.get_database(self._url.database)

    async def _connect(self, **options: Any) -> Connected:
        """Open the client and ask who answers.

        The driver itself tries a refused connection again, every half second, until the time is over; a wrong password
        it tries once.
        """
        with translated(f"{self._name}: connect to {self._url}", opening=True, secrets=self._url.secrets()):
            client = self._client(options)
            try:
                with pymongo.timeout(self._connect_timeout):
                    hello = await client.admin.command("hello")
                    await client.get_database(self._url.database).command("ping")
                need_members(self._name, self._url, hello)
            except BaseException:
                # pymongo leaves the socket open that its monitor is just connecting; a refused one is done in no time.
                await asyncio.sleep(PAUSE)
                await _close(client)
                raise
        return Connected(client, "setName" in hello or hello.get("msg") == "isdbgrid")

    def _client(self, more: dict[str, Any]) -> AsyncMongoClient[dict[str, Any]]:
        wait = int(self._connect_timeout * 1000)
        defaults = {
            "maxPoolSize": max(self._pool, MOST),  # each is held for one command only
            "serverSelectionTimeoutMS": wait,
            "connectTimeoutMS": wait,
            "waitQueueTimeoutMS": wait,
            "retryWrites": True,
        }
        given = {name.lower() for name, _ in self._url.params}
        options: dict[str, Any] = {name: value for name, value in defaults.items() if name.lower() not in given} | more
        if self._url.user:
            # Never inside the address: the driver quotes addresses in its messages.
            options |= {"username": self._url.user, "password": self._url.password}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # an option that the driver only warns of has no effect
                return Client(self._url.bare(), appname=self._appname, event_listeners=[Watch()], **options)
        except (ValueError, TypeError, UserWarning, OSError) as error:  # an OSError is of OpenSSL, about a file
            text = str(error)
            for secret in self._url.secrets():
                text = text.replace(secret, "***")
            files = ", ".join(value for option, value in self._url.params if option.lower() in FILES)
            raise ConfigError(
                f"{self._name}: an option in the address cannot be used: {text}{files and f' ({files})'}",
                state="Nothing was changed.",
                hint="Correct the address.",
            ) from error


async def _disconnect(connected: Connected) -> None:
    """Close the client; a server that does not answer is not waited for."""
    await _close(connected.client)


async def _close(client: AsyncMongoClient[dict[str, Any]]) -> None:
    """Close a client. The end of its sessions is reported to the server in FAREWELL seconds, or not at all.

    The driver's close() leaves the sockets and the monitor open if that report fails or is cancelled. The second call
    has nothing to report.
    """
    try:
        with suppress(PyMongoError), pymongo.timeout(FAREWELL):
            await client.close()
    finally:
        await client.close()
