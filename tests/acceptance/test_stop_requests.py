"""A request to stop, and what only looks like one: a task whose cancellation counter an older error has raised."""

import asyncio
import contextlib
import signal
from textwrap import dedent
from typing import Any

import pytest

from migrator import BlockingMigrator, Migrator
from migrator.config import load
from migrator.core.errors import RunFailed
from tests._servers import sql
from tests.acceptance._long import MAKE, ROWS
from tests.acceptance._look import runs
from tests.acceptance._project import Project, until

CATCHES = dedent("""
    import asyncio
    async def fails():
        await asyncio.sleep(0.01)
        raise ValueError("one of them")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
    except* ValueError:
        pass
""")
"""CPython 3.11 and 3.12 leave the counter of the task at 1 after it."""

BATCHES = """
    import asyncio
    async def fails():
        await asyncio.sleep(0.001)
        raise ValueError("one of them")
    async for batch in ctx.batches("rows", max_rows=1000):
        async with batch:
            await ctx.execute("UPDATE rows SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
        except* ValueError:
            pass
"""


async def counted() -> None:
    """Leave the counter of this task raised, on every version of Python."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.cancelling() == 1


@pytest.mark.parametrize("constants", [{}, {"transaction": False}])
def test_a_task_group_whose_error_is_caught(both: Project, constants: dict[str, Any]) -> None:
    """A revision that catches the error of a task group is applied like any other, and so is the one after it."""
    for database in both.urls:
        both.revision(database, "a1", upgrade=CATCHES, downgrade=CATCHES, verify=f"{CATCHES}\nreturn True", **constants)
        both.revision(database, "a2", "a1", upgrade="pass", downgrade=CATCHES, **constants)
    with BlockingMigrator(load(str(both.toml))) as migrator:
        assert len(migrator.upgrade("head").runs) == 4
        for database in both.urls:
            assert len(migrator.downgrade(f"{database}:base").runs) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_group_between_batches(shop: Project, workers: int) -> None:
    """A long change whose body catches the error of a task group is done by one command."""
    shop.revision("main", "a1", upgrade=MAKE)
    shop.revision("main", "a2", "a1", upgrade=BATCHES.replace("max_rows", f"workers={workers}, max_rows"))
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        migrator.upgrade("head")
    assert sql(shop.urls["main"], "SELECT count(*) FROM rows WHERE n = 1") == [(ROWS,)]


def test_a_task_that_was_cancelled_before(shop: Project) -> None:
    """Who migrates in a task that was cancelled once, or in a `finally`, gets what they ask for."""
    shop.tables("main", "a1", "a2")
    shop.revision("main", "s1", upgrade="pass", repeatable=True)

    async def program() -> None:
        async with Migrator.open(load(str(shop.toml))) as migrator:
            await counted()
            assert len((await migrator.upgrade("head")).runs) == 3
            assert (await migrator.run("s1")).exit_code == 0
            assert len(await migrator.verify(jobs=2)) == 3
            assert len((await migrator.downgrade("main:base")).runs) == 2

    asyncio.run(program())


def test_a_command_after_a_failed_one(shop: Project) -> None:
    """A verify of many that fails, and an upgrade that fails, leave the task as it was."""
    shop.revision("main", "a1", upgrade="pass", verify="return True")
    shop.revision("main", "a2", "a1", upgrade=f"{CATCHES}\nraise ValueError('wrong')")

    async def program() -> None:
        async with Migrator.open(load(str(shop.toml))) as migrator:
            for _ in range(2):
                with pytest.raises(RunFailed, match="wrong"):
                    await migrator.upgrade("head")
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    asyncio.run(program())


def test_a_signal_that_a_script_takes_for_itself(shop: Project) -> None:
    """A revision that catches CancelledError is stopped all the same: nothing of it, and no revision after it."""
    catches = """
        import asyncio
        await ctx.execute("CREATE TABLE t (id int)")
        open("begun", "w").close()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
    """
    shop.revision("main", "a1", upgrade=catches)
    shop.table("main", "a2", "a1")
    child = shop.start("upgrade")
    until((shop.folder / "begun").exists, "the revision has begun")
    child.send(signal.SIGTERM)
    result = child.wait(20)
    assert result.exit_code == 130, result
    assert shop.states() == {"a1": "failed", "a2": "pending"}
    assert sql(shop.urls["main"], "SELECT to_regclass('t') IS NULL") == [(True,)]
    assert [(run["status"], run["effect"]) for run in runs(shop.urls["main"])] == [("failed", "none")]


WAITS = """
    import asyncio, os
    {work}
    open("begun", "w").close()
    await asyncio.sleep(60 if os.environ.get("WAIT") else 0)
"""
"""Does its work, then waits to be stopped."""

MADE = {
    "main": ('await ctx.execute("CREATE TABLE IF NOT EXISTS t (id int)")', 'return await ctx.columns("t") == ["id"]'),
    "events": (
        'await ctx.db.t.replace_one({"_id": 1}, {}, upsert=True)',
        "return await ctx.db.t.count_documents({}) == 1",
    ),
}


def stopped(project: Project, *command: str) -> str:
    """Stop a command when its script has begun, and return what it printed."""
    (project.folder / "begun").unlink(missing_ok=True)
    child = project.start(*command, env={"WAIT": "1"})
    until((project.folder / "begun").exists, "the script has begun")
    child.send(signal.SIGTERM)
    result = child.wait(20)
    assert result.exit_code == 130, result
    return result.stderr


@pytest.mark.parametrize("database", ["main", "events"])
def test_a_stop_outside_a_transaction(both: Project, database: str) -> None:
    """The next upgrade asks verify, as after kill -9: yes settles the step, and nobody is asked; so for a script."""
    work, verify = MADE[database]
    options: dict[str, Any] = {"transaction": False, "verify": verify}
    both.revision(database, "a1", upgrade=WAITS.format(work=work), downgrade="pass", **options)
    told = stopped(both, "upgrade", f"{database}:head")
    assert f"Run `migrator upgrade {database}:head` again; it first asks the verify of {database}:a1" in told
    assert both.states(database) == {"a1": "interrupted"}
    with BlockingMigrator(load(str(both.toml))) as migrator:
        assert migrator.upgrade(f"{database}:head").runs == ()
        assert both.states(database) == {"a1": "applied"}
        both.revision(
            database,
            "s1",
            upgrade=WAITS.format(work=work),
            repeatable=True,
            **options,
        )
    assert f"Run `migrator run {database}:s1` again" in stopped(both, "run", f"{database}:s1")
    with BlockingMigrator(load(str(both.toml))) as migrator:
        migrator.upgrade(f"{database}:a1")
        (settled,) = migrator.past.runs().runs[:1]
        assert (settled.revision, settled.status, settled.reason) == ("s1", "success", "recovered")


def test_a_stop_before_anything_was_sent(shop: Project) -> None:
    """Nothing is left to judge: the step failed without an effect, and runs again."""
    shop.revision("main", "a1", upgrade=WAITS.format(work="pass"), transaction=False)
    stopped(shop, "upgrade")
    assert [(run["status"], run["effect"]) for run in runs(shop.urls["main"])] == [("failed", "none")]
    shop.good("upgrade")
