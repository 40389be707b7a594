"""No row is left out silently, whatever its key: the walk takes it exactly once, or fails and names the key."""

import pytest

from migrator.config import load
from migrator.core.errors import RunFailed
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project

DATES = "'0001-01-01', '9999-12-31', '2020-01-01', '-infinity', 'infinity', '0001-01-02', '9999-12-30'"
TIMES = DATES.replace("0001-01-02", "0001-01-01 00:00:01").replace("9999-12-30", "9999-12-31 23:59:59.999999")
KEYS = {
    "date": DATES,
    "timestamp": TIMES,
    "timestamptz": TIMES.replace("00:00:01", "00:00:01+00").replace("999999", "999999+00"),
    "interval": "'1 year', '365 days', '360 days 1 second', '1 mon 1 day', '-1 mon', '1 day', '25:00:00'",
    "time": "'00:00', '12:00:00.000001', '23:59:59.999999'",
    "numeric": "'NaN', '1.10', '-0.5', '100000000000000000000000.1', 'Infinity'",
    "float8": "'NaN', '-Infinity', '0.1', '1e300', 'Infinity'",
    "text": "'', 'a', 'A', 'ä', ' x'",
    "bpchar(4)": "'a', 'ab', 'b'",
    "inet": "'10.0.0.1', '10.0.0.0/8', '::1', '10.0.0.1/8'",
    "cidr": "'10.0.0.0/8', '10.0.0.1/32'",
    "int4range": "'[1,5)', 'empty', '[2,)', '(,1]'",
    "daterange": "'[0001-01-01,9999-12-31)', 'empty', '(,2020-01-01)'",
    "date[]": "'{0001-01-01}', '{9999-12-31,infinity}', '{}'",
    "interval[]": "'{1 year}', '{365 days}'",
    "money": "'1.10', '-5'",
    "bit(3)": "'101', '000'",
    "macaddr": "'08:00:2b:01:02:03'",
    "pg_lsn": "'0/1', 'FF/FF'",
    "jsonb": """'{"a": 1}', '[1]', '"x"', 'null'""",
}
BODIES = {
    "where": 'await ctx.execute(f"UPDATE odd SET n = n + 1 WHERE {batch.where}", *batch.args)',
    "rows": 'for row in await batch.rows("n"):\n            batch.update(row, n=row["n"] + 1)',
}
WALK = """
async for batch in ctx.batches("{table}", max_rows={rows}):
    async with batch:
        {body}
"""


def fill(shop: Project) -> list[str]:
    """Make a table for each type of key, and return their names."""
    url, names = shop.urls["main"], []
    for number, (kind, values) in enumerate(KEYS.items()):
        names.append(f"odd{number}")
        rows = ", ".join(f"('{value}')" for value in values[1:-1].split("', '"))
        made = f"CREATE TABLE {names[-1]} (k {kind} PRIMARY KEY, n int NOT NULL DEFAULT 0)"
        sql(url, made, f"INSERT INTO {names[-1]} VALUES {rows}")
    return names


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("body", BODIES)
async def test_every_row_once(shop: Project, body: str, rows: int) -> None:
    """Each row of each type of key is changed exactly once, by a condition and row by row."""
    tables = fill(shop)
    loops = [WALK.format(table=table, rows=rows, body=BODIES[body].replace("odd", table)) for table in tables]
    shop.revision("main", "a1", upgrade="".join(loops))
    await Migrator(load(str(shop.toml), {})).upgrade("head")
    wrong = {table: sql(shop.urls["main"], f"SELECT k::text, n FROM {table} WHERE n <> 1") for table in tables}
    assert {table: rows for table, rows in wrong.items() if rows} == {}


@pytest.mark.parametrize("kind", ["date", "timestamp", "interval"])
async def test_a_range_of_its_own(shop: Project, kind: str) -> None:
    """A script that compares with the first and the last key leaves no row out: what the driver changes is refused."""
    table = fill(shop)[list(KEYS).index(kind)]
    body = f'await ctx.execute("UPDATE {table} SET n = n + 1 WHERE k BETWEEN $1 AND $2", batch.first, batch.last)'
    shop.revision("main", "a1", upgrade=WALK.format(table=table, rows=1, body=body))
    with pytest.raises(RunFailed, match="cannot be changed"):
        await Migrator(load(str(shop.toml), {})).upgrade("head")
    assert sql(shop.urls["main"], f"SELECT k FROM {table} WHERE n > 1") == []


async def test_a_key_that_the_driver_cannot_read(shop: Project) -> None:
    """A date before Christ ends the run, which names the key."""
    sql(shop.urls["main"], "CREATE TABLE old (k date PRIMARY KEY, n int)", "INSERT INTO old VALUES ('0044-03-15 BC')")
    shop.revision("main", "a1", upgrade=WALK.format(table="old", rows=1, body="pass"))
    with pytest.raises(RunFailed, match=r"next rows of old: .*k \(date\)"):
        await Migrator(load(str(shop.toml), {})).upgrade("head")
