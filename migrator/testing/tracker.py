"""The tracker: what is in it, since when, and who sees it."""

# ruff: noqa: PT012 - a step is a block, and its end is what is looked at

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from migrator.core.errors import TrackerNewer
from migrator.core.protocols import Adapter, Session
from migrator.core.run import COLUMNS, Effect, Kind, Status
from migrator.testing._place import Place

ODD_VALUES = (
    "it's \"quoted\" \\ \\' back\\slash\nline\ttab {tracker} :name :fence::int $1 %s -- /* ; ☃ 𝄞 é\u0301 $$ ${a} $a.b"
)
BIG = "x = 'y'  # \\ ☃\n" * 65_536


async def test_without_a_tracker_there_are_no_runs(adapter_factory: Callable[..., Adapter]) -> None:
    """Reading before anything was created gives nothing and creates nothing."""
    async with adapter_factory().session() as session:
        assert await session.tracker.runs() == []
        assert await session.tracker.sources(["aa11"]) == {}
        assert await session.tracker.runs() == []


async def test_ensure_is_idempotent(place: Place, session: Session) -> None:
    """A second ensure, here and in another session, leaves everything as it is."""
    run = await place.applied(session, place.run())
    await session.tracker.ensure()
    async with place.adapter().session() as other:
        await other.tracker.ensure()
        assert [each.run_id for each in await other.tracker.runs()] == [run.run_id]


async def test_the_start_is_committed_at_once(place: Place, session: Session) -> None:
    """Another session sees the pending run while the step runs."""
    run = place.run()
    await session.tracker.start(run)
    async with place.step(session, run) as ctx, place.adapter().session() as other:
        await place.write(ctx, "a")
        assert [(each.run_id, each.status) for each in await other.tracker.runs()] == [(run.run_id, Status.PENDING)]


async def test_a_finish_outside_a_step_is_committed_at_once(place: Place, session: Session) -> None:
    """Another session sees the end of a run as soon as finish returns."""
    run = await place.applied(session, place.run())
    assert place.rows() == [(run.run_id, "success", "full", "")]


async def test_a_finish_in_a_step_joins_its_transaction(place: Place, session: Session) -> None:
    """Nobody sees the success before the commit, and everybody after it."""
    run = place.run()
    await session.tracker.start(run)
    async with place.step(session, run):
        await session.tracker.finish(place.done(run))
        assert place.rows() == [(run.run_id, "pending", "unknown", "")]
    assert place.rows() == [(run.run_id, "success", "full", "")]


async def test_a_finish_in_a_step_is_rolled_back_with_it(place: Place, session: Session) -> None:
    """After a failure of the step the run is pending, and can be recorded as failed."""
    run = place.run()
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError):
        async with place.step(session, run):
            await session.tracker.finish(place.done(run))
            raise ZeroDivisionError
    assert place.rows() == [(run.run_id, "pending", "unknown", "")]
    await session.tracker.finish(place.failed(run))
    assert place.rows() == [(run.run_id, "failed", "none", "")]


async def test_the_following_run_starts_in_the_same_commit(place: Place, session: Session) -> None:
    """With the end of a run the next one is pending; inside a step both wait for its commit."""
    first, second, third = place.run(), place.run(revision="bb22"), place.run(revision="cc33")
    await session.tracker.start(first)
    await session.tracker.finish(place.done(first), second)
    assert [row[:2] for row in place.rows()] == [(first.run_id, "success"), (second.run_id, "pending")]
    async with place.step(session, second):
        await session.tracker.finish(place.done(second), third)
        assert [row[1] for row in place.rows()] == ["success", "pending"]
    assert [row[1] for row in place.rows()] == ["success", "success", "pending"]


async def test_runs_come_in_the_order_of_their_start(place: Place, session: Session) -> None:
    """Neither ids nor ends change the order."""
    names = ["cc33", "aa11", "dd44", "bb22"]
    for name in names:
        await place.applied(session, place.run(revision=name, run_id=f"run-of-{name}"))
    assert [run.revision for run in await session.tracker.runs()] == names


