"""Batches on MongoDB: what its order of values, its indexes and its transactions make special."""

# ruff: noqa: PT012 - a batch is a block, and its end is what is looked at

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from migrator.adapters.mongo import _work
from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._session import MongoSession
from migrator.core.batch import Checkpoint, Control, Ledger, Page, Position, Walk
from migrator.core.errors import (
    ConnectionLost,
    DatabaseError,
    OutcomeUnknown,
    StatementTimeout,
    TrackerRefused,
    TransactionAborted,
    UsageError,
)
from tests.adapters.mongo._ground import Ground

MIXED = [float("nan"), -3, 1, 2.5, Decimal128("2.75"), 3, "a", "b", {"x": 1}, {"x": 2}, b"z", ObjectId(), True]
MIXED += [None, datetime(2020, 1, 1), datetime(2021, 1, 1)]  # noqa: DTZ001 - as pymongo gives them
MIXED += [Decimal128("Infinity"), Decimal128("-Infinity"), Int64(1 << 60), Timestamp(1, 1), Timestamp(2, 1)]
MIXED += [Code("a"), Code("b"), Code("a", {"x": 1}), Code("b", {}), Binary(b"z", 128), {"x": Decimal128("NaN")}]


@pytest.fixture
async def ctx(ground: Ground, session: MongoSession) -> AsyncIterator[Context]:
    """Give the context of a step in batches, with fence 1."""
    async with _step(ground, session) as found:
        yield found


@asynccontextmanager
async def _step(ground: Ground, session: MongoSession, fence: int = 1) -> AsyncIterator[Context]:
    run = ground.run(fence, run_id="run1", transactional=False, cursor={"origin": "run1"})
    async with session.step(run, timeout=0, databases=ground.none) as found:
        yield found


async def _pages(walk: Walk, limit: int) -> list[Page]:
    found: list[Page] = []
    low: Position | None = None
    high = (await walk.extent()).high
    while high is not None and (page := await walk.page(low, high, limit)) is not None:
        found.append(page)
        low = page.upto
        assert len(found) < 1000
    return found


async def _claimed(walk: Walk, ledger: Ledger, fence: int = 1) -> Checkpoint:
    high = (await walk.extent()).high
    return await ledger.claim(Checkpoint(origin="run1", name="things", run_id="run1", fence=fence, high=high))


def _behind(old: Checkpoint, page: Page) -> Checkpoint:
    return replace(old, cursor=page.upto, batches=old.batches + 1, rows=old.rows + page.size)


async def _begun(ctx: Context) -> tuple[Ledger, Checkpoint, Checkpoint, Page]:
    """Put ten documents there and return a ledger, with the checkpoint before and behind the page of all of them."""
    await ctx.db.things.insert_many([{"_id": number, "n": 0} for number in range(10)])
    walk, ledger = ctx.walk("things", (), None)
    old = await _claimed(walk, ledger)
    page = await walk.page(None, old.high or (), 10)
    assert page is not None
    return ledger, old, _behind(old, page), page


ADD = {"$inc": {"n": 1}}


@pytest.mark.parametrize("nan", [float("nan"), Decimal128("NaN")], ids=["double", "decimal"])
@pytest.mark.parametrize("key", ["_id", "k"])
async def test_a_key_of_all_types(ctx: Context, key: str, nan: Any) -> None:
    """No value is skipped, whatever its type, by our own filter and by a range that a script writes itself."""
    await ctx.db.things.create_index("k", unique=True)
    MIXED[0] = nan  # the two are one value of a unique index
    rows = [{"_id": number, "k": 100 - number} | {key: value} for number, value in enumerate(MIXED)]
    await ctx.db.things.insert_many(rows)
    walk, _ = ctx.walk("things", (key,), {"gone": None})
    for done, limit in enumerate([1, 3, 100], 1):
        pages = await _pages(walk, limit)
        assert sum(page.size for page in pages) == len(MIXED)
        for page in pages:
            answer = await ctx.db.things.update_many(page.where, ADD)
            own = await ctx.db.things.update_many({key: {"$gte": page.first, "$lte": page.last}}, {"$inc": {"m": 1}})
            assert answer.modified_count == own.modified_count == page.size <= limit
        assert [(row["n"], row["m"]) async for row in ctx.db.things.find()] == [(done, done)] * len(MIXED)


