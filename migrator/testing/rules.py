"""The tracker: what it refuses, and what a run does to the runs before it."""

# ruff: noqa: PT012 - a step is a block, and its end is what is looked at

from dataclasses import replace
from typing import Any

import pytest

from migrator.core.errors import TrackerDamaged, TrackerRefused
from migrator.core.protocols import Session
from migrator.core.revision import Direction
from migrator.core.run import EFFECTS, TRANSITIONS, Effect, Kind, Status, state_of
from migrator.testing._place import Place


async def test_a_second_pending_run_is_refused(place: Place, session: Session) -> None:
    """While a run is pending no other starts, not even as the one that follows a finish."""
    first = place.run()
    await session.tracker.start(first)
    with pytest.raises(TrackerRefused):
        await session.tracker.start(place.run(revision="bb22"))
    assert [row[0] for row in place.rows()] == [first.run_id]
    await session.tracker.finish(place.done(first))
    await session.tracker.start(place.run(revision="bb22"))


async def test_a_run_id_is_used_once(place: Place, session: Session) -> None:
    """The same id cannot start again, and the row stays as it is."""
    run = await place.applied(session, place.run())
    with pytest.raises(TrackerRefused):
        await session.tracker.start(place.run(run_id=run.run_id, revision="bb22"))
    assert place.rows() == [(run.run_id, "success", "full", "")]


async def test_a_second_live_success_is_refused(place: Place, session: Session) -> None:
    """The first run of a revision cannot succeed where the revision is applied by now."""
    first = await place.applied(session, place.run())
    second = place.run()
    await session.tracker.start(second)
    with pytest.raises(TrackerRefused):
        await session.tracker.finish(place.done(second))
    assert [row[1:] for row in place.rows()] == [("success", "full", ""), ("pending", "unknown", "")]
    assert [run.run_id for run in state_of(await session.tracker.runs()).applied.values()] == [first.run_id]


async def test_a_second_live_success_is_refused_with_its_work(place: Place, session: Session) -> None:
    """In a transactional step the refusal takes the work back too."""
    await place.applied(session, place.run())
    second = place.run()
    await session.tracker.start(second)
    with pytest.raises(TrackerRefused):
        async with place.step(session, second) as ctx:
            await place.write(ctx, "a")
            await session.tracker.finish(place.done(second))
    assert place.values() == []


async def test_an_old_fence_starts_and_finishes_nothing(place: Place, session: Session) -> None:
    """Whoever was overtaken writes nothing, and the new holder finishes the run that was left."""
    run = place.run()
    await session.tracker.start(run)
    await session.lock.release()
    async with place.adapter().session() as newer:
        fence = await newer.lock.acquire(place.owner("bob"))
        before = place.rows()
        for done in (place.done(run), place.failed(run)):
            with pytest.raises(TrackerRefused):
                await session.tracker.finish(done)
        with pytest.raises(TrackerRefused):
            await session.tracker.finish(place.done(run), place.run(revision="bb22"))
        assert place.rows() == before
        await newer.tracker.finish(replace(place.failed(run), fence=fence))
        with pytest.raises(TrackerRefused):
            await session.tracker.start(place.run(revision="bb22"))
        assert place.rows() == [(run.run_id, "failed", "none", "")]


async def test_an_old_fence_commits_no_step(place: Place, session: Session) -> None:
    """A step of an overtaken holder leaves neither its work nor its row."""
    run = place.run()
    await session.tracker.start(run)
    await session.lock.release()
    async with place.adapter().session() as newer:
        await newer.lock.acquire(place.owner("bob"))
        with pytest.raises(TrackerRefused):
            async with place.step(session, run) as ctx:
                await place.write(ctx, "a")
                await session.tracker.finish(place.done(run))
        assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])


@pytest.mark.parametrize("end", ["success", "failed"])
async def test_only_a_pending_run_can_finish(place: Place, session: Session, end: str) -> None:
    """A run that is over, or that never began, has no end to record."""
    run = place.run()
    await session.tracker.start(run)
    await session.tracker.finish(place.done(run) if end == "success" else place.failed(run))
    before = place.rows()
    for late in (place.done(run), place.failed(run)):
        with pytest.raises(TrackerRefused):
            await session.tracker.finish(late)
    with pytest.raises((TrackerRefused, TrackerDamaged)):  # a row that began and is not there was taken away
        await session.tracker.finish(place.done(place.run(revision="bb22")))
    assert place.rows() == before


ENDS = [(status, effect) for status in Status for effect in Effect]


@pytest.mark.parametrize(("status", "effect"), ENDS)
async def test_the_arrows_are_those_of_the_core(place: Place, session: Session, status: Status, effect: Effect) -> None:
    """Exactly the transitions and effects that core.run lists can be written; anything else changes nothing."""
    run = place.run()
    await session.tracker.start(run)
    end = replace(run, status=status, effect=effect)
    if (Status.PENDING, status) in TRANSITIONS and effect in EFFECTS[status]:
        await session.tracker.finish(end)
        assert place.rows() == [(run.run_id, status, effect, "")]
    else:
        with pytest.raises(TrackerRefused):
            await session.tracker.finish(end)
        assert place.rows() == [(run.run_id, "pending", "unknown", "")]


