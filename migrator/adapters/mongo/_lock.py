"""The lock: a lease on the server's clock, and a fence that refuses whoever lost it.

`script_run_lock` holds `lease` (who, until when) and `fence` (the newest number). They are two documents because the
renewals would conflict with our own transactions. Neither is ever deleted, or the numbers would begin again.

On a sharded cluster the clock is that of the router that took the command, so the fence and not the clock decides.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError, WriteConcernError

from migrator.adapters.mongo._client import INDIRECT, followed
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._kill import kill_commands, kill_session
from migrator.adapters.mongo._rows import LOCK, TRACKER, iso
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import SHORT, Documents, Work
from migrator.core.errors import DatabaseError, LockHeld, LockLost, OutcomeUnknown, PermissionDenied
from migrator.core.protocols import Holder, Owner

LEASE = 15.0
INTERVAL = 3.0
RENEWAL = 5.0
"""Seconds that one write of the lease or the fence may take; what takes longer has failed."""

FAREWELL = 1.0
"""Seconds for giving the lock back to a server that did not answer the last time."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FREE = {"$expr": {"$lte": ["$expires", "$$NOW"]}}
TAKEN = {"$expr": {"$gt": ["$expires", "$$NOW"]}}
EXPIRES = {"$add": ["$$NOW", int(LEASE * 1000)]}
BEFORE = {"$cond": [{"$isArray": ["$before"]}, "$before", []]}
LEFT = {"$or": [{"$gt": ["$lsid", None]}, {"$gt": ["$appname", ""]}]}
WHO = {each: f"${each}" for each in ("lsid", "appname", "holder", "acquired_at")}
PREDECESSOR = {"$cond": [LEFT, [WHO], []]}


