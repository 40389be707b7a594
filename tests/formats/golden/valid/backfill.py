"""Fill orders.total_cents from their lines."""

from migrator.adapters.postgres import Context

revision = "c90e11ab"
down_revision = "7c01d2ee"
transaction = False  # each batch commits on its own

FILL = """
UPDATE orders
   SET total_cents = 0  -- 'quoted' "text"
"""
_LIMIT: int = 10_000


async def upgrade(ctx: Context) -> None:
    async for batch in ctx.batches("orders", key="id", size=_LIMIT):
        async with batch:
            await ctx.execute(FILL, f"{batch.first} {{}}", batch.last)


async def downgrade(ctx: Context) -> None:
    """Nothing to undo: the column goes with its own revision."""
