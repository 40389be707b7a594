"""What a server refuses inside of a batch is judged the same, whether ctx.execute or SQLAlchemy was told."""

from tests._servers import sql
from tests.acceptance._project import Project

TABLE = """
await ctx.execute("CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total <> 77))")
await ctx.execute("INSERT INTO orders SELECT n FROM generate_series(1, 200) AS n")
"""
LOOP = """
from sqlalchemy import text

conn = ctx.conn
async for batch in ctx.batches("orders", on_error="skip"):
    async with batch:
        await conn.execute(text("STATEMENT WHERE id BETWEEN :a AND :b"), {"a": batch.first, "b": batch.last})
"""


def test_a_row_that_the_server_refuses(shop: Project) -> None:
    """The one row that breaks a rule is found and passed over; all others are changed."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.revision("main", "b1", "a1", upgrade=LOOP.replace("STATEMENT", "UPDATE orders SET total = id"))
    (_, run) = shop.good("upgrade", "--json").json()["runs"]
    assert run["progress"]["loops"][0]["skipped"] == 1
    assert sql(shop.urls["main"], "SELECT id FROM orders WHERE total IS NULL")[0][:] == (77,)


def test_a_statement_that_is_wrong(shop: Project) -> None:
    """It is wrong for every row, so it stops at once and passes nobody over."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.revision("main", "b1", "a1", upgrade=LOOP.replace("STATEMENT", "UPDATE orders SET totals = id"))
    error = shop.run("upgrade", "--json").error()
    assert 'column "totals" of relation "orders" does not exist' in error["message"]
    assert error["failed"]["progress"]["loops"][0]["splits"] == 0
    assert sql(shop.urls["main"], "SELECT count(*) FROM script_run_failures")[0][0] == 0


def test_an_option_that_cannot_be_meant(shop: Project) -> None:
    """A target of nothing would be no time limit at all; it is refused before the first batch."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.revision("main", "b1", "a1", upgrade='async for batch in ctx.batches("orders", target=0):\n    pass')
    assert "target is 0, and it takes a number from 0.01" in shop.run("upgrade", "--json").error()["message"]
