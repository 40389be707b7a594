"""Long changes: the way along a key, and checkpoints that commit with their batches; on every adapter that has them."""

# ruff: noqa: PT012 - a batch is a block, and its end is what is looked at

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from migrator.core.batch import Checkpoint, Control, Desired, Ledger, Walk
from migrator.core.errors import StatementTimeout, TrackerRefused, UsageError
from migrator.core.protocols import Session
from migrator.core.run import Effect, Status
from tests.conformance._long import ONE, TWO, Long, batch, long_of, moved
from tests.conformance._places import LIMIT, Place

pytestmark = pytest.mark.only("postgres", "mongo")
KEYS = [number * number for number in range(1, 51)]
PAIRS = [(shop, f"{line:02}") for shop in (1, 2, 5) for line in range(0, 40, 3)] + [(3, "only"), (9, "last")]


@pytest.fixture
def long(place: Place) -> Long:
    """Give fifty rows to walk over, their keys ever further apart."""
    found = long_of(place)
    found.fill(KEYS)
    return found


@pytest.fixture
async def ctx(place: Place, session: Session, long: Long) -> AsyncIterator[Any]:
    """Give the context of a step that walks in batches, with fence 1."""
    run = long.run()
    await session.tracker.start(run)
    async with _step(place, session, long) as found:
        yield found


def _step(place: Place, session: Session, long: Long, fence: int = 1) -> AbstractAsyncContextManager[Any]:
    return place.step(session, long.run(fence), timeout=0.0)


def _walk(ctx: Any, source: str = ONE, key: tuple[str, ...] = (), where: Any = None) -> tuple[Walk, Ledger]:
    found: tuple[Walk, Ledger] = ctx.walk(source, key, where)
    return found


async def _claimed(long: Long, walk: Walk, ledger: Ledger, fence: int = 1) -> Checkpoint:
    extent = await walk.extent()
    return await ledger.claim(long.blank(long.run(fence), walk, extent.high))


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
async def test_the_pages_are_all_there_is(ctx: Any, long: Long, limit: int) -> None:
    """Pages follow one another in the order of the key, none larger than allowed, and together are every row once."""
    walk, _ = _walk(ctx)
    pages = await long.pages(walk, limit)
    firsts = KEYS[::limit]
    assert [page.first for page in pages] == firsts
    assert [page.last for page in pages] == [KEYS[min(KEYS.index(first) + limit, 50) - 1] for first in firsts]
    assert [page.size for page in pages] == [min(limit, 50 - KEYS.index(first)) for first in firsts]
    for page in pages:
        await long.add(ctx, ONE, page)
    assert long.added(ONE) == KEYS


async def test_what_comes_behind_the_end_is_left_alone(ctx: Any, long: Long) -> None:
    """The walk ends at the last key there was when it began; rows behind it, and there are many, are not its own."""
    walk, _ = _walk(ctx)
    extent = await walk.extent()
    long.fill(range(2501, 2600))
    pages = await long.pages(walk, 20, high=extent.high)
    assert [page.last for page in pages] == [400, 1600, 2500]
    assert extent.high is not None
    assert await walk.page(extent.high, extent.high, 20) is None


async def test_rows_that_go_meanwhile(ctx: Any, long: Long) -> None:
    """A page begins behind the cursor though the row at it, or at the end, is gone by now."""
    walk, _ = _walk(ctx)
    extent, pages = await walk.extent(), await long.pages(walk, 10)
    assert extent.high is not None
    await long.delete(ctx, [100, 2500])
    after = await long.pages(walk, 10, low=pages[0].upto, high=extent.high)
    assert [page.first for page in after] == [121, 441, 961, 1681]
    assert (after[-1].last, after[-1].size) == (2401, 9)
    await long.delete(ctx, KEYS)
    assert await walk.page(None, extent.high, 10) is None


async def test_nothing_to_walk_over(ctx: Any, long: Long) -> None:
    """Where there is no row there is no last key, and no page."""
    await long.delete(ctx, KEYS)
    walk, _ = _walk(ctx)
    assert (await walk.extent()).high is None


