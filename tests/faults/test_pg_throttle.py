"""What holds a long change back on PostgreSQL: it stands still, says why, locks nothing meanwhile, and goes on."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from migrator.adapters import postgres
from migrator.core.url import Url
from tests._servers import new_name, sql, with_database
from tests.faults import corpus
from tests.faults._pg import HOLDER, Gate, Server
from tests.faults._pgbouncer import Pooler
from tests.faults._probe import Probe
from tests.faults.deployer import Deployer, run, until

ROWS = 600
STEP = "UPDATE items SET changed = changed + 1 WHERE id BETWEEN $1 AND $2"
LOOKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE query LIKE '%pg_blocking_pids%' AND pid <> pg_backend_pid() AND datname = current_database()
       AND query_start > (SELECT max(waitstart) FROM pg_locks WHERE NOT granted)
"""
SAID = (
    "CREATE TABLE said (waiting text)",
    """CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN INSERT INTO said SELECT NEW.waiting WHERE NEW.waiting <> ''''; RETURN NULL; END'""",
    "CREATE TRIGGER say AFTER UPDATE ON script_run_checkpoint FOR EACH ROW EXECUTE FUNCTION say()",
)
"""Keeps every reason: those who wait for us do not wait any more when we stand still."""


class Change:
    """A project with a long change of six batches, and a look at it from outside."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        corpus.configure(folder, url)
        corpus.revision(folder, "a1", None, ["pass"])
        sql(
            url,
            "CREATE TABLE items (id int PRIMARY KEY, changed int NOT NULL DEFAULT 0)",
            f"INSERT INTO items SELECT generate_series(1, {ROWS})",
        )

    def write(self, throttle: Mapping[str, Any], *inside: str, rate: float = 0.0) -> None:
        """Write its revision; `inside` are lines in the body of each batch."""
        options = f"target=60, max_rows={ROWS // 6}, max_rows_per_second={rate}, throttle={throttle!r}"
        lines = [
            f"async for batch in ctx.batches('items', {options}):",
            "    async with batch:",
            f"        await ctx.execute({STEP!r}, batch.first, batch.last)",
            *(f"        {line}" for line in inside),
        ]
        corpus.revision(self.folder, "b1", "a1", lines)

    def upgrade(self) -> Deployer:
        """Begin to upgrade."""
        return Deployer(self.folder, "upgrade", "head")

    @property
    def waiting(self) -> str:
        """Return why it stands still, "" where it does not, or has not begun."""
        there = sql(self.url, "SELECT to_regclass('script_run_checkpoint') IS NOT NULL")[0][0]
        rows = sql(self.url, "SELECT waiting FROM script_run_checkpoint") if there else []
        return str(rows[0][0]) if rows else ""

    def stands(self, deployer: Deployer, why: str) -> str:
        """Wait until it stands still for this reason, and return the reason."""
        until(lambda: why in self.waiting or not deployer.runs, f"it stands still: {why}")
        assert deployer.runs, deployer.wait()
        return self.waiting

    def done(self, deployer: Deployer, *kinds: str) -> None:
        """Wait for its good end: every row was changed once, and it stood still for reasons of these kinds."""
        ended = deployer.wait()
        assert ended.code == 0, ended
        assert [tuple(row) for row in sql(self.url, "SELECT changed, count(*) FROM items GROUP BY 1")] == [(1, ROWS)]
        row = sql(self.url, "SELECT rows, waiting, throttled, done FROM script_run_checkpoint ORDER BY origin")[-1]
        throttled = json.loads(row["throttled"])
        assert (row["rows"], row["waiting"], row["done"]) == (ROWS, "", True)
        assert {kind for kind, seconds in throttled.items() if seconds > 0} == set(kinds)


@pytest.fixture
def change(folder: Path, postgres_url: str) -> Change:
    """Give a long change on the embedded PostgreSQL."""
    return Change(folder, postgres_url)


@contextmanager
def beside(url: str, statement: str) -> Iterator[None]:
    """Run a statement that takes its time beside a block; it is ended with it, if not before."""

    def run_it() -> None:
        with suppress(Exception):
            sql(url, statement)

    thread = threading.Thread(target=run_it)
    thread.start()
    try:
        yield
    finally:
        end(url, statement)
        thread.join(60)


def end(url: str, statement: str) -> None:
    """End the session that runs a statement."""
    sql(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $${statement}$$")


def test_query(change: Change) -> None:
    """A query holds back before the first batch, while it fails and while it gives more than 0; nothing is locked."""
    change.write({"query": "SELECT count(*) FROM jobs"})
    with change.upgrade() as deployer:
        assert 'relation "jobs" does not exist' in change.stands(deployer, "query: cannot be read")
        sql(change.url, "CREATE TABLE jobs AS VALUES (1), (2)")
        change.stands(deployer, "query: it gave 2")
        pid = sql(change.url, HOLDER)[0][0]
        idle = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle' AND backend_xmin IS NULL"
        until(lambda: sql(change.url, idle)[0][0], "no transaction is open")
        locked = f"SELECT count(*) FROM pg_locks WHERE pid = {pid} AND relation = 'items'::regclass"
        assert sql(change.url, locked)[0][0] == 0
        sql(change.url, "SET lock_timeout = 100", "ALTER TABLE items ADD COLUMN more int")
        assert sql(change.url, "SELECT rows FROM script_run_checkpoint")[0][0] == 0
        sql(change.url, "DELETE FROM jobs")
        change.done(deployer, "query")


def test_long_transaction(change: Change) -> None:
    """A transaction of somebody else that has been open for long holds back until it is over."""
    change.write({"long_transactions": "500ms"})
    slow = "SELECT pg_sleep(3600)"
    old = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)' AND xact_start < now() - interval '1 s'"
    with beside(change.url, slow):
        until(lambda: sql(change.url, old), "the transaction is old when the change begins")
        with change.upgrade() as deployer:
            assert change.stands(deployer, "long_transactions: the oldest is ").endswith(" s >= 0.5 s old")
            end(change.url, slow)
            change.done(deployer, "long_transactions")


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
def test_waiters(change: Change, tmp_path: Path, pooled: bool) -> None:
    """A session that waits for a row of a batch makes the change stand still after it; one behind others does not."""
    gate = Gate(tmp_path / "gate")
    assert run(change.folder, "upgrade", "head").code == 0
    sql(change.url, "CREATE TABLE other (id int)", *SAID)
    change.write({}, *gate.code)
    with ExitStack() as stack:
        if pooled:
            pooler = stack.enter_context(Pooler(change.url))
            corpus.configure(change.folder, pooler.url(change.url))
        deployer = stack.enter_context(change.upgrade())
        gate.reached(deployer)
        stack.enter_context(beside(change.url, "DO 'BEGIN LOCK other; PERFORM pg_sleep(3600); END'"))
        until(
            lambda: sql(change.url, "SELECT count(*) FROM pg_locks WHERE relation = 'other'::regclass")[0][0], "it is"
        )
        stack.enter_context(beside(change.url, "INSERT INTO other VALUES (1)"))
        until(lambda: sql(change.url, LOOKED)[0][0], "somebody waits for others, and it has looked")
        stack.enter_context(beside(change.url, "UPDATE items SET id = id WHERE id = 1"))
        until(lambda: sql(change.url, "SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0] == 2, "one waits for us")
        until(lambda: sql(change.url, LOOKED)[0][0], "it has looked")
        gate.open.touch()
        change.done(deployer, "waiters")
    assert {row[0] for row in sql(change.url, "SELECT waiting FROM said")} == {
        "waiters: 1 >= 1 session behind a lock of ours"
    }


def test_probe(change: Change) -> None:
    """A probe that is dead or says no holds back until it says yes."""
    with Probe() as probe:
        change.write({"http": probe.url})
        with change.upgrade() as deployer:
            assert change.stands(deployer, "http: cannot be read").endswith("Connection refused")
            probe.start(503)
            change.stands(deployer, "http: the probe answered 503")
            probe.status = 204
            change.done(deployer, "http")


def test_window_in_the_file(change: Change) -> None:
    """What migrator.toml says holds for every change; one that stands still can be ended, and goes on later."""
    begin = datetime.now(UTC) + timedelta(hours=3)
    window = f"{begin:%H:%M}-{begin + timedelta(hours=3):%H:%M}"
    corpus.configure(change.folder, change.url, more=f'[databases.main.throttle]\nwindow = "{window}"')
    change.write({})
    with change.upgrade() as deployer:
        assert change.stands(deployer, "window:").startswith(f"window: outside {window}, which begins in ")
        deployer.terminate()
        assert deployer.wait().code == 130
    corpus.configure(change.folder, change.url)
    with change.upgrade() as deployer:
        change.done(deployer)


def test_rate(change: Change) -> None:
    """Rows per second are kept to by standing still; that is counted, shown, and over at once when somebody says so."""
    change.write({}, rate=0.5)
    with change.upgrade() as deployer:
        change.stands(deployer, "rate: at most 0.5 rows a second")
        origin = sql(change.url, "SELECT origin FROM script_run_checkpoint")[0][0]
        control = "INSERT INTO script_run_control (origin, desired, by, settings)"
        sql(change.url, f"{control} VALUES ('{origin}', 'pause', 'anna', '{{\"max_rows_per_second\": 400}}')")
        change.stands(deployer, "paused: by anna")
        assert sql(change.url, "SELECT rows FROM script_run_checkpoint")[0][0] == ROWS // 6
        sql(change.url, "UPDATE script_run_control SET desired = 'run'")
        change.done(deployer, "rate", "paused")


@pytest.mark.parametrize(
    ("throttle", "hint"),
    [({"lags": 2}, "Did you mean lag?"), ({"query": {"find": "jobs"}}, "It takes SQL here.")],
)
def test_what_cannot_be_meant(change: Change, throttle: Mapping[str, Any], hint: str) -> None:
    """A throttle that cannot be meant is refused before any row is changed."""
    change.write(throttle)
    ended = run(change.folder, "upgrade", "head", "--json")
    assert ended.code == 3
    assert hint in ended.stdout
    assert sql(change.url, "SELECT max(changed) FROM items")[0][0] == 0
    assert sql(change.url, "SELECT count(*) FROM script_run_checkpoint")[0][0] == 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Give a primary, and a standby that follows it."""
    folder = tmp_path_factory.mktemp("pair")
    with Server(folder / "primary") as primary:
        standby = Server(folder / "standby", "cluster_name=replica1")
        standby.follow(primary)
        with standby:
            until(lambda: sql(primary.url, "SELECT count(*) FROM pg_stat_replication")[0][0], "the standby follows")
            yield primary, standby


