"""What a server can run out of or refuse: each has its class, exit code and hint, and the next upgrade is right.

The disk is full for real: a table's file is /dev/full, so the kernel itself tells the server that no space is left.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.adapters.postgres import adapter
from migrator.core import errors
from migrator.core.protocols import Adapter
from migrator.core.url import Url
from tests._servers import new_name, sql, with_database
from tests.faults import corpus
from tests.faults._pg import OURS, SLEEPING, Gate, Server, pids, runs
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, run, until

MEANT: dict[str, tuple[type[errors.DatabaseError], int, str]] = {
    "28000": (errors.StatementFailed, 1, ""),
    "3D000": (errors.StatementFailed, 1, ""),
    "42501": (errors.PermissionDenied, 5, "doctor"),
    "25006": (errors.StatementFailed, 1, ""),
    "25P03": (errors.StatementFailed, 1, ""),
    "25P04": (errors.StatementFailed, 1, ""),
    "40001": (errors.TransactionAborted, 1, "in the way"),
    "40P01": (errors.TransactionAborted, 1, "deadlock"),
    "53100": (errors.ResourcesExhausted, 1, "disk"),
    "53200": (errors.ResourcesExhausted, 1, "memory"),
    "53300": (errors.StatementFailed, 1, ""),
    "53400": (errors.ResourcesExhausted, 1, "that limit of the server"),
    "55P03": (errors.TransactionAborted, 1, "lock"),
    "57014": (errors.StatementTimeout, 1, "statement_timeout"),
    "57P01": (errors.StatementFailed, 1, ""),
    "57P03": (errors.StatementFailed, 1, ""),
    "08006": (errors.StatementFailed, 1, ""),
    "23505": (errors.StatementFailed, 1, ""),
}
"""By SQLSTATE as a script raises it: the class, the exit code, and a part of the hint. What it says of a connection is
never about ours, which is open.
"""

FEW = ("max_connections=8", "superuser_reserved_connections=0")
ALONE = {"transaction": False, "rerunnable": True}
both = pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "plain"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server of one's own that takes few connections."""
    with Server(tmp_path_factory.mktemp("limits") / "server", *FEW) as one:
        yield one


@pytest.fixture
def url(server: Server) -> str:
    """Give the address of an empty database on it."""
    name = new_name()
    sql(server.url, f"CREATE DATABASE {name}")
    return with_database(server.url, name)


async def test_what_a_state_means(postgres_url: str) -> None:
    """Every SQLSTATE that a server raises has its class, its exit code and its hint."""
    one = adapter("main", Url.parse(postgres_url, "here"))
    found = {}
    for state, (_, _, hint) in MEANT.items():
        with pytest.raises(errors.DatabaseError) as caught:
            await raising(one, state)
        error = caught.value
        assert error.code == state
        found[state] = type(error), error.exit_code, hint if hint in error.hint else error.hint
    assert found == MEANT


async def raising(one: Adapter, state: str) -> None:
    """Let a server raise an error with this SQLSTATE."""
    async with one.context() as context:
        await context.execute(f"DO $$ BEGIN RAISE 'so it is' USING ERRCODE = '{state}'; END $$")


@contextmanager
def full(server: Server, url: str, table: str) -> Iterator[None]:
    """Let a table that is still empty be on a full disk for the length of a block."""
    path = server.store / sql(url, f"SELECT pg_relation_filepath('{table}')")[0][0]
    assert path.stat().st_size == 0
    kept = path.rename(path.with_suffix(".kept"))
    path.symlink_to("/dev/full")
    try:
        yield
    finally:
        kept.replace(path)


def next_is_right(folder: Path, url: str, ordered: list[Ordered]) -> None:
    """Let a plain `upgrade head` end with everything applied once."""
    corpus.configure(folder, url)
    again = run(folder, "upgrade", "head")
    assert again.code == 0, again
    assert violations(url, ordered) == []


@both
def test_a_full_disk(folder: Path, server: Server, url: str, transactional: bool) -> None:
    """No space for the rows of a step: it fails with 1 and says so; with space again the next upgrade does it all."""
    corpus.configure(folder, url)
    sql(url, "CREATE TABLE evidence (revision text)", "CREATE TABLE fat (id int)")
    lines = [
        "await ctx.execute('INSERT INTO fat VALUES (1)')",
        "await ctx.execute(\"INSERT INTO evidence VALUES ('d1')\")",
    ]
    ordered = [corpus.revision(folder, "d1", None, lines, constants={} if transactional else ALONE)]
    with full(server, url, "fat"):
        ended = run(folder, "upgrade", "head", "--json")
        assert (ended.code, "No space left" in ended.error["message"]) == (1, True), ended
        assert "Make room" in ended.error["hint"]
    effect = "none" if transactional else "unknown"
    assert runs(url) == [("d1", "failed", effect, "error")]
    next_is_right(folder, url, ordered)