async def test_every_column_keeps_its_value(place: Place, session: Session) -> None:
    """Quotes, backslashes, line ends, what looks like a placeholder, and nested JSON come back as they were."""
    nested = {"list": [1, 2.5, None, True, {"deep": ODD_VALUES}], ODD_VALUES[:20].replace("$", "").replace(".", ""): {}}
    begun: dict[str, Any] = {
        name: f"{name}: {ODD_VALUES}"
        for name in ("revision", "title", "checksum", "path", "deploy_id", "owner", "host", "user", "release")
    }
    run = place.run(
        **begun,
        source=BIG,
        kind=Kind.STAMP,
        forced=True,
        attempt=3,
        transactional=False,
        params=nested,
        progress=nested,
        cursor=nested,
        pid=2**31 - 1,
    )
    ended: dict[str, Any] = {"reason": ODD_VALUES, "error": ODD_VALUES * 50, "log_file": ODD_VALUES, "result": nested}
    await session.tracker.start(run)
    await session.tracker.finish(place.done(run, **ended))
    (found,) = await session.tracker.runs()
    expected = vars(replace(run, status=Status.SUCCESS, effect=Effect.FULL, source="", **ended))
    told_by_the_server = {"started_at", "finished_at", "duration_ms"}
    for name in COLUMNS:
        assert name in told_by_the_server or getattr(found, name) == expected[name], name
    assert found.database == "main"
    assert await session.tracker.sources([run.revision]) == {run.revision: (run.path, BIG)}


async def test_the_server_tells_the_time(place: Place, session: Session) -> None:
    """Start and end are ISO 8601 in UTC with milliseconds, and the duration is what lies between."""
    run = place.run()
    await session.tracker.start(run)
    (pending,) = await session.tracker.runs()
    assert (pending.finished_at, pending.duration_ms) == ("", None)
    await session.tracker.finish(place.done(run))
    (found,) = await session.tracker.runs()
    assert found.started_at == pending.started_at <= found.finished_at
    assert len(found.started_at) == len("2026-11-20T10:30:00.000Z")
    assert found.started_at.endswith("Z")
    assert found.duration_ms is not None
    assert found.duration_ms >= 0


async def test_sources_are_those_of_live_successes(place: Place, session: Session) -> None:
    """Failures, revisions taken down, texts that are empty and revisions not asked for are left out."""
    await place.applied(session, place.run(source="one", path="a.py"))
    await place.applied(session, place.run(revision="bb22", source="two"))
    await place.applied(session, place.run(revision="cc33", source=""))
    await place.applied(session, down := place.run(revision="dd44", source="four"))
    await place.taken_down(session, replace(down, source=""))
    failed = place.run(revision="ee55", source="five")
    await session.tracker.start(failed)
    await session.tracker.finish(place.failed(failed))
    asked = ["aa11", "cc33", "dd44", "ee55", "ff66"]
    assert await session.tracker.sources(asked) == {"aa11": ("a.py", "one")}
    assert await session.tracker.sources([]) == {}


async def test_a_newer_tracker_is_refused(place: Place) -> None:
    """Neither runs nor ensure nor the lock accept a version that they do not know, and nothing is changed."""
    async with place.adapter().session() as session:
        await session.lock.acquire(place.owner())
        await place.applied(session, place.run())
        await session.lock.release()
    before = place.rows()
    place.set_version(99)
    async with place.adapter().session() as session:
        with pytest.raises(TrackerNewer, match="99") as caught:
            await session.tracker.runs()
        assert caught.value.exit_code == 3
        with pytest.raises(TrackerNewer, match="99"):
            await session.tracker.ensure()
        with pytest.raises(TrackerNewer, match="99"):
            await session.lock.acquire(place.owner())
    assert place.rows() == before
    place.set_version(1)
    async with place.adapter().session() as session:
        assert await session.lock.acquire(place.owner()) > 1
