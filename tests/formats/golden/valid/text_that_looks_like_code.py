"""A text is not code."""

from migrator.adapters.postgres import Context

revision = "aa01"
down_revision = None


async def upgrade(ctx: Context) -> None:
    await ctx.execute("""
revision = "not this"
async def downgrade(ctx):
# """)
    await ctx.execute('# """')
