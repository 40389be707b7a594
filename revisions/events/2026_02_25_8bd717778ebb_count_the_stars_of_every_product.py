"""Count the stars of every product."""

from typing import Any

from migrator.adapters.mongo import Context

revision = "8bd717778ebb"
down_revision = "20f034deb7f9"
transaction = False  # $merge is not allowed in a transaction
rerunnable = True  # $merge replaces: a second run counts again and comes to the same totals

TOTALS: dict[str, Any] = {"$group": {"_id": "$sku", "reviews": {"$sum": 1}, "stars": {"$sum": "$rating"}}}


async def upgrade(ctx: Context) -> None:
    # The server reads and writes; only the command travels. Collections that later revisions write to in a transaction
    # are made here, because a downgrade cannot drop one inside its transaction.
    there = await ctx.db.list_collection_names()
    for name in ("review_totals", "withdrawn_reviews"):
        if name not in there:
            await ctx.db.create_collection(name)
    merge = {"$merge": {"into": "review_totals", "whenMatched": "replace", "whenNotMatched": "insert"}}
    await (await ctx.db.reviews.aggregate([TOTALS, merge])).to_list()


async def downgrade(ctx: Context) -> None:
    await ctx.db.review_totals.drop()
    await ctx.db.withdrawn_reviews.drop()


async def verify(ctx: Context) -> None:
    # Totals and reviews are two statements about one thing, so they are held against one another.
    counted = {each["_id"]: each async for each in await ctx.db.reviews.aggregate([TOTALS])}
    kept = {each["_id"]: each async for each in ctx.db.review_totals.find({"reviews": {"$gt": 0}})}
    wrong = sorted(sku for sku in counted.keys() | kept.keys() if counted.get(sku) != kept.get(sku))
    ctx.check(not wrong, f"review_totals is wrong for {', '.join(wrong)}")
    there = await ctx.db.list_collection_names()
    ctx.check("withdrawn_reviews" in there, "withdrawn_reviews is missing")
