"""One connection for many holders: opened by the first, closed by the last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from migrator.core.errors import ConfigError, UsageError
from migrator.core.protocols import ConnectionStatus
from migrator.core.url import Url

T = TypeVar("T")

MOST = 100
"""How many connections a pool can ever grow to, unless the configuration gives it more."""

PATIENCE = 30.0
"""Seconds for which a connection of our own pool is waited for."""

CLOSE_TIMEOUT = 5.0
"""Seconds that closing may take before it is given up."""


class Shared(Generic[T]):
    """A connection (or a pool) with a count of those who hold it. It belongs to the event loop that opened it.

    It is passed explicitly and never found through a context variable: tasks would share it by accident
    (encode/databases #134, #230).
    """

    def __init__(
        self, url: Url, connect: Callable[[], Awaitable[T]], disconnect: Callable[[T], Awaitable[object]]
    ) -> None:
        self._url = url
        self._connect = connect
        self._disconnect = disconnect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._open: list[T] = []
        self._references = 0

    async def acquire(self) -> T:
        """Return the connection; the first holder opens it. Whatever opening raises leaves the count as it was."""
        self._bind()
        async with self._turn:
            if not self._open:
                self._open.append(await self._connect())
            self._references += 1
            return self._open[0]

    async def release(self) -> None:
        """Give one reference back; the last one closes. Runs to its end though the caller is cancelled."""
        await asyncio.shield(self._release())

    async def force_close(self) -> None:
        """Close now, whoever holds it, and count from zero again."""
        async with self._turn:
            self._references = 0
            await self._close()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[T]:
        """Hold a reference for the length of a block."""
        connection = await self.acquire()
        try:
            yield connection
        finally:
            await self.release()

    def status(self) -> ConnectionStatus:
        """Say how things stand."""
        return ConnectionStatus(bool(self._open), self._references, self._url.host, self._url.port, self._url.database)

    async def _release(self) -> None:
        async with self._turn:
            if self._references == 0:
                return
            self._references -= 1
            if self._references == 0:
                await self._close()

    async def _close(self) -> None:
        while self._open:
            connection = self._open.pop()
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._disconnect(connection)
            except TimeoutError:
                pass  # the server does not answer; the socket goes with the process

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._references:
                raise UsageError(
                    f"the connection to {self._url.database} belongs to another event loop",
                    hint="Open a Migrator in the loop that uses it, one for each loop.",
                )
            self._loop = loop
            self._turn = asyncio.Lock()


class Room:
    """How many connections of one pool may be in use at once. It grows when a command needs more, and never shrinks."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self.size = size
        self._free = asyncio.Semaphore(size)

    def grow(self, size: int) -> None:
        """Make room for so many connections."""
        for _ in range(min(size, MOST) - self.size):
            self._free.release()
        self.size = max(self.size, min(size, MOST))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place for the length of a block, in turn. Raises ConfigError where none is free for PATIENCE seconds:
        that is our own limit and tells nothing of the server.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise ConfigError(
                f"all {self.size} connections to {self._name} were in use for {PATIENCE:g} s",
                state="Nothing was sent to the server.",
                hint=f"Set a larger `pool` in [databases.{self._name}], then run the command again.",
            ) from None
        try:
            yield
        finally:
            self._free.release()


async def to_the_end(work: Awaitable[T]) -> T:
    """Run to the end whatever happens to the caller; a cancellation that came meanwhile is told at the next await.

    `work` must end by itself within a bounded time.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    caller = asyncio.current_task()
    if cancelled and caller is not None:
        caller.uncancel()  # the same cancellation once more, not a second one: time limits count them
        caller.cancel()
    return task.result()
