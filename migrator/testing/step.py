"""Steps: what commits together, what is left after an error, a cancellation and a time limit."""

# ruff: noqa: PT012 - a step is a block, and its end is what is looked at

import asyncio

import pytest

from migrator.core.errors import StatementTimeout
from migrator.core.protocols import Session
from migrator.testing._place import LIMIT, Place


async def test_the_work_and_its_row_commit_together(place: Place, session: Session) -> None:
    """Nobody sees the work before the row says success; both are there afterwards."""
    run = place.run()
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        touched = [ctx.touched]
        await place.write(ctx, "a")
        assert [*touched, ctx.touched] == [False, True]
        assert await place.read(ctx) == ["a"]
        await ctx.settle()
        await session.tracker.finish(place.done(run))
        assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])
    assert (place.values(), place.rows()) == (["a"], [(run.run_id, "success", "full", "")])


async def test_an_error_takes_everything_back(place: Place, session: Session) -> None:
    """The script's own error comes through as it is, nothing of the step is left, and the next step works."""
    run = place.run()
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError, match="mine"):
        async with place.step(session, run) as ctx:
            await place.write(ctx, "a")
            await session.tracker.finish(place.done(run), place.run(revision="bb22"))
            raise ZeroDivisionError("mine")
    assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])
    async with place.step(session, run) as ctx:
        await place.write(ctx, "b")
        await session.tracker.finish(place.done(run))
    assert (place.values(), place.rows()) == (["b"], [(run.run_id, "success", "full", "")])


async def test_a_cancellation_takes_everything_back(place: Place) -> None:
    """A command that is cancelled while the server works leaves nothing, and neither lock nor connection."""
    run, working = place.run(), asyncio.Event()

    async def command() -> None:
        async with place.adapter().session() as session:
            await session.lock.acquire(place.owner())
            try:
                await session.tracker.start(run)
                async with place.step(session, run, timeout=60) as ctx:
                    await place.write(ctx, "a")
                    working.set()
                    await place.sleep(ctx)
            finally:
                await session.lock.release()

    task = asyncio.create_task(command())
    async with asyncio.timeout(LIMIT):
        await working.wait()
        while not await asyncio.to_thread(place.busy):
            pass
    task.cancel()
    await asyncio.wait([task], timeout=LIMIT)
    assert task.cancelled(), "the command did not end"
    assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])
    async with place.adapter().session() as session:
        await session.tracker.finish(
            place.failed(place.run(await session.lock.acquire(place.owner()), run_id=run.run_id))
        )
        await session.lock.release()


async def test_the_tracker_can_be_read_inside_a_step(place: Place, session: Session) -> None:
    """Reading runs and sources, and asking for the holder, work on the connection of an open step."""
    before = await place.applied(session, place.run(source="text"))
    run = place.run(revision="bb22")
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await place.write(ctx, "a")
        assert [each.run_id for each in await session.tracker.runs()] == [before.run_id, run.run_id]
        assert list(await session.tracker.sources(["aa11"])) == ["aa11"]
        assert await session.lock.holder() is not None
        await session.lock.renew()
        await session.tracker.finish(place.done(run))
    assert (place.values(), [row[1] for row in place.rows()]) == (["a"], ["success", "success"])


async def test_without_a_transaction_what_was_done_is_kept(place: Place, session: Session) -> None:
    """Each write takes effect by itself and outlives the error, and the tracker says what it was told."""
    run = place.run(transactional=False)
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError):
        async with place.step(session, run) as ctx:
            await place.write(ctx, "a")
            assert place.values() == ["a"]
            raise ZeroDivisionError
    await session.tracker.finish(place.failed(run))
    assert (place.values(), place.rows()) == (["a"], [(run.run_id, "failed", "none", "")])


@pytest.mark.parametrize("transactional", [True, False])
async def test_the_server_ends_what_takes_too_long(place: Place, session: Session, transactional: bool) -> None:
    """A statement that outlasts the step's limit is ended on the server, and the session goes on."""
    run = place.run(transactional=transactional)
    await session.tracker.start(run)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(StatementTimeout):
            async with place.step(session, run, timeout=0.5) as ctx:
                await place.sleep(ctx)
        await session.tracker.finish(place.failed(run))
    assert place.rows() == [(run.run_id, "failed", "none", "")]


async def test_no_limit_is_no_limit(place: Place, session: Session) -> None:
    """A timeout of 0 sets none, also after a step that had one."""
    for revision, limit in (("aa11", 5.0), ("bb22", 0.0)):
        run = place.run(revision=revision)
        await session.tracker.start(run)
        async with place.step(session, run, timeout=limit) as ctx:
            await place.write(ctx, revision)
            await session.tracker.finish(place.done(run))
    assert place.values() == ["aa11", "bb22"]


async def test_a_script_may_open_another_database(place: Place, session: Session) -> None:
    """What is written in a context of another adapter is outside the step, and stays when the step fails."""
    run, other = place.run(), place.adapter()
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError):
        async with place.step(session, run) as ctx:
            await place.write(ctx, "gone")
            async with other.context() as elsewhere:
                await place.write(elsewhere, "kept")
            raise ZeroDivisionError
    assert place.values() == ["kept"]
