"""Ending on the server what its client cannot end any more.

Neither a cancelled task nor a closed socket nor SIGKILL ends a running update or index build on MongoDB (measured: it
ran on for 17 s). A user may always end what runs under the user's own name; more is a privilege, and going without it
only means to wait.
"""

import re
from collections.abc import Mapping
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import OperationFailure

from migrator.adapters.mongo._rows import LOCK, TRACKER


async def kill_session(client: AsyncMongoClient[dict[str, Any]], lsid: Mapping[str, Any]) -> None:
    """End the commands and the transaction of a server session. Without it an orphan transaction blocks for 60 s."""
    async with client.start_session() as apart:  # explicit: a bound session would take this command into itself
        try:
            await client.admin.command({"killSessions": [{"id": lsid["id"]}]}, session=apart)
        except OperationFailure:
            return  # not allowed, or gone already


async def kill_commands(db: AsyncDatabase[dict[str, Any]], appname: str) -> int:
    """End what the clients of this name run in the database, but not on our own collections. Returns how many.

    Best effort: what runs on other members of the set and what belongs to another user is not seen.
    """
    ns = f"^{re.escape(db.name)}\\.(?!{LOCK}$|{TRACKER}$)"
    wanted = {"appName": appname, "active": True, "ns": {"$regex": ns}}
    async with db.client.start_session() as apart:
        try:
            stages: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": wanted}, {"$project": {"opid": 1}}]
            found = [each["opid"] async for each in await db.client.admin.aggregate(stages, session=apart)]
            for opid in found:
                await db.client.admin.command({"killOp": 1, "op": opid}, session=apart)
        except OperationFailure:
            return 0
    return len(found)
