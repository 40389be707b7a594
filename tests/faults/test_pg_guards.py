"""The checker is checked: with a guard switched off, a scenario that is clean with it goes wrong, and is seen.

The guards are switched off here, in this program, and nowhere else. Each test prints how soon it saw the violation.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.adapters.postgres import _queries
from migrator.adapters.postgres._link import Connection, Link
from migrator.adapters.postgres._lock import LeaseLock
from migrator.adapters.postgres._session import PostgresSession
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.run import Effect, Run, Status
from migrator.runtime import settle
from tests._servers import Servers, sql
from tests.faults import corpus
from tests.faults._pg import OURS, SLEEPING, end_sessions, pids
from tests.faults._sweep import Sweep, upgrade
from tests.faults.checker import Ordered, violations
from tests.faults.proxy import POSTGRES, Do, Message, Plan, Proxy, first, says

Patch = pytest.MonkeyPatch
both = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])

locks = pytest.mark.parametrize("lease", [False, True], ids=["session lock", "lease row"])

FENCE = "FROM {lock} WHERE name = 'deploy' AND fence = :fence FOR SHARE"
NO_FENCE = "FROM {lock} WHERE name = 'deploy'"
STATE = "run_id = :run_id AND status = 'pending' AND fence <= :fence"
NO_STATE = "run_id = :run_id"
NO_END = ("WHERE datname", "WHERE false AND datname")

WAITS = """
    CREATE FUNCTION waits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM go_on) LOOP PERFORM pg_sleep(0.02); END LOOP;
        RETURN 1;
    END $$
