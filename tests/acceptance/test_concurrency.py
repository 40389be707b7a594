"""Many at once, and ends in the middle: exactly once, or known to be undone."""

import signal
from typing import Any

import pytest

from tests._servers import sql
from tests.acceptance._look import documents, relations, runs
from tests.acceptance._project import Child, Project, until
from tests.acceptance.test_changes import hinted

DEPLOYERS = 8
SLEEPERS = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND state = 'active' AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()
"""
LOCKS = """
    SELECT pid FROM pg_locks
     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
SLOW = """
    await ctx.execute("CREATE TABLE t_slow (id int)")
    await ctx.execute("SELECT pg_sleep(60)")
"""


def sleepers(url: str) -> list[Any]:
    """Return the connections that run a slow script, without our own question."""
    return sql(url, SLEEPERS)


def slow_step(project: Project, *targets: str) -> Child:
    """Start an upgrade and return when its slow step runs on the server."""
    child = project.start("upgrade", *targets)
    until(lambda: sleepers(project.urls["main"]) or not child.runs(), "the slow step runs")
    assert child.runs(), child.wait()
    return child


def unlocked(url: str) -> bool:
    """Say whether nobody holds or waits for an advisory lock."""
    return sql(url, LOCKS) == []


def test_eight_deployers_on_postgresql(shop: Project) -> None:
    """Eight `upgrade head` at once apply every revision exactly once, an index built concurrently among them."""
    shop.tables("main", "a1", "a2")
    shop.revision(
        "main",
        "a3",
        "a2",
        upgrade='await ctx.execute("CREATE INDEX CONCURRENTLY i_a3 ON t_a1 (id)")',
        verify="return await ctx.value(\"SELECT indisvalid FROM pg_index WHERE indexrelid = 'i_a3'::regclass\")",
        transaction=False,
    )
    shop.table("main", "a4", "a3")
    url = shop.urls["main"]
    results = [child.wait() for child in [shop.start("upgrade", "head", "--json") for _ in range(DEPLOYERS)]]
    assert [result.exit_code for result in results] == [0] * DEPLOYERS, results
    assert sorted(len(result.json()["runs"]) for result in results) == [0] * (DEPLOYERS - 1) + [4]
    assert [(run["revision"], run["status"], run["attempt"]) for run in runs(url)] == [
        (name, "success", 1) for name in ("a1", "a2", "a3", "a4")
    ]
    assert relations(url) == {"t_a1", "t_a2", "t_a4"}
    assert unlocked(url)


def test_eight_deployers_on_mongodb(project: Project, mongo_url: str) -> None:
    """The same on MongoDB: a second run of a step would be a second document, or an error."""
    project.configure(events=mongo_url)
    project.collection("events", "e1")
    project.collection("events", "e2", "e1", transaction=True)
    project.revision("events", "e3", "e2", upgrade='await ctx.db["c_e3"].insert_one({"by": ctx.run.run_id})')
    results = [child.wait() for child in [project.start("upgrade", "head", "--json") for _ in range(DEPLOYERS)]]
    assert [result.exit_code for result in results] == [0] * DEPLOYERS, results
    assert sorted(len(result.json()["runs"]) for result in results) == [0] * (DEPLOYERS - 1) + [3]
    assert len(documents(mongo_url, "c_e3")) == 1
    assert {(row["revision"], row["status"]) for row in documents(mongo_url, "script_run_tracker")} == {
        (name, "success") for name in ("e1", "e2", "e3")
    }
    assert len(documents(mongo_url, "script_run_tracker")) == 3
    assert project.good("upgrade", "--lock-timeout", "0", "--json").json()["runs"] == []