def test_a_full_disk_under_the_tracker(folder: Path, server: Server, url: str) -> None:
    """No space for the row of a run: nothing is begun, the command says so, and the next one does it all."""
    corpus.configure(folder, url)
    assert run(folder, "upgrade").code == 0
    ordered = corpus.transactional(folder, url, 1)
    with full(server, url, "script_run_tracker"):
        ended = run(folder, "upgrade", "head", "--json")
        assert (ended.code, ended.error["type"]) == (1, "ResourcesExhausted"), ended
        assert "Make room" in ended.error["hint"]
    assert runs(url) == []
    next_is_right(folder, url, ordered)


@asynccontextmanager
async def taken(url: str) -> AsyncIterator[None]:
    """Take every connection that the server has left, for the length of a block."""
    async with AsyncExitStack() as stack:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                await stack.enter_async_context(connected(url))
        yield


async def test_no_connection_is_left(folder: Path, server: Server, url: str) -> None:
    """With max_connections reached the command ends with 4; with one free again the next upgrade does it all."""
    ordered = corpus.transactional(folder, url, 1)
    async with taken(server.url):
        ended = await asyncio.to_thread(run, folder, "upgrade", "head", "--json")
    assert (ended.code, ended.error["type"]) == (4, "ConnectionFailed"), ended
    assert "max_connections" in ended.error["hint"]
    next_is_right(folder, url, ordered)


async def test_no_second_connection_is_left(folder: Path, tmp_path: Path, server: Server, url: str) -> None:
    """A step that opens another database while none is left fails with 4 and is rolled back."""
    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, url)
    lines = ["await ctx.execute('CREATE TABLE evidence (revision text)')", *gate.code]
    lines += ["async with ctx.database('main') as other: await other.value('SELECT 1')"]
    lines += ["await ctx.execute(\"INSERT INTO evidence VALUES ('s1')\")"]
    ordered = [corpus.revision(folder, "s1", None, lines)]
    with Deployer(folder, "upgrade", "head", "--json") as deployer:
        gate.reached(deployer)
        async with taken(server.url):
            gate.open.touch()
            ended = await asyncio.to_thread(deployer.wait)
    assert ended.code == 4, ended
    assert "max_connections" in ended.error["hint"]
    assert runs(url) == [("s1", "failed", "none", "error")]
    next_is_right(folder, url, ordered)


def test_a_standby(folder: Path, tmp_path: Path, server: Server, url: str) -> None:
    """On a standby `status` works, an upgrade ends with 5 and a hint at the primary; promoted, it takes the upgrade.

    No advice there is to upgrade, and no lock is called free: only the primary knows its holder.
    """
    corpus.transactional(folder, url, 1)
    assert run(folder, "upgrade").code == 0
    ordered = corpus.transactional(folder, url, 2)
    standby = Server(tmp_path / "standby", *FEW)
    standby.follow(server)
    with standby:
        there = with_database(standby.url, url.rpartition("/")[2])
        corpus.configure(folder, there)
        looked = run(folder, "status")
        assert looked.code == 0
        assert "use the address of the primary" in looked.stdout
        assert "migrator upgrade" not in looked.stdout
        examined = run(folder, "doctor")
        assert "a read-only standby" in examined.stdout
        assert "migrator upgrade" not in examined.stdout
        held = run(folder, "unlock")
        assert (held.code, "free" in held.stdout, "standby" in held.stderr) == (5, False, True), held
        ended = run(folder, "upgrade", "head", "--json")
        assert (ended.code, ended.error["type"]) == (5, "PermissionDenied"), ended
        assert "primary" in ended.error["hint"]
        assert [row[:2] for row in runs(there)] == [("t01", "success")]
        assert sql(there, "SELECT pg_promote()")[0][0]
        next_is_right(folder, there, ordered)


async def test_a_serialization_failure(folder: Path, postgres_url: str) -> None:
    """Somebody changed the same row first: plain SQL is begun again on what is there now, and is counted once."""
    ordered = counting(folder, postgres_url, "UPDATE counters SET n = n + 1")
    sql(postgres_url, f"ALTER DATABASE {name_of(postgres_url)} SET default_transaction_isolation = 'repeatable read'")
    async with connected(postgres_url) as rival:
        await rival.execute("BEGIN; UPDATE counters SET n = n + 10")
        with Deployer(folder, "upgrade", "head") as deployer:
            await asyncio.to_thread(until, lambda: pids(postgres_url, WAITING), "the step waits for the row")
            await rival.execute("COMMIT")
            ended = await asyncio.to_thread(deployer.wait)
    assert ended.code == 0, ended
    assert sql(postgres_url, "SELECT n FROM counters")[0][0] == 11
    assert violations(postgres_url, ordered) == []


