"""Ending on the server what its client cannot end any more.

Neither a cancelled task nor a closed socket nor SIGKILL ends a running update or index build on MongoDB (measured: it
ran on for 17 s). A user may always end what runs under the user's own name; more is a privilege, and going without it
only means to wait.
"""

import asyncio
import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import OperationFailure

from migrator.adapters.mongo._client import admin

PATIENCE = 3.0
"""Seconds that a command gets to end after it was told to."""

PAUSE = 0.05
"""Seconds between two looks."""


async def kill_session(client: AsyncMongoClient[dict[str, Any]], lsid: Mapping[str, Any]) -> None:
    """End the commands and the transaction of a server session. Without it an orphan transaction blocks for 60 s.

    Returns where this user may not; raises where the server does not answer in time.
    """
    async with client.start_session() as apart:  # explicit: a bound session would take this command into itself
        try:
            await client.admin.command({"killSessions": [{"id": lsid["id"]}]}, session=apart)
        except OperationFailure as error:
            if error.timeout:  # also the driver's own, where the time was over before anything was sent
                raise


async def kill_commands(db: AsyncDatabase[dict[str, Any]], appname: str) -> bool:
    """End what the clients of this name run in the database, but not on our own collections, and wait for its end.

    Returns False where some of it still runs after `PATIENCE`. Best effort: what runs on other members of the set and
    what belongs to another user is not seen.
    """
    deadline = monotonic() + PATIENCE
    async with db.client.start_session() as apart:
        try:
            while found := await _running(db, appname, apart):
                for opid in found:
                    await db.client.admin.command({"killOp": 1, "op": opid}, session=apart)
                if monotonic() > deadline:
                    return False
                await asyncio.sleep(PAUSE)
        except OperationFailure as error:
            if error.timeout:
                raise
            return True  # not allowed
    return True


async def _running(db: AsyncDatabase[dict[str, Any]], appname: str, apart: AsyncClientSession) -> list[Any]:
    ns = f"^{re.escape(db.name)}\\.(?!script_run_)"
    wanted = {"appName": appname, "active": True, "ns": {"$regex": ns}}
    stages: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": wanted}, {"$project": {"opid": 1}}]
    return [each["opid"] async for each in await admin(db).aggregate(stages, session=apart)]
