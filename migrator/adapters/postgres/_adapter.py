"""One PostgreSQL database."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.adapters._shared import CLOSE_TIMEOUT, MOST, Room, Shared, to_the_end
from migrator.adapters.postgres import CAPABILITIES, KIND
from migrator.adapters.postgres._abandoned import end
from migrator.adapters.postgres._address import read, shown
from migrator.adapters.postgres._connect import Connector
from migrator.adapters.postgres._context import Context
from migrator.adapters.postgres._errors import translated
from migrator.adapters.postgres._examine import examine
from migrator.adapters.postgres._lease import ChoreLease
from migrator.adapters.postgres._link import LIMIT, Connection, Link
from migrator.adapters.postgres._lock import AdvisoryLock, LeaseLock
from migrator.adapters.postgres._place import find
from migrator.adapters.postgres._queries import VERSION, Queries
from migrator.adapters.postgres._session import ROLLBACK, PostgresSession
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import ConfigError, ConnectionFailed, DatabaseError, MigratorError
from migrator.core.protocols import ConnectionStatus, Databases, Finding, Findings, Lock
from migrator.core.url import Url

if TYPE_CHECKING:
    from migrator.adapters.postgres._signals import PostgresSignals

_MORTAL = {
    "idle_session_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What frees the lock of a holder that is dead, paused or cut off, in seconds instead of hours.

Every connection that is lent says each five seconds that its holder lives (`Link.kept`); a script that blocks the
event loop for 30 s loses its session.
"""

_UNKNOWN_SETTING = ("08P01", "42704", "22023", "0A000")
"""SQLSTATEs with which a pooler or an unusual server refuses those settings."""

_BACKEND = "SELECT pg_catalog.pg_backend_pid()"

