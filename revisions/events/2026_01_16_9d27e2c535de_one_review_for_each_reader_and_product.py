"""One review for each reader and product."""

from migrator.adapters.mongo import Context

revision = "9d27e2c535de"
down_revision = "459179ab3f74"
transaction = False  # an index cannot be built in a transaction on a collection that holds documents
rerunnable = True

NAME = "reviews_reader_key"


async def upgrade(ctx: Context) -> None:
    # create_index with the same keys, name and options does nothing the second time. The build takes a strong lock only
    # at its two ends; it fails, and leaves no index, where two documents share a key.
    await ctx.db.reviews.create_index([("sku", 1), ("email", 1)], name=NAME, unique=True)


async def downgrade(ctx: Context) -> None:
    # drop_index fails where there is no such index, so a second run asks first.
    if NAME in await ctx.db.reviews.index_information():
        await ctx.db.reviews.drop_index(NAME)


async def verify(ctx: Context) -> bool:
    index = (await ctx.db.reviews.index_information()).get(NAME, {})
    return index.get("unique") is True and index.get("key") == [("sku", 1), ("email", 1)]
