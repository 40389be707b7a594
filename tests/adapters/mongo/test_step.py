"""Steps: what commits together, what rolls back, what the server may do to a commit."""

# ruff: noqa: PT012, SIM105 - a step is a block, and what is in it is the test

import asyncio
from time import monotonic
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError, PyMongoError

from migrator.adapters.mongo import _work
from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import (
    DatabaseError,
    DependencyMissing,
    OutcomeUnknown,
    PermissionDenied,
    StatementFailed,
    StatementTimeout,
    TrackerRefused,
    TransactionAborted,
    TransactionEscaped,
)
from migrator.core.run import Effect, Status
from tests.adapters.mongo._ground import Ground

SLOW = {"$where": "sleep(100) || true"}


async def test_the_work_and_its_row_commit_together(ground: Ground, session: MongoSession) -> None:
    """Nobody sees the work before the row says success, and both are there afterwards."""
    run, following = ground.run(), ground.run(revision="bb22")
    await session.tracker.start(run)
    async with session.step(run, timeout=10, databases=ground.none) as ctx:
        await ctx.db.things.insert_one({"_id": 1})
        await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL), following)
        assert ground.db.things.count_documents({}) == 0
        assert [row["status"] for row in ground.rows()] == ["pending"]
    assert ground.db.things.count_documents({}) == 1
    assert [(row["_id"], row["status"]) for row in ground.rows()] == [
        (run.run_id, "success"),
        (following.run_id, "pending"),
    ]


async def test_a_failure_after_writing_leaves_nothing(ground: Ground, session: MongoSession) -> None:
    """Neither the work nor the success is left, and the failure can be recorded."""
    run = ground.run()
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
            raise ZeroDivisionError
    assert ground.db.things.count_documents({}) == 0
    await session.tracker.finish(run.moved(Status.FAILED, Effect.NONE, error="no"))
    assert [(row["status"], row["effect"], row["error"]) for row in ground.rows()] == [("failed", "none", "no")]


async def test_a_forgotten_session_cannot_escape(ground: Ground, session: MongoSession) -> None:
    """Commands without session=, in child tasks and through cursors, all belong to the transaction."""
    ground.db.things.insert_many([{"_id": number} for number in range(5)])

    async def child(db: Any) -> None:
        await db.things.update_many({}, {"$set": {"seen": True}})

    with pytest.raises(ZeroDivisionError):
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": "new"})
            await asyncio.create_task(child(ctx.db))
            assert [row["seen"] async for row in ctx.db.things.find().batch_size(2)] == [True] * 6
            assert [row async for row in await ctx.db.things.aggregate([{"$count": "n"}])] == [{"n": 6}]
            await ctx.db.client[ground.name].things.delete_one({"_id": 0})
            raise ZeroDivisionError
    assert ground.db.things.count_documents({"seen": {"$exists": False}}) == 5


async def test_a_collection_can_be_created_in_a_transaction(ground: Ground, session: MongoSession) -> None:
    """Creating a collection and an index on it works, and is taken back with the rest."""
    run = ground.run()
    await session.tracker.start(run)
    async with session.step(run, timeout=10, databases=ground.none) as ctx:
        await ctx.db.create_collection("fresh")
        await ctx.db.fresh.create_index("name")
        await ctx.db.fresh.insert_one({"name": 1})
    assert "name_1" in ground.db.fresh.index_information()


@pytest.mark.parametrize("what", ["index", "collMod", "drop", "rename"])
async def test_what_a_transaction_cannot_do_is_refused_with_the_list(
    ground: Ground, session: MongoSession, what: str
) -> None:
    """The message says what is allowed and how to do the rest, and nothing is left behind."""
    ground.db.things.insert_one({"_id": 1})
    with pytest.raises(StatementFailed, match="allows reading, inserting") as caught:
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 2})
            match what:
                case "index":
                    await ctx.db.things.create_index("name")
                case "collMod":
                    await ctx.db.command({"collMod": "things", "validator": {}})
                case "drop":
                    await ctx.db.things.drop()
                case _:
                    await ctx.db.things.rename("others")
    assert "transaction = False" in caught.value.hint
    assert (caught.value.code, ground.db.things.count_documents({})) == ("263", 1)
    assert list(ground.db.things.index_information()) == ["_id_"]


