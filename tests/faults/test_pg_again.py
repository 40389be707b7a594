"""What the server aborts and what may be begun again by itself: plain SQL; Python only where the revision says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import OURS, pids
from tests.faults.deployer import Deployer, until

WAITING = f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"
ALTER = "SET LOCAL lock_timeout = '200ms'; ALTER TABLE busy ADD COLUMN m int"


def project(folder: Path, url: str, suffix: str, *, rerunnable: bool = False) -> None:
    """Write one revision that needs a lock which somebody else has."""
    corpus.configure(folder, url)
    if suffix == ".sql":
        text = f"-- Widen.\n-- revision: a1\n\n-- migrator: upgrade\n{ALTER};\n"
    else:
        text = (
            f'"""Widen."""\n\nrevision = "a1"\nrerunnable = {rerunnable}\n\n\n'
            f"async def upgrade(ctx):\n    await ctx.execute({ALTER!r})\n"
        )
    (folder / "revisions" / f"a1{suffix}").write_text(text)


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold a lock on the table until the block ends, in a session of its own."""
    import asyncio

    sql(url, "CREATE TABLE busy (n int)")
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    loop.run_until_complete(connection.execute("BEGIN; LOCK TABLE busy IN ACCESS SHARE MODE"))
    try:
        yield
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


@pytest.mark.parametrize(("suffix", "rerunnable"), [(".sql", False), (".py", True)])
def test_it_is_begun_again(folder: Path, postgres_url: str, suffix: str, rerunnable: bool) -> None:
    """A lock that is not free ends the transaction; it is begun again, and succeeds when the lock is free."""
    project(folder, postgres_url, suffix, rerunnable=rerunnable)
    with held(postgres_url):
        deployer = Deployer(folder, "upgrade", "head", "-v")
        until(lambda: pids(postgres_url, WAITING), "the step waits for the lock")
        until(lambda: not pids(postgres_url, WAITING), "the server has ended the wait")
    with deployer:
        ended = deployer.wait()
    assert ended.code == 0, ended
    assert "gave the transaction up" in ended.stderr
    assert "stamina" not in ended.stderr
    rows = sql(postgres_url, "SELECT status, attempt FROM script_run_tracker")
    assert [tuple(row) for row in rows] == [("success", 1)]


def test_a_python_step_is_not(folder: Path, postgres_url: str) -> None:
    """It may have done something elsewhere, so it fails, with nothing left in the database."""
    project(folder, postgres_url, ".py")
    with held(postgres_url), Deployer(folder, "upgrade", "head") as deployer:
        ended = deployer.wait()
    assert ended.code == 1, ended
    rows = sql(postgres_url, "SELECT status, effect FROM script_run_tracker")
    assert [tuple(row) for row in rows] == [("failed", "none")]
