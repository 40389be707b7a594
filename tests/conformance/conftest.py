"""The place for a test, and the look around after it: nothing of ours may be left open."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from migrator.adapters import memory
from migrator.core.protocols import Adapter, Session
from tests._servers import new_name
from tests.conformance._places import LIMIT, MemoryPlace, MongoPlace, Place, PostgresPlace
from tests.conftest import DOCKER, KINDS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run whatever asks for `place` on every chosen server; a test narrows them by `@pytest.mark.only("postgres")`."""
    if "place" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("backend")
    if not chosen or "all" in chosen:
        chosen = [*KINDS, *(DOCKER if os.environ.get("MIGRATOR_TEST_DOCKER") == "1" else ())]
    marks = list(metafunc.definition.iter_markers("only"))
    wanted = [name for name in chosen if all(any(part in name for part in mark.args) for mark in marks)]
    metafunc.parametrize("place", wanted, indirect=True)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, fresh_postgres: Callable[[str], str], fresh_mongo: Callable[[str], str]
) -> Iterator[Place]:
    """Give an empty database of the kind that the test is run for."""
    server: str = request.param
    found: Place
    if server == "memory":
        found = MemoryPlace(f"memory://here/{new_name()}")
    elif "postgres" in server:
        found = PostgresPlace(fresh_postgres(server))
    else:
        found = MongoPlace(fresh_mongo(server))
    found.create()
    yield found
    memory.store.cache_clear()


@pytest.fixture
def adapter_factory(place: Place) -> Callable[..., Adapter]:
    """Give a maker of adapters of one database."""
    return place.adapter


@pytest.fixture(autouse=True)
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


@pytest.fixture
async def session(place: Place, nothing_left: None) -> AsyncIterator[Session]:
    """Give a session that holds the lock with fence 1."""
    async with place.adapter().session() as opened:
        assert await opened.lock.acquire(place.owner()) == 1
        yield opened
