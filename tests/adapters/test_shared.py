"""The shared connection: opened by the first, closed by the last, and never in the way of an end."""

import asyncio

import pytest

from migrator.adapters import _shared
from migrator.adapters._shared import Room, Shared
from migrator.core.errors import ConfigError, ConnectionFailed, UsageError
from migrator.core.protocols import ConnectionStatus
from migrator.core.url import Url

URL = Url.parse("postgresql://ann:secret@db.example:5433/shop", "the test")


class Server:
    """Counts what is opened and closed; a gate that is shut holds either up."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: list[int] = []
        self.refuses = False
        self.opening, self.closing = asyncio.Event(), asyncio.Event()
        self.may_open, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_open.set()
        self.may_close.set()
        self.shared = Shared(URL, self.open, self.close)

    async def open(self) -> int:
        self.opening.set()
        await self.may_open.wait()
        if self.refuses:
            raise ConnectionFailed("nobody answers")
        self.opened += 1
        return self.opened

    async def close(self, connection: int) -> None:
        self.closing.set()
        await self.may_close.wait()
        self.closed.append(connection)

    def status(self) -> tuple[bool, int]:
        status = self.shared.status()
        return status.connected, status.references


@pytest.fixture
def server() -> Server:
    """Give a server that has not been opened."""
    return Server()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let closing take a hundredth of a second at most."""
    monkeypatch.setattr(_shared, "CLOSE_TIMEOUT", 0.01)


async def test_many_at_once_open_it_once(server: Server) -> None:
    """Those who come while it is being opened wait for it and get the same one."""
    server.may_open.clear()
    tasks = [asyncio.create_task(server.shared.acquire()) for _ in range(20)]
    await server.opening.wait()
    server.may_open.set()
    assert await asyncio.gather(*tasks) == [1] * 20
    assert server.status() == (True, 20)
    for left in range(19, -1, -1):
        assert server.closed == []
        await server.shared.release()
        assert server.status() == (left > 0, left)
    assert server.closed == [1]


async def test_it_is_opened_again_after_the_last(server: Server) -> None:
    """Two holders one after the other get two connections, each closed."""
    for number in (1, 2):
        async with server.shared.hold() as connection:
            assert connection == number
    assert server.closed == [1, 2]


async def test_an_opening_that_fails_counts_nobody(server: Server) -> None:
    """All who wait get the error or try themselves, the count stays at zero, and later it can be opened."""
    server.refuses = True
    answers = await asyncio.gather(*(server.shared.acquire() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, ConnectionFailed) for answer in answers)
    assert server.status() == (False, 0)
    server.refuses = False
    async with server.shared.hold():
        assert server.status() == (True, 1)


async def test_an_opening_that_is_cancelled_counts_nobody(server: Server) -> None:
    """Whoever is cancelled while it is being opened holds nothing, and the next one can open it."""
    server.may_open.clear()
    task = asyncio.create_task(server.shared.acquire())
    await server.opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.status() == (False, 0)
    server.may_open.set()
    async with server.shared.hold():
        assert server.status() == (True, 1)


async def test_a_release_ends_though_it_is_cancelled(server: Server) -> None:
    """A cancellation during the close reaches the caller, and the connection is closed all the same."""
    server.may_close.clear()
    await server.shared.acquire()
    task = asyncio.create_task(server.shared.release())
    await server.closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.may_close.set()
    async with server.shared.hold():
        assert server.closed == [1]


async def test_an_error_in_the_block_gives_the_reference_back(server: Server) -> None:
    """Whatever is raised while it is held, the last holder closes it."""
    with pytest.raises(ZeroDivisionError):
        async with server.shared.hold():
            raise ZeroDivisionError
    assert (server.status(), server.closed) == ((False, 0), [1])


async def test_a_forced_close_asks_nobody(server: Server) -> None:
    """It closes under its holders and counts from zero; releases that come later do nothing."""
    await server.shared.acquire()
    await server.shared.acquire()
    await server.shared.force_close()
    assert (server.status(), server.closed) == ((False, 0), [1])
    await server.shared.force_close()
    await server.shared.release()
    assert (server.status(), server.closed) == ((False, 0), [1])


async def test_a_late_release_does_not_close_anothers(server: Server) -> None:
    """After a forced close, the end of an old holder leaves the connection of a new one alone."""
    async with server.shared.hold():
        await server.shared.force_close()
        async with server.shared.hold():
            assert server.status() == (True, 1)
    assert server.closed == [1, 2]


async def test_a_release_too_many_does_nothing(server: Server) -> None:
    """The count never falls below zero."""
    await server.shared.release()
    assert server.status() == (False, 0)
    async with server.shared.hold():
        assert server.status() == (True, 1)


def test_another_loop_is_refused() -> None:
    """A connection that is held belongs to its loop; the message says what to do. A closed one may move."""
    server = Server()
    with asyncio.Runner() as first:
        first.run(server.shared.acquire())
        with asyncio.Runner() as second, pytest.raises(UsageError, match="another event loop") as caught:
            second.run(server.shared.acquire())
        assert "loop" in caught.value.hint
        first.run(server.shared.release())
    with asyncio.Runner() as third:
        assert third.run(server.shared.acquire()) == 2
        third.run(server.shared.release())
    assert server.closed == [1, 2]


async def test_the_status_never_shows_a_password(server: Server) -> None:
    """It has the place and the count, and touches no network."""
    assert server.shared.status() == ConnectionStatus(False, 0, "db.example", 5433, "shop")
    assert "secret" not in repr(server.shared.status())
    assert server.opened == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("forced", [True, False])
async def test_a_close_that_hangs_is_given_up(server: Server, forced: bool) -> None:
    """A server that does not answer the close holds nobody up, and the next holder gets a new connection."""
    server.may_close.clear()
    await server.shared.acquire()
    async with asyncio.timeout(5):
        await (server.shared.force_close() if forced else server.shared.release())
    assert (server.status(), server.closed) == ((False, 0), [])
    server.may_close.set()
    async with server.shared.hold() as connection:
        assert connection == 2


async def test_a_holder_that_comes_during_the_close_gets_a_new_one(server: Server) -> None:
    """Opening waits for the close that is going on, and never returns what is being closed."""
    server.may_close.clear()
    await server.shared.acquire()
    leaving = asyncio.create_task(server.shared.release())
    await server.closing.wait()
    coming = asyncio.create_task(server.shared.acquire())
    server.may_close.set()
    assert await coming == 2
    await leaving
    assert (server.status(), server.closed) == ((True, 1), [1])
    await server.shared.release()


async def test_room_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are given in turn; where none is free for long, the error names the setting and blames no server."""
    monkeypatch.setattr(_shared, "PATIENCE", 0.01)
    room = Room("main", 1)
    async with room.place():
        with pytest.raises(ConfigError, match="all 1 connections to main were in use"):
            async with room.place():
                raise AssertionError
        room.grow(2)
        room.grow(1)
        async with room.place():
            with pytest.raises(ConfigError, match="all 2 connections"):
                async with room.place():
                    raise AssertionError
