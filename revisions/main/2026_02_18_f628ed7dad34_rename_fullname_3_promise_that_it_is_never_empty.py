"""Rename fullname (3): promise that it is never empty."""

from migrator.adapters.postgres import Context

revision = "f628ed7dad34"
down_revision = "df20a286c70e"
transaction = (
    False  # each statement gives its lock back at once; in one transaction the strongest would stay to the end
)
rerunnable = True

STEPS = (
    "ALTER TABLE customers DROP CONSTRAINT IF EXISTS customers_full_name_present",  # of an interrupted run
    # SET NOT NULL by itself reads the whole table while nobody else may even read it. A CHECK that is NOT VALID holds
    # for new rows from now on and reads nothing;
    "ALTER TABLE customers ADD CONSTRAINT customers_full_name_present CHECK (full_name IS NOT NULL) NOT VALID",
    # this one reads all rows, under a lock that lets reads and writes pass;
    "ALTER TABLE customers VALIDATE CONSTRAINT customers_full_name_present",
    # and with that proof at hand this one need not look again.
    "ALTER TABLE customers ALTER COLUMN full_name SET NOT NULL",
    "ALTER TABLE customers DROP CONSTRAINT customers_full_name_present",
)


async def upgrade(ctx: Context) -> None:
    await ctx.execute("SET lock_timeout = '5s'")  # undone by migrator when the step ends
    for statement in STEPS:
        await ctx.execute(statement)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("SET lock_timeout = '5s'")
    await ctx.execute("ALTER TABLE customers DROP CONSTRAINT IF EXISTS customers_full_name_present")
    await ctx.execute("ALTER TABLE customers ALTER COLUMN full_name DROP NOT NULL")


async def verify(ctx: Context) -> bool:
    return bool(
        await ctx.value(
            "SELECT attnotnull FROM pg_attribute"
            " WHERE attrelid = 'customers'::regclass AND attname = 'full_name' AND NOT attisdropped"
        )
    )