@pytest.mark.parametrize("limit", [1, 4, 13, 100])
async def test_a_key_of_two_fields(ctx: Any, long: Long, limit: int) -> None:
    """Pages of a compound key cut through its groups, and every row is in exactly one of them."""
    long.fill_two(PAIRS)
    walk, _ = _walk(ctx, TWO, long.two)
    pages = await long.pages(walk, limit)
    assert [page.first for page in pages] == sorted(PAIRS)[::limit]
    assert sum(page.size for page in pages) == len(PAIRS)
    for page in pages:
        await long.add(ctx, TWO, page)
    assert long.added(TWO) == sorted(PAIRS)


async def test_a_key_that_gives_no_order_is_refused(ctx: Any, long: Long) -> None:
    """A field that is not there, one without a unique index, and half of a key are no keys."""
    long.fill_two(PAIRS)
    for source, key in ((ONE, ("n",)), (ONE, ("nobody",)), (TWO, ("shop",))):
        with pytest.raises(UsageError, match="need"):
            await _walk(ctx, source, key)[0].extent()
    await _walk(ctx, TWO, long.two)[0].extent()
    long.spoil()
    with pytest.raises(UsageError, match="need"):
        await _walk(ctx, TWO, long.two)[0].extent()


@pytest.mark.parametrize("columns", [(), ("n",)])
async def test_rows_are_read_and_written_together(ctx: Any, long: Long, columns: tuple[str, ...]) -> None:
    """The rows that the condition admits, in order, with the columns asked for; their changes go out as one."""
    walk, ledger = _walk(ctx, where=long.where())
    old = await _claimed(long, walk, ledger)
    first, second, *_ = await long.pages(walk, 10)
    async with ledger.moved(old, moved(old, first)):
        await long.add(ctx, ONE, first)
        await long.add(ctx, ONE, first)  # the condition admits none of them
    assert long.added(ONE) == KEYS[:10]
    async with ledger.moved(moved(old, first), moved(moved(old, first), second)):
        assert list(await walk.rows(first, columns)) == []
        rows = list(await walk.rows(second, columns))
        assert [row[long.one[0]] for row in rows] == KEYS[10:20]
        await walk.write([(row, {"n": row["n"] + number}) for number, row in enumerate(rows)])
    assert list(long.seen(ONE).values())[10:20] == list(range(10))


async def test_slices_are_about_equal(ctx: Any, long: Long) -> None:
    """The ends of slices are in order, the last one is the end, and the slices together are every row once."""
    long.fill(range(10_000, 12_000))
    walk, _ = _walk(ctx)
    high = (await walk.extent()).high
    assert high is not None
    ends = list(await walk.split(high, 4))
    assert (len(ends), ends[-1]) == (4, high)
    sizes = []
    for low, end in pairwise([None, *ends]):
        assert end is not None
        pages = await long.pages(walk, 500, low, end)
        sizes.append(sum(page.size for page in pages))
    assert sum(sizes) == 2050
    assert min(sizes) > 200
    assert list(await walk.split(high, 1)) == [high]


async def test_a_batch_and_its_checkpoint_commit_together(ctx: Any, long: Long, session: Session) -> None:
    """Nobody sees one without the other: neither before the end, nor after an error, nor after a cancellation."""
    walk, ledger = _walk(ctx)
    old = await _claimed(long, walk, ledger)
    page = await walk.page(None, old.high or (), 20)
    assert page is not None
    for error in (ZeroDivisionError, asyncio.CancelledError):
        with pytest.raises(error):
            async with ledger.moved(old, moved(old, page)):
                await long.add(ctx, ONE, page)
                assert long.added(ONE) == []
                raise error
        assert (long.added(ONE), await session.tracker.checkpoints("run1")) == ([], [old])
    new = await batch(long, ctx, ledger, walk, old, 20)
    assert (long.added(ONE), await session.tracker.checkpoints("run1")) == (KEYS[:20], [new])