class MongoLock:
    """The sole right to change one database. Its commands have a session of their own, so that they never join a step's
    transaction, whichever task sends them.
    """

    lease = LEASE
    interval = INTERVAL

    def __init__(self, work: Work, tracker: MongoTracker, name: str, appname: str) -> None:
        self._work = work
        self._tracker = tracker
        self._name = name
        self._appname = appname
        self._token = ""

    @property
    def _lock(self) -> Documents:
        return self._work.home.of(LOCK)

    async def acquire(self, owner: Owner) -> int:
        """Take the lock at once or raise LockHeld. Returns the new fence, greater than any before.

        Ends the predecessor's open transaction and commands where this user may. Creates the tracker on first use.
        """
        self._need_primary()
        if self._work.home.is_first:
            await self._move(owner)
        return await self._acquired(owner)

    async def _move(self, owner: Owner) -> None:
        """Take the lock under the name of version 1, move the tracker, and give that lock back."""
        from migrator.adapters.mongo._moving import move

        await self._acquired(owner)
        try:
            with translated(f"{self._name}: move the tracker to a new version", own=True), pymongo.timeout(SHORT):
                await move(self._work.home)
        finally:
            await self.release()
        await self._tracker.look_again()

    async def _acquired(self, owner: Owner) -> int:
        with translated(f"{self._name}: take the lock", own=True), pymongo.timeout(SHORT):
            async with self._apart() as apart:
                lease = await self._take(owner, apart)
                if lease is None:
                    await self._seed(apart)
                    lease = await self._take(owner, apart)
        if lease is None:
            raise await self._held()
        self._token = owner.token
        try:
            return await self._entered(lease)
        except BaseException:
            await self._give_back(owner.token)
            raise

    async def renew(self) -> None:
        """Keep the lock for another lease. Raises LockLost, ConnectionLost where the server does not answer."""
        wanted = {"_id": "lease", "owner": self._token, **TAKEN}
        with translated(f"{self._name}: renew the lock", own=True), pymongo.timeout(RENEWAL):
            async with self._apart() as apart:
                answer = await self._lock.update_one(wanted, [{"$set": {"expires": EXPIRES}}], session=apart)
        if answer.matched_count != 1:
            self._token = ""
            raise self._lost()

    async def holder(self) -> Holder | None:
        """Return who holds the lock by the server's clock, and the run that is pending."""
        with translated(f"{self._name}: read the lock", own=True), pymongo.timeout(SHORT):
            async with self._apart() as apart:
                lease = await self._lock.find_one({"_id": "lease", **TAKEN}, session=apart)
                if lease is None:
                    return None
                return _holder(lease, await self._doing(apart))

    async def release(self) -> None:
        """Give the lock back; the lease stays as a document, run out. Does nothing where it is not held."""
        token, self._token = self._token, ""
        if not token:
            return
        limit = FAREWELL if self._work.silent else RENEWAL
        with translated(f"{self._name}: give the lock back", own=True), pymongo.timeout(limit):
            async with self._apart() as apart:
                # Where a transaction or a command of ours may still be open, the next holder gets its name and ends it.
                lsid = {} if self._work.doubtful else {"lsid": None}
                appname = {} if self._work.running else {"appname": ""}
                change = {"$set": {"expires": EPOCH, **lsid, **appname}}
                await self._lock.update_one({"_id": "lease", "owner": token}, change, session=apart)

    async def evict(self, by: Owner, reason: str) -> Holder | None:
        """End the holder's lease, then take it for a moment: that ends its session and commands, and shuts it out.

        Where somebody else is quicker, it is that one who does so.
        """
        self._need_primary()
        holder = await self.holder()
        if holder is None:
            return None
        told = {"by": f"{by.user}@{by.host}", "holder": str(holder), "reason": reason}
        with translated(f"{self._name}: end the lock's holder", own=True), pymongo.timeout(SHORT):
            async with self._apart() as apart:
                entry = {"$mergeObjects": [{"$literal": told}, {"at": "$$NOW"}]}
                kept = {"$concatArrays": [{"$ifNull": ["$evictions", []]}, [entry]]}
                change = [{"$set": {"expires": EPOCH, "evictions": kept}}]
                await self._lock.update_one({"_id": "lease"}, change, session=apart)
        with suppress(LockHeld):
            await self.acquire(by)
            await self.release()
        return holder

    def _need_primary(self) -> None:
        if followed(self._work.db.client):
            raise PermissionDenied(
                f"{self._name}: the address leads to a secondary, which takes no writes (directConnection=true)",
                state="Nothing was changed.",
                hint=INDIRECT,
            )

    def _apart(self) -> AsyncClientSession:
        return self._work.db.client.start_session()

    async def _take(self, owner: Owner, apart: AsyncClientSession) -> dict[str, Any] | None:
        """Take the lease where it has run out. `before` lists those whose work is to be ended: the holder of then,
        and any before that one, should it have died before it had ended theirs.
        """
        person = {"host": owner.host, "pid": owner.pid, "user": owner.user, "release": owner.release}
        change = {
            "owner": {"$literal": owner.token},
            "holder": {"$literal": person},
            "lsid": {"$literal": self._work.lsid},
            "appname": {"$literal": self._appname},
            "before": {"$concatArrays": [BEFORE, PREDECESSOR]},
            "fence": {"$add": [{"$ifNull": ["$fence", 0]}, 1]},
            "acquired_at": "$$NOW",
            "expires": EXPIRES,
        }
        try:
            return await self._lock.find_one_and_update(
                {"_id": "lease", **FREE}, [{"$set": change}], return_document=ReturnDocument.AFTER, session=apart
            )
        except (ConnectionFailure, WriteConcernError):
            # It may have taken effect though its answer was lost: the token is ours alone, so it can be looked up.
            with pymongo.timeout(RENEWAL):
                found = await self._lock.find_one({"_id": "lease", "owner": owner.token, **TAKEN}, session=apart)
            if found is None:
                await self._give_back(owner.token)
                raise
            return found

    async def _seed(self, apart: AsyncClientSession) -> None:
        """Create the two documents where they are missing, with numbers not below any that the tracker has seen."""
        highest = {"_id": None, "fence": {"$max": "$fence"}, "seq": {"$max": "$seq"}}
        found = [each async for each in await self._work.home.of(TRACKER).aggregate([{"$group": highest}])]
        lost = int(self._work.home.version > 0)  # a tracker without a fence was emptied: what it had counts as one run
        seen = found[0] if found else {"fence": 0, "seq": lost}
        await self._insert("fence", {"token": seen["fence"], "beat": 0, "seq": seen["seq"]}, apart)
        fence = await self._lock.find_one({"_id": "fence"}, session=apart) or {"token": 0}
        number = max(seen["fence"], fence["token"])
        empty = {"owner": "", "fence": number, "expires": EPOCH, "lsid": None, "appname": ""}
        await self._insert("lease", empty, apart)

    async def _insert(self, key: str, values: Mapping[str, Any], apart: AsyncClientSession) -> None:
        with suppress(DuplicateKeyError):  # another was faster
            await self._lock.update_one({"_id": key}, {"$setOnInsert": values}, upsert=True, session=apart)

    async def _entered(self, lease: Mapping[str, Any]) -> int:
        """Shut the predecessor out, and see that there is a tracker."""
        fence, before = int(lease["fence"]), lease["before"]
        with translated(f"{self._name}: take the lock", own=True), pymongo.timeout(SHORT):
            for each in before:
                if each["lsid"]:
                    await kill_session(self._work.db.client, each["lsid"])
                if each["appname"] and not await kill_commands(self._work.db, each["appname"]):
                    raise self._running_on()
            try:
                raised = await self._shut_out(fence)
            except PyMongoError as error:
                if isinstance(error, WriteConcernError) or not error.timeout:
                    raise
                await self.holder()  # raises where the server does not answer at all
                raise self._in_the_way(before) from error
            if before:
                mine = {"_id": "lease", "owner": self._token}
                async with self._apart() as apart:
                    await self._lock.update_one(mine, {"$set": {"before": []}}, session=apart)
        if not raised:
            raise self._lost()
        if not self._work.home.is_first:
            await self._tracker.ensure()
        return fence

    async def _shut_out(self, fence: int) -> bool:
        """Raise the fence, everywhere; False where a newer holder has raised it further.

        A transaction that has written it, or a batch that is open, makes these writes wait for its end.
        """
        older = {"_id": "fence", "token": {"$lt": fence}}
        async with self._apart() as apart:
            with pymongo.timeout(RENEWAL):
                answer = await self._lock.update_one(older, {"$set": {"token": fence}}, session=apart)
            await self._tracker.shut_out(fence, apart)
        return answer.matched_count == 1

    async def _give_back(self, token: str) -> None:
        self._token = token
        with suppress(DatabaseError, OutcomeUnknown):  # the first error is told; the lease runs out by itself
            await self.release()

    async def _doing(self, apart: AsyncClientSession) -> str:
        row = await self._work.home.of(TRACKER).find_one({"status": "pending"}, sort=[("_id", 1)], session=apart)
        return f"{row['direction']} {row['revision']}" if row else ""

    async def _held(self) -> LockHeld:
        holder = await self.holder()
        return LockHeld(
            f"{self._name} is locked by {holder or 'somebody who has just gone'}",
            state="Nothing was changed.",
            hint=f"Wait for it (a holder that has died keeps it for {LEASE:g} s; `--lock-timeout 30m`), or end it: "
            "`migrator unlock` shows whom that would hit.",
        )

    def _running_on(self) -> LockHeld:
        return LockHeld(
            f"{self._name}: a command of the holder before still runs on the server, and does not end when told to",
            state="Nothing was changed.",
            hint="Wait for it, or end it: `db.currentOp()` shows it under the appName migrator/...",
        )

    def _in_the_way(self, before: Sequence[Mapping[str, Any]]) -> LockHeld:
        """Return the error for a transaction that outlives the lease of its holder."""
        known = [each for each in before if each["lsid"]]
        who = " and of ".join(str(_holder(each, "")) for each in known) or "somebody unknown"
        ids = ", ".join(f'{{id: UUID("{each["lsid"]["id"].as_uuid()}")}}' for each in known)
        end = (
            f"`db.adminCommand({{killSessions: [{ids}]}})`, as the user who began it"
            if known
            else "`db.currentOp({transaction: {$exists: true}})` shows its `lsid`, "
            "`db.adminCommand({killSessions: [{id: ...}]})` ends it"
        )
        return LockHeld(
            f"{self._name} is locked by a transaction of {who}, which is still open on the server",
            state="Nothing was changed.",
            hint="Wait until the server ends it (by default after 60 s, transactionLifetimeLimitSeconds; "
            f"`--lock-timeout 5m`), or end it: {end}.",
        )

    def _lost(self) -> LockLost:
        return LockLost(
            f"{self._name}: the lock is somebody else's by now",
            state="The tracker refuses every write of this command from here on.",
            hint="Run the command again; it waits for the new holder and reads the tracker first.",
        )


def _holder(lease: Mapping[str, Any], doing: str) -> Holder:
    person = lease.get("holder") or {}
    return Holder(
        host=person.get("host", ""),
        pid=person.get("pid", 0),
        user=person.get("user", ""),
        since=iso(lease.get("acquired_at")),
        doing=doing,
    )


__all__ = ["EPOCH", "INTERVAL", "LEASE", "RENEWAL", "MongoLock"]
