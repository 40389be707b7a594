"""A dry run says how long a long change will take, from one batch of it, and leaves nothing behind."""

from typing import Any

import pymongo
import pytest

from tests._servers import sql
from tests.acceptance._project import Project, until

DRY_RUN = 10
MANY = 30_000
TABLE = f"""
await ctx.execute("CREATE TABLE orders (id bigint PRIMARY KEY, quantity int, total bigint)")
await ctx.execute("INSERT INTO orders SELECT n, n % 7 FROM generate_series(1, {MANY}) AS n")
await ctx.execute("ANALYZE orders")
"""
SET = """
async for batch in ctx.batches("orders"):
    async with batch:
        await ctx.execute(f"UPDATE orders SET total = quantity * 10 WHERE {batch.where}", *batch.args)
"""
ROWS = """
async for batch in ctx.batches("orders", name="orders.rows"):
    async with batch:
        for row in await batch.rows("quantity"):
            batch.update(row, total=row["quantity"] * 10)
"""
MENDS = "UPDATE orders SET quantity = 1 WHERE id = 20000"
BREAKS = "UPDATE orders SET quantity = 100 WHERE id = 20000"


def forecasts(project: Project, *args: str) -> dict[str, dict[str, Any]]:
    """Return the forecasts of a dry run by the names of the loops."""
    done = project.run("upgrade", "--dry-run", "--json", *args)
    assert done.exit_code == DRY_RUN, done
    return {each["loop"]: each for each in done.json()["forecasts"]}


def traces(url: str) -> list[Any]:
    """Return what a forecast could have left in PostgreSQL: rows, checkpoints, runs, tables, open transactions."""
    return sql(
        url,
        """SELECT (SELECT count(total) FROM orders), (SELECT count(*) FROM script_run_checkpoint),
                  (SELECT count(*) FROM script_run_tracker),
                  (SELECT count(*) FROM pg_class WHERE relname ~ 'never_kept'),
                  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                      AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend')""",
    )


def test_both_forms(shop: Project) -> None:
    """Rows, a range of time, the WAL and the plan of the statement; on paper too; and nothing is changed."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.good("upgrade")
    before = traces(shop.urls["main"])
    shop.revision("main", "b1", "a1", upgrade=SET)
    shop.revision("main", "b2", "b1", upgrade=ROWS)
    found = forecasts(shop)
    assert list(found) == ["orders", "orders.rows"]
    for each in found.values():
        assert each["missing"] == ""
        assert each["rows"] == pytest.approx(MANY, rel=0.1)
        assert each["sampled"] == 1_000
        assert 0 < each["low"] < each["seconds"] < each["high"]
        assert each["log"] == "WAL"
        assert 20 * MANY < each["volume"] < 2_000 * MANY
        assert any("orders_pkey" in line for line in each["plan"])
        assert each["warnings"] == []
    printed = shop.run("upgrade", "--dry-run")
    assert printed.exit_code == DRY_RUN
    for text in ("Forecast of main:b1 orders (from one batch of 1,000 rows", "of WAL", "nothing was changed"):
        assert text in printed.stdout
    assert traces(shop.urls["main"]) == before


def test_what_is_wrong_with_a_batch(shop: Project) -> None:
    """A statement that reads the whole table, a batch that changes nothing, a lock that is not free: each is said."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.good("upgrade")
    scan = SET.replace("WHERE {batch.where}", "WHERE quantity = $1 % 7 OR quantity = $2 % 7")
    shop.revision("main", "b1", "a1", upgrade=scan)
    nothing = SET.replace('"orders"', '"orders", name="nothing"').replace("WHERE", "WHERE quantity > 100 AND")
    shop.revision("main", "b2", "b1", upgrade=nothing)
    found = forecasts(shop)
    assert "each batch reads the whole of orders" in found["orders"]["warnings"][0]
    assert any("Seq Scan on orders" in line for line in found["orders"]["plan"])
    assert any("changed nothing" in text for text in found["nothing"]["warnings"])

    hold = 'await ctx.execute("LOCK TABLE orders"); await ctx.execute("SELECT pg_sleep(60)")'
    shop.revision("main", "c1", "a1", upgrade=hold)
    holder = shop.start("upgrade", "c1")
    locked = "SELECT 1 FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    until(lambda: sql(shop.urls["main"], locked), "the lock")
    assert "lock" in forecasts(shop, "b1")["orders"]["missing"]
    holder.close()


