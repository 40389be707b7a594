"""A script that calls sys.exit, or raises what ends a program or a task, fails; it ends nothing but its own step."""

import asyncio
from typing import Any

import pytest

from migrator import BlockingMigrator, Migrator
from migrator.config import load
from migrator.core.errors import MigratorError, RevisionFileError, RunFailed
from migrator.core.schedule import Schedule
from migrator.runtime.scheduler import perform
from tests._servers import sql
from tests.acceptance._long import MAKE
from tests.acceptance._look import relations, runs
from tests.acceptance._project import Project

KINDS = {
    "import sys; sys.exit(0)": "called sys.exit(0)",
    "exit()": "called sys.exit()",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "raise GeneratorExit": "raised GeneratorExit",
    "import asyncio; raise asyncio.CancelledError": "raised CancelledError, although nobody asked it to stop",
    "class Own(BaseException): pass\nraise Own('over')": "raised Own: over",
    "import asyncio, sys; await asyncio.to_thread(sys.exit, 5)": "called sys.exit(5)",
    "raise BaseExceptionGroup('several', [ValueError(), SystemExit(0)])": "called sys.exit(0)",
}
FIRST = next(iter(KINDS))


@pytest.mark.parametrize("options", [{}, {"transaction": False}])
def test_in_upgrade(both: Project, options: dict[str, Any]) -> None:
    """Each way fails the step with the words and the line, on both databases."""
    for database in both.urls:
        for way, words in KINDS.items() if database == "main" else [(FIRST, KINDS[FIRST])]:
            both.revision(database, "a1", upgrade=f"pass\n{way}", **options)
            with BlockingMigrator(load(str(both.toml))) as migrator, pytest.raises(RunFailed) as failed:
                migrator.upgrade(f"{database}:head")
            assert failed.value.exit_code == 1
            assert f"revisions/{database}/a1.py:" in failed.value.message
            assert failed.value.message.endswith(f"the script {words}")
            assert failed.value.failed.effect == "none"


GROUPS = {
    """async with asyncio.TaskGroup() as group:
    group.create_task(ctx.execute("selec 1"))""": 'syntax error at or near "selec"',
    'raise ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("left")]), ValueError("right")])': (
        "KeyError: 'left'; ValueError: right"
    ),
}


@pytest.mark.parametrize("body", GROUPS)
def test_a_group_of_errors(shop: Project, body: str) -> None:
    """The only error of a group is described as if it were alone; of several each has its words."""
    shop.revision("main", "a1", upgrade=f"import asyncio\n{body}")
    with BlockingMigrator(load(str(shop.toml))) as migrator, pytest.raises(RunFailed) as failed:
        migrator.upgrade("head")
    assert GROUPS[body] in failed.value.message
    assert "sub-exception" not in failed.value.message


def test_in_every_function(shop: Project) -> None:
    """Verify, setup, validate, a batch, a downgrade: the step fails, and nothing of it is left."""
    upgrade = f'await ctx.execute("CREATE TABLE t (id int)")\nreturn\n{FIRST}'
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        shop.revision("main", "a1", upgrade=upgrade, verify=FIRST)
        with pytest.raises(RunFailed, match=r"verify failed: .*called sys.exit\(0\)") as failed:
            migrator.upgrade("head")
        assert failed.value.exit_code == 13
        for name in ("setup", "validate"):
            path = shop.revision("main", "a1", upgrade=upgrade)
            path.write_text(f"{path.read_text()}async def {name}(ctx):\n    {FIRST}\n", "utf-8")
            with pytest.raises(RunFailed, match=r"called sys.exit\(0\)"):
                migrator.upgrade("head")
        assert relations(shop.urls["main"]) == set()
        shop.revision("main", "a1", upgrade=MAKE, downgrade=FIRST)
        migrator.upgrade("head")
        with pytest.raises(RunFailed, match=r"called sys.exit\(0\)"):
            migrator.downgrade("main:base")
        assert relations(shop.urls["main"]) == {"rows"}
        batch = f'async for batch in ctx.batches("rows"):\n    async with batch:\n        {FIRST}'
        shop.revision("main", "a2", "a1", upgrade=batch)
        with pytest.raises(RunFailed, match=r"called sys.exit\(0\)"):
            migrator.upgrade("head")


LOOSE = {
    "async def leave():\n    sys.exit(0)\nkept = asyncio.create_task(leave())\nawait asyncio.sleep(0.05)": (
        "called sys.exit(0)"
    ),
    "asyncio.get_running_loop().call_soon(sys.exit, 3)\nawait asyncio.sleep(0.05)": "called sys.exit(3)",
    "def stop():\n    raise KeyboardInterrupt\nasyncio.get_running_loop().call_soon(stop)\nawait asyncio.sleep(0.05)": (
        "raised KeyboardInterrupt"
    ),
    "async def leave():\n    sys.exit(4)\ntask = asyncio.create_task(leave())\n"
    "try:\n    await task\nexcept SystemExit:\n    pass": "called sys.exit(4)",
}


