"""The whole past of a database, superseded runs too: read page by page, and taken away."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from migrator.core.batch import Control
from migrator.core.errors import LockHeld, LockLost, TrackerNewer
from migrator.core.protocols import Adapter, Session
from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, Effect, Run, Status
from migrator.core.runs import LISTED, RunFilter
from migrator.core.stats import Total, totals
from migrator.testing._place import Place

EVERYTHING = RunFilter()


async def _history(place: Place, session: Session) -> list[Run]:
    """Leave runs of every status behind, two of them live and one pending; return them as they stand, newest first."""
    run = place.run
    await place.applied(session, run(run_id="01a", user="ann", host="pod-1", source="text"))
    await session.tracker.start(failed := run(run_id="01b", revision="bb22", user="bob", host="pod-2"))
    await session.tracker.finish(place.failed(failed, Effect.UNKNOWN, error="it broke", result={"error_class": "E"}))
    await place.applied(session, run(run_id="01c", revision="bb22", attempt=2, user="ann", host="pod-2"))
    await place.taken_down(session, run(run_id="01d", revision="bb22", user="eve", host="pod-2"))
    await session.tracker.start(run(run_id="02a", revision="bb_3%", user="eve", host="pod-1"))
    return await session.tracker.page(EVERYTHING)


async def test_without_a_tracker_there_is_no_past(adapter_factory: Callable[..., Adapter]) -> None:
    """Asking for a page creates nothing and gives nothing, and there is nothing to delete."""
    async with adapter_factory().session() as session:
        assert await session.tracker.page(EVERYTHING) == []
        assert await session.tracker.delete(["01a"]) == 0
        assert await session.tracker.page(EVERYTHING) == []


async def test_a_page_holds_every_run_newest_first(place: Place, session: Session) -> None:
    """Superseded runs are among them, each with all its columns but the source."""
    found = await _history(place, session)
    assert len(found) == 5
    assert [run.run_id for run in found] == sorted((run.run_id for run in found), reverse=True)
    assert {run.status for run in found} == set(Status)
    alive = {run.run_id: run for run in await session.tracker.runs()}
    assert [run for run in found if not run.superseded_by] == [
        alive[run.run_id] for run in found if run.run_id in alive
    ]
    assert {run.source for run in found} == {""}


async def test_pages_follow_one_another(place: Place, session: Session) -> None:
    """Whatever the limit, the pages together are the whole past, each run once."""
    whole = await _history(place, session)
    for limit in (1, 2, 3, 5, 9):
        parts, after = list[Run](), ""
        while page := await session.tracker.page(EVERYTHING, after=after, limit=limit):
            assert len(page) <= limit
            parts += page
            after = page[-1].run_id
        assert parts == whole


FILTERS: list[dict[str, Any]] = [
    {"run": "01"},
    {"run": "01a"},
    {"run": "%"},
    {"run": "02_"},
    {"run": "01' OR true --"},
    {"ids": ()},
    {"ids": ("01a", "02a", "nobody")},
    {"script": "bb"},
    {"script": "bb_"},
    {"script": "bb_3%"},
    {"script": "{columns}"},
    {"script": ".*"},
    {"statuses": frozenset({Status.PENDING})},
    {"statuses": frozenset({Status.FAILED, Status.ROLLED_BACK})},
    {"direction": Direction.DOWNGRADE},
    {"user": "ann"},
    {"user": "an"},
    {"host": "pod-2", "user": "ann"},
    {"host": "pod-1", "script": "aa", "statuses": frozenset({Status.SUCCESS})},
]


async def test_a_filter_means_what_the_core_says(place: Place, session: Session) -> None:
    """Every filter gives the runs that `RunFilter.matches` accepts, and no sign in it has a meaning of its own."""
    whole = await _history(place, session)
    times = [run.started_at for run in whole]
    hour = timedelta(hours=1)
    bounds = [each.isoformat() for each in (datetime.now(UTC) - hour, datetime.now(UTC) + hour)]
    ranges = [{"since": since, "until": until} for since in ("", *times[1:2], *bounds) for until in ("", *bounds)]
    for given in [*FILTERS, *ranges]:
        wanted = RunFilter(**given)
        found = await session.tracker.page(wanted)
        # A tracker may keep its times more exactly than a run shows them: the run that bounds is not compared.
        expected = [run.run_id for run in whole if wanted.matches(run) and run.started_at != wanted.since]
        assert [run.run_id for run in found if run.started_at != wanted.since] == expected, given
    assert len(await session.tracker.page(RunFilter(script="bb_"))) == 1


async def test_a_filter_and_a_page(place: Place, session: Session) -> None:
    """A filtered list goes on after a run, whether or not that run is in it."""
    await _history(place, session)
    wanted = RunFilter(script="bb22")
    whole = [run.run_id for run in await session.tracker.page(wanted)]
    assert [run.run_id for run in await session.tracker.page(wanted, after=whole[0], limit=1)] == whole[1:2]
    assert await session.tracker.page(wanted, after="01a") == []


async def test_only_the_columns_that_are_asked_for(place: Place, session: Session) -> None:
    """The source comes where it is asked for; a narrow page still has the ids; what is no column is left out."""
    await _history(place, session)
    (run,) = await session.tracker.page(RunFilter(run="01a"), columns=COLUMNS)
    (listed,) = await session.tracker.page(RunFilter(run="01a"))
    assert run == replace(listed, source="text")
    assert "source" not in LISTED
    narrow = await session.tracker.page(EVERYTHING, columns=("status", "started_at", "result", 'x" FROM y'))
    assert [(each.run_id, each.status, each.started_at, each.result) for each in narrow] == [
        (each.run_id, each.status, each.started_at, each.result) for each in await session.tracker.page(EVERYTHING)
    ]


async def test_what_is_live_is_not_deleted(place: Place, session: Session) -> None:
    """The last success of a revision, an unresolved failure and a pending run stay, whoever asks."""
    whole = await _history(place, session)
    alive = {run.run_id for run in await session.tracker.runs()}
    before = await session.tracker.runs()
    assert alive > {"01a", "02a"}
    asked = [run.run_id for run in whole]
    assert await session.tracker.delete([*asked, "nobody"]) == len(whole) - len(alive)
    assert {row[0] for row in place.rows()} == alive
    assert await session.tracker.runs() == before
    assert await session.tracker.delete(asked) == 0


async def test_an_unresolved_failure_is_not_deleted(place: Place, session: Session) -> None:
    """A failure that nothing came after stays; once a success has superseded it, it may go."""
    failed = place.run(run_id="01a")
    await session.tracker.start(failed)
    await session.tracker.finish(place.failed(failed, Effect.PARTIAL))
    assert await session.tracker.delete(["01a"]) == 0
    await place.applied(session, place.run(run_id="01b", attempt=2))
    assert await session.tracker.delete(["01a"]) == 1
    assert [row[0] for row in place.rows()] == ["01b"]


async def test_only_those_that_are_named_are_deleted(place: Place, session: Session) -> None:
    """Other superseded runs stay, and anybody may delete: it needs no lock."""
    await _history(place, session)
    async with place.adapter().session() as other:
        assert await other.tracker.delete(["01b", "01'); DROP TABLE script_run_tracker; --"]) == 1
        assert await other.tracker.delete([]) == 0
    left = [row[0] for row in place.rows()]
    assert "01b" not in left
    assert "01c" in left


async def test_a_newer_tracker_has_no_page(place: Place, session: Session) -> None:
    """A page of a tracker whose form nobody here knows is not read."""
    await place.applied(session, place.run())
    place.set_version(99)
    async with place.adapter().session() as other:
        with pytest.raises(TrackerNewer, match="99"):
            await other.tracker.page(EVERYTHING)


async def test_a_chore_has_one_holder(place: Place, session: Session) -> None:
    """The second is told who does it; another chore and the lock itself are free to others."""
    mine = session.lease("cleanup")
    first = await mine.acquire(place.owner("ann"))
    async with place.adapter().session() as other:
        theirs = other.lease("cleanup")
        with pytest.raises(LockHeld, match=r"cleanup.* is being done by ann@pod-1 pid 7 since 20\d\d-") as caught:
            await theirs.acquire(place.owner("bob"))
        assert caught.value.exit_code == 12
        await other.lease("other").acquire(place.owner("bob"))
        assert (await other.lock.holder() or place.owner()).user == "ann"
        await mine.renew()
        await theirs.release()
        assert (await theirs.holder() or place.owner("nobody")).user == "ann"
        await mine.release()
        assert await theirs.holder() is None
        assert await theirs.acquire(place.owner("bob")) > first
        with pytest.raises(LockLost):
            await mine.renew()
        await mine.release()
        assert (await theirs.holder() or place.owner("nobody")).user == "bob"


async def test_a_chore_needs_no_tracker(place: Place) -> None:
    """On an empty database it makes what it needs, and the lock is as free as before."""
    async with place.adapter().session() as session:
        await session.lease("cleanup").acquire(place.owner())
        assert await session.lock.holder() is None
        assert await session.tracker.runs() == []
        assert await session.lock.acquire(place.owner()) == 1


async def test_what_is_kept_of_a_long_change_goes_with_its_last_run(place: Place, session: Session) -> None:
    """Checkpoints, wishes and rows passed over stay while any run of the change is there, and go with the last."""
    first = place.run(run_id="01a", cursor={"origin": "01a"}, transactional=False)
    await session.tracker.start(first)
    await session.tracker.finish(place.failed(first, Effect.PARTIAL))
    await session.tracker.ask("01a", Control(by="ann"))
    rows = place.keep("01a")
    again = place.run(run_id="01b", cursor={"origin": "01a"}, transactional=False, attempt=2)
    await place.applied(session, again)
    assert await session.tracker.delete(["01a"]) == 1
    assert (await session.tracker.control("01a")).by == "ann"
    mend = place.run(run_id="01c", cursor={"origin": "01c", "failed_of": "01a"}, transactional=False, attempt=3)
    await place.applied(session, mend)
    assert await session.tracker.delete(["01b"]) == 1
    assert (await session.tracker.control("01a")).by == "ann"
    assert place.kept("01a") == rows
    await place.taken_down(session, mend)
    assert await session.tracker.delete(["01c"]) == 1
    assert (await session.tracker.control("01a")).by == ""
    assert place.kept("01a") == 0


async def test_totals(place: Place, session: Session) -> None:
    """The server counts what the function of the core counts run by run, whatever narrows the runs."""
    tracker = session.tracker
    assert await tracker.totals(RunFilter(script="nothing")) == []
    for number, revision in enumerate(("aa11", "aa11", "bb22", "cc33")):
        run = place.run(revision=revision, title=f"{revision} {number}", run_id=f"01{number}")
        await tracker.start(run)
        if number % 2:
            result = {"error_class": "DeadlockDetectedError"} if revision == "aa11" else {"log": ["x"]}
            await tracker.finish(place.failed(run, reason="" if revision == "cc33" else "error", result=result))
        else:
            await tracker.finish(place.done(run))
    await tracker.start(place.run(revision="dd44", run_id="019"))
    for wanted in (
        RunFilter(),
        RunFilter(script="aa"),
        RunFilter(statuses=frozenset({Status.FAILED})),
        RunFilter(since="2999-01-01T00:00:00+00:00"),
    ):
        runs = await tracker.page(wanted)
        found = await tracker.totals(wanted)
        assert _sorted(found) == _sorted(totals(runs))
        assert sum(each.runs for each in found) == len(runs)


def _sorted(found: list[Total]) -> list[Total]:
    exact = [replace(each, spent=[round(value, 2) for value in sorted(each.spent)]) for each in found]
    return sorted(exact, key=repr)
