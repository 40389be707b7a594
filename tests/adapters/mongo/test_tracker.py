"""The tracker's rules, as the database keeps them."""

import asyncio
from typing import Any

import pytest
from pymongo.errors import WriteError

from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import OutcomeUnknown, TrackerNewer, TrackerRefused
from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, Effect, Run, Status
from tests.adapters.mongo._ground import Ground


async def _done(ground: Ground, session: MongoSession, **changes: Any) -> Run:
    run = ground.run(**changes)
    await session.tracker.start(run)
    await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    return run


async def test_no_tracker_has_no_runs_and_reading_creates_none(ground: Ground) -> None:
    """`status` on a new database leaves no trace in it."""
    async with ground.adapter().session() as session:
        assert await session.tracker.runs() == []
        assert await session.tracker.sources(["aa11"]) == {}
        assert await session.lock.holder() is None
    assert ground.db.list_collection_names() == []


async def test_a_run_comes_back_as_it_was(ground: Ground, session: MongoSession) -> None:
    """Every column survives, also what MongoDB would take for an expression; the times are the server's."""
    params = {"$where": "$status", "a.b": [1, {"x": None}]}
    run = ground.run(
        params=params, title="$$NOW", attempt=3, forced=True, cursor={"after": 5}, checksum="sha256-lf1:00"
    )
    await session.tracker.start(run)
    await session.tracker.finish(run.moved(Status.FAILED, Effect.PARTIAL, error="$reason", result={"$n": 1}))
    (found,) = await session.tracker.runs()
    assert (found.started_at[10], found.finished_at[-1], len(found.started_at)) == ("T", "Z", 24)
    assert (found.duration_ms or 0) >= 0
    for name in set(COLUMNS) - {"started_at", "finished_at", "duration_ms", "source"}:
        wanted = run.moved(Status.FAILED, Effect.PARTIAL, error="$reason", result={"$n": 1})
        assert getattr(found, name) == getattr(wanted, name), name


async def test_the_order_is_that_of_the_starts(ground: Ground, session: MongoSession) -> None:
    """Runs come back oldest first, whatever their ids."""
    for name in ("cc", "aa", "bb"):
        await _done(ground, session, revision=name, run_id=f"id-{name}")
    assert [run.revision for run in await session.tracker.runs()] == ["cc", "aa", "bb"]


async def test_sources_are_those_of_the_live_successes(ground: Ground, session: MongoSession) -> None:
    """The text that ran can be read back; runs without a text are left out."""
    await _done(ground, session, revision="aa", source="one", path="a.py")
    await _done(ground, session, revision="bb", source="")
    assert await session.tracker.sources(["aa", "bb", "cc"]) == {"aa": ("a.py", "one")}


async def test_one_pending_run_in_the_database(ground: Ground, session: MongoSession) -> None:
    """A second start is refused by the index, with a reason that names no value."""
    await session.tracker.start(ground.run())
    with pytest.raises(TrackerRefused, match="another run is pending"):
        await session.tracker.start(ground.run(revision="bb22"))
    assert len(ground.rows()) == 1


async def test_one_live_success_of_a_revision(ground: Ground, session: MongoSession) -> None:
    """Whoever believes to be the first, and is not, is refused by the index."""
    await _done(ground, session)
    run = ground.run()
    await session.tracker.start(run)
    with pytest.raises(TrackerRefused, match="live success already"):
        await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
    assert [row["status"] for row in ground.rows()] == ["success", "pending"]


async def test_a_run_ends_once(ground: Ground, session: MongoSession) -> None:
    """Only a pending run can end, and only as success or failed."""
    run = await _done(ground, session)
    for status, effect in ((Status.SUCCESS, Effect.FULL), (Status.FAILED, Effect.NONE)):
        with pytest.raises(TrackerRefused, match="not pending"):
            await session.tracker.finish(run.moved(status, effect))
    with pytest.raises(TrackerRefused, match="cannot go"):
        await session.tracker.finish(run)
    assert [row["status"] for row in ground.rows()] == ["success"]


async def test_a_downgrade_takes_the_success_back(ground: Ground, session: MongoSession) -> None:
    """Its success retires the upgrade's, which becomes rolled_back; a new upgrade retires the downgrade's."""
    up = await _done(ground, session)
    down = await _done(ground, session, direction=Direction.DOWNGRADE)
    again = await _done(ground, session, attempt=2)
    kept = ("_id", "status", "effect", "superseded_by")
    assert [tuple(row[name] for name in kept) for row in ground.rows()] == [
        (up.run_id, "rolled_back", "none", down.run_id),
        (down.run_id, "success", "full", again.run_id),
        (again.run_id, "success", "full", ""),
    ]


async def test_a_failure_retires_only_failures(ground: Ground, session: MongoSession) -> None:
    """A failed downgrade leaves the upgrade's success alive; a second failure replaces the first."""
    await _done(ground, session)
    for _ in range(2):
        run = ground.run(direction=Direction.DOWNGRADE)
        await session.tracker.start(run)
        await session.tracker.finish(run.moved(Status.FAILED, Effect.UNKNOWN))
    assert [run.status for run in await session.tracker.runs()] == [Status.SUCCESS, Status.FAILED]


