"""The Migrator without an event loop: all commands are there, and threads may share one."""

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migrator.config import load
from migrator.core.errors import UsageError
from migrator.core.run import Status
from migrator.runtime.blocking import BlockingControls, BlockingMigrator, BlockingPast
from migrator.runtime.control import Controls
from migrator.runtime.migrator import Migrator
from migrator.runtime.past import Past
from tests.acceptance._project import Project, until

TWINS = [(BlockingMigrator, Migrator), (BlockingPast, Past), (BlockingControls, Controls)]


@pytest.fixture
def opened(shop: Project) -> Iterator[BlockingMigrator]:
    """Give one that is open on a project with one table."""
    shop.tables("main", "a1")
    with BlockingMigrator(load(str(shop.toml), {})) as migrator:
        yield migrator


@pytest.mark.parametrize(("blocking", "asked"), TWINS, ids=[asked.__name__ for _, asked in TWINS])
def test_all_commands(blocking: type, asked: type) -> None:
    """Every coroutine that can be asked has a method of the same name that waits; measures are for servers."""
    found = {
        name
        for name, each in inspect.getmembers(asked)
        if not name.startswith("_") and (inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each))
    }
    assert found - {"measure"} <= set(dir(blocking))


def test_they_do_it(shop: Project, opened: BlockingMigrator) -> None:
    """What waits gives the same values: a run with its log, the state, the lock, the long changes."""
    (run,) = opened.upgrade().runs
    assert run.status is Status.SUCCESS
    assert opened.show("a1").line.state == "applied"
    assert len(opened.history()) == 1
    assert opened.unlock() == {"main": None}
    assert opened.doctor().ready
    (kept,) = opened.past.runs().runs
    assert list(opened.past.follow(kept)) == list(opened.past.log(kept))
    assert opened.controls.changes() == ()
    with pytest.raises(UsageError, match="needs a reason"):
        opened.controls.cancel()


def test_threads_take_turns(shop: Project) -> None:
    """Calls of many threads run one after another, each to its end, and in the thread that asks for it."""
    began, go = shop.folder / "began", shop.folder / "go"
    wait = f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\n"
    shop.revision("main", "a1", upgrade=f"{wait}while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n")
    with BlockingMigrator(load(str(shop.toml), {})) as migrator, ThreadPoolExecutor() as pool:
        first = pool.submit(migrator.upgrade)
        until(began.exists, "the upgrade has begun")
        others = [pool.submit(migrator.upgrade) for _ in range(4)]
        assert not any(each.done() for each in others)
        go.touch()
        assert [run.status for run in first.result().runs] == [Status.SUCCESS]
        assert [each.result().runs for each in others] == [()] * 4
        assert [line.state for line in migrator.status()[0].lines] == ["applied"]


def test_not_open(tmp_path: Path, opened: BlockingMigrator) -> None:
    """Outside its block, and a second time within it, it says so before anything begins."""
    with pytest.raises(UsageError, match="open already"):
        opened.__enter__()
    closed = BlockingMigrator(opened.migrator.config)
    with pytest.raises(UsageError, match="not open"):
        closed.upgrade()
    with closed:
        pass
    with pytest.raises(UsageError, match="not open"):
        closed.upgrade()


async def test_within_a_loop(shop: Project) -> None:
    """Used where a loop runs, it refuses and leaves no coroutine behind."""
    with ThreadPoolExecutor() as pool:
        migrator = pool.submit(BlockingMigrator(load(str(shop.toml), {})).__enter__).result()
        with pytest.raises(UsageError, match="event loop"):
            migrator.upgrade()
        pool.submit(migrator.__exit__, None, None, None).result()
