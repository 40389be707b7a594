"""The right to do a chore: a document beside the lock's, on the server's clock."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._lock import EPOCH
from migrator.adapters.mongo._rows import LOCK, iso
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import SHORT, Documents, Work
from migrator.core.errors import LockHeld, LockLost
from migrator.core.protocols import Holder, Owner


class ChoreLease:
    """Implements `core.protocols.Lease` for one chore."""

    lease = 30.0
    interval = 5.0

    def __init__(self, work: Work, tracker: MongoTracker, name: str, chore: str) -> None:
        self._tracker = tracker
        self._name = name
        self._chore = chore
        self._key = {"_id": f"chore:{chore}"}
        self._work = work
        self._token = ""

    @property
    def _lock(self) -> Documents:
        return self._work.home.of(LOCK)

    async def acquire(self, owner: Owner) -> int:
        """Try once. Raises LockHeld with the holder."""
        await self._tracker.create()
        change = {
            "owner": {"$literal": owner.token},
            "holder": {"$literal": {"host": owner.host, "pid": owner.pid, "user": owner.user}},
            "fence": {"$add": ["$fence", 1]},
            "acquired_at": "$$NOW",
            "expires": _until(self.lease),
        }
        with self._told():
            with suppress(DuplicateKeyError):  # another was faster
                seed = {"$setOnInsert": {"owner": "", "fence": 0, "expires": EPOCH}}
                await self._lock.update_one(self._key, seed, upsert=True)
            free = {**self._key, "$expr": {"$lte": ["$expires", "$$NOW"]}}
            found = await self._lock.find_one_and_update(free, [{"$set": change}], return_document=ReturnDocument.AFTER)
        if found is None:
            raise LockHeld(
                f"{self._chore} of {self._name} is being done by {await self.holder() or 'somebody who has just gone'}",
                state="Nothing was changed.",
                hint="Let it finish; a holder that has died keeps it for half a minute.",
            )
        self._token = owner.token
        return int(found["fence"])

    async def renew(self) -> None:
        """Keep it. Raises LockLost where it is somebody else's or has run out."""
        if not await self._keep(self._token, self.lease):
            raise LockLost(f"{self._chore} of {self._name} is somebody else's by now", hint="Run the command again.")

    async def holder(self) -> Holder | None:
        """Return who does it now."""
        with self._told():
            found = await self._lock.find_one({**self._key, "$expr": {"$gt": ["$expires", "$$NOW"]}})
        return Holder(**found["holder"], since=iso(found["acquired_at"])) if found else None

    async def release(self) -> None:
        """Give it back."""
        token, self._token = self._token, ""
        if token:
            await self._keep(token, 0.0)

    async def _keep(self, token: str, lease: float) -> bool:
        mine = {**self._key, "owner": token, "$expr": {"$gt": ["$expires", "$$NOW"]}}
        with self._told():
            answer = await self._lock.update_one(mine, [{"$set": {"expires": _until(lease)}}])
        return answer.matched_count == 1

    @contextmanager
    def _told(self) -> Iterator[None]:
        with translated(f"{self._name}: ask about {self._chore}"), pymongo.timeout(SHORT):
            yield


def _until(seconds: float) -> Mapping[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
