"""Runs that go for good, with what is kept of long changes of which no run is left."""

from collections.abc import Sequence
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from migrator.adapters.mongo._rows import CHECKPOINTS, CONTROLS, FAILURES, TRACKER
from migrator.adapters.mongo._work import ours


async def drop(db: AsyncDatabase[dict[str, Any]], run_ids: Sequence[str], session: AsyncClientSession) -> int:
    """Delete those of these runs that are not live and return how many went."""
    rows = ours(db, TRACKER)
    wanted = {"_id": {"$in": list(run_ids)}, "superseded_by": {"$ne": ""}}
    doomed = [row async for row in rows.find(wanted, {"cursor": 1}, session=session)]
    if not doomed:
        return 0
    await rows.delete_many({"_id": {"$in": [row["_id"] for row in doomed]}}, session=session)
    cursors = [row["cursor"] for row in doomed if row.get("cursor")]
    for origin in {each.get(name) for each in cursors for name in ("origin", "failed_of")} - {None, ""}:
        its = {"$or": [{"cursor.origin": origin}, {"cursor.failed_of": origin}]}
        if await rows.find_one(its, {"_id": 1}, session=session) is None:
            await _forget(db, origin, session)
    return len(doomed)


async def _forget(db: AsyncDatabase[dict[str, Any]], origin: str, session: AsyncClientSession) -> None:
    await ours(db, CONTROLS).delete_one({"_id": origin}, session=session)
    for name in (CHECKPOINTS, FAILURES):
        await ours(db, name).delete_many({"origin": origin}, session=session)
