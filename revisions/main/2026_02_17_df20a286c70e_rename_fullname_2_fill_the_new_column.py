"""Rename fullname (2): fill the new column."""

from migrator.adapters.postgres import Context

revision = "df20a286c70e"
down_revision = "106c108abc45"


async def upgrade(ctx: Context) -> None:
    # The trigger is older than this revision, so a row written meanwhile has its name already.
    async for batch in ctx.batches("customers", where="full_name IS NULL", name="customers.full_name"):
        async with batch:
            await ctx.execute(f"UPDATE customers SET full_name = fullname WHERE {batch.where}", *batch.args)


async def downgrade(ctx: Context) -> None:
    """Leave the rows as they are: the column goes with its own revision, and whoever reads it meanwhile may."""


async def verify(ctx: Context) -> None:
    empty = await ctx.value("SELECT count(*) FROM customers WHERE full_name IS NULL")
    ctx.check(empty == 0, f"{empty} customers have no full_name")
    if "fullname" in await ctx.columns("customers"):
        apart = await ctx.value("SELECT count(*) FROM customers WHERE full_name IS DISTINCT FROM fullname")
        ctx.check(apart == 0, f"{apart} customers have two names")
