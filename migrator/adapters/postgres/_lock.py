"""The lock of one PostgreSQL database: a session advisory lock, and a row that tells people who holds it."""

import math
from zlib import crc32

from migrator.adapters.postgres._link import Link
from migrator.adapters.postgres._queries import Queries
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import ConnectionLost, DatabaseError, LockHeld, LockLost
from migrator.core.protocols import Holder, Owner

CLASS = 0x6D696772
"""The first key of the advisory lock, "migr"; the second is made of the tracker's schema."""


class PostgresLock:
    """Implements `core.protocols.Lock`.

    The lock is tried, never waited for, outside every transaction, on the connection that does the work: a waiting
    or an idle transaction would block CREATE INDEX CONCURRENTLY (references: reliability 3.2). It lives exactly as
    long as that connection, so it needs no lease.
    """

    lease = math.inf
    interval = 15.0

    def __init__(self, name: str, link: Link, queries: Queries, tracker: PostgresTracker) -> None:
        self._name = name
        self._link = link
        self._queries = queries
        self._tracker = tracker
        self._held = False

    @property
    def _keys(self) -> dict[str, int]:
        key = crc32(self._queries.schema.encode()) & 0x7FFFFFFF
        return {"class": CLASS, "key": key}

    async def acquire(self, owner: Owner) -> int:
        """Try once. Raises LockHeld with the holder."""
        keys = self._keys
        text = f"SELECT pg_catalog.pg_try_advisory_lock({keys['class']}, {keys['key']}) AS taken"
        if not (await self._link.fetch(text, (), "take the lock"))[0]["taken"]:
            holder = await self.holder()
            raise LockHeld(
                f"the lock of {self._name} is held by {holder or 'somebody who has not said who'}",
                state="Nothing was changed.",
                hint="Wait for it (`--lock-timeout 30m`), or look at `migrator status`.",
            )
        self._held = True
        await self._tracker.ensure()
        await self._tracker.prepare()
        rows = await self._link.fetch(
            self._queries.text("take", {**owner._asdict(), "owner": owner.token}), (), "take the lock"
        )
        return int(rows[0]["fence"])

    async def renew(self) -> None:
        """Keep the session alive; LockLost where it is gone."""
        if not self._link.idle:
            return
        try:
            await self._link.fetch("SELECT 1", (), "keep the lock")
        except ConnectionLost as error:
            raise LockLost(f"the lock of {self._name} is lost: {error.message}", hint=error.hint) from error

    async def holder(self) -> Holder | None:
        """Return who holds the advisory lock, None where nobody does or there is no tracker yet."""
        try:
            rows = await self._link.fetch(self._queries.text("holder", self._keys), (), "see who holds the lock")
        except DatabaseError:
            return None
        if not rows:
            return None
        row = rows[0]
        return Holder(row["host"], row["pid"], row["user"], row["since"] or "", row["doing"] or "")

    async def release(self) -> None:
        """Give the advisory lock back."""
        if not self._held:
            return
        self._held = False
        keys = self._keys
        text = f"SELECT pg_catalog.pg_advisory_unlock({keys['class']}, {keys['key']}) AS freed"
        if not (await self._link.fetch(text, (), "release the lock"))[0]["freed"]:
            raise LockLost(f"the lock of {self._name} was not ours any more when it was released")