@pytest.mark.parametrize("value", [MinKey(), MaxKey()])
async def test_a_key_without_a_range(ctx: Context, value: Any) -> None:
    """A value that no filter finds alone is refused before the first batch, with its field and type."""
    await ctx.db.things.insert_many([{"_id": 1}, {"_id": value}])
    walk, _ = ctx.walk("things", (), None)
    with pytest.raises(UsageError, match=f"whose _id is {type(value).__name__}"):
        await walk.extent()


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_odd_values_in_a_compound_key(ctx: Context, limit: int) -> None:
    """In a key of several fields each of them is found by the filter of its page."""
    values = [MinKey(), MaxKey(), Regex("a"), Decimal128("NaN"), Code("a"), Code("a", {}), 1, None]
    await ctx.db.things.create_index([("a", 1), ("b", 1)], unique=True)
    await ctx.db.things.insert_many([{"a": a, "b": b} for a in values for b in values])
    await ctx.db.things.delete_many({"$or": [{"a": each, "b": each} for each in (MinKey(), MaxKey())]})
    walk, _ = ctx.walk("things", ("a", "b"), None)
    for page in await _pages(walk, limit):
        assert (await ctx.db.things.update_many(page.where, ADD)).modified_count == page.size
    wrong = [row async for row in ctx.db.things.find({"n": {"$ne": 1}}, {"_id": 0})]
    assert wrong == []


async def test_a_regular_expression_as_a_key(ctx: Context) -> None:
    """A value for which the server has no range is a page of its own."""
    await ctx.db.things.create_index("k", unique=True)
    await ctx.db.things.insert_many([{"k": value} for value in (1, Regex("a"), Regex("b"), "a")])
    walk, _ = ctx.walk("things", ("k",), None)
    for page in await _pages(walk, 10):
        assert (await ctx.db.things.update_many(page.where, ADD)).modified_count == page.size
    assert [row["n"] async for row in ctx.db.things.find()] == [1] * 4


async def test_a_compound_key_of_all_types(ctx: Context) -> None:
    """Neither mixed types nor null nor a missing field lets a document out, or in twice."""
    values = [1, 2.5, "a", None, True, {"x": 1}]
    rows: list[dict[str, Any]] = [{"a": a, "b": b, "c": 0} for a, b in permutations(values, 2)]
    rows += [{"b": 7, "c": 0}, {"a": 7, "c": 0}, *({"a": 1, "b": 1.5} | each for each in ({}, {"c": "x"}, {"c": 2}))]
    await ctx.db.things.create_index([("a", 1), ("b", 1), ("c", 1)], unique=True)
    await ctx.db.things.insert_many(rows)
    walk, _ = ctx.walk("things", ("a", "b", "c"), None)
    for done, limit in enumerate([1, 2, 5, 100], 1):
        for page in await _pages(walk, limit):
            assert (await ctx.db.things.update_many(page.where, ADD)).modified_count == page.size <= limit
            assert len(await walk.rows(page, ("a",))) == page.size
        assert [row["n"] async for row in ctx.db.things.find()] == [done] * len(rows)