async def test_a_failure_without_an_effect_hides_none_with_one(ground: Ground, session: MongoSession) -> None:
    """What an earlier failure left in the database is still there."""
    for attempt, effect in enumerate((Effect.PARTIAL, Effect.NONE, Effect.NONE), start=1):
        run = ground.run(attempt=attempt)
        await session.tracker.start(run)
        await session.tracker.finish(run.moved(Status.FAILED, effect))
    assert [run.effect for run in await session.tracker.runs()] == [Effect.PARTIAL, Effect.NONE]


async def test_a_run_that_has_ended_is_recorded_in_one_commit(ground: Ground, session: MongoSession) -> None:
    """Stamp and resolve write the end at once, with all that it supersedes, or nothing."""
    failed = ground.run()
    await session.tracker.start(failed)
    await session.tracker.finish(failed.moved(Status.FAILED, Effect.UNKNOWN))
    await session.tracker.record(ground.run(reason="resolved", attempt=2).moved(Status.SUCCESS, Effect.FULL))
    assert [(run.status, run.reason) for run in await session.tracker.runs()] == [(Status.SUCCESS, "resolved")]
    with pytest.raises(TrackerRefused):
        await session.tracker.record(ground.run(fence=9, revision="bb").moved(Status.SUCCESS, Effect.FULL))
    assert len(ground.rows()) == 2


async def test_the_next_run_starts_in_the_same_commit(ground: Ground, session: MongoSession) -> None:
    """Where the following run is refused, the end of the first is not written either."""
    first, following = ground.run(), ground.run(revision="bb22")
    await session.tracker.start(first)
    with pytest.raises(TrackerRefused):
        await session.tracker.finish(first.moved(Status.SUCCESS, Effect.FULL), ground.run(fence=9))
    assert [row["status"] for row in ground.rows()] == ["pending"]
    await session.tracker.finish(first.moved(Status.SUCCESS, Effect.FULL), following)
    assert [row["status"] for row in ground.rows()] == ["success", "pending"]


async def test_a_new_holder_settles_what_the_old_one_left(ground: Ground, session: MongoSession) -> None:
    """With the new fence in its run, the end of a predecessor's run is accepted."""
    run = ground.run()
    await session.tracker.start(run)
    ground.expire()
    async with ground.adapter().session() as newer:
        fence = await newer.lock.acquire(ground.owner("bob"))
        (found,) = await newer.tracker.runs()
        settled = ground.run(fence, run_id=found.run_id).moved(Status.FAILED, Effect.NONE, reason="interrupted")
        await newer.tracker.finish(settled)
        assert (ground.rows()[0]["reason"], ground.rows()[0]["fence"]) == ("interrupted", 1)


async def test_the_server_refuses_unknown_words(ground: Ground, session: MongoSession) -> None:
    """The validator keeps the states, whoever writes."""
    await session.tracker.start(ground.run())
    for change in ({"status": "done"}, {"effect": "some"}, {"superseded_by": None}):
        with pytest.raises(WriteError):
            ground.db["script_run_tracker"].update_one({}, {"$set": change})


async def test_a_newer_tracker_is_left_alone(ground: Ground, session: MongoSession) -> None:
    """Neither read nor written, and the lock is not kept."""
    await session.lock.release()
    ground.db["script_run_lock"].update_one({"_id": "tracker"}, {"$set": {"version": 99}})
    async with ground.adapter().session() as later:
        with pytest.raises(TrackerNewer):
            await later.tracker.runs()
    with pytest.raises(TrackerNewer, match="version 99") as caught:
        await session.lock.acquire(ground.owner())
    assert (caught.value.exit_code, "newer" in caught.value.hint) == (3, True)
    assert await session.lock.holder() is None


async def test_creating_it_twice_at_once_is_harmless(ground: Ground) -> None:
    """Eight at once, and again after half of it was created."""
    adapter = ground.adapter(pool=8)
    async with adapter.session() as one, adapter.session() as two:
        await asyncio.gather(*(each.tracker.ensure() for each in (one, two) * 4))
        ground.db["script_run_lock"].delete_one({"_id": "tracker"})
        ground.db["script_run_tracker"].drop_index("one_pending")
        await one.tracker.ensure()
    assert {"one_pending", "one_success"} <= set(ground.db["script_run_tracker"].index_information())


async def test_a_short_write_is_tried_again_where_that_is_safe(ground: Ground, session: MongoSession) -> None:
    """A transaction that the server calls transient did nothing, so the start is repeated, once."""
    labels = ["TransientTransactionError"]
    with ground.failing("update", errorCode=112, errorLabels=labels):
        await session.tracker.start(ground.run())
    assert len(ground.rows()) == 1


async def test_a_start_that_nobody_answered_is_unknown(
    ground: Ground, session: MongoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row may be there; the error says so."""
    monkeypatch.setattr("migrator.adapters.mongo._work.COMMIT", 0.5)
    with ground.failing("commitTransaction", times=None, closeConnection=True), pytest.raises(OutcomeUnknown):
        await session.tracker.start(ground.run())
    assert ground.rows() == []
