"""Rate the products by their reviews."""

from migrator.adapters.postgres import Context

revision = "24adebbe77f2"
down_revision = "c853484eca87"
depends_on = ("events:22f3e35ec910",)  # the reviews, without those that were bought

COLUMNS = """
    ALTER TABLE products
        ADD COLUMN review_count integer NOT NULL DEFAULT 0,
        ADD COLUMN rating numeric(3, 2),
        ADD CONSTRAINT products_rating_check
            CHECK (rating IS NULL OR (rating BETWEEN 1 AND 5 AND review_count > 0))
"""
FILL = """
    UPDATE products SET review_count = totals.reviews, rating = round(totals.stars::numeric / totals.reviews, 2)
      FROM unnest($1::text[], $2::integer[], $3::integer[]) AS totals (sku, reviews, stars)
     WHERE products.sku = totals.sku
"""


async def upgrade(ctx: Context) -> None:
    # MongoDB first, the lock on products second: nobody should wait for two servers at once. Reading is safe; writing
    # there would not be undone when this step rolls back.
    async with ctx.database("events") as events:
        totals = [each async for each in events.db.review_totals.find({"reviews": {"$gt": 0}})]
    await ctx.execute(COLUMNS)
    await ctx.execute(
        FILL,
        [each["_id"] for each in totals],
        [each["reviews"] for each in totals],
        [each["stars"] for each in totals],
    )


async def downgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE products DROP COLUMN rating, DROP COLUMN review_count")  # and the CHECK with them


async def verify(ctx: Context) -> None:
    # Reviews go on being written, so the two databases are not compared here: that would fail for no fault of this
    # revision. What must be true from now on is that there are ratings, and that the server keeps them in range.
    rated = await ctx.value("SELECT count(*) FROM products WHERE review_count > 0 AND rating IS NOT NULL")
    ctx.check(rated > 0, "no product has a rating")
    kept = await ctx.value(
        "SELECT convalidated FROM pg_constraint"
        " WHERE conrelid = 'products'::regclass AND conname = 'products_rating_check'"
    )
    ctx.check(kept, "nothing keeps products.rating in range")
