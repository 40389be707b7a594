"""The tracker's own tables go from version to version."""

import pytest

from migrator import __version__
from migrator.adapters.postgres._queries import VERSION
from migrator.core.errors import LockHeld, TrackerNewer
from migrator.core.run import Status
from migrator.core.runs import RunFilter
from tests._servers import sql
from tests.acceptance._project import Project
from tests.conformance._places import PostgresPlace

SHAPE = """
    SELECT relname::text, relkind::text,
           array(SELECT attname || ' ' || atttypid::regtype || coalesce(pg_get_expr(adbin, adrelid), '')
                   FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname) AS columns,
           array(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
                  WHERE conrelid = c.oid AND contype <> 'n' ORDER BY 1) AS rules,
           obj_description(oid) AS comment
      FROM pg_class AS c
     WHERE relnamespace = 'public'::regnamespace AND relname ~ '^(script|migrator)_' AND relkind IN ('r', 'i')
     ORDER BY 1
"""


async def acquired(place: PostgresPlace) -> int:
    """Take the lock and give it back."""
    async with place.adapter().session() as session:
        return await session.lock.acquire(place.owner())


async def test_forward_from_version_1(old: PostgresPlace) -> None:
    """The first that takes the lock moves it: runs, fence and schedules stay, and the form is that of a new one."""
    assert await acquired(old) == 8
    async with old.adapter().session() as session:
        assert [(run.revision, run.status) for run in await session.tracker.runs()] == [("aa11", Status.SUCCESS)]
        assert [firing.name for firing in await session.tracker.firings()] == ["often"]
    assert sql(old.url, "SELECT version, made_by, used FROM script_run_lock") == [(VERSION, __version__, True)]
    moved = sql(old.url, SHAPE)
    sql(old.url, "DROP VIEW migrator_lock", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    await acquired(old)
    assert sql(old.url, SHAPE) == moved


async def test_reading_version_1(old: PostgresPlace) -> None:
    """What only reads, or does not need the lock, works on it and leaves it as it is."""
    before = sql(old.url, SHAPE)
    async with old.adapter().session() as session:
        assert [run.revision for run in await session.tracker.runs()] == ["aa11"]
        assert [run.revision for run in await session.tracker.page(RunFilter())] == ["aa11"]
        assert [firing.name for firing in await session.tracker.firings()] == ["often"]
        assert await session.lock.holder() is None
        assert await session.journal.entries() == []
        assert await session.journal.tokens() == []
    assert sql(old.url, SHAPE) == before


async def test_an_older_release_beside_it(old: PostgresPlace) -> None:
    """It reads the newer version under the name that it knows, so that it refuses the tracker."""
    await acquired(old)
    assert sql(old.url, "SELECT version FROM public.migrator_lock WHERE name = 'deploy'") == [(VERSION,)]


@pytest.mark.parametrize("hold", ["advisory", "lease"])
async def test_an_older_release_at_work(old: PostgresPlace, hold: str) -> None:
    """Its lock is ours, in either form: nothing moves while it works."""
    async with old.adapter().session() as session:
        keys = session.lock._keys  # type: ignore[attr-defined]
        if hold == "lease":
            sql(old.url, "UPDATE migrator_lock SET expires_at = now() + interval '1 minute'")
        else:
            await session._link.execute(  # type: ignore[attr-defined]
                f"SELECT pg_advisory_lock({keys['class']}, {keys['key']})", "lock"
            )
        with pytest.raises(LockHeld):
            await acquired(old)
    assert sql(old.url, "SELECT version FROM migrator_lock") == [(1,)]


async def test_one_who_waited_while_it_moved(old: PostgresPlace) -> None:
    """A session that found version 1 takes the lock of the newer version afterwards."""
    async with old.adapter().session() as waiting:
        assert await acquired(old) == 8
        assert await waiting.lock.acquire(old.owner()) == 9
        assert [run.revision for run in await waiting.tracker.runs()] == ["aa11"]


async def test_killed_in_the_middle(old: PostgresPlace, project: Project) -> None:
    """Half a move is none: it is one transaction, and the next command does all of it."""
    project.configure(main=old.url)
    before = sql(old.url, SHAPE)
    async with old.adapter().session() as reader:
        await reader._link.execute("BEGIN; SELECT * FROM script_schedule", "read")  # type: ignore[attr-defined]
        child = project.start("upgrade")
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%migrator_lock RENAME%'"
        )
        while not sql(old.url, waiting):  # the lock is renamed already, and the schedules are being read
            assert child.runs()
        child.close()
        await reader._link.execute("ROLLBACK", "end")  # type: ignore[attr-defined]
    assert sql(old.url, SHAPE) == before
    assert project.run("upgrade").exit_code == 0
    assert sql(old.url, "SELECT version FROM script_run_lock") == [(VERSION,)]


async def test_a_newer_version(place: PostgresPlace) -> None:
    """It is refused, with the release that wrote it."""
    await acquired(place)
    sql(place.url, "UPDATE script_run_lock SET version = 99, made_by = '4.5.6'")
    with pytest.raises(TrackerNewer, match=r"version 99, written by migrator 4\.5\.6") as caught:
        await acquired(place)
    assert "polymigrator>=4.5.6" in caught.value.hint


async def test_a_column_that_is_gone(place: PostgresPlace) -> None:
    """Reading does without it; the next that takes the lock adds what is missing."""
    async with place.adapter().session() as session:
        await place.applied(session, place.run(await session.lock.acquire(place.owner())))
    whole = sql(place.url, SHAPE)
    sql(
        place.url,
        "ALTER TABLE script_run_tracker DROP COLUMN log_file, ALTER started_at DROP DEFAULT",
        "ALTER TABLE script_run_tracker DROP CONSTRAINT script_run_tracker_status_check",
        "DROP INDEX script_run_tracker_one_pending",
        "DROP TABLE script_run_token",
        "UPDATE script_run_lock SET version = 0",
    )
    async with place.adapter().session() as session:
        assert [run.revision for run in await session.tracker.runs()] == ["aa11"]
    await acquired(place)
    assert sql(place.url, SHAPE) == whole
