"""The conformance suite, for the tests of an adapter in another distribution. It needs pytest and pytest-asyncio.

A test module of such a distribution gives the fixture `place` and takes the suite in:

    from migrator.testing.suite import *
    from migrator.testing import Place

    class DuckPlace(Place): ...

    @pytest.fixture
    def place():
        found = DuckPlace("duck://localhost/test")
        found.create()
        yield found
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from migrator.core.protocols import Adapter, Session
from migrator.testing._place import LIMIT, NoDatabases, Place, Row

__all__ = ["LIMIT", "NoDatabases", "Place", "Row", "adapter_factory", "nothing_left", "session"]


@pytest.fixture
def adapter_factory(place: Place) -> Callable[..., Adapter]:
    """Give a maker of adapters of one database."""
    return place.adapter


@pytest_asyncio.fixture(autouse=True)
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After the test: no connection is open, no reference held, no task left."""
    place: Place = request.getfixturevalue("place")
    before = asyncio.all_tasks()
    yield
    held = [made.status() for made in place.made if made.status().connected or made.status().references]
    for made in place.made:
        await made.force_close()
    assert held == [], "the test or the adapter left a connection open"
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=LIMIT)
    assert tasks == set(), "a task is left"
    assert await asyncio.to_thread(place.connections) == 0, "a connection is left on the server"


@pytest_asyncio.fixture
async def session(place: Place, nothing_left: None) -> AsyncIterator[Session]:
    """Give a session that holds the lock with fence 1."""
    async with place.adapter().session() as opened:
        assert await opened.lock.acquire(place.owner()) == 1
        yield opened
