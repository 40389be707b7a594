"""Fill the opening catalogue."""

import sqlalchemy as sa

from migrator.adapters.postgres import Context

revision = "c8310cbcd9cf"
down_revision = "6bddc25f31a3"

# The table as it is at this point of the history. Importing the application's own models would tie an old revision to
# tomorrow's columns.
products = sa.Table(
    "products",
    sa.MetaData(),
    sa.Column("sku", sa.Text),
    sa.Column("title", sa.Text),
    sa.Column("price_cents", sa.Integer),
)

CATALOGUE = (
    ("TEA-ASSAM", "Assam, second flush", 1290),
    ("TEA-DARJEELING", "Darjeeling, first flush", 1890),
    ("TEA-SENCHA", "Sencha", 1490),
    ("TEA-OOLONG", "Oolong, roasted", 1690),
    ("POT-GLASS", "Glass pot, 1 l", 3200),
    ("POT-IRON", "Iron pot, 0.8 l", 7900),
    ("CUP-WHITE", "White cup", 650),
    ("CUP-BLUE", "Blue cup", 690),
    ("TIN-SMALL", "Tin for 100 g", 420),
    ("TIN-LARGE", "Tin for 500 g", 780),
)
SKUS = [sku for sku, _, _ in CATALOGUE]


async def upgrade(ctx: Context) -> None:
    # ctx.conn is SQLAlchemy's connection, in the same transaction as ctx.execute and the tracker's row.
    await ctx.conn.execute(
        products.insert(), [{"sku": sku, "title": title, "price_cents": cents} for sku, title, cents in CATALOGUE]
    )
    # The opening offer: the database does the sum, and no row travels.
    teas = products.c.sku.startswith("TEA-")
    await ctx.conn.execute(
        products.update().where(teas).values(price_cents=products.c.price_cents - products.c.price_cents // 20)
    )


async def downgrade(ctx: Context) -> None:
    # Only what this revision brought. A product that was ordered since is held by its foreign key: the step fails and
    # rolls back, which is better than losing the order.
    await ctx.conn.execute(products.delete().where(products.c.sku.in_(SKUS)))


async def verify(ctx: Context) -> bool:
    # Prices and titles may change later; that the products are there may not.
    found = await ctx.conn.scalar(sa.select(sa.func.count()).select_from(products).where(products.c.sku.in_(SKUS)))
    return found == len(SKUS)
