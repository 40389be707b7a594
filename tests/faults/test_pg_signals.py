"""Signals, silence, and a server that says no: how a command ends, how soon, in which words, and what comes next."""

import time
from pathlib import Path

import pytest

from tests._servers import sql, with_database, with_user
from tests.faults import corpus
from tests.faults._pg import HOLDER, OURS, SLEEPING, Gate, Server, end_sessions, pids, runs, sleeps
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, Ended, run, until
from tests.faults.proxy import Do, Proxy, first, says

ONCE = "if await ctx.value(\"SELECT to_regclass('released') IS NULL\"): await ctx.execute('SELECT pg_sleep(60)')"
"""A step that sleeps until the test has made the table `released`."""

EVIDENCE = [
    "await ctx.execute('CREATE TABLE IF NOT EXISTS evidence (revision text)')",
    "await ctx.execute(\"INSERT INTO evidence VALUES ('s1')\")",
]
VERIFY = "return bool(await ctx.value(\"SELECT count(*) FROM evidence WHERE revision = 's1'\"))"


def slow(folder: Path, url: str, **constants: object) -> list[Ordered]:
    """Write one step that sleeps in the middle of its work."""
    corpus.configure(folder, url)
    return [corpus.revision(folder, "s1", None, [ONCE, *EVIDENCE], verify=VERIFY, constants=constants)]


def next_is_right(folder: Path, url: str, ordered: list[Ordered]) -> None:
    """Release the step, and let a plain `upgrade head` end with everything applied once."""
    sql(url, "CREATE TABLE IF NOT EXISTS released ()")
    corpus.configure(folder, url)
    again = run(folder, "upgrade", "head")
    assert again.code == 0, again
    assert violations(url, ordered) == []


@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "plain"])
@pytest.mark.parametrize("name", ["terminate", "interrupt"])
def test_a_signal_in_a_long_statement(folder: Path, postgres_url: str, name: str, transactional: bool) -> None:
    """Within 10 s: exit 130, the statement gone from the server, the lock free, and the row tells what is known."""
    ordered = slow(folder, postgres_url, **({} if transactional else {"transaction": False, "rerunnable": True}))
    with Deployer(folder, "upgrade", "head") as deployer:
        sleeps(postgres_url, deployer)
        getattr(deployer, name)()
        ended = deployer.wait(10)
    assert ended.code == 130, ended
    assert pids(postgres_url, SLEEPING) == []
    assert pids(postgres_url, HOLDER) == []
    end = ("failed", "none", "cancelled") if transactional else ("pending", "unknown", "")
    assert runs(postgres_url) == [("s1", *end)]
    assert violations(postgres_url, ordered, final=False) == []
    next_is_right(folder, postgres_url, ordered)


def test_a_signal_in_a_commit(folder: Path, postgres_url: str) -> None:
    """A commit is waited for: the step counts, the command ends with 130, and the next one goes on behind it."""
    corpus.configure(folder, postgres_url)
    lines = [
        *EVIDENCE,
        (
            "await ctx.execute('CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$')"
        ),
        "await ctx.execute('CREATE TABLE slow_to_commit (id int)')",
        (
            "await ctx.execute('CREATE CONSTRAINT TRIGGER late AFTER INSERT ON slow_to_commit "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()')"
        ),
        "await ctx.execute('INSERT INTO slow_to_commit VALUES (1)')",
    ]
    ordered = [corpus.revision(folder, "s1", None, lines)]
    ordered.append(corpus.revision(folder, "s2", "s1", ["await ctx.execute(\"INSERT INTO evidence VALUES ('s2')\")"]))
    with Deployer(folder, "upgrade", "head") as deployer:
        sleeps(postgres_url, deployer)
        deployer.terminate()
        ended = deployer.wait(10)
    assert ended.code == 130, ended
    assert runs(postgres_url)[0] == ("s1", "success", "full", "")
    assert violations(postgres_url, ordered, final=False) == []
    next_is_right(folder, postgres_url, ordered)


@pytest.mark.parametrize("name", ["terminate", "interrupt"])
def test_a_signal_while_waiting_for_the_lock(folder: Path, tmp_path: Path, postgres_url: str, name: str) -> None:
    """A waiter ends at once with 130 and leaves nothing; the holder does not notice."""
    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, postgres_url)
    ordered = [corpus.revision(folder, "s1", None, [*gate.code, *EVIDENCE])]
    with Deployer(folder, "upgrade", "head") as holder:
        gate.reached(holder)
        with Deployer(folder, "upgrade", "head") as waiter:
            until(lambda: "lock" in waiter.stdout + waiter.stderr, "the other waits")
            getattr(waiter, name)()
            ended = waiter.wait(10)
        gate.open.touch()
        assert holder.wait(20).code == 0
    assert ended.code == 130, ended
    assert violations(postgres_url, ordered) == []