async def test_the_index_answers_the_filter_of_a_page(ctx: Context, ground: Ground) -> None:
    """What a batch costs is what it changes, also in the middle of a large group of a compound key."""
    await ctx.db.things.create_index([("a", 1), ("b", 1)], unique=True)
    await ctx.db.things.insert_many([{"a": number // 1000, "b": number % 1000} for number in range(3000)])
    for key, first in ((("a", "b"), (0, 500)), (("_id",), None)):
        walk, _ = ctx.walk("things", key, {"c": None})
        high = (await walk.extent()).high
        for after in (first, *[page.upto for page in await _pages(walk, 700)][1:3]):
            page = await walk.page(after, high or (), 700)
            assert page is not None
            asked = {"find": "things", "filter": page.where}
            found = ground.db.command("explain", asked, verbosity="executionStats")["executionStats"]
            assert (found["nReturned"], found["totalKeysExamined"] < page.size + 10) == (page.size, True), found


REFUSED: tuple[dict[str, Any], ...] = (
    {"keys": "k", "unique": True, "sparse": True},
    {"keys": "k", "unique": True, "partialFilterExpression": {"k": {"$gt": 0}}},
    {"keys": "k", "unique": True, "hidden": True},
    {"keys": "k", "unique": True, "collation": {"locale": "de"}},
    {"keys": "k"},
    {"keys": [("k", -1)], "unique": True},
    {"keys": [("k", 1), ("l", 1)], "unique": True},
)


async def test_an_index_without_every_document_in_order_is_none(ctx: Context) -> None:
    """A walk along it would miss documents, or stand in them twice, so it is refused with the way out."""
    await ctx.db.things.insert_one({"k": 1})
    for options in REFUSED:
        await ctx.db.things.create_index(**options, name="one")
        with pytest.raises(UsageError, match="k has no index for that") as caught:
            await ctx.walk("things", ("k",), None)[0].extent()
        assert "unique index" in caught.value.hint
        await ctx.db.things.drop_index("one")
    await ctx.db.things.create_index("k", unique=True)
    assert (await ctx.walk("things", ("k",), None)[0].extent()).high == (1,)


async def test_what_cannot_be_walked_is_refused(ctx: Context) -> None:
    """Arrays as keys, a view, a time series, a condition that is no filter; where nothing is, there is no end."""
    await ctx.db.things.create_index("k", unique=True)
    await ctx.db.things.insert_one({"k": [1, 2]})
    await ctx.db.create_collection("seen", viewOn="things", pipeline=[])
    await ctx.db.create_collection("times", timeseries={"timeField": "at"})
    for source, key in (("things", ("k",)), ("seen", ()), ("times", ())):
        with pytest.raises(UsageError):
            await ctx.walk(source, key, None)[0].extent()
    with pytest.raises(UsageError, match="take a filter"):
        ctx.walk("things", (), "n IS NULL")
    assert (await ctx.walk("nowhere", (), None)[0].extent()).high is None


async def test_the_extent_is_from_statistics(ctx: Context) -> None:
    """It says how many documents there are, how large they are on average, and the last key in its own type."""
    await ctx.db.things.insert_many([{"_id": number, "text": "x" * 1000} for number in range(50)])
    extent = await ctx.walk("things", (), None)[0].extent()
    assert (extent.rows, extent.high) == (50, (49,))
    assert 1000 < extent.row_bytes < 1100


async def test_keys_keep_their_types(ctx: Context, session: MongoSession) -> None:
    """Through the checkpoint and the list of failed rows, so that a walk goes on exactly where it was."""
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    high = (ObjectId(), 5, 2.5, Decimal128("1.10"), "x", None, moment, {"b": 1, "a": [2]})
    _, ledger = ctx.walk("things", (), None)
    old = await ledger.claim(Checkpoint(origin="run1", name="things", run_id="run1", fence=1, high=high))
    new = replace(old, cursor=high, low=high)
    async with ledger.moved(old, new):
        await ledger.failed(new, high, "no")
    (found,) = await session.tracker.checkpoints("run1")
    (failed,) = await session.tracker.failures("run1")
    for kept in (found.high, found.low, found.cursor, failed.key):
        assert kept == high
        assert [type(value) for value in kept] == [type(value) for value in high]


async def test_a_forgotten_session_cannot_escape(ctx: Context, ground: Ground) -> None:
    """Commands of a batch without session=, in child tasks too, are taken back with it."""
    ledger, old, new, page = await _begun(ctx)

    async def child() -> None:
        await ctx.db.things.update_many(page.where, ADD)

    with pytest.raises(ZeroDivisionError):
        async with ledger.moved(old, new):
            await asyncio.create_task(child())
            await ctx.db.client[ground.name].others.insert_one({})
            raise ZeroDivisionError
    assert ground.db.things.count_documents({"n": 1}) == ground.db.others.count_documents({}) == 0


GONE = {"errorLabels": ["TransientTransactionError"]}
FAULTS: dict[str, dict[str, Any]] = {
    "the link breaks at the checkpoint": {"command": "update", "closeConnection": True},
    "the link breaks in the body": {"command": "insert", "closeConnection": True},
    "no primary any more": {"command": "insert", "errorCode": 10107},
    "a conflict": {"command": "update", "errorCode": 112, **GONE},
    "gone at the commit": {"command": "commitTransaction", "errorCode": 251, **GONE},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_what_the_server_takes_back_may_begin_again(ctx: Context, ground: Ground, fault: dict[str, Any]) -> None:
    """In the checkpoint's own move, in the body, at the commit: nothing is left, and the same batch can be done."""
    ledger, old, new, page = await _begun(ctx)
    with ground.failing(**fault), pytest.raises(DatabaseError) as caught:
        async with ledger.moved(old, new):
            await ctx.db.others.insert_one({})
            await ctx.db.things.update_many(page.where, ADD)
    assert caught.value.retryable
    assert ground.db.things.count_documents({"n": 1}) == ground.db.others.count_documents({}) == 0
    async with ledger.moved(old, new):
        await ctx.db.things.update_many(page.where, ADD)
    assert ground.db.things.count_documents({"n": 1}) == 10


async def test_a_batch_that_another_writes_into_may_begin_again(ctx: Context, ground: Ground) -> None:
    """Two writers of one document: the batch is told to begin again, and the other's write stays."""
    ledger, old, new, page = await _begun(ctx)
    with pytest.raises(TransactionAborted):
        async with ledger.moved(old, new):
            ground.db.things.update_one({"_id": 3}, {"$set": {"other": 1}})
            await ctx.db.things.update_many(page.where, ADD)
    async with ledger.moved(old, new):
        await ctx.db.things.update_many(page.where, ADD)
    assert ground.db.things.count_documents({"n": 1}) == 10
    assert ground.db.things.count_documents({"n": 1, "other": 1}) == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_that_is_never_answered_is_looked_up(
    ctx: Context, ground: Ground, session: MongoSession, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it arrived the batch is done, where it did not it may begin again: the checkpoint tells."""
    monkeypatch.setattr(_work, "COMMIT", 0.5)
    ledger, old, new, page = await _begun(ctx)
    late = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}

    async def done() -> None:
        async with ledger.moved(old, new):
            await ctx.db.things.update_many(page.where, ADD)

    with ground.failing("commitTransaction", times=None, **(late if arrives else {"closeConnection": True})):
        if arrives:
            await done()
        else:
            with pytest.raises(TransactionAborted):
                await done()
    assert ground.db.things.count_documents({"n": 1}) == (10 if arrives else 0)
    assert await session.tracker.checkpoints("run1") == [new if arrives else old]


async def test_a_commit_that_nobody_can_look_up_is_unknown(
    ctx: Context, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server does not answer that question either, nothing is claimed."""
    for name in ("COMMIT", "ELECTION", "SHORT"):
        monkeypatch.setattr(_work, name, 0.3)
    ledger, old, new, _ = await _begun(ctx)
    with (
        ground.failing(
            "commitTransaction", times=None, closeConnection=True, failCommands=["commitTransaction", "find"]
        ),
        pytest.raises(OutcomeUnknown),
    ):
        async with ledger.moved(old, new):
            pass


async def test_a_question_between_two_batches_is_asked_again(
    ctx: Context, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An election may take longer than one answer may: the loop waits for it, and not for ever."""
    ledger, _, _, page = await _begun(ctx)
    walk, _ = ctx.walk("things", (), None)
    monkeypatch.setattr(_work, "SHORT", 0.2)
    with ground.failing("find", times=3, blockConnection=True, blockTimeMS=500):
        assert await ledger.control("run1") == Control()
        assert await walk.page(None, page.upto, 10) == page
    monkeypatch.setattr(_work, "ELECTION", 0.0)
    with ground.failing("find", blockConnection=True, blockTimeMS=500), pytest.raises(ConnectionLost):
        await ledger.control("run1")


@pytest.mark.parametrize("apart", [False, True])
async def test_taken_over_in_the_middle_of_a_batch(ctx: Context, ground: Ground, apart: bool) -> None:
    """The new holder ends the open batch on the server, also that of a slice on another connection, and from then on
    none of the old one's begins.
    """
    _, old, _, page = await _begun(ctx)
    async with ground.adapter().session() as beside, _step(ground, beside) as theirs:
        used = theirs if apart else ctx
        _, ledger = used.walk("things", (), None)
        mine = await ledger.claim(replace(old, slice=int(apart)))
        with pytest.raises(DatabaseError):
            async with ledger.moved(mine, _behind(mine, page)):
                await used.db.things.update_many(page.where, ADD)
                ground.expire()
                async with asyncio.timeout(5), ground.adapter().session() as newer:
                    assert await newer.lock.acquire(ground.owner("bob")) == 2
                    await newer.lock.release()
        assert ground.db.things.count_documents({"n": 1}) == 0
        for _ in range(2):
            with pytest.raises(TrackerRefused):
                async with ledger.moved(mine, _behind(mine, page)):
                    pytest.fail("it must not begin")


@pytest.mark.parametrize("ended", [ZeroDivisionError, asyncio.CancelledError])
async def test_slices_commit_side_by_side(ctx: Context, ground: Ground, ended: type[BaseException]) -> None:
    """Batches of two slices have nothing in common: one is open while another begins and commits, or is given up."""
    await _begun(ctx)
    other = ground.adapter()
    async with other.session() as beside:
        _, ledger = ctx.walk("things", (), None)
        async with _step(ground, beside) as theirs:
            _, their_ledger = theirs.walk("things", (), None)
            blank = Checkpoint(origin="run1", name="slices", run_id="run1", fence=1, high=(9,))
            mine, yours = await ledger.claim(replace(blank, slice=1)), await their_ledger.claim(replace(blank, slice=2))
            async with ledger.moved(mine, replace(mine, cursor=(4,))):
                await ctx.db.things.update_many({"_id": {"$lte": 4}}, ADD)
                apart = asyncio.create_task(_apart(their_ledger, yours, theirs))
                await apart
            with pytest.raises(ended):
                async with ledger.moved(replace(mine, cursor=(4,)), replace(mine, cursor=(5,))):
                    await ctx.db.things.update_many({"_id": {"$lte": 4}}, ADD)
                    raise ended
    assert ground.db.things.count_documents({"n": 1}) == 10


async def _apart(ledger: Ledger, old: Checkpoint, ctx: Context) -> None:
    async with ledger.moved(old, replace(old, cursor=(9,))):
        await ctx.db.things.update_many({"_id": {"$gt": 4}}, ADD)


async def test_a_loop_that_is_done_stays_done(ctx: Context) -> None:
    """A takeover does not look at its checkpoint any more, so nobody moves it, not even who knows it as it is."""
    ledger, old, _, _ = await _begun(ctx)
    done = replace(old, done=True)
    async with ledger.moved(old, done):
        pass
    with pytest.raises(TrackerRefused):
        async with ledger.moved(done, old):
            pytest.fail("it must not begin")


async def test_the_limit_of_a_batch_is_told(ctx: Context, ground: Ground) -> None:
    """It is the server that ends the command, and the message names the limit and what to change."""
    ledger, old, new, _ = await _begun(ctx)
    with pytest.raises(StatementTimeout, match=r"longer than 0\.5 seconds") as caught:
        async with ledger.moved(old, new, seconds=0.5):
            await ctx.db.things.update_many({"$where": "sleep(200) || true"}, ADD)
    assert "target" in caught.value.hint
    assert ground.db.things.count_documents({"n": 1}) == 0


async def test_without_transactions_the_checkpoint_follows(alone: Ground, until: Callable[..., Any]) -> None:
    """On a standalone server the body comes first: what fails in it leaves the checkpoint, and what was written."""
    async with alone.adapter().session() as session:
        fence = await session.lock.acquire(alone.owner())
        async with _step(alone, session, fence) as ctx:
            ledger, old, new, page = await _begun(ctx)
            assert not ledger.exactly_once
            with pytest.raises(ZeroDivisionError):
                async with ledger.moved(old, new):
                    await ctx.db.things.update_many(page.where, ADD)
                    raise ZeroDivisionError
            assert await session.tracker.checkpoints("run1") == [old]
            async with ledger.moved(old, new):
                await ctx.db.things.update_many(page.where, ADD)
            assert await session.tracker.checkpoints("run1") == [new]
            assert alone.db.things.count_documents({"n": 2}) == 10
            with pytest.raises(TrackerRefused):
                async with ledger.moved(old, new):
                    pytest.fail("it must not begin")
        await session.lock.release()
