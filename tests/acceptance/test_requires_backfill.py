"""A revision that requires a backfill: it passes, the rest is finished within its time, or it says what to do."""

import pytest

from tests._servers import sql
from tests.acceptance._project import Project, until

TABLE = """
await ctx.execute("CREATE TABLE orders (id bigint PRIMARY KEY, total bigint)")
await ctx.execute("INSERT INTO orders SELECT n FROM generate_series(1, 3000) AS n")
"""
FILL = """
async for batch in ctx.batches("orders", name="orders.total", max_rows=100, max_rows_per_second=SPEED):
    async with batch:
        await ctx.execute(f"UPDATE orders SET total = coalesce(total, 0) + id WHERE {batch.where}", *batch.args)
"""
FILLED = "SELECT count(*) FILTER (WHERE total = id), count(total) FROM orders"
PROMISE = 'await ctx.execute("ALTER TABLE orders ALTER total SET NOT NULL")'


@pytest.fixture
def branches(shop: Project) -> Project:
    """Give a project with a table, a backfill in a branch of its own, and a revision that requires it in another."""
    shop.revision("main", "a1", upgrade=TABLE, downgrade='await ctx.execute("DROP TABLE orders")')
    shop.revision("main", "b1", "a1", upgrade=FILL.replace("SPEED", "0"), downgrade="pass")
    shop.revision("main", "c1", "a1", upgrade=PROMISE, downgrade="pass", requires_backfill=["orders.total"])
    return shop


def test_it_comes_first(branches: Project) -> None:
    """Whoever goes up to the revision takes the backfill along, once; and the backfill does not go down alone."""
    planned = branches.run("upgrade", "c1", "--dry-run", "--json").json()["plan"]
    assert [step["revision"] for step in planned] == ["a1", "b1", "c1"]
    branches.good("upgrade", "c1")
    assert sql(branches.urls["main"], FILLED)[0][:] == (3_000, 3_000)
    assert branches.good("upgrade", "c1").stdout.startswith("Nothing to do")
    refused = branches.run("downgrade", "b1-1")
    assert refused.exit_code == 2
    assert "c1 depends on main:b1" in refused.text


def test_a_stamp_counts(branches: Project) -> None:
    """A person who says that the backfill is done is believed."""
    branches.good("upgrade", "a1")
    branches.good("stamp", "b1")
    sql(branches.urls["main"], "UPDATE orders SET total = id")
    branches.good("upgrade", "c1")


def test_the_time_for_the_rest(branches: Project) -> None:
    """It stops when the time of the revision is over, says how far it came and what to type, and that finishes it."""
    branches.revision("main", "b1", "a1", upgrade=FILL.replace("SPEED", "800"), downgrade="pass")
    branches.revision("main", "c1", "a1", upgrade=PROMISE, requires_backfill=["orders.total"], timeout="1s")
    stopped = branches.run("upgrade", "c1", "--json")
    error = stopped.error()
    assert stopped.exit_code == 1
    assert "took longer than 1 s, the time that main:c1 has" in error["message"]
    assert "`migrator upgrade main:b1` runs it alone and without that limit" in error["hint"]
    assert "Done and kept: " in error["state"]
    some = sql(branches.urls["main"], FILLED)[0][0]
    assert 0 < some < 3_000
    branches.good("upgrade", "main:b1")
    branches.good("upgrade", "c1")
    assert sql(branches.urls["main"], FILLED)[0][:] == (3_000, 3_000)


def test_a_cancelled_one_is_not_taken_along(branches: Project) -> None:
    """A backfill that a person ended stops whoever requires it, with the commands, before anything runs."""
    branches.revision("main", "b1", "a1", upgrade=FILL.replace("SPEED", "100"), downgrade="pass")
    working = branches.start("upgrade", "b1")
    there = "SELECT 1 FROM pg_class WHERE relname = 'script_run_checkpoint'"
    until(lambda: sql(branches.urls["main"], there), "the tracker")
    until(lambda: sql(branches.urls["main"], "SELECT 1 FROM script_run_checkpoint WHERE rows > 0"), "a batch")
    branches.good("cancel", "--reason", "too slow")
    assert working.wait().exit_code == 14
    refused = branches.run("upgrade", "c1", "--json")
    assert refused.exit_code == 14
    assert "was cancelled by" in refused.error()["message"]
    assert "migrator resume" in refused.error()["hint"]


def test_nobody_has_it(branches: Project) -> None:
    """A name that no loop has is refused before anything runs, with the one that was probably meant."""
    branches.revision("main", "c1", "a1", upgrade=PROMISE, requires_backfill=["order.total"])
    refused = branches.run("upgrade", "a1", "--json")
    assert refused.exit_code == 3
    assert refused.error()["hint"] == "Did you mean orders.total?"
    assert sql(branches.urls["main"], "SELECT to_regclass('orders')")[0][0] is None
