"""The public surface as a program uses it: checked by `mypy --strict`, never run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

from migrator import Config, Migrator, MigratorError, Script
from migrator.adapters.mongo import Context as MongoContext
from migrator.adapters.postgres import Context as PostgresContext
from migrator.config import load
from migrator.core.change import Change
from migrator.core.errors import DatabaseError, LockHeld, RunFailed, VerifyFailed
from migrator.core.events import Event, RunFinished
from migrator.core.health import Health
from migrator.core.history import History
from migrator.core.outcome import Outcome, Shown, Verification
from migrator.core.plan import Plan, Step
from migrator.core.report import DatabaseReport, Line
from migrator.core.retention import Cleaned
from migrator.core.revision import Direction, Key
from migrator.core.run import Effect, Run, Status
from migrator.core.runs import RunFilter, RunPage
from migrator.core.stats import Statistics


def hear(event: Event) -> None:
    """Listen as any function can."""
    if isinstance(event, RunFinished):
        assert_type(event.run, Run)
        assert_type(event.number, int)


async def deploy() -> int:
    """Upgrade and read the outcome, as a program does at its start."""
    async with Migrator.open() as migrator:
        assert_type(migrator, Migrator)
        assert_type(migrator.config, Config)
        outcome = await migrator.upgrade("head", databases=["main"], force=False, dry_run=True)
        assert_type(outcome, Outcome)
        assert_type(outcome.plan, Plan)
        assert_type(outcome.plan.steps, tuple[Step, ...])
        assert_type(outcome.runs, tuple[Run, ...])
        assert_type(outcome.notes, tuple[str, ...])
        assert_type(outcome.as_dict(), dict[str, Any])
        return len(outcome.runs)


async def look_back(migrator: Migrator) -> None:
    """Ask what was done, and clean up."""
    page = await migrator.past.runs(RunFilter(script="3f2a"), ["failed"], ["main"], limit=10, after="1m7y")
    assert_type(page, RunPage)
    assert_type(page.runs, tuple[Run, ...])
    assert_type(page.standing(page.runs[0]), str)
    assert_type(await migrator.past.run("1m7y"), RunPage)
    assert_type(list(migrator.past.log(page.runs[0])), list[str])
    assert_type([line async for line in migrator.past.follow(page.runs[0])], list[str])
    assert_type(await migrator.past.stats(), Statistics)
    for change in await migrator.controls.changes(["main"]):
        assert_type(change, Change)
        assert_type(change.estimate(change.loops[0]).seconds, float)
    assert_type(await migrator.controls.pause(reason="peak hour"), Change)
    assert_type(await migrator.controls.tune({"target": 0.2}, "1m7y"), Change)
    assert_type(await migrator.past.delete(page.runs), int)
    assert_type(await migrator.past.cleanup(30, dry_run=True), Cleaned)


async def look(config: Config) -> None:
    """Ask everything that changes nothing."""
    async with Migrator.open(config, notifiers=[hear]) as migrator:
        reports = await migrator.status()
        assert_type(reports, tuple[DatabaseReport, ...])
        for report in reports:
            assert_type(report.clean, bool)
            assert_type(report.count("pending", "drifted"), int)
            assert_type(report.lines, tuple[Line, ...])
        assert_type(await migrator.history(["main"]), History)
        assert_type(await migrator.show("3f2a"), Shown)
        assert_type(await migrator.verify("3f2a", databases=("main",)), tuple[Verification, ...])
        health = await migrator.doctor()
        assert_type(health, Health)
        assert_type(health.ready, bool)


async def back(config: Config) -> Status:
    """Take one revision down, or say why not."""
    try:
        async with Migrator.open(config) as migrator:
            outcome = await migrator.downgrade("main:-1")
            await migrator.stamp("base", dry_run=True)
            run = outcome.runs[0]
    except RunFailed as error:
        assert_type(error.done, tuple[Run, ...])
        assert_type(error.failed, Run)
        run = error.failed
    except LockHeld as error:
        raise SystemExit(error.exit_code) from error
    assert_type(run.key, Key)
    assert_type(run.direction, Direction)
    assert_type(run.effect, Effect)
    assert_type(run.progress, Mapping[str, Any] | None)
    return run.status


def explain(error: MigratorError) -> str:
    """Read the fields that every error has, and those of some."""
    assert_type(error.exit_code, int)
    assert_type(error.as_dict(), dict[str, Any])
    if isinstance(error, DatabaseError):
        assert_type(error.code, str)
    if isinstance(error, VerifyFailed):
        assert_type(error.failed.error, str)
    return f"{error.message}\n{error.state}\n{error.hint}"


def configured(folder: Path) -> Config:
    """Load a configuration without the environment."""
    config = load(str(folder / "migrator.toml"), {"DATABASE_URL": "postgresql://localhost/shop"})
    assert_type(config.databases["main"].url.password, str)
    assert_type(config.timeout, float)
    return config


async def upgrade(ctx: PostgresContext) -> None:
    """Use what a PostgreSQL revision receives."""
    assert_type(await ctx.execute("UPDATE orders SET state = $1", "open"), str)
    for row in await ctx.fetch("SELECT id FROM orders"):
        ctx.log.info("order %s", row["id"])
    assert_type(await ctx.columns("orders"), list[str])
    ctx.check(await ctx.value("SELECT count(*) FROM orders") == 0, "no orders yet")
    conn, session = ctx.conn, ctx.session
    await conn.exec_driver_sql("SELECT 1")
    session.add(object())
    async with ctx.database("events") as events:
        await events.db["orders"].insert_one({})


async def upgrade_documents(ctx: MongoContext) -> None:
    """Use what a MongoDB revision receives."""
    await ctx.db["reviews"].create_index("book", unique=True)
    found = await ctx.db["reviews"].find_one({"stars": 5})
    assert_type(found, dict[str, Any] | None)
    ctx.check(found is not None, "there is a good one")


async def verify(ctx: PostgresContext) -> Effect:
    """Answer with more than yes or no."""
    return Effect.FULL if "shipped_at" in await ctx.columns("orders") else Effect.NONE


class AddShippedAt(Script):
    """A revision as a class."""

    async def upgrade(self, ctx: PostgresContext) -> None:
        """Add the column."""
        await ctx.execute("ALTER TABLE orders ADD COLUMN shipped_at timestamptz")

    async def downgrade(self, ctx: PostgresContext) -> None:
        """Drop it."""
        await ctx.execute("ALTER TABLE orders DROP COLUMN shipped_at")

    async def verify(self, ctx: PostgresContext) -> bool:
        """Say whether it is there."""
        return "shipped_at" in await ctx.columns("orders")
