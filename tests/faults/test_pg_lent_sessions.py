"""Sessions that work under the lock of another: scripts, batches and slices through pgbouncer, and long silences."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy.ext.asyncio  # noqa: F401 - now, because it would hold the event loop in the middle of a test

from migrator import Migrator
from migrator.adapters.postgres import _adapter, _link
from migrator.config import Config, load
from migrator.runtime.scheduler import perform
from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import runs
from tests.faults._pgbouncer import Pooler
from tests.faults.deployer import run

ROWS = 300
WALK = [
    "async for batch in ctx.batches('items'{workers}, max_rows=20):",
    "    async with batch:",
    "        await ctx.execute('UPDATE items SET n = n + 1 WHERE id BETWEEN $1 AND $2', batch.first, batch.last)",
]
PLAIN: dict[str, object] = {"transaction": False, "allow_pooled": True}


@pytest.fixture(params=["transaction", "session"])
def through(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """Give the address of a database with some rows, through a pooler in each of the two modes."""
    sql(postgres_url, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)", "ANALYZE items")
    sql(postgres_url, f"INSERT INTO items SELECT i FROM generate_series(1, {ROWS}) AS i", "ANALYZE items")
    with Pooler(postgres_url, mode=request.param) as pooler:
        yield pooler.url(postgres_url)


def done(folder: Path, *words: str) -> None:
    """Run a command that must succeed."""
    ended = run(folder, *words)
    assert ended.code == 0, ended.stdout + ended.stderr


WORK: dict[str, tuple[list[str], dict[str, object]]] = {
    "batches": ([line.format(workers="") for line in WALK], {}),
    "slices": ([line.format(workers=", workers=3") for line in WALK], {}),
    "plain": (["await ctx.execute('UPDATE items SET n = n + 1')"], PLAIN),
    "transaction": (["await ctx.execute('UPDATE items SET n = n + 1')"], {}),
}
works = pytest.mark.parametrize("work", WORK)


@works
def test_a_revision_through_a_pooler(folder: Path, through: str, postgres_url: str, work: str) -> None:
    """A revision of each kind passes through the pooler, and does its work once."""
    lines, constants = WORK[work]
    corpus.configure(folder, through)
    corpus.revision(folder, "r1", None, lines, constants=constants)
    done(folder, "upgrade", "head")
    assert sql(postgres_url, "SELECT n, count(*) FROM items GROUP BY n")[0] == (1, ROWS)


@works
async def test_a_script_through_a_pooler(folder: Path, through: str, postgres_url: str, work: str) -> None:
    """`migrator run` and a schedule work through the pooler under the lease that the command holds."""
    lines, constants = WORK[work]
    corpus.configure(folder, through, top='[schedule.often]\nscript = "s1"\nevery = "1h"\n')
    corpus.revision(folder, "s1", None, lines, constants={"repeatable": True, **constants})
    done(folder, "run", "s1")
    config = load(str(folder / "migrator.toml"))
    assert await perform(config.schedules[0], config, ()) == "1 run"
    assert sql(postgres_url, "SELECT n, count(*) FROM items GROUP BY n")[0] == (2, ROWS)
    assert {row[1] for row in runs(postgres_url)} == {"success"}


def test_statement_mode(folder: Path, postgres_url: str) -> None:
    """A pooler that gives each statement another session has no transactions: refused with 3 before anything runs."""
    with Pooler(postgres_url, mode="statement") as pooler:
        corpus.transactional(folder, pooler.url(postgres_url), 1)
        for words in (("upgrade", "head"), ("stamp", "head")):
            ended = run(folder, *words, "--json")
            assert (ended.code, ended.error["type"]) == (3, "ConfigError"), ended
            assert "statement mode" in ended.error["message"]
            assert "direct_url" in ended.error["hint"]
        assert sql(postgres_url, "SELECT to_regclass('script_run_tracker')")[0][0] is None


SILENCE = "await asyncio.sleep(8)"
"""While it lasts the script sends nothing; the sessions of this test end after five seconds of that."""

LOOP = [
    "async for batch in ctx.batches('items'{workers}, max_rows=1):",
    f"    async with batch: {SILENCE}; await ctx.execute('UPDATE items SET n = n + 1 WHERE id = $1', batch.first)",
]
ONE = "await ctx.execute('UPDATE items SET n = 1')"
NOTED = f"{SILENCE}; await ctx.execute('INSERT INTO items VALUES (2)')"
SILENT: dict[str, tuple[list[str], dict[str, object], str]] = {
    "transaction": ([SILENCE, ONE], {}, ""),
    "plain": ([ONE, SILENCE, ONE], {"transaction": False}, ""),
    "batches": ([line.format(workers="") for line in LOOP], {}, ""),
    "slices": ([line.format(workers=", workers=2") for line in LOOP], {}, ""),
    "script": ([ONE, SILENCE, ONE], {"transaction": False, "repeatable": True}, ""),
    "around": ([ONE], {}, f"async def setup(ctx): {NOTED}\nasync def cleanup(ctx): {NOTED}\n"),
    "verify": ([ONE], {}, f"async def verify(ctx): {SILENCE}; return await ctx.value('SELECT true')\n"),
    "other": ([f"async with ctx.database('main') as other: {SILENCE}; await other.value('SELECT 1')"], {}, ""),
    "orm": (["conn = ctx.conn", SILENCE, ONE], {}, ""),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server end sessions that are silent for five seconds."""
    limits = {"idle_session_timeout": "5s", "idle_in_transaction_session_timeout": "5s"}
    monkeypatch.setattr(_adapter, "_MORTAL", limits)
    monkeypatch.setattr(_link, "INTERVAL", 0.5)


async def silent(name: str, config: Config) -> None:
    """Do the work of one kind, in which nothing is sent for longer than the server waits."""
    async with Migrator.open(config) as migrator:
        if name == "script":
            assert [each.message for each in (await migrator.run("r1")).results] == [""]
            return
        if name == "batches":
            (told,) = (await migrator.upgrade("head", dry_run=True)).forecasts
            assert told.missing == ""
        await migrator.upgrade("head")
        if name == "verify":
            assert [each.message for each in await migrator.verify()] == [""]


async def test_a_script_that_sends_nothing(
    tmp_path: Path, fresh_postgres: Callable[[str], str], impatient: None
) -> None:
    """However long a script is silent, in whichever of its functions: its session lives as long as its process."""
    made = {name: fresh_postgres("postgres18") for name in SILENT}
    for name, (lines, constants, around) in SILENT.items():
        key = "PRIMARY KEY" if name in ("batches", "slices") else ""
        sql(made[name], f"CREATE TABLE items (id int {key}, n int NOT NULL DEFAULT 0)", "INSERT INTO items VALUES (1)")
        corpus.configure(tmp_path / name, made[name])
        corpus.revision(tmp_path / name, "r1", None, ["import asyncio", *lines], constants=constants)
        with (tmp_path / name / "revisions" / "r1.py").open("a") as file:
            file.write(f"import asyncio\n{around}")
    work = (silent(name, load(str(tmp_path / name / "migrator.toml"))) for name in SILENT)
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert dict(zip(SILENT, outcomes, strict=True)) == dict.fromkeys(SILENT)
    assert len(sql(made["around"], "SELECT FROM items WHERE id = 2")) == 2
