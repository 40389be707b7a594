"""Long changes as people meet them: controlled from any other terminal, killed anywhere, and each row changed once."""

import os
import pty
import signal
import subprocess

import pytest

from tests._servers import sql
from tests.acceptance._long import (
    BATCH,
    MAKE,
    ROWS,
    SLOW,
    change,
    checkpoint,
    in_the_middle,
    long_change,
    loops,
    once,
    stands_still,
)
from tests.acceptance._look import runs
from tests.acceptance._project import LIMIT, Project, until

FAST = "max_rows_per_second=0"


@pytest.fixture
def long(shop: Project) -> Project:
    """Give a project whose second revision is a long change."""
    return long_change(shop)


def test_pause_and_resume(long: Project) -> None:
    """A pause from another terminal holds within one batch and says who asked; resume lets it go on to its end."""
    url = long.urls["main"]
    with in_the_middle(long) as child:
        said = long.good("pause", "--reason", "peak hour").stdout
        asked = checkpoint(url)["batches"]
        assert "main:a2 (Title of a2): paused: by" in said
        assert "within one batch" in said
        still = stands_still(long)
        assert still["batches"] <= asked + 1
        told = change(long)
        assert (told["standing"], told["control"]["reason"], told["loops"][0]["eta"]["state"]) == (
            "paused",
            "peak hour",
            "paused",
        )
        assert f"paused: by {told['control']['by']} since {told['control']['at']} (peak hour)" in told["waiting"]
        assert told["waiting"] in long.good("status").stdout
        assert f"migrator resume {told['run_id']}" in long.good("status").stdout
        assert told["waiting"] in long.good("runs", "show", told["run_id"]).stdout
        assert long.run("upgrade", "--lock-timeout", "0").exit_code == 12
        long.good("tune", FAST)
        assert change(long)["control"]["reason"] == "peak hour"
        assert checkpoint(url)["batches"] == still["batches"]
        assert "goes on" in long.good("resume").stdout
        result = child.wait()
    assert result.exit_code == 0, result
    assert once(url)
    report = loops(runs(url)[-1])
    assert (report["rows"], report["before"], report["done"]) == (ROWS, 0, True)
    assert set(report["throttled"]) == {"paused", "rate"}
    for line in ("stands still, paused: by", "goes on after", f"settings changed by {told['control']['by']}: {FAST}"):
        assert f"[2/2] main:a2 rows: {line}" in result.stdout
    assert f"rows: {ROWS:,} rows in {report['batches']} batches; stood still for" in result.stdout


def test_cancel(long: Project) -> None:
    """A cancelled change ends within one batch, keeps its checkpoint, and goes on when a person says so."""
    url = long.urls["main"]
    with in_the_middle(long, "--json") as child:
        assert "needs a reason" in long.run("cancel").stderr
        long.good("cancel", "--reason", "too slow")
        asked = checkpoint(url)["batches"]
        result = child.wait()
    assert checkpoint(url)["batches"] <= asked + 1
    run = runs(url)[-1]
    assert (run["status"], run["effect"], run["reason"]) == ("failed", "partial", "given up")
    assert result.exit_code == 14
    assert f"`migrator resume {run['run_id']}`" in result.error()["hint"]
    assert long.states() == {"a1": "applied", "a2": "blocked"}
    assert change(long)["standing"] == "cancelled"
    error = long.run("upgrade", "head", "--json").error()
    assert (error["type"], error["exit_code"]) == ("ResolveNeeded", 14)
    assert "too slow" in error["message"]
    assert f"`migrator resume {run['run_id']}`" in error["hint"]
    assert "cancelled by" in long.run("pause").stderr
    assert "`migrator upgrade main:head` goes on (rows at" in long.good("resume", run["run_id"]).stdout
    assert "rows: goes on at" in long.good("upgrade", "head").stdout
    assert once(url)


def test_resolve_retry_takes_a_cancel_back(long: Project) -> None:
    """A decision to go on does not fail because of the cancel that it answers."""
    with in_the_middle(long) as child:
        long.good("cancel", "--reason", "too slow")
        assert child.wait().exit_code == 14
    run = runs(long.urls["main"])[-1]["run_id"]
    long.good("resolve", run, "--retry", "--reason", "the night is quiet")
    long.good("upgrade", "head")
    assert once(long.urls["main"])


