"""The lock: one holder, a growing fence, free again whatever happens to the holder."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from migrator.core.errors import ConnectionLost, DatabaseError, LockHeld, LockLost, TrackerRefused
from migrator.core.protocols import Session
from migrator.testing._place import Place

SESSIONS = 8


async def test_a_second_holder_is_refused(place: Place, session: Session) -> None:
    """LockHeld comes at once, names the holder, and changes nothing: the first still holds and writes."""
    run = place.run()
    await session.tracker.start(run)
    async with place.adapter().session() as other:
        with pytest.raises(LockHeld, match=r"ann@pod-1 pid 7 since 20\d\d-.*Z.*aa11") as caught:
            await other.lock.acquire(place.owner("bob"))
        assert caught.value.exit_code == 12
        assert caught.value.hint
    await session.lock.renew()
    await session.tracker.finish(place.done(run))


async def test_the_fence_grows_with_every_holder(place: Place) -> None:
    """Each acquisition, by whomever and after whichever end, gives a greater number."""
    fences = []
    async with place.adapter().session() as one, place.adapter().session() as two:
        for session in (one, two, two, one):
            fences.append(await session.lock.acquire(place.owner()))
            await session.lock.release()
    assert fences == sorted(set(fences))


async def test_who_holds_it_is_told(place: Place, session: Session) -> None:
    """The holder and what it is doing are told to everybody; nobody is told when nobody holds it."""
    async with place.adapter().session() as other:
        found = await other.lock.holder()
        assert found is not None
        assert (found.host, found.pid, found.user, found.doing) == ("pod-1", 7, "ann", "")
        assert found.since.endswith("Z")
        await session.tracker.start(run := place.run())
        found = await other.lock.holder()
        assert found is not None
        assert "aa11" in found.doing
        await session.tracker.finish(place.done(run))
        await session.lock.release()
        assert await other.lock.holder() is None


async def test_nobody_holds_what_is_not_there(place: Place) -> None:
    """Asking for the holder before the first use says nobody and creates nothing."""
    async with place.adapter().session() as session:
        assert await session.lock.holder() is None
        assert await session.tracker.runs() == []


async def test_release_is_harmless_where_it_is_not_held(place: Place, session: Session) -> None:
    """Releasing twice, or somebody else's lock, does nothing."""
    async with place.adapter().session() as other:
        await other.lock.release()
        with pytest.raises(LockHeld):
            await other.lock.acquire(place.owner())
    await session.lock.release()
    await session.lock.release()


async def test_a_renewed_lock_stays(place: Place, session: Session) -> None:
    """Renewing keeps the holder and the fence."""
    await session.lock.renew()
    await session.lock.renew()
    async with place.adapter().session() as other:
        with pytest.raises(LockHeld):
            await other.lock.acquire(place.owner())
    await place.applied(session, place.run())


async def test_a_dead_holder_does_not_keep_it(place: Place) -> None:
    """When the holder's connection or lease is gone somebody else gets the lock, with a greater fence."""
    async with place.adapter().session() as dead:
        first = await dead.lock.acquire(place.owner())
        place.lapse()
        async with place.adapter().session() as newer:
            assert await newer.lock.acquire(place.owner("bob")) > first
            await place.applied(newer, place.run(fence=first + 1))


async def test_a_lost_lock_cannot_be_renewed(place: Place, session: Session) -> None:
    """Renewing a lock that is somebody else's by now raises LockLost."""
    place.lapse()
    async with place.adapter().session() as newer:
        await newer.lock.acquire(place.owner("bob"))
        with pytest.raises(LockLost) as caught:
            await session.lock.renew()
        assert caught.value.exit_code == 12
        with pytest.raises(DatabaseError):
            await session.tracker.start(place.run())
        assert place.rows() == []


async def test_one_of_many_wins(place: Place) -> None:
    """Of eight who try at the same moment, on a new database too, exactly one gets the lock in each round."""
    async with AsyncExitStack() as stack:
        adapters = [place.adapter() for _ in range(SESSIONS)]
        sessions = [await stack.enter_async_context(adapter.session()) for adapter in adapters]
        fences = []
        for _ in range(5):
            answers = await asyncio.gather(
                *(each.lock.acquire(place.owner()) for each in sessions), return_exceptions=True
            )
            won = [index for index, answer in enumerate(answers) if isinstance(answer, int)]
            assert len(won) == 1
            assert all(isinstance(answer, int | LockHeld) for answer in answers), answers
            fences.append(answers[won[0]])
            await sessions[won[0]].lock.release()
        assert fences == sorted(set(fences), key=str)


async def test_an_evicted_holder_writes_nothing_more(place: Place) -> None:
    """Evicting names the holder, frees the lock at once, and shuts out whatever the evicted one still tries."""
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(place.adapter().session())
        other = await stack.enter_async_context(place.adapter().session())
        run = place.run(fence=await holder.lock.acquire(place.owner()))
        evicted = await other.lock.evict(place.owner("bob"), "its pod hangs")
        assert evicted is not None
        assert evicted.user == "ann"
        assert await other.lock.acquire(place.owner("bob")) > run.fence
        with pytest.raises((TrackerRefused, ConnectionLost)):
            await holder.tracker.start(run)
        assert place.rows() == []


async def test_an_evicted_holder_is_shut_out_at_once(place: Place) -> None:
    """It can write nothing from the moment it was evicted, though nobody else has taken the lock yet."""
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(place.adapter().session())
        other = await stack.enter_async_context(place.adapter().session())
        run = place.run(fence=await holder.lock.acquire(place.owner()))
        assert await other.lock.evict(place.owner("bob"), "it must not go on") is not None
        assert await other.lock.holder() is None
        with pytest.raises((TrackerRefused, ConnectionLost)):
            await holder.tracker.start(run)
        assert place.rows() == []


async def test_nobody_is_evicted_from_a_free_lock(place: Place, session: Session) -> None:
    """Where nobody holds the lock there is nobody to end, and the next holder is not disturbed."""
    await session.lock.release()
    assert await session.lock.evict(place.owner("bob"), "to be sure") is None
    assert await session.lock.acquire(place.owner()) > 1
