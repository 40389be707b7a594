"""migrator in a program: wrong arguments, the end of a block, an address without a file, and a start that ends."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from migrator.config import load
from migrator.core.errors import Stopped, UsageError
from migrator.dashboard.app import create_app
from migrator.runtime.blocking import BlockingMigrator
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project, until
from tests.dashboard._server import listening

WRONG: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "a list of targets": lambda m: m.upgrade(["head"]),
    "no text": lambda m: m.downgrade(None),
    "no target": lambda m: m.downgrade(),
    "nothing to stamp": lambda m: m.stamp(),
    "nothing to run": lambda m: m.run(),
    "no jobs": lambda m: m.run("x", jobs=0),
    "jobs as text": lambda m: m.verify(jobs="2"),
    "one database as text": lambda m: m.upgrade(databases="main"),
    "status of a text": lambda m: m.status("main"),
    "runs of a text": lambda m: m.past.runs(databases="main"),
    "changes of a text": lambda m: m.controls.changes("main"),
    "a tag as text": lambda m: m.run(tags="nightly"),
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give a project whose database is in the memory of this program."""
    made = Project(tmp_path)
    made.configure(main=f"memory://here/{tmp_path.name}")
    made._write("main", "a1.py", 'revision = "a1"\nasync def upgrade(ctx):\n    ctx.store["a"] = 1\n')
    yield made
    made.close()


@pytest.mark.parametrize("what", list(WRONG))
async def test_wrong_arguments(project: Project, what: str) -> None:
    """What cannot be meant is a UsageError with what to write, before anything begins."""
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        with pytest.raises(UsageError) as caught:
            await WRONG[what](migrator)
        assert caught.value.state.startswith("Nothing was")
        assert (await migrator.status())[0].count("pending") == 1


@pytest.mark.parametrize("config", ["postgresql://ann@db/shop", Path("migrator.toml"), {"url": "x"}])
async def test_no_configuration(config: Any) -> None:
    """An address, a path or a dict in place of a configuration says how each of them is given."""
    with pytest.raises(UsageError, match="is not a migrator") as caught:
        async with Migrator.open(config):
            raise AssertionError
    assert "url=" in caught.value.hint
    with pytest.raises(UsageError, match="is not a migrator"):
        await asyncio.to_thread(BlockingMigrator(config).__enter__)


async def test_after_its_end(project: Project) -> None:
    """Every command of a closed Migrator says that it is closed, and opens nothing."""
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        await migrator.upgrade()
    for ask in (migrator.upgrade, migrator.status, migrator.doctor, migrator.past.runs, migrator.unlock):
        with pytest.raises(UsageError, match="closed"):
            await ask()


async def test_only_an_address(postgres_url: str, mongo_url: str, tmp_path: Path) -> None:
    """`url` and `revisions` stand in for a file, with a path or a text, with and without a loop."""
    for number, url in enumerate((postgres_url, mongo_url)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a1.py").write_text('revision = "a1"\nasync def upgrade(ctx):\n    pass\n', "utf-8")
        async with Migrator.open(url=url, revisions=folder) as migrator:
            assert [run.revision for run in (await migrator.upgrade()).runs] == ["a1"]
        found = await asyncio.to_thread(_blocking, url, str(folder))
        assert found == ["applied"]


def _blocking(url: str, folder: str) -> list[str]:
    with BlockingMigrator(url=url, revisions=folder) as migrator:
        return [line.state for line in migrator.status()[0].lines]


async def test_results(project: Project) -> None:
    """Every result is short as a text, whatever the size of its sources, and has `as_dict`."""
    file = project.revisions("main") / "a1.py"
    file.write_text(file.read_text("utf-8") + "# " + "x" * 100_000 + "\n", "utf-8")
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        results: list[Any] = [await migrator.upgrade(dry_run=True), await migrator.upgrade(), await migrator.show("a1")]
        results += [await migrator.doctor(), await migrator.past.runs(), await migrator.past.stats()]
        results += [*await migrator.status(), *await migrator.verify(), results[0].plan, results[1].runs[0]]
        results += [await migrator.past.cleanup(), await migrator.history()]
    for each in results:
        assert len(repr(each)) < 5000, type(each)
        assert isinstance(each.as_dict(), dict), type(each)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_start(shop: Project, number: signal.Signals) -> None:
    """A signal in the middle of a step rolls it back and frees the lock; then the program's own handler hears it."""
    shop.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE t (); SELECT pg_sleep(120)")')
    heard: list[int] = []
    before = signal.signal(number, lambda came, _: heard.append(came))
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    def send() -> None:
        until(lambda: sql(shop.urls["main"], sleeping), "the step runs")
        assert heard == []
        os.kill(os.getpid(), number)

    try:
        async with Migrator.open(load(str(shop.toml), {})) as migrator:
            sent = asyncio.create_task(asyncio.to_thread(send))
            with pytest.raises(Stopped, match=number.name):
                await migrator.start_up()
            await sent
            assert heard == [number]
            assert await migrator.unlock() == {"main": None}
            assert sql(shop.urls["main"], "SELECT to_regclass('t')")[0][0] is None
            assert (await migrator.upgrade(dry_run=True)).plan.steps
    finally:
        signal.signal(number, before)


async def test_the_deadline_of_the_start(shop: Project) -> None:
    """A start that takes too long ends, also while it waits for another instance."""
    shop.tables("main", "a1")
    async with Migrator.open(load(str(shop.toml), {})) as other, Migrator.open(load(str(shop.toml), {})) as migrator:
        async with other._deployment().hold(("main",)):
            with pytest.raises(Stopped, match=r"within 0\.2 s"):
                await migrator.start_up(deadline=0.2)
        assert [run.revision for run in (await migrator.start_up("head", deadline=60)).runs] == ["a1"]


def test_mounted_without_a_lifespan(project: Project) -> None:
    """An app that nobody started says so, and what to do; nothing of it is called a defect."""
    outer = FastAPI()
    outer.mount("/migrator", create_app(load(str(project.toml), {}), root_path="/migrator"))
    with listening(outer) as url:
        for path in ("/migrator/api/databases", "/migrator/readyz", "/migrator/"):
            answer = httpx2.get(f"{url}{path}", headers={"accept": "text/html, application/json"})
            assert answer.status_code == 503, path
            assert "lifespan" in answer.text