def test_tune(long: Project) -> None:
    """Settings change while it runs, are checked before they are written, and stay with the change."""
    with in_the_middle(long) as child:
        refused = long.run("tune", "max_row=5")
        assert (refused.exit_code, "Did you mean max_rows?" in refused.stderr) == (3, True), refused
        assert "target=0.2 max_rows=7, from the next batch on" in long.good("tune", "target=0.2", "max_rows=7").stdout
        until(
            lambda: sql(long.urls["main"], "SELECT 1 FROM script_run_checkpoint WHERE size <= 7"), "batches are small"
        )
        assert change(long)["control"]["settings"] == {"target": 0.2, "max_rows": 7}
        assert "settings changed while it runs: target=0.2 max_rows=7" in long.good("status").stdout
        long.good("tune", FAST)
        assert child.wait().exit_code == 0
    assert once(long.urls["main"])


SWALLOWS = """
    import asyncio
    async for batch in ctx.batches("rows", max_rows=10):
        async with batch:
            await ctx.execute("UPDATE rows SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                pass
"""


def test_a_signal_that_a_script_swallows(shop: Project) -> None:
    """What takes SIGTERM for an answer of its own, as drivers do at times, goes no further than its batch."""
    shop.revision("main", "a1", upgrade=MAKE, downgrade='await ctx.execute("DROP TABLE rows")')
    shop.revision("main", "a2", "a1", upgrade=SWALLOWS)
    child = shop.start("upgrade")
    until(lambda: checkpoint(shop.urls["main"]).get("batches", 0) >= 2 or not child.runs(), "some batches are done")
    child.send(signal.SIGTERM)
    result = child.wait(20)
    assert result.exit_code == 130, result
    done = checkpoint(shop.urls["main"])["rows"]
    assert 20 <= done < ROWS
    assert f"Done and kept: {done} of about {ROWS:,} rows" in result.stderr.replace(f"{done:,}", str(done))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_end_in_the_middle(long: Project, number: signal.Signals) -> None:
    """Whatever ends it in the middle, the next upgrade says where it goes on, and every row is changed exactly once."""
    url = long.urls["main"]
    with in_the_middle(long) as child:
        child.send(number)
        result = child.wait(10)
    if number is signal.SIGKILL:
        assert long.states() == {"a1": "applied", "a2": "interrupted"}
    else:
        assert result.exit_code == 130, result
        done = checkpoint(url)["rows"]
        assert f"Done and kept: {done:,} of about {ROWS:,} rows" in result.stderr
        assert "Run `migrator upgrade main:head` again; it continues at the checkpoint." in result.stderr
        assert [(run["status"], run["effect"]) for run in runs(url)][-1] == ("failed", "partial")
        assert (long.states()["a2"], change(long)["standing"]) == ("interrupted", "interrupted")
    done = checkpoint(url)["rows"]
    assert 0 < done < ROWS
    again = long.good("upgrade", "head")
    assert f"[1/1] main:a2 rows: goes on at {done:,} of about {ROWS:,} ({100 * done // ROWS} %)" in again.stdout
    assert once(url)
    last = runs(url)[-1]
    assert (loops(last)["rows"], loops(last)["before"]) == (ROWS, done)
    assert "settled" in again.stdout or number is not signal.SIGKILL


def test_a_downgrade_goes_on_too(long: Project) -> None:
    """A long downgrade that was stopped goes on at its own checkpoint."""
    long.good("upgrade", "head")
    url = long.urls["main"]
    child = long.start("downgrade", "-1", env=SLOW)
    until(lambda: sql(url, "SELECT 1 FROM rows WHERE n = 0 LIMIT 1") or not child.runs(), "a batch is done")
    child.send(signal.SIGTERM)
    assert "`migrator downgrade main:a2-1` again" in child.wait(10).stderr
    assert "migrator downgrade main:a2-1" in long.good("status").stdout
    assert "goes on at" in long.good("downgrade", "-1").stdout
    assert [tuple(row) for row in sql(url, "SELECT min(n), max(n) FROM rows")] == [(0, 0)]


def test_paused_and_started_again(long: Project) -> None:
    """An upgrade that starts a paused change says by whom and since when, and how to go on."""
    with in_the_middle(long) as child:
        long.good("pause")
        stands_still(long)
        child.send(signal.SIGKILL)
        child.wait()
    assert "Nobody is at work at it" in long.good("pause", "--reason", "still").stdout
    again = long.start("upgrade", "head")
    killed = runs(long.urls["main"])[-1]["run_id"]
    until(lambda: checkpoint(long.urls["main"])["run_id"] != killed, "it is taken over")
    stands_still(long)
    long.good("resume")
    assert "rows: stands still, paused: by" in again.wait().stdout
    assert once(long.urls["main"])