def test_a_held_lock_is_waited_for_and_its_holder_named(shop: Project) -> None:
    """With `--lock-timeout 1s` a second deployer gives up with 12 and says who holds the lock and what it does."""
    shop.revision("main", "a1", upgrade=SLOW)
    holder = slow_step(shop)
    refused = shop.run("upgrade", "--lock-timeout", "1s")
    assert refused.exit_code == 12
    assert f"pid {holder.pid}" in refused.stderr
    assert "now at a1 Title of a1" in refused.stderr
    error = shop.run("upgrade", "--lock-timeout", "0", "--json").error()
    assert (error["type"], error["exit_code"]) == ("LockHeld", 12)
    assert "at work:" in shop.good("status").stdout
    assert shop.states() == {"a1": "running"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_a_transactional_step(shop: Project, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C roll back within 10 seconds, on the server too; the next upgrade works."""
    path = shop.revision("main", "a1", upgrade=SLOW)
    url = shop.urls["main"]
    child = slow_step(shop)
    child.send(number)
    result = child.wait(10)
    assert result.exit_code == 130, result
    assert "migrator status" in result.stderr
    assert sleepers(url) == []
    assert relations(url) == set()
    assert unlocked(url)
    assert [(run["status"], run["effect"]) for run in runs(url)] == [("failed", "none")]
    path.write_text(path.read_text().replace("pg_sleep(60)", "1"))
    shop.good("upgrade")
    assert relations(url) == {"t_slow"}


def killed(project: Project) -> None:
    """Kill an upgrade in the middle of a slow step; the server ends the statement of a client that is gone."""
    url = project.urls["main"]
    child = slow_step(project)
    child.send(signal.SIGKILL)
    assert child.wait().exit_code == -signal.SIGKILL
    for row in sleepers(url):
        sql(url, f"SELECT pg_terminate_backend({row['pid']})")
    until(lambda: unlocked(url), "the server lets go of the lock")


def test_a_kill_in_a_transactional_step(shop: Project) -> None:
    """After kill -9 nothing is left; status calls it interrupted, the next upgrade settles it and runs it again."""
    path = shop.revision("main", "a1", upgrade=SLOW)
    killed(shop)
    assert shop.states() == {"a1": "interrupted"}
    path.write_text(path.read_text().replace("pg_sleep(60)", "1"))
    assert "settled an interrupted run of main:a1: failed, effect none" in shop.good("upgrade").stdout
    assert [(run["status"], run["reason"]) for run in runs(shop.urls["main"])] == [
        ("failed", "interrupted"),
        ("success", ""),
    ]
    assert relations(shop.urls["main"]) == {"t_slow"}


@pytest.mark.parametrize("done", [True, False])
def test_a_kill_in_a_step_without_a_transaction(shop: Project, done: bool) -> None:
    """After kill -9 the verify decides: true is recovered and never runs again, false is refused with a way out."""
    shop.revision("main", "a1", upgrade=SLOW, verify=f"return {done}", transaction=False)
    shop.table("main", "a2", "a1")
    killed(shop)
    url = shop.urls["main"]
    result = shop.run("upgrade")
    if done:
        assert result.exit_code == 0, result
        assert [(run["status"], run["reason"]) for run in runs(url)] == [("success", "recovered"), ("success", "")]
        return
    assert result.exit_code == 14, result
    assert "effect is unknown" in result.stderr
    assert shop.states() == {"a1": "blocked", "a2": "pending"}
    assert shop.run("upgrade", "--json").error()["type"] == "ResolveNeeded"
    run_id = hinted(result, "resolve")[1]
    assert shop.run("resolve", run_id).exit_code == 14
    shop.good("resolve", run_id, "--mark-success", "--reason", "looked at it")
    shop.good("upgrade")
    assert shop.states() == {"a1": "applied", "a2": "applied"}
    assert relations(url) == {"t_slow", "t_a2"}


def test_a_target_of_one_database_waits_for_no_other(both: Project) -> None:
    """While the lock of one database is held and a file of it has drifted, a target in another is neither refused nor
    waits; what needs the held one does.
    """
    both.tables("main", "a1")
    both.collection("events", "e1")
    both.collection("events", "e2", "e1")
    both.good("upgrade")
    both.revision("main", "a2", "a1", upgrade=SLOW)
    slow_step(both, "main:head")
    path = both.revisions("main") / "a1.py"
    path.write_text(path.read_text().replace("(id int)", "(id bigint)"))
    wait = ("--lock-timeout", "100ms")
    both.good("downgrade", "events:-1", *wait)
    both.good("upgrade", "events:e2", *wait)
    both.good("upgrade", "e2", *wait)
    both.good("stamp", "events:e1")
    both.collection("events", "e3", "e2", depends_on=["main:a1"])
    assert both.run("upgrade", "events:e2", *wait).exit_code == 1  # stamped down, its document is still there
    assert both.run("upgrade", "events:e3", *wait).exit_code == 12
    assert both.run("downgrade", "main:base", *wait).exit_code == 12


def test_a_dependant_of_a_database_that_is_not_locked_is_seen(both: Project) -> None:
    """A downgrade holds only the lock of its own database, and is refused for what stands on it in another, even if the
    file of that is gone.
    """
    both.tables("main", "a1")
    both.collection("events", "e1", depends_on=["main:a1"])
    both.good("upgrade")
    (both.revisions("events") / "e1.py").unlink()
    assert both.run("downgrade", "main:-1").exit_code == 2
    both.good("downgrade", "main:base", "events:base")
