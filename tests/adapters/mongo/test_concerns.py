"""Read and write concerns of the address and of a script: they belong to the transaction, never to its commands."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pymongo import InsertOne, ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._session import MongoSession
from migrator.core.batch import Checkpoint
from migrator.core.errors import ConfigError, UsageError
from migrator.core.run import Effect, Status
from tests.adapters.mongo._ground import Ground

CONCERNS = [
    "w=majority",
    "w=1&journal=true",
    "retryWrites=true&w=majority&appName=Cluster0",
    "w=majority&wtimeoutMS=2500",
    "readConcernLevel=majority",
    "readConcernLevel=linearizable",
    "readConcernLevel=available",
    "readConcernLevel=snapshot",
    "readPreference=secondary",
    "readPreference=nearest&readPreferenceTags=dc:ny&maxStalenessSeconds=120",
    "retryWrites=false&retryReads=false",
    "timeoutMS=20000&maxPoolSize=1",
]


async def _everything(db: Any) -> None:
    """Send every kind of command that a transaction allows."""
    await db.things.insert_one({"_id": 1})
    await db.things.insert_many([{"_id": number} for number in range(2, 6)])
    await db.things.update_one({"_id": 1}, {"$set": {"seen": True}})
    await db.things.update_many({}, {"$set": {"seen": True}})
    await db.things.replace_one({"_id": 5}, {"seen": True})
    await db.things.bulk_write([InsertOne({"_id": 6, "seen": True})], ordered=False)
    await db.things.find_one_and_update({"_id": 6}, {"$inc": {"n": 1}})
    await db.things.delete_one({"_id": 6})
    await db.things.sub.insert_one({})
    await db["things"]["sub"].with_options(write_concern=WriteConcern("majority")).delete_many({})
    assert await db.things.count_documents({"seen": True}) == 5
    assert sorted(await db.things.distinct("_id")) == [1, 2, 3, 4, 5]
    assert [row["_id"] async for row in db.things.find().sort("_id").batch_size(2)] == [1, 2, 3, 4, 5]
    assert [row async for row in await db.things.aggregate([{"$count": "n"}])] == [{"n": 5}]
    made = await db.create_collection("made")
    await made.insert_one({})


async def _step(ground: Ground, session: MongoSession, ctx_body: Any) -> None:
    run = ground.run()
    await session.tracker.start(run)
    async with session.step(run, timeout=20, databases=ground.none) as ctx:
        await ctx_body(ctx.db)
        await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))


@pytest.mark.parametrize("options", CONCERNS)
async def test_options_of_the_address(ground: Ground, options: str) -> None:
    """A step in a transaction, a batch, a script outside and `doctor` work with every read and write concern."""
    ground.url += f"?{options}"
    async with ground.adapter().session() as session:
        assert await session.lock.acquire(ground.owner()) == 1
        await _step(ground, session, _everything)
        run = ground.run(run_id="run2", transactional=False, cursor={"origin": "run2"})
        async with session.step(run, timeout=0, databases=ground.none) as ctx:
            await _one_batch(ctx)
        async with session.step(ground.run(transactional=False), timeout=20, databases=ground.none) as ctx:
            await ctx.db.plain.insert_one({"_id": 1})
            assert await ctx.db.plain.count_documents({}) == 1
        await session.lock.release()
    assert ground.db.things.count_documents({"batched": True}) == 5
    assert {each.level for each in await ground.adapter().examine()} == {"ok"}
    async with ground.adapter().signals() as signals:
        assert await signals.oldest() >= 0.0


async def _one_batch(ctx: Context) -> None:
    walk, ledger = ctx.walk("things", (), None)
    extent = await walk.extent()
    old = await ledger.claim(Checkpoint(origin="run2", name="things", run_id="run2", fence=1, high=extent.high))
    page = await walk.page(None, old.high or (), 10)
    assert page is not None
    async with ledger.moved(old, replace(old, cursor=page.upto, batches=1, rows=page.size), seconds=5):
        await ctx.db.things.update_many(page.where, {"$set": {"batched": True}})


async def test_options_of_a_script(ground: Ground, session: MongoSession) -> None:
    """`with_options` and `get_collection` in a transaction: its own concerns count, and what fails takes all back."""

    async def body(db: Any) -> None:
        strict = {
            "write_concern": WriteConcern(w="majority", j=True, wtimeout=1000),
            "read_concern": ReadConcern("majority"),
            "read_preference": ReadPreference.SECONDARY,
        }
        await _everything(db.with_options(**strict))
        await db.get_collection("other", **strict).insert_one({"_id": 1})
        await db.client.get_database(ground.name, **strict).other.insert_one({"_id": 2})
        await db.client[ground.name].other.with_options(**strict).insert_one({"_id": 3})
        (await db.create_collection("late", **strict)).with_options(**strict)
        assert await db.client.get_default_database(**strict).other.count_documents({}) == 3

    with pytest.raises(ZeroDivisionError):
        await _step(ground, session, lambda db: _failing(body, db))
    assert not {"things", "other", "late", "made"} & set(ground.db.list_collection_names())


async def _failing(body: Any, db: Any) -> None:
    await asyncio.create_task(body(db))
    raise ZeroDivisionError


@pytest.mark.parametrize("options", ["w=0", "w=0&retryWrites=false", "W=0"])
def test_unacknowledged_writes_of_the_address(ground: Ground, options: str) -> None:
    """Refused before anything is connected: a write that the server refuses would be taken for done."""
    ground.url += f"?{options}"
    with pytest.raises(ConfigError, match="w=0"):
        ground.adapter()


async def test_unacknowledged_writes_of_a_script(ground: Ground, session: MongoSession) -> None:
    """Refused outside a transaction; inside one the transaction's concern counts, so the write is acknowledged."""
    silent = WriteConcern(0)
    async with session.step(ground.run(transactional=False), timeout=10, databases=ground.none) as ctx:
        for each in (
            ctx.db.with_options(write_concern=silent).things,
            ctx.db.get_collection("things").with_options(write_concern=silent),
        ):
            with pytest.raises(UsageError, match="w=0"):
                await each.insert_one({})
    assert ground.db.things.count_documents({}) == 0
