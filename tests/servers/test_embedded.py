"""The embedded servers: shared by programs that know nothing of one another, and gone after the last. Real kills."""

import os
import signal
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.servers import _state

both = pytest.mark.parametrize("place", ["postgres", "mongo"], indirect=True)


@both
def test_two_programs_share_one_server(place: Any) -> None:
    """Two programs that attach to one folder get the same URL, and there is one server."""
    first, second = place.user(), place.user()
    assert first.url() == second.url()
    assert place.servers() == [place.state().pid]


@both
def test_the_last_one_stops_it(place: Any) -> None:
    """The server runs while one of two users is left, and is gone when that one leaves."""
    first, second = place.user(), place.user()
    first.url(), second.url()
    state = place.state()
    first.end()
    with place.attach() as third:
        assert third.url == state.url
        second.end()
        assert place.answers(state.port)
    place.until(lambda: place.gone(state))


@both
def test_a_killed_user_counts_no_more(place: Any) -> None:
    """A server whose only user was killed with -9 stops."""
    user = place.user()
    user.url()
    state = place.state()
    user.end(signal.SIGKILL)
    place.until(lambda: place.gone(state))


@both
async def test_a_killed_keeper_takes_its_server_along(place: Any) -> None:
    """After kill -9 of the keeper the server dies, and the next user finds on a new one what the old one held."""
    user = place.user()
    await place.keep(user.url())
    state = place.state()
    place.kill(state.keeper)
    with place.attach() as attached:
        assert place.state().keeper != state.keeper
        assert place.servers() == [place.state().pid] != [state.pid]
        assert await place.kept(attached.url)


@both
async def test_a_killed_server_is_started_again(place: Any) -> None:
    """After kill -9 of the server its keeper ends, and the next user finds what it held."""
    user = place.user()
    await place.keep(user.url())
    state = place.state()
    os.kill(state.pid, signal.SIGKILL)
    place.until(lambda: not _state.alive(state.keeper))
    with place.attach() as attached:
        assert await place.kept(attached.url)


@both
async def test_everything_killed_at_once(place: Any) -> None:
    """After kill -9 of the user, the keeper and the server, the next user gets a server with what the old one held."""
    user = place.user()
    await place.keep(user.url())
    state = place.state()
    place.kill(state.keeper, state.pid, user.program.pid)
    with place.attach() as attached:
        assert await place.kept(attached.url)


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_keeper_stops_the_server(place: Any, number: signal.Signals) -> None:
    """SIGTERM or SIGINT to the keeper stops its server, though it is used."""
    place.user().url()
    state = place.state()
    os.kill(state.keeper, number)
    place.until(
        lambda: [pid for pid in place.programs() if pid == state.keeper] == [] and not place.answers(state.port)
    )
    assert place.servers() == []


@both
def test_eight_at_the_same_moment(place: Any) -> None:
    """Eight programs that attach to a new folder at the same moment start one server."""
    users = [place.user() for _ in range(8)]
    assert len({user.url() for user in users}) == 1
    assert place.servers() == [place.state().pid]


@both
def test_users_that_come_and_go(place: Any) -> None:
    """Users that arrive while the server stops wait for its end and get a new one."""
    for _ in range(6):
        with place.attach() as attached:
            assert place.answers(place.port_of(attached.url))
            assert place.servers() == [place.state().pid]


def test_killed_while_it_is_made(place: Any) -> None:
    """Killing user and keeper in the middle of initdb leaves no half store: the next user gets a whole one."""
    user = place.user()
    place.until(lambda: list(place.folder.glob("store.new.*/base")))
    keepers = [pid for pid in place.programs() if "python" in psutil.Process(pid).name()]
    for pid in (user.program.pid, *keepers):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not (place.folder / "store").exists()
    with place.attach() as attached:
        assert place.answers(place.port_of(attached.url))


async def test_postgres_wants_the_password(place: Any) -> None:
    """The URL's password is accepted, another one is not."""
    import asyncpg

    with place.attach() as attached:
        assert await place.ask(attached.url, "SHOW server_encoding") == "UTF8"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(attached.url.replace("postgres:", "postgres:x", 1).replace("postgresx:", "postgres:"))


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Listen there and hang up on everybody. (Silence would do too, but mongod waits 30 seconds for an answer.)"""
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler, False) as server:
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("place", ["mongo"], indirect=True)
def test_mongo_on_another_port(place: Any) -> None:
    """A mongod whose old port was taken meanwhile is a writable primary with transactions on the new one."""
    with place.attach() as attached:
        assert place.transact(attached.url, 1) == 1
    place.until(lambda: not place.programs())
    old = place.port_of(attached.url)
    with taken(old), place.attach() as again:
        assert place.port_of(again.url) != old
        assert place.transact(again.url, 2) == 2
