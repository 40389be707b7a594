"""A long change is refused where row level security may hide rows from it."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests._servers import new_name, sql
from tests.acceptance._project import Project

LOOP = """
async for batch in ctx.batches("orders"):
    async with batch:
        await ctx.execute(f"UPDATE orders SET n = 1 WHERE {batch.where}", *batch.args)
"""


@pytest.fixture
def owner(shop: Project, postgres_url: str) -> Iterator[str]:
    """Let the project work as a user who owns a table, half of which a policy hides; give the name."""
    name, parts = new_name(), urlsplit(postgres_url)
    sql(
        postgres_url,
        f"CREATE ROLE {name} LOGIN PASSWORD 'secret'",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {name}",
        "CREATE TABLE orders (id int PRIMARY KEY, n int)",
        "INSERT INTO orders SELECT generate_series(1, 10)",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY half ON orders USING (id > 5)",
        f"ALTER TABLE orders OWNER TO {name}",
    )
    host = parts.netloc.rpartition("@")[2]
    shop.configure(main=urlunsplit(parts._replace(netloc=f"{name}:secret@{host}")))
    yield name
    sql(postgres_url, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_rows_that_a_policy_hides(shop: Project, owner: str, postgres_url: str) -> None:
    """It is refused before the first batch; a user who sees all rows changes all of them."""
    shop.revision("main", "a1", upgrade=LOOP)
    error = shop.run("upgrade", "--json").error()
    assert error["exit_code"] == 3
    assert "row level security is active on orders" in error["message"]
    sql(postgres_url, f"ALTER ROLE {owner} BYPASSRLS")
    shop.good("upgrade")
    assert sql(postgres_url, "SELECT count(*) FROM orders WHERE n = 1")[0][0] == 10
