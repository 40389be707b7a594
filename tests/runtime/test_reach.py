"""An upgrade locks, opens and judges the databases that its targets name and need, and no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from migrator.config import load
from migrator.core.errors import Drifted
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project


@pytest.fixture
def shops(both: Project) -> Project:
    """Give a project whose events need the shop's second revision; the third database cannot be reached."""
    both.configure(**both.urls, away="postgresql://nobody@127.0.0.1:1/nothing")
    both.tables("main", "a1", "b2", "c3")
    both.collection("events", "e1")
    both.collection("events", "e2", "e1", depends_on=["main:b2"])
    return both


@asynccontextmanager
async def opened(project: Project) -> AsyncIterator[Migrator]:
    """Open a project that waits for no lock."""
    project.toml.write_text(f'lock_timeout = "0"\n{project.toml.read_text("utf-8")}', "utf-8")
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        yield migrator


@pytest.mark.parametrize("target", ["main:b2", "b2", "main:head", "main:+2"])
async def test_only_its_own(shops: Project, target: str) -> None:
    """The lock of another database is not waited for, nor is it opened, whatever the form of the target."""
    if target == "b2":
        shops.configure(**{name: shops.urls[name] for name in ("main", "events")})
    async with opened(shops) as migrator, migrator._deployment().hold(("events",)):
        outcome = await migrator.upgrade(target)
        assert [run.revision for run in outcome.runs][:2] == ["a1", "b2"]
        assert (await migrator.upgrade(target if "+" not in target else "main:c3", dry_run=True)).dry_run


async def test_what_its_links_need(shops: Project) -> None:
    """A target whose links lead elsewhere takes that database as well, and one that needs no link does not."""
    async with opened(shops) as migrator:
        async with migrator._deployment().hold(("main",)):
            assert [run.revision for run in (await migrator.upgrade("events:e1")).runs] == ["e1"]
        assert [run.revision for run in (await migrator.upgrade("events:e2")).runs] == ["a1", "b2", "e2"]


@pytest.mark.parametrize("target", ["main:c3", "main:head", "c3"])
async def test_drift_elsewhere(both: Project, target: str) -> None:
    """A file of another database that changed after it ran refuses no target that does not need that database."""
    both.tables("main", "a1", "b2", "c3")
    both.collection("events", "e1")
    async with opened(both) as migrator:
        await migrator.upgrade("events:head", "main:b2")
        file = both.revisions("events") / "e1.py"
        file.write_text(file.read_text("utf-8").replace("(ctx: Context):\n", "(ctx: Context):\n    print()\n"), "utf-8")
        assert [run.revision for run in (await migrator.upgrade(target)).runs] == ["c3"]
        with pytest.raises(Drifted):
            await migrator.upgrade("events:head")
        with pytest.raises(Drifted):
            await migrator.upgrade()