def test_a_second_signal_is_immediate(folder: Path, postgres_url: str, proxy: Proxy) -> None:
    """With the server silent the first signal cannot finish; the second ends the command at once with 130."""
    ordered = slow(folder, proxy.url(postgres_url))
    with Deployer(folder, "upgrade", "head") as deployer:
        sleeps(postgres_url, deployer)
        proxy.black_hole()
        deployer.terminate()
        until(lambda: proxy.open > 1 or not deployer.runs, "it asks the server to cancel, on a connection of its own")
        assert deployer.runs
        began = time.monotonic()
        deployer.terminate()
        ended = deployer.wait(5)
        took = time.monotonic() - began
    assert ended.code == 130, ended
    assert took < 1
    assert [row[1] for row in runs(postgres_url)] == ["pending"]
    end_sessions(postgres_url)
    next_is_right(folder, postgres_url, ordered)
    assert runs(postgres_url)[0] == ("s1", "failed", "none", "interrupted")


@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "plain"])
def test_a_black_hole_in_a_step(folder: Path, postgres_url: str, proxy: Proxy, transactional: bool) -> None:
    """The server falls silent with the connection open: exit 4 and the right words, 20 s after the limit at most."""
    constants = {"timeout": "2s"} | ({} if transactional else {"transaction": False, "rerunnable": True})
    ordered = slow(folder, proxy.url(postgres_url), **constants)
    with Deployer(folder, "upgrade", "head", "--json") as deployer:
        sleeps(postgres_url, deployer)
        proxy.black_hole()
        began = time.monotonic()
        ended = deployer.wait(60)
        took = time.monotonic() - began
    print(f"a black hole ended the command after {took:.1f} s")
    assert ended.code == 4, ended
    assert took < 22
    assert "has not answered" in ended.error["message"]
    assert "settles it" in ended.error["state"]
    proxy.sever()
    until(lambda: not pids(postgres_url, HOLDER), "the server lets go", 35)
    next_is_right(folder, postgres_url, ordered)


