"""One PostgreSQL database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from migrator.adapters._shared import CLOSE_TIMEOUT, Shared
from migrator.adapters.postgres import CAPABILITIES, KIND
from migrator.adapters.postgres._context import Context
from migrator.adapters.postgres._errors import translated
from migrator.adapters.postgres._examine import examine
from migrator.adapters.postgres._link import Connection, Link
from migrator.adapters.postgres._session import PostgresSession
from migrator.core.errors import ConnectionFailed
from migrator.core.protocols import ConnectionStatus, Databases, Findings
from migrator.core.url import Url

DEFAULT_PORT = 5432
ATTEMPTS = 3
"""How often a refused connection is tried again."""


class PostgresAdapter:
    """Implements `core.protocols.Adapter` over one small pool."""

    kind = KIND
    capabilities = CAPABILITIES

    def __init__(self, name: str, url: Url, *, pool: int, connect_timeout: float, release: str) -> None:
        self._name = name
        self._url = url
        self._size = pool
        self._timeout = connect_timeout
        self._release = release
        self._shared: Shared[Any] = Shared(url, self._open, self._close)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PostgresSession]:
        """Hold a connection for the lock, the tracker and the work."""
        async with self._shared.hold() as pool, self._connection(pool) as connection:
            session = await PostgresSession.begin(self._name, Link(connection))
            try:
                yield session
            finally:
                await session.end()

    @asynccontextmanager
    async def context(self, source: str = "", databases: Databases | None = None) -> AsyncIterator[Context]:
        """Hold a connection outside every transaction; read-only where it is for a verify."""
        async with self._shared.hold() as pool, self._connection(pool) as connection:
            context = Context(Link(connection), None, databases)
            with translated("run the script"):
                if source:
                    await connection.execute("SET default_transaction_read_only = on")
                await context.prepare(source)
                try:
                    yield context
                finally:
                    await context.close()

    def status(self) -> ConnectionStatus:
        """Say how the pool stands."""
        return self._shared.status()

    async def force_close(self) -> None:
        """Close the pool whoever holds it."""
        await self._shared.force_close()

    async def examine(self) -> Findings:
        """Look at the server for `doctor`."""
        async with self._shared.hold() as pool, self._connection(pool) as connection:
            return await examine(connection)

    async def _open(self) -> Any:
        """Open the pool; a refused connection is tried again for a moment, because a server may just be starting."""
        with suppress(ConnectionFailed):
            return await self._open_once()
        import stamina  # only now: it costs a tenth of a whole `status`

        retry = stamina.retry_context(on=ConnectionFailed, attempts=ATTEMPTS, wait_initial=0.1, timeout=self._timeout)
        async for attempt in retry:
            with attempt:
                return await self._open_once()
        raise AssertionError("stamina raises the last error")

    async def _open_once(self) -> Any:
        with translated(f"connect to {self._url}", connected=False):
            pool = asyncpg.create_pool(
                dsn=self._url.bare("postgresql"),
                user=self._url.user or None,
                password=self._url.password or None,
                min_size=1,
                max_size=self._size,
                timeout=self._timeout,
                statement_cache_size=0,  # a cached plan does not survive the DDL that a revision runs
                connection_class=Connection,
                server_settings={"application_name": f"migrator:{self._name}"},
            )
            async with asyncio.timeout(self._timeout):
                return await pool

    async def _close(self, pool: Any) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def _connection(self, pool: Any) -> AsyncIterator[Any]:
        with translated(f"connect to {self._url}", connected=False):
            connection = await pool.acquire(timeout=self._timeout)
        try:
            yield connection
        finally:
            with translated("give the connection back"):
                await asyncio.shield(pool.release(connection, timeout=CLOSE_TIMEOUT))
