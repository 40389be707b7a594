"""A forgotten `await`: refused before anything runs, or a failed step while it can be rolled back."""

import warnings
from typing import Literal

import pytest

from migrator import BlockingMigrator
from migrator.config import load
from migrator.core.errors import MigratorError, RevisionFileError, RunFailed
from tests.acceptance._long import MAKE
from tests.acceptance._look import relations, runs
from tests.acceptance._project import Project

HIDDEN = {
    "work = ctx.execute('CREATE TABLE b (id int)')": "Context.execute(...) was never awaited",
    "return ctx.execute('CREATE TABLE b (id int)')": "upgrade returned a coroutine that was never awaited",
    "[ctx.execute(each) for each in ('SELECT 1',)]": "Context.execute(...) was never awaited",
    "if ctx.value('SELECT false'): pass": "Context.value(...) was never awaited",
    "call = ctx.execute\ncall('CREATE TABLE b (id int)')": "Context.execute(...) was never awaited",
    "import asyncio\nasyncio.sleep(0)": "sleep(...) was never awaited",
    "async def own(): pass\n(lambda: own())()": "own(...) was never awaited",
}


def test_what_the_text_shows(both: Project) -> None:
    """Nothing of the plan begins, on both databases; the error names the line. A script is refused in the same way."""
    both.table("main", "a1")
    both.revision("main", "a2", "a1", upgrade="pass\nctx.execute('SELECT 1')")
    both.revision("events", "e1", upgrade="pass", verify="ctx.db.things.count_documents({})\nreturn True")
    with BlockingMigrator(load(str(both.toml))) as migrator:
        for target, words in (
            ("main:head", r"a2.py:7: ctx.execute\(...\) is never awaited"),
            ("events:head", r"e1.py:8: ctx.db.things.count_documents\(...\) is never awaited"),
        ):
            with pytest.raises(RevisionFileError, match=words):
                migrator.upgrade(target)
        both.revision("main", "s1", upgrade="ctx.value('SELECT 1')", repeatable=True)
        with pytest.raises(RevisionFileError, match=r"s1.py:7: ctx.value"):
            migrator.run("s1")
    assert relations(both.urls["main"]) == set()
    assert runs(both.urls["main"]) == []


def test_what_shows_only_when_it_runs(shop: Project) -> None:
    """The step fails and is rolled back, whatever the filters for warnings say; the error names the line."""
    filters: Literal["ignore", "error"]
    for filters in ("ignore", "error"):
        for body, words in HIDDEN.items():
            shop.revision("main", "a1", upgrade=f"await ctx.execute('CREATE TABLE a (id int)')\n{body}")
            with warnings.catch_warnings(), BlockingMigrator(load(str(shop.toml))) as migrator:
                warnings.simplefilter(filters)
                with pytest.raises(RunFailed) as failed:
                    migrator.upgrade("head")
            assert words in failed.value.message, body
            assert "a1.py:" in failed.value.message or "returned" in words
            assert (failed.value.exit_code, failed.value.failed.effect) == (1, "none")
    assert relations(shop.urls["main"]) == set()


def test_what_is_not_of_the_revision(shop: Project) -> None:
    """A coroutine that a module beside the revision drops is Python's to warn of, as ever."""
    (shop.folder / "lib").mkdir()
    (shop.folder / "lib" / "careless.py").write_text("async def work(): pass\ndef drop(): work()\n", "utf-8")
    body = f"import sys; sys.path.insert(0, {str(shop.folder / 'lib')!r})\nimport careless\ncareless.drop()"
    shop.revision("main", "a1", upgrade=f"{body}\nsys.path.pop(0)")
    with BlockingMigrator(load(str(shop.toml))) as migrator, pytest.warns(RuntimeWarning, match="never awaited"):
        assert len(migrator.upgrade("head").runs) == 1


def test_in_a_batch(shop: Project) -> None:
    """The batch is rolled back with its checkpoint, so that the corrected file does its rows."""
    shop.revision("main", "a1", upgrade=MAKE)
    body = 'async for batch in ctx.batches("rows", on_error="skip"):\n    async with batch:\n        '
    shop.revision("main", "a2", "a1", upgrade=f"{body}x = ctx.execute('SELECT 1'); x = None")
    with (
        BlockingMigrator(load(str(shop.toml))) as migrator,
        pytest.raises(RunFailed, match="never awaited") as failed,
    ):
        migrator.upgrade("head")
    (loop,) = (failed.value.failed.progress or {})["loops"]
    assert (loop["rows"], loop["skipped"], loop["done"]) == (0, 0, False)


def test_what_does_not_run_now(shop: Project) -> None:
    """A fault in the upgrade of an applied revision is no reason to refuse its downgrade; one in the downgrade is."""
    shop.revision("main", "a1", upgrade="return\nctx.execute('x')", downgrade="pass")
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        migrator.stamp("main:head")
        assert len(migrator.downgrade("main:base").runs) == 1
        shop.revision("main", "a1", upgrade="pass", downgrade="ctx.execute('x')")
        assert len(migrator.upgrade("head").runs) == 1
        with pytest.raises(MigratorError, match="is never awaited"):
            migrator.downgrade("main:base")