_IDENTITY = """
    SELECT datname::text AS name, oid::text AS number
      FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
_SYSTEM = "SELECT system_identifier::text AS number FROM pg_catalog.pg_control_system()"

ATTEMPTS = 3
"""How often a refused connection is tried again."""


class PostgresAdapter:
    """Implements `core.protocols.Adapter` over one small pool."""

    kind = KIND
    capabilities = CAPABILITIES

    def __init__(self, name: str, url: Url, *, pool: int, connect_timeout: float, release: str, tracker: str) -> None:
        self._name = name
        self._tracker = tracker
        self._url = url
        self._size = max(pool, MOST)
        self._room = Room(name, pool)
        self._address = read(name, url, os.environ)
        self._shown = shown(url, self._address)
        self._connector = Connector(name, self._address, connect_timeout)
        self._timeout = self._connector.limit
        self._release = release
        self._pooled: bool | None = None
        self._pids: list[int] = []
        self._shared: Shared[Any] = Shared(url, self._open, self._close)

    @asynccontextmanager
    async def session(self, under: Lock | None = None) -> AsyncIterator[PostgresSession]:
        """Hold a connection for the lock, the tracker and the work; or for work under a lock that is held already."""
        async with self._room.place(), self._shared.hold() as pool, self._link(pool) as link:
            session, pid = await self._begin(pool, link, under), link.connection.get_server_pid()
            self._pids.append(pid)
            try:
                yield session
            finally:
                self._pids.remove(pid)
                if under is None:
                    await session.end()

    async def _begin(self, pool: Any, link: Link, under: Lock | None) -> PostgresSession:
        """Find the tracker and the kind of lock. Raises TrackerAmbiguous."""
        row, place = await find(link, self._name, self._tracker)
        schema = place.schema if place else self._tracker or row["here"] or ""
        queries = Queries(schema, place.version if place else VERSION)
        tracker = PostgresTracker(self._name, link, queries, place, self._tracker)
        self._pooled = row["pid"] != link.connection.get_server_pid()
        if under is not None:
            lock = under
        elif self._pooled:
            lock = LeaseLock(self._name, link, queries, tracker, lambda: self._link(pool))
        else:
            lock = AdvisoryLock(self._name, link, queries, tracker)

        def lease(chore: str) -> ChoreLease:
            return ChoreLease(self._name, chore, link, queries, tracker)

        return PostgresSession(link, tracker, lock, lease, pooled=self._pooled, follower=row["standby"])

    @asynccontextmanager
    async def context(self, source: str = "", databases: Databases | None = None) -> AsyncIterator[Context]:
        """Hold a connection outside every transaction; in one that only reads where it is for a verify.

        A setting of the session in its place would stay behind in a pooler, and its next client could not write.
        """
        async with self._room.place(), self._shared.hold() as pool, self._link(pool) as link:
            context = Context(link, None, databases)
            with translated("run the script", link=link):
                try:
                    if source:
                        await link.execute("BEGIN READ ONLY", "begin the verify", limit=LIMIT)
                    await context.prepare(source)
                    yield context
                finally:
                    with suppress(MigratorError), translated("end the verify"):
                        await context.close()
                        if source and link.alive:
                            await to_the_end(link.execute("ROLLBACK", "end the verify", limit=ROLLBACK))

    @asynccontextmanager
    async def signals(self) -> AsyncIterator["PostgresSignals"]:
        """Open a connection beside the pool."""
        from migrator.adapters.postgres._signals import PostgresSignals

        pool = await self._open_once(1)
        try:
            async with self._link(pool) as link:
                yield PostgresSignals(link, lambda: None if self._pooled else list(self._pids))
        finally:
            await self._close(pool)

    def status(self) -> ConnectionStatus:
        """Say how the pool stands, and where its last connection leads."""
        host = self._connector.at or self._address.hosts[0]
        return self._shared.status()._replace(host=host.name, port=host.port, database=self._address.database)

    def make_room(self, connections: int, *, more: bool = False) -> None:
        """Let the pool grow to, or by, so many connections."""
        self._room.grow(self._room.size + connections if more else connections)

    def hold(self) -> AbstractAsyncContextManager[Any]:
        """Keep the pool open."""
        return self._shared.hold()

    async def force_close(self) -> None:
        """Close the pool whoever holds it."""
        await self._shared.force_close()

    async def identity(self) -> Mapping[str, str]:
        """Return the database's name and number, and the server's system identifier where this user may know it."""
        async with self._room.place(), self._shared.hold() as pool, self._link(pool) as link:
            (row,) = await link.fetch(_IDENTITY, (), "ask which database this is", limit=LIMIT)
            found = {"database": row["name"], "oid": row["number"]}
            with suppress(DatabaseError):
                (row,) = await link.fetch(_SYSTEM, (), "ask which server this is", limit=LIMIT)
                found["system identifier"] = row["number"]
            return found

    async def examine(self) -> Findings:
        """Look at the server for `doctor`."""
        async with self._room.place(), self._shared.hold() as pool, self._link(pool) as link:
            return [*await examine(link, self._name, self._tracker), *self._without_effect()]

    def _without_effect(self) -> Findings:
        """Return which parameters of the address have no effect."""
        lists = (("ok", self._address.ignored, ""), ("warn", self._address.warned, "Remove it if you can do without."))
        return [Finding(level, "address", f"ignored: {', '.join(each)}", hint) for level, each, hint in lists if each]

    async def _open(self) -> Any:
        """Open the pool; a refused connection is tried again for a moment, because a server may just be starting."""
        with suppress(ConnectionFailed):
            return await self._open_once(self._size)
        import stamina  # only now: it costs a tenth of a whole `status`
        import stamina.instrumentation

        stamina.instrumentation.set_on_retry_hooks([])  # the error at the end says it
        retry = stamina.retry_context(on=ConnectionFailed, attempts=ATTEMPTS, wait_initial=0.1, timeout=self._timeout)
        async for attempt in retry:
            with attempt:
                return await self._open_once(self._size)
        raise AssertionError("stamina raises the last error")

    async def _open_once(self, size: int) -> Any:
        """Open the pool with a session that the server ends when we fall silent, where the server lets us say so."""
        own = {"application_name": f"migrator:{self._name}"}
        with translated(f"connect to {self._shown}", connected=False):
            async with asyncio.timeout(self._timeout):
                try:
                    return await self._pool(size, {**_MORTAL, **self._address.settings, **own})
                except asyncpg.PostgresError as error:
                    if getattr(error, "sqlstate", "") not in _UNKNOWN_SETTING:
                        raise
                return await self._without_limits(size, own)

    async def _without_limits(self, size: int, own: dict[str, str]) -> Any:
        """Open the pool with the settings of the address alone. ConfigError where the server refuses one of them."""
        settings = self._address.settings
        try:
            return await self._pool(size, {**settings, **own})
        except asyncpg.PostgresError as error:
            if not settings or getattr(error, "sqlstate", "") not in _UNKNOWN_SETTING:
                raise
            raise ConfigError(
                f"{self._name}: the server does not take a parameter of the address: {error.args[0]}",
                state="Nothing was changed.",
                hint=f"These are neither libpq's nor known to migrator: {', '.join(settings)}. Correct or remove it.",
            ) from error

    async def _pool(self, size: int, settings: dict[str, str]) -> Any:
        return await asyncpg.create_pool(
            connect=self._connector,
            min_size=1,
            max_size=size,
            max_inactive_connection_lifetime=20,  # before the server ends it and complains in its log
            statement_cache_size=0,  # a cached plan does not survive the DDL that a revision runs
            connection_class=Connection,
            server_settings=settings,
            reset=self._reset,
        )

    async def _reset(self, connection: Any) -> None:
        """Make a connection fit for the next holder; behind a pooler its session is not ours to reset."""
        if self._pooled is None:
            self._pooled = await connection.fetchval(_BACKEND) != connection.get_server_pid()
        if not self._pooled:
            await connection.reset(timeout=CLOSE_TIMEOUT)

    async def _close(self, pool: Any) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def _link(self, pool: Any) -> AsyncIterator[Link]:
        """Lend a connection, and tell the server that its holder lives, however long the holder sends nothing."""
        async with self._connection(pool) as connection:
            link = Link(connection)
            link.end = self._end
            async with link.kept():
                yield link

    async def _end(self, pid: int) -> str:
        return "" if self._pooled else await end(self._beside(), pid)  # a pooler's pid is not one of the server

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[Link]:
        """Open a connection apart from the pool, in which there may be no place."""
        pool = await self._open_once(1)
        try:
            async with self._connection(pool) as connection:
                yield Link(connection)
        finally:
            await self._close(pool)

    @asynccontextmanager
    async def _connection(self, pool: Any) -> AsyncIterator[Any]:
        with translated(f"connect to {self._shown}", connected=False):
            connection = await pool.acquire(timeout=self._timeout)
        try:
            yield connection
        finally:
            # A connection that breaks now is not missed, and must not take the place of what ended the block.
            with suppress(MigratorError), translated("give the connection back"):
                await to_the_end(pool.release(connection, timeout=CLOSE_TIMEOUT))