async def test_a_deadlock(folder: Path, postgres_url: str) -> None:
    """The victim of a deadlock is begun again when it is plain SQL, and is counted once."""
    work = (
        "SET LOCAL deadlock_timeout = '50ms'; LOCK TABLE a; SELECT meet(); LOCK TABLE b; UPDATE counters SET n = n + 1"
    )
    ordered = counting(folder, postgres_url, work)
    sql(postgres_url, "CREATE TABLE a ()", "CREATE TABLE b ()", MEET)
    async with connected(postgres_url) as rival:
        await rival.execute("BEGIN; SET LOCAL deadlock_timeout = '60s'; LOCK TABLE b; CREATE TABLE gone_by ()")
        with Deployer(folder, "upgrade", "head") as deployer:
            await asyncio.to_thread(until, lambda: pids(postgres_url, SLEEPING), "the step has its first lock")
            await rival.execute("LOCK TABLE a; COMMIT")
            ended = await asyncio.to_thread(deployer.wait)
    assert ended.code == 0, ended
    assert sql(postgres_url, "SELECT n FROM counters")[0][0] == 1
    assert sql(postgres_url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0] == 1
    assert violations(postgres_url, ordered) == []


async def test_outside_a_transaction_nothing_is_begun_again(folder: Path, postgres_url: str) -> None:
    """What is not rolled back is not begun again by itself: a person or `rerunnable` decides."""
    corpus.configure(folder, postgres_url)
    sql(postgres_url, "CREATE TABLE busy (n int)")
    sql(postgres_url, f"ALTER DATABASE {name_of(postgres_url)} SET lock_timeout = '100ms'")
    text = (
        "-- Widen.\n-- revision: w1\n-- transaction: off\n\n-- migrator: upgrade\nALTER TABLE busy ADD COLUMN m int;\n"
    )
    (folder / "revisions" / "w1.sql").write_text(text)
    async with connected(postgres_url) as rival:
        await rival.execute("BEGIN; LOCK TABLE busy IN ACCESS SHARE MODE")
        ended = await asyncio.to_thread(run, folder, "upgrade", "head", "--json")
    assert (ended.code, "lock" in ended.error["message"]) == (1, True), ended
    assert "migrator resolve" in ended.error["hint"]
    assert runs(postgres_url) == [("w1", "failed", "unknown", "error")]
    assert run(folder, "upgrade", "head").code == 14


def test_a_limit_on_temporary_files(folder: Path, postgres_url: str) -> None:
    """A step that would need more temporary space than it may have fails with 1, and leaves nothing."""
    work = "SET LOCAL temp_file_limit = '64kB'; SET LOCAL work_mem = '64kB'"
    ordered = counting(folder, postgres_url, f"{work}; {SORT}; UPDATE counters SET n = n + 1")
    ended = run(folder, "upgrade", "head", "--json")
    assert (ended.code, "temp_file_limit" in ended.error["message"]) == (1, True), ended
    assert runs(postgres_url) == [("n1", "failed", "none", "error")]
    counting(folder, postgres_url, "UPDATE counters SET n = n + 1")
    next_is_right(folder, postgres_url, ordered)


def test_a_limit_on_transactions(folder: Path, postgres_url: str) -> None:
    """A server that allows no long transaction ends the connection: exit 4, the limit is named, and nothing stays."""
    ordered = counting(folder, postgres_url, "SELECT pg_sleep(30); UPDATE counters SET n = n + 1")
    sql(postgres_url, f"ALTER DATABASE {name_of(postgres_url)} SET transaction_timeout = '500ms'")
    ended = run(folder, "upgrade", "head", "--json")
    assert (ended.code, "transaction timeout" in ended.error["message"]) == (4, True), ended
    counting(folder, postgres_url, "UPDATE counters SET n = n + 1")
    next_is_right(folder, postgres_url, ordered)


WAITING = f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"
SORT = "SELECT count(*) FROM (SELECT random() AS r FROM generate_series(1, 100000) ORDER BY r) AS sorted"
MEET = """
    CREATE FUNCTION meet() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        WHILE to_regclass('gone_by') IS NULL
              AND NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'a'::regclass AND NOT granted)
        LOOP PERFORM pg_sleep(0.02); END LOOP;
    END $$
"""
"""Waits until somebody waits for the table `a`, or has gone by."""


def counting(folder: Path, url: str, work: str) -> list[Ordered]:
    """Write one plain SQL step that does some work on a counter."""
    corpus.configure(folder, url)
    sql(
        url,
        "CREATE TABLE IF NOT EXISTS evidence (revision text)",
        "CREATE TABLE IF NOT EXISTS counters AS SELECT 0 AS n",
    )
    text = f"-- Count.\n-- revision: n1\n\n-- migrator: upgrade\n{work};\nINSERT INTO evidence VALUES ('n1');\n"
    (folder / "revisions" / "n1.sql").write_text(text)
    return [Ordered("n1", transactional=True)]


def name_of(url: str) -> str:
    """Return the name of the database of an address."""
    return url.rpartition("/")[2]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Give a connection of one's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
