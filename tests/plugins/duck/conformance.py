"""The conformance suite on the adapter, as its own distribution runs it."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from duck import adapter as duck  # type: ignore[import-not-found] # it is installed where this runs
from migrator.adapters import memory
from migrator.core.url import Url
from migrator.testing import Place, Row
from migrator.testing.suite import *  # noqa: F403


class DuckPlace(Place):
    """A store of this program."""

    module = duck

    def _store(self) -> memory.Store:
        return memory.store(Url.parse(self.url, "the test").database)

    def create(self) -> None:
        self._store()

    async def write(self, ctx: Any, value: str) -> None:
        ctx.store[value] = True

    async def read(self, ctx: Any) -> list[str]:
        return sorted(ctx.store)

    def values(self) -> list[str]:
        return sorted(self._store().things)

    def rows(self) -> list[Row]:
        rows = (self._store().rows or {}).values()
        return [(run.run_id, str(run.status), str(run.effect), run.superseded_by) for run in rows]

    async def sleep(self, ctx: Any) -> None:
        import asyncio

        await asyncio.sleep(60)

    def set_version(self, version: int) -> None:
        self._store().version = version

    def lapse(self) -> None:
        self._store().owner = None


@pytest.fixture
def place() -> Iterator[Place]:
    """Give an empty database."""
    found = DuckPlace(f"duck://pond/{uuid4().hex}")
    found.create()
    yield found
    memory.store.cache_clear()