async def test_an_overtaken_holder_writes_nothing(ground: Ground, session: MongoSession) -> None:
    """After a takeover neither a step nor the tracker accept the old fence."""
    old, plain = ground.run(), ground.run(transactional=False)
    await session.tracker.start(old)
    ground.expire()
    async with ground.adapter().session() as newer:
        assert await newer.lock.acquire(ground.owner("bob")) == 2
        before = ground.rows()
        for attempt in (
            session.tracker.start(ground.run(revision="bb22")),
            session.tracker.finish(old.moved(Status.SUCCESS, Effect.FULL)),
            session.tracker.finish(plain.moved(Status.FAILED, Effect.NONE)),
        ):
            with pytest.raises(TrackerRefused, match="taken over"):
                await attempt
        with pytest.raises(TrackerRefused, match="taken over"):
            async with session.step(old, timeout=10, databases=ground.none) as ctx:
                await ctx.db.things.insert_one({"_id": 1})
    assert (ground.rows(), ground.db.things.count_documents({})) == (before, 0)


async def test_a_takeover_ends_the_open_transaction(ground: Ground, session: MongoSession) -> None:
    """A holder that was paused in the middle of a step finds its transaction gone; the new one does not wait for it."""
    run = ground.run()
    await session.tracker.start(run)
    with pytest.raises(DatabaseError, match=r"taken over|Transaction"):
        async with session.step(run, timeout=30, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            ground.expire()
            began = monotonic()
            async with ground.adapter().session() as newer:
                assert await newer.lock.acquire(ground.owner("bob")) == 2
                assert monotonic() - began < 5
                settled = ground.run(fence=2, run_id=run.run_id).moved(Status.FAILED, Effect.NONE, reason="interrupted")
                await asyncio.create_task(newer.tracker.finish(settled))
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    assert [(row["status"], row["reason"]) for row in ground.rows()] == [("failed", "interrupted")]
    assert ground.db.things.count_documents({}) == 0


async def test_a_lost_answer_to_a_commit_is_asked_again(ground: Ground, session: MongoSession) -> None:
    """A commit whose answer was lost is repeated, which is harmless, and succeeds."""
    run = ground.run()
    await session.tracker.start(run)
    with ground.failing("commitTransaction", times=2, closeConnection=True):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    assert (ground.rows()[0]["status"], ground.db.things.count_documents({})) == ("success", 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"closeConnection": True},
        {"errorCode": 6, "errorLabels": ["RetryableWriteError"]},
        {"errorCode": 50},
        {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
    ],
)
async def test_a_commit_that_is_never_answered_is_unknown(
    ground: Ground, session: MongoSession, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither called failed nor done, and says what to do."""
    monkeypatch.setattr(_work, "COMMIT", 1.0)
    run = ground.run()
    await session.tracker.start(run)
    with ground.failing("commitTransaction", times=None, **fault), pytest.raises(OutcomeUnknown) as caught:
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    assert (caught.value.exit_code, "may or may not" in caught.value.state) == (14, True)
    assert isinstance(caught.value.__cause__, PyMongoError)


async def test_a_commit_that_is_refused_after_a_lost_answer_did_nothing(ground: Ground, session: MongoSession) -> None:
    """The server knows a transaction that was committed before, so its refusal is certain whatever came before it."""
    run = ground.run()
    await session.tracker.start(run)
    with ground.failing("commitTransaction", times=2, closeConnection=True), pytest.raises(TransactionAborted):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            ground.client.admin.command("killSessions", [{"id": session._work.lsid["id"]}])
    assert ground.db.things.count_documents({}) == 0


async def test_a_refused_commit_is_a_failure(ground: Ground, session: MongoSession) -> None:
    """Where the server says that the transaction is gone, the step failed and may be tried again."""
    run = ground.run()
    await session.tracker.start(run)
    labels = ["TransientTransactionError"]
    with (
        ground.failing("commitTransaction", errorCode=251, errorLabels=labels),
        pytest.raises(StatementFailed) as caught,
    ):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ({"closeConnection": True}, TransactionAborted, 4),
        ({"errorCode": 10107}, TransactionAborted, 4),
        ({"errorCode": 13}, PermissionDenied, 5),
        ({"errorCode": 251, "errorLabels": ["TransientTransactionError"]}, TransactionAborted, 1),
    ],
)
async def test_a_fault_in_the_work_rolls_back(
    ground: Ground, session: MongoSession, fault: dict[str, Any], kind: type[DatabaseError], code: int
) -> None:
    """The adapter does not run the script again, its writes are gone, and the session still works."""
    run, calls = ground.run(), 0
    await session.tracker.start(run)
    with ground.failing("insert", **fault), pytest.raises(kind) as caught:
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            calls += 1
            await ctx.db.things.update_one({"_id": 0}, {"$set": {"a": 1}}, upsert=True)
            await ctx.db.things.insert_one({"_id": 1})
    assert caught.value.exit_code == code
    assert (calls, ground.db.things.count_documents({})) == (1, 0)
    await session.tracker.finish(run.moved(Status.FAILED, Effect.NONE))
    assert ground.rows()[0]["status"] == "failed"


async def test_a_swallowed_error_cannot_commit_half(ground: Ground, session: MongoSession) -> None:
    """The server has ended the transaction at the error; what follows fails, whatever the script caught."""
    run = ground.run()
    await session.tracker.start(run)
    with pytest.raises(StatementFailed):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            try:
                await ctx.db.things.insert_one({"_id": 1})
            except DuplicateKeyError:
                pass
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    assert (ground.rows()[0]["status"], ground.db.things.count_documents({})) == ("pending", 0)


@pytest.mark.parametrize("transactional", [True, False])
async def test_the_time_limit_reaches_the_server(ground: Ground, session: MongoSession, transactional: bool) -> None:
    """A command that is too slow is ended by the server, and the step says which limit it was."""
    ground.db.things.insert_many([{"_id": number} for number in range(200)])
    run, began = ground.run(transactional=transactional), monotonic()
    with pytest.raises(StatementTimeout, match=r"longer than 0\.8 seconds"):
        async with session.step(run, timeout=0.8, databases=ground.none) as ctx:
            await ctx.db.things.update_many(SLOW, {"$set": {"seen": True}})
    assert monotonic() - began < 8


def _running(ground: Any) -> bool:
    found = ground.client.admin.aggregate([{"$currentOp": {}}, {"$match": {"ns": f"{ground.name}.things"}}])
    return any(True for _ in found)


@pytest.mark.parametrize("transactional", [True, False])
async def test_a_cancelled_step_ends_its_command_on_the_server(
    ground: Ground, session: MongoSession, until: Any, transactional: bool
) -> None:
    """Cancelling a task does not end a write on MongoDB, so the step ends it."""
    ground.db.things.insert_many([{"_id": number} for number in range(500)])
    run = ground.run(transactional=transactional)

    async def work() -> None:
        async with session.step(run, timeout=0, databases=ground.none) as ctx:
            await ctx.db.things.update_many(SLOW, {"$set": {"seen": True}})

    task = asyncio.create_task(work())
    await until(lambda: _running(ground))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began = monotonic()
    await until(lambda: not _running(ground))
    assert monotonic() - began < 5
    await session.lock.renew()
    await session.tracker.start(run)


async def test_a_cancelled_commit_ends_first(ground: Ground, session: MongoSession, until: Any) -> None:
    """A commit that was sent is answered before the cancellation goes on, so that its outcome is known."""
    run = ground.run()
    await session.tracker.start(run)
    blocked = {"blockConnection": True, "blockTimeMS": 500}

    async def work() -> None:
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
            reached.set()

    reached = asyncio.Event()
    with ground.failing("commitTransaction", **blocked):
        task = asyncio.create_task(work())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (ground.rows()[0]["status"], ground.db.things.count_documents({})) == ("success", 1)


async def test_renewals_do_not_join_the_transaction(ground: Ground, session: MongoSession) -> None:
    """A renewal during a step, from its own task or from the step itself, outlives the rollback of the step."""
    first = ground.lease()
    wanted, done = asyncio.Event(), asyncio.Event()

    async def renewals() -> None:
        await wanted.wait()
        await session.lock.renew()
        done.set()

    task = asyncio.create_task(renewals())
    with pytest.raises(ZeroDivisionError):
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            wanted.set()
            await done.wait()
            second = ground.lease()
            await session.lock.renew()
            raise ZeroDivisionError
    await task
    assert first < second < ground.lease()
    assert ground.db.things.count_documents({}) == 0


async def test_another_database_is_outside_the_transaction(ground: Ground, session: MongoSession) -> None:
    """A step may use a second MongoDB database; what it writes there stays, what it writes here is rolled back."""
    other = ground.adapter()
    with pytest.raises(ZeroDivisionError):
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            async with other.context() as elsewhere:
                await elsewhere.db.others.insert_one({"_id": 1})
                await ctx.db.things.insert_one({"_id": 2})
            raise ZeroDivisionError
    assert (ground.db.things.count_documents({}), ground.db.others.count_documents({})) == (0, 1)


async def test_a_script_cannot_end_the_transaction(ground: Ground, session: MongoSession) -> None:
    """Where a script gets at the session and ends its transaction, the step says so."""
    with pytest.raises(TransactionEscaped):
        async with session.step(ground.run(), timeout=10, databases=ground.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
            await session._work.session.commit_transaction()


async def test_a_plain_step_takes_effect_at_once(ground: Ground, session: MongoSession) -> None:
    """Outside a transaction each command stands for itself, a failure leaves what was done, and DDL works."""
    run = ground.run(transactional=False)
    await session.tracker.start(run)
    with pytest.raises(StatementFailed, match=r"unique index _id_ of test_\w+\.things"):
        async with session.step(run, timeout=10, databases=ground.none) as ctx:
            before = ctx.touched
            await ctx.db.things.insert_one({"_id": 1})
            await ctx.db.things.create_index("name")
            assert (before, ctx.touched) == (False, True)
            await ctx.db.things.insert_one({"_id": 1})
    assert ground.db.things.count_documents({}) == 1
    assert "name_1" in ground.db.things.index_information()


async def test_a_standalone_server_has_no_transactional_steps(alone: Ground) -> None:
    """It is said before anything is sent; a step without a transaction works, with its tracker."""
    async with alone.adapter().session() as session:
        fence = await session.lock.acquire(alone.owner())
        run = alone.run(fence, transactional=False)
        with pytest.raises(DependencyMissing, match="needs a replica set"):
            async with session.step(alone.run(fence), timeout=10, databases=alone.none) as ctx:
                await ctx.db.things.insert_one({"_id": 0})
        await session.tracker.start(run)
        async with session.step(run, timeout=10, databases=alone.none) as ctx:
            await ctx.db.things.insert_one({"_id": 1})
        await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
        assert [each.status for each in await session.tracker.runs()] == [Status.SUCCESS]
        assert alone.db.things.count_documents({}) == 1
        with alone.failing("update", closeConnection=True), pytest.raises(OutcomeUnknown):
            await session.tracker.start(alone.run(fence, revision="bb22"))
        with pytest.raises(TrackerRefused):
            await session.tracker.start(alone.run(fence + 1, revision="cc33"))
        await session.lock.release()
