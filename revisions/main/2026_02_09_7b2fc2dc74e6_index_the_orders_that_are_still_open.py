"""Index the orders that are still open."""

from migrator.adapters.postgres import Context

revision = "7b2fc2dc74e6"
down_revision = "42a42d0811b4"
transaction = False  # CREATE INDEX CONCURRENTLY commits by itself, twice
rerunnable = True  # what an interrupted run leaves behind is cleared below, so it may simply run again

VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('orders_open_idx')"


async def upgrade(ctx: Context) -> None:
    # CREATE INDEX alone would stop all writes to orders for as long as it takes; CONCURRENTLY lets them pass. Its
    # price: when it fails, an invalid index stays, which costs every write, serves no query, and which IF NOT EXISTS
    # would take for a good one.
    if await ctx.value(VALID) is False:
        await ctx.execute("DROP INDEX CONCURRENTLY orders_open_idx")
    await ctx.execute("""
        CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_open_idx
            ON orders (placed_at) WHERE status IN ('placed', 'paid')
    """)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP INDEX CONCURRENTLY IF EXISTS orders_open_idx")


async def verify(ctx: Context) -> bool:
    return await ctx.value(VALID) is True  # that it exists is not enough
