"""The lease and the fence, on the server's clock."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import ConnectionLost, LockHeld, LockLost, PermissionDenied
from tests.adapters.mongo._ground import Ground


async def test_a_held_lock_names_its_holder(ground: Ground, session: MongoSession) -> None:
    """Who comes second is told who, since when, and at what, and changes nothing."""
    await session.tracker.start(ground.run())
    before = ground.db["script_run_lock"].find_one({"_id": "fence"})
    async with ground.adapter().session() as other:
        with pytest.raises(LockHeld, match=r"ann@pod-1 pid 7 since 20\d\d-.*Z, now at upgrade aa11") as caught:
            await other.lock.acquire(ground.owner("bob"))
        assert (caught.value.exit_code, bool(caught.value.hint)) == (12, True)
        assert str(await other.lock.holder()) in caught.value.message
    assert ground.db["script_run_lock"].find_one({"_id": "fence"}) == before


async def test_a_released_lock_is_free_at_once_and_its_number_grows(ground: Ground, session: MongoSession) -> None:
    """The lease stays as a document, so that the fence goes on from it; releasing twice does nothing."""
    await session.lock.release()
    await session.lock.release()
    assert await session.lock.holder() is None
    assert await session.lock.acquire(ground.owner()) == 2
    assert ground.db["script_run_lock"].count_documents({"_id": "lease"}) == 1


async def test_the_number_grows_though_the_documents_are_lost(ground: Ground, session: MongoSession) -> None:
    """Whoever deletes the lock's documents by hand does not bring old numbers back."""
    await session.tracker.start(ground.run())
    await session.lock.release()
    ground.db["script_run_lock"].delete_many({"_id": {"$in": ["lease", "fence"]}})
    assert await session.lock.acquire(ground.owner()) == 2
    ground.db["script_run_lock"].delete_one({"_id": "lease"})
    assert await session.lock.acquire(ground.owner()) == 3


async def test_who_was_overtaken_learns_it_at_the_next_renewal(ground: Ground, session: MongoSession) -> None:
    """A lease that ran out can be taken; the old holder's renewal and release change nothing of the new one's."""
    await session.lock.renew()
    ground.expire()
    async with ground.adapter().session() as newer:
        assert await newer.lock.acquire(ground.owner("bob")) == 2
        with pytest.raises(LockLost):
            await session.lock.renew()
        await session.lock.release()
        assert "bob@" in str(await newer.lock.holder())
        await newer.lock.renew()


async def test_a_lease_that_ran_out_cannot_be_renewed(ground: Ground, session: MongoSession) -> None:
    """Even where nobody has taken it: somebody may have had it in between."""
    ground.expire()
    with pytest.raises(LockLost):
        await session.lock.renew()


async def test_one_of_eight_wins_every_round(ground: Ground) -> None:
    """Eight who ask at once, on a new database too: one gets the lock, with a number greater than before."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(ground.adapter().session()) for _ in range(8)]
        for number in range(1, 7):
            asked = (each.lock.acquire(ground.owner()) for each in sessions)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [each for each in answers if not isinstance(each, LockHeld)] == [number]
            for each in sessions:
                await each.lock.release()


async def test_an_acquisition_whose_answer_was_lost_counts(ground: Ground, session: MongoSession) -> None:
    """The lease may have been taken although nobody heard of it; the token tells."""
    await session.lock.release()
    fault: dict[str, Any] = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    with ground.failing("findAndModify", 1, **fault):
        assert await session.lock.acquire(ground.owner("eve")) == 2
    assert "eve@" in str(await session.lock.holder())


async def test_a_renewal_that_nobody_answers_is_no_loss_yet(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection is told as such, and the next renewal may succeed."""
    monkeypatch.setattr("migrator.adapters.mongo._lock.RENEWAL", 0.5)
    with ground.failing("update", times=None, closeConnection=True), pytest.raises(ConnectionLost):
        await session.lock.renew()
    monkeypatch.undo()
    await session.lock.renew()


async def test_a_server_that_is_too_slow_is_no_failed_script(ground: Ground, session: MongoSession) -> None:
    """Where the server ends our own command because its time is over, that is told as a lost connection."""
    await session.lock.release()
    with ground.failing("findAndModify", errorCode=50), pytest.raises(ConnectionLost, match="take the lock"):
        await session.lock.acquire(ground.owner())


async def test_a_failed_entry_gives_the_lock_back(ground: Ground) -> None:
    """Where the tracker cannot be created, the lock is free for the next one at once."""
    async with ground.adapter().session() as session:
        with (
            ground.failing("create", errorCode=13),
            pytest.raises(PermissionDenied, match="create the tracker") as caught,
        ):
            await session.lock.acquire(ground.owner())
        assert caught.value.exit_code == 5
        assert await session.lock.holder() is None
        assert await session.lock.acquire(ground.owner()) == 2
