"""A script that ends its own transaction and then fails is never said to have left nothing."""

import pytest

from migrator.config import load
from migrator.core.errors import MigratorError, ResolveNeeded, RunFailed
from migrator.core.run import Effect
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

TABLE = 'await ctx.execute("CREATE TABLE a (id int)")\nawait ctx.execute("INSERT INTO a VALUES (1)")\n'


async def failed(shop: Project, body: str, verify: str | None = None) -> RunFailed:
    """Apply one revision and return how it failed."""
    shop.revision("main", "aa01", upgrade=TABLE + body, verify=verify)
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade()
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        'await ctx.execute("COMMIT")\nraise ValueError("after")',
        'await ctx.execute("COMMIT AND CHAIN")\nraise ValueError("after")',
        'await ctx.execute("INSERT INTO a VALUES (2); COMMIT; BEGIN")\nawait ctx.execute("SELECT 1 / 0")',
        'await ctx.execute("ROLLBACK")\nawait ctx.execute("CREATE TABLE b ()")\nawait ctx.execute("SELECT 1 / 0")',
        'await ctx.execute("ROLLBACK; BEGIN")\nawait ctx.execute("END")\nawait ctx.execute("SELEC")',
        'await ctx.fetch("COMMIT")\nawait ctx.value("SELECT 1 / 0")',
        'await ctx.execute("commit /* now */")\nawait ctx.execute("BEGIN")\nawait ctx.fetch("SELECT 1 / 0")',
        'from sqlalchemy import text\nawait ctx.conn.execute(text("COMMIT"))\nraise ValueError("after")',
        'await ctx.execute("COMMIT")\nimport sys\nsys.exit(3)',
        'await ctx.execute("COMMIT")',
    ],
)
async def test_what_was_committed_is_not_denied(shop: Project, body: str) -> None:
    """The effect is unknown, the sentence says what happened, and the next upgrade asks a person."""
    error = await failed(shop, body)
    assert error.failed is not None
    assert error.failed.effect is Effect.UNKNOWN
    assert "Nothing" not in error.state
    assert "nothing" not in error.state
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(ResolveNeeded):
            await migrator.upgrade()


async def test_a_verify_that_fails_after_a_commit(shop: Project) -> None:
    """What verify says comes too late for what the script committed."""
    error = await failed(shop, 'await ctx.execute("COMMIT; BEGIN")', "return False")
    assert error.failed is not None
    assert error.failed.effect is Effect.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        'await ctx.execute("SELECT 1 / 0; COMMIT")',
        'await ctx.execute("SAVEPOINT s; ROLLBACK TO s; RELEASE s; SELECT 1 / 0")',
        'await ctx.execute("DO $$ BEGIN COMMIT; END $$")',
        'await ctx.session.commit()\nawait ctx.execute("SELECT 1 / 0")',
        "await ctx.execute(\"SELECT 'COMMIT; ROLLBACK'; SELECT 1 / 0\")",
        'await ctx.conn.rollback()\nraise ValueError("after")',
    ],
)
async def test_what_was_rolled_back_left_nothing(shop: Project, body: str) -> None:
    """A command that was never reached, a savepoint, or what the server refuses in a block ends nothing."""
    error = await failed(shop, body)
    assert error.failed is not None
    assert error.failed.effect is Effect.NONE, error
    shop.revision("main", "aa01", upgrade=TABLE)
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        assert len((await migrator.upgrade()).runs) == 1


async def test_without_a_failure_it_is_refused(shop: Project) -> None:
    """A script that ended its transaction and did nothing wrong is refused, too."""
    error: MigratorError = await failed(shop, 'await ctx.execute("COMMIT; BEGIN")')
    assert "ended the transaction" in error.message
