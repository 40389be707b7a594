"""What ctx.conn and ctx.session read is right after the type of a column was changed in the same step, by any means."""

import pytest

from migrator.config import load
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project

CHANGES = {
    "int to real": ("int", "1", "real", "v::real", "1.0"),
    "int to text": ("int", "1", "text", "v::text", "'1'"),
    "int to bigint": ("int", "1", "bigint", "v + 5000000000", "5000000001"),
    "bigint to timestamptz": (
        "bigint",
        "86400",
        "timestamptz",
        "to_timestamp(v)",
        "datetime(1970, 1, 2, tzinfo=timezone.utc)",
    ),
    "timestamptz to bigint": (
        "timestamptz",
        "'1970-01-02 00:00+00'",
        "bigint",
        "extract(epoch from v)::bigint",
        "86400",
    ),
    "text to jsonb": ("text", """'{"a": 1}'""", "jsonb", "v::jsonb", "{'a': 1}"),
    "numeric to float8": ("numeric", "1.5", "float8", "v::float8", "1.5"),
}
READS = {
    "text": "(await ctx.conn.execute(text('SELECT v FROM things'))).scalar_one()",
    "star": "(await ctx.conn.execute(text('SELECT * FROM things'))).mappings().one()['v']",
    "driver": "(await ctx.conn.exec_driver_sql('SELECT v FROM things')).scalar_one()",
    "session": "(await ctx.session.execute(text('SELECT v FROM things'))).scalar_one()",
    "reflected": "await reflected(ctx)",
}
REVISION = '''"""Change the type of a column that was read before."""
from datetime import datetime, timezone
from sqlalchemy import MetaData, Table, select, text
from migrator.adapters.postgres import Context

revision = "a1"
transaction = {transaction}

def read(connection):
    table = Table("things", MetaData(), autoload_with=connection)
    return connection.execute(select(table.c.v)).scalar_one()

async def reflected(ctx):
    return await ctx.conn.run_sync(read)

async def values(ctx):
    return [{reads}]

async def change(ctx, conn, session):
    await ctx.execute("DROP TABLE IF EXISTS things")
    await ctx.execute("CREATE TABLE things (id int PRIMARY KEY, v {old}, w int)")
    await ctx.execute("INSERT INTO things VALUES (1, {value}, 7)")
    await values(ctx)
    {alter}
    found = await values(ctx)
    assert all(each == {right} and type(each) is type({right}) for each in found), found
    await ctx.execute("ALTER TABLE things DROP COLUMN w")
    await ctx.conn.execute(text("ALTER TABLE things ADD COLUMN x text DEFAULT 'new'"))
    row = dict((await ctx.conn.execute(text("SELECT * FROM things"))).mappings().one())
    assert row == {{"id": 1, "v": {right}, "x": "new"}}, row

async def upgrade(ctx: Context):
    {upgrade}
'''
WAYS = {
    "transaction": "await change(ctx, ctx.conn, ctx.session)",
    "plain": "await change(ctx, ctx.conn, ctx.session)",
    "batch": "async for batch in ctx.batches('one'):\n        async with batch:\n            "
    "await change(ctx, ctx.conn, ctx.session)",
}


@pytest.mark.parametrize(
    "alter", ["await ctx.execute({!r})", "await ctx.conn.execute(text({!r}))"], ids=["text", "core"]
)
@pytest.mark.parametrize("way", WAYS)
async def test_every_change_is_seen(shop: Project, way: str, alter: str) -> None:
    """Through Core, the session of the ORM, reflection, and `SELECT *` over columns that come and go."""
    sql(shop.urls["main"], "CREATE TABLE one (id int PRIMARY KEY)", "INSERT INTO one VALUES (1)")
    migrator = Migrator(load(str(shop.toml), {}))
    for name, (old, value, new, using, right) in CHANGES.items():
        text = REVISION.format(
            transaction=way == "transaction",
            reads=", ".join(READS.values()),
            old=old,
            value=value.replace('"', '\\"'),
            alter=alter.format(f"ALTER TABLE things ALTER v TYPE {new} USING {using}"),
            right=right,
            upgrade=WAYS[way],
        )
        (shop.revisions("main") / "a1.py").write_text(text, "utf-8")
        outcome = await migrator.upgrade("head")
        assert len(outcome.runs) == 1, name
        sql(shop.urls["main"], "DELETE FROM script_run_tracker", "UPDATE script_run_lock SET used = false")
