"""The databases of one configuration: adapters made on first use, embedded servers started on first use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from migrator import plugins
from migrator.config import Config, Database
from migrator.core.errors import ConfigError, DatabaseError, UsageError
from migrator.core.protocols import Adapter, Identified
from migrator.core.url import Url


class Connections:
    """Implements `core.protocols.Databases` for scripts, and hands adapters to the commands."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._adapters: dict[str, Adapter] = {}
        self._urls: dict[str, Url] = {}
        self._servers = AsyncExitStack()
        self._turn = asyncio.Lock()
        self._turns: dict[str, asyncio.Lock] = {}
        self._room = 0
        self._closed = False
        self._compared: set[str] = set()

    def make_room(self, jobs: int) -> None:
        """Let each adapter hold a connection for each job, one for the lock, and one beside."""
        self._room = max(self._room, jobs + 2)
        for adapter in self._adapters.values():
            adapter.make_room(self._room)

    def refuse_closed(self) -> None:
        """Raise UsageError where these connections were closed with their Migrator."""
        if self._closed:
            raise UsageError(
                "this Migrator is closed",
                state="Nothing was changed.",
                hint="Use it inside of its block: `async with Migrator.open() as m: ...`.",
            )

    def turn(self, name: str) -> asyncio.Lock:
        """Return what the commands that change a database take one after another, before they take a connection."""
        return self._turns.setdefault(name, asyncio.Lock())

    async def adapter(self, name: str) -> Adapter:
        """Return the adapter of a database. Raises ConfigError, DependencyMissing, and UsageError once closed."""
        self.refuse_closed()
        async with self._turn:
            if name not in self._adapters:
                url = self._urls[name] = await self._url(name)
                self._adapters[name] = self._made(self._config.database(name), url)
            return self._adapters[name]

    def _made(self, database: Database, url: Url) -> Adapter:
        module = plugins.adapter(url.scheme)
        made: Adapter = module.adapter(
            database.name,
            url,
            pool=max(database.pool, self._room),
            connect_timeout=database.connect_timeout,
            release=self._config.release,
            **_place(database, module),
        )
        return made

    async def refuse_another(self, name: str) -> str:
        """Raise ConfigError where `url` and `direct_url` of a database lead to two databases; asked once.

        Returns why they could not be compared, "" where they were or need not be: the address of a pooler may be out of
        reach from here.
        """
        database = self._config.database(name)
        if database.pooled is None or name in self._compared:
            return ""
        there, beside = await self.adapter(name), self._made(database, database.pooled)
        if not isinstance(there, Identified) or not isinstance(beside, Identified):
            return ""
        ours = await there.identity()
        try:
            others = await beside.identity()
        except DatabaseError as error:
            return error.message
        finally:
            await beside.force_close()
        unlike = [(word, ours[word], others[word]) for word in ours if others.get(word, ours[word]) != ours[word]]
        if unlike:
            told = "; ".join(f"{word} {one!r} at direct_url, {other!r} at url" for word, one, other in unlike)
            raise ConfigError(
                f"url and direct_url of {name} lead to two databases: {told}",
                state="Nothing was changed.",
                hint=f"Correct one of them in [databases.{name}] of migrator.toml: both are the same database, once "
                "through the pooler and once around it.",
            )
        self._compared.add(name)
        return ""

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        """Open a context of a database, outside every transaction."""
        adapter = await self.adapter(name)
        async with adapter.context() as context:
            yield context

    def address(self, name: str) -> str:
        """Return where a database is, for people."""
        database = self._config.database(name)
        return f"embedded:{database.embedded}" if database.embedded else str(database.url)

    async def close(self) -> None:
        """Close what is open, and detach from the embedded servers."""
        self._closed = True
        for adapter in self._adapters.values():
            await adapter.force_close()
        self._adapters.clear()
        await self._servers.aclose()

    async def _url(self, name: str) -> Url:
        database = self._config.database(name)
        if not database.embedded:
            return database.url
        server = plugins.server(database.embedded)
        attached = await asyncio.to_thread(server.attach, self._config.root / ".migrator" / name)
        self._servers.push_async_callback(asyncio.to_thread, attached.close)
        return Url.parse(attached.url, f"the embedded server of {name}")


def _place(database: Database, module: Any) -> dict[str, str]:
    """Return where the tracker is to be, as an option of the adapter. ConfigError where the key is for another kind."""
    key, value = database.tracker
    if not key:
        return {}
    if key != getattr(module, "TRACKER_KEY", ""):
        raise ConfigError(
            f"databases.{database.name}.{key} does not apply to a database of kind {module.KIND}",
            state="Nothing was changed.",
            hint="tracker_schema is for PostgreSQL, tracker_database for MongoDB.",
        )
    return {"tracker": value}
