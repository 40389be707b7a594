"""Rows that a long change skipped, and a verify that does not accept that: corrected, they are taken first."""

from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient

from tests._servers import sql
from tests.acceptance._project import Project

SQL = """
async for batch in ctx.batches("orders", on_error="skip", max_rows=50, workers={workers}):
    async with batch:
        await ctx.execute(f"UPDATE orders SET total = id, n = n + 1 WHERE {{batch.where}}", *batch.args)
"""
MONGO = """
async for batch in ctx.batches("orders", on_error="skip", max_rows=50, workers={workers}):
    async with batch:
        for row in await batch.rows():
            batch.update(row, total=100 / row["by"], n=row["n"] + 1)
"""


def _client(url: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(url)


def _postgres(project: Project, url: str, workers: int) -> tuple[Callable[[], object], Callable[[], Any]]:
    project.configure(main=url)
    sql(
        url,
        "CREATE TABLE orders (id int PRIMARY KEY, total int, n int DEFAULT 0, CONSTRAINT odd CHECK (total % 77 <> 0))",
        "INSERT INTO orders SELECT generate_series(1, 200)",
    )
    verify = 'return await ctx.value("SELECT count(*) FROM orders WHERE total IS NULL") == 0'
    project.revision("main", "a1", upgrade=SQL.format(workers=workers), verify=verify)
    return (
        lambda: sql(url, "ALTER TABLE orders DROP CONSTRAINT odd", "DELETE FROM orders WHERE id = 154"),
        lambda: [row["id"] for row in sql(url, "SELECT id FROM orders WHERE n <> 1 ORDER BY id")],
    )


def _mongo(project: Project, url: str, workers: int) -> tuple[Callable[[], object], Callable[[], Any]]:
    project.configure(main=url)
    rows = [{"_id": key, "by": key % 77, "n": 0} for key in range(1, 201)]
    with _client(url) as client:
        client.get_default_database().orders.insert_many(rows)
    verify = 'return await ctx.db.orders.count_documents({"total": None}) == 0'
    project.revision("main", "a1", upgrade=MONGO.format(workers=workers), verify=verify)

    def correct() -> None:
        with _client(url) as client:
            client.get_default_database().orders.delete_one({"_id": 154})
            client.get_default_database().orders.update_many({"by": 0}, {"$set": {"by": 1}})

    def wrong() -> Any:
        with _client(url) as client:
            return [row["_id"] for row in client.get_default_database().orders.find({"n": {"$ne": 1}}).sort("_id")]

    return correct, wrong


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["postgres", "mongo"])
def test_a_verify_that_finds_skipped_rows(
    project: Project, request: pytest.FixtureRequest, kind: str, workers: int
) -> None:
    """The run fails with 13 and says what to type; the next upgrade takes those rows, and those only, and succeeds."""
    made = _postgres if kind == "postgres" else _mongo
    correct, wrong = made(project, request.getfixturevalue(f"{kind}_url"), workers)
    error = project.run("upgrade", "--json").error()
    assert error["exit_code"] == 13
    assert "lists the 2 rows that were skipped; `migrator upgrade main:head` takes them first" in error["hint"]
    assert wrong() == [77, 154]
    assert project.run("upgrade", "--json").error()["exit_code"] == 13, "nothing was corrected yet"
    assert wrong() == [77, 154]
    correct()
    (run,) = project.good("upgrade", "--json").json()["runs"]
    assert wrong() == []
    loop = run["progress"]["loops"][0]
    assert (loop["rows"], loop["skipped"], loop["done"]) == (199, 0, True)
    assert "skipped" not in project.good("runs", "show", run["run_id"]).stdout
