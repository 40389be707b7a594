"""The lock of one PostgreSQL database, in two forms that shut each other out.

On a direct connection it is a session advisory lock, which lives as long as the connection that does the work. Behind
a pooler in transaction mode such a lock holds nobody off and leaks (measured: 8 holders at once), so there it is a
lease in the lock's row, on the server's clock. Either way the row tells people who holds it, and its fence grows.
"""

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from migrator.adapters.postgres._abandoned import Vigil
from migrator.adapters.postgres._link import INTERVAL, LIMIT, Link
from migrator.adapters.postgres._place import keys
from migrator.adapters.postgres._queries import Queries
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import ConfigError, ConnectionLost, DatabaseError, LockHeld, LockLost, PermissionDenied
from migrator.core.protocols import Holder, Owner

LEASE = 15.0
ORPHANS = 8.0
"""Seconds to wait until what an interrupted run left at work has ended; the lease must not run out meanwhile."""

GONE = 30.0
"""Seconds to wait until the session of an evicted holder has ended on the server."""


class _RowOfLock(ABC):
    """What both forms share: the row."""

    def __init__(self, name: str, link: Link, queries: Queries, tracker: PostgresTracker) -> None:
        self._name = name
        self._link = link
        self._queries = queries
        self._tracker = tracker

    @property
    def _keys(self) -> Mapping[str, int]:
        return keys(self._queries.schema)

    async def holder(self) -> Holder | None:
        """Return who holds the lock in either form, None where nobody does or there is no tracker yet."""
        try:
            rows = await self._ask("holder", self._keys)
        except DatabaseError:
            return None
        if not rows:
            return None
        row = rows[0]
        return Holder(row["host"], row["pid"], row["user"], row["since"] or "", row["doing"] or "")

    async def evict(self, by: Owner, reason: str) -> Holder | None:
        """End the holder's session or lease; wait until the server says that the lock is free."""
        holder = await self.holder()
        if holder is None:
            return None
        values = {**self._keys, "by": f"{by.user}@{by.host}", "holder": str(holder), "reason": reason}
        await self._ask("evict", values)
        async with asyncio.timeout(GONE):
            while (await self._ask("advised", self._keys))[0]["held"]:  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.05)
        return holder

    async def _took(self, row: Any) -> int:
        """End what an interrupted run still does, before anybody judges it; return the fence."""
        self._tracker.used = row["used"]
        if row["interrupted"]:
            try:
                async with asyncio.timeout(ORPHANS):
                    while await self._ask("orphans", {}):  # noqa: ASYNC110 - only the server knows
                        await asyncio.sleep(0.05)
            except TimeoutError as error:
                await self.release()
                raise LockHeld(
                    f"what an interrupted run of {self._name} does on the server has not ended in {ORPHANS:g} s",
                    state="Nothing was changed.",
                    hint="Wait for it (`--lock-timeout 30m`), or end it on the server: pg_stat_activity shows it.",
                ) from error
        return int(row["fence"])

    @abstractmethod
    async def release(self) -> None:
        """Give the lock back."""

    async def _ask(self, query: str, values: Mapping[str, Any]) -> list[Any]:
        return await self._link.fetch(self._queries.text(query, values), (), "ask about the lock", limit=LIMIT)

    async def _held(self) -> LockHeld:
        return LockHeld(
            f"the lock of {self._name} is held by {await self.holder() or 'somebody who has not said who'}",
            state="Nothing was changed.",
            hint="Wait for it (`--lock-timeout 30m`), or end it: `migrator unlock` shows whom that would hit.",
        )

    def _values(self, owner: Owner, lease: float) -> dict[str, Any]:
        return {**owner._asdict(), **self._keys, "owner": owner.token, "lease": lease}


