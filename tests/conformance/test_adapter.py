"""The adapter: its shared connection, counted and closed; what it says when it cannot be opened."""

import asyncio
import re
import socket
from urllib.parse import quote

import pytest

from migrator.core.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DatabaseMissing,
    MigratorError,
    PermissionDenied,
)
from migrator.core.protocols import Adapter
from tests._servers import new_name, sql, with_database, with_user
from tests.conformance._places import Place

SERVERS = pytest.mark.only("postgres", "mongo")
PASSWORD = "p@ss/w:rd#%41 'x\""


def _port(place: Place) -> int:
    found = re.search(r":(\d+)/", place.url)
    return int(found[1]) if found else 0


async def _refusal(adapter: Adapter) -> MigratorError:
    with pytest.raises(MigratorError) as caught:
        async with adapter.session():
            pass
    assert (adapter.status().connected, adapter.status().references) == (False, 0)
    return caught.value


@SERVERS
async def test_nobody_answers(place: Place) -> None:
    """A port on which nobody listens is ConnectionFailed, exit 4, within the time for connecting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = place.url.replace(f":{_port(place)}/", f":{taken.getsockname()[1]}/")
        async with asyncio.timeout(10):
            error = await _refusal(place.adapter(url, connect_timeout=1.0))
    assert isinstance(error, ConnectionFailed)
    assert error.exit_code == 4
    assert error.hint


@SERVERS
async def test_somebody_answers_nothing(place: Place) -> None:
    """A port that takes connections and says nothing is ConnectionFailed within the time for connecting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = place.url.replace(f":{_port(place)}/", f":{silent.getsockname()[1]}/")
        async with asyncio.timeout(15):
            error = await _refusal(place.adapter(url, connect_timeout=1.0))
    assert isinstance(error, ConnectionFailed)


@pytest.mark.only("postgres")
async def test_a_wrong_password_is_refused_once(place: Place) -> None:
    """AuthenticationFailed, exit 5, after one attempt: more would lock an account."""
    user = new_name()
    sql(place.url, f"CREATE ROLE {user} LOGIN PASSWORD 'right' CONNECTION LIMIT 5")
    try:
        adapter = place.adapter(with_user(place.url, f"{user}:wrong"))
        error = await _refusal(adapter)
        assert isinstance(error, AuthenticationFailed)
        assert error.exit_code == 5
        assert "wrong" not in str(error.as_dict())
    finally:
        sql(place.url, f"DROP ROLE {user}")


@pytest.mark.only("postgres")
async def test_a_missing_database_is_named(place: Place) -> None:
    """DatabaseMissing, exit 4, with its name and how to create it."""
    error = await _refusal(place.adapter(with_database(place.url, "nowhere")))
    assert isinstance(error, DatabaseMissing)
    assert error.exit_code == 4
    assert "nowhere" in error.message
    assert error.hint


@pytest.mark.only("postgres")
async def test_a_user_who_may_not_create_is_told(place: Place) -> None:
    """The first use of the lock is PermissionDenied, exit 5, with a hint; reading works, and doctor sees it too."""
    user = new_name()
    sql(place.url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
    try:
        adapter = place.adapter(with_user(place.url, f"{user}:x"))
        async with adapter.session() as session:
            assert await session.tracker.runs() == []
            with pytest.raises(PermissionDenied) as caught:
                await session.lock.acquire(place.owner())
            assert caught.value.exit_code == 5
            assert caught.value.hint
        assert [found.subject for found in await adapter.examine() if found.level == "fail"] == ["rights"]
        async with place.adapter().session() as session:
            await session.lock.acquire(place.owner())
    finally:
        sql(place.url, f"DROP OWNED BY {user}", f"DROP ROLE {user}")


@pytest.mark.only("postgres")
@pytest.mark.parametrize("escaped", [True, False])
async def test_any_password_works_and_is_never_told(place: Place, escaped: bool) -> None:
    """Special characters, escaped or not, log in; with the wrong one nothing of it is in the message."""
    user = new_name()
    actual = PASSWORD if escaped else PASSWORD.replace("%41", "A")  # what an unescaped %41 is read as
    literal = actual.replace("'", "''")
    sql(place.url, f"CREATE ROLE {user} LOGIN PASSWORD '{literal}'")
    try:
        given = quote(PASSWORD, safe="") if escaped else PASSWORD
        adapter = place.adapter(with_user(place.url, f"{user}:{given}"))
        async with adapter.session() as session:
            assert await session.tracker.runs() == []
        assert PASSWORD not in repr(adapter.status())
        sql(place.url, f"ALTER ROLE {user} PASSWORD 'another'")
        error = await _refusal(adapter)
        assert isinstance(error, AuthenticationFailed)
        for secret in (PASSWORD, actual, given, quote(PASSWORD)):
            assert secret not in str(error.as_dict())
    finally:
        sql(place.url, f"DROP ROLE {user}")
