"""A database of its own for a test, and a look at it from outside of the adapter."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import pymongo

from migrator.adapters.mongo import adapter
from migrator.adapters.mongo._adapter import MongoAdapter
from migrator.core.protocols import Databases, Owner
from migrator.core.run import Run
from migrator.core.url import Url


class NoDatabases(Databases):
    """A step that opens no other database."""

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        yield await self._none(name)

    async def _none(self, name: str) -> Any:
        raise AssertionError(name)


class Ground:
    """A database on the server: adapters of it, and a look at it from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = url.rpartition("/")[2]
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url)
        self.db = self.client[self.name]
        self.none = NoDatabases()

    def adapter(self, **changes: Any) -> MongoAdapter:
        found = adapter("main", Url.parse(self.url, "test"), release="1.2", **changes)
        assert isinstance(found, MongoAdapter)
        return found

    def lease(self) -> Any:
        """Return when the lease runs out."""
        found = self.db["script_run_lock"].find_one({"_id": "lease"})
        assert found is not None
        return found["expires"]

    def owner(self, user: str = "ann") -> Owner:
        return Owner(token=uuid4().hex, host="pod-1", pid=7, user=user, release="1.2")

    def run(self, fence: int = 1, **changes: Any) -> Run:
        values: dict[str, Any] = {
            "run_id": uuid4().hex,
            "revision": "aa11",
            "source": "text",
            "path": "revisions/aa11.py",
            **changes,
        }
        return Run(database="main", fence=fence, **values)

    def rows(self) -> list[dict[str, Any]]:
        return list(self.db["script_run_tracker"].find().sort("seq"))

    def expire(self) -> None:
        """Let the lease run out at once, as if its time had gone by."""
        self.db["script_run_lock"].update_one({"_id": "lease"}, [{"$set": {"expires": {"$subtract": ["$$NOW", 1]}}}])

    @contextmanager
    def failing(self, command: str, times: int | None = 1, **changes: Any) -> Iterator[None]:
        """Let the server fail a command; the fault must fire, or the test fails."""
        mode: Any = "alwaysOn" if times is None else {"times": times}
        wanted = {"failCommands": [command], "failInternalCommands": False, **changes}
        before = self.client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": wanted})
        try:
            yield
        finally:
            after = self.client.admin.command("configureFailPoint", "failCommand", mode="off")
            assert after["count"] > before["count"], f"the fault in {command} never fired"
