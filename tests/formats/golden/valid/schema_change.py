"""Add orders.shipped_at.

The warehouse asked for it.
"""

from migrator.adapters.postgres import Context

revision = "3f2a91c7d0e1"
down_revision = "9b1de04c77aa"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE orders ADD COLUMN shipped_at timestamptz")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE orders DROP COLUMN shipped_at")


async def verify(ctx: Context) -> bool:
    return "shipped_at" in await ctx.columns("orders")
