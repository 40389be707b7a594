"""A holder that is stopped, overtaken, and wakes up again: none of its writes lands."""

import time
from pathlib import Path

import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import HOLDER, OURS, Gate, end_sessions, pids, runs, sleeps
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, Ended, run, until
from tests.faults.proxy import Do, Proxy, first, says

LATE = (4, 12, 14)
"""How an overtaken holder may end: its connection is gone, its lock is, or its commit was not answered."""

BEFORE = ["await ctx.execute('CREATE TABLE IF NOT EXISTS evidence (revision text)')"]
AFTER = ["await ctx.execute(\"INSERT INTO evidence VALUES ('z1')\")", "await ctx.execute('CREATE TABLE last ()')"]


def overtaken(folder: Path, url: str, zombie: Deployer, gate: Gate | None = None) -> Ended:
    """Stop a deployer, end its sessions, let another one do all the work, wake the first; return how that ends."""
    zombie.stop()
    end_sessions(url)
    if gate is not None:
        gate.open.touch()
    after = run(folder, "upgrade", "head")
    assert after.code == 0, after
    zombie.resume()
    return zombie.wait(20)


def stepped(folder: Path, url: str, gate: Gate, **constants: object) -> list[Ordered]:
    """Write one step with a gate in its middle, and one after it."""
    corpus.configure(folder, url)
    verify = "return bool(await ctx.value(\"SELECT count(*) FROM evidence WHERE revision = 'z1'\"))"
    one = corpus.revision(folder, "z1", None, [*BEFORE, *gate.code, *AFTER], verify=verify, constants=constants)
    two = corpus.revision(folder, "z2", "z1", ["await ctx.execute(\"INSERT INTO evidence VALUES ('z2')\")"])
    return [one, two]


@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "plain"])
def test_in_a_step(folder: Path, tmp_path: Path, postgres_url: str, transactional: bool) -> None:
    """Stopped before COMMIT, or between two statements without a transaction."""
    gate = Gate(tmp_path / "gate")
    constants = {} if transactional else {"transaction": False, "rerunnable": True}
    ordered = stepped(folder, postgres_url, gate, **constants)
    with Deployer(folder, "upgrade", "head") as zombie:
        gate.reached(zombie)
        ended = overtaken(folder, postgres_url, zombie, gate)
    assert ended.code in LATE, ended
    assert violations(postgres_url, ordered) == []
    assert [row[1] for row in runs(postgres_url)] == ["failed", "success", "success"]


@pytest.mark.parametrize("text", [b"COMMIT", b"of_t02"], ids=["commit", "between"])
def test_at_the_border_of_a_step(folder: Path, postgres_url: str, proxy: Proxy, text: bytes) -> None:
    """Stopped while its COMMIT is on the way, and between two steps."""
    ordered = corpus.transactional(folder, proxy.url(postgres_url), 3)
    proxy.plan = first(lambda message: says(b"INSERT INTO evidence")(message) and says(text)(message), Do.HOLD)
    with Deployer(folder, "upgrade", "head") as zombie:
        proxy.wait_fired()
        zombie.stop()
        end_sessions(postgres_url)
        corpus.configure(folder, postgres_url)
        assert run(folder, "upgrade", "head").code == 0
        proxy.release()
        zombie.resume()
        ended = zombie.wait(20)
    assert ended.code in LATE, ended
    assert violations(postgres_url, ordered) == []


def test_waiting_for_the_lock(folder: Path, tmp_path: Path, postgres_url: str) -> None:
    """A waiter that was stopped and lost its session does nothing when it wakes up."""
    gate = Gate(tmp_path / "gate")
    ordered = stepped(folder, postgres_url, gate)
    with Deployer(folder, "upgrade", "head") as holder, Deployer(folder, "upgrade", "head") as waiter:
        gate.reached(holder)
        both = (holder, waiter)
        until(lambda: any("waiting" in (each.stdout + each.stderr).lower() for each in both), "one of them waits")
        mine = [each for each in both if "waiting" not in (each.stdout + each.stderr).lower()]
        zombie = next(each for each in both if each is not mine[0])
        zombie.stop()
        held = pids(postgres_url, HOLDER)
        assert sql(
            postgres_url,
            f"SELECT pg_terminate_backend(pid, 9000) FROM pg_stat_activity WHERE {OURS} AND pid <> {held[0]}",
        )
        gate.open.touch()
        assert mine[0].wait().code == 0
        zombie.resume()
        ended = zombie.wait(20)
    assert ended.code in (4, 12), ended
    assert violations(postgres_url, ordered) == []


def test_the_servers_own_timeouts(folder: Path, tmp_path: Path, postgres_url: str) -> None:
    """Nobody helps: the server ends the session of a stopped holder within 30 s, and the waiter goes on by itself."""
    gate = Gate(tmp_path / "gate")
    ordered = stepped(folder, postgres_url, gate)
    with Deployer(folder, "upgrade", "head") as zombie:
        gate.reached(zombie)
        zombie.stop()
        began = time.monotonic()
        gate.open.touch()
        after = run(folder, "upgrade", "head", "--lock-timeout", "50s")
        took = time.monotonic() - began
        assert after.code == 0, after
        print(f"a stopped holder was overtaken after {took:.1f} s")
        assert 20 < took < 40
        zombie.resume()
        ended = zombie.wait(20)
    assert ended.code in LATE, ended
    assert violations(postgres_url, ordered) == []


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a statement"])
def test_the_next_holder_after_a_kill(folder: Path, tmp_path: Path, postgres_url: str, busy: bool) -> None:
    """After SIGKILL of the holder the next deployer is at work in a moment, also when a long statement was running."""
    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, postgres_url)
    wait = ["if await ctx.value(\"SELECT to_regclass('second') IS NULL\"): await ctx.execute('SELECT pg_sleep(60)')"]
    corpus.revision(folder, "k1", None, wait if busy else gate.code)
    with Deployer(folder, "upgrade", "head") as holder:
        if busy:
            sleeps(postgres_url, holder)
            sql(postgres_url, "CREATE TABLE second ()")
        else:
            gate.reached(holder)
        with Deployer(folder, "upgrade", "head") as waiter:
            until(lambda: "lock" in waiter.stdout + waiter.stderr, "the other waits")
            holder.stop()
            gate.open.touch()  # for the next one
            holder.kill()
            began = time.monotonic()
            until(lambda: any(row[3] == "interrupted" for row in runs(postgres_url)), "the next holder works", 20, 0.01)
            took = time.monotonic() - began
            assert waiter.wait(20).code == 0
    print(f"SIGKILL to the next holder's first write ({'in a statement' if busy else 'idle'}): {took:.2f} s")
    assert took < 5
