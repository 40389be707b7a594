"""The collections of the tracker, with the rules that the server keeps. Idempotent, and harmless beside another."""

import asyncio
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, OperationFailure

from migrator.adapters.mongo._rows import CHECKPOINTS, CONTROLS, FAILURES, TRACKER, VALIDATOR
from migrator.adapters.mongo._work import DURABLE, ours
from migrator.core.run import Status

_PENDING = {"status": Status.PENDING.value}
_SUCCESS = {"status": Status.SUCCESS.value, "superseded_by": ""}


async def create(db: AsyncDatabase[dict[str, Any]]) -> None:
    """Create collections, validator and indexes where they are missing."""
    if not await _made(db, TRACKER, validator=VALIDATOR) and not await _is_guarded(db):
        await db.command({"collMod": TRACKER, "validator": VALIDATOR})
    await ours(db, TRACKER).create_indexes(
        [
            pymongo.IndexModel("lane", name="one_pending", unique=True, partialFilterExpression=_PENDING),
            pymongo.IndexModel("revision", name="one_success", unique=True, partialFilterExpression=_SUCCESS),
            pymongo.IndexModel([("superseded_by", 1), ("seq", 1)], name="live"),
            pymongo.IndexModel("cursor.origin", name="origin", sparse=True),
            pymongo.IndexModel("cursor.failed_of", name="failed_of", sparse=True),
        ]
    )
    beside = [ours(db, each) for each in (CHECKPOINTS, FAILURES)]
    await asyncio.gather(_made(db, CONTROLS), *(each.create_index("origin", name="origin") for each in beside))


async def _is_guarded(db: AsyncDatabase[dict[str, Any]]) -> bool:
    """Return whether the collection has the validator: to change one is a privilege that few users have."""
    found = [each async for each in await db.list_collections(filter={"name": TRACKER})]
    return any(each["options"].get("validator") == VALIDATOR for each in found)


async def _made(db: AsyncDatabase[dict[str, Any]], collection: str, **options: Any) -> bool:
    """Create a collection; False where another was faster, or an earlier attempt came so far."""
    try:
        await db.create_collection(collection, check_exists=False, write_concern=DURABLE, **options)
    except (CollectionInvalid, OperationFailure) as error:
        if getattr(error, "code", 48) not in (48, None):  # NamespaceExists
            raise
        return False
    return True