def test_lag(pair: tuple[Server, Server], folder: Path, tmp_path: Path) -> None:
    """By default a standby that falls behind holds back until it has caught up; one that keeps up does not."""
    primary, standby = pair
    name, gate = new_name(), Gate(tmp_path / "gate")
    sql(primary.url, f"CREATE DATABASE {name}")
    change = Change(folder, with_database(primary.url, name))
    slow = ["import asyncio; await asyncio.sleep(1)", "if batch.first == 201:", *(f"    {line}" for line in gate.code)]
    change.write({}, *slow)
    with change.upgrade() as deployer:
        gate.reached(deployer)
        assert sql(change.url, "SELECT rows, throttled FROM script_run_checkpoint")[0] == (200, "{}")
        sql(standby.url, "SELECT pg_wal_replay_pause()")
        gate.open.touch()
        assert change.stands(deployer, "lag: ").endswith(" s >= 2 s on replica1")
        assert sql(change.url, "SELECT rows FROM script_run_checkpoint")[0][0] < ROWS
        sql(standby.url, "SELECT pg_wal_replay_resume()")
        change.done(deployer, "lag")


async def test_a_standby_that_is_gone(pair: tuple[Server, Server]) -> None:
    """Its lag grows from where it was last seen, it is said to have disconnected, and it counts as before when back."""
    primary, standby = pair
    parsed = Url.parse(primary.url, "test")
    async with postgres.adapter("main", parsed).signals() as signals:

        async def lag_of(seconds: float, name: str) -> None:
            async with asyncio.timeout(60):
                while (found := await signals.lag()) is None or found.replica != name or found.seconds < seconds:
                    sql(primary.url, "SELECT pg_switch_wal()", "SELECT txid_current()")

        await lag_of(0.0, "replica1")
        standby.stop(signal.SIGQUIT)
        await lag_of(1.0, "replica1, which has disconnected")
        standby.start()
        await lag_of(0.0, "replica1")


def test_what_this_user_may_not_see(pair: tuple[Server, Server], folder: Path) -> None:
    """Without the privilege to see it, lag is off, which is said once; so are the transactions of others."""
    primary, standby = pair
    name = new_name()
    sql(primary.url, f"CREATE ROLE {name} LOGIN PASSWORD 'pw'", f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(with_database(primary.url, name))
    change = Change(folder, urlunsplit(parts._replace(netloc=f"{name}:pw@{parts.hostname}:{parts.port}")))
    change.write({"long_transactions": "1ms"}, "import asyncio; await asyncio.sleep(0.3)")
    sql(standby.url, "SELECT pg_wal_replay_pause()")
    try:
        with change.upgrade() as deployer:
            change.done(deployer)
            assert deployer.stderr.count("lag is off") == deployer.stderr.count("long_transactions is off") == 1
            assert "GRANT pg_monitor" in deployer.stderr
    finally:
        sql(standby.url, "SELECT pg_wal_replay_resume()")
