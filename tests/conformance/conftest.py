"""The place for a test, and the look around after it: nothing of ours may be left open."""

import os
from collections.abc import Callable, Iterator

import pytest

from migrator.adapters import memory
from migrator.testing import adapter_factory, nothing_left, session  # noqa: F401 - fixtures
from tests._servers import new_name
from tests.conformance._places import MemoryPlace, MongoPlace, Place, PostgresPlace
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