async def test_a_checkpoint_moves_once(ctx: Any, long: Long) -> None:
    """Whoever knows it at another place does nothing: neither a second time the same, nor behind what is done."""
    walk, ledger = _walk(ctx)
    old = await _claimed(long, walk, ledger)
    new = await batch(long, ctx, ledger, walk, old, 20)
    done = replace(await batch(long, ctx, ledger, walk, new, 1000), done=True)
    for known in (old, new, replace(old, name="another")):
        with pytest.raises(TrackerRefused):
            async with ledger.moved(known, done):
                pytest.fail("the batch must not begin")
    assert long.added(ONE) == KEYS


async def test_the_next_run_goes_on_at_the_checkpoint(ctx: Any, long: Long, session: Session) -> None:
    """It takes over cursor, end and counts as they are, whatever it would begin with itself, and finishes the rest."""
    walk, ledger = _walk(ctx)
    kept = await batch(long, ctx, ledger, walk, await _claimed(long, walk, ledger), 20)
    long.fill([2600])
    again = await ledger.claim(replace(long.blank(long.run(), walk, None), run_id="run2"))
    assert again == replace(kept, run_id="run2", waiting="")
    await batch(long, ctx, ledger, walk, again, 1000)
    assert long.added(ONE) == KEYS
    assert [each.run_id for each in await session.tracker.checkpoints("run1")] == ["run2"]


async def test_an_overtaken_holder_moves_nothing(place: Place, ctx: Any, long: Long, session: Session) -> None:
    """From the moment that another has the lock, before it has even looked at the checkpoint, all of it is refused."""
    walk, ledger = _walk(ctx)
    old = await batch(long, ctx, ledger, walk, await _claimed(long, walk, ledger), 10)
    await session.lock.release()
    async with place.adapter().session() as newer:
        fence = await newer.lock.acquire(place.owner("bob"))
        for _ in range(2):
            with pytest.raises(TrackerRefused):
                await batch(long, ctx, ledger, walk, old, 10)
            with pytest.raises(TrackerRefused):
                await ledger.claim(long.blank(long.run(), walk, old.high))
            with pytest.raises(TrackerRefused):
                await ledger.claim(replace(long.blank(long.run(), walk, old.high), name="new"))
            async with _step(place, newer, long, fence) as theirs:
                their_walk, their_ledger = _walk(theirs)
                taken = await _claimed(long, their_walk, their_ledger, fence)
        assert (taken.cursor, taken.rows, taken.fence) == (old.cursor, 10, fence)
        async with _step(place, newer, long, fence) as theirs:
            their_walk, their_ledger = _walk(theirs)
            await their_walk.extent()
            await batch(long, theirs, their_ledger, their_walk, taken, 1000)
        await newer.lock.release()
    assert long.added(ONE) == KEYS


async def test_the_server_ends_a_batch_that_takes_too_long(
    place: Place, ctx: Any, long: Long, session: Session
) -> None:
    """Nothing of it is left, and the next batch has no limit of an earlier one."""
    walk, ledger = _walk(ctx)
    old = await _claimed(long, walk, ledger)
    page = await walk.page(None, old.high or (), 20)
    assert page is not None
    async with asyncio.timeout(LIMIT):
        with pytest.raises(StatementTimeout):
            async with ledger.moved(old, moved(old, page), seconds=0.4):
                await long.add(ctx, ONE, page)
                await place.sleep(ctx)
    assert (long.added(ONE), await session.tracker.checkpoints("run1")) == ([], [old])
    await batch(long, ctx, ledger, walk, old, 20)
    assert long.added(ONE) == KEYS[:20]


