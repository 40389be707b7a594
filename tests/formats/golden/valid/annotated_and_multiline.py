"""Constants with annotations, over several lines..."""

from migrator.adapters.postgres import Context

revision: str = "aa02"
down_revision: tuple[str, ...] = (
    "one",
    "two",
)
timeout = 90
depends_on = "events:" "77aa01"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE orders ADD COLUMN shipped_at timestamptz")
