"""Transactions that are left open: whoever leaves one ends it, and whoever finds one waits for its end."""

# ruff: noqa: PT012 - a step is a block, and what is in it is the test

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
import pytest

from migrator.adapters.mongo import _lock, _tracker, _work
from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import DatabaseError, LockHeld
from migrator.core.events import Event, LockTaken
from migrator.runtime import lease
from tests.adapters.mongo._ground import Ground

ENDINGS: dict[str, Any] = {"failCommands": ["killSessions", "abortTransaction"]}


def opened(ground: Ground) -> list[Any]:
    """Return the names of those clients of ours that have a transaction open on the server."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"idleSessions": True}},
        {"$match": {"appName": {"$regex": "^migrator/"}}},
    ]
    return [each["appName"] for each in ground.client.admin.aggregate(stages) if "transaction" in each]


@contextmanager
def left_open(ground: Ground) -> Iterator[Any]:
    """Have a transaction open that has written the fence and whose session nobody knows."""
    with ground.client.start_session() as session, session.start_transaction():
        ground.db["script_run_lock"].update_one({"_id": "fence"}, {"$inc": {"beat": 1}}, session=session)
        yield session


async def test_it_is_ended_though_the_time_of_the_call_is_over(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short transaction of ours that has used up the time of its call is over on the server when the call returns."""
    monkeypatch.setattr(_tracker, "LIMIT", 0.3)
    with ground.failing("update", blockConnection=True, blockTimeMS=1000), pytest.raises(DatabaseError):
        await session.tracker.start(ground.run())
    assert opened(ground) == []
    assert ground.rows() == []


async def test_a_broken_link_is_told_again(ground: Ground, session: MongoSession, until: Any) -> None:
    """Where the link breaks while the server is told to end a transaction, it is told over another one."""
    ground.db.things.insert_many([{"_id": number} for number in range(500)])
    stages: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": {"ns": f"{ground.name}.things"}}]

    async def work() -> None:
        async with session.step(ground.run(), timeout=0, databases=ground.none) as ctx:
            await ctx.db.things.update_many({"$where": "sleep(100) || true"}, {"$set": {"seen": True}})

    task = asyncio.create_task(work())
    await until(lambda: list(ground.client.admin.aggregate(stages)))
    with ground.failing("killSessions", closeConnection=True):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert opened(ground) == []


@pytest.mark.parametrize("fault", [{"errorCode": 50}, {"errorCode": 13}, {"closeConnection": True}])
async def test_what_could_not_be_ended_is_left_to_the_next(
    ground: Ground, session: MongoSession, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that cannot end its transaction leaves its name with the lock, and the next one ends it at once."""
    monkeypatch.setattr(_work, "ABORT", 0.3)
    with ground.failing("killSessions", None, **ENDINGS, **fault), pytest.raises(ZeroDivisionError):
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            raise ZeroDivisionError
    assert opened(ground), "the transaction ended by itself, so this test shows nothing"
    await session.lock.release()
    async with ground.adapter().session() as newer:
        assert await newer.lock.acquire(ground.owner("bob")) == 2
    assert opened(ground) == []


async def test_one_that_may_not_be_ended_is_told(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the predecessor's transaction may not be ended, its holder is named, and the lock goes to nobody."""
    monkeypatch.setattr(_lock, "RENEWAL", 0.3)
    with pytest.raises(DatabaseError):
        async with session.step(ground.run(), timeout=30, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            ground.expire()
            async with ground.adapter().session() as newer:
                with ground.failing("killSessions", None, errorCode=13):
                    for _ in range(2):
                        with pytest.raises(LockHeld, match=r"transaction of ann@pod-1 pid 7 since 20") as caught:
                            await newer.lock.acquire(ground.owner("bob"))
                lsid = session._work.lsid["id"].as_uuid()
                assert f'killSessions: [{{id: UUID("{lsid}")}}]' in caught.value.hint
                assert await newer.lock.holder() is None
                assert await newer.lock.acquire(ground.owner("bob")) == 4
            await ctx.db.things.insert_one({"_id": 2})
    assert ground.db.things.count_documents({}) == 0


async def test_one_of_nobody_known_is_told(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction in the way is no lost connection: the lock is held by it, and free when it is over."""
    await session.lock.release()
    monkeypatch.setattr(_lock, "RENEWAL", 0.3)
    with left_open(ground), pytest.raises(LockHeld, match="by a transaction of somebody unknown") as caught:
        await session.lock.acquire(ground.owner())
    assert caught.value.exit_code == 12
    assert "db.currentOp({transaction: {$exists: true}})" in caught.value.hint
    assert await session.lock.acquire(ground.owner()) == 3


async def test_the_end_that_the_server_makes_is_waited_for(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the lock gets it when the server's own limit has ended the transaction in the way."""
    await session.lock.release()
    monkeypatch.setattr(_lock, "RENEWAL", 0.3)
    told: list[Event] = []
    ground.client.admin.command("setParameter", transactionLifetimeLimitSeconds=1)
    try:
        with pytest.raises(pymongo.errors.OperationFailure, match="aborted"), left_open(ground):
            async with lease.hold(session.lock, "main", ground.owner(), wait=30, publish=told.append) as fence:
                assert fence > 2
    finally:
        ground.client.admin.command("setParameter", transactionLifetimeLimitSeconds=60)
    assert isinstance(told.pop(), LockTaken)
    assert [each for each in told if "by a transaction of somebody unknown" in str(each)]