async def test_rows_that_were_passed_over_are_kept(ctx: Any, long: Long, session: Session) -> None:
    """Their keys come back as they were, with the reason, once for each, and not where the batch was rolled back."""
    walk, ledger = _walk(ctx)
    old = await _claimed(long, walk, ledger)
    first, second, *_ = await long.pages(walk, 1)
    with pytest.raises(ZeroDivisionError):
        async with ledger.moved(old, moved(old, first)):
            await ledger.failed(old, first.upto, "never")
            raise ZeroDivisionError
    new = replace(moved(old, first), skipped=1)
    async with ledger.moved(old, new):
        await ledger.failed(new, first.upto, 'it\'s $1 "quoted"')
    for text in ("at first", "again"):
        new, last = replace(moved(new, second), skipped=2, cursor=(*second.upto,)), new
        async with ledger.moved(last, new):
            await ledger.failed(new, second.upto, text)
    found = await session.tracker.failures("run1")
    assert [(each.name, each.key, each.error) for each in found] == [
        (ONE, first.upto, 'it\'s $1 "quoted"'),
        (ONE, second.upto, "again"),
    ]
    assert all(each.at and each.run_id == new.run_id for each in found)
    assert await session.tracker.failures("run2") == []


async def test_the_loop_reads_what_people_ask(ctx: Any, long: Long, session: Session) -> None:
    """What is asked through the tracker is what the loop reads."""
    _, ledger = _walk(ctx)
    assert await ledger.control("run1") == Control()
    await session.tracker.ask("run1", Control(Desired.PAUSE, "ann", "lunch", {"target": 0.1}))
    assert await ledger.control("run1") == await session.tracker.control("run1")
    assert (await ledger.control("run1")).settings == {"target": 0.1}


async def test_checkpoints_of_one_change(ctx: Any, long: Long, session: Session) -> None:
    """Every loop and slice of the change, in order, with all that it counted; nobody else's."""
    walk, ledger = _walk(ctx)
    blank = long.blank(long.run(), walk, (await walk.extent()).high)
    first, second = replace(blank, name="b", total=50), replace(blank, name="a", slice=1)
    for each in (first, second, replace(second, slice=0), replace(blank, origin="run2")):
        await ledger.claim(each)
    new = replace(first, rows=3, batches=2, retries=4, splits=5, skipped=6, size=7, rate=1.5, done=True)
    new = replace(new, waiting="paused: by ann", throttled={"lag": 1.25}, low=blank.high)
    async with ledger.moved(first, new):
        pass
    found = await session.tracker.checkpoints("run1")
    assert [(each.name, each.slice) for each in found] == [("a", 0), ("a", 1), ("b", 0)]
    assert found[-1] == new


async def test_outside_a_batch_nothing_is_a_transaction(place: Place, ctx: Any, long: Long) -> None:
    """Between two batches what the script writes takes effect by itself."""
    walk, ledger = _walk(ctx)
    await place.write(ctx, "before")
    assert place.values() == ["before"]
    await batch(long, ctx, ledger, walk, await _claimed(long, walk, ledger), 10)
    await place.write(ctx, "behind")
    assert place.values() == ["before", "behind"]


async def test_slices_end_with_their_run(place: Place, session: Session, long: Long, ctx: Any) -> None:
    """A slice joins the checkpoint of its run. Taken back, or when the run ends, it moves no more and none joins."""
    walk, ledger = _walk(ctx)
    (run,) = await session.tracker.runs()
    blank = long.blank(run, walk, (await walk.extent()).high)
    old = await ledger.claim(blank)
    assert await ledger.join(old) == old
    with pytest.raises(TrackerRefused):
        await ledger.join(replace(old, run_id="another"))
    await ledger.withdraw(old)
    for refused in (ledger.join(old), batch(long, ctx, ledger, walk, old, 10)):
        with pytest.raises(TrackerRefused):
            await refused
    kept = await batch(long, ctx, ledger, walk, await ledger.claim(blank), 10)
    await session.tracker.finish(run.moved(Status.FAILED, Effect.PARTIAL))
    for refused in (ledger.join(kept), batch(long, ctx, ledger, walk, kept, 10)):
        with pytest.raises(TrackerRefused):
            await refused
    assert long.added(ONE) == KEYS[:10]