def test_two_at_once(long: Project) -> None:
    """Two upgrades at once change every row exactly once."""
    results = [child.wait() for child in [long.start("upgrade", "head", "--json") for _ in range(2)]]
    assert [result.exit_code for result in results] == [0, 0], results
    assert sorted(len(result.json()["runs"]) for result in results) == [0, 2]
    assert once(long.urls["main"])


def test_nothing_is_at_work(long: Project) -> None:
    """Without a long change every command says so; a run that is none is refused with what there is."""
    long.good("upgrade", "head")
    for words in (["pause"], ["resume"], ["cancel", "--reason", "x"], ["tune", FAST], ["pause", "nobody"]):
        error = long.run(*words, "--json").error()
        assert (error["type"], error["exit_code"]) == ("TargetNotFound", 3), words
        assert "no long change" in error["message"]


def test_a_failing_row_stops(shop: Project) -> None:
    """A row that cannot be changed is named; what came before it is kept; corrected, the next upgrade goes on."""
    long_change(shop)
    shop.good("upgrade", "+1")
    url = shop.urls["main"]
    sql(url, "UPDATE rows SET d = 0 WHERE id = 777")
    failed = shop.run("upgrade", "head")
    assert failed.exit_code == 1
    assert "rows: the row 777 cannot be changed" in failed.stderr
    assert f"Done and kept: 776 of about {ROWS:,} rows" in failed.stderr
    assert "Correct the row. Run `migrator upgrade main:head` again" in failed.stderr
    assert shop.states()["a2"] == "interrupted"
    sql(url, "UPDATE rows SET d = 1")
    shop.good("upgrade", "head")
    assert once(url)


def test_failing_rows_are_passed_over_and_run_again(shop: Project) -> None:
    """With on_error="skip" the rest is done and the keys are kept; retry-failed takes just those, each exactly once."""
    long_change(shop, options='on_error="skip"', verify=None)
    shop.good("upgrade", "+1")
    url = shop.urls["main"]
    sql(url, "UPDATE rows SET d = 0 WHERE id IN (1, 500, 501, 1000)")
    done = shop.good("upgrade", "head")
    assert "4 skipped" in done.stdout
    run = runs(url)[-1]["run_id"]
    assert "rows 500: could not run a statement: division by zero" in shop.good("runs", "show", run).stdout
    assert len(shop.good("runs", "show", run, "--json").json()["failures"]) == 4
    sql(url, "UPDATE rows SET d = 1 WHERE id > 500")
    sql(url, "DELETE FROM rows WHERE id = 1")
    again = shop.run("runs", "retry-failed", run)
    assert again.exit_code == 1, again
    assert "1 row failed again" in again.stdout
    assert [tuple(row) for row in sql(url, "SELECT key::text FROM script_run_failures")] == [('["500"]',)]
    sql(url, "UPDATE rows SET d = 1")
    assert "1 row in 1 batch" in shop.good("runs", "retry-failed", runs(url)[-1]["run_id"]).stdout
    assert [tuple(row) for row in sql(url, "SELECT min(n), max(n), count(*) FROM rows")] == [(1, 1, ROWS - 1)]
    assert "Nothing to do" in shop.good("runs", "retry-failed", run).stdout
    assert [each["status"] for each in runs(url)] == ["success"] * 4
    assert shop.states() == {"a1": "applied", "a2": "applied"}
    shop.good("downgrade", "-1")


def test_the_file_changed_between_two_attempts(long: Project) -> None:
    """What was begun with one text does not go on with another unless a person says so."""
    with in_the_middle(long) as child:
        child.send(signal.SIGTERM)
        child.wait()
    path = long.revisions("main") / "a2.py"
    before = "async def upgrade(ctx: Context):\n"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, f"{before}    better = True\n"))
    error = long.run("upgrade", "head", "--json").error()
    assert (error["type"], error["exit_code"]) == ("Drifted", 15)
    run = runs(long.urls["main"])[-1]["run_id"]
    assert f"`migrator resolve {run} --retry" in error["hint"]
    long.good("resolve", run, "--retry", "--reason", "only a constant")
    assert "goes on at" in long.good("upgrade", "head").stdout
    assert once(long.urls["main"])