"""
LAST = 30
"""The messages of two steps, with the end of the session."""

EVIDENCE = "await ctx.execute(\"INSERT INTO evidence VALUES ('{}')\")"


def judged(guarded: bool, found: list[str], soon: str) -> None:
    """With the guard nothing is wrong; without it something must be, or the suite is blind."""
    print(f"{'with' if guarded else 'without'} the guard, {soon}: {found[:1]}")
    assert (found == []) is guarded, found


def rewrite(monkeypatch: Patch, *changes: tuple[str, str, str]) -> None:
    """Change statements of the tracker and the lock: the name of each, a part of it, and what comes in its place."""
    real = _queries.texts
    texts = dict(real())
    for name, old, new in changes:
        assert old in texts[name], name
        texts[name] = texts[name].replace(old, new)
    monkeypatch.setattr(_queries, "texts", lambda file="queries.sql": texts if file == "queries.sql" else real(file))


@pytest.fixture
def sweep(servers: Servers, folder: Path) -> Iterator[Sweep]:
    """Give a sweep over two small transactional steps."""
    url = servers.url("postgres18")
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port, POSTGRES) as proxy:
        yield Sweep(folder, url, proxy, corpus.transactional(folder, url, 2))


async def swept(sweep: Sweep, guarded: bool) -> None:
    """Cut before the last messages, where the steps are, one by one, up to the first violation where one must be."""
    began = time.monotonic()
    last = await sweep.count()
    for number in range(last - LAST, last + 1):
        await sweep.point(number, Do.CUT_BEFORE)
        if sweep.tally.violations and not guarded:
            break
    tally = sweep.tally
    soon = f"{tally.points} positions of {tally.messages} {since(began)}, exit codes {tally.codes}"
    judged(guarded, tally.violations, soon)


@both
async def test_one_transaction(sweep: Sweep, monkeypatch: Patch, guarded: bool) -> None:
    """With the row of success in a transaction of its own, a cut between the two makes the step run twice."""
    late: list[tuple[PostgresTracker, Run, Run | None]] = []
    finish, commit = PostgresTracker.finish, PostgresSession._commit

    async def later(self: PostgresTracker, run: Run, following: Run | None = None) -> None:
        if not self.open_run:
            return await finish(self, run, following)
        late.append((self, run, following))
        return None

    async def and_then(self: PostgresSession, run: Run, context: Any) -> None:
        mine = late.pop()
        await commit(self, run, context)
        self.tracker.open_run = ""
        await finish(*mine)

    if not guarded:
        monkeypatch.setattr(PostgresTracker, "finish", later)
        monkeypatch.setattr(PostgresSession, "_commit", and_then)
    await swept(sweep, guarded)


@both
async def test_no_success_is_assumed(sweep: Sweep, monkeypatch: Patch, guarded: bool) -> None:
    """Taking an interrupted step for done leaves a success without its effect."""

    async def assumed(run: Run, *_: Any) -> Run:
        return run.moved(Status.SUCCESS, Effect.FULL, reason="recovered")

    if not guarded:
        monkeypatch.setattr(settle, "_judged", assumed)
    await swept(sweep, guarded)


@both
async def test_an_invalid_index_is_dropped(folder: Path, postgres_url: str, monkeypatch: Patch, guarded: bool) -> None:
    """Where the INVALID index of an interrupted attempt is kept, IF NOT EXISTS takes it for a good one."""

    async def kept(*_: Any) -> None:
        return None

    if not guarded:
        monkeypatch.setattr(PostgresSession, "_drop_invalid_indexes", kept)
    corpus.configure(folder, postgres_url)
    sql(postgres_url, "CREATE TABLE items (name text)")
    build = 'await ctx.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS items_name ON items (name)")'
    index = corpus.revision(folder, "i1", None, [build], constants={"transaction": False, "rerunnable": True})
    began = time.monotonic()
    async with in_the_way(postgres_url):
        task = asyncio.create_task(upgrade(folder, postgres_url))
        waiting = f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"
        await until(lambda: bool(pids(postgres_url, waiting)))
        end_sessions(postgres_url)
        assert await task == 4
    invalid = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('items_name') AND NOT indisvalid"
    assert sql(postgres_url, invalid)[0][0] == 1
    assert await upgrade(folder, postgres_url) == 0
    found = violations(postgres_url, [Ordered(index.id, transactional=False, index="items_name")])
    judged(guarded, found, since(began))


@both
async def test_the_lock(folder: Path, postgres_url: str, monkeypatch: Patch, guarded: bool) -> None:
    """Where everybody gets the lock, two do the same at the same time, and outside a transaction it happens twice."""
    if not guarded:
        tried, freed = ("pg_catalog.pg_try_advisory_lock", "pg_catalog.pg_advisory_unlock")
        rewrite(
            monkeypatch,
            ("lock", f"{tried}(:class, :key)", "true"),
            ("unlock", f"{freed}(:class, :key)", "true"),
            ("guarded", "WHEN 0 THEN (count(*) || ' locks: gone')::int", "WHEN 0 THEN 1"),
        )
    corpus.configure(folder, postgres_url)
    sql(postgres_url, "CREATE TABLE evidence (revision text)", "CREATE TABLE go_on ()", WAITS)
    insert = "await ctx.execute(\"INSERT INTO evidence SELECT 'l1' FROM waits()\")"
    ordered = [corpus.revision(folder, "l1", None, [insert], constants={"transaction": False, "rerunnable": True})]
    began = time.monotonic()
    one = asyncio.create_task(upgrade(folder, postgres_url))
    async with ended(one):
        await until(lambda: len(pids(postgres_url, SLEEPING)) == 1)
        two = asyncio.create_task(upgrade(folder, postgres_url, top='lock_timeout = "0s"'))
        async with ended(two):
            await until(lambda: two.done() or len(pids(postgres_url, SLEEPING)) == 2)
            sql(postgres_url, "INSERT INTO go_on DEFAULT VALUES")
    assert two.result() == (12 if guarded else 0)
    judged(guarded, violations(postgres_url, ordered), since(began))


@both
@locks
async def test_the_fence(
    folder: Path, proxy: Proxy, postgres_url: str, monkeypatch: Patch, guarded: bool, lease: bool
) -> None:
    """Without the fence, a holder that was overtaken between two steps begins the next one, which is done by then."""
    if not guarded:
        rewrite(
            monkeypatch, ("start", f"fence\n      {FENCE}", f":fence\n      {NO_FENCE}"), ("finish", FENCE, NO_FENCE)
        )
    let_go = loses_its_lock(monkeypatch, lease)
    corpus.configure(folder, postgres_url)
    create = "await ctx.execute('CREATE TABLE evidence (revision text)')"
    one = corpus.revision(folder, "f1", None, [*let_go, create, EVIDENCE.format("f1")])
    alone = {"transaction": False, "rerunnable": True, "allow_pooled": True}
    two = corpus.revision(folder, "f2", "f1", [EVIDENCE.format("f2")], constants=alone)
    began = time.monotonic()
    code = await overtaken(folder, proxy, postgres_url, first(says(b"'f2'"), Do.HOLD))
    judged(guarded, violations(postgres_url, [one, two]), since(began))
    assert code == 12


@pytest.mark.parametrize(
    ("lease", "left", "code"),
    [
        pytest.param(False, "fence", 12, id="session lock-fence"),
        pytest.param(False, "state", 12, id="session lock-state"),
        pytest.param(False, "", 0, id="session lock-unguarded"),
        pytest.param(True, "fence", 12, id="lease row-fence"),
        pytest.param(True, "state", 12, id="lease row-state"),
        pytest.param(True, "end", 4, id="lease row-end"),
        pytest.param(True, "", 0, id="lease row-unguarded"),
    ],
)
async def test_each_barrier_alone(
    folder: Path, proxy: Proxy, postgres_url: str, monkeypatch: Patch, lease: bool, left: str, code: int
) -> None:
    """A holder that was overtaken in a transaction is kept from its commit by any of these alone.

    They are the fence, the state of its row, and behind a pooler the end of its work by the successor.
    """
    off = {"fence": ("finish", FENCE, NO_FENCE), "state": ("finish", STATE, NO_STATE), "end": ("orphans", *NO_END)}
    off.pop(left, None)
    rewrite(monkeypatch, *off.values())
    let_go = loses_its_lock(monkeypatch, lease)
    corpus.configure(folder, postgres_url)
    sql(postgres_url, "CREATE TABLE evidence (revision text)")
    ordered = [corpus.revision(folder, "b1", None, [*let_go, EVIDENCE.format("b1")])]
    began = time.monotonic()
    last = first(ends_a_step, Do.HOLD)
    how = await overtaken(folder, proxy, postgres_url, last)
    judged(bool(left), violations(postgres_url, ordered), since(began))
    assert how == code


def loses_its_lock(monkeypatch: Patch, lease: bool) -> list[str]:
    """Return what a script does that gives the session's lock away; or make everybody hold a lease, never renewed."""
    if not lease:
        monkeypatch.setattr(Link, "guard", property(lambda _: "", lambda *_: None), raising=False)  # nobody notices it
        return ["await ctx.execute('SELECT pg_advisory_unlock_all()')"]
    monkeypatch.setattr(Connection, "get_server_pid", lambda self: -1)  # as behind a pooler
    monkeypatch.setattr(LeaseLock, "interval", 60.0)  # as in a program that is paused
    return []


