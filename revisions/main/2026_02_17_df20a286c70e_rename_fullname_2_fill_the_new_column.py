"""Rename fullname (2): fill the new column."""

from migrator.adapters.postgres import Context

revision = "df20a286c70e"
down_revision = "106c108abc45"
transaction = False  # each chunk commits alone: no row stays locked for longer than its chunk takes
rerunnable = True  # the WHERE finds only what is left, so a second run goes on where the first one stopped

CHUNK = 1_000

# By key, not by OFFSET: the tenth thousand costs as much as the first.
EDGE = "SELECT max(id) FROM (SELECT id FROM customers WHERE id > $1 ORDER BY id LIMIT $2) AS chunk"
FILL = "UPDATE customers SET full_name = fullname WHERE id > $1 AND id <= $2 AND full_name IS NULL"


async def upgrade(ctx: Context) -> None:
    # The trigger is older than this revision, so a row written meanwhile has its name already.
    after = 0
    while edge := await ctx.value(EDGE, after, CHUNK):
        done = await ctx.execute(FILL, after, edge)
        ctx.log.info("customers up to %s: %s", edge, done)
        after = edge


async def downgrade(ctx: Context) -> None:
    """Leave the rows as they are: the column goes with its own revision, and whoever reads it meanwhile may."""


async def verify(ctx: Context) -> None:
    empty = await ctx.value("SELECT count(*) FROM customers WHERE full_name IS NULL")
    ctx.check(empty == 0, f"{empty} customers have no full_name")
    if "fullname" in await ctx.columns("customers"):
        apart = await ctx.value("SELECT count(*) FROM customers WHERE full_name IS DISTINCT FROM fullname")
        ctx.check(apart == 0, f"{apart} customers have two names")
