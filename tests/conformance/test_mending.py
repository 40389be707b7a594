"""Rows that a long change passed over, one by one: found by their key, and forgotten with what mends them."""

# ruff: noqa: PT012 - a batch is a block, and its end is what is looked at

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from migrator.core.batch import Ledger, Walk
from migrator.core.errors import TrackerRefused
from migrator.core.protocols import Session
from tests.conformance._long import ONE, TWO, Long, long_of, moved
from tests.conformance._places import Place

pytestmark = pytest.mark.only("postgres", "mongo")


@pytest.fixture
def long(place: Place) -> Long:
    """Give ten rows to walk over, and some with a key of two fields."""
    found = long_of(place)
    found.fill(range(1, 11))
    found.fill_two([(1, "a"), (1, "b"), (2, "a")])
    return found


@pytest.fixture
async def ctx(place: Place, session: Session, long: Long) -> AsyncIterator[Any]:
    """Give the context of a step that walks in batches, with fence 1."""
    run = long.run()
    await session.tracker.start(run)
    async with place.step(session, run, timeout=0.0) as found:
        yield found


def _walk(ctx: Any, source: str = ONE, key: tuple[str, ...] = ()) -> tuple[Walk, Ledger]:
    found: tuple[Walk, Ledger] = ctx.walk(source, key, None)
    return found


@pytest.mark.parametrize("two", [False, True], ids=["one field", "two fields"])
async def test_a_row_is_found_by_its_key(ctx: Any, long: Long, two: bool) -> None:
    """The page at a position is that one row, and a change of it reaches no other."""
    source, key = (TWO, long.two) if two else (ONE, ())
    walk, _ = _walk(ctx, source, key)
    page = (await long.pages(walk, 1))[1]
    assert await walk.at(page.upto) == page
    await long.add(ctx, source, page)
    assert long.added(source) == [page.first]


async def test_a_row_that_is_gone_is_not_found(ctx: Any, long: Long) -> None:
    """There is no page at the position of a row that was deleted, in the middle or at the end."""
    walk, _ = _walk(ctx)
    pages = await long.pages(walk, 1)
    await long.delete(ctx, [4, 10])
    assert [await walk.at(pages[at].upto) for at in (3, 9)] == [None, None]


async def test_a_row_is_forgotten_once(ctx: Any, long: Long, session: Session) -> None:
    """What was kept of a row goes with the transaction that mends it, and a second time is refused."""
    walk, ledger = _walk(ctx)
    extent = await walk.extent()
    checkpoint = await ledger.claim(long.blank(long.run(), walk, extent.high))
    page = (await long.pages(walk, 1))[0]
    async with ledger.moved(checkpoint, moved(checkpoint, page)):
        await ledger.failed(checkpoint, page.upto, "it would not")
    kept = moved(checkpoint, page)
    with pytest.raises(RuntimeError):
        async with ledger.moved(kept, replace(kept, batches=kept.batches + 1)):
            await ledger.mended(kept, page.upto)
            raise RuntimeError
    assert [each.key for each in await session.tracker.failures(kept.origin)] == [page.upto]
    after = replace(kept, batches=kept.batches + 1)
    async with ledger.moved(kept, after):
        await ledger.mended(kept, page.upto)
    assert await session.tracker.failures(kept.origin) == []
    with pytest.raises(TrackerRefused):
        async with ledger.moved(after, replace(after, batches=after.batches + 1)):
            await ledger.mended(kept, page.upto)