def test_what_cannot_be_tried(both: Project) -> None:
    """What is not there yet, what writes before its batch, opens another database, or commits: each says why."""
    both.collection("events", "e1")
    both.revision("main", "a1", upgrade=TABLE)
    both.good("upgrade")
    before = traces(both.urls["main"])
    both.revision("main", "b1", "a1", upgrade='await ctx.execute("CREATE TABLE lines (id int PRIMARY KEY)")')
    both.revision("main", "b2", "b1", upgrade=SET.replace('"orders"', '"lines"'))
    writes = 'await ctx.execute("UPDATE orders SET total = 1")\n' + SET.replace('"orders"', '"orders", name="writes"')
    both.revision("main", "b3", "b2", upgrade=writes + ROWS)
    other = 'async with ctx.database("events") as events:\n    await events.db.c_e1.delete_many({})\n'
    both.revision(
        "main", "b4", "b3", upgrade=other + SET.replace('"orders"', '"orders", name="other"'), rerunnable=True
    )
    ends = SET.replace('"orders"', '"orders", name="ends"').replace('WHERE {batch.where}", *batch.args', '; COMMIT"')
    both.revision("main", "b5", "b4", upgrade=ends)
    both.revision("main", "b6", "b5", upgrade="pass" + SET.replace('"orders"', '"orders", name="broken"') + "nonsense(")
    found = forecasts(both)
    assert "no table lines" in found["lines"]["missing"]
    assert "1 step of main before it" in found["lines"]["missing"]
    assert "changes something before its first batch" in found["writes"]["missing"]
    assert found["orders.rows"]["missing"] == found["writes"]["missing"]
    assert "opens events" in found["other"]["missing"]
    assert "never_kept" in found["ends"]["missing"]
    assert traces(both.urls["main"]) == before
    with pymongo.MongoClient(both.urls["events"]) as client:  # type: ignore[var-annotated]
        assert client.get_default_database().c_e1.count_documents({}) == 1


def test_the_rest_of_an_interrupted_change(shop: Project) -> None:
    """A change that stopped on its way is expected to take the time of the rows that are left."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.good("upgrade")
    sql(shop.urls["main"], BREAKS)
    shop.revision("main", "b1", "a1", upgrade=SET.replace("quantity * 10", "1 / (100 - quantity)"))
    assert shop.run("upgrade").exit_code == 1
    sql(shop.urls["main"], MENDS)
    before = traces(shop.urls["main"])
    found = forecasts(shop)["orders"]
    assert found["rows"] == pytest.approx(MANY - 19_999, rel=0.1)
    assert traces(shop.urls["main"]) == before


def test_documents(project: Project, mongo_url: str) -> None:
    """On MongoDB the oplog is told from the documents that change, about as much as it then is; nothing is changed."""
    project.configure(events=mongo_url)
    many = f"await ctx.db.orders.insert_many([{{'_id': n, 'quantity': n % 7}} for n in range({MANY})])"
    project.revision("events", "a1", upgrade=many)
    project.good("upgrade")
    fill = """
reads = await ctx.db.orders.count_documents({})
async for batch in ctx.batches("orders", where={"total": None}):
    async with batch:
        await ctx.db.orders.update_many(batch.where, [{"$set": {"total": {"$multiply": ["$quantity", 10]}}}])
"""
    scan = """
async for batch in ctx.batches("orders", name="scan"):
    async with batch:
        await ctx.db.orders.update_many({"quantity": 3}, {"$set": {"three": True}})
"""
    refused = 'await ctx.db.command("collMod", "orders", validator={})\n'
    project.revision("events", "b1", "a1", upgrade=fill)
    project.revision("events", "b2", "b1", upgrade=scan)
    project.revision("events", "b3", "b2", upgrade=refused + fill.replace('"orders",', '"orders", name="late",'))
    found = forecasts(project)
    assert found["orders"]["missing"] == ""
    assert found["orders"]["rows"] == pytest.approx(MANY, rel=0.1)
    assert (found["orders"]["log"], found["orders"]["plan"]) == ("oplog", ["FETCH <- IXSCAN {_id: 1}"])
    assert "whole of orders" in found["scan"]["warnings"][0]
    assert "cannot be rolled back" in found["late"]["missing"]
    with pymongo.MongoClient(mongo_url) as client:  # type: ignore[var-annotated]
        db, oplog = client.get_default_database(), client.local["oplog.rs"]
        assert db.orders.count_documents({"total": {"$exists": True}}) == 0
        assert db.script_run_checkpoint.count_documents({}) == 0
        (newest,) = oplog.find().sort("$natural", -1).limit(1)
        project.good("upgrade", "b1")
        batches = {"ts": {"$gt": newest["ts"]}, "o.applyOps.ns": f"{db.name}.orders"}
        ((size),) = oplog.aggregate(
            [{"$match": batches}, {"$group": {"_id": None, "is": {"$sum": {"$bsonSize": "$$ROOT"}}}}]
        )
        assert size["is"] / 2 < found["orders"]["volume"] < size["is"] * 2
