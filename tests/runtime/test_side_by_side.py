"""Many commands of one Migrator at once: they queue before they take a connection, and the pool grows for jobs."""

import asyncio
from collections.abc import Sequence

import pytest

from migrator.config import load
from migrator.core.errors import LockHeld, MigratorError
from migrator.core.run import Status
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project, until

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migrator:%' AND datname = current_database()"


def meets(project: Project, name: str, others: int) -> str:
    """Return code that waits until as many scripts have come here at the same time."""
    return (
        "import asyncio, pathlib\n"
        f"here = pathlib.Path({str(project.folder)!r})\n"
        f"(here / 'at-{name}').touch()\n"
        f"while len(list(here.glob('at-*'))) < {others}:\n    await asyncio.sleep(0.01)\n"
    )


async def until_file(project: Project, name: str) -> None:
    """Wait until a script has made a file."""
    await asyncio.to_thread(until, (project.folder / name).exists, f"{name} is there")


@pytest.fixture(params=["main", "events"])
def database(request: pytest.FixtureRequest) -> str:
    """Name the database on PostgreSQL, then the one on MongoDB."""
    return str(request.param)


async def test_waiting_commands_hold_no_connection(both: Project, database: str) -> None:
    """With one upgrade at work and three that wait, a question is answered, and the step may open its database."""
    both.revision(
        database,
        "a1",
        upgrade=f"import asyncio, pathlib\npathlib.Path({str(both.folder)!r}, 'began').touch()\n"
        f"while not pathlib.Path({str(both.folder)!r}, 'go').exists():\n    await asyncio.sleep(0.01)\n"
        f"async with ctx.database({database!r}):\n    pass\n",
    )
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        first = asyncio.create_task(migrator.upgrade(databases=[database]))
        await until_file(both, "began")
        waiting = [asyncio.create_task(migrator.upgrade(databases=[database])) for _ in range(3)]
        for _ in range(3):
            (report,) = await migrator.status([database])
            assert [line.state for line in report.lines] == ["running"]
        if database == "main":
            assert sql(both.urls["main"], OURS)[0][0] <= 2
        (both.folder / "go").touch()
        assert [run.status for run in (await first).runs] == [Status.SUCCESS]
        assert [(await each).runs for each in waiting] == [(), (), ()]


async def test_the_wait_ends(both: Project, database: str) -> None:
    """A command that waits for another of its Migrator ends with LockHeld after `lock_timeout`, and nothing is left."""
    both.revision(database, "a1", upgrade=meets(both, "a1", 2))
    both.toml.write_text(f'lock_timeout = "0"\n{both.toml.read_text("utf-8")}', "utf-8")
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        first = asyncio.create_task(migrator.upgrade(databases=[database]))
        await until_file(both, "at-a1")
        with pytest.raises(LockHeld, match=f"another command of this Migrator is changing {database}"):
            await migrator.upgrade(databases=[database])
        (both.folder / "at-b2").touch()
        await first


async def test_jobs_of_a_later_command(both: Project, database: str) -> None:
    """`jobs` is honoured whatever was asked before: of `run`, and of `verify`."""
    names = ["s1", "s2", "s3", "s4"]
    for name in names:
        both.revision(database, name, upgrade=meets(both, name, 4), verify="return True", repeatable=True)
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        await migrator.status()
        outcome = await migrator.run(*names, jobs=4, databases=[database])
        assert [each.word for each in outcome.results] == ["ok"] * 4
        answers = await migrator.verify(*names, jobs=4, databases=[database])
        assert [each.ok for each in answers] == [True] * 4


@pytest.mark.parametrize("targets", [(), ("a1", "b2")])
async def test_a_verify_that_cannot_be_asked(shop: Project, targets: Sequence[str]) -> None:
    """What goes wrong beside the answers is one MigratorError, however many are asked at once."""
    shop.revision("main", "a1", verify="return True")
    file = shop.revision("main", "b2", "a1", verify="return True")
    shop.good("upgrade")
    file.write_text(f"{file.read_text('utf-8')}\nraise RuntimeError('no')\n", "utf-8")
    task = asyncio.current_task()
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(MigratorError):
            await migrator.verify(*targets, jobs=5)
    assert task is not None
    assert task.cancelling() == 0