def ends_a_step(message: Message) -> bool:
    """Say whether a message commits a step, with the end of its run; making the tracker commits as well."""
    return all(part in message.payload for part in (b"COMMIT\0", b"finish")) and b"CREATE" not in message.payload


async def overtaken(folder: Path, proxy: Proxy, url: str, plan: Plan) -> int:
    """Hold a deployer at a message, let another one do all the work, let the first go on; return how it ends."""
    proxy.reset(plan)
    task = asyncio.create_task(upgrade(folder, proxy.url(url)))
    async with ended(task):
        try:
            await asyncio.to_thread(proxy.wait_fired)
            sql(url, "UPDATE script_run_lock SET expires_at = clock_timestamp() WHERE expires_at IS NOT NULL")
            assert await upgrade(folder, url) == 0
        finally:
            proxy.release()
    return task.result()


@asynccontextmanager
async def ended(task: "asyncio.Task[int]") -> AsyncIterator[None]:
    """Wait for a task at the end of a block; where the block fails, end it."""
    try:
        yield
    except BaseException:
        task.cancel()
        raise
    finally:
        await asyncio.wait([task])


@asynccontextmanager
async def in_the_way(url: str) -> AsyncIterator[None]:
    """Hold a lock on the table `items`, so that nobody builds an index on it to the end."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN; LOCK TABLE items IN ROW EXCLUSIVE MODE")
        yield
    finally:
        await connection.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true, and let the loop go on."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def since(began: float) -> str:
    """Say how long ago that was."""
    return f"in {time.monotonic() - began:.1f} s"
