"""What a MongoDB set says of itself while a long change runs. Nothing is changed."""

import math
import time
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.server_type import SERVER_TYPE

from migrator.adapters.mongo._client import admin
from migrator.adapters.mongo._errors import translated
from migrator.core.errors import UsageError
from migrator.core.throttle import Lag, Trail

LIMIT = 5.0
"""Seconds for one answer."""

HEARTBEAT = 1000
"""Milliseconds between two looks of the driver at each member: as fine as the lag can be known."""


class MongoSignals:
    """Implements `core.throttle.Signals`, but for `waiters`: no server says who waits for whom.

    `db` is on a client of its own, whose `heartbeatFrequencyMS` is `HEARTBEAT`; `appname` names our clients.
    """

    def __init__(self, db: AsyncDatabase[dict[str, Any]], name: str, appname: str) -> None:
        self._db = db
        self._name = name
        self._appname = appname
        self._trail = Trail()
        self._writes: dict[tuple[str, int | None], float] = {}

    async def lag(self) -> Lag | None:
        """Return the secondary that is furthest behind, from what the driver hears from every member by itself.

        A member that falls silent is where it was last seen, so that its lag grows. One that has never answered is not
        counted, and neither is anybody where the driver talks to one server only, or to a mongos.
        """
        now, members = time.monotonic(), self._db.client.topology_description.server_descriptions()
        primary = next((each for each in members.values() if each.server_type == SERVER_TYPE.RSPrimary), None)
        if primary is None or primary.last_write_date is None:
            return None
        self._writes = {address: write for address, write in self._writes.items() if address in members}
        for address, each in members.items():
            if each.server_type == SERVER_TYPE.RSSecondary and each.last_write_date is not None:
                self._writes[address] = each.last_write_date
        self._writes.pop(primary.address, None)
        if not self._trail.known and self._writes:
            oldest = min(self._writes.values())
            self._trail.mark(now - max(0.0, primary.last_write_date - oldest), math.nextafter(oldest, math.inf))
        self._trail.mark(now, primary.last_write_date)
        lags = [Lag(f"{host}:{port}", self._trail.behind(now, at)) for (host, port), at in self._writes.items()]
        return max(lags, key=lambda lag: lag.seconds, default=None)

    async def waiters(self) -> int:
        """Raise: see the class."""
        raise UsageError("MongoDB does not say who waits for a lock")

    async def oldest(self) -> float:
        """Return the age of the oldest transaction of somebody else. Needs the privilege `inprog`."""
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleSessions": True}},
            {"$match": {"transaction.timeOpenMicros": {"$gt": 0}, "appName": {"$ne": self._appname}}},
            {"$group": {"_id": None, "oldest": {"$max": "$transaction.timeOpenMicros"}}},
        ]
        with translated(f"{self._name}: look at the transactions"), pymongo.timeout(LIMIT):
            found = [each async for each in await admin(self._db).aggregate(stages)]
        return float(found[0]["oldest"]) / 1e6 if found else 0.0

    async def value(self, query: Any) -> Any:
        """Run a command and return the first field of its first document but `_id`; of `count` what it counted."""
        with translated(f"{self._name}: run the throttle's query"), pymongo.timeout(LIMIT):
            answer = await self._db.command(dict(query))
        if "cursor" not in answer:
            if "n" in answer:
                return answer["n"]
            raise UsageError("the throttle's query is no find, aggregate or count")
        found = answer["cursor"]["firstBatch"]
        values = [value for name, value in found[0].items() if name != "_id"] if found else [None]
        return values[0] if values else True
