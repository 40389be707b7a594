"""Through pgbouncer in transaction mode: the lock is a lease, nothing stays in its sessions, the same chaos."""

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import SLEEPING, Gate, Server, pids, runs, sleeps
from tests.faults._pg_chaos import Injector, project
from tests.faults._pgbouncer import Pooler
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, Ended, run

SHORT, WHOLE = 10, 300
"""How many faults each mode, each commit, and with MIGRATOR_FAULTS=all."""

EXPIRE = "UPDATE script_run_lock SET expires_at = clock_timestamp() WHERE expires_at > clock_timestamp()"
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name"
SESSION = "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors)"


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[Pooler]:
    """Give a pooler before the embedded PostgreSQL, with one connection for each database."""
    with Pooler(postgres_url, size=1) as made:
        yield made


@pytest.fixture
def url(pooler: Pooler, postgres_url: str) -> str:
    """Give the database's address through the pooler."""
    return pooler.url(postgres_url)


def done(folder: Path, *words: str) -> Ended:
    """Run a command that must succeed."""
    ended = run(folder, *words)
    assert ended.code == 0, ended.stdout + ended.stderr
    return ended


@pytest.mark.parametrize("direct", [0, 4], ids=["all through it", "half around it"])
def test_eight_at_once(folder: Path, postgres_url: str, direct: int) -> None:
    """Eight deployers, none or half of them around the pooler: one of them does all of it, once."""
    with Pooler(postgres_url) as pooler, ExitStack() as stack:
        ordered = project(folder, pooler.url(postgres_url))
        project(folder / "direct", pooler.url(postgres_url), more=f'direct_url = "{postgres_url}"')
        folders = [folder] * (8 - direct) + [folder / "direct"] * direct
        team = [stack.enter_context(Deployer(each, "upgrade", "head")) for each in folders]
        ends = [each.wait() for each in team]
        assert [end.code for end in ends] == [0] * 8, ends
    assert [row[1] for row in runs(postgres_url)] == ["success"] * len(ordered)
    assert violations(postgres_url, ordered) == []


def test_outside_a_transaction(folder: Path, url: str, postgres_url: str) -> None:
    """Without `allow_pooled` it is refused untouched, in words that name both ways out; with it, it runs."""
    work = ["await ctx.execute('CREATE TABLE evidence AS SELECT $$p1$$ AS revision')"]
    corpus.configure(folder, url)
    corpus.revision(folder, "p1", None, work, constants={"transaction": False})
    refused = run(folder, "upgrade", "head", "--json")
    assert refused.code == 3, refused
    assert "outside a transaction" in refused.error["message"]
    assert "pooler" in refused.error["message"]
    assert "Give `direct_url`" in refused.error["hint"]
    assert "allow_pooled" in refused.error["hint"]
    assert "resolve" not in refused.error["hint"]
    assert sql(postgres_url, "SELECT to_regclass('evidence')")[0][0] is None
    assert [row[:3] for row in runs(postgres_url)] == [("p1", "failed", "none")]
    ordered = [corpus.revision(folder, "p1", None, work, constants={"transaction": False, "allow_pooled": True})]
    done(folder, "upgrade", "head")
    assert sql(postgres_url, "SELECT revision FROM evidence")[0][0] == ordered[0].id


def test_a_failed_verify_takes_its_step_down(folder: Path, url: str, postgres_url: str) -> None:
    """Where the revision asks for it, its downgrade runs through the pooler as its upgrade did."""
    corpus.configure(folder, url)
    constants = {"transaction": False, "allow_pooled": True, "on_failed_verify": "downgrade"}
    work = ["await ctx.execute('CREATE TABLE made ()')"]
    corpus.revision(folder, "p1", None, work, verify="return False", constants=constants)
    with (folder / "revisions" / "p1.py").open("a") as file:
        file.write("async def downgrade(ctx):\n    await ctx.execute('DROP TABLE made')\n")
    assert run(folder, "upgrade", "head").code == 13
    assert [row[:3] for row in runs(postgres_url)] == [("p1", "failed", "none")]
    assert sql(postgres_url, "SELECT to_regclass('made')")[0][0] is None


