"""Scripts that run once, and what a script returns."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migrator import BlockingMigrator
from migrator.config import load
from migrator.core.errors import RevisionFileError
from migrator.core.schedule import Schedule
from migrator.runtime.scheduler import perform
from tests._servers import sql
from tests.acceptance._look import documents
from tests.acceptance._project import Project

PLANS = """
await ctx.execute("INSERT INTO plans VALUES ('basic')")
return {"processed": 1}
"""
DOWN = "await ctx.execute('DELETE FROM plans')"


@pytest.fixture
def plans(shop: Project) -> Project:
    """Give a project with a table and a script that fills it once."""
    shop.revision("main", "a1", upgrade="await ctx.execute('CREATE TABLE plans (name text)')")
    shop.revision("main", "create_plans", upgrade=PLANS, downgrade=DOWN, once=True, tags=("seed",), depends_on=("a1",))
    return shop


def count(project: Project) -> int:
    """Return how often the script ran."""
    number: int = sql(project.urls["main"], "SELECT count(*)::int FROM plans")[0][0]
    return number


def words(migrator: BlockingMigrator, *names: str, **options: Any) -> list[str]:
    """Run scripts and return what became of each."""
    outcome = migrator.run(*names, **options)
    assert outcome.exit_code == 0
    return [each.word for each in outcome.results]


async def test_once(plans: Project) -> None:
    """An upgrade leaves it out; it runs until it succeeded, however it is named, and again with force or taken back."""
    config = load(str(plans.toml))

    def program() -> None:
        with BlockingMigrator(config) as migrator:
            assert [run.revision for run in migrator.upgrade("head").runs] == ["a1"]
            assert words(migrator, "create_plans", dry_run=True) == ["would run"]
            assert words(migrator, "create_plans") == ["ok"]
            (done,) = migrator.run("create_plans").results
            assert done.message.startswith("already done at 20")
            assert f"@{done.message.partition('@')[2].partition(' ')[0]} (run " in done.message
            assert words(migrator, "create_plans", dry_run=True) == ["done"]
            plans.revision(
                "main", "another", upgrade="pass", repeatable=True, tags=("seed",), depends_on=("create_plans",)
            )
            assert words(migrator, tags=("seed",)) == ["done", "ok"]
            assert count(plans) == 1
            plans.revision("main", "create_plans", upgrade=f"pass\n{PLANS}", downgrade=DOWN, once=True)
            (done,) = migrator.run("create_plans").results
            assert done.message.endswith(", with another text")
            assert [run.revision for run in migrator.upgrade("head").runs] == []
            assert words(migrator, "create_plans", force=True) == ["ok"]
            assert count(plans) == 2
            migrator.downgrade("main:create_plans")
            assert words(migrator, "create_plans") == ["ok"]

    import asyncio

    await asyncio.to_thread(program)
    assert await perform(Schedule("seed", scripts=("create_plans",)), config, ()) == "1 run"
    assert count(plans) == 1


def test_after_a_failure(plans: Project) -> None:
    """One that failed is not done."""
    with BlockingMigrator(load(str(plans.toml))) as migrator:
        plans.revision("main", "create_plans", upgrade="raise ValueError('no')", once=True)
        migrator.upgrade("head")
        assert migrator.run("create_plans").exit_code == 1
        plans.revision("main", "create_plans", upgrade=PLANS, once=True)
        assert words(migrator, "create_plans") == ["ok"]


def test_in_sql_and_on_mongodb(both: Project) -> None:
    """The key works in SQL and on MongoDB; it does not go with `repeatable`, nor with a place in the order."""
    both.sql("main", "seed", upgrade="CREATE TABLE seeded (id int);", once="yes").write_text(
        "-- revision: seed\n-- once: yes\n-- migrator: upgrade\nCREATE TABLE seeded (id int);\n", "utf-8"
    )
    path = both.revision("events", "fill", upgrade="await ctx.db.seeded.insert_one({})\nreturn {'n': 1}", once=True)
    with BlockingMigrator(load(str(both.toml))) as migrator:
        assert words(migrator, "main:seed", "events:fill") == ["ok", "ok"]
        assert words(migrator, "main:seed", "events:fill") == ["done", "done"]
        assert len(documents(both.urls["events"], "seeded")) == 1
        for line, said in (
            ("repeatable = True", "repeatable or runs once"),
            ('down_revision = "e0"', "no down_revision"),
        ):
            path.write_text(f'revision = "fill"\nonce = True\n{line}\nasync def upgrade(ctx): pass\n', "utf-8")
            with pytest.raises(RevisionFileError, match=said):
                migrator.run("fill")


def test_the_result(plans: Project) -> None:
    """What it returned is printed by `run`, and shown by `runs show` and as JSON."""
    plans.good("upgrade")
    assert '{"processed": 1}' in plans.good("run", "create_plans").stdout
    assert "already done at" in plans.good("run", "create_plans").stdout
    document = plans.good("run", "create_plans", "--force", "--json").json()["scripts"][0]
    assert document["run"]["result"] == {"processed": 1}
    shown = plans.good("runs", "show", document["run"]["run_id"])
    assert 'result   {"processed": 1}' in shown.stdout


ODD = """
import datetime, decimal
return {
    "at": datetime.date(2026, 1, 2), "sum": decimal.Decimal("1.50"), "nan": float("nan"), "big": 2**70, 3: (1, 2),
    "text": "\\0\\ud800", "$set": {"a.b": None}, "secret": "%s",
}
"""


def test_what_json_cannot_hold(both: Project) -> None:
    """It becomes a text, on both databases; what is no mapping, or too much, is not kept and fails nothing."""
    password = "pass-w0rd-of-the-shop"
    config = load(str(both.toml))
    config.hidden.learn({password})
    for database in both.urls:
        both.revision(database, "odd", upgrade=ODD % password, repeatable=True)
        both.revision(database, "much", upgrade="return {'text': 'x' * 100_000}", repeatable=True)
        both.revision(database, "rows", upgrade="return [object()]", repeatable=True)
        with BlockingMigrator(config) as migrator:
            outcome = migrator.run("odd", "much", "rows", databases=[database])
            assert outcome.exit_code == 0
            done = {each.run.revision: each.run for each in outcome.results if each.run}
            page = migrator.past.run(done["odd"].run_id)
            results = {name: run.result for name, run in done.items()}
        assert results["much"] is results["rows"] is None
        assert results["odd"] == page.runs[0].result
        assert results["odd"] == {
            "at": "2026-01-02",
            "sum": "1.50",
            "nan": "nan",
            "big": str(2**70),
            "3": [1, 2],
            "text": "\\x00\\ud800",
            "$set": {"a.b": None},
            "secret": "***",
        }


def test_as_a_program(plans: Project) -> None:
    """`python file.py` runs it, and says when it is done; `python file.py --force` runs it again."""
    end = 'if __name__ == "__main__":\n    from migrator import run_cli\n    run_cli(__file__)\n'
    path = plans.revisions("main") / "create_plans.py"
    path.write_text(path.read_text("utf-8") + end, "utf-8")
    plans.good("upgrade")

    def program(*words: str) -> str:
        return _program(plans, path, *words)

    assert '{"processed": 1}' in program()
    assert "already done at" in program()
    assert '{"processed": 1}' in program("--force")
    assert count(plans) == 2


def _program(project: Project, path: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(path), *words],
        check=False,
        capture_output=True,
        env=project.environ(),
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done
    return done.stdout