class AdvisoryLock(_RowOfLock):
    """Implements `core.protocols.Lock` on a direct connection.

    The lock is tried, never waited for, outside every transaction, on the connection that does the work: a waiting
    or an idle transaction would block CREATE INDEX CONCURRENTLY (references: reliability 3.2).
    """

    lease = math.inf
    interval = INTERVAL
    held = False

    def __init__(self, name: str, link: Link, queries: Queries, tracker: PostgresTracker) -> None:
        super().__init__(name, link, queries, tracker)
        self._vigil = Vigil(self._ask, name)

    async def acquire(self, owner: Owner) -> int:
        """Try once. Raises LockHeld with the holder."""
        await self._tracker.create()  # before the lock, whose key is that of its place
        if not (await self._ask("lock", self._keys))[0]["taken"]:
            with suppress(PermissionDenied):  # the holder is of another role
                await self._vigil.look(self._keys)
            raise await self._held()
        self.held = True
        try:
            await self._tracker.ensure()
            await self._tracker.prepare()
            rows = await self._ask("take", self._values(owner, 0.0))
            if not rows:
                raise await self._held()
        except LockHeld:
            await self.release()
            raise
        fence = await self._took(rows[0])
        self._link.guard = self._queries.text("guarded", self._keys)
        return fence

    async def renew(self) -> None:
        """Keep the session alive; LockLost where it is gone."""
        try:
            await self._link.ping()
        except ConnectionLost as error:
            raise LockLost(f"the lock of {self._name} is lost: {error.message}", hint=error.hint) from error

    async def release(self) -> None:
        """Give the advisory lock back. LockLost where it was not ours any more."""
        if not self.held:
            return
        self.held, self._link.guard = False, ""
        if not (await self._ask("unlock", self._keys))[0]["freed"]:
            raise LockLost(f"the lock of {self._name} was not ours any more when it was released")


class LeaseLock(_RowOfLock):
    """Implements `core.protocols.Lock` behind a pooler. `beside` opens a second connection for the renewals."""

    lease = LEASE
    interval = 3.0

    def __init__(
        self,
        name: str,
        link: Link,
        queries: Queries,
        tracker: PostgresTracker,
        beside: Callable[[], AbstractAsyncContextManager[Link]],
    ) -> None:
        super().__init__(name, link, queries, tracker)
        self._beside = beside
        self._token = ""
        self._until = math.inf
        """By our own clock; where another process holds the lease, as for a worker of a cluster, the fence says."""

    async def acquire(self, owner: Owner) -> int:
        """Try once. Raises LockHeld with the holder, ConfigError where the pooler has no transactions."""
        await self._need_transactions()
        await self._tracker.ensure()
        began = time.monotonic()
        rows = await self._ask("take", self._values(owner, LEASE))
        if not rows:
            raise await self._held()
        self._token, self._until = owner.token, began + LEASE
        return await self._took(rows[0])

    async def _need_transactions(self) -> None:
        """Refuse a pooler in statement mode: a transaction of several messages is cut there in the middle of a step."""
        try:
            await self._link.execute("BEGIN", "begin a transaction", limit=LIMIT)
            await self._link.execute("ROLLBACK", "end a transaction", limit=LIMIT)
        except DatabaseError as error:
            if "statement pooling mode" not in error.message:
                raise
            raise ConfigError(
                f"the address of {self._name} leads to a pooler in statement mode, which has no transactions",
                state="Nothing was changed.",
                hint="Give the server's own address as `direct_url` in migrator.toml, or a pooler in transaction mode.",
            ) from error

    def label(self, run_id: str) -> str:
        """Return what comes before a statement that no fence guards: the next holder finds and ends it by this.

        Raises LockLost where the lease has run out by our own clock: whoever was stopped meanwhile sends no more.
        """
        if time.monotonic() >= self._until:
            raise self._lost()
        return f"/* migrator:{run_id} */ "

    async def renew(self) -> None:
        """Keep the lease. Raises LockLost where it is somebody else's or has run out."""
        async with self._beside() as link:
            text = self._queries.text("renew", {"owner": self._token, "lease": LEASE})
            began = time.monotonic()
            if not await link.fetch(text, (), "renew the lock", limit=self.interval):
                raise self._lost()
            self._until = began + LEASE

    async def release(self) -> None:
        """Let the lease run out now."""
        token, self._token = self._token, ""
        if token:
            await self._ask("renew", {"owner": token, "lease": 0.0})

    def _lost(self) -> LockLost:
        return LockLost(
            f"the lease on {self._name} has run out, or somebody else has it by now",
            state="The tracker refuses every write of this command from here on.",
            hint="Run the command again; it reads the tracker under the lock first.",
        )
