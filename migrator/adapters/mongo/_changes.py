"""What the tracker knows of long changes: how far they have come, what people want of them, what they passed over."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession

from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._kill import kill_session
from migrator.adapters.mongo._rows import CHECKPOINTS, CONTROLS, FAILURES
from migrator.adapters.mongo._work import SHORT, Work
from migrator.core.errors import TrackerRefused

if TYPE_CHECKING:
    from migrator.core.batch import Checkpoint, Control, FailedRow


class Changes:
    """The part of `core.protocols.Tracker` that reads and steers long changes."""

    def __init__(self, work: Work, name: str) -> None:
        self._work = work
        self._name = name

    async def checkpoints(self, origin: str) -> "list[Checkpoint]":
        """Return how far the loops of a long change have come, by name and slice."""
        from migrator.adapters.mongo._kept import checkpoint_of

        return [checkpoint_of(row) for row in await self._kept(CHECKPOINTS, origin, name=1, slice=1)]

    async def control(self, origin: str) -> "Control":
        """Return what people want of a long change now."""
        from migrator.adapters.mongo._kept import control_of

        with self._read():
            return control_of(await self._work.home.of(CONTROLS).find_one({"_id": origin}))

    async def ask(self, origin: str, control: "Control") -> None:
        """Put down what people want of a long change, and commit."""
        from migrator.adapters.mongo._kept import asked_of

        change = {"$set": asked_of(control), "$currentDate": {"at": True}}
        with translated(f"{self._name}: ask something of the change", writing=True), pymongo.timeout(SHORT):
            if not self._work.home.version:
                raise TrackerRefused(f"{self._name} has no tracker, so no long change to ask anything of")
            await self._work.home.of(CONTROLS).update_one({"_id": origin}, change, upsert=True)

    async def failures(self, origin: str) -> "list[FailedRow]":
        """Return the rows that the loops of a long change passed over, oldest first."""
        from migrator.adapters.mongo._kept import failed_of

        return [failed_of(row) for row in await self._kept(FAILURES, origin, at=1, _id=1)]

    async def shut_out(self, fence: int, session: AsyncClientSession) -> None:
        """Raise the fence of every checkpoint that is not done, so that no batch of an earlier holder commits any more.

        A batch that is open would keep us waiting, so the session of whoever claimed the checkpoint is ended first. One
        by one, because only that is tried again by the driver. Who claims one meanwhile meets the lock's own fence.
        """
        kept = self._work.home.of(CHECKPOINTS)
        older = {"done": False, "fence": {"$lt": fence}}
        async for row in kept.find(older, {"lsid": 1}, session=session):
            await kill_session(self._work.db.client, row["lsid"])
            await kept.update_one({"_id": row["_id"], **older}, {"$set": {"fence": fence}}, session=session)

    async def _kept(self, collection: str, origin: str, **order: int) -> list[Mapping[str, Any]]:
        with self._read():
            return [row async for row in self._work.home.of(collection).find({"origin": origin}).sort(order)]

    @contextmanager
    def _read(self) -> Iterator[None]:
        with translated(f"{self._name}: read what is kept of the change"), pymongo.timeout(SHORT):
            yield