def test_nothing_stays_in_its_session(folder: Path, url: str) -> None:
    """The pooler's next client finds every setting as it was, may write, and meets no prepared statement of ours."""
    corpus.write(folder, url)
    for name in ("c03.sql", "c04.py"):
        path = folder / "revisions" / name
        text = path.read_text().replace("-- rerunnable: yes", "-- rerunnable: yes\n-- allow_pooled: yes")
        path.write_text(text.replace("rerunnable = True", "rerunnable = True\nallow_pooled = True"))
    sql(url, "SET lock_timeout = '7s'")  # as its connect_query would
    settings, session = sql(url, SETTINGS), sql(url, SESSION)
    for words in ("doctor", "upgrade head", "verify c05", "status", "downgrade -3", "upgrade head", "verify c05"):
        done(folder, *words.split())
        assert (words, [row for row in sql(url, SETTINGS) if row not in settings]) == (words, [])
        assert (words, sql(url, SESSION)) == (words, session)
    sql(url, "CREATE TABLE written ()")


def test_sqlalchemy_outside_a_transaction(folder: Path, postgres_url: str) -> None:
    """A statement that is repeated meets another session each time, and is the same statement all the same."""
    lines = [
        "from sqlalchemy import text",
        "await ctx.conn.execute(text('CREATE TABLE evidence (i int)'))",
        "for i in range(4): await ctx.conn.execute(text('INSERT INTO evidence VALUES (:i)'), {'i': i})",
    ]
    constants = {"transaction": False, "allow_pooled": True}
    with Pooler(postgres_url, size=2) as pooler:
        url = pooler.url(postgres_url)
        corpus.configure(folder, url)
        corpus.revision(folder, "p1", None, lines, constants=constants)
        with ThreadPoolExecutor(2) as threads:  # both sessions are there before it begins
            list(threads.map(lambda _: sql(url, "SELECT pg_sleep(0.2)"), range(2)))
        done(folder, "upgrade", "head")
    assert [row[0] for row in sql(postgres_url, "SELECT i FROM evidence ORDER BY i")] == [0, 1, 2, 3]


def test_commands_that_only_look(folder: Path, url: str) -> None:
    """verify, status and doctor answer through the pooler, and doctor names it and the way around it."""
    corpus.transactional(folder, url, 3)
    done(folder, "upgrade", "+2")
    assert "2 of 3" in done(folder, "status").stdout
    done(folder, "verify")
    told = done(folder, "doctor").stdout
    assert "pooler" in told
    assert "direct_url" in told


LATE = "INSERT INTO evidence SELECT 'p2' FROM pg_sleep(60)"
HELD = "await ctx.execute('ALTER TABLE evidence ADD COLUMN held int')"


@pytest.mark.parametrize(
    ("fate", "step"),
    [("kill", "transaction"), ("kill", "plain"), ("kill", "sqlalchemy"), ("stop", "transaction"), ("stop", "plain")],
)
def test_what_the_last_holder_left_running(folder: Path, postgres_url: str, fate: str, step: str) -> None:
    """The server does not notice that a holder is gone; the next one ends what it still does, then goes on."""
    late = f'await ctx.execute("{LATE}")'
    if step == "sqlalchemy":
        late = f'from sqlalchemy import text; await ctx.conn.execute(text("{LATE}"))'
    work = [f"if await ctx.value(\"SELECT to_regclass('released') IS NULL\"): {late}"]
    work += ["await ctx.execute(\"INSERT INTO evidence VALUES ('p2')\")"]
    work[:0] = [HELD] if step == "transaction" else []
    plain = {"transaction": False, "rerunnable": True, "allow_pooled": True}
    constants = {} if step == "transaction" else plain
    with Pooler(postgres_url) as pooler:
        ordered = corpus.transactional(folder, pooler.url(postgres_url), 1)
        verify = "return await ctx.value(\"SELECT count(*) = 1 FROM evidence WHERE revision = 'p2'\")"
        ordered += [corpus.revision(folder, "p2", ordered[-1].id, work, verify=verify, constants=constants)]
        with Deployer(folder, "upgrade", "head") as holder:
            sleeps(postgres_url, holder)
            getattr(holder, fate)()
            sql(postgres_url, "CREATE TABLE released ()", EXPIRE)
            assert run(folder, "upgrade", "head", limit=20).code == 0
            assert pids(postgres_url, SLEEPING) == []
            holder.resume()
            assert holder.wait(20).code in (4, 12, -9)
    assert violations(postgres_url, ordered) == []


