"""The adapter: its shared connection, counted and closed."""

import asyncio
import re

import pytest

from migrator.core.errors import MigratorError
from migrator.core.protocols import Capabilities, ConnectionStatus
from migrator.testing._place import Place


def _port(place: Place) -> int:
    found = re.search(r":(\d+)/", place.url)
    return int(found[1]) if found else 0


async def test_an_adapter_says_what_it_is(place: Place) -> None:
    """The kind and its capabilities are those of the module."""
    adapter = place.adapter()
    assert adapter.kind == place.module.KIND
    assert adapter.capabilities == place.module.CAPABILITIES
    assert isinstance(adapter.capabilities, Capabilities)


async def test_the_connection_is_counted(place: Place) -> None:
    """It is open as long as somebody holds it, and the status says how many do, and where it goes."""
    adapter = place.adapter()
    where = (
        re.sub(r":[0-9]+$", "", place.url.partition("://")[2].partition("/")[0].rpartition("@")[2]),
        _port(place),
        place.url.partition("?")[0].rpartition("/")[2],
    )
    assert adapter.status() == ConnectionStatus(False, 0, *where)
    async with adapter.session():
        assert adapter.status() == ConnectionStatus(True, 1, *where)
        async with adapter.context() as ctx:
            await place.write(ctx, "a")
            assert adapter.status() == ConnectionStatus(True, 2, *where)
        assert adapter.status().references == 1
    assert adapter.status() == ConnectionStatus(False, 0, *where)


async def test_it_is_held_open(place: Place) -> None:
    """Whoever only holds it keeps it open from one session to the next, and takes no connection from the sessions."""
    adapter = place.adapter()
    async with adapter.hold():
        assert adapter.status()[:2] == (True, 1)
        for _ in range(2):
            async with adapter.session():
                assert adapter.status()[:2] == (True, 2)
            assert adapter.status()[:2] == (True, 1)
    assert adapter.status()[:2] == (False, 0)


async def test_a_context_reads_and_writes_by_itself(place: Place) -> None:
    """Outside every transaction each write is there at once."""
    async with place.adapter().context() as ctx:
        await place.write(ctx, "a")
        assert place.values() == ["a"]
        assert await place.read(ctx) == ["a"]


async def test_a_context_for_a_verify_reads(place: Place) -> None:
    """With the text of a script, reading works as ever."""
    adapter = place.adapter()
    async with adapter.context() as ctx:
        await place.write(ctx, "a")
    async with adapter.context("async def verify(ctx): ...") as ctx:
        assert await place.read(ctx) == ["a"]


async def test_an_error_in_a_session_gives_everything_back(place: Place) -> None:
    """Whatever is raised inside comes through, and the connection is closed."""
    adapter = place.adapter()
    with pytest.raises(ZeroDivisionError):
        async with adapter.session(), adapter.context():
            raise ZeroDivisionError
    assert adapter.status().connected is False


async def test_it_can_be_opened_again(place: Place) -> None:
    """After the last holder is gone the next one opens it anew."""
    adapter = place.adapter()
    for value in ("a", "b"):
        async with adapter.context() as ctx:
            await place.write(ctx, value)
    assert place.values() == ["a", "b"]


async def test_a_forced_close_does_not_ask_who_holds_it(place: Place) -> None:
    """Everything is closed at once, a second time does nothing, and the holder's own end is harmless."""
    adapter = place.adapter()
    try:
        async with adapter.session():
            async with asyncio.timeout(15):
                await adapter.force_close()
                await adapter.force_close()
            assert (adapter.status().connected, adapter.status().references) == (False, 0)
    except MigratorError:
        pass
    assert (adapter.status().connected, adapter.status().references) == (False, 0)


async def test_a_healthy_server_is_found_healthy(place: Place) -> None:
    """Before and after the first use the findings have a subject and a text, and none is bad."""
    adapter = place.adapter()
    for _ in range(2):
        findings = await adapter.examine()
        assert findings
        assert all(found.subject and found.text and found.level == "ok" for found in findings), findings
        async with adapter.session() as session:
            await session.lock.acquire(place.owner())
            await session.lock.release()
