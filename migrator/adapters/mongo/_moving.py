"""Making the tracker and moving it to the newest version, in statements that may be repeated.

Only the holder of the lock does this. The document that says which version it is is written last, so whoever finds a
tracker that was left half way starts again.
"""

from typing import Any

from pymongo.errors import OperationFailure

from migrator.adapters.mongo._creating import create
from migrator.adapters.mongo._home import FENCE, SEAL, Database, Home
from migrator.adapters.mongo._rows import AUDIT, FIRST, LOCK, SCHEDULE, TOKENS, VERSION
from migrator.adapters.mongo._work import ours
from migrator.core.release import __version__

_GONE, _THERE = 26, 48
"""NamespaceNotFound and NamespaceExists."""


async def make(home: Home) -> None:
    """Create what is missing of the newest version, and say which version it is."""
    if home.place.name != home.db.name:
        pointer = {"$set": {"at": home.place.name}}
        await ours(home.db, LOCK).update_one(SEAL, pointer, upsert=True)
    if not home.version:  # in a tracker that was, a fence that is gone is how the loss of its runs is known
        new = {"$setOnInsert": {"token": 0, "beat": 0, "seq": 0}}
        await ours(home.place, LOCK).update_one(FENCE, new, upsert=True)
    await create(home.place)
    seal = {"version": VERSION, "made_by": __version__, "database": home.db.name}
    await ours(home.place, LOCK).update_one(SEAL, {"$set": seal}, upsert=True)


async def move(home: Home) -> None:
    """Take version 1 to the newest one; the lock of version 1 must be held, and is of no use afterwards.

    One prefix for all collections. `migrator_lock` stays, and tells a release that knows only version 1 that it is too
    old.
    """
    place = home.place
    if await ours(place, LOCK).find_one(SEAL):
        return  # another has done it while we waited for the lock
    await ours(place, FIRST[LOCK]).update_one(SEAL, {"$set": {"version": VERSION}}, upsert=True)
    for name in (SCHEDULE, AUDIT, TOKENS):
        await _renamed(place, FIRST[name], name)
    async for row in ours(place, FIRST[LOCK]).find({"_id": {"$ne": SEAL["_id"]}}):
        copy: dict[str, Any] = {**row, "before": [], "lsid": None, "appname": ""} if row["_id"] == "lease" else row
        await ours(place, LOCK).replace_one({"_id": row["_id"]}, copy, upsert=True)
    await ours(place, LOCK).update_one({"_id": "lease"}, [{"$set": {"expires": "$$NOW"}}])
    await make(Home(home.db, place, home.version))


async def _renamed(place: Database, old: str, new: str) -> None:
    try:
        await place.get_collection(old).rename(new)
    except OperationFailure as error:
        if error.code not in (_GONE, _THERE):
            raise