@pytest.mark.parametrize("body", LOOSE)
def test_in_a_task_that_nothing_awaits(shop: Project, body: str) -> None:
    """What would end the program fails the step that began the task or callback, and nothing of the step is kept."""
    make = 'await ctx.execute("CREATE TABLE loose (id int)")'
    shop.revision("main", "a1", upgrade=f"import asyncio, sys\n{make}\n{body}")
    ended = shop.run("upgrade", "head")
    assert ended.exit_code == 1, ended
    assert f"the script {LOOSE[body]}" in ended.stderr
    assert relations(shop.urls["main"]) == set()


def test_in_a_task_that_was_left_behind(shop: Project) -> None:
    """A task that outlives its step changes nothing any more: it is logged, and the revisions after it are applied."""
    leave = "import asyncio, sys\nasyncio.get_running_loop().call_later(0.2, sys.exit, 0)"
    shop.revision("main", "a1", upgrade=leave)
    shop.revision("main", "a2", "a1", upgrade="import asyncio\nawait asyncio.sleep(0.5)")
    ended = shop.run("upgrade", "head")
    assert ended.exit_code == 0, ended
    assert "left behind called sys.exit(0)" in ended.stderr
    assert [row["status"] for row in runs(shop.urls["main"])] == ["success", "success"]


def test_around_the_work(shop: Project) -> None:
    """A cleanup that exits changes nothing; a file, a class, or parameters that exit are refused before anything."""
    path = shop.revision("main", "a1", upgrade="pass")
    path.write_text(f"{path.read_text()}async def cleanup(ctx):\n    {FIRST}\n", "utf-8")
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        assert len(migrator.upgrade("head").runs) == 1
        path = shop.revision("main", "a2", "a1", upgrade="pass")
        text = path.read_text()
        for way in ("import sys; sys.exit(0)", "raise GeneratorExit"):
            path.write_text(f"{text}\n{way}\n", "utf-8")
            with pytest.raises(RevisionFileError, match="cannot be loaded"):
                migrator.upgrade("head")
        path.write_text(
            'from migrator import Script\nrevision = "a2"\ndown_revision = "a1"\n'
            "class A(Script):\n    def __init__(self):\n        exit(0)\n    async def upgrade(self, ctx): pass\n",
            "utf-8",
        )
        with pytest.raises(RevisionFileError, match="cannot be made: SystemExit"):
            migrator.upgrade("head")
        path.unlink()
        path = shop.revision("main", "s1", upgrade="pass", repeatable=True)
        asks = "from dataclasses import dataclass\n@dataclass\nclass Params:\n    def __post_init__(self): exit(0)\n"
        path.write_text(path.read_text() + asks, "utf-8")
        with pytest.raises(MigratorError, match=r"called sys.exit\(0\)"):
            migrator.run("s1")
    assert [run["revision"] for run in runs(shop.urls["main"])] == ["a1"]


def test_scripts_and_schedules(shop: Project) -> None:
    """A script that exits is a failed script for `run`, and a failed firing for a schedule, which continues."""
    shop.revision("main", "s1", upgrade=FIRST, repeatable=True)
    shop.revision("main", "s2", upgrade="pass", repeatable=True)

    async def program() -> None:
        config = load(str(shop.toml))
        async with Migrator.open(config) as migrator:
            outcome = await migrator.run("s1", "s2", keep_going=True)
            assert [(each.word, outcome.exit_code) for each in outcome.results] == [("failed", 1), ("ok", 1)]
        with pytest.raises(MigratorError, match=r"called sys.exit\(0\)"):
            await perform(Schedule("nightly", scripts=("s1",)), config, ())

    asyncio.run(program())


def test_a_task_of_the_script_exits(shop: Project) -> None:
    """A task that a script has begun calls sys.exit: the command fails with 1, as in the script itself."""
    exits = "import asyncio, sys\nasync def child(): sys.exit(0)\nawait asyncio.gather(child())"
    shop.revision("main", "a1", upgrade=f'await ctx.execute("CREATE TABLE t (id int)")\n{exits}')
    result = shop.run("upgrade", "--json")
    assert (result.exit_code, result.error()["type"]) == (1, "RunFailed"), result
    assert "called sys.exit(0)" in result.error()["message"]
    assert sql(shop.urls["main"], "SELECT to_regclass('t') IS NULL") == [(True,)]