async def _fails(place: Place, session: Session, effect: Effect = Effect.NONE, **changes: Any) -> str:
    run = place.run(**changes)
    await session.tracker.start(run)
    await session.tracker.finish(place.failed(run, effect))
    return run.run_id


async def test_a_success_supersedes_the_failures_before_it(place: Place, session: Session) -> None:
    """After failures and a success only the success is live; the rows are all kept."""
    first = await _fails(place, session)
    second = await _fails(place, session, attempt=2)
    other = await _fails(place, session, revision="bb22")
    third = await place.applied(session, place.run(attempt=3))
    assert place.rows() == [
        (first, "failed", "none", second),
        (second, "failed", "none", third.run_id),
        (other, "failed", "none", ""),
        (third.run_id, "success", "full", ""),
    ]
    assert [run.run_id for run in await session.tracker.runs()] == [other, third.run_id]


async def test_a_later_success_supersedes_an_earlier_one(place: Place, session: Session) -> None:
    """A later attempt that succeeds takes the place of the success, which stays a success that is not live."""
    first = await place.applied(session, place.run())
    second = await place.applied(session, place.run(attempt=2))
    assert place.rows() == [
        (first.run_id, "success", "full", second.run_id),
        (second.run_id, "success", "full", ""),
    ]


async def test_a_failure_supersedes_failures_only(place: Place, session: Session) -> None:
    """A downgrade that fails leaves the success live, and takes the place of the failure before it."""
    applied = await place.applied(session, place.run())
    first = await _fails(place, session, direction=Direction.DOWNGRADE)
    second = await _fails(place, session, direction=Direction.DOWNGRADE, attempt=2)
    assert place.rows() == [
        (applied.run_id, "success", "full", ""),
        (first, "failed", "none", second),
        (second, "failed", "none", ""),
    ]


async def test_a_failure_that_left_something_is_kept(place: Place, session: Session) -> None:
    """A failure without an effect does not hide one that left something; one with an effect, or resolve, does."""
    first = await _fails(place, session, Effect.PARTIAL)
    second = await _fails(place, session, attempt=2)
    assert [row[3] for row in place.rows()] == ["", ""]
    third = await _fails(place, session, Effect.UNKNOWN, attempt=3)
    assert [row[3] for row in place.rows()] == [third, third, ""]
    judged = place.run(attempt=4, kind=Kind.RESOLVE)
    await session.tracker.record(place.failed(judged))
    assert place.rows() == [
        (first, "failed", "partial", third),
        (second, "failed", "none", third),
        (third, "failed", "unknown", judged.run_id),
        (judged.run_id, "failed", "none", ""),
    ]


async def test_a_record_is_a_start_and_a_finish_in_one(place: Place, session: Session) -> None:
    """It inserts a run that has ended, retires what a finish would, and obeys the same rules."""
    up, down = place.run(kind=Kind.STAMP), place.run(direction=Direction.DOWNGRADE, kind=Kind.STAMP)
    await session.tracker.record(place.done(up, reason="stamped"))
    (found,) = await session.tracker.runs()
    assert (found.kind, found.status, found.effect, found.reason) == ("stamp", "success", "full", "stamped")
    assert found.finished_at
    for refused in (place.done(place.run()), place.run(revision="bb22"), place.done(place.run(0, revision="bb22"))):
        with pytest.raises(TrackerRefused):
            await session.tracker.record(refused)
    await session.tracker.record(place.done(down))
    assert place.rows() == [
        (up.run_id, "rolled_back", "none", down.run_id),
        (down.run_id, "success", "full", ""),
    ]
    await session.tracker.start(pending := place.run(revision="bb22"))
    with pytest.raises(TrackerRefused):
        await session.tracker.record(place.done(place.run(revision="cc33")))
    assert place.rows()[2:] == [(pending.run_id, "pending", "unknown", "")]


async def test_a_downgrade_takes_the_success_back(place: Place, session: Session) -> None:
    """The upgrade's run becomes rolled_back with no effect, and the revision can be applied again."""
    up = await place.applied(session, place.run())
    down = await place.taken_down(session, up)
    assert place.rows() == [
        (up.run_id, "rolled_back", "none", down.run_id),
        (down.run_id, "success", "full", ""),
    ]
    assert state_of(await session.tracker.runs()).applied == {}
    again = await place.applied(session, place.run(attempt=2))
    assert [run.run_id for run in state_of(await session.tracker.runs()).applied.values()] == [again.run_id]
    assert place.rows()[1] == (down.run_id, "success", "full", again.run_id)


async def test_what_a_downgrade_retires_is_rolled_back_with_it(place: Place, session: Session) -> None:
    """In a step that fails after its finish the success stays as it was."""
    up = await place.applied(session, place.run())
    down = replace(place.run(), direction=Direction.DOWNGRADE)
    await session.tracker.start(down)
    with pytest.raises(ZeroDivisionError):
        async with place.step(session, down):
            await session.tracker.finish(place.done(down))
            raise ZeroDivisionError
    assert place.rows() == [(up.run_id, "success", "full", ""), (down.run_id, "pending", "unknown", "")]
