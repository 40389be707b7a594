"""A long change that failed before its first batch was done has changed nothing: the corrected file simply runs."""

import pytest
from pymongo import MongoClient

from tests._servers import sql
from tests.acceptance._project import Project

POSTGRES = """
async for batch in ctx.batches("orders", workers={workers}):
    async with batch:
        await ctx.execute(f"UPDATE orders SET {column} = 1 WHERE {{batch.where}}", *batch.args)
"""
MONGO = """
async for batch in ctx.batches("orders", workers={workers}):
    async with batch:
        await ctx.db.orders.update_many(batch.where, {{"{column}": {{"n": 1}}}})
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["postgres", "mongo"])
def test_the_corrected_file_runs(project: Project, request: pytest.FixtureRequest, kind: str, workers: int) -> None:
    """On both databases, in one walk and in slices."""
    url = request.getfixturevalue(f"{kind}_url")
    project.configure(main=url)
    if kind == "postgres":
        sql(url, "CREATE TABLE orders (id int PRIMARY KEY, n int)", "INSERT INTO orders SELECT generate_series(1, 50)")
    else:
        with MongoClient[dict[str, int]](url) as client:
            client.get_default_database().orders.insert_many([{"_id": key} for key in range(50)])
    body, wrong, right = (POSTGRES, "m", "n") if kind == "postgres" else (MONGO, "$sett", "$set")
    project.revision("main", "a1", upgrade=body.format(column=wrong, workers=workers))
    error = project.run("upgrade", "--json").error()
    assert error["failed"]["effect"] == "none", error
    assert "resolve" not in error["hint"]
    project.revision("main", "a1", upgrade=body.format(column=right, workers=workers))
    project.good("upgrade")


def test_what_stands_outside_of_the_batches_counts(shop: Project) -> None:
    """A write before the loop is there, though no batch was done."""
    sql(shop.urls["main"], "CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    before = 'await ctx.execute("CREATE TABLE IF NOT EXISTS beside (n int)")\n'
    shop.revision("main", "a1", upgrade=before + POSTGRES.format(column="m", workers=1))
    assert shop.run("upgrade", "--json").error()["failed"]["effect"] == "partial"