def test_nothing_under_a_half_done_change_goes_down(long: Project) -> None:
    """A revision on which a half done change stands does not go down; undone by hand, it does, and all begins anew."""
    with in_the_middle(long) as child:
        child.send(signal.SIGTERM)
        child.wait()
    error = long.run("downgrade", "-1", "--json").error()
    assert (error["type"], error["exit_code"]) == ("ResolveNeeded", 14)
    assert "main:a2 (Title of a2) depends on what is to go down" in error["message"]
    run = runs(long.urls["main"])[-1]["run_id"]
    long.good("resolve", run, "--mark-rolled-back", "--reason", "its table goes with it")
    long.good("downgrade", "-1")
    assert "goes on at" not in long.good("upgrade", "head").stdout
    assert once(long.urls["main"])


MISUSED = {
    "a loop that is left": (
        'async for batch in ctx.batches("rows"):\n    async with batch:\n        break',
        3,
        "left before its last",
    ),
    "a batch that is not entered": ('async for batch in ctx.batches("rows"):\n    pass', 3, "was not entered"),
    "a loop elsewhere": ("from types import SimpleNamespace as S\nawait fill(ctx)", 3, "that names it itself"),
    "an option that is none": (
        'async for batch in ctx.batches("rows", on_error="pass"):\n    pass',
        3,
        'takes "stop" or "skip"',
    ),
    "a table that has no key": ('async for batch in ctx.batches("rows", key="n"):\n    pass', 3, "need a unique key"),
}


@pytest.mark.parametrize("what", MISUSED)
def test_what_cannot_be_meant(shop: Project, what: str) -> None:
    """A loop that cannot do its work is refused in a sentence, and nothing of it is done."""
    body, code, said = MISUSED[what]
    long_change(shop)
    path = shop.revision("main", "a2", "a1", upgrade=body)
    path.write_text(
        path.read_text() + 'async def fill(ctx):\n    async for batch in ctx.batches("rows"):\n        pass\n'
    )
    refused = shop.run("upgrade", "head")
    assert (refused.exit_code, said in refused.stderr) == (code, True), refused
    assert [tuple(row) for row in sql(shop.urls["main"], "SELECT max(n) FROM rows")] == [(0,)]


def test_a_verify_does_not_walk(shop: Project) -> None:
    """ctx.batches in a verify is refused, also behind an upgrade that walks."""
    verify = 'async for batch in ctx.batches("rows", name="again"):\n    pass\nreturn True'
    long_change(shop, verify=verify)
    refused = shop.run("upgrade", "head")
    assert "ctx.batches works in an upgrade() or downgrade() that names it itself" in refused.stderr
    assert refused.exit_code == 13
    assert "it continues at the checkpoint" in refused.stderr


def test_one_transaction_is_refused_before_anything_runs(shop: Project) -> None:
    """`transaction = True` beside ctx.batches is refused with its line, and the revision before it does not run."""
    long_change(shop, transaction=True)
    error = shop.run("upgrade", "head", "--json").error()
    assert (error["type"], error["exit_code"], error["line"]) == ("RevisionFileError", 3, 5)
    assert runs(shop.urls["main"]) == []


def test_a_terminal_shows_a_bar(long: Project) -> None:
    """On a terminal a bar moves, with how much, how fast, and when; what is said meanwhile stands above it."""
    leader, follower = pty.openpty()
    environ = {**long.environ(SLOW), "TERM": "xterm-256color", "COLUMNS": "120"}
    program = subprocess.Popen(
        long.command("upgrade", "head"), cwd=long.folder, env=environ, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    until(lambda: checkpoint(long.urls["main"]).get("batches", 0) >= 3, "some batches are done")
    long.good("tune", FAST)
    shown = read(leader)
    assert program.wait(LIMIT) == 0, shown
    assert "━" in shown
    assert f"of about {ROWS:,} (" in shown
    assert "rows/s" in shown
    assert f"settings changed by {os.environ.get('USER', '')}" in shown
    assert f"rows: {ROWS:,} rows in" in shown


def read(leader: int) -> str:
    """Return all that is written to a terminal until its program ends."""
    parts = []
    while True:
        try:
            parts.append(os.read(leader, 65536))
        except OSError:  # the last one has closed it
            break
    os.close(leader)
    return b"".join(parts).decode()


def test_batches_are_not_larger_than_they_may_be(long: Project) -> None:
    """The last report counts as many batches as the largest size needs, no fewer."""
    report = long.good("upgrade", "head", "--json").json()["runs"][-1]["progress"]["loops"][0]
    assert report["batches"] >= ROWS / BATCH