def test_a_signal_in_a_black_hole(folder: Path, postgres_url: str, proxy: Proxy) -> None:
    """One signal is enough though the server is silent: exit 130 within 10 s, and the next command settles the run."""
    ordered = slow(folder, proxy.url(postgres_url))
    with Deployer(folder, "upgrade", "head") as deployer:
        sleeps(postgres_url, deployer)
        proxy.black_hole()
        began = time.monotonic()
        deployer.terminate()
        ended = deployer.wait(30)
        took = time.monotonic() - began
    print(f"a signal in a black hole ended the command after {took:.1f} s")
    assert ended.code == 130, ended
    assert took < 10
    sql(postgres_url, f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {OURS}")  # if still there
    next_is_right(folder, postgres_url, ordered)


def test_a_black_hole_in_a_commit(folder: Path, postgres_url: str, proxy: Proxy) -> None:
    """An unanswered COMMIT is looked up under the lock before anything is said; here it never arrived."""
    ordered = corpus.transactional(folder, proxy.url(postgres_url), 2)
    proxy.plan = first(lambda message: says(b"migrator_finish")(message) and says(b"COMMIT")(message), Do.CUT_BEFORE)
    ended = run(folder, "upgrade", "head", "--json")
    proxy.wait_fired()
    assert ended.code == 4, ended
    assert "the commit did not arrive" in ended.error["message"]
    next_is_right(folder, postgres_url, ordered)


def test_a_server_that_never_answers(folder: Path, postgres_url: str, proxy: Proxy) -> None:
    """A black hole from the start: exit 4 within the time to connect, and the words say that nobody answered."""
    corpus.transactional(folder, proxy.url(postgres_url), 1)
    proxy.black_hole()
    ended = run(folder, "upgrade", "head", "--json", limit=25)
    assert ended.code == 4, ended
    assert "no answer in time" in ended.error["message"]
    assert ended.error["hint"]


def test_a_backend_that_is_killed(folder: Path, postgres_url: str) -> None:
    """An administrator ends our session: exit 4, the row is settled by the next command."""
    ordered = slow(folder, postgres_url)
    with Deployer(folder, "upgrade", "head", "--json") as deployer:
        sleeps(postgres_url, deployer)
        end_sessions(postgres_url)
        ended = deployer.wait(15)
    assert ended.code == 4, ended
    assert "run the command again" in ended.error["hint"].lower()
    next_is_right(folder, postgres_url, ordered)


def test_a_statement_that_is_cancelled(folder: Path, postgres_url: str) -> None:
    """An administrator cancels our statement: a failed run without an effect, exit 1, and the next one works."""
    ordered = slow(folder, postgres_url)
    with Deployer(folder, "upgrade", "head", "--json") as deployer:
        assert sql(postgres_url, f"SELECT pg_cancel_backend({sleeps(postgres_url, deployer)})")[0][0]
        ended = deployer.wait(15)
    assert ended.code == 1, ended
    assert "user request" in ended.error["message"]
    assert "Somebody cancelled it" in ended.error["hint"]
    assert runs(postgres_url) == [("s1", "failed", "none", "error")]
    next_is_right(folder, postgres_url, ordered)


def test_a_deadlock(folder: Path, tmp_path: Path, postgres_url: str) -> None:
    """The victim of a deadlock is rolled back, says so, and may run again."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    import asyncpg

    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, postgres_url)
    sql(postgres_url, "CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "ALTER DATABASE postgres RESET ALL")
    lines = ["await ctx.execute(\"SET LOCAL deadlock_timeout = '100ms'\")", "await ctx.execute('LOCK TABLE a')"]
    lines += [*gate.code, "await ctx.execute('LOCK TABLE b')", *EVIDENCE]
    ordered = [corpus.revision(folder, "s1", None, lines)]

    async def rival() -> None:
        connection = await asyncpg.connect(postgres_url, statement_cache_size=0)
        try:
            await connection.execute("BEGIN; SET LOCAL deadlock_timeout = '60s'; LOCK TABLE b")
            gate.open.touch()
            await connection.execute("LOCK TABLE a; COMMIT")
        finally:
            await connection.close()

    with Deployer(folder, "upgrade", "head", "--json") as deployer, ThreadPoolExecutor(1) as thread:
        gate.reached(deployer)
        done = thread.submit(asyncio.run, rival())
        ended = deployer.wait(20)
        done.result(20)
    assert ended.code == 1, ended
    assert "deadlock" in ended.error["message"] + ended.error["hint"]
    assert [row[:3] for row in runs(postgres_url)] == [("s1", "failed", "none")]
    next_is_right(folder, postgres_url, ordered)


def test_a_server_that_is_restarted(folder: Path, tmp_path: Path) -> None:
    """A restart in the middle of a step: exit 4; after it a plain upgrade settles and finishes."""
    with Server(tmp_path / "server") as server:
        ordered = slow(folder, server.url)
        with Deployer(folder, "upgrade", "head", "--json") as deployer:
            sleeps(server.url, deployer)
            server.stop()
            ended = deployer.wait(20)
        assert ended.code == 4, ended
        server.start()
        next_is_right(folder, server.url, ordered)


@pytest.fixture
def bob(postgres_url: str) -> str:
    """Give the address of the same database for a user of no special rights."""
    name = f"bob_{postgres_url.rpartition('_')[2]}"
    sql(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'b0b'", f"GRANT ALL ON SCHEMA public TO {name}")
    return with_user(postgres_url, f"{name}:b0b")


def refused(folder: Path, url: str) -> Ended:
    """Run an upgrade of one small step that must be refused."""
    corpus.transactional(folder, url, 1)
    ended = run(folder, "upgrade", "head", "--json")
    assert ended.code, ended
    assert ended.error["hint"]
    return ended


def test_a_read_only_server(folder: Path, postgres_url: str, bob: str) -> None:
    """What only reads (a standby, a role) is refused with 5 and a hint at the primary."""
    role = bob.split("//")[1].split(":", maxsplit=1)[0]
    sql(postgres_url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    ended = refused(folder, bob)
    assert (ended.code, "primary" in ended.error["hint"]) == (5, True), ended
    sql(postgres_url, f"DROP OWNED BY {bob.split('//')[1].split(':', maxsplit=1)[0]} CASCADE")


def test_no_connection_is_left(folder: Path, postgres_url: str, bob: str) -> None:
    """A role or a database that may have no connection more: exit 4, and the hint says what is exhausted."""
    sql(postgres_url, f"ALTER ROLE {bob.split('//')[1].split(':', maxsplit=1)[0]} CONNECTION LIMIT 0")
    ended = refused(folder, bob)
    assert (ended.code, "connection" in ended.error["hint"]) == (4, True), ended


def test_a_database_that_is_not_there(folder: Path, postgres_url: str) -> None:
    """A wrong name: exit 4, and how to make it."""
    ended = refused(folder, with_database(postgres_url, "not_there"))
    assert (ended.code, "createdb" in ended.error["hint"]) == (4, True), ended
