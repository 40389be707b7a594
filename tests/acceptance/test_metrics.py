"""Metrics of real commands: in the file, at the Pushgateway, and in the text that a server gives."""

import base64
import signal
from pathlib import Path

import pytest

from migrator import Migrator
from migrator.config import load
from migrator.notifiers.metrics import Metrics
from tests._servers import sql
from tests.acceptance import _receivers as receivers
from tests.acceptance._project import Project, until
from tests.acceptance.test_concurrency import SLOW, slow_step
from tests.notifiers.test_metrics import Found, read

FILE = "metrics/migrator.prom"
THROTTLED = '[notify.oncall]\nkind = "webhook"\nurl = "{url}"\non = ["throttled"]\n'


def measured(project: Project, **keys: str) -> None:
    """Add `[metrics]` to the project's migrator.toml."""
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    project.toml.write_text("\n".join([project.toml.read_text("utf-8"), "[metrics]", *lines, ""]), "utf-8")


def found_in(project: Project) -> Found:
    """Return the samples of the project's file."""
    return read((project.folder / FILE).read_text())


def test_the_file_after_each_command(both: Project) -> None:
    """Every command that changes something leaves the file as things stand, of both kinds of database."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1")
    measured(both, textfile=FILE)
    both.good("upgrade")
    found = found_in(both)
    assert [found["migrator_pending_revisions", name] for name in ("main", "events")] == [0, 0]
    assert {labels for name, labels in found if name == "script_execution_status"} == {
        "main upgrade a1",
        "main upgrade b2",
        "events upgrade e1",
    }
    both.good("downgrade", "main:-1")
    both.revision("main", "c3", "b2", upgrade='await ctx.execute("SELECT 1/0")')
    both.run("upgrade")
    found = found_in(both)
    count = "script_execution_duration_seconds_count"
    assert [found[count, f"main {what}"] for what in ("upgrade a1", "upgrade b2", "downgrade b2")] == [1, 2, 1]
    assert found["script_execution_status", "main upgrade c3"] == 0
    assert found["script_execution_status", "main downgrade b2"] == 1
    assert found["migrator_pending_revisions", "main"] == 1
    assert found["script_last_run_timestamp", "events upgrade e1"] > 1_700_000_000


def test_another_host_has_no_file(shop: Project) -> None:
    """Where the file is gone, as in a fresh pod, the gauges come back from the tracker; counters begin at nothing."""
    shop.tables("main", "a1", "b2")
    measured(shop, textfile=FILE)
    shop.good("upgrade")
    before = found_in(shop)
    (shop.folder / FILE).unlink()
    shop.good("upgrade")
    found = found_in(shop)
    assert {name for name, _ in found if name.startswith("script_execution_duration")} == set()
    stands = {each for each in before if each[0] == "script_execution_status"}
    assert {each for each in found if each[0] == "script_execution_status"} == stands
    name = "script_last_run_timestamp"
    assert found[name, "main upgrade a1"] == pytest.approx(before[name, "main upgrade a1"], abs=60)


def test_the_wait_for_the_lock_is_counted(shop: Project) -> None:
    """A command that waited for the lock and gave up says how long it waited."""
    shop.revision("main", "a1", upgrade=SLOW)
    measured(shop, textfile=FILE)
    holder = slow_step(shop)
    assert shop.run("upgrade", "--lock-timeout", "500ms").exit_code == 12
    assert found_in(shop)["migrator_lock_wait_seconds_total", "main"] >= 0
    assert shop.run("upgrade", "--lock-timeout", "3s").exit_code == 12
    assert found_in(shop)["migrator_lock_wait_seconds_total", "main"] > 1
    holder.send(signal.SIGTERM)
    assert holder.wait().exit_code == 130
    assert found_in(shop)["script_execution_status", "main upgrade a1"] == 0


def test_a_long_change_is_counted_and_told(shop: Project) -> None:
    """Rows and standstills of a long change are in the metrics, and its first standstill is one message."""
    url = shop.urls["main"]
    sql(url, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t SELECT generate_series(1, 100)")
    sql(url, "CREATE TABLE brake (held bool)", "INSERT INTO brake VALUES (true)")
    loop = 'async for batch in ctx.batches("t", max_rows=40, throttle={"query": "SELECT held FROM brake"}):'
    step = 'await ctx.execute("UPDATE t SET n = 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)'
    shop.revision("main", "a1", upgrade=f"{loop}\n    async with batch:\n        {step}")
    measured(shop, textfile=FILE)
    with receivers.receiving() as receiver:
        shop.toml.write_text(f"{shop.toml.read_text()}\n{THROTTLED.format(url=receiver.url)}", "utf-8")
        child = shop.start("upgrade")
        until(lambda: receiver.posts or not child.runs(), "the standstill is told")
        sql(url, "UPDATE brake SET held = false")
        result = child.wait()
    assert result.exit_code == 0, result
    found = found_in(shop)
    assert found["migrator_batch_rows_total", "main a1"] == 100
    assert found["migrator_throttle_seconds_total", "main a1"] > 0
    (document,) = [post.json() for post in receiver.posts]
    assert (document["kind"], document["databases"]) == ("throttled", ["main"])
    assert document["what"].startswith("The throttle holds it back: query")


def test_scripts_are_counted(shop: Project) -> None:
    """A script beside the order counts each time it runs, also when it fails, and is never pending."""
    shop.table("main", "a1")
    shop.revision("main", "good", upgrade="pass", repeatable=True)
    shop.revision("main", "bad", upgrade='await ctx.execute("SELECT 1/0")', repeatable=True)
    measured(shop, textfile=FILE)
    shop.good("upgrade", "main:a1")
    for _ in range(2):
        assert shop.run("run", "good", "bad", "--keep-going").exit_code == 1
    found = found_in(shop)
    count = "script_execution_duration_seconds_count"
    assert [found[count, f"main upgrade {name}"] for name in ("a1", "good", "bad")] == [1, 2, 2]
    assert [found["script_execution_status", f"main upgrade {name}"] for name in ("good", "bad")] == [1, 0]
    assert found["migrator_pending_revisions", "main"] == 0


def test_a_push(both: Project) -> None:
    """Each database of a command is pushed as a group of its own, with the password of the address in its header."""
    both.table("main", "a1")
    both.collection("events", "e1")
    with receivers.receiving() as gateway:
        measured(both, push=gateway.url.replace("http://", "http://robot:p%40ss@"), job="shop")
        both.good("upgrade", env={"ENVIRONMENT": "staging"})
    assert [post.path for post in gateway.posts] == [
        "/metrics/job/shop/database/events/environment/staging",
        "/metrics/job/shop/database/main/environment/staging",
    ]
    assert {post.headers["Authorization"] for post in gateway.posts} == {
        f"Basic {base64.b64encode(b'robot:p@ss').decode()}"
    }
    found = read(gateway.posts[1].body.decode())
    assert found["script_execution_duration_seconds_count", "main upgrade a1"] == 1
    assert not [labels for _, labels in found if labels.startswith("events")]


@pytest.mark.parametrize(
    ("what", "said"),
    [("dead", "URLError"), ("failing", "HTTPError: HTTP Error 500"), ("half-open", "TimeoutError: timed out")],
)
def test_a_bad_gateway_does_no_harm(shop: Project, what: str, said: str) -> None:
    """A Pushgateway that cannot be pushed to is one warning without its password; the file is written all the same."""
    shop.table("main", "a1")
    with receivers.receiving(receivers.answer(500)) as gateway, receivers.half_open() as silent:
        place = {"dead": receivers.dead(), "half-open": silent}.get(what, gateway.url.removeprefix("http://"))
        measured(shop, textfile=FILE, push=f"http://robot:s3cr3t-of-gateway@{place}")
        result = shop.good("upgrade")
    (warning,) = [line for line in result.stderr.splitlines() if "the notifier metrics failed" in line]
    assert said in warning
    assert "s3cr3t" not in result.text
    assert found_in(shop)["script_execution_status", "main upgrade a1"] == 1


def test_a_file_in_the_way_does_no_harm(shop: Project) -> None:
    """A file that cannot be written is one warning, and the deploy is as ever."""
    shop.table("main", "a1")
    (shop.folder / "metrics").write_text("")
    measured(shop, textfile=FILE)
    result = shop.good("upgrade")
    assert result.stderr.count("the notifier metrics failed") == 1
    assert shop.states() == {"a1": "applied"}


async def test_the_text_for_a_server(both: Project) -> None:
    """A program that lives long reads the trackers when it is asked, and says which database it cannot read."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1")
    text = both.toml.read_text("utf-8").replace(both.urls["events"], "mongodb://127.0.0.1:1/none")
    both.good("upgrade", "main:a1")
    Path(both.toml).write_text(text.replace('none"', 'none"\nconnect_timeout = "300ms"'), "utf-8")
    metrics = Metrics()
    async with Migrator.open(load(str(both.toml), {}), [metrics]) as migrator:
        await migrator.measure(metrics)
        found = read(metrics.text())
        assert found["script_execution_status", "main upgrade a1"] == 1
        assert found["migrator_pending_revisions", "main"] == 1
        assert (found["migrator_database_up", "main"], found["migrator_database_up", "events"]) == (1, 0)
        await migrator.upgrade("b2", databases=["main"])
        until(lambda: ("migrator_lock_wait_seconds_total", "main") in read(metrics.text()), "the end was heard")
        await migrator.measure(metrics)
        found = read(metrics.text())
        assert found["script_execution_duration_seconds_count", "main upgrade b2"] == 1
        assert found["migrator_pending_revisions", "main"] == 0