def test_an_interrupted_step_is_asked(folder: Path, tmp_path: Path, postgres_url: str) -> None:
    """Outside a transaction the next holder asks the step's verify through the pooler, too."""
    gate = Gate(tmp_path / "gate")
    work = ["await ctx.execute('CREATE TABLE evidence AS SELECT $$p1$$ AS revision')", *gate.code]
    verify = "return await ctx.value(\"SELECT to_regclass('evidence') IS NOT NULL\")"
    with Pooler(postgres_url) as pooler:
        corpus.configure(folder, pooler.url(postgres_url))
        constants = {"transaction": False, "allow_pooled": True}
        ordered = [corpus.revision(folder, "p1", None, work, verify=verify, constants=constants)]
        with Deployer(folder, "upgrade", "head") as holder:
            gate.reached(holder)
            holder.kill()
        sql(postgres_url, EXPIRE)
        done(folder, "upgrade", "head")
    assert runs(postgres_url) == [("p1", "success", "full", "recovered")]
    assert violations(postgres_url, ordered) == []


def test_the_lease_runs_out(tmp_path: Path, fresh_postgres: Callable[[str], str]) -> None:
    """Nobody helps: a holder that was killed and one that is stopped are overtaken after 15 s, and write no more."""
    work = "await ctx.execute('CREATE TABLE IF NOT EXISTS evidence (revision text)')"
    last = "await ctx.execute(\"INSERT INTO evidence VALUES ('z1')\")"
    verify = "return await ctx.value('SELECT count(*) = 1 FROM evidence')"
    constants = {"transaction": False, "rerunnable": True, "allow_pooled": True}
    with ExitStack() as stack:
        for fate in ("kill", "stop"):
            url, folder, gate = fresh_postgres("postgres18"), tmp_path / fate, Gate(tmp_path / f"gate of {fate}")
            through = stack.enter_context(Pooler(url)).url(url)
            corpus.configure(folder, through)
            ordered = [
                corpus.revision(folder, "z1", None, [work, *gate.code, last], verify=verify, constants=constants)
            ]
            holder = stack.enter_context(Deployer(folder, "upgrade", "head"))
            gate.reached(holder)
            getattr(holder, fate)()
            gate.open.touch()
            stack.callback(overtaken, url, holder, stack.enter_context(Deployer(folder, "upgrade", "head")), ordered)


def overtaken(url: str, holder: Deployer, other: Deployer, ordered: list[Ordered]) -> None:
    """Wait until another deployer has done the work, wake the first, and look."""
    ended = other.wait(40)
    assert ended.code == 0, ended.stdout + ended.stderr
    print(f"overtaken after {ended.took:.0f} s")
    holder.resume()
    ended = holder.wait(20)
    assert ended.code in (4, 12, -9), ended
    assert runs(url)[0] == ("z1", "failed", "unknown", "interrupted")
    assert violations(url, ordered, alone=False) == []


@pytest.mark.parametrize("direct", [False, True], ids=["lease", "direct_url"])
def test_chaos(tmp_path: Path, seed: int, everything: bool, direct: bool) -> None:
    """Killed, stopped past the lease, cancelled, server or pooler gone: all of it is there at the end, exactly once."""
    wanted = int(os.environ.get("MIGRATOR_CHAOS") or (WHOLE if everything else SHORT))
    with Server(tmp_path / "server") as server, Pooler(server.url) as pooler:
        wrong = Injector(random.Random(seed), server, pooler, direct=direct).go(tmp_path, wanted)
    assert not wrong, "\n".join(wrong)
